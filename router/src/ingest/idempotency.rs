//! What was answered under an Idempotency-Key: the same request again gets the same answer, another one is refused.
//!
//! Two rows in [`Space::Idempotency`]: by id, what was asked (as a hash) and answered; by time, what is over. The
//! first is written before the append, without the answer, so that a crash between the append and the answer still
//! knows the body. Sharpens the 409 and 422 answers; that nothing goes out twice is the owner's dedup by id.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;
use wire::time::Wall;

use super::Accepted;
use crate::limits::IDEMPOTENCY_SWEEP_MAX;
use crate::store::keys::idempotency as by_id;
use crate::store::{Batch, Order, Range, Space, Store, StoreError};

/// The version of a row.
const ROW_VERSION: u8 = 1;
/// The first byte of a key by time; those by id are in `store::keys`.
const BY_TIME: u8 = b't';

/// The rows of all keys.
#[derive(Debug, Clone)]
pub struct Idempotency<S> {
    store: S,
    kept: Duration,
}

/// What is known of a key.
#[derive(Debug, PartialEq, Eq)]
pub enum Begun {
    /// Nothing, or the same request without an answer: go on, then [`Idempotency::finish`].
    New(Attempt),
    Answered(Accepted),
    OtherBody,
}

/// A request that has no answer yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempt {
    body: [u8; 32],
    until: Wall,
}

#[derive(Serialize, Deserialize)]
struct Kept {
    body: [u8; 32],
    /// Microseconds since 1970.
    until: i64,
    answer: Option<Accepted>,
}

impl<S: Store> Idempotency<S> {
    pub fn new(store: S, kept: Duration) -> Idempotency<S> {
        Idempotency { store, kept }
    }

    /// `body` is the hash of what was sent.
    pub fn begin(&self, id: Uuid, body: [u8; 32], now: Wall) -> Result<Begun, StoreError> {
        if let Some(kept) = self.row(id)?.filter(|kept| kept.until > now.0) {
            return Ok(match kept.answer {
                _ if kept.body != body => Begun::OtherBody,
                Some(answer) => Begun::Answered(answer),
                None => Begun::New(Attempt { body, until: Wall(kept.until) }),
            });
        }
        let attempt = Attempt { body, until: now + self.kept };
        let mut batch = Batch::default();
        batch.put(Space::Idempotency, by_time(attempt.until, id), Vec::new());
        put(&mut batch, id, attempt, None);
        self.store.commit(&batch)?;
        Ok(Begun::New(attempt))
    }

    pub fn finish(&self, attempt: Attempt, answer: &Accepted) -> Result<(), StoreError> {
        let mut batch = Batch::default();
        put(&mut batch, answer.id, attempt, Some(answer.clone()));
        self.store.commit(&batch)
    }

    /// Deletes what is over; the number of keys.
    pub fn sweep(&self, now: Wall) -> Result<usize, StoreError> {
        let range = Range::prefix(&[BY_TIME]).before(&by_time(now, Uuid::nil()));
        let over = self.store.scan(Space::Idempotency, &range, Order::Forward, IDEMPOTENCY_SWEEP_MAX)?;
        let mut batch = Batch::default();
        for (key, _) in &over {
            batch.delete(Space::Idempotency, key.clone());
            let id = key.last_chunk::<16>().copied().map_or_else(Uuid::nil, Uuid::from_bytes);
            // A key that was used again after its time has a younger row.
            if self.row(id)?.is_some_and(|kept| kept.until <= now.0) {
                batch.delete(Space::Idempotency, by_id(id));
            }
        }
        if !batch.is_empty() {
            self.store.commit(&batch)?;
        }
        Ok(over.len())
    }

    fn row(&self, id: Uuid) -> Result<Option<Kept>, StoreError> {
        let damaged = |what: String| StoreError::Damaged { space: Space::Idempotency, what };
        let Some(row) = self.store.get(Space::Idempotency, &by_id(id))? else { return Ok(None) };
        match row.split_first() {
            Some((&ROW_VERSION, json)) => {
                serde_json::from_slice(json).map(Some).map_err(|error| damaged(error.to_string()))
            }
            _ => Err(damaged(format!("{id} has no row of version {ROW_VERSION}"))),
        }
    }
}

fn put(batch: &mut Batch, id: Uuid, attempt: Attempt, answer: Option<Accepted>) {
    let kept = Kept { body: attempt.body, until: attempt.until.0, answer };
    let mut row = vec![ROW_VERSION];
    serde_json::to_writer(&mut row, &kept).expect("a row is numbers and strings");
    batch.put(Space::Idempotency, by_id(id), row);
}

fn by_time(until: Wall, id: Uuid) -> Vec<u8> {
    let until = u64::try_from(until.0).unwrap_or(0).to_be_bytes();
    [&[BY_TIME], until.as_slice(), id.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::DurableIn;
    use crate::store::MemoryStore;

    const HOUR: Duration = Duration::from_secs(3_600);

    fn rows() -> Idempotency<MemoryStore> {
        Idempotency::new(MemoryStore::default(), HOUR)
    }

    fn accepted(id: Uuid) -> Accepted {
        Accepted { id, seq: 1, durable_in: DurableIn::Journal, status_url: "/x".to_owned() }
    }

    fn attempt(begun: Result<Begun, StoreError>) -> Attempt {
        match begun {
            Ok(Begun::New(attempt)) => attempt,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_same_request_gets_the_same_answer_and_another_is_refused() {
        let (rows, id) = (rows(), Uuid::from_u128(1));
        let begun = attempt(rows.begin(id, [1; 32], Wall(0)));
        rows.finish(begun, &accepted(id)).unwrap();
        assert_eq!(rows.begin(id, [1; 32], Wall(1)), Ok(Begun::Answered(accepted(id))));
        assert_eq!(rows.begin(id, [2; 32], Wall(1)), Ok(Begun::OtherBody));
    }

    #[test]
    fn a_crash_before_the_answer_still_knows_the_body() {
        let (rows, id) = (rows(), Uuid::from_u128(1));
        let begun = attempt(rows.begin(id, [1; 32], Wall(0)));
        assert_eq!(rows.begin(id, [2; 32], Wall(1)), Ok(Begun::OtherBody));
        assert_eq!(rows.begin(id, [1; 32], Wall(1)), Ok(Begun::New(begun)));
    }

    #[test]
    fn a_key_is_free_again_after_its_time() {
        let (rows, id) = (rows(), Uuid::from_u128(1));
        let begun = attempt(rows.begin(id, [1; 32], Wall(0)));
        rows.finish(begun, &accepted(id)).unwrap();
        let later = Wall(0) + HOUR;
        let again = attempt(rows.begin(id, [2; 32], later));
        rows.finish(again, &accepted(id)).unwrap();
        assert_eq!(rows.sweep(later + Duration::from_secs(1)), Ok(1));
        assert_eq!(
            rows.begin(id, [2; 32], later),
            Ok(Begun::Answered(accepted(id))),
            "the younger row stays"
        );
        assert_eq!(rows.sweep(later + HOUR + Duration::from_secs(1)), Ok(1));
        assert_eq!(rows.sweep(later + HOUR * 2), Ok(0), "nothing is left");
    }
}
