//! The owner's end of the embedded journal: the most urgent lane first, from where it was committed.
//!
//! Owns the places in the four logs and the book of what was read and is not final yet. Never holds more than one
//! read's records, never reads further than the book has room, never moves a commit past a record that is open.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use wire::message::Priority;

use super::LANES;
use super::commit::Committed;
use super::queue::Shared;
use super::share::{narrowed, shares};
use super::writer::Running;
use crate::journal::encode::decode;
use crate::journal::segment::{LogReader, LogRecord};
use crate::journal::{Entry, JournalReader, Poison, Position, ReadError};

/// Bytes of records that one read takes from one lane (and the record that crosses it).
const READ_BYTES_MAX: usize = 1024 * 1024;
/// Records of one lane that may be read and not committed; beyond, the lane rests until some are.
pub const OPEN_RECORDS_MAX: usize = 262_144;

/// The reading half.
#[derive(Debug)]
pub struct EmbeddedReader {
    lanes: Lanes,
    books: [Book; LANES],
    shared: Arc<Shared>,
    appended: watch::Receiver<u64>,
    /// Read but not handed out: a smaller `max` came after a read that its caller gave up.
    ready: VecDeque<Entry>,
    turn: u64,
    critical_only: bool,
    _running: Arc<Running>,
}

/// The logs are here, or with a read that runs on another thread.
#[derive(Debug)]
enum Lanes {
    Here(Vec<LogReader>),
    Reading(JoinHandle<(Vec<LogReader>, io::Result<Vec<Entry>>)>),
}

impl EmbeddedReader {
    pub(super) fn new(
        logs: Vec<LogReader>,
        shared: Arc<Shared>,
        committed: Committed,
        running: Arc<Running>,
    ) -> EmbeddedReader {
        EmbeddedReader {
            lanes: Lanes::Here(logs),
            books: committed.0.map(Book::new),
            appended: shared.watch_appended(),
            shared,
            ready: VecDeque::new(),
            turn: 0,
            critical_only: false,
            _running: running,
        }
    }

    /// What each lane may still read.
    fn waiting(&self, logs: &[LogReader]) -> [u64; LANES] {
        std::array::from_fn(|lane| {
            let room = OPEN_RECORDS_MAX.saturating_sub(self.books[lane].open.len());
            logs[lane].waiting().min(room as u64)
        })
    }

    /// The result of the read under way; it survives a caller that gave up waiting.
    async fn finish_read(&mut self) -> Result<(), ReadError> {
        let Lanes::Reading(handle) = &mut self.lanes else { return Ok(()) };
        let (logs, result) = handle.await.map_err(|error| ReadError(error.to_string()))?;
        self.lanes = Lanes::Here(logs);
        let entries = result.map_err(|error| ReadError(error.to_string()))?;
        for entry in &entries {
            self.books[entry.position.priority as usize].note_read(entry.position);
        }
        self.ready.extend(entries);
        Ok(())
    }

    fn start_read(&mut self, taken: [usize; LANES]) {
        let Lanes::Here(logs) = &mut self.lanes else { return };
        let mut logs = std::mem::take(logs);
        self.lanes = Lanes::Reading(tokio::task::spawn_blocking(move || {
            let result = read_lanes(&mut logs, taken);
            (logs, result)
        }));
    }
}

/// What an error leaves behind of an earlier lane is handed out first: those records count as read.
fn read_lanes(logs: &mut [LogReader], taken: [usize; LANES]) -> io::Result<Vec<Entry>> {
    let mut entries = Vec::with_capacity(taken.iter().sum());
    let mut records = Vec::new();
    for (lane, priority) in Priority::ALL.into_iter().enumerate() {
        if taken[lane] == 0 {
            continue;
        }
        let result = logs[lane].read(taken[lane], READ_BYTES_MAX, &mut records);
        entries.extend(records.drain(..).map(|record| entry(priority, record)));
        match result {
            Err(error) if entries.is_empty() => return Err(error),
            Err(error) => {
                tracing::warn!(%error, lane = priority.name(), "the journal cannot be read");
                break;
            }
            Ok(()) => {}
        }
    }
    Ok(entries)
}

fn entry(priority: Priority, record: LogRecord) -> Entry {
    let read = decode(&record.body);
    let partition = read.as_ref().map_or(0, |read| read.sequence.partition);
    let position = Position { priority, partition, offset: record.offset };
    Entry { position, record: read.map_err(|reason| Poison { reason, bytes: record.body }) }
}

#[async_trait]
impl JournalReader for EmbeddedReader {
    async fn read(&mut self, max: usize) -> Result<Vec<Entry>, ReadError> {
        loop {
            self.finish_read().await?;
            if !self.ready.is_empty() {
                let count = self.ready.len().min(max.max(1));
                return Ok(self.ready.drain(..count).collect());
            }
            self.appended.borrow_and_update();
            let Lanes::Here(logs) = &self.lanes else { continue };
            let taken = shares(narrowed(self.waiting(logs), self.critical_only), max.max(1), self.turn);
            self.turn += 1;
            if taken.iter().any(|records| *records > 0) {
                self.start_read(taken);
            } else if self.appended.changed().await.is_err() {
                return Err(ReadError("the journal is closed".to_owned()));
            }
        }
    }

    fn narrow(&mut self, critical_only: bool) {
        self.critical_only = critical_only;
    }

    async fn commit(&mut self, positions: &[Position]) -> Result<(), ReadError> {
        for position in positions {
            let lane = position.priority as usize;
            if let Some(next) = self.books[lane].commit(*position) {
                self.shared.note_committed(lane, next);
            }
        }
        Ok(())
    }

    async fn dead_letter(&mut self, _entry: &Entry) -> Result<(), ReadError> {
        Ok(())
    }
}

/// What was read of one lane and is not final. A lane holds all partitions in one log, while commits come by
/// partition, so the log's commit is where the first open record stands.
#[derive(Debug)]
struct Book {
    /// In reading order: offset and partition.
    open: VecDeque<(u64, u32)>,
    /// By partition: the first offset that is not committed.
    committed: BTreeMap<u32, u64>,
    /// The first offset that is still needed.
    next: u64,
}

impl Book {
    fn new(next: u64) -> Book {
        Book { open: VecDeque::new(), committed: BTreeMap::new(), next }
    }

    fn note_read(&mut self, position: Position) {
        self.open.push_back((position.offset, position.partition));
    }

    /// The lane's new commit, if it moved.
    fn commit(&mut self, position: Position) -> Option<u64> {
        let behind = position.offset + 1;
        let committed = self.committed.entry(position.partition).or_default();
        *committed = behind.max(*committed);
        let before = self.next;
        while let Some((offset, partition)) = self.open.front().copied()
            && self.committed.get(&partition).is_some_and(|committed| *committed > offset)
        {
            self.open.pop_front();
            self.next = offset + 1;
        }
        (self.next > before).then_some(self.next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(partition: u32, offset: u64) -> Position {
        Position { priority: Priority::Normal, partition, offset }
    }

    #[test]
    fn a_commit_of_one_partition_leaves_the_others_open() {
        let mut book = Book::new(10);
        for (partition, offset) in [(0, 10), (1, 11), (0, 12), (1, 14)] {
            book.note_read(position(partition, offset));
        }
        assert_eq!(book.commit(position(0, 12)), Some(11));
        assert_eq!(book.commit(position(0, 12)), None);
        assert_eq!(book.commit(position(1, 11)), Some(13));
        assert_eq!(book.commit(position(1, 14)), Some(15));
        assert!(book.open.is_empty());
    }
}
