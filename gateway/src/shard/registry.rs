//! Who is connected: user → connections, topic → users.
//!
//! Names are stored once; everything else is a 32-bit index. A room (topic) keeps its members in places that
//! do not move, with holes, so that a fan-out can walk a large room in turns while members come and go:
//! whoever stays is met exactly once. Never sends anything: it says what was the first and the last. Called
//! by `shard`.

use ahash::RandomState;
use hashbrown::HashTable;

const NONE: u32 = u32::MAX;
/// A place in a room that is empty holds this bit and the next empty place.
const HOLE: u32 = 1 << 31;

/// A connected user, by index. Valid while the user has a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UserId(pub u32);

/// A topic with members here. Stale ones are told by their serial.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TopicId {
    index: u32,
    serial: u32,
}

/// The users, connections and topics of one shard.
#[derive(Debug)]
pub struct Registry {
    hasher: RandomState,
    users: Vec<User>,
    users_free: Vec<u32>,
    users_by_name: HashTable<u32>,
    /// By connection index: the same user's next connection.
    next_of_user: Vec<u32>,
    topics: Vec<Topic>,
    topics_free: Vec<u32>,
    topics_by_name: HashTable<u32>,
}

#[derive(Debug, Default)]
struct User {
    /// Empty: this place is free.
    name: Box<str>,
    first_connection: u32,
    topics: Box<[Membership]>,
}

const _: () = assert!(size_of::<User>() <= 40);

#[derive(Debug, Clone, Copy)]
struct Membership {
    topic: u32,
    place: u32,
}

#[derive(Debug, Default)]
struct Topic {
    name: Box<str>,
    serial: u32,
    members: Vec<u32>,
    first_hole: u32,
    live: u32,
}

/// A topic's name, when its first member came or its last one left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TopicChange {
    First(String),
    Last(String),
}

impl Registry {
    /// `seed` keeps names that an attacker chose from sharing a bucket.
    pub fn new(seed: u64) -> Registry {
        Registry {
            hasher: RandomState::with_seeds(seed, seed.rotate_left(17) ^ 0x746f_6373, !seed, 0x696e_2121),
            users: Vec::new(),
            users_free: Vec::new(),
            users_by_name: HashTable::new(),
            next_of_user: Vec::new(),
            topics: Vec::new(),
            topics_free: Vec::new(),
            topics_by_name: HashTable::new(),
        }
    }

    /// Adds a connection of a user. True: it is the user's first.
    pub fn join(&mut self, name: &str, connection: u32) -> (UserId, bool) {
        let slot = connection as usize;
        if slot >= self.next_of_user.len() {
            self.next_of_user.resize(slot + 1, NONE);
        }
        let (user, is_new) = match self.find(name) {
            Some(user) => (user, false),
            None => (self.add_user(name), true),
        };
        let first = &mut self.users[user.0 as usize].first_connection;
        self.next_of_user[slot] = std::mem::replace(first, connection);
        (user, is_new)
    }

    /// Removes a connection. When it was the user's last, the user and what it subscribed to are gone: its
    /// name and the topics that lost their last member.
    pub fn leave(&mut self, user: UserId, connection: u32) -> Option<(Box<str>, Vec<TopicChange>)> {
        let next = std::mem::replace(&mut self.next_of_user[connection as usize], NONE);
        let record = &mut self.users[user.0 as usize];
        if record.first_connection == connection {
            record.first_connection = next;
        } else {
            let mut before = record.first_connection;
            while self.next_of_user[before as usize] != connection {
                before = self.next_of_user[before as usize];
            }
            self.next_of_user[before as usize] = next;
        }
        if self.users[user.0 as usize].first_connection != NONE {
            return None;
        }
        let hash = self.hasher.hash_one(&*self.users[user.0 as usize].name);
        let entry = self.users_by_name.find_entry(hash, |index| *index == user.0);
        entry.expect("every user is found by its name").remove();
        let gone = std::mem::take(&mut self.users[user.0 as usize]);
        self.users_free.push(user.0);
        let lasts = gone.topics.iter().filter_map(|membership| self.leave_topic(*membership)).collect();
        Some((gone.name, lasts))
    }

