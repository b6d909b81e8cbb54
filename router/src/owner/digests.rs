//! What waits for one user and channel to go out together, and what went so.
//!
//! Owns [`Space::Digests`]: a row for each delivery that waits for its user's wishes (or, once it was tried with others, for its
//! provider), and one for each letter that carried several. Every delivery keeps its own row, timer and end; what has ended
//! otherwise is not here any more. `gather` puts together what may go, `answered` gives each what became of the letter.

use bytes::Bytes;
use uuid::Uuid;
use wire::time::Wall;

use super::desk::Desk;
use super::words::DeliveryKey;
use super::{calls, letters};
use crate::classify::Recipient;
use crate::digest::Digest;
use crate::ledger::{LedgerRow, State};
use crate::record::{Channel, Record};
use crate::store::codec::{Decoder, Encoder};
use crate::store::keys;
use crate::store::{Space, Store, StoreError};

mod answered;
mod gather;

pub(super) use answered::outcome;
pub(super) use gather::{due, resume};

const VERSION: u8 = 1;
const ID_BYTES: usize = 16;
/// The kind of row behind a head's call: the others that its letter carries.
const LETTER: u8 = b'l';

/// What a delivery waits for. The kind of its row; persistent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum For {
    /// The end of quiet hours, the time of a digest.
    Wishes = b'h',
    /// Another try of the provider.
    Provider = b't',
}

/// Kind, recipient, channel, id: those of one user and channel lie together. A call is id, recipient, channel.
fn waiting_key(what: For, call: &[u8]) -> Vec<u8> {
    let (id, to) = call.split_at(ID_BYTES.min(call.len()));
    [&[what as u8], to, id].concat()
}

/// The call of a row that waits.
fn call_of(key: &[u8]) -> Option<Vec<u8>> {
    let (to, id) = key.get(1..)?.split_last_chunk::<ID_BYTES>()?;
    Some([id.as_slice(), to].concat())
}

fn letter_key(head: &[u8]) -> Vec<u8> {
    keys::within(&[LETTER], head)
}

/// It waits for its user's wishes, until then.
pub(super) fn hold<S: Store>(desk: &mut Desk<S>, call: &[u8], at: Wall) {
    wait(desk, For::Wishes, call, at);
}

fn wait<S: Store>(desk: &mut Desk<S>, what: For, call: &[u8], at: Wall) {
    desk.turn.put(Space::Digests, waiting_key(what, call), Encoder::new(VERSION).wall(at).finish());
}

