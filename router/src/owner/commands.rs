//! What the API asks for: marks, tickets, revocations, cancelling, and sending again what was held back.

use uuid::Uuid;
use wire::link::{Frame, Revoked};

use super::clock::Tick;
use super::desk::Desk;
use super::logs::LogRow;
use super::marks::{self, Act};
use super::words::{Answer, Command};
use super::{cancellations, intake, otp, people, receipts, tickets};
use crate::classify::Recipient;
use crate::inbox::RecipientRow;
use crate::ledger::{Event, Reason};
use crate::pipeline::{Rules, Stop};
use crate::presence::Presence;
use crate::record::{Channel, Record, is_readable};
use crate::route::{Step, route};
use crate::store::keys;
use crate::store::{Order, Range, SCAN_ROWS_MAX, Space, Store, StoreError};

/// Answers one command.
pub(super) fn command<S: Store>(
    desk: &mut Desk<S>,
    rules: &mut Rules<'_>,
    command: &Command,
    now: Tick,
) -> Result<Answer, StoreError> {
    match command {
        Command::MarkRead { user, ids } => mark_read(desk, rules.presence, user, ids, now),
        Command::IssueTicket { user, hash, expires_at } => {
            tickets::issue(desk, user, *hash, *expires_at, now);
            Ok(Answer::Done)
        }
        Command::Revoke { who } => revoke(desk, rules.presence, who, now).map(|_| Answer::Done),
        Command::Cancel { id, by, promised, .. } => cancel(desk, *id, by.as_deref(), *promised, now),
        Command::ReplayOverflow { number } => replay_overflow(desk, rules, *number, now),
        Command::ReplayDeadLetter { number } => replay_dead_letter(desk, rules, *number, now),
        Command::PutContacts { user, asked } => {
            people::put_contacts(desk, user, asked, now).map(Answer::Contacts)
        }
        Command::OpenOtp(opened) => otp::open(desk, opened, now),
        Command::GuessOtp { id, by, seal } => otp::guess(desk, rules.presence, *id, (by, seal), now),
        Command::PutBackupCodes { user, hashes } => otp::put_backup_codes(desk, user, hashes, now),
        Command::TryBackupCode { user } => otp::try_backup_code(desk, user, now),
        Command::TakeBackupCode { user, hash } => otp::take_backup_code(desk, user, hash),
        Command::PutPreferences { user, preferences } => {
            people::put_preferences(desk, user, preferences);
            Ok(Answer::Done)
        }
        Command::Receipt(told) => receipts::told(desk, told, now),
        Command::Suppress { user, channel, why } => {
            people::suppress(desk, *channel, (None, Some(user)), *why, now)
        }
        Command::Unsubscribe(leaving) => people::unsubscribe(desk, leaving, now),
        Command::LiftSuppressions { user, channel } => people::lift(desk, user, *channel),
        Command::Bury(letter) => intake::bury(desk, letter, now.wall),
        Command::Erase { .. } => unreachable!("`Owner` begins it, and answers when it is done"),
    }
}

fn mark_read<S: Store>(
    desk: &mut Desk<S>,
    presence: &Presence,
    user: &str,
    ids: &[Uuid],
    now: Tick,
) -> Result<Answer, StoreError> {
    let mut done = marks::act(desk, user, ids, Act::Read, now)?;
    done.first_acted.append(&mut done.elsewhere);
    marks::dismiss(desk, presence, user, done.first_acted, None, now);
    let unread = RecipientRow::load(&desk.turn, &keys::user(user))?.unread;
    Ok(Answer::Marked { changed: done.changed, unread })
}

/// Closes sockets; how many tickets went with them.
pub(super) fn revoke<S: Store>(
    desk: &mut Desk<S>,
    presence: &Presence,
    who: &Revoked,
    now: Tick,
) -> Result<u64, StoreError> {
    let mut tickets = 0;
    if let Revoked::User(user) = who {
        tickets = tickets::revoke(desk, user)?;
        desk.must_persist = true;
    }
    for link in presence.links() {
        desk.send(link, Frame::Revoke { who: who.clone() });
    }
    desk.revocations.note(who.clone(), now.mono);
    Ok(tickets)
}

/// Every recipient of a notification: a request names fewer than one scan reads. One that was promised and is still
/// in the journal is cancelled when it comes.
pub(super) fn cancel<S: Store>(
    desk: &mut Desk<S>,
    id: Uuid,
    by: Option<&str>,
    promised: Option<u32>,
    now: Tick,
) -> Result<Answer, StoreError> {
    let rows = desk.turn.scan(Space::Ledger, &Range::prefix(id.as_bytes()), Order::Forward, SCAN_ROWS_MAX)?;
    if rows.is_empty() {
        let Some(cancelled) = promised else { return Ok(Answer::NotFound) };
        cancellations::note(desk, id, now)?;
        return Ok(Answer::Cancelled { cancelled, too_late: 0 });
    }
    if let Some(by) = by
        && desk.record(id)?.is_none_or(|record| record.service != by)
    {
        return Ok(Answer::NotFound);
    }
    let (mut cancelled, mut all) = (0, 0);
    for (key, _) in rows {
        let Some(mut row) = desk.row(&key)? else { continue };
        let (id, to) = keys::ledger_parts(&key)?;
        all += row.deliveries.len() as u32;
        if let Recipient::Erased(_) = to {
            continue;
        }
        let stream = keys::recipient(&to);
        let mut recipient = RecipientRow::load(&desk.turn, &stream)?;
        cancelled +=
            intake::withdraw(desk, &mut row, &mut recipient, &key, (id, &to), &Reason::Cancelled, now)?;
        recipient.keep(&mut desk.turn, &stream);
        desk.keep_row(&key, &row);
    }
    Ok(Answer::Cancelled { cancelled, too_late: all - cancelled })
}

