//! The equation, counted: accepted = delivered + handed over + fell back + expired + dropped + dead-lettered +
//! unknown + open, for each channel, and what was read of each lane.
//!
//! Owns one row that the owner writes in the same batch as the states it counts. Never scans: [`recount`] does, for
//! tests and for an operator who doubts.

use bytes::Bytes;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use wire::message::Priority;
use wire::time::Wall;

use super::row::LedgerRow;
use super::sequences::{GAPS_SHOWN_MAX, Gap};
use super::state::{Kind, Reason, State};
use crate::record::Channel;
use crate::store::{Space, StoreError};

/// The version of the row.
const VERSION: u8 = 1;

/// One side of the equation and the other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    pub accepted: u64,
    pub open: u64,
    pub delivered: u64,
    pub handed_over: u64,
    pub fell_back: u64,
    pub expired: u64,
    pub dropped: u64,
    pub dead_lettered: u64,
    pub unknown: u64,
}

impl Tally {
    pub fn of(&self, kind: Kind) -> u64 {
        let mut copy = *self;
        *copy.slot(kind)
    }

    fn slot(&mut self, kind: Kind) -> &mut u64 {
        match kind {
            Kind::Open => &mut self.open,
            Kind::Delivered => &mut self.delivered,
            Kind::HandedOver => &mut self.handed_over,
            Kind::FellBack => &mut self.fell_back,
            Kind::Expired => &mut self.expired,
            Kind::Dropped => &mut self.dropped,
            Kind::DeadLettered => &mut self.dead_lettered,
            Kind::Unknown => &mut self.unknown,
        }
    }

    /// What accepted deliveries are accounted for; as large as `accepted`, or something is wrong.
    pub fn accounted(&self) -> u64 {
        Kind::ALL.into_iter().map(|kind| self.of(kind)).sum()
    }

    fn without(&self, other: &Tally) -> Tally {
        let mut rest = Tally { accepted: self.accepted - other.accepted, ..Tally::default() };
        for kind in Kind::ALL {
            *rest.slot(kind) = self.of(kind) - other.of(kind);
        }
        rest
    }

    fn add(&mut self, other: &Tally) {
        self.accepted += other.accepted;
        for kind in Kind::ALL {
            *self.slot(kind) += other.of(kind);
        }
    }
}

/// Records of one priority.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lane {
    /// Handed to the owner by the journal, repetitions apart.
    pub read: u64,
    /// Of these, turned into deliveries.
    pub processed: u64,
    /// Of these, dead-lettered as they were.
    pub dead_lettered: u64,
    /// Given again; they changed nothing.
    pub repeated: u64,
}

impl Lane {
    /// A record that came for the first time and was turned into deliveries.
    pub fn note_processed(&mut self) {
        self.read += 1;
        self.processed += 1;
    }
}

/// Everything that is counted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    v: u8,
    channels: [Tally; Channel::ALL.len()],
    /// Deliveries dropped, by [`Reason::NAMES`].
    #[serde(deserialize_with = "padded")]
    dropped: [u64; Reason::NAMES.len()],
    /// Records dead-lettered as wholes. Each counts as one delivery that was accepted and dead-lettered.
    records_dead_lettered: u64,
    lanes: [Lane; Priority::ALL.len()],
    /// Of `channels` and `dropped`: what no row tells of any more, by the state it ended in.
    #[serde(default)]
    forgotten: [Tally; Channel::ALL.len()],
    #[serde(default, deserialize_with = "padded")]
    forgotten_dropped: [u64; Reason::NAMES.len()],
}

/// A build that knew fewer reasons wrote fewer numbers.
fn padded<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u64; Reason::NAMES.len()], D::Error> {
    let written = Vec::<u64>::deserialize(deserializer)?;
    let mut counts = [0; Reason::NAMES.len()];
    let known = counts.get_mut(..written.len()).ok_or_else(|| D::Error::custom("too many reasons"))?;
    known.copy_from_slice(&written);
    Ok(counts)
}

