//! What SES tells through SNS: whether a message is SNS's, and what it says. Pure; certificates come from `certificates`.
//!
//! Source: https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message.html and
//! https://docs.aws.amazon.com/ses/latest/dg/event-publishing-retrieving-sns-contents.html

use std::collections::BTreeMap;

use data_encoding::BASE64;
use ring::signature::{
    RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey,
};
use rustls::pki_types::{
    AlgorithmIdentifier, CertificateDer, InvalidSignature, SignatureVerificationAlgorithm, alg_id,
};
use serde::Deserialize;
use url::Url;
use webpki::EndEntityCert;
use wire::time::Wall;

use super::{Receipt, What};
use crate::config::{Endpoint, topic_region};
use crate::provider::delivery;
use crate::provider::letter::{Address, Class};
use crate::provider::ses::TAG;

/// Tags of ours on one mail.
const TAGS_MAX: usize = 4;

/// One message, as SNS posts it.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Message {
    #[serde(rename = "Type")]
    kind: String,
    #[serde(rename = "MessageId")]
    id: String,
    topic_arn: String,
    #[serde(default)]
    subject: Option<String>,
    #[serde(rename = "Message")]
    said: String,
    timestamp: String,
    signature_version: String,
    signature: String,
    #[serde(rename = "SigningCertURL")]
    signing_cert_url: String,
    #[serde(default)]
    token: Option<String>,
    #[serde(default, rename = "SubscribeURL")]
    subscribe_url: Option<String>,
}

/// Whose messages are believed.
#[derive(Debug, Clone)]
pub struct Source {
    /// Names whose region is known to be one.
    pub topics: Vec<String>,
    /// Where SNS is, if the settings say that it is not at AWS: a simulator. AWS's own is not believed then.
    pub endpoint: Option<Endpoint>,
}

/// Why it is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Disbelief {
    #[error("it is not a message of SNS")]
    Unreadable,
    #[error("its topic is not one of topic_arns")]
    Topic,
    #[error("it names an address that is not SNS's")]
    Address,
    #[error("the signature is not SNS's")]
    Forged,
}

/// What to do about a message that is believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Believed {
    /// What it says of deliveries; SES tells of other mails, too.
    News(Option<Receipt>),
    /// The topic asks whether it may tell us: a GET to this address says yes.
    Confirm(Url),
    /// The topic tells us nothing more.
    Ended,
}

impl Message {
    pub fn parse(body: &[u8]) -> Result<Message, Disbelief> {
        serde_json::from_slice(body).map_err(|_| Disbelief::Unreadable)
    }

