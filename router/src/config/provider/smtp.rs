//! `[provider.smtp]`: e-mail by a mail server.

use lettre::message::Mailbox;
use serde::Deserialize;
use url::Url;

use super::{Hidden, is_loopback, needed, secret, trust};
use crate::config::ConfigError;
use crate::provider::trust::Trust;

const SECTION: &str = "provider.smtp";

#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SmtpSection {
    /// `smtps://host` (TLS from the first byte, port 465) or `smtp://host` (STARTTLS, port 587; plain on this machine).
    url: Option<String>,
    /// `alerts@shop.example`, or with a name, `The Shop <alerts@shop.example>`.
    from: Option<String>,
    user: Option<String>,
    password_file: Option<String>,
    /// Roots that its certificate may be signed by, in PEM; absent: Mozilla's.
    ca: Option<String>,
    /// Mails a second; absent: what a new account may.
    pub(super) per_s: Option<u32>,
}

/// Hides the address: it may hold a password.
impl std::fmt::Debug for SmtpSection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SmtpSection").field("from", &self.from).finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SmtpSecurity {
    /// TLS from the first byte.
    Tls,
    /// TLS after STARTTLS, or no mail.
    StartTls,
    /// On this machine only.
    Plain,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SmtpConfig {
    pub host: String,
    pub port: u16,
    pub security: SmtpSecurity,
    pub from: Mailbox,
    pub login: Option<(String, Hidden)>,
    pub trust: Trust,
}

impl SmtpSection {
    pub(super) fn checked(&self) -> Result<SmtpConfig, ConfigError> {
        let wrong = |key: &str, why: &str| ConfigError::wrong(SECTION, key, why);
        let text = needed(SECTION, "url", self.url.as_ref())?;
        let not_one = || wrong("url", "it is not an address like smtps://mail.example");
        let url = Url::parse(text).map_err(|_| not_one())?;
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or_else(not_one)?;
        if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
            return Err(not_one());
        }
        let security = match url.scheme() {
            "smtps" => SmtpSecurity::Tls,
            "smtp" if is_here(host) => SmtpSecurity::Plain,
            "smtp" => SmtpSecurity::StartTls,
            _ => return Err(not_one()),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(wrong("url", "a name and a password stand in user and password_file"));
        }
        let login = match (&self.user, &self.password_file) {
            (None, None) => None,
            (Some(user), file) => Some((user.clone(), secret(SECTION, "password_file", file.as_ref())?)),
            (None, Some(_)) => return Err(wrong("user", "is needed beside password_file")),
        };
        let port = url.port().unwrap_or(if security == SmtpSecurity::Tls { 465 } else { 587 });
        let host = host.trim_matches(['[', ']']).to_owned();
        let from = mailbox(SECTION, self.from.as_ref())?;
        let trust = trust(SECTION, self.ca.as_ref())?;
        Ok(SmtpConfig { host, port, security, from, login, trust })
    }
}

/// Schemes that the URL standard does not know leave an address as text.
fn is_here(host: &str) -> bool {
    let plain = Url::parse(&format!("http://{host}"));
    plain.is_ok_and(|url| is_loopback(url.host().as_ref()))
}

/// The sender of a mail.
pub(super) fn mailbox(section: &str, value: Option<&String>) -> Result<Mailbox, ConfigError> {
    let text = needed(section, "from", value)?;
    text.parse().map_err(|_| {
        ConfigError::wrong(section, "from", format!("{text:?} is not an address like alerts@shop.example"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(url: &str, more: &str) -> Result<SmtpConfig, String> {
        let text = format!("url = \"{url}\"\nfrom = \"The Shop <a@shop.example>\"\n{more}");
        let section: SmtpSection = toml::from_str(&text).unwrap();
        section.checked().map_err(|error| error.to_string())
    }

    #[test]
    fn mail_is_plain_on_this_machine_only() {
        let of = |url| config(url, "").map(|config| (config.port, config.security)).unwrap();
        assert_eq!(of("smtps://mail.example"), (465, SmtpSecurity::Tls));
        assert_eq!(of("smtp://mail.example"), (587, SmtpSecurity::StartTls));
        assert_eq!(of("smtp://mail.example:25"), (25, SmtpSecurity::StartTls));
        assert_eq!(of("smtp://127.0.0.1:2525"), (2525, SmtpSecurity::Plain));
        assert_eq!(of("smtp://127.0.0.1.example"), (587, SmtpSecurity::StartTls));
    }

    #[test]
    fn a_password_in_the_address_is_refused_and_not_shown() {
        let error = config("smtp://u:hush@mail.example", "").unwrap_err();
        assert!(error.contains("password_file") && !error.contains("hush"), "{error}");
        assert!(config("http://mail.example", "").is_err());
        assert!(config("smtps://mail.example", "password_file = \"x\"\n").unwrap_err().contains("user"));
    }
}
