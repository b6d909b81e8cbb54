//! Erasing a person: every row of one user goes, and nothing that was accepted before brings one back.
//!
//! Owns the order. First a row in [`Space::Erased`] names the user, forced to the disk; then the spaces are read from end to
//! end, a bounded number of rows a turn; then that row keeps a hash and a date, for a week. What was accepted up to that
//! date has [`Recipient::Erased`] instead of the user and goes nowhere. The ledger's rows are left there, too, bare of
//! everything but how they ended: so the equation can be recounted and repetitions are known, until retention takes them.
//! An erasure that a stop cuts off begins anew at the next start. No index leads to a user's rows: every delivery would
//! pay for a reading that is rare.
//! Called by `owner` (asks, goes on), `intake` (for every record that is not younger than the last erasure), `outcomes`.

use std::collections::BTreeMap;
use std::slice;
use std::time::Duration;

use bytes::Bytes;
use data_encoding::HEXLOWER;
use wire::link::Revoked;
use wire::time::Wall;

use super::clock::Tick;
use super::commands;
use super::desk::{Desk, Due, decode_record};
use super::digests;
use super::intake;
use super::letters;
use super::logs::{self, LogRow};
use super::words::{Answer, DeliveryKey, Output};
use crate::classify::Recipient;
use crate::ledger::{Event, LedgerRow, Reason};
use crate::otp::Otp;
use crate::outcomes;
use crate::presence::Presence;
use crate::projection::queue;
use crate::provider::kept;
use crate::record::{Channel, Record};
use crate::store::codec::{Decoder, Encoder};
use crate::store::keys;
use crate::store::{Order, Range, SCAN_ROWS_MAX, Space, Store, StoreError};
use crate::tickets::hash;

const VERSION: u8 = 1;
/// How long what was accepted before cannot come back. A journal that is read later than this has been left for dead.
const STANDS: Duration = Duration::from_secs(7 * 24 * 3_600);
/// Bytes of a name's hash.
const SUBJECT_BYTES: usize = 16;
/// What is read, in this order: deliveries end before what they left is looked for.
const SPACES: [Space; 10] = [
    Space::Ledger,
    Space::Notifications,
    Space::Inbox,
    Space::Marks,
    Space::Collapse,
    Space::Overflow,
    Space::DeadLetters,
    Space::Outbox,
    Space::Otp,
    Space::Outcomes,
];

/// The answer to [`Command::Erase`](super::Command::Erase).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Erasure {
    /// Rows that went, by the name of their space; `lists`: lists of recipients that lost the name.
    pub erased: BTreeMap<&'static str, u64>,
    /// Deliveries that were open and do not go out.
    pub cancelled: u64,
}

/// One erasure under way.
#[derive(Debug, Clone)]
pub(super) struct Work {
    /// Who is to be answered; nobody after a restart.
    token: Option<u64>,
    user: String,
    /// [`Desk::erased_until`] without it.
    before: Wall,
    /// Which of [`SPACES`] is read, and up to where it is done.
    step: usize,
    after: Option<Vec<u8>>,
    told: Erasure,
}

impl Work {
    fn new(token: Option<u64>, user: String, before: Wall) -> Work {
        Work { token, user, before, step: 0, after: None, told: Erasure::default() }
    }

    fn count(&mut self, what: &'static str, rows: u64) {
        if rows > 0 {
            *self.told.erased.entry(what).or_default() += rows;
        }
    }

    /// Who asked, when it cannot go on.
    pub(super) fn token(&self) -> Option<u64> {
        self.token
    }
}

/// A row of [`Space::Erased`].
#[derive(Debug)]
struct Stone {
    /// What was accepted up to here goes nowhere.
    until: Wall,
    /// When the row goes, on the steady clock.
    over_at: Wall,
    /// The name, while rows are left.
    unfinished: Option<String>,
}

impl Stone {
    fn encode(&self) -> Bytes {
        let mut row = Encoder::new(VERSION);
        row.wall(self.until).wall(self.over_at).optional_text(self.unfinished.as_deref());
        row.finish()
    }

    fn decode(row: Bytes) -> Result<Stone, StoreError> {
        let mut row = Decoder::new(Space::Erased, row, VERSION)?;
        Ok(Stone { until: row.wall()?, over_at: row.wall()?, unfinished: row.optional_text()? })
    }
}

