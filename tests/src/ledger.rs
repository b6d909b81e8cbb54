//! The ledger's equation as an auditor reads it: both sides added up again, whatever the answer says of itself.

use serde_json::Value;

use crate::api::Api;
use crate::deadline::{PATIENCE, until_within};

/// The states that an accepted delivery may be in.
pub const STATES: [&str; 8] =
    ["open", "delivered", "handed_over", "fell_back", "expired", "dropped", "dead_lettered", "unknown"];

/// `GET /v1/reconcile`, added up.
#[derive(Debug, Clone)]
pub struct Equation {
    pub answer: Value,
}

impl Equation {
    pub fn read(api: &Api) -> Equation {
        Equation { answer: api.reconcile() }
    }

    /// Reads until nothing is left in the journal and nothing is awaited, and checks it.
    ///
    /// # Panics
    /// When that does not come, or the sides differ.
    pub fn settled(api: &Api) -> Equation {
        let equation = until_within(2 * PATIENCE, "the journal is processed", || {
            let equation = Equation::read(api);
            (equation.number("journal_lag") == 0 && equation.number("awaited") == 0).then_some(equation)
        });
        equation.check();
        equation
    }

    /// A figure of the answer; absent is 0.
    pub fn number(&self, name: &str) -> u64 {
        self.answer[name].as_u64().unwrap_or(0)
    }

    /// A figure of one channel.
    pub fn of(&self, channel: &str, name: &str) -> u64 {
        let channels = self.answer["channels"].as_array().into_iter().flatten();
        let mut channels = channels.filter(|tally| tally["channel"] == channel);
        channels.next().and_then(|tally| tally[name].as_u64()).unwrap_or(0)
    }

    /// # Panics
    /// When the two sides differ, or the answer says that something is missing.
    pub fn check(&self) {
        let accounted: u64 = STATES.iter().map(|state| self.number(state)).sum();
        assert_eq!(self.number("accepted"), accounted, "accepted = the sum of all states: {:#}", self.answer);
        assert_eq!(self.answer["balanced"], true, "{:#}", self.answer);
        assert_eq!(self.number("missing"), 0, "{:#}", self.answer);
    }
}