    pub fn find(&self, name: &str) -> Option<UserId> {
        let hash = self.hasher.hash_one(name);
        self.users_by_name.find(hash, |index| &*self.users[*index as usize].name == name).copied().map(UserId)
    }

    pub fn user_name(&self, user: UserId) -> &str {
        &self.users[user.0 as usize].name
    }

    /// The user's connections, newest first.
    pub fn connections(&self, user: UserId) -> impl Iterator<Item = u32> + '_ {
        let mut at = self.users[user.0 as usize].first_connection;
        std::iter::from_fn(move || {
            let here = at;
            at = *self.next_of_user.get(here as usize)?;
            Some(here)
        })
    }

    /// Users connected now.
    pub fn user_count(&self) -> usize {
        self.users.len() - self.users_free.len()
    }

    /// Topics with members now.
    pub fn topic_count(&self) -> usize {
        self.topics.len() - self.topics_free.len()
    }

    /// The user in this place of the table, if any: to walk all users in turns. `None` at the end.
    pub fn user_at(&self, place: usize) -> Option<Option<(UserId, &str)>> {
        let user = self.users.get(place)?;
        Some((!user.name.is_empty()).then_some((UserId(place as u32), &*user.name)))
    }

    /// The topic in this place of the table, as [`Registry::user_at`].
    pub fn topic_at(&self, place: usize) -> Option<Option<&str>> {
        let topic = self.topics.get(place)?;
        Some((topic.live > 0).then_some(&*topic.name))
    }

    /// Makes `topics` the user's subscriptions, all of them.
    pub fn set_topics(&mut self, user: UserId, topics: &[String]) -> Vec<TopicChange> {
        let mut changes = Vec::new();
        let mut kept = std::mem::take(&mut self.users[user.0 as usize].topics).into_vec();
        kept.retain(|membership| {
            let stays = topics.iter().any(|name| **name == *self.topics[membership.topic as usize].name);
            if !stays {
                changes.extend(self.leave_topic(*membership));
            }
            stays
        });
        for name in topics {
            if kept.iter().any(|membership| *self.topics[membership.topic as usize].name == **name) {
                continue;
            }
            let (membership, is_first) = self.join_topic(name, user);
            kept.push(membership);
            if is_first {
                changes.push(TopicChange::First(name.clone()));
            }
        }
        self.users[user.0 as usize].topics = kept.into_boxed_slice();
        changes
    }

    pub fn topic(&self, name: &str) -> Option<TopicId> {
        let hash = self.hasher.hash_one(name);
        let index = *self.topics_by_name.find(hash, |index| &*self.topics[*index as usize].name == name)?;
        Some(TopicId { index, serial: self.topics[index as usize].serial })
    }

    /// Members of the topic now.
    pub fn topic_size(&self, topic: TopicId) -> usize {
        self.room(topic).map_or(0, |room| room.live as usize)
    }

    /// The member in this place of the room; `Some(None)` for a hole, `None` past the end or when the topic
    /// is gone.
    pub fn member_at(&self, topic: TopicId, place: usize) -> Option<Option<UserId>> {
        let member = *self.room(topic)?.members.get(place)?;
        Some((member & HOLE == 0).then_some(UserId(member)))
    }

    fn room(&self, topic: TopicId) -> Option<&Topic> {
        self.topics.get(topic.index as usize).filter(|room| room.serial == topic.serial && room.live > 0)
    }

    fn add_user(&mut self, name: &str) -> UserId {
        assert!(!name.is_empty(), "a user has a name");
        let record = User { name: name.into(), first_connection: NONE, topics: Box::default() };
        let index = self.users_free.pop().unwrap_or_else(|| {
            self.users.push(User::default());
            u32::try_from(self.users.len() - 1).expect("fewer users than connections")
        });
        self.users[index as usize] = record;
        assert!(index < HOLE, "a shard has fewer than 2^31 users");
        let users = &self.users;
        let hasher = &self.hasher;
        self.users_by_name.insert_unique(hasher.hash_one(name), index, |index| {
            hasher.hash_one(&*users[*index as usize].name)
        });
        UserId(index)
    }

    fn join_topic(&mut self, name: &str, user: UserId) -> (Membership, bool) {
        let index = match self.topic(name) {
            Some(topic) => topic.index,
            None => self.add_topic(name),
        };
        let topic = &mut self.topics[index as usize];
        let place = if topic.first_hole == NONE {
            topic.members.push(user.0);
            (topic.members.len() - 1) as u32
        } else {
            let place = topic.first_hole;
            let next = topic.members[place as usize] & !HOLE;
            topic.first_hole = if next == HOLE - 1 { NONE } else { next };
            topic.members[place as usize] = user.0;
            place
        };
        topic.live += 1;
        (Membership { topic: index, place }, topic.live == 1)
    }

    fn add_topic(&mut self, name: &str) -> u32 {
        let index = self.topics_free.pop().unwrap_or_else(|| {
            self.topics.push(Topic::default());
            (self.topics.len() - 1) as u32
        });
        let topic = &mut self.topics[index as usize];
        topic.name = name.into();
        topic.serial = topic.serial.wrapping_add(1);
        topic.first_hole = NONE;
        let topics = &self.topics;
        let hasher = &self.hasher;
        self.topics_by_name.insert_unique(hasher.hash_one(name), index, |index| {
            hasher.hash_one(&*topics[*index as usize].name)
        });
        index
    }

    /// The topic's name when this was its last member.
    fn leave_topic(&mut self, membership: Membership) -> Option<TopicChange> {
        let topic = &mut self.topics[membership.topic as usize];
        let next = if topic.first_hole == NONE { HOLE - 1 } else { topic.first_hole };
        topic.members[membership.place as usize] = HOLE | next;
        topic.first_hole = membership.place;
        topic.live -= 1;
        if topic.live > 0 {
            return None;
        }
        topic.members = Vec::new();
        let name = std::mem::take(&mut topic.name);
        let hash = self.hasher.hash_one(&*name);
        let entry = self.topics_by_name.find_entry(hash, |index| *index == membership.topic);
        entry.expect("every topic is found by its name").remove();
        self.topics_free.push(membership.topic);
        Some(TopicChange::Last(name.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};

    #[derive(Debug, Clone)]
    enum Step {
        Join { user: u8, connection: u32 },
        Leave { connection: u32 },
        Topics { user: u8, topics: Vec<u8> },
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => (0u8..6, 0u32..20).prop_map(|(user, connection)| Step::Join { user, connection }),
            2 => (0u32..20).prop_map(|connection| Step::Leave { connection }),
            2 => (0u8..6, proptest::collection::vec(0u8..5, 0..5))
                .prop_map(|(user, topics)| Step::Topics { user, topics }),
        ]
    }

    fn members(registry: &Registry, topic: TopicId) -> Vec<String> {
        let mut found = Vec::new();
        let mut place = 0;
        while let Some(member) = registry.member_at(topic, place) {
            found.extend(member.map(|user| registry.user_name(user).to_owned()));
            place += 1;
        }
        found.sort();
        found
    }

    proptest! {
        /// Against plain maps: who is connected with what, who is in which room, and each first and last.
        #[test]
        fn agrees_with_plain_maps(steps in proptest::collection::vec(step(), 0..200), seed: u64) {
            let mut registry = Registry::new(seed);
            let mut owner: BTreeMap<u32, (String, UserId)> = BTreeMap::new();
            let mut rooms: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
            for step in steps {
                match step {
                    Step::Join { user, connection } => {
                        if owner.contains_key(&connection) { continue }
                        let name = format!("u{user}");
                        let was_there = owner.values().any(|(other, _)| *other == name);
                        let (id, first) = registry.join(&name, connection);
                        prop_assert_eq!(first, !was_there);
                        owner.insert(connection, (name, id));
                    }
                    Step::Leave { connection } => {
                        let Some((name, id)) = owner.remove(&connection) else { continue };
                        let last = !owner.values().any(|(other, _)| *other == name);
                        let gone = registry.leave(id, connection);
                        prop_assert_eq!(gone.is_some(), last);
                        if let Some((gone_name, lasts)) = gone {
                            prop_assert_eq!(&*gone_name, name.as_str());
                            let mut expected = Vec::new();
                            rooms.retain(|topic, who| {
                                if who.remove(&name) && who.is_empty() { expected.push(topic.clone()); }
                                !who.is_empty()
                            });
                            let mut lasts: Vec<String> = lasts.into_iter().map(|change| match change {
                                TopicChange::Last(topic) => topic,
                                TopicChange::First(topic) => panic!("{topic} came by a leave"),
                            }).collect();
                            lasts.sort();
                            prop_assert_eq!(lasts, expected);
                        }
                    }
                    Step::Topics { user, topics } => {
                        let name = format!("u{user}");
                        let Some(id) = registry.find(&name) else { continue };
                        let topics: Vec<String> = topics.iter().map(|topic| format!("t{topic}")).collect();
                        let before: BTreeSet<String> = rooms.keys().cloned().collect();
                        for who in rooms.values_mut() { who.remove(&name); }
                        for topic in &topics { rooms.entry(topic.clone()).or_default().insert(name.clone()); }
                        rooms.retain(|_, who| !who.is_empty());
                        let after: BTreeSet<String> = rooms.keys().cloned().collect();
                        let mut expected: Vec<TopicChange> = after.difference(&before).cloned()
                            .map(TopicChange::First).chain(before.difference(&after).cloned().map(TopicChange::Last))
                            .collect();
                        let mut found = registry.set_topics(id, &topics);
                        let key = |change: &TopicChange| format!("{change:?}");
                        expected.sort_by_key(key);
                        found.sort_by_key(key);
                        prop_assert_eq!(found, expected);
                    }
                }
                let names: BTreeSet<&str> = owner.values().map(|(name, _)| name.as_str()).collect();
                prop_assert_eq!(registry.user_count(), names.len());
                prop_assert_eq!(registry.topic_count(), rooms.len());
                for name in names {
                    let id = registry.find(name).expect("connected");
                    let mut found: Vec<u32> = registry.connections(id).collect();
                    found.sort_unstable();
                    let expected: Vec<u32> =
                        owner.iter().filter(|(_, (who, _))| who == name).map(|(at, _)| *at).collect();
                    prop_assert_eq!(found, expected);
                }
                for (topic, who) in &rooms {
                    let id = registry.topic(topic).expect("has members");
                    prop_assert_eq!(registry.topic_size(id), who.len());
                    prop_assert_eq!(members(&registry, id), who.iter().cloned().collect::<Vec<_>>());
                }
            }
        }
    }

    #[test]
    fn who_stays_in_a_room_is_met_once_while_others_come_and_go() {
        let mut registry = Registry::new(1);
        let topic = ["t".to_owned()];
        let ids: Vec<UserId> = (0..100).map(|n| registry.join(&format!("u{n}"), n).0).collect();
        for id in &ids {
            registry.set_topics(*id, &topic);
        }
        let room = registry.topic("t").unwrap();
        let mut met = Vec::new();
        let mut place = 0;
        while let Some(member) = registry.member_at(room, place) {
            met.extend(member);
            if place % 3 == 0 {
                let leaver = ids[(place * 7 + 1) % 100];
                registry.set_topics(leaver, &[]);
                let (comer, _) = registry.join(&format!("late{place}"), 1_000 + place as u32);
                registry.set_topics(comer, &topic);
            }
            place += 1;
        }
        let stayed =
            ids.iter().filter(|id| members(&registry, room).contains(&registry.user_name(**id).to_owned()));
        for id in stayed {
            assert_eq!(met.iter().filter(|who| *who == id).count(), 1, "{id:?}");
        }
    }

    #[test]
    fn a_topic_in_the_place_of_another_is_not_taken_for_it() {
        let mut registry = Registry::new(1);
        let (user, _) = registry.join("u", 0);
        registry.set_topics(user, &["old".to_owned()]);
        let old = registry.topic("old").unwrap();
        registry.set_topics(user, &["new".to_owned()]);
        registry.set_topics(user, &["newer".to_owned()]);
        assert_eq!(registry.member_at(old, 0), None);
        assert_eq!(registry.topic_size(old), 0);
    }
}
