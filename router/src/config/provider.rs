//! `[provider.*]`: the accounts with those who carry letters out of the system, as they are written and as they are used.
//!
//! Each section has a file of its own; this one owns what they share: how an address of a provider is written, and how
//! a secret is held. Every file that a section names is read here, once, at a start or a reload; keys are tried, so that
//! `--check-config` finds one that cannot sign.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use url::{Host, Url};

use super::file::within;
use super::service::secret_from_file;
use super::{ConfigError, share};
use crate::limits::LANE_PER_S_MAX;
use crate::provider::caps;
use crate::provider::lane::Budget;
use crate::provider::trust::Trust;
use crate::provider::way::Way;
use crate::record::Channel;

mod apns;
mod fcm;
mod ses;
mod smtp;
mod twilio;
mod webpush;

pub use apns::ApnsConfig;
pub use fcm::FcmConfig;
pub use ses::{SesConfig, topic_region};
pub use smtp::{SmtpConfig, SmtpSecurity};
pub use twilio::{Sender, TwilioConfig};
pub use webpush::WebPushConfig;

/// Bytes of a name, an address or an id in these sections.
const FIELD_BYTES_MAX: usize = 512;

/// `[provider]` as it is written.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProviderSection {
    fcm: Option<fcm::FcmSection>,
    apns: Option<apns::ApnsSection>,
    webpush: Option<webpush::WebPushSection>,
    ses: Option<ses::SesSection>,
    smtp: Option<smtp::SmtpSection>,
    twilio: Option<twilio::TwilioSection>,
}

/// Which accounts there are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProviderConfig {
    pub fcm: Option<FcmConfig>,
    pub apns: Option<ApnsConfig>,
    pub webpush: Option<WebPushConfig>,
    pub ses: Option<SesConfig>,
    pub smtp: Option<SmtpConfig>,
    pub twilio: Option<TwilioConfig>,
    /// What accounts may be asked, where the settings say it.
    pub budgets: BTreeMap<Way, Budget>,
}

impl ProviderConfig {
    /// How much phone numbers may get.
    pub fn caps(&self) -> caps::Rules {
        let rules = |twilio: &TwilioConfig| caps::Rules {
            per_prefix: twilio.caps_per_prefix.clone(),
            per_number: twilio.caps_per_number,
        };
        self.twilio.as_ref().map(rules).unwrap_or_default()
    }

    /// What accounts may be asked, and what prefixes may get, is shared out evenly. A number is as a rule one user's, and so one
    /// router's.
    pub(super) fn of_one_of(mut self, routers: u32) -> ProviderConfig {
        if routers == 1 {
            return self;
        }
        for way in Way::ALL {
            let whole = self.budgets.get(&way).copied().unwrap_or_else(|| Budget::usual(way));
            self.budgets.insert(way, Budget::of(way, share(whole.per_s, routers)));
        }
        let caps = self.twilio.iter_mut().flat_map(|twilio| twilio.caps_per_prefix.values_mut());
        // What may get nothing gets nothing.
        caps.filter(|cap| **cap > 0).for_each(|cap| *cap = share(*cap, routers));
        self
    }

    /// Whether callbacks prove themselves alike.
    pub fn believes_as(&self, other: &ProviderConfig) -> bool {
        let twilio = |of: &ProviderConfig| {
            of.twilio.as_ref().map(|twilio| (twilio.status_callback.clone(), twilio.auth_token.clone()))
        };
        let topics = |of: &ProviderConfig| {
            of.ses.as_ref().map(|ses| (ses.topic_arns.clone(), ses.sns_endpoint.clone(), ses.sns_trust()))
        };
        twilio(self) == twilio(other) && topics(self) == topics(other)
    }

    /// Whether an account carries this channel.
    pub fn carry(&self, channel: Channel) -> bool {
        match channel {
            Channel::Inapp => true,
            Channel::Push => self.fcm.is_some() || self.apns.is_some() || self.webpush.is_some(),
            Channel::Email => self.ses.is_some() || self.smtp.is_some(),
            Channel::Sms => self.twilio.is_some(),
            Channel::Voice => self.twilio.as_ref().is_some_and(|twilio| twilio.voice_from.is_some()),
        }
    }

    /// Of the accounts that there are.
    pub fn names(&self) -> Vec<&'static str> {
        let all = [
            ("fcm", self.fcm.is_some()),
            ("apns", self.apns.is_some()),
            ("webpush", self.webpush.is_some()),
            ("ses", self.ses.is_some()),
            ("smtp", self.smtp.is_some()),
            ("twilio", self.twilio.is_some()),
        ];
        all.into_iter().filter(|(_, is_there)| *is_there).map(|(name, _)| name).collect()
    }
}

