//! What happens by itself: the next channel's turn, tries of a provider, ends of lives, and the calls that a stop of the
//! router left without an outcome.

use wire::time::Wall;

use super::clock::Tick;
use super::desk::{Desk, Due};
use super::intake;
use super::{calls, cancellations, digests, erasure, letters, otp, outcomes, people, scheduled};
use crate::classify::Recipient;
use crate::inbox::{self, RecipientRow};
use crate::ledger::{Event, Ladder, LedgerRow, Reason, State};
use crate::pipeline::{self, Rules};
use crate::preferences::Wish;
use crate::record::{Channel, Record};
use crate::route::Step;
use crate::store::keys;
use crate::store::{Order, Range, Space, Store, StoreError};
use std::time::Duration;

/// One row of [`Space::Due`], whose time has come.
pub(super) fn due<S: Store>(
    desk: &mut Desk<S>,
    rules: &mut Rules<'_>,
    due_key: &[u8],
    now: Tick,
) -> Result<(), StoreError> {
    let (at, kind, key) = keys::due_parts(due_key)?;
    desk.turn.delete(Space::Due, due_key.to_vec());
    match Due::from_number(kind) {
        Some(Due::Deadline) => deadline(desk, rules, key, at, now),
        Some(Due::Retry) => retry(desk, rules, key, at, now),
        Some(Due::Expiry) => expiry(desk, key, at, now),
        Some(Due::Ticket) => {
            desk.turn.delete(Space::Tickets, key.to_vec());
            Ok(())
        }
        Some(Due::Cancellation) => {
            cancellations::forget(desk, key);
            Ok(())
        }
        Some(Due::Erased) => erasure::forget(desk, key, at),
        Some(Due::Otp) => {
            otp::forget(desk, key);
            Ok(())
        }
        None => Err(StoreError::Damaged { space: Space::Due, what: format!("kind {kind}") }),
    }
}

/// No acknowledgement came in time, or a moment has come.
fn deadline<S: Store>(
    desk: &mut Desk<S>,
    rules: &mut Rules<'_>,
    key: &[u8],
    at: Wall,
    now: Tick,
) -> Result<(), StoreError> {
    let Some(mut row) = desk.row(key)?.filter(|row| row.deadline == Some(at)) else { return Ok(()) };
    row.deadline = None;
    if row.scheduled {
        return scheduled::due(desk, rules, row, key, now);
    }
    let (id, to) = keys::ledger_parts(key)?;
    let over = row.expires_at.is_some_and(|at| at <= now.steady);
    match row.ladder.take() {
        Some(ladder) if !over => {
            let Some(record) = desk.record(id)? else { return Ok(()) };
            row.apply(Channel::Inapp, &Event::FallBack, now.wall, &mut desk.counters);
            take_turn(desk, rules, &mut row, key, (&record, &to), ladder, now)?;
        }
        // The end of its life takes care of what is open.
        Some(_) => {}
        None => {
            intake::settle_inapp(desk, &mut row, now.wall);
            otp::exhausted(desk, id, &row, now)?;
        }
    }
    desk.keep_row(key, &row);
    Ok(())
}

/// Starts the next channel that can be started, and sets the time of the one after it.
fn take_turn<S: Store>(
    desk: &mut Desk<S>,
    rules: &mut Rules<'_>,
    row: &mut LedgerRow,
    key: &[u8],
    (record, to): (&Record, &Recipient),
    ladder: Ladder,
    now: Tick,
) -> Result<(), StoreError> {
    let request = &record.request;
    let stream = keys::recipient(to);
    let mut recipient = RecipientRow::load(&desk.turn, &stream)?;
    let mut next = usize::from(ladder.next);
    let (mut started, mut held, mut patience) = (false, None, Duration::ZERO);
    while let Some(channel) = request.fallback.get(next).copied()
        && !started
    {
        next += 1;
        if row.delivery(channel).is_some() {
            continue;
        }
        row.accept(channel, now.wall, &mut desk.counters);
        started = start(desk, rules, row, &mut recipient, (record, to), channel, now)?;
        held = intake::held_until(row, channel);
        if started {
            patience = request.patience(channel);
        }
    }
    recipient.keep(&mut desk.turn, &stream);
    if next < request.fallback.len() {
        row.ladder = u8::try_from(next).ok().map(|next| Ladder { next });
    }
    // With a time for each channel, the last one has its own, too: then it is known that none brought it.
    let is_last_waited_for = !request.channel_within_s.is_empty();
    if row.ladder.is_some() || is_last_waited_for || intake::is_open(row, Channel::Inapp) {
        desk.set_deadline(row, key, Some(held.unwrap_or(now.steady) + patience));
    }
    intake::settle_inapp(desk, row, now.wall);
    Ok(())
}

