//! SMS and calls by Twilio's REST API of 2010-04-01.
//!
//! Twilio has no idempotency key: what may have been taken is [`Answer::Unknown`], and the delivery's name in the callback's
//! address lets a callback tell.
//! Source: https://www.twilio.com/docs/messaging/api/message-resource and …/voice/api/call-resource

use std::time::Duration;

use async_trait::async_trait;
use data_encoding::BASE64;
use http_body_util::Full;
use hyper::Request;
use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
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
    let http = Http::new(Version::Http1, CARRIER_PATIENCE);
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
                    reply::refused(Speaker::Twilio, answer, said, letter, self.clock.wall())
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
