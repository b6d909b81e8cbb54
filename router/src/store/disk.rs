//! The store on disk: fjall, one keyspace for each space.
//!
//! Owns the folder. A batch is written to fjall's own journal and the operating system before `commit` returns, so it
//! survives a killed process; a power cut survives what was persisted. A folder of another format is not opened.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode, Readable, Snapshot};

use super::{Batch, FORMAT_VERSION, Order, Range, Row, Space, Store, StoreError};

/// Where the format version stands in [`Space::Meta`].
const FORMAT_KEY: &[u8] = b"format";
/// Bytes of blocks kept in memory.
const CACHE_BYTES: u64 = 64 * 1024 * 1024;
/// Bytes of fjall's own journal before it has to flush.
const JOURNAL_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// Bytes that one space gathers in memory before they are written as a table. Smaller ones come faster than they are written in a flood,
/// and with four of a space waiting the store takes nothing for a tenth of a second at a time.
const MEMTABLE_BYTES_MAX: u64 = 64 * 1024 * 1024;

#[derive(Clone)]
pub struct DiskStore {
    open: Arc<Open>,
}

struct Open {
    database: Database,
    spaces: Vec<Keyspace>,
}

impl std::fmt::Debug for DiskStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DiskStore").finish_non_exhaustive()
    }
}

impl DiskStore {
    /// Opens or makes the store in `dir`.
    pub fn open(dir: &Path) -> Result<DiskStore, StoreError> {
        let failed = |error: fjall::Error| match error {
            fjall::Error::Locked => StoreError::Locked { dir: dir.to_owned() },
            fjall::Error::InvalidVersion(found) => {
                StoreError::Format { found: format!("of another engine ({found:?})"), wanted: FORMAT_VERSION }
            }
            error => StoreError::Io(format!("{}: {error:?}", dir.display())),
        };
        let database = Database::builder(dir)
            .cache_size(CACHE_BYTES)
            .max_journaling_size(JOURNAL_BYTES_MAX)
            .open()
            .map_err(failed)?;
        check_format(&database).map_err(|error| error.unwrap_or_else(failed))?;
        let spaces = Space::ALL
            .into_iter()
            .map(|space| database.keyspace(space.name(), options))
            .collect::<Result<Vec<_>, _>>()
            .map_err(failed)?;
        Ok(DiskStore { open: Arc::new(Open { database, spaces }) })
    }

    /// All rows as they are now, whatever is written later. What they take stays on the disk while it lives.
    pub fn freeze(&self) -> Frozen {
        Frozen { open: Arc::clone(&self.open), rows: self.open.database.snapshot() }
    }

    fn space(&self, space: Space) -> &Keyspace {
        &self.open.spaces[space as usize]
    }
}

/// Made by [`DiskStore::freeze`].
pub struct Frozen {
    open: Arc<Open>,
    rows: Snapshot,
}

impl std::fmt::Debug for Frozen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Frozen").finish_non_exhaustive()
    }
}

impl Frozen {
    /// In the order of their keys.
    pub fn rows(&self, space: Space) -> impl Iterator<Item = Result<Row, StoreError>> + use<> {
        self.rows.iter(&self.open.spaces[space as usize]).map(row)
    }
}

fn row(guard: fjall::Guard) -> Result<Row, StoreError> {
    let (key, value) = guard.into_inner().map_err(io)?;
    Ok((key.to_vec(), Bytes::copy_from_slice(&value)))
}

fn options() -> KeyspaceCreateOptions {
    KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE_BYTES_MAX)
}

/// What went wrong while the format was checked: fjall's fault, or another format.
enum FormatError {
    Engine(fjall::Error),
    Format(StoreError),
}

impl FormatError {
    fn unwrap_or_else(self, engine: impl FnOnce(fjall::Error) -> StoreError) -> StoreError {
        match self {
            FormatError::Engine(error) => engine(error),
            FormatError::Format(error) => error,
        }
    }
}

/// Before anything else is touched.
fn check_format(database: &Database) -> Result<(), FormatError> {
    let is_new = database.keyspace_count() == 0;
    let meta = database.keyspace(Space::Meta.name(), options).map_err(FormatError::Engine)?;
    let found = meta.get(FORMAT_KEY).map_err(FormatError::Engine)?;
    match found.as_deref() {
        Some([FORMAT_VERSION]) => Ok(()),
        // A start that was killed before its first write leaves an empty keyspace.
        None if is_new || meta.is_empty().map_err(FormatError::Engine)? => {
            meta.insert(FORMAT_KEY, [FORMAT_VERSION]).map_err(FormatError::Engine)
        }
        found => {
            let found = found.map_or_else(|| "none".to_owned(), |bytes| format!("{bytes:?}"));
            Err(FormatError::Format(StoreError::Format { found, wanted: FORMAT_VERSION }))
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is given to map_err")]
fn io(error: fjall::Error) -> StoreError {
    StoreError::Io(format!("{error:?}"))
}

impl Store for DiskStore {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let value = self.space(space).get(key).map_err(io)?;
        Ok(value.map(|value| Bytes::copy_from_slice(&value)))
    }

    fn scan(&self, space: Space, range: &Range, order: Order, limit: usize) -> Result<Vec<Row>, StoreError> {
        if range.is_empty() {
            return Ok(Vec::new());
        }
        let rows = self.space(space).range::<&[u8], _>((
            range.from.as_ref().map(Vec::as_slice),
            range.to.as_ref().map(Vec::as_slice),
        ));
        match order {
            Order::Forward => rows.take(limit).map(row).collect(),
            Order::Reverse => rows.rev().take(limit).map(row).collect(),
        }
    }

    fn commit(&self, batch: &Batch) -> Result<(), StoreError> {
        let mut writes = self.open.database.batch();
        for (space, key, value) in &batch.writes {
            match value {
                Some(value) => writes.insert(self.space(*space), key.as_slice(), value.as_ref()),
                None => writes.remove(self.space(*space), key.as_slice()),
            }
        }
        writes.commit().map_err(io)
    }

    fn persist(&self) -> Result<(), StoreError> {
        self.open.database.persist(PersistMode::SyncAll).map_err(io)
    }
}
