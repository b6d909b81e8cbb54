//! What became of a letter, for each that it carried.
//!
//! Each is answered as if it had gone alone; all wait for another try to the same moment, and what was taken back with one of them
//! goes on without it.

use uuid::Uuid;

use super::super::clock::Tick;
use super::super::desk::{Desk, Due};
use super::super::letters::{self, Fate, Progress};
use super::super::outcomes::{self, Dice};
use super::super::words::{DeliveryKey, Outcome, Said};
use super::super::{calls, intake};
use super::{call_for, gather, letter_key, others};
use crate::classify::Recipient;
use crate::ledger::{Event, State, What};
use crate::provider::letter::Answer;
use crate::store::keys;
use crate::store::{Space, Store, StoreError};

/// The letter that went under `head` was answered.
pub(in super::super) fn outcome<S: Store>(
    desk: &mut Desk<S>,
    head: &DeliveryKey,
    outcome: &Outcome,
    dice: &Dice,
    now: Tick,
) -> Result<(), StoreError> {
    let mut carried = vec![head.id];
    for id in others(desk, &dice.call)? {
        let out = calls::of(desk, &call_for(id, &dice.call));
        if letters::sound(desk, out)?.is_some_and(|out| out.head == Some(head.id)) {
            carried.push(id);
        }
    }
    let is_taken_back = is_taken_back(outcome);
    let mut went = false;
    for id in carried {
        let delivery = DeliveryKey { id, ..head.clone() };
        let state = if is_taken_back && goes_on(desk, &delivery, now)? {
            None
        } else {
            match outcomes::settle(desk, &delivery, outcome, Some(dice), now) {
                Err(damage @ StoreError::Damaged { .. }) => lose(desk, &delivery, &damage.to_string(), now)?,
                settled => settled?,
            }
            after(desk, &delivery, head.id)?
        };
        went |= matches!(state, Some(State::HandedOver | State::Delivered | State::Unknown));
    }
    // What comes later of it (a receipt, a try of other devices) is about all of them.
    if !went {
        super::forget(desk, letter_key(&dice.call))?;
    }
    Ok(())
}

/// A row that is needed is damaged: the others are not held up by it, and it does not stay open for that.
fn lose<S: Store>(
    desk: &mut Desk<S>,
    delivery: &DeliveryKey,
    damage: &str,
    now: Tick,
) -> Result<(), StoreError> {
    desk.alert("store_row_damaged", true, damage);
    let to = Recipient::User(delivery.user.clone());
    let key = keys::ledger(delivery.id, &to);
    let known = desk.row(&key);
    if let Some(mut row) = letters::sound(desk, known)? {
        intake::give_up(desk, &mut row, delivery.id, &to, delivery.channel, damage, now);
        outcomes::go_on(desk, &mut row, &key, now);
        desk.keep_row(&key, &row);
    }
    Ok(())
}

/// No provider was handed any of it.
fn is_taken_back(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Withdrawn => true,
        Outcome::Letters(letters) => {
            let went =
                |said: &Said| matches!(said, Said::Answer(Answer::Taken { .. } | Answer::Unknown { .. }));
            letters.iter().any(|one| one.said == Said::Withdrawn)
                && !letters.iter().any(|one| went(&one.said))
        }
        _ => false,
    }
}

/// One that nobody took back goes again at once. False: it is over.
fn goes_on<S: Store>(desk: &mut Desk<S>, delivery: &DeliveryKey, now: Tick) -> Result<bool, StoreError> {
    let key = keys::ledger(delivery.id, &Recipient::User(delivery.user.clone()));
    let call = keys::within(&key, &[delivery.channel as u8]);
    let known = desk.row(&key);
    let Some(mut row) = letters::sound(desk, known)? else { return Ok(false) };
    let is_stopped = letters::load(desk, &call)?.is_some_and(|progress| progress.stopped.is_some());
    if is_stopped || row.acknowledgements > 0 || !intake::is_open(&row, delivery.channel) {
        return Ok(false);
    }
    desk.turn.delete(Space::Calls, call.clone());
    // Where it may have gone before, it does not go again.
    let known = letters::forget(desk, &call)?.map(Progress::so_far);
    if row.expires_at.is_some_and(|at| at <= now.steady) {
        let is_doubtful = known.is_some_and(|known| known.any(Fate::Unknown));
        let event = if is_doubtful { Event::Doubt } else { Event::Expire };
        row.apply(delivery.channel, &event, now.wall, &mut desk.counters);
    } else {
        if let Some(known) = known {
            known.keep(desk, &call);
        }
        row.apply(delivery.channel, &Event::Wait(Some(now.steady)), now.wall, &mut desk.counters);
        desk.schedule(now.steady, Due::Retry, &call);
        gather::again(desk, &call, now.steady);
        if let Some(delivery) = row.delivery_mut(delivery.channel) {
            delivery.attempts = delivery.attempts.saturating_sub(1);
            delivery.note(now.wall, What::Retry, "its letter was taken back for another");
        }
    }
    outcomes::go_on(desk, &mut row, &key, now);
    desk.keep_row(&key, &row);
    Ok(true)
}

/// Where a delivery stands behind the answer. Devices that did not answer yet are tried on under the head alone.
fn after<S: Store>(
    desk: &mut Desk<S>,
    delivery: &DeliveryKey,
    head: Uuid,
) -> Result<Option<State>, StoreError> {
    let key = keys::ledger(delivery.id, &Recipient::User(delivery.user.clone()));
    let call = keys::within(&key, &[delivery.channel as u8]);
    let known = desk.row(&key);
    let row = letters::sound(desk, known)?;
    let state = row.and_then(|row| row.delivery(delivery.channel).map(|delivery| delivery.state.clone()));
    match &state {
        Some(State::Open { due_at: Some(at) }) => gather::again(desk, &call, *at),
        _ if delivery.id != head => {
            letters::forget(desk, &call)?;
        }
        _ => {}
    }
    Ok(state)
}
