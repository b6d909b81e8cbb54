//! The router: the owner itself, on a store in memory, with the journal, the ways out and the run loop around it. After each
//! turn: nothing left before its commit, the audit of what was written, bounds.

use std::collections::BTreeMap;
use std::time::Duration;

use router::contacts::asked::Asked;
use router::journal::Position;
use router::limits::{LINK_CREDIT_GRANTED, LINK_QUEUE_PAID_MAX};
use router::links::queue::Pushed;
use router::owner::{Command, DeliveryKey, LinkId, Now, Outcome, Output, Owner, OwnerConfig};
use router::provider::way::{Way, Ways};
use router::store::{Space, Store, keys};
use wire::link::{DeliveryResult, Frame, MAJOR, MINOR};
use wire::message::Priority;

use crate::audit::Audit;
use crate::events::{Event, Events, Fault, MS, S, micros};
use crate::journal::{Journal, PARTITIONS};
use crate::links::Links;
use crate::model::Model;
use crate::store::SimStore;
use crate::ways::{self, PUSHES_PER_HOUR, TRIES_MAX};

/// Tries of one commit that the store fails.
const COMMIT_TRIES_MAX: u32 = 20;

#[derive(Debug)]
pub(crate) struct RouterSim {
    pub(crate) owner: Option<Owner<SimStore>>,
    pub(crate) store: SimStore,
    pub(crate) journal: Journal,
    /// Committed in the store, not yet forced to the disk.
    positions: BTreeMap<(Priority, u32), Position>,
    pub(crate) ways: ways::Ways,
    pub(crate) audit: Audit,
    pub(crate) model: Model,
    next_link: u64,
    /// Counts starts; answers to an earlier run are lost.
    run: u64,
    timer_us: Option<u64>,
    syncs_journal: bool,
    persisted_us: u64,
    /// 1 in so many turns, the process dies before or behind its commit. 0: never.
    pub(crate) crash_one_in: u64,
    /// Reads of the next turn that go well before some fail.
    pub(crate) failing_reads: Option<u32>,
    /// How long inbox and ledger keep what they have.
    kept: (Duration, Duration),
    pub(crate) crashes: u32,
}

/// What surrounds the router.
pub(crate) struct Street<'a> {
    pub(crate) links: &'a mut Links,
    pub(crate) events: &'a mut Events,
}

/// Two devices and a phone.
fn contacts() -> Asked {
    let body = r#"{"phone":"+4930123456","push":[{"kind":"fcm","token":"a"},{"kind":"apns","token":"ab"}]}"#;
    Asked::read(body.as_bytes()).expect("contacts")
}

impl RouterSim {
    pub(crate) fn new(users: &[String], events: &mut Events) -> RouterSim {
        let mut model = Model::default();
        model.users = users.to_vec();
        RouterSim {
            owner: None,
            store: SimStore::default(),
            journal: Journal::new(events),
            positions: BTreeMap::new(),
            ways: ways::Ways::default(),
            audit: Audit::default(),
            model,
            next_link: 0,
            run: 0,
            timer_us: None,
            syncs_journal: false,
            persisted_us: 0,
            crash_one_in: 0,
            failing_reads: None,
            kept: (Duration::ZERO, Duration::ZERO),
            crashes: 0,
        }
    }

    /// The spans of retention.
    pub(crate) fn keep_for(&mut self, inbox: Duration, ledger: Duration) {
        self.kept = (inbox, ledger);
        self.model.inbox_kept_us = inbox.as_micros() as u64;
        self.audit.ledger_kept_us = ledger.as_micros() as u64;
    }

    fn now(events: &Events) -> Now {
        Now { mono: events.mono(), wall: events.wall() }
    }

    pub(crate) fn is_up(&self) -> bool {
        self.owner.is_some()
    }

    pub(crate) fn start(&mut self, street: &mut Street<'_>) {
        if self.is_up() {
            return;
        }
        let events = &mut *street.events;
        self.run += 1;
        if self.run > 1 {
            self.journal.start(events);
            self.model.lost.clone_from(&self.journal.lost);
            self.model.owner_starts(self.persisted_us, events);
        }
        let config = OwnerConfig {
            partitions: PARTITIONS,
            push_per_user_hour: PUSHES_PER_HOUR,
            provider_tries_max: TRIES_MAX,
            // E-mail goes to the outbox.
            ways: Ways::of([Way::Fcm, Way::Apns, Way::Sms]),
            inbox_kept: self.kept.0,
            ledger_kept: self.kept.1,
            ..OwnerConfig::default()
        };
        let owner = Owner::open(self.store.clone(), config, events.bits(), RouterSim::now(events));
        self.owner = Some(owner.expect("a store in memory opens"));
        events.within(0, 5 * MS, Event::Read);
        let users = self.model.users.clone();
        let is_first = self.run == 1;
        self.turn(street, |owner, now| {
            for (i, user) in users.into_iter().enumerate().filter(|_| is_first) {
                owner.handle_command(i as u64, Command::PutContacts { user, asked: contacts() }, now);
            }
        });
    }

