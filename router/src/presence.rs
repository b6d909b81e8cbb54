//! Who is connected where: user → links, topic → links, from what the shards announce.
//!
//! Pure. Owns what the router knows of the shards' registries. "Not present" is *unknown* until every link's snapshot of
//! the user's partition has ended or a second has passed, else a hand-over would fire false fallbacks; whoever is
//! unknown is sent to wherever the snapshot is still awaited. Called by `owner` (frames) and `route` (questions).

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque, hash_set};
use std::sync::Arc;
use std::time::Duration;

use ahash::AHashMap;
use wire::partition::partition_of;
use wire::time::Mono;

/// How long "not present" is unknown after a link came up or partitions were taken over.
pub const SNAPSHOT_WITHIN: Duration = Duration::from_secs(1);
/// How long nobody is absent after a start: the shards are still dialling.
pub const START_GRACE: Duration = Duration::from_secs(2);
/// Users that are remembered. Beyond, everybody who is not is sent to every link.
pub const USERS_MAX: usize = 4_000_000;
/// Topics that are remembered on one link. Beyond, its shard gets every broadcast.
pub const TOPICS_PER_LINK_MAX: usize = 1_000_000;

/// A link to a shard. Never used again after it went down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkId(pub u64);

/// Where a user is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Whereabouts {
    /// Links to send to: where the user is, and where it may be.
    pub links: Vec<LinkId>,
    /// Nobody can have the user but these.
    pub certain: bool,
}

impl Whereabouts {
    pub fn absent(&self) -> bool {
        self.certain && self.links.is_empty()
    }
}

#[derive(Debug)]
struct Link {
    users: HashSet<Arc<str>>,
    topics: HashSet<String>,
    /// Partitions whose snapshot has not ended.
    awaited: BTreeSet<u32>,
    /// When they are no longer waited for.
    waits_until: Mono,
    /// It has more topics than are remembered.
    takes_all: bool,
}

impl Link {
    fn awaits(&self, partition: u32, now: Mono) -> bool {
        now < self.waits_until && self.awaited.contains(&partition)
    }
}

/// A link that is down and whose users still name it.
#[derive(Debug)]
struct Gone {
    link: LinkId,
    users: hash_set::IntoIter<Arc<str>>,
}

#[derive(Debug)]
pub struct Presence {
    /// Partitions in all.
    count: u32,
    owned: BTreeSet<u32>,
    links: BTreeMap<LinkId, Link>,
    /// Not forgotten yet: no link is ever used again, so whoever asks leaves them out.
    gone: VecDeque<Gone>,
    users: AHashMap<Arc<str>, Vec<LinkId>>,
    topics: AHashMap<String, BTreeSet<LinkId>>,
    nobody_absent_before: Mono,
    /// No link awaits a snapshot from here on.
    all_known_at: Mono,
    /// A user could not be remembered.
    overflowed: bool,
    users_max: usize,
}

impl Presence {
    pub fn new(count: u32, owned: BTreeSet<u32>, now: Mono) -> Presence {
        Presence {
            count,
            owned,
            links: BTreeMap::new(),
            gone: VecDeque::new(),
            users: AHashMap::new(),
            topics: AHashMap::new(),
            nobody_absent_before: now + START_GRACE,
            all_known_at: Mono::ZERO,
            overflowed: false,
            users_max: USERS_MAX,
        }
    }

    pub fn link_up(&mut self, link: LinkId, now: Mono) {
        let fresh = Link {
            users: HashSet::new(),
            topics: HashSet::new(),
            awaited: self.owned.clone(),
            waits_until: now + SNAPSHOT_WITHIN,
            takes_all: false,
        };
        self.links.insert(link, fresh);
        self.all_known_at = now + SNAPSHOT_WITHIN;
    }

    /// Nobody is absent before.
    pub fn be_patient(&mut self, until: Mono) {
        self.nobody_absent_before = self.nobody_absent_before.max(until);
    }

    /// Nobody is there from now on. That its users are forgotten takes calls of [`Presence::forget_gone`].
    pub fn link_down(&mut self, link: LinkId) {
        let Some(gone) = self.links.remove(&link) else { return };
        self.gone.push_back(Gone { link, users: gone.users.into_iter() });
        for topic in gone.topics {
            self.forget_topic(&topic, link);
        }
        if self.links.is_empty() {
            self.overflowed = false;
        }
    }

    /// Whether [`Presence::forget_gone`] has anything to do.
    pub fn is_forgetting(&self) -> bool {
        !self.gone.is_empty()
    }

    /// Forgets up to `users_max` users for each link that is down, so that links which come and go do not pile up.
    pub fn forget_gone(&mut self, users_max: usize) {
        for _ in 0..users_max * self.gone.len() {
            let Some(Gone { link, users }) = self.gone.front_mut() else { return };
            let (link, user) = (*link, users.next());
            match user {
                Some(user) => self.forget(&user, link),
                None => drop(self.gone.pop_front()),
            }
        }
    }

    pub fn is_up(&self, link: LinkId) -> bool {
        self.links.contains_key(&link)
    }

