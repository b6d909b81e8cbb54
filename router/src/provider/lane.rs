//! What waits for one provider's account: the most urgent first, as many a second and at once as the account may be sent.
//!
//! Pure. Owns the account's queue, budget and breaker. What it does not take it gives back with the time after which it is
//! worth another try, so that nobody else ever waits for a slow provider. Driven by `dispatch`.

use std::collections::VecDeque;
use std::time::Duration;

use serde::Serialize;
use wire::message::Priority;
use wire::time::Mono;

use super::way::Way;
use crate::breaker::{Breaker, Change, Rules, State};
use crate::limits::{LANE_AT_ONCE_MAX, LANE_WAITING_MAX};
use crate::owner::Held;

/// How long what finds no room stays away at least.
pub const FULL_MIN: Duration = Duration::from_secs(1);

/// What one account may be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Budget {
    pub per_s: u32,
    pub at_once: usize,
}

impl Budget {
    /// What providers allow a new account, or what is polite.
    pub fn usual(way: Way) -> Budget {
        let (per_s, at_once) = match way {
            // 600,000 a minute and project; requests share HTTP/2 connections.
            Way::Fcm | Way::Apns => (10_000, 512),
            Way::WebPush => (1_000, 128),
            // What SES lets an account send once it is out of the sandbox.
            Way::Email => (14, 32),
            Way::Sms => (100, 32),
            // Twilio's calls a second.
            Way::Voice => (1, 8),
        };
        Budget { per_s, at_once }
    }

    /// What is asked by requests of their own is asked as much more at once as it may be asked more often. Where few connections
    /// carry all (HTTP/2, a mail server) more at once would only wait there, and its time run out.
    pub fn of(way: Way, per_s: u32) -> Budget {
        let usual = Budget::usual(way);
        let at_once = usual.at_once * per_s as usize / usual.per_s as usize;
        match way {
            Way::Fcm | Way::Apns | Way::Email => Budget { per_s, ..usual },
            _ => Budget { per_s, at_once: at_once.clamp(usual.at_once, LANE_AT_ONCE_MAX) },
        }
    }
}

/// Given back, not asked.
#[derive(Debug, PartialEq, Eq)]
pub struct Back<T> {
    pub item: T,
    pub after: Duration,
    pub why: Held,
}

#[derive(Debug)]
struct Waiting<T> {
    item: T,
    since: Mono,
}

#[derive(Debug)]
pub struct Lane<T> {
    budget: Budget,
    breaker: Breaker,
    waiting: [VecDeque<Waiting<T>>; Priority::ALL.len()],
    under_way: usize,
    /// When the budget would be even with what was sent.
    even_at: Mono,
    /// Until when the budget is promised to what was given back for want of room.
    promised_until: Mono,
}

impl<T> Lane<T> {
    pub fn new(budget: Budget, rules: Rules) -> Lane<T> {
        Lane {
            budget,
            breaker: Breaker::new(rules),
            waiting: Default::default(),
            under_way: 0,
            even_at: Mono::ZERO,
            promised_until: Mono::ZERO,
        }
    }

    pub fn waiting(&self) -> usize {
        self.waiting.iter().map(VecDeque::len).sum()
    }

    pub fn under_way(&self) -> usize {
        self.under_way
    }

    pub fn breaker(&self) -> &Breaker {
        &self.breaker
    }

    pub fn budget(&self) -> Budget {
        self.budget
    }

    /// How long the oldest one has waited here.
    pub fn oldest(&self, now: Mono) -> Option<Duration> {
        self.waiting.iter().filter_map(VecDeque::front).map(|waiting| now.since(waiting.since)).max()
    }

    /// From here on. What was given back under the old one keeps its time; nothing new stands behind it.
    pub fn allow(&mut self, budget: Budget) {
        if self.budget != budget {
            self.budget = budget;
            self.promised_until = Mono::ZERO;
        }
    }

