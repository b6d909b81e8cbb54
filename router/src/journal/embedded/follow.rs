//! One lane read beside its owner, by whoever keeps a copy elsewhere.
//!
//! Sees what is durable and not committed. Never commits, and never keeps a segment from being trimmed: what is
//! committed meanwhile is stepped over.

use std::sync::Arc;

use tokio::sync::watch;

use super::queue::Shared;
use super::writer::Running;
use crate::journal::ReadError;
use crate::journal::segment::{LogFiles, LogReader, LogRecord};

/// Made by [`EmbeddedJournal::follow`](super::EmbeddedJournal::follow).
#[derive(Debug)]
pub struct Follower {
    lane: usize,
    files: LogFiles,
    /// `None` while a read runs on another thread, and after one that failed.
    log: Option<LogReader>,
    /// The first offset that was not returned.
    next: u64,
    shared: Arc<Shared>,
    appended: watch::Receiver<u64>,
    _running: Arc<Running>,
}

impl Follower {
    pub(super) fn new(lane: usize, files: LogFiles, shared: Arc<Shared>, running: Arc<Running>) -> Follower {
        let (next, appended) = (shared.committed().0[lane], shared.watch_appended());
        Follower { lane, files, log: None, next, shared, appended, _running: running }
    }

    /// The first offset that was not returned yet.
    pub fn next_offset(&self) -> u64 {
        self.next
    }

    /// The first offset that the lane's owner still needs.
    pub fn committed(&self) -> u64 {
        self.shared.committed().0[self.lane]
    }

    /// What is not committed is returned once more.
    pub fn begin_anew(&mut self) {
        (self.log, self.next) = (None, self.committed());
    }

    /// What follows, at most `records_max` with at most `bytes_max` bytes (one at least, if there is one). Does not wait.
    pub async fn read(&mut self, records_max: usize, bytes_max: usize) -> Result<Vec<LogRecord>, ReadError> {
        self.appended.borrow_and_update();
        if self.committed() > self.next {
            self.begin_anew();
        }
        let mut log = self.log.take().unwrap_or_else(|| self.files.reader(self.next));
        if log.waiting() == 0 {
            self.log = Some(log);
            return Ok(Vec::new());
        }
        let read = tokio::task::spawn_blocking(move || {
            let mut records = Vec::new();
            log.read(records_max, bytes_max, &mut records).map(|()| (log, records))
        });
        let failed = |why: &dyn std::fmt::Display| ReadError(why.to_string());
        let (log, records) = read.await.map_err(|error| failed(&error))?.map_err(|error| failed(&error))?;
        self.next = log.next_offset();
        self.log = Some(log);
        Ok(records)
    }

    /// Until something was appended since the last read. Also when nothing ever will be any more.
    pub async fn appended(&mut self) {
        let _closed_or_not = self.appended.changed().await;
    }
}
