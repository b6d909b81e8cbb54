//! The overflow log and the dead letters: rows by number, for an operator to look at and to replay.
//!
//! Owns their format (JSON, versioned) and the numbers. A dead-lettered record is kept as it came; read again from the
//! journal it is found by its place and sum, and changes nothing.

use bytes::Bytes;
use data_encoding::BASE64;
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use wire::message::Priority;
use wire::time::Wall;

use crate::classify::Recipient;
use crate::journal::Position;
use crate::journal::import::ForeignLetter;
use crate::record::{Channel, Target};
use crate::store::turn::Turn;
use crate::store::{Order, Range, Space, Store, StoreError};

const VERSION: u8 = 1;
/// Bytes of a record that are kept; a longer one is cut and cannot be replayed.
pub const KEPT_BYTES_MAX: usize = 1024 * 1024;
/// First byte of keys that are no numbers.
const INDEX: u8 = 0xff;
/// Second byte of those of foreign records, where a lane stands for ours.
const FOREIGN: u8 = 0xff;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LogRow {
    v: u8,
    pub at: Wall,
    pub reason: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<Uuid>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Target>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<Channel>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replayed_at: Option<Wall>,
    /// Where a foreign record came from: topic, partition and offset, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The lane that a record came by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lane: Option<Priority>,
    /// A whole record, in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bytes: Option<String>,
    /// It was longer than what is kept.
    #[serde(default)]
    pub cut: bool,
}

impl LogRow {
    /// A delivery that was held back or given up.
    pub fn of_delivery(at: Wall, reason: &str, id: Uuid, to: &Recipient, channel: Channel) -> LogRow {
        let to = match to {
            Recipient::User(user) => Target::User(user.clone()),
            Recipient::Topic(topic) => Target::Topic(topic.clone()),
            Recipient::All => Target::All(true),
            Recipient::Erased(_) => Target::Users(Vec::new()),
        };
        LogRow {
            v: VERSION,
            at,
            reason: reason.to_owned(),
            id: Some(id),
            to: Some(to),
            channel: Some(channel),
            replayed_at: None,
            source: None,
            lane: None,
            bytes: None,
            cut: false,
        }
    }

    /// A record that cannot be acted on.
    pub fn of_record(at: Wall, reason: &str, id: Option<Uuid>, lane: Priority, bytes: &[u8]) -> LogRow {
        let kept = &bytes[..bytes.len().min(KEPT_BYTES_MAX)];
        LogRow {
            v: VERSION,
            at,
            reason: reason.to_owned(),
            id,
            to: None,
            channel: None,
            replayed_at: None,
            source: None,
            lane: Some(lane),
            bytes: Some(BASE64.encode(kept)),
            cut: kept.len() < bytes.len(),
        }
    }

    /// A record of a source that is no request. It cannot be replayed: only its producer knows what was meant.
    pub fn of_foreign(at: Wall, letter: &ForeignLetter) -> LogRow {
        let ForeignLetter { topic, partition, offset, reason, bytes, cut } = letter;
        let row = LogRow::of_record(at, reason, None, Priority::Normal, bytes);
        let source = Some(format!("{topic} {partition}/{offset}"));
        LogRow { source, lane: None, cut: row.cut || *cut, ..row }
    }

    /// False: a replay would be refused, whatever changes.
    pub fn is_replayable(&self) -> bool {
        self.replayed_at.is_none() && !self.cut && self.source.is_none()
    }

    pub fn recipient(&self) -> Option<Recipient> {
        match self.to.as_ref()? {
            Target::User(user) => Some(Recipient::User(user.clone())),
            Target::Topic(topic) => Some(Recipient::Topic(topic.clone())),
            Target::All(_) => Some(Recipient::All),
            Target::Users(_) => None,
        }
    }

    pub fn bytes(&self) -> Option<Vec<u8>> {
        BASE64.decode(self.bytes.as_ref()?.as_bytes()).ok()
    }

    /// The same with another record.
    pub fn with_bytes(mut self, bytes: &[u8]) -> LogRow {
        self.bytes = Some(BASE64.encode(bytes));
        self
    }

