//! One message to an address of the operator's, signed: what alerts and outcomes share.
//!
//! Owns the call, the signature and what an answer means. Follows no redirect, so that nobody but the settings says where a message
//! goes; shows neither the address nor the answer. Never tries again: whoever calls decides that.

use data_encoding::HEXLOWER;
use ring::hmac;
use wire::time::Wall;

use crate::config::Webhook;
use crate::limits::WEBHOOK_PATIENCE;

/// What messages are sent by.
pub fn agent() -> ureq::Agent {
    let settings = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(WEBHOOK_PATIENCE))
        .max_redirects(0)
        .build();
    ureq::Agent::from(settings)
}

/// A certificate that proves nothing, or no TLS at all.
const UNBELIEVED: &str = "its certificate, or its TLS, is not believed";

/// Why a message was not taken. Neither holds the address, or what the receiver says, which may be the address: it may hold a key.
#[derive(Debug)]
pub enum Refusal {
    /// The same message will be refused again.
    Wrong(String),
    Failed(String),
}

pub async fn post(agent: &ureq::Agent, webhook: &Webhook, body: String, now: Wall) -> Result<(), Refusal> {
    let mut request = agent.post(&webhook.url).header("Content-Type", "application/json");
    if let Some(key) = &webhook.key {
        request = request.header("Tocsin-Signature", signature(key, &body, now));
    }
    let sent = tokio::task::spawn_blocking(move || request.send(body).map(|answer| answer.status()));
    let status = match sent.await {
        Ok(Ok(status)) => status,
        Ok(Err(error)) => return Err(Refusal::Failed(reason(&error))),
        Err(error) => return Err(Refusal::Failed(error.to_string())),
    };
    let why = format!("it answers {}", status.as_u16());
    match status.as_u16() {
        200..=299 => Ok(()),
        400 | 413 | 422 => Err(Refusal::Wrong(why)),
        _ => Err(Refusal::Failed(why)),
    }
}

fn reason(error: &ureq::Error) -> String {
    match error {
        ureq::Error::Timeout(_) => format!("no answer within {} s", WEBHOOK_PATIENCE.as_secs()),
        ureq::Error::HostNotFound => "its host is not known".to_owned(),
        // In words of our own: rustls, which may stand behind either, names the host.
        ureq::Error::Io(error) if error.kind() == std::io::ErrorKind::InvalidData => UNBELIEVED.to_owned(),
        ureq::Error::Io(error) => error.kind().to_string(),
        ureq::Error::Rustls(_) => UNBELIEVED.to_owned(),
        _ => "it cannot be reached".to_owned(),
    }
}

/// `t=SECONDS,v1=HEX`: HMAC-SHA256 over the seconds, a dot and the body, so that an old message cannot be sent again.
fn signature(key: &str, body: &str, now: Wall) -> String {
    let seconds = now.millis() / 1_000;
    let key = hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes());
    let tag = hmac::sign(&key, format!("{seconds}.{body}").as_bytes());
    format!("t={seconds},v1={}", HEXLOWER.encode(tag.as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_signature_is_over_the_time_and_the_body() {
        let now = Wall(1_700_000_000_000_000);
        let one = signature("key", "{}", now);
        assert_eq!(one, signature("key", "{}", now));
        let others = [
            signature("other", "{}", now),
            signature("key", "[]", now),
            signature("key", "{}", now + Duration::from_secs(1)),
        ];
        assert!(others.iter().all(|other| *other != one));
        assert!(one.starts_with("t=") && one.contains(",v1="), "{one}");
    }
}
