//! Whether a provider is thought to be broken: opens on errors, lets one live call through now and then, and closes when that
//! one is answered.
//!
//! Pure. Few calls are judged by number (the fifth error within the window opens), many by rate: five errors among thousands
//! of calls say nothing. What counts as an error is `provider::policy`'s to say. Owned by each account's `provider::lane`.

use std::collections::VecDeque;
use std::time::Duration;

use serde::Serialize;
use wire::time::Mono;

/// Calls within the window from which on the rate counts instead of the number.
const MANY_CALLS: u32 = 50;
/// The span that the rate is taken over, in seconds, and the calls that it needs. With fewer, it is the whole window.
const RATE_S: u64 = 10;
const RATE_CALLS_MIN: u32 = 10;
/// The part of many calls that must fail, in percent.
const RATE_PERCENT: u32 = 50;
/// The longest window, in seconds: there is a slot for each.
pub const WINDOW_S_MAX: u64 = 600;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Errors within the window that open it.
    pub errors: u32,
    pub window: Duration,
    /// How long it stays open before a call is let through to see.
    pub probe: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    Closed,
    Open,
    /// One call is under way that will tell.
    HalfOpen,
}

impl State {
    /// As metrics say it.
    pub fn number(self) -> u64 {
        match self {
            State::Closed => 0,
            State::HalfOpen => 1,
            State::Open => 2,
        }
    }
}

/// What a call's answer changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    Opened,
    Closed,
}

/// What is remembered of one second.
#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    second: u64,
    calls: u32,
    errors: u32,
}

#[derive(Debug, Clone)]
pub struct Breaker {
    rules: Rules,
    state: State,
    /// The latest errors, oldest first, as many as would open it.
    errors: VecDeque<Mono>,
    slots: Vec<Slot>,
    /// When the next call is let through.
    probe_at: Mono,
    /// When it last opened, or closed again.
    changed_at: Option<Mono>,
}

impl Breaker {
    pub fn new(rules: Rules) -> Breaker {
        let slots = rules.window.as_secs().clamp(1, WINDOW_S_MAX) as usize;
        let slots = vec![Slot::default(); slots + 1];
        let (errors, probe_at) = (VecDeque::new(), Mono::ZERO);
        Breaker { rules, state: State::Closed, errors, slots, probe_at, changed_at: None }
    }

    pub fn state(&self) -> State {
        self.state
    }

    /// Since when it is closed, or since when it is not, tries in between included. `None`: it never opened.
    pub fn since(&self) -> Option<Mono> {
        self.changed_at
    }

    /// How long nothing will be let through. `None`: a call may be made now.
    pub fn wait(&self, now: Mono) -> Option<Duration> {
        match self.state {
            State::Closed => None,
            // A call that never answers does not keep it shut for ever.
            State::Open | State::HalfOpen => (now < self.probe_at).then(|| self.probe_at.since(now)),
        }
    }

    /// A call is made. Only after [`Breaker::wait`] said that it may be. True: it is the one that will tell.
    pub fn handle_call(&mut self, now: Mono) -> bool {
        if self.state == State::Closed {
            return false;
        }
        self.state = State::HalfOpen;
        self.probe_at = now + self.rules.probe;
        true
    }

    /// A call was answered. While it is not closed, only the answer to the one that was let through counts.
    pub fn handle_answer(&mut self, is_error: bool, is_probe: bool, now: Mono) -> Option<Change> {
        match (self.state, is_probe) {
            (State::Closed, _) => {
                self.count(is_error, now);
                (is_error && self.is_broken(now)).then(|| self.open(now))
            }
            (State::HalfOpen, true) if is_error => {
                self.open(now);
                None
            }
            (State::HalfOpen, true) => {
                *self = Breaker { changed_at: Some(now), ..Breaker::new(self.rules) };
                Some(Change::Closed)
            }
            (State::Open | State::HalfOpen, _) => None,
        }
    }

