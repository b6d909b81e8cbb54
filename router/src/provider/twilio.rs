//! SMS and calls by Twilio's REST API of 2010-04-01.
//!
//! Twilio has no idempotency key: what may have been taken is [`Answer::Unknown`], and the delivery's name in the callback's
//! address lets a callback tell.
//! Source: https://www.twilio.com/docs/messaging/api/message-resource and …/voice/api/call-resource

use std::time::Duration;

use async_trait::async_trait;
use data_encoding::BASE64;
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use hyper::{Request, StatusCode};
use ops::clock::Clock;
use serde::Deserialize;
use url::form_urlencoded;

use super::classify::Speaker;
use super::http::{Http, Reply, Version};
use super::letter::{Address, Answer, Carrier, Class, Letter};
use super::reply::{self, Said};
use super::{delivery, words};
use crate::config::{Sender, TwilioConfig};
use crate::limits::CARRIER_PATIENCE;

/// The parameter of the callback's address that names the delivery.
pub const DELIVERY_PARAMETER: &str = "d";
/// Seconds that a message may wait for its turn at Twilio's, by its documentation.
const VALIDITY_S_MAX: u64 = 14_400;

/// One account; SMS and calls share its connections.
#[derive(Debug, Clone)]
struct Account {
    http: Http,
    config: TwilioConfig,
    authorization: HeaderValue,
    clock: Clock,
}

/// Short messages.
#[derive(Debug)]
pub struct Sms(Account);

/// Calls that read a letter out.
#[derive(Debug)]
pub struct Voice {
    account: Account,
    from: String,
}

/// Both ways of one account; calls if there is a number that they come from.
pub fn carriers(config: &TwilioConfig, clock: Clock) -> (Sms, Option<Voice>) {
    let pair = format!("{}:{}", config.key, config.secret.reveal());
    let mut authorization = HeaderValue::try_from(format!("Basic {}", BASE64.encode(pair.as_bytes())))
        .expect("base64 can stand in a header");
    authorization.set_sensitive(true);
    let http = Http::new(Version::Http1, CARRIER_PATIENCE, &config.trust);
    let account = Account { http, config: config.clone(), authorization, clock };
    let voice = config.voice_from.clone().map(|from| Voice { account: account.clone(), from });
    (Sms(account), voice)
}

#[async_trait]
impl Carrier for Sms {
    fn name(&self) -> &'static str {
        "twilio"
    }

    async fn send(&self, letter: &Letter) -> Answer {
        let (Address::Phone(number), Some(text)) = (&letter.to, words::sms(letter)) else {
            return reply::unfit(Class::Content, "empty", "there is nothing to send");
        };
        let mut form = vec![("To", number.clone()), ("Body", text)];
        form.push(match &self.0.config.from {
            Sender::Number(number) => ("From", number.clone()),
            Sender::Service(service) => ("MessagingServiceSid", service.clone()),
        });
        // A code that is too old to be taken is not worth a message.
        if let Some(ttl) = letter.ttl {
            form.push(("ValidityPeriod", seconds(ttl).clamp(1, VALIDITY_S_MAX).to_string()));
        }
        self.0.post("Messages.json", form, letter).await
    }
}

#[async_trait]
impl Carrier for Voice {
    fn name(&self) -> &'static str {
        "twilio_voice"
    }

    async fn send(&self, letter: &Letter) -> Answer {
        let (Address::Phone(number), Some(twiml)) = (&letter.to, words::twiml(letter)) else {
            return reply::unfit(Class::Content, "empty", "there is nothing to say");
        };
        let form = vec![("To", number.clone()), ("From", self.from.clone()), ("Twiml", twiml)];
        self.account.post("Calls.json", form, letter).await
    }
}

impl Account {
    async fn post(&self, resource: &str, mut form: Vec<(&str, String)>, letter: &Letter) -> Answer {
        if let Some(callback) = &self.config.status_callback {
            let mut callback = callback.clone();
            callback.query_pairs_mut().append_pair(DELIVERY_PARAMETER, &delivery::write(&letter.delivery));
            // Behind the mark and not signed: how often Twilio tells it again (…/docs/usage/webhooks/webhooks-connection-overrides).
            callback.set_fragment(Some("rc=5&rp=all"));
            form.push(("StatusCallback", callback.into()));
        }
        let path = format!("/2010-04-01/Accounts/{}/{resource}", self.config.account);
        let request = Request::post(self.config.endpoint.at(&path))
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(AUTHORIZATION, self.authorization.clone())
            .body(Full::new(Bytes::from(encode(&form))))
            .expect("an endpoint and a path are an address");
        match self.http.send(request).await {
            Ok(answer) => self.read(&answer, letter),
            Err(lost) => reply::lost(lost),
        }
    }

