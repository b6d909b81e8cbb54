//! The journal: the segment log itself, four lanes of it, on a disk in memory that tears, loses and flips what a disk may.
//! Around it what the writer's thread and the reader do: sequences without gaps, group commits, the book of what is open,
//! the commit that is written down before anything is trimmed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::ErrorKind;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use router::journal::segment::{Budget, LogConfig, LogReader, Recovery, SegmentLog};
use router::journal::storage::Storage;
use router::journal::storage::memory::{Failure, MemoryStorage, Operation};
use router::journal::{Entry, Position};
use router::record::{RECORD_VERSION, Record, Request, Sequence};
use uuid::Uuid;
use wire::message::Priority;
use wire::time::Wall;

use crate::events::{Events, MS};

pub(crate) const PARTITIONS: u32 = 4;
/// Entries read at once.
const READ_MAX: usize = 16;
/// Small, so that a story has many segments.
const SEGMENT_BYTES: u64 = 4 * 1024;
const BYTES_MAX: u64 = 16 * 1024 * 1024;
const LANES: usize = Priority::ALL.len();

/// What was read of a lane and is not final.
#[derive(Debug, Default)]
struct Book {
    open: VecDeque<(u64, u32)>,
    committed: BTreeMap<u32, u64>,
}

#[derive(Debug)]
struct Lane {
    log: SegmentLog,
    reader: LogReader,
    book: Book,
    /// The first offset that is still needed, as it is written down.
    committed: u64,
}

/// Handed in and not durable.
#[derive(Debug)]
struct Staged {
    lane: usize,
    offset: u64,
    partition: u32,
    id: Uuid,
}

#[derive(Debug)]
pub(crate) struct Journal {
    disk: MemoryStorage,
    lanes: Vec<Lane>,
    boot: u64,
    sequences: BTreeMap<u32, u64>,
    staged: Vec<Staged>,
    /// Accepted, by lane and offset.
    places: BTreeMap<(usize, u64), Uuid>,
    /// Accepted, and the log says that a damaged place held them.
    pub(crate) lost: BTreeSet<Uuid>,
    has_flipped: bool,
    /// One record vanishes, to see that the checks find it.
    pub(crate) planted_loss: bool,
    /// 1 in so many entries is handed out twice. 0: none.
    pub(crate) twice_one_in: u64,
}

impl Journal {
    pub(crate) fn new(events: &mut Events) -> Journal {
        let mut journal = Journal {
            disk: MemoryStorage::new(),
            lanes: Vec::new(),
            boot: 0,
            sequences: BTreeMap::new(),
            staged: Vec::new(),
            places: BTreeMap::new(),
            lost: BTreeSet::new(),
            has_flipped: false,
            planted_loss: false,
            twice_one_in: 0,
        };
        journal.start(events);
        journal
    }

    /// A new start of the process, on what the disk has.
    pub(crate) fn start(&mut self, events: &mut Events) {
        self.boot = events.bits();
        self.sequences.clear();
        let committed: Vec<u64> =
            (0..LANES).map(|lane| self.lanes.get(lane).map_or(0, |lane| lane.committed)).collect();
        let ends: Vec<u64> = (0..LANES)
            .map(|lane| self.places.range((lane, 0)..(lane + 1, 0)).last().map_or(0, |(at, _)| at.1 + 1))
            .collect();
        let budget = Budget::new(BYTES_MAX, 0);
        self.lanes.clear();
        for (lane, priority) in Priority::ALL.into_iter().enumerate() {
            let folder = self.disk.folder(priority.name()).expect("a disk in memory has folders");
            let urgent = priority == Priority::Critical;
            let config = LogConfig { segment_bytes: SEGMENT_BYTES, urgent, salt: events.bits() as u32 };
            let committed = committed[lane];
            let opened = SegmentLog::open(folder, config, Arc::clone(&budget), committed);
            let (log, recovery) = opened.expect("a disk in memory opens");
            self.note_damage(lane, &recovery, ends[lane], events);
            let reader = log.reader(committed);
            self.lanes.push(Lane { log, reader, book: Book::default(), committed });
        }
    }

    /// What the log says it lost is no silent loss; but only a flipped bit is a reason to have lost anything.
    fn note_damage(&mut self, lane: usize, recovery: &Recovery, end: u64, events: &mut Events) {
        let damaged =
            recovery.damaged.iter().filter(|damaged| !damaged.known).map(|damaged| &damaged.offsets);
        for Range { start, end: behind } in damaged.chain(&recovery.missing) {
            // An empty range: nothing readable follows that tells how many are gone.
            let behind = if start == behind { end.max(*start) } else { *behind };
            let gone: Vec<Uuid> =
                self.places.range((lane, *start)..(lane, behind)).map(|(_, id)| *id).collect();
            if !gone.is_empty() && !self.has_flipped {
                events.broken("I1", format!("the journal lost {gone:?}, and no bit was flipped"));
            }
            self.lost.extend(gone);
        }
    }

    /// Puts a record into the next sync. False: nothing can be taken, and nothing is promised.
    pub(crate) fn stage(&mut self, id: Uuid, accepted_at: Wall, request: Request) -> bool {
        let partition = Record::partition(&request.to, PARTITIONS);
        let lane = request.priority as usize;
        let last = self.sequences.entry(partition).or_insert(0);
        let sequence = Sequence { boot: self.boot, partition, seq: *last + 1 };
        let record = Record {
            v: RECORD_VERSION,
            id,
            service: "sim".to_owned(),
            accepted_at,
            sequence,
            skipped: Vec::new(),
            request,
        };
        if std::mem::take(&mut self.planted_loss) {
            *last += 1;
            self.staged.push(Staged { lane, offset: u64::MAX, partition, id });
            return true;
        }
        let body = serde_json::to_vec(&record).expect("a record serializes");
        let Ok(offset) = self.lanes[lane].log.stage(&body) else { return false };
        *last += 1;
        self.staged.push(Staged { lane, offset, partition, id });
        true
    }

