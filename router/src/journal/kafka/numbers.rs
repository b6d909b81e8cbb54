//! The sequence numbers of one partition: the next one, and those that nobody will ever read under.
//!
//! A record that the brokers did not acknowledge in time has used up its number and may not be there. The next record of
//! the partition says so (`skipped`), so that the owner does not take the hole for a loss: what was promised about such a
//! record was promised by the disk, under a number of its own. Pure. Called by the journal, under the partition's lock.

use crate::record::{SKIPPED_RUNS_MAX, SKIPPED_TOLD_MAX, Skipped};

#[derive(Debug, Default)]
pub(super) struct Numbers {
    last: u64,
    /// In no order; runs that touch are joined.
    unconfirmed: Vec<Skipped>,
}

impl Numbers {
    /// The number of the next record. It is used up by [`Numbers::use_up`] alone.
    pub(super) fn next(&self) -> u64 {
        self.last + 1
    }

    /// What the next record can tell of those that are missing.
    pub(super) fn told_next(&self) -> Vec<Skipped> {
        let mut room = SKIPPED_TOLD_MAX;
        let runs = self.unconfirmed.iter().take(SKIPPED_RUNS_MAX);
        runs.map_while(|&(first, last)| {
            let told = (last - first + 1).min(room);
            room -= told;
            (told > 0).then(|| (first, first + told - 1))
        })
        .collect()
    }

    /// The next number has gone to the producer, in a record that tells these.
    pub(super) fn use_up(&mut self, told: &[Skipped]) {
        self.last += 1;
        for &(first, last) in told {
            let Some(place) = self.unconfirmed.iter().position(|run| run.0 == first) else { continue };
            if self.unconfirmed[place].1 == last {
                self.unconfirmed.swap_remove(place);
            } else {
                self.unconfirmed[place].0 = last + 1;
            }
        }
    }

    /// No acknowledgement came for a record of this number, nor for what it told.
    pub(super) fn give_back(&mut self, number: u64, told: Vec<Skipped>) {
        for (mut first, mut last) in told.into_iter().chain([(number, number)]) {
            self.unconfirmed.retain(|run| {
                let touches = run.0 <= last.saturating_add(1) && first <= run.1.saturating_add(1);
                if touches {
                    (first, last) = (first.min(run.0), last.max(run.1));
                }
                !touches
            });
            self.unconfirmed.push((first, last));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn send(numbers: &mut Numbers) -> (u64, Vec<Skipped>) {
        let (number, told) = (numbers.next(), numbers.told_next());
        numbers.use_up(&told);
        (number, told)
    }

    #[test]
    fn what_was_not_acknowledged_is_told_once_by_the_next_that_is() {
        let mut numbers = Numbers::default();
        let sent: Vec<_> = (0..5).map(|_| send(&mut numbers)).collect();
        for (number, told) in sent.into_iter().rev() {
            numbers.give_back(number, told);
        }
        let (number, told) = send(&mut numbers);
        assert_eq!((number, told.clone()), (6, vec![(1, 5)]));
        assert_eq!(send(&mut numbers), (7, vec![]), "it is told already");
        numbers.give_back(number, told);
        assert_eq!(send(&mut numbers), (8, vec![(1, 6)]), "the one that told it was lost, too");
    }

    #[test]
    fn one_record_tells_no_more_than_it_can_carry() {
        let mut numbers = Numbers { last: 1_000_000, unconfirmed: Vec::new() };
        (0..20).for_each(|run| numbers.give_back(run * 10 + 1, vec![]));
        assert_eq!(send(&mut numbers).1.len(), SKIPPED_RUNS_MAX);
        let mut numbers = Numbers { last: 1_000_000, unconfirmed: vec![(1, SKIPPED_TOLD_MAX + 7)] };
        assert_eq!(send(&mut numbers).1, [(1, SKIPPED_TOLD_MAX)]);
        assert_eq!(send(&mut numbers).1, [(SKIPPED_TOLD_MAX + 1, SKIPPED_TOLD_MAX + 7)]);
        assert_eq!(send(&mut numbers).1, []);
    }
}
