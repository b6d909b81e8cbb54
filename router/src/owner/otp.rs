//! One-use codes: their rows, and what a right guess does to the notification that brought the code. And backup codes.
//!
//! A code is opened before its notification is promised, so that no code is out that nobody can verify. Every guess is on the
//! disk before it is answered: a power cut gives none back. Called by `commands`, `letters`, `outcomes` and `timers`.

use std::time::Duration;

use uuid::Uuid;
use wire::message::Priority;

use super::clock::Tick;
use super::commands;
use super::desk::{Desk, Due};
use super::marks::{self, Act};
use super::words::{Answer, OtpOpened};
use crate::classify::Recipient;
use crate::contacts::Contacts;
use crate::ledger::LedgerRow;
use crate::otp::backup::{BackupCodes, TRIES_MAX};
use crate::otp::{GUESSES_MAX, Guess, Otp, Recent, Seal, newest};
use crate::presence::Presence;
use crate::record::Record;
use crate::store::keys;
use crate::store::{Space, Store, StoreError};

/// How long a code is still told of when its time is over.
const SHOWN_FOR: Duration = Duration::from_secs(24 * 3_600);

fn load<S: Store>(desk: &Desk<S>, id: Uuid) -> Result<Option<Otp>, StoreError> {
    desk.turn.get(Space::Otp, id.as_bytes())?.map(Otp::decode).transpose()
}

/// Given again, it changes nothing once the notification is here; before, what was promised last counts. The user's newest
/// code of a service takes the place of the one before.
pub(super) fn open<S: Store>(
    desk: &mut Desk<S>,
    opened: &OtpOpened,
    now: Tick,
) -> Result<Answer, StoreError> {
    let OtpOpened { id, service, user, seal, expires_at, contacts } = opened.clone();
    if let Some(before) = load(desk, id)? {
        if desk.row(&keys::ledger(id, &Recipient::User(before.user.clone())))?.is_some() {
            let is_same = before.seal == seal && before.user == user && before.service == service;
            let other = || Answer::Refused("another code was sent under this key".to_owned());
            return Ok(if is_same { Answer::Done } else { other() });
        }
        unschedule(desk, id, &before);
    }
    let mut recent = Recent::load(&desk.turn, &user, &service)?;
    if recent.newest != id {
        close(desk, recent.newest, now)?;
        recent.newest = id;
        recent.keep(&mut desk.turn, &user, &service);
    }
    let over_at = now.to_steady(expires_at);
    let guesses_left = GUESSES_MAX;
    let otp = Otp { service, user, seal, guesses_left, over_at, expires_at, verified_at: None, contacts };
    keep(desk, id, &otp);
    schedule(desk, id, &otp);
    newest::note(&mut desk.turn, id)?;
    Ok(Answer::Done)
}

fn keep<S: Store>(desk: &mut Desk<S>, id: Uuid, otp: &Otp) {
    desk.turn.put(Space::Otp, id.as_bytes().to_vec(), otp.encode());
    desk.must_persist = true;
}

/// When it is not told of any more.
fn schedule<S: Store>(desk: &mut Desk<S>, id: Uuid, otp: &Otp) {
    desk.schedule(otp.over_at + SHOWN_FOR, Due::Otp, id.as_bytes());
}

fn unschedule<S: Store>(desk: &mut Desk<S>, id: Uuid, otp: &Otp) {
    desk.unschedule(otp.over_at + SHOWN_FOR, Due::Otp, id.as_bytes());
}

/// It is good no more, and what of it has not gone out does not go out.
fn close<S: Store>(desk: &mut Desk<S>, id: Uuid, now: Tick) -> Result<(), StoreError> {
    let Some(mut otp) = load(desk, id)?.filter(|otp| otp.over_at > now.steady) else { return Ok(()) };
    unschedule(desk, id, &otp);
    (otp.over_at, otp.expires_at) = (now.steady, now.wall);
    keep(desk, id, &otp);
    schedule(desk, id, &otp);
    // One that is still in the journal is dropped when it comes.
    let _how_many = commands::cancel(desk, id, None, Some(0), now)?;
    Ok(())
}

