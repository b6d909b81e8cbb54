//! A service: who hands notifications in, by which key, and what it may do.

use std::path::{Path, PathBuf};

use ring::hmac;
use wire::message::Priority;

use super::ConfigError;
use super::alerts::Webhook;
use super::file::ServiceSection;
use crate::same::same;

/// Bytes of a service's name, which is also a label of metrics.
const NAME_BYTES_MAX: usize = 64;
/// Bytes of a service key.
const KEY_BYTES_MAX: usize = 1_024;
/// The key of standalone's only service.
const DEV: &str = "dev";

/// A service key. Only a keyed hash of it is kept, so that it shows nowhere and comparing takes the same time
/// wherever a wrong key differs.
#[derive(Clone)]
pub struct Secret {
    hash: [u8; 32],
}

impl Secret {
    pub fn new(key: &str) -> Secret {
        Secret { hash: Secret::hash(key) }
    }

    pub fn matches(&self, presented: &str) -> bool {
        self.same_as(&Secret::new(presented))
    }

    pub fn same_as(&self, other: &Secret) -> bool {
        same(&self.hash, &other.hash)
    }

    /// Keyed by a value that no caller knows, so that the time of the comparison tells nothing about the key.
    fn hash(key: &str) -> [u8; 32] {
        static HASH_KEY: std::sync::OnceLock<hmac::Key> = std::sync::OnceLock::new();
        let hash_key = HASH_KEY.get_or_init(|| {
            let mut random = [0; 32];
            getrandom::fill(&mut random).expect("the kernel has random numbers");
            hmac::Key::new(hmac::HMAC_SHA256, &random)
        });
        let tag = hmac::sign(hash_key, key.as_bytes());
        tag.as_ref().try_into().expect("SHA-256 has 32 bytes")
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// A service and its rights.
#[derive(Debug, Clone)]
pub struct Service {
    pub name: String,
    pub secret: Secret,
    /// Recipients a minute; `None`: no quota.
    pub per_minute: Option<u32>,
    /// `None`: all.
    pub priorities: Option<Vec<Priority>>,
    pub broadcast: bool,
    /// May read and cancel every service's notifications, not only its own.
    pub operator: bool,
    pub topics: Vec<String>,
    /// Who is told what became of its notifications.
    pub webhook: Option<Webhook>,
}

impl Service {
    /// Standalone's only service: every right, and a key that everybody knows.
    pub fn dev() -> Service {
        Service {
            name: DEV.to_owned(),
            secret: Secret::new(DEV),
            per_minute: None,
            priorities: None,
            broadcast: true,
            operator: true,
            topics: vec!["*".to_owned()],
            webhook: None,
        }
    }

    pub(super) fn is_dev(&self) -> bool {
        self.secret.matches(DEV)
    }

    pub(super) fn from_section(section: &ServiceSection) -> Result<Service, ConfigError> {
        let wrong = |key, why: String| ConfigError::wrong("router.service", key, why);
        let name = &section.name;
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.chars().all(plain) {
            let why = format!("{name:?} is not 1..={NAME_BYTES_MAX} letters, digits, `-`, `_` or `.`");
            return Err(wrong("name", why));
        }
        if section.per_minute == Some(0) {
            return Err(wrong("per_minute", "0 would refuse everything: leave the service out".to_owned()));
        }
        Ok(Service {
            name: name.clone(),
            secret: Secret::new(&key(section)?),
            per_minute: section.per_minute,
            priorities: section.priorities.clone(),
            broadcast: section.broadcast,
            operator: section.operator,
            topics: section.topics.clone(),
            webhook: webhook(section)?,
        })
    }

    pub fn may_send_at(&self, priority: Priority) -> bool {
        self.priorities.as_ref().is_none_or(|allowed| allowed.contains(&priority))
    }

    pub fn may_send_to_topic(&self, topic: &str) -> bool {
        self.topics.iter().any(|allowed| match allowed.strip_suffix('*') {
            Some(start) => topic.starts_with(start),
            None => topic == allowed,
        })
    }
}

/// Never unsigned: whoever finds the address could tell the service anything.
fn webhook(section: &ServiceSection) -> Result<Option<Webhook>, ConfigError> {
    let names = ("router.service", "webhook", "webhook_key_file");
    let wrong = |key, why: &str| ConfigError::wrong(names.0, key, format!("{}: {why}", section.name));
    match (&section.webhook, &section.webhook_key_file) {
        (None, None) => Ok(None),
        (None, Some(_)) => Err(wrong(names.2, "there is no webhook whose messages it could sign")),
        (Some(_), None) => Err(wrong(names.1, "needs a webhook_key_file: outcomes are told signed")),
        (Some(url), Some(file)) => Webhook::checked(url.clone(), Some(file), names).map(Some),
    }
}

fn key(section: &ServiceSection) -> Result<String, ConfigError> {
    let wrong = |why: &str| ConfigError::wrong("router.service", "key", format!("{}: {why}", section.name));
    let key = match (&section.key, &section.key_file) {
        (Some(key), None) => key.clone(),
        (None, Some(file)) => secret_from_file(Path::new(file))?,
        (None, None) => return Err(wrong("needs a key or a key_file")),
        (Some(_), Some(_)) => return Err(wrong("has both key and key_file")),
    };
    if key.is_empty() || key.len() > KEY_BYTES_MAX || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(wrong("a key is 1..=1024 visible ASCII characters"));
    }
    Ok(key)
}

/// A secret from its file, without the line break that editors leave behind.
pub(crate) fn secret_from_file(file: &Path) -> Result<String, ConfigError> {
    let fault = |why: String| ConfigError::Secret { file: PathBuf::from(file), why };
    let text = std::fs::read_to_string(file).map_err(|error| fault(error.to_string()))?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_key_matches() {
        let secret = Secret::new("hush");
        assert!(secret.matches("hush"));
        for wrong in ["", "hus", "hushh", "HUSH", "hush "] {
            assert!(!secret.matches(wrong), "{wrong:?}");
        }
    }

    #[test]
    fn topics_are_granted_by_name_or_by_their_start() {
        let service = Service { topics: vec!["news".into(), "team-*".into()], ..Service::dev() };
        assert!(service.may_send_to_topic("news") && service.may_send_to_topic("team-7"));
        for refused in ["newsletter", "team", "other", "*"] {
            assert!(!service.may_send_to_topic(refused), "{refused}");
        }
    }

    #[test]
    fn a_webhook_is_signed_or_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "hush\n").unwrap();
        let path = file.path().display().to_string();
        let read = |webhook: Option<&str>, key_file: Option<&str>| {
            let section = ServiceSection {
                name: "shop".to_owned(),
                key: Some("k".to_owned()),
                webhook: webhook.map(str::to_owned),
                webhook_key_file: key_file.map(str::to_owned),
                ..ServiceSection::default()
            };
            Service::from_section(&section)
        };
        assert_eq!(read(None, None).unwrap().webhook, None);
        let webhook = read(Some("https://shop.example/told"), Some(&path)).unwrap().webhook.unwrap();
        assert_eq!(webhook.key.as_deref(), Some("hush"));
        for (url, key_file) in [
            (Some("https://shop.example/told"), None),
            (None, Some(path.as_str())),
            (Some("shop.example"), Some(&path)),
            (Some("https://shop.example/told"), Some("/no/such/file")),
        ] {
            assert!(read(url, key_file).is_err(), "{url:?}, {key_file:?}");
        }
    }

    #[test]
    fn a_key_file_loses_its_line_break_only() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "hush\n").unwrap();
        let section = ServiceSection {
            name: "a".to_owned(),
            key_file: Some(file.path().display().to_string()),
            ..ServiceSection::default()
        };
        assert!(Service::from_section(&section).unwrap().secret.matches("hush"));
    }
}
