//! What did I miss? Pages of a user's streams (its own, everybody's, each subscribed topic's), oldest first.
//!
//! Pure but for reading the turn. None is lost and none comes twice while a client follows the cursor: each stream has
//! its own place, places are strict, and an owner's stamps only rise. A bare `last_seen_at` is strict in the user's own
//! stream; topics, whose stamps may come from another owner's clock, are read again from a little before, and clients
//! collapse by id. Called by `owner` and by `View`.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use wire::limits::SYNC_PAGE_MAX;
use wire::message::SyncRequest;
use wire::time::Wall;

use crate::classify::Recipient;
use crate::inbox::Item;
use crate::store::keys::{self, Place};
use crate::store::turn::Turn;
use crate::store::{Order, Range, Space, Store, StoreError};
use cursor::{BadCursor, Cursor};
use history::{History, Older};
use topics::Subscriptions;

pub mod cursor;
pub mod history;
pub mod topics;

/// How far before a bare `last_seen_at` topics are read again.
pub const OVERLAP: Duration = Duration::from_secs(5);
/// Rows read at once of one stream.
const CHUNK: usize = 16;
/// Rows that are over and not swept yet, passed for one page. Beyond, the page ends early and says `has_more`.
const PASSED_MAX: usize = 10_000;

/// Why there is no page.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SyncError {
    #[error(transparent)]
    BadCursor(#[from] BadCursor),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// One page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Each is the JSON of a notification.
    pub items: Vec<Item>,
    pub cursor: Cursor,
    pub has_more: bool,
}

