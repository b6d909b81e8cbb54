//! How many rings, slots and buffers, and what the limits of the process leave of that. Pure arithmetic over one input:
//! the file-descriptor limit, which `open` reads.

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
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Table { rings, slots_per_ring, capacity, live, nofile, wanted } = self;
        write!(f, "{rings} rings × {slots_per_ring} slots = {capacity} connections")?;
        write!(f, " ({wanted} wanted, {live} live, file-descriptor limit {nofile})")
    }
}

/// Rings and slots, settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) rings: u32,
    pub(crate) slots_per_ring: u32,
    pub(crate) nofile: u64,
    pub(crate) wanted: u32,
}

impl Plan {
    pub(crate) fn table(&self, live: u32) -> Table {
        let Plan { rings, slots_per_ring, nofile, wanted } = *self;
        Table { rings, slots_per_ring, capacity: rings * slots_per_ring, live, nofile, wanted }
    }
}

impl RingConfig {
    /// Cuts what is wanted to what the file-descriptor limit allows. At least one ring of one slot.
    pub(crate) fn plan(&self, nofile: u64) -> Plan {
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
        Plan { rings, slots_per_ring: slots, nofile, wanted }
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
        let plan = config.plan(nofile);
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