    /// The call that was let through was not made: the next one tells.
    pub fn handle_skip(&mut self, now: Mono) {
        if self.state == State::HalfOpen {
            (self.state, self.probe_at) = (State::Open, now);
        }
    }

    fn open(&mut self, now: Mono) -> Change {
        if self.state == State::Closed {
            self.changed_at = Some(now);
        }
        self.state = State::Open;
        self.probe_at = now + self.rules.probe;
        Change::Opened
    }

    fn count(&mut self, is_error: bool, now: Mono) {
        let second = now.0 / 1_000_000;
        let place = (second % self.slots.len() as u64) as usize;
        let slot = &mut self.slots[place];
        if slot.second != second {
            *slot = Slot { second, ..Slot::default() };
        }
        slot.calls = slot.calls.saturating_add(1);
        slot.errors = slot.errors.saturating_add(u32::from(is_error));
        if is_error {
            self.errors.push_back(now);
            if self.errors.len() > self.rules.errors as usize {
                self.errors.pop_front();
            }
        }
    }

    fn is_broken(&self, now: Mono) -> bool {
        let enough = self.errors.len() >= self.rules.errors as usize;
        let together = self.errors.front().is_some_and(|first| now.since(*first) <= self.rules.window);
        if !(enough && together) {
            return false;
        }
        let (calls, errors) = self.within(self.slots.len() as u64 - 1, now);
        if calls < MANY_CALLS {
            return true;
        }
        let (calls, errors) = match self.within(RATE_S, now) {
            lately if lately.0 >= RATE_CALLS_MIN => lately,
            _ => (calls, errors),
        };
        errors.saturating_mul(100) >= calls.saturating_mul(RATE_PERCENT)
    }

