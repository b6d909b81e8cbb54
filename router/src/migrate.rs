//! From a journal of its own to Kafka: what waits in a data folder's journal goes to the topics, and is counted there.
//!
//! Runs where no router does. Owns the order that loses and doubles nothing, wherever it is killed: the journal gives up
//! nothing before every record of it was read back from the topics; what is there already is found by reading, not by memory.
//! The store stays as it is. Called by `main`.
//!
//! ```text
//! begin (a row: journal's ends, topics' ends) ─▶ read back ─▶ append what is not there ─▶ read back, count ─▶ done (the row) ─▶ commit the journal
//! ```
//!
//! Records go as they are, with their ids and sequences, each lane in its order, so a user's of one priority keep theirs.

#[cfg(feature = "kafka")]
mod carry;
#[cfg(feature = "kafka")]
mod offsets;
#[cfg_attr(not(feature = "kafka"), expect(dead_code, reason = "nobody begins one without Kafka"))]
mod state;

#[cfg(feature = "kafka")]
pub use carry::{How, MigrateError, Told, run};
pub use state::Unfinished;
pub(crate) use state::{check, has_begun};
