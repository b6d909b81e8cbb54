//! What providers tell later: that it arrived, that it did not, that somebody does not want to be written to.
//!
//! Told again, or in any order, it comes to the same: better evidence moves a delivery on, what comes too late is noted, and an
//! address is suppressed once. Called by `commands`, so that a callback is answered when it is kept.

use super::clock::Tick;
use super::desk::Desk;
use super::outcomes;
use super::words::{Answer, DeliveryKey, Receipt, Told};
use super::{digests, erasure, letters, otp, people};
use crate::classify::Recipient;
use crate::ledger::{Event, What};
use crate::provider::letter::Class;
use crate::store::keys;
use crate::store::{Store, StoreError};
use crate::suppression::Why;

pub(super) fn told<S: Store>(desk: &mut Desk<S>, told: &Told, now: Tick) -> Result<Answer, StoreError> {
    let Told { delivery, channel, to, receipt } = told;
    if let Some(why) = suppresses(receipt) {
        let of = delivery.as_ref().map(|delivery| delivery.user.as_str());
        // A code may have gone where the user is not reached otherwise.
        let said = match delivery {
            Some(delivery) => otp::contacts(desk, delivery.id)?,
            None => None,
        };
        let said = said.and_then(|contacts| contacts.addresses(*channel).pop());
        people::suppress(desk, *channel, (to.as_ref().or(said.as_ref()), of), why, now)?;
    }
    match delivery {
        Some(delivery) => note_all(desk, delivery, receipt, now),
        None => Ok(Answer::Done),
    }
}

/// What is said of a letter is said of all that it carried.
fn note_all<S: Store>(
    desk: &mut Desk<S>,
    delivery: &DeliveryKey,
    receipt: &Receipt,
    now: Tick,
) -> Result<Answer, StoreError> {
    let key = keys::ledger(delivery.id, &Recipient::User(delivery.user.clone()));
    let others = digests::others(desk, &keys::within(&key, &[delivery.channel as u8]))?;
    let answer = note(desk, delivery, receipt, now)?;
    for id in others {
        let noted = note(desk, &DeliveryKey { id, ..delivery.clone() }, receipt, now);
        letters::sound(desk, noted.map(Some))?;
    }
    Ok(answer)
}

/// Whether nothing may be sent to the address any more.
fn suppresses(receipt: &Receipt) -> Option<Why> {
    match receipt {
        Receipt::OptedOut => Some(Why::Stop),
        Receipt::Bounced { permanent: true } => Some(Why::Bounce),
        Receipt::Complained => Some(Why::Complaint),
        Receipt::Failed { class: Class::Gone, .. } => Some(Why::Gone),
        Receipt::Delivered | Receipt::Failed { .. } | Receipt::Bounced { permanent: false } => None,
    }
}

/// What it says of the delivery, and in words.
fn event(receipt: &Receipt) -> (Event, String) {
    let failed = |code: &str| (Event::Fail(code.to_owned()), code.to_owned());
    match receipt {
        Receipt::Delivered => (Event::Receipt, "delivered".to_owned()),
        // Nobody complains of what did not arrive.
        Receipt::Complained => (Event::Receipt, "complained".to_owned()),
        Receipt::Failed { code, .. } => (Event::Fail(code.clone()), format!("failed: {code}")),
        Receipt::OptedOut => failed("opted_out"),
        Receipt::Bounced { permanent: true } => failed("bounced"),
        Receipt::Bounced { permanent: false } => failed("bounced_for_now"),
    }
}

fn note<S: Store>(
    desk: &mut Desk<S>,
    delivery: &DeliveryKey,
    receipt: &Receipt,
    now: Tick,
) -> Result<Answer, StoreError> {
    let DeliveryKey { id, channel, user } = delivery;
    let key = keys::ledger(*id, &Recipient::User(user.clone()));
    let Some(mut row) = desk.row(&key)?.filter(|row| row.delivery(*channel).is_some()) else {
        let is_erased = erasure::answered(desk, delivery)?;
        return Ok(if is_erased { Answer::Done } else { Answer::NotFound });
    };
    let (event, words) = event(receipt);
    let is_known = row.delivery(*channel).is_some_and(|delivery| {
        delivery.timeline.iter().any(|moment| moment.what == What::Receipt && moment.detail == words)
    });
    if is_known {
        return Ok(Answer::Done);
    }
    if let Some(delivery) = row.delivery_mut(*channel) {
        delivery.note(now.wall, What::Receipt, words);
    }
    let has_moved = row.apply(*channel, &event, now.wall, &mut desk.counters);
    if has_moved && event == Event::Receipt {
        outcomes::close(desk, &mut row, &key, now);
    } else if has_moved {
        outcomes::go_on(desk, &mut row, &key, now);
    }
    desk.keep_row(&key, &row);
    Ok(Answer::Done)
}
