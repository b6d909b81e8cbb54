//! Which outcomes go out next, and what follows from the receiver's answer.
//!
//! Pure. Owns where one hearer stands. An outcome is left out only if it was refused alone and the receiver has taken another one
//! since: a receiver that refuses everything (a key that was changed on one side) loses nothing, however long it does. Driven by `post`.

use std::time::Duration;

use crate::limits::{OUTCOMES_LOOKED_EVERY, WEBHOOK_RETRY_MAX, WEBHOOK_RETRY_MIN};

/// The furthest that another one is looked for.
const SKIPPED_MAX: u64 = 4_095;

/// What is done now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// What was sent is struck out.
    StrikeOut,
    /// The one that was sent is struck out, and nobody was told it.
    LeaveOut,
    /// The next is sent at once.
    GoOn,
    Wait(Duration),
}

#[derive(Debug)]
pub struct Pace {
    all: usize,
    most: usize,
    /// All up to here are done with.
    after: u64,
    /// Something was taken since the last refusal of a batch, or since one was left out.
    has_taken: bool,
    /// This one was refused alone; another one shows whether it is to blame: so many behind the next.
    held: Option<u64>,
    skip: u64,
    wait: Duration,
}

impl Pace {
    /// `all`: how many may go at once.
    pub fn new(all: usize) -> Pace {
        Pace { all, most: all, after: 0, has_taken: false, held: None, skip: 0, wait: WEBHOOK_RETRY_MIN }
    }

    /// What is sent next: so many behind this number.
    pub fn next(&self) -> (u64, usize) {
        self.held.map_or((self.after, self.most), |held| (held + self.skip, 1))
    }

    /// From the beginning: rows may have been written anew there.
    pub fn begin_anew(&mut self) {
        self.after = 0;
    }

    /// Another receiver answers from here on: what the one before it took or refused says nothing of what it takes.
    pub fn handle_pointed(&mut self) {
        (self.has_taken, self.held, self.skip, self.wait) = (false, None, 0, WEBHOOK_RETRY_MIN);
    }

    pub fn handle_taken(&mut self, last: u64) -> Step {
        (self.has_taken, self.skip, self.wait) = (true, 0, WEBHOOK_RETRY_MIN);
        if self.held.take().is_none() {
            (self.after, self.most) = (last, (self.most * 2).min(self.all));
        }
        Step::StrikeOut
    }

    /// The receiver says that it will never take this. `last`: the number of the last of `count`.
    pub fn handle_refused(&mut self, count: usize, last: u64) -> Step {
        if count > 1 {
            (self.most, self.has_taken) = (count / 2, false);
            return Step::GoOn;
        }
        if self.held.is_some() {
            // Perhaps it is nobody's fault, perhaps both are to blame: next time another one is tried.
            self.skip = (self.skip * 2 + 1).min(SKIPPED_MAX);
            return self.handle_failed();
        }
        if std::mem::take(&mut self.has_taken) {
            self.after = last;
            return Step::LeaveOut;
        }
        (self.most, self.held) = (1, Some(last));
        Step::GoOn
    }

    /// There is nothing there to send.
    pub fn handle_nothing(&mut self) -> Step {
        self.skip = 0;
        if self.held.is_some() { self.handle_failed() } else { Step::Wait(OUTCOMES_LOOKED_EVERY) }
    }

