//! What the server cost at moments of a run, and the differences. Reading is `machine`'s; this is arithmetic.

use std::time::Duration;

use crate::machine::{self, Of};
use crate::report::Server;

/// One moment.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Snapshot {
    rss_bytes: Option<u64>,
    cpu: Option<Duration>,
    slab_bytes: u64,
    busy: Duration,
    ours: Option<Duration>,
}

impl Snapshot {
    pub(super) fn take(pid: Option<u32>) -> Snapshot {
        Snapshot {
            rss_bytes: pid.and_then(machine::rss_bytes),
            cpu: pid.and_then(|pid| machine::cpu(Of::Process(pid))),
            slab_bytes: machine::slab_bytes(),
            busy: machine::busy(),
            ours: machine::cpu(Of::Ourselves),
        }
    }

    /// The server's CPU time since `before`.
    fn cpu_since(&self, before: &Snapshot) -> Option<Duration> {
        Some(self.cpu?.saturating_sub(before.cpu?))
    }

    /// All busy time of the machine since `before` that was not ours: the server with its interrupts, and its neighbours.
    fn others_since(&self, before: &Snapshot) -> Option<Duration> {
        let ours = self.ours?.saturating_sub(before.ours?);
        Some(self.busy.saturating_sub(before.busy).saturating_sub(ours))
    }
}

/// The moments of a run.
#[derive(Debug, Default)]
pub(super) struct Costs {
    pub(super) pid: Option<u32>,
    /// Others hold clients, too: nothing can be said of one connection or message.
    pub(super) is_one_of_many: bool,
    pub(super) before: Snapshot,
    /// Every client is in or gave up.
    pub(super) let_in: Snapshot,
    pub(super) messages_begin: Snapshot,
    pub(super) messages_end: Snapshot,
    pub(super) at_end: Snapshot,
}

fn each(sum: Option<Duration>, count: u64) -> Option<f64> {
    // Less than a tick or two says nothing.
    const LEAST: Duration = Duration::from_millis(50);
    let sum = sum.filter(|sum| *sum >= LEAST)?;
    (count > 0).then(|| sum.as_nanos() as f64 / count as f64)
}

impl Costs {
    /// `None` when there is no process to look at.
    pub(super) fn server(&self, established: u32, open: u32, copies: u64) -> Option<Server> {
        let (before, rss) = (self.before.rss_bytes?, self.at_end.rss_bytes?);
        if self.is_one_of_many {
            let slab = self.let_in.slab_bytes.saturating_sub(self.before.slab_bytes);
            return Some(Server {
                pid: self.pid?,
                rss_before_bytes: before,
                rss_bytes: rss,
                slab_bytes: Some(slab),
                ..Server::default()
            });
        }
        let growth = |at: u64, was: u64| (open > 0).then(|| (at as f64 - was as f64) / f64::from(open));
        let messages = (copies > 0).then_some((&self.messages_end, &self.messages_begin));
        Some(Server {
            pid: self.pid?,
            rss_before_bytes: before,
            rss_bytes: rss,
            slab_bytes: Some(self.let_in.slab_bytes.saturating_sub(self.before.slab_bytes)),
            bytes_per_connection: growth(self.let_in.rss_bytes?, before),
            slab_bytes_per_connection: growth(self.let_in.slab_bytes, self.before.slab_bytes),
            cpu_ns_per_handshake: each(self.let_in.cpu_since(&self.before), u64::from(established)),
            cpu_ns_per_message: messages.and_then(|(end, begin)| each(end.cpu_since(begin), copies)),
            busy_ns_per_message: messages.and_then(|(end, begin)| each(end.others_since(begin), copies)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(cpu_ms: u64, busy_ms: u64, ours_ms: u64, rss_bytes: u64) -> Snapshot {
        Snapshot {
            rss_bytes: Some(rss_bytes),
            cpu: Some(Duration::from_millis(cpu_ms)),
            slab_bytes: rss_bytes,
            busy: Duration::from_millis(busy_ms),
            ours: Some(Duration::from_millis(ours_ms)),
        }
    }

    #[test]
    fn each_figure_is_a_difference_over_its_own_part_of_the_run() {
        let costs = Costs {
            pid: Some(1),
            is_one_of_many: false,
            before: at(0, 0, 0, 1_000),
            let_in: at(100, 300, 100, 3_000),
            messages_begin: at(200, 400, 200, 3_000),
            messages_end: at(1_200, 3_400, 1_200, 3_000),
            at_end: at(1_300, 3_500, 1_300, 2_500),
        };
        let server = costs.server(10, 10, 1_000).expect("a process");
        assert_eq!(server.bytes_per_connection, Some(200.0));
        assert_eq!(server.cpu_ns_per_handshake, Some(10_000_000.0));
        assert_eq!(server.cpu_ns_per_message, Some(1_000_000.0));
        assert_eq!(server.busy_ns_per_message, Some(2_000_000.0));
        assert_eq!((server.rss_before_bytes, server.rss_bytes), (1_000, 2_500));
    }

    #[test]
    fn a_tick_or_nothing_is_no_figure() {
        let costs = Costs {
            pid: Some(1),
            before: at(0, 0, 0, 1),
            let_in: at(10, 10, 0, 1),
            at_end: at(10, 10, 0, 1),
            ..Costs::default()
        };
        let server = costs.server(10, 0, 0).expect("a process");
        assert_eq!(server.cpu_ns_per_handshake, None);
        assert_eq!((server.bytes_per_connection, server.cpu_ns_per_message), (None, None));
        assert!(Costs::default().server(1, 1, 1).is_none());
        let many = Costs { is_one_of_many: true, ..costs };
        assert_eq!(many.server(10, 10, 10).expect("a process").bytes_per_connection, None);
    }
}
