//! Push by Firebase Cloud Messaging's HTTP v1 API: one message a request, many at once on one connection of HTTP/2.
//!
//! A second copy takes the first one's place on the device (the same `tag`), so what may have been taken is told as a fault and
//! may be sent again.
//! Source: https://firebase.google.com/docs/reference/fcm/rest/v1/projects.messages and …/docs/cloud-messaging/scale-fcm

use std::time::Duration;

use async_trait::async_trait;
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE};
use hyper::{Request, StatusCode};
use ops::clock::Clock;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use wire::message::Priority;
use wire::time::Wall;

use super::classify::Speaker;
use super::google::Tokens;
use super::http::{Http, Lost, Reply, Version};
use super::letter::{Address, Answer, Carrier, Class, Letter, Refusal};
use super::payload::{self, Shown};
use super::reply::{self, Said};
use super::{apns, webpush};
use crate::config::FcmConfig;
use crate::limits::CARRIER_PATIENCE;

/// How long FCM keeps a message.
const TTL_MAX: Duration = Duration::from_secs(28 * 24 * 3_600);
/// How FCM says that a token is none, in words alone.
const NO_TOKEN: &str = "not a valid FCM registration token";
/// How long to wait where it says nothing: its own advice.
const QUOTA_WAIT: Duration = Duration::from_secs(60);
const FAULT_WAIT: Duration = Duration::from_secs(10);

/// One project.
#[derive(Debug)]
pub struct Fcm {
    http: Http,
    tokens: Tokens,
    url: String,
    clock: Clock,
}

impl Fcm {
    pub fn new(config: &FcmConfig, clock: Clock) -> Fcm {
        let path = format!("/v1/projects/{}/messages:send", config.project);
        Fcm {
            http: Http::new(Version::Http2, CARRIER_PATIENCE, &config.trust),
            tokens: Tokens::new(config, clock),
            url: config.endpoint.at(&path),
            clock,
        }
    }

    async fn post(&self, token: &str, message: Bytes) -> Result<Reply, Lost> {
        let request = Request::post(&self.url)
            .header(CONTENT_TYPE, "application/json")
            .header(AUTHORIZATION, reply::hidden(&format!("Bearer {token}")))
            .body(Full::new(message))
            .expect("an endpoint and a path are an address");
        self.http.send(request).await
    }

    fn read(&self, answer: &Reply, letter: &Letter) -> Answer {
        if answer.status.is_success() {
            let sent: Sent = serde_json::from_slice(&answer.body).unwrap_or_default();
            return Answer::Taken { reference: sent.name };
        }
        let problem: Problem = serde_json::from_slice(&answer.body).unwrap_or_default();
        let answer = reply::refused(Speaker::Fcm, answer, problem.said(), letter, self.clock.wall());
        patient(answer)
    }
}

#[async_trait]
impl Carrier for Fcm {
    fn name(&self) -> &'static str {
        "fcm"
    }

    async fn send(&self, letter: &Letter) -> Answer {
        let Address::Fcm(address) = &letter.to else {
            return reply::unfit(Class::Content, "address", "it is not one of FCM's");
        };
        let Some(message) = payload::fit(letter, payload::BYTES_MAX, |shown| document(letter, shown)) else {
            return reply::unfit(Class::Content, "too large", "its data alone are longer than a push may be");
        };
        let message = Bytes::from(addressed(address, &message, letter, self.clock.wall()));
        let mut token = match self.tokens.token().await {
            Ok(token) => token,
            Err(refusal) => return Answer::Refused(refusal),
        };
        let mut answer = self.post(&token, message.clone()).await;
        if answer.as_ref().is_ok_and(is_our_token) {
            // Once, with another token: this one may have been taken back.
            token = match self.tokens.another_than(&token).await {
                Ok(token) => token,
                Err(refusal) => return Answer::Refused(refusal),
            };
            answer = self.post(&token, message).await;
        }
        match answer {
            Ok(answer) => self.read(&answer, letter),
            Err(lost) => reply::lost_harmlessly(lost),
        }
    }
}

/// Whether it is the access token that is not taken, and not the app's credentials elsewhere.
fn is_our_token(answer: &Reply) -> bool {
    let problem: Problem = serde_json::from_slice(&answer.body).unwrap_or_default();
    answer.status == StatusCode::UNAUTHORIZED
        && problem.said().code.as_deref() != Some("THIRD_PARTY_AUTH_ERROR")
}

