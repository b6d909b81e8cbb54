//! What the API may look at: the committed state, read-only, from any thread.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;
use wire::message::{Priority, SyncRequest};
use wire::time::Wall;

use super::desk::{COUNTERS_KEY, decode_record};
use super::logs::{self, LogRow};
use crate::classify::Recipient;
use crate::contacts::Contacts;
use crate::inbox::{Item, Mark, RecipientRow};
use crate::ledger::{Counters, Delivery, LedgerRow, Reconciliation, State, row, sequences};
use crate::otp::Otp;
use crate::otp::backup::BackupCodes;
use crate::otp::newest;
use crate::preferences::Preferences;
use crate::projection::rows::Head;
use crate::record::{Channel, Record, Target};
use crate::store::keys::{self, Place};
use crate::store::turn::Turn;
use crate::store::{Order, Range, SCAN_ROWS_MAX, Space, Store, StoreError};
use crate::suppression;
use crate::sync::history::History;
use crate::sync::topics::Subscriptions;
use crate::sync::{self, SyncError};

/// Recipients that a timeline shows: as many as a request can name.
const TIMELINE_ROWS_MAX: usize = crate::limits::USERS_PER_REQUEST_MAX;
/// Newest notifications of a topic that are looked at for the unread count.
const UNREAD_LOOKED_AT_MAX: usize = 200;
/// Bytes of a dead-lettered record that are looked at for its excerpt.
const EXCERPT_BYTES_MAX: usize = 1_024;

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
    pub send_at: Option<Wall>,
    pub expires_at: Option<Wall>,
    pub deliveries: Vec<DeliveryView>,
    /// More deliveries than are shown.
    pub more: bool,
    /// A list of users was named.
    #[serde(skip)]
    pub is_list: bool,
}

/// One recipient and channel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeliveryView {
    /// `user:…`, `topic:…`, `all`, `erased`.
    pub recipient: String,
    pub channel: Channel,
    /// `open`, `delivered`, `handed_over`, `fell_back`, `expired`, `dropped`, `dead_lettered`, `unknown`.
    pub state: Cow<'static, str>,
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    pub at: Wall,
    pub what: Cow<'static, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// What `GET /v1/users/{u}/inbox` asks.
#[derive(Debug, Clone, Default)]
pub struct InboxQuery {
    pub since: Option<Wall>,
    pub cursor: Option<String>,
    pub limit: Option<usize>,
    /// What Cassandra still has and is over by then is not shown; the store's own rows go when they are over.
    pub now: Wall,
}

impl InboxQuery {
    /// As a client would ask.
    pub fn request(&self) -> SyncRequest {
        SyncRequest { last_seen_at: self.since, cursor: self.cursor.clone(), limit: self.limit }
    }
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
    /// False: `replay` is refused, now and later.
    pub replayable: bool,
    /// Where a record of a `[[kafka.source]]` came from: topic, partition and offset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
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

    pub fn otp(&self, id: Uuid) -> Result<Option<Otp>, StoreError> {
        self.store.get(Space::Otp, id.as_bytes())?.map(Otp::decode).transpose()
    }

    /// The last codes that went out, newest first. Rows of some may be gone.
    pub fn newest_otps(&self) -> Result<Vec<Uuid>, StoreError> {
        newest::ids(&Turn::new(self.store.clone()))
    }

    pub fn backup_codes(&self, user: &str) -> Result<Option<BackupCodes>, StoreError> {
        BackupCodes::read(&self.store, user)
    }

    /// `None`: the owner has not seen it (yet).
    pub fn timeline(&self, id: Uuid) -> Result<Option<Timeline>, StoreError> {
        let Some(record) = self.store.get(Space::Notifications, id.as_bytes())? else { return Ok(None) };
        let record = decode_record(record)?;
        let range = Range::prefix(id.as_bytes());
        let mut rows = self.store.scan(Space::Ledger, &range, Order::Forward, TIMELINE_ROWS_MAX + 1)?;
        let more = rows.len() > TIMELINE_ROWS_MAX;
        rows.truncate(TIMELINE_ROWS_MAX);
        let mut deliveries = Vec::with_capacity(rows.len());
        for (key, row) in rows {
            let (_, to) = keys::ledger_parts(&key)?;
            let row = LedgerRow::decode(row)?;
            deliveries.extend(row.deliveries.iter().map(|delivery| delivery_view(&row, &to, delivery)));
        }
        Ok(Some(Timeline {
            id,
            send_at: record.request.send_at,
            expires_at: record.expires_at(),
            is_list: matches!(record.request.to, Target::Users(_)),
            service: record.service,
            priority: record.request.priority,
            category: record.request.category,
            accepted_at: record.accepted_at,
            deliveries,
            more,
        }))
    }

