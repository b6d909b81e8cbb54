//! What came to the simulators, for assertions: the newest, within a bound. Pure.

use std::collections::VecDeque;

use serde::Serialize;
use serde_json::Value;
use wire::time::Wall;

use super::Provider;
use crate::limits::{SIMULATED_KEPT_BYTES_MAX, SIMULATED_KEPT_MAX};

/// One letter, or what was sent in its place.
#[derive(Debug, Clone, Serialize)]
pub struct Letter {
    pub number: u64,
    pub at: Wall,
    pub provider: Provider,
    /// Whom it is for, in the provider's words: a number, a token, a mail address.
    pub to: String,
    /// Whether the provider has it now.
    pub taken: bool,
    /// What was answered: a status, or the fault in place of one.
    pub answer: String,
    /// What stood in it, decoded.
    pub content: Value,
}

/// The newest of them.
#[derive(Debug, Default)]
pub struct Received {
    kept: VecDeque<(Letter, usize)>,
    bytes: usize,
    /// Of all, also those that are no longer kept.
    count: u64,
}

impl Received {
    pub fn keep(&mut self, mut letter: Letter) {
        letter.number = self.count;
        self.count += 1;
        let bytes = letter.to.len() + letter.content.to_string().len();
        self.bytes += bytes;
        self.kept.push_back((letter, bytes));
        while self.kept.len() > SIMULATED_KEPT_MAX || self.bytes > SIMULATED_KEPT_BYTES_MAX {
            let Some((_, bytes)) = self.kept.pop_front() else { return };
            self.bytes -= bytes;
        }
    }

    pub fn of(&self, provider: Option<&str>) -> Vec<&Letter> {
        let all = self.kept.iter().map(|(letter, _)| letter);
        all.filter(|letter| provider.is_none_or(|name| letter.provider.name() == name)).collect()
    }

    pub fn count(&self) -> u64 {
        self.count
    }

    pub fn clear(&mut self) {
        self.kept.clear();
        self.bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_are_kept_within_the_bound() {
        let mut received = Received::default();
        for _ in 0..SIMULATED_KEPT_MAX + 5 {
            received.keep(Letter {
                number: 0,
                at: Wall(0),
                provider: Provider::Twilio,
                to: "x".to_owned(),
                taken: true,
                answer: "201".to_owned(),
                content: Value::Null,
            });
        }
        assert_eq!(received.of(None).len(), SIMULATED_KEPT_MAX);
        assert_eq!(received.of(Some("twilio"))[0].number, 5);
        assert!(received.of(Some("fcm")).is_empty());
        received.clear();
        assert_eq!((received.of(None).len(), received.bytes), (0, 0));
    }
}
