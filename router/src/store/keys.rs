//! How keys are laid out, so that rows which belong together lie together and in order.
//!
//! Persistent: a change is a new format. A name stands with its length before it, so no name runs into the next field.

use uuid::Uuid;
use wire::time::Wall;

use super::{Space, StoreError};
use crate::classify::Recipient;

const USER: u8 = b'u';
const TOPIC: u8 = b't';
const ALL: u8 = b'a';
const ERASED: u8 = b'e';
/// Bytes of an id.
const ID_BYTES: usize = 16;

/// The recipient's own row, and what all keys of its streams begin with.
pub fn recipient(recipient: &Recipient) -> Vec<u8> {
    let (kind, name) = match recipient {
        Recipient::User(user) => (USER, user.as_str()),
        Recipient::Topic(topic) => (TOPIC, topic.as_str()),
        Recipient::All => (ALL, ""),
        Recipient::Erased(hash) => (ERASED, hash.as_str()),
    };
    named(kind, name)
}

/// The same for a user by name.
pub fn user(user: &str) -> Vec<u8> {
    named(USER, user)
}

/// Names are at most `NAME_BYTES_MAX` bytes; longer ones, from elsewhere, are cut in the length but not in the key.
fn named(kind: u8, name: &str) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + 2 + name.len() + 8 + ID_BYTES);
    key.push(kind);
    key.extend_from_slice(&(name.len() as u16).to_be_bytes());
    key.extend_from_slice(name.as_bytes());
    key
}

/// A ledger row: all rows of a notification lie together.
pub fn ledger(id: Uuid, to: &Recipient) -> Vec<u8> {
    let mut key = id.as_bytes().to_vec();
    key.extend_from_slice(&recipient(to));
    key
}

/// What [`ledger`] made.
pub fn ledger_parts(key: &[u8]) -> Result<(Uuid, Recipient), StoreError> {
    let damaged = || StoreError::Damaged { space: Space::Ledger, what: "a key of another layout".to_owned() };
    let (id, rest) = key.split_first_chunk::<ID_BYTES>().ok_or_else(damaged)?;
    Ok((Uuid::from_bytes(*id), recipient_of(rest).ok_or_else(damaged)?))
}

/// Whose stream an [`inbox`] key is in, and where.
pub fn inbox_parts(key: &[u8]) -> Result<(Recipient, Place), StoreError> {
    let place = inbox_place(key)?;
    let damaged = || StoreError::Damaged { space: Space::Inbox, what: "a key of another layout".to_owned() };
    let stream = key.get(..key.len() - 8 - ID_BYTES).and_then(recipient_of);
    Ok((stream.ok_or_else(damaged)?, place))
}

/// The user and the notification of a mark's key.
pub fn mark_parts(key: &[u8]) -> Result<(String, Uuid), StoreError> {
    let damaged = || StoreError::Damaged { space: Space::Marks, what: "a key of another layout".to_owned() };
    let (user, id) = key.split_last_chunk::<ID_BYTES>().ok_or_else(damaged)?;
    let Some(Recipient::User(user)) = recipient_of(user) else { return Err(damaged()) };
    Ok((user, Uuid::from_bytes(*id)))
}

/// What [`user`] made.
pub fn user_of(space: Space, key: &[u8]) -> Result<String, StoreError> {
    match recipient_of(key) {
        Some(Recipient::User(user)) => Ok(user),
        _ => Err(StoreError::Damaged { space, what: "a key of another layout".to_owned() }),
    }
}

fn recipient_of(key: &[u8]) -> Option<Recipient> {
    let (kind, rest) = key.split_first()?;
    let (_, name) = rest.split_first_chunk::<2>()?;
    let name = String::from_utf8(name.to_vec()).ok()?;
    match *kind {
        USER => Some(Recipient::User(name)),
        TOPIC => Some(Recipient::Topic(name)),
        ALL => Some(Recipient::All),
        ERASED => Some(Recipient::Erased(name)),
        _ => None,
    }
}

/// A place in a stream. Rises with time; of two at the same time the smaller id comes later, as in a Cassandra table
/// that is clustered by `created_at DESC, notification_id`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub at: Wall,
    pub id: Uuid,
}

impl Place {
    /// Behind everything at this time.
    pub fn end_of(at: Wall) -> Place {
        Place { at, id: Uuid::nil() }
    }

    /// Before everything.
    pub const START: Place = Place { at: Wall(i64::MIN), id: Uuid::nil() };
}

impl Ord for Place {
    fn cmp(&self, other: &Place) -> std::cmp::Ordering {
        self.at.cmp(&other.at).then(other.id.cmp(&self.id))
    }
}

