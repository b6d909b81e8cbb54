//! What became of what went out: providers' answers and shards' results, into the ledger.

use std::time::Duration;

use wire::link::DeliveryResult;

use super::clock::Tick;
use super::desk::{Desk, Due};
use super::words::{DeliveryKey, Outcome, Output};
use super::{answers, calls, digests, erasure, intake, letters};
use crate::classify::Recipient;
use crate::ledger::{Event, LedgerRow, Reason, What};
use crate::presence::LinkId;
use crate::record::Channel;
use crate::store::keys;
use crate::store::{Space, Store, StoreError};

/// The longest that the outbox can make us wait.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 3_600);

/// What chance is drawn by, so that all that one letter carried wait equally long.
#[derive(Debug)]
pub(super) struct Dice {
    pub(super) call: Vec<u8>,
    pub(super) tries: u32,
}

/// A provider answered.
pub(super) fn outcome<S: Store>(
    desk: &mut Desk<S>,
    delivery: &DeliveryKey,
    outcome: &Outcome,
    now: Tick,
) -> Result<(), StoreError> {
    let key = keys::ledger(delivery.id, &Recipient::User(delivery.user.clone()));
    let call = keys::within(&key, &[delivery.channel as u8]);
    let out = calls::of(desk, &call);
    if letters::sound(desk, out)?.is_none_or(|out| out.head.is_none()) {
        return settle(desk, delivery, outcome, None, now);
    }
    let row = desk.row(&key);
    let row = letters::sound(desk, row)?.unwrap_or_default();
    let tries = row.delivery(delivery.channel).map_or(0, |delivery| delivery.attempts);
    digests::outcome(desk, delivery, outcome, &Dice { call, tries }, now)
}

/// Of one delivery. `dice`: those of the letter that carried it with others.
pub(super) fn settle<S: Store>(
    desk: &mut Desk<S>,
    delivery: &DeliveryKey,
    outcome: &Outcome,
    dice: Option<&Dice>,
    now: Tick,
) -> Result<(), StoreError> {
    let (id, channel) = (delivery.id, delivery.channel);
    let to = Recipient::User(delivery.user.clone());
    let key = keys::ledger(id, &to);
    let call = keys::within(&key, &[channel as u8]);
    desk.turn.delete(Space::Calls, call.clone());
    let known = letters::forget(desk, &call)?;
    let stopped = known.as_ref().and_then(|known| known.stopped.clone());
    let Some(mut row) = desk.row(&key)?.filter(|row| row.delivery(channel).is_some()) else {
        if erasure::answered(desk, delivery)? {
            return Ok(());
        }
        desk.alert("outcome_of_nothing", false, format!("{id} by {}", channel.name()));
        return Ok(());
    };
    intake::unschedule_retry(desk, &row, &key, channel)?;
    let counters = &mut desk.counters;
    let in_time = match outcome {
        Outcome::Delivered => row.apply(channel, &Event::Receipt, now.wall, counters),
        Outcome::HandedOver => row.apply(channel, &Event::Taken, now.wall, counters),
        Outcome::Unknown => row.apply(channel, &Event::Doubt, now.wall, counters),
        Outcome::Drop { reason } => {
            let event = Event::Drop(Reason::Provider(reason.clone()));
            row.apply(channel, &event, now.wall, counters)
        }
        Outcome::Retry { .. } if stopped.is_some() || row.acknowledgements > 0 => {
            let event = Event::Drop(stopped.unwrap_or(Reason::Acknowledged));
            row.apply(channel, &event, now.wall, counters)
        }
        Outcome::Retry { after } => {
            later(desk, &mut row, (&to, &call), delivery, *after, now);
            true
        }
        Outcome::Withdrawn => {
            let event = Event::Drop(stopped.unwrap_or(Reason::Acknowledged));
            row.apply(channel, &event, now.wall, counters)
        }
        Outcome::Letters(letters) => {
            answers::take(desk, &mut row, (&to, &call, known), delivery, (letters, dice), now)?
        }
    };
    if !in_time && let Some(late) = row.delivery_mut(channel) {
        late.note(now.wall, What::TooLate, name(outcome));
    }
    if *outcome == Outcome::Delivered {
        close(desk, &mut row, &key, now);
    } else {
        go_on(desk, &mut row, &key, now);
    }
    desk.keep_row(&key, &row);
    Ok(())
}

