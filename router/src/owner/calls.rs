//! Calls that are out: a row of [`Space::Calls`] while nobody knows what became of one.
//!
//! Owns that row. A call that carries several notifications has one for each, so that whoever looks at one of them sees that it
//! is out; all name the one under whose id it went, its head.

use uuid::Uuid;

use super::desk::Desk;
use super::words::{DeliveryKey, Output};
use crate::store::codec::{Decoder, Encoder};
use crate::store::{Space, Store, StoreError};

/// Of a call of one notification.
const ALONE: u8 = 1;
/// Of one that several share.
const SHARED: u8 = 2;

/// What is known of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Out {
    /// The run that made it.
    pub(super) boot: u64,
    /// Under which notification's id it went, if it carries several.
    pub(super) head: Option<Uuid>,
}

pub(super) fn note<S: Store>(desk: &mut Desk<S>, call: &[u8], head: Option<Uuid>) {
    let row = match head {
        None => Encoder::new(ALONE).u64(desk.boot).finish(),
        Some(head) => Encoder::new(SHARED).u64(desk.boot).rest(head.as_bytes()).finish(),
    };
    desk.turn.put(Space::Calls, call.to_vec(), row);
}

/// `None`: it is not out.
pub(super) fn of<S: Store>(desk: &Desk<S>, call: &[u8]) -> Result<Option<Out>, StoreError> {
    let Some(row) = desk.turn.get(Space::Calls, call)? else { return Ok(None) };
    let version = if row.first() == Some(&SHARED) { SHARED } else { ALONE };
    let mut row = Decoder::new(Space::Calls, row, version)?;
    let boot = row.u64()?;
    let head = (version == SHARED).then(|| row.rest());
    let head = head.map(|id| Uuid::from_slice(&id).map_err(|_| row.damaged("an id has 16 bytes")));
    Ok(Some(Out { boot, head: head.transpose()? }))
}

/// Asks for it back, with all that it carries. False: it is not out.
pub(super) fn take_back<S: Store>(
    desk: &mut Desk<S>,
    delivery: &DeliveryKey,
    call: &[u8],
) -> Result<bool, StoreError> {
    let head = match of(desk, call) {
        Err(StoreError::Damaged { .. }) => None,
        out => match out? {
            None => return Ok(false),
            Some(out) => out.head,
        },
    };
    desk.say(Output::Withdraw(DeliveryKey { id: head.unwrap_or(delivery.id), ..delivery.clone() }));
    Ok(true)
}
