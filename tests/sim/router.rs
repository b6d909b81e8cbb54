//! The router: the owner itself, on a store in memory, with a simulated journal, providers and run loop around it.

use std::collections::BTreeMap;

use router::journal::Position;
use router::limits::LINK_CREDIT_GRANTED;
use router::links::queue::Pushed;
use router::owner::{DeliveryKey, LinkId, Now, Outcome, Output, Owner, OwnerConfig, ProviderCall};
use router::store::MemoryStore;
use wire::link::{DeliveryResult, Frame, MAJOR, MINOR};

use crate::events::{Event, Events, MS, S};
use crate::journal::{Journal, PARTITIONS};
use crate::links::Links;

/// Tries of one commit that the store fails.
const COMMIT_TRIES_MAX: u32 = 20;

/// What went out by providers.
#[derive(Debug, Default)]
pub(crate) struct Provided {
    /// Calls that were not marked as a repetition.
    pub(crate) first: u32,
    pub(crate) again: u32,
}

#[derive(Debug)]
pub(crate) struct RouterSim {
    pub(crate) owner: Option<Owner<MemoryStore>>,
    pub(crate) store: MemoryStore,
    /// What a power cut leaves.
    persisted: MemoryStore,
    persisted_commits: u64,
    pub(crate) journal: Journal,
    /// Committed in the store, not yet forced to the disk.
    positions: BTreeMap<(wire::message::Priority, u32), Position>,
    pub(crate) provided: BTreeMap<DeliveryKey, Provided>,
    next_link: u64,
    /// Counts starts; answers to an earlier run are lost.
    run: u64,
    timer_us: Option<u64>,
    /// 1 in so many turns, the process dies before or behind its commit. 0: never.
    pub(crate) crash_one_in: u64,
    pub(crate) alerts: Vec<String>,
}

/// What a turn ended with.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Turned {
    Done,
    Died,
}

impl RouterSim {
    pub(crate) fn new() -> RouterSim {
        RouterSim {
            owner: None,
            store: MemoryStore::new(),
            persisted: MemoryStore::new(),
            persisted_commits: 0,
            journal: Journal::default(),
            positions: BTreeMap::new(),
            provided: BTreeMap::new(),
            next_link: 0,
            run: 0,
            timer_us: None,
            crash_one_in: 0,
            alerts: Vec::new(),
        }
    }

    fn now(events: &Events) -> Now {
        Now { mono: events.mono(), wall: events.wall() }
    }

    pub(crate) fn is_up(&self) -> bool {
        self.owner.is_some()
    }

    pub(crate) fn start(&mut self, links: &mut Links, events: &mut Events) {
        if self.is_up() {
            return;
        }
        self.run += 1;
        self.journal.start(events.bits());
        let config =
            OwnerConfig { partitions: PARTITIONS, push_per_user_hour: 10_000, ..OwnerConfig::default() };
        let owner = Owner::open(self.store.clone(), config, events.bits(), RouterSim::now(events));
        self.owner = Some(owner.expect("a store in memory opens"));
        events.within(0, 5 * MS, Event::Read);
        self.turn(links, events, |_, _| {});
    }

    /// The process is gone; the store keeps what was committed.
    pub(crate) fn crash(&mut self, links: &mut Links, events: &mut Events) {
        self.owner = None;
        links.all.values_mut().for_each(|link| link.known = None);
        self.positions.clear();
        self.timer_us = None;
        // A commit that was failing does not outlive the process.
        self.store.fail_commits(0);
        let ids: Vec<u64> = links.all.keys().copied().collect();
        for id in ids {
            links.cut(id, events);
        }
        events.within(50 * MS, 3 * S, Event::Fault(crate::events::Fault::Restart));
    }

    /// The machine is gone; the store keeps what was forced to the disk.
    pub(crate) fn cut_power(&mut self, links: &mut Links, events: &mut Events) {
        self.store = self.persisted.snapshot();
        self.crash(links, events);
    }

    pub(crate) fn persist(&mut self) {
        if self.is_up() && self.store.commits() != self.persisted_commits {
            self.persisted = self.store.snapshot();
            self.persisted_commits = self.store.commits();
        }
        // The journal is told only of what the disk has.
        if self.is_up() {
            for position in std::mem::take(&mut self.positions).into_values() {
                self.journal.commit(position);
            }
        }
    }

    /// One turn of the run loop: an input, a commit, the outputs.
    pub(crate) fn turn(
        &mut self,
        links: &mut Links,
        events: &mut Events,
        input: impl FnOnce(&mut Owner<MemoryStore>, Now),
    ) -> Turned {
        let now = RouterSim::now(events);
        let Some(owner) = self.owner.as_mut() else { return Turned::Died };
        input(owner, now);
        let dies = self.crash_one_in > 0 && events.one_in(self.crash_one_in);
        let dies_before_commit = dies && events.one_in(2);
        if dies_before_commit {
            self.crash(links, events);
            return Turned::Died;
        }
        let committed = (0..COMMIT_TRIES_MAX).any(|_| owner.commit().is_ok());
        assert!(committed, "the store fails a few times, not for ever");
        if dies {
            self.crash(links, events);
            return Turned::Died;
        }
        while let Some(output) = self.owner.as_mut().and_then(Owner::poll_output) {
            self.carry_out(output, links, events);
        }
        self.arm(events);
        Turned::Done
    }

