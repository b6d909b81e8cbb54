//! The owner's desk: the turn's writes, the counters, the stamps, and what is to be sent once they are committed.
//!
//! Owns what one input may change and how it is undone. Knows nothing of links' state or limits: decisions come in.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;
use uuid::Uuid;
use wire::link::Frame;
use wire::message::Priority;
use wire::time::Wall;

use super::cancellations;
use super::flights::Flights;
use super::logs::{self, LogRow};
use super::parked::Parked;
use super::people;
use super::retention::{self, Progress, Sweep};
use super::tickets::Revocations;
use super::words::{Output, OwnerConfig};
use crate::classify::Recipient;
use crate::inbox::Stamps;
use crate::journal::Position;
use crate::ledger::sequences::{self, Sequences};
use crate::ledger::{Counters, LedgerRow};
use crate::outcomes::{self, Asked, Hearer};
use crate::presence::LinkId;
use crate::projection::queue::{self, Past, Queue};
use crate::projection::rows::inbox_kept_there;
use crate::record::{Channel, Record, Sequence, Target, is_readable};
use crate::store::codec::{Decoder, Encoder};
use crate::store::keys;
use crate::store::turn::Turn;
use crate::store::{Order, Range, Space, Store, StoreError};
use crate::sync::history::{self, Lack};

const VERSION: u8 = 1;
pub(super) const COUNTERS_KEY: &[u8] = b"counters";
const STAMP_KEY: &[u8] = b"stamp";
const BOOTS_KEY: &[u8] = b"boots";
const STEADY_KEY: &[u8] = b"steady";
/// How far ahead the reach of the steady clock is written down, in microseconds: one row so often at most.
const REACH_US: i64 = 100_000;
/// How much of what was stamped before a stop may not have reached the shards, in microseconds.
const UNSENT_US: i64 = 10 * 60 * 1_000_000;

/// What comes due. Persistent by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Due {
    /// The acknowledgement, or the next channel.
    Deadline = 1,
    /// Another try of a provider; the channel stands behind the row's key.
    Retry = 2,
    /// The end of a life.
    Expiry = 3,
    /// A ticket's end.
    Ticket = 4,
    /// The record that was taken back never came.
    Cancellation = 5,
    /// Nothing of an erased person's can come back any more.
    Erased = 6,
    /// A one-use code is not told of any more.
    Otp = 7,
}

impl Due {
    pub(super) fn from_number(number: u8) -> Option<Due> {
        let all =
            [Due::Deadline, Due::Retry, Due::Expiry, Due::Ticket, Due::Cancellation, Due::Erased, Due::Otp];
        all.into_iter().find(|due| *due as u8 == number)
    }
}

/// What can be taken back when an input fails half-way.
#[derive(Debug, Clone)]
struct Mark {
    counters: Counters,
    stamps: Stamps,
    outputs: usize,
    numbers: [u64; 2],
    due_from: Option<Wall>,
    must_persist: bool,
    sweep: Progress,
    queue: Option<Queue>,
}

#[derive(Debug)]
pub(super) struct Desk<S> {
    pub(super) turn: Turn<S>,
    pub(super) counters: Counters,
    pub(super) stamps: Stamps,
    pub(super) sequences: Sequences,
    pub(super) flights: Flights,
    /// What waits for Cassandra, where there is one.
    pub(super) queue: Option<Queue>,
    /// What services are still to be told.
    outcomes: outcomes::Log,
    pub(super) config: OwnerConfig,
    /// Counts the starts; calls of an earlier one are provided again.
    pub(super) boot: u64,
    /// How far the steady clock has come, and how far it was written down to have come.
    pub(super) steady: Wall,
    reached: Option<Wall>,
    /// Rows of what waits together that this turn has looked at.
    pub(super) gathered: usize,
    /// Nothing is due before.
    pub(super) due_from: Option<Wall>,
    pub(super) sweep: Sweep,
    pub(super) revocations: Revocations,
    pub(super) parked: Parked,
    /// What chance is drawn from.
    pub(super) seed: u64,
    /// Something may have been taken back that the journal still holds.
    pub(super) has_cancellations: bool,
    /// Something may be known of somebody.
    pub(super) has_people: bool,
    /// What was accepted later meets nobody who was erased.
    pub(super) erased_until: Wall,
    /// What was promised to a client must survive a power cut.
    pub(super) must_persist: bool,
    /// Next numbers of the overflow log and the dead letters.
    numbers: [u64; 2],
    committed: Counters,
    committed_stamps: Stamps,
    outputs: Vec<Output>,
    ready: VecDeque<Output>,
    /// The furthest of each lane and partition.
    positions: BTreeMap<(Priority, u32), u64>,
    mark: Option<Mark>,
}

