//! What this host leaves of the connections that the settings allow: asked before anything is made, and kept to
//! when the limits are set, so that nobody ever waits in a backlog for a slot that there is not.
//!
//! Called by `node`, at the start and at a reload.

use gateway_ring::{Table, probe};

use super::{StartError, admission_limits, ring_config, shard_count};
use crate::admission::Admission;
use crate::config::Gateway;
use crate::io::means::{self, Need};
use crate::limits::TABLE_RESERVE;

/// Whether shards can run here: limits that hold what the settings promise, and a kernel with what the rings need. Before
/// any folder, file or thread is made, since without io_uring an executor panics.
pub fn check_host(gateway: &Gateway) -> Result<(), StartError> {
    let shards = shard_count(gateway);
    let rings = ring_config(gateway, shards);
    means::check(Need {
        hard_limit: gateway.hard_limit,
        shards: u32::try_from(shards).unwrap_or(u32::MAX),
        slots: rings.connections,
    })?;
    probe(&rings)?;
    Ok(())
}

/// Sockets of clients that a table holds.
pub(super) fn of(table: &Table) -> u64 {
    u64::from(table.capacity.saturating_sub(TABLE_RESERVE))
}

/// Sets the limits of the settings, cut to the room there is. The tables are made once, at the start.
pub(super) fn settle(admission: &Admission, gateway: &Gateway, room: u64) {
    let limits = admission_limits(gateway).within(room);
    if limits.hard < gateway.hard_limit {
        tracing::warn!(
            hard_limit = gateway.hard_limit,
            soft = limits.soft,
            hard = limits.hard,
            "hard_limit is more than the rings' tables hold, which are made at the start: clients are refused from \
             `soft` on and reset from `hard` on; start again to have larger ones, with more file descriptors if \
             those are few (ulimit -n, LimitNOFILE=)"
        );
    }
    admission.set_limits(limits);
}
