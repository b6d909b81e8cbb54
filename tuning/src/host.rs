//! Reads the host: `/proc` and `/sys`, below a root folder, so that tests bring their own. Judges nothing.
//!
//! What cannot be read is [`Found::Unsaid`]; what has no meaning here (another network namespace's value, a card's queue
//! where there is no card) is [`Found::NotApplicable`] with the reason.

use std::path::PathBuf;

use crate::table::{Facts, Place, Row};
use crate::wish::Found;

/// Network devices, CPUs, processes and vulnerabilities looked at.
const ENTRIES_MAX: usize = 65_536;
/// What /proc counts memory in.
const KIB: u64 = 1_024;
/// The page of nearly every machine.
const PAGE_KIB: u64 = 4;

/// The host below a root folder.
#[derive(Debug)]
pub struct Host {
    root: PathBuf,
}

impl Host {
    pub fn new(root: PathBuf) -> Host {
        Host { root }
    }

    /// What wishes are worked out from.
    pub fn facts(&self) -> Facts {
        let page_kib = self.read("proc/self/smaps").and_then(|text| number_behind(&text, "KernelPageSize:"));
        Facts { memory_bytes: self.memory_bytes(), page_bytes: page_kib.unwrap_or(PAGE_KIB) * KIB }
    }

    pub fn look(&self, row: &Row) -> Found {
        match row.place {
            Place::Sysctl => self.sysctl(row.name),
            Place::Limit(line) => self.limit(line).map_or(Found::Unsaid, one),
            Place::Memory => self.memory_bytes().map_or(Found::Unsaid, one),
            Place::Buckets => self.buckets(),
            Place::Conntrack => self.conntrack(),
            Place::HugePages => self.huge_pages(),
            Place::Governor => self.governor(),
            Place::Irqbalance => self.irqbalance(),
            Place::Mitigations => self.mitigations(),
        }
    }

    /// Where a sysctl lies.
    pub fn sysctl_path(&self, name: &str) -> PathBuf {
        self.root.join("proc/sys").join(name.replace('.', "/"))
    }

    /// A sysctl's text as the kernel shows it, without the blanks around it.
    pub fn sysctl_text(&self, name: &str) -> Option<String> {
        std::fs::read_to_string(self.sysctl_path(name)).ok().map(|text| text.trim().to_owned())
    }

    fn sysctl(&self, name: &str) -> Found {
        let queue = name.starts_with("net.core.netdev_budget");
        if queue && self.has_cards() == Some(false) {
            return Found::NotApplicable("no network card here, only loopback");
        }
        match self.sysctl_text(name) {
            Some(text) => found_in(&text),
            None if name.starts_with("net.") && self.is_inner_network() => {
                Found::NotApplicable("of the whole host, not of this network namespace")
            }
            None => Found::Unsaid,
        }
    }

    /// A network namespace that is not the first one shows its own settings only.
    fn is_inner_network(&self) -> bool {
        self.sysctl_path("net.core.somaxconn").exists()
            && !self.sysctl_path("net.core.netdev_max_backlog").exists()
    }

    /// Is there a network device with hardware (or a hypervisor's queue) behind it? `None`: it is not said.
    fn has_cards(&self) -> Option<bool> {
        let devices = self.names("sys/class/net")?;
        Some(devices.iter().any(|name| self.root.join("sys/class/net").join(name).join("device").exists()))
    }

    /// The soft limit of this process, by its name in `/proc/self/limits`; `u64::MAX` is unlimited.
    fn limit(&self, name: &str) -> Option<u64> {
        let text = self.read("proc/self/limits")?;
        let soft = text.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?;
        if soft == "unlimited" { Some(u64::MAX) } else { soft.parse().ok() }
    }

    /// Bytes of memory that a process here may have: the host's, or its control group's if that is less.
    pub fn memory_bytes(&self) -> Option<u64> {
        let all = number_behind(&self.read("proc/meminfo")?, "MemTotal:")?.checked_mul(KIB)?;
        Some(self.group_memory_bytes().map_or(all, |most| most.min(all)))
    }

    /// `memory.max` of our own control group (version 2); none where it is `max` or not said.
    fn group_memory_bytes(&self) -> Option<u64> {
        let groups = self.read("proc/self/cgroup")?;
        let group = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
        self.read(&format!("sys/fs/cgroup{}/memory.max", group.trim_end_matches('/')))?.trim().parse().ok()
    }

    /// A namespace that shares the host's table shows its size as a negative number; an older kernel says nothing, but its
    /// command line may.
    fn buckets(&self) -> Found {
        let said = self.sysctl_text("net.ipv4.tcp_ehash_entries").and_then(|text| text.parse::<i64>().ok());
        let asked = || {
            let line = self.read("proc/cmdline")?;
            line.split_whitespace().find_map(|word| word.strip_prefix("thash_entries="))?.parse().ok()
        };
        said.map(i64::unsigned_abs).or_else(asked).map_or(Found::Unsaid, one)
    }

