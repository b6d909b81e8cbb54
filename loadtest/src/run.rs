//! One run from start to report: lay it out, start the threads, let the clients in, send, wait, say goodbye, add up. A porch over
//! the pure rooms; called by `main` and by tests.

mod cost;
mod sum;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ops::clock::Clock;
use wire::time::Mono;

use crate::api::{PostConfig, PostResult, Posters};
use crate::config::{Posting, RunConfig};
use crate::engine::{EngineConfig, EngineResult, Engines, Shared, StartError, Status};
use crate::fleet::{Audience, FleetConfig};
use crate::interrupt::Interrupt;
use crate::limits::CLOSE_WITHIN;
use crate::machine;
use crate::marker::Marker;
use crate::plan::{self, Plan, Shortfall, Wanted};
use crate::posts::Posts;
use crate::progress::Progress;
use crate::report::Report;
use crate::schedule::{Lane, Pace};
use cost::{Costs, Snapshot};

/// How often the run looks at its threads.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Between the last client in and the first message, so that all threads count by then.
const ARM_WITHIN: Duration = Duration::from_secs(10);
/// The schedule starts this much after everybody is ready.
const HEAD_START: Duration = Duration::from_millis(100);

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Bad usage, or a host that does not hold the run: exit 2.
    #[error("{0}")]
    Usage(String),
    #[error("{0}")]
    Short(#[from] Shortfall),
    #[error("{0}")]
    Start(#[from] StartError),
    /// Nobody to test: exit 1.
    #[error("{0}")]
    Failed(String),
}

/// What the run is made of once it is laid out.
struct Run<'a> {
    config: &'a RunConfig,
    clock: Clock,
    interrupt: &'a Interrupt,
    plan: Plan,
    addresses: Vec<SocketAddr>,
    marker: Marker,
    progress: Progress,
    warnings: Vec<String>,
}

/// Everything that came of it.
struct Outcome {
    engines: Vec<EngineResult>,
    posts: Option<(Arc<Posts>, PostResult)>,
    costs: Costs,
    tables: Vec<String>,
    begun: Mono,
    messages_begun: Option<Mono>,
    /// When the last copy came that was waited for.
    messages_ended: Option<Mono>,
    open_at_end: u32,
    ended: Mono,
    interrupted: bool,
}

/// Runs it and reports.
pub fn run(config: &RunConfig, clock: Clock, interrupt: &Interrupt) -> Result<Report, RunError> {
    let started_at = clock.wall();
    let addresses = resolve(config)?;
    let (plan, warnings) = lay_out(config, &addresses)?;
    for address in &addresses {
        machine::look(*address).map_err(RunError::Failed)?;
    }
    let mut run = Run {
        config,
        clock,
        interrupt,
        plan,
        addresses,
        marker: Marker::new(config.seed as u32 ^ clock.wall().0 as u32),
        progress: Progress::new(),
        warnings,
    };
    let outcome = run.go()?;
    run.progress.end();
    Ok(sum::report(&run, outcome, started_at))
}

fn resolve(config: &RunConfig) -> Result<Vec<SocketAddr>, RunError> {
    config.targets.iter().map(|target| machine::resolve(target).map_err(RunError::Failed)).collect()
}

fn lay_out(config: &RunConfig, addresses: &[SocketAddr]) -> Result<(Plan, Vec<String>), RunError> {
    let host =
        machine::host().map_err(|error| RunError::Failed(format!("cannot read the limits: {error}")))?;
    let distinct: std::collections::BTreeSet<_> = addresses.iter().collect();
    let wanted = Wanted {
        connections: config.connections,
        threads: config.threads,
        sources: config.sources,
        targets: distinct.len() as u32,
        loopback: addresses.iter().all(|address| address.ip().is_loopback()),
    };
    let wanted =
        Wanted { sources: wanted.sources.filter(|_| addresses.iter().all(SocketAddr::is_ipv4)), ..wanted };
    if !config.best_effort {
        return Ok((plan::plan(&wanted, &host)?, Vec::new()));
    }
    let (plan, short) = plan::best_effort(&wanted, &host)?;
    Ok((plan, short.iter().map(ToString::to_string).collect()))
}

