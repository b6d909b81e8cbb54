//! The segment log: bytes in, offsets out, durable when [`SegmentLog::commit`] returned.
//!
//! Owns the files of one folder, each a run of records and named by the first offset in it. A failed write or sync
//! poisons the log: nothing is taken until [`SegmentLog::revive`] (or a new open) has cut away what was not durable
//! and started a new file, so a sync is never tried again on bytes that the kernel may have dropped. Never knows
//! what a record means. Used by the [`embedded`](super::embedded) journal and by the outage buffer.
//!
//! A log has one writer (this type) and any number of [`LogReader`]s, which see durable records only.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::BytesMut;

use super::storage::{Appender, Storage};
use format::{RECORD_HEADER_BYTES, SEGMENT_HEADER_BYTES, SegmentHeader, encode_record, segment_name};

mod files;
mod format;
mod reader;
mod recover;
mod scan;

pub use files::{LogFiles, Piece};
pub use reader::{LogReader, LogRecord};
pub use recover::{Damaged, Recovery, Torn};

/// Bytes of one record. The largest request of the API fits with its envelope, and so does Kafka's default of 1 MB.
pub const RECORD_BYTES_MAX: usize = 900 * 1024;
/// Bytes staged for one commit; a record more than this waits for the next one.
pub const BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;
/// A wholly committed active segment smaller than this is not worth a new file, unless the budget is tight.
const TRIM_ACTIVE_BYTES_MIN: u64 = 64 * 1024;

const _: () = assert!(RECORD_BYTES_MAX + RECORD_HEADER_BYTES <= BATCH_BYTES_MAX);

/// The bytes that all logs of one store may hold together. The reserve at the end is for urgent logs only.
#[derive(Debug)]
pub struct Budget {
    bytes_max: u64,
    reserve_bytes: u64,
    used: AtomicU64,
}

impl Budget {
    pub fn new(bytes_max: u64, reserve_bytes: u64) -> Arc<Budget> {
        Arc::new(Budget { bytes_max, reserve_bytes: reserve_bytes.min(bytes_max), used: AtomicU64::new(0) })
    }

    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Whether a record of `bytes` has no room, in an urgent log or in another one.
    pub fn is_full_for(&self, bytes: u64, urgent: bool) -> bool {
        self.used().saturating_add(bytes) > self.limit(urgent)
    }

    fn limit(&self, urgent: bool) -> u64 {
        if urgent { self.bytes_max } else { self.bytes_max - self.reserve_bytes }
    }

    /// Whether every byte counts.
    fn is_tight(&self) -> bool {
        self.used() > self.bytes_max / 4 * 3
    }

    fn take(&self, bytes: u64, urgent: bool) -> Result<(), LogError> {
        let limit = self.limit(urgent);
        let fits = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= limit);
        match self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits) {
            Ok(_) => Ok(()),
            Err(used) => Err(LogError::Full { bytes: used }),
        }
    }

    /// What is on disk already counts, whether it fits or not.
    fn count(&self, bytes: u64) {
        self.used.fetch_add(bytes, Ordering::Relaxed);
    }

    fn give(&self, bytes: u64) {
        let before = self.used.fetch_sub(bytes, Ordering::Relaxed);
        assert!(before >= bytes, "more bytes were given back than taken");
    }
}

#[derive(Debug, Clone, Copy)]
pub struct LogConfig {
    /// A segment that has reached this size is followed by a new one.
    pub segment_bytes: u64,
    /// Whether this log may use the budget's reserve.
    pub urgent: bool,
    /// Drawn at random by the caller for every open, so that no record's body can imitate a record.
    pub salt: u32,
}

/// Nothing was promised.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    #[error("the log holds {bytes} bytes, as many as it may")]
    Full { bytes: u64 },
    #[error("a record of {found} bytes is more than {max}")]
    TooLong { found: usize, max: usize },
    /// Commit what is staged first.
    #[error("the batch is full")]
    BatchFull,
    #[error("the log is closed to writes: {0}")]
    Poisoned(String),
}

/// One file: offsets `first..end` in its first `bytes` bytes, all durable.
#[derive(Debug, Clone, Copy)]
struct Segment {
    first: u64,
    end: u64,
    bytes: u64,
}

