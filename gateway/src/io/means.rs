//! What the limits of the process and the memory of the host hold of what the settings promise. Asked before anything is
//! opened, so that a start which cannot be ends in one line instead of half-way. Called by `node`.

use crate::limits::CONNECTION_BYTES;

/// What will be needed.
#[derive(Debug, Clone, Copy)]
pub struct Need {
    pub hard_limit: u64,
    pub shards: u32,
    /// Slots of each shard's table.
    pub slots: u32,
}

/// What there is.
#[derive(Debug, Clone, Copy)]
struct Means {
    nofile: u64,
    /// `None`: no bound.
    memlock: Option<u64>,
}

/// One limit that does not hold what is wanted. One line: which, what it is, what it should be, who sets it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{limit} is {found}, which does not hold gateway.hard_limit = {hard_limit} on {shards} shards: set it to {least} or more \
     ({by}; tuning apply --profile {profile}), or lower hard_limit"
)]
pub struct Shortfall {
    limit: &'static str,
    found: String,
    least: String,
    by: &'static str,
    hard_limit: u64,
    shards: u32,
    profile: &'static str,
}

/// Refuses what the limits do not hold, and warns of memory, which is taken only as connections come.
pub fn check(need: Need) -> Result<(), Shortfall> {
    // A limit that cannot be read stands in nobody's way: opening the rings will tell.
    let nofile = gateway_ring::raise_nofile().unwrap_or(u64::MAX);
    let memlock = gateway_ring::raise_memlock().unwrap_or(None);
    need.held_by(Means { nofile, memlock })?;
    let wanted = need.hard_limit.saturating_mul(CONNECTION_BYTES);
    if let Some(available) = available_bytes().filter(|available| *available < wanted) {
        tracing::warn!(
            available_mib = available >> 20,
            needed_mib = wanted >> 20,
            "memory does not hold gateway.hard_limit = {}: lower it, or give the host more (tuning check --profile {})",
            need.hard_limit,
            need.profile()
        );
    }
    Ok(())
}

impl Need {
    fn held_by(self, means: Means) -> Result<(), Shortfall> {
        let nofile = gateway_ring::nofile_least(self.slots, self.shards);
        if means.nofile < nofile {
            let by = "ulimit -n, LimitNOFILE=";
            return Err(self.short("RLIMIT_NOFILE", means.nofile.to_string(), nofile.to_string(), by));
        }
        let least = gateway_ring::memlock_least(self.slots, self.shards, means.nofile);
        match means.memlock {
            Some(bytes) if bytes < least => {
                Err(self.short("RLIMIT_MEMLOCK", kib(bytes), kib(least), "ulimit -l, LimitMEMLOCK="))
            }
            _ => Ok(()),
        }
    }

    fn short(self, limit: &'static str, found: String, least: String, by: &'static str) -> Shortfall {
        let Need { hard_limit, shards, .. } = self;
        Shortfall { limit, found, least, by, hard_limit, shards, profile: self.profile() }
    }

    fn profile(self) -> &'static str {
        if self.hard_limit <= 600_000 { "gateway-500k" } else { "gateway-1m" }
    }
}

fn kib(bytes: u64) -> String {
    format!("{} KiB", bytes >> 10)
}

fn available_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let kib = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?.split_whitespace().next()?;
    kib.parse::<u64>().ok()?.checked_mul(1_024)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEED: Need = Need { hard_limit: 600_000, shards: 2, slots: 376_024 };

    #[test]
    fn each_limit_is_named_with_what_it_is_what_it_should_be_and_the_profile() {
        let line = NEED.held_by(Means { nofile: 200, memlock: None }).unwrap_err().to_string();
        let least = gateway_ring::nofile_least(NEED.slots, NEED.shards).to_string();
        for words in
            ["RLIMIT_NOFILE is 200", "hard_limit = 600000", &least, "ulimit -n", "--profile gateway-500k"]
        {
            assert!(line.contains(words), "{words}: {line}");
        }
        let large = Need { hard_limit: 1_200_000, ..NEED };
        let line = large.held_by(Means { nofile: 1 << 20, memlock: Some(65_536) }).unwrap_err().to_string();
        let least = kib(gateway_ring::memlock_least(large.slots, large.shards, 1 << 20));
        for words in ["RLIMIT_MEMLOCK is 64 KiB", &least, "ulimit -l", "--profile gateway-1m"] {
            assert!(line.contains(words), "{words}: {line}");
        }
        assert_eq!(line.lines().count(), 1);
    }

    #[test]
    fn what_is_enough_is_enough() {
        let nofile = gateway_ring::nofile_least(NEED.slots, NEED.shards);
        assert_eq!(NEED.held_by(Means { nofile, memlock: None }), Ok(()));
        assert_eq!(
            NEED.held_by(Means { nofile: 20_000, memlock: Some(8 << 20) }),
            Ok(()),
            "an ordinary login"
        );
        assert!(NEED.held_by(Means { nofile: nofile - 1, memlock: None }).is_err());
    }
}
