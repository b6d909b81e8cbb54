//! Which sequence numbers came, for each producer boot and partition: a number that never comes is a lost record.
//!
//! Numbers run over all priorities while lanes are read at their own pace, so they come out of order and far apart
//! under load. Kept as the number up to which all came, and bitmaps behind it, one row for 4,096 numbers; a row goes
//! when everything before its end has come. In order, nothing but the head is touched.
//! Noted by the owner at each record, written down at each commit; [`gaps`] reads what is written.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use serde::Serialize;
use wire::message::Priority;
use wire::time::Wall;

use super::counters::Gaps;
use crate::record::Sequence;
use crate::store::codec::{Decoder, Encoder};
use crate::store::turn::Turn;
use crate::store::{Order, Range, Space, Store, StoreError};

const VERSION: u8 = 1;
const LANES: usize = Priority::ALL.len();
/// Numbers in one bitmap.
const CHUNK: u64 = 4_096;
const WORDS: usize = CHUNK as usize / 64;
/// Heads and bitmaps that stay in memory between commits.
const CACHED_MAX: usize = 4_096;
/// Rows read at once.
const SCAN: usize = 512;
/// Gaps that are shown.
pub const GAPS_SHOWN_MAX: usize = 1_000;
/// A hole that is younger may be a commit under way, in microseconds.
const GRACE_US: i64 = 5_000_000;
/// A complete boot that was not heard of for so long is forgotten, in microseconds.
const FORGET_AFTER_US: i64 = 30 * 24 * 3_600 * 1_000_000;

/// Numbers that did not come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Gap {
    pub boot: u64,
    pub partition: u32,
    pub first: u64,
    pub last: u64,
    /// When the producer's oldest hole was noticed.
    pub since: Wall,
    /// Every lane that could still bring them was read behind them.
    pub missing: bool,
}

type Producer = (u64, u32);

#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Head {
    /// All numbers up to here came.
    through: u64,
    /// The highest that came.
    max: u64,
    /// The highest by lane.
    lanes: [u64; LANES],
    /// Since when `max` is ahead.
    since: Wall,
    seen_at: Wall,
}

/// A bitmap of [`CHUNK`] numbers.
type Bits = Box<[u64; WORDS]>;

#[derive(Debug, Default)]
pub struct Sequences {
    heads: HashMap<Producer, Head>,
    bits: HashMap<(Producer, u64), Bits>,
    dirty_heads: HashSet<Producer>,
    /// Bitmaps to be written, or deleted when they are no longer in `bits`.
    dirty_bits: HashSet<(Producer, u64)>,
}

impl Sequences {
    /// A number came. Again, it changes nothing.
    pub fn note<S: Store>(
        &mut self,
        turn: &Turn<S>,
        sequence: Sequence,
        priority: Priority,
        now: Wall,
    ) -> Result<(), StoreError> {
        let producer = (sequence.boot, sequence.partition);
        let seq = sequence.seq;
        let mut head = self.head(turn, producer)?;
        let lane = &mut head.lanes[priority as usize];
        *lane = seq.max(*lane);
        head.seen_at = now;
        if seq == head.through + 1 && head.max == head.through {
            (head.through, head.max) = (seq, seq);
        } else if seq > head.through {
            if head.max == head.through {
                head.since = now;
            }
            self.set(turn, producer, seq)?;
            head.max = seq.max(head.max);
            if seq == head.through + 1 {
                head.through = self.run_from(turn, producer, seq)?;
                head.since = now;
            }
        }
        self.heads.insert(producer, head);
        self.dirty_heads.insert(producer);
        Ok(())
    }

    fn head<S: Store>(&self, turn: &Turn<S>, producer: Producer) -> Result<Head, StoreError> {
        if let Some(head) = self.heads.get(&producer) {
            return Ok(head.clone());
        }
        turn.get(Space::Sequences, &head_key(producer))?.map_or(Ok(Head::default()), decode_head)
    }

    fn load<S: Store>(
        &mut self,
        turn: &Turn<S>,
        producer: Producer,
        chunk: u64,
    ) -> Result<Option<&mut Bits>, StoreError> {
        let at = (producer, chunk);
        if !self.bits.contains_key(&at)
            && !self.dirty_bits.contains(&at)
            && let Some(row) = turn.get(Space::Sequences, &bits_key(producer, chunk))?
        {
            self.bits.insert(at, decode_bits(row)?);
        }
        Ok(self.bits.get_mut(&at))
    }

