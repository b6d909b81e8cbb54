//! One run from start to report: lay it out, start the threads, let the clients in, send, wait, say goodbye, add up. A porch over
//! the pure rooms; called by `main` and by tests.

mod cost;
mod holding;
mod storming;
mod sum;
mod watching;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use gateway_ring::RingConfig;
use ops::clock::Clock;
use wire::time::Mono;

use crate::api::{self, PostConfig, PostResult, Posters, To};
use crate::config::{Cut, Moment, Posting, RunConfig, Scenario, StormPlan};
use crate::dialect::Dialect;
use crate::engine::{EngineConfig, EngineResult, Engines, Shared, StartError, Status};
use crate::fleet::{Audience, FleetConfig};
use crate::interrupt::Interrupt;
use crate::limits::{CLOSE_EACH, CLOSE_WITHIN, HANDSHAKES_AT_ONCE_MAX};
use crate::machine;
use crate::marker::Marker;
use crate::plan::{self, Plan, Shortfall, Wanted};
use crate::posts::Posts;
use crate::progress::Progress;
use crate::report::{Drain, Report};
use crate::schedule::{Lane, Pace};
use crate::victim;
use cost::{Costs, Snapshot};
use storming::Storming;
use watching::{Watching, local_servers};

/// How often the run looks at its threads.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Between the last client in and the first message, so that all threads count by then.
const ARM_WITHIN: Duration = Duration::from_secs(10);
/// How long is waited for copies when somebody asked for the end.
const SHORTLY: Duration = Duration::from_secs(2);
/// How often the router's ledger is asked.
const ASK_EVERY: Duration = Duration::from_millis(200);
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
    watching: Option<Watching>,
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
    /// When the storm began; `None`: there was none.
    storm: Option<Mono>,
    /// Acknowledgements that the router's ledger knows more than before the messages.
    acks_read: Option<u64>,
    drain: Option<Drain>,
}

impl Outcome {
    /// How it stands at the end, while the servers are still there.
    fn take_stock(&mut self, shared: &Shared) {
        self.costs.at_end = Snapshot::take(self.costs.pid);
        self.open_at_end = shared.status().counts.open;
    }
}

