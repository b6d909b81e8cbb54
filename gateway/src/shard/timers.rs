//! When each connection wants to be looked at again: a hashed wheel, twelve bytes a connection.
//!
//! A connection has at most one timer; what is due is for the connection to know. Never early; late by up to
//! one tick. Owns no clock: `take_due` is told the time. Called by `shard`.

use std::time::Duration;

use wire::time::Mono;

/// One tick. Everything the wheel times is seconds long.
pub const TICK: Duration = Duration::from_millis(50);
/// Ticks of one turn of the wheel: 204.8 s, past any ping interval. A later timer waits for its round.
const BUCKETS: usize = 4_096;
const WORDS: usize = BUCKETS / 64;
const NONE: u32 = u32::MAX;

/// The timers of a shard's connections, by connection index.
#[derive(Debug)]
pub struct Wheel {
    /// Ticks before this one are done with.
    next_tick: u32,
    heads: Box<[u32; BUCKETS]>,
    occupied: [u64; WORDS],
    nodes: Vec<Node>,
    armed: usize,
}

#[derive(Debug, Clone, Copy)]
struct Node {
    /// The tick after which the timer is due; [`NONE`] when it is not armed.
    due_tick: u32,
    previous: u32,
    next: u32,
}

const _: () = assert!(size_of::<Node>() == 12);

const UNARMED: Node = Node { due_tick: NONE, previous: NONE, next: NONE };

impl Wheel {
    pub fn new(now: Mono) -> Wheel {
        Wheel {
            next_tick: tick_of(now),
            heads: Box::new([NONE; BUCKETS]),
            occupied: [0; WORDS],
            nodes: Vec::new(),
            armed: 0,
        }
    }

    /// Sets the timer of a connection, in place of the one it had.
    pub fn arm(&mut self, index: u32, at: Mono) {
        let slot = index as usize;
        if slot >= self.nodes.len() {
            self.nodes.resize(slot + 1, UNARMED);
        }
        self.disarm(index);
        let due_tick = (tick_of(at) + 1).max(self.next_tick);
        let bucket = due_tick as usize % BUCKETS;
        let head = self.heads[bucket];
        self.nodes[slot] = Node { due_tick, previous: NONE, next: head };
        if head != NONE {
            self.nodes[head as usize].previous = index;
        }
        self.heads[bucket] = index;
        self.occupied[bucket / 64] |= 1 << (bucket % 64);
        self.armed += 1;
    }

    /// Arms unless an earlier timer is set already.
    pub fn arm_no_later(&mut self, index: u32, at: Mono) {
        let armed = self.nodes.get(index as usize).map_or(NONE, |node| node.due_tick);
        if tick_of(at) + 1 < armed {
            self.arm(index, at);
        }
    }

    pub fn disarm(&mut self, index: u32) {
        let Some(node) = self.nodes.get(index as usize).copied() else { return };
        if node.due_tick == NONE {
            return;
        }
        let bucket = node.due_tick as usize % BUCKETS;
        match node.previous {
            NONE => self.heads[bucket] = node.next,
            previous => self.nodes[previous as usize].next = node.next,
        }
        if node.next != NONE {
            self.nodes[node.next as usize].previous = node.previous;
        }
        if self.heads[bucket] == NONE {
            self.occupied[bucket / 64] &= !(1 << (bucket % 64));
        }
        self.nodes[index as usize] = UNARMED;
        self.armed -= 1;
    }

    /// Moves up to `max` due connections into `due`, disarmed. When it fills up, the rest stays due.
    pub fn take_due(&mut self, now: Mono, due: &mut Vec<u32>, max: usize) {
        let last_tick = tick_of(now);
        let mut visited = 0;
        while self.next_tick <= last_tick {
            if self.armed == 0 || visited == BUCKETS {
                self.next_tick = last_tick + 1;
                return;
            }
            let bucket = self.next_tick as usize % BUCKETS;
            let mut at = self.heads[bucket];
            while at != NONE {
                if due.len() >= max {
                    return;
                }
                let node = self.nodes[at as usize];
                if node.due_tick <= last_tick {
                    self.disarm(at);
                    due.push(at);
                }
                at = node.next;
            }
            self.next_tick += 1;
            visited += 1;
        }
    }

