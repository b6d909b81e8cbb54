//! The one thread that writes to the journal's folder.
//!
//! Owns the four logs, the sequence numbers and the commit file. Each round gives every lane one group commit,
//! critical before each of the others. Never acknowledges before the sync, never consumes a sequence number for
//! what was not written, and after a failed write or sync takes nothing until the log has been cut back.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use wire::message::Priority;

use super::LANES;
use super::commit::Committed;
use super::queue::{Pending, Shared};
use crate::journal::segment::{LogError, SegmentLog};
use crate::journal::storage::Storage;
use crate::journal::{AppendError, Appended, DurableIn};
use crate::record::Sequence;

/// Records of one group commit.
const BATCH_RECORDS_MAX: usize = 4_096;
/// How long commits of the reader may wait to be written down. After a crash that much is read again.
const COMMIT_INTERVAL: Duration = Duration::from_millis(200);
/// How long a log stays closed after a failure before it, and the disk, are tried again.
const REVIVE_INTERVAL: Duration = Duration::from_secs(1);

/// Written, synced and removed to see whether the disk takes anything again.
const PROOF_NAME: &str = "proof";
const PROOF: [u8; 4_096] = [0; 4_096];

const CRITICAL: usize = Priority::Critical as usize;

#[derive(Debug)]
pub(super) struct Writer {
    logs: Vec<SegmentLog>,
    storage: Arc<dyn Storage>,
    shared: Arc<Shared>,
    boot: u64,
    /// By partition: the last sequence number that was written.
    sequences: Vec<u64>,
    stored: Committed,
    store_due: Instant,
    revive_due: Instant,
    /// Something failed, and the disk has not proved since that it takes a page.
    faulty: bool,
    /// Damaged places that the open found.
    damaged_at_open: u64,
    batch: VecDeque<Pending>,
    line: BytesMut,
}

/// A record that was staged and waits for its sync.
struct Staged {
    pending: Pending,
    seq: u64,
}

#[expect(clippy::disallowed_methods, reason = "the writer thread is a porch: it paces its own disk")]
fn now() -> Instant {
    Instant::now()
}

impl Writer {
    pub(super) fn new(
        logs: Vec<SegmentLog>,
        storage: Arc<dyn Storage>,
        shared: Arc<Shared>,
        partitions: u32,
        boot: u64,
        damaged_at_open: u64,
    ) -> Writer {
        assert_eq!(logs.len(), LANES);
        let stored = shared.committed();
        Writer {
            logs,
            storage,
            shared,
            boot,
            sequences: vec![0; partitions as usize],
            stored,
            store_due: now(),
            revive_due: now(),
            faulty: false,
            damaged_at_open,
            batch: VecDeque::new(),
            line: BytesMut::new(),
        }
    }

    fn run(&mut self) {
        while self.shared.wait(COMMIT_INTERVAL) {
            let damaged_since: u64 = self.logs.iter().map(SegmentLog::damaged_since_open).sum();
            self.shared.note_damaged(self.damaged_at_open + damaged_since);
            self.revive();
            for lane in 0..LANES {
                if lane != CRITICAL {
                    self.group_commit(CRITICAL);
                }
                self.group_commit(lane);
            }
            if now() >= self.store_due {
                self.store_commits();
            }
        }
        self.store_commits();
    }

    /// One write and one sync for whatever waits in the lane.
    fn group_commit(&mut self, lane: usize) {
        let mut batch = std::mem::take(&mut self.batch);
        self.shared.take(lane, BATCH_RECORDS_MAX, &mut batch);
        while !batch.is_empty() {
            let staged = self.stage(lane, &mut batch);
            let result = self.logs[lane].commit();
            self.shared.note_appended(lane, self.logs[lane].next_offset());
            self.answer(staged, result);
        }
        self.batch = batch;
    }

    /// Fills one batch of the log, in order. What the log does not take is answered at once.
    fn stage(&mut self, lane: usize, batch: &mut VecDeque<Pending>) -> Vec<Staged> {
        let mut staged: Vec<Staged> = Vec::with_capacity(batch.len());
        while let Some(pending) = batch.pop_front() {
            if pending.reply.is_closed() {
                // The caller gave up before anything was written.
                continue;
            }
            let last = &mut self.sequences[pending.record.partition as usize];
            let sequence = Sequence { boot: self.boot, partition: pending.record.partition, seq: *last + 1 };
            pending.record.write(sequence, &[], &mut self.line);
            match self.logs[lane].stage(&self.line) {
                Ok(_) => {
                    *last += 1;
                    staged.push(Staged { pending, seq: sequence.seq });
                }
                Err(LogError::BatchFull) => {
                    batch.push_front(pending);
                    break;
                }
                Err(error) => reply(pending, Err(refusal(&error))),
            }
        }
        staged
    }

