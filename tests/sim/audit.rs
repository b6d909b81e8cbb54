//! The ledger, audited after every commit: I1 (each delivery in one state, moves that are none, the counters' equation
//! against a count of its own), I3 (rows and receipts of those who are meant), I5 (what a row may hold).
//!
//! Incremental: only what a batch wrote is looked at. Behind a power cut everything is counted anew.

use std::collections::BTreeMap;

use bytes::Bytes;
use router::classify::Recipient;
use router::ledger::row::MOMENTS_MAX;
use router::ledger::state::Kind;
use router::ledger::{Counters, LedgerRow, Reason, State};
use router::record::Channel;
use router::store::{Batch, Order, Range, Space, Store, keys};
use uuid::Uuid;

use crate::events::Events;
use crate::model::Model;
use crate::store::SimStore;
use crate::ways::Ways;

const COUNTERS: &[u8] = b"counters";
const KINDS: usize = Kind::ALL.len();

/// How many deliveries are in each state, by channel.
type Tallies = [[u64; KINDS]; Channel::ALL.len()];

#[derive(Debug, Default)]
pub(crate) struct Audit {
    rows: BTreeMap<Vec<u8>, Vec<(Channel, Kind)>>,
    tallies: Tallies,
    counters: Option<Counters>,
    /// How long the ledger keeps what is final.
    pub(crate) ledger_kept_us: u64,
}

impl Audit {
    pub(crate) fn note(&mut self, batch: &Batch, model: &Model, ways: &mut Ways, events: &mut Events) {
        let mut counts = false;
        for (space, key, value) in &batch.writes {
            match (space, value) {
                (Space::Ledger, Some(row)) => {
                    self.written(key, row, model, ways, events);
                    counts = true;
                }
                (Space::Ledger, None) => {
                    self.removed(key, model, events);
                    counts = true;
                }
                (Space::Marks, Some(_)) => marked(key, model, events),
                (Space::Meta, Some(row)) if key == COUNTERS => {
                    self.counters = Counters::decode(Some(row)).ok();
                    counts = true;
                }
                _ => {}
            }
        }
        if counts {
            self.check_equation(events);
        }
    }

    fn written(&mut self, key: &[u8], row: &Bytes, model: &Model, ways: &mut Ways, events: &mut Events) {
        let Ok((id, to)) = keys::ledger_parts(key) else {
            return events.broken("I1", "a key of the ledger that is none");
        };
        let row = match LedgerRow::decode(row.clone()) {
            Ok(row) => row,
            Err(error) => return events.broken("I1", format!("{id} for {to}: {error}")),
        };
        let states: Vec<_> = row.deliveries.iter().map(|one| (one.channel, one.state.kind())).collect();
        let before = self.rows.get(key).cloned().unwrap_or_default();
        if before.is_empty() {
            check_new(id, &to, &row, model, events);
        }
        for (channel, _) in &before {
            if !states.iter().any(|(other, _)| other == channel) {
                events.broken("I1", format!("{id} for {to} lost its {}", channel.name()));
            }
        }
        for delivery in &row.deliveries {
            let (channel, kind) = (delivery.channel, delivery.state.kind());
            let was = before.iter().find(|(other, _)| *other == channel).map(|(_, kind)| *kind);
            if was != Some(kind) {
                if was.is_some_and(|was| !may_follow(was, kind)) {
                    let name = channel.name();
                    events.broken("I1", format!("{id} for {to} by {name} went from {was:?} to {kind:?}"));
                }
                check_receipt(id, &to, channel, kind, model, events);
                if let (State::Dropped(Reason::PushLimit), Recipient::User(user)) = (&delivery.state, &to) {
                    ways.hold_back(user, id, model, events);
                }
            }
            if delivery.timeline.len() > MOMENTS_MAX {
                events.broken("I5", format!("{id} for {to}: a timeline of {}", delivery.timeline.len()));
            }
        }
        count(&mut self.tallies, &before, false);
        count(&mut self.tallies, &states, true);
        self.rows.insert(key.to_vec(), states);
    }

    /// Retention alone removes rows, of what is old enough. What ended and went in one turn was never seen final here; that
    /// it did not go open is in the counters, which keep what is forgotten by its state.
    fn removed(&mut self, key: &[u8], model: &Model, events: &mut Events) {
        let Some(states) = self.rows.remove(key) else { return };
        count(&mut self.tallies, &states, false);
        let Ok((id, to)) = keys::ledger_parts(key) else { return };
        let old = events.now_us() + model.ahead_us;
        let young = model.promise(id).is_none_or(|promise| old < promise.handed_in_us + self.ledger_kept_us);
        if young {
            events.broken("I1", format!("{id} for {to} was removed before its time"));
        }
    }

