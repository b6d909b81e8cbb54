//! What an account answered: since the start, lately, and at last. What operators are told of it follows from that.
//!
//! Pure. Never holds an address, a text or a provider's words: of an answer there is its class and the provider's code.
//! Kept by `dispatch`, beside the account's lane.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use wire::time::{Mono, Wall};

use super::letter::{Answer, Class};
use super::policy;
use crate::breaker;
use crate::limits::{PROVIDER_CODE_CHARS_MAX, PROVIDER_ERRORS_SHOWN};

/// How finely it is remembered what was lately.
const SLOT: Duration = Duration::from_secs(10);
const SLOTS: usize = (PROVIDER_ERRORS_SHOWN.as_secs() / SLOT.as_secs()) as usize;
/// What an account is called failing by: this part of the last minute's answers, in percent.
const FAILING_LATELY: Duration = Duration::from_secs(60);
const FAILING_PERCENT: u32 = 10;
/// More digits may be somebody's number, whatever a provider calls it.
const DIGITS_MAX: usize = 8;

const CLASSES: [Class; 8] = [
    Class::Gone,
    Class::Recipient,
    Class::Content,
    Class::Auth,
    Class::Later,
    Class::Quota,
    Class::Spent,
    Class::Fault,
];

fn name(class: Class) -> &'static str {
    match class {
        Class::Gone => "gone",
        Class::Recipient => "recipient",
        Class::Content => "content",
        Class::Auth => "auth",
        Class::Later => "later",
        Class::Quota => "quota",
        Class::Spent => "spent",
        Class::Fault => "fault",
    }
}

/// Nothing that tells came back.
const UNKNOWN: &str = "unknown";

/// How an account does, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    Ok,
    /// It answers with errors, not so many that nobody is sent there.
    Failing,
    /// Nobody is sent there: its breaker is open.
    Open,
    /// One letter is under way that will tell.
    HalfOpen,
    /// It does not take us: keys, rights, a suspended account. People have to look.
    Unauthorised,
}

/// An account's last no.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Error {
    /// Whose fault it is: a word of `answers`.
    pub class: &'static str,
    /// The provider's own code.
    pub code: String,
    pub at: Wall,
}

/// What is remembered of ten seconds.
#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    number: u64,
    calls: u32,
    /// Those that speak for a broken provider.
    errors: u32,
    by_class: [u32; CLASSES.len()],
    unknown: u32,
}

#[derive(Debug, Default)]
pub struct Health {
    taken: u64,
    unknown: u64,
    refused: [u64; CLASSES.len()],
    last_taken_at: Option<Wall>,
    last_error: Option<Error>,
    /// Whether the last answer spoke for a broken provider.
    is_failing: bool,
    /// It refuses us, and has taken nothing since.
    is_unauthorised: bool,
    slots: [Slot; SLOTS + 1],
}

impl Health {
    pub fn handle_answer(&mut self, answer: &Answer, now: Mono, wall: Wall) {
        let class = match answer {
            Answer::Refused(refusal) => CLASSES.iter().position(|class| *class == refusal.class),
            Answer::Taken { .. } | Answer::Unknown { .. } => None,
        };
        self.is_failing = policy::is_error(answer);
        let is_failing = self.is_failing;
        let slot = self.slot(now);
        slot.calls = slot.calls.saturating_add(1);
        slot.errors = slot.errors.saturating_add(u32::from(is_failing));
        match (answer, class) {
            (Answer::Taken { .. }, _) => {
                self.taken += 1;
                (self.last_taken_at, self.is_unauthorised) = (Some(wall), false);
            }
            (Answer::Refused(refusal), Some(class)) => {
                slot.by_class[class] = slot.by_class[class].saturating_add(1);
                self.refused[class] += 1;
                self.is_unauthorised |= policy::policy(refusal.class).wakes;
                let class = name(refusal.class);
                self.last_error = Some(Error { class, code: shown(&refusal.code).to_owned(), at: wall });
            }
            (Answer::Unknown { .. } | Answer::Refused(_), _) => {
                slot.unknown = slot.unknown.saturating_add(1);
                self.unknown += 1;
                self.last_error = Some(Error { class: UNKNOWN, code: "no answer".to_owned(), at: wall });
            }
        }
    }