impl<S: Store> Desk<S> {
    pub(super) fn open(store: S, config: OwnerConfig, seed: u64, now: Wall) -> Result<Desk<S>, StoreError> {
        let counters = Counters::decode(store.get(Space::Meta, COUNTERS_KEY)?.as_ref())?;
        let stamps = Stamps { last: meta(&store, STAMP_KEY)?.map(|stamp| Wall(stamp.cast_signed())) };
        let boot = meta(&store, BOOTS_KEY)?.unwrap_or(0) + 1;
        let reached = meta(&store, STEADY_KEY)?.map(|reached| Wall(reached.cast_signed()));
        let next = |space| logs::next_number(&store, space, config.log_numbers_from);
        let numbers = [next(Space::Overflow)?, next(Space::DeadLetters)?];
        let has_cancellations = cancellations::any(&store)?;
        let has_people = people::any(&store)?;
        retention::complete(&store, now)?;
        let (sweep, held) = Sweep::new(now, reached);
        let unsent = stamps.last.map(|last| Wall(last.0.saturating_sub(UNSENT_US)));
        let outcomes = outcomes::Log::open(&store, &config.told_of_outcomes)?;
        let mut turn = Turn::new(store);
        sequences::forget(&mut turn, now)?;
        put_meta(&mut turn, BOOTS_KEY, boot);
        let bytes_max = config.projected_bytes_max;
        let past = match (boot, config.projected_from_nothing) {
            (1, true) => Past::None,
            (1, false) => Past::Elsewhere,
            _ => Past::Here,
        };
        let open = |bytes_max| Queue::open(turn.store(), bytes_max, past, now);
        let mut queue = bytes_max.map(open).transpose()?;
        match &mut queue {
            Some(queue) => queue.stage(&mut turn, now),
            None => queue::neglected(&mut turn, now)?,
        }
        turn.commit()?;
        let queued = queue.as_mut().and_then(Queue::committed);
        let mut desk = Desk {
            turn,
            committed: counters.clone(),
            counters,
            stamps,
            committed_stamps: stamps,
            sequences: Sequences::default(),
            flights: Flights::new(seed, unsent),
            queue,
            outcomes,
            config,
            boot,
            steady: Wall(i64::MIN),
            reached,
            gathered: 0,
            due_from: Some(Wall(i64::MIN)),
            sweep,
            revocations: Revocations::default(),
            parked: Parked::default(),
            seed,
            has_cancellations,
            has_people,
            erased_until: Wall(i64::MIN),
            must_persist: false,
            numbers,
            outputs: Vec::new(),
            ready: VecDeque::new(),
            positions: BTreeMap::new(),
            mark: None,
        };
        desk.ready.extend(queued.map(|number| Output::Queued { number }));
        if held {
            let why = "the clock is more than a day ahead of the last stop: nothing is removed for an hour";
            desk.alert("retention_held", false, why);
        }
        Ok(desk)
    }

    /// From here on, everything can be undone.
    pub(super) fn mark(&mut self) {
        self.turn.mark();
        self.mark = Some(Mark {
            counters: self.counters.clone(),
            stamps: self.stamps,
            outputs: self.outputs.len(),
            numbers: self.numbers,
            due_from: self.due_from,
            must_persist: self.must_persist,
            sweep: self.sweep.progress,
            queue: self.queue.clone(),
        });
    }

