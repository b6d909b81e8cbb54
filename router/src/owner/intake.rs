//! From a record to deliveries: what the walk decided is done here, on the desk.
//!
//! Owns the order in which one recipient's row, inbox and calls are written. Nothing leaves before the commit.

use serde_json::Error as JsonError;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;
use wire::limits::NOTIFICATION_BYTES_MAX;
use wire::link::Frame;
use wire::time::Wall;

use super::clock::Tick;
use super::desk::{Desk, Due};
use super::logs::{self, LogRow};
use super::retention;
use super::words::{Answer, DeliveryKey, Output, ProviderCall};
use super::{calls, cancellations, digests, erasure, letters, outage, people, scheduled};
use crate::classify::Recipient;
use crate::digest::Digest;
use crate::inbox::{self, Item, Mark, RecipientRow};
use crate::journal::import::ForeignLetter;
use crate::journal::{Entry, Poison, Position};
use crate::ledger::{Delivery, Event, Ladder, LedgerRow, Reason, State, What};
use crate::limit::Window;
use crate::pipeline::{self, Book, Plan, Rules, Stop};
use crate::preferences::Preferences;
use crate::presence::Whereabouts;
use crate::record::{Channel, Record};
use crate::route::Step;
use crate::store::keys::{self, Place};
use crate::store::{Space, Store, StoreError};

/// One entry of the journal.
pub(super) fn entry<S: Store>(
    desk: &mut Desk<S>,
    rules: &mut Rules<'_>,
    entry: &Entry,
    now: Tick,
) -> Result<(), StoreError> {
    match &entry.record {
        Ok(taken) => {
            outage::note_sequences(desk, taken, entry.position, now)?;
            record(desk, rules, taken, entry.position, now)?;
        }
        Err(Poison { reason, bytes }) => dead_letter(desk, entry.position, reason, None, bytes, now.wall)?,
    }
    desk.note_position(entry.position);
    Ok(())
}

fn record<S: Store>(
    desk: &mut Desk<S>,
    rules: &mut Rules<'_>,
    record: &Record,
    at: Position,
    now: Tick,
) -> Result<(), StoreError> {
    match walk(desk, rules, record, now) {
        Ok(walked) if walked.fresh == 0 => desk.counters.lane(at.priority).repeated += 1,
        Ok(_) => desk.counters.lane(at.priority).note_processed(),
        Err(Stop::Senseless(why)) => dead_letter_record(desk, at, record, &why.to_string(), now.wall)?,
        Err(Stop::Book(error)) => return Err(error),
    }
    Ok(())
}

/// The walk, on the desk.
pub(super) fn walk<S: Store>(
    desk: &mut Desk<S>,
    rules: &mut Rules<'_>,
    record: &Record,
    now: Tick,
) -> Result<pipeline::Walked, Stop<StoreError>> {
    let mut pen = Pen {
        desk,
        now,
        recipient: RecipientRow::default(),
        texts_needed: needs_texts(record),
        erased: Vec::new(),
    };
    let walked = pipeline::walk(record, &mut pen, rules, now)?;
    let Pen { texts_needed, erased, .. } = pen;
    if walked.fresh > 0 {
        if erased.is_empty() {
            desk.keep_record(record, texts_needed);
        } else {
            erasure::keep_for_others(desk, record, &erased, texts_needed);
        }
        let kept_from = record.scheduled(now.wall).map_or(now.steady, |at| now.to_steady(at));
        retention::note(desk, record.id, kept_from, now.steady);
        if cancellations::holds(desk, record.id).map_err(Stop::Book)? {
            cancellations::forget(desk, record.id.as_bytes());
        }
    }
    Ok(walked)
}

/// Whether somebody may ask for the texts after they are in the inbox.
pub(super) fn needs_texts(record: &Record) -> bool {
    let request = &record.request;
    !request.fallback.is_empty() || request.channels.iter().any(|channel| *channel != Channel::Inapp)
}