impl PartialOrd for Place {
    fn partial_cmp(&self, other: &Place) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// An inbox row: newest first within its stream.
pub fn inbox(stream: &[u8], place: Place) -> Vec<u8> {
    let mut key = stream.to_vec();
    key.extend_from_slice(&(!ordered(place.at)).to_be_bytes());
    key.extend_from_slice(place.id.as_bytes());
    key
}

/// The place in a key that [`inbox`] made.
pub fn inbox_place(key: &[u8]) -> Result<Place, StoreError> {
    let damaged = || StoreError::Damaged { space: Space::Inbox, what: "a key of another layout".to_owned() };
    let (rest, id) = key.split_last_chunk::<ID_BYTES>().ok_or_else(damaged)?;
    let (_, at) = rest.split_last_chunk::<8>().ok_or_else(damaged)?;
    Ok(Place { at: wall(!u64::from_be_bytes(*at)), id: Uuid::from_bytes(*id) })
}

/// A user's mark on a notification, or what stands under a collapse key.
pub fn within(stream: &[u8], rest: &[u8]) -> Vec<u8> {
    let mut key = stream.to_vec();
    key.extend_from_slice(rest);
    key
}

/// What was answered under an Idempotency-Key; `ingest` makes the id of service and key.
pub fn idempotency(id: Uuid) -> Vec<u8> {
    [b"i".as_slice(), id.as_bytes()].concat()
}

/// A row of [`Space::Due`]: what has to be done first lies first.
pub fn due(at: Wall, kind: u8, row: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(9 + row.len());
    key.extend_from_slice(&ordered(at).to_be_bytes());
    key.push(kind);
    key.extend_from_slice(row);
    key
}

/// Where everything due later than `at` begins.
pub fn due_after(at: Wall) -> Vec<u8> {
    ordered(Wall(at.0.saturating_add(1))).to_be_bytes().to_vec()
}

/// What [`due`] made: time, kind, row.
pub fn due_parts(key: &[u8]) -> Result<(Wall, u8, &[u8]), StoreError> {
    let damaged = || StoreError::Damaged { space: Space::Due, what: "a key of another layout".to_owned() };
    let (at, rest) = key.split_first_chunk::<8>().ok_or_else(damaged)?;
    let (kind, row) = rest.split_first().ok_or_else(damaged)?;
    Ok((wall(u64::from_be_bytes(*at)), *kind, row))
}

/// A row of [`Space::Ages`]: within a stage, the oldest first.
pub fn age(stage: u8, at: Wall, id: Uuid) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + 8 + ID_BYTES);
    key.push(stage);
    key.extend_from_slice(&ordered(at).to_be_bytes());
    key.extend_from_slice(id.as_bytes());
    key
}

/// Where everything of the stage that is later than `at` begins.
pub fn age_after(stage: u8, at: Wall) -> Vec<u8> {
    age(stage, Wall(at.0.saturating_add(1)), Uuid::nil())
}

/// What [`age`] made.
pub fn age_parts(key: &[u8]) -> Result<(u8, Wall, Uuid), StoreError> {
    let damaged = || StoreError::Damaged { space: Space::Ages, what: "a key of another layout".to_owned() };
    let (stage, rest) = key.split_first().ok_or_else(damaged)?;
    let (at, id) = rest.split_first_chunk::<8>().ok_or_else(damaged)?;
    let id = Uuid::from_slice(id).map_err(|_| damaged())?;
    Ok((*stage, wall(u64::from_be_bytes(*at)), id))
}

/// A time as a number whose big-endian bytes are in the order of time.
fn ordered(at: Wall) -> u64 {
    at.0.cast_unsigned() ^ (1 << 63)
}

fn wall(ordered: u64) -> Wall {
    Wall((ordered ^ (1 << 63)).cast_signed())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMES: [i64; 6] = [i64::MIN, -5, 0, 1, 1_700_000_000_000_000, i64::MAX];

    #[test]
    fn later_lies_earlier_in_an_inbox_and_later_among_what_is_due() {
        let stream = recipient(&Recipient::User("u".to_owned()));
        for pair in TIMES.windows(2) {
            let [one, two] = [Wall(pair[0]), Wall(pair[1])];
            let id = Uuid::from_u128(7);
            assert!(inbox(&stream, Place { at: one, id }) > inbox(&stream, Place { at: two, id }));
            assert!(due(one, 9, b"x") < due(two, 1, b"a"));
            assert!(due(one, 9, b"x") < due_after(one) && due_after(one) <= due(two, 0, b""));
        }
    }

    #[test]
    fn places_are_in_the_reverse_order_of_their_keys() {
        let mut places: Vec<Place> = TIMES
            .iter()
            .flat_map(|at| [1, 2].map(|id| Place { at: Wall(*at), id: Uuid::from_u128(id) }))
            .collect();
        places.sort();
        assert!(places.windows(2).all(|pair| inbox(b"s", pair[0]) > inbox(b"s", pair[1])));
        assert!(places.iter().all(|place| inbox_place(&inbox(b"s", *place)) == Ok(*place)));
        assert!(places.iter().all(|place| *place < Place::end_of(place.at)));
    }

    #[test]
    fn keys_give_back_their_parts() {
        let id = Uuid::from_u128(5);
        let erased = Recipient::Erased("a".into());
        for to in [Recipient::User("a".into()), Recipient::Topic("a".into()), Recipient::All, erased] {
            assert_eq!(ledger_parts(&ledger(id, &to)), Ok((id, to.clone())));
        }
        assert_eq!(due_parts(&due(Wall(-3), 4, b"row")), Ok((Wall(-3), 4, b"row".as_slice())));
        assert_eq!(age_parts(&age(2, Wall(-3), id)), Ok((2, Wall(-3), id)));
        assert!(age(2, Wall(7), id) < age_after(2, Wall(7)) && age_after(2, Wall(7)) < age(2, Wall(8), id));
        assert!(
            ledger_parts(b"short").is_err() && inbox_place(b"short").is_err() && due_parts(b"x").is_err()
        );
    }

    #[test]
    fn no_name_is_a_prefix_of_another() {
        let keys: Vec<_> = ["a", "ab", "b", ""].iter().map(|name| user(name)).collect();
        for one in &keys {
            assert_eq!(keys.iter().filter(|other| other.starts_with(one)).count(), 1);
        }
    }
}
