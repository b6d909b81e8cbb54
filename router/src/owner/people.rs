//! What is known of people: where they are reached. Changed by the API's commands, and by providers that say that an address
//! is gone.

use super::clock::Tick;
use super::desk::Desk;
use crate::contacts::Contacts;
use crate::contacts::asked::Asked;
use crate::provider::letter::Address;
use crate::store::{Store, StoreError};

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
    // A power cut must not bring back where somebody does not want to be reached any more.
    desk.must_persist = true;
    Ok(contacts)
}

/// Addresses that will never do again. Exactly these: what was registered since stays.
pub(super) fn prune<S: Store>(desk: &mut Desk<S>, user: &str, gone: &[Address]) -> Result<(), StoreError> {
    if gone.is_empty() {
        return Ok(());
    }
    let mut contacts = Contacts::load(&desk.turn, user)?;
    let is_token = |address: &&Address| !matches!(address, Address::Email(_) | Address::Phone(_));
    let pruned = gone.iter().filter(is_token).filter(|address| contacts.prune(address)).count();
    if pruned > 0 {
        contacts.keep(&mut desk.turn, user);
    }
    Ok(())
}
