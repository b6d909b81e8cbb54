//! What sockets are owed: one pool of queued frames for a whole shard, of which each connection holds a head
//! and a tail.
//!
//! A queued frame shares its bytes with all who are owed the same, so a connection that is owed nothing costs
//! nothing. Two budgets bound it: bytes a socket, and memory a shard, of which a part is kept for sockets that
//! read what they are sent. Both count a frame until the kernel has taken it. Never decides what happens to a socket
//! that is over its budget. Called by `shard`.

use bytes::Bytes;
use wire::limits::LINK_FRAME_BYTES_MAX;

use crate::limits::{
    BYTES_PER_SEND_MAX, FRAMES_PER_SEND_MAX, NODE_CHARGE_BYTES, OUTBOX_RESERVE_BYTES,
    READERS_RESERVE_FRACTION,
};

const NONE: u32 = u32::MAX;

/// The queued frames of all connections of a shard.
#[derive(Debug)]
pub struct Pool {
    nodes: Vec<Node>,
    free: u32,
    charged: u64,
    connection_budget: u32,
    shard_budget: u64,
}

#[derive(Debug)]
struct Node {
    frame: Bytes,
    next: u32,
    charge: u32,
}

/// One connection's end of the pool.
#[derive(Debug, Clone, Copy)]
pub struct Queue {
    head: u32,
    tail: u32,
    /// Bytes queued, and those that the kernel has not taken yet.
    owed: u32,
    in_flight: u32,
    /// What the frames in flight hold of the shard's budget.
    in_flight_charge: u32,
}

impl Default for Queue {
    fn default() -> Queue {
        Queue { head: NONE, tail: NONE, owed: 0, in_flight: 0, in_flight_charge: 0 }
    }
}

/// The socket (or the shard) is over its budget; the frame was not queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

impl Queue {
    pub fn is_empty(&self) -> bool {
        self.head == NONE
    }

    /// Bytes that the client has not been handed to the kernel for, or that the kernel still holds.
    pub fn owed_bytes(&self) -> u32 {
        self.owed
    }

    pub fn is_sending(&self) -> bool {
        self.in_flight > 0
    }
}

impl Pool {
    pub fn new(connection_budget: u32, shard_budget: u64) -> Pool {
        Pool { nodes: Vec::new(), free: NONE, charged: 0, connection_budget, shard_budget }
    }

    /// Queues a frame. `sharers` is how many sockets the same bytes are queued for.
    pub fn push(&mut self, queue: &mut Queue, frame: Bytes, sharers: usize) -> Result<(), Full> {
        let bytes = length(&frame)?;
        let shared = bytes.div_ceil(u32::try_from(sharers.max(1)).unwrap_or(u32::MAX));
        if queue.owed.saturating_add(bytes) > self.connection_budget
            || !self.has_room(shared, queue.owed == 0)
        {
            return Err(Full);
        }
        self.append(queue, frame, bytes, shared + NODE_CHARGE_BYTES);
        Ok(())
    }

    /// Queues what the client asked for. A page of a sync may be longer than the whole budget, so one frame
    /// may pass it; the next one waits until the client has read.
    pub fn push_reply(&mut self, queue: &mut Queue, frame: Bytes) -> Result<(), Full> {
        let bytes = length(&frame)?;
        if queue.owed > self.connection_budget || !self.has_room(bytes, false) {
            return Err(Full);
        }
        self.append(queue, frame, bytes, bytes + NODE_CHARGE_BYTES);
        Ok(())
    }

    /// Queues a small frame that must not be lost (a pong, a gap, a close), a little past both budgets too.
    pub fn push_control(&mut self, queue: &mut Queue, frame: Bytes) -> Result<(), Full> {
        let bytes = length(&frame)?;
        let reserve = OUTBOX_RESERVE_BYTES + u32::try_from(LINK_FRAME_BYTES_MAX).unwrap_or(u32::MAX);
        let past_budget = queue.owed.saturating_sub(self.connection_budget);
        if past_budget.saturating_add(bytes) > reserve {
            return Err(Full);
        }
        self.append(queue, frame, bytes, bytes + NODE_CHARGE_BYTES);
        Ok(())
    }

    fn has_room(&self, bytes: u32, reads: bool) -> bool {
        let kept = if reads { 0 } else { self.shard_budget / READERS_RESERVE_FRACTION };
        self.charged + u64::from(bytes + NODE_CHARGE_BYTES) <= self.shard_budget - kept
    }

    fn append(&mut self, queue: &mut Queue, frame: Bytes, bytes: u32, charge: u32) {
        let at = self.place(Node { frame, next: NONE, charge });
        match queue.tail {
            NONE => queue.head = at,
            tail => self.nodes[tail as usize].next = at,
        }
        queue.tail = at;
        queue.owed += bytes;
        self.charged += u64::from(charge);
    }

