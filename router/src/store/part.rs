//! One partition's part of the store, where several routers share the work: its rows lie under the partition's number.
//!
//! Reads see what is on the disk. What is committed here is only gathered: it becomes true when the ledger in Kafka has it,
//! and is then written by [`Part::written`]. Owns the layout of the parts and the notes that say how far a copy goes.
//! Never knows what a row means. Used by `owners`, and by `node::several`, which carries rows to the ledger.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use uuid::Uuid;
use wire::time::Wall;

use super::codec::{Decoder, Encoder};
use super::{Batch, Order, Range, Row, SCAN_ROWS_MAX, Space, Store, StoreError};

const VERSION: u8 = 1;
const PREFIX_BYTES: usize = 4;
/// What belongs to the router and moves with no partition.
const LOCAL: [Space; 5] =
    [Space::Idempotency, Space::Outbox, Space::Documents, Space::Buffered, Space::Projected];

/// Rows of one part, each with its last word. `None` deletes.
pub type Rows = BTreeMap<(Space, Vec<u8>), Option<Bytes>>;

/// How far the copy on this disk goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Copied {
    /// The ledger that it is a copy of: the random name in its first row.
    pub ledger: Uuid,
    /// The offset behind the last row that is here.
    pub next: u64,
    /// When that was known.
    pub at: Wall,
}

#[derive(Debug, Clone)]
pub struct Part<S> {
    store: S,
    partition: u32,
    gathered: Arc<Mutex<Rows>>,
}

impl<S: Store> Part<S> {
    pub fn new(store: S, partition: u32) -> Part<S> {
        Part { store, partition, gathered: Arc::default() }
    }

    /// What was committed since the last call.
    pub fn take_gathered(&self) -> Rows {
        std::mem::take(&mut *self.gathered())
    }

    fn gathered(&self) -> MutexGuard<'_, Rows> {
        self.gathered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The writes that make rows of the ledger true on the disk.
    pub fn written(partition: u32, rows: Rows) -> Batch {
        let key = |key: &[u8]| [&partition.to_be_bytes(), key].concat();
        let writes = rows.into_iter().map(|((space, bare), value)| (space, key(&bare), value));
        Batch { writes: writes.collect() }
    }

    /// How far the copy of a partition goes, if there is one.
    pub fn copied(store: &S, partition: u32) -> Result<Option<Copied>, StoreError> {
        let Some(row) = store.get(Space::Documents, &copied_key(partition))? else { return Ok(None) };
        let mut row = Decoder::new(Space::Documents, row, VERSION)?;
        let (next, at) = (row.u64()?, row.wall()?);
        let name = row.rest();
        let ledger = Uuid::from_slice(&name).map_err(|_| row.damaged("a name has 16 bytes"))?;
        Ok(Some(Copied { ledger, next, at }))
    }

    /// To be written with the rows up to there.
    pub fn note_copied(batch: &mut Batch, partition: u32, copied: Copied) {
        let Copied { ledger, next, at } = copied;
        let row = Encoder::new(VERSION).u64(next).wall(at).rest(ledger.as_bytes()).finish();
        batch.put(Space::Documents, copied_key(partition), row);
    }

    /// Throws the copy away. Its note goes first, so that half of a copy is never taken for one.
    pub fn forget(store: &S, partition: u32) -> Result<(), StoreError> {
        let mut note = Batch::default();
        note.delete(Space::Documents, copied_key(partition));
        store.commit(&note)?;
        let range = Range::prefix(&partition.to_be_bytes());
        for space in Space::ALL.into_iter().filter(|space| !LOCAL.contains(space)) {
            loop {
                let rows = store.scan(space, &range, Order::Forward, SCAN_ROWS_MAX)?;
                if rows.is_empty() {
                    break;
                }
                let mut batch = Batch::default();
                for (key, _) in rows {
                    batch.delete(space, key);
                }
                store.commit(&batch)?;
            }
        }
        Ok(())
    }

    fn key(&self, key: &[u8]) -> Vec<u8> {
        [&self.partition.to_be_bytes(), key].concat()
    }

    fn range(&self, range: &Range) -> Range {
        let whole = Range::prefix(&self.partition.to_be_bytes());
        let within = |bound: &Bound<Vec<u8>>, open: Bound<Vec<u8>>| match bound {
            Bound::Included(key) => Bound::Included(self.key(key)),
            Bound::Excluded(key) => Bound::Excluded(self.key(key)),
            Bound::Unbounded => open,
        };
        Range { from: within(&range.from, whole.from), to: within(&range.to, whole.to) }
    }
}

