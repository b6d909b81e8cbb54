//! Messages that wait until a user's topics have come from Cassandra: what they change is not known before.
//!
//! In memory, bounded: a client that got no answer asks again. Called by `clients`.

use std::collections::HashMap;

use wire::link::SessionKey;

use crate::presence::LinkId;

/// Messages that wait at once, of all users and of one.
const PARKED_MAX: usize = 1_024;
const PARKED_PER_USER_MAX: usize = 8;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) link: LinkId,
    pub(super) session: SessionKey,
    pub(super) text: Vec<u8>,
}

#[derive(Debug, Default)]
pub(super) struct Parked {
    by_user: HashMap<String, Vec<Message>>,
    count: usize,
}

/// There is no room for it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

impl Parked {
    pub(super) fn park(&mut self, user: &str, message: Message) -> Result<(), Full> {
        let of_user = self.by_user.get(user).map_or(0, Vec::len);
        if self.count >= PARKED_MAX || of_user >= PARKED_PER_USER_MAX {
            return Err(Full);
        }
        self.by_user.entry(user.to_owned()).or_default().push(message);
        self.count += 1;
        Ok(())
    }

    /// In the order in which they came.
    pub(super) fn of(&self, user: &str) -> Vec<Message> {
        self.by_user.get(user).cloned().unwrap_or_default()
    }

    pub(super) fn release(&mut self, user: &str) {
        self.count -= self.by_user.remove(user).map_or(0, |messages| messages.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_bounded_for_each_and_for_all_and_has_room_again() {
        let message = || Message { link: LinkId(1), session: SessionKey(1), text: b"{}".to_vec() };
        let mut parked = Parked::default();
        for _ in 0..PARKED_PER_USER_MAX {
            assert_eq!(parked.park("ann", message()), Ok(()));
        }
        assert_eq!(parked.park("ann", message()), Err(Full));
        for i in PARKED_PER_USER_MAX..PARKED_MAX {
            assert_eq!(parked.park(&format!("u{i}"), message()), Ok(()));
        }
        assert_eq!(parked.park("bob", message()), Err(Full));
        assert_eq!(parked.of("ann").len(), PARKED_PER_USER_MAX);
        parked.release("ann");
        parked.release("nobody");
        assert_eq!((parked.of("ann").len(), parked.park("bob", message())), (0, Ok(())));
    }
}
