//! What waits for the writer thread, and what writer, appenders and reader tell each other.
//!
//! Owns the bounds of what waits: each lane has bytes of its own, so a storm of one priority never keeps another
//! from its queue. Never touches a file.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};

use super::LANES;
use super::commit::Committed;
use crate::journal::encode::Prepared;
use crate::journal::segment::{Budget, RECORD_BYTES_MAX};
use crate::journal::{AppendError, Appended, Fault, JournalStatus};

/// Bytes that may wait in one lane for the writer thread; appends beyond wait their turn.
const QUEUE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// What the shortest record counts for, so that records are bounded, too (32,768 in a lane).
const RECORD_COST_MIN: usize = 512;
/// A journal without room for a record of so many bytes counts as full.
const ROOM_BYTES_MIN: u64 = 4 * 1024;

const _: () = assert!(RECORD_BYTES_MAX < QUEUE_BYTES_MAX);

/// A record that waits to be written.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) record: Prepared,
    pub(super) reply: oneshot::Sender<Result<Appended, AppendError>>,
    /// The bytes it holds of its lane.
    permit: Option<OwnedSemaphorePermit>,
}

impl Pending {
    pub(super) fn new(record: Prepared, reply: oneshot::Sender<Result<Appended, AppendError>>) -> Pending {
        Pending { record, reply, permit: None }
    }

    fn cost(&self) -> u32 {
        self.record.bytes_max().max(RECORD_COST_MIN) as u32
    }
}

#[derive(Debug, Default)]
struct Queues {
    lanes: [VecDeque<Pending>; LANES],
    closed: bool,
    /// The writer waits for the bell, and nobody has undertaken to ring it yet.
    writer_sleeps: bool,
}

/// Wakes the writer when it goes, also with a caller that is dropped half-way.
struct Bell<'a>(&'a Condvar);

impl Drop for Bell<'_> {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

#[derive(Debug)]
pub(super) struct Shared {
    queues: Mutex<Queues>,
    wake_writer: Condvar,
    room: [Arc<Semaphore>; LANES],
    budget: Arc<Budget>,
    /// Per lane: the offset behind the last durable record.
    ends: [AtomicU64; LANES],
    /// Per lane: the first offset that the owner still needs.
    committed: [AtomicU64; LANES],
    /// Changes with every group commit: wakes the reader.
    appended: watch::Sender<u64>,
    /// Why the disk takes nothing at present.
    fault: Mutex<Option<String>>,
    damaged: AtomicU64,
    /// Holds that live. Locked while segments are trimmed.
    holds: Mutex<usize>,
}

impl Shared {
    pub(super) fn new(budget: Arc<Budget>, ends: [u64; LANES], committed: Committed) -> Shared {
        Shared {
            queues: Mutex::default(),
            wake_writer: Condvar::new(),
            room: std::array::from_fn(|_| Arc::new(Semaphore::new(QUEUE_BYTES_MAX))),
            budget,
            ends: ends.map(AtomicU64::new),
            committed: committed.0.map(AtomicU64::new),
            appended: watch::Sender::new(0),
            fault: Mutex::default(),
            damaged: AtomicU64::new(0),
            holds: Mutex::new(0),
        }
    }

    fn queues(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().expect("nobody panics while holding the queues")
    }

