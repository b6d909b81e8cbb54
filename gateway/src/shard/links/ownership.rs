//! Which router owns which partition, as far as this shard was told.
//!
//! The highest (epoch, generation) wins, partition by partition, however the claims arrive. What is known
//! outlives the link it came by. Called by `links`.

use wire::partition::partition_of;

use super::RouterIndex;

/// (epoch, generation) of a claim.
type Stamp = (u64, u64);

#[derive(Debug, Default)]
pub(super) struct Ownership {
    /// By partition; empty until the first claim says how many there are.
    partitions: Vec<Partition>,
    highest: Stamp,
}

#[derive(Debug, Clone, Copy, Default)]
struct Partition {
    stamp: Stamp,
    owner: Option<RouterIndex>,
}

impl Ownership {
    /// The partition of a user or topic; `None` until somebody said how many there are.
    pub(super) fn partition(&self, name: &str) -> Option<u32> {
        let count = u32::try_from(self.partitions.len()).ok().filter(|count| *count > 0)?;
        Some(partition_of(name, count))
    }

    pub(super) fn owner(&self, partition: u32) -> Option<RouterIndex> {
        self.partitions.get(partition as usize)?.owner
    }

    /// By partition.
    pub(super) fn owners(&self) -> impl Iterator<Item = Option<RouterIndex>> + '_ {
        self.partitions.iter().map(|partition| partition.owner)
    }

    /// A router says what it owns: all of it. Older claims than those known change nothing.
    pub(super) fn claim(&mut self, router: RouterIndex, stamp: Stamp, count: u32, owned: &[u32]) {
        if self.partitions.len() != count as usize {
            if !self.partitions.is_empty() && stamp <= self.highest {
                return;
            }
            self.partitions = vec![Partition::default(); count as usize];
        }
        self.highest = self.highest.max(stamp);
        for partition in owned {
            let known = &mut self.partitions[*partition as usize];
            if known.owner.is_none() && stamp >= known.stamp
                || stamp > known.stamp
                || known.owner == Some(router)
            {
                *known = Partition { stamp: known.stamp.max(stamp), owner: Some(router) };
            }
        }
        // What the router held by an older claim and does not name any more has no owner. Its heir's claim is above that older one,
        // but need not be above this: routers count on by themselves for what stays theirs.
        for (number, known) in self.partitions.iter_mut().enumerate() {
            if known.owner == Some(router) && known.stamp < stamp && !owned.contains(&(number as u32)) {
                known.owner = None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Claims of a consistent history arrive in any order and any number of times: the newest decides.
        #[test]
        fn the_highest_stamp_wins_whatever_the_order(
            history in proptest::collection::vec(proptest::collection::vec(0u16..3, 8), 1..6),
            order in proptest::collection::vec((0usize..6, 0u16..3), 0..60),
        ) {
            let owned = |generation: usize, router: u16| -> Vec<u32> {
                (0..8).filter(|p| history[generation][*p as usize] == router).collect()
            };
            let mut ownership = Ownership::default();
            let last = history.len() - 1;
            let closing = (0..3).map(|router| (last, router));
            for (generation, router) in order.into_iter().map(|(g, r)| (g % history.len(), r)).chain(closing) {
                ownership.claim(router, (1, generation as u64), 8, &owned(generation, router));
            }
            for partition in 0..8 {
                prop_assert_eq!(ownership.owner(partition), Some(history[last][partition as usize]));
            }
        }
    }

    #[test]
    fn what_is_given_up_goes_to_its_heir_whatever_the_giver_has_counted_to() {
        for heir_first in [false, true] {
            let mut ownership = Ownership::default();
            ownership.claim(0, (1, 5), 4, &[0, 1, 2]);
            if heir_first {
                ownership.claim(1, (1, 6), 4, &[2, 3]);
            }
            ownership.claim(0, (1, 9), 4, &[0, 1]);
            if !heir_first {
                assert_eq!(ownership.owner(2), None);
                ownership.claim(2, (1, 4), 4, &[2]);
                assert_eq!(ownership.owner(2), None, "an older claim");
                ownership.claim(1, (1, 6), 4, &[2, 3]);
            }
            let owners: Vec<_> = (0..4).map(|p| ownership.owner(p)).collect();
            assert_eq!(owners, [Some(0), Some(0), Some(1), Some(1)]);
        }
    }

    #[test]
    fn a_new_epoch_beats_any_generation_of_an_old_one() {
        let mut ownership = Ownership::default();
        ownership.claim(0, (1, 900), 4, &[0, 1, 2, 3]);
        ownership.claim(1, (2, 1), 4, &[0, 1]);
        ownership.claim(0, (1, 901), 4, &[0, 1, 2, 3]);
        let owners: Vec<_> = (0..4).map(|p| ownership.owner(p)).collect();
        assert_eq!(owners, [Some(1), Some(1), Some(0), Some(0)]);
    }

    #[test]
    fn another_count_is_obeyed_only_from_a_newer_claim() {
        let mut ownership = Ownership::default();
        ownership.claim(0, (1, 5), 4, &[0, 1, 2, 3]);
        ownership.claim(1, (1, 4), 8, &[0]);
        assert_eq!(ownership.partition("u"), Some(partition_of("u", 4)));
        ownership.claim(1, (2, 0), 8, &[0, 7]);
        assert_eq!(ownership.partition("u"), Some(partition_of("u", 8)));
        assert_eq!((ownership.owner(0), ownership.owner(1), ownership.owner(7)), (Some(1), None, Some(1)));
    }
}
