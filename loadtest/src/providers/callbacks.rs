//! What Twilio tells afterwards: signed requests to the address that a message named, some time later, in order, twice, or forged.
//!
//! Source of the signature: https://www.twilio.com/docs/usage/security

use std::time::Duration;

use data_encoding::{BASE64, HEXLOWER};
use ring::{digest, hmac};
use serde_json::{Map, Value};
use url::form_urlencoded;

use super::faults::Callbacks;
use super::twilio::TOKEN;

const PATIENCE: Duration = Duration::from_secs(15);

/// What is told of one message.
#[derive(Debug)]
pub(super) struct Story {
    pub(super) url: String,
    pub(super) forms: Vec<Vec<(String, String)>>,
    pub(super) how: Callbacks,
}

/// Tells it, later.
pub(super) fn tell(story: Story) {
    tokio::spawn(async move {
        let settings = ureq::Agent::config_builder().timeout_global(Some(PATIENCE)).max_redirects(0).build();
        let agent = ureq::Agent::from(settings);
        let key = if story.how.forged { "another-token" } else { TOKEN };
        for form in story.forms {
            tokio::time::sleep(Duration::from_millis(story.how.every_ms)).await;
            for _ in 0..=u32::from(story.how.twice) {
                let message = Message::new(&story.url, &form, story.how.json, key);
                post(&agent, message).await;
            }
        }
    });
}

/// Again only as often as the address asks for (`#rc=5`), if it is not taken with a 2xx.
async fn post(agent: &ureq::Agent, message: Message) {
    for _ in 0..=message.retries {
        let (agent, message) = (agent.clone(), message.clone());
        let sent = tokio::task::spawn_blocking(move || {
            agent
                .post(&message.url)
                .header("Content-Type", message.kind)
                .header("X-Twilio-Signature", &message.signature)
                .header("I-Twilio-Idempotency-Token", &message.signature)
                .send(&message.body)
        });
        if matches!(sent.await, Ok(Ok(_))) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[derive(Debug, Clone)]
struct Message {
    url: String,
    kind: &'static str,
    body: String,
    signature: String,
    retries: u32,
}

impl Message {
    fn new(url: &str, form: &[(String, String)], as_json: bool, key: &str) -> Message {
        let (url, overrides) = url.split_once('#').unwrap_or((url, ""));
        let retries = overrides.split('&').find_map(|one| one.strip_prefix("rc=")?.parse().ok()).unwrap_or(0);
        if as_json {
            let object: Map<String, Value> =
                form.iter().map(|(key, value)| (key.clone(), value.as_str().into())).collect();
            let body = Value::Object(object).to_string();
            let hash = HEXLOWER.encode(digest::digest(&digest::SHA256, body.as_bytes()).as_ref());
            let joint = if url.contains('?') { '&' } else { '?' };
            let url = format!("{url}{joint}bodySHA256={hash}");
            let signature = sign(key, &url);
            return Message { url, kind: "application/json", body, signature, retries };
        }
        let mut sorted = form.to_vec();
        sorted.sort();
        let joined: String = sorted.iter().flat_map(|(key, value)| [key.as_str(), value.as_str()]).collect();
        Message {
            url: url.to_owned(),
            kind: "application/x-www-form-urlencoded",
            body: form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish(),
            signature: sign(key, &format!("{url}{joined}")),
            retries,
        }
    }
}

fn sign(key: &str, text: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, key.as_bytes());
    BASE64.encode(hmac::sign(&key, text.as_bytes()).as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of Twilio's documentation.
    #[test]
    fn callbacks_are_signed_as_twilio_signs() {
        let form = [
            ("Digits", "1234"),
            ("To", "+18005551212"),
            ("From", "+14158675310"),
            ("Caller", "+14158675310"),
            ("CallSid", "CA1234567890ABCDE"),
        ];
        let form: Vec<_> = form.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        let message = Message::new("https://example.com/myapp.php?foo=1&bar=2", &form, false, "12345");
        assert_eq!(message.signature, "L/OH5YylLD5NRKLltdqwSvS0BnU=");
    }
}