fn subject(user: &str) -> String {
    HEXLOWER.encode(&hash(user)[..SUBJECT_BYTES])
}

fn instead_of(user: &str) -> Recipient {
    Recipient::Erased(subject(user))
}

/// What a stop cut off, and up to when nothing may come back.
pub(super) fn unfinished<S: Store>(store: &S) -> Result<(Option<Work>, Wall), StoreError> {
    let (mut user, mut before) = (None, Wall(i64::MIN));
    let mut range = Range::all();
    loop {
        let rows = store.scan(Space::Erased, &range, Order::Forward, SCAN_ROWS_MAX)?;
        let Some((last, _)) = rows.last() else { break };
        range = range.after(last);
        for (_, row) in rows {
            let stone = Stone::decode(row)?;
            if stone.unfinished.is_none() {
                before = before.max(stone.until);
            }
            user = user.or(stone.unfinished);
        }
    }
    let until = if user.is_some() { Wall(i64::MAX) } else { before };
    Ok((user.map(|user| Work::new(None, user, before)), until))
}

/// Who stands for a user who was erased after this was accepted. Costs nothing if it is younger than every erasure.
pub(super) fn instead<S: Store>(
    desk: &Desk<S>,
    record: &Record,
    user: &str,
) -> Result<Option<Recipient>, StoreError> {
    if record.accepted_at > desk.erased_until {
        return Ok(None);
    }
    let stone = desk.turn.get(Space::Erased, subject(user).as_bytes())?;
    let stone = stone.map(Stone::decode).transpose()?;
    Ok(stone.filter(|stone| record.accepted_at <= stone.until).map(|_| instead_of(user)))
}

/// Keeps a record without these names. False: it was for nobody else, and is forgotten.
pub(super) fn keep_for_others<S: Store>(
    desk: &mut Desk<S>,
    record: &Record,
    erased: &[String],
    with_texts: bool,
) -> bool {
    let Some(to) = record.request.to.without(erased) else {
        desk.turn.delete(Space::Idempotency, keys::idempotency(record.id));
        desk.say(Output::Forgotten { id: record.id });
        return false;
    };
    let mut record = record.clone();
    record.request.to = to;
    desk.keep_record(&record, with_texts);
    true
}

/// Whether a provider answered for somebody who was erased. What its outbox kept in the meantime goes.
pub(super) fn answered<S: Store>(desk: &mut Desk<S>, delivery: &DeliveryKey) -> Result<bool, StoreError> {
    let row = keys::ledger(delivery.id, &instead_of(&delivery.user));
    if desk.turn.get(Space::Ledger, &row)?.is_none() {
        return Ok(false);
    }
    let by_delivery = kept::by_delivery(&delivery.to_string());
    if let Some(number) = desk.turn.get(Space::Outbox, &by_delivery)? {
        desk.turn.delete(Space::Outbox, kept::message(delivery.channel, &number));
        desk.turn.delete(Space::Outbox, by_delivery);
    }
    Ok(true)
}

/// One at a time. Who asks again for the one under way gets its answer.
pub(super) fn ask<S: Store>(
    desk: &mut Desk<S>,
    presence: &Presence,
    work: &mut Option<Work>,
    token: u64,
    user: &str,
    now: Tick,
) -> Result<(), StoreError> {
    let turned_away = match work {
        None => {
            *work = Some(begin(desk, presence, token, user, now)?);
            None
        }
        Some(work) if work.user == user => work.token.replace(token),
        Some(_) => Some(token),
    };
    if let Some(token) = turned_away {
        let answer = Answer::Failed("a person is being erased: ask again".to_owned());
        desk.say(Output::Answer { token, answer });
    }
    Ok(())
}

/// From here on nothing comes in for the user, and no power cut undoes that.
fn begin<S: Store>(
    desk: &mut Desk<S>,
    presence: &Presence,
    token: u64,
    user: &str,
    now: Tick,
) -> Result<Work, StoreError> {
    let mut work = Work::new(Some(token), user.to_owned(), desk.erased_until);
    let tickets = commands::revoke(desk, presence, &Revoked::User(user.to_owned()), now)?;
    work.count(Space::Tickets.name(), tickets);
    let never = Wall(i64::MAX);
    put(desk, user, &Stone { until: never, over_at: never, unfinished: Some(user.to_owned()) });
    desk.erased_until = never;
    desk.say(Output::Recall { user: user.to_owned() });
    Ok(work)
}

