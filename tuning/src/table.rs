//! What each profile wants of a host, as data: to add a value, add a row.

use clap::ValueEnum;
use serde::Serialize;

/// What the host is to carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Profile {
    #[value(name = "gateway-500k")]
    #[serde(rename = "gateway-500k")]
    Gateway500k,
    #[value(name = "gateway-1m")]
    #[serde(rename = "gateway-1m")]
    Gateway1m,
    Loadtest,
    Router,
}

/// Where a value is read.
#[derive(Debug, Clone, Copy)]
pub enum Place {
    Sysctl,
    /// A line of `/proc/self/limits`: the limits of whoever runs the check, so run it as the service's user.
    Limit,
    Memory,
}

/// What is wanted; of several numbers the last counts (`tcp_mem`'s and `tcp_rmem`'s third is the ceiling).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    AtLeast(u64),
    AtMost(u64),
    /// The width of a port range.
    PortsAtLeast(u64),
}

/// One value. `wishes` are for gateway-500k, gateway-1m, loadtest, router.
#[derive(Debug)]
pub struct Row {
    pub name: &'static str,
    pub place: Place,
    pub wishes: [Option<Wish>; 4],
    pub why: &'static str,
    pub source: &'static str,
}

impl Row {
    pub fn wish(&self, profile: Profile) -> Option<Wish> {
        self.wishes[match profile {
            Profile::Gateway500k => 0,
            Profile::Gateway1m => 1,
            Profile::Loadtest => 2,
            Profile::Router => 3,
        }]
    }
}

const NO: Option<Wish> = None;
#[expect(clippy::unnecessary_wraps, reason = "the rows below read as a table")]
const fn least(n: u64) -> Option<Wish> {
    Some(Wish::AtLeast(n))
}
const ZERO: Option<Wish> = Some(Wish::AtMost(0));
const GIB: u64 = 1 << 30;

pub const ROWS: &[Row] = &[
    Row {
        name: "memory",
        place: Place::Memory,
        wishes: [least(6 * GIB), least(10 * GIB), least(6 * GIB), least(2 * GIB)],
        why: "a connection costs about 4.7 KB at its server, kernel included, before any buffer fills",
        source: "measured: 3.83 KB a TCP socket, a poll, a slot, a slab entry",
    },
    Row {
        name: "Max open files",
        place: Place::Limit,
        wishes: [least(600_000), least(1_200_000), least(1_000_000), least(65_536)],
        why: "bounds each ring's table of direct descriptors; below it a shard opens more rings",
        source: "getrlimit(2), RLIMIT_NOFILE; io_uring_register_files(3)",
    },
    Row {
        name: "Max locked memory",
        place: Place::Limit,
        wishes: [least(8 << 20), least(8 << 20), least(8 << 20), NO],
        why: "rings and registered buffers of glommio's executors are locked memory",
        source: "getrlimit(2), RLIMIT_MEMLOCK",
    },
    Row {
        name: "fs.nr_open",
        place: Place::Sysctl,
        wishes: [least(1 << 20), least(4_000_000), least(1 << 20), NO],
        why: "the ceiling of RLIMIT_NOFILE",
        source: "proc_sys_fs(5)",
    },
    Row {
        name: "fs.file-max",
        place: Place::Sysctl,
        wishes: [least(1 << 20), least(4_000_000), least(4_000_000), least(1 << 20)],
        why: "open files of the whole host; a direct descriptor is one too",
        source: "proc_sys_fs(5)",
    },
    Row {
        name: "net.core.somaxconn",
        place: Place::Sysctl,
        wishes: [least(65_535), least(65_535), NO, least(4_096)],
        why: "caps listen()'s backlog: a reconnect storm arrives within one second",
        source: "listen(2)",
    },
    Row {
        name: "net.ipv4.tcp_max_syn_backlog",
        place: Place::Sysctl,
        wishes: [least(262_144), least(262_144), NO, NO],
        why: "half-open handshakes of a storm",
        source: "tcp(7)",
    },
    Row {
        name: "net.ipv4.tcp_syncookies",
        place: Place::Sysctl,
        wishes: [least(1), least(1), NO, NO],
        why: "a full SYN queue must not refuse honest clients",
        source: "tcp(7)",
    },
    Row {
        name: "net.ipv4.tcp_mem",
        place: Place::Sysctl,
        wishes: [least(1_000_000), least(2_000_000), least(1_000_000), NO],
        why: "pages for all TCP buffers; over the third number sockets are closed",
        source: "tcp(7)",
    },
    Row {
        name: "net.ipv4.ip_local_port_range",
        place: Place::Sysctl,
        wishes: [NO, NO, Some(Wish::PortsAtLeast(60_000)), NO],
        why: "one source address has this many ports towards one listener",
        source: "ip(7)",
    },
    Row {
        name: "net.ipv4.tcp_tw_reuse",
        place: Place::Sysctl,
        wishes: [NO, NO, least(1), NO],
        why: "a second run finds the ports of the first in TIME-WAIT",
        source: "tcp(7)",
    },
    Row {
        name: "net.core.netdev_max_backlog",
        place: Place::Sysctl,
        wishes: [least(65_536), least(65_536), least(65_536), NO],
        why: "packets that wait for a core; loopback uses it too",
        source: "Documentation/admin-guide/sysctl/net.rst",
    },
    Row {
        name: "net.ipv4.tcp_slow_start_after_idle",
        place: Place::Sysctl,
        wishes: [ZERO, ZERO, NO, NO],
        why: "a notification's connection is idle nearly always; its window need not shrink",
        source: "tcp(7)",
    },
    Row {
        name: "kernel.io_uring_disabled",
        place: Place::Sysctl,
        wishes: [ZERO, ZERO, ZERO, NO],
        why: "the gateway and the load tester hold their sockets in io_uring",
        source: "Documentation/admin-guide/sysctl/kernel.rst",
    },
];
