//! `[provider.twilio]`: SMS and calls.

use std::collections::BTreeMap;

use serde::Deserialize;
use url::Url;

use super::{Endpoint, Hidden, id, needed, secret, trust, web_address};
use crate::config::ConfigError;
use crate::config::file::within;
use crate::provider::trust::Trust;

const SECTION: &str = "provider.twilio";
const ENDPOINT: &str = "https://api.twilio.com";
/// Digits of a number, by E.164.
const DIGITS_MAX: usize = 15;
const CAP_MAX: u64 = 1_000_000;
const PREFIXES_MAX: usize = 1_000;

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TwilioSection {
    /// `AC…`.
    account: Option<String>,
    /// An API key, `SK…`; absent: the account itself, and `secret_file` holds its auth token.
    key: Option<String>,
    secret_file: Option<String>,
    /// A number, or a messaging service, `MG…`.
    from: Option<String>,
    /// Absent: there are no calls.
    voice_from: Option<String>,
    /// Where Twilio tells what became of a message: this router's `/v1/callbacks/twilio`, as the world sees it.
    status_callback: Option<String>,
    endpoint: Option<String>,
    /// Roots that its certificate may be signed by, in PEM; absent: Mozilla's.
    ca: Option<String>,
    /// The account's auth token, by which callbacks are signed; needed with a key and a callback.
    auth_token_file: Option<String>,
    /// Messages and calls an hour to all numbers that begin so; the longest prefix counts.
    caps_per_prefix: BTreeMap<String, u32>,
    /// Messages and calls an hour to one number.
    caps_per_number: Option<u32>,
    /// Messages a second; absent: what a new account may.
    pub(super) per_s: Option<u32>,
    /// Calls a second.
    pub(super) calls_per_s: Option<u32>,
}

