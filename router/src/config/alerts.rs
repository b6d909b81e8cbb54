//! `[alerts]`: where alerts go, as it is written and as it is used.

use std::path::Path;

use serde::Deserialize;
use ureq::http::Uri;

use super::ConfigError;
use super::service::secret_from_file;

/// `[alerts]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AlertsSection {
    /// `http://` or `https://`; absent: nobody outside is told.
    webhook: Option<String>,
    /// What the messages are signed with.
    key_file: Option<String>,
}

/// Where messages are sent. Its `Debug` hides the key and the address, which may hold another.
#[derive(Clone, PartialEq, Eq)]
pub struct Webhook {
    pub url: String,
    pub key: Option<String>,
}

impl std::fmt::Debug for Webhook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Webhook").field("is_signed", &self.key.is_some()).finish_non_exhaustive()
    }
}

impl AlertsSection {
    pub(super) fn checked(&self) -> Result<Option<Webhook>, ConfigError> {
        let wrong = |key: &str, why: &str| Err(ConfigError::wrong("alerts", key, why));
        let url = match (&self.webhook, &self.key_file) {
            (Some(url), _) => url.clone(),
            (None, Some(_)) => return wrong("key_file", "there is no webhook whose messages it could sign"),
            (None, None) => return Ok(None),
        };
        Webhook::checked(url, self.key_file.as_deref(), ("alerts", "webhook", "key_file")).map(Some)
    }
}

impl Webhook {
    /// `names`: of the section and of its two keys, for a person.
    pub(super) fn checked(
        url: String,
        key_file: Option<&str>,
        (section, url_name, key_name): (&str, &str, &str),
    ) -> Result<Webhook, ConfigError> {
        let wrong = |key: &str, why: &str| Err(ConfigError::wrong(section, key, why));
        let is_usable = url.parse::<Uri>().is_ok_and(|uri| {
            matches!(uri.scheme_str(), Some("http" | "https"))
                && uri.host().is_some_and(|host| !host.is_empty())
        });
        if !is_usable {
            return wrong(url_name, "it is not an address like https://pager.example/hooks/tocsin");
        }
        let key = key_file.map(|file| secret_from_file(Path::new(file))).transpose()?;
        if key.as_ref().is_some_and(String::is_empty) {
            return wrong(key_name, "the file is empty");
        }
        Ok(Webhook { url, key })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(webhook: Option<&str>, key_file: Option<&str>) -> AlertsSection {
        AlertsSection { webhook: webhook.map(str::to_owned), key_file: key_file.map(str::to_owned) }
    }

    #[test]
    fn an_address_and_a_key_are_checked_and_not_shown() {
        assert_eq!(section(None, None).checked().unwrap(), None);
        for wrong in ["", "pager", "ftp://pager/x", "https://", "/hooks"] {
            let error = section(Some(wrong), None).checked().unwrap_err().to_string();
            assert!(error.starts_with("[alerts] webhook"), "{wrong:?}: {error}");
        }
        assert!(section(None, Some("key")).checked().is_err(), "a key without an address");
        assert!(section(Some("http://a"), Some("/no/such/file")).checked().is_err());
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().to_str();
        assert!(section(Some("http://a"), path).checked().is_err(), "an empty key signs nothing");
        std::fs::write(file.path(), "hush\n").unwrap();
        let webhook = section(Some("https://pager.example/s3cret"), path).checked().unwrap().unwrap();
        assert_eq!(webhook.key.as_deref(), Some("hush"));
        let shown = format!("{webhook:?}");
        assert!(!shown.contains("hush") && !shown.contains("s3cret"), "{shown}");
    }
}
