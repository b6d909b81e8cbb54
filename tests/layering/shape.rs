//! The shape of files and folders.

use crate::source;

/// Lines of production code in one file. Only ever lowered.
const FILE_LINES_MAX: usize = 700;
/// Everything that may lie at the root.
const ROOT: &[&str] = &[
    ".ci",
    ".git",
    ".gitignore",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "Cargo.lock",
    "Cargo.toml",
    "README.md",
    "clippy.toml",
    "deny.toml",
    "gateway",
    "loadtest",
    "router",
    "rustfmt.toml",
    "target",
    "tests",
    "tocsin-data",
    "tuning",
    "wire",
];

#[test]
fn no_file_is_a_labyrinth() {
    let long: Vec<String> = source::all()
        .iter()
        .map(|source| (source, source.code.lines().count()))
        .filter(|(_, lines)| *lines > FILE_LINES_MAX)
        .map(|(source, lines)| format!("{}: {lines} lines", source.path))
        .collect();
    assert!(long.is_empty(), "{long:#?}");
}

#[test]
fn no_room_is_called_mod() {
    let wrong: Vec<String> = source::all()
        .into_iter()
        .map(|source| source.path)
        .filter(|path| path.ends_with("/mod.rs"))
        .collect();
    assert!(wrong.is_empty(), "foo.rs + foo/, not foo/mod.rs: {wrong:#?}");
}

#[test]
fn every_file_says_what_it_owns() {
    let wrong: Vec<String> = source::all()
        .into_iter()
        .filter(|source| !source.text.starts_with("//!") && !source.is_tests())
        .map(|source| source.path)
        .collect();
    assert!(wrong.is_empty(), "files that do not open with `//!`: {wrong:#?}");
}

#[test]
fn no_lint_is_waved_through_without_a_reason() {
    let wrong: Vec<String> = source::all()
        .iter()
        .flat_map(|source| {
            let bare = |line: &str| line.contains("#[allow(") || line.contains("#![allow(");
            let lines = source.code.lines().enumerate().filter(move |(_, line)| bare(line));
            lines.map(|(number, _)| format!("{}:{}", source.path, number + 1)).collect::<Vec<_>>()
        })
        .collect();
    assert!(wrong.is_empty(), "#[expect(lint, reason = …)], never allow: {wrong:#?}");
}

#[test]
fn nothing_else_lies_at_the_root() {
    let entries = std::fs::read_dir(tests::paths::root()).expect("the root can be read");
    let names = entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned());
    let wrong: Vec<String> = names.filter(|name| !ROOT.contains(&name.as_str())).collect();
    assert!(wrong.is_empty(), "the layout is the user's own: {wrong:#?}");
}
