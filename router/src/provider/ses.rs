//! E-mail by Amazon SES, version 2 of its API: one mail a request, signed by Signature Version 4.
//!
//! SES has no idempotency key: what may have been taken is [`Answer::Unknown`], and the delivery's name in the mail's tags comes
//! back with every event.
//! Source: https://docs.aws.amazon.com/ses/latest/APIReference-V2/API_SendEmail.html

use async_trait::async_trait;
use http_body_util::Full;
use hyper::Request;
use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use ops::clock::Clock;
use serde::Deserialize;
use serde_json::{Value, json};

use super::classify::Speaker;
use super::http::{Http, Reply, Version};
use super::letter::{Answer, Carrier, Class, Letter};
use super::mail::{Mail, NoMail, mail, sender};
use super::reply::{self, Said};
use super::{delivery, sigv4};
use crate::config::{Hidden, SesConfig};
use crate::limits::CARRIER_PATIENCE;

const PATH: &str = "/v2/email/outbound-emails";
const JSON: &str = "application/json";
/// The tags that name the delivery, each as long as a tag may be: `tocsin0`, `tocsin1`.
pub const TAG: &str = "tocsin";
const TAG_CHARS_MAX: usize = 256;

/// One account in one region.
#[derive(Debug)]
pub struct Ses {
    http: Http,
    config: SesConfig,
    clock: Clock,
}

impl Ses {
    pub fn new(config: &SesConfig, clock: Clock) -> Ses {
        Ses {
            http: Http::new(Version::Http1, CARRIER_PATIENCE, &config.trust),
            config: config.clone(),
            clock,
        }
    }

    fn request(&self, body: Vec<u8>) -> Request<Full<Bytes>> {
        let date = sigv4::date(self.clock.wall());
        let host = self.config.endpoint.authority();
        let token = self.config.session_token.as_ref().map(Hidden::reveal);
        let mut headers = vec![("content-type", JSON), ("host", host), ("x-amz-date", &date)];
        headers.extend(token.map(|token| ("x-amz-security-token", token)));
        let scope = sigv4::Scope {
            access_key: &self.config.access_key,
            secret_key: self.config.secret_key.reveal(),
            region: &self.config.region,
            service: "ses",
        };
        let asked = sigv4::Asked { method: "POST", path: PATH, headers: &headers, body: &body };
        let authorization = sigv4::authorization(&scope, &asked, &date);
        let mut request = Request::post(self.config.endpoint.at(PATH))
            .header(HOST, host)
            .header(CONTENT_TYPE, JSON)
            .header("x-amz-date", &date)
            .header(AUTHORIZATION, reply::hidden(&authorization));
        if let Some(token) = token {
            request = request.header("x-amz-security-token", reply::hidden(token));
        }
        request.body(Full::new(Bytes::from(body))).expect("an endpoint and a path are an address")
    }

    fn document(&self, mail: &Mail, letter: &Letter) -> Value {
        let name = delivery::write(&letter.delivery);
        let parts = name.as_bytes().chunks(TAG_CHARS_MAX).enumerate();
        let tags: Vec<Value> = parts
            .map(|(number, part)| json!({ "Name": format!("{TAG}{number}"), "Value": String::from_utf8_lossy(part) }))
            .collect();
        let headers: Vec<Value> =
            mail.headers.iter().map(|(name, text)| json!({ "Name": name, "Value": text })).collect();
        let utf8 = |text: &str| json!({ "Data": text, "Charset": "UTF-8" });
        let mut body = json!({ "Text": utf8(&mail.text) });
        if let Some(html) = &mail.html {
            body["Html"] = utf8(html);
        }
        let mut document = json!({
            "FromEmailAddress": sender(&self.config.from),
            "Destination": { "ToAddresses": [mail.to.to_string()] },
            "Content": { "Simple": {
                "Subject": utf8(&mail.subject),
                "Body": body,
                "Headers": headers,
            } },
            "EmailTags": tags,
        });
        if let Some(set) = &self.config.configuration_set {
            document["ConfigurationSetName"] = set.as_str().into();
        }
        document
    }

    fn read(&self, answer: &Reply, letter: &Letter) -> Answer {
        if answer.status.is_success() {
            let sent: Sent = serde_json::from_slice(&answer.body).unwrap_or_default();
            return Answer::Taken { reference: sent.message_id };
        }
        reply::refused(Speaker::Ses, answer, said(answer), letter, self.clock.wall())
    }
}

#[async_trait]
impl Carrier for Ses {
    fn name(&self) -> &'static str {
        "ses"
    }

    async fn send(&self, letter: &Letter) -> Answer {
        let mail = match mail(letter, &self.config.from) {
            Ok(mail) => mail,
            Err(why) => return no_mail(why),
        };
        let document = self.document(&mail, letter).to_string().into_bytes();
        match self.http.send(self.request(document)).await {
            Ok(answer) => self.read(&answer, letter),
            Err(lost) => reply::lost(lost),
        }
    }
}

