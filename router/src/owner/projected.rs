//! What Cassandra has taken leaves the queue.

use super::desk::Desk;
use super::words::Carried;
use crate::store::{SCAN_ROWS_MAX, Store, StoreError};

/// A carrier tells of a bounded number of rows at once.
pub(super) fn carried<S: Store>(desk: &mut Desk<S>, carried: &Carried) -> Result<(), StoreError> {
    let Desk { queue: Some(queue), turn, .. } = desk else { return Ok(()) };
    while queue.carried(turn, carried.through, SCAN_ROWS_MAX)? {}
    for erasure in &carried.erased {
        queue.erased(turn, erasure)?;
    }
    if let Some(until) = carried.rebuilt {
        queue.rebuilt(turn, until);
    }
    Ok(())
}