    /// Takes one more. What has no room, this one or a less urgent one, comes back.
    pub fn handle_item(&mut self, item: T, priority: Priority, now: Mono) -> Option<Back<T>> {
        // While it is open, one that waits is the one that will tell.
        if let Some(after) = self.shut(now) {
            return Some(Back { item, after, why: Held::Broken });
        }
        let since = now;
        if self.waiting() < LANE_WAITING_MAX {
            self.waiting[priority as usize].push_back(Waiting { item, since });
            return None;
        }
        let last = (priority as usize + 1..Priority::ALL.len()).rev().find(|i| !self.waiting[*i].is_empty());
        let displaced = last.and_then(|i| self.waiting[i].pop_back());
        let item = match displaced {
            Some(displaced) => {
                self.waiting[priority as usize].push_back(Waiting { item, since });
                displaced.item
            }
            None => item,
        };
        Some(Back { item, after: self.promise(now), why: Held::Full })
    }

    fn shut(&self, now: Mono) -> Option<Duration> {
        if self.breaker.state() == State::Closed {
            return None;
        }
        let taken = self.waiting() > 0;
        self.breaker.wait(now).or_else(|| taken.then_some(FULL_MIN))
    }

    /// Each gets a time of its own behind all that waits, however far that is, so that it comes back once and finds room.
    fn promise(&mut self, now: Mono) -> Duration {
        let interval = self.interval();
        let drained = now + interval.saturating_mul(self.waiting() as u32);
        self.promised_until = self.promised_until.max(drained) + interval;
        self.promised_until.since(now).max(FULL_MIN)
    }

    fn interval(&self) -> Duration {
        Duration::from_secs(1) / self.budget.per_s.max(1)
    }

    /// The next one to be sent, and whether its answer will tell if the provider works again.
    pub fn poll_send(&mut self, now: Mono) -> Option<(T, bool)> {
        if self.under_way >= self.budget.at_once
            || self.breaker.wait(now).is_some()
            || self.even_at > now + self.ahead()
        {
            return None;
        }
        let Waiting { item, .. } = self.waiting.iter_mut().find_map(VecDeque::pop_front)?;
        self.even_at = self.even_at.max(now) + self.interval();
        self.under_way += 1;
        Some((item, self.breaker.handle_call(now)))
    }

    /// A tenth of a second's budget may go at once.
    fn ahead(&self) -> Duration {
        self.interval().saturating_mul((self.budget.per_s / 10).saturating_sub(1))
    }

    /// When [`Lane::poll_send`] has something, if no answer comes before.
    pub fn poll_timeout(&self) -> Option<Mono> {
        if self.waiting() == 0 || self.under_way >= self.budget.at_once {
            return None;
        }
        let ahead = self.ahead().as_micros() as u64;
        Some(Mono(self.even_at.0.saturating_sub(ahead)))
    }

    /// One of those under way was answered.
    pub fn handle_answer(&mut self, is_error: bool, is_probe: bool, now: Mono) -> Option<Change> {
        self.under_way = self.under_way.saturating_sub(1);
        self.breaker.handle_answer(is_error, is_probe, now)
    }

    /// One of those under way was not asked after all.
    pub fn handle_skip(&mut self, is_probe: bool, now: Mono) {
        self.under_way = self.under_way.saturating_sub(1);
        if is_probe {
            self.breaker.handle_skip(now);
        }
    }

    /// All that waits, when the breaker has opened: somebody else may have it.
    pub fn poll_back(&mut self, now: Mono) -> Option<Back<T>> {
        if self.breaker.state() != State::Open {
            return None;
        }
        let after = self.breaker.wait(now)?;
        let Waiting { item, .. } = self.waiting.iter_mut().find_map(VecDeque::pop_front)?;
        Some(Back { item, after, why: Held::Broken })
    }