    fn carry_out(&mut self, output: Output, links: &mut Links, events: &mut Events) {
        match output {
            Output::Link { link, frame } => {
                let Some((id, link_of)) = links.known_as(link) else { return };
                let pushed = link_of.queue.push(frame);
                links.flush(id, events);
                if let Pushed::Dropped(
                    Frame::Deliver { tag, id: of, .. } | Frame::Broadcast { tag, id: of, .. },
                ) = pushed
                {
                    let frame = Frame::Result { tag, id: of, result: DeliveryResult::Slow };
                    events.within(0, 0, Event::ToRouter { link: id, frame });
                    return;
                }
                assert_ne!(pushed, Pushed::Overrun, "a story is too short to overrun a link");
            }
            Output::Provide(call) => self.provide(call, events),
            Output::Committed(position) => {
                self.positions.insert((position.priority, position.partition), position);
            }
            Output::Answer { .. }
            | Output::Shown { .. }
            | Output::Forgotten { .. }
            | Output::Recall { .. } => {}
            Output::Alert { name, detail, .. } => self.alerts.push(format!("{name}: {detail}")),
        }
    }

    fn provide(&mut self, call: ProviderCall, events: &mut Events) {
        let provided = self.provided.entry(call.delivery.clone()).or_default();
        if call.again || call.attempt > 1 {
            provided.again += 1;
        } else {
            provided.first += 1;
        }
        let outcome = match events.between(0, 9) {
            0 => Outcome::Delivered,
            1 => Outcome::Retry { after: std::time::Duration::from_millis(events.between(100, 4_000)) },
            2 => Outcome::Unknown,
            3 => Outcome::Drop { reason: "no such number".to_owned() },
            _ => Outcome::HandedOver,
        };
        let (run, delivery) = (self.run, call.delivery);
        events.within(MS, 400 * MS, Event::ProviderAnswers { run, delivery, outcome });
    }

    /// The timer is set anew only when it is due earlier than it was.
    fn arm(&mut self, events: &mut Events) {
        let Some(due) = self.owner.as_ref().and_then(Owner::poll_timeout) else { return };
        let due_us = due.since(wire::time::Mono(1_000_000)).as_micros() as u64;
        if self.timer_us.is_none_or(|set| due_us < set) {
            self.timer_us = Some(due_us);
            events.at_mono(due, Event::RouterTimer);
        }
    }

    pub(crate) fn timer(&mut self, links: &mut Links, events: &mut Events) {
        self.timer_us = None;
        let due = self.owner.as_ref().and_then(Owner::poll_timeout).is_some_and(|due| due <= events.mono());
        if due {
            self.turn(links, events, Owner::handle_timeout);
        }
        self.arm(events);
    }

    pub(crate) fn read(&mut self, links: &mut Links, events: &mut Events) {
        let now = RouterSim::now(events);
        let Some(owner) = self.owner.as_ref() else { return };
        if let Some(pause) = owner.reading_pause(now) {
            let pause_us = pause.as_micros() as u64;
            events.within(pause_us, pause_us + MS, Event::Read);
            return;
        }
        let entries = self.journal.read();
        if entries.is_empty() {
            return;
        }
        self.turn(links, events, |owner, now| {
            for entry in entries {
                owner.handle_entry(entry, now);
            }
        });
        if self.journal.has_more() {
            events.within(10, MS, Event::Read);
        }
    }

    pub(crate) fn answer(
        &mut self,
        run: u64,
        delivery: DeliveryKey,
        outcome: Outcome,
        links: &mut Links,
        events: &mut Events,
    ) {
        if run == self.run {
            self.turn(links, events, |owner, now| owner.handle_outcome(delivery, outcome, now));
        }
    }

    /// A frame of a shard's reaches the router's porch.
    pub(crate) fn frame(&mut self, id: u64, frame: Frame, links: &mut Links, events: &mut Events) {
        let Some(link) = links.all.get_mut(&id).filter(|link| !link.is_cut) else { return };
        if !self.is_up() {
            return;
        }
        match frame {
            Frame::Hello { node, shard, .. } => {
                self.next_link += 1;
                let known = LinkId(self.next_link);
                link.known = Some(known);
                link.queue.grant_to_shard(LINK_CREDIT_GRANTED);
                let hello = Frame::Hello {
                    major: MAJOR,
                    minor: MINOR,
                    node: "r1".to_owned(),
                    shard: 0,
                    boot: self.run,
                };
                links.send_to_shard(id, hello, events);
                self.turn(links, events, |owner, now| owner.handle_link_up(known, &node, shard, now));
                links.flush(id, events);
            }
            Frame::Ping { t } => {
                link.queue.answer_ping(t);
                links.flush(id, events);
            }
            Frame::Pong { .. } => {}
            Frame::Credit { frames } => {
                link.queue.grant(frames);
                links.flush(id, events);
            }
            frame => {
                let Some(known) = link.known else { return };
                if matches!(frame, Frame::ClientMessage { .. }) {
                    link.spent += 1;
                    assert!(link.spent <= LINK_CREDIT_GRANTED, "a shard sent more than it had credit for");
                    if link.spent >= LINK_CREDIT_GRANTED / 4 {
                        link.queue.grant_to_shard(std::mem::take(&mut link.spent));
                    }
                }
                self.turn(links, events, |owner, now| owner.handle_link_frame(known, frame, now));
                links.flush(id, events);
            }
        }
    }

    pub(crate) fn lose_link(&mut self, id: u64, links: &mut Links, events: &mut Events) {
        let known = links.all.get_mut(&id).and_then(|link| link.known.take());
        if let Some(known) = known {
            self.turn(links, events, |owner, now| owner.handle_link_down(known, now));
        }
    }
}
