//! What each profile wants of a host, as data: to add a value, add a row to a group and a section to the group's page in
//! `tuning/guide`. Pure.
//!
//! The groups are the guide's pages. A row says what is wanted, why, from where that is known, how a person looks at it
//! and how it is taken back.

mod accept_path;
mod files_and_memory;
mod leave_alone;
mod ports;
mod queues;
mod tcp_buffers;

use std::borrow::Cow;

use serde::Serialize;

use crate::model;
use crate::profile::Profile;
use crate::wish::Wish;

/// Where a value is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A sysctl whose name is the row's.
    Sysctl,
    /// A line of `/proc/self/limits` with this name: the limits of whoever runs the check.
    Limit(&'static str),
    Memory,
    /// Buckets of the table of established connections.
    Buckets,
    Conntrack,
    HugePages,
    Governor,
    Irqbalance,
    Mitigations,
}

/// Lines of `/proc/self/limits`.
pub const OPEN_FILES: &str = "Max open files";
pub const LOCKED_MEMORY: &str = "Max locked memory";

/// How much hangs on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Weight {
    /// The profile's connections cannot be held, or not be let in again, without it.
    Needed,
    /// It makes a run better, or guards it against something that a quiet run does not meet.
    Advised,
    /// Only told.
    Told,
}

/// What is wanted, before the host's size is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    Plain(Wish),
    /// At least these percentages of the host's memory, in pages.
    PagesPercent([u64; 3]),
    /// What the profile's connections cost, in bytes.
    Memory,
}

/// What a wish is worked out from.
#[derive(Debug, Clone, Copy)]
pub struct Facts {
    pub memory_bytes: Option<u64>,
    pub page_bytes: u64,
}

/// One value. `wishes` are for gateway-500k, gateway-1m, loadtest, router.
#[derive(Debug)]
pub struct Row {
    pub name: &'static str,
    pub place: Place,
    pub weight: Weight,
    pub wishes: [Option<Wanted>; 4],
    pub why: &'static str,
    pub source: &'static str,
    /// Kernel's default for a sysctl (Linux 6.18), otherwise what takes it back.
    pub undo: &'static str,
    /// The group: a page of the guide.
    pub page: &'static str,
}

/// All rows, in the order of the guide's pages.
pub fn rows() -> impl Iterator<Item = &'static Row> {
    let groups: [&[Row]; 6] = [
        files_and_memory::ROWS,
        accept_path::ROWS,
        ports::ROWS,
        tcp_buffers::ROWS,
        queues::ROWS,
        leave_alone::ROWS,
    ];
    groups.into_iter().flatten()
}

impl Row {
    /// The wish of a profile; none where the profile does not care, or where the host's size must be known and is not.
    pub fn wish(&self, profile: Profile, facts: &Facts) -> Option<Wish> {
        let wanted = self.wishes[profile.place()].as_ref()?;
        Some(match wanted {
            Wanted::Plain(wish) => wish.clone(),
            Wanted::PagesPercent(percents) => {
                let pages = facts.memory_bytes? / facts.page_bytes;
                Wish::AtLeast(percents.iter().map(|percent| pages * percent / 100).collect::<Vec<_>>().into())
            }
            Wanted::Memory => Wish::AtLeast(vec![memory_bytes(profile)].into()),
        })
    }

    /// Does the profile care?
    pub fn is_wished(&self, profile: Profile) -> bool {
        self.wishes[profile.place()].is_some()
    }

    /// The command with which a person looks.
    pub fn check(&self) -> String {
        match self.place {
            Place::Sysctl => format!("sysctl {}", self.name),
            Place::Limit(line) => format!("grep '{line}' /proc/PID/limits"),
            Place::Memory => "grep MemTotal /proc/meminfo; cat /sys/fs/cgroup/…/memory.max".to_owned(),
            Place::Buckets => "sysctl net.ipv4.tcp_ehash_entries".to_owned(),
            Place::Conntrack => {
                "sysctl net.netfilter.nf_conntrack_count net.netfilter.nf_conntrack_max".to_owned()
            }
            Place::HugePages => "cat /sys/kernel/mm/transparent_hugepage/enabled".to_owned(),
            Place::Governor => "cat /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor".to_owned(),
            Place::Irqbalance => "pgrep -x irqbalance".to_owned(),
            Place::Mitigations => "grep . /sys/devices/system/cpu/vulnerabilities/*".to_owned(),
        }
    }

