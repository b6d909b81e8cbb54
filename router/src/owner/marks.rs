//! What users did with their notifications: acknowledged, read. Owns the first-time rule: only the first act on a
//! notification is a receipt and dismisses it on the user's other devices.

use bytes::Bytes;
use uuid::Uuid;
use wire::link::{Frame, SessionKey};
use wire::message::ServerMessage;

use super::clock::Tick;
use super::desk::Desk;
use super::words::{ActElsewhere, DeliveryKey, Output};
use super::{calls, intake, letters, outcomes};
use crate::classify::Recipient;
use crate::inbox::{Mark, RecipientRow};
use crate::ledger::{Event, LedgerRow, Reason, State, What};
use crate::presence::{LinkId, Presence};
use crate::record::Channel;
use crate::store::keys;
use crate::store::{Order, Range, Space, Store, StoreError};
use crate::sync::topics::Subscriptions;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    Acknowledge,
    Read,
}

/// What an act changed.
#[derive(Debug, Default)]
pub(super) struct Done {
    /// Nobody of the user's had acted on these before.
    pub(super) first_acted: Vec<Uuid>,
    pub(super) changed: u32,
    /// This store does not know them, and may be too young to.
    pub(super) elsewhere: Vec<Uuid>,
}

/// Ids that are not this user's change nothing.
pub(super) fn act<S: Store>(
    desk: &mut Desk<S>,
    user: &str,
    ids: &[Uuid],
    act: Act,
    now: Tick,
) -> Result<Done, StoreError> {
    let mut done = Done::default();
    let own = Recipient::User(user.to_owned());
    let stream = keys::recipient(&own);
    let mut recipient = RecipientRow::load(&desk.turn, &stream)?;
    let unread = recipient.unread;
    for id in ids {
        let Some((key, mut row, to)) = find(desk, &own, *id)? else {
            done.elsewhere.extend(desk.lack().filter(|lack| !lack.rows_are_over).map(|_| *id));
            continue;
        };
        if row.scheduled {
            // Nobody has got it yet.
            continue;
        }
        let mut mark = Mark::load(&desk.turn, user, *id)?;
        let first = if to == own { row.acknowledgements == 0 } else { !mark.any() };
        let flag = if act == Act::Read { &mut mark.read } else { &mut mark.acknowledged };
        // What is no longer in the inbox has no marks; its first act still counts.
        if std::mem::replace(flag, true) || (!row.in_inbox && !first) {
            continue;
        }
        if row.in_inbox {
            mark.keep(&mut desk.turn, user, *id);
        }
        if act == Act::Read && row.in_inbox && to == own {
            recipient.unread = recipient.unread.saturating_sub(1);
        }
        note(desk, &mut row, &key, act, first, now)?;
        desk.keep_row(&key, &row);
        done.changed += 1;
        if first {
            done.first_acted.push(*id);
        }
    }
    if recipient.unread != unread {
        recipient.keep(&mut desk.turn, &stream);
    }
    if !done.elsewhere.is_empty() {
        let mark = Mark { acknowledged: act == Act::Acknowledge, read: act == Act::Read };
        let acted = ActElsewhere { user: user.to_owned(), ids: done.elsewhere.clone(), mark };
        desk.say(Output::ActElsewhere(acted));
    }
    Ok(done)
}

/// The row that an id means to this user: its own, or that of a topic it is subscribed to, or of everybody.
fn find<S: Store>(
    desk: &Desk<S>,
    own: &Recipient,
    id: Uuid,
) -> Result<Option<(Vec<u8>, LedgerRow, Recipient)>, StoreError> {
    let key = keys::ledger(id, own);
    if let Some(row) = desk.row(&key)? {
        return Ok(Some((key, row, own.clone())));
    }
    let Recipient::User(user) = own else { return Ok(None) };
    let Some(to) = broadcast(desk, id)? else { return Ok(None) };
    if let Recipient::Topic(topic) = &to
        && Subscriptions::load(&desk.turn, user)?.is_none_or(|mine| !mine.has(topic))
    {
        return Ok(None);
    }
    let key = keys::ledger(id, &to);
    Ok(desk.row(&key)?.map(|row| (key, row, to)))
}

