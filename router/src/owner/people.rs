//! What is known of people: where they are reached, where not any more, and what they want. Changed by the API's commands, and by what
//! providers say of addresses.

use super::clock::Tick;
use super::desk::Desk;
use super::words::Answer;
use crate::classify::Recipient;
use crate::contacts::Contacts;
use crate::contacts::asked::Asked;
use crate::ledger::LedgerRow;
use crate::preferences::{OTHERS, Preferences, Wish};
use crate::provider::letter::Address;
use crate::record::{Channel, Record};
use crate::store::{Order, Range, Space, Store, StoreError};
use crate::suppression::{self, Why};
use crate::unsubscribe::Leaving;

/// Whether anything is known of anybody: while nothing is, no record costs a look into the store.
pub(super) fn any<S: Store>(store: &S) -> Result<bool, StoreError> {
    Ok(!store.scan(Space::People, &Range::all(), Order::Forward, 1)?.is_empty())
}

/// What a recipient wants to be sent. A document that cannot be read keeps nothing from anybody.
pub(super) fn preferences<S: Store>(desk: &mut Desk<S>, to: &Recipient) -> Result<Preferences, StoreError> {
    let Recipient::User(user) = to else { return Ok(Preferences::default()) };
    if !desk.has_people {
        return Ok(Preferences::default());
    }
    match Preferences::load(&desk.turn, user) {
        Err(damage @ StoreError::Damaged { .. }) => {
            desk.alert("store_row_damaged", true, damage.to_string());
            Ok(Preferences::default())
        }
        known => known,
    }
}

/// What they make of one delivery now.
pub(super) fn wish(
    preferences: &Preferences,
    record: &Record,
    row: &LedgerRow,
    channel: Channel,
    now: Tick,
) -> Wish {
    let request = &record.request;
    let since = row.delivery(channel).and_then(|delivery| delivery.timeline.first());
    let since = since.map_or(now.wall, |moment| moment.at);
    preferences.wish(request.category.as_deref(), channel, request.priority, since, now.wall)
}

/// Takes the place of what was known.
pub(super) fn put_preferences<S: Store>(desk: &mut Desk<S>, user: &str, preferences: &Preferences) {
    preferences.keep(&mut desk.turn, user);
    desk.has_people = true;
    desk.must_persist = true;
}

/// Takes the place of what was known.
pub(super) fn put_contacts<S: Store>(
    desk: &mut Desk<S>,
    user: &str,
    asked: &Asked,
    now: Tick,
) -> Result<Contacts, StoreError> {
    // A document that cannot be read is no reason to refuse the one that replaces it.
    let before = match Contacts::load(&desk.turn, user) {
        Err(StoreError::Damaged { .. }) => Contacts::default(),
        known => known?,
    };
    let contacts = asked.stamped(&before, now.wall);
    contacts.keep(&mut desk.turn, user);
    desk.has_people = true;
    // A power cut must not bring back where somebody does not want to be reached any more.
    desk.must_persist = true;
    Ok(contacts)
}

/// Addresses that will never do again. Exactly these: what was registered since stays. A device is forgotten; a number or an
/// e-mail address stays to be looked at, and is not written to.
pub(super) fn give_up<S: Store>(
    desk: &mut Desk<S>,
    user: &str,
    channel: Channel,
    gone: &[Address],
    now: Tick,
) -> Result<(), StoreError> {
    if gone.is_empty() {
        return Ok(());
    }
    let mut contacts = Contacts::load(&desk.turn, user)?;
    let mut pruned = false;
    for address in gone {
        if suppression::has(channel) {
            suppression::keep(&mut desk.turn, channel, address, Why::Gone, now.wall)?;
        } else {
            pruned |= contacts.prune(address);
        }
    }
    if pruned {
        contacts.keep(&mut desk.turn, user);
    }
    Ok(())
}

/// Nothing more is sent to this address, or to what is known of the user now.
pub(super) fn suppress<S: Store>(
    desk: &mut Desk<S>,
    channel: Channel,
    (to, user): (Option<&Address>, Option<&str>),
    why: Why,
    now: Tick,
) -> Result<Answer, StoreError> {
    let mut addresses: Vec<Address> = to.into_iter().cloned().collect();
    if let Some(user) = user.filter(|_| addresses.is_empty()) {
        addresses = Contacts::load(&desk.turn, user)?.addresses(channel);
    }
    if addresses.is_empty() {
        return Ok(Answer::NotFound);
    }
    for address in addresses {
        suppression::keep(&mut desk.turn, channel, &address, why, now.wall)?;
    }
    // A power cut must not undo that somebody said no.
    desk.must_persist = true;
    Ok(Answer::Done)
}

/// No more mails of this category to the user, or of those that are of none and of none that is named; or none at all to the address,
/// where nobody is known (any more) whose wishes these would be: who said no is not written to again.
pub(super) fn unsubscribe<S: Store>(
    desk: &mut Desk<S>,
    leaving: &Leaving,
    now: Tick,
) -> Result<Answer, StoreError> {
    let Leaving { user, category, mark } = leaving;
    let category = category.as_deref().unwrap_or(OTHERS);
    if let Some(mut preferences) = wishes_of_somebody_known(desk, user)?
        && let Ok(is_new) = preferences.turn_off(category, Channel::Email)
    {
        if is_new {
            put_preferences(desk, user, &preferences);
        }
        return Ok(Answer::Done);
    }
    // A power cut must not undo that somebody said no.
    desk.must_persist |=
        suppression::keep_mark(&mut desk.turn, Channel::Email, mark, Why::Unsubscribe, now.wall)?;
    Ok(Answer::Done)
}

/// `None`: nothing is known of the user, or it cannot be read.
fn wishes_of_somebody_known<S: Store>(desk: &Desk<S>, user: &str) -> Result<Option<Preferences>, StoreError> {
    let contacts = Contacts::load(&desk.turn, user);
    let both = contacts.and_then(|contacts| Ok((contacts, Preferences::load(&desk.turn, user)?)));
    match both {
        Err(StoreError::Damaged { .. }) => Ok(None),
        both => {
            let (contacts, preferences) = both?;
            let is_known = contacts != Contacts::default() || preferences != Preferences::default();
            Ok(is_known.then_some(preferences))
        }
    }
}

/// The user's addresses may be written to again.
pub(super) fn lift<S: Store>(
    desk: &mut Desk<S>,
    user: &str,
    channel: Option<Channel>,
) -> Result<Answer, StoreError> {
    let contacts = Contacts::load(&desk.turn, user)?;
    let mut lifted = 0;
    for of in Channel::ALL.into_iter().filter(|of| channel.is_none_or(|channel| channel == *of)) {
        for address in contacts.addresses(of) {
            lifted += u32::from(suppression::lift(&mut desk.turn, of, &address)?);
        }
    }
    desk.must_persist = true;
    Ok(Answer::Lifted(lifted))
}
