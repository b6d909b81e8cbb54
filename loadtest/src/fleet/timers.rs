//! When clients come back and when handshakes are overdue. Pure; called by `fleet`.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use wire::time::Mono;

/// A client to be woken; stale when the client has begun another socket since.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Wake {
    pub(super) place: u32,
    pub(super) epoch: u32,
    pub(super) why: Why,
}

/// What for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Why {
    /// It begins an attempt.
    Connects,
    /// The server asked it to leave.
    Moves,
    /// It asks again for what it missed.
    Syncs,
    /// It asks again for its topic.
    Subscribes,
    /// It acknowledges again what was refused.
    Acks,
}

/// At most a wake and a deadline for each socket that was begun; both leave when their time comes.
#[derive(Debug, Default)]
pub(super) struct Timers {
    wakes: BinaryHeap<Reverse<(Mono, Wake)>>,
    /// Every handshake has the same time, so the first begun is the first due.
    deadlines: VecDeque<(Mono, u32, u32)>,
}

impl Timers {
    pub(super) fn set_wake(&mut self, at: Mono, wake: Wake) {
        self.wakes.push(Reverse((at, wake)));
    }

    pub(super) fn next_wake(&self) -> Option<Mono> {
        self.wakes.peek().map(|Reverse((at, _))| *at)
    }

    pub(super) fn pop_wake(&mut self, now: Mono) -> Option<(Wake, Mono)> {
        if self.next_wake()? > now {
            return None;
        }
        self.wakes.pop().map(|Reverse((at, wake))| (wake, at))
    }

    pub(super) fn set_deadline(&mut self, at: Mono, place: u32, epoch: u32) {
        self.deadlines.push_back((at, place, epoch));
    }

    pub(super) fn next_deadline(&self) -> Option<Mono> {
        self.deadlines.front().map(|(at, ..)| *at)
    }

    pub(super) fn pop_deadline(&mut self, now: Mono) -> Option<(u32, u32)> {
        if self.next_deadline()? > now {
            return None;
        }
        self.deadlines.pop_front().map(|(_, place, epoch)| (place, epoch))
    }
}