fn put<S: Store>(desk: &mut Desk<S>, user: &str, stone: &Stone) {
    desk.turn.put(Space::Erased, subject(user).into_bytes(), stone.encode());
    desk.must_persist = true;
}

/// A bounded number of rows. What is undone leaves the work where it was.
pub(super) fn go_on<S: Store>(
    desk: &mut Desk<S>,
    work: &mut Option<Work>,
    now: Tick,
) -> Result<(), StoreError> {
    let Some(mut next) = work.clone() else { return Ok(()) };
    if let Some(space) = SPACES.get(next.step) {
        read(desk, &mut next, *space, now)?;
        *work = Some(next);
    } else {
        finish(desk, next, now)?;
        *work = None;
    }
    Ok(())
}

fn read<S: Store>(desk: &mut Desk<S>, work: &mut Work, space: Space, now: Tick) -> Result<(), StoreError> {
    let all = match space {
        Space::Inbox | Space::Marks | Space::Collapse => Range::prefix(&keys::user(&work.user)),
        Space::Overflow | Space::DeadLetters => logs::numbers(),
        Space::Outbox => kept::messages(),
        _ => Range::all(),
    };
    let range = work.after.iter().fold(all, |range, after| range.after(after));
    let limit = desk.config.sweep_rows_max;
    let rows = desk.turn.scan(space, &range, Order::Forward, limit)?;
    work.after = rows.last().filter(|_| rows.len() == limit).map(|(key, _)| key.clone());
    work.step += usize::from(work.after.is_none());
    for (key, row) in rows {
        if goes(desk, work, space, (&key, row), now)? {
            desk.turn.delete(space, key);
            work.count(space.name(), 1);
        }
    }
    Ok(())
}

/// Whether a row goes. One that cannot be read goes if it may be the user's.
fn goes<S: Store>(
    desk: &mut Desk<S>,
    work: &mut Work,
    space: Space,
    (key, row): (&[u8], Bytes),
    now: Tick,
) -> Result<bool, StoreError> {
    match space {
        Space::Ledger => delivery_goes(desk, work, (key, row), now),
        Space::Notifications => request_goes(desk, work, row),
        Space::Overflow | Space::DeadLetters => Ok(logged_goes(desk, work, space, (key, &row))),
        Space::Outbox => Ok(kept::sent_to(&row).is_ok_and(|(user, by_delivery)| {
            let is_theirs = user == work.user;
            if is_theirs {
                desk.turn.delete(Space::Outbox, by_delivery);
            }
            is_theirs
        })),
        Space::Outcomes => {
            // It is still told what became of it, and of whom no more.
            // One that was told meanwhile does not come back.
            let stays = desk.turn.store().get(Space::Outcomes, key)?.is_some();
            if let Some(row) = outcomes::without(key, &row, &work.user).filter(|_| stays) {
                desk.turn.put(Space::Outcomes, key.to_vec(), row);
                work.count("outcomes", 1);
            }
            Ok(false)
        }
        Space::Otp => Ok(Otp::decode(row).is_ok_and(|otp| otp.user == work.user)),
        _ => Ok(true),
    }
}

/// What is open is dropped; how it all ended is left to the one who stands for the user.
fn delivery_goes<S: Store>(
    desk: &mut Desk<S>,
    work: &mut Work,
    (key, row): (&[u8], Bytes),
    now: Tick,
) -> Result<bool, StoreError> {
    let Ok((id, Recipient::User(user))) = keys::ledger_parts(key) else { return Ok(false) };
    if user != work.user {
        return Ok(false);
    }
    digests::forget_row(desk, key)?;
    let Ok(mut row) = LedgerRow::decode(row) else { return Ok(true) };
    desk.set_deadline(&mut row, key, None);
    if let Some(at) = row.expires_at {
        desk.unschedule(at, Due::Expiry, key);
    }
    letters::forget_all(desk, &row, key)?;
    for delivery in &row.deliveries {
        desk.turn.delete(Space::Calls, keys::within(key, &[delivery.channel as u8]));
    }
    let open = row.deliveries.iter().filter(|delivery| delivery.state.is_open());
    let open: Vec<Channel> = open.map(|delivery| delivery.channel).collect();
    for channel in open {
        intake::unschedule_retry(desk, &row, key, channel)?;
        row.apply(channel, &Event::Drop(Reason::Erased), now.wall, &mut desk.counters);
        work.told.cancelled += 1;
    }
    // Handed in again under its key after an earlier erasure, the same id has been there before.
    let there = keys::ledger(id, &instead_of(&user));
    let mut left = desk.row(&there)?.unwrap_or_default();
    left.deliveries.extend(row.bare().deliveries);
    desk.keep_row(&there, &left);
    Ok(true)
}