    fn read(&self, answer: &Reply, letter: &Letter) -> Answer {
        if answer.status.is_success() {
            // Created, whatever of the rest can be read.
            let made: Made = serde_json::from_slice(&answer.body).unwrap_or_default();
            return match made.error_code {
                Some(code)
                    if matches!(made.status.as_deref(), Some("failed" | "undelivered" | "canceled")) =>
                {
                    let said = Said { code: Some(code.to_string()), message: String::new() };
                    // The status is of the request, which was good.
                    let answer = Reply {
                        status: StatusCode::BAD_REQUEST,
                        headers: answer.headers.clone(),
                        ..Reply::default()
                    };
                    reply::refused(Speaker::Twilio, &answer, said, letter, self.clock.wall())
                }
                _ => Answer::Taken { reference: made.sid },
            };
        }
        let problem: Option<Problem> = serde_json::from_slice(&answer.body).ok();
        let said = problem.map(|problem| Said {
            code: problem.code.map(|code| code.to_string()),
            message: problem.message.unwrap_or_default(),
        });
        reply::refused(Speaker::Twilio, answer, said.unwrap_or_default(), letter, self.clock.wall())
    }
}

/// What a message or a call is when it was made.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Made {
    sid: Option<String>,
    status: Option<String>,
    error_code: Option<u32>,
}

#[derive(Deserialize)]
struct Problem {
    #[serde(default)]
    code: Option<u32>,
    #[serde(default)]
    message: Option<String>,
}

fn encode(form: &[(&str, String)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish()
}

fn seconds(ttl: Duration) -> u64 {
    ttl.as_secs()
}

#[cfg(test)]
mod tests {
    use hyper::HeaderMap;

    use super::*;
    use crate::config::ProviderConfig;
    use crate::provider::words::tests::letter;
    use crate::record::Channel;

    fn account() -> Account {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "hush").unwrap();
        let text = format!(
            "[twilio]\naccount = \"AC{0}\"\nsecret_file = \"{1}\"\nfrom = \"+15005550006\"\n",
            "0".repeat(32),
            file.path().display()
        );
        let section: crate::config::provider::ProviderSection = toml::from_str(&text).unwrap();
        let ProviderConfig { twilio, .. } = section.checked().unwrap();
        carriers(&twilio.unwrap(), Clock::start()).0.0
    }

    /// The first two as in https://www.twilio.com/docs/usage/twilios-response and …/troubleshooting/debugging-your-application; the page is
    /// that of a gateway.
    #[tokio::test]
    async fn recorded_answers_are_whose_fault_they_are() {
        let account = account();
        let letter = letter(Channel::Sms, Address::Phone("+15551234567".to_owned()));
        let read = |status: u16, body: &'static str| {
            let status = StatusCode::from_u16(status).unwrap();
            account.read(
                &Reply { status, headers: HeaderMap::new(), body: body.into(), is_whole: true },
                &letter,
            )
        };
        let class = |answer: Answer| match answer {
            Answer::Refused(refusal) => (Some(refusal.class), refusal.code, refusal.detail),
            Answer::Unknown { why } => (None, why, String::new()),
            Answer::Taken { .. } => panic!("taken"),
        };
        let invalid = r#"{"code": 21211, "message": "The 'To' number 5551234567 is not a valid phone number.", "more_info": "https://www.twilio.com/docs/errors/21211", "status": 400}"#;
        let told = class(read(400, invalid));
        assert_eq!((told.0, told.1.as_str()), (Some(Class::Gone), "21211"));
        assert_eq!(told.2, "The 'To' number … is not a valid phone number.");
        let busy = r#"{"code": 20429, "message": "Too Many Requests", "more_info": "https://www.twilio.com/docs/errors/20429", "status": 429}"#;
        assert_eq!(class(read(429, busy)).0, Some(Class::Quota));
        let own = r#"{"code": 20503, "message": "Service is unavailable.", "more_info": "https://www.twilio.com/docs/errors/20503", "status": 503}"#;
        assert_eq!(class(read(503, own)).0, Some(Class::Fault));
        assert_eq!(class(read(503, "<html><h1>503 Service Temporarily Unavailable</h1></html>")).0, None);
        let failed = r#"{"sid": "SM1", "status": "failed", "error_code": 30006}"#;
        assert_eq!(class(read(201, failed)).0, Some(Class::Gone));
        let unheard_of = r#"{"sid": "SM1", "status": "failed", "error_code": 39999}"#;
        assert_eq!(class(read(201, unheard_of)).0, Some(Class::Content));
        assert_eq!(class(read(500, "")).0, None);
    }
}
