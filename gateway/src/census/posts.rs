//! How many messages each user may still post: who has no socket of their own is held to the same pace as who has.
//!
//! Sixteen bytes a user who posted lately; whoever has waited long enough to be as good as new is forgotten when
//! room is needed. Called by `census`.

use std::sync::{Mutex, PoisonError};

use ahash::RandomState;
use hashbrown::HashTable;
use wire::session::Rate;
use wire::time::Mono;

use super::STRIPES;
use crate::limits::POSTERS_PER_LOCK_MAX;

/// Shared by all shards of a node.
#[derive(Debug)]
pub(super) struct Posts {
    hasher: RandomState,
    stripes: Box<[Mutex<HashTable<Poster>>]>,
}

#[derive(Debug)]
struct Poster {
    /// The hash of the user's name.
    who: u64,
    rate: Rate,
}

const _: () = assert!(size_of::<Poster>() <= 16);

impl Posts {
    pub(super) fn new(seed: u64) -> Posts {
        Posts {
            hasher: RandomState::with_seeds(seed, seed.rotate_left(9) ^ 0x706f_7374, !seed, 0x6564_2121),
            stripes: (0..STRIPES).map(|_| Mutex::default()).collect(),
        }
    }

    /// Takes one of `per_minute` from what this user may post.
    pub(super) fn take(&self, user: &str, per_minute: u32, now: Mono) -> bool {
        let who = self.hasher.hash_one(user);
        let stripe = &self.stripes[who as usize % STRIPES];
        let mut posters = stripe.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(poster) = posters.find_mut(who, |poster| poster.who == who) {
            return poster.rate.take(per_minute, now);
        }
        if posters.len() == posters.capacity() {
            posters.retain(|poster| !poster.rate.is_whole(now));
        }
        if posters.len() >= POSTERS_PER_LOCK_MAX {
            return false;
        }
        let mut rate = Rate::new();
        let may = rate.take(per_minute, now);
        posters.insert_unique(who, Poster { who, rate }, |poster| poster.who);
        may
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const START: Mono = Mono(1_000_000);

    #[test]
    fn each_user_has_a_pace_of_its_own() {
        let posts = Posts::new(7);
        let taken = |user: &str, now| (0..100).filter(|_| posts.take(user, 5, now)).count();
        assert_eq!((taken("ada", START), taken("bob", START)), (5, 5));
        assert_eq!(taken("ada", START + Duration::from_secs(12)), 1);
        assert_eq!(taken("ada", START + Duration::from_secs(120)), 5);
    }

    #[test]
    fn who_waited_is_forgotten_and_the_table_stays_bounded() {
        let posts = Posts::new(7);
        let held = || posts.stripes.iter().map(|stripe| stripe.lock().unwrap().len()).sum::<usize>();
        let mut now = START;
        for n in 0..200_000_u32 {
            now = now + Duration::from_millis(1);
            assert!(posts.take(&format!("u{n}"), 60, now));
        }
        // One message is forgotten after a second, when a table is full: a thousand users are remembered.
        assert!(held() < 20_000, "{}", held());
        let at_once = (0..3_000_000_u32).filter(|n| posts.take(&format!("v{n}"), 1, now)).count();
        assert!(held() <= POSTERS_PER_LOCK_MAX * STRIPES && at_once <= held(), "{at_once}");
    }
}