/// What writer and readers share.
#[derive(Debug)]
struct Shared {
    storage: Arc<dyn Storage>,
    segments: Mutex<VecDeque<Segment>>,
    /// The offset behind the last durable record.
    end: AtomicU64,
    /// Damaged regions met by readers after the open.
    damaged_since_open: AtomicU64,
}

impl Shared {
    fn segments(&self) -> MutexGuard<'_, VecDeque<Segment>> {
        self.segments.lock().expect("nobody panics while holding the segments")
    }
}

#[derive(Debug)]
struct Active {
    writer: Box<dyn Appender>,
    first: u64,
    bytes: u64,
}

/// The writing half of a log.
#[derive(Debug)]
pub struct SegmentLog {
    shared: Arc<Shared>,
    config: LogConfig,
    budget: Arc<Budget>,
    active: Option<Active>,
    staged: BytesMut,
    staged_records: u64,
    poison: Option<Poison>,
}

/// What failed, and the file to be cut back to its durable bytes (0: it never counted).
#[derive(Debug)]
struct Poison {
    why: String,
    first: u64,
    durable_bytes: u64,
}

impl SegmentLog {
    /// Recovers what is in the folder. `committed` is the first offset that is still needed; new records never get
    /// an offset below it.
    pub fn open(
        storage: Arc<dyn Storage>,
        config: LogConfig,
        budget: Arc<Budget>,
        committed: u64,
    ) -> io::Result<(SegmentLog, Recovery)> {
        let (segments, recovery) = recover::recover(&storage, committed)?;
        budget.count(segments.iter().map(|segment| segment.bytes).sum());
        let end = segments.back().map_or(0, |segment| segment.end).max(committed);
        let shared = Shared {
            storage,
            segments: Mutex::new(segments),
            end: AtomicU64::new(end),
            damaged_since_open: AtomicU64::new(0),
        };
        let log = SegmentLog {
            shared: Arc::new(shared),
            config,
            budget,
            active: None,
            staged: BytesMut::new(),
            staged_records: 0,
            poison: None,
        };
        Ok((log, recovery))
    }

    /// Reads from `from` on, or from the first offset that is there.
    pub fn reader(&self, from: u64) -> LogReader {
        LogReader::new(Arc::clone(&self.shared), from)
    }

    /// A look at its files.
    pub fn files(&self) -> LogFiles {
        LogFiles::new(Arc::clone(&self.shared))
    }

    /// The offset that the next record gets.
    pub fn next_offset(&self) -> u64 {
        self.shared.end.load(Ordering::Acquire) + self.staged_records
    }

    /// Why nothing is taken at present.
    pub fn poisoned(&self) -> Option<&str> {
        self.poison.as_ref().map(|poison| poison.why.as_str())
    }

    pub fn damaged_since_open(&self) -> u64 {
        self.shared.damaged_since_open.load(Ordering::Relaxed)
    }

    /// Puts a record into the next commit; its offset holds only if that commit succeeds.
    pub fn stage(&mut self, body: &[u8]) -> Result<u64, LogError> {
        if let Some(poison) = &self.poison {
            return Err(LogError::Poisoned(poison.why.clone()));
        }
        if body.len() > RECORD_BYTES_MAX {
            return Err(LogError::TooLong { found: body.len(), max: RECORD_BYTES_MAX });
        }
        let bytes = RECORD_HEADER_BYTES + body.len();
        let offset = self.next_offset();
        if self.staged_records == 0 {
            self.begin_batch(offset, bytes)?;
        } else if self.staged.len() + bytes > BATCH_BYTES_MAX {
            return Err(LogError::BatchFull);
        } else {
            self.budget.take(bytes as u64, self.config.urgent)?;
        }
        encode_record(offset, self.config.salt, body, &mut self.staged);
        self.staged_records += 1;
        Ok(offset)
    }