/// The topic, or everybody: a broadcast has this one row. What was asked for may be gone before it is.
fn broadcast<S: Store>(desk: &Desk<S>, id: Uuid) -> Result<Option<Recipient>, StoreError> {
    let rows = desk.turn.scan(Space::Ledger, &Range::prefix(id.as_bytes()), Order::Forward, 1)?;
    let Some((key, _)) = rows.first() else { return Ok(None) };
    Ok(Some(keys::ledger_parts(key)?.1).filter(Recipient::is_broadcast))
}

/// The channel that can have brought it: the inbox; or the last that somebody took; or one whose call is out.
fn brought_by<S: Store>(desk: &Desk<S>, row: &LedgerRow, key: &[u8]) -> Result<Option<Channel>, StoreError> {
    if row.delivery(Channel::Inapp).is_some() {
        return Ok(Some(Channel::Inapp));
    }
    let went = |state: &State| matches!(state, State::HandedOver | State::Unknown | State::FellBack);
    if let Some(taken) = row.deliveries.iter().rev().find(|delivery| went(&delivery.state)) {
        return Ok(Some(taken.channel));
    }
    for delivery in row.deliveries.iter().rev().filter(|delivery| delivery.state.is_open()) {
        if desk.turn.get(Space::Calls, &keys::within(key, &[delivery.channel as u8]))?.is_some() {
            return Ok(Some(delivery.channel));
        }
    }
    Ok(None)
}

/// The first act is the receipt of the channel that can have brought it.
fn note<S: Store>(
    desk: &mut Desk<S>,
    row: &mut LedgerRow,
    key: &[u8],
    act: Act,
    first: bool,
    now: Tick,
) -> Result<(), StoreError> {
    let channel = brought_by(desk, row, key)?;
    if let Some(delivery) = channel.and_then(|channel| row.delivery_mut(channel)) {
        let what = if act == Act::Read { What::Read } else { What::Acknowledged };
        delivery.note(now.wall, what, "");
    }
    if first {
        row.acknowledgements = row.acknowledgements.saturating_add(1);
        if let Some(channel) = channel {
            row.apply(channel, &Event::Receipt, now.wall, &mut desk.counters);
        }
        outcomes::close(desk, row, key, now);
        withdraw(desk, row, key, now)?;
    }
    Ok(())
}

/// What has not gone out by other channels yet does not go out any more: nobody needs it.
fn withdraw<S: Store>(
    desk: &mut Desk<S>,
    row: &mut LedgerRow,
    key: &[u8],
    now: Tick,
) -> Result<(), StoreError> {
    let (id, to) = keys::ledger_parts(key)?;
    let Recipient::User(user) = to else { return Ok(()) };
    letters::forget_all(desk, row, key)?;
    let others: Vec<Channel> = row.deliveries.iter().map(|delivery| delivery.channel).collect();
    for channel in others.into_iter().filter(|channel| *channel != Channel::Inapp) {
        let delivery = DeliveryKey { id, channel, user: user.clone() };
        let is_out = calls::take_back(desk, &delivery, &keys::within(key, &[channel as u8]))?;
        if !is_out && intake::is_open(row, channel) {
            intake::unschedule_retry(desk, row, key, channel)?;
            let event = Event::Drop(Reason::Acknowledged);
            row.apply(channel, &event, now.wall, &mut desk.counters);
        }
    }
    Ok(())
}

/// Tells the user's other sockets that these are dealt with. Session keys mean something on their own link only.
pub(super) fn dismiss<S: Store>(
    desk: &mut Desk<S>,
    presence: &Presence,
    user: &str,
    ids: Vec<Uuid>,
    by: Option<(LinkId, SessionKey)>,
    now: Tick,
) {
    if ids.is_empty() {
        return;
    }
    let text: Bytes = ServerMessage::Dismiss { ids }.to_json().into();
    for link in presence.whereabouts(user, now.mono).links {
        let except = by.filter(|(own, _)| *own == link).map(|(_, session)| session);
        desk.send(link, Frame::Tell { user: user.to_owned(), except, text: text.clone() });
    }
}
