//! Acknowledgements, and those that a server refused because it was busy: said again when it asked for that. Pure; part of
//! `fleet`.
//!
//! A refusal does not name what it refuses, so what a client acknowledged in the last seconds is kept, and all of it is said
//! again: to acknowledge twice does no harm.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use wire::time::Mono;

use super::errands::Matter;
use super::timers::{Wake, Why};
use super::{Fleet, Phase};
use crate::limits::{
    ACK_AGAIN_AFTER_MAX, ACK_REFUSED_WITHIN, ACK_TRIES_MAX, ACKS_REFUSED_MAX, ACKS_UNSURE_MAX,
};

/// What one message acknowledges.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Acks {
    /// With their quotes, joined by commas.
    pub(super) ids: String,
    pub(super) count: u64,
    /// How often it was said.
    pub(super) tries: u32,
}

impl Acks {
    pub(super) fn of(ids: &[&str]) -> Acks {
        Acks { ids: ids.join(","), count: ids.len() as u64, tries: 0 }
    }

    fn message(&self) -> String {
        format!(r#"{{"type":"ack","ids":[{}]}}"#, self.ids)
    }
}

/// The acknowledgements of all clients that may be, or were, refused.
#[derive(Debug, Default)]
pub(super) struct Unsure {
    said: HashMap<u32, VecDeque<(Mono, Acks)>>,
    /// Who said one, and when; the oldest first.
    order: VecDeque<(Mono, u32)>,
    refused: HashMap<u32, Vec<Acks>>,
    /// Acknowledgements in `refused`.
    held: usize,
}

impl Unsure {
    fn note(&mut self, place: u32, acks: Acks, now: Mono) {
        while self.order.front().is_some_and(|(at, _)| {
            now.since(*at) >= ACK_REFUSED_WITHIN || self.order.len() >= ACKS_UNSURE_MAX
        }) {
            self.forget_oldest();
        }
        self.said.entry(place).or_default().push_back((now, acks));
        self.order.push_back((now, place));
    }

    fn forget_oldest(&mut self) {
        let Some((at, place)) = self.order.pop_front() else { return };
        let Some(said) = self.said.get_mut(&place) else { return };
        // What was refused meanwhile is not here any more.
        if said.front().is_some_and(|(said_at, _)| *said_at == at) {
            said.pop_front();
        }
        if said.is_empty() {
            self.said.remove(&place);
        }
    }

    /// False: too many are held.
    fn hold(&mut self, place: u32, acks: Acks) -> bool {
        let fits = self.held < ACKS_REFUSED_MAX;
        if fits {
            self.held += 1;
            self.refused.entry(place).or_default().push(acks);
        }
        fits
    }

    fn take_refused(&mut self, place: u32) -> Vec<Acks> {
        let taken = self.refused.remove(&place).unwrap_or_default();
        self.held -= taken.len();
        taken
    }
}

impl Fleet {
    pub(super) fn say_acks(&mut self, place: u32, mut acks: Acks, now: Mono) {
        acks.tries += 1;
        if self.config.reads_streams() {
            return self.send_errand(place, acks.message(), Matter::Acks(acks));
        }
        self.say(place, acks.message().as_bytes());
        self.unsure.note(place, acks, now);
    }

    /// The server was too busy for something that this client said lately.
    pub(super) fn refuse_said(&mut self, place: u32, after: Duration, now: Mono) {
        let said = self.unsure.said.remove(&place).unwrap_or_default();
        let refused = said.into_iter().filter(|(at, _)| now.since(*at) < ACK_REFUSED_WITHIN);
        self.refuse_acks(place, refused.map(|(_, acks)| acks).collect(), after, now);
    }

    pub(super) fn refuse_acks(&mut self, place: u32, refused: Vec<Acks>, after: Duration, now: Mono) {
        let mut held = false;
        for acks in refused {
            if acks.tries >= ACK_TRIES_MAX {
                self.journal.errors.add("ack: refused too often, given up");
            } else if self.unsure.hold(place, acks) {
                held = true;
            } else {
                self.journal.errors.add("ack: too many were refused, given up");
            }
        }
        if held {
            let wake = Wake { place, epoch: self.clients[place as usize].epoch, why: Why::Acks };
            self.timers.set_wake(now + after.min(ACK_AGAIN_AFTER_MAX), wake);
        }
    }

    /// Says again what was refused: when the server's time is over, or as soon as a client that lost its connection is back.
    pub(super) fn acknowledge_again(&mut self, place: u32, now: Mono) {
        if self.clients[place as usize].phase != Phase::In {
            return;
        }
        for acks in self.unsure.take_refused(place) {
            self.journal.counts.acked_again += acks.count;
            self.say_acks(place, acks, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T0: Mono = Mono(1_000_000);

    fn acks(n: u64) -> Acks {
        Acks::of(&[&format!("\"{n}\"")])
    }

    #[test]
    fn what_was_said_is_kept_for_as_long_as_it_may_be_refused_and_no_more_than_the_bound() {
        let mut unsure = Unsure::default();
        unsure.note(1, acks(0), T0);
        unsure.note(2, acks(1), T0 + ACK_REFUSED_WITHIN / 2);
        unsure.note(3, acks(2), T0 + ACK_REFUSED_WITHIN);
        let mut kept: Vec<u32> = unsure.said.keys().copied().collect();
        kept.sort_unstable();
        assert_eq!(kept, [2, 3]);
        for n in 0..2 * ACKS_UNSURE_MAX as u64 {
            unsure.note(9, acks(n), T0 + ACK_REFUSED_WITHIN);
        }
        let all: usize = unsure.said.values().map(VecDeque::len).sum();
        assert_eq!((all, unsure.order.len()), (ACKS_UNSURE_MAX, ACKS_UNSURE_MAX));
    }

    #[test]
    fn what_was_refused_and_said_again_is_not_forgotten_with_its_first_time() {
        let mut unsure = Unsure::default();
        unsure.note(1, acks(0), T0);
        unsure.said.remove(&1);
        unsure.note(1, acks(0), T0 + Duration::from_secs(1));
        unsure.forget_oldest();
        assert_eq!(unsure.said[&1].len(), 1);
        unsure.forget_oldest();
        assert!(unsure.said.is_empty() && unsure.order.is_empty());
    }

    #[test]
    fn refused_ones_are_bounded_and_given_back_once() {
        let mut unsure = Unsure::default();
        assert!((0..ACKS_REFUSED_MAX as u64).all(|n| unsure.hold(n as u32 % 7, acks(n))));
        assert!(!unsure.hold(0, acks(0)));
        let given: usize = (0..7).map(|place| unsure.take_refused(place).len()).sum();
        assert_eq!((given, unsure.held, unsure.take_refused(3).len()), (ACKS_REFUSED_MAX, 0, 0));
    }
}
