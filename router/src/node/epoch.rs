//! The epoch of this start: higher than that of every earlier one, so that shards which remember an earlier router's
//! ownership obey this one.
//!
//! A count of starts is kept in the store; the date, where it is higher, covers a store that was begun anew.

use wire::time::Wall;

use crate::store::{Batch, Space, Store, StoreError};

/// Where the last epoch stands.
const KEY: &[u8] = b"node/epoch";
/// The row: a version byte and the number.
const ROW_VERSION: u8 = 1;

/// Draws the next epoch and keeps it, on the disk.
pub(super) fn next<S: Store>(store: &S, now: Wall) -> Result<u64, StoreError> {
    let last = match store.get(Space::Documents, KEY)?.as_deref() {
        None => 0,
        Some([ROW_VERSION, number @ ..]) => {
            number.try_into().map(u64::from_be_bytes).map_err(|_| damaged())?
        }
        Some(_) => return Err(damaged()),
    };
    let date = u64::try_from(now.millis()).unwrap_or(0) / 1_000;
    let epoch = date.max(last + 1);
    let mut batch = Batch::default();
    let row: Vec<u8> = [ROW_VERSION].into_iter().chain(epoch.to_be_bytes()).collect();
    batch.put(Space::Documents, KEY, row);
    store.commit(&batch)?;
    store.persist()?;
    Ok(epoch)
}

fn damaged() -> StoreError {
    StoreError::Damaged { space: Space::Documents, what: "the epoch of the last start".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemoryStore;

    #[test]
    fn epochs_rise_whatever_the_clock_does() {
        let store = MemoryStore::default();
        let at = |s: i64| next(&store, Wall(s * 1_000_000)).unwrap();
        assert_eq!([at(1_000), at(1_000), at(10), at(2_000), at(-5)], [1_000, 1_001, 1_002, 2_000, 2_001]);
        let anew = MemoryStore::default();
        assert_eq!(next(&anew, Wall(3_000_000_000)).unwrap(), 3_000);
    }
}
