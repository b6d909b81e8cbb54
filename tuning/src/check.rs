//! Holds what a host has against what a profile wants.

use serde::Serialize;

use crate::host::Host;
use crate::table::{self, Place, Profile, Row, Wish};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Ok,
    Low,
    /// The host does not say, or the kernel has no such setting.
    Unknown,
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Verdict::Ok => "ok",
            Verdict::Low => "LOW",
            Verdict::Unknown => "unknown",
        })
    }
}

#[derive(Debug, Serialize)]
pub struct Finding {
    pub name: &'static str,
    pub wanted: String,
    pub found: Option<String>,
    pub verdict: Verdict,
    pub why: &'static str,
    pub source: &'static str,
}

/// One finding for each row that the profile cares about.
pub fn check(host: &Host, profile: Profile) -> Vec<Finding> {
    table::ROWS.iter().filter_map(|row| row.wish(profile).map(|wish| finding(host, row, wish))).collect()
}

fn finding(host: &Host, row: &Row, wish: Wish) -> Finding {
    let found = match row.place {
        Place::Sysctl => host.sysctl(row.name),
        Place::Limit => host.limit(row.name).map(|limit| vec![limit]),
        Place::Memory => host.memory_bytes().map(|bytes| vec![bytes]),
    };
    let verdict = match &found {
        None => Verdict::Unknown,
        Some(numbers) if fulfils(wish, numbers) => Verdict::Ok,
        Some(_) => Verdict::Low,
    };
    let show = |numbers: &Vec<u64>| numbers.iter().map(|n| number(*n)).collect::<Vec<_>>().join(" ");
    Finding {
        name: row.name,
        wanted: wanted(wish),
        found: found.as_ref().map(show),
        verdict,
        why: row.why,
        source: row.source,
    }
}

fn fulfils(wish: Wish, found: &[u64]) -> bool {
    match wish {
        Wish::AtLeast(least) => found.last().is_some_and(|found| *found >= least),
        Wish::AtMost(most) => found.last().is_some_and(|found| *found <= most),
        Wish::PortsAtLeast(ports) => matches!(found, [low, high] if high.saturating_sub(*low) >= ports),
    }
}

fn wanted(wish: Wish) -> String {
    match wish {
        Wish::AtLeast(least) => format!("at least {}", number(least)),
        Wish::AtMost(most) => format!("at most {}", number(most)),
        Wish::PortsAtLeast(ports) => format!("{ports} ports or more"),
    }
}

fn number(n: u64) -> String {
    if n == u64::MAX { "unlimited".to_owned() } else { n.to_string() }
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

    fn verdict_of(host: &Host, profile: Profile, name: &str) -> Verdict {
        check(host, profile).into_iter().find(|finding| finding.name == name).unwrap().verdict
    }

    #[test]
    fn a_value_below_the_wish_is_low_and_at_the_wish_is_ok() {
        let (_root, host) = host_with(&[("proc/sys/net/core/somaxconn", "4096\n")]);
        assert_eq!(verdict_of(&host, Profile::Gateway1m, "net.core.somaxconn"), Verdict::Low);
        let (_root, host) = host_with(&[("proc/sys/net/core/somaxconn", "65535\n")]);
        assert_eq!(verdict_of(&host, Profile::Gateway1m, "net.core.somaxconn"), Verdict::Ok);
    }

    #[test]
    fn what_the_host_does_not_say_is_unknown_not_ok() {
        let (_root, host) = host_with(&[]);
        assert!(check(&host, Profile::Gateway1m).iter().all(|finding| finding.verdict == Verdict::Unknown));
    }

    #[test]
    fn limits_are_read_by_name_and_unlimited_is_enough() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units\n\
                      Max locked memory         unlimited            unlimited            bytes\n\
                      Max open files            1024                 4096                 files\n";
        let (_root, host) = host_with(&[("proc/self/limits", limits)]);
        assert_eq!(verdict_of(&host, Profile::Gateway500k, "Max locked memory"), Verdict::Ok);
        assert_eq!(verdict_of(&host, Profile::Gateway500k, "Max open files"), Verdict::Low);
    }

    #[test]
    fn the_port_range_counts_by_its_width() {
        let name = "net.ipv4.ip_local_port_range";
        let (_root, host) = host_with(&[("proc/sys/net/ipv4/ip_local_port_range", "32768\t60999\n")]);
        assert_eq!(verdict_of(&host, Profile::Loadtest, name), Verdict::Low);
        let (_root, host) = host_with(&[("proc/sys/net/ipv4/ip_local_port_range", "1024\t65535\n")]);
        assert_eq!(verdict_of(&host, Profile::Loadtest, name), Verdict::Ok);
    }

    #[test]
    fn every_profile_wants_something_and_every_row_says_why() {
        for profile in [Profile::Gateway500k, Profile::Gateway1m, Profile::Loadtest, Profile::Router] {
            assert!(table::ROWS.iter().any(|row| row.wish(profile).is_some()));
        }
        assert!(table::ROWS.iter().all(|row| !row.why.is_empty() && !row.source.is_empty()));
    }
}
