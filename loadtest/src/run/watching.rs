//! Looking at the threads and at the servers while a run goes on, for the progress line and for the report's series. Part of the
//! `run` porch.

use std::net::SocketAddr;
use std::time::Duration;

use wire::time::{Mono, Wall};

use super::{LOOK_EVERY, Run};
use crate::engine::{Shared, Status};
use crate::limits::SERVERS_MAX;
use crate::machine::{self, Of};
use crate::progress::Progress;
use crate::series::{Look, Sampler, Series};

/// The series that is being made, and the server processes it follows.
#[derive(Debug)]
pub(super) struct Watching {
    sampler: Sampler,
    servers: Vec<(String, u32)>,
    /// The longest turn since the last look that was kept.
    lag: Duration,
}

impl Watching {
    pub(super) fn new(begun: Mono, servers: Vec<(String, u32)>) -> Watching {
        let first = look(&Status::default(), &servers, Duration::ZERO);
        Watching { sampler: Sampler::new(begun, first), servers, lag: Duration::ZERO }
    }

    pub(super) fn handle_status(&mut self, status: &Status, now: Mono) {
        self.lag = self.lag.max(status.lag);
        if self.sampler.is_due(now) {
            let lag = std::mem::take(&mut self.lag);
            self.sampler.handle_look(&look(status, &self.servers, lag), now);
        }
    }

    /// `begun`: the date of the first intended connect.
    pub(super) fn series(&self, begun: Wall) -> Series {
        Series { begun_at: begun.to_string(), ..self.sampler.series(&self.servers) }
    }
}

fn look(status: &Status, servers: &[(String, u32)], lag: Duration) -> Look {
    let counts = &status.counts;
    let cost = |pid: u32| Some((machine::rss_bytes(pid)?, machine::cpu(Of::Process(pid))?));
    Look {
        open: counts.open,
        attempts: counts.attempts,
        entered: u64::from(counts.established) + counts.reconnected,
        refused: counts.refused,
        dropped: counts.dropped + counts.cut,
        received: counts.received,
        cpu: machine::cpu(Of::Ourselves).unwrap_or_default(),
        lag,
        servers: servers.iter().map(|(_, pid)| cost(*pid)).collect(),
    }
}

/// The processes that listen where clients connect, on this machine; `first` goes before them.
pub(super) fn local_servers(addresses: &[SocketAddr], first: Option<u32>) -> Vec<(String, u32)> {
    let mut servers: Vec<(String, u32)> =
        first.map(|pid| ("--server-pid".to_owned(), pid)).into_iter().collect();
    for address in addresses.iter().filter(|address| address.ip().is_loopback()) {
        let pid = machine::listener_of(address.port()).filter(|pid| *pid != std::process::id());
        let Some(pid) = pid.filter(|pid| servers.iter().all(|(_, known)| known != pid)) else { continue };
        servers.push((address.to_string(), pid));
    }
    servers.truncate(SERVERS_MAX);
    servers
}

impl Run<'_> {
    /// Looks at the threads until `done` says so; false when somebody asked for the end first.
    pub(super) fn watch(
        &mut self,
        shared: &Shared,
        mut done: impl FnMut(&Status, Mono, &mut Progress) -> bool,
    ) -> bool {
        loop {
            let (status, now) = self.look(shared);
            if done(&status, now, &mut self.progress) {
                return true;
            }
            if self.interrupt.is_asked() {
                return false;
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    pub(super) fn look(&mut self, shared: &Shared) -> (Status, Mono) {
        let (status, now) = (shared.status(), self.clock.mono());
        if let Some(watching) = &mut self.watching {
            watching.handle_status(&status, now);
        }
        (status, now)
    }
}
