//! What this machine says of itself and of the time it spent.

use std::fs::read_to_string;

/// Model, cores and kernel, for the report.
pub fn describe() -> String {
    let cpu = read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find(|line| line.starts_with("model name"));
    let model = model.and_then(|line| line.split(':').nth(1)).map_or("unknown", str::trim);
    let kernel = read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cores = cpu.lines().filter(|line| line.starts_with("processor")).count();
    format!("{model}, {cores} cores, Linux {}", kernel.trim())
}

/// Keeps this thread on one core.
pub fn pin(core: usize) {
    // SAFETY: all zero is the empty set of this plain bit array.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: `set` is live, and a core number below 1024 is within it.
    unsafe { libc::CPU_SET(core.min(1_023), &mut set) };
    // SAFETY: `set` is live for the call and its own size is given; 0 is the calling thread.
    let pinned = unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set) };
    if pinned != 0 {
        eprintln!("not pinned to core {core}: {}", std::io::Error::last_os_error());
    }
}

/// Nanoseconds on a CPU so far: of a task, by its `schedstat`. Interrupts and softirqs that ran on top of it are in it
/// unless the kernel accounts them apart (CONFIG_IRQ_TIME_ACCOUNTING).
fn on_cpu_ns(schedstat: &str) -> u64 {
    let text = read_to_string(schedstat).unwrap_or_default();
    text.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// This thread's `schedstat`, by a path that other threads may read, too.
pub fn this_thread() -> String {
    let link = std::fs::read_link("/proc/thread-self").unwrap_or_default();
    format!("/proc/{}/schedstat", link.display())
}

/// CPU of the server's side of a measurement: one thread and its core's ksoftirqd. Beside it the whole core's busy time,
/// which on a shared machine has others' work in it.
pub struct Meter {
    thread: String,
    core: usize,
    ksoftirqd: Option<String>,
    thread_ns: u64,
    softirq_ns: u64,
    busy_ns: u64,
}

/// What was spent between two looks.
#[derive(Clone, Copy)]
pub struct Spent {
    pub own_ns: u64,
    pub core_ns: u64,
}

impl Meter {
    /// Of this thread.
    pub fn start(core: usize) -> Meter {
        Meter::of(this_thread(), core)
    }

    /// Of the thread whose `schedstat` this is.
    pub fn of(thread: String, core: usize) -> Meter {
        let ksoftirqd = ksoftirqd(core);
        let mut meter = Meter { thread, core, ksoftirqd, thread_ns: 0, softirq_ns: 0, busy_ns: 0 };
        meter.look();
        meter
    }

    pub fn look(&mut self) -> Spent {
        let thread_ns = on_cpu_ns(&self.thread);
        let softirq_ns = self.ksoftirqd.as_deref().map_or(0, on_cpu_ns);
        let busy_ns = core_busy_ns(self.core);
        let spent = Spent {
            own_ns: thread_ns - self.thread_ns + softirq_ns - self.softirq_ns,
            core_ns: busy_ns - self.busy_ns,
        };
        (self.thread_ns, self.softirq_ns, self.busy_ns) = (thread_ns, softirq_ns, busy_ns);
        spent
    }
}

fn ksoftirqd(core: usize) -> Option<String> {
    let wanted = format!("ksoftirqd/{core}");
    let tasks = std::fs::read_dir("/proc").ok()?.flatten();
    let mut found =
        tasks.filter(|task| read_to_string(task.path().join("comm")).is_ok_and(|name| name.trim() == wanted));
    Some(found.next()?.path().join("schedstat").to_string_lossy().into_owned())
}

/// user + nice + system + irq + softirq + steal of one core; `/proc/stat` counts in hundredths of a second.
fn core_busy_ns(core: usize) -> u64 {
    let stat = read_to_string("/proc/stat").unwrap_or_default();
    let name = format!("cpu{core} ");
    let Some(line) = stat.lines().find(|line| line.starts_with(&name)) else { return 0 };
    let ticks: Vec<u64> = line.split_whitespace().skip(1).flat_map(str::parse).collect();
    [0, 1, 2, 5, 6, 7].iter().filter_map(|&field| ticks.get(field)).sum::<u64>() * 10_000_000
}

/// Caches that a connection lives in, and every size of plain kernel memory. Not the file system's: on a busy machine they grow
/// and shrink by more than what is measured. A socket's dentry (192 B) is missing therefore, alike on both sides.
const CACHES: [&str; 7] =
    ["TCP", "sock_inode_cache", "filp", "io_kiocb", "request_sock_TCP", "tw_sock_TCP", "lsm_"];

/// Kernel memory in use by connections, in bytes: active objects of the caches above, or all slab where these are secret.
pub fn slab_bytes() -> i64 {
    let Ok(text) = read_to_string("/proc/slabinfo") else { return all_slab_bytes() };
    let mut bytes = 0;
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let name = words.next().unwrap_or_default();
        if name.starts_with("kmalloc-") || CACHES.iter().any(|cache| name.starts_with(cache)) {
            let numbers: Vec<i64> = words.take(3).flat_map(str::parse).collect();
            if let [active, _, size] = numbers[..] {
                bytes += active * size;
            }
        }
    }
    bytes
}

/// Waits until connections of an earlier measurement are gone from the kernel, and the rest of the machine is calm.
pub fn settle() {
    let mut before = slab_bytes();
    for _ in 0..50 {
        std::thread::sleep(std::time::Duration::from_millis(200));
        let now = slab_bytes();
        if (now - before).abs() < 16 << 10 {
            return;
        }
        before = now;
    }
}

fn all_slab_bytes() -> i64 {
    let text = read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("Slab:"));
    line.and_then(|line| line.split_whitespace().nth(1)).and_then(|kib| kib.parse::<i64>().ok()).unwrap_or(0)
        << 10
}

/// Resident memory of this process, in bytes.
pub fn rss_bytes() -> i64 {
    let text = read_to_string("/proc/self/statm").unwrap_or_default();
    text.split_whitespace().nth(1).and_then(|pages| pages.parse::<i64>().ok()).unwrap_or(0) * 4_096
}

pub fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
