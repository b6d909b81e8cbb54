//! What one link is owed: first in, first out, within the credit that the shard gave. Pure.
//!
//! Paid frames spend a credit each; unpaid ones flow, but never overtake: a `Deliver` leaves before any page of a
//! sync that was computed after it. A paid frame that finds the queue full is dropped and given back, to be reported
//! as slow; the hole is remembered, and a `Gap` tells the shard's sockets to sync once there is room. Called by
//! `links`.

use std::collections::VecDeque;

use wire::link::Frame;
use wire::time::Wall;

use crate::limits::{LINK_QUEUE_BYTES_MAX, LINK_QUEUE_PAID_MAX};

/// What a frame costs in memory beside its texts.
const FRAME_BYTES: usize = 96;

/// What became of a frame.
#[derive(Debug, PartialEq, Eq)]
pub enum Pushed {
    Queued,
    /// No room: the shard gets it by a later sync.
    Dropped(Frame),
    /// Not even what must not be dropped has room. The link is to be closed and made anew.
    Overrun,
}

#[derive(Debug)]
pub struct LinkQueue {
    frames: VecDeque<Frame>,
    paid: usize,
    bytes: usize,
    /// Paid frames that the shard still takes.
    credit: u64,
    /// Since when something is missing.
    gap: Option<Wall>,
    /// The shard's latest ping, to be answered.
    ping: Option<u64>,
    /// Client messages that the shard may send in addition.
    grant: u32,
    paid_max: usize,
    bytes_max: usize,
}

impl Default for LinkQueue {
    fn default() -> LinkQueue {
        LinkQueue::with_bounds(LINK_QUEUE_PAID_MAX, LINK_QUEUE_BYTES_MAX)
    }
}

impl LinkQueue {
    pub fn with_bounds(paid_max: usize, bytes_max: usize) -> LinkQueue {
        LinkQueue {
            frames: VecDeque::new(),
            paid: 0,
            bytes: 0,
            credit: 0,
            gap: None,
            ping: None,
            grant: 0,
            paid_max,
            bytes_max,
        }
    }

    pub fn push(&mut self, frame: Frame) -> Pushed {
        let bytes = cost(&frame);
        if frame.is_paid() {
            if self.paid >= self.paid_max || self.bytes + bytes > self.bytes_max / 2 {
                self.remember_gap(&frame);
                return Pushed::Dropped(frame);
            }
            self.paid += 1;
        } else if self.bytes + bytes > self.bytes_max {
            return Pushed::Overrun;
        }
        self.bytes += bytes;
        self.frames.push_back(frame);
        Pushed::Queued
    }

    /// The shard takes this many more.
    pub fn grant(&mut self, frames: u32) {
        self.credit = self.credit.saturating_add(u64::from(frames));
    }

    /// The shard asked for a sign of life.
    pub fn answer_ping(&mut self, t: u64) {
        self.ping = Some(t);
    }

    /// Lets the shard send this many more client messages.
    pub fn grant_to_shard(&mut self, frames: u32) {
        self.grant = self.grant.saturating_add(frames);
    }

    /// The next frame that may leave. What keeps the link itself alive goes first, whatever waits for credit.
    pub fn pop(&mut self) -> Option<Frame> {
        if let Some(t) = self.ping.take() {
            return Some(Frame::Pong { t });
        }
        if self.grant > 0 {
            return Some(Frame::Credit { frames: std::mem::take(&mut self.grant) });
        }
        if self.frames.front()?.is_paid() {
            self.credit = self.credit.checked_sub(1)?;
            self.paid -= 1;
        }
        let frame = self.frames.pop_front().expect("there is a front");
        self.bytes -= cost(&frame);
        if self.paid <= self.paid_max / 2
            && let Some(since) = self.gap.take()
        {
            let gap = Frame::Gap { since };
            self.bytes += cost(&gap);
            self.frames.push_back(gap);
        }
        Some(frame)
    }

    /// Frames that wait, for metrics.
    pub fn len(&self) -> usize {
        self.frames.len()
    }

    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Sockets sync strictly after `since`, so it lies just before the first frame that is missing.
    fn remember_gap(&mut self, frame: &Frame) {
        if let Frame::Deliver { created_at, .. } | Frame::Broadcast { created_at, .. } = frame {
            let since = Wall(created_at.0.saturating_sub(1));
            self.gap = Some(self.gap.map_or(since, |earlier| earlier.min(since)));
        }
    }
}

