//! What was promised lately, for the moment between the promise and the owner's first look. Bounded: the oldest is
//! forgotten first.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use uuid::Uuid;

/// How many ids are remembered.
const RECENT_MAX: usize = 65_536;

/// What was promised to whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Promise {
    /// The service's name.
    pub service: Arc<str>,
    /// Deliveries that it asked for.
    pub deliveries: u32,
    /// Where the record is. `None`: a list of users, of which one of several routers makes several records.
    pub partition: Option<u32>,
}

#[derive(Debug, Default)]
pub struct Recent(Mutex<Ids>);

#[derive(Debug, Default)]
struct Ids {
    known: HashMap<Uuid, Promise>,
    in_order: VecDeque<Uuid>,
}

impl Recent {
    pub fn note(&self, id: Uuid, promise: Promise) {
        let mut ids = self.lock();
        if ids.known.insert(id, promise).is_some() {
            return;
        }
        ids.in_order.push_back(id);
        if ids.in_order.len() > RECENT_MAX
            && let Some(oldest) = ids.in_order.pop_front()
        {
            ids.known.remove(&oldest);
        }
    }

    pub fn promised(&self, id: Uuid) -> Option<Promise> {
        self.lock().known.get(&id).cloned()
    }

    /// It was there, and is no more.
    pub fn forget(&self, id: Uuid) {
        self.lock().known.remove(&id);
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
        let promise = Promise { service: "shop".into(), deliveries: 2, partition: Some(1) };
        for id in 0..=RECENT_MAX as u128 {
            recent.note(Uuid::from_u128(id), promise.clone());
            recent.note(Uuid::from_u128(id), promise.clone());
        }
        let known = |id| recent.promised(Uuid::from_u128(id));
        recent.forget(Uuid::from_u128(2));
        assert_eq!(known(2), None);
        assert_eq!(
            [known(0), known(1), known(RECENT_MAX as u128)],
            [None, Some(promise.clone()), Some(promise)]
        );
    }
}
