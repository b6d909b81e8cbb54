//! From a request's bytes to a [`Request`] that the rest of the house may trust, or a [`Problem`] that names the
//! field at fault by its JSON pointer.
//!
//! Pure. 400: not JSON, an unknown field, a wrong type, a bound passed. 422: fields that contradict each other. Rights are checked in `ingest`, after this. Also called by
//! `journal::import` for records that are API requests.

use std::collections::{BTreeMap, HashSet};

use serde_json::value::RawValue;
use uuid::Uuid;
use wire::limits::{NAME_BYTES_MAX, NOTIFICATION_BYTES_MAX};
use wire::message::{Notification, Priority, ServerMessage, empty_object};
use wire::time::Wall;

use super::fields::{self, Object};
use crate::api::problem::{Kind, Problem};
use crate::limits::{
    ACK_WITHIN_S_DEFAULT, ACK_WITHIN_S_MAX, BODY_BYTES_MAX, CATEGORY_BYTES_MAX, COLLAPSE_KEY_BYTES_MAX,
    DATA_BYTES_MAX, IDEMPOTENCY_KEY_BYTES_MAX, SEND_AT_AHEAD_MAX, TITLE_BYTES_MAX, TTL_S_MAX,
    USERS_PER_REQUEST_MAX,
};
use crate::record::{Channel, Request, Target};

/// The fields of a request.
const FIELDS: [&str; 13] = [
    "to",
    "priority",
    "category",
    "title",
    "body",
    "data",
    "channels",
    "fallback",
    "ack_within_s",
    "channel_within_s",
    "ttl_s",
    "collapse_key",
    "send_at",
];
const TARGETS: [&str; 4] = ["user", "users", "topic", "all"];
const PRIORITIES: [&str; 4] = ["critical", "high", "normal", "low"];
const CHANNELS: [&str; 5] = ["inapp", "push", "email", "sms", "voice"];

/// What surrounds the texts of a notification, when it is shown to a client: names, ids, dates.
const ENVELOPE_BYTES_MAX: usize = 1_024;

/// One line of a batch: a request and the key it may come with.
#[derive(Debug)]
pub struct Line {
    pub request: Request,
    pub idempotency_key: Option<String>,
}

/// Reads the body of `POST /v1/notifications`.
pub fn request(bytes: &[u8]) -> Result<Request, Problem> {
    let object = Object::read(bytes)?;
    object.only(&FIELDS)?;
    checked(&object, bytes.len())
}

/// Reads one line of a batch: a request, with `idempotency_key` as a field instead of a header.
pub fn line(bytes: &[u8]) -> Result<Line, Problem> {
    const LINE_FIELDS: [&str; 14] = {
        let mut fields = ["idempotency_key"; 14];
        let mut i = 0;
        while i < FIELDS.len() {
            fields[i] = FIELDS[i];
            i += 1;
        }
        fields
    };
    let object = Object::read(bytes)?;
    object.only(&LINE_FIELDS)?;
    let key = object.text("idempotency_key", 1, IDEMPOTENCY_KEY_BYTES_MAX)?;
    if let Some(key) = &key {
        idempotency_key(key).map_err(|why| Problem::at(Kind::Malformed, "/idempotency_key", why))?;
    }
    Ok(Line { request: checked(&object, bytes.len())?, idempotency_key: key })
}

/// An Idempotency-Key is 1..=256 visible ASCII characters and spaces.
pub fn idempotency_key(key: &str) -> Result<(), String> {
    let visible = key.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
    if key.is_empty() || key.len() > IDEMPOTENCY_KEY_BYTES_MAX || !visible {
        return Err(format!(
            "an Idempotency-Key is 1..={IDEMPOTENCY_KEY_BYTES_MAX} visible ASCII characters"
        ));
    }
    Ok(())
}

/// Whether this is the id of a user or the name of a topic that could exist.
pub fn name(text: &str, pointer: &str) -> Result<(), Problem> {
    if text.is_empty() || text.len() > NAME_BYTES_MAX || text.chars().any(char::is_control) {
        let why = format!("a name is 1..={NAME_BYTES_MAX} bytes without control characters");
        return Err(Problem::at(Kind::Malformed, pointer, why));
    }
    Ok(())
}

