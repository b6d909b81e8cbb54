//! The book of what the disk took while Kafka did not: one row for each promise, until the ledger knows the notification.
//!
//! Stands apart from the disk's own log on purpose: a record that is lost from the log, in whatever way, is still named
//! here. Never decides what becomes of a record. A porch over the store; called by `outage` and `verify`.

use uuid::Uuid;
use wire::time::Wall;

use crate::store::codec::{Decoder, Encoder};
use crate::store::{Batch, DiskStore, Order, Range, Row, Space, Store, StoreError};

/// The version of a row in [`Space::Buffered`].
const VERSION: u8 = 1;
/// Rows that are looked at in one step.
const STEP_ROWS: usize = 1_024;

#[derive(Clone)]
pub struct Book<S = DiskStore> {
    store: S,
}

impl<S> std::fmt::Debug for Book<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Book").finish_non_exhaustive()
    }
}

/// What a look through the book found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Look {
    /// Rows whose notifications the ledger knows; they are struck out.
    pub found: u64,
    /// Rows whose notifications it does not know.
    pub missing: u64,
    /// The first of them.
    pub ids: Vec<Uuid>,
}

impl<S: Store> Book<S> {
    pub fn new(store: S) -> Book<S> {
        Book { store }
    }

    /// The disk has the record, and its service is about to be told so.
    pub fn enter(&self, id: Uuid, at: Wall) -> Result<(), StoreError> {
        let mut batch = Batch::default();
        batch.put(Space::Buffered, id.as_bytes().to_vec(), Encoder::new(VERSION).wall(at).finish());
        self.store.commit(&batch)
    }

    /// It needs no looking for.
    pub(super) fn strike(&self, id: Uuid) -> Result<(), StoreError> {
        let mut batch = Batch::default();
        batch.delete(Space::Buffered, id.as_bytes().to_vec());
        self.store.commit(&batch)
    }

    /// Whether the disk took it and the ledger was not seen to know it since.
    pub(super) fn has_promised(&self, id: Uuid) -> Result<bool, StoreError> {
        Ok(self.store.get(Space::Buffered, id.as_bytes())?.is_some())
    }

    pub fn is_empty(&self) -> Result<bool, StoreError> {
        Ok(self.store.scan(Space::Buffered, &Range::all(), Order::Forward, 1)?.is_empty())
    }

    /// Looks for every row's notification in the ledger and strikes out those that are there. Blocks. `ids_max`: how many of
    /// the others are named.
    pub fn look(&self, ids_max: usize) -> Result<Look, StoreError> {
        let mut look = Look::default();
        let mut range = Range::all();
        loop {
            let rows = self.store.scan(Space::Buffered, &range, Order::Forward, STEP_ROWS)?;
            let Some((last, _)) = rows.last() else { return Ok(look) };
            range = range.after(last);
            let mut batch = Batch::default();
            for row in rows {
                let id = id(&row)?;
                if self.is_known(id)? {
                    look.found += 1;
                    batch.delete(Space::Buffered, row.0);
                } else {
                    look.missing += 1;
                    look.ids.extend((look.ids.len() < ids_max).then_some(id));
                }
            }
            if !batch.is_empty() {
                self.store.commit(&batch)?;
            }
        }
    }

    /// An erased person's notifications have no row of their own any more, but their deliveries do.
    pub(super) fn is_known(&self, id: Uuid) -> Result<bool, StoreError> {
        if self.store.get(Space::Notifications, id.as_bytes())?.is_some() {
            return Ok(true);
        }
        let deliveries = Range::prefix(id.as_bytes());
        Ok(!self.store.scan(Space::Ledger, &deliveries, Order::Forward, 1)?.is_empty())
    }
}

fn id((key, value): &Row) -> Result<Uuid, StoreError> {
    let row = Decoder::new(Space::Buffered, value.clone(), VERSION)?;
    Uuid::from_slice(key).map_err(|_| row.damaged("its key is no id"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemoryStore;

    fn known(store: &MemoryStore, space: Space, id: u128) {
        let mut batch = Batch::default();
        batch.put(space, Uuid::from_u128(id).as_bytes().to_vec(), vec![1]);
        store.commit(&batch).expect("memory");
    }

    #[test]
    fn what_the_ledger_knows_is_struck_out_and_the_rest_is_named() {
        let store = MemoryStore::new();
        let book = Book::new(store.clone());
        assert!(book.is_empty().expect("memory"));
        (1..=3_000).for_each(|id| book.enter(Uuid::from_u128(id), Wall(7)).expect("memory"));
        (1..=3_000).filter(|id| id % 1_000 != 0).for_each(|id| {
            known(&store, if id % 2 == 0 { Space::Notifications } else { Space::Ledger }, id);
        });
        let look = book.look(2).expect("memory");
        assert_eq!((look.found, look.missing), (2_997, 3));
        assert_eq!(look.ids, [Uuid::from_u128(1_000), Uuid::from_u128(2_000)]);
        let again = book.look(9).expect("memory");
        assert_eq!((again.found, again.ids.len()), (0, 3), "they stay until they are found");
        for id in [1_000, 2_000, 3_000] {
            known(&store, Space::Ledger, id);
        }
        assert_eq!(book.look(9).expect("memory").found, 3);
        assert!(book.is_empty().expect("memory"));
    }

    #[test]
    fn a_row_that_cannot_be_read_is_no_row_that_was_found() {
        let store = MemoryStore::new();
        let mut batch = Batch::default();
        batch.put(Space::Buffered, vec![1, 2], vec![VERSION]);
        store.commit(&batch).expect("memory");
        assert!(matches!(Book::new(store).look(1), Err(StoreError::Damaged { space: Space::Buffered, .. })));
    }
}
