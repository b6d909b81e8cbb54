//! Push to browsers: RFC 8030 (the request), RFC 8291 (the encryption), RFC 8292 (who we are).
//!
//! The address comes from a browser, so it may be anything: only public addresses are connected to, and what was looked up is what is
//! connected to. A second copy takes the first one's place where the push service still has it (`Topic`) and, by the `id`
//! in it, in a service worker, so what may have been taken is told as a fault and may be sent again.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use data_encoding::BASE64URL_NOPAD;
use http_body_util::Full;
use hyper::Request;
use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue, LOCATION};
use hyper_util::client::legacy::connect::HttpConnector;
use ops::clock::Clock;
use ring::digest;
use ring::signature::EcdsaKeyPair;
use serde::Deserialize;
use serde_json::{Value, json};
use url::{Host, Url};
use wire::message::Priority;
use wire::time::Mono;

use super::aes128gcm;
use super::classify::Speaker;
use super::http::{Http, Lost, Reply, Version};
use super::letter::{Address, Answer, Carrier, Class, Letter, Refusal};
use super::origins::Origins;
use super::payload::{self, Shown};
use super::public::{NOWHERE, Public, is_public};
use super::reply::{self, Said};
use super::trust::Trust;
use super::{jwt, keys};
use crate::config::WebPushConfig;
use crate::limits::{CARRIER_PATIENCE, WEBPUSH_ORIGINS_MAX};

/// Twelve hours; a day is the longest that a push service must take (RFC 8292, section 2).
const TOKEN_S: i64 = 12 * 3_600;
const RENEWED_AFTER: Duration = Duration::from_secs(11 * 3_600);
/// Where the letter says nothing: four weeks, which push services cut to what they keep.
const TTL_S: u64 = 28 * 24 * 3_600;
/// What every push service takes, less what encryption adds (RFC 8291, section 4): 86 bytes before, 17 behind.
const PLAIN_BYTES_MAX: usize = payload::BYTES_MAX - 86 - 17;
/// Characters of a `Topic` (RFC 8030, section 5.4).
const TOPIC_CHARS: usize = 32;
const ENDPOINT_BYTES_MAX: usize = 2_048;

/// One sender, known to push services by its key.
pub struct WebPush {
    http: Http<Public>,
    config: WebPushConfig,
    key: EcdsaKeyPair,
    clock: Clock,
    /// By push service; many are one browser maker's.
    tokens: Mutex<BTreeMap<String, (HeaderValue, Mono)>>,
    origins: Origins,
}

impl std::fmt::Debug for WebPush {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WebPush").field("subject", &self.config.subject).finish_non_exhaustive()
    }
}

impl WebPush {
    pub fn new(config: &WebPushConfig, clock: Clock) -> WebPush {
        let connector = HttpConnector::new_with_resolver(Public::new(config.private_endpoints));
        WebPush {
            http: Http::over(connector, Version::Http1, CARRIER_PATIENCE, &Trust::default()),
            key: keys::vapid(config.key.reveal()).expect("the settings tried it"),
            config: config.clone(),
            clock,
            tokens: Mutex::default(),
            origins: Origins::default(),
        }
    }

    /// Where to post, if it is somewhere that may be posted to.
    fn endpoint(&self, text: &str) -> Option<Url> {
        let url = Url::parse(text).ok().filter(|_| text.len() <= ENDPOINT_BYTES_MAX)?;
        let is_plain = url.username().is_empty() && url.password().is_none();
        let is_secure = url.scheme() == "https" || (url.scheme() == "http" && self.config.private_endpoints);
        // A literal address is looked up nowhere, so it is looked at here.
        let may_be = match url.host()? {
            Host::Ipv4(ip) => self.config.private_endpoints || is_public(ip.into()),
            Host::Ipv6(ip) => self.config.private_endpoints || is_public(ip.into()),
            Host::Domain(_) => true,
        };
        (is_plain && is_secure && may_be).then_some(url)
    }

    /// `vapid t=…, k=…` for one push service.
    fn token(&self, origin: &str) -> HeaderValue {
        let now = self.clock.mono();
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.retain(|_, (_, since)| now.since(*since) < RENEWED_AFTER);
        if let Some((token, _)) = tokens.get(origin) {
            return token.clone();
        }
        let until = self.clock.wall().millis() / 1_000 + TOKEN_S;
        let claims = json!({ "aud": origin, "exp": until, "sub": self.config.subject });
        let token = jwt::es256(&self.key, None, &claims);
        let header = reply::hidden(&format!("vapid t={token}, k={}", keys::public(&self.key)));
        if tokens.len() < WEBPUSH_ORIGINS_MAX {
            tokens.insert(origin.to_owned(), (header.clone(), now));
        }
        header
    }