pub(super) fn is_waiting<S: Store>(desk: &Desk<S>, call: &[u8]) -> Result<bool, StoreError> {
    for what in [For::Wishes, For::Provider] {
        if desk.turn.get(Space::Digests, &waiting_key(what, call))?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// It waits no more, or for something else.
pub(super) fn leave<S: Store>(desk: &mut Desk<S>, call: &[u8]) -> Result<(), StoreError> {
    for what in [For::Wishes, For::Provider] {
        forget(desk, waiting_key(what, call))?;
    }
    Ok(())
}

/// Deleted if it is there: what is not there is not written about.
fn forget<S: Store>(desk: &mut Desk<S>, key: Vec<u8>) -> Result<(), StoreError> {
    if desk.turn.get(Space::Digests, &key)?.is_some() {
        desk.turn.delete(Space::Digests, key);
    }
    Ok(())
}

/// What is known of the letters of a row that goes, also of one that cannot be read.
pub(super) fn forget_row<S: Store>(desk: &mut Desk<S>, key: &[u8]) -> Result<(), StoreError> {
    for channel in Channel::ALL.into_iter().filter(|channel| *channel != Channel::Inapp) {
        let call = keys::within(key, &[channel as u8]);
        leave(desk, &call)?;
        forget(desk, letter_key(&call))?;
    }
    Ok(())
}

/// The life of one that is out with others is over: their letter is asked for back, and goes without it.
pub(super) fn ask_back<S: Store>(
    desk: &mut Desk<S>,
    row: &LedgerRow,
    key: &[u8],
    (id, to): (Uuid, &Recipient),
) -> Result<(), StoreError> {
    let Recipient::User(user) = to else { return Ok(()) };
    for delivery in row.deliveries.iter().filter(|delivery| delivery.state == State::Open { due_at: None }) {
        let call = keys::within(key, &[delivery.channel as u8]);
        let out = calls::of(desk, &call);
        if letters::sound(desk, out)?.is_some_and(|out| out.head.is_some()) {
            let delivery = DeliveryKey { id, channel: delivery.channel, user: user.clone() };
            calls::take_back(desk, &delivery, &call)?;
        }
    }
    Ok(())
}

/// The others that went under this head. One that cannot be read is as good as none.
pub(super) fn others<S: Store>(desk: &mut Desk<S>, head: &[u8]) -> Result<Vec<Uuid>, StoreError> {
    let row = desk.turn.get(Space::Digests, &letter_key(head))?;
    let read = row.map(decode_letter).transpose();
    Ok(letters::sound(desk, read)?.unwrap_or_default())
}

fn keep_letter<S: Store>(desk: &mut Desk<S>, head: &[u8], others: &[Uuid]) {
    let mut row = Encoder::new(VERSION);
    row.u32(others.len() as u32);
    for id in others {
        row.run(id.as_bytes());
    }
    desk.turn.put(Space::Digests, letter_key(head), row.finish());
}

fn decode_letter(row: Bytes) -> Result<Vec<Uuid>, StoreError> {
    let mut row = Decoder::new(Space::Digests, row, VERSION)?;
    let count = row.count(4 + ID_BYTES)?;
    let id = |bytes: Vec<u8>| Uuid::from_slice(&bytes).ok();
    (0..count).map(|_| id(row.bytes()?).ok_or_else(|| row.damaged("an id has 16 bytes"))).collect()
}

/// The call of another notification for the same recipient and channel.
fn call_for(id: Uuid, call: &[u8]) -> Vec<u8> {
    [id.as_bytes(), &call[ID_BYTES.min(call.len())..]].concat()
}

/// What the letter of this head says to who gets it later: without what its reader has acted on, and what is over. `None`: it
/// carried nobody else.
pub(super) fn of<S: Store>(
    desk: &mut Desk<S>,
    head: &[u8],
    record: &Record,
) -> Result<Option<Digest>, StoreError> {
    let others = others(desk, head)?;
    if others.is_empty() {
        return Ok(None);
    }
    let mut records = vec![record.clone()];
    for id in others {
        let call = call_for(id, head);
        let row = desk.row(&call[..call.len() - 1]);
        let now = desk.steady;
        let is_wanted =
            |row: LedgerRow| row.acknowledgements == 0 && row.expires_at.is_none_or(|at| at > now);
        if letters::sound(desk, row)?.is_some_and(is_wanted) {
            let known = desk.record(id);
            records.extend(letters::sound(desk, known)?);
        }
    }
    Ok(Some(Digest::of(&records)))
}

/// Those whose calls went out under this head, and were not answered by the run that made them.
fn riders<S: Store>(desk: &mut Desk<S>, head: Uuid, call: &[u8]) -> Result<Vec<Vec<u8>>, StoreError> {
    let mut riders = Vec::new();
    for id in others(desk, &call_for(head, call))? {
        let rider = call_for(id, call);
        let out = calls::of(desk, &rider);
        let boot = desk.boot;
        if letters::sound(desk, out)?.is_some_and(|out| out.head == Some(head) && out.boot != boot) {
            riders.push(rider);
        }
    }
    Ok(riders)
}

/// Whether the call that a kill left out is one of a letter that others wait for, too. Else it is a device's that is tried on.
pub(super) fn is_letter<S: Store>(desk: &mut Desk<S>, head: Uuid, call: &[u8]) -> Result<bool, StoreError> {
    if !call.starts_with(head.as_bytes()) || !riders(desk, head, call)?.is_empty() {
        return Ok(true);
    }
    let Some((channel, key)) = call.split_last() else { return Ok(false) };
    let row = desk.row(key);
    let row = letters::sound(desk, row)?.unwrap_or_default();
    Ok(row.deliveries.iter().any(|delivery| delivery.channel as u8 == *channel && delivery.state.is_open()))
}
