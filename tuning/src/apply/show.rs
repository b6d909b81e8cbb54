//! How changes look: a diff of the files, a line for each value, what is left to a person. Pure.

use std::fmt::Write as _;

use similar::TextDiff;

use crate::change::{Change, Changes};
use crate::record::PLACE;

pub(super) fn changes(changes: &Changes) -> String {
    let mut page = String::new();
    for file in &changes.files {
        page.push_str(&diff(&file.path, file.found.as_deref(), Some(&file.wanted)));
    }
    for Change { name, found, set } in &changes.sysctls {
        line(&mut page, name, found, set);
    }
    for (name, what) in &changes.by_hand {
        // Writing to a String never fails.
        let _infallible = writeln!(page, "by hand  {name}: {what}");
    }
    let _infallible = writeln!(page, "{} values fit as they are", changes.fit);
    page
}

pub(super) fn line(page: &mut String, name: &str, found: &str, set: &str) {
    let shown = |text: &str| {
        let words: Vec<&str> = text.split_whitespace().collect();
        if words.is_empty() { "(empty)".to_owned() } else { words.join(" ") }
    };
    let _infallible = writeln!(page, "set      {name}: {} → {}", shown(found), shown(set));
}

/// A unified diff; `None`: there is no such file.
pub(super) fn diff(path: &str, before: Option<&str>, after: Option<&str>) -> String {
    const NOWHERE: &str = "/dev/null";
    let name = |text: Option<&str>| if text.is_some() { format!("/{path}") } else { NOWHERE.to_owned() };
    let difference = TextDiff::from_lines(before.unwrap_or_default(), after.unwrap_or_default());
    difference.unified_diff().header(&name(before), &name(after)).to_string()
}

pub(super) fn what_next(changes: &Changes) -> String {
    let mut page = format!(
        "{} values set, {} files written; what was found is kept in /{PLACE}, `tuning apply --undo` takes it all back\n",
        changes.sysctls.len(),
        changes.files.len()
    );
    if changes.files.iter().any(|file| file.path.starts_with("etc/systemd/")) {
        page.push_str("run `systemctl daemon-reload` and start the service again for its new limits\n");
    }
    page
}
