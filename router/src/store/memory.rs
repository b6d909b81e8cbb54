//! A store in memory: for simulation and tests, and for benches beside the disk.
//!
//! A clone is a handle to the same store; [`MemoryStore::snapshot`] is a copy. Failures are injected by the test that
//! holds a handle: the next commits or reads fail, and change nothing.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, RwLock};

use bytes::Bytes;

use super::{Batch, Order, Range, Row, Space, Store, StoreError};

type Rows = BTreeMap<Vec<u8>, Bytes>;

#[derive(Debug, Clone, Default)]
struct Content {
    spaces: [Rows; Space::ALL.len()],
    failing_commits: u32,
    reads_before_failing: u32,
    failing_reads: u32,
    commits: u64,
}

#[derive(Debug, Clone, Default)]
pub struct MemoryStore {
    content: Arc<RwLock<Content>>,
}

impl MemoryStore {
    pub fn new() -> MemoryStore {
        MemoryStore::default()
    }

    /// A store of its own with the same rows.
    pub fn snapshot(&self) -> MemoryStore {
        let content = self.content.read().expect("no writer panics").clone();
        MemoryStore { content: Arc::new(RwLock::new(content)) }
    }

    /// The next `count` commits fail.
    pub fn fail_commits(&self, count: u32) {
        self.content.write().expect("no writer panics").failing_commits = count;
    }

    /// The next `count` reads fail.
    pub fn fail_reads(&self, count: u32) {
        self.fail_reads_after(0, count);
    }

    /// `good` reads go well, and the `count` behind them fail.
    pub fn fail_reads_after(&self, good: u32, count: u32) {
        let mut content = self.content.write().expect("no writer panics");
        (content.reads_before_failing, content.failing_reads) = (good, count);
    }

    /// How many batches were committed.
    pub fn commits(&self) -> u64 {
        self.content.read().expect("no writer panics").commits
    }

    fn check_read(&self) -> Result<(), StoreError> {
        if self.content.read().expect("no writer panics").failing_reads == 0 {
            return Ok(());
        }
        let mut content = self.content.write().expect("no writer panics");
        if content.reads_before_failing > 0 {
            content.reads_before_failing -= 1;
            return Ok(());
        }
        content.failing_reads -= 1;
        Err(StoreError::Io("an injected failure of a read".to_owned()))
    }
}

impl Store for MemoryStore {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.check_read()?;
        let content = self.content.read().expect("no writer panics");
        Ok(content.spaces[space as usize].get(key).cloned())
    }

    fn scan(&self, space: Space, range: &Range, order: Order, limit: usize) -> Result<Vec<Row>, StoreError> {
        self.check_read()?;
        if range.is_empty() {
            return Ok(Vec::new());
        }
        let content = self.content.read().expect("no writer panics");
        let bounds: (Bound<&[u8]>, Bound<&[u8]>) =
            (range.from.as_ref().map(Vec::as_slice), range.to.as_ref().map(Vec::as_slice));
        let rows = content.spaces[space as usize].range::<[u8], _>(bounds);
        let row = |(key, value): (&Vec<u8>, &Bytes)| (key.clone(), value.clone());
        Ok(match order {
            Order::Forward => rows.take(limit).map(row).collect(),
            Order::Reverse => rows.rev().take(limit).map(row).collect(),
        })
    }

    fn commit(&self, batch: &Batch) -> Result<(), StoreError> {
        let mut content = self.content.write().expect("no writer panics");
        if content.failing_commits > 0 {
            content.failing_commits -= 1;
            return Err(StoreError::Io("an injected failure of a commit".to_owned()));
        }
        content.commits += 1;
        for (space, key, value) in &batch.writes {
            let rows = &mut content.spaces[*space as usize];
            match value {
                Some(value) => rows.insert(key.clone(), value.clone()),
                None => rows.remove(key),
            };
        }
        Ok(())
    }

    fn persist(&self) -> Result<(), StoreError> {
        Ok(())
    }
}
