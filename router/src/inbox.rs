//! The inbox: what clients are shown, in the order of their stamps.
//!
//! Owns the stamps (strictly rising for each recipient, whatever the clock does), the text of a notification (encoded
//! once, for the inbox and for the links), the row of a recipient with its unread count, the marks (acknowledged, read)
//! and the collapse keys. Never sends anything and never counts deliveries. Called by `owner`, read by `sync`.

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;
use uuid::Uuid;
use wire::message::{Priority, empty_object};
use wire::time::Wall;

use crate::classify::Recipient;
use crate::limit::Window;
use crate::record::Record;
use crate::store::codec::{Decoder, Encoder};
use crate::store::keys::{self, Place};
use crate::store::turn::Turn;
use crate::store::{Space, Store, StoreError};

const VERSION: u8 = 1;

/// A user, a topic, or everybody, as the inbox knows them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RecipientRow {
    /// The newest stamp of its stream.
    pub last: Option<Wall>,
    /// Of its own stream; topics are counted when somebody asks.
    pub unread: u64,
    pub window: Window,
}

impl RecipientRow {
    pub fn load<S: Store>(turn: &Turn<S>, stream: &[u8]) -> Result<RecipientRow, StoreError> {
        let Some(row) = turn.get(Space::Recipients, stream)? else { return Ok(RecipientRow::default()) };
        let mut row = Decoder::new(Space::Recipients, row, VERSION)?;
        Ok(RecipientRow { last: row.optional_wall()?, unread: row.u64()?, window: Window::decode(&mut row)? })
    }

    pub fn keep<S: Store>(&self, turn: &mut Turn<S>, stream: &[u8]) {
        let mut row = Encoder::new(VERSION);
        row.optional_wall(self.last).u64(self.unread);
        self.window.encode(&mut row);
        turn.put(Space::Recipients, stream.to_vec(), row.finish());
    }
}

/// The stamps that were given out by this owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stamps {
    pub last: Option<Wall>,
}

impl Stamps {
    /// Later than every stamp before it, and not before the wall clock.
    pub fn next(&mut self, wall: Wall, stream: Option<Wall>) -> Wall {
        let after = |stamp: Option<Wall>| stamp.map_or(wall, |stamp| Wall(stamp.0.saturating_add(1)));
        let stamp = wall.max(after(self.last)).max(after(stream));
        self.last = Some(stamp);
        stamp
    }
}

/// The JSON that clients get, without a `type`.
pub fn text(record: &Record, to: &Recipient, created_at: Wall) -> String {
    #[derive(Serialize)]
    struct Shown<'a> {
        id: Uuid,
        created_at: Wall,
        accepted_at: Wall,
        priority: Priority,
        category: Option<&'a str>,
        title: Option<&'a str>,
        body: Option<&'a str>,
        data: &'a RawValue,
        topic: Option<&'a str>,
        collapse_key: Option<&'a str>,
    }
    let request = &record.request;
    let empty;
    let data = if let Some(data) = &request.data {
        data
    } else {
        empty = empty_object();
        &empty
    };
    let shown = Shown {
        id: record.id,
        created_at,
        accepted_at: record.accepted_at,
        priority: request.priority,
        category: request.category.as_deref(),
        title: request.title.as_deref(),
        body: request.body.as_deref(),
        data,
        topic: if let Recipient::Topic(topic) = to { Some(topic) } else { None },
        collapse_key: request.collapse_key.as_deref(),
    };
    serde_json::to_string(&shown).expect("strings and dates serialize")
}

/// The same as a server message: `{"type":"notification",…}`.
pub fn message(text: &str) -> Bytes {
    let mut message = String::with_capacity(text.len() + 24);
    message.push_str(r#"{"type":"notification","#);
    message.push_str(text.strip_prefix('{').unwrap_or(text));
    message.into()
}

/// A row of the inbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    pub place: Place,
    /// On the owner's steady clock.
    pub expires_at: Option<Wall>,
    pub text: Bytes,
}

impl Item {
    pub fn encode(expires_at: Option<Wall>, text: &str) -> Bytes {
        Encoder::new(VERSION).optional_wall(expires_at).rest(text.as_bytes()).finish()
    }

    pub fn decode(key: &[u8], row: Bytes) -> Result<Item, StoreError> {
        let mut row = Decoder::new(Space::Inbox, row, VERSION)?;
        let expires_at = row.optional_wall()?;
        Ok(Item { place: keys::inbox_place(key)?, expires_at, text: row.rest() })
    }

    pub fn is_over(&self, now: Wall) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }
}

/// What one user did with a notification.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Mark {
    pub acknowledged: bool,
    pub read: bool,
}

impl Mark {
    pub fn load<S: Store>(turn: &Turn<S>, user: &str, id: Uuid) -> Result<Mark, StoreError> {
        let key = Mark::key(user, id);
        let Some(row) = turn.get(Space::Marks, &key)? else { return Ok(Mark::default()) };
        let flags = Decoder::new(Space::Marks, row, VERSION)?.u8()?;
        Ok(Mark { acknowledged: flags & 1 != 0, read: flags & 2 != 0 })
    }

