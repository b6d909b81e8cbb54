//! Imports go one way: `wire ← ops ← gateway, router, loadtest, tuning`; `gateway/ring ← gateway, loadtest`.

use std::collections::BTreeSet;
use std::process::Command;

use toml::Table;

use crate::source;

/// Each package's folder, and the packages of the house it may depend on.
const MAY_IMPORT: [(&str, &str, &[&str]); 9] = [
    ("wire", "wire", &[]),
    ("wire/ops", "ops", &["wire"]),
    ("gateway/ring", "gateway-ring", &[]),
    // `router` stands behind the feature `standalone`, for main.rs alone.
    ("gateway", "gateway", &["wire", "ops", "gateway-ring", "router"]),
    ("router", "router", &["wire", "ops"]),
    ("loadtest", "loadtest", &["wire", "ops", "gateway-ring"]),
    // Never shipped: what the load tester compares us with.
    ("loadtest/peers", "peers", &["wire", "gateway-ring"]),
    ("tuning", "tuning", &["ops"]),
    ("tests", "tests", &["wire", "ops", "gateway", "router"]),
];

fn manifest(folder: &str) -> Table {
    let file = tests::paths::root().join(folder).join("Cargo.toml");
    let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    text.parse().unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

fn dependencies(manifest: &Table, section: &str) -> Vec<String> {
    manifest
        .get(section)
        .and_then(|table| table.as_table())
        .map(|table| table.keys().cloned().collect())
        .unwrap_or_default()
}

#[test]
fn a_package_depends_only_on_rooms_below_it() {
    let ours: Vec<&str> = MAY_IMPORT.iter().map(|(_, name, _)| *name).collect();
    let mut wrong = Vec::new();
    for (folder, name, allowed) in MAY_IMPORT {
        let manifest = manifest(folder);
        for section in ["dependencies", "build-dependencies"] {
            for dependency in dependencies(&manifest, section) {
                if ours.contains(&dependency.as_str()) && !allowed.contains(&dependency.as_str()) {
                    wrong.push(format!("{name} depends on {dependency}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_package_of_the_workspace_has_its_rule() {
    let root = manifest(".");
    let members = root["workspace"]["members"].as_array().expect("a list").iter();
    let members: Vec<&str> = members.filter_map(|member| member.as_str()).collect();
    let ruled: Vec<&str> = MAY_IMPORT.iter().map(|(folder, _, _)| *folder).collect();
    for member in members {
        assert!(ruled.contains(&member), "{member} is a new package: say in MAY_IMPORT what it may import");
    }
}

#[test]
fn only_the_gateways_main_names_the_router() {
    let optional = manifest("gateway")["dependencies"]["router"]["optional"].as_bool();
    assert_eq!(optional, Some(true), "a gateway-only build is possible");
    let wrong: Vec<String> = source::production()
        .filter(|source| source.path.starts_with("gateway/src/") && source.path != "gateway/src/main.rs")
        .filter(|source| {
            ["use router", "::router::", " router::", "(router::", "<router::", "&router::"].iter().any(
                |path| {
                    source.code.lines().any(|line| {
                        line.contains(path)
                            && !line.contains("crate::")
                            && !line.contains("super::")
                            && !line.contains("self::")
                    })
                },
            )
        })
        .map(|source| source.path)
        .collect();
    assert!(wrong.is_empty(), "gateway code that names the router: {wrong:#?}");
}

#[test]
fn the_router_and_the_load_tester_never_name_the_gateway() {
    for source in source::production() {
        if source.path.starts_with("router/") || source.path.starts_with("loadtest/") {
            assert!(source.lines_with("gateway::").is_empty(), "{} names the gateway", source.path);
        }
    }
}

#[test]
fn versions_are_declared_once_at_the_root() {
    for (folder, name, _) in MAY_IMPORT {
        let manifest = manifest(folder);
        for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
            let Some(table) = manifest.get(section).and_then(|table| table.as_table()) else { continue };
            for (dependency, value) in table {
                let inherited = value.get("workspace").and_then(toml::Value::as_bool) == Some(true);
                assert!(
                    inherited,
                    "{name}: {dependency} is not declared in the root's [workspace.dependencies]"
                );
            }
        }
    }
}

/// Every package that these build, with its features.
fn built(selection: &[&str]) -> BTreeSet<String> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let mut command = Command::new(cargo);
    command.args(["tree", "--locked", "--prefix", "none", "--format", "{p} {f}"]).args(selection);
    let done = command.current_dir(tests::paths::root()).output().expect("cargo runs");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    text.lines().map(|line| line.trim_end_matches(" (*)").to_owned()).collect()
}

/// Or `cargo run --release` behind `tests/run`, and the other way round, would build the router once more.
#[test]
fn every_selection_builds_the_same_features() {
    let all = built(&["--workspace", "--edges", "normal,build,dev"]);
    for selection in [["--package", "gateway"].as_slice(), &["--workspace"]] {
        let part = built(&[selection, &["--edges", "normal,build"]].concat());
        assert!(part.len() > 100, "{selection:?}: {}", part.len());
        let missing: Vec<&String> = part.difference(&all).collect();
        assert!(
            missing.is_empty(),
            "{selection:?} builds these with fewer features: see wire/ops/Cargo.toml {missing:#?}"
        );
    }
}