    /// No timer is due before this. It may be a false alarm: of a timer that waits for a later round.
    pub fn next_due(&self) -> Option<Mono> {
        if self.armed == 0 {
            return None;
        }
        let start = self.next_tick as usize % BUCKETS;
        let first_word = self.occupied[start / 64] & (u64::MAX << (start % 64));
        let distance = if first_word != 0 {
            first_word.trailing_zeros() as usize - start % 64
        } else {
            let word = (1..=WORDS)
                .find(|n| self.occupied[(start / 64 + n) % WORDS] != 0)
                .expect("an armed timer stands in a bucket");
            let bits = self.occupied[(start / 64 + word) % WORDS].trailing_zeros() as usize;
            word * 64 + bits - start % 64
        };
        Some(start_of(self.next_tick + distance as u32))
    }
}

fn tick_of(at: Mono) -> u32 {
    // Six years of ticks; a timer beyond them is as good as at their end.
    u32::try_from(at.0 / TICK.as_micros() as u64).unwrap_or(NONE - 2).min(NONE - 2)
}

fn start_of(tick: u32) -> Mono {
    Mono(u64::from(tick) * TICK.as_micros() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[derive(Debug, Clone)]
    enum Step {
        Arm(u32, u64),
        ArmNoLater(u32, u64),
        Disarm(u32),
        Pass(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0u32..40, 0u64..400_000).prop_map(|(index, ms)| Step::Arm(index, ms)),
            (0u32..40, 0u64..400_000).prop_map(|(index, ms)| Step::ArmNoLater(index, ms)),
            (0u32..40).prop_map(Step::Disarm),
            (0u64..300_000).prop_map(Step::Pass),
            (0u64..200).prop_map(Step::Pass),
        ]
    }

    proptest! {
        /// Against a sorted map: nothing fires early, nothing more than a tick late, nothing twice or never.
        #[test]
        fn agrees_with_a_sorted_map(steps in proptest::collection::vec(step(), 1..120), max in 1usize..50) {
            let mut now = Mono(1_000_000);
            let mut wheel = Wheel::new(now);
            let mut model: BTreeMap<u32, Mono> = BTreeMap::new();
            for step in steps {
                match step {
                    Step::Arm(index, ms) => {
                        let at = now + Duration::from_millis(ms);
                        wheel.arm(index, at);
                        model.insert(index, at);
                    }
                    Step::ArmNoLater(index, ms) => {
                        let at = now + Duration::from_millis(ms);
                        wheel.arm_no_later(index, at);
                        let earlier = model.get(&index).is_none_or(|armed| tick_of(at) < tick_of(*armed));
                        if earlier { model.insert(index, at); }
                    }
                    Step::Disarm(index) => {
                        wheel.disarm(index);
                        model.remove(&index);
                    }
                    Step::Pass(ms) => now = now + Duration::from_millis(ms),
                }
                loop {
                    let mut due = Vec::new();
                    wheel.take_due(now, &mut due, max);
                    for index in &due {
                        let at = model.remove(index);
                        prop_assert!(at.is_some_and(|at| at <= now), "{index} at {at:?}, now {now:?}");
                    }
                    if due.len() < max { break }
                }
                for (index, at) in &model {
                    prop_assert!(*at + TICK * 2 > now, "{index} was due at {at:?}, now {now:?}");
                }
                match wheel.next_due() {
                    None => prop_assert!(model.is_empty()),
                    Some(at) => {
                        let first = model.values().min();
                        prop_assert!(first.is_some_and(|first| at <= *first + TICK * 2), "{at:?} {first:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn next_due_sleeps_until_the_timer_when_it_is_the_only_one() {
        let now = Mono(1_000_000);
        let mut wheel = Wheel::new(now);
        assert_eq!(wheel.next_due(), None);
        for seconds in [1, 10, 100, 200] {
            wheel.arm(3, now + Duration::from_secs(seconds));
            let due = wheel.next_due().unwrap();
            assert!(due >= now + Duration::from_secs(seconds), "{seconds}");
            assert!(due <= now + Duration::from_secs(seconds) + TICK * 2);
        }
    }
}