fn request_goes<S: Store>(desk: &mut Desk<S>, work: &mut Work, row: Bytes) -> Result<bool, StoreError> {
    if !names(&row, &work.user) {
        return Ok(false);
    }
    let Ok(record) = decode_record(row) else { return Ok(true) };
    if !record.request.to.names(&work.user) {
        return Ok(false);
    }
    let answered = desk.turn.get(Space::Idempotency, &keys::idempotency(record.id))?.is_some();
    let stays = keep_for_others(desk, &record, slice::from_ref(&work.user), true);
    work.count("lists", u64::from(stays));
    work.count(Space::Idempotency.name(), u64::from(answered && !stays));
    Ok(!stays)
}

/// It is about the user, or holds a record for the user; a list loses the name only.
fn logged_goes<S: Store>(
    desk: &mut Desk<S>,
    work: &mut Work,
    space: Space,
    (key, row): (&[u8], &[u8]),
) -> bool {
    let Ok(row) = LogRow::decode(space, row) else { return names(row, &work.user) };
    if row.recipient() == Some(Recipient::User(work.user.clone())) {
        return true;
    }
    let Some(bytes) = row.bytes() else { return false };
    let Ok(mut record) = serde_json::from_slice::<Record>(&bytes) else { return names(&bytes, &work.user) };
    if !record.request.to.names(&work.user) {
        return false;
    }
    let Some(to) = record.request.to.without(slice::from_ref(&work.user)) else { return true };
    record.request.to = to;
    let Ok(bytes) = serde_json::to_vec(&record) else { return true };
    desk.turn.put(space, key.to_vec(), row.with_bytes(&bytes).encode());
    work.count("lists", 1);
    false
}

/// Whether the bytes hold the name as a JSON text does.
fn names(bytes: &[u8], user: &str) -> bool {
    let Ok(quoted) = serde_json::to_vec(user) else { return false };
    bytes.windows(quoted.len()).any(|part| part == quoted.as_slice())
}

fn finish<S: Store>(desk: &mut Desk<S>, mut work: Work, now: Tick) -> Result<(), StoreError> {
    let own = keys::user(&work.user);
    // Last, so that nothing stays that was put while rows were read.
    for (key, _) in desk.turn.scan(Space::People, &Range::prefix(&own), Order::Forward, SCAN_ROWS_MAX)? {
        desk.turn.delete(Space::People, key);
        work.count(Space::People.name(), 1);
    }
    for space in [Space::Subscriptions, Space::Recipients] {
        if desk.turn.get(space, &own)?.is_some() {
            desk.turn.delete(space, own.clone());
            work.count(space.name(), 1);
        }
    }
    let over_at = now.steady + STANDS;
    put(desk, &work.user, &Stone { until: now.wall, over_at, unfinished: None });
    desk.schedule(over_at, Due::Erased, subject(&work.user).as_bytes());
    desk.erased_until = work.before.max(now.wall);
    match desk {
        Desk { queue: Some(queue), turn, .. } => queue.erase(turn, &work.user, now.wall),
        Desk { turn, .. } => queue::erase_later(turn, &work.user, now.wall)?,
    }
    // What a timer had sent before its row was reached.
    desk.say(Output::Recall { user: work.user });
    if let Some(token) = work.token {
        desk.say(Output::Answer { token, answer: Answer::Erased(work.told) });
    }
    Ok(())
}

/// A week is over, unless the user was erased again since.
pub(super) fn forget<S: Store>(desk: &mut Desk<S>, subject: &[u8], at: Wall) -> Result<(), StoreError> {
    let stone = desk.turn.get(Space::Erased, subject)?.map(Stone::decode).transpose()?;
    if stone.is_some_and(|stone| stone.over_at == at) {
        desk.turn.delete(Space::Erased, subject.to_vec());
    }
    Ok(())
}
