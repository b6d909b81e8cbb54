//! Who decides behind the owner's loop: the one owner of a router alone, or the owners of one of several routers.
//!
//! Owns nothing but the seam. Whatever decides, outputs show only after a commit that succeeded.

use std::time::Duration;

use wire::link::Frame;
use wire::time::Mono;

use crate::journal::Entry;
#[cfg(feature = "kafka")]
use crate::journal::kafka::GroupEvent;
use crate::owner::{
    Carried, Command, DeliveryKey, HistoryAsked, Kept, LinkId, Now, Outcome, Output, Owner, OwnerLimits,
    Ownership,
};
use crate::record::Record;
use crate::store::{DiskStore, StoreError};
use crate::sync::history::History;

/// Why a commit did not happen. It is to be tried again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The ledger in Kafka, of one of several routers.
    #[error("{0}")]
    Ledger(String),
}

pub trait Decider {
    fn handle_entry(&mut self, entry: Entry, now: Now);
    fn handle_bypass(&mut self, record: Record, now: Now);
    fn handle_ownership(&mut self, ownership: Ownership, now: Now);
    fn handle_link_up(&mut self, link: LinkId, node: &str, shard: u16, now: Now);
    fn handle_link_frame(&mut self, link: LinkId, frame: Frame, now: Now);
    fn handle_link_down(&mut self, link: LinkId, now: Now);
    fn handle_outcome(&mut self, delivery: DeliveryKey, outcome: Outcome, now: Now);
    fn handle_carried(&mut self, carried: Carried, now: Now);
    fn handle_history(&mut self, asked: HistoryAsked, found: Result<Option<History>, String>, now: Now);
    fn handle_limits(&mut self, limits: &OwnerLimits);
    fn handle_command(&mut self, token: u64, command: Command, now: Now);
    #[cfg(feature = "kafka")]
    fn handle_group(&mut self, event: GroupEvent, now: Now);
    fn poll_timeout(&self) -> Option<Mono>;
    fn handle_timeout(&mut self, now: Now);
    fn commit(&mut self) -> Result<(), CommitError>;
    fn poll_output(&mut self) -> Option<Output>;
    fn reading_pause(&self, now: Now) -> Option<Duration>;
    fn kept(&self) -> Kept;
    /// Entries that were read under another assignment are not handled: they come again.
    fn round(&self) -> u64;
}

impl Decider for Owner<DiskStore> {
    fn handle_entry(&mut self, entry: Entry, now: Now) {
        Owner::handle_entry(self, entry, now);
    }

    fn handle_bypass(&mut self, record: Record, now: Now) {
        Owner::handle_bypass(self, record, now);
    }

    fn handle_ownership(&mut self, ownership: Ownership, now: Now) {
        Owner::handle_ownership(self, ownership, now);
    }

    fn handle_link_up(&mut self, link: LinkId, node: &str, shard: u16, now: Now) {
        Owner::handle_link_up(self, link, node, shard, now);
    }

    fn handle_link_frame(&mut self, link: LinkId, frame: Frame, now: Now) {
        Owner::handle_link_frame(self, link, frame, now);
    }

    fn handle_link_down(&mut self, link: LinkId, now: Now) {
        Owner::handle_link_down(self, link, now);
    }

    fn handle_outcome(&mut self, delivery: DeliveryKey, outcome: Outcome, now: Now) {
        Owner::handle_outcome(self, delivery, outcome, now);
    }

    fn handle_carried(&mut self, carried: Carried, now: Now) {
        Owner::handle_carried(self, carried, now);
    }

    fn handle_history(&mut self, asked: HistoryAsked, found: Result<Option<History>, String>, now: Now) {
        Owner::handle_history(self, asked, found, now);
    }

    fn handle_limits(&mut self, limits: &OwnerLimits) {
        Owner::handle_limits(self, limits);
    }

    fn handle_command(&mut self, token: u64, command: Command, now: Now) {
        Owner::handle_command(self, token, command, now);
    }

    /// A router alone hears of its partitions as [`Ownership`].
    #[cfg(feature = "kafka")]
    fn handle_group(&mut self, _event: GroupEvent, _now: Now) {}

    fn poll_timeout(&self) -> Option<Mono> {
        Owner::poll_timeout(self)
    }

    fn handle_timeout(&mut self, now: Now) {
        Owner::handle_timeout(self, now);
    }

    fn commit(&mut self) -> Result<(), CommitError> {
        Ok(Owner::commit(self)?)
    }

    fn poll_output(&mut self) -> Option<Output> {
        Owner::poll_output(self)
    }

    fn reading_pause(&self, now: Now) -> Option<Duration> {
        Owner::reading_pause(self, now)
    }

    fn kept(&self) -> Kept {
        Owner::kept(self)
    }

    fn round(&self) -> u64 {
        0
    }
}