    fn place(&mut self, node: Node) -> u32 {
        if self.free == NONE {
            self.nodes.push(node);
            return u32::try_from(self.nodes.len() - 1).expect("the shard's budget bounds the pool");
        }
        let at = self.free;
        self.free = self.nodes[at as usize].next;
        self.nodes[at as usize] = node;
        at
    }

    /// The next frame, and what is still charged for it.
    fn pop(&mut self, queue: &mut Queue) -> Option<(Bytes, u32)> {
        if queue.head == NONE {
            return None;
        }
        let at = queue.head;
        let node = &mut self.nodes[at as usize];
        let frame = std::mem::take(&mut node.frame);
        queue.head = node.next;
        if queue.head == NONE {
            queue.tail = NONE;
        }
        node.next = self.free;
        let charge = node.charge;
        self.free = at;
        Some((frame, charge))
    }

    /// The frames of the next send: as many as one send may carry. Those taken are in flight until
    /// [`Pool::sent`].
    pub fn next_send<'a>(&'a mut self, queue: &'a mut Queue) -> NextSend<'a> {
        debug_assert!(!queue.is_sending(), "one send at a time");
        NextSend { pool: self, queue, frames: 0 }
    }

    /// The kernel took what was in flight, or gave it up.
    pub fn sent(&mut self, queue: &mut Queue) {
        queue.owed -= std::mem::take(&mut queue.in_flight);
        self.charged -= u64::from(std::mem::take(&mut queue.in_flight_charge));
    }

    /// Throws away what is queued; what is in flight stays.
    pub fn clear(&mut self, queue: &mut Queue) {
        while let Some((_, charge)) = self.pop(queue) {
            self.charged -= u64::from(charge);
        }
        queue.owed = queue.in_flight;
    }

    /// Bytes that frames hold of the shard's budget, queued or in flight.
    pub fn charged_bytes(&self) -> u64 {
        self.charged
    }

    pub fn set_budgets(&mut self, connection_budget: u32, shard_budget: u64) {
        self.connection_budget = connection_budget;
        self.shard_budget = shard_budget;
    }
}

/// No frame is longer than a link frame and its header.
fn length(frame: &Bytes) -> Result<u32, Full> {
    u32::try_from(frame.len()).ok().filter(|bytes| *bytes <= 2 * LINK_FRAME_BYTES_MAX as u32).ok_or(Full)
}

/// See [`Pool::next_send`].
#[derive(Debug)]
pub struct NextSend<'a> {
    pool: &'a mut Pool,
    queue: &'a mut Queue,
    frames: usize,
}

