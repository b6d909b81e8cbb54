//! One thread's receipts: every copy of a message of this run, checked against who should get it, timed against when it was
//! intended and when the API took it. Pure.

use std::sync::Arc;

use wire::time::Mono;

use crate::counts::Journal;
use crate::marker::{Mark, Recipient};
use crate::phases::Whose;
use crate::posts::{Answer, Posts};
use crate::tally::{Copy, Tally};

/// How a copy reached the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Pushed on the socket.
    Live,
    /// On a page that the client asked for.
    Sync,
}

/// What a thread knows of the messages under way.
#[derive(Debug)]
pub struct Receipts {
    pub posts: Arc<Posts>,
    pub tally: Tally,
}

/// Where a copy arrived.
#[derive(Debug, Clone, Copy)]
pub struct Arrival {
    /// The client's place in its thread.
    pub place: u32,
    /// The client's number in the run.
    pub client: u32,
    pub way: Way,
    /// It never lost its connection in a storm.
    pub stayed: bool,
    pub now: Mono,
}

impl Receipts {
    pub fn handle_copy(&mut self, mark: Mark, at: Arrival, journal: &mut Journal) -> Copy {
        let copy = match (&mut self.tally, mark.recipient) {
            (Tally::ToAll(all), Recipient::All) => all.handle_copy(mark.number, at.place),
            (Tally::ToOne(one), Recipient::User(user)) if user == at.client => one.handle_copy(mark.number),
            (Tally::ToOne(_), Recipient::User(_)) => {
                journal.errors.add("message at the wrong user");
                Copy::Stray
            }
            _ => Copy::Stray,
        };
        match (copy, at.way) {
            (Copy::First, way) => {
                journal.counts.received += 1;
                if way == Way::Sync {
                    journal.counts.synced += 1;
                }
                self.time(mark.number, at, journal);
            }
            // A page may hold what came live: clients drop it by its id, and the contract wants it so.
            (Copy::Again, Way::Sync) => {}
            (Copy::Again, Way::Live) => journal.counts.duplicated += 1,
            (Copy::Late, _) => journal.errors.add("message after its books were closed"),
            (Copy::Stray, _) => journal.counts.strays += 1,
        }
        copy
    }

    fn time(&self, number: u64, at: Arrival, journal: &mut Journal) {
        let (intended, now) = (self.posts.pace().intended(number), at.now);
        let latency = now.since(intended);
        journal.latency.record(latency);
        let phases = &self.posts.phases;
        let whose = match at.way {
            Way::Live if at.stayed => Whose::Survivor { losing: phases.is_losing(intended) },
            _ => Whose::Returned,
        };
        journal.phases.record(phases.of(intended, now), whose, latency);
        let after_202 = match self.posts.answer(number) {
            Answer::Accepted(at) => now.since(at),
            // It came before we had read the 202.
            Answer::Open | Answer::Refused | Answer::Unknown => std::time::Duration::ZERO,
        };
        journal.latency_from_202.record(after_202);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::Pace;
    use crate::tally::ToOne;

    fn at(client: u32, way: Way, now: u64) -> Arrival {
        Arrival { place: client, client, way, stayed: true, now: Mono(now) }
    }

    #[test]
    fn latency_counts_from_the_intended_time_however_late_the_post_was() {
        let posts = Arc::new(Posts::new(Pace::new(Mono(1_000_000), 10.0), 10));
        let mut receipts = Receipts { posts: Arc::clone(&posts), tally: Tally::ToOne(ToOne::new(10)) };
        let mut journal = Journal::default();
        // Number 2 was due at 1.2 s; the post stalled for five seconds and the server then took 1 ms.
        posts.record_accepted(2, Mono(6_200_000));
        let mark = Mark { number: 2, recipient: Recipient::User(7) };
        receipts.handle_copy(mark, at(7, Way::Live, 6_201_000), &mut journal);
        assert!(journal.latency.summary().unwrap().max >= 5_000.0);
        assert!(journal.latency_from_202.summary().unwrap().max < 1.1);
    }

    #[test]
    fn a_copy_at_another_user_is_never_a_receipt() {
        let posts = Arc::new(Posts::new(Pace::new(Mono(0), 10.0), 10));
        let mut receipts = Receipts { posts, tally: Tally::ToOne(ToOne::new(10)) };
        let mut journal = Journal::default();
        let mark = Mark { number: 0, recipient: Recipient::User(7) };
        receipts.handle_copy(mark, at(8, Way::Live, 1), &mut journal);
        assert_eq!((journal.counts.received, journal.counts.strays, journal.errors.total()), (0, 1, 1));
    }

    #[test]
    fn live_twice_is_a_duplicate_and_a_page_that_overlaps_is_not() {
        let posts = Arc::new(Posts::new(Pace::new(Mono(0), 10.0), 10));
        let mut receipts = Receipts { posts, tally: Tally::ToOne(ToOne::new(10)) };
        let mut journal = Journal::default();
        let mark = |number| Mark { number, recipient: Recipient::User(1) };
        for (number, way) in [(0, Way::Live), (0, Way::Sync), (0, Way::Live), (1, Way::Sync)] {
            receipts.handle_copy(mark(number), at(1, way, 1), &mut journal);
        }
        let counts = journal.counts;
        assert_eq!((counts.received, counts.duplicated, counts.synced), (2, 1, 1));
    }
}