    /// Calls and errors of the last seconds, the one that runs included.
    fn within(&self, seconds: u64, now: Mono) -> (u32, u32) {
        let newest = now.0 / 1_000_000;
        let recent = self.slots.iter().filter(|slot| slot.second + seconds > newest && slot.second <= newest);
        recent.fold((0, 0), |(calls, errors), slot| (calls + slot.calls, errors + slot.errors))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RULES: Rules = Rules { errors: 5, window: Duration::from_secs(60), probe: Duration::from_secs(60) };

    fn at(ms: u64) -> Mono {
        Mono(1_000_000_000 + ms * 1_000)
    }

    /// Calls at these times, all failing; what the last one changed.
    fn fail(times_ms: &[u64]) -> (Breaker, Option<Change>) {
        let mut breaker = Breaker::new(RULES);
        let mut last = None;
        for ms in times_ms {
            assert_eq!((breaker.wait(at(*ms)), breaker.handle_call(at(*ms))), (None, false));
            last = breaker.handle_answer(true, false, at(*ms));
        }
        (breaker, last)
    }

    #[test]
    fn the_fifth_error_within_sixty_seconds_opens() {
        let opened = Some(Change::Opened);
        let cases: [(&[u64], Option<Change>); 6] = [
            (&[0, 1, 2, 3], None),
            (&[0, 1, 2, 3, 4], opened),
            (&[0, 15_000, 30_000, 45_000, 60_000], opened),
            (&[0, 15_000, 30_000, 45_000, 61_000], None),
            (&[0, 15_000, 30_000, 45_000, 60_001], None),
            (&[0, 30_000, 40_000, 50_000, 70_000, 80_000], opened),
        ];
        for (times, expected) in cases {
            assert_eq!(fail(times).1, expected, "{times:?}");
        }
    }

    #[test]
    fn answers_between_errors_do_not_help_a_provider_with_few_calls() {
        let mut breaker = Breaker::new(RULES);
        for i in 0..40 {
            let change = breaker.handle_answer(i % 8 == 7, false, at(i * 1_000));
            assert_eq!(change.is_some(), i == 39, "{i}");
        }
    }

    #[test]
    fn one_call_a_minute_is_let_through_and_its_answer_closes() {
        let (mut breaker, _) = fail(&[0, 1, 2, 3, 4]);
        assert_eq!(breaker.wait(at(4)), Some(Duration::from_secs(60)));
        assert_eq!(breaker.wait(at(60_003)), Some(Duration::from_millis(1)));
        assert_eq!(breaker.wait(at(60_004)), None);
        assert!(breaker.handle_call(at(60_004)));
        assert_eq!(breaker.state(), State::HalfOpen);
        assert!(breaker.wait(at(60_005)).is_some(), "one at a time");
        assert_eq!(breaker.handle_answer(false, false, at(60_006)), None, "an older call tells nothing");
        assert_eq!(breaker.handle_answer(true, true, at(61_000)), None);
        assert_eq!((breaker.state(), breaker.wait(at(61_000))), (State::Open, Some(Duration::from_secs(60))));
        assert_eq!(breaker.since(), Some(at(4)), "a try in between is not the end of it");
        assert!(breaker.wait(at(121_000)).is_none() && breaker.handle_call(at(121_000)));
        assert_eq!(breaker.handle_answer(false, true, at(121_500)), Some(Change::Closed));
        assert_eq!(breaker.since(), Some(at(121_500)));
        assert_eq!(breaker.wait(at(121_500)), None);
        assert_eq!(breaker.handle_answer(true, false, at(121_600)), None, "it begins anew");
    }

    #[test]
    fn a_call_that_never_answers_does_not_keep_it_shut() {
        let (mut breaker, _) = fail(&[0, 1, 2, 3, 4]);
        assert!(breaker.handle_call(at(60_004)));
        assert!(breaker.wait(at(120_003)).is_some() && breaker.wait(at(120_004)).is_none());
    }

    #[test]
    fn many_calls_are_judged_by_their_rate() {
        let mut breaker = Breaker::new(RULES);
        // 100 a second, one of twenty fails: 300 errors a minute.
        for i in 0..6_000 {
            assert_eq!(breaker.handle_answer(i % 20 == 0, false, at(i * 10)), None, "{i}");
        }
        // Then all fail.
        let opened = (0..3_000).find(|i| breaker.handle_answer(true, false, at(60_000 + i * 10)).is_some());
        let after_ms = opened.expect("it opens") * 10;
        assert!((4_000..=6_000).contains(&after_ms), "half of ten seconds: {after_ms}");
    }

    proptest! {
        /// With few calls it opens exactly when five errors lie within the window, and not before.
        #[test]
        fn few_calls_open_exactly_at_the_rule(calls in prop::collection::vec((0u64..30_000, any::<bool>()), 1..48)) {
            let mut breaker = Breaker::new(RULES);
            let (mut now_ms, mut errors) = (0, Vec::new());
            for (step_ms, is_error) in calls {
                now_ms += step_ms;
                if is_error {
                    errors.push(now_ms);
                }
                let fifth = errors.len().checked_sub(5).map(|first| errors[first]);
                let expected = is_error && fifth.is_some_and(|first| now_ms - first <= 60_000);
                let change = breaker.handle_answer(is_error, false, at(now_ms));
                prop_assert_eq!(change.is_some(), expected);
                if expected {
                    return Ok(());
                }
            }
        }

        /// Whatever comes: while it is not closed, at most one call a probe's time; and an answered probe closes it.
        #[test]
        fn open_lets_one_through_at_a_time(steps in prop::collection::vec((0u64..20_000, any::<bool>()), 1..200)) {
            let (mut breaker, _) = fail(&[0, 1, 2, 3, 4]);
            let (mut now_ms, mut last_probe) = (4, None::<u64>);
            for (step_ms, is_error) in steps {
                now_ms += step_ms;
                if breaker.wait(at(now_ms)).is_some() {
                    continue;
                }
                prop_assert!(breaker.handle_call(at(now_ms)));
                prop_assert!(last_probe.is_none_or(|last| now_ms - last >= 60_000));
                last_probe = Some(now_ms);
                let closed = breaker.handle_answer(is_error, true, at(now_ms)) == Some(Change::Closed);
                prop_assert_eq!(closed, !is_error);
                if closed {
                    return Ok(());
                }
            }
        }
    }
}