    fn slot(&mut self, now: Mono) -> &mut Slot {
        let number = number(now);
        let slot = &mut self.slots[(number % (SLOTS as u64 + 1)) as usize];
        if slot.number != number {
            *slot = Slot { number, ..Slot::default() };
        }
        slot
    }

    /// Slots of the last time, the one that runs included.
    fn lately(&self, span: Duration, now: Mono) -> impl Iterator<Item = &Slot> {
        let (newest, many) = (number(now), span.as_secs() / SLOT.as_secs());
        self.slots.iter().filter(move |slot| slot.number <= newest && slot.number + many > newest)
    }

    pub fn state(&self, breaker: breaker::State, now: Mono) -> State {
        if self.is_unauthorised {
            return State::Unauthorised;
        }
        match breaker {
            breaker::State::Open => State::Open,
            breaker::State::HalfOpen => State::HalfOpen,
            breaker::State::Closed if self.fails(now) => State::Failing,
            breaker::State::Closed => State::Ok,
        }
    }

    fn fails(&self, now: Mono) -> bool {
        let (calls, errors) =
            self.lately(FAILING_LATELY, now).fold((0_u32, 0_u32), |(calls, errors), slot| {
                (calls.saturating_add(slot.calls), errors.saturating_add(slot.errors))
            });
        // Who was not asked lately does as it did then.
        if calls == 0 {
            self.is_failing
        } else {
            errors.saturating_mul(100) >= calls.saturating_mul(FAILING_PERCENT)
        }
    }

    /// What was answered since the start, by whose fault it is.
    pub fn answers(&self) -> BTreeMap<&'static str, u64> {
        let refused = CLASSES.iter().zip(self.refused).map(|(class, count)| (name(*class), count));
        refused.chain([("taken", self.taken), (UNKNOWN, self.unknown)]).collect()
    }

    /// The noes of the last [`PROVIDER_ERRORS_SHOWN`], by whose fault they are; those that there were.
    pub fn errors(&self, now: Mono) -> BTreeMap<&'static str, u32> {
        let mut errors = BTreeMap::new();
        for slot in self.lately(PROVIDER_ERRORS_SHOWN, now) {
            let refused = CLASSES.iter().zip(slot.by_class).map(|(class, count)| (name(*class), count));
            for (class, count) in refused.chain([(UNKNOWN, slot.unknown)]).filter(|(_, count)| *count > 0) {
                *errors.entry(class).or_insert(0) += count;
            }
        }
        errors
    }

    /// How often it said "too fast" since the start.
    pub fn throttled(&self) -> u64 {
        CLASSES
            .iter()
            .zip(self.refused)
            .find(|(class, _)| **class == Class::Quota)
            .map_or(0, |(_, count)| count)
    }

    pub fn last_taken_at(&self) -> Option<Wall> {
        self.last_taken_at
    }

    pub fn last_error(&self) -> Option<&Error> {
        self.last_error.as_ref()
    }
}

fn number(now: Mono) -> u64 {
    // 0 is a slot that never was.
    now.0 / (SLOT.as_micros() as u64) + 1
}

