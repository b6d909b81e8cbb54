//! How many rings, slots, queues and buffers, and what the limits of the process leave of that. Pure arithmetic over two
//! inputs, which `open` reads: the limits on file descriptors and on locked memory.

use std::fmt;
use std::time::Duration;

/// The widest table of one ring. Also what user data has room for.
pub(crate) const SLOTS_PER_RING_MAX: u32 = 1 << 20;
/// Above this, cancelling one poll among its table's others (256 hash chains in the kernel) costs more than another ring.
const SLOTS_PER_RING_DEFAULT: u32 = 16_384;
/// One ring is one file descriptor, ~200 KiB of queues and two loads a turn.
pub(crate) const RINGS_MAX: u32 = 1_024;
/// File descriptors that the rings leave to links, logs, journals and whatever is opened later.
const FDS_SPARE: u32 = 256;
/// Dense indices are 32 bits; half of them keeps every sum far from the edge.
pub(crate) const CAPACITY_MAX: u32 = 1 << 30;
/// What an executor locks for its own rings and registered buffers (`open`).
pub(crate) const EXECUTOR_LOCKED_BYTES: u64 = 320 << 10;
/// The same without registered buffers, which glommio does without when it must; and the limit below which it starts nothing.
const EXECUTOR_LOCKED_LEAST_BYTES: u64 = 128 << 10;
const MEMLOCK_LEAST_BYTES: u64 = 512 << 10;
/// A submission with its place in the index, a completion, and the ring's head, as the kernel lays them out.
const SUBMISSION_BYTES: u64 = 64 + 4;
const COMPLETION_BYTES: u64 = 16;
const RING_HEAD_BYTES: u64 = 8 << 10;
/// Below this a ring's completions overflow all the time, which is slow though nothing is lost.
const COMPLETIONS_LEAST: u32 = 1_024;
const _: () = assert!(RINGS_MAX as u64 * SLOTS_PER_RING_MAX as u64 <= CAPACITY_MAX as u64);

/// What the caller wants. [`crate::Rings::table`] says what it got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RingConfig {
    /// Connections wanted. Decides rings and slots where these are `None`.
    pub connections: u32,
    /// Rings, 1..=1024. `None`: as many as the connections need.
    pub rings: Option<u16>,
    /// Slots in each ring's table, 1..=1,048,576, never above the file-descriptor limit. `None`: 16,384 or fewer.
    pub slots_per_ring: Option<u32>,
    /// Receive buffers, shared by all rings, 1..=4096. A read holds one only within a turn.
    pub recv_buffers: u16,
    /// Size of one, 256..=1 MiB: the most that one connection brings in one turn.
    pub recv_buffer_bytes: u32,
    /// Submission queue of a ring, 16..=4096, a power of two: the chunk in which sends go to the kernel.
    pub submissions: u32,
    /// Completion queue of a ring, a power of two, at least twice `submissions`. From 8192 the kernel cancels fastest.
    pub completions: u32,
    /// Accepts kept waiting, 1..=1024: the most connections that one turn brings.
    pub accepts: u16,
    /// Completions handled in one turn over all rings, after which the caller gets its thread back.
    pub turn_completions: u32,
    /// Threads of this process that open as many rings as this one, itself included: they share what it may lock.
    pub sharers: u32,
    /// How long `wait` spins before it sleeps, at most 1 ms.
    pub spin: Duration,
    /// The longest `wait` in glommio, 1 ms to 1 min: the most that a task is late which glommio slept over (see `wait`).
    pub sleep_max: Duration,
}

impl Default for RingConfig {
    fn default() -> RingConfig {
        RingConfig {
            connections: 16_384,
            rings: None,
            slots_per_ring: None,
            recv_buffers: 128,
            recv_buffer_bytes: 8_192,
            submissions: 512,
            completions: 8_192,
            accepts: 64,
            turn_completions: 2_048,
            sharers: 1,
            spin: Duration::from_micros(10),
            sleep_max: Duration::from_millis(25),
        }
    }
}

/// What the rings got, for the start-up line and the health page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Table {
    pub rings: u32,
    pub slots_per_ring: u32,
    /// `rings × slots_per_ring`: the most connections at one time.
    pub capacity: u32,
    /// Slots that hold a connection now.
    pub live: u32,
    /// The process's RLIMIT_NOFILE, which bounds one ring's table, not the sum.
    pub nofile: u64,
    /// Connections that were wanted; above `capacity` the limits did not allow them.
    pub wanted: u32,
    /// Places in the smallest completion queue: fewer than asked for where memory is scarce. Speed alone hangs on it.
    pub completions: u32,
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Table { rings, slots_per_ring, capacity, live, nofile, wanted, completions } = self;
        write!(f, "{rings} rings × {slots_per_ring} slots = {capacity} connections")?;
        write!(
            f,
            " ({wanted} wanted, {live} live, file-descriptor limit {nofile}, completion queues of {completions})"
        )
    }
}

