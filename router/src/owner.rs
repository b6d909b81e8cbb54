//! The owner: takes what comes from the journal, the links, the providers and the API, and decides.
//!
//! Skeleton: the signatures stand, the bodies follow.

use std::collections::VecDeque;

use wire::link::Frame;
use wire::time::Mono;

use crate::journal::Entry;
use crate::store::turn::Turn;
use crate::store::{Store, StoreError};

pub mod view;
mod words;

pub use view::View;
pub use words::{
    Answer, Command, DeliveryKey, LinkId, Now, Outcome, Output, OwnerConfig, Ownership, ProviderCall,
};

#[derive(Debug)]
pub struct Owner<S: Store> {
    turn: Turn<S>,
    outputs: VecDeque<Output>,
}

impl<S: Store> Owner<S> {
    pub fn open(store: S, _config: OwnerConfig, _seed: u64, _now: Now) -> Result<Owner<S>, StoreError> {
        Ok(Owner { turn: Turn::new(store), outputs: VecDeque::new() })
    }

    pub fn view(&self) -> View<S> {
        View::new(self.turn.store().clone())
    }

    pub fn handle_entry(&mut self, _entry: Entry, _now: Now) {}

    pub fn handle_ownership(&mut self, _ownership: Ownership, _now: Now) {}

    pub fn handle_link_up(&mut self, _link: LinkId, _node: &str, _shard: u16, _now: Now) {}

    pub fn handle_link_frame(&mut self, _link: LinkId, _frame: Frame, _now: Now) {}

    pub fn handle_link_down(&mut self, _link: LinkId, _now: Now) {}

    pub fn handle_outcome(&mut self, _delivery: DeliveryKey, _outcome: Outcome, _now: Now) {}

    /// Answered by [`Output::Answer`] with the same `token`.
    pub fn handle_command(&mut self, _token: u64, _command: Command, _now: Now) {}

    pub fn poll_timeout(&self) -> Option<Mono> {
        None
    }

    pub fn handle_timeout(&mut self, _now: Now) {}

    /// One store batch for everything handled since the last commit. On an error nothing is lost: call it again.
    pub fn commit(&mut self) -> Result<(), StoreError> {
        self.turn.commit()
    }

    /// What was committed wants done.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// How long the journal should not be read, because more comes in than is allowed a second.
    pub fn reading_pause(&self, _now: Now) -> Option<std::time::Duration> {
        None
    }
}
