//! What the porches hand to the owner's thread.

use std::sync::Arc;

use tokio::sync::oneshot;
use wire::link::Frame;

use crate::links::Outbound;
use crate::owner::{Answer, Command, DeliveryKey, LinkId, Outcome, OwnerLimits, Ownership};

/// One input of the owner, beside the journal's entries.
#[derive(Debug)]
pub enum Input {
    LinkUp {
        link: LinkId,
        node: String,
        shard: u16,
        outbound: Arc<Outbound>,
    },
    LinkFrame {
        link: LinkId,
        frame: Frame,
    },
    LinkDown {
        link: LinkId,
    },
    /// The partitions that this router owns from now on.
    Ownership(Ownership),
    /// The settings were read again.
    Limits(OwnerLimits),
    /// A provider answered.
    Outcome {
        delivery: DeliveryKey,
        outcome: Outcome,
    },
    /// The API asks for a change.
    Command {
        command: Command,
        answer: oneshot::Sender<Answer>,
    },
}
