//! Reads the host: `/proc/sys`, the process's own limits. Below a root folder, so that tests bring their own.

use std::path::PathBuf;

/// The host below a root folder.
#[derive(Debug)]
pub struct Host {
    root: PathBuf,
}

impl Host {
    pub fn new(root: PathBuf) -> Host {
        Host { root }
    }

    /// The numbers of a sysctl such as `net.ipv4.tcp_rmem`; `None` where the kernel has no such setting.
    pub fn sysctl(&self, name: &str) -> Option<Vec<u64>> {
        let text = std::fs::read_to_string(self.root.join("proc/sys").join(name.replace('.', "/"))).ok()?;
        text.split_whitespace().map(|number| number.parse().ok()).collect()
    }

    /// The soft limit of this process, by its name in `/proc/self/limits`; `u64::MAX` is unlimited.
    pub fn limit(&self, name: &str) -> Option<u64> {
        let text = std::fs::read_to_string(self.root.join("proc/self/limits")).ok()?;
        let soft = text.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?;
        if soft == "unlimited" { Some(u64::MAX) } else { soft.parse().ok() }
    }

    /// Bytes of memory.
    pub fn memory_bytes(&self) -> Option<u64> {
        let text = std::fs::read_to_string(self.root.join("proc/meminfo")).ok()?;
        let kib = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?.split_whitespace().next()?;
        kib.parse::<u64>().ok()?.checked_mul(1024)
    }
}
