//! The journal: what was accepted and is not yet final. Kafka, or the embedded segment log.
//!
//! Owns the seam between `ingest` (appends) and the owner's run loop (reads, commits). An append that returned
//! is durable; nothing else is promised about one that failed or was dropped half-way (it may still appear, under
//! the same id, and then collapses in the owner's dedup).
//! Never decides what becomes of a record.

use std::collections::BTreeMap;

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use wire::message::Priority;
use wire::time::Wall;

use crate::record::{Record, Request};
use embedded::Hold;

pub mod embedded;
mod encode;
pub mod import;
#[cfg(feature = "kafka")]
pub mod kafka;
pub mod segment;
pub mod storage;

/// Where an accepted record is safe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DurableIn {
    Kafka,
    Journal,
    Disk,
}

/// A record on its way in; the journal gives it its sequence.
#[derive(Debug, Clone)]
pub struct Draft {
    pub id: Uuid,
    pub service: String,
    pub accepted_at: Wall,
    pub request: Request,
}

/// The record is durable.
#[derive(Debug, Clone, Copy)]
pub struct Appended {
    pub partition: u32,
    pub seq: u64,
    pub durable_in: DurableIn,
    /// Where the record stands in its lane, if Kafka has it.
    pub offset: Option<u64>,
}

/// Nothing was promised. `Full` and `Unavailable` become 503 with `Retry-After`.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AppendError {
    #[error("the journal holds {bytes} bytes, as many as it may")]
    Full { bytes: u64 },
    #[error("nothing durable can take it: {0}")]
    Unavailable(String),
    #[error("the record has {found} bytes, more than {max}")]
    TooLong { found: usize, max: usize },
}

/// The place of a record in the journal. Offsets rise within a lane (a priority's partition).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Position {
    pub priority: Priority,
    pub partition: u32,
    pub offset: u64,
}

/// The last offset of each lane that somebody is through with.
pub type Positions = BTreeMap<(Priority, u32), u64>;

/// A record that was read.
#[derive(Debug)]
pub struct Entry {
    pub position: Position,
    /// `Err`: the bytes are no record of ours (poison); they go to the dead letters with the reason.
    pub record: Result<Record, Poison>,
}

#[derive(Debug, Clone)]
pub struct Poison {
    pub reason: String,
    pub bytes: Bytes,
}

/// How much is waiting.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct JournalStatus {
    /// Records appended and not yet committed.
    pub lag: u64,
    pub bytes: u64,
    /// Places met by this process at which records could not be read any more.
    pub damaged: u64,
}

/// Why the journal does not take what is handed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Nothing can be made durable at present.
    Unwritable(String),
    /// It holds as much as it may; there is only the reserve for what is critical.
    Full { bytes: u64 },
}

/// The writing half, shared by all ingest tasks.
#[async_trait]
pub trait Journal: Send + Sync {
    /// Returns once the record is durable.
    async fn append(&self, draft: Draft) -> Result<Appended, AppendError>;

    fn status(&self) -> JournalStatus;

    /// What stands in the way of appends. Over when appends work again, whether anybody tries one or not.
    fn fault(&self) -> Option<Fault>;

    /// Holds it for a backup, if its files lie in this router's folder.
    fn hold(&self) -> Option<Hold> {
        None
    }

    /// What to show for this store in `/v1/status`: `journal` or `kafka`.
    fn name(&self) -> &'static str;
}

/// The reading half, owned by the run loop. Most urgent lanes first.
#[async_trait]
pub trait JournalReader: Send {
    /// At least one entry, at most `max`; waits while there is none. Order holds within a lane.
    async fn read(&mut self, max: usize) -> Result<Vec<Entry>, ReadError>;

    /// Which assignment of partitions the last read was under. One alone has them all, always: 0.
    fn round(&self) -> u64 {
        0
    }

    /// From the next read on critical records alone, or all again. What was read ahead is handed out all the same.
    fn narrow(&mut self, critical_only: bool);

    /// Everything up to and including these positions is final or open in the ledger, durably.
    /// Commits may be delayed; a record may be read again after a restart.
    async fn commit(&mut self, positions: &[Position]) -> Result<(), ReadError>;

    /// Hands one poisoned record to the dead letters of the store, if the store has any of its own
    /// (Kafka: the `.dlq` topic). The router's own list is kept by the owner.
    async fn dead_letter(&mut self, entry: &Entry) -> Result<(), ReadError>;

    /// Nothing more will be read or committed: sends the last commits, says goodbye to the group.
    async fn close(self: Box<Self>) {}
}

/// Reading or committing failed for now; the caller waits and tries again.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the journal cannot be read: {0}")]
pub struct ReadError(pub String);

/// Kafka's rule: 1..=249 of letters, digits, `.`, `_` and `-`, and neither `.` nor `..`.
pub(crate) fn is_topic_name(name: &str) -> bool {
    (1..=249).contains(&name.len())
        && name != "."
        && name != ".."
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}
