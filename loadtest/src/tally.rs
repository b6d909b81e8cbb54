//! Who got what: every message at every socket that should get it, exactly once. Pure; one tally a thread, merged at the end.
//!
//! A message that goes to all has one bit a socket while it is under way and none once everybody has it (any later copy
//! is a duplicate then), so memory holds only what is still missing somewhere. A message to one user has one bit.

use std::collections::VecDeque;

use crate::limits::BITMAP_BYTES_MAX;

/// What a copy of a message was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Copy {
    First,
    Again,
    /// Its message was settled to keep memory bounded; it counts as lost and is reported apart.
    Late,
    /// Not for this socket, or of no known number.
    Stray,
}

/// A set of small numbers.
#[derive(Debug, Clone, Default)]
pub struct Bits {
    words: Vec<u64>,
}

impl Bits {
    pub fn with_room(bits: usize) -> Bits {
        Bits { words: vec![0; bits.div_ceil(64)] }
    }

    /// True when it was not in the set before.
    pub fn insert(&mut self, at: usize) -> bool {
        let (word, bit) = (at / 64, 1 << (at % 64));
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        let new = self.words[word] & bit == 0;
        self.words[word] |= bit;
        new
    }

    pub fn contains(&self, at: usize) -> bool {
        self.words.get(at / 64).is_some_and(|word| word & (1 << (at % 64)) != 0)
    }

    pub fn count(&self) -> u64 {
        self.words.iter().map(|word| u64::from(word.count_ones())).sum()
    }

    fn bytes(&self) -> usize {
        self.words.len() * size_of::<u64>()
    }
}

/// Where one message to all stands.
#[derive(Debug, Clone)]
enum Progress {
    Nobody,
    Some {
        who: Bits,
        count: u32,
    },
    Everybody,
    /// Given up to keep memory bounded.
    Settled {
        count: u32,
    },
}

/// Messages to all the sockets of one thread.
#[derive(Debug)]
pub struct ToAll {
    expected: Bits,
    sockets: u32,
    messages: Vec<Progress>,
    /// Messages that were given a bitmap, oldest first. Each stands here once, so it is no longer than `messages`.
    under_way: VecDeque<u32>,
    bytes: usize,
    bytes_max: usize,
}

impl ToAll {
    /// `expected`: the places of the sockets that must get every message.
    pub fn new(expected: Bits, messages: u32) -> ToAll {
        let sockets = u32::try_from(expected.count()).unwrap_or(u32::MAX);
        ToAll {
            expected,
            sockets,
            messages: vec![Progress::Nobody; messages as usize],
            under_way: VecDeque::new(),
            bytes: 0,
            bytes_max: BITMAP_BYTES_MAX,
        }
    }

    pub fn handle_copy(&mut self, number: u64, socket: u32) -> Copy {
        let Some(at) = usize::try_from(number).ok().filter(|at| *at < self.messages.len()) else {
            return Copy::Stray;
        };
        if !self.expected.contains(socket as usize) {
            return Copy::Stray;
        }
        if matches!(self.messages[at], Progress::Nobody) {
            let who = Bits { words: vec![0; self.expected.words.len()] };
            self.bytes += who.bytes();
            self.messages[at] = Progress::Some { who, count: 0 };
            self.under_way.push_back(at as u32);
        }
        let copy = match &mut self.messages[at] {
            Progress::Nobody => unreachable!("it was given a bitmap above"),
            Progress::Everybody => Copy::Again,
            Progress::Settled { .. } => Copy::Late,
            Progress::Some { who, count } => {
                if who.insert(socket as usize) {
                    *count += 1;
                    Copy::First
                } else {
                    Copy::Again
                }
            }
        };
        self.retire(at);
        copy
    }

    /// Lets go of bitmaps that say nothing any more, and of the oldest while there are too many.
    fn retire(&mut self, at: usize) {
        if let Progress::Some { who, count } = &self.messages[at]
            && *count == self.sockets
        {
            self.bytes -= who.bytes();
            self.messages[at] = Progress::Everybody;
        }
        while self.bytes > self.bytes_max {
            let Some(oldest) = self.under_way.pop_front() else { return };
            let place = &mut self.messages[oldest as usize];
            if let Progress::Some { who, count } = place {
                self.bytes -= who.bytes();
                *place = Progress::Settled { count: *count };
            }
        }
    }

    /// Sockets that must get every message.
    pub fn sockets(&self) -> u32 {
        self.sockets
    }

    /// How many of this thread's sockets got message `number`.
    pub fn received(&self, number: u64) -> u32 {
        match usize::try_from(number).ok().and_then(|at| self.messages.get(at)) {
            None | Some(Progress::Nobody) => 0,
            Some(Progress::Some { count, .. } | Progress::Settled { count }) => *count,
            Some(Progress::Everybody) => self.sockets,
        }
    }
}

/// Messages to one user each.
#[derive(Debug, Default)]
pub struct ToOne {
    messages: u64,
    received: Bits,
}

impl ToOne {
    pub fn new(messages: u64) -> ToOne {
        ToOne { messages, received: Bits::default() }
    }