fn copied_key(partition: u32) -> Vec<u8> {
    [b"ledger/copied/".as_slice(), &partition.to_be_bytes()].concat()
}

impl<S: Store> Store for Part<S> {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.store.get(space, &self.key(key))
    }

    fn scan(&self, space: Space, range: &Range, order: Order, limit: usize) -> Result<Vec<Row>, StoreError> {
        let mut rows = self.store.scan(space, &self.range(range), order, limit)?;
        for (key, _) in &mut rows {
            key.drain(..PREFIX_BYTES);
        }
        Ok(rows)
    }

    fn commit(&self, batch: &Batch) -> Result<(), StoreError> {
        let writes = batch.writes.iter().map(|(space, key, value)| ((*space, key.clone()), value.clone()));
        self.gathered().extend(writes);
        Ok(())
    }

    /// What matters of it is in Kafka.
    fn persist(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemoryStore;

    fn put(part: &Part<MemoryStore>, key: &[u8], value: &'static [u8]) {
        let mut batch = Batch::default();
        batch.put(Space::Due, key.to_vec(), Bytes::from_static(value));
        part.commit(&batch).expect("it is gathered");
    }

    fn write(store: &MemoryStore, part: &Part<MemoryStore>) {
        let batch = Part::<MemoryStore>::written(part.partition, part.take_gathered());
        store.commit(&batch).expect("memory");
    }

    #[test]
    fn rows_are_there_when_they_were_written_and_stay_in_their_part() {
        let store = MemoryStore::new();
        let parts = [3, 4].map(|partition| Part::new(store.clone(), partition));
        put(&parts[0], b"a", b"3");
        assert_eq!(parts[0].get(Space::Due, b"a"), Ok(None), "it is not in the ledger yet");
        put(&parts[1], b"a", b"4");
        put(&parts[1], b"b", b"4");
        for part in &parts {
            write(&store, part);
        }
        let all =
            |part: &Part<MemoryStore>, order| part.scan(Space::Due, &Range::all(), order, 9).expect("memory");
        let row = |key: &[u8], value: &'static [u8]| (key.to_vec(), Bytes::from_static(value));
        assert_eq!(all(&parts[0], Order::Forward), [row(b"a", b"3")]);
        assert_eq!(all(&parts[1], Order::Reverse), [row(b"b", b"4"), row(b"a", b"4")]);
        let after = Range::all().after(b"a").before(b"b");
        assert_eq!(parts[1].scan(Space::Due, &after, Order::Forward, 9), Ok(vec![]));
    }

    #[test]
    fn the_last_word_of_many_commits_counts() {
        let part = Part::new(MemoryStore::new(), 0);
        put(&part, b"a", b"1");
        put(&part, b"a", b"2");
        let mut batch = Batch::default();
        batch.delete(Space::Due, b"b".to_vec());
        part.commit(&batch).expect("it is gathered");
        let rows = part.take_gathered();
        assert_eq!(rows[&(Space::Due, b"a".to_vec())], Some(Bytes::from_static(b"2")));
        assert_eq!(rows[&(Space::Due, b"b".to_vec())], None);
        assert!(part.take_gathered().is_empty());
    }

    #[test]
    fn a_copy_that_is_thrown_away_leaves_the_others_and_what_is_the_router_s() {
        let store = MemoryStore::new();
        let parts = [3, 4].map(|partition| Part::new(store.clone(), partition));
        for part in &parts {
            put(part, b"a", b"x");
        }
        for part in &parts {
            write(&store, part);
        }
        let mut batch = Batch::default();
        let copied = Copied { ledger: Uuid::from_u128(9), next: 7, at: Wall(5) };
        for partition in [3, 4] {
            Part::<MemoryStore>::note_copied(&mut batch, partition, copied);
        }
        batch.put(Space::Outbox, [&3u32.to_be_bytes(), b"n".as_slice()].concat(), Bytes::from_static(b"o"));
        store.commit(&batch).expect("memory");
        Part::forget(&store, 3).expect("memory");
        assert_eq!(Part::copied(&store, 3), Ok(None));
        assert_eq!(Part::copied(&store, 4), Ok(Some(copied)));
        assert_eq!(parts[0].get(Space::Due, b"a"), Ok(None));
        assert!(parts[1].get(Space::Due, b"a").expect("memory").is_some());
        assert_eq!(store.scan(Space::Outbox, &Range::all(), Order::Forward, 9).map(|rows| rows.len()), Ok(1));
    }
}
