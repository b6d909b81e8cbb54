//! `[email]`: how somebody ends mails with one click, as it is written and as it is used.

use std::path::Path;

use serde::Deserialize;
use url::Url;

use super::ConfigError;
use super::provider::{Hidden, web_address};
use super::service::secret_from_file;
use crate::limits::UNSUBSCRIBE_URL_BYTES_MAX;
use crate::unsubscribe::TOKEN_PARAMETER;

/// Bytes of a key that links are sealed with: fewer can be guessed.
const KEY_BYTES: std::ops::RangeInclusive<usize> = 32..=1_024;

/// `[email]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EmailSection {
    /// Where `/v1/unsubscribe` of this router is to be had from outside; absent: mails have no such link.
    unsubscribe_url: Option<String>,
    /// What links are sealed with; absent: a key that is drawn and kept in the data folder.
    key_file: Option<String>,
}

/// Where links of mails lead, and what they are sealed with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnsubscribeConfig {
    pub url: Url,
    pub key: Option<Hidden>,
}

impl EmailSection {
    /// Whether anything is said.
    pub(super) fn is_any(&self) -> bool {
        self.unsubscribe_url.is_some() || self.key_file.is_some()
    }

    pub(super) fn checked(&self) -> Result<Option<UnsubscribeConfig>, ConfigError> {
        let wrong = |key: &str, why: &str| Err(ConfigError::wrong("email", key, why));
        let text = match (&self.unsubscribe_url, &self.key_file) {
            (Some(text), _) => text,
            (None, Some(_)) => return wrong("key_file", "there is no unsubscribe_url that it could seal"),
            (None, None) => return Ok(None),
        };
        let url = web_address("email", "unsubscribe_url", text)?;
        if url.as_str().len() > UNSUBSCRIBE_URL_BYTES_MAX {
            let why = format!("it is longer than {UNSUBSCRIBE_URL_BYTES_MAX} bytes");
            return wrong("unsubscribe_url", &why);
        }
        if url.query_pairs().any(|(name, _)| name == TOKEN_PARAMETER) {
            let why = format!("the parameter `{TOKEN_PARAMETER}` is the token's");
            return wrong("unsubscribe_url", &why);
        }
        let key = self.key_file.as_deref().map(key).transpose()?;
        Ok(Some(UnsubscribeConfig { url, key }))
    }
}

fn key(file: &str) -> Result<Hidden, ConfigError> {
    let key = secret_from_file(Path::new(file))?;
    if !KEY_BYTES.contains(&key.len()) {
        let (least, most) = KEY_BYTES.into_inner();
        let why = format!("a key has {least}..={most} bytes; this one has {}", key.len());
        return Err(ConfigError::Secret { file: file.into(), why });
    }
    Ok(Hidden::new(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Option<UnsubscribeConfig>, String> {
        let section: EmailSection = toml::from_str(text).map_err(|error| error.to_string())?;
        section.checked().map_err(|error| error.to_string())
    }

    #[test]
    fn an_address_and_a_key_are_checked_and_the_key_is_not_shown() {
        assert_eq!(read("").unwrap(), None);
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "hush").unwrap();
        let with_key = |url: &str| format!("unsubscribe_url = {url:?}\nkey_file = {:?}\n", file.path());
        let good = "https://shop.example/v1/unsubscribe";
        let error = read(&with_key(good)).unwrap_err();
        assert!(error.contains("32..=1024") && !error.contains("hush"), "{error}");
        std::fs::write(file.path(), "hush".repeat(8)).unwrap();
        let config = read(&with_key(good)).unwrap().unwrap();
        assert_eq!(config.key.as_ref().map(|key| key.reveal().len()), Some(32));
        assert!(!format!("{config:?}").contains("hush"));
        for (text, says) in [
            ("unsubscribe_url = \"bye\"".to_owned(), "[email] unsubscribe_url"),
            ("unsubscribe_url = \"http://shop.example/bye\"".to_owned(), "[email] unsubscribe_url"),
            ("unsubscribe_url = \"https://shop.example/#bye\"".to_owned(), "[email] unsubscribe_url"),
            (format!("unsubscribe_url = \"https://shop.example/{}\"", "x".repeat(250)), "256 bytes"),
            ("unsubscribe_url = \"https://shop.example/?l=de&t=1\"".to_owned(), "`t` is the token's"),
            ("key_file = \"/nowhere/at/all\"".to_owned(), "no unsubscribe_url"),
        ] {
            let error = read(&text).expect_err(&text);
            assert!(error.contains(says), "{text}: {error}");
        }
        assert!(read("unsubscribe_url = \"http://127.0.0.1:8090/v1/unsubscribe\"").is_ok());
    }
}