impl Iterator for NextSend<'_> {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        if self.queue.head == NONE || self.frames == FRAMES_PER_SEND_MAX {
            return None;
        }
        let bytes = self.pool.nodes[self.queue.head as usize].frame.len();
        if self.frames > 0 && self.queue.in_flight as usize + bytes > BYTES_PER_SEND_MAX {
            return None;
        }
        self.frames += 1;
        let (frame, charge) = self.pool.pop(self.queue)?;
        self.queue.in_flight += u32::try_from(bytes).expect("push checked it");
        self.queue.in_flight_charge += charge;
        Some(frame)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    const SHARD_BUDGET: u64 = 20_000;

    proptest! {
        /// Several queues in one pool behave as so many separate ones; the books always agree.
        #[test]
        fn queues_keep_their_frames_apart_and_in_order(
            steps in proptest::collection::vec((0usize..4, 0u8..6, 1usize..3_000), 0..300),
        ) {
            let mut pool = Pool::new(8_000, SHARD_BUDGET);
            let mut queues = [Queue::default(); 4];
            let mut models: [VecDeque<Bytes>; 4] = Default::default();
            let mut flying: [Vec<usize>; 4] = Default::default();
            for (serial, (who, what, size)) in steps.into_iter().enumerate() {
                let (queue, model) = (&mut queues[who], &mut models[who]);
                match what {
                    0..=2 => {
                        let frame = Bytes::from(vec![serial as u8; size]);
                        let owed = queue.owed_bytes();
                        let pushed = pool.push(queue, frame.clone(), 1);
                        if pushed.is_ok() {
                            prop_assert!(owed as usize + size <= 8_000);
                            model.push_back(frame);
                        }
                    }
                    3 if !queue.is_sending() => {
                        let taken: Vec<Bytes> = pool.next_send(queue).collect();
                        prop_assert!(taken.len() <= FRAMES_PER_SEND_MAX);
                        prop_assert_eq!(taken.is_empty(), model.is_empty());
                        for frame in &taken {
                            prop_assert_eq!(Some(frame.clone()), model.pop_front());
                        }
                        flying[who] = taken.iter().map(Bytes::len).collect();
                    }
                    4 => {
                        pool.sent(queue);
                        flying[who].clear();
                    }
                    _ => {
                        pool.clear(queue);
                        model.clear();
                    }
                }
                let queued: usize = models[who].iter().map(Bytes::len).sum();
                let in_flight: usize = flying[who].iter().sum();
                prop_assert_eq!(queues[who].owed_bytes() as usize, queued + in_flight);
                let lengths = models.iter().flatten().map(Bytes::len).chain(flying.iter().flatten().copied());
                let charged: usize = lengths.map(|bytes| bytes + NODE_CHARGE_BYTES as usize).sum();
                prop_assert_eq!(pool.charged_bytes(), charged as u64);
                prop_assert!(pool.charged_bytes() <= SHARD_BUDGET);
            }
        }
    }

    #[test]
    fn a_socket_over_its_budget_takes_only_what_must_not_be_lost() {
        let mut pool = Pool::new(1_000, u64::MAX);
        let mut queue = Queue::default();
        pool.push(&mut queue, Bytes::from(vec![0; 1_000]), 1).unwrap();
        assert_eq!(pool.push(&mut queue, Bytes::from_static(b"x"), 1), Err(Full));
        pool.push_control(&mut queue, Bytes::from_static(b"gap")).unwrap();
        let reserve = Bytes::from(vec![0; OUTBOX_RESERVE_BYTES as usize + LINK_FRAME_BYTES_MAX]);
        assert_eq!(pool.push_control(&mut queue, reserve), Err(Full), "the reserve has an end too");
        assert_eq!(pool.push_reply(&mut queue, Bytes::from_static(b"page")), Err(Full));
    }

    #[test]
    fn one_page_may_pass_the_budget_and_no_second_one() {
        let mut pool = Pool::new(1_000, u64::MAX);
        let mut queue = Queue::default();
        let page = Bytes::from(vec![0; 3_000_000]);
        pool.push_reply(&mut queue, page.clone()).unwrap();
        assert_eq!(pool.push_reply(&mut queue, page), Err(Full));
        assert_eq!(pool.push(&mut queue, Bytes::from_static(b"x"), 1), Err(Full));
        assert_eq!(pool.next_send(&mut queue).map(|frame| frame.len()).sum::<usize>(), 3_000_000);
    }

    #[test]
    fn a_frame_shared_by_many_is_charged_once() {
        let mut pool = Pool::new(100_000, 60_000);
        let frame = Bytes::from(vec![0; 16_000]);
        for _ in 0..1_000 {
            pool.push(&mut Queue::default(), frame.clone(), 1_000).unwrap();
        }
        assert_eq!(pool.charged_bytes(), 1_000 * (16 + u64::from(NODE_CHARGE_BYTES)));
    }

    #[test]
    fn nodes_are_used_again() {
        let mut pool = Pool::new(1_000, u64::MAX);
        let mut queue = Queue::default();
        for _ in 0..1_000 {
            pool.push(&mut queue, Bytes::from_static(b"abc"), 1).unwrap();
            assert_eq!(pool.next_send(&mut queue).count(), 1);
            pool.sent(&mut queue);
        }
        assert_eq!(pool.nodes.len(), 1);
        assert_eq!(pool.charged_bytes(), 0);
    }

    #[test]
    fn those_who_do_not_read_cannot_use_the_whole_budget_up() {
        let mut pool = Pool::new(100_000, 1_000_000);
        let mut stuck = Vec::new();
        loop {
            let mut queue = Queue::default();
            let pushed = (0..9).all(|_| pool.push(&mut queue, Bytes::from(vec![0; 9_000]), 1).is_ok());
            // The kernel has them, and takes nothing.
            assert!(pool.next_send(&mut queue).count() > 0);
            stuck.push(queue);
            if !pushed {
                break;
            }
        }
        assert!((700_000..=800_000).contains(&pool.charged_bytes()), "{}", pool.charged_bytes());
        assert_eq!(pool.push_reply(&mut Queue::default(), Bytes::from(vec![0; 50_000])), Err(Full));
        let mut reader = Queue::default();
        for _ in 0..100 {
            pool.push(&mut reader, Bytes::from(vec![0; 9_000]), 1).unwrap();
            assert_eq!(pool.next_send(&mut reader).count(), 1);
            pool.sent(&mut reader);
        }
        for mut queue in stuck {
            pool.clear(&mut queue);
            pool.sent(&mut queue);
        }
        assert_eq!(pool.charged_bytes(), 0);
    }
}