impl Counters {
    pub fn decode(row: Option<&Bytes>) -> Result<Counters, StoreError> {
        let Some(row) = row else { return Ok(Counters { v: VERSION, ..Counters::default() }) };
        let damaged = |what| StoreError::Damaged { space: Space::Meta, what };
        let counters: Counters = serde_json::from_slice(row).map_err(|error| damaged(error.to_string()))?;
        if counters.v == VERSION {
            Ok(counters)
        } else {
            Err(damaged(format!("counters of version {}", counters.v)))
        }
    }

    pub fn encode(&self) -> Bytes {
        serde_json::to_vec(self).expect("numbers serialize").into()
    }

    /// A delivery was accepted and is open.
    pub(crate) fn accept(&mut self, channel: Channel) {
        let tally = &mut self.channels[channel as usize];
        tally.accepted += 1;
        tally.open += 1;
    }

    /// A delivery went from one state to another.
    pub(crate) fn move_on(&mut self, channel: Channel, from: &State, to: &State) {
        let tally = &mut self.channels[channel as usize];
        *tally.slot(from.kind()) -= 1;
        *tally.slot(to.kind()) += 1;
        if let State::Dropped(reason) = from {
            self.dropped[reason.index()] -= 1;
        }
        if let State::Dropped(reason) = to {
            self.dropped[reason.index()] += 1;
        }
    }

    pub(crate) fn lane(&mut self, priority: Priority) -> &mut Lane {
        &mut self.lanes[priority as usize]
    }

    pub(crate) fn dead_letter_record(&mut self) {
        self.records_dead_lettered += 1;
    }

    /// A dead-lettered record came to life: its deliveries are counted in its stead.
    pub(crate) fn revive_record(&mut self) {
        self.records_dead_lettered -= 1;
    }

    /// A row goes. What it told of stays counted as it ended.
    pub(crate) fn forget_row(&mut self, row: &LedgerRow) {
        for delivery in &row.deliveries {
            let tally = &mut self.forgotten[delivery.channel as usize];
            tally.accepted += 1;
            *tally.slot(delivery.state.kind()) += 1;
            if let State::Dropped(reason) = &delivery.state {
                self.forgotten_dropped[reason.index()] += 1;
            }
        }
    }

    /// Deliveries whose rows are gone.
    pub fn forgotten(&self) -> u64 {
        self.forgotten.iter().map(|tally| tally.accepted).sum()
    }

    /// What a row adds, for a recount.
    pub(crate) fn add_row(&mut self, row: &LedgerRow) {
        for delivery in &row.deliveries {
            let tally = &mut self.channels[delivery.channel as usize];
            tally.accepted += 1;
            *tally.slot(delivery.state.kind()) += 1;
            if let State::Dropped(reason) = &delivery.state {
                self.dropped[reason.index()] += 1;
            }
        }
    }

    /// Those of another owner beside these.
    pub fn add(&mut self, other: &Counters) {
        let pairs = self.channels.iter_mut().zip(&other.channels);
        let forgotten = self.forgotten.iter_mut().zip(&other.forgotten);
        pairs.chain(forgotten).for_each(|(tally, more)| tally.add(more));
        let dropped = self.dropped.iter_mut().zip(&other.dropped);
        let forgotten = self.forgotten_dropped.iter_mut().zip(&other.forgotten_dropped);
        dropped.chain(forgotten).for_each(|(count, more)| *count += more);
        self.records_dead_lettered += other.records_dead_lettered;
        for (lane, more) in self.lanes.iter_mut().zip(&other.lanes) {
            lane.read += more.read;
            lane.processed += more.processed;
            lane.dead_lettered += more.dead_lettered;
            lane.repeated += more.repeated;
        }
    }

    pub fn channel(&self, channel: Channel) -> Tally {
        self.channels[channel as usize]
    }

    pub fn lane_of(&self, priority: Priority) -> Lane {
        self.lanes[priority as usize]
    }