/// Rings, slots and queues, settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) rings: u32,
    pub(crate) slots_per_ring: u32,
    pub(crate) completions: u32,
    pub(crate) nofile: u64,
    /// What the process's user may lock; `None`: no bound.
    pub(crate) memlock: Option<u64>,
    /// What all rings of the process lock of it.
    pub(crate) locked: u64,
    pub(crate) wanted: u32,
}

impl Plan {
    pub(crate) fn table(&self, live: u32) -> Table {
        let Plan { rings, slots_per_ring, nofile, wanted, completions, .. } = *self;
        Table { rings, slots_per_ring, capacity: rings * slots_per_ring, live, nofile, wanted, completions }
    }
}

/// The least file-descriptor limit under which `threads` shards of so many connections get all their slots.
pub fn nofile_least(connections: u32, threads: u32) -> u64 {
    let fits = |nofile: u64| {
        let slots = nofile.min(u64::from(SLOTS_PER_RING_DEFAULT));
        let rings = u64::from(connections).div_ceil(slots);
        rings <= u64::from(RINGS_MAX) && rings * u64::from(threads) + u64::from(FDS_SPARE) <= nofile
    };
    let least = (u64::from(FDS_SPARE) + 1..1 << 20).find(|nofile| fits(*nofile));
    least.unwrap_or(1 << 20)
}

/// The least limit on locked memory under which `threads` shards of so many connections open, with the smallest queues, where
/// `nofile` descriptors are allowed.
pub fn memlock_least(connections: u32, threads: u32, nofile: u64) -> u64 {
    let config = RingConfig { connections, ..RingConfig::default() };
    let rings = u64::from(config.plan(nofile, None).rings);
    let each = EXECUTOR_LOCKED_LEAST_BYTES + rings * config.ring_bytes(COMPLETIONS_LEAST);
    (each * u64::from(threads)).max(MEMLOCK_LEAST_BYTES)
}

impl RingConfig {
    /// Cuts what is wanted to what the file-descriptor limit allows. At least one ring of one slot.
    /// Cuts the completion queues to what may be locked: half of it at most, for the same user runs other programs.
    pub(crate) fn plan(&self, nofile: u64, memlock: Option<u64>) -> Plan {
        let widest = nofile.clamp(1, u64::from(SLOTS_PER_RING_MAX)) as u32;
        let wanted = self.connections.clamp(1, CAPACITY_MAX);
        let rings_widest =
            (nofile.saturating_sub(u64::from(FDS_SPARE))).clamp(1, u64::from(RINGS_MAX)) as u32;
        let slots = match (self.slots_per_ring, self.rings) {
            (Some(slots), _) => slots,
            (None, Some(rings)) => wanted.div_ceil(u32::from(rings.max(1))),
            (None, None) => {
                // Equal shares: no last ring that is nearly empty.
                let rings = wanted.div_ceil(SLOTS_PER_RING_DEFAULT.min(widest)).clamp(1, rings_widest);
                wanted.div_ceil(rings)
            }
        };
        let slots = slots.clamp(1, widest);
        let rings = self.rings.map_or_else(|| wanted.div_ceil(slots), u32::from).clamp(1, rings_widest);
        let sharers = u64::from(self.sharers.max(1));
        let each = memlock.map_or(u64::MAX, |bytes| {
            (bytes / 2 / sharers).saturating_sub(EXECUTOR_LOCKED_BYTES) / u64::from(rings)
        });
        let mut completions = self.completions;
        while self.ring_bytes(completions) > each && completions / 2 >= self.completions_least() {
            completions /= 2;
        }
        let locked = sharers * (EXECUTOR_LOCKED_BYTES + u64::from(rings) * self.ring_bytes(completions));
        Plan { rings, slots_per_ring: slots, completions, nofile, memlock, locked, wanted }
    }

    /// The smallest completion queue that a ring is given, unless a smaller one is asked for.
    pub(crate) fn completions_least(&self) -> u32 {
        COMPLETIONS_LEAST.max(self.submissions * 2)
    }

    /// What the kernel counts as locked for one ring.
    fn ring_bytes(&self, completions: u32) -> u64 {
        u64::from(self.submissions) * SUBMISSION_BYTES
            + u64::from(completions) * COMPLETION_BYTES
            + RING_HEAD_BYTES
    }

