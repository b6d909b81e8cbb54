//! The owner's store: rows in memory, what of them is forced to the disk, and every batch for the audit to look at.

use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use router::store::{Batch, MemoryStore, Order, Range, Row, Space, Store, StoreError};

#[derive(Debug, Default)]
struct Book {
    /// What a power cut leaves.
    persisted: MemoryStore,
    /// Committed and not on the disk.
    pending: Vec<Batch>,
    /// Committed and not audited.
    fresh: Vec<Batch>,
    persists: u64,
}

/// A clone is a handle to the same store.
#[derive(Debug, Clone, Default)]
pub(crate) struct SimStore {
    pub(crate) rows: MemoryStore,
    book: Arc<Mutex<Book>>,
}

impl SimStore {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().expect("nobody panics while holding the book")
    }

    pub(crate) fn take_fresh(&self) -> Vec<Batch> {
        std::mem::take(&mut self.book().fresh)
    }

    /// How often everything was forced to the disk.
    pub(crate) fn persists(&self) -> u64 {
        self.book().persists
    }

    /// Whether the disk has the row.
    pub(crate) fn is_persisted(&self, space: Space, key: &[u8]) -> bool {
        self.book().persisted.get(space, key).is_ok_and(|row| row.is_some())
    }

    /// The store as a power cut leaves it.
    pub(crate) fn after_power_cut(&self) -> SimStore {
        let mut book = self.book();
        book.pending.clear();
        book.fresh.clear();
        let rows = book.persisted.snapshot();
        drop(book);
        SimStore { rows, book: Arc::clone(&self.book) }
    }
}

impl Store for SimStore {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.rows.get(space, key)
    }

    fn scan(&self, space: Space, range: &Range, order: Order, limit: usize) -> Result<Vec<Row>, StoreError> {
        self.rows.scan(space, range, order, limit)
    }

    fn commit(&self, batch: &Batch) -> Result<(), StoreError> {
        self.rows.commit(batch)?;
        let mut book = self.book();
        book.pending.push(batch.clone());
        book.fresh.push(batch.clone());
        Ok(())
    }

    fn persist(&self) -> Result<(), StoreError> {
        let mut book = self.book();
        book.persists += 1;
        for batch in std::mem::take(&mut book.pending) {
            book.persisted.commit(&batch)?;
        }
        Ok(())
    }
}
