//! `[provider.ses]`: e-mail by Amazon's Simple Email Service, version 2 of its API.

use lettre::message::Mailbox;
use serde::Deserialize;

use super::smtp::mailbox;
use super::{Endpoint, Hidden, needed, secret, trust};
use crate::config::ConfigError;
use crate::provider::trust::Trust;

const SECTION: &str = "provider.ses";

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SesSection {
    region: Option<String>,
    /// `alerts@shop.example`, or with a name, `The Shop <alerts@shop.example>`.
    from: Option<String>,
    /// Needed for events: it says where SES tells them.
    configuration_set: Option<String>,
    /// `aws_access_key_id = …` and `aws_secret_access_key = …` on lines of their own, as in AWS's credentials file.
    access_key_file: Option<String>,
    endpoint: Option<String>,
    /// Roots that its certificate may be signed by, in PEM; absent: Mozilla's.
    ca: Option<String>,
    /// Topics of SNS whose messages are believed.
    topic_arns: Vec<String>,
    /// Where SNS is, if not at AWS: a simulator. Certificates and subscriptions are looked for there and nowhere else.
    sns_endpoint: Option<String>,
    /// Mails a second; absent: what a new account may.
    pub(super) per_s: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SesConfig {
    pub region: String,
    pub from: Mailbox,
    pub configuration_set: Option<String>,
    pub access_key: String,
    pub secret_key: Hidden,
    /// Of temporary credentials.
    pub session_token: Option<Hidden>,
    pub endpoint: Endpoint,
    pub trust: Trust,
    pub topic_arns: Vec<String>,
    pub sns_endpoint: Option<Endpoint>,
}

impl SesConfig {
    /// Whom SNS's certificate may be signed by. Roots of one's own are for an endpoint of one's own: AWS's is believed as ever.
    pub fn sns_trust(&self) -> Trust {
        self.sns_endpoint.as_ref().map(|_| self.trust.clone()).unwrap_or_default()
    }
}

impl SesSection {
    pub(super) fn checked(&self) -> Result<SesConfig, ConfigError> {
        let wrong = |key: &str, why: String| Err(ConfigError::wrong(SECTION, key, why));
        let region = needed(SECTION, "region", self.region.as_ref())?;
        if !is_region(region) {
            return wrong("region", format!("{region:?} is not a region like eu-west-1"));
        }
        let file = secret(SECTION, "access_key_file", self.access_key_file.as_ref())?;
        let value = |name: &str| setting(file.reveal(), name);
        let (Some(access_key), Some(secret_key)) =
            (value("aws_access_key_id"), value("aws_secret_access_key"))
        else {
            let why = "the file lacks aws_access_key_id = … or aws_secret_access_key = …";
            return wrong("access_key_file", why.to_owned());
        };
        for arn in &self.topic_arns {
            if topic_region(arn).is_none() {
                return wrong("topic_arns", format!("{arn:?} is not like arn:aws:sns:REGION:ACCOUNT:NAME"));
            }
        }
        let set = self.configuration_set.as_ref();
        Ok(SesConfig {
            region: region.to_owned(),
            from: mailbox(SECTION, self.from.as_ref())?,
            configuration_set: set
                .map(|_| needed(SECTION, "configuration_set", set))
                .transpose()?
                .map(str::to_owned),
            access_key,
            secret_key: Hidden::new(secret_key),
            session_token: value("aws_session_token").map(Hidden::new),
            trust: trust(SECTION, self.ca.as_ref())?,
            endpoint: Endpoint::parse(
                SECTION,
                self.endpoint.as_deref(),
                &format!("https://email.{region}.amazonaws.com"),
            )?,
            topic_arns: self.topic_arns.clone(),
            sns_endpoint: self.sns_endpoint()?,
        })
    }
}

impl SesSection {
    fn sns_endpoint(&self) -> Result<Option<Endpoint>, ConfigError> {
        let Some(text) = &self.sns_endpoint else { return Ok(None) };
        if self.topic_arns.is_empty() {
            let why = "is where certificates of topics come from, and topic_arns names none";
            return Err(ConfigError::wrong(SECTION, "sns_endpoint", why));
        }
        Endpoint::parse_as(SECTION, "sns_endpoint", text).map(Some)
    }
}

fn is_region(text: &str) -> bool {
    text.contains('-')
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

/// The region of a topic, from its name: `arn:aws:sns:eu-west-1:123456789012:mail`.
pub fn topic_region(arn: &str) -> Option<&str> {
    let mut parts = arn.split(':');
    let (arn, partition, service) = (parts.next()?, parts.next()?, parts.next()?);
    let (region, account, name) = (parts.next()?, parts.next()?, parts.next()?);
    let is_topic = arn == "arn"
        && partition.starts_with("aws")
        && service == "sns"
        && is_region(region)
        && account.bytes().all(|byte| byte.is_ascii_digit())
        && !name.is_empty()
        && parts.next().is_none();
    is_topic.then_some(region)
}

/// `name = value` of the first profile that has it.
fn setting(file: &str, name: &str) -> Option<String> {
    let pairs = file.lines().filter_map(|line| line.split_once('='));
    let mut values = pairs.filter(|(key, _)| key.trim() == name).map(|(_, value)| value.trim().to_owned());
    values.next().filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_names_its_region() {
        assert_eq!(topic_region("arn:aws:sns:eu-west-1:123456789012:mail"), Some("eu-west-1"));
        assert_eq!(topic_region("arn:aws-cn:sns:cn-north-1:1:mail"), Some("cn-north-1"));
        for wrong in
            ["", "arn:aws:sqs:eu-west-1:1:x", "arn:aws:sns:evil.example/:1:x", "arn:aws:sns:a-1:1:x:y"]
        {
            assert_eq!(topic_region(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn keys_are_read_as_aws_writes_them() {
        let file = "[default]\naws_access_key_id=AKID\naws_secret_access_key = a/b=c\n";
        assert_eq!(setting(file, "aws_access_key_id").as_deref(), Some("AKID"));
        assert_eq!(setting(file, "aws_secret_access_key").as_deref(), Some("a/b=c"));
        assert_eq!(setting(file, "aws_session_token"), None);
    }
}