impl ProviderSection {
    pub fn checked(&self) -> Result<ProviderConfig, ConfigError> {
        if self.ses.is_some() && self.smtp.is_some() {
            let why = "e-mail goes by [provider.ses] already: leave one of the two out";
            return Err(ConfigError::wrong("provider.smtp", "url", why));
        }
        Ok(ProviderConfig {
            fcm: self.fcm.as_ref().map(fcm::FcmSection::checked).transpose()?,
            apns: self.apns.as_ref().map(apns::ApnsSection::checked).transpose()?,
            webpush: self.webpush.as_ref().map(webpush::WebPushSection::checked).transpose()?,
            ses: self.ses.as_ref().map(ses::SesSection::checked).transpose()?,
            smtp: self.smtp.as_ref().map(smtp::SmtpSection::checked).transpose()?,
            twilio: self.twilio.as_ref().map(twilio::TwilioSection::checked).transpose()?,
            budgets: self.budgets()?,
        })
    }

    fn budgets(&self) -> Result<BTreeMap<Way, Budget>, ConfigError> {
        let twilio = self.twilio.as_ref();
        let said = [
            (Way::Fcm, "fcm", "per_s", self.fcm.as_ref().and_then(|of| of.per_s)),
            (Way::Apns, "apns", "per_s", self.apns.as_ref().and_then(|of| of.per_s)),
            (Way::WebPush, "webpush", "per_s", self.webpush.as_ref().and_then(|of| of.per_s)),
            (Way::Email, "ses", "per_s", self.ses.as_ref().and_then(|of| of.per_s)),
            (Way::Email, "smtp", "per_s", self.smtp.as_ref().and_then(|of| of.per_s)),
            (Way::Sms, "twilio", "per_s", twilio.and_then(|of| of.per_s)),
            (Way::Voice, "twilio", "calls_per_s", twilio.and_then(|of| of.calls_per_s)),
        ];
        let mut budgets = BTreeMap::new();
        for (way, section, key, per_s) in said {
            let Some(per_s) = per_s else { continue };
            within(&format!("provider.{section}"), key, per_s.into(), 1, LANE_PER_S_MAX.into())?;
            budgets.insert(way, Budget::of(way, per_s));
        }
        Ok(budgets)
    }
}

/// A secret that is needed as it is. `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct Hidden(String);

impl Hidden {
    pub fn new(secret: impl Into<String>) -> Hidden {
        Hidden(secret.into())
    }

    /// For signing and for the one header that carries it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Hidden {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hidden(…)")
    }
}

/// Where a provider is: scheme, host and port. TLS everywhere but on this machine, where a simulator may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint(Url);

impl Endpoint {
    /// `text`, or the provider's own address.
    pub(crate) fn parse(section: &str, text: Option<&str>, otherwise: &str) -> Result<Endpoint, ConfigError> {
        Endpoint::parse_as(section, "endpoint", text.unwrap_or(otherwise))
    }

    /// The same under another key.
    fn parse_as(section: &str, key: &str, text: &str) -> Result<Endpoint, ConfigError> {
        let url = web_address(section, key, text)?;
        if url.path() != "/" || url.query().is_some() {
            let why = format!("{text:?} is more than a scheme, a host and a port");
            return Err(ConfigError::wrong(section, key, why));
        }
        Ok(Endpoint(url))
    }

    /// The address of what lies under `path`, which begins with a slash.
    pub fn at(&self, path: &str) -> String {
        format!("{}{path}", self.0.as_str().trim_end_matches('/'))
    }

    /// Whether an address is of this scheme, host and port.
    pub fn holds(&self, url: &Url) -> bool {
        self.0.origin() == url.origin()
    }

    /// As it stands in a `Host` header.
    pub fn authority(&self) -> &str {
        self.0.authority()
    }
}

/// `https://…`, or `http://…` on this machine. Names and passwords do not belong into it.
pub(super) fn web_address(section: &str, key: &str, text: &str) -> Result<Url, ConfigError> {
    let wrong = |why: String| Err(ConfigError::wrong(section, key, why));
    let Ok(url) = Url::parse(text) else {
        return wrong(format!("{text:?} is not an address like https://provider.example"));
    };
    if !matches!(url.scheme(), "https" | "http") || !url.has_host() || url.fragment().is_some() {
        return wrong(format!("{text:?} is not an address like https://provider.example"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return wrong("a name or a password does not belong into an address".to_owned());
    }
    if url.scheme() == "http" && !is_loopback(url.host().as_ref()) {
        return wrong(format!("{text:?} is neither https nor on this machine"));
    }
    Ok(url)
}

fn is_loopback(host: Option<&Host<&str>>) -> bool {
    match host {
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        Some(Host::Domain(name)) => *name == "localhost",
        None => false,
    }
}

/// A value that must be there, of visible characters.
fn needed<'a>(section: &str, key: &str, value: Option<&'a String>) -> Result<&'a str, ConfigError> {
    match value.map(String::as_str) {
        None | Some("") => Err(ConfigError::wrong(section, key, "is needed")),
        Some(text) if text.len() > FIELD_BYTES_MAX || text.chars().any(char::is_control) => {
            let why = format!("is not 1..={FIELD_BYTES_MAX} bytes without control characters");
            Err(ConfigError::wrong(section, key, why))
        }
        Some(text) => Ok(text),
    }
}

