//! Open-loop arrival times: number `n` is due at `start + n / rate`, whatever became of those before it. Pure.
//!
//! A slow server (or a slow load tester) cannot talk the schedule into waiting: who is late is late against the
//! time that was intended, and every latency in a report is counted from there. That is what keeps coordinated
//! omission out.

use std::time::Duration;

use wire::time::Mono;

/// A steady rate from a start on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pace {
    start: Mono,
    per_s: f64,
    /// Numbers that are due at the same time.
    together: u64,
}

impl Pace {
    pub fn new(start: Mono, per_s: f64) -> Pace {
        assert!(per_s > 0.0 && per_s.is_finite(), "the command line checks rates");
        Pace { start, per_s, together: 1 }
    }

    /// The same rate in bursts: `together` numbers at a time, then a pause.
    pub fn in_bursts(start: Mono, per_s: f64, together: u64) -> Pace {
        assert!(together > 0, "the command line checks bursts");
        Pace { together, ..Pace::new(start, per_s) }
    }

    pub fn start(&self) -> Mono {
        self.start
    }

    /// When number `n` (from 0) should happen.
    pub fn intended(&self, n: u64) -> Mono {
        self.start + Duration::from_secs_f64((n - n % self.together) as f64 / self.per_s)
    }

    /// How many numbers are due at `now`.
    pub fn due(&self, now: Mono) -> u64 {
        if now < self.start {
            return 0;
        }
        let mut due = (now.since(self.start).as_secs_f64() * self.per_s) as u64 + 1;
        // Floating point may be one off at the edge; `intended` is the law.
        while due > 0 && self.intended(due - 1) > now {
            due -= 1;
        }
        while self.intended(due) <= now {
            due += 1;
        }
        due
    }

    /// How many numbers fall into the first `length` of the schedule.
    pub fn within(&self, length: Duration) -> u64 {
        (length.as_secs_f64() * self.per_s).ceil() as u64
    }
}

/// What one thread of several does of a common schedule: numbers `lane`, `lane + lanes`, `lane + 2 lanes`…
#[derive(Debug, Clone, Copy)]
pub struct Lane {
    pub lane: u32,
    pub lanes: u32,
}

impl Lane {
    /// The common number of this lane's `k`th.
    pub fn number(self, k: u32) -> u32 {
        k * self.lanes + self.lane
    }

    /// The place in its lane of the common number `n`; `None` when another lane has it.
    pub fn place(self, n: u32) -> Option<u32> {
        (n % self.lanes == self.lane).then_some(n / self.lanes)
    }

    /// How many of `total` numbers fall to this lane.
    pub fn share(self, total: u32) -> u32 {
        total / self.lanes + u32::from(total % self.lanes > self.lane)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lateness_never_moves_the_schedule() {
        let pace = Pace::new(Mono(1_000_000), 100.0);
        assert_eq!(pace.intended(0), Mono(1_000_000));
        assert_eq!(pace.intended(1), Mono(1_010_000));
        assert_eq!(pace.intended(100), Mono(2_000_000));
        // Nobody looked for ten seconds: all thousand are due, each at its own time.
        assert_eq!(pace.due(Mono(11_000_000)), 1_001);
        assert_eq!(pace.intended(500), Mono(6_000_000));
    }

    #[test]
    fn a_burst_is_due_at_once_and_keeps_the_rate() {
        let pace = Pace::in_bursts(Mono(1_000_000), 100.0, 10);
        assert_eq!([0, 9, 10, 19].map(|n| pace.intended(n).0), [1_000_000, 1_000_000, 1_100_000, 1_100_000]);
        assert_eq!([1_000_000, 1_099_999, 1_100_000].map(|now| pace.due(Mono(now))), [10, 10, 20]);
    }

    #[test]
    fn a_run_has_as_many_as_its_length_says() {
        assert_eq!(Pace::new(Mono(0), 3.0).within(Duration::from_secs(10)), 30);
        assert_eq!(Pace::new(Mono(0), 0.1).within(Duration::from_secs(5)), 1);
    }

    proptest! {
        #[test]
        fn due_counts_exactly_the_intended(start in 0_u64..1 << 40, per_s in 0.01_f64..1e6, after in 0_u64..100_000_000) {
            let pace = Pace::new(Mono(start), per_s);
            let now = Mono(start + after);
            let due = pace.due(now);
            prop_assert!(due >= 1 && pace.intended(due - 1) <= now && pace.intended(due) > now);
        }

        #[test]
        fn lanes_share_everything_once(total in 0_u32..10_000, lanes in 1_u32..17) {
            let all: u32 = (0..lanes).map(|lane| Lane { lane, lanes }.share(total)).sum();
            prop_assert_eq!(all, total);
            for n in (0..total).step_by(97) {
                let owners = (0..lanes).filter_map(|lane| {
                    let lane = Lane { lane, lanes };
                    lane.place(n).map(|k| (lane.number(k), k < lane.share(total)))
                });
                prop_assert_eq!(owners.collect::<Vec<_>>(), vec![(n, true)]);
            }
        }
    }
}
