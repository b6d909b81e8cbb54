//! The dependency graph as cargo resolved it, and the rules of `deny.toml`.

use std::collections::HashMap;
use std::process::Command;
use std::sync::OnceLock;

use semver::{Version, VersionReq};
use serde::Deserialize;
use toml::Value;

/// A package of the graph.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: Version,
    #[serde(rename = "license")]
    pub(crate) licence: Option<String>,
    pub(crate) source: Option<String>,
    pub(crate) id: String,
    /// Names of packages that depend on it.
    #[serde(skip)]
    pub(crate) dependents: Vec<String>,
}

impl Package {
    /// Not of this workspace.
    pub(crate) fn is_foreign(&self) -> bool {
        self.source.is_some()
    }
}

/// `name` or `name@requirement`, and why.
#[derive(Debug, Clone)]
pub(crate) struct Rule {
    pub(crate) name: String,
    pub(crate) reason: String,
    /// Of a ban: packages that may depend on it all the same.
    wrappers: Vec<String>,
    requirement: VersionReq,
}

impl Rule {
    /// Whether nobody depends on `package` but those who may.
    pub(crate) fn lets_pass(&self, package: &Package) -> bool {
        let mut dependents = package.dependents.iter().peekable();
        dependents.peek().is_some() && dependents.all(|name| self.wrappers.contains(name))
    }

    pub(crate) fn names(&self, package: &Package) -> bool {
        self.name.split('@').next() == Some(package.name.as_str())
            && self.requirement.matches(&package.version)
    }
}

/// `deny.toml`.
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    pub(crate) licences: Vec<String>,
    pub(crate) exceptions: HashMap<String, Vec<String>>,
    pub(crate) bans: Vec<Rule>,
    pub(crate) skips: Vec<Rule>,
    pub(crate) ignored: Vec<Rule>,
    pub(crate) registries: Vec<String>,
}

impl Rules {
    pub(crate) fn read() -> Rules {
        let text = std::fs::read_to_string(tests::paths::root().join("deny.toml")).expect("deny.toml");
        let table: Value = toml::from_str(&text).expect("deny.toml is TOML");
        let list = |section: &str, key: &str| -> Vec<Value> {
            let value = table.get(section).and_then(|table| table.get(key));
            value.and_then(Value::as_array).cloned().unwrap_or_default()
        };
        let exceptions = list("licenses", "exceptions").into_iter().map(|entry| {
            (
                text_of(&entry, "crate"),
                texts(entry.get("allow").and_then(Value::as_array).into_iter().flatten()),
            )
        });
        Rules {
            licences: texts(&list("licenses", "allow")),
            exceptions: exceptions.collect(),
            bans: list("bans", "deny").iter().map(|entry| rule(entry, "crate")).collect(),
            skips: list("bans", "skip").iter().map(|entry| rule(entry, "crate")).collect(),
            ignored: list("advisories", "ignore").iter().map(|entry| rule(entry, "id")).collect(),
            registries: texts(&list("sources", "allow-registry")),
        }
    }
}

fn rule(entry: &Value, key: &str) -> Rule {
    let name = text_of(entry, key);
    let requirement = name.split_once('@').map_or("*", |(_, requirement)| requirement).to_owned();
    let requirement = VersionReq::parse(&requirement).unwrap_or_else(|error| panic!("{name}: {error}"));
    let wrappers = texts(entry.get("wrappers").and_then(Value::as_array).into_iter().flatten());
    Rule { name, reason: text_of(entry, "reason"), wrappers, requirement }
}

fn text_of(entry: &Value, key: &str) -> String {
    entry.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn texts<'a>(values: impl IntoIterator<Item = &'a Value>) -> Vec<String> {
    values.into_iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// Every package that any target with any feature could need.
pub(crate) fn packages() -> Vec<Package> {
    #[derive(Deserialize)]
    struct Metadata {
        packages: Vec<Package>,
        resolve: Resolve,
    }
    #[derive(Deserialize)]
    struct Resolve {
        nodes: Vec<Node>,
    }
    #[derive(Deserialize)]
    struct Node {
        id: String,
        dependencies: Vec<String>,
    }
    static TEXT: OnceLock<String> = OnceLock::new();
    let text = TEXT.get_or_init(|| {
        let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
        let mut command = Command::new(cargo);
        command.args(["metadata", "--format-version", "1", "--locked", "--all-features"]);
        let output = command.current_dir(tests::paths::root()).output().expect("cargo runs");
        assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("cargo prints UTF-8")
    });
    let Metadata { mut packages, resolve } = serde_json::from_str(text).expect("cargo prints JSON");
    let names: HashMap<String, String> =
        packages.iter().map(|package| (package.id.clone(), package.name.clone())).collect();
    for package in &mut packages {
        let above = resolve.nodes.iter().filter(|node| node.dependencies.contains(&package.id));
        package.dependents = above.filter_map(|node| names.get(&node.id).cloned()).collect();
    }
    packages
}
