//! The journal of a node without Kafka: four segment logs, one for each priority, in one folder.
//!
//! Owns the folder (`lock`, `commit`, `critical/ high/ normal/ low/`), the one thread that writes to it, and the
//! sequence numbers. Many appends share one write and sync (group commit). Never acknowledges what is not synced
//! and never gives a sequence number to what was not written.
//! Opened by the router's start; [`EmbeddedJournal`] goes to `ingest`, [`EmbeddedReader`] to the owner's run loop.
//!
//! ```text
//! append ─▶ queue of its lane ─▶ writer thread: stage, write, sync ─▶ reply        reader ─▶ commit ─▶ writer thread
//! ```

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::oneshot;
use wire::message::Priority;

use super::encode::Prepared;
use super::segment::{Budget, LogConfig, LogFiles, Recovery, SegmentLog};
use super::storage::{DiskStorage, Storage};
use super::{AppendError, Appended, Draft, Fault, Journal, JournalStatus};
use commit::Committed;
use queue::{Pending, Shared};
use writer::Writer;

mod commit;
mod follow;
mod hold;
mod queue;
mod reader;
mod share;
mod writer;

pub use follow::Follower;
pub use hold::{Hold, Part};
pub use reader::EmbeddedReader;
#[cfg(feature = "kafka")]
pub(crate) use share::{narrowed, shares};

/// How many lanes there are: one for each priority.
pub(crate) const LANES: usize = Priority::ALL.len();

/// Bounds of the folder. `Default` is what a standalone node starts with.
#[derive(Debug, Clone, Copy)]
pub struct EmbeddedLimits {
    /// Bytes of all segments together.
    pub bytes_max: u64,
    /// Of these, how many only critical records may use.
    pub critical_reserve_bytes: u64,
    /// Bytes of a segment before the next one is begun.
    pub segment_bytes: u64,
}

impl Default for EmbeddedLimits {
    fn default() -> EmbeddedLimits {
        EmbeddedLimits {
            bytes_max: 16 * 1024 * 1024 * 1024,
            critical_reserve_bytes: 1024 * 1024 * 1024,
            segment_bytes: 64 * 1024 * 1024,
        }
    }
}

/// The folder cannot be used. Each has one line for the operator.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("the journal's folder {} is in use by another process", dir.display())]
    Locked { dir: PathBuf },
    #[error("the journal's folder {} is not writable: {source}", dir.display())]
    NotWritable { dir: PathBuf, source: io::Error },
    #[error("the journal cannot be read: {0}")]
    Storage(#[from] io::Error),
    #[error("a journal has at least one partition")]
    NoPartitions,
    #[error("no randomness to be had: {0}")]
    NoRandomness(getrandom::Error),
}

/// What an open found, by lane, most urgent first.
#[derive(Debug, Default, Clone)]
pub struct RecoveryReport {
    pub lanes: [Recovery; LANES],
    /// The commit file was damaged: everything that is there is read again (and collapses in the owner's dedup).
    pub commits_lost: bool,
    /// Records that wait to be read.
    pub waiting: u64,
}

impl RecoveryReport {
    /// Whether nothing has to be told to an operator.
    pub fn is_clean(&self) -> bool {
        !self.commits_lost && self.lanes.iter().all(Recovery::is_clean)
    }
}

/// The writing half.
#[derive(Debug)]
pub struct EmbeddedJournal {
    shared: Arc<Shared>,
    files: Arc<[LogFiles]>,
    partitions: u32,
    boot: u64,
    running: Arc<writer::Running>,
}