    pub fn keep<S: Store>(self, turn: &mut Turn<S>, user: &str, id: Uuid) {
        let flags = u8::from(self.acknowledged) | u8::from(self.read) << 1;
        turn.put(Space::Marks, Mark::key(user, id), Encoder::new(VERSION).u8(flags).finish());
    }

    pub fn delete<S: Store>(turn: &mut Turn<S>, user: &str, id: Uuid) {
        turn.delete(Space::Marks, Mark::key(user, id));
    }

    pub fn any(self) -> bool {
        self.acknowledged || self.read
    }

    fn key(user: &str, id: Uuid) -> Vec<u8> {
        keys::within(&keys::user(user), id.as_bytes())
    }
}

/// The notification that stands under a collapse key.
pub fn standing<S: Store>(
    turn: &Turn<S>,
    stream: &[u8],
    collapse_key: &str,
) -> Result<Option<Uuid>, StoreError> {
    let key = keys::within(stream, collapse_key.as_bytes());
    let Some(row) = turn.get(Space::Collapse, &key)? else { return Ok(None) };
    let mut row = Decoder::new(Space::Collapse, row, VERSION)?;
    let id = row.rest();
    Uuid::from_slice(&id).map(Some).map_err(|_| row.damaged("an id has 16 bytes"))
}

/// From now on `id` stands there.
pub fn stand<S: Store>(turn: &mut Turn<S>, stream: &[u8], collapse_key: &str, id: Uuid) {
    let key = keys::within(stream, collapse_key.as_bytes());
    turn.put(Space::Collapse, key, Encoder::new(VERSION).rest(id.as_bytes()).finish());
}

/// It stands there no more, unless a newer one does.
pub fn step_down<S: Store>(
    turn: &mut Turn<S>,
    stream: &[u8],
    collapse_key: &str,
    id: Uuid,
) -> Result<(), StoreError> {
    if standing(turn, stream, collapse_key)? == Some(id) {
        turn.delete(Space::Collapse, keys::within(stream, collapse_key.as_bytes()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemoryStore;
    use proptest::prelude::*;
    use wire::message::{Notification, ServerMessage};

    #[test]
    fn a_client_reads_what_is_kept() {
        let record: Record = serde_json::from_str(
            r#"{"v":1,"id":"00000000-0000-0000-0000-000000000001","service":"s","accepted_at":"2026-01-01T00:00:00Z",
            "sequence":{"boot":1,"partition":0,"seq":1},
            "request":{"to":{"user":"a"},"title":"\"quoted\" \\ é","data":{"k": [1, 2]},"collapse_key":"c"}}"#,
        )
        .expect("a record");
        let text = text(&record, &Recipient::Topic("t".into()), Wall(1_700_000_000_123_456));
        let shown: Notification = serde_json::from_str(&text).expect("a notification");
        assert_eq!((shown.id, shown.created_at), (record.id, Wall(1_700_000_000_123_456)));
        assert_eq!(shown.title.as_deref(), Some("\"quoted\" \\ é"));
        assert_eq!(shown.data.get(), r#"{"k": [1, 2]}"#);
        assert_eq!((shown.topic.as_deref(), shown.collapse_key.as_deref()), (Some("t"), Some("c")));
        let message: ServerMessage = serde_json::from_slice(&message(&text)).expect("a message");
        assert!(matches!(message, ServerMessage::Notification(told) if told.id == record.id));
    }

    #[test]
    fn rows_are_read_as_they_were_written() {
        let mut turn = Turn::new(MemoryStore::new());
        let mut row = RecipientRow { last: Some(Wall(4)), unread: 3, window: Window::default() };
        row.window.admit(Wall(9), 20, false);
        row.keep(&mut turn, b"s");
        assert_eq!(RecipientRow::load(&turn, b"s"), Ok(row));
        assert_eq!(RecipientRow::load(&turn, b"other"), Ok(RecipientRow::default()));
        let place = Place { at: Wall(7), id: Uuid::from_u128(1) };
        let item =
            Item::decode(&keys::inbox(b"s", place), Item::encode(Some(Wall(8)), "{}")).expect("an item");
        assert_eq!(item, Item { place, expires_at: Some(Wall(8)), text: Bytes::from_static(b"{}") });
        assert!(item.is_over(Wall(8)) && !item.is_over(Wall(7)));
        let mark = Mark { acknowledged: true, read: true };
        mark.keep(&mut turn, "u", place.id);
        assert_eq!(Mark::load(&turn, "u", place.id), Ok(mark));
        stand(&mut turn, b"s", "key", place.id);
        assert_eq!(step_down(&mut turn, b"s", "key", Uuid::nil()), Ok(()));
        assert_eq!(standing(&turn, b"s", "key"), Ok(Some(place.id)));
        assert_eq!(step_down(&mut turn, b"s", "key", place.id), Ok(()));
        assert_eq!(standing(&turn, b"s", "key"), Ok(None));
    }

    proptest! {
        #[test]
        fn stamps_rise_whatever_the_clock_does(walls in prop::collection::vec(-50i64..50, 1..60)) {
            let (mut stamps, mut stream) = (Stamps::default(), None);
            for wall in walls {
                let before = stream;
                let stamp = stamps.next(Wall(wall), stream);
                prop_assert!(Some(stamp) > before && stamp >= Wall(wall));
                stream = Some(stamp);
            }
        }
    }
}