/// `by`: the service that asks, which must be its own. Right: whoever waits for the user hears that the code came.
pub(super) fn guess<S: Store>(
    desk: &mut Desk<S>,
    presence: &Presence,
    id: Uuid,
    (by, seal): (&str, &Seal),
    now: Tick,
) -> Result<Answer, StoreError> {
    let Some(mut otp) = load(desk, id)?.filter(|otp| otp.service == by) else {
        return Ok(Answer::NotFound);
    };
    let mut recent = Recent::load(&desk.turn, &otp.user, by)?;
    if otp.verified_at.is_none() && !recent.may_guess(now.steady) {
        return Ok(Answer::Guessed(Guess::Spent));
    }
    let guess = otp.guess(seal, now.steady, now.wall);
    if matches!(guess, Guess::Right | Guess::Wrong { .. }) {
        keep(desk, id, &otp);
    }
    match guess {
        Guess::Right => {
            let done = marks::act(desk, &otp.user, &[id], Act::Acknowledge, now)?;
            marks::dismiss(desk, presence, &otp.user, done.first_acted, None, now);
        }
        Guess::Wrong { .. } => {
            recent.note_wrong(now.steady);
            recent.keep(&mut desk.turn, &otp.user, by);
        }
        Guess::Spent | Guess::Over | Guess::Used => {}
    }
    Ok(Answer::Guessed(guess))
}

pub(super) fn forget<S: Store>(desk: &mut Desk<S>, key: &[u8]) {
    desk.turn.delete(Space::Otp, key.to_vec());
}

/// Where the code of this notification goes, if it was said with it.
pub(super) fn contacts<S: Store>(desk: &Desk<S>, id: Uuid) -> Result<Option<Contacts>, StoreError> {
    Ok(load(desk, id)?.and_then(|otp| otp.contacts))
}

/// The code that a notification brings. Codes are critical: the others' rows are not looked for.
pub(super) fn of<S: Store>(desk: &Desk<S>, record: &Record) -> Result<Option<Otp>, StoreError> {
    if record.request.priority == Priority::Critical { load(desk, record.id) } else { Ok(None) }
}

/// No channel is left: people are told, unless the code was verified or its time is over.
pub(super) fn exhausted<S: Store>(
    desk: &mut Desk<S>,
    id: Uuid,
    row: &LedgerRow,
    now: Tick,
) -> Result<(), StoreError> {
    if row.ladder.is_some() || row.acknowledgements > 0 {
        return Ok(());
    }
    let Some(otp) = load(desk, id)? else { return Ok(()) };
    if otp.verified_at.is_none() && otp.over_at > now.steady {
        desk.alert("otp_exhausted", true, format!("{id}: no channel brought a code in time"));
    }
    Ok(())
}

/// New codes take the place of the old ones.
pub(super) fn put_backup_codes<S: Store>(
    desk: &mut Desk<S>,
    user: &str,
    hashes: &[String],
    now: Tick,
) -> Result<Answer, StoreError> {
    let tries = BackupCodes::load(&desk.turn, user)?.unwrap_or_default().tries;
    let codes = BackupCodes { made_at: now.wall, hashes: hashes.to_vec(), tries };
    codes.keep(&mut desk.turn, user);
    desk.must_persist = true;
    Ok(Answer::Done)
}

/// One try is counted before it is made, so that many at once are no more than the bound.
pub(super) fn try_backup_code<S: Store>(
    desk: &mut Desk<S>,
    user: &str,
    now: Tick,
) -> Result<Answer, StoreError> {
    let Some(mut codes) = BackupCodes::load(&desk.turn, user)? else { return Ok(Answer::NotFound) };
    if !codes.tries.has_room(TRIES_MAX, now.steady) {
        return Ok(Answer::Guessed(Guess::Spent));
    }
    codes.tries.note(now.steady);
    codes.keep(&mut desk.turn, user);
    desk.must_persist = true;
    Ok(Answer::BackupCodes(codes.hashes))
}

/// It was right: it is good no more, and the tries before it count no more.
pub(super) fn take_backup_code<S: Store>(
    desk: &mut Desk<S>,
    user: &str,
    hash: &str,
) -> Result<Answer, StoreError> {
    let Some(mut codes) = BackupCodes::load(&desk.turn, user)? else { return Ok(Answer::NotFound) };
    if !codes.take(hash) {
        return Ok(Answer::Guessed(Guess::Used));
    }
    let left = codes.hashes.len();
    codes.keep(&mut desk.turn, user);
    desk.must_persist = true;
    Ok(Answer::BackupCodeTaken { left })
}