impl Run<'_> {
    fn go(&mut self) -> Result<Outcome, RunError> {
        let pid = self.config.server_pid.or_else(|| self.local_server());
        let mut costs = Costs { pid, before: Snapshot::take(pid), ..Costs::default() };
        let shared = Arc::new(Shared::new(self.plan.connections, self.plan.threads));
        let begun = self.clock.mono() + HEAD_START;
        let engines = Engines::start(self.engine_configs(begun), Arc::clone(&shared))?;
        let tables = engines.tables.clone();
        self.let_in(&shared);
        costs.let_in = Snapshot::take(pid);
        let mut outcome = Outcome {
            engines: Vec::new(),
            posts: None,
            costs,
            tables,
            begun,
            messages_begun: None,
            messages_ended: None,
            open_at_end: 0,
            ended: begun,
            interrupted: false,
        };
        if shared.status().counts.open > 0 && !self.interrupt.is_asked() {
            match self.config.scenario.posting() {
                None => self.hold(&shared),
                Some(posting) => self.send(posting, &engines, &shared, &mut outcome)?,
            }
        }
        outcome.costs.at_end = Snapshot::take(pid);
        outcome.open_at_end = shared.status().counts.open;
        outcome.interrupted = self.interrupt.is_asked();
        outcome.ended = self.clock.mono();
        if !self.say_goodbye(&engines, &shared) {
            // To join it would hang, too. Its clients' figures are with it, so there is nothing to report.
            return Err(RunError::Failed(
                "a thread of the load tester hangs; its figures are lost".to_owned(),
            ));
        }
        outcome.engines = engines.join()?;
        Ok(outcome)
    }

    fn local_server(&self) -> Option<u32> {
        let local = self.addresses.iter().find(|address| address.ip().is_loopback())?;
        machine::listener_of(local.port()).filter(|pid| *pid != std::process::id())
    }

    fn engine_configs(&self, begun: Mono) -> Vec<EngineConfig> {
        let lanes = u32::from(self.plan.threads);
        let one = |lane: u32| EngineConfig {
            fleet: FleetConfig {
                lane: Lane { lane, lanes },
                clients: self.plan.connections,
                pace: Pace::new(begun, self.config.connect_rate),
                users: self.config.users.clone(),
                targets: self.config.targets.clone(),
                attempts_max: self.config.attempts,
                topic: self.config.scenario.posting().and_then(|posting| match &posting.to {
                    crate::api::To::Topic(topic) => Some(topic.clone()),
                    crate::api::To::All | crate::api::To::User => None,
                }),
                syncs: self.config.scenario.posting().is_some(),
                marker: self.marker.clone(),
                seed: self.config.seed,
            },
            addresses: self.addresses.clone(),
            sources: self.plan.sources,
            rings: self.config.rings,
            clock: self.clock,
        };
        (0..lanes).map(one).collect()
    }

    /// Looks at the threads until `done` says so; false when somebody asked for the end first.
    fn watch(&mut self, shared: &Shared, mut done: impl FnMut(&Status, Mono, &mut Progress) -> bool) -> bool {
        loop {
            let (status, now) = (shared.status(), self.clock.mono());
            if done(&status, now, &mut self.progress) {
                return true;
            }
            if self.interrupt.is_asked() {
                return false;
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    fn let_in(&mut self, shared: &Shared) {
        self.progress.begin("connecting", u64::from(self.plan.connections));
        self.watch(shared, |status, now, progress| {
            let counts = &status.counts;
            let more =
                format!("{} refused, {} dropped, {} gave up", counts.refused, counts.dropped, counts.failed);
            progress.show(u64::from(counts.open), &more, now);
            status.settled
        });
    }

    fn hold(&mut self, shared: &Shared) {
        let until = self.clock.mono() + self.config.lasts;
        let from = self.clock.mono();
        self.progress.begin("holding", self.config.lasts.as_secs());
        self.watch(shared, |status, now, progress| {
            let counts = &status.counts;
            let more = format!(
                "s: {} in, {} dropped, {} came back, {} pings answered",
                counts.open, counts.dropped, counts.reconnected, counts.pings_answered
            );
            progress.show(now.since(from).as_secs(), &more, now);
            now >= until
        });
    }

    fn send(
        &mut self,
        posting: &Posting,
        engines: &Engines,
        shared: &Arc<Shared>,
        outcome: &mut Outcome,
    ) -> Result<(), RunError> {
        let audience = if posting.to == crate::api::To::User { Audience::One } else { Audience::All };
        // Threads count before the first message goes out; the schedule begins only then.
        let begin_by = self.clock.mono() + ARM_WITHIN;
        let start = self.clock.mono() + HEAD_START;
        let posts = Arc::new(Posts::new(Pace::new(start, posting.rate), posting.messages));
        let owed = match audience {
            Audience::All => posting.messages * u64::from(shared.status().counts.open),
            Audience::One => posting.messages,
        };
        engines.begin_run(Arc::clone(&posts), audience);
        self.watch(shared, |_, now, _| engines.is_armed() || now >= begin_by);
        let posters =
            Posters::start(posting.posters, &self.post_config(posting), &posts, shared).map_err(|error| {
                RunError::Failed(format!("cannot start {} posting threads: {error}", posting.posters))
            })?;
        outcome.costs.messages_begin = Snapshot::take(outcome.costs.pid);
        outcome.messages_begun = Some(start);
        self.progress.begin("sending", owed);
        let all_posted = self.watch(shared, |status, now, progress| {
            progress.show(status.counts.received, &copies(status), now);
            posters.are_done()
        });
        posters.stop();
        let result = posters.join();
        outcome.messages_ended = Some(self.wait_for_copies(&posts, shared, posting.settle, all_posted));
        outcome.costs.messages_end = Snapshot::take(outcome.costs.pid);
        outcome.posts = Some((posts, result));
        Ok(())
    }

    /// Until every copy is there, or for as long as the run settles. Also when somebody asked for the end, but then shortly.
    fn wait_for_copies(
        &mut self,
        posts: &Posts,
        shared: &Shared,
        settle: Duration,
        all_posted: bool,
    ) -> Mono {
        const SHORTLY: Duration = Duration::from_secs(2);
        let by = self.clock.mono() + if all_posted { settle } else { settle.min(SHORTLY) };
        // Without an answer a message may have been taken or not: its copies are waited for, but not owed.
        let totals = posts.totals();
        let posted = totals.accepted + totals.unknown;
        let mut last = (0, self.clock.mono());
        loop {
            let (status, now) = (shared.status(), self.clock.mono());
            if status.counts.received != last.0 {
                last = (status.counts.received, now);
            }
            self.progress.show(status.counts.received, &copies(&status), now);
            if status.counts.received >= posted * self.copies_each(&status) || now >= by {
                return last.1;
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    fn copies_each(&self, status: &Status) -> u64 {
        match self.config.scenario.posting().map(|posting| &posting.to) {
            Some(crate::api::To::User) | None => 1,
            // Who left for good still counts as owed when the books are closed; here only waiting is at stake.
            Some(_) => u64::from(status.counts.established),
        }
    }

    fn post_config(&self, posting: &Posting) -> PostConfig {
        PostConfig {
            api: posting.api.clone(),
            key: posting.key.clone(),
            to: posting.to.clone(),
            clients: self.plan.connections,
            users: self.config.users.clone(),
            marker: self.marker.clone(),
            size: posting.size,
            batch: posting.batch,
            seed: self.config.seed,
            clock: self.clock,
        }
    }

    /// False when a thread did not end in time.
    fn say_goodbye(&mut self, engines: &Engines, shared: &Shared) -> bool {
        // The threads have the same bound for each step of theirs; twice that is a thread that hangs.
        let by = self.clock.mono() + CLOSE_WITHIN * 2;
        let open = shared.status().counts.open;
        self.progress.begin("closing", u64::from(open));
        engines.stop();
        loop {
            let (status, now) = (shared.status(), self.clock.mono());
            self.progress.show(u64::from(open.saturating_sub(status.counts.open)), "", now);
            if status.closed || now >= by {
                return status.closed;
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }
}

fn copies(status: &Status) -> String {
    let counts = &status.counts;
    format!("copies; {} in, {} dropped, {} duplicated", counts.open, counts.dropped, counts.duplicated)
}
