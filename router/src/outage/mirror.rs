//! The copy, in a list that lies elsewhere, of the critical records that wait for Kafka on the disk.
//!
//! Owns what stands in the list: while Kafka takes nothing it is filled from the disk's lane (`fill`), so nothing of it is in an
//! append's way; once Kafka takes records again it is emptied (`empty`). Never lets go of a record that neither the ledger
//! nor Kafka has, and never takes a value's sense for granted. Started by `outage`; the list itself is `redis`.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use ops::metrics::Counter;
use serde::Serialize;
use tokio::sync::watch;
use tokio::time::sleep;

use super::Shared;
use super::book::Book;
use super::pace::Pace;
use super::phase::{Outage, Phase};
use crate::journal::Journal;
use crate::journal::embedded::Follower;
use crate::limits::LIST_LOOKED_AT_EVERY;
use crate::node::board::Watch;
use empty::Empty;
use fill::Fill;

mod empty;
mod fill;
mod value;

/// The list did not answer in time, or not as a list does.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Away(pub String);

/// What a push came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pushed {
    /// The first so many; behind them the list is full.
    pub count: u64,
    pub length: u64,
}

/// What was set aside, for people to look at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Aside {
    pub kept: u64,
    /// Where they are kept is full.
    pub dropped: u64,
}

/// What was taken to be processed.
#[derive(Debug, Clone, Default)]
pub struct Taken {
    /// What is being processed, the oldest first: also what an earlier process left behind.
    pub values: Vec<Bytes>,
    /// Values that are too long for a record.
    pub aside: Aside,
    /// Of the list and what is being processed.
    pub length: u64,
}

/// A bounded list, first in, first out, and its processing list. Every call ends within seconds. One that failed may have
/// been carried out.
#[async_trait]
pub trait List: Send + Sync {
    async fn length(&self) -> Result<u64, Away>;
    async fn push(&self, values: &[Bytes]) -> Result<Pushed, Away>;
    /// Takes on more until `max` are being processed.
    async fn take(&self, max: usize) -> Result<Taken, Away>;
    /// These are processed.
    async fn finish(&self, values: &[Bytes]) -> Result<(), Away>;
    /// These are nothing that can be processed.
    async fn set_aside(&self, values: &[Bytes]) -> Result<Aside, Away>;
}

/// Since the start, but for the length. A record that is copied again counts again.
#[derive(Debug, Default)]
pub(super) struct Counts {
    length: AtomicU64,
    mirrored: Counter,
    unmirrored: Counter,
    rescued: Counter,
    foreign: Counter,
    foreign_dropped: Counter,
}

/// What people are shown of it.
#[derive(Debug, Clone, Serialize)]
pub struct Shown {
    /// Values in the list and in its processing list, when it was last asked.
    pub length: u64,
    /// Records that were copied. One whose copying was not answered in time counts once, and may be there twice.
    pub mirrored: u64,
    /// Records that stayed on the disk alone because the list was full.
    pub unmirrored: u64,
    /// Records that only the list had, and that Kafka has since.
    pub rescued: u64,
    /// Values that were no records and stand aside.
    pub foreign: u64,
    /// Values that were no records and too many to be kept.
    pub foreign_dropped: u64,
}

impl Counts {
    pub(super) fn shown(&self) -> Shown {
        Shown {
            length: self.length.load(Ordering::Relaxed),
            mirrored: self.mirrored.get(),
            unmirrored: self.unmirrored.get(),
            rescued: self.rescued.get(),
            foreign: self.foreign.get(),
            foreign_dropped: self.foreign_dropped.get(),
        }
    }
}

/// What the mirror is made of.
pub(super) struct Parts {
    pub(super) list: Arc<dyn List>,
    pub(super) lane: Follower,
    pub(super) kafka: Arc<dyn Journal>,
    pub(super) book: Book,
    pub(super) pace: Pace,
    pub(super) shared: Arc<Shared>,
    /// How long the ledger knows what it had.
    pub(super) ledger_kept: Duration,
    pub(super) counts: Arc<Counts>,
    pub(super) watch: Watch,
}

/// What to wait for before the next step.
enum Rest {
    Not,
    For(Duration),
    UntilAppended,
}

/// Runs until the runtime ends.
pub(super) async fn run(parts: Parts) {
    let Parts { list, lane, kafka, book, pace, shared, ledger_kept, counts, watch } = parts;
    let mut outage = shared.outage.subscribe();
    let mut fill = Fill::new(Arc::clone(&list), lane, shared.clock, Arc::clone(&counts));
    let mut empty =
        Empty { list, kafka, book, pace, shared, ledger_kept, counts, watch, carried: HashMap::new() };
    loop {
        let is_buffering = outage.borrow_and_update().phase() == Phase::Buffering;
        let rest = if is_buffering { fill.step().await } else { empty.step().await };
        let alive = match rest {
            Rest::Not => true,
            Rest::For(rest) => changed(&mut outage, rest).await,
            Rest::UntilAppended => tokio::select! {
                alive = changed(&mut outage, LIST_LOOKED_AT_EVERY) => alive,
                () = fill.appended() => true,
            },
        };
        if !alive {
            return;
        }
    }
}

/// Waits for the phase to change, for so long. False: it never will.
async fn changed(outage: &mut watch::Receiver<Outage>, rest: Duration) -> bool {
    tokio::select! {
        changed = outage.changed() => changed.is_ok(),
        () = sleep(rest) => true,
    }
}
