//! `tuning check`: holds what a host has against what a profile wants, and shows it. Pure but for the host it is given.
//!
//! # Shape of the JSON, `"schema": "tocsin.tuning.check/1"`
//! Fields are added, never renamed or removed, within one number.
//!
//! | field | what |
//! |---|---|
//! | `schema`, `version`, `profile`, `connections` | what was checked; connections that the profile is sized for |
//! | `fit` | no finding is `low` or `high`: exit 0 |
//! | `counts` | findings by verdict |
//! | `findings[]` | `name`, `weight` (`needed`, `advised`, `told`), `wanted`, `found` (null: not said), `verdict` (`ok`, `low`, `high`, `unknown`, `not_applicable`, `reported`), `why`, `source`, `check` (command), `undo`, `guide` (page and section) |

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use crate::host::Host;
use crate::profile::Profile;
use crate::settings::Tuning;
use crate::table::{self, Row, Weight};
use crate::wish::{Found, Verdict, Wish};

pub const SCHEMA: &str = "tocsin.tuning.check/1";

#[derive(Debug, Serialize)]
pub struct Check {
    pub schema: &'static str,
    pub version: &'static str,
    pub profile: Profile,
    pub connections: u64,
    pub fit: bool,
    pub counts: BTreeMap<&'static str, usize>,
    pub findings: Vec<Finding>,
}

#[derive(Debug, Serialize)]
pub struct Finding {
    pub name: &'static str,
    pub weight: Weight,
    pub wanted: String,
    pub found: Option<String>,
    pub verdict: Verdict,
    pub why: &'static str,
    pub source: &'static str,
    pub check: String,
    pub undo: String,
    pub guide: String,
}

/// One finding for each row that the profile cares about.
pub fn check(host: &Host, profile: Profile, settings: &Tuning) -> Check {
    let facts = host.facts();
    let rows = table::rows().filter(|row| row.is_wished(profile));
    let findings: Vec<Finding> =
        rows.map(|row| finding(row, settings.wish(row, profile, &facts), &host.look(row))).collect();
    let mut counts = BTreeMap::new();
    for finding in &findings {
        *counts.entry(word(finding.verdict)).or_default() += 1;
    }
    Check {
        schema: SCHEMA,
        version: env!("CARGO_PKG_VERSION"),
        profile,
        connections: profile.connections(),
        fit: !findings.iter().any(|finding| finding.verdict.is_bad()),
        counts,
        findings,
    }
}

fn finding(row: &Row, wish: Option<Wish>, found: &Found) -> Finding {
    Finding {
        name: row.name,
        weight: row.weight,
        wanted: wish.as_ref().map_or_else(|| "by the host's memory".to_owned(), Wish::to_string),
        found: Some(found.to_string()).filter(|_| *found != Found::Unsaid),
        verdict: wish.map_or(Verdict::Unknown, |wish| wish.judge(found)),
        why: row.why,
        source: row.source,
        check: row.check(),
        undo: row.undo(),
        guide: row.guide(),
    }
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Ok => "ok",
        Verdict::Low => "low",
        Verdict::High => "high",
        Verdict::Unknown => "unknown",
        Verdict::NotApplicable => "not_applicable",
        Verdict::Reported => "reported",
    }
}

