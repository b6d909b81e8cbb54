//! Live records on their way to Kafka: how long they take, and whether any comes back at all.
//!
//! Atomics that every appending task writes and the watcher reads. Decides nothing.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use ops::clock::Clock;
use wire::time::Mono;

#[derive(Debug, Default)]
pub(super) struct Live {
    under_way: AtomicU64,
    /// When one was last answered, or the first one began, in microseconds.
    moved_us: AtomicU64,
    /// One was answered since the start: the brokers are connected.
    is_connected: AtomicBool,
    /// The slowest answer since the last look, in microseconds.
    slowest_us: AtomicU64,
}

/// One record under way.
pub(super) struct UnderWay<'a> {
    live: &'a Live,
    clock: Clock,
    began: Mono,
}

impl Live {
    pub(super) fn begin(&self, clock: Clock) -> UnderWay<'_> {
        let began = clock.mono();
        if self.under_way.fetch_add(1, Ordering::Relaxed) == 0 {
            self.moved_us.fetch_max(began.0, Ordering::Relaxed);
        }
        UnderWay { live: self, clock, began }
    }

    /// How long records have been under way without any being answered. The very first wait for the brokers' connections, and
    /// end by their own time-out.
    pub(super) fn silent(&self, now: Mono) -> Duration {
        if self.under_way.load(Ordering::Relaxed) == 0 || !self.is_connected.load(Ordering::Relaxed) {
            return Duration::ZERO;
        }
        now.since(Mono(self.moved_us.load(Ordering::Relaxed)))
    }

    /// The slowest answer since the last call.
    pub(super) fn take_slowest(&self) -> Option<Duration> {
        let slowest_us = self.slowest_us.swap(0, Ordering::Relaxed);
        (slowest_us > 0).then(|| Duration::from_micros(slowest_us))
    }
}

impl UnderWay<'_> {
    pub(super) fn answered(self) {
        let now = self.clock.mono();
        let took = u64::try_from(now.since(self.began).as_micros()).unwrap_or(u64::MAX);
        self.live.is_connected.store(true, Ordering::Relaxed);
        self.live.moved_us.fetch_max(now.0, Ordering::Relaxed);
        self.live.slowest_us.fetch_max(took.max(1), Ordering::Relaxed);
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.live.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_records_under_way_without_an_answer_are_a_silence() {
        let (live, clock) = (Live::default(), Clock::start());
        let later = |s: u64| clock.mono() + Duration::from_secs(s);
        assert_eq!(live.silent(later(5)), Duration::ZERO, "nobody asks");
        let first = live.begin(clock);
        assert_eq!(live.silent(later(5)), Duration::ZERO, "the brokers are not connected yet");
        first.answered();
        live.take_slowest();
        let (one, two) = (live.begin(clock), live.begin(clock));
        assert!(live.silent(later(5)) >= Duration::from_secs(4));
        one.answered();
        assert!(live.take_slowest().is_some() && live.take_slowest().is_none());
        assert!(live.silent(later(5)) >= Duration::from_secs(4), "the other one waits");
        drop(two);
        assert_eq!(live.silent(later(5)), Duration::ZERO, "one that was given up is no silence");
        assert_eq!(live.take_slowest(), None, "and no answer");
    }
}
