//! What the porches hand to the owner's thread.

use std::sync::Arc;

use tokio::sync::oneshot;
use wire::link::Frame;

#[cfg(feature = "kafka")]
use crate::journal::kafka::GroupEvent;
use crate::links::Outbound;
use crate::owner::{Answer, Carried, Command, Done, HistoryAsked, LinkId, OwnerLimits, Ownership};
use crate::record::Record;
use crate::sync::history::History;

/// One input of the owner, beside the journal's entries.
#[derive(Debug)]
pub enum Input {
    /// A critical record that waits on the disk while Kafka takes nothing: it goes out now.
    Bypass(Box<Record>),
    LinkUp {
        link: LinkId,
        node: String,
        shard: u16,
        outbound: Arc<Outbound>,
    },
    /// What a shard said, in its order: at most `links::FRAMES_PER_INPUT_MAX` of its frames.
    LinkFrames {
        link: LinkId,
        frames: Vec<Frame>,
    },
    LinkDown {
        link: LinkId,
    },
    /// The partitions that this router owns from now on.
    Ownership(Ownership),
    /// What the group says to one of several routers.
    #[cfg(feature = "kafka")]
    Group(GroupEvent),
    /// The settings were read again.
    Limits(OwnerLimits),
    /// Cassandra has it.
    Carried(Carried),
    /// What only Cassandra had, or why it does not answer.
    History {
        asked: HistoryAsked,
        found: Result<Option<History>, String>,
    },
    /// A provider answered.
    Outcome(Done),
    /// The API asks for a change.
    Command {
        command: Command,
        answer: oneshot::Sender<Answer>,
    },
}

impl Input {
    /// How many of a turn's inputs it counts for.
    pub fn weight(&self) -> usize {
        match self {
            Input::LinkFrames { frames, .. } => frames.len(),
            _ => 1,
        }
    }
}
