//! The ledger of what was posted: for each message its intended time and what the API said. Shared by the threads that post
//! and the threads that receive. No I/O; time comes in.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use wire::time::Mono;

use crate::phases::Phases;
use crate::schedule::Pace;

/// Not posted, or no answer yet.
const OPEN: u32 = 0;
const REFUSED: u32 = u32::MAX;
const UNKNOWN: u32 = u32::MAX - 1;
/// The longest time from intended to 202 that is told apart: 71 minutes.
const LONGEST_US: u32 = u32::MAX - 2;

/// What became of a post.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    Open,
    /// 202, at this time.
    Accepted(Mono),
    /// The API said no.
    Refused,
    /// No answer that says whether it was taken.
    Unknown,
}

/// All messages of a run.
#[derive(Debug)]
pub struct Posts {
    pace: Pace,
    /// For each message, microseconds from intended time to 202, plus one; or one of the marks above.
    answers: Box<[AtomicU32]>,
    next: AtomicU64,
    /// Which part of a storm it is.
    pub phases: Phases,
}

impl Posts {
    pub fn new(pace: Pace, messages: u64) -> Posts {
        Posts {
            pace,
            answers: (0..messages).map(|_| AtomicU32::new(OPEN)).collect(),
            next: AtomicU64::new(0),
            phases: Phases::default(),
        }
    }

    pub fn pace(&self) -> Pace {
        self.pace
    }

    pub fn messages(&self) -> u64 {
        self.answers.len() as u64
    }

    /// The next messages to post: what is due, at most `most`; one message ahead of its time when none is due. `None`: all
    /// are taken.
    pub fn take(&self, most: u64, now: Mono) -> Option<std::ops::Range<u64>> {
        let mut from = self.next.load(Ordering::Relaxed);
        loop {
            if from >= self.messages() {
                return None;
            }
            let due = self.pace.due(now).saturating_sub(from).clamp(1, most.max(1));
            let to = (from + due).min(self.messages());
            match self.next.compare_exchange_weak(from, to, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Some(from..to),
                Err(moved) => from = moved,
            }
        }
    }

    pub fn record_accepted(&self, number: u64, now: Mono) {
        let us = now.since(self.pace.intended(number)).as_micros();
        let us = u32::try_from(us).unwrap_or(u32::MAX).min(LONGEST_US - 1) + 1;
        self.set(number, us);
    }

    pub fn record_refused(&self, number: u64) {
        self.set(number, REFUSED);
    }

    pub fn record_unknown(&self, number: u64) {
        self.set(number, UNKNOWN);
    }

    fn set(&self, number: u64, answer: u32) {
        if let Some(place) = usize::try_from(number).ok().and_then(|at| self.answers.get(at)) {
            place.store(answer, Ordering::Release);
        }
    }

    pub fn answer(&self, number: u64) -> Answer {
        let place = usize::try_from(number).ok().and_then(|at| self.answers.get(at));
        match place.map_or(OPEN, |place| place.load(Ordering::Acquire)) {
            OPEN => Answer::Open,
            REFUSED => Answer::Refused,
            UNKNOWN => Answer::Unknown,
            us => Answer::Accepted(self.pace.intended(number) + Duration::from_micros(u64::from(us) - 1)),
        }
    }

    pub fn is_accepted(&self, number: u64) -> bool {
        matches!(self.answer(number), Answer::Accepted(_))
    }

    /// How many were accepted, refused, left unknown.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for number in 0..self.messages() {
            match self.answer(number) {
                Answer::Open => {}
                Answer::Accepted(_) => totals.accepted += 1,
                Answer::Refused => totals.refused += 1,
                Answer::Unknown => totals.unknown += 1,
            }
        }
        totals
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    pub accepted: u64,
    pub refused: u64,
    pub unknown: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn posts() -> Posts {
        Posts::new(Pace::new(Mono(1_000_000), 1_000.0), 10)
    }

    #[test]
    fn what_is_late_is_taken_in_one_go_and_what_is_early_one_by_one() {
        let posts = posts();
        assert_eq!(posts.take(8, Mono(0)), Some(0..1));
        assert_eq!(posts.take(8, Mono(0)), Some(1..2));
        assert_eq!(posts.take(3, Mono(1_007_000)), Some(2..5));
        assert_eq!(posts.take(8, Mono(1_007_000)), Some(5..8));
        assert_eq!(posts.take(8, Mono(9_000_000)), Some(8..10));
        assert_eq!(posts.take(8, Mono(9_000_000)), None);
    }

    #[test]
    fn an_answer_keeps_its_time() {
        let posts = posts();
        posts.record_accepted(3, Mono(1_003_250));
        posts.record_accepted(4, Mono(0));
        posts.record_accepted(5, Mono(u64::MAX));
        posts.record_refused(6);
        posts.record_unknown(7);
        posts.record_accepted(10, Mono(0));
        assert_eq!(posts.answer(3), Answer::Accepted(Mono(1_003_250)));
        assert_eq!(posts.answer(4), Answer::Accepted(Mono(1_004_000)));
        assert!(
            posts.is_accepted(5) && !posts.is_accepted(6) && !posts.is_accepted(0) && !posts.is_accepted(10)
        );
        assert_eq!(posts.totals(), Totals { accepted: 3, refused: 1, unknown: 1 });
    }
}
