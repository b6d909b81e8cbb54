//! What a server costs between two moments: its CPU by the scheduler's own count, the busy time of its core, its memory; and what
//! we cost ourselves. A porch: reads /proc. Called by `turn`.

use std::fs;
use std::time::Duration;

use crate::machine;

/// Threads of a process that are looked at.
const THREADS_MAX: usize = 4_096;
const TICK: Duration = Duration::from_millis(10);
/// `schedstat` learns of a running thread's time when the thread leaves its CPU, or at the kernel's next tick (10 ms at 100 Hz).
const COUNTED_WITHIN: Duration = Duration::from_millis(20);

/// Which cores a process may run on, as the kernel writes it: `0`, `0-1`.
pub fn cores_allowed(pid: u32) -> Option<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status
        .lines()
        .find_map(|line| line.strip_prefix("Cpus_allowed_list:"))
        .map(|cores| cores.trim().to_owned())
}

/// The one core of such a list, if it is one.
fn only_core(cores: &str) -> Option<usize> {
    cores.parse().ok()
}

/// The numbers in such a list.
fn members(cores: &str) -> Vec<usize> {
    let ranges = cores.split(',').filter_map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        Some(first.trim().parse::<usize>().ok()?..=last.trim().parse::<usize>().ok()?)
    });
    ranges.flat_map(|range| range.take(THREADS_MAX)).collect()
}

/// Looks at one server.
#[derive(Debug, Clone)]
pub struct Meter {
    pub pid: u32,
    pub server_cores: String,
    pub our_cores: String,
}

/// One moment, in nanoseconds of CPU.
#[derive(Debug, Clone, Copy, Default)]
pub struct Look {
    pub server_ns: u64,
    pub ours_ns: u64,
    pub core_busy_ns: Option<u64>,
    pub rss_bytes: u64,
}

impl Meter {
    /// `None` when the process is not ours to see.
    pub fn of(pid: u32) -> Option<Meter> {
        let our_cores = cores_allowed(std::process::id())?;
        Some(Meter { pid, server_cores: cores_allowed(pid)?, our_cores })
    }

    /// Do server and load tester have cores of their own?
    pub fn is_apart(&self) -> bool {
        let ours = members(&self.our_cores);
        members(&self.server_cores).iter().all(|core| !ours.contains(core))
    }

    /// The server's only core, where we are not on it: its whole busy time is the server's then.
    fn core(&self) -> Option<usize> {
        only_core(&self.server_cores).filter(|_| self.is_apart())
    }

    /// When what was done until now is counted: a server that has just sent its last byte may still be on its CPU.
    pub fn look_at_rest(&self) -> Look {
        std::thread::sleep(COUNTED_WITHIN);
        self.look()
    }

    pub fn look(&self) -> Look {
        Look {
            server_ns: cpu_ns(self.pid),
            ours_ns: cpu_ns(std::process::id()),
            core_busy_ns: self.core().and_then(core_busy_ns),
            rss_bytes: machine::rss_bytes(self.pid).unwrap_or(0),
        }
    }
}

/// CPU time of all threads that a process has now, to the nanosecond; /proc/PID/stat has only hundredths of a second.
fn cpu_ns(pid: u32) -> u64 {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return 0 };
    let times = tasks.take(THREADS_MAX).flatten().filter_map(|task| {
        let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    });
    times.sum()
}

/// user + nice + system + irq + softirq of one core.
fn core_busy_ns(core: usize) -> Option<u64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    let name = format!("cpu{core} ");
    let line = stat.lines().find(|line| line.starts_with(&name))?;
    let ticks: Vec<u64> = line.split_whitespace().skip(1).flat_map(str::parse).collect();
    let busy: u64 = [0, 1, 2, 5, 6].iter().filter_map(|&field| ticks.get(field)).sum();
    Some(busy * TICK.as_nanos() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_are_read_as_the_kernel_writes_them() {
        assert_eq!(members("0-2,5"), [0, 1, 2, 5]);
        assert_eq!((only_core("1"), only_core("0-1"), only_core("0,1")), (Some(1), None, None));
        let meter = |server: &str, ours: &str| Meter {
            pid: 1,
            server_cores: server.to_owned(),
            our_cores: ours.to_owned(),
        };
        assert!(meter("0", "1").is_apart() && !meter("0-1", "1").is_apart());
        assert_eq!(
            (meter("0", "1").core(), meter("0", "0").core(), meter("0-1", "2").core()),
            (Some(0), None, None)
        );
    }

    #[test]
    fn we_see_what_we_cost_ourselves() {
        let meter = Meter::of(std::process::id()).expect("we are ours to see");
        let before = meter.look();
        let mut sum = 0_u64;
        while meter.look().ours_ns < before.ours_ns + 1_000_000 {
            sum = sum.wrapping_mul(31).wrapping_add(1);
        }
        std::hint::black_box(sum);
        let after = meter.look();
        assert!(after.server_ns > before.server_ns && after.rss_bytes > 0 && core_busy_ns(0).is_some());
    }
}
