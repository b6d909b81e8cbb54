//! How a run is laid out on this host: threads, source addresses, and what the host's limits leave of the connections that
//! are wanted. Pure; `machine` reads the host, the rings settle their own tables within what is said here.

use crate::limits::THREADS_MAX;
use crate::sources::Sources;

/// Loopback addresses are chosen so that ports are at most this full: the kernel searches long for the last ones.
const PORTS_FILLED: f64 = 0.5;
/// One thread holds this many before a second core is taken from a server on the same machine.
const CONNECTIONS_A_THREAD: u32 = 20_000;
/// File descriptors that rings, executors, the API's sockets and files need beside one a ring.
const FDS_SPARE: u64 = 256;
/// What `gateway-ring` allows, connections a ring and rings a thread.
const SLOTS_PER_RING: u64 = 16_384;
const RINGS_A_THREAD: u64 = 1_024;
/// Memory of one connection's client end: kernel socket, poll, our own state. Bytes.
const CLIENT_END_BYTES: u64 = 4_500;
/// Memory of the other end, where the server is on this machine too. Bytes.
const SERVER_END_BYTES: u64 = 4_700;
/// What TLS adds to either end: the session. Bytes.
const TLS_END_BYTES: u64 = 5_000;
/// What one executor and one ring with its smallest queues lock, and the limit below which glommio starts nothing. KiB.
const MEMLOCK_A_THREAD_KIB: u64 = 320;
const MEMLOCK_A_RING_KIB: u64 = 60;
const MEMLOCK_LEAST_KIB: u64 = 512;

/// What is wanted.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    pub connections: u32,
    /// `None`: chosen here.
    pub threads: Option<u16>,
    /// `None`: chosen here where all targets are on loopback, else the kernel's choice.
    pub sources: Option<Sources>,
    /// Distinct server addresses.
    pub targets: u32,
    pub loopback: bool,
    pub tls: bool,
}

/// What the host has.
#[derive(Debug, Clone, Copy)]
pub struct Host {
    pub cores: u16,
    /// RLIMIT_NOFILE, already raised to its hard limit.
    pub nofile: u64,
    /// RLIMIT_MEMLOCK in KiB, already raised to its hard limit; `None`: unlimited.
    pub memlock_kib: Option<u64>,
    pub port_first: u16,
    pub port_last: u16,
    /// MemAvailable.
    pub memory_bytes: u64,
}

/// The layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    pub connections: u32,
    pub threads: u16,
    pub sources: Option<Sources>,
}

/// One limit that does not hold what is wanted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{wanted} connections do not fit: {limit} is {found}, which holds {holds}; {remedy} (tuning check --profile loadtest), or run with --best-effort"
)]
pub struct Shortfall {
    pub wanted: u32,
    pub limit: &'static str,
    pub found: String,
    pub holds: u32,
    pub remedy: String,
}

/// Lays the run out, or says which limit is in the way.
pub fn plan(wanted: &Wanted, host: &Host) -> Result<Plan, Shortfall> {
    let threads = wanted.threads.unwrap_or_else(|| threads(wanted, host)).clamp(1, THREADS_MAX);
    let sources =
        wanted.sources.or_else(|| wanted.loopback.then(|| Sources::loopback(addresses(wanted, host))));
    let checks = [
        ports(wanted, host, sources),
        files(wanted, host, threads),
        locked(wanted, host, threads),
        memory(wanted, host),
    ];
    match checks.into_iter().flatten().min_by_key(|shortfall| shortfall.holds) {
        Some(shortfall) => Err(shortfall),
        None => Ok(Plan { connections: wanted.connections, threads, sources }),
    }
}

