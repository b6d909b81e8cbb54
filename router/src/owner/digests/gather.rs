//! Who goes out together: whoever may go now, of one user and channel.
//!
//! Mails go by category, because the exit in a mail ends one category. What was tried before goes on with those alone that were
//! tried with it.

use std::cmp::Reverse;

use bytes::Bytes;
use uuid::Uuid;
use wire::message::Priority;
use wire::time::Wall;

use super::super::clock::Tick;
use super::super::desk::Desk;
use super::super::letters::{self, Progress};
use super::super::{calls, intake, outcomes, people};
use super::{For, ID_BYTES, call_for, call_of, keep_letter, riders, wait, waiting_key};
use crate::classify::Recipient;
use crate::digest::Digest;
use crate::inbox::RecipientRow;
use crate::ledger::{Event, LedgerRow, Reason, State, What};
use crate::limit::{self, Limits};
use crate::limits::{DIGEST_CARRIED_MAX, DIGEST_LOOKED_AT_MAX};
use crate::preferences::{Preferences, Wish};
use crate::record::{Channel, Record};
use crate::store::codec::Decoder;
use crate::store::keys;
use crate::store::{Order, Range, Space, Store, StoreError};

/// One that may go.
struct Ready {
    /// What it waited for.
    what: For,
    id: Uuid,
    /// Of its row in the ledger.
    key: Vec<u8>,
    call: Vec<u8>,
    row: LedgerRow,
    record: Record,
    progress: Option<Progress>,
}

/// Of whom, and by which way.
struct Place {
    to: Recipient,
    channel: Channel,
    preferences: Preferences,
}

impl Place {
    /// `to`: recipient and channel, as in keys.
    fn read<S: Store>(desk: &mut Desk<S>, to: &[u8]) -> Result<Option<Place>, StoreError> {
        let Some((channel, user)) = to.split_last() else { return Ok(None) };
        let Some(channel) = Channel::ALL.get(usize::from(*channel)).copied() else { return Ok(None) };
        let to = Recipient::User(keys::user_of(Space::Digests, user)?);
        let preferences = people::preferences(desk, &to)?;
        Ok(Some(Place { to, channel, preferences }))
    }
}

/// The time of one that waits has come.
pub(in super::super) fn due<S: Store>(
    desk: &mut Desk<S>,
    limits: Limits,
    call: &[u8],
    now: Tick,
) -> Result<(), StoreError> {
    let to = &call[ID_BYTES.min(call.len())..];
    let Some(place) = Place::read(desk, to)? else { return Ok(()) };
    let mut ready = Vec::new();
    // Its own damage is its end; that of others holds it up no more than it does them.
    for what in [For::Wishes, For::Provider] {
        if let Some(row) = desk.turn.get(Space::Digests, &waiting_key(what, call))? {
            ready.extend(look(desk, &place, (what, read(row)?), call, true, now)?);
        }
    }
    if ready.is_empty() {
        return Ok(());
    }
    for what in [For::Wishes, For::Provider] {
        let range = Range::prefix(&keys::within(&[what as u8], to));
        for (key, row) in desk.turn.scan(Space::Digests, &range, Order::Forward, DIGEST_LOOKED_AT_MAX)? {
            desk.gathered += 1;
            let Some(call) = call_of(&key).filter(|_| ready.len() < DIGEST_CARRIED_MAX) else { continue };
            let looked = read(row).and_then(|at| look(desk, &place, (what, at), &call, false, now));
            ready.extend(letters::sound(desk, looked)?);
        }
    }
    for bundle in bundles(ready, place.channel) {
        if is_admitted(desk, limits, &place, &bundle[0], now)? {
            send(desk, &place, bundle, false, now)?;
        } else {
            hold_back(desk, &place, bundle, now);
        }
    }
    Ok(())
}

fn read(row: Bytes) -> Result<Wall, StoreError> {
    Decoder::new(Space::Digests, row, super::VERSION)?.wall()
}

/// A letter is one push of its user's hour, whatever it carries. What was tried has been counted.
fn is_admitted<S: Store>(
    desk: &mut Desk<S>,
    limits: Limits,
    place: &Place,
    first: &Ready,
    now: Tick,
) -> Result<bool, StoreError> {
    let tries = first.row.delivery(place.channel).map_or(0, |delivery| delivery.attempts);
    if place.channel != Channel::Push || first.what == For::Provider || tries > 0 {
        return Ok(true);
    }
    let stream = keys::recipient(&place.to);
    let mut recipient = RecipientRow::load(&desk.turn, &stream)?;
    let is_admitted = limit::push(&mut recipient.window, Priority::Normal, limits, now.steady).is_ok();
    recipient.keep(&mut desk.turn, &stream);
    Ok(is_admitted)
}