/// Who a message comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sender {
    Number(String),
    Service(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TwilioConfig {
    pub account: String,
    pub key: String,
    pub secret: Hidden,
    pub from: Sender,
    pub voice_from: Option<String>,
    pub status_callback: Option<Url>,
    pub endpoint: Endpoint,
    pub trust: Trust,
    /// What callbacks are signed with.
    pub auth_token: Option<Hidden>,
    pub caps_per_prefix: BTreeMap<String, u32>,
    pub caps_per_number: Option<u32>,
}

impl TwilioSection {
    pub(super) fn checked(&self) -> Result<TwilioConfig, ConfigError> {
        let account = sid("account", "AC", self.account.as_ref())?;
        let key = match &self.key {
            Some(key) if *key == account => account.clone(),
            Some(key) => sid("key", "SK", Some(key))?,
            None => account.clone(),
        };
        let secret_text = secret(SECTION, "secret_file", self.secret_file.as_ref())?;
        let named = self.auth_token_file.as_ref();
        let auth_token = match named {
            Some(_) => Some(secret(SECTION, "auth_token_file", named)?),
            None if key == account => Some(secret_text.clone()),
            None => None,
        };
        let callback = self.status_callback.as_deref();
        let status_callback = callback.map(|url| web_address(SECTION, "status_callback", url)).transpose()?;
        if status_callback.is_some() && auth_token.is_none() {
            let why = "is needed: without it nobody knows whether a callback is Twilio's";
            return Err(ConfigError::wrong(SECTION, "auth_token_file", why));
        }
        Ok(TwilioConfig {
            key,
            secret: secret_text,
            from: sender(self.from.as_ref())?,
            voice_from: self.voice_from.as_ref().map(|text| number("voice_from", text)).transpose()?,
            status_callback,
            trust: trust(SECTION, self.ca.as_ref())?,
            endpoint: Endpoint::parse(SECTION, self.endpoint.as_deref(), ENDPOINT)?,
            auth_token,
            caps_per_prefix: self.prefixes()?,
            caps_per_number: self.cap_per_number()?,
            account,
        })
    }

    fn prefixes(&self) -> Result<BTreeMap<String, u32>, ConfigError> {
        within(SECTION, "caps_per_prefix", self.caps_per_prefix.len() as u64, 0, PREFIXES_MAX as u64)?;
        for (prefix, cap) in &self.caps_per_prefix {
            number("caps_per_prefix", prefix)?;
            within(SECTION, "caps_per_prefix", (*cap).into(), 0, CAP_MAX)?;
        }
        Ok(self.caps_per_prefix.clone())
    }

    fn cap_per_number(&self) -> Result<Option<u32>, ConfigError> {
        if let Some(cap) = self.caps_per_number {
            within(SECTION, "caps_per_number", cap.into(), 1, CAP_MAX)?;
        }
        Ok(self.caps_per_number)
    }
}

/// Twilio's ids: two letters that say what it is, and 32 hexadecimal digits.
fn sid(key: &str, kind: &str, value: Option<&String>) -> Result<String, ConfigError> {
    let text = id(SECTION, key, value, 34)?;
    if text.starts_with(kind) {
        Ok(text.to_owned())
    } else {
        Err(ConfigError::wrong(SECTION, key, format!("{text:?} does not begin with {kind}")))
    }
}

fn sender(value: Option<&String>) -> Result<Sender, ConfigError> {
    let text = needed(SECTION, "from", value)?;
    if text.starts_with("MG") {
        return sid("from", "MG", value).map(Sender::Service);
    }
    number("from", text).map(Sender::Number)
}

/// `+` and digits: a number, or the beginning of some.
fn number(key: &str, text: &str) -> Result<String, ConfigError> {
    let is_number = text.strip_prefix('+').is_some_and(|digits| {
        (1..=DIGITS_MAX).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit())
    });
    if is_number {
        Ok(text.to_owned())
    } else {
        Err(ConfigError::wrong(SECTION, key, format!("{text:?} is not a number like +4915112345678")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SID: &str = "0123456789abcdef0123456789abcdef";

    fn config(more: &str) -> Result<TwilioConfig, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "hush\n").unwrap();
        let path = file.path().display();
        let text = format!("account = \"AC{SID}\"\nsecret_file = \"{path}\"\n{more}");
        let section: TwilioSection = toml::from_str(&text).map_err(|error| error.message().to_owned())?;
        section.checked().map_err(|error| error.to_string())
    }

    #[test]
    fn an_account_may_speak_for_itself_or_by_a_key() {
        let plain = config("from = \"+15005550006\"\n").unwrap();
        assert_eq!(plain.key, plain.account);
        assert_eq!(plain.auth_token, Some(Hidden::new("hush")), "its secret is the token");
        let by_key = config(&format!("key = \"SK{SID}\"\nfrom = \"MG{SID}\"\n")).unwrap();
        assert_eq!(by_key.key, format!("SK{SID}"));
        assert_eq!((by_key.auth_token, by_key.from), (None, Sender::Service(format!("MG{SID}"))));
    }

    #[test]
    fn what_cannot_be_used_has_one_clear_line() {
        let from = "from = \"+15005550006\"\n";
        let cases = [
            (String::new(), "[provider.twilio] from: is needed"),
            ("from = \"015\"\n".to_owned(), "from: \"015\" is not a number"),
            (format!("{from}key = \"SK1\"\n"), "key: \"SK1\" is not 34"),
            (format!("{from}voice_from = \"x\"\n"), "voice_from"),
            (format!("{from}status_callback = \"http://a.example/x\"\n"), "status_callback"),
            (
                format!("{from}key = \"SK{SID}\"\nstatus_callback = \"https://a.example/x\"\n"),
                "auth_token_file: is needed",
            ),
            (format!("{from}caps_per_number = 0\n"), "caps_per_number: 0 is not in 1..="),
            (format!("{from}caps_per_prefix = {{ \"882\" = 1 }}\n"), "caps_per_prefix"),
            (format!("{from}secrt_file = \"x\"\n"), "unknown field `secrt_file`"),
        ];
        for (more, says) in cases {
            let error = config(&more).unwrap_err();
            assert!(error.contains(says), "{more}\n{error}");
        }
    }

    #[test]
    fn the_secret_never_shows() {
        assert!(!format!("{:?}", config("from = \"+15005550006\"\n").unwrap()).contains("hush"));
    }
}
