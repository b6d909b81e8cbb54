//! What happens when: one queue of events under a virtual clock, the only randomness, the hash of the story, and the
//! promises that were seen broken.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt::Write;

use bytes::Bytes;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use router::owner::{DeliveryKey, Outcome};
use wire::link::Frame;
use wire::time::{Mono, Wall};

/// The date at which every story begins: 2026-01-01.
const BEGINNING: Wall = Wall(1_767_225_600_000_000);
/// Shards and owners think that this much has passed already, so that nothing is at zero.
const ORIGIN_US: u64 = 1_000_000;

pub(crate) const MS: u64 = 1_000;
pub(crate) const S: u64 = 1_000_000;
pub(crate) const HOUR: u64 = 3_600 * S;

/// Broken promises of one story that are told.
const BROKEN_MAX: usize = 12;

/// Something that happens.
#[derive(Debug)]
pub(crate) enum Event {
    /// A service hands one in.
    HandIn,
    /// What was handed in is forced to the journal's disk.
    JournalSync,
    /// A journal that failed is opened to writes again.
    JournalRevive,
    /// The owner reads the journal.
    Read,
    RouterTimer,
    /// What was committed is forced to the disk.
    Persist,
    ProviderAnswers {
        run: u64,
        delivery: DeliveryKey,
        outcome: Outcome,
    },
    /// A shard dials the router.
    Dial {
        shard: usize,
    },
    ToRouter {
        link: u64,
        frame: Frame,
    },
    ToShard {
        link: u64,
        frame: Frame,
    },
    /// An end hears that its link is gone.
    RouterLoses {
        link: u64,
    },
    ShardLoses {
        link: u64,
    },
    /// The router's porch looks whether the link was silent for too long.
    RouterListens {
        link: u64,
    },
    ShardTimer {
        shard: usize,
    },
    ToServer {
        socket: u64,
        bytes: Bytes,
    },
    ToClient {
        socket: u64,
        bytes: Bytes,
    },
    /// The kernel took what the shard sent.
    Sent {
        socket: u64,
    },
    ServerEnds {
        socket: u64,
    },
    ServerClosed {
        socket: u64,
    },
    ClientEnds {
        socket: u64,
    },
    /// A client does the next thing on its mind.
    Client {
        client: usize,
    },
    Fault(Fault),
}

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    CutLink,
    StallLink,
    /// Nothing arrives one way, or neither way, and nobody is told.
    PartitionLink,
    /// A gateway process dies with its sockets.
    GatewayDies,
    DropClient,
    /// A client stops reading for a while.
    SlowClient,
    Crash,
    PowerCut,
    /// A power cut, and a bit of the journal is another one afterwards.
    FlippedBit,
    Restart,
    FailCommits,
    FailReads,
    /// The journal's disk fails a write or a sync.
    FailJournal,
    /// The journal is read again from what was committed.
    Reread,
    /// The wall clock leaps by an hour, either way.
    StepClock,
    /// Everything stands still: for seconds, an hour, a day.
    Pause,
}

#[derive(Debug)]
struct Due {
    at: u64,
    number: u64,
    event: Event,
}

impl PartialEq for Due {
    fn eq(&self, other: &Due) -> bool {
        (self.at, self.number) == (other.at, other.number)
    }
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Due) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Due) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

/// The text of an event goes into the hash as it is written.
struct Hash(u64);

impl Write for Hash {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        for byte in text.bytes() {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        Ok(())
    }
}

/// The queue.
#[derive(Debug)]
pub(crate) struct Events {
    now_us: u64,
    /// How far the wall clock is off.
    wall_off_us: i64,
    number: u64,
    heap: BinaryHeap<Reverse<Due>>,
    random: SmallRng,
    trace: u64,
    pub(crate) happened: u64,
    is_printed: bool,
    broken: Vec<String>,
}

impl Events {
    pub(crate) fn new(seed: u64) -> Events {
        Events {
            now_us: 0,
            wall_off_us: 0,
            number: 0,
            heap: BinaryHeap::new(),
            random: SmallRng::seed_from_u64(seed),
            trace: 0xcbf2_9ce4_8422_2325,
            happened: 0,
            is_printed: std::env::var_os("SIM_TRACE").is_some(),
            broken: Vec::new(),
        }
    }

    pub(crate) fn now_us(&self) -> u64 {
        self.now_us
    }

    pub(crate) fn mono(&self) -> Mono {
        Mono(ORIGIN_US + self.now_us)
    }

    /// What the clocks on the walls say, right or wrong.
    pub(crate) fn wall(&self) -> Wall {
        Wall(BEGINNING.0 + self.now_us.cast_signed() + self.wall_off_us)
    }

    pub(crate) fn wall_off_us(&self) -> i64 {
        self.wall_off_us
    }

    /// The wall clock is set.
    pub(crate) fn step_wall(&mut self, to_off_us: i64) {
        self.wall_off_us = to_off_us;
    }

    /// Time passes and nothing happens; what was due meanwhile is late.
    pub(crate) fn leap(&mut self, by_us: u64) {
        self.now_us += by_us;
    }

    /// One of I1 to I6 of the programme does not hold.
    pub(crate) fn broken(&mut self, invariant: &str, what: impl std::fmt::Display) {
        if self.broken.len() < BROKEN_MAX {
            let at = self.now_us as f64 / S as f64;
            self.broken.push(format!("{invariant} at {at:.6} s: {what}"));
        }
    }

    pub(crate) fn is_broken(&self) -> bool {
        !self.broken.is_empty()
    }

    pub(crate) fn take_broken(&mut self) -> Vec<String> {
        std::mem::take(&mut self.broken)
    }

    pub(crate) fn at(&mut self, at: u64, event: Event) {
        self.number += 1;
        self.heap.push(Reverse(Due { at: at.max(self.now_us), number: self.number, event }));
    }

    pub(crate) fn at_mono(&mut self, at: Mono, event: Event) {
        self.at(micros(at), event);
    }

    /// Some time from now.
    pub(crate) fn within(&mut self, least_us: u64, most_us: u64, event: Event) {
        let wait = self.between(least_us, most_us);
        self.at(self.now_us + wait, event);
    }

    /// The next event; the clock moves to it. It becomes part of the story's hash.
    pub(crate) fn next(&mut self, until_us: u64) -> Option<Event> {
        if self.heap.peek()?.0.at > until_us {
            return None;
        }
        let Reverse(due) = self.heap.pop()?;
        self.now_us = self.now_us.max(due.at);
        self.happened += 1;
        let mut hash = Hash(self.trace);
        write!(hash, "{} {:?}", self.now_us, due.event).expect("a hash takes everything");
        self.trace = hash.0;
        if self.is_printed {
            let text = format!("{} {:?}", self.now_us, due.event);
            println!("{}", text.chars().take(300).collect::<String>());
        }
        Some(due.event)
    }

    pub(crate) fn trace(&self) -> u64 {
        self.trace
    }

    pub(crate) fn between(&mut self, least: u64, most: u64) -> u64 {
        self.random.random_range(least..=most)
    }

    pub(crate) fn one_in(&mut self, n: u64) -> bool {
        self.random.random_range(0..n) == 0
    }

    pub(crate) fn bits(&mut self) -> u64 {
        self.random.random()
    }

    pub(crate) fn uuid(&mut self) -> uuid::Uuid {
        uuid::Builder::from_random_bytes(self.random.random()).into_uuid()
    }
}

/// Since the beginning of the story.
pub(crate) fn micros(at: Mono) -> u64 {
    at.0.saturating_sub(ORIGIN_US)
}
