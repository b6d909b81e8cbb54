//! The settings of a system under test: one step from the defaults, on free ports, in a folder of its own.

use std::path::Path;

use toml::{Table, Value};

use crate::jwt;
use crate::ports;

/// The service that tests speak as, unless they say otherwise.
pub const SERVICE_KEY: &str = "dev";
/// In two processes the key may not be one that everybody knows.
pub const SPLIT_KEY: &str = "a-key-of-the-tests";
/// The secret that signs clients' tokens (HS256).
pub const TOKEN_SECRET: &str = "a secret of at least thirty-two bytes, for tests";

/// One process, or gateway and router apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    Standalone,
    Split,
}

/// Settings, before the start.
#[derive(Debug, Clone)]
pub struct Setup {
    pub shape: Shape,
    pub(crate) table: Table,
    /// Whether clients prove who they are by a token.
    pub tokens: bool,
    pub service_key: String,
    /// What the programs find in their environment.
    pub environment: Vec<(String, String)>,
}

impl Setup {
    /// `cargo run --release`, on free ports.
    pub fn standalone() -> Setup {
        Setup::new(Shape::Standalone)
    }

    /// Gateway and router as two processes, over the link.
    pub fn split() -> Setup {
        let mut setup = Setup::new(Shape::Split).service("tests", SPLIT_KEY, |service| {
            service.insert("broadcast".to_owned(), true.into());
            service.insert("topics".to_owned(), vec!["*"].into());
        });
        setup.tokens = true;
        SPLIT_KEY.clone_into(&mut setup.service_key);
        setup
    }

    fn new(shape: Shape) -> Setup {
        let (table, service_key) = (Table::new(), SERVICE_KEY.to_owned());
        let mut setup = Setup { shape, table, tokens: false, service_key, environment: Vec::new() };
        for key in ["gateway.listen", "gateway.admin", "router.api", "router.admin", "router.links"] {
            setup = setup.set(key, ports::free().to_string());
        }
        setup.set("gateway.shards", 2).set("gateway.node", "n1").set("gateway.drain_s", 2)
    }

    /// Sets one key by its dotted name.
    ///
    /// # Panics
    /// When a part of the name is no table.
    pub fn set(mut self, key: &str, value: impl Into<Value>) -> Setup {
        let (path, last) = key.rsplit_once('.').unwrap_or(("", key));
        let table = path.split('.').filter(|part| !part.is_empty()).fold(&mut self.table, |table, part| {
            let inner = table.entry(part).or_insert_with(|| Value::Table(Table::new()));
            inner.as_table_mut().expect("the path leads through tables")
        });
        table.insert(last.to_owned(), value.into());
        self
    }

    /// Adds to a list of tables, `[[key]]`.
    ///
    /// # Panics
    /// When the key is something else.
    pub fn push(mut self, key: &str, entry: Table) -> Setup {
        let (path, last) = key.rsplit_once('.').unwrap_or(("", key));
        let table = path.split('.').fold(&mut self.table, |table, part| {
            let inner = table.entry(part).or_insert_with(|| Value::Table(Table::new()));
            inner.as_table_mut().expect("the path leads through tables")
        });
        let list = table.entry(last).or_insert_with(|| Value::Array(Vec::new()));
        list.as_array_mut().expect("a list of tables").push(Value::Table(entry));
        self
    }

    /// `[[router.service]]`. The first one named here is the one that [`crate::Tocsin::api`] speaks as.
    pub fn service(mut self, name: &str, key: &str, rights: impl FnOnce(&mut Table)) -> Setup {
        let first = self.get("router.service").is_none();
        if first {
            key.clone_into(&mut self.service_key);
        }
        let mut service = Table::new();
        service.insert("name".to_owned(), name.into());
        service.insert("key".to_owned(), key.into());
        rights(&mut service);
        self.push("router.service", service)
    }

    /// The key that [`crate::Tocsin::api`] speaks with.
    pub fn service_key(&self) -> &str {
        &self.service_key
    }

    /// Nothing of this name: a table, a list, a key.
    #[must_use]
    pub fn without(mut self, key: &str) -> Setup {
        let (path, last) = key.rsplit_once('.').unwrap_or(("", key));
        let mut parts = path.split('.').filter(|part| !part.is_empty());
        let table = parts.try_fold(&mut self.table, |table, part| table.get_mut(part)?.as_table_mut());
        if let Some(table) = table {
            table.remove(last);
        }
        self
    }

    #[must_use]
    pub fn with_environment(mut self, name: &str, value: String) -> Setup {
        self.environment.push((name.to_owned(), value));
        self
    }

    /// Clients must show a token; `?user=` is refused.
    pub fn with_tokens(mut self) -> Setup {
        self.tokens = true;
        self
    }

    pub fn get(&self, key: &str) -> Option<&Value> {
        let mut parts = key.split('.');
        let first = self.table.get(parts.next()?)?;
        parts.try_fold(first, |value, part| value.get(part))
    }

    /// A key's text.
    ///
    /// # Panics
    /// When it is not set.
    pub fn text(&self, key: &str) -> &str {
        self.get(key).and_then(Value::as_str).unwrap_or_else(|| panic!("{key} is not set"))
    }

    /// Writes the settings files into `folder`: the gateway's (or both programs' in one) and the router's.
    pub(crate) fn write(&self, folder: &Path) {
        let mut gateway = self.table.clone();
        let write = |name: &str, table: &Table| {
            let text = toml::to_string(table).expect("settings are TOML");
            std::fs::write(folder.join(name), text).expect("the folder can be written");
        };
        if self.tokens {
            let secret = folder.join("tokens.key");
            std::fs::write(&secret, TOKEN_SECRET).expect("the folder can be written");
            let auth = gateway["gateway"].as_table_mut().expect("a table").entry("auth");
            let auth = auth.or_insert_with(|| Value::Table(Table::new())).as_table_mut().expect("a table");
            auth.entry("keys").or_insert_with(|| vec![secret.display().to_string()].into());
        }
        match self.shape {
            Shape::Standalone => write("gateway.toml", &gateway),
            Shape::Split => {
                let links = self.text("router.links").to_owned();
                let mut table = Table::new();
                table.insert("routers".to_owned(), vec![links].into());
                let section = gateway["gateway"].as_table_mut().expect("a table");
                section.entry("links").or_insert(Value::Table(table));
                let only = |keep: &[&str], table: &Table| {
                    table
                        .iter()
                        .filter(|(key, _)| keep.contains(&key.as_str()))
                        .map(|(key, value)| (key.clone(), value.clone()))
                        .collect::<Table>()
                };
                write("gateway.toml", &only(&["gateway", "console"], &gateway));
                let routers = [
                    "router",
                    "kafka",
                    "cassandra",
                    "retention",
                    "alerts",
                    "provider",
                    "email",
                    "templates",
                    "otp",
                ];
                write("router.toml", &only(&routers, &gateway));
            }
        }
    }

    /// A token for a client of this system.
    pub fn token(&self, user: &str) -> String {
        jwt::hs256(TOKEN_SECRET, &jwt::claims(user, 3_600))
    }
}