/// A record that cannot be acted on, kept as it is.
pub(super) fn dead_letter_record<S: Store>(
    desk: &mut Desk<S>,
    at: Position,
    record: &Record,
    why: &str,
    now: Wall,
) -> Result<(), StoreError> {
    let bytes = serde_json::to_vec(record).unwrap_or_else(|error: JsonError| error.to_string().into_bytes());
    dead_letter(desk, at, why, Some(record.id), &bytes, now)
}

fn dead_letter<S: Store>(
    desk: &mut Desk<S>,
    at: Position,
    why: &str,
    id: Option<Uuid>,
    bytes: &[u8],
    now: Wall,
) -> Result<(), StoreError> {
    if logs::note_record(&mut desk.turn, at, bytes)? {
        desk.counters.lane(at.priority).repeated += 1;
        return Ok(());
    }
    desk.log_dead_letter(&LogRow::of_record(now, why, id, at.priority, bytes));
    desk.counters.dead_letter_record();
    let lane = desk.counters.lane(at.priority);
    lane.read += 1;
    lane.dead_lettered += 1;
    let place = format!("{} {}/{}", at.priority.name(), at.partition, at.offset);
    desk.alert("poison_record", false, format!("{place}: {why}"));
    Ok(())
}

/// A foreign record that never became one of ours. It is in no lane.
pub(super) fn bury<S: Store>(
    desk: &mut Desk<S>,
    letter: &ForeignLetter,
    now: Wall,
) -> Result<Answer, StoreError> {
    if !logs::note_foreign(&mut desk.turn, letter)? {
        let row = LogRow::of_foreign(now, letter);
        let place = row.source.clone().unwrap_or_default();
        desk.log_dead_letter(&row);
        desk.counters.dead_letter_record();
        desk.alert("poison_record", false, format!("{place}: {}", letter.reason));
    }
    Ok(Answer::Done)
}

/// The owner's side of the walk.
struct Pen<'a, S> {
    desk: &'a mut Desk<S>,
    now: Tick,
    /// Of the recipient that the walk is at.
    recipient: RecipientRow,
    texts_needed: bool,
    /// Recipients whose names are not kept.
    erased: Vec<String>,
}

impl<S: Store> Book for Pen<'_, S> {
    type Error = StoreError;

    fn erased(&mut self, record: &Record, to: &Recipient) -> Result<Option<Recipient>, StoreError> {
        let Recipient::User(user) = to else { return Ok(None) };
        let instead = erasure::instead(self.desk, record, user)?;
        self.erased.extend(instead.is_some().then(|| user.clone()));
        Ok(instead)
    }

    fn is_known(&mut self, record: &Record, to: &Recipient) -> Result<bool, StoreError> {
        Ok(self.desk.turn.get(Space::Ledger, &keys::ledger(record.id, to))?.is_some())
    }

    fn preferences(&mut self, to: &Recipient) -> Result<Preferences, StoreError> {
        people::preferences(self.desk, to)
    }

    fn is_cancelled(&mut self, record: &Record) -> Result<bool, StoreError> {
        cancellations::holds(self.desk, record.id)
    }

    fn window(&mut self, to: &Recipient) -> Result<Window, StoreError> {
        self.recipient = RecipientRow::load(&self.desk.turn, &keys::recipient(to))?;
        Ok(std::mem::take(&mut self.recipient.window))
    }

    fn take(&mut self, record: &Record, to: &Recipient, plan: Plan) -> Result<(), StoreError> {
        let Pen { desk, now, recipient, texts_needed, .. } = self;
        let row = LedgerRow { deliveries: Vec::with_capacity(plan.steps.len()), ..LedgerRow::default() };
        *texts_needed |= carry_out(desk, row, recipient, (record, to), plan, *now)?;
        Ok(())
    }
}

