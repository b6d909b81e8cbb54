//! What may go wrong in a story, and how it does.

use std::time::Duration;

use router::limits::{INBOX_KEPT_DEFAULT, LEDGER_KEPT_DEFAULT};

use crate::events::{Event, Events, Fault, HOUR, MS, S};
use crate::links::Links;
use crate::router::{RouterSim, Street};
use crate::shards::{SHARDS, Shards};

const HOUR_OF_KEEPING: Duration = Duration::from_secs(3_600);

/// A mix of faults: each has its stories.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mix {
    Calm,
    /// Links stall, break, are partitioned one way or both, and frames are late.
    Links,
    /// Clients vanish or do not read, gateways die.
    Clients,
    /// The router dies at any point, commits and reads fail, the journal is read again.
    Crashes,
    /// The power goes; writes are torn.
    Power,
    /// The power goes and bits flip; the journal's disk fails.
    Disk,
    /// Clocks are set, everything stands still for minutes, an hour or a day, the router dies; little is kept, much is pushed.
    Hours,
    All,
}

impl Mix {
    pub(crate) fn kinds(self) -> &'static [Fault] {
        use Fault::{
            Crash, CutLink, DropClient, FailCommits, FailJournal, FailReads, FlippedBit, GatewayDies,
            PartitionLink, Pause, PowerCut, Reread, SlowClient, StallLink, StepClock,
        };
        match self {
            Mix::Calm => &[],
            Mix::Links => &[CutLink, StallLink, PartitionLink, PartitionLink, DropClient],
            Mix::Clients => &[DropClient, SlowClient, SlowClient, GatewayDies],
            Mix::Crashes => &[Crash, FailCommits, FailReads, Reread],
            Mix::Power => &[PowerCut, Reread],
            Mix::Disk => &[PowerCut, FlippedBit, FlippedBit, FailJournal],
            Mix::Hours => &[StepClock, Pause, Crash, SlowClient],
            Mix::All => &[
                CutLink,
                StallLink,
                PartitionLink,
                DropClient,
                SlowClient,
                GatewayDies,
                Crash,
                PowerCut,
                FailCommits,
                FailReads,
                FailJournal,
                Reread,
                StepClock,
            ],
        }
    }

    /// What goes wrong all the time, from the middle on.
    pub(crate) fn begin(self, router: &mut RouterSim, links: &mut Links) {
        if matches!(self, Mix::Crashes | Mix::All) {
            router.crash_one_in = 400;
            router.journal.twice_one_in = 20;
        }
        if matches!(self, Mix::Links | Mix::All) {
            links.late_one_in = 40;
        }
    }

    /// In how many requests one is for push.
    pub(crate) fn pushes_one_in(self) -> u64 {
        if matches!(self, Mix::Hours) { 1 } else { 2 }
    }

    /// How long inbox and ledger keep what they have.
    pub(crate) fn kept(self) -> (Duration, Duration) {
        if self == Mix::Hours {
            (24 * HOUR_OF_KEEPING, 25 * HOUR_OF_KEEPING)
        } else {
            (INBOX_KEPT_DEFAULT, LEDGER_KEPT_DEFAULT)
        }
    }
}

/// All is well from here on, but for what has to heal.
pub(crate) fn end(router: &mut RouterSim, links: &mut Links) {
    router.crash_one_in = 0;
    router.failing_reads = None;
    router.journal.twice_one_in = 0;
    router.store.rows.fail_commits(0);
    links.late_one_in = 0;
}

/// One fault happens.
pub(crate) fn happen(fault: Fault, router: &mut RouterSim, shards: &mut Shards, street: &mut Street<'_>) {
    let events = &mut *street.events;
    match fault {
        Fault::CutLink | Fault::StallLink | Fault::PartitionLink => on_a_link(fault, street.links, events),
        Fault::GatewayDies => {
            let node = Shards::random_node(events);
            shards.die(node, street.links, events);
        }
        Fault::DropClient | Fault::SlowClient => on_a_client(fault, shards, events),
        Fault::StepClock => {
            let hours = events.between(0, 2) as i64 - 1;
            events.step_wall(hours * HOUR.cast_signed());
            router.model.clock_was_set(events.now_us());
        }
        Fault::Restart => router.start(street),
        _ if !router.is_up() => {}
        Fault::Crash => router.crash(street),
        Fault::PowerCut => router.cut_power(street),
        Fault::FlippedBit => {
            router.cut_power(street);
            router.journal.flip(street.events);
        }
        Fault::FailCommits => router.store.rows.fail_commits(events.between(1, 5) as u32),
        Fault::FailReads => router.failing_reads = Some(events.between(0, 12) as u32),
        Fault::FailJournal => router.journal.fail(events),
        Fault::Reread => {
            router.journal.rewind();
            events.within(0, MS, Event::Read);
        }
        Fault::Pause => {
            router.persist(events);
            // What is read again must not be as old as what is kept.
            if router.journal.lag() == 0 {
                let spans = [10 * S, HOUR / 3, HOUR - S, 26 * HOUR];
                let span = spans[events.between(0, 3) as usize];
                events.leap(span);
            }
        }
    }
}

fn on_a_link(fault: Fault, links: &mut Links, events: &mut Events) {
    let shard = events.between(0, SHARDS as u64 - 1) as usize;
    match fault {
        Fault::CutLink => {
            if let Some(link) = links.of_shard(shard) {
                links.cut(link, events);
            }
        }
        Fault::StallLink => {
            let wait = events.between(100 * MS, 9 * S);
            links.shut(shard, wait, (true, true), events);
        }
        _ => {
            let wait = events.between(S, 15 * S);
            let ways = [(true, false), (false, true), (true, true)];
            links.shut(shard, wait, ways[events.between(0, 2) as usize], events);
        }
    }
}

fn on_a_client(fault: Fault, shards: &mut Shards, events: &mut Events) {
    let sockets: Vec<u64> = shards.sockets.keys().copied().collect();
    if sockets.is_empty() {
        return;
    }
    let socket = sockets[events.between(0, sockets.len() as u64 - 1) as usize];
    if fault == Fault::SlowClient {
        let wait = events.between(S, 12 * S);
        shards.slow(socket, wait, events);
    } else {
        events.within(0, 2 * S, Event::ServerEnds { socket });
        events.within(0, 100, Event::ClientEnds { socket });
    }
}