/// What is possible, with what stood in the way. Nothing at all is still refused.
pub fn best_effort(wanted: &Wanted, host: &Host) -> Result<(Plan, Vec<Shortfall>), Shortfall> {
    let mut wanted = *wanted;
    let mut notes = Vec::new();
    loop {
        match plan(&wanted, host) {
            Ok(plan) => return Ok((plan, notes)),
            // Each step asks for less, so this ends.
            Err(shortfall) if shortfall.holds == 0 || shortfall.holds >= wanted.connections => {
                return Err(shortfall);
            }
            Err(shortfall) => {
                wanted.connections = shortfall.holds;
                notes.push(shortfall);
            }
        }
    }
}

/// A server on this machine keeps half of the cores.
fn threads(wanted: &Wanted, host: &Host) -> u16 {
    let most = if wanted.loopback && host.cores > 2 { host.cores / 2 } else { host.cores };
    let useful = wanted.connections.div_ceil(CONNECTIONS_A_THREAD).max(1);
    u16::try_from(useful).unwrap_or(u16::MAX).min(most.max(1))
}

fn port_count(host: &Host) -> u64 {
    u64::from(host.port_last.saturating_sub(host.port_first)) + 1
}

/// Enough for all clients on one target: after a crash, or by `--shares`, nearly all of them are.
fn addresses(wanted: &Wanted, host: &Host) -> u32 {
    let each = port_count(host) as f64 * PORTS_FILLED;
    (f64::from(wanted.connections) / each).ceil().max(1.0) as u32
}