fn cost(frame: &Frame) -> usize {
    FRAME_BYTES
        + match frame {
            Frame::Deliver { user, text, .. } | Frame::Tell { user, text, .. } => user.len() + text.len(),
            Frame::Broadcast { topic, text, .. } => topic.as_ref().map_or(0, String::len) + text.len(),
            Frame::Reply { text, .. } => text.len(),
            Frame::Topics { user, topics } => {
                user.len() + topics.iter().map(|topic| topic.len() + size_of::<String>()).sum::<usize>()
            }
            Frame::Owns { partitions, .. } => 4 * partitions.len(),
            _ => 0,
        }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use proptest::prelude::*;
    use uuid::Uuid;

    fn deliver(tag: u64) -> Frame {
        Frame::Deliver {
            tag,
            id: Uuid::from_u128(u128::from(tag)),
            created_at: Wall(1_000 + tag as i64),
            user: "u".to_owned(),
            text: Bytes::from_static(b"{}"),
        }
    }

    fn drained(queue: &mut LinkQueue) -> Vec<Frame> {
        std::iter::from_fn(|| queue.pop()).collect()
    }

    #[test]
    fn without_credit_nothing_paid_leaves_and_nothing_overtakes() {
        let mut queue = LinkQueue::default();
        queue.push(Frame::Pong { t: 1 });
        queue.push(deliver(1));
        queue.push(Frame::Pong { t: 2 });
        assert_eq!(drained(&mut queue), [Frame::Pong { t: 1 }]);
        queue.grant(1);
        assert_eq!(drained(&mut queue), [deliver(1), Frame::Pong { t: 2 }]);
    }

    #[test]
    fn what_keeps_the_link_alive_waits_for_no_credit() {
        let mut queue = LinkQueue::default();
        queue.push(deliver(1));
        queue.answer_ping(7);
        queue.grant_to_shard(2);
        queue.grant_to_shard(3);
        assert_eq!(drained(&mut queue), [Frame::Pong { t: 7 }, Frame::Credit { frames: 5 }]);
    }

    #[test]
    fn overflow_gives_the_frame_back_and_tells_the_gap_when_there_is_room() {
        let mut queue = LinkQueue::with_bounds(2, LINK_QUEUE_BYTES_MAX);
        for tag in [1, 2] {
            assert_eq!(queue.push(deliver(tag)), Pushed::Queued);
        }
        assert_eq!(queue.push(deliver(3)), Pushed::Dropped(deliver(3)));
        assert_eq!(queue.push(deliver(4)), Pushed::Dropped(deliver(4)));
        queue.grant(10);
        assert_eq!(drained(&mut queue), [deliver(1), deliver(2), Frame::Gap { since: Wall(1_002) }]);
        assert_eq!(queue.push(deliver(5)), Pushed::Queued);
        assert_eq!(drained(&mut queue), [deliver(5)], "the gap is told once");
    }

    #[test]
    fn what_must_not_be_dropped_overruns_only_past_the_bytes() {
        let mut queue = LinkQueue::with_bounds(1, 4_096);
        while queue.push(Frame::Pong { t: 0 }) == Pushed::Queued {}
        assert_eq!(queue.push(Frame::Pong { t: 0 }), Pushed::Overrun);
        assert!(queue.bytes <= 4_096 && queue.len() > 10);
    }

    proptest! {
        /// Whatever comes in leaves in order; paid frames never exceed the credit; none vanishes unreported.
        #[test]
        fn order_credit_and_count_hold(steps in prop::collection::vec((0u8..4, 0u32..5), 1..300)) {
            let mut queue = LinkQueue::with_bounds(8, 1 << 20);
            let (mut next, mut granted, mut paid_out) = (0u64, 0u64, 0u64);
            let (mut expected, mut out, mut dropped) = (VecDeque::new(), Vec::new(), 0);
            for (what, n) in steps {
                match what {
                    0 => {
                        next += 1;
                        match queue.push(deliver(next)) {
                            Pushed::Queued => expected.push_back(next),
                            _ => dropped += 1,
                        }
                    }
                    1 => {
                        next += 1;
                        queue.push(Frame::Pong { t: next });
                        expected.push_back(next);
                    }
                    2 => {
                        queue.grant(n);
                        granted += u64::from(n);
                    }
                    _ => for _ in 0..n {
                        match queue.pop() {
                            Some(Frame::Deliver { tag, .. }) => { paid_out += 1; out.push(tag); }
                            Some(Frame::Pong { t }) => out.push(t),
                            Some(Frame::Gap { .. }) => {}
                            other => prop_assert!(other.is_none()),
                        }
                    },
                }
                prop_assert!(paid_out <= granted);
            }
            for tag in &out {
                prop_assert_eq!(Some(*tag), expected.pop_front());
            }
            prop_assert_eq!(out.len() + expected.len() + dropped, next as usize);
        }
    }
}
