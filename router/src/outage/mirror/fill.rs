//! Copies the critical lane of the disk to the list, in its order, while Kafka takes nothing.
//!
//! Owns how far it came. A list that holds less than it was given was emptied, or is another one: then all that is not committed is
//! copied again. Never takes anything from the list.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use ops::clock::Clock;
use wire::time::Mono;

use super::{Away, Counts, List, Pushed, Rest};
use crate::journal::ReadError;
use crate::journal::embedded::Follower;
use crate::journal::segment::LogRecord;
use crate::limits::{LIST_LOOKED_AT_EVERY, LIST_RETRY, MIRRORED_AT_ONCE_BYTES, MIRRORED_AT_ONCE_MAX};

pub(super) struct Fill {
    list: Arc<dyn List>,
    lane: Follower,
    clock: Clock,
    counts: Arc<Counts>,
    /// Read from the lane and not in the list yet.
    ahead: Vec<LogRecord>,
    /// Of the lane's records from its commit to where it was read: those that the list was not given. May be too many.
    unheld: u64,
    looked_at: Option<Mono>,
}

impl Fill {
    pub(super) fn new(list: Arc<dyn List>, lane: Follower, clock: Clock, counts: Arc<Counts>) -> Fill {
        Fill { list, lane, clock, counts, ahead: Vec::new(), unheld: 0, looked_at: None }
    }

    /// Until there may be more to copy.
    pub(super) async fn appended(&mut self) {
        self.lane.appended().await;
    }

    /// Copies one batch of what the disk has and the list has not.
    pub(super) async fn step(&mut self) -> Rest {
        if self.look().await.is_err() {
            return Rest::For(LIST_RETRY);
        }
        if self.ahead.is_empty() {
            match self.read_on().await {
                Ok(0) => return Rest::UntilAppended,
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(%error, "the disk cannot be read for the list of critical records");
                    return Rest::For(LIST_RETRY);
                }
            }
        }
        let values: Vec<Bytes> = self.ahead.iter().map(|record| record.body.clone()).collect();
        let Ok(Pushed { count, length }) = self.list.push(&values).await else {
            return Rest::For(LIST_RETRY);
        };
        let left = values.len() as u64 - count;
        self.ahead.clear();
        self.counts.length.store(length, Ordering::Relaxed);
        self.counts.mirrored.add(count);
        self.counts.unmirrored.add(left);
        self.unheld += left;
        Rest::Not
    }

    /// How many records were read.
    async fn read_on(&mut self) -> Result<usize, ReadError> {
        let before = self.lane.next_offset().max(self.lane.committed());
        self.ahead = self.lane.read(MIRRORED_AT_ONCE_MAX, MIRRORED_AT_ONCE_BYTES).await?;
        let passed = self.lane.next_offset().saturating_sub(before);
        // Damaged places are stepped over.
        self.unheld += passed.saturating_sub(self.ahead.len() as u64);
        Ok(self.ahead.len())
    }

    /// Now and then: a list that holds less than it was given was emptied, or is another one.
    async fn look(&mut self) -> Result<(), Away> {
        let now = self.clock.mono();
        if self.looked_at.is_some_and(|at| now.since(at) < LIST_LOOKED_AT_EVERY) {
            return Ok(());
        }
        let length = self.list.length().await?;
        self.looked_at = Some(now);
        self.counts.length.store(length, Ordering::Relaxed);
        let (next, committed) = (self.lane.next_offset(), self.lane.committed());
        // An outage that is over has taken these from the disk.
        self.ahead.retain(|record| record.offset >= committed);
        let given = next.saturating_sub(committed).saturating_sub(self.ahead.len() as u64);
        if given == 0 {
            self.unheld = 0;
        }
        if length < given.saturating_sub(self.unheld) {
            tracing::warn!(given, length, "critical records are gone from the list; they are copied again");
            self.lane.begin_anew();
            self.ahead.clear();
            self.unheld = 0;
        }
        Ok(())
    }
}