    pub(super) fn undo(&mut self) {
        self.turn.undo();
        if let Some(mark) = self.mark.take() {
            self.counters = mark.counters;
            self.stamps = mark.stamps;
            self.outputs.truncate(mark.outputs);
            self.numbers = mark.numbers;
            self.due_from = mark.due_from;
            self.must_persist = mark.must_persist;
            self.sweep.progress = mark.sweep;
            self.queue = mark.queue;
        }
    }

    /// Everything in one batch, counters with the states they count.
    pub(super) fn commit(&mut self) -> Result<(), StoreError> {
        self.sequences.flush(&mut self.turn);
        if self.counters != self.committed {
            self.turn.put(Space::Meta, COUNTERS_KEY.to_vec(), self.counters.encode());
        }
        if self.stamps != self.committed_stamps
            && let Some(last) = self.stamps.last
        {
            put_meta(&mut self.turn, STAMP_KEY, last.0.cast_unsigned());
        }
        if Some(self.steady) > self.reached {
            let ahead = Wall(self.steady.0.saturating_add(REACH_US));
            put_meta(&mut self.turn, STEADY_KEY, ahead.0.cast_unsigned());
            self.reached = Some(ahead);
        }
        if let Some(queue) = &mut self.queue {
            queue.stage(&mut self.turn, self.steady);
        }
        let outcomes = self.stage_outcomes()?;
        self.turn.commit()?;
        if let Some((outcomes, dropped)) = outcomes {
            self.outcomes = outcomes;
            self.tell_dropped(&dropped);
        }
        if let Some(number) = self.queue.as_mut().and_then(Queue::committed) {
            self.ready.push_back(Output::Queued { number });
        }
        if self.must_persist {
            self.turn.store().persist()?;
            self.must_persist = false;
        }
        self.committed = self.counters.clone();
        self.committed_stamps = self.stamps;
        self.ready.extend(self.outputs.drain(..));
        for ((priority, partition), offset) in std::mem::take(&mut self.positions) {
            self.ready.push_back(Output::Committed(Position { priority, partition, offset }));
        }
        Ok(())
    }

    /// What is told of this turn, and how many outcomes found no room. `None`: nobody wants to be told.
    fn stage_outcomes(&mut self) -> Result<Option<outcomes::Staged>, StoreError> {
        if !self.outcomes.is_wanted() || !self.turn.has_changed(Space::Ledger) {
            return Ok(None);
        }
        let asked = |turn: &Turn<S>, id: Uuid| {
            let Some(row) = turn.get(Space::Notifications, id.as_bytes())? else { return Ok(None) };
            // One that cannot be read holds up no commit: nobody knows whose it is.
            Ok(decode_record(row)
                .ok()
                .map(|record| Asked { service: record.service, accepted_at: record.accepted_at }))
        };
        self.outcomes.stage(&mut self.turn, self.steady, asked).map(Some)
    }

    fn tell_dropped(&mut self, dropped: &BTreeMap<Hearer, u64>) {
        for (hearer, more) in dropped {
            let detail = format!(
                "{hearer}: {more} more outcomes than may wait; GET /v1/notifications/{{id}} has them"
            );
            self.alert("outcomes_dropped", false, detail);
        }
    }

    /// How far the steady clock may have come before this run.
    pub(super) fn reached(&self) -> Option<Wall> {
        self.reached
    }

    /// What of the past this store does not have: it is looked for in Cassandra.
    pub(super) fn lack(&self) -> Option<Lack> {
        let kept = inbox_kept_there(self.config.inbox_kept);
        history::lack(self.queue.as_ref()?.state(), kept, self.steady)
    }

    pub(super) fn poll(&mut self) -> Option<Output> {
        self.ready.pop_front()
    }

    pub(super) fn note_position(&mut self, at: Position) {
        let furthest = self.positions.entry((at.priority, at.partition)).or_insert(at.offset);
        *furthest = at.offset.max(*furthest);
    }

