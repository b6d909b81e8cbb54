//! A cursor: how far a client is in each of its streams. Opaque text: base64url of a version byte and fixed fields.
//!
//! Topics stand with a hash of their name, so that the longest cursor stays within `CURSOR_BYTES_MAX`; two topics of one
//! user with the same hash would share a place, which at worst repeats. A cursor names no user: in other hands it says
//! nothing and opens nothing.

use data_encoding::BASE64URL_NOPAD;
use uuid::Uuid;
use wire::limits::{CURSOR_BYTES_MAX, TOPICS_PER_USER_MAX};
use wire::time::Wall;

use crate::store::keys::Place;

const VERSION: u8 = 1;
const PLACE_BYTES: usize = 8 + 16;
const TOPIC_BYTES: usize = 8 + PLACE_BYTES;

const _: () =
    assert!((1 + 2 * PLACE_BYTES + TOPICS_PER_USER_MAX * TOPIC_BYTES) * 4 / 3 + 4 < CURSOR_BYTES_MAX);

/// The text is no cursor of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the cursor is none of ours")]
pub struct BadCursor;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// The user's own stream.
    pub own: Place,
    /// What went to everybody.
    pub all: Place,
    /// By hash of the topic.
    pub topics: Vec<(u64, Place)>,
}

impl Cursor {
    pub fn encode(&self) -> String {
        let mut bytes = Vec::with_capacity(1 + 2 * PLACE_BYTES + self.topics.len() * TOPIC_BYTES);
        bytes.push(VERSION);
        put(&mut bytes, self.own);
        put(&mut bytes, self.all);
        for (topic, place) in &self.topics {
            bytes.extend_from_slice(&topic.to_be_bytes());
            put(&mut bytes, *place);
        }
        BASE64URL_NOPAD.encode(&bytes)
    }

    pub fn decode(text: &str) -> Result<Cursor, BadCursor> {
        if text.len() > CURSOR_BYTES_MAX {
            return Err(BadCursor);
        }
        let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).map_err(|_| BadCursor)?;
        let (version, rest) = bytes.split_first().ok_or(BadCursor)?;
        let (own, rest) = rest.split_first_chunk::<PLACE_BYTES>().ok_or(BadCursor)?;
        let (all, rest) = rest.split_first_chunk::<PLACE_BYTES>().ok_or(BadCursor)?;
        let (topics, odd) = rest.as_chunks::<TOPIC_BYTES>();
        if *version != VERSION || !odd.is_empty() || topics.len() > TOPICS_PER_USER_MAX {
            return Err(BadCursor);
        }
        let topics = topics.iter().map(|topic| {
            let (hash, place) = topic.split_first_chunk::<8>().expect("a topic is longer than its hash");
            (u64::from_be_bytes(*hash), place_of(place))
        });
        Ok(Cursor { own: place_of(own), all: place_of(all), topics: topics.collect() })
    }

    pub fn topic(&self, name: &str) -> Option<Place> {
        let hash = hash(name);
        self.topics.iter().find(|(topic, _)| *topic == hash).map(|(_, place)| *place)
    }
}

fn put(bytes: &mut Vec<u8>, place: Place) {
    bytes.extend_from_slice(&place.at.0.to_be_bytes());
    bytes.extend_from_slice(place.id.as_bytes());
}

fn place_of(bytes: &[u8]) -> Place {
    let (at, id) = bytes.split_first_chunk::<8>().expect("a place has 24 bytes");
    Place { at: Wall(i64::from_be_bytes(*at)), id: Uuid::from_slice(id).expect("an id has 16 bytes") }
}

/// FNV-1a, 64 bits. Cursors live longer than a process, so the hash must not change.
pub fn hash(name: &str) -> u64 {
    name.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn place(at: i64) -> Place {
        Place { at: Wall(at), id: Uuid::from_u128(at.cast_unsigned().into()) }
    }

    #[test]
    fn the_longest_cursor_fits() {
        let topics = (0..TOPICS_PER_USER_MAX as u64).map(|i| (i, place(i as i64))).collect();
        let cursor = Cursor { own: Place::START, all: place(-9), topics };
        let text = cursor.encode();
        assert!(text.len() <= CURSOR_BYTES_MAX);
        assert_eq!(Cursor::decode(&text), Ok(cursor));
    }

    #[test]
    fn anything_else_is_refused() {
        let good = Cursor { own: place(1), all: place(2), topics: vec![(hash("t"), place(3))] }.encode();
        assert_eq!(Cursor::decode(&good).map(|cursor| cursor.topic("t")), Ok(Some(place(3))));
        let many = Cursor { own: place(1), all: place(2), topics: vec![(0, place(3)); 129] }.encode();
        let long = "A".repeat(CURSOR_BYTES_MAX + 1);
        for text in
            ["", "!", "AA", "====", &good[..good.len() - 4], &format!("B{}", &good[1..]), &many, &long]
        {
            assert_eq!(Cursor::decode(text), Err(BadCursor), "{text}");
        }
    }

    #[test]
    fn hashes_never_change_between_versions() {
        assert_eq!(hash(""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(hash("a"), 0xaf63_dc4c_8601_ec8c);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_fall_over(text in ".{0,200}", bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Cursor::decode(&text);
            let _ = Cursor::decode(&BASE64URL_NOPAD.encode(&bytes));
        }
    }
}