    /// Loaded is not yet tracking: without a rule that asks for it, nothing is counted.
    fn conntrack(&self) -> Found {
        let Some(most) = self.sysctl_text("net.netfilter.nf_conntrack_max") else { return Found::Nothing };
        match self.sysctl_text("net.netfilter.nf_conntrack_count") {
            None => Found::Unsaid,
            Some(count) if count == "0" => Found::Nothing,
            Some(count) => Found::Text(format!("tracks {count} of {most}")),
        }
    }

    fn huge_pages(&self) -> Found {
        let text = self.read("sys/kernel/mm/transparent_hugepage/enabled");
        let chosen = text.and_then(|text| Some(text.split_once('[')?.1.split_once(']')?.0.to_owned()));
        chosen.map_or(Found::Unsaid, Found::Text)
    }

    /// All CPUs' governor if they agree, else all that there are.
    fn governor(&self) -> Found {
        let Some(cpus) = self.names("sys/devices/system/cpu") else { return Found::Unsaid };
        let numbered =
            cpus.iter().filter(|name| name.strip_prefix("cpu").is_some_and(|n| n.parse::<u32>().is_ok()));
        let mut governors: Vec<String> = numbered
            .filter_map(|cpu| self.read(&format!("sys/devices/system/cpu/{cpu}/cpufreq/scaling_governor")))
            .map(|text| text.trim().to_owned())
            .collect();
        governors.sort();
        governors.dedup();
        if governors.is_empty() {
            return Found::NotApplicable(
                "the CPU's frequency is not ours to choose, as in a virtual machine",
            );
        }
        Found::Text(governors.join(" "))
    }

    fn irqbalance(&self) -> Found {
        if self.has_cards() == Some(false) {
            return Found::NotApplicable("no network card here, only loopback");
        }
        if [".dockerenv", "run/.containerenv"].iter().any(|mark| self.root.join(mark).exists()) {
            return Found::NotApplicable("the host's processes are not seen from a container");
        }
        let Some(processes) = self.names("proc") else { return Found::Unsaid };
        let mut numbered = processes.iter().filter(|name| name.parse::<u32>().is_ok()).peekable();
        if numbered.peek().is_none() {
            return Found::Unsaid;
        }
        let mut names = numbered.filter_map(|pid| self.read(&format!("proc/{pid}/comm")));
        if names.any(|name| name.trim() == "irqbalance") {
            Found::Text("running".to_owned())
        } else {
            Found::Nothing
        }
    }

    fn mitigations(&self) -> Found {
        let folder = "sys/devices/system/cpu/vulnerabilities";
        let Some(names) = self.names(folder) else { return Found::Unsaid };
        let states: Vec<String> =
            names.iter().filter_map(|name| self.read(&format!("{folder}/{name}"))).collect();
        let count = |word: &str| states.iter().filter(|state| state.starts_with(word)).count();
        let line = self.read("proc/cmdline").unwrap_or_default();
        let asked = line.split_whitespace().find(|word| word.starts_with("mitigations="));
        let told = format!("{} mitigated, {} vulnerable", count("Mitigation"), count("Vulnerable"));
        Found::Text(asked.map_or(told.clone(), |asked| format!("{told}, {asked}")))
    }

    fn read(&self, path: &str) -> Option<String> {
        std::fs::read_to_string(self.root.join(path)).ok()
    }

    /// The names in a folder, sorted.
    fn names(&self, folder: &str) -> Option<Vec<String>> {
        let entries = std::fs::read_dir(self.root.join(folder)).ok()?.take(ENTRIES_MAX).flatten();
        let mut names: Vec<String> =
            entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort();
        Some(names)
    }
}

/// A sysctl's text: numbers where it holds nothing else.
pub fn found_in(text: &str) -> Found {
    as_numbers(text).map_or_else(|| Found::Text(text.to_owned()), Found::Numbers)
}

fn one(number: u64) -> Found {
    Found::Numbers(vec![number])
}

/// The numbers of a text that holds nothing else; an empty text holds none.
fn as_numbers(text: &str) -> Option<Vec<u64>> {
    let numbers: Option<Vec<u64>> = text.split_whitespace().map(|number| number.parse().ok()).collect();
    numbers.filter(|numbers| !numbers.is_empty())
}

