//! What is not to be sent before a moment that its service named (`send_at`).
//!
//! Owns the wait. All of one recipient's channels wait together, as a row of the ledger that has begun nothing, by the row's own
//! deadline; when it comes, the walk is taken up where intake left it: wishes, limits and addresses are those of that moment.
//! A moment is a date, and deadlines run on the steady clock: on a long way the date is looked at half-way, again and again, so that a
//! wall clock that was set meanwhile moves it. Never sends before the date.
//! Called by `intake` (begins) and `timers` (its time has come).

use std::time::Duration;

use wire::message::Priority;
use wire::time::Wall;

use super::clock::Tick;
use super::desk::Desk;
use super::{intake, people};
use crate::classify::{Recipient, classify_one};
use crate::inbox::RecipientRow;
use crate::ledger::{Event, LedgerRow, What};
use crate::pipeline::{self, Rules};
use crate::record::{Channel, Record, Target};
use crate::store::keys;
use crate::store::{Store, StoreError};

/// Of the way to a moment, what is waited for without another look at the date.
const LAST_LEG: Duration = Duration::from_secs(600);

/// One channel of a row that is to wait.
pub(super) fn note<S: Store>(desk: &mut Desk<S>, row: &mut LedgerRow, channel: Channel, at: Wall, now: Tick) {
    row.apply(channel, &Event::Wait(Some(now.to_steady(at))), now.wall, &mut desk.counters);
    if let Some(delivery) = row.delivery_mut(channel) {
        delivery.note(now.wall, What::Scheduled, at.to_string());
    }
}

/// The row waits for that date, or for the next look at it.
pub(super) fn wait<S: Store>(
    desk: &mut Desk<S>,
    row: &mut LedgerRow,
    key: &[u8],
    (at, priority): (Wall, Priority),
    now: Tick,
) {
    let left = Duration::from_micros(u64::try_from(at.0.saturating_sub(now.wall.0)).unwrap_or(0));
    let leg = if left > LAST_LEG { left / 2 } else { left + Duration::from_micros(priority as u64) };
    // Its life begins when it is sent.
    (row.scheduled, row.expires_at) = (true, None);
    desk.set_deadline(row, key, Some(now.steady + leg));
}

/// The moment has come, or it is time for a look.
pub(super) fn due<S: Store>(
    desk: &mut Desk<S>,
    rules: &mut Rules<'_>,
    mut row: LedgerRow,
    key: &[u8],
    now: Tick,
) -> Result<(), StoreError> {
    let (id, to) = keys::ledger_parts(key)?;
    let Some(record) = desk.record(id)? else {
        give_up(desk, row, key, "what was asked for is gone", now);
        return Ok(());
    };
    // The slack is for what has yet to wait.
    if let Some(at) = record.request.send_at.filter(|at| *at > now.wall) {
        wait(desk, &mut row, key, (at, record.request.priority), now);
        desk.keep_row(key, &row);
        return Ok(());
    }
    row.scheduled = false;
    send(desk, rules, row, (&record, &to), now)
}

fn send<S: Store>(
    desk: &mut Desk<S>,
    rules: &mut Rules<'_>,
    row: LedgerRow,
    (record, to): (&Record, &Recipient),
    now: Tick,
) -> Result<(), StoreError> {
    let mut recipient = RecipientRow::load(&desk.turn, &keys::recipient(to))?;
    let window = std::mem::take(&mut recipient.window);
    let preferences = people::preferences(desk, to)?;
    let asked = classify_one(record, to, now.wall);
    let mut plan = pipeline::decide(record, &asked, to, (window, &preferences), rules, now);
    plan.steps.retain(|(channel, _)| intake::is_open(&row, *channel));
    let texts_needed = intake::carry_out(desk, row, &mut recipient, (record, to), plan, now)?;
    // Others of a list may still be waiting for them.
    let is_list = matches!(record.request.to, Target::Users(_));
    if !is_list && !texts_needed && !intake::needs_texts(record) {
        desk.keep_record(record, false);
    }
    Ok(())
}

/// A row that it needs is damaged: it does not stay open for that.
pub(super) fn refuse<S: Store>(
    desk: &mut Desk<S>,
    key: &[u8],
    at: Wall,
    damage: &str,
    now: Tick,
) -> Result<(), StoreError> {
    let row = match desk.row(key) {
        Err(StoreError::Damaged { .. }) => None,
        row => row?,
    };
    if let Some(mut row) = row.filter(|row| row.scheduled && row.deadline == Some(at)) {
        row.deadline = None;
        give_up(desk, row, key, damage, now);
    }
    Ok(())
}

fn give_up<S: Store>(desk: &mut Desk<S>, mut row: LedgerRow, key: &[u8], why: &str, now: Tick) {
    row.scheduled = false;
    if let Ok((id, to)) = keys::ledger_parts(key) {
        for channel in Channel::ALL {
            intake::give_up(desk, &mut row, id, &to, channel, why, now);
        }
    }
    desk.keep_row(key, &row);
}
