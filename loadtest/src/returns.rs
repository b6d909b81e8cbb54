//! How a crowd came back after it lost its connections: when each was lost, tried again and got in, how often it had to try,
//! and what the servers told it meanwhile. Pure; one a thread, merged at the end. Called by `fleet`; shown by `report::storm`.
//!
//! Times stand on one grid for all threads, so that merging is adding. From the cut on a grid step is 10 ms wide, which bounds
//! what a run can remember to [`CURVE_STEPS_MAX`] of them; whatever comes later counts in the last.

use std::collections::BTreeMap;
use std::time::Duration;

use wire::time::Mono;

use crate::limits::CURVE_STEPS_MAX;

/// Width of a step.
pub const STEP: Duration = Duration::from_millis(10);

/// What happened in one step.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Step {
    pub lost: u32,
    pub attempts: u32,
    pub refused: u32,
    pub back: u32,
}

impl Step {
    fn add(&mut self, other: &Step) {
        self.lost += other.lost;
        self.attempts += other.attempts;
        self.refused += other.refused;
        self.back += other.back;
    }
}

/// Everything of one thread, or of all.
#[derive(Debug, Clone, Default)]
pub struct Returns {
    /// The grid's number of the first step.
    first: u64,
    steps: Vec<Step>,
    /// Attempts that clients needed to get in again.
    pub attempts_needed: BTreeMap<u32, u64>,
    /// Retry-After in whole seconds, said to clients on their way back.
    pub retry_after_s: BTreeMap<u32, u64>,
}

impl Returns {
    pub fn handle_loss(&mut self, now: Mono) {
        if let Some(step) = self.at(now) {
            step.lost += 1;
        }
    }

    pub fn handle_attempt(&mut self, now: Mono) {
        if let Some(step) = self.at(now) {
            step.attempts += 1;
        }
    }

    pub fn handle_refusal(&mut self, retry_after_s: Option<u32>, now: Mono) {
        if let Some(step) = self.at(now) {
            step.refused += 1;
        }
        if let Some(seconds) = retry_after_s {
            *self.retry_after_s.entry(seconds).or_default() += 1;
        }
    }

    pub fn handle_back(&mut self, attempts: u32, now: Mono) {
        if let Some(step) = self.at(now) {
            step.back += 1;
        }
        *self.attempts_needed.entry(attempts).or_default() += 1;
    }

    /// The step of a time; `None` before the first one, which only another thread's late clock could ask for.
    fn at(&mut self, now: Mono) -> Option<&mut Step> {
        let number = grid(now);
        if self.steps.is_empty() {
            self.first = number;
        }
        let place = usize::try_from(number.checked_sub(self.first)?).unwrap_or(usize::MAX);
        let place = place.min(CURVE_STEPS_MAX - 1);
        if place >= self.steps.len() {
            self.steps.resize(place + 1, Step::default());
        }
        self.steps.get_mut(place)
    }

    pub fn merge(&mut self, other: &Returns) {
        if !other.steps.is_empty() {
            if self.steps.is_empty() {
                self.first = other.first;
            } else if other.first < self.first {
                let ahead = usize::try_from(self.first - other.first).unwrap_or(usize::MAX);
                let ahead = ahead.min(CURVE_STEPS_MAX);
                self.steps.splice(0..0, std::iter::repeat_n(Step::default(), ahead));
                self.first = other.first;
            }
            let from = usize::try_from(other.first - self.first).unwrap_or(usize::MAX);
            for (place, step) in other.steps.iter().enumerate() {
                let place = from.saturating_add(place).min(CURVE_STEPS_MAX - 1);
                if place >= self.steps.len() {
                    self.steps.resize(place + 1, Step::default());
                }
                self.steps[place].add(step);
            }
        }
        add_all(&mut self.attempts_needed, &other.attempts_needed);
        add_all(&mut self.retry_after_s, &other.retry_after_s);
    }

    /// Everything since `start`, in steps of 10 ms; what came before counts in the first.
    pub fn since(&self, start: Mono) -> Vec<Step> {
        let start = grid(start);
        let mut steps: Vec<Step> = Vec::new();
        for (place, step) in self.steps.iter().enumerate() {
            let place = (self.first + place as u64).saturating_sub(start) as usize;
            if place >= steps.len() {
                steps.resize(place + 1, Step::default());
            }
            steps[place].add(step);
        }
        steps
    }
}

fn grid(time: Mono) -> u64 {
    time.0 / STEP.as_micros() as u64
}

/// Adds one histogram to another.
pub fn add_all(sum: &mut BTreeMap<u32, u64>, other: &BTreeMap<u32, u64>) {
    for (key, times) in other {
        *sum.entry(*key).or_default() += times;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_curve_begins_at_the_cut_and_its_end_is_bounded() {
        let mut returns = Returns::default();
        returns.handle_loss(Mono(1_000_000));
        returns.handle_attempt(Mono(1_025_000));
        returns.handle_back(2, Mono(1_029_999));
        returns.handle_back(1, Mono(u64::MAX));
        let steps = returns.since(Mono(1_000_000));
        assert_eq!(steps.len(), CURVE_STEPS_MAX);
        assert_eq!(steps[0], Step { lost: 1, ..Step::default() });
        assert_eq!(steps[2], Step { attempts: 1, back: 1, ..Step::default() });
        assert_eq!(steps[CURVE_STEPS_MAX - 1].back, 1);
        assert_eq!(returns.attempts_needed, BTreeMap::from([(1, 1), (2, 1)]));
        // A cut that was noticed late: what came before it stands at its beginning.
        assert_eq!(returns.since(Mono(1_020_000))[0], Step { lost: 1, attempts: 1, refused: 0, back: 1 });
    }

    proptest! {
        #[test]
        fn merging_equals_recording_in_one(events in proptest::collection::vec((0_u64..20_000_000, 0_u8..4, any::<bool>()), 0..60)) {
            let (mut one, mut two, mut both) = (Returns::default(), Returns::default(), Returns::default());
            let mut events = events;
            // Each thread's clock goes forward.
            events.sort_unstable();
            for (at, what, first) in events {
                for returns in [if first { &mut one } else { &mut two }, &mut both] {
                    match what {
                        0 => returns.handle_loss(Mono(at)),
                        1 => returns.handle_attempt(Mono(at)),
                        2 => returns.handle_refusal(Some(7), Mono(at)),
                        _ => returns.handle_back(1, Mono(at)),
                    }
                }
            }
            let mut sum = two.clone();
            sum.merge(&one);
            prop_assert_eq!(sum.since(Mono::ZERO), both.since(Mono::ZERO));
            prop_assert_eq!(sum.attempts_needed, both.attempts_needed);
            prop_assert_eq!(sum.retry_after_s, both.retry_after_s);
        }
    }
}