fn hold_back<S: Store>(desk: &mut Desk<S>, place: &Place, bundle: Vec<Ready>, now: Tick) {
    for mut one in bundle {
        intake::hold_back(desk, &mut one.row, one.id, &place.to, place.channel, Reason::PushLimit, now);
        keep(desk, &mut one, now);
    }
}

/// Whether one that waits may go now. What ended meanwhile waits no more; what nobody wants any more ends.
fn look<S: Store>(
    desk: &mut Desk<S>,
    place: &Place,
    (what, at): (For, Wall),
    call: &[u8],
    is_trigger: bool,
    now: Tick,
) -> Result<Option<Ready>, StoreError> {
    let channel = place.channel;
    if what == For::Provider && at > now.steady {
        return Ok(None);
    }
    let due = State::Open { due_at: Some(at) };
    let Some(mut one) = ready(desk, what, call, channel)?
        .filter(|one| one.row.delivery(channel).is_some_and(|delivery| delivery.state == due))
    else {
        super::leave(desk, call)?;
        return Ok(None);
    };
    match people::wish(&place.preferences, &one.record, &one.row, channel, now) {
        Wish::Unwanted => {
            intake::unschedule_retry(desk, &one.row, &one.key, channel)?;
            give_up(desk, &mut one, channel, Reason::Unsubscribed, now)?;
            keep(desk, &mut one, now);
            Ok(None)
        }
        Wish::Hold(until) if is_trigger => {
            intake::unschedule_retry(desk, &one.row, &one.key, channel)?;
            intake::hold(desk, &mut one.row, &one.key, channel, until, now)?;
            keep(desk, &mut one, now);
            Ok(None)
        }
        Wish::Hold(_) => Ok(None),
        Wish::Go => {
            intake::unschedule_retry(desk, &one.row, &one.key, channel)?;
            // Its own timer may be behind this one in the same turn: there is nothing left for it to do.
            if let Some(progress) = &one.progress {
                progress.keep(desk, &one.call);
            }
            Ok(Some(one))
        }
    }
}

/// `None`: it is not known any more.
fn ready<S: Store>(
    desk: &mut Desk<S>,
    what: For,
    call: &[u8],
    channel: Channel,
) -> Result<Option<Ready>, StoreError> {
    let Some((last, key)) = call.split_last() else { return Ok(None) };
    debug_assert_eq!(*last, channel as u8);
    let (id, _) = keys::ledger_parts(key)?;
    let (Some(row), Some(record)) = (desk.row(key)?, desk.record(id)?) else { return Ok(None) };
    let progress = letters::load(desk, call)?.map(Progress::so_far);
    Ok(Some(Ready { what, id, key: key.to_vec(), call: call.to_vec(), row, record, progress }))
}

/// Those that one letter can carry, newest first, and as many as one may.
fn bundles(ready: Vec<Ready>, channel: Channel) -> Vec<Vec<Ready>> {
    let is_mail = channel == Channel::Email;
    let goes_with = |one: &Ready, other: &Ready| {
        let is_same_kind = !is_mail || one.record.request.category == other.record.request.category;
        // What shows nothing is for the app alone: it would be seen, and its data lost.
        let are_shown = [one, other].iter().all(|one| is_shown(&one.record));
        one.progress == other.progress && is_same_kind && are_shown
    };
    let mut bundles: Vec<Vec<Ready>> = Vec::new();
    for one in ready {
        match bundles
            .iter_mut()
            .find(|bundle| bundle.len() < DIGEST_CARRIED_MAX && goes_with(&bundle[0], &one))
        {
            Some(bundle) => bundle.push(one),
            None => bundles.push(vec![one]),
        }
    }
    for bundle in &mut bundles {
        bundle.sort_by_key(|one| Reverse((one.record.begins_at(), one.id)));
    }
    bundles
}

fn is_shown(record: &Record) -> bool {
    let texts = [&record.request.title, &record.request.body];
    texts.into_iter().flatten().any(|text| !text.trim().is_empty())
}