/// Does what was decided for one recipient, and keeps its row. Whether somebody may ask for the texts later.
pub(super) fn carry_out<S: Store>(
    desk: &mut Desk<S>,
    mut row: LedgerRow,
    recipient: &mut RecipientRow,
    (record, to): (&Record, &Recipient),
    plan: Plan,
    now: Tick,
) -> Result<bool, StoreError> {
    recipient.window = plan.window;
    let key = keys::ledger(record.id, to);
    row.expires_at = record.expires_at().map(|at| now.to_steady(at));
    let (mut absent, mut texts_needed, mut scheduled) = (true, false, None);
    for (channel, step) in plan.steps {
        if row.delivery(channel).is_none() {
            row.accept(channel, now.wall, &mut desk.counters);
        }
        match step {
            Step::Show(at) => {
                absent = at.absent();
                show(desk, &mut row, recipient, record, to, &at, now)?;
            }
            Step::Provide => {
                provide(desk, &mut row, record, to, channel, false, now)?;
            }
            Step::Hold(until) => hold(desk, &mut row, &key, channel, until, now)?,
            Step::Schedule(at) => {
                scheduled::note(desk, &mut row, channel, at, now);
                scheduled = Some(at);
            }
            Step::Drop(reason) => {
                texts_needed |= reason.is_replayable();
                hold_back(desk, &mut row, record.id, to, channel, reason, now);
            }
            Step::Expire => {
                row.apply(channel, &Event::Expire, now.wall, &mut desk.counters);
            }
        }
    }
    if let Some(at) = scheduled {
        scheduled::wait(desk, &mut row, &key, (at, record.request.priority), now);
        texts_needed = true;
    } else if !plan.cancelled {
        set_times(desk, &mut row, &key, record, absent, now);
        recipient.keep(&mut desk.turn, &keys::recipient(to));
    }
    desk.keep_row(&key, &row);
    Ok(texts_needed)
}

/// Into the inbox, and to the links that have the recipient.
pub(super) fn show<S: Store>(
    desk: &mut Desk<S>,
    row: &mut LedgerRow,
    recipient: &mut RecipientRow,
    record: &Record,
    to: &Recipient,
    at: &Whereabouts,
    now: Tick,
) -> Result<(), StoreError> {
    let created_at = desk.stamps.next(now.wall, recipient.last);
    let text = inbox::text(record, to, created_at);
    if text.len() > NOTIFICATION_BYTES_MAX {
        let why = format!("{} bytes are more than a client takes", text.len());
        give_up(desk, row, record.id, to, Channel::Inapp, &why, now);
        return Ok(());
    }
    let stream = keys::recipient(to);
    recipient.last = Some(created_at);
    if let Some(key) = &record.request.collapse_key {
        if let Some(older) = inbox::standing(&desk.turn, &stream, key)? {
            retire(desk, recipient, older, to, now)?;
        }
        inbox::stand(&mut desk.turn, &stream, key, record.id);
    }
    let place = Place { at: created_at, id: record.id };
    desk.turn.put(Space::Inbox, keys::inbox(&stream, place), Item::encode(row.expires_at, &text));
    (row.created_at, row.in_inbox) = (Some(created_at), true);
    recipient.unread += u64::from(!to.is_broadcast());
    if let Some(delivery) = row.delivery_mut(Channel::Inapp) {
        delivery.note(now.wall, What::Inbox, "");
    }
    send(desk, record, to, at, created_at, &text);
    Ok(())
}

fn send<S: Store>(
    desk: &mut Desk<S>,
    record: &Record,
    to: &Recipient,
    at: &Whereabouts,
    created_at: Wall,
    text: &str,
) {
    if at.links.is_empty() {
        return;
    }
    let id = record.id;
    let key = keys::ledger(id, to);
    let text = inbox::message(text);
    for link in &at.links {
        let tag = desk.flights.launch(*link, &key, created_at, record.begins_at());
        let text = text.clone();
        let frame = match to {
            Recipient::User(user) => Frame::Deliver { tag, id, created_at, user: user.clone(), text },
            Recipient::Topic(topic) => {
                Frame::Broadcast { tag, id, created_at, topic: Some(topic.clone()), text }
            }
            Recipient::All => Frame::Broadcast { tag, id, created_at, topic: None, text },
            Recipient::Erased(_) => return,
        };
        desk.send(*link, frame);
    }
}

/// To the channel's provider. The row says that the call is out until its outcome comes. False: nobody can be asked.
pub(super) fn provide<S: Store>(
    desk: &mut Desk<S>,
    row: &mut LedgerRow,
    record: &Record,
    to: &Recipient,
    channel: Channel,
    again: bool,
    now: Tick,
) -> Result<bool, StoreError> {
    provide_as(desk, row, (record, None), to, channel, again, now)
}

