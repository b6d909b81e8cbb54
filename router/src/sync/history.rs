//! What a store does not have, because it is younger than its Cassandra: which rows those are, and rows that were brought.
//!
//! Pure. A store that was made beside a Cassandra knows when; rows of before, and for a while after it, are looked for
//! there, for as long as Cassandra keeps them. One that is older than its Cassandra needs nothing. Asked by `owner` and by the API; answered by `projection`.

use std::collections::HashMap;
use std::time::Duration;

use uuid::Uuid;
use wire::limits::SYNC_PAGE_MAX;
use wire::message::SyncRequest;
use wire::time::Wall;

use super::cursor::Cursor;
use super::topics::Subscriptions;
use super::{SyncError, places};
use crate::classify::Recipient;
use crate::inbox::{Item, Mark};
use crate::limits::HISTORY_SLACK;
use crate::projection::queue::{self, State};
use crate::store::Store;
use crate::store::keys::Place;
use crate::store::turn::Turn;

/// Rows of one stream, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Older {
    pub items: Vec<Item>,
    /// There are more behind these.
    pub more: bool,
}

/// What was brought for one page.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct History {
    pub streams: Vec<(Recipient, Older)>,
    /// Of a user whose own this store never had.
    pub subscriptions: Option<Subscriptions>,
    /// Of those rows that the user did something with; only where it is shown.
    pub marks: HashMap<Uuid, Mark>,
    /// Rows of the user's own that were not read; only where it is shown.
    pub unread: u64,
}

/// What has to be brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Nothing behind this.
    pub until: Wall,
    /// Not known here: to be brought first, and then streams are named by [`Wanted::with`].
    pub subscriptions: bool,
    /// Each with the place that it goes on behind.
    pub streams: Vec<(Recipient, Place)>,
    /// At least so many rows of each.
    pub limit: usize,
}

/// What a store does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lack {
    /// Rows up to here.
    pub until: Wall,
    /// Cassandra does not have them any more, either: what is left there are topics.
    pub rows_are_over: bool,
}

/// `None`: it has all there is. `kept`: how long rows stay in Cassandra.
pub fn lack(state: &State, kept: Duration, now: Wall) -> Option<Lack> {
    let until = state.history_until? + HISTORY_SLACK;
    Some(Lack { until, rows_are_over: until + kept < now })
}

/// `Ok(None)`: the store has it all.
pub fn wanted<S: Store>(
    turn: &Turn<S>,
    user: &str,
    request: &SyncRequest,
    lack: Option<Lack>,
) -> Result<Option<Wanted>, SyncError> {
    let Some(Lack { until, rows_are_over }) = lack else { return Ok(None) };
    // What Cassandra still has of somebody who was erased is nobody's to see.
    if queue::is_being_erased(turn, user)? {
        return Ok(None);
    }
    let known = Subscriptions::load(turn, user)?;
    let limit = request.limit.unwrap_or(SYNC_PAGE_MAX).clamp(1, SYNC_PAGE_MAX) + 1;
    let until = if rows_are_over { Wall(i64::MIN) } else { until };
    let mut wanted = Wanted { until, subscriptions: known.is_none(), streams: Vec::new(), limit };
    wanted.with(user, &known.unwrap_or_default(), request)?;
    Ok((wanted.subscriptions || !wanted.streams.is_empty()).then_some(wanted))
}

impl Wanted {
    /// Names the streams of a user with these subscriptions.
    pub fn with(
        &mut self,
        user: &str,
        topics: &Subscriptions,
        request: &SyncRequest,
    ) -> Result<(), SyncError> {
        let cursor = request.cursor.as_deref().map(Cursor::decode).transpose()?;
        let places = places(user, topics, request, cursor.as_ref());
        self.streams = places.into_iter().filter(|(_, place)| place.at < self.until).collect();
        Ok(())
    }
}