    fn set<S: Store>(&mut self, turn: &Turn<S>, producer: Producer, seq: u64) -> Result<(), StoreError> {
        let (chunk, word, bit) = place(seq);
        self.load(turn, producer, chunk)?;
        let bits = self.bits.entry((producer, chunk)).or_insert_with(|| Box::new([0; WORDS]));
        bits[word] |= bit;
        self.dirty_bits.insert((producer, chunk));
        Ok(())
    }

    /// The last of the unbroken run that begins at `seq`; bitmaps that it passes are dropped.
    fn run_from<S: Store>(
        &mut self,
        turn: &Turn<S>,
        producer: Producer,
        seq: u64,
    ) -> Result<u64, StoreError> {
        let mut last = seq;
        loop {
            let (chunk, word, bit) = place(last + 1);
            let set = self.load(turn, producer, chunk)?.is_some_and(|bits| bits[word] & bit != 0);
            if place(last).0 < chunk {
                self.bits.remove(&(producer, place(last).0));
                self.dirty_bits.insert((producer, place(last).0));
            }
            if !set {
                return Ok(last);
            }
            last += 1;
        }
    }

    /// Lays what changed into the turn. Called before each commit; doing so again changes nothing.
    pub fn flush<S: Store>(&mut self, turn: &mut Turn<S>) {
        for producer in self.dirty_heads.drain() {
            if let Some(head) = self.heads.get(&producer) {
                turn.put(Space::Sequences, head_key(producer), encode_head(head));
            }
        }
        for (producer, chunk) in self.dirty_bits.drain() {
            let key = bits_key(producer, chunk);
            match self.bits.get(&(producer, chunk)) {
                Some(bits) => turn.put(Space::Sequences, key, encode_bits(bits)),
                None => turn.delete(Space::Sequences, key),
            }
        }
        if self.heads.len() > CACHED_MAX {
            self.heads.clear();
        }
        if self.bits.len() > CACHED_MAX {
            self.bits.clear();
        }
    }
}

/// Deletes the heads of producers that ended long ago with nothing missing. Called once, at open.
pub fn forget<S: Store>(turn: &mut Turn<S>, now: Wall) -> Result<(), StoreError> {
    let mut range = Range::all();
    loop {
        let rows = turn.store().scan(Space::Sequences, &range, Order::Forward, SCAN)?;
        let Some((last, _)) = rows.last() else { return Ok(()) };
        range = range.after(last);
        for (key, row) in rows {
            if parse_key(&key)?.1.is_none() {
                let head = decode_head(row)?;
                if head.through == head.max && head.seen_at.0 < now.0.saturating_sub(FORGET_AFTER_US) {
                    turn.delete(Space::Sequences, key);
                }
            }
        }
    }
}

/// What did not come. `journal_lag`: records that the journal holds and the owner has not finished; while there are
/// any, only what every lane was read behind counts as missing.
pub fn gaps<S: Store>(store: &S, now: Wall, journal_lag: u64) -> Result<Gaps, StoreError> {
    let mut found = Gaps::default();
    let mut producer: Option<(Producer, Head, u64)> = None;
    let mut range = Range::all();
    loop {
        let rows = store.scan(Space::Sequences, &range, Order::Forward, SCAN)?;
        let Some((last, _)) = rows.last() else { break };
        range = range.after(last);
        for (key, row) in rows {
            let (of, chunk) = parse_key(&key)?;
            match chunk {
                None => {
                    close(&mut found, producer.take(), now, journal_lag);
                    let head = decode_head(row)?;
                    let next = head.through + 1;
                    producer = Some((of, head, next));
                }
                Some(chunk) => {
                    let Some((known, head, next)) = &mut producer else { continue };
                    if *known == of {
                        let bits = decode_bits(row)?;
                        for seq in ones(chunk, &bits).filter(|seq| *seq > head.through) {
                            add(&mut found, (of, head), (*next, seq - 1), now, journal_lag);
                            *next = seq + 1;
                        }
                    }
                }
            }
        }
    }
    close(&mut found, producer, now, journal_lag);
    Ok(found)
}