/// What a device gets, of which the size is counted.
fn document(letter: &Letter, shown: Shown<'_>) -> Vec<u8> {
    let mut data = Map::from_iter([("id".to_owned(), Value::from(letter.delivery.id.to_string()))]);
    // Only texts may stand here.
    data.extend(letter.category.clone().map(|category| ("category".to_owned(), category.into())));
    data.extend(letter.data.as_ref().map(|json| ("data".to_owned(), json.get().into())));
    let mut document = json!({ "data": data });
    if shown.title.is_some() || shown.body.is_some() {
        let pairs = [("title", shown.title), ("body", shown.body)];
        let pairs = pairs.into_iter().filter_map(|(key, text)| Some((key.to_owned(), Value::from(text?))));
        document["notification"] = Value::Object(pairs.collect());
    }
    document.to_string().into_bytes()
}

/// `{"message": {"token": …, …}}`: the document, and how Android, Apple and browsers are to treat it.
fn addressed(token: &str, document: &[u8], letter: &Letter, now: Wall) -> Vec<u8> {
    let mut message: Value = serde_json::from_slice(document).unwrap_or_default();
    let id = letter.delivery.id.to_string();
    let is_urgent = matches!(letter.priority, Priority::Critical | Priority::High);
    // What replaces what: everything of one collapse key, and otherwise a second copy of itself.
    let tag = letter.collapse_key.as_deref().unwrap_or(&id);
    let mut android = json!({
        "priority": if is_urgent { "HIGH" } else { "NORMAL" },
        "notification": { "tag": tag },
    });
    let mut apple = json!({
        "apns-collapse-id": apns::collapse_id(letter),
        "apns-priority": if matches!(letter.priority, Priority::Low) { "5" } else { "10" },
    });
    let mut browsers = json!({ "Topic": webpush::topic(letter), "Urgency": webpush::urgency(letter) });
    if let Some(ttl) = letter.ttl.map(|ttl| ttl.min(TTL_MAX)) {
        android["ttl"] = format!("{}s", ttl.as_secs()).into();
        apple["apns-expiration"] = ((now + ttl).millis() / 1_000).to_string().into();
        browsers["TTL"] = ttl.as_secs().to_string().into();
    }
    if let Some(key) = &letter.collapse_key {
        android["collapse_key"] = key.as_str().into();
    }
    message["token"] = token.into();
    message["android"] = android;
    message["apns"] = json!({ "headers": apple });
    message["webpush"] = json!({ "headers": browsers });
    json!({ "message": message }).to_string().into_bytes()
}

/// FCM asks for a wait also where it names none.
fn patient(answer: Answer) -> Answer {
    match answer {
        Answer::Refused(mut refusal) => {
            let wait = match refusal.class {
                Class::Quota => Some(QUOTA_WAIT),
                Class::Fault => Some(FAULT_WAIT),
                _ => None,
            };
            refusal.retry_after = refusal.retry_after.or(wait);
            Answer::Refused(Refusal { ..refusal })
        }
        answer => answer,
    }
}

#[derive(Default, Deserialize)]
struct Sent {
    #[serde(default)]
    name: Option<String>,
}