    /// Decides which file the batch goes into; a new file starts with its header.
    fn begin_batch(&mut self, offset: u64, record_bytes: usize) -> Result<(), LogError> {
        let stays = self.active.as_ref().is_some_and(|active| active.bytes < self.config.segment_bytes);
        let header_bytes = if stays { 0 } else { SEGMENT_HEADER_BYTES };
        self.budget.take((header_bytes + record_bytes) as u64, self.config.urgent)?;
        if !stays {
            self.active = None;
            SegmentHeader { first: offset, salt: self.config.salt }.encode(&mut self.staged);
        }
        Ok(())
    }

    /// Writes and syncs what is staged. After an error none of it counts and the log is poisoned.
    pub fn commit(&mut self) -> Result<(), LogError> {
        if self.staged_records == 0 {
            return Ok(());
        }
        let batch_bytes = self.staged.len() as u64;
        let end = self.next_offset();
        let result = self.write();
        self.staged.clear();
        self.staged_records = 0;
        if let Err(error) = result {
            self.budget.give(batch_bytes);
            return Err(self.poison_by(&error));
        }
        let active = self.active.as_mut().expect("a successful write left the file open");
        active.bytes += batch_bytes;
        let written = Segment { first: active.first, end, bytes: active.bytes };
        let mut segments = self.shared.segments();
        match segments.back_mut().filter(|last| last.first == written.first) {
            Some(last) => *last = written,
            None => segments.push_back(written),
        }
        drop(segments);
        self.shared.end.store(end, Ordering::Release);
        Ok(())
    }

    fn write(&mut self) -> io::Result<()> {
        if let Some(active) = &mut self.active {
            active.writer.append(&self.staged)?;
            return active.writer.sync();
        }
        let first = self.shared.end.load(Ordering::Acquire);
        let writer = self.shared.storage.create(&segment_name(first))?;
        let active = self.active.insert(Active { writer, first, bytes: 0 });
        active.writer.append(&self.staged)?;
        active.writer.sync()?;
        self.shared.storage.sync_folder()
    }

    fn poison_by(&mut self, error: &io::Error) -> LogError {
        let why = error.to_string();
        let end = self.shared.end.load(Ordering::Acquire);
        let (first, durable_bytes) =
            self.active.take().map_or((end, 0), |active| (active.first, active.bytes));
        self.poison = Some(Poison { why: why.clone(), first, durable_bytes });
        LogError::Poisoned(why)
    }

    /// Opens a poisoned log to writes again: cuts away what was not durable; new records go to a new file.
    pub fn revive(&mut self) -> Result<(), LogError> {
        let Some(poison) = &mut self.poison else { return Ok(()) };
        let storage = &self.shared.storage;
        let name = segment_name(poison.first);
        let cut = if poison.durable_bytes > 0 {
            storage.truncate(&name, poison.durable_bytes)
        } else {
            match storage.remove(&name) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => storage.sync_folder(),
            }
        };
        match cut {
            Ok(()) => {
                self.poison = None;
                Ok(())
            }
            Err(error) => {
                poison.why = error.to_string();
                Err(LogError::Poisoned(poison.why.clone()))
            }
        }
    }

    /// Removes the segments of which nothing is needed. `committed`, the first offset that is still needed, must
    /// be durable with the caller: it is what the next open is told.
    pub fn trim(&mut self, committed: u64) -> io::Result<()> {
        while let Some(oldest) = self.trimmable(committed) {
            match self.shared.storage.remove(&segment_name(oldest.first)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            if self.active.as_ref().is_some_and(|active| active.first == oldest.first) {
                self.active = None;
            }
            self.shared.segments().pop_front();
            self.budget.give(oldest.bytes);
        }
        Ok(())
    }

    fn trimmable(&self, committed: u64) -> Option<Segment> {
        let segments = self.shared.segments();
        let oldest = segments.front().copied().filter(|oldest| oldest.end <= committed)?;
        let is_active = self.active.as_ref().is_some_and(|active| active.first == oldest.first);
        let is_poisoned = self.poison.as_ref().is_some_and(|poison| poison.first == oldest.first);
        let worthwhile =
            self.budget.is_tight() || oldest.bytes >= TRIM_ACTIVE_BYTES_MIN.min(self.config.segment_bytes);
        let busy = is_poisoned || is_active && (self.staged_records > 0 || !worthwhile);
        (!busy).then_some(oldest)
    }
}
