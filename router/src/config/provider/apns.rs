//! `[provider.apns]`: Apple's push service, by a signing key.

use serde::Deserialize;

use super::{Endpoint, Hidden, id, needed, secret, trust};
use crate::config::ConfigError;
use crate::provider::keys;
use crate::provider::trust::Trust;

const SECTION: &str = "provider.apns";
const ENDPOINT: &str = "https://api.push.apple.com";

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ApnsSection {
    /// The `.p8` file.
    key: Option<String>,
    key_id: Option<String>,
    team_id: Option<String>,
    /// The app's bundle id.
    topic: Option<String>,
    /// Absent: production; the sandbox is `https://api.sandbox.push.apple.com`.
    endpoint: Option<String>,
    /// Roots that its certificate may be signed by, in PEM; absent: Mozilla's.
    ca: Option<String>,
    /// Pushes a second; absent: what a new account may.
    pub(super) per_s: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApnsConfig {
    /// PEM.
    pub key: Hidden,
    pub key_id: String,
    pub team_id: String,
    pub topic: String,
    pub endpoint: Endpoint,
    pub trust: Trust,
}

impl ApnsSection {
    pub(super) fn checked(&self) -> Result<ApnsConfig, ConfigError> {
        let key = secret(SECTION, "key", self.key.as_ref())?;
        keys::p256(key.reveal()).map_err(|why| ConfigError::wrong(SECTION, "key", why))?;
        let topic = needed(SECTION, "topic", self.topic.as_ref())?;
        if !topic.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte)) {
            return Err(ConfigError::wrong(SECTION, "topic", format!("{topic:?} is not a bundle id")));
        }
        Ok(ApnsConfig {
            key,
            key_id: id(SECTION, "key_id", self.key_id.as_ref(), 10)?.to_owned(),
            team_id: id(SECTION, "team_id", self.team_id.as_ref(), 10)?.to_owned(),
            topic: topic.to_owned(),
            trust: trust(SECTION, self.ca.as_ref())?,
            endpoint: Endpoint::parse(SECTION, self.endpoint.as_deref(), ENDPOINT)?,
        })
    }
}