/// google.rpc.Status in JSON.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Problem {
    error: Status,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Status {
    message: String,
    #[serde(rename = "status")]
    name: Option<String>,
    details: Vec<Detail>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Detail {
    error_code: Option<String>,
    field_violations: Vec<Violation>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Violation {
    field: String,
}

impl Problem {
    fn said(self) -> Said {
        let details = &self.error.details;
        let code = details.iter().find_map(|detail| detail.error_code.clone()).or(self.error.name);
        // One name for both: an argument of ours that is wrong, and a token that is none.
        let names_token = details
            .iter()
            .flat_map(|detail| &detail.field_violations)
            .any(|one| one.field == "message.token");
        let code = match code.as_deref() {
            Some("INVALID_ARGUMENT") if names_token || self.error.message.contains(NO_TOKEN) => {
                Some("INVALID_TOKEN".to_owned())
            }
            _ => code,
        };
        Said { code, message: self.error.message }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::*;
    use crate::provider::words::tests::letter;
    use crate::record::Channel;

    #[test]
    fn a_message_is_what_fcm_s_reference_has() {
        let mut letter = letter(Channel::Push, Address::Fcm("tok\"en".to_owned()));
        letter.data = RawValue::from_string("{\"a\":1}".to_owned()).ok();
        letter.ttl = Some(Duration::from_secs(300));
        let shown = Shown { title: Some("T"), body: None };
        let message: Value =
            serde_json::from_slice(&addressed("tok\"en", &document(&letter, shown), &letter, Wall(0)))
                .unwrap();
        let id = letter.delivery.id.to_string();
        assert_eq!(
            message,
            json!({ "message": {
                "token": "tok\"en",
                "notification": { "title": "T" },
                "data": { "id": id, "data": "{\"a\":1}" },
                "android": { "priority": "HIGH", "ttl": "300s", "notification": { "tag": id } },
                "apns": { "headers": {
                    "apns-collapse-id": id, "apns-priority": "10", "apns-expiration": "300",
                } },
                "webpush": { "headers": {
                    "TTL": "300", "Topic": webpush::topic(&letter), "Urgency": "high",
                } },
            } })
        );
    }

    /// As recorded at https://bloomberg.github.io/pushiko/fcm_responses, and of
    /// https://firebase.google.com/docs/cloud-messaging/error-codes (examples 1 and 2).
    #[test]
    fn recorded_answers_are_whose_fault_they_are() {
        let class = |status: u16, body: &str| {
            let status = StatusCode::from_u16(status).unwrap();
            let reply = Reply {
                status,
                headers: hyper::HeaderMap::new(),
                body: body.to_owned().into(),
                is_whole: true,
            };
            let problem: Problem = serde_json::from_slice(&reply.body).unwrap_or_default();
            let letter = letter(Channel::Push, Address::Fcm("t".to_owned()));
            match reply::refused(Speaker::Fcm, &reply, problem.said(), &letter, Wall(0)) {
                Answer::Refused(refusal) => refusal.class,
                other => panic!("{other:?}"),
            }
        };
        let fcm_error = |code: &str| {
            format!(
                "{{\"@type\":\"type.googleapis.com/google.firebase.fcm.v1.FcmError\",\"errorCode\":\"{code}\"}}"
            )
        };
        let body = |code: u16, message: &str, status: &str, details: &str| {
            format!(
                "{{\"error\":{{\"code\":{code},\"message\":\"{message}\",\"status\":\"{status}\",\"details\":[{details}]}}}}"
            )
        };
        let violation = |field: &str| {
            format!(
                "{{\"@type\":\"type.googleapis.com/google.rpc.BadRequest\",\"fieldViolations\":[{{\"field\":\"{field}\",\"description\":\"x\"}}]}}"
            )
        };
        let invalid = "Request contains an invalid argument.";
        let no_token = format!("{},{}", fcm_error("INVALID_ARGUMENT"), violation("message.token"));
        let cases = [
            (400, body(400, invalid, "INVALID_ARGUMENT", &no_token), Class::Gone),
            (400, body(400, "Invalid value at 'message.data[0].value'", "INVALID_ARGUMENT", &violation("message.data[0].value")), Class::Content),
            (400, body(400, "The registration token is not a valid FCM registration token", "INVALID_ARGUMENT", &fcm_error("INVALID_ARGUMENT")), Class::Gone),
            (400, r#"{"error":{"code":400,"message":"Request contains an invalid argument.","status":"INVALID_ARGUMENT"}}"#.to_owned(), Class::Content),
            (404, body(404, "Requested entity was not found.", "NOT_FOUND", &fcm_error("UNREGISTERED")), Class::Gone),
            (500, body(500, "Internal error encountered.", "INTERNAL", &fcm_error("INTERNAL")), Class::Fault),
            (502, "<!DOCTYPE html>\n<html lang=en>\n<title>Error 502 (Server Error)!!1</title>".to_owned(), Class::Fault),
            (503, body(503, "The service is currently unavailable.", "UNAVAILABLE", &fcm_error("UNAVAILABLE")), Class::Fault),
        ];
        for (status, body, expected) in cases {
            assert_eq!(class(status, &body), expected, "{status} {body}");
        }
    }
}