    /// Waits for room in the lane, first come, first served.
    pub(super) async fn enqueue(&self, lane: usize, mut pending: Pending) -> Result<(), AppendError> {
        let closed = || AppendError::Unavailable("the journal is closed".to_owned());
        let room = Arc::clone(&self.room[lane]);
        pending.permit = Some(room.acquire_many_owned(pending.cost()).await.map_err(|_| closed())?);
        let writer_slept = {
            let mut queues = self.queues();
            if queues.closed {
                return Err(closed());
            }
            queues.lanes[lane].push_back(pending);
            std::mem::take(&mut queues.writer_sleeps)
        };
        if writer_slept {
            let _rings_when_dropped = Bell(&self.wake_writer);
            // Whoever else is about to append does so first: what comes together shares its sync.
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    /// Moves what waits in a lane to `batch`, at most `records_max`.
    pub(super) fn take(&self, lane: usize, records_max: usize, batch: &mut VecDeque<Pending>) {
        let mut queues = self.queues();
        let waiting = &mut queues.lanes[lane];
        let taken = waiting.len().min(records_max);
        batch.extend(waiting.drain(..taken));
    }

    /// Until something is queued, the journal is closed, or `patience` is over. False: closed, and nothing waits.
    pub(super) fn wait(&self, patience: Duration) -> bool {
        let idle = |queues: &mut Queues| {
            queues.writer_sleeps = !queues.closed && queues.lanes.iter().all(VecDeque::is_empty);
            queues.writer_sleeps
        };
        let (mut queues, _) = self
            .wake_writer
            .wait_timeout_while(self.queues(), patience, idle)
            .expect("nobody panics while holding the queues");
        queues.writer_sleeps = false;
        !(queues.closed && queues.lanes.iter().all(VecDeque::is_empty))
    }

    /// The writer thread finishes what waits and ends.
    pub(super) fn close(&self) {
        self.queues().closed = true;
        for room in &self.room {
            room.close();
        }
        self.wake_writer.notify_all();
    }

    /// The writer thread is gone: nobody is left waiting.
    pub(super) fn abandon(&self) {
        self.close();
        for lane in &mut self.queues().lanes {
            lane.clear();
        }
    }

    pub(super) fn note_appended(&self, lane: usize, end: u64) {
        self.ends[lane].store(end, Ordering::Release);
        self.appended.send_modify(|commits| *commits += 1);
    }

    pub(super) fn watch_appended(&self) -> watch::Receiver<u64> {
        self.appended.subscribe()
    }

    pub(super) fn note_committed(&self, lane: usize, next: u64) {
        self.committed[lane].fetch_max(next, Ordering::AcqRel);
    }

    pub(super) fn spans(&self) -> [(u64, u64); LANES] {
        let committed = self.committed().0;
        std::array::from_fn(|lane| (committed[lane], self.ends[lane].load(Ordering::Acquire)))
    }

    pub(super) fn committed(&self) -> Committed {
        Committed(std::array::from_fn(|lane| self.committed[lane].load(Ordering::Acquire)))
    }

    fn holds(&self) -> MutexGuard<'_, usize> {
        self.holds.lock().expect("nobody panics while holding the holds")
    }

    /// Nothing is trimmed until as many releases. Waits for a trimming under way, so what is committed by now is all
    /// that it took.
    pub(super) fn hold(&self) {
        *self.holds() += 1;
    }

    pub(super) fn release(&self) {
        *self.holds() -= 1;
    }

    /// `None` while somebody holds the journal. No hold begins while the guard lives.
    pub(super) fn not_held(&self) -> Option<MutexGuard<'_, usize>> {
        Some(self.holds()).filter(|holds| **holds == 0)
    }

    pub(super) fn status(&self) -> JournalStatus {
        let committed = self.committed();
        let lag = self
            .ends
            .iter()
            .zip(committed.0)
            .map(|(end, committed)| end.load(Ordering::Acquire).saturating_sub(committed))
            .sum();
        JournalStatus { lag, bytes: self.budget.used(), damaged: self.damaged.load(Ordering::Relaxed) }
    }

    pub(super) fn note_fault(&self, why: Option<String>) {
        *self.fault.lock().expect("nobody panics while holding the fault") = why;
    }

    pub(super) fn note_damaged(&self, places: u64) {
        self.damaged.store(places, Ordering::Relaxed);
    }

    /// What the writer thread met last, or that there is no room by our own bound.
    pub(super) fn fault(&self) -> Option<Fault> {
        if let Some(why) = &*self.fault.lock().expect("nobody panics while holding the fault") {
            return Some(Fault::Unwritable(why.clone()));
        }
        let bytes = self.budget.used();
        let full = |urgent| self.budget.is_full_for(ROOM_BYTES_MIN, urgent);
        match (full(true), full(false)) {
            (true, _) => Some(Fault::Unwritable(AppendError::Full { bytes }.to_string())),
            (false, true) => Some(Fault::Full { bytes }),
            (false, false) => None,
        }
    }
}
