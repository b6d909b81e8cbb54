//! Push by Apple's service: HTTP/2, a token signed by our key, and no assumption about how many streams a connection takes.
//!
//! A second copy takes the first one's place on the device (`apns-collapse-id`), so what may have been taken is told as a fault
//! and may be sent again.
//! Source: https://developer.apple.com/documentation/usernotifications/sending-notification-requests-to-apns

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use data_encoding::BASE64URL_NOPAD;
use http_body_util::Full;
use hyper::Request;
use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, HeaderValue};
use ops::clock::Clock;
use ring::digest;
use ring::signature::EcdsaKeyPair;
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;
use wire::message::Priority;
use wire::time::{Mono, Wall};

use super::classify::Speaker;
use super::http::{Http, Lost, Reply, Version};
use super::letter::{Address, Answer, Carrier, Class, Letter, Refusal};
use super::payload::{self, Shown};
use super::reply::{self, Said};
use super::{jwt, keys};
use crate::config::ApnsConfig;
use crate::limits::CARRIER_PATIENCE;

/// Apple takes a token for an hour, and wants no new one within twenty minutes.
const RENEWED_AFTER: Duration = Duration::from_secs(40 * 60);
const REPLACED_EVERY: Duration = Duration::from_secs(20 * 60);
/// A clock that was set by less is no matter.
const STEP: Duration = Duration::from_secs(5 * 60);
/// Bytes of a collapse id.
const COLLAPSE_BYTES_MAX: usize = 64;
/// Hexadecimal digits of a device token; Apple leaves the length open.
const TOKEN_CHARS_MAX: usize = 200;

/// One app of one team.
pub struct Apns {
    http: Http,
    config: ApnsConfig,
    key: EcdsaKeyPair,
    clock: Clock,
    token: Mutex<Tokens>,
    /// Whether a token of this account's was ever taken: until then it may be us who are at the wrong endpoint.
    has_taken: AtomicBool,
}

#[derive(Default)]
struct Tokens {
    /// With the steady clock and the date that it was signed at.
    current: Option<(HeaderValue, Mono, Wall)>,
    /// When one was replaced that Apple refused.
    replaced: Option<Mono>,
}

impl std::fmt::Debug for Apns {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Apns").field("topic", &self.config.topic).finish_non_exhaustive()
    }
}

impl Apns {
    pub fn new(config: &ApnsConfig, clock: Clock) -> Apns {
        Apns {
            http: Http::new(Version::Http2, CARRIER_PATIENCE, &config.trust),
            key: keys::p256(config.key.reveal()).expect("the settings tried it"),
            config: config.clone(),
            clock,
            token: Mutex::default(),
            has_taken: AtomicBool::new(false),
        }
    }

    /// The current token, one for all; a new one in place of `refused`.
    fn token(&self, refused: Option<&HeaderValue>) -> HeaderValue {
        let (now, date) = (self.clock.mono(), self.clock.wall());
        let mut tokens = self.token.lock().unwrap_or_else(PoisonError::into_inner);
        let Tokens { current, replaced } = &mut *tokens;
        if let Some((text, since, signed)) = current
            && now.since(*since) < RENEWED_AFTER
            && !has_stepped(date, *signed + now.since(*since))
        {
            if refused != Some(text) || replaced.is_some_and(|at| now.since(at) < REPLACED_EVERY) {
                return text.clone();
            }
            *replaced = Some(now);
        }
        let claims = json!({ "iss": self.config.team_id, "iat": date.millis() / 1_000 });
        let text =
            reply::hidden(&format!("bearer {}", jwt::es256(&self.key, Some(&self.config.key_id), &claims)));
        *current = Some((text.clone(), now, date));
        text
    }

    async fn post(
        &self,
        device: &str,
        letter: &Letter,
        token: HeaderValue,
        body: Bytes,
    ) -> Result<Reply, Lost> {
        let is_urgent = !matches!(letter.priority, Priority::Low);
        let mut request = Request::post(self.config.endpoint.at(&format!("/3/device/{device}")))
            .header(AUTHORIZATION, token)
            .header("apns-topic", &self.config.topic)
            .header("apns-push-type", "alert")
            .header("apns-priority", if is_urgent { "10" } else { "5" })
            .header("apns-id", id(letter, device).to_string())
            .header("apns-collapse-id", collapse_id(letter));
        if let Some(ttl) = letter.ttl {
            let until = (self.clock.wall() + ttl).millis() / 1_000;
            request = request.header("apns-expiration", until.to_string());
        }
        let request = request.body(Full::new(body)).expect("hexadecimal digits in a path are an address");
        self.http.send(request).await
    }
}

#[async_trait]
impl Carrier for Apns {
    fn name(&self) -> &'static str {
        "apns"
    }

    async fn send(&self, letter: &Letter) -> Answer {
        let Address::Apns { token: device, registered_at } = &letter.to else {
            return reply::unfit(Class::Content, "address", "it is not one of APNs'");
        };
        let is_token = (1..=TOKEN_CHARS_MAX).contains(&device.len())
            && device.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !is_token {
            return reply::unfit(Class::Gone, "BadDeviceToken", "it is not hexadecimal");
        }
        let Some(body) = payload::fit(letter, payload::BYTES_MAX, |shown| document(letter, shown)) else {
            return reply::unfit(Class::Content, "too large", "its data alone are longer than a push may be");
        };
        let body = Bytes::from(body);
        let mut token = self.token(None);
        let mut answer = self.post(device, letter, token.clone(), body.clone()).await;
        if answer.as_ref().is_ok_and(|reply| problem(reply).reason.as_deref() == Some("ExpiredProviderToken"))
        {
            // Once, with a new one: our clock may have been wrong.
            token = self.token(Some(&token));
            answer = self.post(device, letter, token, body).await;
        }
        match answer {
            Ok(answer) => {
                let answer = read(&answer, *registered_at, letter, self.clock.wall());
                self.doubting(answer)
            }
            Err(lost) => reply::lost_harmlessly(lost),
        }
    }
}

