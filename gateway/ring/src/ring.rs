//! One ring: its queues, its slots, its turn. It keeps alive whatever the kernel points to, loses no completion, and never
//! blocks. Called by `rings`; what the completions mean is in `handle`.

use std::collections::VecDeque;
use std::io;

use io_uring::{IoUring, squeue};

use crate::accept::{Accepts, DOORS_MAX};
use crate::conn::{Conn, Event};
use crate::connect::{Addresses, ConnectError};
use crate::ops::{self, Completion, Op, Tag};
use crate::scratch::Scratch;
use crate::sends::Sends;
use crate::slots::{
    CLOSE_SENT, CLOSING, CONNECTING, ENDED, IN_KERNEL, PAUSED, POLL_LISTED, POLLING, READ_LISTED, READABLE,
    READING, RESET, SENDING, SILENT, Slots,
};
use crate::stats::RingStats;

/// Completions copied out of the queue at a time.
const REAP_BATCH: usize = 128;
/// Enters in one phase of a turn. The kernel runs at least 20 items of task work in each.
const ENTERS_PER_PHASE_MAX: usize = 64;
/// Enters in `drain` that bring nothing before it gives up and leaks.
const DRAIN_IDLE_ENTERS_MAX: usize = 10_000;
/// `IORING_ENTER_GETEVENTS`: run what the kernel deferred to us.
const ENTER_GETEVENTS: u32 = 1;

/// What all rings of a shard have in common.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) sends: Sends,
    pub(crate) scratch: Scratch,
    pub(crate) addresses: Addresses,
    pub(crate) stats: RingStats,
    /// By door.
    pub(crate) accepts_armed: [u32; DOORS_MAX],
    /// The error number of an accept that should not be tried again at once.
    pub(crate) accept_failure: Option<i32>,
}