    /// Name of the reason and number of deliveries.
    pub fn dropped(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        Reason::NAMES.into_iter().zip(self.dropped)
    }

    /// All channels, and the records that were dead-lettered as they came.
    pub fn total(&self) -> Tally {
        let mut total = Tally {
            accepted: self.records_dead_lettered,
            dead_lettered: self.records_dead_lettered,
            ..Tally::default()
        };
        self.channels.iter().for_each(|tally| total.add(tally));
        total
    }

    /// Whether each side of the equation is as large as the other, in every channel and lane.
    pub fn balanced(&self) -> bool {
        let dropped: u64 = self.channels.iter().map(|tally| tally.dropped).sum();
        self.channels.iter().all(|tally| tally.accepted == tally.accounted())
            && dropped == self.dropped.iter().sum::<u64>()
            && self.lanes.iter().all(|lane| lane.read == lane.processed + lane.dead_lettered)
            && self.forgotten.iter().all(|tally| tally.open == 0)
    }

    /// The deliveries that rows still tell of, to be compared with a recount.
    pub fn deliveries(&self) -> Counters {
        let mut told = Counters { v: self.v, ..Counters::default() };
        for (i, tally) in told.channels.iter_mut().enumerate() {
            *tally = self.channels[i].without(&self.forgotten[i]);
        }
        for (i, count) in told.dropped.iter_mut().enumerate() {
            *count = self.dropped[i] - self.forgotten_dropped[i];
        }
        told
    }
}

/// `GET /v1/reconcile`.
#[derive(Debug, Clone, Serialize)]
pub struct Reconciliation {
    pub at: Wall,
    /// Deliveries, all channels together.
    #[serde(flatten)]
    pub total: Tally,
    /// Accepted and in no state: 0, or something is wrong.
    pub unaccounted: i64,
    /// Of `accepted`: deliveries whose rows are gone. They are counted in the state that they ended in.
    pub forgotten: u64,
    pub channels: Vec<NamedTally>,
    pub dropped_by_reason: Vec<NamedCount>,
    /// Records, by priority.
    pub lanes: Vec<NamedLane>,
    /// Records that the journal has and the owner has not finished.
    pub journal_lag: u64,
    /// Sequence numbers that were given out and never came here.
    pub missing: u64,
    /// The same, but they may still come.
    pub awaited: u64,
    pub gaps: Vec<Gap>,
    /// More gaps than are shown.
    pub more_gaps: bool,
    pub balanced: bool,
}

#[derive(Debug, Clone, Serialize)]
pub struct NamedTally {
    pub channel: Channel,
    #[serde(flatten)]
    pub tally: Tally,
}

#[derive(Debug, Clone, Serialize)]
pub struct NamedCount {
    pub reason: &'static str,
    pub count: u64,
}

#[derive(Debug, Clone, Serialize)]
pub struct NamedLane {
    pub priority: Priority,
    #[serde(flatten)]
    pub lane: Lane,
}

impl Reconciliation {
    /// `gaps`: at most as many as are to be shown; `missing` and `awaited` count all.
    pub fn new(at: Wall, counters: &Counters, journal_lag: u64, gaps: Gaps) -> Reconciliation {
        let total = counters.total();
        Reconciliation {
            at,
            total,
            unaccounted: total.accepted.cast_signed() - total.accounted().cast_signed(),
            forgotten: counters.forgotten(),
            channels: Channel::ALL
                .into_iter()
                .map(|channel| NamedTally { channel, tally: counters.channel(channel) })
                .collect(),
            dropped_by_reason: counters
                .dropped()
                .map(|(reason, count)| NamedCount { reason, count })
                .collect(),
            lanes: Priority::ALL
                .into_iter()
                .map(|priority| NamedLane { priority, lane: counters.lane_of(priority) })
                .collect(),
            journal_lag,
            missing: gaps.missing,
            awaited: gaps.awaited,
            balanced: counters.balanced() && gaps.missing == 0,
            gaps: gaps.shown,
            more_gaps: gaps.more,
        }
    }
}

