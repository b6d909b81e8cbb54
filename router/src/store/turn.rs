//! What the owner has written since the last commit, laid over the store: it reads its own writes.
//!
//! Owns the staged writes and how far back one input can be undone. Nothing of it is seen by others before
//! [`Turn::commit`]; a commit that failed leaves everything staged, to be tried again.

use std::cmp::Ordering;
use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;

use bytes::Bytes;

use super::{Batch, Order, Range, Row, Space, Store, StoreError};

/// What a key's staged write was, if there was one.
#[derive(Debug)]
enum Before {
    Nothing,
    Staged(Option<Bytes>),
}

type Staged = BTreeMap<Vec<u8>, Option<Bytes>>;

#[derive(Debug)]
pub struct Turn<S> {
    store: S,
    staged: [Staged; Space::ALL.len()],
    /// What stood before each write since [`Turn::mark`].
    undo: Vec<(Space, Vec<u8>, Before)>,
}

impl<S: Store> Turn<S> {
    pub fn new(store: S) -> Turn<S> {
        Turn { store, staged: Default::default(), undo: Vec::new() }
    }

    pub fn store(&self) -> &S {
        &self.store
    }

    pub fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        match self.staged[space as usize].get(key) {
            Some(staged) => Ok(staged.clone()),
            None => self.store.get(space, key),
        }
    }

    pub fn put(&mut self, space: Space, key: Vec<u8>, value: Bytes) {
        self.write(space, key, Some(value));
    }

    pub fn delete(&mut self, space: Space, key: Vec<u8>) {
        self.write(space, key, None);
    }

    fn write(&mut self, space: Space, key: Vec<u8>, value: Option<Bytes>) {
        let before = self.staged[space as usize].insert(key.clone(), value);
        self.undo.push((space, key, before.map_or(Before::Nothing, Before::Staged)));
    }

    /// From here on, writes can be undone.
    pub fn mark(&mut self) {
        self.undo.clear();
    }

    /// Undoes every write since the mark.
    pub fn undo(&mut self) {
        while let Some((space, key, before)) = self.undo.pop() {
            let staged = &mut self.staged[space as usize];
            match before {
                Before::Staged(before) => staged.insert(key, before),
                Before::Nothing => staged.remove(&key),
            };
        }
    }

    pub fn is_clean(&self) -> bool {
        self.staged.iter().all(BTreeMap::is_empty)
    }

    /// Keys of a space that the next commit writes, each with whether it deletes.
    pub fn changed(&self, space: Space) -> impl Iterator<Item = (&[u8], bool)> {
        self.staged[space as usize].iter().map(|(key, value)| (key.as_slice(), value.is_none()))
    }

    pub fn has_changed(&self, space: Space) -> bool {
        !self.staged[space as usize].is_empty()
    }

    /// Rows as they will be after the commit.
    pub fn scan(
        &self,
        space: Space,
        range: &Range,
        order: Order,
        limit: usize,
    ) -> Result<Vec<Row>, StoreError> {
        let staged = &self.staged[space as usize];
        if range.is_empty() || staged.is_empty() {
            return self.store.scan(space, range, order, limit);
        }
        let bounds: (Bound<&[u8]>, Bound<&[u8]>) =
            (range.from.as_ref().map(Vec::as_slice), range.to.as_ref().map(Vec::as_slice));
        let mut ours = Ours { rows: staged.range::<[u8], _>(bounds), order }.peekable();
        let mut theirs = Theirs {
            store: &self.store,
            space,
            rest: Some(range.clone()),
            order,
            chunk: limit,
            rows: VecDeque::new(),
        };
        let mut rows = Vec::new();
        while rows.len() < limit {
            let which = match (ours.peek(), theirs.peek()?) {
                (None, None) => break,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some((our, _)), Some(their)) => match order {
                    Order::Forward => our.as_slice().cmp(their),
                    Order::Reverse => their.cmp(our.as_slice()),
                },
            };
            if which.is_ge()
                && let Some(row) = theirs.rows.pop_front()
                && which.is_gt()
            {
                rows.push(row);
            }
            if which.is_le()
                && let Some((key, Some(value))) = ours.next()
            {
                rows.push((key.clone(), value.clone()));
            }
        }
        Ok(rows)
    }

    /// Everything at once.
    pub fn commit(&mut self) -> Result<(), StoreError> {
        self.undo.clear();
        let mut batch = Batch::default();
        for space in Space::ALL {
            let staged = std::mem::take(&mut self.staged[space as usize]);
            batch.writes.extend(staged.into_iter().map(|(key, value)| (space, key, value)));
        }
        if batch.is_empty() {
            return Ok(());
        }
        let committed = self.store.commit(&batch);
        if committed.is_err() {
            for (space, key, value) in batch.writes {
                self.staged[space as usize].insert(key, value);
            }
        }
        committed
    }
}

