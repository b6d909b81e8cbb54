//! Which router this folder is of: the name under which one of several routers writes the ledger, the same at every start.
//!
//! A folder is either of a router alone, whose store is the truth, or of one of several, whose store is a copy of ledgers. Neither
//! can be taken for the other.

use uuid::Uuid;

use super::StartError;
use crate::store::{Batch, DiskStore, Space, Store, StoreError};

/// Where the name stands.
const KEY: &[u8] = b"node/instance";
/// A router alone has opened its owner here.
const ALONE: (Space, &[u8]) = (Space::Meta, b"boots");

/// Refuses the folder of the other kind. Before anything is written to it.
pub(super) fn check(store: &DiskStore, is_one_of_several: bool) -> Result<(), StartError> {
    let is_alone_s = store.get(ALONE.0, ALONE.1)?.is_some();
    let is_of_several = store.get(Space::Documents, KEY)?.is_some();
    if is_one_of_several && is_alone_s {
        let why = "the data folder is of a router that was alone: several routers begin with empty folders";
        return Err(StartError::OtherKind(why));
    }
    if !is_one_of_several && is_of_several {
        let why = "the data folder is of one of several routers: its [router] routers must be above 1";
        return Err(StartError::OtherKind(why));
    }
    Ok(())
}

/// The name of this router, drawn at its first start.
#[cfg(feature = "kafka")]
pub(super) fn name(store: &DiskStore) -> Result<String, StoreError> {
    if let Some(name) = store.get(Space::Documents, KEY)? {
        let damaged =
            || StoreError::Damaged { space: Space::Documents, what: "the router's name".to_owned() };
        return Uuid::from_slice(&name).map(|name| name.to_string()).map_err(|_| damaged());
    }
    let name = Uuid::new_v4();
    let mut batch = Batch::default();
    batch.put(Space::Documents, KEY, name.as_bytes().to_vec());
    store.commit(&batch)?;
    store.persist()?;
    Ok(name.to_string())
}
