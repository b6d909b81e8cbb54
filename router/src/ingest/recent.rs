//! The ids of what was promised lately, for the moment between the promise and the owner's first look. Bounded: the
//! oldest is forgotten first.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use uuid::Uuid;

/// How many ids are remembered.
const RECENT_MAX: usize = 65_536;

#[derive(Debug, Default)]
pub struct Recent(Mutex<Ids>);

#[derive(Debug, Default)]
struct Ids {
    known: HashSet<Uuid>,
    in_order: VecDeque<Uuid>,
}

impl Recent {
    pub fn note(&self, id: Uuid) {
        let mut ids = self.lock();
        if !ids.known.insert(id) {
            return;
        }
        ids.in_order.push_back(id);
        if ids.in_order.len() > RECENT_MAX
            && let Some(oldest) = ids.in_order.pop_front()
        {
            ids.known.remove(&oldest);
        }
    }

    pub fn knows(&self, id: Uuid) -> bool {
        self.lock().known.contains(&id)
    }

    fn lock(&self) -> MutexGuard<'_, Ids> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_is_forgotten_first() {
        let recent = Recent::default();
        for id in 0..=RECENT_MAX as u128 {
            recent.note(Uuid::from_u128(id));
            recent.note(Uuid::from_u128(id));
        }
        assert!(!recent.knows(Uuid::from_u128(0)));
        assert!(recent.knows(Uuid::from_u128(1)) && recent.knows(Uuid::from_u128(RECENT_MAX as u128)));
    }
}