    pub fn handle_copy(&mut self, number: u64) -> Copy {
        if number >= self.messages {
            return Copy::Stray;
        }
        if self.received.insert(number as usize) { Copy::First } else { Copy::Again }
    }

    pub fn has(&self, number: u64) -> bool {
        usize::try_from(number).is_ok_and(|at| self.received.contains(at))
    }
}

/// Either, with one face for the report.
#[derive(Debug)]
pub enum Tally {
    /// Nothing is sent in this scenario.
    Nothing,
    ToAll(ToAll),
    ToOne(ToOne),
}

/// What the ledger of posts and all threads' tallies come to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Balance {
    /// Copies that accepted messages owe.
    pub owed: u64,
    /// Owed copies that came.
    pub received: u64,
    pub lost: u64,
    /// Copies of messages whose post had no clear answer.
    pub unconfirmed: u64,
}

/// Counts what is missing. `accepted(n)`: did the API take message `n`?
pub fn balance(tallies: &[Tally], messages: u64, accepted: &dyn Fn(u64) -> bool) -> Balance {
    let mut sum = Balance::default();
    for number in 0..messages {
        let (mut owed, mut received) = (0, 0);
        let mut to_one = false;
        for tally in tallies {
            match tally {
                Tally::Nothing => {}
                Tally::ToAll(all) => {
                    owed += u64::from(all.sockets());
                    received += u64::from(all.received(number));
                }
                Tally::ToOne(one) => {
                    to_one = true;
                    received += u64::from(one.has(number));
                }
            }
        }
        if to_one {
            owed = 1;
            received = received.min(1);
        }
        if accepted(number) {
            sum.owed += owed;
            sum.received += received;
            sum.lost += owed - received;
        } else {
            sum.unconfirmed += received;
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn first(sockets: usize) -> Bits {
        let mut bits = Bits::with_room(sockets);
        for at in 0..sockets {
            bits.insert(at);
        }
        bits
    }

    #[test]
    fn a_copy_counts_once_and_a_second_is_a_duplicate_also_after_everybody_has_it() {
        let mut all = ToAll::new(first(2), 1);
        assert_eq!(all.handle_copy(0, 0), Copy::First);
        assert_eq!(all.handle_copy(0, 0), Copy::Again);
        assert_eq!(all.handle_copy(0, 1), Copy::First);
        assert_eq!(all.bytes, 0);
        assert_eq!(all.handle_copy(0, 1), Copy::Again);
        assert_eq!(all.received(0), 2);
    }

    #[test]
    fn copies_for_nobody_we_expect_are_strays() {
        let mut all = ToAll::new(first(2), 1);
        assert_eq!(all.handle_copy(1, 0), Copy::Stray);
        assert_eq!(all.handle_copy(u64::MAX, 0), Copy::Stray);
        assert_eq!(all.handle_copy(0, 2), Copy::Stray);
        assert_eq!(ToOne::new(1).handle_copy(1), Copy::Stray);
    }

    #[test]
    fn memory_is_bounded_by_settling_the_oldest_and_saying_so() {
        let mut all = ToAll::new(first(64), 10);
        all.bytes_max = 3 * 8;
        for number in 0..10 {
            assert_eq!(all.handle_copy(number, 0), Copy::First);
            assert!(all.bytes <= 3 * 8);
        }
        assert_eq!(all.handle_copy(0, 1), Copy::Late);
        assert_eq!((all.received(0), all.handle_copy(9, 1)), (1, Copy::First));
    }

    #[test]
    fn what_was_not_accepted_is_neither_owed_nor_lost() {
        let mut one = ToOne::new(4);
        for number in [0, 2, 2] {
            one.handle_copy(number);
        }
        let tallies = [Tally::ToOne(one), Tally::ToOne(ToOne::new(4)), Tally::Nothing];
        let found = balance(&tallies, 4, &|number| number != 2 && number != 3);
        assert_eq!(found, Balance { owed: 2, received: 1, lost: 1, unconfirmed: 1 });
    }

    proptest! {
        /// Against the plainest model: a set of (message, socket).
        #[test]
        fn the_balance_equals_a_plain_set(copies in proptest::collection::vec((0_u64..6, 0_u32..9), 0..120)) {
            let expected = 7;
            let mut all = ToAll::new(first(expected), 5);
            let mut set = std::collections::BTreeSet::new();
            for (number, socket) in copies {
                let known = number < 5 && (socket as usize) < expected;
                let wanted = match (known, set.contains(&(number, socket))) {
                    (false, _) => Copy::Stray,
                    (true, true) => Copy::Again,
                    (true, false) => Copy::First,
                };
                prop_assert_eq!(all.handle_copy(number, socket), wanted);
                if known {
                    set.insert((number, socket));
                }
            }
            let found = balance(&[Tally::ToAll(all)], 5, &|number| number != 1);
            let received = set.iter().filter(|(number, _)| *number != 1).count() as u64;
            let unconfirmed = set.len() as u64 - received;
            let owed = 4 * expected as u64;
            prop_assert_eq!(found, Balance { owed, received, lost: owed - received, unconfirmed });
        }
    }
}