impl Page {
    /// As a server message.
    pub fn message(&self) -> Bytes {
        let texts: usize = self.items.iter().map(|item| item.text.len() + 1).sum();
        let mut message = Vec::with_capacity(texts + 128);
        message.extend_from_slice(br#"{"type":"sync_batch","notifications":["#);
        for (i, item) in self.items.iter().enumerate() {
            if i > 0 {
                message.push(b',');
            }
            message.extend_from_slice(&item.text);
        }
        let end = format!(r#"],"cursor":"{}","has_more":{}}}"#, self.cursor.encode(), self.has_more);
        message.extend_from_slice(end.as_bytes());
        message.into()
    }
}

/// The next page for a user. `now` is on the steady clock: what is over then is not shown.
pub fn page<S: Store>(
    turn: &Turn<S>,
    user: &str,
    request: &SyncRequest,
    now: Wall,
) -> Result<Page, SyncError> {
    page_with(turn, user, request, now, History::default())
}

/// The same with what the store does not have.
pub fn page_with<S: Store>(
    turn: &Turn<S>,
    user: &str,
    request: &SyncRequest,
    now: Wall,
    history: History,
) -> Result<Page, SyncError> {
    let topics = Subscriptions::load(turn, user)?.or(history.subscriptions).unwrap_or_default();
    let cursor = request.cursor.as_deref().map(Cursor::decode).transpose()?;
    let mut brought = history.streams;
    let mut streams: Vec<Stream> = places(user, &topics, request, cursor.as_ref())
        .into_iter()
        .map(|(to, at)| {
            let of = brought.iter().position(|(stream, _)| *stream == to);
            Stream::new(&to, at, of.map(|of| brought.swap_remove(of).1).unwrap_or_default())
        })
        .collect();
    let limit = request.limit.unwrap_or(SYNC_PAGE_MAX).clamp(1, SYNC_PAGE_MAX);
    let mut items = Vec::new();
    let mut passed = 0;
    let has_more = loop {
        // What comes next was not brought: the next page asks for it.
        if streams.iter().any(Stream::is_cut) {
            break true;
        }
        let Some(next) = earliest(turn, &mut streams)? else { break false };
        if next.front_is_over(now) && passed < PASSED_MAX {
            passed += 1;
            next.pop();
        } else if items.len() == limit || passed == PASSED_MAX {
            break true;
        } else {
            items.extend(next.pop());
        }
    };
    let mut places = streams.iter().map(|stream| stream.at);
    let cursor = Cursor {
        own: places.next().unwrap_or(Place::START),
        all: places.next().unwrap_or(Place::START),
        topics: topics.topics.iter().map(|(name, _)| cursor::hash(name)).zip(places).collect(),
    };
    Ok(Page { items, cursor, has_more })
}

/// One stream that is being read.
struct Stream {
    key: Vec<u8>,
    /// Up to here it is on this page or an earlier one.
    at: Place,
    /// Read and not taken.
    rows: VecDeque<Item>,
    /// Nothing is behind what was read.
    ended: bool,
    /// What was brought and not taken.
    older: VecDeque<Item>,
    /// There is more behind what was brought.
    older_more: bool,
}

impl Stream {
    fn new(to: &Recipient, at: Place, older: Older) -> Stream {
        let Older { mut items, more } = older;
        items.retain(|item| item.place > at);
        Stream {
            key: keys::recipient(to),
            at,
            rows: VecDeque::new(),
            ended: false,
            older: items.into(),
            older_more: more,
        }
    }

    fn is_cut(&self) -> bool {
        self.older_more && self.older.is_empty()
    }

    fn fill<S: Store>(&mut self, turn: &Turn<S>) -> Result<(), StoreError> {
        if !self.rows.is_empty() || self.ended {
            return Ok(());
        }
        let newer = Range::prefix(&self.key).before(&keys::inbox(&self.key, self.at));
        let rows = turn.scan(Space::Inbox, &newer, Order::Reverse, CHUNK)?;
        self.ended = rows.len() < CHUNK;
        for (key, row) in rows {
            self.rows.push_back(Item::decode(&key, row)?);
        }
        Ok(())
    }

    /// The store's own row, if both have it.
    fn front(&self) -> Option<&Item> {
        match (self.rows.front(), self.older.front()) {
            (Some(row), Some(older)) if older.place < row.place => Some(older),
            (row, older) => row.or(older),
        }
    }

    fn front_is_over(&self, now: Wall) -> bool {
        self.front().is_some_and(|item| item.is_over(now))
    }

    fn pop(&mut self) -> Option<Item> {
        let item = self.front()?.clone();
        for rows in [&mut self.rows, &mut self.older] {
            if rows.front().is_some_and(|row| row.place == item.place) {
                rows.pop_front();
            }
        }
        self.at = item.place;
        Some(item)
    }
}

/// The stream whose next item is the oldest of all.
fn earliest<'a, S: Store>(
    turn: &Turn<S>,
    streams: &'a mut [Stream],
) -> Result<Option<&'a mut Stream>, StoreError> {
    for stream in streams.iter_mut() {
        stream.fill(turn)?;
    }
    let next = streams.iter_mut().filter(|stream| stream.front().is_some());
    Ok(next.min_by_key(|stream| stream.front().map(|item| item.place)))
}

/// The user's own stream, everybody's, then the topics in the order of the subscriptions, each with where it goes on.
fn places(
    user: &str,
    topics: &Subscriptions,
    request: &SyncRequest,
    cursor: Option<&Cursor>,
) -> Vec<(Recipient, Place)> {
    let seen = request.last_seen_at;
    let overlapped = seen.map_or(Place::START, |at| Place::end_of(at - OVERLAP));
    let own = cursor.map_or(seen.map_or(Place::START, Place::end_of), |cursor| cursor.own);
    let all = cursor.map_or(overlapped, |cursor| cursor.all);
    let mut places = Vec::with_capacity(2 + topics.topics.len());
    places.push((Recipient::User(user.to_owned()), own));
    places.push((Recipient::All, all));
    for (topic, since) in &topics.topics {
        // A topic that the cursor does not know was subscribed to since.
        let known = cursor.map_or(overlapped, |cursor| cursor.topic(topic).unwrap_or(Place::START));
        places.push((Recipient::Topic(topic.clone()), known.max(Place::end_of(*since))));
    }
    places
}