    /// Where the certificate is that the signature is made with, if this may be believed at all: its topic is ours, and the address is
    /// SNS's in the topic's region.
    pub fn certificate_url(&self, from: &Source) -> Result<Url, Disbelief> {
        if !from.topics.contains(&self.topic_arn) {
            return Err(Disbelief::Topic);
        }
        let url = self.pinned(&self.signing_cert_url, from)?;
        let name =
            url.path().strip_prefix("/SimpleNotificationService-").and_then(|rest| rest.strip_suffix(".pem"));
        let is_name = name
            .is_some_and(|name| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric()));
        if is_name && url.query().is_none() { Ok(url) } else { Err(Disbelief::Address) }
    }

    /// SNS itself, in the topic's region, over TLS, and nothing beside it; or the endpoint of the settings and nothing beside that.
    fn pinned(&self, text: &str, from: &Source) -> Result<Url, Disbelief> {
        let region = topic_region(&self.topic_arn).ok_or(Disbelief::Topic)?;
        let end = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
        let url = Url::parse(text).map_err(|_| Disbelief::Address)?;
        let is_there = if let Some(endpoint) = &from.endpoint {
            endpoint.holds(&url)
        } else {
            let host = format!("sns.{region}.{end}");
            url.scheme() == "https" && url.host_str() == Some(&host) && url.port().is_none()
        };
        let is_sns =
            is_there && url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
        if is_sns { Ok(url) } else { Err(Disbelief::Address) }
    }

    /// What it says, if this certificate's key signed it.
    pub fn read(
        &self,
        certificate: &CertificateDer<'_>,
        from: &Source,
        now: Wall,
    ) -> Result<Believed, Disbelief> {
        let certificate = EndEntityCert::try_from(certificate).map_err(|_| Disbelief::Forged)?;
        let algorithm: &dyn SignatureVerificationAlgorithm = match self.signature_version.as_str() {
            "1" => &Rsa::SHA1,
            "2" => &Rsa::SHA256,
            _ => return Err(Disbelief::Forged),
        };
        let signature = BASE64.decode(self.signature.as_bytes()).map_err(|_| Disbelief::Forged)?;
        let text = self.signed().ok_or(Disbelief::Unreadable)?;
        let verified = certificate.verify_signature(algorithm, text.as_bytes(), &signature);
        verified.map_err(|_| Disbelief::Forged)?;
        self.meaning(from, now)
    }

    /// What the signature is over.
    fn signed(&self) -> Option<String> {
        let (first, last) = (
            [("Message", Some(&self.said)), ("MessageId", Some(&self.id))],
            [("TopicArn", Some(&self.topic_arn)), ("Type", Some(&self.kind))],
        );
        let time = ("Timestamp", Some(&self.timestamp));
        let middle = match self.kind.as_str() {
            "Notification" => vec![("Subject", self.subject.as_ref()), time],
            "SubscriptionConfirmation" | "UnsubscribeConfirmation" => {
                let url = Some(self.subscribe_url.as_ref()?);
                vec![("SubscribeURL", url), time, ("Token", Some(self.token.as_ref()?))]
            }
            _ => return None,
        };
        let lines = first.into_iter().chain(middle).chain(last);
        Some(lines.filter_map(|(key, value)| Some(format!("{key}\n{}\n", value?))).collect())
    }

    fn meaning(&self, from: &Source, now: Wall) -> Result<Believed, Disbelief> {
        match self.kind.as_str() {
            "SubscriptionConfirmation" => {
                let url = self.pinned(self.subscribe_url.as_deref().unwrap_or_default(), from)?;
                let asks =
                    |key: &str, value: &str| url.query_pairs().any(|(one, two)| one == key && two == value);
                let is_ours = asks("Action", "ConfirmSubscription") && asks("TopicArn", &self.topic_arn);
                if is_ours { Ok(Believed::Confirm(url)) } else { Err(Disbelief::Address) }
            }
            "UnsubscribeConfirmation" => Ok(Believed::Ended),
            _ => Ok(Believed::News(event(&self.said, now))),
        }
    }
}

