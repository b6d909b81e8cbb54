//! The letters of one delivery: to whom they go, and, when a push went to several devices, which of them are done with while
//! others are still tried.
//!
//! Owns [`Space::Letters`]: a row is there while a delivery is tried again, or was taken back while a call is out. Called
//! by `intake` (whenever a provider is asked), `answers`, and whoever ends a delivery.

use bytes::Bytes;
use wire::time::Wall;

use super::desk::{Desk, Due};
use super::words::DeliveryKey;
use super::{calls, otp};
use crate::contacts::{Contacts, MARK_BYTES};
use crate::ledger::{LedgerRow, Reason};
use crate::provider::letter::Address;
use crate::provider::way::Way;
use crate::record::{Channel, Record};
use crate::store::codec::{Decoder, Encoder};
use crate::store::keys;
use crate::store::{Space, Store, StoreError};
use crate::suppression;

const VERSION: u8 = 2;

/// How an address ended. Persistent by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Fate {
    /// It is tried again.
    Open = 0,
    Taken = 1,
    Failed = 2,
    /// It may have gone out.
    Unknown = 3,
}

/// What is settled of a delivery.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Progress {
    /// When the others are tried again.
    pub(super) retry_at: Option<Wall>,
    /// Since when it is tried, on the steady clock. What waits for its turn is not tried yet.
    pub(super) tried_since: Option<Wall>,
    /// It was taken back while a call was out: nothing is tried again.
    pub(super) stopped: Option<Reason>,
    letters: Vec<([u8; MARK_BYTES], Fate)>,
}

impl Progress {
    pub(super) fn settle(&mut self, address: &Address, fate: Fate) {
        let mark = address.mark();
        self.letters.retain(|(known, _)| *known != mark);
        self.letters.push((mark, fate));
    }

    pub(super) fn any(&self, fate: Fate) -> bool {
        self.letters.iter().any(|(_, known)| *known == fate)
    }

    /// Whether this address is tried now. What was registered since waits for nothing that somebody has already.
    fn wants(&self, address: &Address) -> bool {
        let mark = address.mark();
        let known = self.letters.iter().find(|(known, _)| *known == mark);
        known.map_or(!self.any(Fate::Taken), |(_, fate)| *fate == Fate::Open)
    }

    /// The same, whenever it is tried again.
    pub(super) fn so_far(self) -> Progress {
        Progress { retry_at: None, ..self }
    }

    pub(super) fn keep<S: Store>(&self, desk: &mut Desk<S>, call: &[u8]) {
        desk.turn.put(Space::Letters, call.to_vec(), self.encode());
    }

    fn encode(&self) -> Bytes {
        let mut row = Encoder::new(VERSION);
        row.optional_wall(self.retry_at).optional_wall(self.tried_since);
        row.u8(match self.stopped {
            None => 0,
            Some(Reason::Collapsed) => 1,
            Some(_) => 2,
        });
        row.u32(self.letters.len() as u32);
        for (mark, fate) in &self.letters {
            row.run(mark).u8(*fate as u8);
        }
        row.finish()
    }

    fn decode(row: Bytes) -> Result<Progress, StoreError> {
        let mut row = Decoder::new(Space::Letters, row, VERSION)?;
        let (retry_at, tried_since) = (row.optional_wall()?, row.optional_wall()?);
        let stopped = match row.u8()? {
            0 => None,
            1 => Some(Reason::Collapsed),
            _ => Some(Reason::Cancelled),
        };
        let count = row.count(4 + MARK_BYTES + 1)?;
        let mut letters = Vec::with_capacity(count);
        for _ in 0..count {
            let mark = row.bytes()?.try_into().map_err(|_| row.damaged("a mark of another length"))?;
            let fate = match row.u8()? {
                0 => Fate::Open,
                1 => Fate::Taken,
                2 => Fate::Failed,
                3 => Fate::Unknown,
                _ => return Err(row.damaged("an unknown end of a letter")),
            };
            letters.push((mark, fate));
        }
        Ok(Progress { retry_at, tried_since, stopped, letters })
    }
}

/// Of the delivery whose call this is. One that cannot be read is as good as none: what it would have spared is sent once more.
pub(super) fn load<S: Store>(desk: &mut Desk<S>, call: &[u8]) -> Result<Option<Progress>, StoreError> {
    let read = desk.turn.get(Space::Letters, call)?.map(Progress::decode).transpose();
    sound(desk, read)
}

/// A damaged row is told, and stands for nothing: it holds up one delivery at most, not all that came with it.
pub(super) fn sound<S: Store, T: Default>(
    desk: &mut Desk<S>,
    read: Result<T, StoreError>,
) -> Result<T, StoreError> {
    match read {
        Err(damage @ StoreError::Damaged { .. }) => {
            desk.alert("store_row_damaged", true, damage.to_string());
            Ok(T::default())
        }
        read => read,
    }
}

/// The delivery is taken back. A call of it that is out is not made again, whatever it is answered.
pub(super) fn stop<S: Store>(
    desk: &mut Desk<S>,
    delivery: &DeliveryKey,
    call: &[u8],
    reason: &Reason,
) -> Result<(), StoreError> {
    let known = forget(desk, call)?;
    if calls::take_back(desk, delivery, call)? {
        let progress =
            Progress { retry_at: None, stopped: Some(reason.clone()), ..known.unwrap_or_default() };
        progress.keep(desk, call);
    }
    Ok(())
}

