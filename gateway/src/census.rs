//! How many sockets each user and each address has on the node, over all its shards, and (`posts`) how much each
//! user may still post.
//!
//! Exact but for two of them sharing 55 bits of a keyed hash (one chance in a hundred thousand with a million
//! of them, and then they share one cap). A count is eight bytes in a table under one of many locks, each held
//! for one look-up. Never decides whether to answer or how: it says whether there is room. Called by `shard`.

mod posts;

use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use ahash::RandomState;
use hashbrown::HashTable;

use crate::limits::{REFUSALS_PER_ADDRESS_MAX, SOCKETS_COUNTED_MAX};
use posts::Posts;
use wire::time::Mono;

/// Locks, so that shards seldom wait for each other.
const STRIPES: usize = 256;
/// A count's bits; what is left of its eight bytes tells who is counted.
const COUNT_BITS: u32 = 17;
const COUNT: u64 = (1 << COUNT_BITS) - 1;
const _: () = assert!((SOCKETS_COUNTED_MAX + REFUSALS_PER_ADDRESS_MAX) as u64 <= COUNT);

/// Shared by all shards of a node.
#[derive(Debug)]
pub struct Census {
    users: Tally,
    addresses: Tally,
    posts: Posts,
}

/// Whether an address may have one more socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    Enough,
    /// It may be told so: counted all the same, [`Census::leave_from`] must follow.
    Refuse,
    /// It keeps coming while others of its refusals are under way: not counted, not worth an answer.
    Reset,
}

impl Census {
    /// `seed` keeps names and addresses that an attacker chose from sharing a count with others.
    pub fn new(seed: u64) -> Census {
        Census {
            users: Tally::new(seed),
            addresses: Tally::new(seed.rotate_left(29)),
            posts: Posts::new(seed.rotate_left(43)),
        }
    }

    /// Counts a session of a user, unless there are `max` already. True: [`Census::leave`] must follow.
    pub fn enter(&self, user: &str, max: u32) -> bool {
        self.users.enter(user, max)
    }

    pub fn leave(&self, user: &str) {
        self.users.leave(user);
    }

    /// Whether a user may post one more message, of `per_minute`.
    pub fn may_post(&self, user: &str, per_minute: u32, now: Mono) -> bool {
        self.posts.take(user, per_minute, now)
    }

    /// Counts a socket from a source, of which there may be `max`. But for [`Room::Reset`],
    /// [`Census::leave_from`] must follow.
    pub fn enter_from(&self, source: Source, max: u32) -> Room {
        if self.addresses.enter(&source, max) {
            Room::Enough
        } else if self.addresses.enter(&source, max.saturating_add(REFUSALS_PER_ADDRESS_MAX)) {
            Room::Refuse
        } else {
            Room::Reset
        }
    }

    pub fn leave_from(&self, source: Source) {
        self.addresses.leave(&source);
    }
}

/// What counts as one origin of connections: an IPv4 address, or an IPv6 network of 64 bits, since whoever
/// has one address of it has all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Source(u64);

/// No network begins with these bits: they are multicast's, which never connects.
const V4: u64 = 0xffff_ffff << 32;

impl Source {
    /// Nobody in particular.
    pub const NONE: Source = Source(0xffff_fffe << 32);

    pub fn of(address: IpAddr) -> Source {
        match address.to_canonical() {
            IpAddr::V4(v4) => Source(V4 | u64::from(v4.to_bits())),
            IpAddr::V6(v6) => Source((v6.to_bits() >> 64) as u64),
        }
    }
}

/// Counts by the hash of a name: the hash's low bits choose a stripe, the next ones are kept beside the count.
#[derive(Debug)]
struct Tally {
    hasher: RandomState,
    stripes: Box<[Mutex<HashTable<u64>>]>,
}

impl Tally {
    fn new(seed: u64) -> Tally {
        Tally {
            hasher: RandomState::with_seeds(seed, seed.rotate_left(11) ^ 0x6365_6e73, !seed, 0x7573_2121),
            stripes: (0..STRIPES).map(|_| Mutex::default()).collect(),
        }
    }