    /// The process is gone; the store keeps what was committed.
    pub(crate) fn crash(&mut self, street: &mut Street<'_>) {
        self.fall(street);
        self.journal.crash();
    }

    /// The machine is gone; the store keeps what was forced to the disk.
    pub(crate) fn cut_power(&mut self, street: &mut Street<'_>) {
        self.fall(street);
        self.store = self.store.after_power_cut();
        self.ways.power_cut();
        self.audit.recount(&self.store, street.events);
        self.model.had_power_cut = true;
        self.journal.cut_power(street.events);
    }

    fn fall(&mut self, street: &mut Street<'_>) {
        let Street { links, events } = street;
        self.owner = None;
        self.crashes += 1;
        self.positions.clear();
        self.timer_us = None;
        self.syncs_journal = false;
        // A store that was failing does not outlive the process.
        self.store.rows.fail_commits(0);
        self.store.rows.fail_reads(0);
        let ids: Vec<u64> = links.all.keys().copied().collect();
        for id in ids {
            links.router_loses(id);
            links.cut_by_router(id, events);
        }
        events.within(50 * MS, 3 * S, Event::Fault(Fault::Restart));
    }

    pub(crate) fn persist(&mut self, events: &mut Events) {
        if !self.is_up() {
            return;
        }
        self.store.persist().expect("a store in memory");
        self.ways.persisted();
        self.persisted_us = events.now_us();
        // The journal is told only of what the disk has.
        let positions = std::mem::take(&mut self.positions);
        for id in self.journal.commit(positions.into_values()) {
            let Some(promise) = self.model.promise(id) else { continue };
            let old = events.now_us() + self.model.ahead_us;
            if old > promise.handed_in_us + self.audit.ledger_kept_us {
                continue;
            }
            for to in promise.recipients() {
                if !self.store.is_persisted(Space::Ledger, &keys::ledger(id, &to)) {
                    let text = format!("{id} was given up by the journal, and the ledger has no {to}");
                    events.broken("I1", text);
                }
            }
        }
    }

    /// A service hands one in. Nobody answers it before the journal is synced.
    pub(crate) fn hand_in(&mut self, request: router::record::Request, events: &mut Events) -> uuid::Uuid {
        let id = events.uuid();
        if self.journal.stage(id, events.wall(), request.clone()) {
            self.model.hand_in(id, request, events);
            if !std::mem::replace(&mut self.syncs_journal, true) {
                events.within(50, 3 * MS, Event::JournalSync);
            }
        }
        id
    }

    pub(crate) fn sync_journal(&mut self, events: &mut Events) {
        if !self.is_up() {
            return;
        }
        self.syncs_journal = false;
        let (accepted, has_failed) = self.journal.sync();
        for id in accepted {
            self.model.accepted(id);
        }
        if has_failed {
            events.within(Journal::REVIVE_US, Journal::REVIVE_US + S, Event::JournalRevive);
        }
        events.within(10, 2 * MS, Event::Read);
    }

    pub(crate) fn revive_journal(&mut self, events: &mut Events) {
        if self.is_up() && !self.journal.revive() {
            events.within(Journal::REVIVE_US, Journal::REVIVE_US + S, Event::JournalRevive);
        }
    }

    /// One turn of the run loop: an input, a commit, the outputs. False: the process died of it.
    fn turn(&mut self, street: &mut Street<'_>, input: impl FnOnce(&mut Owner<SimStore>, Now)) -> bool {
        let now = RouterSim::now(street.events);
        let Some(owner) = self.owner.as_mut() else { return false };
        if let Some(good) = self.failing_reads.take() {
            self.store.rows.fail_reads_after(good, 2);
        }
        input(owner, now);
        let dies = self.crash_one_in > 0 && street.events.one_in(self.crash_one_in);
        if dies && street.events.one_in(2) {
            self.crash(street);
            return false;
        }
        let persists = self.store.persists();
        let outputs = self.commit(street.events);
        self.check_turn(&outputs, persists, street.events);
        if dies {
            self.crash(street);
            return false;
        }
        for output in outputs {
            self.carry_out(output, street);
        }
        self.arm(street.events);
        true
    }

    fn commit(&mut self, events: &mut Events) -> Vec<Output> {
        let Some(owner) = self.owner.as_mut() else { return Vec::new() };
        for _ in 0..COMMIT_TRIES_MAX {
            if owner.commit().is_ok() {
                self.store.rows.fail_reads(0);
                return std::iter::from_fn(|| owner.poll_output()).collect();
            }
            if let Some(output) = owner.poll_output() {
                events.broken("I1", format!("left before its commit: {output:?}"));
            }
        }
        panic!("the store fails a few times, not for ever");
    }

    fn check_turn(&mut self, outputs: &[Output], persists: u64, events: &mut Events) {
        let RouterSim { ways, model, audit, store, .. } = self;
        for output in outputs {
            if let Output::Provide(call) = output {
                ways.ask(call, model, events);
            }
        }
        for batch in store.take_fresh() {
            audit.note(&batch, model, ways, events);
        }
        if store.persists() != persists {
            ways.persisted();
        }
    }