/// Those that are still tried wait until then.
pub(super) fn put_off<S: Store>(desk: &mut Desk<S>, call: &[u8], at: Wall) -> Result<(), StoreError> {
    if let Some(progress) = forget(desk, call)? {
        Progress { retry_at: Some(at), ..progress }.keep(desk, call);
        desk.schedule(at, Due::Retry, call);
    }
    Ok(())
}

/// Takes it out, and the time of the next try with it.
pub(super) fn forget<S: Store>(desk: &mut Desk<S>, call: &[u8]) -> Result<Option<Progress>, StoreError> {
    if desk.turn.get(Space::Letters, call)?.is_none() {
        return Ok(None);
    }
    let progress = load(desk, call)?;
    desk.turn.delete(Space::Letters, call.to_vec());
    if let Some(Progress { retry_at: Some(at), .. }) = &progress {
        desk.unschedule(*at, Due::Retry, call);
    }
    Ok(progress)
}

/// What is held begins anew, like what comes then; but what may have gone out to somebody is not sent there again.
pub(super) fn begin_anew<S: Store>(desk: &mut Desk<S>, call: &[u8]) -> Result<(), StoreError> {
    if load(desk, call)?.is_some_and(|known| known.stopped.is_none() && !known.any(Fate::Unknown)) {
        forget(desk, call)?;
    }
    Ok(())
}

/// The same of all channels of a row.
pub(super) fn forget_all<S: Store>(
    desk: &mut Desk<S>,
    row: &LedgerRow,
    key: &[u8],
) -> Result<(), StoreError> {
    for delivery in row.deliveries.iter().filter(|delivery| delivery.channel != Channel::Inapp) {
        forget(desk, &keys::within(key, &[delivery.channel as u8]))?;
    }
    Ok(())
}

/// Where a call goes now: all addresses of the channel that an account carries and that are not done with. Once one has it,
/// those that came later get it no more. Empty where the outbox keeps it; or why nobody can be asked.
pub(super) fn addresses<S: Store>(
    desk: &mut Desk<S>,
    record: &Record,
    user: &str,
    channel: Channel,
    call: &[u8],
) -> Result<Result<Vec<Address>, Reason>, StoreError> {
    let ways = desk.config.ways;
    let code = otp::of(desk, record)?;
    if ways.drop(channel) {
        return Ok(Err(Reason::NoAccount));
    }
    if !ways.carry(channel) {
        // Nobody is there whom the outbox could tell a code: beside real accounts it would only be taken for a way.
        let is_lost = ways.any() && code.is_some();
        return Ok(if is_lost { Err(Reason::NoAccount) } else { Ok(Vec::new()) });
    }
    let contacts = if let Some(contacts) = code.and_then(|code| code.contacts) {
        contacts
    } else {
        let known = Contacts::load(&desk.turn, user);
        sound(desk, known)?
    };
    let mut addresses = contacts.addresses(channel);
    addresses.retain(|address| ways.has(Way::to(address, channel)));
    let is_known = !addresses.is_empty();
    let mut allowed = Vec::with_capacity(addresses.len());
    for address in addresses {
        let suppressed = suppression::load(&desk.turn, channel, &address);
        if sound(desk, suppressed)?.is_none() {
            allowed.push(address);
        }
    }
    let why = if is_known && allowed.is_empty() { Reason::Suppressed } else { Reason::NoAddress };
    let mut addresses = allowed;
    if let Some(progress) = load(desk, call)? {
        addresses.retain(|address| progress.wants(address));
    }
    Ok(if addresses.is_empty() { Err(why) } else { Ok(addresses) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_settled_is_read_as_it_was_written() {
        let mut progress = Progress {
            retry_at: Some(Wall(7)),
            tried_since: Some(Wall(5)),
            stopped: Some(Reason::Collapsed),
            ..Progress::default()
        };
        for (token, fate) in
            [("a", Fate::Failed), ("b", Fate::Open), ("c", Fate::Taken), ("c", Fate::Unknown)]
        {
            progress.settle(&Address::Fcm(token.to_owned()), fate);
        }
        let row = progress.encode();
        assert_eq!(Progress::decode(row.clone()), Ok(progress.clone()));
        assert_eq!(progress.letters.len(), 3, "the last word on an address counts");
        for length in 0..row.len() {
            assert!(Progress::decode(row.slice(..length)).is_err(), "cut to {length}");
        }
    }

    #[test]
    fn only_what_is_open_is_tried_and_what_is_new_until_somebody_has_it() {
        let fcm = |token: &str| Address::Fcm(token.to_owned());
        let mut progress = Progress::default();
        progress.settle(&fcm("a"), Fate::Failed);
        progress.settle(&fcm("b"), Fate::Open);
        let wanted = |progress: &Progress| ["a", "b", "new"].map(|token| progress.wants(&fcm(token)));
        assert_eq!(wanted(&progress), [false, true, true]);
        progress.settle(&fcm("c"), Fate::Taken);
        assert_eq!(wanted(&progress), [false, true, false]);
    }
}
