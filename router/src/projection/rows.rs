//! What a row of the store is in Cassandra.
//!
//! Owns the mapping: which tables there are, what stands in them, and when it goes by itself. A row that the store has
//! no more is deleted there. Reads the store, writes nothing. Called by `carrier`.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;
use wire::message::Priority;
use wire::time::Wall;

use crate::classify::Recipient;
use crate::inbox::{Item, Mark};
use crate::limits::TTL_S_MAX;
use crate::owner::View;
use crate::owner::view::DeliveryView;
use crate::store::keys::{self, Place};
use crate::store::turn::Turn;
use crate::store::{Space, Store, StoreError};
use crate::sync::topics::Subscriptions;

/// How much longer than the store Cassandra keeps a row that nobody deletes any more.
const GRACE: Duration = Duration::from_secs(2 * 24 * 3_600);

/// How long things are kept: `[retention]`.
#[derive(Debug, Clone, Copy)]
pub struct Spans {
    pub inbox: Duration,
    pub ledger: Duration,
}

/// One row's present state. `None`: it is gone.
#[derive(Debug, Clone, PartialEq)]
pub enum Write {
    Inbox { to: Recipient, place: Place, row: Option<InboxRow> },
    Deliveries { id: Uuid, to: Recipient, story: Option<Box<(Head, Vec<DeliveryView>)>>, ttl_s: i32 },
    Mark { user: String, id: Uuid, mark: Option<Mark>, ttl_s: i32 },
    Subscriptions { user: String, topics: Vec<(String, Wall)> },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InboxRow {
    pub text: String,
    pub expires_at: Option<Wall>,
    pub ttl_s: i32,
}

/// What all deliveries of a notification share.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Head {
    pub service: String,
    pub priority: Priority,
    pub category: Option<String>,
    pub accepted_at: Wall,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub send_at: Option<Wall>,
    pub expires_at: Option<Wall>,
}

impl Write {
    /// Rows of one partition are written one behind the other.
    pub fn partition(&self) -> (u8, &str, Uuid) {
        match self {
            Write::Inbox { to: Recipient::User(name) | Recipient::Erased(name), .. } => {
                (0, name, Uuid::nil())
            }
            Write::Inbox { to: Recipient::Topic(name), .. } => (1, name, Uuid::nil()),
            Write::Inbox { to: Recipient::All, .. } => (2, "", Uuid::nil()),
            Write::Deliveries { id, .. } => (3, "", *id),
            Write::Mark { user, .. } => (4, user, Uuid::nil()),
            Write::Subscriptions { user, .. } => (5, user, Uuid::nil()),
        }
    }

    /// About as many bytes as it is on its way.
    pub fn bytes(&self) -> usize {
        let of = match self {
            Write::Inbox { row, .. } => row.as_ref().map_or(0, |row| row.text.len()),
            // A timeline's moments are short; their number is bounded.
            Write::Deliveries { story, .. } => story.as_ref().map_or(0, |story| 1_024 * story.1.len()),
            Write::Mark { .. } => 0,
            Write::Subscriptions { topics, .. } => topics.iter().map(|(topic, _)| topic.len() + 32).sum(),
        };
        of + 128
    }
}

/// The present state of one row. `Ok(None)`: nothing of it is for Cassandra.
pub fn of<S: Store>(
    store: &S,
    (space, key): (Space, &[u8]),
    spans: Spans,
    now: Wall,
) -> Result<Option<Write>, StoreError> {
    Ok(Some(match space {
        Space::Inbox => {
            let (to, place) = keys::inbox_parts(key)?;
            let row = store.get(Space::Inbox, key)?.map(|row| inbox_row(key, row, spans, now)).transpose()?;
            Write::Inbox { to, place, row }
        }
        Space::Ledger => {
            let (id, to) = keys::ledger_parts(key)?;
            let story = View::new(store.clone()).deliveries(id, &to)?.map(Box::new);
            Write::Deliveries { id, to, story, ttl_s: seconds(spans.ledger + GRACE) }
        }
        Space::Marks => {
            let (user, id) = keys::mark_parts(key)?;
            let turn = Turn::new(store.clone());
            let mark = Some(Mark::load(&turn, &user, id)?).filter(|mark| mark.any());
            Write::Mark { user, id, mark, ttl_s: mark_seconds(spans) }
        }
        Space::Subscriptions => {
            let user = keys::user_of(space, key)?;
            let topics = Subscriptions::load(&Turn::new(store.clone()), &user)?.unwrap_or_default().topics;
            Write::Subscriptions { user, topics }
        }
        _ => return Ok(None),
    }))
}

/// A mark stays for as long as anything can that it may stand on.
pub fn mark_seconds(spans: Spans) -> i32 {
    seconds(inbox_kept_there(spans.inbox))
}

/// How long a row of an inbox can be in Cassandra, if the store keeps it for `inbox`.
pub fn inbox_kept_there(inbox: Duration) -> Duration {
    inbox.max(Duration::from_secs(TTL_S_MAX.into())) + GRACE
}

fn inbox_row(key: &[u8], row: bytes::Bytes, spans: Spans, now: Wall) -> Result<InboxRow, StoreError> {
    let item = Item::decode(key, row)?;
    let over_at = (item.place.at + spans.inbox).max(item.expires_at.unwrap_or(Wall(i64::MIN)));
    let left_us = u64::try_from(over_at.0.saturating_sub(now.0)).unwrap_or(0);
    let text = String::from_utf8(item.text.to_vec())
        .map_err(|_| StoreError::Damaged { space: Space::Inbox, what: "a text is not UTF-8".to_owned() })?;
    let ttl_s = seconds(Duration::from_micros(left_us) + GRACE);
    Ok(InboxRow { text, expires_at: item.expires_at, ttl_s })
}

/// Cassandra's longest life is twenty years.
fn seconds(life: Duration) -> i32 {
    const TWENTY_YEARS_S: u64 = 20 * 365 * 24 * 3_600;
    i32::try_from(life.as_secs().min(TWENTY_YEARS_S)).unwrap_or(i32::MAX)
}
