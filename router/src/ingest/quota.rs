//! How much one service may send: a pure count over the last minute.
//!
//! Exact in the safe direction: whatever 60 seconds one looks at, never more than `per_minute` were taken in
//! them. A token bucket would let twice as many through in the first minute. Called by `ingest`.

use std::time::Duration;

use wire::time::Mono;

/// Slots of one second; one more than a minute, because the oldest second is only partly gone.
const SLOTS: usize = 61;
const SLOT_US: u64 = 1_000_000;

/// One service's last minute.
#[derive(Debug, Clone)]
pub struct Quota {
    per_minute: u64,
    /// What each second took, by its number modulo [`SLOTS`].
    taken: [u32; SLOTS],
    sum: u64,
    /// The number of the newest second in `taken`.
    newest: u64,
}

/// What was taken, to be given back if it then was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    n: u32,
    second: u64,
}

/// The quota is spent until then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spent {
    pub retry_after: Duration,
}

impl Quota {
    /// `per_minute` is at least 1.
    pub fn new(per_minute: u32) -> Quota {
        assert!(per_minute > 0, "a quota of nothing is a service that should not be configured");
        Quota { per_minute: u64::from(per_minute), taken: [0; SLOTS], sum: 0, newest: 0 }
    }

    /// Takes `n` or nothing. More than `per_minute` at once never goes through: the caller refuses that for good.
    pub fn take(&mut self, n: u32, now: Mono) -> Result<Taken, Spent> {
        self.roll(now);
        if self.sum + u64::from(n) > self.per_minute {
            return Err(Spent { retry_after: self.room_after(n, now) });
        }
        self.taken[self.newest as usize % SLOTS] += n;
        self.sum += u64::from(n);
        Ok(Taken { n, second: self.newest })
    }

    /// Gives back what was taken for something that then was not accepted. After a minute it is back anyway.
    pub fn give_back(&mut self, taken: Taken) {
        if self.newest - taken.second < SLOTS as u64 {
            self.taken[taken.second as usize % SLOTS] -= taken.n;
            self.sum -= u64::from(taken.n);
        }
    }

    /// From now on so many; what the last minute took still counts.
    pub fn change(&mut self, per_minute: u32) {
        assert!(per_minute > 0, "a quota of nothing is a service that should not be configured");
        self.per_minute = u64::from(per_minute);
    }

    pub fn per_minute(&self) -> u64 {
        self.per_minute
    }

    fn roll(&mut self, now: Mono) {
        let second = now.0 / SLOT_US;
        if second <= self.newest {
            return;
        }
        let gone = (second - self.newest).min(SLOTS as u64);
        for passed in 1..=gone {
            let slot = &mut self.taken[(self.newest + passed) as usize % SLOTS];
            self.sum -= u64::from(*slot);
            *slot = 0;
        }
        self.newest = second;
    }

    /// When enough of the last minute has passed for `n` more.
    fn room_after(&self, n: u32, now: Mono) -> Duration {
        let mut left = self.sum;
        for age in (0..SLOTS as u64).rev() {
            let Some(second) = self.newest.checked_sub(age) else { continue };
            left -= u64::from(self.taken[second as usize % SLOTS]);
            if left + u64::from(n) <= self.per_minute {
                let free_at = Mono((second + SLOTS as u64) * SLOT_US);
                return free_at.since(now);
            }
        }
        Duration::from_secs(60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at_ms(ms: u64) -> Mono {
        Mono(ms * 1_000)
    }

    #[test]
    fn the_quota_is_taken_to_the_last_one_and_comes_back_after_a_minute() {
        let mut quota = Quota::new(10);
        for _ in 0..10 {
            assert!(quota.take(1, at_ms(5_500)).is_ok());
        }
        let spent = quota.take(1, at_ms(5_500)).unwrap_err();
        assert_eq!(spent.retry_after, Duration::from_millis(60_500));
        assert!(quota.take(1, at_ms(65_999)).is_err());
        assert!(quota.take(10, at_ms(66_000)).is_ok());
    }

    #[test]
    fn a_changed_quota_counts_what_was_taken_before() {
        let mut quota = Quota::new(10);
        quota.take(10, at_ms(0)).unwrap();
        quota.change(12);
        assert!(quota.take(3, at_ms(1_000)).is_err() && quota.take(2, at_ms(1_000)).is_ok());
        quota.change(5);
        assert!(quota.take(1, at_ms(2_000)).is_err());
        assert!(quota.take(5, at_ms(62_000)).is_ok(), "a minute later all of it is there");
    }

    #[test]
    fn what_was_not_accepted_is_given_back() {
        let mut quota = Quota::new(2);
        let early = quota.take(1, at_ms(0)).unwrap();
        quota.take(1, at_ms(59_000)).unwrap();
        quota.give_back(early);
        let again = quota.take(1, at_ms(59_000)).unwrap();
        assert!(quota.take(1, at_ms(61_000)).is_err(), "both of second 59 still count");
        assert!(quota.take(2, at_ms(120_000)).is_ok());
        quota.give_back(again);
        assert!(quota.take(1, at_ms(120_000)).is_err(), "what is long back is not given back twice");
    }

    proptest! {
        /// I4: no minute, wherever it begins, holds more than the quota; and a caller who waits as told gets in.
        #[test]
        fn no_minute_holds_more(
            per_minute in 1u32..50,
            steps in prop::collection::vec((0u64..20_000, 1u32..8), 1..200),
        ) {
            let mut quota = Quota::new(per_minute);
            let (mut ms, mut taken) = (0, Vec::new());
            for (wait, n) in steps {
                ms += wait;
                match quota.take(n, at_ms(ms)) {
                    Ok(_) => taken.push((ms, n)),
                    Err(spent) if n <= per_minute => {
                        let mut later = quota.clone();
                        let after = at_ms(ms) + spent.retry_after;
                        prop_assert!(later.take(n, after).is_ok());
                    }
                    Err(_) => {}
                }
            }
            for (i, (from, _)) in taken.iter().enumerate() {
                let minute: u32 =
                    taken[i..].iter().take_while(|(ms, _)| *ms < from + 60_000).map(|(_, n)| *n).sum();
                prop_assert!(minute <= per_minute);
            }
        }
    }
}