/// The same, if there is a digest with what others say, too.
pub(super) fn provide_as<S: Store>(
    desk: &mut Desk<S>,
    row: &mut LedgerRow,
    (record, digest): (&Record, Option<&Digest>),
    to: &Recipient,
    channel: Channel,
    again: bool,
    now: Tick,
) -> Result<bool, StoreError> {
    let Recipient::User(user) = to else { return Ok(false) };
    let call = keys::within(&keys::ledger(record.id, to), &[channel as u8]);
    let addresses = match letters::addresses(desk, record, user, channel, &call)? {
        Ok(addresses) => addresses,
        Err(reason) => {
            letters::forget(desk, &call)?;
            row.apply(channel, &Event::Drop(reason), now.wall, &mut desk.counters);
            return Ok(false);
        }
    };
    row.apply(channel, &Event::Wait(None), now.wall, &mut desk.counters);
    let Some(delivery) = row.delivery_mut(channel) else { return Ok(false) };
    delivery.attempts += u32::from(!again);
    let what = if again { What::ProvidedAgain } else { What::Provided };
    delivery.note(now.wall, what, format!("try {}", delivery.attempts));
    let attempt = delivery.attempts;
    calls::note(desk, &call, digest.map(|_| record.id));
    let request = &record.request;
    let alone = ProviderCall {
        delivery: DeliveryKey { id: record.id, channel, user: user.clone() },
        addresses,
        service: record.service.clone(),
        priority: request.priority,
        category: request.category.clone(),
        title: request.title.clone(),
        body: request.body.clone(),
        data: request.data.clone(),
        collapse_key: request.collapse_key.clone(),
        begins_at: record.begins_at(),
        expires_at: record.expires_at(),
        ends_at: row.expires_at.map(|at| now.to_mono(at)),
        attempt,
        again,
        digest: None,
        claim: None,
    };
    desk.say(Output::Provide(match digest {
        Some(digest) => together(alone, digest, now),
        None => alone,
    }));
    Ok(true)
}

/// What one says is what all of them say.
fn together(alone: ProviderCall, digest: &Digest, now: Tick) -> ProviderCall {
    ProviderCall {
        priority: digest.priority,
        category: digest.category.clone(),
        title: Some(digest.title()),
        body: Some(digest.body()).filter(|body| !body.is_empty()),
        data: digest.data(),
        collapse_key: None,
        expires_at: digest.expires_at,
        ends_at: digest.expires_at.map(|at| now.to_mono(now.to_steady(at))),
        digest: Some(Arc::new(digest.clone())),
        ..alone
    }
}

/// It goes out when its user may be disturbed, or wants it. `until` is a date.
pub(super) fn hold<S: Store>(
    desk: &mut Desk<S>,
    row: &mut LedgerRow,
    key: &[u8],
    channel: Channel,
    until: Wall,
    now: Tick,
) -> Result<(), StoreError> {
    let (at, call) = (now.to_steady(until), keys::within(key, &[channel as u8]));
    letters::begin_anew(desk, &call)?;
    if row.apply(channel, &Event::Wait(Some(at)), now.wall, &mut desk.counters) {
        desk.schedule(at, Due::Retry, &call);
        digests::hold(desk, &call, at);
    }
    // A clock that runs a little ahead after a restart holds it once more.
    let detail = format!("until {until}");
    if let Some(delivery) = row.delivery_mut(channel)
        && delivery.timeline.last().is_none_or(|last| last.what != What::Held || last.detail != detail)
    {
        delivery.note(now.wall, What::Held, detail);
    }
    Ok(())
}

/// Until when a channel that was just begun is held.
pub(super) fn held_until(row: &LedgerRow, channel: Channel) -> Option<Wall> {
    match row.delivery(channel).filter(|_| channel != Channel::Inapp)?.state {
        State::Open { due_at } => due_at,
        _ => None,
    }
}