    /// One group commit a lane: those that are accepted from here on. With `true`, something failed.
    pub(crate) fn sync(&mut self) -> (Vec<Uuid>, bool) {
        let mut accepted = Vec::new();
        let mut has_failed = false;
        for (lane, held) in self.lanes.iter_mut().enumerate() {
            let (mine, others) =
                std::mem::take(&mut self.staged).into_iter().partition(|one| one.lane == lane);
            self.staged = others;
            let mine: Vec<Staged> = mine;
            if held.log.commit().is_ok() {
                accepted.extend(mine.iter().map(|one| one.id));
                let places = mine.iter().filter(|one| one.offset != u64::MAX);
                self.places.extend(places.map(|one| ((lane, one.offset), one.id)));
            } else {
                has_failed = true;
                for one in mine {
                    *self.sequences.entry(one.partition).or_insert(1) -= 1;
                }
            }
        }
        (accepted, has_failed)
    }

    /// Opens what failed to writes again. True: all of it is.
    pub(crate) fn revive(&mut self) -> bool {
        self.lanes.iter_mut().all(|lane| lane.log.revive().is_ok())
    }

    /// The disk fails the next write or sync.
    pub(crate) fn fail(&mut self, events: &mut Events) {
        let operation = if events.one_in(2) { Operation::Sync } else { Operation::Append };
        let partial_bytes = events.between(0, 200) as usize;
        self.disk.fail(Failure { partial_bytes, ..Failure::once(operation, ErrorKind::Other) });
    }

    /// The process died; what it wrote is in the cache, and what it only meant to write is not.
    pub(crate) fn crash(&mut self) {
        self.staged.clear();
        self.disk.restart();
    }

    /// The power goes, perhaps in the middle of a write.
    pub(crate) fn cut_power(&mut self, events: &mut Events) {
        let more = events.between(0, 4);
        self.disk.halt_at(self.disk.changes() + more);
        self.lanes.iter_mut().for_each(|lane| drop(lane.log.commit()));
        self.staged.clear();
        self.disk.power_cut(events.bits());
    }

    /// One bit of one segment is another one.
    pub(crate) fn flip(&mut self, events: &mut Events) {
        let files: Vec<_> = self
            .disk
            .files()
            .into_iter()
            .filter(|(name, bytes)| Path::new(name).extension().is_some_and(|end| end == "log") && *bytes > 0)
            .collect();
        if !files.is_empty() {
            let (name, bytes) = &files[events.between(0, files.len() as u64 - 1) as usize];
            self.disk.flip(name, events.between(0, bytes * 8 - 1) as usize);
            self.has_flipped = true;
        }
    }

    /// The next entries, most urgent lanes first; some of them once more.
    pub(crate) fn read(&mut self, events: &mut Events) -> Vec<Entry> {
        let mut entries = Vec::new();
        let mut records = Vec::new();
        for (lane, priority) in self.lanes.iter_mut().zip(Priority::ALL) {
            let room = READ_MAX.saturating_sub(entries.len());
            lane.reader.read(room, usize::MAX, &mut records).expect("a disk in memory can be read");
            for read in records.drain(..) {
                let record: Record = serde_json::from_slice(&read.body).expect("its sum was right");
                let position =
                    Position { priority, partition: record.sequence.partition, offset: read.offset };
                lane.book.open.push_back((read.offset, position.partition));
                if self.twice_one_in > 0 && events.one_in(self.twice_one_in) {
                    entries.push(Entry { position, record: Ok(record.clone()) });
                }
                entries.push(Entry { position, record: Ok(record) });
            }
        }
        entries
    }

    /// Everything that is not committed is read again.
    pub(crate) fn rewind(&mut self) {
        for lane in &mut self.lanes {
            lane.reader = lane.log.reader(lane.committed);
            lane.book.open.clear();
        }
    }

    /// These are on the store's disk: written down, then trimmed. Those that the commit newly covers come back.
    pub(crate) fn commit(&mut self, positions: impl IntoIterator<Item = Position>) -> Vec<Uuid> {
        let mut covered = Vec::new();
        for position in positions {
            let book = &mut self.lanes[position.priority as usize].book;
            let behind = book.committed.entry(position.partition).or_default();
            *behind = (position.offset + 1).max(*behind);
        }
        for (number, lane) in self.lanes.iter_mut().enumerate() {
            let Lane { log, book, committed, .. } = lane;
            while let Some((offset, partition)) = book.open.front().copied()
                && book.committed.get(&partition).is_some_and(|behind| *behind > offset)
            {
                book.open.pop_front();
                *committed = (offset + 1).max(*committed);
                covered.extend(self.places.get(&(number, offset)));
            }
            drop(log.trim(*committed));
        }
        covered
    }

    /// Records that are not committed, but for those that damage took.
    pub(crate) fn lag(&self) -> u64 {
        self.lanes.iter().map(|lane| lane.book.open.len() as u64 + lane.reader.waiting()).sum()
    }

    pub(crate) fn has_more(&self) -> bool {
        self.lanes.iter().any(|lane| lane.reader.waiting() > 0)
    }

    /// How long a revival waits.
    pub(crate) const REVIVE_US: u64 = 1_000 * MS;
}