/// Runs it and reports.
pub fn run(config: &RunConfig, clock: Clock, interrupt: &Interrupt) -> Result<Report, RunError> {
    if let Some(StormPlan { cut: Cut::Kill { pid, .. }, .. }) = config.scenario.storm() {
        victim::look(*pid).map_err(|why| RunError::Usage(format!("--kill-pid: {why}")))?;
    }
    gateway_ring::probe(&RingConfig::default()).map_err(StartError::from)?;
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
        watching: None,
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
        tls: config.tls.is_some(),
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
        let servers = local_servers(&self.addresses, self.config.server_pid);
        let pid = servers.iter().map(|(_, pid)| *pid).find(|pid| Some(*pid) != self.victim());
        let is_one_of_many = servers.len() > 1;
        let mut costs = Costs { pid, is_one_of_many, before: Snapshot::take(pid), ..Costs::default() };
        let shared = Arc::new(Shared::new(self.plan.connections, self.plan.threads));
        let begun = self.begin_at();
        self.watching = Some(Watching::new(begun, servers));
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
            storm: None,
            acks_read: None,
            drain: None,
        };
        if shared.status().counts.open > 0 && !self.interrupt.is_asked() {
            match &self.config.scenario {
                Scenario::Hold(plan) => self.hold(plan, &engines, &shared, &mut outcome)?,
                Scenario::Storm(plan) => self.storm(plan, &engines, &shared, &mut outcome),
                Scenario::Fanout(posting) | Scenario::Latency(posting) | Scenario::Chaos(posting, _) => {
                    self.send(posting, &engines, &shared, &mut outcome)?;
                }
            }
        }
        if outcome.drain.is_none() {
            outcome.take_stock(&shared);
        }
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

    /// When the first client connects.
    fn begin_at(&self) -> Mono {
        let now = self.clock.mono();
        match self.config.start_at {
            Some(moment) => at(moment, now, self.clock).max(now + HEAD_START),
            None => now + HEAD_START,
        }
    }

    /// The process that the run ends.
    fn victim(&self) -> Option<u32> {
        match self.config.scenario.storm()?.cut {
            Cut::Kill { pid, .. } => Some(pid),
            Cut::Reset | Cut::Fin | Cut::Wait => None,
        }
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
                shares: self.config.shares.clone(),
                attempts_max: self.config.attempts,
                topic: self.config.scenario.posting().and_then(|posting| match &posting.to {
                    To::Topic(topic) => Some(topic.clone()),
                    To::All | To::User | To::Anyone | To::Each => None,
                }),
                acks: self.config.scenario.posting().is_some_and(|posting| posting.acks),
                syncs: self.config.scenario.posting().is_some(),
                marker: self.marker.clone(),
                seed: self.config.seed,
                dialect: Dialect::Tocsin,
                handshakes_at_once: HANDSHAKES_AT_ONCE_MAX,
            },
            addresses: self.addresses.clone(),
            sources: self.plan.sources,
            tls: self.config.tls.clone(),
            rings: self.config.rings,
            clock: self.clock,
        };
        (0..lanes).map(one).collect()
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

    fn storm(&mut self, plan: &StormPlan, engines: &Engines, shared: &Arc<Shared>, outcome: &mut Outcome) {
        let mut storming = Storming::new(plan, self.clock.mono(), self.clock, engines);
        let until = storming.due() + plan.within;
        self.progress.begin("storm", u64::from(shared.status().counts.open));
        self.watch(shared, |status, now, progress| {
            storming.step(status, now, engines, None);
            progress.show(u64::from(status.counts.open), &comeback(status), now);
            storming.is_over() || now >= until
        });
        self.end_storm(storming, outcome);
    }

    fn end_storm(&mut self, storming: Storming, outcome: &mut Outcome) {
        if let Some(why) = storming.failure {
            self.warnings.push(format!("the storm did not begin: {why}"));
        }
        outcome.storm = storming.cut_at;
    }

    fn send(
        &mut self,
        posting: &Posting,
        engines: &Engines,
        shared: &Arc<Shared>,
        outcome: &mut Outcome,
    ) -> Result<(), RunError> {
        let audience = if posting.to.is_one() { Audience::One } else { Audience::All };
        // Threads count before the first message goes out; the schedule begins only then.
        let begin_by = self.clock.mono() + ARM_WITHIN;
        let start = self.clock.mono() + HEAD_START;
        let messages =
            if posting.to == To::Each { u64::from(self.plan.connections) } else { posting.messages };
        let posts = Arc::new(Posts::new(Pace::new(start, posting.rate), messages));
        let owed = match audience {
            Audience::All => messages * u64::from(shared.status().counts.open),
            Audience::One => messages,
        };
        engines.begin_run(Arc::clone(&posts), audience);
        self.watch(shared, |_, now, _| engines.is_armed() || now >= begin_by);
        let posters =
            Posters::start(posting.posters, &self.post_config(posting), &posts, shared).map_err(|error| {
                RunError::Failed(format!("cannot start {} posting threads: {error}", posting.posters))
            })?;
        let delivered = posting.acks.then(|| api::delivered(&posting.api, &posting.key)).flatten();
        outcome.costs.messages_begin = Snapshot::take(outcome.costs.pid);
        outcome.messages_begun = Some(start);
        self.progress.begin("sending", owed);
        let mut storming =
            self.config.scenario.storm().map(|plan| Storming::new(plan, start, self.clock, engines));
        let all_posted = self.watch(shared, |status, now, progress| {
            if let Some(storming) = &mut storming {
                storming.step(status, now, engines, Some(&posts));
            }
            progress.show(status.counts.received, &copies(status), now);
            posters.are_done()
        });
        posters.stop();
        let result = posters.join();
        let settle = if all_posted { posting.settle } else { posting.settle.min(SHORTLY) };
        let ended = self.wait_for_copies(&posts, shared, settle, |status, now| {
            let Some(storming) = &mut storming else { return true };
            storming.step(status, now, engines, Some(&posts));
            storming.is_over()
        });
        outcome.messages_ended = Some(ended);
        outcome.acks_read = delivered.and_then(|before| self.wait_for_acks(posting, before, shared));
        if let Some(storming) = storming {
            self.end_storm(storming, outcome);
        }
        outcome.costs.messages_end = Snapshot::take(outcome.costs.pid);
        outcome.posts = Some((posts, result));
        Ok(())
    }

    /// Until every copy is there and `also` is so, or for as long as the run settles. When the last copy came.
    fn wait_for_copies(
        &mut self,
        posts: &Posts,
        shared: &Shared,
        settle: Duration,
        mut also: impl FnMut(&Status, Mono) -> bool,
    ) -> Mono {
        let by = self.clock.mono() + settle;
        // Without an answer a message may have been taken or not: its copies are waited for, but not owed.
        let totals = posts.totals();
        let posted = totals.accepted + totals.unknown;
        let mut last = (0, self.clock.mono());
        loop {
            let (status, now) = self.look(shared);
            if status.counts.received != last.0 {
                last = (status.counts.received, now);
            }
            self.progress.show(status.counts.received, &copies(&status), now);
            let there = also(&status, now) && status.counts.received >= posted * self.copies_each(&status);
            if there || now >= by {
                return last.1;
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// How many acknowledgements the router has read since it knew `before`; waits for as many as clients sent, as long as the
    /// run settles.
    fn wait_for_acks(&mut self, posting: &Posting, before: u64, shared: &Shared) -> Option<u64> {
        let by = self.clock.mono() + posting.settle;
        loop {
            let read = api::delivered(&posting.api, &posting.key)?.saturating_sub(before);
            let (status, now) = self.look(shared);
            if read >= status.counts.acked || now >= by {
                return Some(read);
            }
            std::thread::sleep(ASK_EVERY);
        }
    }

    fn copies_each(&self, status: &Status) -> u64 {
        match self.config.scenario.posting().map(|posting| &posting.to) {
            Some(To::User | To::Anyone | To::Each) | None => 1,
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
            priority: posting.priority,
            size: posting.size,
            batch: posting.batch,
            seed: self.config.seed,
            clock: self.clock,
        }
    }

    /// False when a thread did not end in time.
    fn say_goodbye(&mut self, engines: &Engines, shared: &Shared) -> bool {
        // The threads have the same bound for each step of theirs; twice that is a thread that hangs.
        let open = shared.status().counts.open;
        let by = self.clock.mono() + CLOSE_WITHIN * 2 + CLOSE_EACH * open;
        self.progress.begin("closing", u64::from(open));
        engines.stop();
        loop {
            let (status, now) = self.look(shared);
            self.progress.show(u64::from(open.saturating_sub(status.counts.open)), "", now);
            if status.closed || now >= by {
                return status.closed;
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }
}

/// A moment on our own clock; what counts from something counts from `from`.
fn at(moment: Moment, from: Mono, clock: Clock) -> Mono {
    match moment {
        Moment::After(after) => from + after,
        Moment::At(date) => {
            let ahead = u64::try_from(date.0 - clock.wall().0).unwrap_or(0);
            clock.mono() + Duration::from_micros(ahead)
        }
    }
}

fn comeback(status: &Status) -> String {
    let counts = &status.counts;
    format!("in; {} lost, {} back, {} refused", counts.lost, counts.back, counts.refused)
}

fn copies(status: &Status) -> String {
    let counts = &status.counts;
    format!("copies; {} in, {} dropped, {} duplicated", counts.open, counts.dropped, counts.duplicated)
}