fn replay_overflow<S: Store>(
    desk: &mut Desk<S>,
    rules: &mut Rules<'_>,
    number: u64,
    now: Tick,
) -> Result<Answer, StoreError> {
    let Some(item) = log_row(desk, Space::Overflow, number)? else { return Ok(Answer::NotFound) };
    replay_delivery(desk, rules, Space::Overflow, number, item, now)
}

fn replay_dead_letter<S: Store>(
    desk: &mut Desk<S>,
    rules: &mut Rules<'_>,
    number: u64,
    now: Tick,
) -> Result<Answer, StoreError> {
    let Some(item) = log_row(desk, Space::DeadLetters, number)? else { return Ok(Answer::NotFound) };
    if item.is_record() {
        replay_record(desk, rules, number, item, now)
    } else {
        replay_delivery(desk, rules, Space::DeadLetters, number, item, now)
    }
}

fn log_row<S: Store>(desk: &Desk<S>, space: Space, number: u64) -> Result<Option<LogRow>, StoreError> {
    let row = desk.turn.get(space, &number.to_be_bytes())?;
    row.map(|row| LogRow::decode(space, &row)).transpose()
}

fn replayed<S: Store>(desk: &mut Desk<S>, space: Space, number: u64, mut item: LogRow, now: Tick) -> Answer {
    item.replayed_at = Some(now.wall);
    desk.turn.put(space, number.to_be_bytes().to_vec(), item.encode());
    Answer::Replayed
}

/// One delivery, past the limit that held it back: an operator said so.
fn replay_delivery<S: Store>(
    desk: &mut Desk<S>,
    rules: &mut Rules<'_>,
    space: Space,
    number: u64,
    item: LogRow,
    now: Tick,
) -> Result<Answer, StoreError> {
    let (Some(id), Some(to), Some(channel)) = (item.id, item.recipient(), item.channel) else {
        return Ok(Answer::Refused("it names no delivery".to_owned()));
    };
    let key = keys::ledger(id, &to);
    let (Some(mut row), Some(record)) = (desk.row(&key)?, desk.record(id)?) else {
        return Ok(Answer::NotFound);
    };
    if row.expires_at.is_some_and(|at| at <= now.steady) {
        return Ok(Answer::Refused("its life is over".to_owned()));
    }
    if !row.apply(channel, &Event::Replay, now.wall, &mut desk.counters) {
        return Ok(Answer::Refused("it was sent again before, or has ended otherwise".to_owned()));
    }
    match route(&to, channel, rules.presence, now.mono) {
        Step::Show(at) => {
            let stream = keys::recipient(&to);
            let mut recipient = RecipientRow::load(&desk.turn, &stream)?;
            intake::show(desk, &mut row, &mut recipient, &record, &to, &at, now)?;
            recipient.keep(&mut desk.turn, &stream);
        }
        Step::Provide => {
            if let Some(delivery) = row.delivery_mut(channel) {
                delivery.attempts = 0;
            }
            intake::provide(desk, &mut row, &record, &to, channel, false, now)?;
        }
        Step::Hold(_) | Step::Schedule(_) | Step::Drop(_) | Step::Expire => {
            return Err(StoreError::Damaged { space, what: format!("{number} cannot be routed") });
        }
    }
    if channel == Channel::Inapp {
        intake::settle_inapp(desk, &mut row, now.wall);
    }
    desk.keep_row(&key, &row);
    Ok(replayed(desk, space, number, item, now))
}

/// A record that could not be understood, by a build that may understand it.
fn replay_record<S: Store>(
    desk: &mut Desk<S>,
    rules: &mut Rules<'_>,
    number: u64,
    item: LogRow,
    now: Tick,
) -> Result<Answer, StoreError> {
    if item.replayed_at.is_some() {
        return Ok(Answer::Refused("it was sent again before".to_owned()));
    }
    if let Some(source) = &item.source {
        let why = format!("it came from {source} and is no request: mend it and produce it there again");
        return Ok(Answer::Refused(why));
    }
    let bytes = item.bytes().filter(|_| !item.cut).unwrap_or_default();
    let record: Record = match serde_json::from_slice::<Record>(&bytes) {
        Ok(record) if is_readable(record.v) => record,
        Ok(record) => return Ok(Answer::Refused(format!("a record of version {}", record.v))),
        Err(error) => return Ok(Answer::Refused(error.to_string())),
    };
    match intake::walk(desk, rules, &record, now) {
        Ok(_) => {
            desk.counters.revive_record();
            let lane = desk.counters.lane(item.lane.unwrap_or(record.request.priority));
            lane.dead_lettered = lane.dead_lettered.saturating_sub(1);
            lane.processed += 1;
            Ok(replayed(desk, Space::DeadLetters, number, item, now))
        }
        Err(Stop::Senseless(why)) => Ok(Answer::Refused(why.to_string())),
        Err(Stop::Book(error)) => Err(error),
    }
}