/// If nothing is left to wait for, the next channel's turn is now, or the end of the last one's.
pub(super) fn go_on<S: Store>(desk: &mut Desk<S>, row: &mut LedgerRow, key: &[u8], now: Tick) {
    if (row.ladder.is_some() || row.deadline.is_some()) && row.all_failed() {
        desk.set_deadline(row, key, Some(now.steady));
    }
}

fn name(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Delivered => "delivered",
        Outcome::HandedOver => "handed_over",
        Outcome::Retry { .. } => "retry",
        Outcome::Unknown => "unknown",
        Outcome::Drop { .. } => "drop",
        Outcome::Letters(_) => "letters",
        Outcome::Withdrawn => "withdrawn",
    }
}

/// Another try, unless there were enough or its life ends before.
fn later<S: Store>(
    desk: &mut Desk<S>,
    row: &mut LedgerRow,
    (to, call): (&Recipient, &[u8]),
    delivery: &DeliveryKey,
    after: Duration,
    now: Tick,
) {
    let channel = delivery.channel;
    let tries = row.delivery(channel).map_or(0, |delivery| delivery.attempts);
    let at = now.steady + after.min(RETRY_AFTER_MAX);
    if tries >= desk.config.provider_tries_max {
        let why = format!("{tries} tries");
        intake::give_up(desk, row, delivery.id, to, channel, &why, now);
    } else if row.expires_at.is_some_and(|end| end <= at) {
        row.apply(channel, &Event::Expire, now.wall, &mut desk.counters);
    } else if row.apply(channel, &Event::Wait(Some(at)), now.wall, &mut desk.counters) {
        desk.schedule(at, Due::Retry, call);
        if let Some(delivery) = row.delivery_mut(channel) {
            delivery.note(now.wall, What::Retry, format!("after {} ms", after.as_millis()));
        }
    }
}

/// Somebody has it: no other channel's turn comes, and nothing is waited for.
pub(super) fn close<S: Store>(desk: &mut Desk<S>, row: &mut LedgerRow, key: &[u8], now: Tick) {
    row.ladder = None;
    desk.set_deadline(row, key, None);
    intake::settle_inapp(desk, row, now.wall);
}

/// A shard says how many sockets a frame was queued for.
pub(super) fn result<S: Store>(
    desk: &mut Desk<S>,
    link: LinkId,
    tag: u64,
    result: DeliveryResult,
    now: Tick,
) -> Result<(), StoreError> {
    // Frames of an earlier link or run are answered too late to matter.
    let Some(flight) = desk.flights.peek(link, tag).cloned() else { return Ok(()) };
    let row = desk.row(&flight.key)?;
    desk.flights.land(link, tag);
    let Some(mut row) = row else { return Ok(()) };
    let Some(delivery) = row.delivery_mut(Channel::Inapp) else { return Ok(()) };
    match result {
        DeliveryResult::Sent { sockets } => {
            delivery.note(now.wall, What::Sent, format!("{sockets} sockets"));
            row.sockets = row.sockets.saturating_add(sockets);
            if sockets > 0 {
                desk.say(Output::Shown { accepted_at: flight.accepted_at });
            }
        }
        DeliveryResult::None => delivery.note(now.wall, What::NoSocket, ""),
        DeliveryResult::Slow => delivery.note(now.wall, What::Slow, ""),
    }
    desk.keep_row(&flight.key, &row);
    Ok(())
}
