//! Addresses that are not written to any more, whoever they are of: since they bounced, somebody complained, said STOP or
//! unsubscribed, or a provider calls them gone.
//!
//! Pure. Owns [`Space::Suppressions`], by channel and a hash of the address: two users of one address share its fate, and an
//! opt-out that comes by SMS names a number and nobody's id. The hash outlives an erasure, so that nobody who said no is
//! written to again. Read for every letter, changed by receipts and the API.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use wire::time::Wall;

use crate::contacts::{Contacts, MARK_BYTES};
use crate::provider::letter::Address;
use crate::record::Channel;
use crate::store::codec::{Decoder, Encoder};
use crate::store::turn::Turn;
use crate::store::{Space, Store, StoreError};

const VERSION: u8 = 1;

/// Why an address is not written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// Mail to it comes back, for good.
    Bounce,
    /// Its owner called a mail spam.
    Complaint,
    /// Its owner answered STOP.
    Stop,
    Unsubscribe,
    /// The provider says that there is no such address.
    Gone,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suppression {
    pub reason: Why,
    pub since: Wall,
}

/// One of a user's addresses that is suppressed, as the API shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Shown {
    pub channel: Channel,
    /// Masked.
    pub address: String,
    #[serde(flatten)]
    pub suppression: Suppression,
}

/// Whether a channel's addresses can be suppressed. A device is asked by its user, or gone.
pub fn has(channel: Channel) -> bool {
    matches!(channel, Channel::Email | Channel::Sms | Channel::Voice)
}

pub fn load<S: Store>(
    turn: &Turn<S>,
    channel: Channel,
    address: &Address,
) -> Result<Option<Suppression>, StoreError> {
    if !has(channel) {
        return Ok(None);
    }
    turn.get(Space::Suppressions, &key(channel, address))?.map(decode).transpose()
}

/// The first reason stands. True: it was not suppressed before.
pub fn keep<S: Store>(
    turn: &mut Turn<S>,
    channel: Channel,
    address: &Address,
    reason: Why,
    now: Wall,
) -> Result<bool, StoreError> {
    keep_mark(turn, channel, &address.mark(), reason, now)
}

/// The same of an address of which the mark alone is known.
pub fn keep_mark<S: Store>(
    turn: &mut Turn<S>,
    channel: Channel,
    mark: &[u8; MARK_BYTES],
    reason: Why,
    now: Wall,
) -> Result<bool, StoreError> {
    let key = key_of(channel, mark);
    if !has(channel) || turn.get(Space::Suppressions, &key)?.is_some() {
        return Ok(false);
    }
    let row = Encoder::new(VERSION).json(&Suppression { reason, since: now }).finish();
    turn.put(Space::Suppressions, key, row);
    Ok(true)
}

/// True: it was suppressed.
pub fn lift<S: Store>(turn: &mut Turn<S>, channel: Channel, address: &Address) -> Result<bool, StoreError> {
    let was = load(turn, channel, address)?.is_some();
    if was {
        turn.delete(Space::Suppressions, key(channel, address));
    }
    Ok(was)
}

/// All of a user's.
pub fn of<S: Store>(turn: &Turn<S>, contacts: &Contacts) -> Result<Vec<Shown>, StoreError> {
    let mut shown = Vec::new();
    for channel in Channel::ALL.into_iter().filter(|channel| has(*channel)) {
        for address in contacts.addresses(channel) {
            let suppression = load(turn, channel, &address)?;
            let one =
                suppression.map(|suppression| Shown { channel, address: address.masked(), suppression });
            shown.extend(one);
        }
    }
    Ok(shown)
}

fn key(channel: Channel, address: &Address) -> Vec<u8> {
    key_of(channel, &address.mark())
}

fn key_of(channel: Channel, mark: &[u8; MARK_BYTES]) -> Vec<u8> {
    [&[channel as u8], mark.as_slice()].concat()
}

fn decode(row: Bytes) -> Result<Suppression, StoreError> {
    let mut row = Decoder::new(Space::Suppressions, row, VERSION)?;
    serde_json::from_slice(&row.rest()).map_err(|error| row.damaged(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemoryStore;

    #[test]
    fn an_address_is_suppressed_by_channel_and_the_first_reason_stands() {
        let mut turn = Turn::new(MemoryStore::new());
        let phone = Address::Phone("+4930123456".to_owned());
        assert_eq!(keep(&mut turn, Channel::Sms, &phone, Why::Stop, Wall(1)), Ok(true));
        assert_eq!(keep(&mut turn, Channel::Sms, &phone, Why::Gone, Wall(2)), Ok(false));
        let stands = Some(Suppression { reason: Why::Stop, since: Wall(1) });
        assert_eq!(load(&turn, Channel::Sms, &phone), Ok(stands));
        assert_eq!(load(&turn, Channel::Voice, &phone), Ok(None));
        assert_eq!(lift(&mut turn, Channel::Sms, &phone), Ok(true));
        assert_eq!(lift(&mut turn, Channel::Sms, &phone), Ok(false));
        let token = Address::Fcm("a".to_owned());
        assert_eq!(keep(&mut turn, Channel::Push, &token, Why::Gone, Wall(1)), Ok(false));
    }
}
