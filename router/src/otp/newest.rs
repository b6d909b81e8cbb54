//! Which codes went out last, for operators to look at: a ring of ids in [`Space::Meta`].
//!
//! Bounded whatever is asked for. Never holds more than ids: what became of a code is read where it stands, and one whose row is gone
//! is passed over. Written by `owner`, in the batch that opens the code; read by its `View`.

use uuid::Uuid;

use crate::limits::LADDERS_SHOWN_MAX;
use crate::store::codec::{Decoder, Encoder};
use crate::store::turn::Turn;
use crate::store::{Space, Store, StoreError};

const VERSION: u8 = 1;
/// How many were ever noted. Persistent, like the names of the places.
const NOTED_KEY: &[u8] = b"otp_noted";

fn place(number: u64) -> Vec<u8> {
    format!("otp_newest_{}", number % LADDERS_SHOWN_MAX as u64).into_bytes()
}

/// What cannot be read is begun anew: nobody's code waits for what is only looked at.
fn noted<S: Store>(turn: &Turn<S>) -> Result<u64, StoreError> {
    let row = turn.get(Space::Meta, NOTED_KEY)?;
    let number = |row| Decoder::new(Space::Meta, row, VERSION).and_then(|mut row| row.u64());
    Ok(row.and_then(|row| number(row).ok()).unwrap_or(0))
}

/// This code goes out now.
pub fn note<S: Store>(turn: &mut Turn<S>, id: Uuid) -> Result<(), StoreError> {
    let number = noted(turn)?;
    turn.put(Space::Meta, place(number), Encoder::new(VERSION).run(id.as_bytes()).finish());
    turn.put(Space::Meta, NOTED_KEY.to_vec(), Encoder::new(VERSION).u64(number.wrapping_add(1)).finish());
    Ok(())
}

/// The last ones, newest first, each once.
pub fn ids<S: Store>(turn: &Turn<S>) -> Result<Vec<Uuid>, StoreError> {
    let noted = noted(turn)?;
    let mut ids = Vec::new();
    for number in (noted.saturating_sub(LADDERS_SHOWN_MAX as u64)..noted).rev() {
        let row = turn.get(Space::Meta, &place(number))?;
        let bytes =
            row.and_then(|row| Decoder::new(Space::Meta, row, VERSION).and_then(|mut row| row.bytes()).ok());
        let id = bytes.and_then(|bytes| Uuid::from_slice(&bytes).ok());
        if let Some(id) = id.filter(|id| !ids.contains(id)) {
            ids.push(id);
        }
    }
    Ok(ids)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemoryStore;
    use bytes::Bytes;

    #[test]
    fn the_last_ones_are_known_newest_first_each_once_and_no_more_than_so_many() {
        let mut turn = Turn::new(MemoryStore::new());
        assert_eq!(ids(&turn), Ok(vec![]));
        for id in [1, 2, 1, 3] {
            note(&mut turn, Uuid::from_u128(id)).expect("memory");
        }
        assert_eq!(ids(&turn), Ok([3, 1, 2].map(Uuid::from_u128).to_vec()));
        for id in 100..400 {
            note(&mut turn, Uuid::from_u128(id)).expect("memory");
        }
        let last: Vec<_> = (0..LADDERS_SHOWN_MAX as u128).map(|back| Uuid::from_u128(399 - back)).collect();
        assert_eq!(ids(&turn), Ok(last));
        assert_eq!(turn.changed(Space::Meta).count(), LADDERS_SHOWN_MAX + 1);
    }

    #[test]
    fn rows_that_cannot_be_read_keep_no_code_back() {
        let mut turn = Turn::new(MemoryStore::new());
        turn.put(Space::Meta, NOTED_KEY.to_vec(), Bytes::from_static(b"nonsense"));
        for id in [1, 2] {
            note(&mut turn, Uuid::from_u128(id)).expect("it goes out");
        }
        turn.put(Space::Meta, place(0), Bytes::from_static(b"nonsense"));
        assert_eq!(ids(&turn), Ok(vec![Uuid::from_u128(2)]));
    }
}