    /// Takes out what was not sent yet.
    pub fn take_back(&mut self, wanted: impl Fn(&T) -> bool) -> Vec<T> {
        let mut taken = Vec::new();
        for queue in &mut self.waiting {
            for _ in 0..queue.len() {
                let waiting = queue.pop_front().expect("the queue is as long as it was");
                if wanted(&waiting.item) {
                    taken.push(waiting.item);
                } else {
                    queue.push_back(waiting);
                }
            }
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RULES: Rules = Rules { errors: 5, window: Duration::from_secs(60), probe: Duration::from_secs(60) };

    fn lane(per_s: u32, at_once: usize) -> Lane<u32> {
        Lane::new(Budget { per_s, at_once }, RULES)
    }

    fn at(ms: u64) -> Mono {
        Mono(1_000_000_000 + ms * 1_000)
    }

    fn sent(lane: &mut Lane<u32>, now: Mono) -> Vec<u32> {
        std::iter::from_fn(|| lane.poll_send(now)).map(|(item, _)| item).collect()
    }

    #[test]
    fn the_most_urgent_goes_first_and_each_priority_keeps_its_order() {
        let mut lane = lane(1_000, 100);
        let order =
            [(1, Priority::Low), (2, Priority::Normal), (3, Priority::Critical), (4, Priority::Critical)];
        for (item, priority) in order {
            assert_eq!(lane.handle_item(item, priority, at(0)), None);
        }
        assert_eq!(sent(&mut lane, at(0)), [3, 4, 2, 1]);
    }

    #[test]
    fn no_more_are_under_way_than_may_be_at_once() {
        let mut lane = lane(1_000, 2);
        (0..5).for_each(|item| assert_eq!(lane.handle_item(item, Priority::High, at(0)), None));
        assert_eq!(sent(&mut lane, at(0)), [0, 1]);
        assert_eq!(lane.poll_timeout(), None, "an answer makes room, not time");
        lane.handle_answer(false, false, at(5));
        assert_eq!(sent(&mut lane, at(5)), [2]);
    }

    #[test]
    fn a_full_lane_gives_back_the_least_urgent_and_each_a_time_of_its_own() {
        let mut lane = lane(10, 1);
        for item in 0..LANE_WAITING_MAX as u32 {
            assert_eq!(lane.handle_item(item, Priority::Normal, at(0)), None);
        }
        let back = lane.handle_item(u32::MAX, Priority::Critical, at(0)).expect("one has no room");
        assert_eq!((back.item, back.why), (LANE_WAITING_MAX as u32 - 1, Held::Full));
        let next = lane.handle_item(7, Priority::Low, at(0)).expect("no room");
        assert_eq!((next.item, next.after), (7, back.after + Duration::from_millis(100)));
        assert!(back.after >= Duration::from_secs(LANE_WAITING_MAX as u64 / 10), "behind all that waits");
        assert_eq!(sent(&mut lane, at(0)), [u32::MAX]);
    }

    #[test]
    fn who_may_be_asked_more_often_is_asked_more_at_once() {
        assert_eq!(Budget::of(Way::Sms, 1_000), Budget { per_s: 1_000, at_once: 320 });
        assert_eq!(Budget::of(Way::Sms, 10), Budget { per_s: 10, at_once: 32 });
        assert_eq!(Budget::of(Way::WebPush, 100_000).at_once, LANE_AT_ONCE_MAX);
        assert_eq!(Budget::of(Way::Fcm, 100_000).at_once, Budget::usual(Way::Fcm).at_once);
        for way in Way::ALL {
            assert_eq!(Budget::of(way, Budget::usual(way).per_s), Budget::usual(way));
        }
    }

    #[test]
    fn a_backlog_of_hours_comes_back_at_the_budgets_pace_however_long_it_is() {
        let mut lane = lane(1, 1);
        for item in 0..LANE_WAITING_MAX as u32 {
            assert_eq!(lane.handle_item(item, Priority::Normal, at(0)), None);
        }
        let mut back =
            |item| lane.handle_item(item, Priority::Normal, at(0)).expect("no room").after.as_secs();
        let first = back(0);
        let last = (1..20_000).map(&mut back).last().expect("many");
        assert_eq!((first, last - first), (LANE_WAITING_MAX as u64 + 1, 19_999));
    }

    #[test]
    fn what_waits_comes_back_when_the_breaker_opens_and_one_call_finds_out() {
        let mut lane = lane(1_000, 5);
        (0..8).for_each(|item| assert_eq!(lane.handle_item(item, Priority::High, at(0)), None));
        assert_eq!(sent(&mut lane, at(0)).len(), 5);
        for i in 0..5 {
            let change = lane.handle_answer(true, false, at(1));
            assert_eq!(change, (i == 4).then_some(Change::Opened));
        }
        let back: Vec<_> = std::iter::from_fn(|| lane.poll_back(at(1))).collect();
        assert_eq!(back.iter().map(|back| back.item).collect::<Vec<_>>(), [5, 6, 7]);
        assert!(back.iter().all(|back| (back.after, back.why) == (Duration::from_secs(60), Held::Broken)));
        let held = lane.handle_item(9, Priority::Critical, at(2)).expect("nobody is asked");
        assert_eq!(held.why, Held::Broken);
        assert_eq!(lane.handle_item(10, Priority::Low, at(60_001)), None, "this one will tell");
        assert!(lane.handle_item(11, Priority::Critical, at(60_001)).is_some());
        assert_eq!(lane.poll_send(at(60_001)), Some((10, true)));
        assert_eq!(lane.handle_answer(false, true, at(60_500)), Some(Change::Closed));
        assert_eq!(lane.handle_item(12, Priority::Low, at(60_500)), None);
        assert_eq!(lane.poll_send(at(60_500)), Some((12, false)));
    }

    #[test]
    fn what_was_not_sent_can_be_taken_back() {
        let mut lane = lane(1_000, 1);
        (0..4).for_each(|item| assert_eq!(lane.handle_item(item, Priority::High, at(0)), None));
        assert_eq!(sent(&mut lane, at(0)), [0]);
        assert_eq!(lane.take_back(|item| item % 2 == 0), [2], "the first is with the provider");
        lane.handle_answer(false, false, at(100));
        assert_eq!(sent(&mut lane, at(100)), [1]);
    }

    #[test]
    fn the_age_of_what_waits_is_that_of_the_oldest_whatever_goes_first() {
        let mut lane = lane(100, 8);
        assert_eq!(lane.oldest(at(0)), None);
        (0..2).for_each(|item| assert_eq!(lane.handle_item(item, Priority::Low, at(u64::from(item))), None));
        assert_eq!(lane.handle_item(99, Priority::High, at(50)), None);
        assert_eq!(lane.oldest(at(60)), Some(Duration::from_millis(60)), "the least urgent waits longest");
        assert_eq!(sent(&mut lane, at(60)), [99, 0, 1]);
        assert_eq!(lane.oldest(at(60)), None);
    }

    proptest! {
        /// In any second no more is sent than the budget and the tenth of it that may go at once; and nothing that may go waits.
        #[test]
        fn the_budget_holds_in_any_second(per_s in 1u32..200, steps in prop::collection::vec(0u64..400, 1..60)) {
            let mut lane = lane(per_s, usize::MAX);
            let (mut now_ms, mut times) = (0, Vec::<u64>::new());
            for step_ms in steps {
                for item in 0..=per_s / 4 {
                    let _full = lane.handle_item(item, Priority::Normal, at(now_ms));
                }
                // As a clock would: at each time that the lane asks for.
                let end = at(now_ms + step_ms);
                while let Some(due) = lane.poll_timeout().filter(|due| *due <= end) {
                    let now = due.max(at(now_ms));
                    prop_assert!(lane.poll_send(now).is_some());
                    times.push(now.0);
                }
                now_ms += step_ms;
            }
            for (i, first) in times.iter().enumerate() {
                let within = times[i..].iter().take_while(|time| **time < first + 1_000_000).count();
                prop_assert!(within as u32 <= per_s + (per_s / 10).max(1), "{within} of {per_s}");
            }
        }
    }
}
