//! What the outbox providers have sent, in the store: a bounded ring for each channel, each delivery once.

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use wire::time::Wall;

use crate::limits::OUTBOX_KEPT_MAX;
use crate::record::Channel;
use crate::store::{Batch, Order, Range, Space, Store, StoreError};

/// The version of a row.
const ROW_VERSION: u8 = 1;
/// The first byte of a key: by channel and number, by delivery.
const BY_NUMBER: u8 = b'n';
const BY_DELIVERY: u8 = b'd';
/// Rows of one scan.
const SCAN_ROWS: usize = 512;

/// One message as it would have gone out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sent {
    /// The delivery that it is of.
    pub delivery: String,
    /// The notification's id.
    pub id: String,
    pub channel: Channel,
    pub user: String,
    pub title: Option<String>,
    pub body: Option<String>,
    pub at: Wall,
}

/// All channels' rings.
#[derive(Debug)]
pub struct Kept<S> {
    store: S,
    /// The next number of each channel; one writer at a time.
    next: Mutex<[u64; Channel::ALL.len()]>,
    bound: u64,
}

impl<S: Store> Kept<S> {
    pub fn open(store: S) -> Result<Kept<S>, StoreError> {
        Kept::with_bound(store, OUTBOX_KEPT_MAX)
    }

    fn with_bound(store: S, bound: u64) -> Result<Kept<S>, StoreError> {
        let mut next = [0; Channel::ALL.len()];
        for channel in Channel::ALL {
            let newest = store.scan(Space::Outbox, &Range::prefix(&ring(channel)), Order::Reverse, 1)?;
            next[channel as usize] = newest.first().map_or(0, |(key, _)| number(key) + 1);
        }
        Ok(Kept { store, next: Mutex::new(next), bound })
    }

    /// Keeps a message, unless its delivery is kept already.
    pub fn keep(&self, sent: &Sent) -> Result<(), StoreError> {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let by_delivery = by_delivery(&sent.delivery);
        if self.store.get(Space::Outbox, &by_delivery)?.is_some() {
            return Ok(());
        }
        let number = next[sent.channel as usize];
        let mut batch = Batch::default();
        let mut row = vec![ROW_VERSION];
        serde_json::to_writer(&mut row, sent).expect("a row is strings");
        batch.put(Space::Outbox, by_number(sent.channel, number), row);
        batch.put(Space::Outbox, by_delivery, number.to_be_bytes().to_vec());
        if let Some(oldest) = number.checked_sub(self.bound) {
            let key = by_number(sent.channel, oldest);
            if let Some(row) = self.store.get(Space::Outbox, &key)? {
                batch.delete(Space::Outbox, self::by_delivery(&read(&row)?.delivery));
                batch.delete(Space::Outbox, key);
            }
        }
        self.store.commit(&batch)?;
        next[sent.channel as usize] = number + 1;
        Ok(())
    }