/// What [`super::sequences`] found.
#[derive(Debug, Clone, Default)]
pub struct Gaps {
    pub shown: Vec<Gap>,
    pub more: bool,
    pub missing: u64,
    pub awaited: u64,
}

impl Gaps {
    /// Those of another owner beside these.
    pub fn add(&mut self, other: Gaps) {
        self.missing += other.missing;
        self.awaited += other.awaited;
        self.more |= other.more;
        let room = GAPS_SHOWN_MAX.saturating_sub(self.shown.len());
        self.more |= other.shown.len() > room;
        self.shown.extend(other.shown.into_iter().take(room));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Event;

    #[test]
    fn two_owners_counters_add_up_and_balance() {
        let mut sum = Counters::decode(None).expect("a new one");
        for channel in [Channel::Push, Channel::Sms] {
            let mut one = Counters::decode(None).expect("a new one");
            one.accept(channel);
            one.move_on(channel, &State::Open { due_at: None }, &State::Dropped(Reason::Shed));
            one.lane(Priority::High).note_processed();
            one.dead_letter_record();
            sum.add(&one);
        }
        let total = sum.total();
        assert!(sum.balanced());
        assert_eq!((total.accepted, total.dropped, total.dead_lettered), (4, 2, 2));
        assert_eq!(sum.lane_of(Priority::High).read, 2);
    }

    #[test]
    fn a_delivery_is_on_both_sides_wherever_it_goes() {
        let mut counters = Counters::decode(None).expect("a new one");
        let open = State::Open { due_at: None };
        for state in [State::Delivered, State::Dropped(Reason::Shed), State::Unknown] {
            counters.accept(Channel::Push);
            counters.move_on(Channel::Push, &open, &state);
            assert!(counters.balanced());
        }
        counters.move_on(Channel::Push, &State::Dropped(Reason::Shed), &open);
        let tally = counters.channel(Channel::Push);
        assert_eq!((tally.accepted, tally.open, tally.delivered, tally.unknown), (3, 1, 1, 1));
        assert!(counters.balanced() && counters.dropped().all(|(_, count)| count == 0));
        let read = Counters::decode(Some(&counters.encode()));
        assert_eq!(read, Ok(counters));
    }

    #[test]
    fn what_is_forgotten_stays_on_both_sides() {
        let mut counters = Counters::decode(None).expect("a new one");
        let mut row = LedgerRow::default();
        row.accept(Channel::Push, Wall(1), &mut counters);
        row.apply(Channel::Push, &Event::Drop(Reason::Shed), Wall(2), &mut counters);
        let before = counters.total();
        counters.forget_row(&row);
        assert!(counters.balanced());
        assert_eq!((counters.total(), counters.forgotten()), (before, 1));
        assert_eq!(counters.deliveries().total(), Tally::default(), "no row tells of it");
    }

    /// As an earlier build wrote them.
    #[test]
    fn counters_without_the_forgotten_are_read() {
        let mut json = serde_json::to_value(Counters::decode(None).expect("a new one")).expect("JSON");
        let fields = json.as_object_mut().expect("an object");
        assert!(fields.remove("forgotten").is_some() && fields.remove("forgotten_dropped").is_some());
        fields.insert("dropped".to_owned(), serde_json::json!([0, 3, 0, 0, 0, 0]));
        let row = Bytes::from(json.to_string());
        let counters = Counters::decode(Some(&row)).expect("an earlier build's");
        assert_eq!(counters.dropped().nth(1), Some(("cancelled", 3)));
        assert_eq!(Counters::decode(Some(&row)).map(|counters| counters.forgotten()), Ok(0));
    }

    #[test]
    fn counters_of_another_version_are_damage() {
        let counters = Counters { v: 9, ..Counters::default() };
        assert!(Counters::decode(Some(&counters.encode())).is_err());
    }
}