    fn answer(&mut self, staged: Vec<Staged>, result: Result<(), LogError>) {
        match result {
            Ok(()) => {
                for Staged { pending, seq } in staged {
                    let partition = pending.record.partition;
                    reply(
                        pending,
                        Ok(Appended { partition, seq, durable_in: DurableIn::Journal, offset: None }),
                    );
                }
            }
            Err(error) => {
                tracing::error!(%error, "the journal takes nothing");
                self.note_fault(&error);
                for Staged { pending, .. } in staged.into_iter().rev() {
                    self.sequences[pending.record.partition as usize] -= 1;
                    reply(pending, Err(refusal(&error)));
                }
            }
        }
    }

    fn note_fault(&mut self, why: &dyn std::fmt::Display) {
        self.faulty = true;
        self.revive_due = now() + REVIVE_INTERVAL;
        self.shared.note_fault(Some(why.to_string()));
    }

    /// Now and then tries to open poisoned logs again, which gives back what a torn write took, and then whether the
    /// disk takes anything. Nobody need hand a record in for that: a router that is not ready is not asked.
    fn revive(&mut self) {
        if !self.faulty || now() < self.revive_due {
            return;
        }
        let opened = self.logs.iter_mut().try_for_each(SegmentLog::revive);
        match opened.map_err(|error| error.to_string()).and_then(|()| self.prove()) {
            Ok(()) => {
                self.faulty = false;
                self.shared.note_fault(None);
                tracing::warn!("the journal takes records again");
            }
            Err(why) => self.note_fault(&why),
        }
    }

    fn prove(&self) -> Result<(), String> {
        let proof = || {
            match self.storage.remove(PROOF_NAME) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let mut file = self.storage.create(PROOF_NAME)?;
            file.append(&PROOF)?;
            file.sync()?;
            self.storage.remove(PROOF_NAME)
        };
        proof().map_err(|error| error.to_string())
    }

    /// Writes down what the owner has finished, then removes the segments that nobody needs.
    fn store_commits(&mut self) {
        self.store_due = now() + COMMIT_INTERVAL;
        let committed = self.shared.committed();
        if committed == self.stored {
            return;
        }
        if let Err(error) = committed.store(&*self.storage) {
            tracing::warn!(%error, "commits cannot be written down; after a crash more is read again");
            self.note_fault(&error);
            return;
        }
        self.stored = committed;
        // A backup is written: what is not trimmed now is trimmed with the next commits.
        let Some(_not_held) = self.shared.not_held() else { return };
        for (log, committed) in self.logs.iter_mut().zip(committed.0) {
            if let Err(error) = log.trim(committed) {
                tracing::warn!(%error, "a finished segment cannot be removed");
            }
        }
    }
}

fn refusal(error: &LogError) -> AppendError {
    match error {
        LogError::Full { bytes } => AppendError::Full { bytes: *bytes },
        LogError::TooLong { found, max } => AppendError::TooLong { found: *found, max: *max },
        LogError::BatchFull | LogError::Poisoned(_) => AppendError::Unavailable(error.to_string()),
    }
}

/// A caller that is gone meanwhile has the record all the same.
fn reply(pending: Pending, result: Result<Appended, AppendError>) {
    let _ = pending.reply.send(result);
}

/// Keeps the writer thread running; the last one dropped ends it when all that waits is written.
#[derive(Debug)]
pub(super) struct Running {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Running {
    /// `lock` is held as long as the thread lives.
    pub(super) fn start(mut writer: Writer, lock: Option<File>) -> io::Result<Running> {
        let shared = Arc::clone(&writer.shared);
        let abandoned = Abandon(Arc::clone(&shared));
        let thread = std::thread::Builder::new().name("journal".to_owned()).spawn(move || {
            let _abandoned = abandoned;
            writer.run();
            drop(writer);
            drop(lock);
        })?;
        Ok(Running { shared, thread: Mutex::new(Some(thread)) })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shared.close();
        let thread = self.thread.lock().ok().and_then(|mut thread| thread.take());
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the journal's writer thread panicked");
        }
    }
}

/// However the thread ends, nobody waits for it in vain.
struct Abandon(Arc<Shared>);

impl Drop for Abandon {
    fn drop(&mut self) {
        self.0.abandon();
    }
}