    /// The newest, newest first, of one channel or all, of one user or all.
    pub fn newest(
        &self,
        channel: Option<Channel>,
        user: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Sent>, StoreError> {
        let mut all = Vec::new();
        for channel in Channel::ALL.into_iter().filter(|one| channel.is_none_or(|wanted| *one == wanted)) {
            all.extend(self.newest_of(channel, user, limit)?);
        }
        all.sort_by_key(|sent| std::cmp::Reverse(sent.at));
        all.truncate(limit);
        Ok(all)
    }

    fn newest_of(&self, channel: Channel, user: Option<&str>, limit: usize) -> Result<Vec<Sent>, StoreError> {
        let mut found = Vec::new();
        let mut range = Range::prefix(&ring(channel));
        loop {
            let rows = self.store.scan(Space::Outbox, &range, Order::Reverse, SCAN_ROWS)?;
            let Some((last, _)) = rows.last() else { return Ok(found) };
            range = range.before(last);
            for (_, row) in &rows {
                let sent = read(row)?;
                if user.is_none_or(|user| user == sent.user) {
                    found.push(sent);
                }
                if found.len() == limit {
                    return Ok(found);
                }
            }
        }
    }
}

fn read(row: &Bytes) -> Result<Sent, StoreError> {
    let damaged = |what: String| StoreError::Damaged { space: Space::Outbox, what };
    match row.split_first() {
        Some((&ROW_VERSION, json)) => {
            serde_json::from_slice(json).map_err(|error| damaged(error.to_string()))
        }
        _ => Err(damaged(format!("a row that is not of version {ROW_VERSION}"))),
    }
}

/// Every message, for the owner's erasures.
pub fn messages() -> Range {
    Range::prefix(&[BY_NUMBER])
}

/// Who a message was sent to, and the key by which its delivery is known.
pub fn sent_to(row: &Bytes) -> Result<(String, Vec<u8>), StoreError> {
    read(row).map(|sent| (sent.user, by_delivery(&sent.delivery)))
}

/// The key of the message that the row of a delivery points at.
pub fn message(channel: Channel, row: &[u8]) -> Vec<u8> {
    by_number(channel, number(row))
}

fn ring(channel: Channel) -> [u8; 2] {
    [BY_NUMBER, channel as u8]
}

fn by_number(channel: Channel, number: u64) -> Vec<u8> {
    [ring(channel).as_slice(), &number.to_be_bytes()].concat()
}

fn number(key: &[u8]) -> u64 {
    key.last_chunk().copied().map_or(0, u64::from_be_bytes)
}

pub fn by_delivery(delivery: &str) -> Vec<u8> {
    [&[BY_DELIVERY], delivery.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemoryStore;

    fn sent(number: i64, channel: Channel, user: &str) -> Sent {
        Sent {
            delivery: format!("{number}/{}", channel.name()),
            id: number.to_string(),
            channel,
            user: user.to_owned(),
            title: Some(format!("title {number}")),
            body: None,
            at: Wall(number),
        }
    }

    fn ids(found: &[Sent]) -> Vec<&str> {
        found.iter().map(|sent| sent.id.as_str()).collect()
    }

    #[test]
    fn each_delivery_is_kept_once_also_after_a_restart() {
        let store = MemoryStore::default();
        let kept = Kept::open(store.clone()).unwrap();
        kept.keep(&sent(1, Channel::Push, "u")).unwrap();
        let kept = Kept::open(store).unwrap();
        kept.keep(&sent(1, Channel::Push, "u")).unwrap();
        kept.keep(&sent(2, Channel::Push, "u")).unwrap();
        assert_eq!(ids(&kept.newest(Some(Channel::Push), None, 10).unwrap()), ["2", "1"]);
    }

    #[test]
    fn channels_and_users_are_told_apart() {
        let kept = Kept::open(MemoryStore::default()).unwrap();
        for (number, channel, user) in [
            (1, Channel::Push, "u"),
            (2, Channel::Sms, "u"),
            (3, Channel::Push, "v"),
            (4, Channel::Push, "u"),
        ] {
            kept.keep(&sent(number, channel, user)).unwrap();
        }
        assert_eq!(ids(&kept.newest(None, Some("u"), 10).unwrap()), ["4", "2", "1"]);
        assert_eq!(ids(&kept.newest(Some(Channel::Push), Some("u"), 1).unwrap()), ["4"]);
        assert_eq!(ids(&kept.newest(Some(Channel::Voice), None, 10).unwrap()), [""; 0]);
    }

    #[test]
    fn the_ring_keeps_the_newest_only() {
        let store = MemoryStore::default();
        let kept = Kept::with_bound(store.clone(), 3).unwrap();
        for number in 0..10 {
            kept.keep(&sent(number, Channel::Push, "u")).unwrap();
        }
        assert_eq!(ids(&kept.newest(None, None, 100).unwrap()), ["9", "8", "7"]);
        assert_eq!(store.scan(Space::Outbox, &Range::all(), Order::Forward, 100).unwrap().len(), 6);
    }
}
