//! What the host says about itself: limits, memory, the cost of a process. A porch: reads /proc, connects once to see whether a
//! server is there; decides nothing. Called by `run` and by the engine (its own CPU time).

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::plan::Host;
use crate::target::Target;

/// Clock ticks a second in /proc: fixed for user space on every architecture that Linux has today.
const TICKS_PER_S: u64 = 100;
/// /proc counts memory in these.
const KIB: u64 = 1_024;
/// How long the look whether a server is there may take.
const LOOK_WITHIN: Duration = Duration::from_secs(3);
/// Processes looked at in search of a listener.
const PROCESSES_MAX: usize = 65_536;

/// What the figures were measured on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    pub cpu: String,
    pub cores: u16,
    pub memory_bytes: u64,
    pub kernel: String,
}

/// Reads it; unknown parts say so.
pub fn machine() -> Machine {
    let info = read("/proc/cpuinfo");
    let cpu =
        info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ").map(|(_, cpu)| cpu));
    Machine {
        cpu: cpu.unwrap_or("unknown").to_owned(),
        cores: u16::try_from(info.lines().filter(|line| line.starts_with("processor")).count())
            .unwrap_or(u16::MAX),
        memory_bytes: meminfo("MemTotal"),
        kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
    }
}

fn cores() -> u16 {
    std::thread::available_parallelism().map_or(1, |count| u16::try_from(count.get()).unwrap_or(u16::MAX))
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// A line of /proc/meminfo, bytes; 0 when it is not there.
fn meminfo(name: &str) -> u64 {
    kib_line(&read("/proc/meminfo"), name).unwrap_or(0) * KIB
}

fn kib_line(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The host's limits, with the file-descriptor limit raised as far as it goes.
pub fn host() -> io::Result<Host> {
    let nofile = gateway_ring::raise_nofile()?;
    let memlock = gateway_ring::raise_memlock()?;
    let ports = read("/proc/sys/net/ipv4/ip_local_port_range");
    let mut ports = ports.split_whitespace().filter_map(|port| port.parse().ok());
    Ok(Host {
        cores: cores(),
        nofile,
        memlock_kib: memlock.map(|bytes| bytes / KIB),
        port_first: ports.next().unwrap_or(32_768),
        port_last: ports.next().unwrap_or(60_999),
        memory_bytes: meminfo("MemAvailable"),
    })
}

/// The address of a target; the first that its name has.
pub fn resolve(target: &Target) -> Result<SocketAddr, String> {
    let found = (target.host.as_str(), target.port).to_socket_addrs();
    let mut found = found.map_err(|error| format!("cannot resolve {:?}: {error}", target.host))?;
    found.next().ok_or_else(|| format!("{:?} has no address", target.host))
}

/// Is anybody there?
pub fn look(address: SocketAddr) -> Result<(), String> {
    let socket = TcpStream::connect_timeout(&address, LOOK_WITHIN);
    socket.map(drop).map_err(|error| format!("nobody answers at {address}: {error}"))
}

/// Kernel slab of the whole machine: sockets of both ends, where both are here.
pub fn slab_bytes() -> u64 {
    meminfo("Slab")
}

/// Busy CPU time of the whole machine since boot, interrupts and their threads included.
pub fn busy() -> Duration {
    let stat = read("/proc/stat");
    let mut fields =
        stat.lines().next().unwrap_or("").split_whitespace().skip(1).map(|f| f.parse().unwrap_or(0));
    let mut next = || -> u64 { fields.next().unwrap_or(0) };
    let (user, nice, system, _idle, _iowait, irq, softirq) =
        (next(), next(), next(), next(), next(), next(), next());
    ticks(user + nice + system + irq + softirq)
}

fn ticks(count: u64) -> Duration {
    Duration::from_millis(count * 1_000 / TICKS_PER_S)
}

/// CPU time of a process, or of the calling thread.
pub fn cpu(of: Of) -> Option<Duration> {
    let path = match of {
        Of::Process(pid) => format!("/proc/{pid}/stat"),
        Of::Ourselves => "/proc/self/stat".to_owned(),
        Of::ThisThread => "/proc/thread-self/stat".to_owned(),
    };
    cpu_of_stat(&fs::read_to_string(path).ok()?)
}

/// Whose CPU time.
#[derive(Debug, Clone, Copy)]
pub enum Of {
    Process(u32),
    Ourselves,
    ThisThread,
}

/// Fields 14 and 15, counted behind the name, which may hold blanks and parentheses.
fn cpu_of_stat(stat: &str) -> Option<Duration> {
    let rest = &stat[stat.rfind(')')? + 1..];
    let mut fields = rest.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(ticks(user + system))
}

/// Resident memory of a process.
pub fn rss_bytes(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    kib_line(&status, "VmRSS").map(|kib| kib * KIB)
}

/// The process that listens on a local port, if we may see it.
pub fn listener_of(port: u16) -> Option<u32> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].into_iter().filter_map(|path| fs::File::open(path).ok());
    let inodes: Vec<String> =
        tables.flat_map(|table| listening_inodes(io::BufReader::new(table), port)).collect();
    if inodes.is_empty() {
        return None;
    }
    let processes = fs::read_dir("/proc").ok()?.take(PROCESSES_MAX).flatten();
    let mut pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.find(|pid| has_socket(*pid, &inodes))
}

fn has_socket(pid: u32, inodes: &[String]) -> bool {
    let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    descriptors.flatten().any(|entry| {
        let link = fs::read_link(entry.path()).unwrap_or_default();
        let inode = link.to_str().and_then(|link| link.strip_prefix("socket:[")?.strip_suffix(']'));
        inode.is_some_and(|inode| inodes.iter().any(|known| known == inode))
    })
}

/// Inodes of the sockets in state LISTEN (0A) on `port`. The kernel lists these before all others, so this stops at the first
/// other: there may be a million of those.
fn listening_inodes(table: impl io::BufRead, port: u16) -> Vec<String> {
    let suffix = format!(":{port:04X}");
    let mut inodes = Vec::new();
    for line in table.lines().skip(1).map_while(Result::ok) {
        let fields: Vec<&str> = line.split_ascii_whitespace().take(10).collect();
        let &[_, local, _, "0A", .., inode] = fields.as_slice() else { break };
        if local.ends_with(&suffix) {
            inodes.push(inode.to_owned());
        }
    }
    inodes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_read_behind_any_name() {
        let stat =
            "7 (a ) b (c) S 1 7 7 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 1 0 5 1000 10 18446744073709551615";
        assert_eq!(cpu_of_stat(stat), Some(Duration::from_secs(3)));
        assert_eq!(cpu_of_stat(""), None);
        assert_eq!(cpu_of_stat("7 (x) S 1"), None);
    }

    #[test]
    fn listening_sockets_are_told_from_others() {
        let table = "  sl  local_address rem_address   st\n\
            0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4242 1\n\
            1: 0100007F:1F90 0100007F:C000 01 00000000:00000000 00:00000000 00000000     0        0 4243 1\n";
        assert_eq!(listening_inodes(table.as_bytes(), 8_080), ["4242"]);
        assert!(listening_inodes(table.as_bytes(), 8_081).is_empty());
    }

    #[test]
    fn we_find_ourselves_listening() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        assert_eq!(listener_of(port), Some(std::process::id()));
        assert!(rss_bytes(std::process::id()).is_some_and(|bytes| bytes > 0));
        assert!(
            host().is_ok_and(|host| host.memory_bytes > 0
                && host.nofile > 0
                && host.port_last > host.port_first)
        );
    }
}
