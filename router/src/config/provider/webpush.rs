//! `[provider.webpush]`: browsers' push services, by a VAPID key (RFC 8292).

use serde::Deserialize;

use super::{Hidden, needed, secret};
use crate::config::ConfigError;
use crate::provider::keys;

const SECTION: &str = "provider.webpush";

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WebPushSection {
    /// A P-256 key: PEM (PKCS #8), or JSON with `publicKey` and `privateKey` in base64url.
    key: Option<String>,
    /// Whom a push service may write to: `mailto:…` or `https://…`.
    subject: Option<String>,
    /// Subscriptions may lie in private networks and on this machine, there also without TLS: for tests and for push services
    /// of one's own.
    private_endpoints: bool,
    /// Pushes a second; absent: what a new account may.
    pub(super) per_s: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebPushConfig {
    pub key: Hidden,
    pub subject: String,
    pub private_endpoints: bool,
}

impl WebPushSection {
    pub(super) fn checked(&self) -> Result<WebPushConfig, ConfigError> {
        let key = secret(SECTION, "key", self.key.as_ref())?;
        keys::vapid(key.reveal()).map_err(|why| ConfigError::wrong(SECTION, "key", why))?;
        let subject = needed(SECTION, "subject", self.subject.as_ref())?;
        if !subject.starts_with("mailto:") && !subject.starts_with("https://") {
            let why = format!("{subject:?} begins with neither mailto: nor https://");
            return Err(ConfigError::wrong(SECTION, "subject", why));
        }
        Ok(WebPushConfig { key, subject: subject.to_owned(), private_endpoints: self.private_endpoints })
    }
}