fn checked(object: &Object<'_>, bytes: usize) -> Result<Request, Problem> {
    let to = target(object)?;
    let channels = channels(object, "channels")?.unwrap_or_else(|| vec![Channel::Inapp]);
    if channels.is_empty() {
        return Err(Problem::at(Kind::Malformed, "/channels", "name at least one channel, or leave it out"));
    }
    let fallback = channels_of_fallback(object)?;
    let mut request = Request {
        to,
        priority: priority(object)?,
        category: object.text("category", 1, CATEGORY_BYTES_MAX)?,
        title: object.text("title", 0, TITLE_BYTES_MAX)?,
        body: object.text("body", 0, BODY_BYTES_MAX)?,
        data: object.json_object("data", DATA_BYTES_MAX)?,
        channels,
        fallback,
        ack_within_s: object.whole_number("ack_within_s", 1, ACK_WITHIN_S_MAX)?,
        channel_within_s: channel_within_s(object)?,
        ttl_s: object.whole_number("ttl_s", 1, TTL_S_MAX)?,
        collapse_key: object.text("collapse_key", 1, COLLAPSE_KEY_BYTES_MAX)?,
        send_at: send_at(object)?,
    };
    agree(&request)?;
    if !request.fallback.is_empty() {
        request.ack_within_s.get_or_insert(ACK_WITHIN_S_DEFAULT);
    }
    fits(&request, bytes)?;
    Ok(request)
}

fn send_at(object: &Object<'_>) -> Result<Option<Wall>, Problem> {
    const POINTER: &str = "/send_at";
    let Some(raw) = object.field("send_at") else { return Ok(None) };
    let text: String = fields::typed(raw, POINTER, "a string")?;
    let date = Wall::parse(&text).map_err(|_| {
        Problem::at(Kind::Malformed, POINTER, "a date like 2026-02-20T10:00:00Z (RFC 3339)".to_owned())
    })?;
    Ok(Some(date))
}

/// Whether what is to be sent later is not to be sent too late. What lies in the past is sent at once.
pub fn moment(request: &Request, now: Wall) -> Result<(), Problem> {
    if request.send_at.is_some_and(|at| at > now + SEND_AT_AHEAD_MAX) {
        let days = SEND_AT_AHEAD_MAX.as_secs() / (24 * 3_600);
        return Err(Problem::at(Kind::Malformed, "/send_at", format!("at most {days} days ahead")));
    }
    Ok(())
}

fn channel_within_s(object: &Object<'_>) -> Result<BTreeMap<Channel, u32>, Problem> {
    const FIELD: &str = "channel_within_s";
    let Some(raw) = object.field(FIELD) else { return Ok(BTreeMap::new()) };
    let within = Object::parse(raw.get(), "/channel_within_s")?;
    within.only(&CHANNELS)?;
    let mut all = BTreeMap::new();
    for channel in Channel::ALL {
        if let Some(seconds) = within.whole_number(channel.name(), 1, ACK_WITHIN_S_MAX)? {
            all.insert(channel, seconds);
        }
    }
    Ok(all)
}

fn channels_of_fallback(object: &Object<'_>) -> Result<Vec<Channel>, Problem> {
    Ok(channels(object, "fallback")?.unwrap_or_default())
}

