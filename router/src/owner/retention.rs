//! What was kept for long enough goes: from the inbox after `inbox_days`, from the ledger and its logs after `ledger_days`.
//!
//! Owns the ages (one row for each notification, by the time it was taken in or is scheduled for, on the steady clock), when each is looked
//! at, and what goes then. A look takes a bounded number of rows, so the owner is never held up; nothing is scanned but
//! the beginning of the ages. What is open is never touched, and what has a life of its own stays in the inbox until
//! that is over or its user has acted on it. While a notification is in an inbox, its row stays, without its timeline:
//! by that row acts are counted and the same id is known again.
//! Driven by [`Owner::handle_timeout`](super::Owner::handle_timeout); noted by `intake`.

use std::ops::Bound;
use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use uuid::Uuid;
use wire::time::Wall;

use super::clock::Tick;
use super::desk::{Desk, Due, decode_record};
use super::digests;
use super::intake;
use super::logs::{self, LogRow};
use super::words::Output;
use crate::classify::Recipient;
use crate::inbox::{self, Item, RecipientRow};
use crate::ledger::{Event, LedgerRow, State};
use crate::record::Channel;
use crate::store::codec::{Decoder, Encoder};
use crate::store::keys::{self, Place};
use crate::store::{Batch, Order, Range, Row, SCAN_ROWS_MAX, Space, Store, StoreError};

const VERSION: u8 = 1;
/// In [`Space::Meta`]: every notification has its age. A store of an earlier build gets them at its first open.
const AGED_KEY: &[u8] = b"aged";
/// Notifications that one call looks at, whatever their number of rows.
const LOOKS_PER_TURN_MAX: usize = 256;
/// Log rows that one call looks at.
const LOG_ROWS_PER_TURN_MAX: usize = 256;
/// When something is looked at again that outlived both spans, because it is open or has a life of its own.
const AGAIN_AFTER: Duration = Duration::from_secs(3_600);
/// How often the logs are looked at.
const LOGS_EVERY: Duration = Duration::from_secs(3_600);
/// A clock that is so far ahead of where it was at the last stop may be wrong.
const LEAP_MIN: Duration = Duration::from_secs(24 * 3_600);
/// How long nothing is removed then, so that somebody can set it right.
const HELD_FOR: Duration = Duration::from_secs(3_600);
/// Looks are gathered to whole seconds.
const GRAIN_US: i64 = 1_000_000;

/// When a notification is looked at. Persistent by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Stage {
    /// At the end of the shorter span.
    First = 1,
    /// At the end of the longer one.
    Second = 2,
    /// Beyond both.
    Again = 3,
}

impl Stage {
    const ALL: [Stage; 3] = [Stage::First, Stage::Second, Stage::Again];
}

/// What went since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Removed {
    /// Notifications that left an inbox.
    pub inbox: u64,
    /// Rows of the ledger, and what was asked for.
    pub ledger: u64,
    /// Rows of the overflow log and of the dead letters.
    pub logs: u64,
}

/// How retention does, for metrics and people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Kept {
    pub removed: Removed,
    /// When the oldest notification was taken in that anything is kept of.
    pub oldest: Option<Wall>,
}

impl Kept {
    /// Of two owners.
    pub fn and(self, other: Kept) -> Kept {
        let (one, two) = (self.removed, other.removed);
        Kept {
            removed: Removed {
                inbox: one.inbox + two.inbox,
                ledger: one.ledger + two.ledger,
                logs: one.logs + two.logs,
            },
            oldest: self.oldest.into_iter().chain(other.oldest).min(),
        }
    }
}

/// What an input that is undone gives back.
#[derive(Debug, Clone, Copy)]
pub(super) struct Progress {
    removed: Removed,
    /// No log has to be looked at before.
    logs_next: Wall,
    /// The first numbers that may be there. Deleted rows cost a scan that begins in front of them.
    logs_from: [u64; 2],
}

/// Where the looking stands.
#[derive(Debug)]
pub(super) struct Sweep {
    pub(super) progress: Progress,
    /// No notification has to be looked at before.
    next: Wall,
    /// Nothing is removed before.
    held_until: Wall,
    /// By stage: nothing lies before.
    from: [Vec<u8>; Stage::ALL.len()],
    /// Rows looked at in this call.
    rows: usize,
    oldest: Option<Wall>,
}

impl Sweep {
    /// `reached`: how far the clock was at the last stop. With it, whether nothing is removed for now.
    pub(super) fn new(now: Wall, reached: Option<Wall>) -> (Sweep, bool) {
        let leapt = reached.is_some_and(|reached| now.0.saturating_sub(reached.0) > micros(LEAP_MIN));
        let progress = Progress { removed: Removed::default(), logs_next: Wall(i64::MIN), logs_from: [0, 0] };
        let sweep = Sweep {
            progress,
            next: Wall(i64::MIN),
            held_until: if leapt { now + HELD_FOR } else { Wall(i64::MIN) },
            from: Stage::ALL.map(|stage| vec![stage as u8]),
            rows: 0,
            oldest: None,
        };
        (sweep, leapt)
    }