/// The numbers of a bitmap, in order.
fn ones(chunk: u64, bits: &[u64; WORDS]) -> impl Iterator<Item = u64> + '_ {
    (0..CHUNK).filter(|i| bits[*i as usize / 64] & (1 << (i % 64)) != 0).map(move |i| chunk * CHUNK + i + 1)
}

fn close(found: &mut Gaps, producer: Option<(Producer, Head, u64)>, now: Wall, journal_lag: u64) {
    if let Some((of, head, next)) = producer {
        add(found, (of, &head), (next, head.max), now, journal_lag);
    }
}

fn add(
    found: &mut Gaps,
    (of, head): (Producer, &Head),
    (first, last): (u64, u64),
    now: Wall,
    journal_lag: u64,
) {
    if first > last {
        return;
    }
    let passed = head.lanes.iter().all(|lane| *lane > last);
    let old = now.0.saturating_sub(head.since.0) >= GRACE_US;
    let missing = passed || (journal_lag == 0 && old);
    let count = last - first + 1;
    if missing {
        found.missing += count;
    } else {
        found.awaited += count;
    }
    if found.shown.len() < GAPS_SHOWN_MAX {
        let (boot, partition) = of;
        found.shown.push(Gap { boot, partition, first, last, since: head.since, missing });
    } else {
        found.more = true;
    }
}

/// Bitmap, word and bit of a number. Numbers run from 1; a 0, which no producer gives, counts as 1.
fn place(seq: u64) -> (u64, usize, u64) {
    let i = seq.saturating_sub(1);
    (i / CHUNK, (i % CHUNK) as usize / 64, 1 << (i % 64))
}

fn head_key((boot, partition): Producer) -> Vec<u8> {
    let mut key = boot.to_be_bytes().to_vec();
    key.extend_from_slice(&partition.to_be_bytes());
    key
}

fn bits_key(producer: Producer, chunk: u64) -> Vec<u8> {
    let mut key = head_key(producer);
    key.extend_from_slice(&chunk.to_be_bytes());
    key
}

fn parse_key(key: &[u8]) -> Result<(Producer, Option<u64>), StoreError> {
    let damaged =
        || StoreError::Damaged { space: Space::Sequences, what: "a key of another layout".to_owned() };
    let (boot, rest) = key.split_first_chunk::<8>().ok_or_else(damaged)?;
    let (partition, chunk) = rest.split_first_chunk::<4>().ok_or_else(damaged)?;
    let chunk = match chunk {
        [] => None,
        chunk => Some(u64::from_be_bytes(chunk.try_into().map_err(|_| damaged())?)),
    };
    Ok(((u64::from_be_bytes(*boot), u32::from_be_bytes(*partition)), chunk))
}

fn encode_head(head: &Head) -> Bytes {
    let mut row = Encoder::new(VERSION);
    row.u64(head.through).u64(head.max).wall(head.since).wall(head.seen_at);
    for lane in head.lanes {
        row.u64(lane);
    }
    row.finish()
}

fn decode_head(row: Bytes) -> Result<Head, StoreError> {
    let mut row = Decoder::new(Space::Sequences, row, VERSION)?;
    let (through, max, since, seen_at) = (row.u64()?, row.u64()?, row.wall()?, row.wall()?);
    let mut lanes = [0; LANES];
    for lane in &mut lanes {
        *lane = row.u64()?;
    }
    Ok(Head { through, max, lanes, since, seen_at })
}

fn encode_bits(bits: &[u64; WORDS]) -> Bytes {
    let mut row = Encoder::new(VERSION);
    for word in bits {
        row.u64(*word);
    }
    row.finish()
}

