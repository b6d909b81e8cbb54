//! What users were sent lately, by id: a router that takes another's place sends again what that one had not
//! finished, and no socket gets it twice.
//!
//! Owns the ids of the last [`limits::DOUBLES_MAX`] deliveries and who got them. Empty on a node with one router, which
//! repeats nothing by itself. Past its bound a repetition goes out, and the client tells it by its id. Called by
//! `deliveries`.

use std::collections::{HashMap, VecDeque};

use uuid::Uuid;

use crate::limits;
use crate::shard::connection::Key;
use crate::shard::links::RouterIndex;

/// One notification of one user, by a hash of the name.
type Which = (Uuid, u64);

#[derive(Debug)]
struct Sent {
    by: RouterIndex,
    to: Box<[Key]>,
}

#[derive(Debug, Default)]
pub(super) struct Doubles {
    sent: HashMap<Which, Sent>,
    /// The oldest first.
    order: VecDeque<Which>,
}

impl Doubles {
    /// The sockets that have it from another router.
    pub(super) fn have(&self, which: Which, router: RouterIndex) -> Option<&[Key]> {
        self.sent.get(&which).filter(|sent| sent.by != router).map(|sent| &*sent.to)
    }

    pub(super) fn note(&mut self, which: Which, router: RouterIndex, to: Box<[Key]>) {
        if self.sent.insert(which, Sent { by: router, to }).is_none() {
            self.order.push_back(which);
        }
        if self.order.len() > limits::DOUBLES_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.sent.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_another_router_repeats_and_the_oldest_are_forgotten() {
        let mut doubles = Doubles::default();
        let which = (Uuid::from_u128(1), 9);
        doubles.note(which, 0, [Key(5)].into());
        assert_eq!(doubles.have(which, 0), None, "what a router sends on purpose is sent");
        assert_eq!(doubles.have(which, 1), Some(&[Key(5)][..]));
        assert_eq!(doubles.have((which.0, 8), 1), None, "another user");
        for id in 2..limits::DOUBLES_MAX as u128 + 2 {
            doubles.note((Uuid::from_u128(id), 9), 0, [].into());
        }
        assert_eq!(doubles.have(which, 1), None);
        assert_eq!((doubles.sent.len(), doubles.order.len()), (limits::DOUBLES_MAX, limits::DOUBLES_MAX));
    }
}