impl EmbeddedJournal {
    /// Opens or makes the folder, recovers what is there and starts the writer thread. Blocks until every segment
    /// was read once. `partitions` is only written into the records.
    pub fn open(
        dir: &Path,
        partitions: u32,
        limits: EmbeddedLimits,
    ) -> Result<(EmbeddedJournal, EmbeddedReader, RecoveryReport), OpenError> {
        let not_writable = |source| OpenError::NotWritable { dir: dir.to_owned(), source };
        let storage = DiskStorage::open(dir).map_err(not_writable)?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(dir.join("lock"))
            .map_err(not_writable)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => {
                return Err(OpenError::Locked { dir: dir.to_owned() });
            }
            Err(std::fs::TryLockError::Error(error)) => return Err(not_writable(error)),
        }
        let seed = Seed::draw()?;
        open_on(Arc::new(storage), Some(lock), partitions, limits, seed)
    }

    /// The same on any storage, for tests.
    pub fn open_on(
        storage: Arc<dyn Storage>,
        partitions: u32,
        limits: EmbeddedLimits,
        seed: u64,
    ) -> Result<(EmbeddedJournal, EmbeddedReader, RecoveryReport), OpenError> {
        open_on(storage, None, partitions, limits, Seed { boot: seed, salt: seed as u32 ^ 0x5eed_5a17 })
    }

    /// Reads one lane from its commit on, beside its owner.
    pub fn follow(&self, priority: Priority) -> Follower {
        let lane = priority as usize;
        Follower::new(lane, self.files[lane].clone(), Arc::clone(&self.shared), Arc::clone(&self.running))
    }

    /// By lane: what is not committed, from the first offset to before the second.
    pub fn spans(&self) -> [(u64, u64); LANES] {
        self.shared.spans()
    }

    /// What lies before these offsets is safe elsewhere: it is committed, whoever read it. On the disk once all halves of
    /// the journal are dropped.
    pub fn give_up(&self, before: [u64; LANES]) {
        for (lane, offset) in before.into_iter().enumerate() {
            self.shared.note_committed(lane, offset);
        }
    }

    /// The boot that this process's sequences run in.
    pub fn boot(&self) -> u64 {
        self.boot
    }
}

#[derive(Debug, Clone, Copy)]
struct Seed {
    boot: u64,
    salt: u32,
}

impl Seed {
    fn draw() -> Result<Seed, OpenError> {
        // 53 bits, so that a JSON reader that knows only doubles shows the number as it is.
        let boot = getrandom::u64().map_err(OpenError::NoRandomness)? >> 11;
        let salt = getrandom::u32().map_err(OpenError::NoRandomness)?;
        Ok(Seed { boot, salt })
    }
}

fn open_on(
    storage: Arc<dyn Storage>,
    lock: Option<File>,
    partitions: u32,
    limits: EmbeddedLimits,
    seed: Seed,
) -> Result<(EmbeddedJournal, EmbeddedReader, RecoveryReport), OpenError> {
    if partitions == 0 {
        return Err(OpenError::NoPartitions);
    }
    let (committed, commits_lost) = Committed::load(&*storage)?;
    let budget = Budget::new(limits.bytes_max, limits.critical_reserve_bytes);
    let mut logs = Vec::with_capacity(LANES);
    let mut report = RecoveryReport { commits_lost, ..RecoveryReport::default() };
    for (lane, priority) in Priority::ALL.into_iter().enumerate() {
        let config = LogConfig {
            segment_bytes: limits.segment_bytes,
            urgent: priority == Priority::Critical,
            salt: seed.salt,
        };
        let folder = storage.folder(priority.name())?;
        let (log, recovery) = SegmentLog::open(folder, config, Arc::clone(&budget), committed.0[lane])?;
        report.waiting += log.next_offset() - committed.0[lane];
        report.lanes[lane] = recovery;
        logs.push(log);
    }
    let readers: Vec<_> = logs.iter().zip(committed.0).map(|(log, from)| log.reader(from)).collect();
    let files = logs.iter().map(SegmentLog::files).collect();
    let ends = std::array::from_fn(|lane| logs[lane].next_offset());
    let shared = Arc::new(Shared::new(budget, ends, committed));
    let places = report.lanes.iter().map(Recovery::unreported).sum();
    let writer = Writer::new(logs, storage, Arc::clone(&shared), partitions, seed.boot, places);
    let running = Arc::new(writer::Running::start(writer, lock)?);
    let reader = EmbeddedReader::new(readers, Arc::clone(&shared), committed, Arc::clone(&running));
    let journal = EmbeddedJournal { shared, files, partitions, boot: seed.boot, running };
    Ok((journal, reader, report))
}

#[async_trait]
impl Journal for EmbeddedJournal {
    async fn append(&self, draft: Draft) -> Result<Appended, AppendError> {
        let (reply, answer) = oneshot::channel();
        let lane = draft.request.priority as usize;
        let pending = Pending::new(Prepared::new(draft, self.partitions)?, reply);
        self.shared.enqueue(lane, pending).await?;
        match answer.await {
            Ok(result) => result,
            Err(_) => Err(AppendError::Unavailable("the journal is closed".to_owned())),
        }
    }

    fn status(&self) -> JournalStatus {
        self.shared.status()
    }

    fn fault(&self) -> Option<Fault> {
        self.shared.fault()
    }

    fn hold(&self) -> Option<Hold> {
        Some(Hold::new(Arc::clone(&self.shared), Arc::clone(&self.files)))
    }

    fn name(&self) -> &'static str {
        "journal"
    }
}
