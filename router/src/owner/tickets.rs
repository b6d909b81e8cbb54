//! One-use tickets: kept as a hash, deleted in the batch that answers the first `Redeem`. And revocations, remembered for
//! a while for shards whose link is down.

use std::collections::VecDeque;
use std::time::Duration;

use wire::link::Revoked;
use wire::time::{Mono, Wall};

use super::clock::Tick;
use super::desk::{Desk, Due};
use crate::store::codec::{Decoder, Encoder};
use crate::store::{Order, Range, Space, Store, StoreError};
use crate::tickets::hash;

const VERSION: u8 = 1;
/// Rows read at once.
const SCAN: usize = 512;
/// How long a link that comes up is told of a revocation.
const REVOCATION_KEPT: Duration = Duration::from_secs(30);
/// Revocations that are remembered.
const REVOCATIONS_MAX: usize = 1_024;

/// The latest revocations.
#[derive(Debug, Default)]
pub(super) struct Revocations {
    kept: VecDeque<(Mono, Revoked)>,
}

impl Revocations {
    pub(super) fn note(&mut self, who: Revoked, now: Mono) {
        if self.kept.len() == REVOCATIONS_MAX {
            self.kept.pop_front();
        }
        self.kept.push_back((now, who));
    }

    pub(super) fn recent(&mut self, now: Mono) -> Vec<Revoked> {
        self.kept.retain(|(at, _)| now.since(*at) <= REVOCATION_KEPT);
        self.kept.iter().map(|(_, who)| who.clone()).collect()
    }
}

pub(super) fn issue<S: Store>(desk: &mut Desk<S>, user: &str, hash: [u8; 32], expires_at: Wall, now: Tick) {
    let at = now.to_steady(expires_at);
    let row = Encoder::new(VERSION).wall(at).text(user).finish();
    desk.turn.put(Space::Tickets, hash.to_vec(), row);
    desk.schedule(at, Due::Ticket, &hash);
}

/// Whose it is, if it is good. It never is again.
pub(super) fn redeem<S: Store>(
    desk: &mut Desk<S>,
    ticket: &str,
    now: Tick,
) -> Result<Option<String>, StoreError> {
    let key = hash(ticket);
    let Some((at, user)) = load(desk, &key)? else { return Ok(None) };
    drop_ticket(desk, &key, at);
    // A power cut must not make it good again.
    desk.must_persist = true;
    Ok((now.steady < at).then_some(user))
}

/// A revoked user's tickets are no good either; how many there were.
pub(super) fn revoke<S: Store>(desk: &mut Desk<S>, user: &str) -> Result<u64, StoreError> {
    let mut revoked = 0;
    let mut range = Range::all();
    loop {
        let rows = desk.turn.scan(Space::Tickets, &range, Order::Forward, SCAN)?;
        let Some((last, _)) = rows.last() else { return Ok(revoked) };
        range = range.after(last);
        for (key, _) in rows {
            if let Some((at, of)) = load(desk, &key)?
                && of == user
            {
                drop_ticket(desk, &key, at);
                revoked += 1;
            }
        }
    }
}

fn load<S: Store>(desk: &Desk<S>, key: &[u8]) -> Result<Option<(Wall, String)>, StoreError> {
    let Some(row) = desk.turn.get(Space::Tickets, key)? else { return Ok(None) };
    let mut row = Decoder::new(Space::Tickets, row, VERSION)?;
    Ok(Some((row.wall()?, row.text()?)))
}

fn drop_ticket<S: Store>(desk: &mut Desk<S>, key: &[u8], at: Wall) {
    desk.turn.delete(Space::Tickets, key.to_vec());
    desk.unschedule(at, Due::Ticket, key);
}