    pub fn links(&self) -> impl Iterator<Item = LinkId> + '_ {
        self.links.keys().copied()
    }

    /// Users that are somewhere, and those whose link is down until they are forgotten.
    pub fn users(&self) -> usize {
        self.users.len()
    }

    /// Other partitions from now on: who is in the lost ones is forgotten, the new ones' snapshots are awaited.
    pub fn take_over(&mut self, count: u32, owned: BTreeSet<u32>, now: Mono) {
        let moved = count != self.count;
        let lost: Vec<Arc<str>> = self
            .users
            .keys()
            .filter(|user| moved || !owned.contains(&partition_of(user, count)))
            .cloned()
            .collect();
        for user in lost {
            for link in self.users.remove(&user).unwrap_or_default() {
                if let Some(link) = self.links.get_mut(&link) {
                    link.users.remove(&user);
                }
            }
        }
        for link in self.links.values_mut() {
            link.awaited = owned
                .iter()
                .filter(|partition| {
                    moved || !self.owned.contains(partition) || link.awaited.contains(partition)
                })
                .copied()
                .collect();
            link.waits_until = now + SNAPSHOT_WITHIN;
        }
        (self.count, self.owned) = (count, owned);
        self.all_known_at = now + SNAPSHOT_WITHIN;
    }

    pub fn announce(&mut self, link: LinkId, user: &str) {
        let Some(state) = self.links.get_mut(&link) else { return };
        let known = self.users.get_key_value(user).map(|(name, _)| Arc::clone(name));
        if known.is_none() && self.users.len() >= self.users_max {
            self.overflowed = true;
            return;
        }
        let name = known.unwrap_or_else(|| Arc::from(user));
        if state.users.insert(Arc::clone(&name)) {
            self.users.entry(name).or_default().push(link);
        }
    }

    pub fn withdraw(&mut self, link: LinkId, user: &str) {
        if self.links.get_mut(&link).is_some_and(|state| state.users.remove(user)) {
            self.forget(user, link);
        }
    }

    fn forget(&mut self, user: &str, link: LinkId) {
        if let Some(links) = self.users.get_mut(user) {
            links.retain(|other| *other != link);
            if links.is_empty() {
                self.users.remove(user);
            }
        }
    }

    pub fn snapshot_ended(&mut self, link: LinkId, partition: u32) {
        if let Some(state) = self.links.get_mut(&link) {
            state.awaited.remove(&partition);
        }
    }

    /// Whether a snapshot of this link is still to end.
    pub fn awaits(&self, link: LinkId) -> bool {
        self.links.get(&link).is_some_and(|state| !state.awaited.is_empty())
    }

    pub fn subscribe(&mut self, link: LinkId, topic: &str) {
        let Some(state) = self.links.get_mut(&link) else { return };
        if state.topics.len() >= TOPICS_PER_LINK_MAX {
            state.takes_all = true;
        } else if state.topics.insert(topic.to_owned()) {
            self.topics.entry(topic.to_owned()).or_default().insert(link);
        }
    }

    pub fn unsubscribe(&mut self, link: LinkId, topic: &str) {
        if self.links.get_mut(&link).is_some_and(|state| state.topics.remove(topic)) {
            self.forget_topic(topic, link);
        }
    }

    fn forget_topic(&mut self, topic: &str, link: LinkId) {
        if let Some(links) = self.topics.get_mut(topic) {
            links.remove(&link);
            if links.is_empty() {
                self.topics.remove(topic);
            }
        }
    }

    pub fn whereabouts(&self, user: &str, now: Mono) -> Whereabouts {
        let mut links = self.users.get(user).cloned().unwrap_or_default();
        if self.is_forgetting() {
            links.retain(|link| self.is_up(*link));
        }
        if self.overflowed && links.is_empty() {
            return Whereabouts { links: self.links.keys().copied().collect(), certain: false };
        }
        let mut certain = now >= self.nobody_absent_before;
        if now >= self.all_known_at {
            return Whereabouts { links, certain };
        }
        let partition = partition_of(user, self.count);
        for (link, state) in &self.links {
            if state.awaits(partition, now) {
                certain = false;
                if !links.contains(link) {
                    links.push(*link);
                }
            }
        }
        Whereabouts { links, certain }
    }

    /// Links where a topic (`None`: everybody) has, or may have, subscribers.
    pub fn audience(&self, topic: Option<&str>, now: Mono) -> Vec<LinkId> {
        let subscribed = topic.and_then(|topic| self.topics.get(topic));
        self.links
            .iter()
            .filter(|(link, state)| {
                topic.is_none()
                    || state.takes_all
                    || subscribed.is_some_and(|links| links.contains(link))
                    || (now < state.waits_until && !state.awaited.is_empty())
            })
            .map(|(link, _)| *link)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: LinkId = LinkId(1);
    const TWO: LinkId = LinkId(2);
    const CALM: Mono = Mono(10_000_000);

    fn calm() -> Presence {
        let mut presence = Presence::new(4, (0..4).collect(), Mono::ZERO);
        for link in [ONE, TWO] {
            presence.link_up(link, Mono::ZERO);
            (0..4).for_each(|partition| presence.snapshot_ended(link, partition));
        }
        presence
    }

    fn at(presence: &Presence, user: &str) -> Vec<u64> {
        presence.whereabouts(user, CALM).links.iter().map(|link| link.0).collect()
    }

    #[test]
    fn a_user_is_where_it_was_announced_until_withdrawn_or_the_link_is_gone() {
        let mut presence = calm();
        presence.announce(ONE, "a");
        presence.announce(ONE, "a");
        presence.announce(TWO, "a");
        presence.announce(TWO, "b");
        assert_eq!((at(&presence, "a"), at(&presence, "b")), (vec![1, 2], vec![2]));
        presence.withdraw(ONE, "a");
        presence.withdraw(ONE, "b");
        assert_eq!((at(&presence, "a"), at(&presence, "b")), (vec![2], vec![2]));
        presence.link_down(TWO);
        assert!(presence.whereabouts("a", CALM).absent() && presence.whereabouts("b", CALM).absent());
        presence.announce(TWO, "a");
        assert!(presence.whereabouts("a", CALM).absent(), "a frame that came after the end");
    }

    #[test]
    fn users_of_a_dead_link_are_forgotten_a_few_at_a_time_and_a_new_link_keeps_its_own() {
        let mut presence = calm();
        for user in ["a", "b", "c"] {
            presence.announce(ONE, user);
        }
        presence.announce(TWO, "b");
        presence.link_down(ONE);
        presence.announce(TWO, "c");
        assert_eq!((at(&presence, "b"), at(&presence, "c")), (vec![2], vec![2]));
        assert!(presence.is_forgetting() && presence.whereabouts("a", CALM).absent());
        presence.forget_gone(2);
        assert!(presence.is_forgetting(), "two of three at most");
        presence.forget_gone(2);
        assert!(!presence.is_forgetting());
        assert_eq!(presence.users(), 2, "b and c are elsewhere");
        assert_eq!((at(&presence, "b"), at(&presence, "c")), (vec![2], vec![2]));
    }

    #[test]
    fn not_present_is_unknown_until_the_snapshot_ended_or_a_second_passed() {
        let mut presence = calm();
        let three = LinkId(3);
        presence.link_up(three, CALM);
        let unknown = presence.whereabouts("a", CALM);
        assert_eq!(unknown, Whereabouts { links: vec![three], certain: false });
        presence.snapshot_ended(three, partition_of("a", 4));
        assert!(presence.whereabouts("a", CALM).absent());
        presence.link_up(LinkId(4), CALM);
        assert!(!presence.whereabouts("a", CALM).absent());
        assert!(presence.whereabouts("a", CALM + SNAPSHOT_WITHIN).absent());
    }

    #[test]
    fn nobody_is_absent_right_after_a_start() {
        let presence = Presence::new(4, (0..4).collect(), CALM);
        assert!(!presence.whereabouts("a", CALM).absent());
        assert!(presence.whereabouts("a", CALM + START_GRACE).absent());
    }

    #[test]
    fn lost_partitions_are_forgotten_and_new_ones_awaited() {
        let mut presence = calm();
        let users: Vec<String> = (0..40).map(|i| format!("u{i}")).collect();
        for user in &users {
            presence.announce(ONE, user);
        }
        presence.take_over(4, [0, 1].into(), CALM);
        let known = |presence: &Presence, user: &str| !at(presence, user).is_empty();
        assert!(users.iter().all(|user| known(&presence, user) == (partition_of(user, 4) < 2)));
        presence.take_over(4, [1, 2].into(), CALM);
        let of = |partition| users.iter().find(|user| partition_of(user, 4) == partition).expect("one of 40");
        assert!(presence.whereabouts(of(1), CALM).certain && !presence.whereabouts(of(2), CALM).certain);
    }

    #[test]
    fn a_topic_is_where_it_was_subscribed_and_everybody_is_everywhere() {
        let mut presence = calm();
        presence.subscribe(ONE, "t");
        assert_eq!(
            (presence.audience(Some("t"), CALM), presence.audience(None, CALM)),
            (vec![ONE], vec![ONE, TWO])
        );
        presence.link_up(LinkId(3), CALM);
        assert_eq!(presence.audience(Some("t"), CALM), [ONE, LinkId(3)], "its subscribers are not known yet");
        presence.unsubscribe(ONE, "t");
        assert_eq!(presence.audience(Some("t"), CALM + SNAPSHOT_WITHIN), []);
    }

    #[test]
    fn who_is_too_many_to_be_remembered_is_sent_everywhere() {
        let mut presence = Presence { users_max: 1, ..calm() };
        presence.announce(ONE, "a");
        presence.announce(ONE, "b");
        assert_eq!(at(&presence, "a"), [1]);
        assert_eq!(presence.whereabouts("b", CALM), Whereabouts { links: vec![ONE, TWO], certain: false });
    }
}