    /// One recipient's deliveries, and what was asked for. `None`: they are gone.
    pub fn deliveries(
        &self,
        id: Uuid,
        to: &Recipient,
    ) -> Result<Option<(Head, Vec<DeliveryView>)>, StoreError> {
        let Some(row) = self.store.get(Space::Ledger, &keys::ledger(id, to))? else { return Ok(None) };
        let Some(record) = self.store.get(Space::Notifications, id.as_bytes())? else { return Ok(None) };
        let (row, record) = (LedgerRow::decode(row)?, decode_record(record)?);
        let deliveries = row.deliveries.iter().map(|delivery| delivery_view(&row, to, delivery)).collect();
        let expires_at = record.expires_at();
        let Record { service, accepted_at, request, .. } = record;
        let (priority, category, send_at) = (request.priority, request.category, request.send_at);
        Ok(Some((Head { service, priority, category, accepted_at, send_at, expires_at }, deliveries)))
    }

    /// Where a user is reached.
    pub fn contacts(&self, user: &str) -> Result<Contacts, StoreError> {
        Contacts::load(&Turn::new(self.store.clone()), user)
    }

    /// What a user wants to be sent.
    pub fn preferences(&self, user: &str) -> Result<Preferences, StoreError> {
        Preferences::load(&Turn::new(self.store.clone()), user)
    }

    /// Which of a user's addresses are not written to.
    pub fn suppressions(&self, user: &str) -> Result<Vec<suppression::Shown>, StoreError> {
        suppression::of(&Turn::new(self.store.clone()), &self.contacts(user)?)
    }

    /// Oldest first, like a sync. What is over is gone as soon as the owner has swept it.
    pub fn inbox(&self, user: &str, query: &InboxQuery) -> Result<InboxPage, InboxError> {
        self.inbox_with(user, query, History::default())
    }

    /// The same with what the store does not have.
    pub fn inbox_with(
        &self,
        user: &str,
        query: &InboxQuery,
        mut history: History,
    ) -> Result<InboxPage, InboxError> {
        let turn = Turn::new(self.store.clone());
        let (marks, older_unread) = (std::mem::take(&mut history.marks), history.unread);
        let over = if history.streams.is_empty() { Wall(i64::MIN) } else { query.now };
        let page =
            sync::page_with(&turn, user, &query.request(), over, history).map_err(|error| match error {
                SyncError::BadCursor(_) => InboxError::BadCursor,
                SyncError::Store(error) => InboxError::Store(error),
            })?;
        let mut notifications = Vec::with_capacity(page.items.len());
        for item in &page.items {
            let mark = Some(Mark::load(&turn, user, item.place.id)?).filter(|mark| mark.any());
            let mark = mark.or(marks.get(&item.place.id).copied()).unwrap_or_default();
            notifications.push(InboxItem {
                notification: json(item)?,
                acknowledged: mark.acknowledged,
                read: mark.read,
            });
        }
        let unread = unread(&turn, user)? + older_unread;
        Ok(InboxPage { notifications, cursor: page.cursor.encode(), has_more: page.has_more, unread })
    }

    pub fn counters(&self) -> Result<Counters, StoreError> {
        Counters::decode(self.store.get(Space::Meta, COUNTERS_KEY)?.as_ref())
    }

    /// `journal_lag`: [`crate::journal::JournalStatus::lag`]. Reads the counters' row and what is out of sequence;
    /// scans nothing else.
    pub fn reconcile(&self, now: Wall, journal_lag: u64) -> Result<Reconciliation, StoreError> {
        let gaps = sequences::gaps(&self.store, now, journal_lag)?;
        Ok(Reconciliation::new(now, &self.counters()?, journal_lag, gaps))
    }

    /// Counts every row of the ledger: slow, and as large as [`Counters::deliveries`] if the counters are right.
    pub fn recount(&self) -> Result<Counters, StoreError> {
        let mut counters = Counters::decode(None)?;
        let mut range = Range::all();
        loop {
            let rows = self.store.scan(Space::Ledger, &range, Order::Forward, SCAN_ROWS_MAX)?;
            let Some((last, _)) = rows.last() else { return Ok(counters) };
            range = range.after(last);
            for (_, row) in rows {
                counters.add_row(&LedgerRow::decode(row)?);
            }
        }
    }

