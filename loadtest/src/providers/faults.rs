//! What the simulators do wrong, by rules that a test may change while they run. Pure.
//!
//! `{"twilio": [{"to": "+1500…", "times": 2, "do": {"error": "21211"}}, {"do": {"slow_ms": 200}}], "callbacks": {…}}`: the first rule
//! that fits and is not used up decides; `to` is compared with the end of the address.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::Provider;
use super::sns::KINDS;
use crate::limits::{SIMULATED_RULES_MAX, SIMULATED_WAIT_MS_MAX};

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Only letters to this address, or to those that end so.
    #[serde(default)]
    pub to: Option<String>,
    /// How often; absent: always.
    #[serde(default)]
    pub times: Option<u32>,
    #[serde(rename = "do")]
    pub fault: Fault,
}

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Fault {
    /// It takes so long, and then all is well.
    SlowMs(u64),
    /// It takes the letter, and says so that much later.
    LateMs(u64),
    /// The provider's own error, by its code, with its real body.
    Error(String),
    /// Its own way to say "too fast".
    Throttle { retry_after: Option<String> },
    /// Anything.
    Status {
        status: u16,
        #[serde(default)]
        body: String,
        retry_after: Option<String>,
    },
    /// A page of a gateway that stands in front.
    Html502,
    /// It takes the letter and the connection is reset.
    Reset,
    /// It takes the letter and half of the answer comes.
    Half,
    /// It takes the letter and the answer is megabytes long.
    Huge,
    /// 307 to somewhere else.
    Redirect,
    /// Nobody listens.
    Refuse,
    /// HTTP/2: GOAWAY that no stream was processed before, on new connections; old ones drain.
    Goaway,
}

/// How a provider calls back.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Callbacks {
    /// The first, and between two.
    pub every_ms: u64,
    /// Of a message, in the order in which they are told.
    pub statuses: Vec<String>,
    /// Of a call.
    pub call_statuses: Vec<String>,
    /// With `failed` and `undelivered`.
    pub error_code: Option<u32>,
    /// Each is told twice.
    pub twice: bool,
    /// As JSON.
    pub json: bool,
    /// Signed with another key.
    pub forged: bool,
}

impl Default for Callbacks {
    fn default() -> Callbacks {
        let words = |all: &[&str]| all.iter().map(|word| (*word).to_owned()).collect();
        Callbacks {
            every_ms: 50,
            statuses: words(&["queued", "sent", "delivered"]),
            call_statuses: words(&["completed"]),
            error_code: None,
            twice: false,
            json: false,
            forged: false,
        }
    }
}

/// What SNS tells of SES's mails, and how.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Events {
    /// The first, and between two.
    pub every_ms: u64,
    /// Of a mail, in the order in which they are told: `Send`, `Delivery`, `Bounce`, `SoftBounce`, `Complaint`, `Reject`.
    pub kinds: Vec<String>,
    /// Of the signature: `1` or `2`.
    pub version: String,
    /// Each is told twice.
    pub twice: bool,
    /// Signed over something else.
    pub forged: bool,
    /// Of another topic.
    pub topic: Option<String>,
    /// The certificate is said to be there.
    pub certificate: Option<String>,
}

impl Default for Events {
    fn default() -> Events {
        Events {
            every_ms: 50,
            kinds: vec!["Send".to_owned(), "Delivery".to_owned()],
            version: "1".to_owned(),
            twice: false,
            forged: false,
            topic: None,
            certificate: None,
        }
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(Rule),
    Many(Vec<Rule>),
}

/// All rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Faults {
    rules: BTreeMap<Provider, Vec<Rule>>,
    pub callbacks: Callbacks,
    pub events: Events,
    /// Of Google's access tokens.
    pub token_life_s: u64,
}

impl Default for Faults {
    fn default() -> Faults {
        let (callbacks, events) = (Callbacks::default(), Events::default());
        Faults { rules: BTreeMap::new(), callbacks, events, token_life_s: 3_599 }
    }
}

impl Faults {
    pub fn parse(json: &[u8]) -> Result<Faults, String> {
        let mut table: BTreeMap<String, serde_json::Value> =
            serde_json::from_slice(json).map_err(|error| error.to_string())?;
        let mut faults = Faults::default();
        if let Some(callbacks) = table.remove("callbacks") {
            faults.callbacks =
                serde_json::from_value(callbacks).map_err(|error| format!("callbacks: {error}"))?;
        }
        if let Some(events) = table.remove("events") {
            faults.events = serde_json::from_value(events).map_err(|error| format!("events: {error}"))?;
        }
        if let Some(life) = table.remove("token_life_s") {
            faults.token_life_s = life.as_u64().ok_or("token_life_s: not a number of seconds")?;
        }
        for (name, rules) in table {
            let provider = Provider::ALL.into_iter().find(|provider| provider.name() == name);
            let provider = provider.ok_or_else(|| format!("{name:?} is nobody who is simulated"))?;
            let rules = match serde_json::from_value(rules).map_err(|error| format!("{name}: {error}"))? {
                OneOrMany::One(rule) => vec![rule],
                OneOrMany::Many(rules) => rules,
            };
            faults.rules.insert(provider, rules);
        }
        faults.checked()
    }