impl Check {
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("a check serializes: its keys are strings")
    }

    /// The page for the terminal: what is wrong comes with its reason, the rest is one line each.
    pub fn page(&self) -> String {
        let mut page = String::new();
        // Writing to a String never fails.
        let _infallible = self.write_page(&mut page);
        page
    }

    fn write_page(&self, page: &mut String) -> std::fmt::Result {
        for Finding { name, weight, wanted, found, verdict, why, check, guide, .. } in &self.findings {
            let found = found.as_deref().unwrap_or("–");
            writeln!(page, "{verdict:7} {name:38} found {found:32} wanted {wanted}")?;
            if verdict.is_bad() || *verdict == Verdict::Unknown {
                let weight = if *weight == Weight::Needed { "needed" } else { "advised" };
                writeln!(page, "        {weight}: {why}")?;
                writeln!(page, "        look: {check}    read: {guide}")?;
            }
        }
        let counts: Vec<String> = self.counts.iter().map(|(word, count)| format!("{count} {word}")).collect();
        writeln!(page, "{} for {}", counts.join(", "), self.profile.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host_with(files: &[(&str, &str)]) -> (tempfile::TempDir, Host) {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let file = root.path().join(path);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, text).unwrap();
        }
        let host = Host::new(root.path().to_owned());
        (root, host)
    }

    fn checked(files: &[(&str, &str)], profile: Profile) -> Check {
        let (_root, host) = host_with(files);
        check(&host, profile, &Tuning::default())
    }

    fn verdict_of(files: &[(&str, &str)], profile: Profile, name: &str) -> Verdict {
        let check = checked(files, profile);
        check.findings.into_iter().find(|finding| finding.name == name).expect("a finding").verdict
    }

    #[test]
    fn a_value_below_the_wish_is_low_and_at_the_wish_is_ok() {
        let somaxconn = |text| {
            verdict_of(&[("proc/sys/net/core/somaxconn", text)], Profile::Gateway1m, "net.core.somaxconn")
        };
        assert_eq!(somaxconn("4096\n"), Verdict::Low);
        assert_eq!(somaxconn("65535\n"), Verdict::Ok);
    }

    #[test]
    fn what_the_host_does_not_say_is_unknown_not_ok() {
        let check = checked(&[], Profile::Gateway1m);
        let said = check.findings.iter().filter(|finding| finding.verdict != Verdict::Unknown);
        // A kernel without conntrack has no file for it either.
        assert_eq!(said.map(|finding| finding.name).collect::<Vec<_>>(), ["conntrack"]);
        assert!(check.fit && check.counts["unknown"] > 20);
    }

    #[test]
    fn tcp_mem_is_judged_by_the_hosts_memory() {
        let meminfo = ("proc/meminfo", "MemTotal: 4194304 kB\n");
        let judged = |text| {
            verdict_of(
                &[meminfo, ("proc/sys/net/ipv4/tcp_mem", text)],
                Profile::Gateway500k,
                "net.ipv4.tcp_mem",
            )
        };
        assert_eq!(
            judged("262144 346030 524288\n"),
            Verdict::Ok,
            "a quarter, a third, half of 1,048,576 pages"
        );
        assert_eq!(judged("262144 346029 524287\n"), Verdict::Low);
        let unsaid = [("proc/sys/net/ipv4/tcp_mem", "1 1 1\n")];
        assert_eq!(verdict_of(&unsaid, Profile::Gateway500k, "net.ipv4.tcp_mem"), Verdict::Unknown);
    }

    #[test]
    fn one_bad_finding_makes_the_host_unfit() {
        let disabled = [("proc/sys/kernel/io_uring_disabled", "2\n")];
        let check = checked(&disabled, Profile::Loadtest);
        assert!(!check.fit);
        assert_eq!(check.counts["high"], 1);
        assert!(checked(&disabled, Profile::Router).fit, "a router needs no io_uring");
    }

    #[test]
    fn the_page_gives_reasons_only_where_something_is_wrong() {
        let page = checked(&[("proc/sys/net/core/somaxconn", "128\n")], Profile::Gateway500k).page();
        assert!(page.contains("LOW     net.core.somaxconn"), "{page}");
        assert!(page.contains("needed: caps listen()'s backlog"), "{page}");
        let page = checked(&[("proc/sys/net/core/somaxconn", "65535\n")], Profile::Gateway500k).page();
        assert!(!page.contains("caps listen()'s backlog"), "{page}");
    }

    #[test]
    fn the_json_has_every_field_of_its_shape() {
        let json = checked(&[], Profile::Loadtest).to_json();
        let value: serde_json::Value = serde_json::from_str(&json).expect("JSON");
        assert_eq!(value["schema"], SCHEMA);
        assert_eq!(value["profile"], "loadtest");
        for finding in value["findings"].as_array().expect("a list") {
            let keys: Vec<&str> =
                finding.as_object().expect("an object").keys().map(String::as_str).collect();
            let all =
                ["check", "found", "guide", "name", "source", "undo", "verdict", "wanted", "weight", "why"];
            assert_eq!(keys, all);
        }
    }
}