/// Dropped, and logged where an operator can have it sent all the same.
pub(super) fn hold_back<S: Store>(
    desk: &mut Desk<S>,
    row: &mut LedgerRow,
    id: Uuid,
    to: &Recipient,
    channel: Channel,
    reason: Reason,
    now: Tick,
) {
    if reason.is_replayable() {
        desk.log_overflow(&LogRow::of_delivery(now.wall, &reason.to_string(), id, to, channel));
    }
    row.apply(channel, &Event::Drop(reason), now.wall, &mut desk.counters);
}

/// Dead-lettered: everything was tried.
pub(super) fn give_up<S: Store>(
    desk: &mut Desk<S>,
    row: &mut LedgerRow,
    id: Uuid,
    to: &Recipient,
    channel: Channel,
    why: &str,
    now: Tick,
) {
    if row.apply(channel, &Event::GiveUp(why.to_owned()), now.wall, &mut desk.counters) {
        desk.dead_letter(now.wall, why, id, to, channel);
    }
}

/// When something is to happen by itself: the next channel's turn, the end of waiting for an acknowledgement, the end
/// of its life.
fn set_times<S: Store>(
    desk: &mut Desk<S>,
    row: &mut LedgerRow,
    key: &[u8],
    record: &Record,
    absent: bool,
    now: Tick,
) {
    let request = &record.request;
    let patience = request.channels.iter().map(|channel| request.patience(*channel)).max();
    let patience = patience.unwrap_or_default();
    let is_waited_for = request.ack_within_s.is_some() || !request.channel_within_s.is_empty();
    let expired = row.deliveries.iter().all(|delivery| delivery.state == State::Expired);
    let has_turns =
        !request.fallback.is_empty() && matches!(keys::ledger_parts(key), Ok((_, Recipient::User(_))));
    if has_turns && !expired {
        row.ladder = Some(Ladder { next: 0 });
        let wait = if hopeless(row, absent) { Duration::ZERO } else { patience };
        // Nobody acknowledges what is held: the next channel waits, too, unless somebody else was asked at once.
        let held = first_out(row);
        desk.set_deadline(row, key, Some(held.unwrap_or(now.steady) + wait));
    } else if !expired && !request.channel_within_s.is_empty() && hopeless(row, absent) {
        desk.set_deadline(row, key, Some(now.steady));
    } else if is_waited_for && (is_open(row, Channel::Inapp) || !request.channel_within_s.is_empty()) {
        desk.set_deadline(row, key, Some(now.steady + patience));
    }
    settle_inapp(desk, row, now.wall);
    if let Some(at) = row.expires_at
        && !expired
    {
        desk.schedule(at, Due::Expiry, key);
    }
}

/// When the first channel that has not failed goes out to its provider. `None`: it is out, or there is none.
fn first_out(row: &LedgerRow) -> Option<Wall> {
    let others = row.deliveries.iter().filter(|delivery| {
        let is_waiting = matches!(delivery.state, State::Open { .. } | State::HandedOver | State::Unknown);
        delivery.channel != Channel::Inapp && is_waiting
    });
    others.map(|delivery| held_until(row, delivery.channel)).min().flatten()
}

/// Whether none of what was tried can bring anything: the next channel need not wait.
fn hopeless(row: &LedgerRow, absent: bool) -> bool {
    row.deliveries.iter().all(|delivery| {
        let failed = matches!(
            delivery.state,
            State::Dropped(_) | State::DeadLettered(_) | State::Expired | State::FellBack
        );
        failed || (absent && delivery.channel == Channel::Inapp)
    })
}

pub(super) fn is_open(row: &LedgerRow, channel: Channel) -> bool {
    row.delivery(channel).is_some_and(|delivery| delivery.state.is_open())
}

/// In-app is open only while something is waited for; else the inbox is all that was wanted.
pub(super) fn settle_inapp<S: Store>(desk: &mut Desk<S>, row: &mut LedgerRow, at: Wall) {
    if !is_open(row, Channel::Inapp) {
        return;
    }
    let event = match row.deadline {
        Some(deadline) => Event::Wait(Some(deadline)),
        None => Event::Taken,
    };
    row.apply(Channel::Inapp, &event, at, &mut desk.counters);
}