    /// The first field that is out of its range, in words.
    pub(crate) fn fault(&self) -> Option<String> {
        let out = |name: &str, value: u64, range: &str| Some(format!("{name} = {value} is not in {range}"));
        let power =
            |value: u32, least: u32, most: u32| value.is_power_of_two() && (least..=most).contains(&value);
        match self {
            RingConfig { connections: 0, .. } => out("connections", 0, "1..=2^30"),
            RingConfig { rings: Some(rings), .. } if !(1..=RINGS_MAX).contains(&u32::from(*rings)) => {
                out("rings", u64::from(*rings), "1..=1024")
            }
            RingConfig { slots_per_ring: Some(slots), .. } if !(1..=SLOTS_PER_RING_MAX).contains(slots) => {
                out("slots_per_ring", u64::from(*slots), "1..=1048576")
            }
            c if !(1..=4_096).contains(&c.recv_buffers) => {
                out("recv_buffers", u64::from(c.recv_buffers), "1..=4096")
            }
            c if !(256..=1 << 20).contains(&c.recv_buffer_bytes) => {
                out("recv_buffer_bytes", u64::from(c.recv_buffer_bytes), "256..=1048576")
            }
            c if !power(c.submissions, 16, 4_096) => {
                out("submissions", u64::from(c.submissions), "the powers of two 16..=4096")
            }
            c if !power(c.completions, c.submissions * 2, 1 << 16) => out(
                "completions",
                u64::from(c.completions),
                "the powers of two from 2 × submissions to 65536",
            ),
            c if !(1..=1_024).contains(&c.accepts) => out("accepts", u64::from(c.accepts), "1..=1024"),
            c if !(64..=1 << 16).contains(&c.turn_completions) => {
                out("turn_completions", u64::from(c.turn_completions), "64..=65536")
            }
            c if c.spin > Duration::from_millis(1) => {
                out("spin in µs", c.spin.as_micros() as u64, "0..=1000")
            }
            c if !(1..=60_000).contains(&c.sleep_max.as_millis()) => {
                out("sleep_max in ms", c.sleep_max.as_millis() as u64, "1..=60000")
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(connections: u32, rings: Option<u16>, slots: Option<u32>, nofile: u64) -> (u32, u32) {
        let config = RingConfig { connections, rings, slots_per_ring: slots, ..RingConfig::default() };
        let plan = config.plan(nofile, None);
        (plan.rings, plan.slots_per_ring)
    }

    #[test]
    fn the_table_never_exceeds_the_file_descriptor_limit() {
        assert_eq!(plan(500_000, None, None, 20_000), (31, 16_130));
        assert_eq!(plan(500_000, None, Some(1_000_000), 20_000), (25, 20_000));
        assert_eq!(plan(500_000, None, None, 1_024), (489, 1_023));
        assert_eq!(plan(u32::MAX, None, None, 1_024), (768, 1_024));
        assert_eq!(plan(1_000_000, None, Some(1_000_000), 2_000_000), (1, 1_000_000));
    }

    #[test]
    fn the_queues_fit_half_of_what_may_be_locked() {
        let config = RingConfig { connections: 376_024, sharers: 2, ..RingConfig::default() };
        let planned = |memlock| config.plan(20_000, memlock);
        assert_eq!((planned(None).completions, planned(Some(64 << 20)).completions), (8_192, 8_192));
        let ordinary = planned(Some(8 << 20));
        assert_eq!((ordinary.rings, ordinary.completions), (23, 2_048));
        assert!(ordinary.locked <= 4 << 20, "{ordinary:?}");
        assert_eq!(planned(Some(0)).completions, 1_024, "smaller ones help nobody");
        let least = memlock_least(376_024, 2, 20_000);
        assert!(least < planned(Some(0)).locked && least > 2 << 20, "{least}");
        assert_eq!(memlock_least(1, 1, 20_000), MEMLOCK_LEAST_BYTES);
    }

    #[test]
    fn the_least_file_descriptor_limit_really_is_enough_and_one_less_is_not() {
        for (connections, threads) in [(1_000, 1), (376_024, 2), (100_000, 64), (1_501_024, 1)] {
            let config = RingConfig { connections, ..RingConfig::default() };
            let least = nofile_least(connections, threads);
            let fits = |nofile| {
                let plan = config.plan(nofile, None);
                let descriptors = u64::from(plan.rings * threads) + u64::from(FDS_SPARE);
                plan.rings * plan.slots_per_ring >= connections && descriptors <= nofile
            };
            assert!(fits(least) && !fits(least - 1), "{connections} × {threads}: {least}");
        }
    }

    #[test]
    fn what_is_asked_for_is_given_when_it_fits() {
        assert_eq!(plan(100, None, None, 20_000), (1, 100));
        assert_eq!(plan(100, Some(3), None, 20_000), (3, 34));
        assert_eq!(plan(100, Some(3), Some(7), 20_000), (3, 7));
        assert_eq!(plan(0, None, None, 0), (1, 1));
    }

    #[test]
    fn the_default_is_within_its_own_bounds_and_each_fault_is_named() {
        assert_eq!(RingConfig::default().fault(), None);
        let fault = RingConfig { completions: 512, ..RingConfig::default() }.fault();
        assert!(fault.is_some_and(|fault| fault.starts_with("completions = 512")));
        let fault = RingConfig { rings: Some(0), ..RingConfig::default() }.fault();
        assert!(fault.is_some_and(|fault| fault.starts_with("rings = 0")));
    }
}