    /// What a person does about a value that no file of ours sets.
    pub fn by_hand(&self, wish: &Wish) -> Option<String> {
        Some(match (self.place, wish) {
            (Place::Memory, _) => format!("{wish} bytes are needed: give the host or its control group more"),
            (Place::Buckets, Wish::AtLeast(buckets)) => {
                format!("add thash_entries={} to the kernel's command line and reboot", buckets[0])
            }
            (Place::Conntrack, _) => {
                "add notrack rules for the listeners' ports, or unload nf_conntrack".to_owned()
            }
            (Place::HugePages, _) => "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled".to_owned(),
            (Place::Governor, _) => "cpupower frequency-set -g performance".to_owned(),
            (Place::Irqbalance, _) => "systemctl disable --now irqbalance".to_owned(),
            _ => return None,
        })
    }

    /// How it is taken back.
    pub fn undo(&self) -> String {
        match self.place {
            Place::Sysctl => format!("tuning apply --undo; the kernel's default is {}", self.undo),
            _ => self.undo.to_owned(),
        }
    }

    /// The row's section in the guide.
    pub fn guide(&self) -> String {
        let anchor = |c: char| match c {
            'A'..='Z' => Some(c.to_ascii_lowercase()),
            'a'..='z' | '0'..='9' | '_' | '-' => Some(c),
            _ => None,
        };
        let anchor: String = self.name.chars().filter_map(anchor).collect();
        format!("tuning/guide/{}.md#{anchor}", self.page)
    }
}

/// What the profile's connections cost at rest. A router's memory goes into stores that say for themselves.
fn memory_bytes(profile: Profile) -> u64 {
    let each = match profile {
        Profile::Gateway500k | Profile::Gateway1m => model::gateway_connection_bytes(false),
        Profile::Loadtest => model::loadtest_connection_bytes(),
        Profile::Router => 0,
    };
    let base = if profile == Profile::Router { ROUTER_BYTES } else { model::BASE_BYTES.value };
    profile.connections() * each + base
}

const ROUTER_BYTES: u64 = 2 << 30;

// The words of the rows.
const NO: Option<Wanted> = None;
const ZERO: Option<Wanted> = most(&[0]);
const TOLD: Option<Wanted> = Some(Wanted::Plain(Wish::Told));
const ABSENT: Option<Wanted> = Some(Wanted::Plain(Wish::Absent));

#[expect(clippy::unnecessary_wraps, reason = "the rows read as a table")]
const fn least(numbers: &'static [u64]) -> Option<Wanted> {
    Some(Wanted::Plain(Wish::AtLeast(Cow::Borrowed(numbers))))
}

#[expect(clippy::unnecessary_wraps, reason = "the rows read as a table")]
const fn most(numbers: &'static [u64]) -> Option<Wanted> {
    Some(Wanted::Plain(Wish::AtMost(Cow::Borrowed(numbers))))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROFILES: [Profile; 4] =
        [Profile::Gateway500k, Profile::Gateway1m, Profile::Loadtest, Profile::Router];
    const FACTS: Facts = Facts { memory_bytes: Some(24 << 30), page_bytes: 4_096 };

    fn least_of(name: &str, profile: Profile) -> u64 {
        let row = rows().find(|row| row.name == name).expect("a row");
        match row.wish(profile, &FACTS) {
            Some(Wish::AtLeast(numbers)) => numbers[0],
            other => panic!("{name}: {other:?}"),
        }
    }

    #[test]
    fn every_row_is_wanted_by_somebody_and_says_why_from_where_and_how_to_undo() {
        for row in rows() {
            assert!(PROFILES.iter().any(|profile| row.is_wished(*profile)), "{}", row.name);
            assert!(!row.why.is_empty() && !row.source.is_empty() && !row.undo.is_empty(), "{}", row.name);
            assert!(!row.check().is_empty() && row.guide().contains('#'), "{}", row.name);
        }
    }

    #[test]
    fn no_value_has_two_rows() {
        let mut names: Vec<&str> = rows().map(|row| row.name).collect();
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{names:?}");
    }

    #[test]
    fn a_limit_never_exceeds_its_ceiling() {
        for profile in [Profile::Gateway500k, Profile::Gateway1m, Profile::Loadtest] {
            assert!(least_of("RLIMIT_NOFILE", profile) <= least_of("fs.nr_open", profile), "{profile:?}");
        }
    }

    #[test]
    fn memory_comes_from_the_model_and_tcp_mem_from_the_host() {
        let two = least_of("memory", Profile::Gateway500k) - model::BASE_BYTES.value;
        assert_eq!(least_of("memory", Profile::Gateway1m) - model::BASE_BYTES.value, two * 2);
        let pages = (24_u64 << 30) / 4_096;
        assert_eq!(least_of("net.ipv4.tcp_mem", Profile::Gateway1m), pages * 25 / 100);
    }
}