    /// What limits held back; `after` a number, at most `limit` of them.
    pub fn overflow(&self, after: Option<u64>, limit: usize) -> Result<LogPage, StoreError> {
        self.log(Space::Overflow, after, limit)
    }

    pub fn dead_letters(&self, after: Option<u64>, limit: usize) -> Result<LogPage, StoreError> {
        self.log(Space::DeadLetters, after, limit)
    }

    fn log(&self, space: Space, after: Option<u64>, limit: usize) -> Result<LogPage, StoreError> {
        let limit = limit.clamp(1, SCAN_ROWS_MAX - 1);
        let range = after.map_or_else(logs::numbers, |after| logs::numbers().after(&after.to_be_bytes()));
        let mut rows = self.store.scan(space, &range, Order::Forward, limit + 1)?;
        let more = rows.len() > limit;
        rows.truncate(limit);
        let items = rows.iter().map(|(key, row)| log_item(space, key, row)).collect::<Result<Vec<_>, _>>()?;
        let next = items.last().map(|item| item.number).filter(|_| more);
        Ok(LogPage { items, next })
    }
}

fn delivery_view(row: &LedgerRow, to: &Recipient, delivery: &Delivery) -> DeliveryView {
    let inapp = delivery.channel == Channel::Inapp;
    DeliveryView {
        recipient: to.to_string(),
        channel: delivery.channel,
        state: delivery.state.kind().name().into(),
        reason: match &delivery.state {
            State::Dropped(reason) => Some(reason.to_string()),
            State::DeadLettered(why) => Some(why.clone()),
            _ => None,
        },
        due_at: if let State::Open { due_at } = delivery.state { due_at } else { None },
        created_at: row.created_at.filter(|_| inapp),
        sockets: if inapp { row.sockets } else { 0 },
        acknowledgements: if inapp { row.acknowledgements } else { 0 },
        attempts: delivery.attempts,
        timeline: delivery.timeline.iter().map(moment_view).collect(),
    }
}

fn moment_view(moment: &row::Moment) -> Moment {
    let detail = (!moment.detail.is_empty()).then(|| moment.detail.clone());
    Moment { at: moment.at, what: moment.what.name().into(), detail }
}

fn json(item: &Item) -> Result<Box<RawValue>, StoreError> {
    serde_json::from_slice(&item.text)
        .map_err(|error| StoreError::Damaged { space: Space::Inbox, what: error.to_string() })
}

/// The user's own, counted, and the newest of each topic and of everybody's, looked at.
fn unread<S: Store>(turn: &Turn<S>, user: &str) -> Result<u64, StoreError> {
    let mut unread = RecipientRow::load(turn, &keys::user(user))?.unread;
    let topics = Subscriptions::load(turn, user)?.unwrap_or_default().topics;
    let streams = topics
        .into_iter()
        .map(|(topic, since)| (Recipient::Topic(topic), Place::end_of(since)))
        .chain([(Recipient::All, Place::START)]);
    for (to, since) in streams {
        let stream = keys::recipient(&to);
        let newer = Range::prefix(&stream).before(&keys::inbox(&stream, since));
        for (key, _) in turn.scan(Space::Inbox, &newer, Order::Forward, UNREAD_LOOKED_AT_MAX)? {
            let mark = Mark::load(turn, user, keys::inbox_place(&key)?.id)?;
            unread += u64::from(!mark.read);
        }
    }
    Ok(unread)
}

fn log_item(space: Space, key: &[u8], row: &[u8]) -> Result<LogItem, StoreError> {
    let row = LogRow::decode(space, row)?;
    let number = logs::number(key)
        .ok_or_else(|| StoreError::Damaged { space, what: "a key of another layout".to_owned() })?;
    let excerpt = row.bytes().map(|bytes| {
        let mut text = String::from_utf8_lossy(&bytes[..bytes.len().min(EXCERPT_BYTES_MAX)]).into_owned();
        row::cut(&mut text);
        text
    });
    Ok(LogItem {
        number,
        at: row.at,
        recipient: row.recipient().map(|to| to.to_string()),
        replayable: row.is_replayable(),
        reason: row.reason,
        id: row.id,
        channel: row.channel,
        replayed_at: row.replayed_at,
        source: row.source,
        excerpt,
    })
}
