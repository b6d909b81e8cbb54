//! What we depend on, held against `deny.toml`: licences, bans, duplicates, sources and, where the database is at hand,
//! known holes. Run by `tests/run deny`. It reads cargo-deny's own format, so both can be used.
#![forbid(unsafe_code)]

mod advisories;
mod graph;
mod licence;

use std::collections::BTreeMap;

use graph::{Package, Rules};

#[test]
fn every_licence_is_allowed() {
    let rules = Rules::read();
    let foreign = graph::packages().into_iter().filter(Package::is_foreign);
    let wrong: Vec<String> = foreign
        .filter(|package| {
            let mut allowed = rules.licences.clone();
            allowed.extend(rules.exceptions.get(&package.name).into_iter().flatten().cloned());
            !package.licence.as_deref().is_some_and(|licence| licence::satisfied(licence, &allowed))
        })
        .map(|package| format!("{} {}: {:?}", package.name, package.version, package.licence))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_source_is_the_registry() {
    let rules = Rules::read();
    let known =
        |source: &str| rules.registries.iter().any(|registry| source == format!("registry+{registry}"));
    let foreign = graph::packages().into_iter().filter(Package::is_foreign);
    let wrong: Vec<String> = foreign
        .filter(|package| !package.source.as_deref().is_some_and(known))
        .map(|package| format!("{} from {:?}", package.name, package.source))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn nothing_banned_is_in_the_graph() {
    let rules = Rules::read();
    let packages = graph::packages();
    let wrong: Vec<String> = rules
        .bans
        .iter()
        .filter(|ban| packages.iter().any(|package| ban.names(package) && !ban.lets_pass(package)))
        .map(|ban| format!("{}: {}", ban.name, ban.reason))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn nothing_comes_in_two_versions_without_a_reason() {
    let rules = Rules::read();
    let mut versions: BTreeMap<String, Vec<Package>> = BTreeMap::new();
    for package in graph::packages() {
        versions.entry(package.name.clone()).or_default().push(package);
    }
    versions.retain(|_, packages| packages.len() > 1);
    let unexplained: Vec<String> = versions
        .values()
        .filter_map(|packages| {
            let left = packages.iter().filter(|package| !rules.skips.iter().any(|skip| skip.names(package)));
            let left: Vec<String> =
                left.map(|package| format!("{} {}", package.name, package.version)).collect();
            (left.len() > 1).then(|| left.join(", "))
        })
        .collect();
    assert!(unexplained.is_empty(), "twice, without a reason in deny.toml: {unexplained:#?}");
    let stale: Vec<&str> = rules
        .skips
        .iter()
        .filter(|skip| !versions.values().flatten().any(|package| skip.names(package)))
        .map(|skip| skip.name.as_str())
        .collect();
    assert!(stale.is_empty(), "deny.toml excuses what no longer happens: {stale:?}");
}

#[test]
fn every_exception_has_its_reason() {
    let rules = Rules::read();
    for rule in rules.skips.iter().chain(&rules.bans).chain(&rules.ignored) {
        assert!(rule.reason.len() > 10, "deny.toml: {} has no reason", rule.name);
    }
}

/// Passes without the database; the stage then says that this was skipped.
#[test]
fn no_known_hole_is_open() {
    let folder = tests::paths::target().join("advisory-db/crates");
    if !folder.is_dir() {
        return;
    }
    let rules = Rules::read();
    let packages = graph::packages();
    let found = advisories::of(&folder, &packages);
    let open: Vec<&String> =
        found.iter().filter(|hole| !rules.ignored.iter().any(|rule| hole.starts_with(&rule.name))).collect();
    assert!(open.is_empty(), "{open:#?}");
}