fn decode_bits(row: Bytes) -> Result<Bits, StoreError> {
    let mut row = Decoder::new(Space::Sequences, row, VERSION)?;
    let mut bits = Box::new([0; WORDS]);
    for word in bits.iter_mut() {
        *word = row.u64()?;
    }
    Ok(bits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemoryStore;
    use proptest::prelude::*;

    const NOW: Wall = Wall(1_000_000_000);
    const LATER: Wall = Wall(1_000_000_000 + GRACE_US);

    struct Desk {
        turn: Turn<MemoryStore>,
        sequences: Sequences,
    }

    impl Desk {
        fn new(store: MemoryStore) -> Desk {
            Desk { turn: Turn::new(store), sequences: Sequences::default() }
        }

        fn note(&mut self, seq: u64, priority: Priority) {
            let sequence = Sequence { boot: 7, partition: 3, seq };
            self.sequences.note(&self.turn, sequence, priority, NOW).expect("memory");
        }

        fn commit(&mut self) -> Gaps {
            self.sequences.flush(&mut self.turn);
            self.turn.commit().expect("memory");
            gaps(self.turn.store(), LATER, 0).expect("memory")
        }
    }

    fn shown(gaps: &Gaps) -> Vec<(u64, u64)> {
        gaps.shown.iter().map(|gap| (gap.first, gap.last)).collect()
    }

    #[test]
    fn in_order_only_the_head_is_kept() {
        let mut desk = Desk::new(MemoryStore::new());
        (1..=10_000).for_each(|seq| desk.note(seq, Priority::Normal));
        assert_eq!(desk.commit().missing, 0);
        let rows =
            desk.turn.store().scan(Space::Sequences, &Range::all(), Order::Forward, 9).expect("memory");
        assert_eq!(rows.len(), 1);
    }

    #[test]
    fn a_hole_is_awaited_while_the_journal_holds_more_and_missing_when_it_does_not() {
        let mut desk = Desk::new(MemoryStore::new());
        for seq in [1, 2, 5, 9_000] {
            desk.note(seq, Priority::High);
        }
        let found = desk.commit();
        assert_eq!(shown(&found), [(3, 4), (6, 8_999)]);
        assert_eq!((found.missing, found.awaited), (2 + 8_994, 0));
        let store = desk.turn.store().clone();
        assert_eq!(gaps(&store, LATER, 1).map(|found| (found.missing, found.awaited)), Ok((0, 8_996)));
        assert_eq!(gaps(&store, NOW, 0).map(|found| found.missing), Ok(0), "a commit may be under way");
        for priority in Priority::ALL {
            desk.note(10, priority);
        }
        let found = desk.commit();
        assert!(found.shown[0].missing && found.shown[0].first == 3);
        assert_eq!(
            gaps(&store, NOW, 5).map(|found| found.missing),
            Ok(6),
            "every lane was read behind 3, 4, 6 to 9"
        );
    }

    #[test]
    fn what_was_finished_long_ago_is_forgotten_and_a_hole_never() {
        let store = MemoryStore::new();
        let mut desk = Desk::new(store.clone());
        desk.note(1, Priority::Low);
        let open = Sequence { boot: 8, partition: 0, seq: 2 };
        desk.sequences.note(&desk.turn, open, Priority::Low, NOW).expect("memory");
        desk.commit();
        for (after, rows) in [(0, 3), (FORGET_AFTER_US + 1, 2)] {
            forget(&mut desk.turn, Wall(NOW.0 + after)).expect("memory");
            desk.turn.commit().expect("memory");
            assert_eq!(
                store.scan(Space::Sequences, &Range::all(), Order::Forward, 9).map(|all| all.len()),
                Ok(rows)
            );
        }
    }

    proptest! {
        /// Any order, with repetitions, commits and restarts in between, against a set of numbers.
        #[test]
        fn exactly_what_never_came_is_a_gap(
            came in prop::collection::vec((1u64..13_000, 0usize..4, 0u8..20), 1..400),
            dense in 0u64..9_000,
        ) {
            let store = MemoryStore::new();
            let mut desk = Desk::new(store.clone());
            let mut model = std::collections::BTreeSet::new();
            let run = (4_000..4_000 + dense).map(|seq| (seq, 2, 9));
            for (seq, lane, then) in came.into_iter().chain(run) {
                desk.note(seq, Priority::ALL[lane]);
                model.insert(seq);
                match then {
                    0 => { desk.commit(); }
                    1 => {
                        desk.commit();
                        desk = Desk::new(store.clone());
                    }
                    _ => {}
                }
            }
            let found = desk.commit();
            let max = *model.last().expect("one came");
            let missing: Vec<u64> = (1..max).filter(|seq| !model.contains(seq)).collect();
            prop_assert_eq!(found.missing, missing.len() as u64);
            let listed: Vec<u64> = found.shown.iter().flat_map(|gap| gap.first..=gap.last).collect();
            if !found.more {
                prop_assert_eq!(listed, missing);
            }
        }
    }
}