/// One channel, limited and routed like any other. False: it did not go out.
fn start<S: Store>(
    desk: &mut Desk<S>,
    rules: &mut Rules<'_>,
    row: &mut LedgerRow,
    recipient: &mut RecipientRow,
    (record, to): (&Record, &Recipient),
    channel: Channel,
    now: Tick,
) -> Result<bool, StoreError> {
    let preferences = people::preferences(desk, to)?;
    let step = pipeline::step(record, to, channel, (&mut recipient.window, &preferences), rules, now);
    match step {
        Step::Show(at) => intake::show(desk, row, recipient, record, to, &at, now)?,
        Step::Provide => return intake::provide(desk, row, record, to, channel, false, now),
        Step::Hold(until) => {
            intake::hold(desk, row, &keys::ledger(record.id, to), channel, until, now)?;
        }
        Step::Drop(reason) => {
            intake::hold_back(desk, row, record.id, to, channel, reason, now);
            return Ok(false);
        }
        // It waited as a whole, before its first channel began.
        Step::Schedule(_) | Step::Expire => return Ok(false),
    }
    Ok(true)
}

/// A provider said "later", and now it is later.
fn retry<S: Store>(
    desk: &mut Desk<S>,
    rules: &Rules<'_>,
    call: &[u8],
    at: Wall,
    now: Tick,
) -> Result<(), StoreError> {
    let Some((key, channel)) = split_channel(call) else { return Ok(()) };
    let Some(mut row) = desk.row(key)? else { return Ok(()) };
    let due = State::Open { due_at: Some(at) };
    let is_due = row.delivery(channel).is_some_and(|delivery| delivery.state == due);
    if !is_due && letters::load(desk, call)?.is_none_or(|progress| progress.retry_at != Some(at)) {
        return Ok(());
    }
    if is_due && digests::is_waiting(desk, call)? {
        return digests::due(desk, rules.limits, call, now);
    }
    let (id, to) = keys::ledger_parts(key)?;
    let Some(record) = desk.record(id)? else { return Ok(()) };
    // What was wanted when it came may not be any more, and nobody is disturbed by a second try, either.
    let preferences = people::preferences(desk, &to)?;
    match people::wish(&preferences, &record, &row, channel, now) {
        Wish::Hold(until) if is_due => intake::hold(desk, &mut row, key, channel, until, now)?,
        // One device has it; the others are not disturbed, either.
        Wish::Hold(until) => letters::put_off(desk, call, now.to_steady(until))?,
        Wish::Unwanted => {
            letters::forget(desk, call)?;
            let event = Event::Drop(Reason::Unsubscribed);
            row.apply(channel, &event, now.wall, &mut desk.counters);
        }
        Wish::Go => {
            // Devices that did not have it yet get what the others got.
            let digest = digests::of(desk, call, &record)?;
            intake::provide_as(desk, &mut row, (&record, digest.as_ref()), &to, channel, false, now)?;
        }
    }
    outcomes::go_on(desk, &mut row, key, now);
    desk.keep_row(key, &row);
    Ok(())
}

/// The end of a life.
fn expiry<S: Store>(desk: &mut Desk<S>, key: &[u8], at: Wall, now: Tick) -> Result<(), StoreError> {
    let Some(mut row) = desk.row(key)?.filter(|row| row.expires_at == Some(at)) else { return Ok(()) };
    let (id, to) = keys::ledger_parts(key)?;
    row.ladder = None;
    desk.set_deadline(&mut row, key, None);
    let seen = row.sockets > 0;
    let over: Vec<Channel> = row
        .deliveries
        .iter()
        .filter(|delivery| match (delivery.channel, &delivery.state) {
            // What sockets were sent is handed over; what only lay in the inbox is over.
            (Channel::Inapp, State::Open { .. } | State::HandedOver) => !seen,
            // A call that is out ends with its outcome.
            (_, State::Open { due_at }) => due_at.is_some(),
            _ => false,
        })
        .map(|delivery| delivery.channel)
        .collect();
    letters::forget_all(desk, &row, key)?;
    digests::ask_back(desk, &row, key, (id, &to))?;
    for channel in over {
        intake::unschedule_retry(desk, &row, key, channel)?;
        row.apply(channel, &Event::Expire, now.wall, &mut desk.counters);
    }
    intake::settle_inapp(desk, &mut row, now.wall);
    let stream = keys::recipient(&to);
    let mut recipient = RecipientRow::load(&desk.turn, &stream)?;
    intake::leave_inbox(desk, &mut row, &mut recipient, id, &to)?;
    recipient.keep(&mut desk.turn, &stream);
    if let Some(collapse_key) = desk.record(id)?.and_then(|record| record.request.collapse_key) {
        inbox::step_down(&mut desk.turn, &stream, &collapse_key, id)?;
    }
    desk.keep_row(key, &row);
    Ok(())
}