    pub(super) fn say(&mut self, output: Output) {
        self.outputs.push(output);
    }

    pub(super) fn send(&mut self, link: LinkId, frame: Frame) {
        self.say(Output::Link { link, frame });
    }

    pub(super) fn alert(&mut self, name: &'static str, critical: bool, detail: impl Into<String>) {
        self.say(Output::Alert { name, critical, detail: detail.into() });
    }

    pub(super) fn row(&self, key: &[u8]) -> Result<Option<LedgerRow>, StoreError> {
        self.turn.get(Space::Ledger, key)?.map(LedgerRow::decode).transpose()
    }

    pub(super) fn keep_row(&mut self, key: &[u8], row: &LedgerRow) {
        self.turn.put(Space::Ledger, key.to_vec(), row.encode());
    }

    /// What was asked for. Its texts are there only if somebody may still need them.
    pub(super) fn record(&self, id: Uuid) -> Result<Option<Record>, StoreError> {
        self.turn.get(Space::Notifications, id.as_bytes())?.map(decode_record).transpose()
    }

    pub(super) fn keep_record(&mut self, record: &Record, with_texts: bool) {
        let row = Encoder::new(VERSION).json(&Kept::new(record, with_texts)).finish();
        self.turn.put(Space::Notifications, record.id.as_bytes().to_vec(), row);
    }

    pub(super) fn schedule(&mut self, at: Wall, due: Due, key: &[u8]) {
        self.turn.put(Space::Due, keys::due(at, due as u8, key), Bytes::from_static(&[VERSION]));
        self.due_from = Some(self.due_from.map_or(at, |from| from.min(at)));
    }

    pub(super) fn unschedule(&mut self, at: Wall, due: Due, key: &[u8]) {
        self.turn.delete(Space::Due, keys::due(at, due as u8, key));
    }

    /// Moves the deadline of a row.
    pub(super) fn set_deadline(&mut self, row: &mut LedgerRow, key: &[u8], at: Option<Wall>) {
        if let Some(before) = row.deadline {
            self.unschedule(before, Due::Deadline, key);
        }
        row.deadline = at;
        if let Some(at) = at {
            self.schedule(at, Due::Deadline, key);
        }
    }

    /// What is due, oldest first, and where to look from next time.
    pub(super) fn due(&mut self, now: Wall, limit: usize) -> Result<Vec<Vec<u8>>, StoreError> {
        let Some(from) = self.due_from.filter(|from| *from <= now) else { return Ok(Vec::new()) };
        let from = Range::all().starting(&keys::due(from, 0, &[]));
        let rows = self.turn.scan(Space::Due, &from, Order::Forward, limit)?;
        let end = keys::due_after(now);
        let due: Vec<_> = rows.iter().map(|(key, _)| key).take_while(|key| **key < end).cloned().collect();
        let next = rows.get(due.len()).map(|(key, _)| key);
        self.due_from = match (next, due.last()) {
            (Some(next), _) => Some(keys::due_parts(next)?.0),
            // All rows that were read are due, and there may be more behind them.
            (None, Some(last)) if rows.len() == limit => Some(keys::due_parts(last)?.0),
            (None, _) => None,
        };
        Ok(due)
    }

    /// A delivery that a limit held back.
    pub(super) fn log_overflow(&mut self, row: &LogRow) {
        let key = self.numbers[0].to_be_bytes().to_vec();
        self.numbers[0] += 1;
        self.turn.put(Space::Overflow, key, row.encode());
    }

    pub(super) fn log_dead_letter(&mut self, row: &LogRow) {
        let key = self.numbers[1].to_be_bytes().to_vec();
        self.numbers[1] += 1;
        self.turn.put(Space::DeadLetters, key, row.encode());
    }

    /// A delivery that ended without having been delivered, after everything was tried.
    pub(super) fn dead_letter(&mut self, at: Wall, why: &str, id: Uuid, to: &Recipient, channel: Channel) {
        self.log_dead_letter(&LogRow::of_delivery(at, why, id, to, channel));
        self.alert("delivery_dead_lettered", false, format!("{id} by {}: {why}", channel.name()));
    }
}

