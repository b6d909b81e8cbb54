//! `[provider.fcm]`: Firebase Cloud Messaging, by a service account.

use serde::Deserialize;
use url::Url;

use super::{Endpoint, Hidden, needed, secret, trust, web_address};
use crate::config::ConfigError;
use crate::provider::keys;
use crate::provider::trust::Trust;

const SECTION: &str = "provider.fcm";
const ENDPOINT: &str = "https://fcm.googleapis.com";

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FcmSection {
    /// Absent: the service account's.
    project: Option<String>,
    /// The service account's key, as Google gives it out: a JSON file.
    credentials: Option<String>,
    endpoint: Option<String>,
    /// Roots that its certificate, and that of Google's token server, may be signed by, in PEM; absent: Mozilla's.
    ca: Option<String>,
    /// Pushes a second; absent: what a new account may.
    pub(super) per_s: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FcmConfig {
    pub project: String,
    pub endpoint: Endpoint,
    pub trust: Trust,
    pub client_email: String,
    pub private_key_id: String,
    /// PEM.
    pub private_key: Hidden,
    /// Where tokens are given out.
    pub token_uri: Url,
}

/// What of Google's file is used.
#[derive(Deserialize)]
struct Credentials {
    #[serde(default)]
    project_id: Option<String>,
    private_key_id: String,
    private_key: String,
    client_email: String,
    token_uri: String,
}

impl FcmSection {
    pub(super) fn checked(&self) -> Result<FcmConfig, ConfigError> {
        let wrong = |key: &str, why: String| ConfigError::wrong(SECTION, key, why);
        let text = secret(SECTION, "credentials", self.credentials.as_ref())?;
        // The parser's own words could show a piece of the key.
        let file: Credentials = serde_json::from_str(text.reveal())
            .map_err(|_| wrong("credentials", "the file is not a service account's key (JSON)".to_owned()))?;
        keys::rsa(&file.private_key)
            .map_err(|why| wrong("credentials", format!("private_key cannot be used: {why}")))?;
        let project = self.project.as_ref().or(file.project_id.as_ref());
        let project = needed(SECTION, "project", project)?;
        if !project.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.:".contains(&byte)) {
            return Err(wrong("project", format!("{project:?} is not a project's id")));
        }
        Ok(FcmConfig {
            project: project.to_owned(),
            trust: trust(SECTION, self.ca.as_ref())?,
            endpoint: Endpoint::parse(SECTION, self.endpoint.as_deref(), ENDPOINT)?,
            client_email: file.client_email,
            private_key_id: file.private_key_id,
            private_key: Hidden::new(file.private_key),
            token_uri: web_address(SECTION, "credentials", &file.token_uri)?,
        })
    }
}