    pub fn is_record(&self) -> bool {
        self.bytes.is_some()
    }

    pub fn encode(&self) -> Bytes {
        serde_json::to_vec(self).expect("strings serialize").into()
    }

    pub fn decode(space: Space, row: &[u8]) -> Result<LogRow, StoreError> {
        let damaged = |what| StoreError::Damaged { space, what };
        let row: LogRow = serde_json::from_slice(row).map_err(|error| damaged(error.to_string()))?;
        if row.v == VERSION { Ok(row) } else { Err(damaged(format!("version {}", row.v))) }
    }
}

/// All numbers, oldest first.
pub fn numbers() -> Range {
    Range::all().before(&[INDEX])
}

/// The number after the last one, or the first: `from`.
pub fn next_number<S: Store>(store: &S, space: Space, from: u64) -> Result<u64, StoreError> {
    let last = store.scan(space, &numbers(), Order::Reverse, 1)?;
    Ok(last.first().and_then(|(key, _)| number(key)).map_or(from, |number| number + 1))
}

pub fn number(key: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(key.try_into().ok()?))
}

/// Whether this foreign record was dead-lettered already; notes it if not. A topic's offsets never come again.
pub fn note_foreign<S: Store>(turn: &mut Turn<S>, letter: &ForeignLetter) -> Result<bool, StoreError> {
    let mut key = vec![INDEX, FOREIGN];
    key.extend_from_slice(&letter.partition.to_be_bytes());
    key.extend_from_slice(&letter.offset.to_be_bytes());
    key.extend_from_slice(letter.topic.as_bytes());
    note(turn, key)
}

/// Whether a record from this place was dead-lettered already; notes it if not.
pub fn note_record<S: Store>(turn: &mut Turn<S>, at: Position, bytes: &[u8]) -> Result<bool, StoreError> {
    let mut key = vec![INDEX, at.priority as u8];
    key.extend_from_slice(&at.partition.to_be_bytes());
    key.extend_from_slice(&at.offset.to_be_bytes());
    key.extend_from_slice(&crc32c::crc32c(bytes).to_be_bytes());
    note(turn, key)
}

fn note<S: Store>(turn: &mut Turn<S>, key: Vec<u8>) -> Result<bool, StoreError> {
    let known = turn.get(Space::DeadLetters, &key)?.is_some();
    if !known {
        turn.put(Space::DeadLetters, key, Bytes::from_static(&[VERSION]));
    }
    Ok(known)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemoryStore;

    #[test]
    fn a_row_keeps_the_whole_record_or_says_that_it_does_not() {
        let row = LogRow::of_record(Wall(1), "poison", None, Priority::Low, b"\xff\x00bytes");
        let read = LogRow::decode(Space::DeadLetters, &row.encode()).expect("a row");
        assert_eq!((read.bytes(), read.cut), (Some(b"\xff\x00bytes".to_vec()), false));
        assert!(LogRow::of_record(Wall(1), "", None, Priority::Low, &vec![0; KEPT_BYTES_MAX + 1]).cut);
        for to in [Recipient::User("u".into()), Recipient::Topic("t".into()), Recipient::All] {
            let row = LogRow::of_delivery(Wall(1), "push_limit", Uuid::nil(), &to, Channel::Push);
            let read = LogRow::decode(Space::Overflow, &row.encode()).expect("a row");
            assert_eq!((read.recipient(), read.is_record()), (Some(to), false));
        }
    }

    #[test]
    fn a_record_is_noted_once_and_another_at_its_place_is_another() {
        let mut turn = Turn::new(MemoryStore::new());
        let at = Position { priority: Priority::Low, partition: 1, offset: 2 };
        let mut note = |bytes| note_record(&mut turn, at, bytes).expect("memory");
        assert_eq!([note(b"one"), note(b"one"), note(b"two")], [false, true, false]);
        turn.commit().expect("memory");
        assert_eq!(next_number(turn.store(), Space::DeadLetters, 1), Ok(1), "an index is no number");
    }
}