pub(super) fn decode_record(row: Bytes) -> Result<Record, StoreError> {
    let mut row = Decoder::new(Space::Notifications, row, VERSION)?;
    let record: Record =
        serde_json::from_slice(&row.rest()).map_err(|error| row.damaged(error.to_string()))?;
    if is_readable(record.v) { Ok(record) } else { Err(row.damaged(format!("record {}", record.v))) }
}

/// A [`Record`] as it is kept: the same JSON, with or without its texts.
#[derive(Serialize)]
struct Kept<'a> {
    v: u8,
    id: Uuid,
    service: &'a str,
    accepted_at: Wall,
    sequence: Sequence,
    request: KeptRequest<'a>,
}

#[derive(Serialize)]
struct KeptRequest<'a> {
    to: &'a Target,
    priority: Priority,
    #[serde(skip_serializing_if = "Option::is_none")]
    category: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a RawValue>,
    channels: &'a [Channel],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    fallback: &'a [Channel],
    #[serde(skip_serializing_if = "Option::is_none")]
    ack_within_s: Option<u32>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    channel_within_s: &'a BTreeMap<Channel, u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl_s: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    collapse_key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    send_at: Option<Wall>,
}

impl<'a> Kept<'a> {
    fn new(record: &'a Record, with_texts: bool) -> Kept<'a> {
        let Record { v, id, service, accepted_at, sequence, skipped: _, request } = record;
        let request = KeptRequest {
            to: &request.to,
            priority: request.priority,
            category: request.category.as_deref(),
            title: request.title.as_deref().filter(|_| with_texts),
            body: request.body.as_deref().filter(|_| with_texts),
            data: request.data.as_deref().filter(|_| with_texts),
            channels: &request.channels,
            fallback: &request.fallback,
            ack_within_s: request.ack_within_s,
            channel_within_s: &request.channel_within_s,
            ttl_s: request.ttl_s,
            collapse_key: request.collapse_key.as_deref(),
            send_at: request.send_at,
        };
        Kept { v: *v, id: *id, service, accepted_at: *accepted_at, sequence: *sequence, request }
    }
}

fn meta<S: Store>(store: &S, key: &[u8]) -> Result<Option<u64>, StoreError> {
    let Some(row) = store.get(Space::Meta, key)? else { return Ok(None) };
    Decoder::new(Space::Meta, row, VERSION)?.u64().map(Some)
}

fn put_meta<S: Store>(turn: &mut Turn<S>, key: &[u8], value: u64) {
    turn.put(Space::Meta, key.to_vec(), Encoder::new(VERSION).u64(value).finish());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `Record` has a field that `Kept` lacks: it would be forgotten in the store.
    #[test]
    fn a_record_is_kept_with_every_field() {
        let text = r#"{"v":1,"id":"00000000-0000-0000-0000-000000000001","service":"s","accepted_at":"2026-01-01T00:00:00Z",
            "sequence":{"boot":1,"partition":2,"seq":3},"request":{"to":{"users":["a","b"]},"priority":"high","category":"c",
            "title":"t","body":"b","data":{"k":1},"channels":["inapp","push"],"fallback":["sms"],"ack_within_s":4,"channel_within_s":{"sms":3},"ttl_s":5,
            "collapse_key":"k","send_at":"2026-01-02T00:00:00.000000Z"}}"#;
        let record: Record = serde_json::from_str(text).expect("a record");
        let json = |value| serde_json::to_value(value).expect("JSON");
        let kept = serde_json::to_value(Kept::new(&record, true)).expect("JSON");
        assert_eq!(kept, json(&record));
        let row = Encoder::new(VERSION).json(&Kept::new(&record, false)).finish();
        let slim = decode_record(row).expect("a record");
        assert_eq!((slim.request.title, slim.request.body, slim.request.data.is_none()), (None, None, true));
        assert_eq!((slim.request.fallback, slim.request.ttl_s), (record.request.fallback, Some(5)));
    }
}