fn holds(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn ports(wanted: &Wanted, host: &Host, sources: Option<Sources>) -> Option<Shortfall> {
    let addresses = u64::from(sources.map_or(1, |sources| sources.count()));
    let each = port_count(host) * u64::from(wanted.targets);
    let most = each * addresses;
    let need = u64::from(wanted.connections).div_ceil(each);
    (most < u64::from(wanted.connections)).then(|| Shortfall {
        wanted: wanted.connections,
        limit: "net.ipv4.ip_local_port_range × source addresses",
        found: format!("{}-{} × {addresses}", host.port_first, host.port_last),
        holds: holds(most),
        remedy: format!("give --sources {need} addresses or more"),
    })
}

fn files(wanted: &Wanted, host: &Host, threads: u16) -> Option<Shortfall> {
    let rings = host.nofile.saturating_sub(FDS_SPARE).min(RINGS_A_THREAD * u64::from(threads));
    let most = rings * SLOTS_PER_RING.min(host.nofile);
    (most < u64::from(wanted.connections)).then(|| Shortfall {
        wanted: wanted.connections,
        limit: "RLIMIT_NOFILE",
        found: host.nofile.to_string(),
        holds: holds(most),
        remedy: format!(
            "set it to {} or more (ulimit -n)",
            FDS_SPARE + 64 + u64::from(wanted.connections).isqrt()
        ),
    })
}

fn locked(wanted: &Wanted, host: &Host, threads: u16) -> Option<Shortfall> {
    let found = host.memlock_kib?;
    let slots = SLOTS_PER_RING.min(host.nofile.max(1));
    let rings = u64::from(wanted.connections).div_ceil(slots);
    let need =
        (MEMLOCK_A_THREAD_KIB * u64::from(threads) + MEMLOCK_A_RING_KIB * rings).max(MEMLOCK_LEAST_KIB);
    let for_rings = found.saturating_sub(MEMLOCK_A_THREAD_KIB * u64::from(threads));
    let held = if found < MEMLOCK_LEAST_KIB { 0 } else { for_rings / MEMLOCK_A_RING_KIB * slots };
    (found < need).then(|| Shortfall {
        wanted: wanted.connections,
        limit: "RLIMIT_MEMLOCK",
        found: format!("{found} KiB"),
        holds: holds(held),
        remedy: format!(
            "set it to {need} KiB or more (ulimit -l) for {threads} threads, or give fewer --threads"
        ),
    })
}

fn memory(wanted: &Wanted, host: &Host) -> Option<Shortfall> {
    let session = if wanted.tls { TLS_END_BYTES } else { 0 };
    let server_end = if wanted.loopback { SERVER_END_BYTES + session } else { 0 };
    let each = CLIENT_END_BYTES + session + server_end;
    let most = host.memory_bytes / each;
    (most < u64::from(wanted.connections)).then(|| Shortfall {
        wanted: wanted.connections,
        limit: "available memory",
        found: format!("{} MiB", host.memory_bytes >> 20),
        holds: holds(most),
        remedy: format!("{} MiB are needed", (u64::from(wanted.connections) * each) >> 20),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: Host = Host {
        cores: 2,
        nofile: 20_000,
        memlock_kib: Some(8_192),
        port_first: 32_768,
        port_last: 60_999,
        memory_bytes: 20 << 30,
    };

    fn wanted(connections: u32) -> Wanted {
        Wanted { connections, threads: None, sources: None, targets: 1, loopback: true, tls: false }
    }

    #[test]
    fn a_million_on_loopback_get_their_addresses_by_themselves() {
        let found = plan(&wanted(1_000_000), &HOST).expect("it fits");
        let sources = found.sources.expect("loopback spreads");
        assert_eq!((found.threads, sources.count()), (2, 71));
        assert_eq!(
            plan(&wanted(1_000), &HOST).map(|p| (p.threads, p.sources.map(|s| s.count()))),
            Ok((1, Some(1)))
        );
        let crowd = Wanted { targets: 3, ..wanted(240_000) };
        assert_eq!(plan(&crowd, &HOST).map(|p| p.sources.map(|s| s.count())), Ok(Some(18)));
    }

    #[test]
    fn elsewhere_the_kernel_chooses_unless_told() {
        let remote = Wanted { loopback: false, ..wanted(20_000) };
        assert_eq!(plan(&remote, &HOST).map(|p| p.sources), Ok(None));
    }

    #[test]
    fn each_limit_is_named_with_what_it_is_and_what_it_should_be() {
        let said =
            |wanted: Wanted, host: Host| plan(&wanted, &host).expect_err("it does not fit").to_string();
        let one = Sources::parse("127.0.0.1").ok();
        let line = said(Wanted { sources: one, ..wanted(100_000) }, HOST);
        assert!(
            line.contains("32768-60999 × 1, which holds 28232") && line.contains("4 addresses"),
            "{line}"
        );
        let line = said(wanted(100_000), Host { nofile: 260, ..HOST });
        assert!(line.contains("RLIMIT_NOFILE is 260, which holds 1040"), "{line}");
        let line = said(wanted(1_000_000), Host { memory_bytes: 1 << 30, ..HOST });
        assert!(
            line.contains("available memory is 1024 MiB") && line.contains("8773 MiB are needed"),
            "{line}"
        );
        let line = said(wanted(10), Host { memlock_kib: Some(64), ..HOST });
        assert!(line.contains("RLIMIT_MEMLOCK is 64 KiB") && line.contains("512 KiB"), "{line}");
        assert_eq!(line.lines().count(), 1);
    }

    #[test]
    fn the_remedy_for_files_really_is_one() {
        for connections in [1_000, 100_000, 1_000_000, 4_000_000] {
            let small = Host { nofile: 256, memlock_kib: None, memory_bytes: 1 << 40, ..HOST };
            let wanted = Wanted { threads: Some(4), ..wanted(connections) };
            let text = plan(&wanted, &small).expect_err("256 is too few").remedy;
            let nofile = text.split(' ').find_map(|word| word.parse().ok()).expect("it names a number");
            assert!(plan(&wanted, &Host { nofile, ..small }).is_ok(), "{connections} with {nofile}");
        }
    }

    #[test]
    fn best_effort_takes_what_there_is_and_says_what_was_short() {
        let tight = Host { memory_bytes: 1 << 30, nofile: 260, ..HOST };
        let (plan, notes) = best_effort(&wanted(1_000_000), &tight).expect("something fits");
        assert_eq!((plan.connections, notes.len()), (1_040, 1));
        assert!(best_effort(&wanted(10), &Host { memlock_kib: Some(0), ..HOST }).is_err());
    }
}