    /// Counts one more, unless there are `max` already.
    fn enter(&self, name: &(impl Hash + ?Sized), max: u32) -> bool {
        self.with(name, |table, who| {
            let max = u64::from(max).min(COUNT);
            match table.find_mut(place(who), |entry| *entry & !COUNT == who) {
                Some(entry) if *entry & COUNT < max => *entry += 1,
                None if max > 0 => {
                    table.insert_unique(place(who), who | 1, |entry| place(*entry));
                }
                _ => return false,
            }
            true
        })
    }

    fn leave(&self, name: &(impl Hash + ?Sized)) {
        self.with(name, |table, who| {
            let entry = table.find_entry(place(who), |entry| *entry & !COUNT == who);
            let mut entry = entry.expect("who leaves has entered");
            if *entry.get() & COUNT == 1 {
                entry.remove();
            } else {
                *entry.get_mut() -= 1;
            }
        });
    }

    fn with<T>(&self, name: &(impl Hash + ?Sized), change: impl FnOnce(&mut HashTable<u64>, u64) -> T) -> T {
        let hash = self.hasher.hash_one(name);
        let stripe = &self.stripes[hash as usize % STRIPES];
        let mut table = stripe.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut table, (hash / STRIPES as u64) << COUNT_BITS)
    }
}

/// Where an entry stands in its table: the kept bits, at both ends, where the table looks.
fn place(entry: u64) -> u64 {
    entry >> COUNT_BITS | (entry & !COUNT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        /// Against a plain map: who gets in, and that nothing is left behind.
        #[test]
        fn agrees_with_a_plain_map(
            steps in prop::collection::vec((0_u8..12, 0_u32..5, any::<bool>()), 0..300),
            seed: u64,
        ) {
            let tally = Tally::new(seed);
            let mut model: BTreeMap<u8, u32> = BTreeMap::new();
            for (who, max, comes) in steps {
                let count = model.entry(who).or_default();
                if comes {
                    prop_assert_eq!(tally.enter(&who, max), *count < max);
                    *count += u32::from(*count < max);
                } else if *count > 0 {
                    tally.leave(&who);
                    *count -= 1;
                }
            }
            for (who, count) in model {
                (0..count).for_each(|_| tally.leave(&who));
            }
            prop_assert!(tally.stripes.iter().all(|stripe| stripe.lock().unwrap().is_empty()));
        }
    }

    #[test]
    fn many_shards_at_once_do_not_pass_a_cap() {
        let census = Census::new(7);
        let in_and_out = || {
            let mut kept = 0;
            for round in 0..20_000 {
                if census.enter("ada", 10) {
                    if round % 997 == 0 { kept += 1 } else { census.leave("ada") }
                }
            }
            kept
        };
        let kept: u32 = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(in_and_out)).collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).sum()
        });
        assert!(kept <= 10, "{kept}");
        assert!((kept..10).all(|_| census.enter("ada", 10)) && !census.enter("ada", 10));
        assert!(census.enter("bob", 1), "another user's cap is another's");
    }

    #[test]
    fn a_full_address_is_told_so_until_it_keeps_coming() {
        let census = Census::new(7);
        let source = Source::of("192.0.2.7".parse().unwrap());
        assert_eq!(census.enter_from(source, 1), Room::Enough);
        for _ in 0..REFUSALS_PER_ADDRESS_MAX {
            assert_eq!(census.enter_from(source, 1), Room::Refuse);
        }
        assert_eq!(census.enter_from(source, 1), Room::Reset);
        for _ in 0..=REFUSALS_PER_ADDRESS_MAX {
            census.leave_from(source);
        }
        assert_eq!(census.enter_from(source, 1), Room::Enough);
    }

    #[test]
    fn an_ipv6_network_is_one_source_and_an_ipv4_address_is() {
        let source = |text: &str| Source::of(text.parse().unwrap());
        assert_eq!(source("2001:db8:1:2::1"), source("2001:db8:1:2:ffff::9"));
        assert_ne!(source("2001:db8:1:2::1"), source("2001:db8:1:3::1"));
        assert_ne!(source("192.0.2.1"), source("192.0.2.2"));
        assert_eq!(source("192.0.2.1"), source("::ffff:192.0.2.1"));
        assert_ne!(source("0.0.0.0"), source("::1"));
        assert!(["0.0.0.0", "::1", "255.255.255.255"].iter().all(|text| source(text) != Source::NONE));
    }
}
