//! What all clients of one thread share: who they are, where they connect and when. Values only; part of `fleet`.

use crate::dialect::Dialect;
use crate::limits::ERRANDS_AT_ONCE;
use crate::marker::Marker;
use crate::schedule::{Lane, Pace};
use crate::target::Target;
use crate::users::Users;

/// What all clients of a thread share.
#[derive(Debug)]
pub struct FleetConfig {
    pub lane: Lane,
    /// Clients of the whole run; this thread has its lane's share.
    pub clients: u32,
    /// When each client first connects.
    pub pace: Pace,
    pub users: Users,
    pub targets: Vec<Target>,
    /// How clients are shared out among the targets at first: a weight each.
    pub shares: Vec<u32>,
    /// Attempts in a row before a client gives up.
    pub attempts_max: u32,
    /// A topic that every client subscribes to before it counts as in.
    pub topic: Option<String>,
    /// Do clients acknowledge what they get?
    pub acks: bool,
    /// Do clients sync what they missed?
    pub syncs: bool,
    pub marker: Marker,
    pub seed: u64,
    /// What the server speaks.
    pub dialect: Dialect,
    /// Handshakes that this thread has begun and not ended; more wait.
    pub handshakes_at_once: usize,
}

impl FleetConfig {
    pub(super) fn reads_streams(&self) -> bool {
        self.targets.iter().any(|target| target.is_stream)
    }

    /// Places that the engine must have behind those of the clients, for what these say beside their streams.
    pub fn errand_places(&self) -> u32 {
        if self.reads_streams() { ERRANDS_AT_ONCE } else { 0 }
    }
}
