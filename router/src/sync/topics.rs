//! The durable subscriptions of a user: one row, complete.

use wire::limits::TOPICS_PER_USER_MAX;
use wire::time::Wall;

use crate::store::codec::{Decoder, Encoder};
use crate::store::keys;
use crate::store::turn::Turn;
use crate::store::{Space, Store, StoreError};

const VERSION: u8 = 1;

/// Topics of one user, by name, each with the newest stamp that lies before the subscription.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Subscriptions {
    pub topics: Vec<(String, Wall)>,
}

/// More topics than one user may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooMany;

impl Subscriptions {
    /// `None`: the user never subscribed to anything.
    pub fn load<S: Store>(turn: &Turn<S>, user: &str) -> Result<Option<Subscriptions>, StoreError> {
        let Some(row) = turn.get(Space::Subscriptions, &keys::user(user))? else { return Ok(None) };
        let mut row = Decoder::new(Space::Subscriptions, row, VERSION)?;
        let count = row.count(12)?;
        let topics = (0..count).map(|_| Ok((row.text()?, row.wall()?))).collect::<Result<_, StoreError>>()?;
        Ok(Some(Subscriptions { topics }))
    }

    pub fn keep<S: Store>(&self, turn: &mut Turn<S>, user: &str) {
        let mut row = Encoder::new(VERSION);
        row.u32(self.topics.len() as u32);
        for (topic, since) in &self.topics {
            row.text(topic).wall(*since);
        }
        turn.put(Space::Subscriptions, keys::user(user), row.finish());
    }

    /// All of them or none.
    pub fn add(&mut self, topics: &[String], since: Wall) -> Result<(), TooMany> {
        let before = self.topics.len();
        for topic in topics {
            if !self.has(topic) {
                self.topics.push((topic.clone(), since));
            }
        }
        if self.topics.len() > TOPICS_PER_USER_MAX {
            self.topics.truncate(before);
            return Err(TooMany);
        }
        Ok(())
    }

    pub fn remove(&mut self, topics: &[String]) {
        self.topics.retain(|(name, _)| !topics.contains(name));
    }

    pub fn has(&self, topic: &str) -> bool {
        self.topics.iter().any(|(name, _)| name == topic)
    }

    pub fn names(&self) -> Vec<String> {
        self.topics.iter().map(|(name, _)| name.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemoryStore;

    fn names(range: std::ops::Range<usize>) -> Vec<String> {
        range.map(|i| format!("t{i}")).collect()
    }

    #[test]
    fn one_too_many_changes_nothing() {
        let mut turn = Turn::new(MemoryStore::new());
        let mut found = Subscriptions::default();
        assert_eq!(found.add(&names(0..TOPICS_PER_USER_MAX), Wall(1)), Ok(()));
        assert_eq!(found.add(&names(0..3), Wall(2)), Ok(()), "they are there already");
        assert_eq!(found.add(&names(500..501), Wall(2)), Err(TooMany));
        assert_eq!(found.names(), names(0..TOPICS_PER_USER_MAX));
        found.remove(&names(1..TOPICS_PER_USER_MAX));
        assert_eq!(found.topics, [("t0".to_owned(), Wall(1))]);
        assert_eq!(Subscriptions::load(&turn, "u"), Ok(None));
        found.keep(&mut turn, "u");
        assert_eq!(Subscriptions::load(&turn, "u"), Ok(Some(found)));
    }
}
