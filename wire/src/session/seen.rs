//! Which notifications a client has had already: one may come twice (a retry, a sync that overlaps the live
//! stream), and its id says so. Called by clients: the load tester, the tests.

use std::collections::{HashSet, VecDeque};

use uuid::Uuid;

/// Ids that a client has shown; the oldest are forgotten.
#[derive(Debug)]
pub struct Seen {
    order: VecDeque<Uuid>,
    ids: HashSet<Uuid, ahash::RandomState>,
    capacity: usize,
}

/// Ids a client remembers by default.
pub const SEEN_IDS: usize = 1_024;

impl Default for Seen {
    fn default() -> Seen {
        Seen::with_capacity(SEEN_IDS)
    }
}

impl Seen {
    pub fn with_capacity(capacity: usize) -> Seen {
        assert!(capacity > 0);
        // A fixed key: ids are not chosen by whom we must fear, and a simulation must repeat itself.
        let hasher = ahash::RandomState::with_seeds(1, 2, 3, 4);
        Seen { order: VecDeque::new(), ids: HashSet::with_hasher(hasher), capacity }
    }

    /// Notes an id; false when it was known.
    pub fn insert(&mut self, id: Uuid) -> bool {
        if !self.ids.insert(id) {
            return false;
        }
        self.order.push_back(id);
        if self.order.len() > self.capacity {
            let oldest = self.order.pop_front().expect("it is longer than its capacity");
            self.ids.remove(&oldest);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seen_ids_are_forgotten_oldest_first() {
        let mut seen = Seen::with_capacity(2);
        let [a, b, c] = [1, 2, 3].map(Uuid::from_u128);
        assert!(seen.insert(a) && seen.insert(b) && !seen.insert(a));
        assert!(seen.insert(c) && seen.insert(a), "a was the oldest");
    }

    #[test]
    fn exactly_the_last_1024_are_known() {
        let mut seen = Seen::default();
        for n in 0..5_000_u128 {
            assert!(seen.insert(Uuid::from_u128(n)), "{n} is new");
            let oldest = (n + 1).saturating_sub(SEEN_IDS as u128);
            assert!(!seen.insert(Uuid::from_u128(oldest)), "{oldest} is still known");
            assert!(seen.order.len() <= SEEN_IDS && seen.ids.len() == seen.order.len());
        }
        assert!(seen.insert(Uuid::from_u128(5_000 - SEEN_IDS as u128 - 1)), "fell out of the window");
    }
}