    pub(super) fn next(&self) -> Wall {
        self.next.min(self.progress.logs_next).max(self.held_until)
    }

    pub(super) fn removed(&self) -> Removed {
        self.progress.removed
    }

    pub(super) fn oldest(&self) -> Option<Wall> {
        self.oldest
    }
}

/// A notification was taken in, or is to be sent, at this time.
pub(super) fn note<S: Store>(desk: &mut Desk<S>, id: Uuid, from: Wall, now: Wall) {
    put(desk, Stage::First, from, id, from);
    let look = from + span(desk, Stage::First);
    desk.sweep.next = desk.sweep.next.min(whole(look));
    // None of what is kept was taken in later than now.
    desk.sweep.oldest = Some(desk.sweep.oldest.unwrap_or(now).min(from).min(now));
}

fn put<S: Store>(desk: &mut Desk<S>, stage: Stage, at: Wall, id: Uuid, taken_in: Wall) {
    desk.turn.put(Space::Ages, keys::age(stage as u8, at, id), row(taken_in));
}

fn row(taken_in: Wall) -> Bytes {
    Encoder::new(VERSION).wall(taken_in).finish()
}

/// Beyond the time in a key of this stage.
fn span<S: Store>(desk: &Desk<S>, stage: Stage) -> Duration {
    let (inbox, ledger) = (desk.config.inbox_kept, desk.config.ledger_kept);
    match stage {
        Stage::First => inbox.min(ledger),
        Stage::Second => inbox.max(ledger),
        Stage::Again => AGAIN_AFTER,
    }
}

/// What to look at now, the oldest first, at most as many as one call does.
pub(super) fn due<S: Store>(desk: &mut Desk<S>, now: Wall) -> Result<Vec<Vec<u8>>, StoreError> {
    desk.sweep.rows = 0;
    let mut due = Vec::new();
    for stage in Stage::ALL {
        let end = keys::age_after(stage as u8, now - span(desk, stage));
        let range = Range {
            from: Bound::Included(desk.sweep.from[stage as usize - 1].clone()),
            to: Bound::Excluded(end),
        };
        let rows = desk.turn.scan(Space::Ages, &range, Order::Forward, LOOKS_PER_TURN_MAX - due.len())?;
        due.extend(rows.into_iter().map(|(key, _)| key));
        if due.len() == LOOKS_PER_TURN_MAX {
            break;
        }
    }
    Ok(due)
}

/// One of them was looked at. False: that were enough rows for one call.
pub(super) fn looked<S: Store>(desk: &mut Desk<S>, key: &[u8]) -> bool {
    if let Some(from) = key.first().and_then(|stage| desk.sweep.from.get_mut(usize::from(*stage) - 1)) {
        key.clone_into(from);
    }
    desk.sweep.rows < desk.config.sweep_rows_max
}

/// After a call that looked at all it was given: when the next look is.
pub(super) fn settle<S: Store>(desk: &mut Desk<S>, now: Wall) {
    match earliest(desk) {
        Ok(next) => {
            desk.sweep.next = next.unwrap_or(Wall(i64::MAX));
            desk.sweep.oldest = desk.sweep.oldest.map(|oldest| oldest.min(now));
        }
        Err(_) => put_off(desk, now),
    }
}

/// What cannot be read is tried again, but not in a circle.
pub(super) fn put_off<S: Store>(desk: &mut Desk<S>, now: Wall) {
    desk.sweep.next = Wall(now.0.saturating_add(GRAIN_US));
}

fn earliest<S: Store>(desk: &mut Desk<S>) -> Result<Option<Wall>, StoreError> {
    let (mut next, mut oldest) = (None::<Wall>, None::<Wall>);
    for stage in Stage::ALL {
        let from = &desk.sweep.from[stage as usize - 1];
        let range = Range { from: Bound::Included(from.clone()), to: Bound::Excluded(vec![stage as u8 + 1]) };
        let Some((key, row)) = desk.turn.scan(Space::Ages, &range, Order::Forward, 1)?.pop() else {
            continue;
        };
        let at = whole(keys::age_parts(&key)?.1 + span(desk, stage));
        next = Some(next.map_or(at, |next| next.min(at)));
        let taken_in = Decoder::new(Space::Ages, row, VERSION)?.wall()?;
        oldest = Some(oldest.map_or(taken_in, |oldest| oldest.min(taken_in)));
    }
    desk.sweep.oldest = oldest;
    Ok(next)
}

