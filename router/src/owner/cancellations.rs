//! What was taken back before the owner had seen it: noted here, and dropped when the journal brings it.
//!
//! Owns the rows and how long they wait. Called by `commands` (notes) and `intake` (asks, once for every record).

use std::time::Duration;

use bytes::Bytes;
use uuid::Uuid;

use super::clock::Tick;
use super::desk::{Desk, Due};
use crate::store::{Order, Range, Space, Store, StoreError};

const VERSION: u8 = 1;
/// How long one waits for its record. A journal that is read later than this has been left for dead.
const WAITS: Duration = Duration::from_secs(7 * 24 * 3_600);

/// Whether any row waits: while there is none, no record costs a look into the store.
pub(super) fn any<S: Store>(store: &S) -> Result<bool, StoreError> {
    Ok(!store.scan(Space::Cancellations, &Range::all(), Order::Forward, 1)?.is_empty())
}

/// The next record under this id goes nowhere.
pub(super) fn note<S: Store>(desk: &mut Desk<S>, id: Uuid, now: Tick) -> Result<(), StoreError> {
    if desk.turn.get(Space::Cancellations, id.as_bytes())?.is_some() {
        return Ok(());
    }
    desk.turn.put(Space::Cancellations, id.as_bytes().to_vec(), Bytes::from_static(&[VERSION]));
    desk.schedule(now.steady + WAITS, Due::Cancellation, id.as_bytes());
    desk.has_cancellations = true;
    // A power cut must not send what was said to be taken back.
    desk.must_persist = true;
    Ok(())
}

/// Whether this was taken back.
pub(super) fn holds<S: Store>(desk: &Desk<S>, id: Uuid) -> Result<bool, StoreError> {
    Ok(desk.has_cancellations && desk.turn.get(Space::Cancellations, id.as_bytes())?.is_some())
}

/// Its record came, or never will.
pub(super) fn forget<S: Store>(desk: &mut Desk<S>, id: &[u8]) {
    desk.turn.delete(Space::Cancellations, id.to_vec());
}