/// An event of SES; what is of other mails, or no end, is `None`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    #[serde(rename = "eventType", alias = "notificationType")]
    kind: String,
    mail: Mail,
    #[serde(default)]
    bounce: Option<Bounce>,
    #[serde(default)]
    complaint: Option<Complaint>,
    #[serde(default)]
    delivery: Option<At>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Mail {
    #[serde(default)]
    message_id: Option<String>,
    #[serde(default)]
    tags: BTreeMap<String, Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Bounce {
    #[serde(rename = "bounceType")]
    kind: String,
    #[serde(default)]
    bounced_recipients: Vec<Recipient>,
    #[serde(default)]
    timestamp: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Complaint {
    #[serde(default)]
    complained_recipients: Vec<Recipient>,
    #[serde(default)]
    timestamp: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Recipient {
    email_address: String,
}

impl Event {
    /// A mail of ours has one.
    fn recipient(&self) -> Option<String> {
        let bounced = self.bounce.iter().flat_map(|bounce| &bounce.bounced_recipients);
        let complained = self.complaint.iter().flat_map(|complaint| &complaint.complained_recipients);
        bounced.chain(complained).next().map(|recipient| recipient.email_address.clone())
    }
}

#[derive(Deserialize)]
struct At {
    #[serde(default)]
    timestamp: Option<String>,
}

fn event(text: &str, now: Wall) -> Option<Receipt> {
    let event: Event = serde_json::from_str(text).ok()?;
    let failed = |code: &str| What::Failed { class: Class::Content, code: code.to_owned() };
    let to = event.recipient().map(Address::Email);
    let (what, at) = match event.kind.as_str() {
        "Delivery" => (What::Delivered, event.delivery.and_then(|delivery| delivery.timestamp)),
        "Bounce" => {
            let bounce = event.bounce?;
            (What::Bounced { permanent: bounce.kind == "Permanent" }, bounce.timestamp)
        }
        "Complaint" => (What::Complained, event.complaint.and_then(|complaint| complaint.timestamp)),
        "Reject" => (failed("Reject"), None),
        "Rendering Failure" => (failed("RenderingFailure"), None),
        _ => return None,
    };
    let parts =
        (0..TAGS_MAX).map_while(|number| event.mail.tags.get(&format!("{TAG}{number}"))?.first().cloned());
    let delivery = delivery::read(&parts.collect::<String>())?;
    let at = at.and_then(|at| Wall::parse(&at).ok()).unwrap_or(now);
    Some(Receipt { delivery, what, to, reference: event.mail.message_id, at })
}

/// RSA with the padding of PKCS #1, version 1.5. SNS still signs with SHA-1 unless a topic is told otherwise, which the verifiers
/// of TLS do not have.
#[derive(Debug)]
enum Rsa {
    Sha1,
    Sha256,
}

impl Rsa {
    const SHA1: Rsa = Rsa::Sha1;
    const SHA256: Rsa = Rsa::Sha256;
}

impl SignatureVerificationAlgorithm for Rsa {
    fn verify_signature(&self, key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
        let algorithm = match self {
            Rsa::Sha1 => &RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY,
            Rsa::Sha256 => &RSA_PKCS1_2048_8192_SHA256,
        };
        UnparsedPublicKey::new(algorithm, key).verify(message, signature).map_err(|_| InvalidSignature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::RSA_ENCRYPTION
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::RSA_PKCS1_SHA256
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::owner::DeliveryKey;
    use crate::record::Channel;

    // Signed with a key that was thrown away, in the form of SNS's documentation.
    const CERTIFICATE: &str = "MIIDVzCCAj+gAwIBAgIUTK/F10fsnMAs6T4ShxVkyYdcqmcwDQYJKoZIhvcNAQELBQAwJjEkMCIGA1UEAwwbc25zLmV1LXdlc3QtMS5hbWF6b25hd3MuY29tMCAXDTI2MTEzMDAyMzcyNFoYDzIxMjYxMTA2MDIzNzI0WjAmMSQwIgYDVQQDDBtzbnMuZXUtd2VzdC0xLmFtYXpvbmF3cy5jb20wggEiMA0GCSqGSIb3DQEBAQUAA4IBDwAwggEKAoIBAQCoyd+7+Q3a4hoZVIZIdVzvAJTeRKesseggE+8QXGVoVSY+y+Bypd/ZjnBwN4b2lf+Lx+RUOj7VfbY1jAHXq/g9Dh9oy6L3G0FbUFwq076oNToHZ7qfvW+HxasO4tws68a2g/iU3IpMEk+IXJEqDFfjNZw61As0TIgTzcxFU/eH0Ro9efNGQTkjiYPDEPwvneqbd6bpet5QoUjHX+tAR+IB/qdFbicNqytkuVPASgg/mMZQk1gWEWzF3Rmp8J95ueYJRdYmPTEfpuRS8//g2cGL1IEVQELmQ7stmJQlqSDKoRg0cFbi744J/ZAjRdAGkJdN/h80WQGUpexT7/TEO+pzAgMBAAGjezB5MB0GA1UdDgQWBBTZVFLGEHR9EAhKWz1f4trNP0W3TDAfBgNVHSMEGDAWgBTZVFLGEHR9EAhKWz1f4trNP0W3TDAPBgNVHRMBAf8EBTADAQH/MCYGA1UdEQQfMB2CG3Nucy5ldS13ZXN0LTEuYW1hem9uYXdzLmNvbTANBgkqhkiG9w0BAQsFAAOCAQEAcs0Y/5xT58u8Fu2OiCkzxz+oMIfwlA8k+jZJlQjk3nSn0ZXGsDfGzWUmW5ZT6I4evwtS25m9eI8jQsmLzSVuYIiYsj5FEwyiw1rAn4gpocqtKX+ZguxFmdpUNsuszr4UGUwplccYySX38vyx0EhwgSTaYak/v/169norTdBzj38zKXO3s3hA4/YWUemsMYyzOueVXF+pPiRnXMUba1MaeNillNKKfrOvhKJ+VEtr3ZhYDb8EwykXICbM1wKrTWyVzaUHvKgMNsfo8ia10Lk2vKBSage5c1XQn7qrbk8r1xWrHekqZ+j8UsGcpwDyZvCUuY7zgMP0Uxxgq+vVY3LHhA==";
    const NOTIFICATION_1: &str = r#"{"Type":"Notification","MessageId":"22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324","TopicArn":"arn:aws:sns:eu-west-1:123456789012:mail","Subject":"Amazon SES Email Event Notification","Message":"{\"eventType\":\"Bounce\",\"bounce\":{\"bounceType\":\"Permanent\",\"bounceSubType\":\"General\",\"bouncedRecipients\":[{\"emailAddress\":\"ada@x.example\",\"action\":\"failed\",\"status\":\"5.1.1\",\"diagnosticCode\":\"smtp; 550 5.1.1 user unknown\"}],\"timestamp\":\"2026-02-20T10:00:00.000Z\"},\"mail\":{\"timestamp\":\"2026-02-20T09:59:59.000Z\",\"messageId\":\"0102-1\",\"tags\":{\"ses:configuration-set\":[\"events\"],\"tocsin0\":[\"AAAAAAAAAAAAAAAAAAAACWVhZGE\"]}}}","Timestamp":"2026-02-20T10:00:01.000Z","SignatureVersion":"1","SigningCertURL":"https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-01d088a6f77103d0fe307c0069e40ed6.pem","UnsubscribeURL":"https://sns.eu-west-1.amazonaws.com/?Action=Unsubscribe","Signature":"BOj7kePH5fU6PtRe+0RC5zbpJ/rfAv/Ko3AU/jbj0hkrn5vBuggXpqLobUCu0sYVNcCnZQGKpe1T9j6oC/22hHVxLQZjjlSmMJH+OFnNT3gCRZ7vT+39Dd4eexl9J2t6n52DZL0aM28vxpLDl9jRyTDHe1nOKfeH7b6LFAFK1QY7mhmYYxqPG9sHYB9qok4qE0Xq/+LXcpF4B2fo1THXyLnEVVvam/yRReKnr7ic7z1XE3JAO37YWr647rZt6e9oYIZMqmDdq60j9ccL/FUVHG65ast2UUCQ5OZi1TRU/LRPnD5QGXaE2jb3xlZL87GSrAJ+oaMC1fuaE3eak6JJyA=="}"#;
    const NOTIFICATION_2: &str = r#"{"Type":"Notification","MessageId":"22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324","TopicArn":"arn:aws:sns:eu-west-1:123456789012:mail","Subject":"Amazon SES Email Event Notification","Message":"{\"eventType\":\"Bounce\",\"bounce\":{\"bounceType\":\"Permanent\",\"bounceSubType\":\"General\",\"bouncedRecipients\":[{\"emailAddress\":\"ada@x.example\",\"action\":\"failed\",\"status\":\"5.1.1\",\"diagnosticCode\":\"smtp; 550 5.1.1 user unknown\"}],\"timestamp\":\"2026-02-20T10:00:00.000Z\"},\"mail\":{\"timestamp\":\"2026-02-20T09:59:59.000Z\",\"messageId\":\"0102-1\",\"tags\":{\"ses:configuration-set\":[\"events\"],\"tocsin0\":[\"AAAAAAAAAAAAAAAAAAAACWVhZGE\"]}}}","Timestamp":"2026-02-20T10:00:01.000Z","SignatureVersion":"2","SigningCertURL":"https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-01d088a6f77103d0fe307c0069e40ed6.pem","UnsubscribeURL":"https://sns.eu-west-1.amazonaws.com/?Action=Unsubscribe","Signature":"YK9EdDsKovDsNZ1+p39tQ+vQfDL35tkcJ9Jad3e4K52Tx7HKfEaejMINm+1nAgx9eSClrYiUHpfS0BrEbV+5EjHWQaFuUlOOeoeLIvYuxl1bXQRBPp63Fx2Q0CAGM2HHGDLmMiHC+/3/vS1MEbuo3dtqAoQHkNaX0O1iGclnWkn2pDHOHZxUWq4cAmQk2MvFSs8QufQLFfa8f4BbkudXNpUWIk0yMCunDJz2kKMjOrMARXqy9IL8vEuuUtZAUv8UdUH3nWlH4jHGdPARk0N+5E8RzvjI2vrQHW0CCAXIuVQvu/5YeoqW0BXqcz2gbHECcRAvhN6phzByBNGYYlOAnQ=="}"#;
    const CONFIRMATION: &str = r#"{"Type":"SubscriptionConfirmation","MessageId":"165545c9-2a5c-472c-8df2-7ff2be2b3b1b","Token":"2336412f37","TopicArn":"arn:aws:sns:eu-west-1:123456789012:mail","Message":"You have chosen to subscribe to the topic.\nTo confirm the subscription, visit the SubscribeURL included in this message.","SubscribeURL":"https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription&TopicArn=arn:aws:sns:eu-west-1:123456789012:mail&Token=2336412f37","Timestamp":"2026-02-20T10:00:00.000Z","SignatureVersion":"2","SigningCertURL":"https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-01d088a6f77103d0fe307c0069e40ed6.pem","Signature":"Lh2h06Dx4PErX+UG2LlhngjfEscpYugFqM/lMEw5GPHb8ATrQu/P+RIM0U2yduP6fLK/Au6vN1GtgPnl5W/O0oyTyogeYoKxs91ImlnDt6+syCcGNAbQrkmgF6y0tlo9/4YfAQK2K8/IR5y8lHTBDuYx0kwsKUNq6GtGRt2Ywum73eLKnR/h0WVnEXUkpaZFc3E5arRiziaeLxmuTMowb5AHwBrD+baCedJgLVZHExt8c7BykIfi8CAPyGoMi1XuMyrJliTzewD+UpBO3BH1pk12dkCOIjaMNZZM6vV5XYDU1fOqdGX9t9zvFkWsGY21VJX0Z27FUaw33RXu/VXC3w=="}"#;
    /// Signed as well as the others: SNS would not say it, but nobody need rely on that.
    const LURE: &str = r#"{"Type":"SubscriptionConfirmation","MessageId":"165545c9-2a5c-472c-8df2-7ff2be2b3b1b","Token":"2336412f37","TopicArn":"arn:aws:sns:eu-west-1:123456789012:mail","Message":"You have chosen to subscribe to the topic.\nTo confirm the subscription, visit the SubscribeURL included in this message.","SubscribeURL":"https://evil.example/?Action=ConfirmSubscription&TopicArn=arn:aws:sns:eu-west-1:123456789012:mail","Timestamp":"2026-02-20T10:00:00.000Z","SignatureVersion":"2","SigningCertURL":"https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-01d088a6f77103d0fe307c0069e40ed6.pem","Signature":"O5QVTw4wA6NRCnGVBN8lZxkcbJgQs8IutHUxDqx7vvSBkj/rzULEAx4ft0llKmmcKAMyKkNp+lQqPgf11vC5qbxaRytaZuWqZnwYG5PXuMm/uDUP2vGilEX051Vxc0+KgP0LunY6SlBLGp7rUMBamsgyGSzpDP+TNeCrI6KxlKjLlmutahrFjM+cf6bJzqEBLRZmrmeIm/8F2N5f158WZiE0wYN+d6gItcMoNvyBaO9OSwudcjv2SvGl7yLkEW8O3drbelAFROUTgCS1iJpTEK0u61pWIKQit5kp5LIOtU4G0r9GSdpb0Ug6uKLxKWtvjtaRPZE/bgKPW/bSsFivsQ=="}"#;
    const NOW: Wall = Wall(5);

    fn from(endpoint: Option<&str>) -> Source {
        let topics = vec!["arn:aws:sns:eu-west-1:123456789012:mail".to_owned()];
        Source { topics, endpoint: endpoint.map(|text| Endpoint::parse("x", Some(text), "").unwrap()) }
    }

    fn read(body: &str) -> Result<Believed, Disbelief> {
        read_from(&from(None), body)
    }

    fn read_from(source: &Source, body: &str) -> Result<Believed, Disbelief> {
        let message = Message::parse(body.as_bytes())?;
        message.certificate_url(source)?;
        let certificate = CertificateDer::from(BASE64.decode(CERTIFICATE.as_bytes()).unwrap());
        message.read(&certificate, source, NOW)
    }

    #[test]
    fn both_versions_of_the_signature_are_believed_and_no_mutant() {
        for (body, other) in [(NOTIFICATION_1, "\"2\""), (NOTIFICATION_2, "\"1\"")] {
            let Ok(Believed::News(Some(receipt))) = read(body) else { panic!("{:?}", read(body)) };
            let delivery =
                DeliveryKey { id: Uuid::from_u128(9), channel: Channel::Email, user: "ada".to_owned() };
            assert_eq!((receipt.delivery, receipt.what), (delivery, What::Bounced { permanent: true }));
            assert!(receipt.to == Some(Address::Email("ada@x.example".to_owned())), "whom it bounced at");
            assert_eq!(receipt.at, Wall::parse("2026-02-20T10:00:00Z").unwrap());
            for (from, to) in [
                ("Permanent", "Transient"),
                ("22b80b92", "22b80b93"),
                ("10:00:01", "10:00:02"),
                ("Email Event", "Email Evens"),
                ("\"SignatureVersion\":\"1\"", "\"SignatureVersion\":\"3\""),
                ("\"SignatureVersion\":\"2\"", "\"SignatureVersion\":\"3\""),
                ("\"Signature\":\"", "\"Signature\":\"AAAA"),
            ] {
                let mutant = body.replace(from, to);
                if mutant != body {
                    assert_eq!(read(&mutant), Err(Disbelief::Forged), "{from}");
                }
            }
            let own = format!("\"SignatureVersion\":{}", if other == "\"2\"" { "\"1\"" } else { "\"2\"" });
            let swapped = body.replace(&own, &format!("\"SignatureVersion\":{other}"));
            assert_eq!(read(&swapped), Err(Disbelief::Forged), "one version's signature is not the other's");
        }
    }

    #[test]
    fn certificates_are_sns_s_own() {
        let good = "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-01d088a6f77103d0fe307c0069e40ed6.pem";
        for url in [
            "http://sns.eu-west-1.amazonaws.com/SimpleNotificationService-0.pem",
            "https://sns.eu-west-1.amazonaws.com.evil.example/SimpleNotificationService-0.pem",
            "https://sns.us-east-1.amazonaws.com/SimpleNotificationService-0.pem",
            "https://sns.eu-west-1.amazonaws.com:8443/SimpleNotificationService-0.pem",
            "https://sns.eu-west-1.amazonaws.com@evil.example/SimpleNotificationService-0.pem",
            "https://evil.example/SimpleNotificationService-0.pem",
            "https://sns.eu-west-1.amazonaws.com/x/../evil.pem",
            "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-0.pem?x=1",
            "https://s3.eu-west-1.amazonaws.com/SimpleNotificationService-0.pem",
            "file:///etc/passwd",
        ] {
            let body = NOTIFICATION_1.replace(good, url);
            assert_ne!(body, NOTIFICATION_1);
            assert_eq!(read(&body), Err(Disbelief::Address), "{url}");
        }
        let other = NOTIFICATION_1.replace("123456789012", "210987654321");
        assert_eq!(read(&other), Err(Disbelief::Topic));
    }

    #[test]
    fn an_endpoint_of_the_settings_takes_the_place_of_sns_s_own_and_of_nothing_else() {
        let good = "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-01d088a6f77103d0fe307c0069e40ed6.pem";
        let here = from(Some("http://127.0.0.1:9308"));
        assert_eq!(read_from(&here, NOTIFICATION_1), Err(Disbelief::Address), "AWS's is not there any more");
        let moved = |to: &str| {
            let body = NOTIFICATION_1.replace(good, to);
            Message::parse(body.as_bytes()).unwrap().certificate_url(&here)
        };
        let at = "http://127.0.0.1:9308/SimpleNotificationService-0.pem";
        assert_eq!(moved(at).map(String::from), Ok(at.to_owned()));
        for url in [
            "http://127.0.0.1:9309/SimpleNotificationService-0.pem",
            "https://127.0.0.1:9308/SimpleNotificationService-0.pem",
            "http://127.0.0.2:9308/SimpleNotificationService-0.pem",
            "http://127.0.0.1:9308@evil.example/SimpleNotificationService-0.pem",
            "http://u@127.0.0.1:9308/SimpleNotificationService-0.pem",
            "http://127.0.0.1:9308/other.pem",
        ] {
            assert_eq!(moved(url), Err(Disbelief::Address), "{url}");
        }
        assert_eq!(read_from(&here, LURE), Err(Disbelief::Address));
    }

    #[test]
    fn a_subscription_is_confirmed_at_sns_or_not_at_all() {
        let Ok(Believed::Confirm(url)) = read(CONFIRMATION) else { panic!("{:?}", read(CONFIRMATION)) };
        assert_eq!(url.host_str(), Some("sns.eu-west-1.amazonaws.com"));
        assert_eq!(read(LURE), Err(Disbelief::Address));
    }

    #[test]
    fn events_are_what_ses_says_they_are() {
        let name = delivery::write(&DeliveryKey {
            id: Uuid::from_u128(9),
            channel: Channel::Email,
            user: "x".repeat(256),
        });
        let (one, two) = name.split_at(256);
        let tags = format!("\"mail\":{{\"tags\":{{\"tocsin0\":[\"{one}\"],\"tocsin1\":[\"{two}\"]}}}}");
        let what = |rest: &str| event(&format!("{{{rest},{tags}}}"), NOW).map(|receipt| receipt.what);
        let rejected = What::Failed { class: Class::Content, code: "Reject".to_owned() };
        let bounce = r#""eventType":"Bounce","bounce":{"bounceType":"Transient"}"#;
        assert_eq!(what(r#""eventType":"Delivery","delivery":{}"#), Some(What::Delivered));
        assert_eq!(what(bounce), Some(What::Bounced { permanent: false }));
        assert_eq!(what(r#""notificationType":"Complaint","complaint":{}"#), Some(What::Complained));
        assert_eq!(what(r#""eventType":"Reject","reject":{"reason":"Bad content"}"#), Some(rejected));
        for on_its_way in ["Send", "Open", "Click", "DeliveryDelay", "Subscription"] {
            assert_eq!(what(&format!("\"eventType\":\"{on_its_way}\"")), None, "{on_its_way}");
        }
        assert_eq!(event(r#"{"eventType":"Delivery","mail":{"tags":{}}}"#, NOW), None, "another's mail");
        assert_eq!(event("nonsense", NOW), None);
    }
}
