//! First step of the walk: who is meant, and by which channels.
//!
//! Pure. Expands a record's target into recipients (a topic or `all` is one), drops doubles, and refuses what makes no
//! sense. Never asks whether a recipient exists or was served before. Called by `owner`.

use std::collections::HashSet;

use wire::time::Wall;

use crate::record::{Channel, Record, Target};

/// Who one delivery is for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Recipient {
    User(String),
    /// Everybody who is subscribed.
    Topic(String),
    All,
    /// Stands for a user who was erased, by a hash of the name: nothing goes there.
    Erased(String),
}

impl Recipient {
    pub fn is_broadcast(&self) -> bool {
        matches!(self, Recipient::Topic(_) | Recipient::All)
    }
}

impl std::fmt::Display for Recipient {
    /// As `/v1/notifications/{id}` names it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Recipient::User(user) => write!(f, "user:{user}"),
            Recipient::Topic(topic) => write!(f, "topic:{topic}"),
            Recipient::All => f.write_str("all"),
            Recipient::Erased(_) => f.write_str("erased"),
        }
    }
}

/// What a record asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Classified {
    pub recipients: Vec<Recipient>,
    /// Tried at once, each once.
    pub channels: Vec<Channel>,
    /// Asked for, but no way to reach these recipients.
    pub refused: Vec<Channel>,
    /// Its life was over before it came here.
    pub expired: bool,
}

/// A record that cannot be acted on. It goes to the dead letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Senseless {
    #[error("it is for nobody")]
    Nobody,
    #[error("it names no channel")]
    NoChannel,
    #[error("an empty name")]
    EmptyName,
    #[error("a name is longer than {} bytes", wire::limits::NAME_BYTES_MAX)]
    LongName,
}

/// `now` is on the clock that stamped the record's acceptance.
pub fn classify(record: &Record, now: Wall) -> Result<Classified, Senseless> {
    let asked = of(record, recipients(&record.request.to)?, now);
    if asked.channels.is_empty() && asked.refused.is_empty() { Err(Senseless::NoChannel) } else { Ok(asked) }
}

/// The same for one of a record's recipients, when its moment has come.
pub fn classify_one(record: &Record, to: &Recipient, now: Wall) -> Classified {
    of(record, vec![to.clone()], now)
}

fn of(record: &Record, recipients: Vec<Recipient>, now: Wall) -> Classified {
    let broadcast = recipients.iter().any(Recipient::is_broadcast);
    let mut channels = Vec::with_capacity(record.request.channels.len());
    let mut refused = Vec::new();
    for channel in &record.request.channels {
        let list = if broadcast && *channel != Channel::Inapp { &mut refused } else { &mut channels };
        if !list.contains(channel) {
            list.push(*channel);
        }
    }
    let expired = record.expires_at().is_some_and(|at| at <= now);
    Classified { recipients, channels, refused, expired }
}

fn recipients(to: &Target) -> Result<Vec<Recipient>, Senseless> {
    let recipients = match to {
        Target::User(user) => vec![Recipient::User(named(user)?)],
        Target::Users(users) => {
            let mut seen = HashSet::with_capacity(users.len());
            let unique = users.iter().filter(|user| seen.insert(user.as_str()));
            unique.map(|user| Ok(Recipient::User(named(user)?))).collect::<Result<_, _>>()?
        }
        Target::Topic(topic) => vec![Recipient::Topic(named(topic)?)],
        Target::All(true) => vec![Recipient::All],
        Target::All(false) => Vec::new(),
    };
    if recipients.is_empty() { Err(Senseless::Nobody) } else { Ok(recipients) }
}

fn named(name: &str) -> Result<String, Senseless> {
    match name.len() {
        0 => Err(Senseless::EmptyName),
        length if length > wire::limits::NAME_BYTES_MAX => Err(Senseless::LongName),
        _ => Ok(name.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::RECORD_VERSION;

    fn record(request: &str) -> Record {
        let record = format!(
            r#"{{"v":{RECORD_VERSION},"id":"00000000-0000-0000-0000-000000000001","service":"s",
            "accepted_at":"2026-01-01T00:00:00Z","sequence":{{"boot":1,"partition":0,"seq":1}},"request":{request}}}"#
        );
        serde_json::from_str(&record).expect("a record")
    }

    fn classified(request: &str) -> Result<(String, Vec<Channel>, Vec<Channel>), Senseless> {
        let found = classify(&record(request), Wall(0))?;
        let recipients: Vec<_> = found.recipients.iter().map(ToString::to_string).collect();
        Ok((recipients.join(" "), found.channels, found.refused))
    }

    #[test]
    fn each_target_becomes_its_recipients() {
        use Channel::{Email, Inapp, Push};
        let ok = |who: &str, channels: &[Channel], refused: &[Channel]| {
            Ok((who.to_owned(), channels.to_vec(), refused.to_vec()))
        };
        let cases = [
            (r#"{"to":{"user":"a"}}"#, ok("user:a", &[Inapp], &[])),
            (r#"{"to":{"users":["a","b","a"]}}"#, ok("user:a user:b", &[Inapp], &[])),
            (r#"{"to":{"topic":"t"}}"#, ok("topic:t", &[Inapp], &[])),
            (r#"{"to":{"all":true}}"#, ok("all", &[Inapp], &[])),
            (r#"{"to":{"user":"a"},"channels":["push","inapp","push"]}"#, ok("user:a", &[Push, Inapp], &[])),
            (r#"{"to":{"topic":"t"},"channels":["inapp","email"]}"#, ok("topic:t", &[Inapp], &[Email])),
            (r#"{"to":{"all":true},"channels":["push"]}"#, ok("all", &[], &[Push])),
            (r#"{"to":{"all":false}}"#, Err(Senseless::Nobody)),
            (r#"{"to":{"users":[]}}"#, Err(Senseless::Nobody)),
            (r#"{"to":{"user":""}}"#, Err(Senseless::EmptyName)),
            (r#"{"to":{"user":"a"},"channels":[]}"#, Err(Senseless::NoChannel)),
        ];
        for (request, expected) in cases {
            assert_eq!(classified(request), expected, "{request}");
        }
        let long = format!(r#"{{"to":{{"user":"{}"}}}}"#, "x".repeat(257));
        assert_eq!(classified(&long), Err(Senseless::LongName));
    }

    #[test]
    fn a_life_ends_at_its_last_microsecond() {
        let record = record(r#"{"to":{"user":"a"},"ttl_s":1}"#);
        let end = record.accepted_at.0 + 1_000_000;
        assert_eq!(classify(&record, Wall(end - 1)).map(|found| found.expired), Ok(false));
        assert_eq!(classify(&record, Wall(end)).map(|found| found.expired), Ok(true));
    }
}