/// As one letter, under the id of the first; one alone goes as itself.
fn send<S: Store>(
    desk: &mut Desk<S>,
    place: &Place,
    mut bundle: Vec<Ready>,
    again: bool,
    now: Tick,
) -> Result<(), StoreError> {
    let Place { to, channel, .. } = place;
    let channel = *channel;
    let count = bundle.len();
    let digest = (count > 1).then(|| Digest::of(bundle.iter().map(|one| &one.record)));
    let ids: Vec<Uuid> = bundle.iter().map(|one| one.id).collect();
    let Some((head, others)) = bundle.split_first_mut() else { return Ok(()) };
    let said = (&head.record, digest.as_ref());
    let is_out = intake::provide_as(desk, &mut head.row, said, to, channel, again, now)?;
    let reason = match head.row.delivery(channel).map(|delivery| &delivery.state) {
        Some(State::Dropped(reason)) if !is_out => Some(reason.clone()),
        _ => None,
    };
    for other in others {
        match &reason {
            Some(reason) => give_up(desk, other, channel, reason.clone(), now)?,
            None => ride(desk, other, ids[0], channel, again, now),
        }
    }
    if is_out && count > 1 {
        keep_letter(desk, &bundle[0].call, &ids[1..]);
        for (i, one) in bundle.iter_mut().enumerate() {
            let with: Vec<String> = match i {
                0 => ids[1..].iter().map(Uuid::to_string).collect(),
                _ => vec![ids[0].to_string()],
            };
            if let Some(delivery) = one.row.delivery_mut(channel) {
                delivery.note(
                    now.wall,
                    What::Digest,
                    format!("{count} in one letter, with {}", with.join(", ")),
                );
            }
        }
    }
    for one in &mut bundle {
        keep(desk, one, now);
    }
    Ok(())
}

/// It is out with the head's call.
fn ride<S: Store>(desk: &mut Desk<S>, one: &mut Ready, head: Uuid, channel: Channel, again: bool, now: Tick) {
    one.row.apply(channel, &Event::Wait(None), now.wall, &mut desk.counters);
    if let Some(delivery) = one.row.delivery_mut(channel) {
        delivery.attempts += u32::from(!again);
        let what = if again { What::ProvidedAgain } else { What::Provided };
        delivery.note(now.wall, what, format!("try {}", delivery.attempts));
    }
    calls::note(desk, &one.call, Some(head));
}

fn give_up<S: Store>(
    desk: &mut Desk<S>,
    one: &mut Ready,
    channel: Channel,
    reason: Reason,
    now: Tick,
) -> Result<(), StoreError> {
    letters::forget(desk, &one.call)?;
    one.row.apply(channel, &Event::Drop(reason), now.wall, &mut desk.counters);
    Ok(())
}

fn keep<S: Store>(desk: &mut Desk<S>, one: &mut Ready, now: Tick) {
    outcomes::go_on(desk, &mut one.row, &one.key, now);
    desk.keep_row(&one.key, &one.row);
}

/// The run that made a call of several is over, and whether it went out is not known: what may still go is sent again, together.
pub(in super::super) fn resume<S: Store>(
    desk: &mut Desk<S>,
    head: Uuid,
    call: &[u8],
    now: Tick,
) -> Result<(), StoreError> {
    let Some(place) = Place::read(desk, &call[ID_BYTES.min(call.len())..])? else { return Ok(()) };
    let channel = place.channel;
    let head_call = call_for(head, call);
    let mut all = riders(desk, head, call)?;
    // Whoever of them comes first takes all of it up, also if the list cannot be read.
    all.extend((!all.iter().any(|known| known == call) && head_call != call).then(|| call.to_vec()));
    all.push(head_call.clone());
    super::forget(desk, super::letter_key(&head_call))?;
    let mut bundle = Vec::new();
    for call in all {
        let (out, boot) = (calls::of(desk, &call), desk.boot);
        if !letters::sound(desk, out)?.is_some_and(|out| out.boot != boot && out.head == Some(head)) {
            continue;
        }
        desk.turn.delete(Space::Calls, call.clone());
        let known = ready(desk, For::Wishes, &call, channel);
        let Some(mut one) = letters::sound(desk, known)? else { continue };
        if !intake::is_open(&one.row, channel) {
            letters::forget(desk, &one.call)?;
            continue;
        }
        let is_stopped = one.progress.as_ref().is_some_and(|known| known.stopped.is_some());
        let is_over = one.row.expires_at.is_some_and(|at| at <= now.steady) || one.row.acknowledgements > 0;
        match people::wish(&place.preferences, &one.record, &one.row, channel, now) {
            wish if is_stopped || is_over || wish == Wish::Unwanted => {
                letters::forget(desk, &one.call)?;
                one.row.apply(channel, &Event::Doubt, now.wall, &mut desk.counters);
                desk.keep_row(&one.key, &one.row);
            }
            Wish::Hold(until) => {
                intake::hold(desk, &mut one.row, &one.key, channel, until, now)?;
                desk.keep_row(&one.key, &one.row);
            }
            _ => bundle.push(one),
        }
    }
    bundle.sort_by_key(|one: &Ready| Reverse((one.record.begins_at(), one.id)));
    if bundle.is_empty() { Ok(()) } else { send(desk, &place, bundle, true, now) }
}

/// It goes again with those that were tried with it.
pub(super) fn again<S: Store>(desk: &mut Desk<S>, call: &[u8], at: Wall) {
    wait(desk, For::Provider, call, at);
}