    fn checked(self) -> Result<Faults, String> {
        let rules: usize = self.rules.values().map(Vec::len).sum();
        let is_slow = |rule: &Rule| matches!(rule.fault, Fault::SlowMs(ms) | Fault::LateMs(ms) if ms > SIMULATED_WAIT_MS_MAX);
        if rules > SIMULATED_RULES_MAX || self.callbacks.statuses.len() > SIMULATED_RULES_MAX {
            return Err(format!("more than {SIMULATED_RULES_MAX} rules"));
        }
        let events = &self.events;
        if let Some(kind) = events.kinds.iter().find(|kind| !KINDS.contains(&kind.as_str())) {
            return Err(format!("events: {kind:?} is none of {}", KINDS.join(", ")));
        }
        if !matches!(events.version.as_str(), "1" | "2") || events.kinds.len() > SIMULATED_RULES_MAX {
            return Err("events: the version is 1 or 2, and there are no more kinds than rules".to_owned());
        }
        let longest = self.callbacks.every_ms.max(events.every_ms);
        if self.rules.values().flatten().any(is_slow) || longest > SIMULATED_WAIT_MS_MAX {
            return Err(format!("longer than {SIMULATED_WAIT_MS_MAX} ms"));
        }
        Ok(self)
    }

    /// What goes wrong with a letter to `address`, and uses that rule once.
    pub fn next(&mut self, provider: Provider, address: &str) -> Option<Fault> {
        self.take(provider, |rule| {
            !matches!(rule.fault, Fault::Refuse | Fault::Goaway)
                && rule.to.as_ref().is_none_or(|to| address.ends_with(to.as_str()))
        })
    }

    /// Whether a new connection is told to go away.
    pub fn sends_away(&mut self, provider: Provider) -> bool {
        self.take(provider, |rule| rule.fault == Fault::Goaway).is_some()
    }

    /// Whether nobody listens.
    pub fn refuses(&self, provider: Provider) -> bool {
        self.of(provider).iter().any(|rule| rule.fault == Fault::Refuse)
    }

    /// Whether the connections that there are should end.
    pub fn drains(&self, provider: Provider) -> bool {
        self.of(provider).iter().any(|rule| matches!(rule.fault, Fault::Refuse | Fault::Goaway))
    }

    fn of(&self, provider: Provider) -> &[Rule] {
        self.rules.get(&provider).map_or(&[], Vec::as_slice)
    }

    fn take(&mut self, provider: Provider, fits: impl Fn(&Rule) -> bool) -> Option<Fault> {
        let rules = self.rules.get_mut(&provider)?;
        let rule = rules.iter_mut().find(|rule| rule.times != Some(0) && fits(rule))?;
        if let Some(times) = &mut rule.times {
            *times -= 1;
        }
        Some(rule.fault.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_counts_for_its_address_and_as_often_as_it_says() {
        let json = br#"{"twilio": [{"to": "001", "times": 2, "do": {"error": "21211"}}, {"to": "002", "do": "html502"}]}"#;
        let mut faults = Faults::parse(json).unwrap();
        for _ in 0..2 {
            assert_eq!(faults.next(Provider::Twilio, "+1001"), Some(Fault::Error("21211".to_owned())));
        }
        assert_eq!(faults.next(Provider::Twilio, "+1001"), None);
        assert_eq!(faults.next(Provider::Twilio, "+1002"), Some(Fault::Html502));
        assert_eq!(faults.next(Provider::Twilio, "+1003"), None);
    }

    #[test]
    fn nonsense_is_refused_with_its_place() {
        for (json, says) in [
            ("[]", "invalid type"),
            (r#"{"telex": {"do": "reset"}}"#, "telex"),
            (r#"{"twilio": {"do": "explode"}}"#, "twilio"),
            (r#"{"twilio": {"do": {"slow_ms": 99999999}}}"#, "ms"),
            (r#"{"events": {"kinds": ["Lost"]}}"#, "Lost"),
            (r#"{"events": {"version": "3"}}"#, "version"),
        ] {
            assert!(Faults::parse(json.as_bytes()).unwrap_err().contains(says), "{json}");
        }
    }
}