    fn check_equation(&self, events: &mut Events) {
        let Some(counters) = &self.counters else {
            if self.tallies != Tallies::default() {
                events.broken("I1", "there are deliveries and no counters");
            }
            return;
        };
        if !counters.balanced() {
            events.broken("I1", "the counters do not add up");
        }
        let told = counters.deliveries();
        for channel in Channel::ALL {
            let (told, counted) = (told.channel(channel), &self.tallies[channel as usize]);
            let agrees = Kind::ALL.into_iter().zip(counted).all(|(kind, count)| told.of(kind) == *count);
            if !agrees || told.accepted != counted.iter().sum::<u64>() {
                let name = channel.name();
                events.broken("I1", format!("{name}: the counters say {told:?}, the rows {counted:?}"));
            }
        }
    }

    /// Behind a power cut: what the disk had, counted from nothing.
    pub(crate) fn recount(&mut self, store: &SimStore, events: &mut Events) {
        (self.rows, self.tallies) = (BTreeMap::new(), Tallies::default());
        let rows = store.rows.scan(Space::Ledger, &Range::all(), Order::Forward, usize::MAX);
        for (key, row) in rows.expect("a store in memory is read") {
            let Ok(row) = LedgerRow::decode(row) else { continue };
            let states: Vec<_> = row.deliveries.iter().map(|one| (one.channel, one.state.kind())).collect();
            count(&mut self.tallies, &states, true);
            self.rows.insert(key, states);
        }
        let row = store.rows.get(Space::Meta, COUNTERS).expect("a store in memory is read");
        self.counters = row.and_then(|row| Counters::decode(Some(&row)).ok());
        self.check_equation(events);
    }

    /// How many are open, for the end of a story.
    pub(crate) fn open(&self) -> u64 {
        self.tallies.iter().map(|states| states[Kind::Open as usize]).sum()
    }
}

fn count(tallies: &mut Tallies, states: &[(Channel, Kind)], comes: bool) {
    for (channel, kind) in states {
        let tally = &mut tallies[*channel as usize][*kind as usize];
        if comes { *tally += 1 } else { *tally -= 1 }
    }
}

fn check_new(id: Uuid, to: &Recipient, row: &LedgerRow, model: &Model, events: &mut Events) {
    let Some(promise) = model.promise(id) else {
        return events.broken("I1", format!("{id} was never handed in"));
    };
    if !promise.recipients().contains(to) {
        events.broken("I3", format!("{id} has a row for {to}, who is not meant"));
    }
    if let Some(other) = row.deliveries.iter().find(|delivery| !promise.has(delivery.channel)) {
        events.broken("I1", format!("{id} goes by {}, which nobody asked for", other.channel.name()));
    }
}

/// A receipt in the inbox is an act of the user's own.
fn check_receipt(id: Uuid, to: &Recipient, channel: Channel, kind: Kind, model: &Model, events: &mut Events) {
    if let Recipient::User(user) = to
        && (channel, kind) == (Channel::Inapp, Kind::Delivered)
        && !model.has_acted(user, id)
    {
        events.broken("I3", format!("{id} counts as seen by {user}, who never said so"));
    }
}

/// A user's mark on something that this user never acted on.
fn marked(key: &[u8], model: &Model, events: &mut Events) {
    let Some((stream, id)) = key.split_last_chunk::<16>() else { return };
    let id = Uuid::from_bytes(*id);
    if let Some(user) = model.users.iter().find(|user| keys::user(user) == stream)
        && !model.has_acted(user, id)
    {
        events.broken("I3", format!("{id} is marked for {user}, who never said so"));
    }
}

/// What a delivery may become. Nothing opens what was final: no story replays.
fn may_follow(was: Kind, is: Kind) -> bool {
    match was {
        Kind::Open => true,
        Kind::HandedOver => matches!(is, Kind::Delivered | Kind::Expired | Kind::Dropped),
        Kind::FellBack => is == Kind::Delivered,
        Kind::Unknown => matches!(is, Kind::Delivered | Kind::HandedOver | Kind::Dropped),
        Kind::Delivered | Kind::Expired | Kind::Dropped | Kind::DeadLettered => false,
    }
}
