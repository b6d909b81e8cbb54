//! `[cassandra]`: where older notifications are, and who may say so.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use super::ConfigError;
use super::file::within;
use super::service::secret_from_file;
use crate::limits::PROJECTION_BYTES_DEFAULT;

const SECTION: &str = "cassandra";
/// Characters of a keyspace's name.
const KEYSPACE_MAX: usize = 48;
/// Copies of each row in one data centre.
const COPIES_MAX: u32 = 32;

/// As it is written.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CassandraSection {
    /// `host:port`; some of the cluster's nodes, the others are learned.
    pub nodes: Vec<String>,
    pub keyspace: String,
    pub user: Option<String>,
    pub password_file: Option<String>,
    /// Of a keyspace that the router makes. One that is there keeps its own.
    pub replication: Replication,
    /// Of names that wait on the disk while Cassandra is away.
    pub queue_bytes_max: u64,
}

impl Default for CassandraSection {
    fn default() -> CassandraSection {
        CassandraSection {
            nodes: Vec::new(),
            keyspace: "tocsin".to_owned(),
            user: None,
            password_file: None,
            replication: Replication::Anywhere(1),
            queue_bytes_max: PROJECTION_BYTES_DEFAULT,
        }
    }
}

/// How many copies a new keyspace has.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Replication {
    /// On any nodes: for one data centre.
    Anywhere(u32),
    /// By data centre.
    ByCentre(BTreeMap<String, u32>),
}

impl Replication {
    /// As CQL has it.
    pub fn cql(&self) -> String {
        match self {
            Replication::Anywhere(copies) => {
                format!("{{'class': 'SimpleStrategy', 'replication_factor': {copies}}}")
            }
            Replication::ByCentre(centres) => {
                let centres: Vec<_> =
                    centres.iter().map(|(name, copies)| format!("'{name}': {copies}")).collect();
                format!("{{'class': 'NetworkTopologyStrategy', {}}}", centres.join(", "))
            }
        }
    }

    fn check(&self) -> Result<(), ConfigError> {
        let copies = |copies: u32| within(SECTION, "replication", copies.into(), 1, COPIES_MAX.into());
        match self {
            Replication::Anywhere(count) => copies(*count),
            Replication::ByCentre(centres) if centres.is_empty() => {
                Err(ConfigError::wrong(SECTION, "replication", "names no data centre"))
            }
            Replication::ByCentre(centres) => {
                for (name, count) in centres {
                    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
                    if name.is_empty() || !name.chars().all(plain) {
                        let why = format!("{name:?} is no name of a data centre");
                        return Err(ConfigError::wrong(SECTION, "replication", why));
                    }
                    copies(*count)?;
                }
                Ok(())
            }
        }
    }
}

/// Shows nowhere.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

impl Password {
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Password(…)")
    }
}

/// A Cassandra to be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CassandraConfig {
    pub nodes: Vec<String>,
    pub keyspace: String,
    pub login: Option<(String, Password)>,
    pub replication: Replication,
    pub queue_bytes_max: u64,
}

impl CassandraSection {
    pub(super) fn checked(&self) -> Result<CassandraConfig, ConfigError> {
        let wrong = |key, why: String| Err(ConfigError::wrong(SECTION, key, why));
        let CassandraSection { nodes, keyspace, user, password_file, replication, queue_bytes_max } = self;
        if nodes.is_empty() {
            return wrong("nodes", "names no node, like 10.0.0.1:9042".to_owned());
        }
        if cfg!(not(feature = "cassandra")) {
            return wrong("nodes", "this build is without Cassandra: leave [cassandra] out".to_owned());
        }
        for node in nodes {
            let port = node.rsplit_once(':').filter(|(host, _)| !host.is_empty());
            if port.is_none_or(|(_, port)| port.parse::<u16>().is_err()) {
                return wrong("nodes", format!("{node:?} is not a host and a port like 10.0.0.1:9042"));
            }
        }
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        let begins = keyspace.starts_with(|c: char| c.is_ascii_lowercase());
        if !begins || keyspace.len() > KEYSPACE_MAX || !keyspace.chars().all(plain) {
            let why =
                format!("{keyspace:?} is not a letter and then at most 47 small letters, digits or `_`");
            return wrong("keyspace", why);
        }
        replication.check()?;
        within(SECTION, "queue_bytes_max", *queue_bytes_max, 1 << 16, 1 << 50)?;
        let login = match (user, password_file) {
            (None, None) => None,
            (Some(user), Some(file)) => Some((user.clone(), Password(secret_from_file(Path::new(file))?))),
            (Some(_), None) => return wrong("password_file", "is missing, and there is a user".to_owned()),
            (None, Some(_)) => return wrong("user", "is missing, and there is a password_file".to_owned()),
        };
        Ok(CassandraConfig {
            nodes: nodes.clone(),
            keyspace: keyspace.clone(),
            login,
            replication: replication.clone(),
            queue_bytes_max: *queue_bytes_max,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(text: &str) -> Result<CassandraConfig, String> {
        let section: CassandraSection = toml::from_str(text).map_err(|error| error.to_string())?;
        section.checked().map_err(|error| error.to_string())
    }

    #[test]
    fn a_keyspace_s_copies_are_said_as_cql() {
        let three = checked("nodes = [\"a:9042\"]\nreplication = 3").expect("settings");
        assert_eq!(three.replication.cql(), "{'class': 'SimpleStrategy', 'replication_factor': 3}");
        let centres =
            checked("nodes = [\"a:9042\"]\nreplication = { east = 3, west = 2 }").expect("settings");
        assert_eq!(centres.replication.cql(), "{'class': 'NetworkTopologyStrategy', 'east': 3, 'west': 2}");
    }

    #[test]
    fn every_value_that_cannot_be_used_has_one_clear_line() {
        let cases = [
            ("nodes = []", "[cassandra] nodes: names no node"),
            ("nodes = [\"a\"]", "not a host and a port"),
            ("nodes = [\":9042\"]", "not a host and a port"),
            ("nodes = [\"a:1\"]\nkeyspace = \"Drop\"", "[cassandra] keyspace:"),
            ("nodes = [\"a:1\"]\nkeyspace = \"a;b\"", "[cassandra] keyspace:"),
            ("nodes = [\"a:1\"]\nreplication = 0", "[cassandra] replication: 0 is not in 1..=32"),
            ("nodes = [\"a:1\"]\nreplication = {}", "names no data centre"),
            ("nodes = [\"a:1\"]\nreplication = { \"a'b\" = 1 }", "no name of a data centre"),
            ("nodes = [\"a:1\"]\nqueue_bytes_max = 1", "queue_bytes_max"),
            ("nodes = [\"a:1\"]\nuser = \"u\"", "[cassandra] password_file: is missing"),
            ("nodes = [\"a:1\"]\npassword_file = \"f\"", "[cassandra] user: is missing"),
            ("nodes = [\"a:1\"]\nuser = \"u\"\npassword_file = \"/nowhere/at/all\"", "/nowhere/at/all"),
        ];
        for (text, says) in cases {
            let error = checked(text).expect_err(text);
            assert!(error.contains(says) && !error.contains('\n'), "{text}\n{error}");
        }
    }

    #[test]
    fn a_password_never_shows() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), "hush\n").expect("it can be written");
        let text = format!("nodes = [\"a:1\"]\nuser = \"u\"\npassword_file = {:?}", file.path());
        let config = checked(&text).expect("settings");
        assert_eq!(config.login.as_ref().map(|(_, password)| password.reveal()), Some("hush"));
        assert!(!format!("{config:?}").contains("hush"));
    }
}