/// The next whole second behind.
fn whole(at: Wall) -> Wall {
    Wall((at.0.div_euclid(GRAIN_US)).saturating_add(1).saturating_mul(GRAIN_US))
}

fn micros(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}

/// Which spans are over.
#[derive(Debug, Clone, Copy)]
struct Over {
    inbox: bool,
    ledger: bool,
}

/// What a look left.
#[derive(Debug, Default)]
struct Left {
    rows: bool,
    open: bool,
    /// The end of the longest life.
    until: Option<Wall>,
}

/// One notification: what may go of it goes, and if anything stays, it is looked at later.
pub(super) fn look<S: Store>(desk: &mut Desk<S>, age_key: &[u8], now: Tick) -> Result<(), StoreError> {
    let Some(age) = desk.turn.get(Space::Ages, age_key)? else { return Ok(()) };
    let taken_in = Decoder::new(Space::Ages, age, VERSION)?.wall()?;
    let (_, _, id) = keys::age_parts(age_key)?;
    desk.turn.delete(Space::Ages, age_key.to_vec());
    let age = now.steady.0.saturating_sub(taken_in.0);
    let over =
        Over { inbox: age >= micros(desk.config.inbox_kept), ledger: age >= micros(desk.config.ledger_kept) };
    let rows = desk.turn.scan(Space::Ledger, &Range::prefix(id.as_bytes()), Order::Forward, SCAN_ROWS_MAX)?;
    desk.sweep.rows += rows.len().max(1);
    let mut left = Left::default();
    for (key, row) in rows {
        let row = LedgerRow::decode(row)?;
        if let Some(row) = part_with(desk, &key, row, over, now)? {
            left.rows = true;
            left.open |= has_open(&row);
            left.until = left.until.max(row.expires_at);
        }
    }
    if over.ledger && !left.open {
        forget_request(desk, id)?;
    }
    if !over.ledger || (left.rows && !over.inbox) {
        put(desk, Stage::Second, taken_in, id, taken_in);
    } else if left.rows {
        let at = left.until.map_or(now.steady, |until| until.max(now.steady));
        put(desk, Stage::Again, at, id, taken_in);
    }
    Ok(())
}

/// What was asked for: from here on the notification is not found.
fn forget_request<S: Store>(desk: &mut Desk<S>, id: Uuid) -> Result<(), StoreError> {
    if desk.turn.get(Space::Notifications, id.as_bytes())?.is_some() {
        desk.turn.delete(Space::Notifications, id.as_bytes().to_vec());
        desk.sweep.progress.removed.ledger += 1;
        desk.say(Output::Forgotten { id });
    }
    Ok(())
}

/// One recipient. `None`: nothing is left of it.
fn part_with<S: Store>(
    desk: &mut Desk<S>,
    key: &[u8],
    mut row: LedgerRow,
    over: Over,
    now: Tick,
) -> Result<Option<LedgerRow>, StoreError> {
    let (id, to) = keys::ledger_parts(key)?;
    let mut changed = false;
    if over.inbox && row.in_inbox && !is_owed(&row, &to, now.steady) {
        leave_inbox(desk, &mut row, id, &to, now)?;
        desk.sweep.progress.removed.inbox += 1;
        changed = true;
    }
    if over.ledger && !has_open(&row) {
        if !row.in_inbox {
            if let Some(at) = row.expires_at {
                desk.unschedule(at, Due::Expiry, key);
            }
            digests::forget_row(desk, key)?;
            desk.counters.forget_row(&row);
            desk.turn.delete(Space::Ledger, key.to_vec());
            desk.sweep.progress.removed.ledger += 1;
            return Ok(None);
        }
        changed |= forget_timelines(&mut row);
    }
    if changed {
        desk.keep_row(key, &row);
    }
    Ok(Some(row))
}

fn forget_timelines(row: &mut LedgerRow) -> bool {
    let told = row.deliveries.iter().any(|delivery| !delivery.timeline.is_empty());
    for delivery in &mut row.deliveries {
        delivery.timeline.clear();
        delivery.left_out = 0;
    }
    told
}

pub(super) fn has_open(row: &LedgerRow) -> bool {
    row.deliveries.iter().any(|delivery| delivery.state.is_open())
}

/// Something may still come of it: its life is not over, and a user it is for has not acted on it. One user's act on a
/// broadcast says nothing of the others'.
fn is_owed(row: &LedgerRow, to: &Recipient, now: Wall) -> bool {
    let state = row.delivery(Channel::Inapp).map(|delivery| &delivery.state);
    let acted = state == Some(&State::Delivered) && !to.is_broadcast();
    let alive = row.expires_at.is_some_and(|at| at > now);
    state.is_some_and(State::is_open) || (alive && !acted)
}