/// Where events go.
pub(crate) type Sink<'a> = &'a mut dyn FnMut(Event<'_>);

/// One io_uring instance and its file table. Its queues are bounded by the table: a slot has at most one poll, read, send, connect
/// and close, and a cancel for each, under way.
pub(crate) struct Ring {
    io: IoUring,
    /// Index of slot 0 in the shard's numbering.
    base: u32,
    pub(crate) slots: Slots,
    pub(crate) accepts: Accepts,
    /// Submissions that found the queue full although the kernel was asked to take some.
    spill: VecDeque<squeue::Entry>,
    /// Completions that were copied out before their turn, to make room.
    backlog: VecDeque<Completion>,
    /// Slots to read from. An entry counts only while the slot is flagged READ_LISTED.
    to_read: VecDeque<u32>,
    /// Slots to poll. An entry counts only while the slot is flagged POLL_LISTED.
    to_poll: Vec<u32>,
    batch: Vec<Completion>,
    /// Operations in the kernel that point into our memory.
    pub(crate) borrowed: u32,
}

impl Ring {
    pub(crate) fn new(io: IoUring, base: u32, slots: u32) -> Ring {
        Ring {
            io,
            base,
            slots: Slots::new(slots),
            accepts: Accepts::default(),
            spill: VecDeque::new(),
            backlog: VecDeque::new(),
            to_read: VecDeque::new(),
            to_poll: Vec::new(),
            batch: Vec::with_capacity(REAP_BATCH),
            borrowed: 0,
        }
    }

    /// Places in its completion queue.
    pub(crate) fn completions(&self) -> u32 {
        self.io.params().cq_entries()
    }

    pub(crate) fn conn(&mut self, index: u32) -> Conn {
        Conn::new(self.base + index, self.slots.at(index).generation)
    }

    pub(crate) fn tag(&mut self, op: Op, index: u32) -> Tag {
        Tag::new(op, index, self.slots.at(index).generation)
    }

    /// Queues a submission. When the queue is full the kernel takes what is in it first.
    pub(crate) fn push(&mut self, entry: &squeue::Entry, shared: &mut Shared) {
        let tag = Tag::unpack(entry.get_user_data());
        if tag.is_some_and(|tag| matches!(tag.op, Op::Accept | Op::Connect | Op::Read | Op::Send)) {
            self.borrowed += 1;
        }
        if self.spill.is_empty() && self.queue(entry) {
            return;
        }
        self.enter(shared);
        self.absorb(shared);
        self.unspill();
        if !self.spill.is_empty() || !self.queue(entry) {
            shared.stats.spills += 1;
            self.spill.push_back(entry.clone());
        }
    }

    /// Queues a submission for the next enter without touching the completions.
    pub(crate) fn push_later(&mut self, entry: squeue::Entry) {
        self.borrowed += 1;
        self.spill.push_back(entry);
    }

    fn queue(&mut self, entry: &squeue::Entry) -> bool {
        // SAFETY: what `entry` points to lives until its completion: send and accept records, addresses and scratch buffers
        // are released only by the handlers of the completions, and `Rings::drop` drains or leaks them.
        unsafe { self.io.submission().push(entry) }.is_ok()
    }

    fn unspill(&mut self) {
        while let Some(entry) = self.spill.pop_front() {
            if !self.queue(&entry) {
                self.spill.push_front(entry);
                return;
            }
        }
    }

    /// Hands the queue to the kernel and lets it run what it deferred. A refusal is for the moment: the queue stays.
    pub(crate) fn enter(&mut self, shared: &mut Shared) {
        let queued = self.io.submission().len() as u32;
        shared.stats.enters += 1;
        // SAFETY: no argument is passed, and the queue holds only entries that `queue` vouched for.
        let entered =
            unsafe { self.io.submitter().enter::<libc::sigset_t>(queued, 0, ENTER_GETEVENTS, None) };
        let Err(error) = entered else { return };
        match error.raw_os_error() {
            Some(libc::EINTR | libc::EAGAIN | libc::EBUSY | libc::ENOMEM) => shared.stats.enters_refused += 1,
            _ => panic!("io_uring_enter on a ring of this thread failed: {error}"),
        }
    }

    /// Hands the queue to the kernel if there is anything in it.
    pub(crate) fn submit(&mut self, shared: &mut Shared) {
        if !self.io.submission().is_empty() {
            self.enter(shared);
        }
    }

    /// Copies completions out of the queue before their turn and lets go of what completed sends held.
    fn absorb(&mut self, shared: &mut Shared) {
        while self.fill() {
            let batch = std::mem::take(&mut self.batch);
            for completion in &batch {
                let settled = self.settle(*completion, shared);
                self.backlog.extend(settled);
            }
            self.batch = batch;
        }
    }

    /// Copies the next completions into `batch`. False: there are none.
    fn fill(&mut self) -> bool {
        self.batch.clear();
        self.batch.extend(self.io.completion().take(REAP_BATCH).map(Completion::from));
        !self.batch.is_empty()
    }

    /// Something to submit, to run, to report or to read.
    pub(crate) fn ready(&mut self) -> bool {
        self.wants_enter()
            || !self.backlog.is_empty()
            || !self.to_read.is_empty()
            || !self.to_poll.is_empty()
            || !self.io.completion().is_empty()
    }

    fn wants_enter(&mut self) -> bool {
        let submission = self.io.submission();
        !submission.is_empty() || submission.taskrun() || submission.cq_overflow() || !self.spill.is_empty()
    }

    /// Submits, runs, reports and reads. Handles at most about `budget` completions; returns completions and events.
    pub(crate) fn turn(&mut self, budget: usize, shared: &mut Shared, sink: Sink<'_>) -> (usize, usize) {
        let mut done = (0, 0);
        self.arm_polls(shared);
        self.phase(budget, &mut done, shared, sink);
        // Only what is listed by now: one read for each connection and turn, so that the caller can hold one back.
        let mut listed = self.to_read.len();
        self.arm_polls(shared);
        while listed > 0 && done.0 < budget {
            let looked_at = self.arm_reads(listed, shared);
            self.phase(budget, &mut done, shared, sink);
            if looked_at == 0 {
                break;
            }
            listed -= looked_at;
        }
        if self.wants_enter() && done.0 < budget {
            self.phase(budget, &mut done, shared, sink);
        }
        done
    }

    fn phase(&mut self, budget: usize, done: &mut (usize, usize), shared: &mut Shared, sink: Sink<'_>) {
        for _ in 0..ENTERS_PER_PHASE_MAX {
            if self.wants_enter() {
                self.unspill();
                if self.io.submission().cq_overflow() {
                    shared.stats.overflows += 1;
                }
                self.enter(shared);
            }
            let before = done.0;
            while done.0 < budget {
                let events = self.report_some(&mut done.0, shared, sink);
                let Some(events) = events else { break };
                done.1 += events;
            }
            if done.0 == before || done.0 >= budget {
                return;
            }
        }
    }

    /// Handles one batch of completions, earlier ones first.
    fn report_some(&mut self, handled: &mut usize, shared: &mut Shared, sink: Sink<'_>) -> Option<usize> {
        if self.backlog.is_empty() {
            if !self.fill() {
                return None;
            }
        } else {
            let count = self.backlog.len().min(REAP_BATCH);
            self.batch.clear();
            self.batch.extend(self.backlog.drain(..count));
        }
        let batch = std::mem::take(&mut self.batch);
        let mut events = 0;
        for completion in &batch {
            events += usize::from(self.handle(*completion, shared, sink));
        }
        *handled += batch.len();
        shared.stats.completions += batch.len() as u64;
        self.batch = batch;
        Some(events)
    }

    /// Lists a slot for a poll before the next enter.
    pub(crate) fn list_poll(&mut self, index: u32) {
        let slot = self.slots.at(index);
        if !slot.is(POLL_LISTED | POLLING | ENDED | CLOSING) {
            slot.set(POLL_LISTED);
            self.to_poll.push(index);
        }
    }

    fn arm_polls(&mut self, shared: &mut Shared) {
        let mut listed = std::mem::take(&mut self.to_poll);
        for index in listed.drain(..) {
            let slot = self.slots.at(index);
            if !slot.is(POLL_LISTED) || slot.is(POLLING | CLOSING | ENDED) {
                continue;
            }
            slot.clear(POLL_LISTED);
            slot.set(POLLING);
            let tag = self.tag(Op::Poll, index);
            self.push(&ops::poll(index, tag), shared);
        }
        // `push` may have listed nothing: polls are listed by completions, which it only copies.
        self.to_poll = listed;
    }

    /// Lists a slot for a read, unless it is held back, over, or a read is under way.
    pub(crate) fn list_read(&mut self, index: u32) {
        let slot = self.slots.at(index);
        slot.set(READABLE);
        if !slot.is(READ_LISTED | READING | PAUSED | ENDED | CLOSING | CONNECTING) {
            slot.set(READ_LISTED);
            self.to_read.push_back(index);
        }
    }

    /// Submits reads for at most `listed` entries of the list while there are buffers; returns entries looked at.
    fn arm_reads(&mut self, listed: usize, shared: &mut Shared) -> usize {
        let mut looked_at = 0;
        while looked_at < listed && shared.scratch.free() > 0 {
            let Some(index) = self.to_read.pop_front() else { break };
            looked_at += 1;
            let slot = self.slots.at(index);
            if !slot.is(READ_LISTED) {
                continue;
            }
            slot.clear(READ_LISTED);
            if slot.is(READING | PAUSED | ENDED | CLOSING) {
                continue;
            }
            let Some(buffer) = shared.scratch.take() else { break };
            slot.clear(READABLE);
            slot.set(READING);
            slot.buffer = buffer;
            let tag = self.tag(Op::Read, index);
            let (start, length) = (shared.scratch.start(buffer), shared.scratch.each());
            self.push(&ops::read(index, start, length, tag), shared);
        }
        looked_at
    }

    /// Begins to close a living slot: cancels what waits in the kernel. The close itself follows when all of it came back.
    pub(crate) fn begin_close(&mut self, index: u32, flags: u16, shared: &mut Shared) {
        let slot = self.slots.at(index);
        if slot.is(CLOSING) {
            return;
        }
        slot.set(CLOSING | flags);
        slot.clear(READ_LISTED | POLL_LISTED);
        let waits = slot.flags & IN_KERNEL;
        for (flag, op) in [(POLLING, Op::Poll), (SENDING, Op::Send), (CONNECTING, Op::Connect)] {
            if waits & flag != 0 {
                let tag = self.tag(op, index);
                self.push(&ops::cancel(tag), shared);
            }
        }
        self.finish_close(index, shared);
    }

    /// Submits the close of a closing slot that the kernel holds nothing of any more.
    pub(crate) fn finish_close(&mut self, index: u32, shared: &mut Shared) {
        let slot = self.slots.at(index);
        if !slot.is(CLOSING) || slot.is(IN_KERNEL | CLOSE_SENT) {
            return;
        }
        slot.set(CLOSE_SENT);
        if slot.is(RESET) {
            self.push(&ops::linger_zero(index), shared);
        }
        let tag = self.tag(Op::Close, index);
        self.push(&ops::close(index, tag), shared);
    }

    /// Puts a socket into a free slot. The descriptor stays the caller's.
    pub(crate) fn take_and_install(&mut self, descriptor: i32) -> Result<u32, ConnectError> {
        let index = self.slots.take().ok_or(ConnectError::Full)?;
        match self.io.submitter().register_files_update(index, &[descriptor]) {
            Ok(1) => return Ok(index),
            Ok(_) => {}
            Err(error) => {
                self.slots.release(index);
                return Err(ConnectError::Install(error));
            }
        }
        self.slots.release(index);
        Err(ConnectError::Install(io::Error::other("the file table was not updated")))
    }

    /// Asks for a signal on the eventfd at each completion, or for none.
    pub(crate) fn set_bell(&mut self, on: bool) {
        let completion = self.io.completion();
        if on {
            completion.enable_eventfd();
        } else {
            completion.disable_eventfd();
        }
    }

    /// Before the end: closes every connection and takes every accept back. False: the kernel may still point into our memory.
    pub(crate) fn drain(&mut self, shared: &mut Shared) -> bool {
        for tag in self.accepts.armed() {
            self.push(&ops::cancel(tag), shared);
        }
        let (mut idle, mut accepted) = (0, None);
        while idle < DRAIN_IDLE_ENTERS_MAX {
            // Again when an accept has brought one more.
            if accepted != Some(shared.stats.accepted) {
                accepted = Some(shared.stats.accepted);
                for index in self.slots.unclosed() {
                    self.begin_close(index, SILENT, shared);
                }
            }
            if self.borrowed == 0 && self.slots.live() == 0 {
                break;
            }
            self.unspill();
            self.enter(shared);
            let mut handled = 0;
            while self.report_some(&mut handled, shared, &mut |_| {}).is_some() {}
            idle = if handled == 0 { idle + 1 } else { 0 };
        }
        if let Err(error) = self.io.submitter().unregister_files() {
            tracing::warn!(%error, "cannot release a ring's file table; the kernel will");
        }
        self.borrowed == 0
    }
}

impl std::fmt::Debug for Ring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ring")
            .field("base", &self.base)
            .field("live", &self.slots.live())
            .finish_non_exhaustive()
    }
}