impl Apns {
    /// At the wrong endpoint, or with another app's key, every token is bad: none is given up before one was good.
    fn doubting(&self, answer: Answer) -> Answer {
        match answer {
            Answer::Taken { .. } => {
                self.has_taken.store(true, Ordering::Relaxed);
                answer
            }
            Answer::Refused(refusal)
                if refusal.code == "BadDeviceToken" && !self.has_taken.load(Ordering::Relaxed) =>
            {
                Answer::Refused(Refusal { class: Class::Recipient, ..refusal })
            }
            answer => answer,
        }
    }
}

/// The date is not where a steady clock would have it: what we signed is too old or too new.
fn has_stepped(date: Wall, expected: Wall) -> bool {
    date.0.abs_diff(expected.0) > STEP.as_micros() as u64
}

fn read(answer: &Reply, registered_at: Wall, letter: &Letter, now: Wall) -> Answer {
    if answer.status.is_success() {
        let id = answer.headers.get("apns-id").and_then(|value| value.to_str().ok());
        return Answer::Taken { reference: id.map(str::to_owned) };
    }
    let problem = problem(answer);
    // 410 says since when the token is no longer one. A registration after that is news to Apple's answer.
    let since = problem.timestamp.map(|millis| Wall(millis.saturating_mul(1_000)));
    if answer.status.as_u16() == 410 && since.is_some_and(|since| since < registered_at) {
        let code = problem.reason.unwrap_or_else(|| "Unregistered".to_owned());
        return reply::unfit(Class::Recipient, &code, "the token was registered again since");
    }
    let said = Said { code: problem.reason, message: String::new() };
    reply::refused(Speaker::Apns, answer, said, letter, now)
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Problem {
    reason: Option<String>,
    timestamp: Option<i64>,
}

fn problem(answer: &Reply) -> Problem {
    serde_json::from_slice(&answer.body).unwrap_or_default()
}

fn document(letter: &Letter, shown: Shown<'_>) -> Vec<u8> {
    let mut alert = json!({});
    for (key, text) in [("title", shown.title), ("body", shown.body)] {
        if let Some(text) = text {
            alert[key] = text.into();
        }
    }
    let mut document = json!({ "aps": { "alert": alert, "sound": "default" }, "id": letter.delivery.id });
    if let Some(category) = &letter.category {
        document["category"] = category.as_str().into();
    }
    if let Some(data) = &letter.data {
        document["data"] = serde_json::from_str(data.get()).unwrap_or(Value::Null);
    }
    document.to_string().into_bytes()
}

/// The same at every try of one delivery to one device.
fn id(letter: &Letter, device: &str) -> Uuid {
    Uuid::new_v5(&letter.delivery.id, device.as_bytes())
}

/// The letter's own collapse key, or itself alone.
pub(super) fn collapse_id(letter: &Letter) -> String {
    match &letter.collapse_key {
        Some(key) if key.len() <= COLLAPSE_BYTES_MAX && key.bytes().all(|byte| byte.is_ascii_graphic()) => {
            key.clone()
        }
        Some(key) => BASE64URL_NOPAD.encode(digest::digest(&digest::SHA256, key.as_bytes()).as_ref()),
        None => letter.delivery.id.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use hyper::{HeaderMap, StatusCode};

    use super::*;
    use crate::provider::words::tests::letter;
    use crate::record::Channel;

    const DEVICE: &str = "00fc13adff785122b4ad28809a3420982341241421348097878e577c991de8f0";

    fn push() -> Letter {
        let to = Address::Apns { token: DEVICE.to_owned(), registered_at: Wall(0) };
        letter(Channel::Push, to)
    }

    fn answer(status: u16, body: &'static str) -> Reply {
        let status = StatusCode::from_u16(status).unwrap();
        Reply { status, headers: HeaderMap::new(), body: body.into(), is_whole: true }
    }

    #[test]
    fn a_token_is_given_up_only_if_it_ended_after_it_was_told() {
        let gone = answer(410, r#"{"reason":"Unregistered","timestamp":1700000000000}"#);
        let class = |registered_at| match read(&gone, registered_at, &push(), Wall(0)) {
            Answer::Refused(refusal) => (refusal.class, refusal.code),
            other => panic!("{other:?}"),
        };
        let at = Wall(1_700_000_000_000_000);
        let code = "Unregistered".to_owned();
        assert_eq!(class(at), (Class::Gone, code.clone()));
        assert_eq!(class(at + Duration::from_millis(1)), (Class::Recipient, code));
    }

    #[test]
    fn a_collapse_id_has_room_and_is_one_line() {
        let of = |key: Option<&str>| {
            let letter = Letter { collapse_key: key.map(str::to_owned), ..push() };
            collapse_id(&letter)
        };
        assert_eq!(of(None), push().delivery.id.to_string());
        assert_eq!(of(Some("disk")), "disk");
        for odd in ["x".repeat(65), "a\r\nb".to_owned(), "ключ".to_owned()] {
            let id = of(Some(&odd));
            assert!(id.len() <= COLLAPSE_BYTES_MAX && id.bytes().all(|byte| byte.is_ascii_graphic()), "{id}");
        }
    }
}