/// Why a letter is no mail, as an answer.
pub(super) fn no_mail(why: NoMail) -> Answer {
    match why {
        NoMail::Address => reply::unfit(Class::Gone, "address", "it is not an e-mail address"),
        NoMail::Empty => reply::unfit(Class::Content, "empty", "there is nothing to send"),
    }
}

#[derive(Default, Deserialize)]
struct Sent {
    #[serde(rename = "MessageId", default)]
    message_id: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Problem {
    #[serde(rename = "__type")]
    kind: Option<String>,
    #[serde(alias = "Message")]
    message: Option<String>,
}

/// The error's name stands in a header, or in the body; some names stand for two things that differ for us.
fn said(answer: &Reply) -> Said {
    let problem: Problem = serde_json::from_slice(&answer.body).unwrap_or_default();
    let header = answer.headers.get("x-amzn-errortype").and_then(|value| value.to_str().ok());
    let name = header.map(str::to_owned).or(problem.kind);
    // `com.amazonaws.sesv2#TooManyRequestsException:http://…`
    let name = name.map(|name| {
        let name = name.split(':').next().unwrap_or_default();
        name.rsplit('#').next().unwrap_or_default().to_owned()
    });
    let message = problem.message.unwrap_or_default();
    let words = message.to_ascii_lowercase();
    let code = match name.as_deref() {
        Some("TooManyRequestsException" | "ThrottlingException" | "LimitExceededException")
            if words.contains("daily") =>
        {
            Some("DailyQuota".to_owned())
        }
        // A rate, under a name that also stands for a quota.
        Some("LimitExceededException") if words.contains("rate") => Some("ThrottlingException".to_owned()),
        Some("MessageRejected" | "BadRequestException") if words.contains("not verified") => {
            Some("NotVerified".to_owned())
        }
        _ => name,
    };
    Said { code, message }
}

#[cfg(test)]
mod tests {
    use hyper::{HeaderMap, StatusCode};

    use super::*;
    use crate::provider::classify::{Meaning, meaning};

    fn told(status: u16, kind: Option<&'static str>, body: &'static str) -> (Option<String>, Meaning) {
        let status = StatusCode::from_u16(status).unwrap();
        let headers = kind.map(|kind| ("x-amzn-errortype".parse().unwrap(), kind.parse().unwrap()));
        let answer =
            Reply { status, headers: HeaderMap::from_iter(headers), body: body.into(), is_whole: true };
        let code = said(&answer).code;
        let meaning = meaning(Speaker::Ses, status.as_u16(), code.as_deref());
        (code, meaning)
    }

    /// Headers and bodies in the forms of AWS's restJson1 protocol (smithy.io/2.0/aws/protocols/aws-restjson1-protocol.html, "Operation
    /// error serialization"), the words of …/ses/latest/dg/manage-sending-quotas-errors.html, and one of moto's.
    #[test]
    fn recorded_answers_are_whose_fault_they_are() {
        let no = |class| Meaning::No(class);
        let rate = r#"{"message":"Maximum sending rate exceeded."}"#;
        assert_eq!(told(429, Some("TooManyRequestsException"), rate).1, no(Class::Quota));
        let uri = "TooManyRequestsException:http://internal.amazon.com/coral/com.amazon.coral.validate/";
        assert_eq!(told(429, Some(uri), rate).0.as_deref(), Some("TooManyRequestsException"));
        let daily = r#"{"message":"Daily message quota exceeded."}"#;
        assert_eq!(told(429, Some("TooManyRequestsException"), daily).1, no(Class::Spent));
        let in_body = r#"{"__type":"com.amazonaws.sesv2#SendingPausedException","message":"x"}"#;
        assert_eq!(told(400, None, in_body).1, no(Class::Auth));
        let moto = r#"{"__type":"MessageRejected","Message":"Email address not verified \"The Shop\" <alerts@shop.example>"}"#;
        assert_eq!(
            told(400, Some("MessageRejected"), moto),
            (Some("NotVerified".to_owned()), no(Class::Auth))
        );
        let signature = r#"{"message":"The request signature we calculated does not match"}"#;
        assert_eq!(told(403, Some("InvalidSignatureException"), signature).1, no(Class::Auth));
        assert_eq!(told(502, None, "<html>").1, Meaning::Unsure);
        assert_eq!(told(500, None, "").1, Meaning::Unsure);
        let silent = r#"{"__type":"AccountSuspendedException","message":null}"#;
        assert_eq!(told(400, None, silent).1, no(Class::Auth));
    }
}
