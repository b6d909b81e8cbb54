//! Backups of a node that keeps its own journal: a folder with everything that was accepted up to one moment.
//!
//! Owns the folder's layout and its proof: `write` makes one from open stores, of a running router or of a data folder on
//! which none runs, and `restore` makes a data folder of it. Never writes into a folder that holds anything; what was not finished
//! or has changed since is not restored. Called by `main` and by `POST /v1/backups`.
//!
//! Nothing is lost: the journal is held and its commits noted before the store is looked at, its ends after that. So what
//! the store does not have yet stands in the journal behind the noted commits, and what is in both is known by its id, as
//! after a crash.
//!
//! ```text
//! manifest.json   what it is                        store.rows   every row of the store
//! SHA256SUMS      of all other files, written last  journal/     commit, {lane}/*.log
//! ```

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, TryLockError};

use serde::{Deserialize, Serialize};
use wire::message::Priority;
use wire::time::Wall;

use crate::config::{EMBEDDED_PARTITIONS, JOURNAL_DIR, STORE_DIR};
use crate::journal::Journal;
use crate::journal::embedded::{EmbeddedJournal, EmbeddedLimits, Hold, OpenError, Part};
use crate::migrate;
use crate::store::{DiskStore, FORMAT_VERSION, Space, StoreError};
use folder::Folder;

mod folder;
mod restore;
mod rows;

pub use restore::restore;

/// The version of the layout and of `store.rows`.
const FORMAT: u8 = 1;
const MANIFEST: &str = "manifest.json";
const SUMS: &str = "SHA256SUMS";
const ROWS: &str = "store.rows";
const JOURNAL: &str = "journal";
/// Bytes of a file that are copied at once.
const CHUNK_BYTES: usize = 1024 * 1024;

/// What a backup is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    pub format: u8,
    /// Of the build that wrote it.
    pub version: String,
    pub store_format: u8,
    /// Everything that was accepted before is in it.
    pub at: Wall,
    /// Of the store, by space.
    pub rows: BTreeMap<String, u64>,
    /// By lane: records of the journal that the store did not have for sure.
    pub waiting: BTreeMap<String, u64>,
    /// Files beside this one and the sums.
    pub files: usize,
}

/// Why there is no backup, or none is restored. One line for a person.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error("{} is not empty: name a folder that is not there yet", dir.display())]
    NotEmpty { dir: PathBuf },
    #[error("{} is not the data folder of a router with a journal of its own", dir.display())]
    NoData { dir: PathBuf },
    #[error("{} is in use: ask the router that runs on it (POST /v1/backups)", dir.display())]
    InUse { dir: PathBuf },
    #[error("the journal is Kafka's: only a node with a journal of its own is backed up")]
    Elsewhere,
    #[error(
        "an outage of Kafka left promises that the ledger does not know yet: run the router on that Kafka until \
         `outage` in /v1/status is `normal`"
    )]
    Buffered,
    #[error("{} is no finished backup: it has no {SUMS}", dir.display())]
    Unfinished { dir: PathBuf },
    #[error("the backup is damaged: {0}")]
    Damaged(String),
    #[error("the backup has format {found:?}, this build reads {wanted:?}")]
    Format { found: (u8, u8), wanted: (u8, u8) },
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Journal(#[from] OpenError),
}

fn at<T>(path: &Path, result: io::Result<T>) -> Result<T, BackupError> {
    result.map_err(|source| BackupError::Io { path: path.to_owned(), source })
}

/// The backups of a running router, in a folder of their own, one at a time.
#[derive(Debug)]
pub struct Backups {
    dir: PathBuf,
    one_at_a_time: Mutex<()>,
}

impl Backups {
    pub fn new(dir: PathBuf) -> Backups {
        Backups { dir, one_at_a_time: Mutex::default() }
    }

    /// Where it is, and what. `None`: another one is being written. Blocks for as long as the copying takes.
    pub fn write(
        &self,
        store: &DiskStore,
        journal: &dyn Journal,
        now: Wall,
    ) -> Result<Option<(PathBuf, Manifest)>, BackupError> {
        let _alone = match self.one_at_a_time.try_lock() {
            Ok(alone) => alone,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return Ok(None),
        };
        let to = self.dir.join(now.to_string().replace(':', "-"));
        let manifest = write(store, journal, &to, now)?;
        Ok(Some((to, manifest)))
    }
}

/// A backup of a data folder on which no router runs. Like a start, it cuts away what a crash left half-written.
pub fn write_offline(data: &Path, to: &Path, now: Wall) -> Result<Manifest, BackupError> {
    let (store, journal) = (data.join(STORE_DIR), data.join(JOURNAL_DIR));
    if !store.is_dir() || !journal.is_dir() {
        return Err(BackupError::NoData { dir: data.to_owned() });
    }
    let in_use = || BackupError::InUse { dir: data.to_owned() };
    let store = DiskStore::open(&store).map_err(|error| match error {
        StoreError::Locked { .. } => in_use(),
        error => error.into(),
    })?;
    let (journal, _reader, _report) =
        EmbeddedJournal::open(&journal, EMBEDDED_PARTITIONS, EmbeddedLimits::default()).map_err(|error| {
            match error {
                OpenError::Locked { .. } => in_use(),
                error => error.into(),
            }
        })?;
    if migrate::has_begun(&store)? {
        return Err(BackupError::Elsewhere);
    }
    write(&store, &journal, to, now)
}

/// The order is the promise: hold, freeze, ends.
fn write(store: &DiskStore, journal: &dyn Journal, to: &Path, now: Wall) -> Result<Manifest, BackupError> {
    let held = journal.hold().ok_or(BackupError::Elsewhere)?;
    let mut folder = Folder::make(to)?;
    let frozen = store.freeze();
    // Their records are in the outage's own log, which only Kafka empties.
    if frozen.rows(Space::Buffered).next().is_some() {
        return Err(BackupError::Buffered);
    }
    let parts = held.parts();
    for part in &parts {
        folder.file(&format!("{JOURNAL}/{}", part.path()), |out| copy(&held, part, out))?;
    }
    let (name, text) = held.commits();
    folder.file(&format!("{JOURNAL}/{name}"), |out| Ok(out.write_all(text.as_bytes())?))?;
    let waiting = held.waiting(&parts);
    drop(held);
    let rows = folder.file(ROWS, |out| rows::write(&frozen, out))?;
    let manifest = Manifest {
        format: FORMAT,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        store_format: FORMAT_VERSION,
        at: now,
        rows,
        waiting: Priority::ALL.map(|lane| lane.name().to_owned()).into_iter().zip(waiting).collect(),
        files: folder.files(),
    };
    let text = serde_json::to_vec_pretty(&manifest).expect("numbers and names");
    folder.file(MANIFEST, |out| Ok(out.write_all(&text)?))?;
    folder.finish()?;
    Ok(manifest)
}

fn copy(held: &Hold, part: &Part, out: &mut impl Write) -> Result<(), folder::Fault> {
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut done = 0;
    while done < part.bytes() {
        let wanted = chunk.len().min(usize::try_from(part.bytes() - done).unwrap_or(usize::MAX));
        let filled = held.read(part, done, &mut chunk[..wanted])?;
        if filled == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        out.write_all(&chunk[..filled])?;
        done += filled as u64;
    }
    Ok(())
}
