//! The guide has a section for every value of the table, with what is wanted, how to look and the effect; and no section for a
//! value that the table does not have.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

const PROFILES: [&str; 4] = ["gateway-500k", "gateway-1m", "loadtest", "router"];

/// Pages of the guide, but for its index.
fn pages() -> BTreeMap<String, String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("guide");
    let entries = std::fs::read_dir(folder).expect("the guide").map(|entry| entry.expect("an entry").path());
    entries
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .map(|path| {
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            (name, std::fs::read_to_string(&path).expect("a page"))
        })
        .collect()
}

/// Name → profile → finding, on a host that says nothing.
fn table() -> BTreeMap<String, BTreeMap<&'static str, Value>> {
    let root = tempfile::tempdir().expect("a folder");
    let mut table: BTreeMap<String, BTreeMap<&str, Value>> = BTreeMap::new();
    for profile in PROFILES {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tuning"));
        command.args(["check", "--json", "--profile", profile, "--root"]).arg(root.path());
        let output = command.output().expect("the program runs");
        let check: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        for finding in check["findings"].as_array().expect("a list") {
            let name = finding["name"].as_str().expect("a name").to_owned();
            table.entry(name).or_default().insert(profile, finding.clone());
        }
    }
    table
}

/// The text of a value's section.
fn section<'a>(page: &'a str, name: &str) -> Option<&'a str> {
    let heading = format!("\n## {name}\n");
    let text = &page[page.find(&heading)? + heading.len()..];
    Some(text.split("\n## ").next().unwrap_or(text))
}

#[test]
fn every_value_has_its_section_on_the_page_that_the_check_names() {
    let pages = pages();
    for (name, profiles) in table() {
        let finding = profiles.values().next().expect("some profile wants it");
        let guide = finding["guide"].as_str().expect("a place");
        let page = guide.split('#').next().unwrap_or(guide).rsplit('/').next().unwrap_or(guide);
        let text = pages.get(page).unwrap_or_else(|| panic!("{guide}: there is no such page"));
        let section = section(text, &name).unwrap_or_else(|| panic!("{page} has no section {name}"));
        let has = |words: &str| {
            assert!(section.contains(words), "{page}, {name}: {words:?} is not there: {section}");
        };
        has(finding["check"].as_str().expect("a command"));
        for part in ["**Why**", "**Source**", "**Look**", "**Undo**", "**Effect**"] {
            has(part);
        }
        let effect = section.split("**Effect**").nth(1).unwrap_or_default();
        assert!(effect.trim().len() > 20, "{page}, {name}: what does it do?");
        let depends_on_memory = ["net.ipv4.tcp_mem", "memory"].contains(&name.as_str());
        let wanted = PROFILES.map(|profile| {
            profiles
                .get(profile)
                .map_or("–", |finding| finding["wanted"].as_str().expect("a text"))
                .to_owned()
        });
        if !depends_on_memory {
            has(&format!("| {} |", wanted.join(" | ")));
        }
    }
}

#[test]
fn every_section_is_a_value_of_the_table() {
    let table = table();
    for (page, text) in pages() {
        if ["README.md", "leave-alone.md"].contains(&page.as_str()) {
            continue;
        }
        for heading in text.lines().filter_map(|line| line.strip_prefix("## ")) {
            assert!(table.contains_key(heading), "{page}: {heading} is no value of the table");
        }
    }
}

#[test]
fn the_index_names_every_page() {
    let pages = pages();
    for name in pages.keys().filter(|name| *name != "README.md") {
        assert!(pages["README.md"].contains(&format!("]({name})")), "{name} is not in the index");
    }
}