    /// It was not reached.
    pub fn handle_failed(&mut self) -> Step {
        self.held = None;
        let wait = self.wait;
        self.wait = (wait * 2).min(WEBHOOK_RETRY_MAX);
        Step::Wait(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends rows 1..=`rows` to a receiver until nothing is left, or so many messages. Those left out, those that wait, messages.
    fn play(rows: u64, messages: usize, takes: impl Fn(&[u64]) -> bool) -> (Vec<u64>, Vec<u64>, usize) {
        let mut pace = Pace::new(256);
        let (mut waiting, mut left_out): (Vec<u64>, Vec<u64>) = ((1..=rows).collect(), Vec::new());
        for sent in 0..messages {
            let (after, most) = pace.next();
            let batch: Vec<u64> = waiting.iter().copied().filter(|row| *row > after).take(most).collect();
            let step = match batch.last() {
                None if waiting.is_empty() => return (left_out, waiting, sent),
                None => pace.handle_nothing(),
                Some(last) if takes(&batch) => pace.handle_taken(*last),
                Some(last) => pace.handle_refused(batch.len(), *last),
            };
            match step {
                Step::StrikeOut => waiting.retain(|row| !batch.contains(row)),
                Step::LeaveOut => {
                    waiting.retain(|row| !batch.contains(row));
                    left_out.extend(batch);
                }
                Step::GoOn | Step::Wait(_) => {}
            }
        }
        (left_out, waiting, messages)
    }

    #[test]
    fn a_receiver_that_refuses_everything_loses_nothing() {
        // 400 for each: the key was changed on one side.
        let (left_out, waiting, _) = play(1_000, 10_000, |_| false);
        assert_eq!((left_out.len(), waiting.len()), (0, 1_000));
    }

    #[test]
    fn it_is_asked_ever_more_slowly_meanwhile() {
        let mut pace = Pace::new(256);
        assert_eq!([pace.handle_refused(2, 2), pace.handle_refused(1, 1)], [Step::GoOn, Step::GoOn]);
        assert_eq!(pace.next(), (1, 1), "whether the next one goes");
        assert_eq!(pace.handle_refused(1, 2), Step::Wait(WEBHOOK_RETRY_MIN));
        assert_eq!(pace.next(), (0, 1));
        assert_eq!(pace.handle_refused(1, 1), Step::GoOn);
        assert_eq!(pace.next(), (2, 1), "or the one behind it");
        assert_eq!(pace.handle_refused(1, 3), Step::Wait(2 * WEBHOOK_RETRY_MIN));
    }

    #[test]
    fn the_one_that_is_to_blame_is_left_out_alone_wherever_it_stands_and_costs_few_messages() {
        for wrong in [vec![1], vec![250], vec![256], vec![999], vec![7, 8], vec![1, 500, 501, 502]] {
            let takes = |batch: &[u64]| !batch.iter().any(|row| wrong.contains(row));
            let (left_out, waiting, messages) = play(1_000, 10_000, takes);
            assert_eq!((&left_out, waiting), (&wrong, vec![]), "{messages}");
            assert!(messages < 20 + 50 * wrong.len(), "{wrong:?}: {messages}");
        }
    }

    #[test]
    fn batches_that_are_too_long_for_the_receiver_go_in_parts() {
        // 413 from 100 on.
        let (left_out, waiting, messages) = play(1_024, 10_000, |batch| batch.len() < 100);
        assert_eq!((left_out, waiting), (vec![], vec![]));
        assert!(messages < 40, "{messages}");
    }

    #[test]
    fn one_that_is_refused_and_has_nobody_behind_it_waits() {
        assert_eq!(play(1, 100, |_| false).1, [1]);
    }

    #[test]
    fn what_the_receiver_before_took_is_no_reason_to_leave_one_out() {
        let mut pace = Pace::new(256);
        assert_eq!(pace.handle_taken(1), Step::StrikeOut);
        pace.handle_pointed();
        for wait in [WEBHOOK_RETRY_MIN, 2 * WEBHOOK_RETRY_MIN] {
            assert_eq!(pace.handle_refused(1, 2), Step::GoOn, "it is held, whether another one goes");
            assert_eq!(pace.next(), (2, 1));
            assert_eq!(pace.handle_nothing(), Step::Wait(wait));
        }
        assert_eq!(pace.handle_refused(1, 2), Step::GoOn);
        pace.handle_pointed();
        assert_eq!(pace.next(), (1, 1), "another receiver is asked for the one that was held");
        assert_eq!(pace.handle_failed(), Step::Wait(WEBHOOK_RETRY_MIN), "and as soon as at first");
    }
}