fn target(object: &Object<'_>) -> Result<Target, Problem> {
    let Some(raw) = object.field("to") else {
        return Err(Problem::at(
            Kind::Malformed,
            "/to",
            "`to` is needed: {\"user\":…}, {\"users\":[…]}, {\"topic\":…} or {\"all\":true}",
        ));
    };
    let to = Object::parse(raw.get(), "/to")?;
    to.only(&TARGETS)?;
    let given: Vec<&str> = TARGETS.into_iter().filter(|key| to.field(key).is_some()).collect();
    let [key] = given[..] else {
        let why = format!("exactly one of user, users, topic, all; there are {}", given.len());
        return Err(Problem::at(Kind::Malformed, "/to", why));
    };
    let raw = to.field(key).expect("it was found above");
    let pointer = format!("/to/{key}");
    match key {
        "users" => users(raw, &pointer),
        "all" => match serde_json::from_str(raw.get()) {
            Ok(true) => Ok(Target::All(true)),
            _ => Err(Problem::at(Kind::Malformed, pointer, "only `true` makes sense here")),
        },
        _ => {
            let text: String = fields::typed(raw, &pointer, "a string")?;
            name(&text, &pointer)?;
            Ok(if key == "user" { Target::User(text) } else { Target::Topic(text) })
        }
    }
}

/// A user who stands in the list twice gets one notification.
fn users(raw: &RawValue, pointer: &str) -> Result<Target, Problem> {
    let users: Vec<&RawValue> = fields::typed(raw, pointer, "a list of strings")?;
    if users.is_empty() || users.len() > USERS_PER_REQUEST_MAX {
        let why = format!("1..={USERS_PER_REQUEST_MAX} users; there are {}", users.len());
        return Err(Problem::at(Kind::Malformed, pointer, why));
    }
    let mut seen = HashSet::with_capacity(users.len());
    let mut list = Vec::with_capacity(users.len());
    for (i, user) in users.into_iter().enumerate() {
        let pointer = format!("{pointer}/{i}");
        let user: String = fields::typed(user, &pointer, "a string")?;
        name(&user, &pointer)?;
        if seen.insert(user.clone()) {
            list.push(user);
        }
    }
    Ok(Target::Users(list))
}

fn priority(object: &Object<'_>) -> Result<Priority, Problem> {
    let Some(raw) = object.field("priority") else { return Ok(Priority::default()) };
    let text: String = fields::typed(raw, "/priority", "a string")?;
    Priority::ALL
        .into_iter()
        .find(|priority| priority.name() == text)
        .ok_or_else(|| fields::unknown_value("/priority", &text, &PRIORITIES))
}

fn channels(object: &Object<'_>, key: &str) -> Result<Option<Vec<Channel>>, Problem> {
    let Some(raw) = object.field(key) else { return Ok(None) };
    let names: Vec<String> = fields::typed(raw, &format!("/{key}"), "a list of channel names")?;
    let mut channels = Vec::with_capacity(names.len().min(CHANNELS.len()));
    for (i, name) in names.iter().enumerate() {
        let pointer = format!("/{key}/{i}");
        let channel = Channel::ALL
            .into_iter()
            .find(|channel| channel.name() == name)
            .ok_or_else(|| fields::unknown_value(&pointer, name, &CHANNELS))?;
        if channels.contains(&channel) {
            return Err(Problem::at(Kind::Malformed, pointer, format!("{name} stands twice")));
        }
        channels.push(channel);
    }
    Ok(Some(channels))
}

/// Fields that are right alone and wrong together.
fn agree(request: &Request) -> Result<(), Problem> {
    let contradiction = |pointer: String, why: &str| Err(Problem::at(Kind::Contradiction, pointer, why));
    if let Some(i) = request.fallback.iter().position(|channel| request.channels.contains(channel)) {
        return contradiction(format!("/fallback/{i}"), "this channel is tried at once already");
    }
    let is_used =
        |channel: &Channel| request.channels.contains(channel) || request.fallback.contains(channel);
    if let Some(channel) = request.channel_within_s.keys().find(|channel| !is_used(channel)) {
        let pointer = format!("/channel_within_s/{}", channel.name());
        return contradiction(pointer, "this channel is neither in `channels` nor in `fallback`");
    }
    if matches!(request.to, Target::Topic(_) | Target::All(_)) {
        if let Some(i) = request.channels.iter().position(|channel| *channel != Channel::Inapp) {
            return contradiction(
                format!("/channels/{i}"),
                "a topic and `all` go to live sockets and the inbox only: inapp",
            );
        }
        if !request.fallback.is_empty() {
            return contradiction("/fallback".to_owned(), "a topic and `all` have no fallback: inapp only");
        }
        let waits = [
            ("/ack_within_s", request.ack_within_s.is_some()),
            ("/channel_within_s", !request.channel_within_s.is_empty()),
        ];
        if let Some((pointer, _)) = waits.into_iter().find(|(_, is_there)| *is_there) {
            let why = "an acknowledgement is one user's; a topic and `all` have none to wait for";
            return contradiction(pointer.to_owned(), why);
        }
    }
    Ok(())
}