/// As at the end of a life: what sockets were sent is handed over, what only lay in the inbox is over.
fn leave_inbox<S: Store>(
    desk: &mut Desk<S>,
    row: &mut LedgerRow,
    id: Uuid,
    to: &Recipient,
    now: Tick,
) -> Result<(), StoreError> {
    if row.sockets == 0 {
        row.apply(Channel::Inapp, &Event::Expire, now.wall, &mut desk.counters);
    }
    let stream = keys::recipient(to);
    step_down(desk, row, id, &stream)?;
    let mut recipient = RecipientRow::load(&desk.turn, &stream)?;
    intake::leave_inbox(desk, row, &mut recipient, id, to)?;
    recipient.keep(&mut desk.turn, &stream);
    Ok(())
}

/// What was asked for may be gone already; the text that clients get names the collapse key, too.
fn step_down<S: Store>(
    desk: &mut Desk<S>,
    row: &LedgerRow,
    id: Uuid,
    stream: &[u8],
) -> Result<(), StoreError> {
    #[derive(Deserialize)]
    struct Shown {
        collapse_key: Option<String>,
    }
    let Some(at) = row.created_at else { return Ok(()) };
    let key = keys::inbox(stream, Place { at, id });
    let Some(item) = desk.turn.get(Space::Inbox, &key)? else { return Ok(()) };
    let item = Item::decode(&key, item)?;
    let shown: Shown = serde_json::from_slice(&item.text)
        .map_err(|error| StoreError::Damaged { space: Space::Inbox, what: error.to_string() })?;
    if let Some(collapse_key) = shown.collapse_key {
        inbox::step_down(&mut desk.turn, stream, &collapse_key, id)?;
    }
    Ok(())
}

pub(super) fn logs_are_due<S: Store>(desk: &Desk<S>, now: Wall) -> bool {
    desk.sweep.progress.logs_next <= now
}

/// Log rows go with the ledger's: in the order of their numbers, up to the first that is younger.
pub(super) fn look_at_logs<S: Store>(desk: &mut Desk<S>, now: Tick) -> Result<(), StoreError> {
    // Dates stand in them; a wall clock that leaps while the router runs removes nothing.
    let end = now.wall.min(now.steady) - desk.config.ledger_kept;
    let mut more = false;
    for (i, space) in [Space::Overflow, Space::DeadLetters].into_iter().enumerate() {
        let range = logs::numbers().starting(&desk.sweep.progress.logs_from[i].to_be_bytes());
        let rows = desk.turn.scan(space, &range, Order::Forward, LOG_ROWS_PER_TURN_MAX)?;
        let is_full = rows.len() == LOG_ROWS_PER_TURN_MAX;
        let over = older(space, rows, end);
        more |= is_full && over.len() == LOG_ROWS_PER_TURN_MAX;
        for key in over {
            if let Some(number) = logs::number(&key) {
                desk.sweep.progress.logs_from[i] = number;
            }
            desk.turn.delete(space, key);
            desk.sweep.progress.removed.logs += 1;
        }
    }
    desk.sweep.progress.logs_next = if more { now.steady } else { now.steady + LOGS_EVERY };
    Ok(())
}

/// The rows up to `end`. One that cannot be read is as old as the next one that can.
fn older(space: Space, rows: Vec<Row>, end: Wall) -> Vec<Vec<u8>> {
    let (mut older, mut unreadable) = (Vec::new(), Vec::new());
    for (key, row) in rows {
        match LogRow::decode(space, &row) {
            Ok(row) if row.at <= end => {
                older.append(&mut unreadable);
                older.push(key);
            }
            Ok(_) => break,
            Err(_) => unreadable.push(key),
        }
    }
    older
}

/// Gives a store of an earlier build its ages. Once, before anything else; again after a crash it changes nothing.
pub(super) fn complete<S: Store>(store: &S, now: Wall) -> Result<(), StoreError> {
    if store.get(Space::Meta, AGED_KEY)?.is_some() {
        return Ok(());
    }
    let mut range = Range::all();
    loop {
        let rows = store.scan(Space::Notifications, &range, Order::Forward, SCAN_ROWS_MAX)?;
        let Some((last, _)) = rows.last() else { break };
        range = range.after(last);
        let mut batch = Batch::default();
        for (_, kept) in rows {
            // A damaged one stays, as it did.
            if let Ok(record) = decode_record(kept) {
                let taken_in = record.accepted_at.min(now);
                batch.put(Space::Ages, keys::age(Stage::First as u8, taken_in, record.id), row(taken_in));
            }
        }
        store.commit(&batch)?;
    }
    let mut batch = Batch::default();
    batch.put(Space::Meta, AGED_KEY, vec![VERSION]);
    store.commit(&batch)
}