/// Letters and digits, as many as the provider gives its ids.
fn id<'a>(
    section: &str,
    key: &str,
    value: Option<&'a String>,
    length: usize,
) -> Result<&'a str, ConfigError> {
    let text = needed(section, key, value)?;
    if text.len() == length && text.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        Ok(text)
    } else {
        Err(ConfigError::wrong(section, key, format!("{text:?} is not {length} letters and digits")))
    }
}

/// A secret from the file that `key` names.
fn secret(section: &str, key: &str, file: Option<&String>) -> Result<Hidden, ConfigError> {
    let file = needed(section, key, file)?;
    let secret = secret_from_file(Path::new(file))?;
    if secret.is_empty() {
        return Err(ConfigError::wrong(section, key, "the file is empty"));
    }
    Ok(Hidden(secret))
}

/// Whom an account's certificate may be signed by.
fn trust(section: &str, file: Option<&String>) -> Result<Trust, ConfigError> {
    let Some(file) = file else { return Ok(Trust::default()) };
    let wrong = |why: String| ConfigError::wrong(section, "ca", format!("{file}: {why}"));
    let pem = std::fs::read(file).map_err(|error| wrong(error.to_string()))?;
    Trust::from_pem(&pem).map_err(|why| wrong(why.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(text: &str) -> Result<Endpoint, String> {
        Endpoint::parse("provider.x", Some(text), "").map_err(|error| error.to_string())
    }

    #[test]
    fn plaintext_stays_on_this_machine() {
        for good in ["https://a.example", "http://127.0.0.1:9", "http://[::1]:9", "http://localhost:1"] {
            assert!(endpoint(good).is_ok(), "{good}");
        }
        for bad in ["http://a.example", "http://127.0.0.1.example", "http://10.0.0.1", "ftp://127.0.0.1"] {
            assert!(endpoint(bad).unwrap_err().starts_with("[provider.x] endpoint: "), "{bad}");
        }
    }

    #[test]
    fn an_endpoint_is_no_more_than_a_place() {
        for bad in ["https://u:p@a.example", "https://a.example/x", "https://a.example/?q", "a.example", ""] {
            assert!(endpoint(bad).is_err(), "{bad}");
        }
        assert!(!endpoint("https://u:hush@a.example").unwrap_err().contains("hush"));
        assert_eq!(endpoint("https://a.example:444").unwrap().at("/x"), "https://a.example:444/x");
    }

    #[test]
    fn a_budget_is_what_the_account_may_be_asked() {
        let budgets = |text: &str| {
            let section: ProviderSection = toml::from_str(text).unwrap();
            section.budgets().map(|budgets| budgets.into_iter().collect::<Vec<_>>())
        };
        for (section, key, way) in [
            ("fcm", "per_s", Way::Fcm),
            ("apns", "per_s", Way::Apns),
            ("webpush", "per_s", Way::WebPush),
            ("ses", "per_s", Way::Email),
            ("smtp", "per_s", Way::Email),
            ("twilio", "per_s", Way::Sms),
            ("twilio", "calls_per_s", Way::Voice),
        ] {
            assert_eq!(budgets(&format!("[{section}]")).unwrap(), [], "the usual one");
            let said = budgets(&format!("[{section}]\n{key} = 500")).unwrap();
            assert_eq!(said, [(way, Budget::of(way, 500))], "{section} {key}");
            for wrong in [0, LANE_PER_S_MAX + 1] {
                let why = budgets(&format!("[{section}]\n{key} = {wrong}")).unwrap_err().to_string();
                assert!(why.starts_with(&format!("[provider.{section}] {key}: ")), "{why}");
            }
        }
    }

    #[test]
    fn mail_goes_one_way() {
        let text = "[ses]\nregion = \"eu-west-1\"\n[smtp]\nurl = \"smtps://a.example\"\n";
        let section: ProviderSection = toml::from_str(text).unwrap();
        assert!(section.checked().unwrap_err().to_string().contains("leave one of the two out"));
    }
}
