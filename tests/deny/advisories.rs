//! The RustSec database (a folder of Markdown files that open with a TOML block), held against the graph.

use std::path::Path;

use semver::VersionReq;
use serde::Deserialize;

use crate::graph::Package;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Entry {
    advisory: Advisory,
    versions: Versions,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Advisory {
    id: String,
    package: String,
    withdrawn: Option<String>,
    /// `unmaintained`, `notice`, … are no holes.
    informational: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Versions {
    patched: Vec<String>,
    unaffected: Vec<String>,
}

/// One line for each hole in one of the packages.
pub(crate) fn of(folder: &Path, packages: &[Package]) -> Vec<String> {
    let mut found = Vec::new();
    for package in packages.iter().filter(|package| package.is_foreign()) {
        let Ok(files) = std::fs::read_dir(folder.join(&package.name)) else { continue };
        for file in files.flatten() {
            let text = std::fs::read_to_string(file.path()).unwrap_or_default();
            found.extend(hole(&text, package));
        }
    }
    found
}

fn hole(text: &str, package: &Package) -> Option<String> {
    let (_, rest) = text.split_once("```toml")?;
    let (block, _) = rest.split_once("```")?;
    let entry: Entry = toml::from_str(block).ok()?;
    let Entry { advisory, versions } = entry;
    let counts = advisory.withdrawn.is_none()
        && matches!(advisory.informational.as_deref(), None | Some("unsound"))
        && advisory.package == package.name;
    let mut safe = versions.patched.iter().chain(&versions.unaffected);
    let is_safe =
        safe.any(|range| VersionReq::parse(range).is_ok_and(|range| range.matches(&package.version)));
    (counts && !is_safe).then(|| format!("{} {} {}", advisory.id, package.name, package.version))
}

#[test]
fn a_planted_hole_is_found() {
    let package = |version: &str| Package {
        name: "leaky".to_owned(),
        version: version.parse().expect("a version"),
        licence: None,
        source: Some("registry".to_owned()),
        id: String::new(),
        dependents: Vec::new(),
    };
    let text = "```toml\n[advisory]\nid = \"RUSTSEC-2026-0001\"\npackage = \"leaky\"\n[versions]\npatched = [\">= 1.2.3\"]\nunaffected = [\"< 1.0.0\"]\n```\n# It leaks\n";
    assert_eq!(hole(text, &package("1.2.2")).as_deref(), Some("RUSTSEC-2026-0001 leaky 1.2.2"));
    assert_eq!(hole(text, &package("1.2.3")), None);
    assert_eq!(hole(text, &package("0.9.0")), None);
}