    fn request(&self, endpoint: &Url, letter: &Letter, body: Vec<u8>) -> Option<Request<Full<Bytes>>> {
        let ttl = letter.ttl.map_or(TTL_S, |ttl| ttl.as_secs());
        Request::post(endpoint.as_str())
            .header(AUTHORIZATION, self.token(&endpoint.origin().ascii_serialization()))
            .header(CONTENT_ENCODING, "aes128gcm")
            .header(CONTENT_TYPE, "application/octet-stream")
            .header("ttl", ttl.to_string())
            .header("urgency", urgency(letter))
            .header("topic", topic(letter))
            .body(Full::new(Bytes::from(body)))
            .ok()
    }
}

#[async_trait]
impl Carrier for WebPush {
    fn name(&self) -> &'static str {
        "webpush"
    }

    async fn send(&self, letter: &Letter) -> Answer {
        let Address::WebPush { endpoint, p256dh, auth } = &letter.to else {
            return reply::unfit(Class::Content, "address", "it is not a browser's subscription");
        };
        let Some(endpoint) = self.endpoint(endpoint) else {
            return reply::unfit(Class::Gone, "endpoint", "it is not a push service's address");
        };
        let Some(plain) = payload::fit(letter, PLAIN_BYTES_MAX, |shown| document(letter, shown)) else {
            return reply::unfit(Class::Content, "too large", "its data alone are longer than a push may be");
        };
        let sealed = keys::base64url(p256dh).zip(keys::base64url(auth));
        let Some(sealed) = sealed.and_then(|(key, secret)| aes128gcm::seal(&plain, &key, &secret)) else {
            return reply::unfit(Class::Gone, "keys", "nothing can be encrypted for its keys");
        };
        let Some(request) = self.request(&endpoint, letter, sealed) else {
            return reply::unfit(Class::Gone, "endpoint", "it is not a push service's address");
        };
        let origin = endpoint.origin().ascii_serialization();
        let Some(_at_once) = self.origins.begin(&origin) else {
            return busy();
        };
        let answer = match self.http.send(request).await {
            Ok(answer) => self.read(&answer, letter),
            // Whose name leads into our own network is no push service, and none is to blame. A name may change, so it stays.
            Err(Lost::Before(unreached)) if unreached.why == NOWHERE => {
                reply::unfit(Class::Recipient, "endpoint", NOWHERE)
            }
            Err(lost) => reply::lost_harmlessly(lost),
        };
        self.origins.weigh(&origin, answer)
    }
}

/// Too many are on their way to one push service; a moment later there is room.
fn busy() -> Answer {
    let detail = "as many as may be are on their way to it".to_owned();
    let retry_after = Some(Duration::from_secs(1));
    Answer::Refused(Refusal { class: Class::Quota, code: "busy".to_owned(), detail, retry_after })
}

impl WebPush {
    fn read(&self, answer: &Reply, letter: &Letter) -> Answer {
        if answer.status.is_success() {
            let at = answer.headers.get(LOCATION).and_then(|value| value.to_str().ok());
            // Its path alone: the whole is an address at which the message can be taken back.
            let name = at.and_then(|at| at.rsplit('/').next()).map(|name| name.chars().take(128).collect());
            return Answer::Taken { reference: name };
        }
        // What push services say is a page or a line; Apple's has a reason.
        let problem: Option<Problem> = serde_json::from_slice(&answer.body).ok();
        let message = String::from_utf8_lossy(&answer.body).chars().take(400).collect();
        let said = Said { code: problem.map(|problem| problem.reason), message };
        reply::refused(Speaker::WebPush, answer, said, letter, self.clock.wall())
    }
}

#[derive(Deserialize)]
struct Problem {
    reason: String,
}

fn document(letter: &Letter, shown: Shown<'_>) -> Vec<u8> {
    let mut document = json!({ "id": letter.delivery.id });
    let pairs = [("title", shown.title), ("body", shown.body), ("category", letter.category.as_deref())];
    for (key, text) in pairs.into_iter().chain([("collapse_key", letter.collapse_key.as_deref())]) {
        if let Some(text) = text {
            document[key] = text.into();
        }
    }
    if let Some(data) = &letter.data {
        document["data"] = serde_json::from_str(data.get()).unwrap_or(Value::Null);
    }
    document.to_string().into_bytes()
}

/// How soon a device is woken for it.
pub(super) fn urgency(letter: &Letter) -> &'static str {
    match letter.priority {
        Priority::Critical | Priority::High => "high",
        Priority::Normal => "normal",
        Priority::Low => "low",
    }
}

/// A name for what replaces what, that tells the push service nothing.
pub(super) fn topic(letter: &Letter) -> String {
    let text = letter.collapse_key.clone().unwrap_or_else(|| letter.delivery.id.to_string());
    let hash = digest::digest(&digest::SHA256, text.as_bytes());
    BASE64URL_NOPAD.encode(hash.as_ref())[..TOPIC_CHARS].to_owned()
}
