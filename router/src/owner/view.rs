//! What the API may look at: the committed state, read-only, from any thread.

use serde::Serialize;
use serde_json::value::RawValue;
use uuid::Uuid;
use wire::message::Priority;
use wire::time::Wall;

use crate::ledger::{Counters, Reconciliation, sequences};
use crate::record::Channel;
use crate::store::{Store, StoreError};

/// A read-only look at a store.
#[derive(Debug, Clone)]
pub struct View<S> {
    store: S,
}

/// `GET /v1/notifications/{id}`.
#[derive(Debug, Clone, Serialize)]
pub struct Timeline {
    pub id: Uuid,
    pub service: String,
    pub priority: Priority,
    pub category: Option<String>,
    pub accepted_at: Wall,
    pub expires_at: Option<Wall>,
    pub deliveries: Vec<DeliveryView>,
    /// More deliveries than are shown.
    pub more: bool,
}

/// One recipient and channel.
#[derive(Debug, Clone, Serialize)]
pub struct DeliveryView {
    /// `user:…`, `topic:…`, `all`.
    pub recipient: String,
    pub channel: Channel,
    /// `open`, `delivered`, `handed_over`, `fell_back`, `expired`, `dropped`, `dead_lettered`, `unknown`.
    pub state: &'static str,
    pub reason: Option<String>,
    pub due_at: Option<Wall>,
    /// When clients got it into their inbox.
    pub created_at: Option<Wall>,
    /// Sockets that it was queued for.
    pub sockets: u32,
    pub acknowledgements: u32,
    pub attempts: u32,
    pub timeline: Vec<Moment>,
}

/// Something that happened to a delivery.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Moment {
    pub at: Wall,
    pub what: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// What `GET /v1/users/{u}/inbox` asks.
#[derive(Debug, Clone, Default)]
pub struct InboxQuery {
    pub since: Option<Wall>,
    pub cursor: Option<String>,
    pub limit: Option<usize>,
}

/// One page, oldest first.
#[derive(Debug, Clone, Serialize)]
pub struct InboxPage {
    pub notifications: Vec<InboxItem>,
    pub cursor: String,
    pub has_more: bool,
    pub unread: u64,
}

#[derive(Debug, Clone, Serialize)]
pub struct InboxItem {
    /// As clients get it.
    pub notification: Box<RawValue>,
    pub acknowledged: bool,
    pub read: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InboxError {
    #[error("the cursor is none of ours")]
    BadCursor,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Something kept for an operator: `GET /v1/overflow`, `GET /v1/dead-letters`.
#[derive(Debug, Clone, Serialize)]
pub struct LogItem {
    /// Names it in `POST …/{number}/replay`.
    pub number: u64,
    pub at: Wall,
    pub reason: String,
    pub id: Option<Uuid>,
    pub recipient: Option<String>,
    pub channel: Option<Channel>,
    /// When it went on its way again.
    pub replayed_at: Option<Wall>,
    /// A record that could not be understood, as text, cut short.
    pub excerpt: Option<String>,
}

#[derive(Debug, Clone, Serialize)]
pub struct LogPage {
    /// Oldest first.
    pub items: Vec<LogItem>,
    /// To be given as `after` for the next page.
    pub next: Option<u64>,
}

impl<S: Store> View<S> {
    pub fn new(store: S) -> View<S> {
        View { store }
    }

    pub fn store(&self) -> &S {
        &self.store
    }

    pub fn timeline(&self, _id: Uuid) -> Result<Option<Timeline>, StoreError> {
        Ok(None)
    }

    pub fn inbox(&self, _user: &str, _query: &InboxQuery) -> Result<InboxPage, InboxError> {
        Err(InboxError::BadCursor)
    }

    pub fn counters(&self) -> Result<Counters, StoreError> {
        Counters::decode(self.store.get(crate::store::Space::Meta, b"counters")?.as_ref())
    }

    /// `journal_lag`: [`crate::journal::JournalStatus::lag`].
    pub fn reconcile(&self, now: Wall, journal_lag: u64) -> Result<Reconciliation, StoreError> {
        let gaps = sequences::gaps(&self.store, now, journal_lag)?;
        Ok(Reconciliation::new(now, &self.counters()?, journal_lag, gaps))
    }

    pub fn overflow(&self, _after: Option<u64>, _limit: usize) -> Result<LogPage, StoreError> {
        Ok(LogPage { items: Vec::new(), next: None })
    }

    pub fn dead_letters(&self, _after: Option<u64>, _limit: usize) -> Result<LogPage, StoreError> {
        Ok(LogPage { items: Vec::new(), next: None })
    }
}