fn number_behind(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::rows;

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

    fn found(files: &[(&str, &str)], name: &str) -> Found {
        let (_root, host) = host_with(files);
        host.look(rows().find(|row| row.name == name).expect("a row"))
    }

    #[test]
    fn limits_are_read_by_name_and_unlimited_is_a_number() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units\n\
                      Max locked memory         unlimited            unlimited            bytes\n\
                      Max open files            1024                 4096                 files\n";
        assert_eq!(found(&[("proc/self/limits", limits)], "RLIMIT_MEMLOCK"), one(u64::MAX));
        assert_eq!(found(&[("proc/self/limits", limits)], "RLIMIT_NOFILE"), one(1_024));
        assert_eq!(found(&[], "RLIMIT_NOFILE"), Found::Unsaid);
    }

    #[test]
    fn a_control_group_with_less_memory_is_what_counts() {
        let meminfo = ("proc/meminfo", "MemTotal:       1000 kB\nMemFree: 1 kB\n");
        assert_eq!(found(&[meminfo], "memory"), one(1_024_000));
        let group = ("proc/self/cgroup", "9:name=systemd:/x\n0::/service\n");
        let limit = |text| found(&[meminfo, group, ("sys/fs/cgroup/service/memory.max", text)], "memory");
        assert_eq!(limit("500000\n"), one(500_000));
        assert_eq!(limit("max\n"), one(1_024_000));
    }

    #[test]
    fn buckets_come_from_the_kernel_or_its_command_line() {
        let name = "proc/sys/net/ipv4/tcp_ehash_entries";
        assert_eq!(found(&[(name, "262144\n")], "thash_entries"), one(262_144));
        assert_eq!(found(&[(name, "-262144\n")], "thash_entries"), one(262_144), "shared with the host");
        assert_eq!(
            found(&[("proc/cmdline", "quiet thash_entries=2097152\n")], "thash_entries"),
            one(2_097_152)
        );
    }

    #[test]
    fn conntrack_counts_only_when_it_tracks() {
        let most = ("proc/sys/net/netfilter/nf_conntrack_max", "262144\n");
        let count = "proc/sys/net/netfilter/nf_conntrack_count";
        assert_eq!(found(&[], "conntrack"), Found::Nothing);
        assert_eq!(found(&[most, (count, "0\n")], "conntrack"), Found::Nothing);
        assert_eq!(found(&[most, (count, "7\n")], "conntrack"), Found::Text("tracks 7 of 262144".to_owned()));
    }

    #[test]
    fn an_inner_network_namespace_does_not_speak_for_the_host() {
        let inner = [("proc/sys/net/core/somaxconn", "4096\n")];
        assert!(matches!(found(&inner, "net.core.netdev_max_backlog"), Found::NotApplicable(_)));
        assert_eq!(found(&inner, "fs.file-max"), Found::Unsaid);
        assert_eq!(found(&[], "net.core.netdev_max_backlog"), Found::Unsaid);
    }

    #[test]
    fn a_host_without_a_card_has_no_card_to_tune() {
        let budget = ("proc/sys/net/core/netdev_budget", "300\n");
        let lo = ("sys/class/net/lo/mtu", "65536\n");
        let card = ("sys/class/net/eth0/device/vendor", "0x1af4\n");
        assert!(matches!(found(&[budget, lo], "net.core.netdev_budget"), Found::NotApplicable(_)));
        assert!(matches!(found(&[budget, lo], "irqbalance"), Found::NotApplicable(_)));
        assert_eq!(found(&[budget, lo, card], "net.core.netdev_budget"), one(300));
    }

    #[test]
    fn irqbalance_is_looked_for_by_name() {
        let card = ("sys/class/net/eth0/device/vendor", "0x1af4\n");
        let init = ("proc/1/comm", "systemd\n");
        assert_eq!(found(&[card], "irqbalance"), Found::Unsaid);
        assert_eq!(found(&[card, init], "irqbalance"), Found::Nothing);
        assert_eq!(
            found(&[card, init, ("proc/7/comm", "irqbalance\n")], "irqbalance"),
            Found::Text("running".to_owned())
        );
        assert!(matches!(found(&[card, init, (".dockerenv", "")], "irqbalance"), Found::NotApplicable(_)));
    }

    #[test]
    fn words_are_read_as_the_kernel_shows_them() {
        let huge = [("sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n")];
        assert_eq!(found(&huge, "transparent_hugepage"), Found::Text("madvise".to_owned()));
        let governors = [
            ("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "performance\n"),
            ("sys/devices/system/cpu/cpu1/cpufreq/scaling_governor", "schedutil\n"),
        ];
        assert_eq!(found(&governors, "cpu_governor"), Found::Text("performance schedutil".to_owned()));
        assert_eq!(found(&governors[..1], "cpu_governor"), Found::Text("performance".to_owned()));
        let bare = [("sys/devices/system/cpu/cpu0/topology/core_id", "0\n")];
        assert!(matches!(found(&bare, "cpu_governor"), Found::NotApplicable(_)));
        let holes = [
            ("sys/devices/system/cpu/vulnerabilities/a", "Mitigation: x\n"),
            ("sys/devices/system/cpu/vulnerabilities/b", "Vulnerable\n"),
            ("proc/cmdline", "mitigations=off\n"),
        ];
        assert_eq!(
            found(&holes, "mitigations"),
            Found::Text("1 mitigated, 1 vulnerable, mitigations=off".to_owned())
        );
    }
}