    fn carry_out(&mut self, output: Output, street: &mut Street<'_>) {
        let Street { links, events } = street;
        match output {
            Output::Link { link, frame } => {
                let Some((id, link_of)) = links.known_as(link) else {
                    return events.broken("I5", format!("for a link that is down: {frame:?}"));
                };
                let pushed = link_of.queue.push(frame);
                let owed = link_of.queue.len();
                if owed > LINK_QUEUE_PAID_MAX || pushed == Pushed::Overrun {
                    events.broken("I5", format!("a link is owed {owed} frames"));
                }
                links.flush(id, events);
                if let Pushed::Dropped(
                    Frame::Deliver { tag, id: of, .. } | Frame::Broadcast { tag, id: of, .. },
                ) = pushed
                {
                    let frame = Frame::Result { tag, id: of, result: DeliveryResult::Slow };
                    events.within(0, 0, Event::ToRouter { link: id, frame });
                }
            }
            Output::Provide(call) => ways::answer(self.run, &call, events),
            Output::Committed(position) => {
                self.positions.insert((position.priority, position.partition), position);
            }
            Output::Alert { critical: true, name, detail } => {
                events.broken("I1", format!("an alert that nothing explains: {name}: {detail}"));
            }
            _ => {}
        }
    }

    /// The timer is set anew only when it is due earlier than it was.
    fn arm(&mut self, events: &mut Events) {
        let Some(due) = self.owner.as_ref().and_then(Owner::poll_timeout) else { return };
        let due_us = micros(due);
        if self.timer_us.is_none_or(|set| due_us < set) {
            self.timer_us = Some(due_us);
            events.at_mono(due, Event::RouterTimer);
        }
    }

    pub(crate) fn timer(&mut self, street: &mut Street<'_>) {
        self.timer_us = None;
        let due = self.owner.as_ref().and_then(Owner::poll_timeout);
        if due.is_some_and(|due| due <= street.events.mono()) {
            self.turn(street, Owner::handle_timeout);
        }
        self.arm(street.events);
    }

    pub(crate) fn read(&mut self, street: &mut Street<'_>) {
        let now = RouterSim::now(street.events);
        let Some(owner) = self.owner.as_ref() else { return };
        if let Some(pause) = owner.reading_pause(now) {
            let pause_us = pause.as_micros() as u64;
            street.events.within(pause_us, pause_us + MS, Event::Read);
            return;
        }
        let entries = self.journal.read(street.events);
        if entries.is_empty() {
            return;
        }
        self.turn(street, |owner, now| {
            for entry in entries {
                owner.handle_entry(entry, now);
            }
        });
        if self.journal.has_more() {
            street.events.within(10, MS, Event::Read);
        }
    }

    pub(crate) fn answer(
        &mut self,
        run: u64,
        delivery: DeliveryKey,
        outcome: Outcome,
        street: &mut Street<'_>,
    ) {
        if run != self.run || !self.is_up() {
            return;
        }
        let (key, came) = (delivery.clone(), outcome.clone());
        self.ways.answered(&key, &came);
        if self.turn(street, |owner, now| owner.handle_outcome(delivery, outcome, now)) {
            self.ways.settled(&key, &came);
        }
    }

    /// A frame of a shard's reaches the router's porch.
    pub(crate) fn frame(&mut self, id: u64, frame: Frame, street: &mut Street<'_>) {
        let Street { links, events } = street;
        if !self.is_up() || links.all.get(&id).is_none_or(|link| link.is_cut) {
            return;
        }
        links.heard(id, events);
        let Some(link) = links.all.get_mut(&id) else { return };
        match frame {
            Frame::Hello { node, shard, .. } => {
                self.next_link += 1;
                let known = LinkId(self.next_link);
                link.known = Some(known);
                link.queue.grant_to_shard(LINK_CREDIT_GRANTED);
                let node_of = "r1".to_owned();
                let hello =
                    Frame::Hello { major: MAJOR, minor: MINOR, node: node_of, shard: 0, boot: self.run };
                links.send_to_shard(id, hello, events);
                links.listen(id, events);
                self.turn(street, |owner, now| owner.handle_link_up(known, &node, shard, now));
            }
            Frame::Ping { t } => link.queue.answer_ping(t),
            Frame::Pong { .. } => {}
            Frame::Credit { frames } => {
                link.granted += u64::from(frames);
                link.queue.grant(frames);
            }
            frame => {
                let Some(known) = link.known else { return };
                if matches!(frame, Frame::ClientMessage { .. }) {
                    link.spent += 1;
                    if link.spent > LINK_CREDIT_GRANTED {
                        events.broken("I5", "a shard sent more than it had credit for");
                    }
                    if link.spent >= LINK_CREDIT_GRANTED / 4 {
                        link.queue.grant_to_shard(std::mem::take(&mut link.spent));
                    }
                }
                self.turn(street, |owner, now| owner.handle_link_frame(known, frame, now));
            }
        }
        street.links.flush(id, street.events);
    }

    pub(crate) fn lose_link(&mut self, id: u64, street: &mut Street<'_>) {
        if let Some(known) = street.links.router_loses(id) {
            self.turn(street, |owner, now| owner.handle_link_down(known, now));
        }
    }
}