/// A newer one took its place: what nobody had acted on is dropped, and what waits goes no further.
fn retire<S: Store>(
    desk: &mut Desk<S>,
    recipient: &mut RecipientRow,
    older: Uuid,
    to: &Recipient,
    now: Tick,
) -> Result<(), StoreError> {
    let key = keys::ledger(older, to);
    let Some(mut row) = desk.row(&key)? else { return Ok(()) };
    withdraw(desk, &mut row, recipient, &key, (older, to), &Reason::Collapsed, now)?;
    desk.keep_row(&key, &row);
    Ok(())
}

/// Takes back what can still be taken back. Returns how many deliveries that were.
pub(super) fn withdraw<S: Store>(
    desk: &mut Desk<S>,
    row: &mut LedgerRow,
    recipient: &mut RecipientRow,
    key: &[u8],
    (id, to): (Uuid, &Recipient),
    reason: &Reason,
    now: Tick,
) -> Result<u32, StoreError> {
    let mut withdrawn = 0;
    row.ladder = None;
    row.scheduled = false;
    desk.set_deadline(row, key, None);
    // A newer one takes an older one's place wherever it is; a cancelled one stays where somebody may have seen it.
    let shown = *reason == Reason::Cancelled && row.sockets > 0;
    let waiting = |delivery: &Delivery| match (delivery.channel, &delivery.state) {
        (Channel::Inapp, _) => !shown,
        // What a provider was handed cannot be called back.
        (_, State::Open { due_at }) => due_at.is_some(),
        _ => false,
    };
    let channels: Vec<_> =
        row.deliveries.iter().filter(|delivery| waiting(delivery)).map(|delivery| delivery.channel).collect();
    if let Recipient::User(user) = to {
        let others: Vec<Channel> = row.deliveries.iter().map(|delivery| delivery.channel).collect();
        for channel in others.into_iter().filter(|channel| *channel != Channel::Inapp) {
            let delivery = DeliveryKey { id, channel, user: user.clone() };
            letters::stop(desk, &delivery, &keys::within(key, &[channel as u8]), reason)?;
        }
    }
    for channel in channels {
        unschedule_retry(desk, row, key, channel)?;
        withdrawn +=
            u32::from(row.apply(channel, &Event::Drop(reason.clone()), now.wall, &mut desk.counters));
    }
    if shown {
        settle_inapp(desk, row, now.wall);
    } else {
        leave_inbox(desk, row, recipient, id, to)?;
    }
    if let Some(at) = row.expires_at
        && !row.in_inbox
        && row.deliveries.iter().all(|delivery| !delivery.state.is_open())
    {
        desk.unschedule(at, Due::Expiry, key);
    }
    Ok(withdrawn)
}

/// It waits for nothing any more.
pub(super) fn unschedule_retry<S: Store>(
    desk: &mut Desk<S>,
    row: &LedgerRow,
    key: &[u8],
    channel: Channel,
) -> Result<(), StoreError> {
    if channel != Channel::Inapp
        && let Some(State::Open { due_at: Some(at) }) = row.delivery(channel).map(|delivery| &delivery.state)
    {
        let call = keys::within(key, &[channel as u8]);
        desk.unschedule(*at, Due::Retry, &call);
        digests::leave(desk, &call)?;
    }
    Ok(())
}

/// It is shown no more.
pub(super) fn leave_inbox<S: Store>(
    desk: &mut Desk<S>,
    row: &mut LedgerRow,
    recipient: &mut RecipientRow,
    id: Uuid,
    to: &Recipient,
) -> Result<(), StoreError> {
    let Some(at) = row.created_at.filter(|_| row.in_inbox) else { return Ok(()) };
    row.in_inbox = false;
    desk.turn.delete(Space::Inbox, keys::inbox(&keys::recipient(to), Place { at, id }));
    if let Recipient::User(user) = to {
        if !Mark::load(&desk.turn, user, id)?.read {
            recipient.unread = recipient.unread.saturating_sub(1);
        }
        Mark::delete(&mut desk.turn, user, id);
    }
    Ok(())
}
