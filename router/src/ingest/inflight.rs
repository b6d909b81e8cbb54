//! Which idempotency keys are on their way right now, in this process. One request a key at a time; a second one
//! gets 409. Called by `ingest`.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use uuid::Uuid;

/// The keys on their way, by the id that service and key make.
#[derive(Debug, Default)]
pub struct InFlight(Mutex<HashSet<Uuid>>);

impl InFlight {
    /// Holds the key until the guard is dropped, also by a caller that hangs up. `None`: somebody else has it.
    pub fn hold(self: &Arc<Self>, id: Uuid) -> Option<Held> {
        self.keys().insert(id).then(|| Held { keys: Arc::clone(self), id })
    }

    fn keys(&self) -> std::sync::MutexGuard<'_, HashSet<Uuid>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A key on its way.
#[derive(Debug)]
pub struct Held {
    keys: Arc<InFlight>,
    id: Uuid,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.keys.keys().remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_held_once_and_free_again_afterwards() {
        let keys = Arc::new(InFlight::default());
        let held = keys.hold(Uuid::nil());
        assert!(held.is_some() && keys.hold(Uuid::nil()).is_none());
        drop(held);
        assert!(keys.hold(Uuid::nil()).is_some());
    }
}
