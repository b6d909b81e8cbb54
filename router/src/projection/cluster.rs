//! The seam to Cassandra: what is written there and what is asked of it. Behind it stands the driver, or a test.
//!
//! Owns the words. Decides nothing.

use std::collections::HashMap;

use async_trait::async_trait;
use uuid::Uuid;
use wire::time::Wall;

use super::queue::Erasure;
use super::rows::Write;
use crate::classify::Recipient;
use crate::inbox::Mark;
use crate::owner::view::Timeline;
use crate::store::keys::Place;
use crate::sync::history::Older;

/// It does not answer, or refuses. For now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Away(pub String);

/// Why there is no connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// Nobody answers; later somebody may.
    #[error("{0}")]
    Away(String),
    /// Somebody answers, and it cannot be used; a person has to mend it.
    #[error("{0}")]
    Unfit(String),
}

/// A cluster that was connected to and has the right tables.
#[async_trait]
pub trait Cluster: Send + Sync {
    /// Makes these rows what they are now; of a mark, what is set is added. Rows of one partition in their order; given again, it changes nothing.
    /// `number`: the time that the writes have; what has a later one wins.
    async fn write(&self, writes: Vec<Write>, number: u64) -> Result<(), Away>;

    /// Takes a person's rows that are not younger than the erasure.
    async fn erase(&self, erasure: &Erasure) -> Result<(), Away>;

    /// Whether enough replicas answer.
    async fn ask(&self) -> Result<(), Away>;

    async fn timeline(&self, id: Uuid) -> Result<Option<Timeline>, Away>;

    /// Rows behind `after` and not behind `until`, at least `limit` of them if there are so many.
    async fn older(&self, to: &Recipient, after: Place, until: Wall, limit: usize) -> Result<Older, Away>;

    /// Those of the ids that are this user's, a topic's or everybody's.
    async fn known_to(&self, user: &str, ids: &[Uuid]) -> Result<Vec<Uuid>, Away>;

    /// Of those ids that this user did something with.
    async fn marks(&self, user: &str, ids: &[Uuid]) -> Result<HashMap<Uuid, Mark>, Away>;

    /// Rows of the user's own up to `until` that were not read, at most as many as are looked at.
    async fn unread(&self, user: &str, until: Wall) -> Result<u64, Away>;

    /// Topics, each with the stamp that its subscription began behind.
    async fn subscriptions(&self, user: &str) -> Result<Vec<(String, Wall)>, Away>;

    /// Whether there is not one row. What cannot be read may hold some.
    async fn is_empty(&self) -> bool;

    /// Nodes that the driver is connected to, and all that it knows.
    fn nodes(&self) -> (usize, usize);
}
