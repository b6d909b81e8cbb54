//! How many messages and calls one phone number, and all numbers of a prefix, may get in an hour: whoever lets strangers ask for
//! codes pays for them.
//!
//! Pure. Counts by the minute, so that a window is an hour and up to a minute more; nobody is exempt. Bounded: the number that
//! was written to longest ago is forgotten first. In memory, so a restart begins anew. Asked by `dispatch` for every SMS and call.

use std::collections::{BTreeMap, HashMap, VecDeque};

use wire::time::Mono;

use crate::limits::CAPPED_NUMBERS_MAX;

const MINUTE_US: u64 = 60_000_000;
const WINDOW_MINUTES: u64 = 60;

/// `[provider.twilio] caps_per_prefix` and `caps_per_number`: an hour's messages and calls.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rules {
    /// The longest that a number begins with counts.
    pub per_prefix: BTreeMap<String, u32>,
    pub per_number: Option<u32>,
}

/// Which cap is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Capped {
    Number,
    Prefix(String),
}

/// What went in the last hour: minutes and counts, oldest first.
#[derive(Debug, Clone, Default)]
struct Hour(VecDeque<(u64, u32)>);

impl Hour {
    fn count(&mut self, minute: u64) -> u32 {
        while self.0.front().is_some_and(|(first, _)| first + WINDOW_MINUTES < minute) {
            self.0.pop_front();
        }
        self.0.iter().map(|(_, count)| count).sum()
    }

    fn add(&mut self, minute: u64) {
        match self.0.back_mut() {
            Some((last, count)) if *last == minute => *count += 1,
            _ => self.0.push_back((minute, 1)),
        }
    }
}

#[derive(Debug, Default)]
pub struct Caps {
    rules: Rules,
    prefixes: HashMap<String, Hour>,
    numbers: HashMap<String, Hour>,
    /// Numbers in the order of their first message that is remembered; as many as there are in `numbers`.
    order: VecDeque<String>,
}

impl Caps {
    /// Other caps from here on; what went in the last hour still counts.
    pub fn change(&mut self, rules: Rules) {
        self.rules = rules;
    }

    /// Counts one, or says which cap it would pass.
    pub fn admit(&mut self, number: &str, now: Mono) -> Result<(), Capped> {
        let minute = now.0 / MINUTE_US;
        let prefix = self.rules.per_prefix.iter().rev().filter(|(prefix, _)| number.starts_with(*prefix));
        let prefix =
            prefix.max_by_key(|(prefix, _)| prefix.len()).map(|(prefix, cap)| (prefix.clone(), *cap));
        if let Some((prefix, cap)) = &prefix
            && self.prefixes.entry(prefix.clone()).or_default().count(minute) >= *cap
        {
            return Err(Capped::Prefix(prefix.clone()));
        }
        if let Some(cap) = self.rules.per_number {
            self.remember(number);
            let hour = self.numbers.entry(number.to_owned()).or_default();
            if hour.count(minute) >= cap {
                return Err(Capped::Number);
            }
            hour.add(minute);
        }
        if let Some((prefix, _)) = prefix {
            self.prefixes.entry(prefix).or_default().add(minute);
        }
        Ok(())
    }

    fn remember(&mut self, number: &str) {
        if self.numbers.contains_key(number) {
            return;
        }
        if self.order.len() >= CAPPED_NUMBERS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.numbers.remove(&oldest);
        }
        self.order.push_back(number.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caps(prefixes: &[(&str, u32)], per_number: Option<u32>) -> Caps {
        let per_prefix = prefixes.iter().map(|(prefix, cap)| ((*prefix).to_owned(), *cap)).collect();
        let mut caps = Caps::default();
        caps.change(Rules { per_prefix, per_number });
        caps
    }

    fn at(minutes: u64) -> Mono {
        Mono(minutes * MINUTE_US)
    }

    #[test]
    fn one_number_gets_its_share_of_an_hour_and_then_waits() {
        let mut caps = caps(&[], Some(3));
        assert!((0..3).all(|minute| caps.admit("+491", at(minute)).is_ok()));
        assert_eq!(caps.admit("+491", at(60)), Err(Capped::Number));
        assert_eq!(caps.admit("+492", at(60)), Ok(()), "another number");
        assert_eq!(caps.admit("+491", at(61)), Ok(()), "the first is more than an hour old");
        assert_eq!(caps.admit("+491", at(61)), Err(Capped::Number));
    }

    #[test]
    fn the_longest_prefix_counts_for_all_its_numbers_and_what_is_refused_does_not() {
        let mut caps = caps(&[("+4", 100), ("+49", 2), ("+1", 0)], Some(1));
        assert_eq!(caps.admit("+491", at(0)), Ok(()));
        assert_eq!(caps.admit("+491", at(0)), Err(Capped::Number));
        assert_eq!(caps.admit("+492", at(0)), Ok(()), "a refused one takes nobody's place");
        assert_eq!(caps.admit("+493", at(0)), Err(Capped::Prefix("+49".to_owned())));
        assert_eq!(caps.admit("+43", at(0)), Ok(()));
        assert_eq!(caps.admit("+1", at(0)), Err(Capped::Prefix("+1".to_owned())), "none at all");
        assert_eq!(caps.admit("+33", at(0)), Ok(()));
    }

    #[test]
    fn memory_is_bounded() {
        let mut caps = caps(&[], Some(1));
        for i in 0..CAPPED_NUMBERS_MAX + 10 {
            assert_eq!(caps.admit(&format!("+{i}"), at(0)), Ok(()));
        }
        assert_eq!((caps.numbers.len(), caps.order.len()), (CAPPED_NUMBERS_MAX, CAPPED_NUMBERS_MAX));
        assert_eq!(caps.admit(&format!("+{CAPPED_NUMBERS_MAX}"), at(0)), Err(Capped::Number));
    }
}