/// The staged writes of a range, in order.
struct Ours<'a> {
    rows: std::collections::btree_map::Range<'a, Vec<u8>, Option<Bytes>>,
    order: Order,
}

impl<'a> Iterator for Ours<'a> {
    type Item = (&'a Vec<u8>, &'a Option<Bytes>);

    fn next(&mut self) -> Option<Self::Item> {
        match self.order {
            Order::Forward => self.rows.next(),
            Order::Reverse => self.rows.next_back(),
        }
    }
}

/// The stored rows of a range, read in chunks.
struct Theirs<'a, S> {
    store: &'a S,
    space: Space,
    /// What was not read yet.
    rest: Option<Range>,
    order: Order,
    chunk: usize,
    rows: VecDeque<Row>,
}

impl<S: Store> Theirs<'_, S> {
    fn peek(&mut self) -> Result<Option<&[u8]>, StoreError> {
        if self.rows.is_empty()
            && let Some(rest) = self.rest.take()
        {
            let rows = self.store.scan(self.space, &rest, self.order, self.chunk)?;
            if rows.len() == self.chunk
                && let Some((last, _)) = rows.last()
            {
                self.rest = Some(match self.order {
                    Order::Forward => rest.after(last),
                    Order::Reverse => rest.before(last),
                });
            }
            self.rows = rows.into();
        }
        Ok(self.rows.front().map(|(key, _)| key.as_slice()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemoryStore;
    use proptest::prelude::*;

    #[test]
    fn one_input_is_undone_and_the_others_stay() {
        let mut turn = Turn::new(MemoryStore::new());
        turn.put(Space::Meta, b"a".to_vec(), Bytes::from_static(b"1"));
        turn.mark();
        turn.put(Space::Meta, b"a".to_vec(), Bytes::from_static(b"2"));
        turn.put(Space::Meta, b"b".to_vec(), Bytes::from_static(b"2"));
        turn.delete(Space::Meta, b"a".to_vec());
        turn.undo();
        assert_eq!(turn.get(Space::Meta, b"a"), Ok(Some(Bytes::from_static(b"1"))));
        assert_eq!(turn.get(Space::Meta, b"b"), Ok(None));
    }

    #[test]
    fn a_failed_commit_leaves_everything_to_the_next() {
        let store = MemoryStore::new();
        let mut turn = Turn::new(store.clone());
        turn.put(Space::Meta, b"a".to_vec(), Bytes::from_static(b"1"));
        store.fail_commits(1);
        assert!(turn.commit().is_err());
        assert_eq!(store.get(Space::Meta, b"a"), Ok(None));
        assert_eq!(turn.commit(), Ok(()));
        assert_eq!(store.get(Space::Meta, b"a"), Ok(Some(Bytes::from_static(b"1"))));
        assert!(turn.is_clean());
    }

    proptest! {
        /// A scan over staged writes gives what it would give after the commit, in both orders, at every limit.
        #[test]
        fn a_scan_sees_the_commit_before_it_happens(
            stored in prop::collection::btree_map(0u8..40, 0u8..9, 0..30),
            writes in prop::collection::btree_map(0u8..40, prop::option::of(0u8..9), 0..30),
            from in 0u8..40,
            to in 0u8..40,
            limit in 1usize..12,
        ) {
            let store = MemoryStore::new();
            let mut batch = Batch::default();
            for (key, value) in &stored {
                batch.put(Space::Due, vec![*key], vec![*value]);
            }
            store.commit(&batch).expect("memory");
            let mut turn = Turn::new(store.snapshot());
            for (key, value) in &writes {
                match value {
                    Some(value) => turn.put(Space::Due, vec![*key], Bytes::from(vec![*value])),
                    None => turn.delete(Space::Due, vec![*key]),
                }
            }
            let range = Range { from: Bound::Included(vec![from]), to: Bound::Excluded(vec![to]) };
            let orders = [Order::Forward, Order::Reverse];
            let before = orders.map(|order| turn.scan(Space::Due, &range, order, limit).expect("memory"));
            turn.commit().expect("memory");
            let after = orders.map(|order| turn.store().scan(Space::Due, &range, order, limit).expect("memory"));
            prop_assert_eq!(before, after);
        }
    }
}