/// A code, or a reason that ends with one, comes from outside: what is not made like one, and what may hold somebody's number, token or
/// one-use code, is not shown. Providers' codes have up to three digits in a run, or Twilio's five.
pub fn shown(code: &str) -> &str {
    let digits = code.bytes().filter(u8::is_ascii_digit).count();
    let is_code = code.len() <= 2 * PROVIDER_CODE_CHARS_MAX
        && code.chars().all(|c| c.is_ascii_alphanumeric() || " ._-:/,".contains(c))
        && code.split(' ').all(|word| word.len() <= PROVIDER_CODE_CHARS_MAX)
        && code.split(|c: char| !c.is_ascii_digit()).all(|run| run.len() <= 3 || run.len() == 5)
        && digits <= DIGITS_MAX;
    if is_code { code } else { "other" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::letter::Refusal;

    fn at(s: u64) -> Mono {
        Mono(s * 1_000_000)
    }

    fn no(class: Class, code: &str) -> Answer {
        let (code, detail) = (code.to_owned(), "+4930123456 has no room".to_owned());
        Answer::Refused(Refusal { class, code, detail, retry_after: None })
    }

    fn taken() -> Answer {
        Answer::Taken { reference: Some("an id".to_owned()) }
    }

    fn after(answers: &[Answer]) -> Health {
        let mut health = Health::default();
        for answer in answers {
            health.handle_answer(answer, at(100), Wall(7));
        }
        health
    }

    #[test]
    fn one_word_says_how_an_account_does() {
        use breaker::State::{Closed, HalfOpen, Open};
        let (fault, auth, gone) = (no(Class::Fault, "500"), no(Class::Auth, "401"), no(Class::Gone, "410"));
        let unknown = Answer::Unknown { why: "timed out".to_owned() };
        for (answers, breaker, expected) in [
            (vec![], Closed, State::Ok),
            (vec![taken(), gone.clone(), no(Class::Quota, "429")], Closed, State::Ok),
            (vec![taken(), fault.clone()], Closed, State::Failing),
            (vec![taken(), unknown], Closed, State::Failing),
            (vec![fault.clone()], Open, State::Open),
            (vec![fault.clone()], HalfOpen, State::HalfOpen),
            (vec![auth.clone()], Open, State::Unauthorised),
            (vec![auth.clone(), gone], Closed, State::Unauthorised),
            (vec![auth, taken()], Closed, State::Failing),
        ] {
            assert_eq!(after(&answers).state(breaker, at(101)), expected, "{answers:?}");
        }
        let many: Vec<_> = std::iter::once(fault).chain((0..10).map(|_| taken())).collect();
        assert_eq!(after(&many).state(Closed, at(101)), State::Ok, "one of eleven");
    }

    #[test]
    fn an_account_that_was_not_asked_lately_does_as_it_did_at_last() {
        let failed = after(&[taken(), no(Class::Fault, "500")]);
        assert_eq!(failed.state(breaker::State::Closed, at(90_000)), State::Failing);
        let mended = after(&[no(Class::Fault, "500"), taken()]);
        assert_eq!(mended.state(breaker::State::Closed, at(101)), State::Failing);
        assert_eq!(mended.state(breaker::State::Closed, at(200)), State::Ok);
    }

    #[test]
    fn errors_are_shown_for_five_minutes_and_counted_for_ever() {
        let mut health = Health::default();
        for s in [0, 200, 400] {
            health.handle_answer(&no(Class::Quota, "429"), at(s), Wall(1));
            health.handle_answer(&taken(), at(s), Wall(2));
        }
        assert_eq!(health.errors(at(400)), BTreeMap::from([("quota", 2)]));
        assert_eq!(health.errors(at(689)), BTreeMap::from([("quota", 1)]));
        assert_eq!(health.errors(at(700)), BTreeMap::new());
        assert_eq!((health.throttled(), health.answers()["taken"]), (3, 3));
        assert_eq!(health.last_taken_at(), Some(Wall(2)));
    }

    #[test]
    fn the_last_error_has_class_and_code_and_nothing_of_a_person() {
        for (code, expected) in [
            ("21211", "21211"),
            ("HTTP 502", "HTTP 502"),
            ("UNREGISTERED", "UNREGISTERED"),
            ("554 5.7.1", "554 5.7.1"),
            ("+4930123456", "other"),
            ("to 4930123456", "other"),
            ("49 30 123 456", "other"),
            ("1234", "other"),
            ("314159", "other"),
            ("20 tries, at last 20500", "20 tries, at last 20500"),
            ("ann@example.org", "other"),
            ("a740f4707bebcf74f9b7c25d48e3358945f6aa01da5ddb387462c7eaf61bb78a", "other"),
        ] {
            let health = after(&[no(Class::Recipient, code)]);
            let expected = Error { class: "recipient", code: expected.to_owned(), at: Wall(7) };
            assert_eq!(health.last_error(), Some(&expected));
        }
        let unknown = after(&[Answer::Unknown { why: "+4930123456".to_owned() }]);
        assert_eq!(unknown.last_error().map(|error| &*error.code), Some("no answer"));
    }
}