/// What is due cannot be done: a row that it needs is damaged. A delivery does not stay open for that.
pub(super) fn refuse<S: Store>(
    desk: &mut Desk<S>,
    due_key: &[u8],
    damage: &str,
    now: Tick,
) -> Result<(), StoreError> {
    desk.turn.delete(Space::Due, due_key.to_vec());
    let Ok((at, kind, call)) = keys::due_parts(due_key) else { return Ok(()) };
    if kind == Due::Deadline as u8 {
        return scheduled::refuse(desk, call, at, damage, now);
    }
    let Some((key, channel)) = split_channel(call).filter(|_| kind == Due::Retry as u8) else {
        return Ok(());
    };
    let row = match desk.row(key) {
        Err(StoreError::Damaged { .. }) => None,
        row => row?,
    };
    let (Some(mut row), Ok((id, to))) = (row, keys::ledger_parts(key)) else { return Ok(()) };
    letters::forget(desk, call)?;
    digests::leave(desk, call)?;
    intake::give_up(desk, &mut row, id, &to, channel, damage, now);
    outcomes::go_on(desk, &mut row, key, now);
    desk.keep_row(key, &row);
    Ok(())
}

/// Calls that were out when the router stopped, from `after` on: whether they went out is not known.
pub(super) fn unfinished_calls<S: Store>(
    desk: &Desk<S>,
    after: Option<&[u8]>,
    limit: usize,
) -> Result<Vec<Vec<u8>>, StoreError> {
    let range = after.map_or_else(Range::all, |after| Range::all().after(after));
    let rows = desk.turn.scan(Space::Calls, &range, Order::Forward, limit)?;
    Ok(rows.into_iter().map(|(key, _)| key).collect())
}

/// One of them is provided again, under the same delivery id.
pub(super) fn resume<S: Store>(desk: &mut Desk<S>, call_key: &[u8], now: Tick) -> Result<(), StoreError> {
    let Some(out) = calls::of(desk, call_key)?.filter(|out| out.boot != desk.boot) else { return Ok(()) };
    let Some((key, channel)) = split_channel(call_key) else { return Ok(()) };
    let (id, to) = keys::ledger_parts(key)?;
    if let Some(head) = out.head
        && digests::is_letter(desk, head, call_key)?
    {
        return digests::resume(desk, head, call_key, now);
    }
    desk.turn.delete(Space::Calls, call_key.to_vec());
    let (Some(mut row), Some(record)) = (desk.row(key)?, desk.record(id)?) else { return Ok(()) };
    let known = letters::load(desk, call_key)?;
    if !intake::is_open(&row, channel) && known.is_none() {
        return Ok(());
    }
    let is_stopped = known.is_some_and(|known| known.stopped.is_some());
    let is_over = row.expires_at.is_some_and(|at| at <= now.steady) || row.acknowledgements > 0;
    let preferences = people::preferences(desk, &to)?;
    match people::wish(&preferences, &record, &row, channel, now) {
        // It is too late to send it again, or nobody wants it, and it may have gone out.
        wish if is_stopped || is_over || wish == Wish::Unwanted => {
            letters::forget(desk, call_key)?;
            row.apply(channel, &Event::Doubt, now.wall, &mut desk.counters);
        }
        Wish::Hold(until) if intake::is_open(&row, channel) => {
            intake::hold(desk, &mut row, key, channel, until, now)?;
        }
        Wish::Hold(until) => letters::put_off(desk, call_key, now.to_steady(until))?,
        _ => {
            let digest = digests::of(desk, call_key, &record)?;
            intake::provide_as(desk, &mut row, (&record, digest.as_ref()), &to, channel, true, now)?;
            outcomes::go_on(desk, &mut row, key, now);
        }
    }
    desk.keep_row(key, &row);
    Ok(())
}

/// A row's key and the channel behind it.
fn split_channel(key: &[u8]) -> Option<(&[u8], Channel)> {
    let (channel, key) = key.split_last()?;
    Some((key, *Channel::ALL.get(usize::from(*channel))?))
}