/// Escapes may make a client's copy longer than the bounds of its parts allow.
fn fits(request: &Request, bytes: usize) -> Result<(), Problem> {
    // The client's copy escapes no more than the request did.
    if bytes + ENVELOPE_BYTES_MAX <= NOTIFICATION_BYTES_MAX {
        return Ok(());
    }
    let shown = ServerMessage::Notification(Notification {
        id: Uuid::nil(),
        created_at: Wall::default(),
        accepted_at: Wall::default(),
        priority: request.priority,
        category: request.category.clone(),
        title: request.title.clone(),
        body: request.body.clone(),
        data: request.data.clone().unwrap_or_else(empty_object),
        topic: None,
        collapse_key: request.collapse_key.clone(),
    });
    let found = shown.to_json().len() + ENVELOPE_BYTES_MAX;
    if found > NOTIFICATION_BYTES_MAX {
        let why = format!("shown to a client it has {found} bytes, more than {NOTIFICATION_BYTES_MAX}");
        return Err(Problem::new(Kind::TooLarge, why));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> (u16, String, String) {
        let problem = request(text.as_bytes()).expect_err(text);
        (problem.kind.status(), problem.pointer.unwrap_or_default(), problem.detail)
    }

    #[test]
    fn the_contract_s_example_is_taken_whole() {
        let text = r#"{"to":{"users":["u","v","u"]},"priority":"critical","category":"c","title":"t","body":"b",
            "data":{"z":1.50,"a":[1]},"channels":["inapp","sms"],"fallback":["push","email"],"ack_within_s":10,
            "ttl_s":60,"collapse_key":"k"}"#;
        let request = request(text.as_bytes()).unwrap();
        assert_eq!(request.to, Target::Users(vec!["u".into(), "v".into()]));
        assert_eq!(request.priority, Priority::Critical);
        assert_eq!(request.data.unwrap().get(), r#"{"z":1.50,"a":[1]}"#, "passed through as it came");
        assert_eq!(request.channels, [Channel::Inapp, Channel::Sms]);
        assert_eq!(request.fallback, [Channel::Push, Channel::Email]);
        assert_eq!((request.ack_within_s, request.ttl_s), (Some(10), Some(60)));
    }

    #[test]
    fn what_is_left_out_or_null_has_its_default() {
        let text = r#"{"to":{"user":"u"},"title":null,"data":null,"ttl_s":null}"#;
        let request = request(text.as_bytes()).unwrap();
        assert_eq!(
            (request.priority, request.channels.as_slice()),
            (Priority::Normal, &[Channel::Inapp][..])
        );
        assert!(request.title.is_none() && request.data.is_none() && request.ttl_s.is_none());
    }

    #[test]
    fn a_fallback_waits_ten_seconds_unless_told() {
        let text = r#"{"to":{"user":"u"},"fallback":["push"]}"#;
        assert_eq!(request(text.as_bytes()).unwrap().ack_within_s, Some(10));
    }

    #[test]
    fn every_fault_names_its_field() {
        let long = "x".repeat(257);
        let cases: Vec<(String, u16, &str)> = vec![
            (String::new(), 400, ""),
            ("nonsense".into(), 400, ""),
            ("[]".into(), 400, ""),
            ("{}".into(), 400, "/to"),
            (r#"{"to":null}"#.into(), 400, "/to"),
            (r#"{"to":{}}"#.into(), 400, "/to"),
            (r#"{"to":"u"}"#.into(), 400, "/to"),
            (r#"{"to":{"user":"u","topic":"t"}}"#.into(), 400, "/to"),
            (r#"{"to":{"usr":"u"}}"#.into(), 400, "/to/usr"),
            (r#"{"to":{"user":""}}"#.into(), 400, "/to/user"),
            (r#"{"to":{"user":7}}"#.into(), 400, "/to/user"),
            (r#"{"to":{"user":"a\u0000b"}}"#.into(), 400, "/to/user"),
            (format!(r#"{{"to":{{"user":"{long}"}}}}"#), 400, "/to/user"),
            (r#"{"to":{"users":[]}}"#.into(), 400, "/to/users"),
            (r#"{"to":{"users":["a",3]}}"#.into(), 400, "/to/users/1"),
            (r#"{"to":{"topic":""}}"#.into(), 400, "/to/topic"),
            (r#"{"to":{"all":false}}"#.into(), 400, "/to/all"),
            (r#"{"to":{"user":"u"},"to":{"user":"v"}}"#.into(), 400, "/to"),
            (r#"{"to":{"user":"u"},"tilte":"x"}"#.into(), 400, "/tilte"),
            (r#"{"to":{"user":"u"},"a/b~":"x"}"#.into(), 400, "/a~1b~0"),
            (r#"{"to":{"user":"u"},"priority":"urgent"}"#.into(), 400, "/priority"),
            (r#"{"to":{"user":"u"},"priority":3}"#.into(), 400, "/priority"),
            (r#"{"to":{"user":"u"},"title":5}"#.into(), 400, "/title"),
            (r#"{"to":{"user":"u"},"category":""}"#.into(), 400, "/category"),
            (format!(r#"{{"to":{{"user":"u"}},"title":"{}"}}"#, "x".repeat(1_025)), 400, "/title"),
            (format!(r#"{{"to":{{"user":"u"}},"body":"{}"}}"#, "x".repeat(16_385)), 400, "/body"),
            (format!(r#"{{"to":{{"user":"u"}},"data":{{"x":"{}"}}}}"#, "x".repeat(32_768)), 400, "/data"),
            (r#"{"to":{"user":"u"},"data":[1]}"#.into(), 400, "/data"),
            (r#"{"to":{"user":"u"},"data":{"x":"\ud800"}}"#.into(), 400, "/data"),
            (r#"{"to":{"user":"u"},"channels":[]}"#.into(), 400, "/channels"),
            (r#"{"to":{"user":"u"},"channels":["pidgeon"]}"#.into(), 400, "/channels/0"),
            (r#"{"to":{"user":"u"},"channels":["sms","sms"]}"#.into(), 400, "/channels/1"),
            (r#"{"to":{"user":"u"},"ttl_s":0}"#.into(), 400, "/ttl_s"),
            (r#"{"to":{"user":"u"},"ttl_s":-1}"#.into(), 400, "/ttl_s"),
            (r#"{"to":{"user":"u"},"ttl_s":1.5}"#.into(), 400, "/ttl_s"),
            (r#"{"to":{"user":"u"},"ttl_s":7776001}"#.into(), 400, "/ttl_s"),
            (r#"{"to":{"user":"u"},"ack_within_s":86401}"#.into(), 400, "/ack_within_s"),
            (r#"{"to":{"user":"u"},"collapse_key":""}"#.into(), 400, "/collapse_key"),
            (r#"{"to":{"user":"u"},"send_at":"tomorrow"}"#.into(), 400, "/send_at"),
            (r#"{"to":{"user":"u"},"send_at":"2030-01-01T00:00:00"}"#.into(), 400, "/send_at"),
            (r#"{"to":{"user":"u"},"send_at":1893456000}"#.into(), 400, "/send_at"),
            (r#"{"to":{"user":"u"},"channels":["sms"],"fallback":["sms"]}"#.into(), 422, "/fallback/0"),
            (r#"{"to":{"topic":"t"},"channels":["inapp","push"]}"#.into(), 422, "/channels/1"),
            (r#"{"to":{"topic":"t"},"fallback":["push"]}"#.into(), 422, "/fallback"),
            (r#"{"to":{"all":true},"ack_within_s":5}"#.into(), 422, "/ack_within_s"),
            (r#"{"to":{"all":true},"channel_within_s":{"inapp":5}}"#.into(), 422, "/channel_within_s"),
            (r#"{"to":{"user":"u"},"channel_within_s":{"sms":5}}"#.into(), 422, "/channel_within_s/sms"),
            (r#"{"to":{"user":"u"},"channel_within_s":{"inapp":0}}"#.into(), 400, "/channel_within_s/inapp"),
            (r#"{"to":{"user":"u"},"channel_within_s":{"fax":1}}"#.into(), 400, "/channel_within_s/fax"),
            (r#"{"to":{"user":"u"},"channel_within_s":5}"#.into(), 400, "/channel_within_s"),
        ];
        for (text, status, pointer) in cases {
            let (found, at, why) = refused(&text);
            assert_eq!((found, at.as_str()), (status, pointer), "{text}: {why}");
            assert!(!why.is_empty());
        }
    }

    #[test]
    fn an_unknown_field_is_answered_with_the_nearest() {
        assert!(refused(r#"{"to":{"user":"u"},"tilte":"x"}"#).2.contains("`title`"));
        assert!(refused(r#"{"to":{"user":"u"},"priority":"hihg"}"#).2.contains("`high`"));
    }

    #[test]
    fn deep_json_and_broken_utf8_are_refused() {
        let deep =
            format!(r#"{{"to":{{"user":"u"}},"data":{{"x":{}{}}}}}"#, "[".repeat(5_000), "]".repeat(5_000));
        assert!(refused(&deep).2.contains("deeper"));
        assert_eq!(request(b"{\"to\":{\"user\":\"\xff\"}}").unwrap_err().kind, Kind::Malformed);
    }

    #[test]
    fn a_moment_lies_a_year_ahead_at_most_and_may_lie_in_the_past() {
        let text = r#"{"to":{"user":"u"},"send_at":"2030-01-01T01:00:00+01:00"}"#;
        let request = request(text.as_bytes()).unwrap();
        let at = request.send_at.unwrap();
        assert_eq!(at.to_string(), "2030-01-01T00:00:00.000000Z");
        assert!(moment(&request, at + SEND_AT_AHEAD_MAX).is_ok());
        assert!(moment(&request, at - SEND_AT_AHEAD_MAX).is_ok());
        let problem = moment(&request, Wall((at - SEND_AT_AHEAD_MAX).0 - 1)).unwrap_err();
        assert_eq!((problem.kind.status(), problem.pointer.as_deref()), (400, Some("/send_at")));
    }

    #[test]
    fn too_many_users_are_refused() {
        let users: Vec<String> = (0..=USERS_PER_REQUEST_MAX).map(|i| format!("\"u{i}\"")).collect();
        assert_eq!(refused(&format!(r#"{{"to":{{"users":[{}]}}}}"#, users.join(","))).1, "/to/users");
    }

    #[test]
    fn what_grows_past_a_client_s_bound_by_escapes_is_refused() {
        let body = "\\u0001".repeat(BODY_BYTES_MAX);
        let text = format!(r#"{{"to":{{"user":"u"}},"body":"{body}"}}"#);
        assert_eq!(refused(&text).0, 413);
    }

    #[test]
    fn a_line_carries_its_key() {
        let line = line(br#"{"to":{"user":"u"},"idempotency_key":"k1"}"#).unwrap();
        assert_eq!(line.idempotency_key.as_deref(), Some("k1"));
        let problem =
            super::line("{\"to\":{\"user\":\"u\"},\"idempotency_key\":\"\u{fc}\"}".as_bytes()).unwrap_err();
        assert_eq!(problem.pointer.as_deref(), Some("/idempotency_key"));
        assert_eq!(
            request(br#"{"to":{"user":"u"},"idempotency_key":"k1"}"#).unwrap_err().kind,
            Kind::Malformed
        );
    }
}
