//! Asks Cassandra for what this router's store does not have: pages of a sync or an inbox, a user's topics, a story.
//!
//! Owns how many are asked at once and how many wait. Gives an answer to each, also while Cassandra is away: nothing is ever
//! shown as empty because it could not be read. Called by the owner's run loop and by the API.

use std::sync::Arc;

use futures_util::stream::{self, StreamExt, TryStreamExt};
use tokio::sync::{Semaphore, SemaphorePermit, mpsc};
use tokio::time::sleep;
use uuid::Uuid;
use wire::message::SyncRequest;

use super::Projection;
use super::cluster::{Away, Cluster};
use super::queue;
use super::rows::{self, Write};
use crate::classify::Recipient;
use crate::limits::{CASSANDRA_ASKED_EVERY, HISTORY_AT_ONCE_MAX, HISTORY_SLACK, HISTORY_WAITING_MAX};
use crate::node::inputs::Input;
use crate::owner::view::Timeline;
use crate::owner::{ActElsewhere, HistoryAsked, Wish};
use crate::store::StoreError;
use crate::store::keys::Place;
use crate::store::turn::Turn;
use crate::sync::SyncError;
use crate::sync::cursor::BadCursor;
use crate::sync::history::{self, History, Lack, Wanted};
use crate::sync::topics::Subscriptions;

/// The alert of an act that nobody could keep.
const ACT_LOST: &str = "act_lost";

/// Streams of one page that are asked for at once.
const STREAMS_AT_ONCE: usize = 16;

/// Why there is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HistoryError {
    #[error(transparent)]
    BadCursor(#[from] BadCursor),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("Cassandra does not answer: {0}")]
    Away(#[from] Away),
}

impl From<SyncError> for HistoryError {
    fn from(error: SyncError) -> HistoryError {
        match error {
            SyncError::BadCursor(bad) => bad.into(),
            SyncError::Store(error) => error.into(),
        }
    }
}

/// Whether marks and the count of what was not read belong to it: the API shows them, a sync does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shows {
    Rows,
    Marks,
}

impl Projection {
    fn reachable(&self) -> Result<Arc<dyn Cluster>, Away> {
        let cluster = self.cluster.borrow().clone().filter(|_| self.is_up());
        cluster.ok_or_else(|| Away("it did not answer when it was last asked".to_owned()))
    }

    /// What a page needs and the store does not have. `Ok(None)`: nothing.
    pub async fn history(
        &self,
        user: &str,
        request: &SyncRequest,
        shows: Shows,
    ) -> Result<Option<History>, HistoryError> {
        let (store, name, asked) = (self.store.clone(), user.to_owned(), request.clone());
        let (kept, now) = (rows::inbox_kept_there(self.spans.inbox), self.clock.wall());
        let looked = tokio::task::spawn_blocking(move || {
            let lack = queue::State::load(&store)?
                .and_then(|state| history::lack(&state, kept, now))
                .filter(|_| !matches!(queue::waits_for_erasure(&store, &name), Ok(Some(_))));
            let wanted = history::wanted(&Turn::new(store), &name, &asked, lack)?;
            Ok::<_, HistoryError>((lack, wanted))
        });
        let (lack, wanted) = looked.await.map_err(|error| StoreError::Io(error.to_string()))??;
        let counts = |lack: &Lack| shows == Shows::Marks && !lack.rows_are_over;
        let Some(lack) = lack.filter(|lack| wanted.is_some() || counts(lack)) else { return Ok(None) };
        let cluster = self.reachable()?;
        let mut found = History::default();
        if counts(&lack) {
            // Not the rows that this store has itself.
            found.unread = cluster.unread(user, lack.until - HISTORY_SLACK).await?;
        }
        let Some(mut wanted) = wanted else { return Ok(Some(found)) };
        if wanted.subscriptions {
            let topics = Subscriptions { topics: cluster.subscriptions(user).await? };
            wanted.with(user, &topics, request)?;
            found.subscriptions = Some(topics);
        }
        self.streams(&*cluster, &wanted, &mut found).await?;
        if shows == Shows::Marks {
            // The page takes the oldest.
            let rows = found.streams.iter().flat_map(|(_, older)| &older.items);
            let mut places: Vec<Place> = rows.map(|item| item.place).collect();
            places.sort_unstable();
            let ids: Vec<Uuid> = places.iter().map(|place| place.id).take(wanted.limit).collect();
            found.marks = cluster.marks(user, &ids).await?;
        }
        Ok(Some(found))
    }

    async fn streams(&self, cluster: &dyn Cluster, wanted: &Wanted, found: &mut History) -> Result<(), Away> {
        let asked = wanted.streams.iter().map(|(to, after)| async move {
            let older = cluster.older(to, *after, wanted.until, wanted.limit).await?;
            Ok::<_, Away>((Recipient::clone(to), older))
        });
        let asked: Vec<_> = asked.collect();
        found.streams = stream::iter(asked).buffered(STREAMS_AT_ONCE).try_collect().await?;
        Ok(())
    }

    /// What became of a notification that this store does not have.
    pub async fn timeline(&self, id: Uuid) -> Result<Option<Timeline>, Away> {
        self.reachable()?.timeline(id).await
    }

    /// Starts those who ask for the owner. Called inside the runtime.
    pub fn asker(&self, inputs: mpsc::Sender<Input>) -> Asker {
        Asker {
            projection: self.clone(),
            inputs,
            pages: Lot::new(HISTORY_AT_ONCE_MAX),
            topics: Lot::new(HISTORY_AT_ONCE_MAX),
            acts: Lot::new(HISTORY_AT_ONCE_MAX),
        }
    }
}

/// Places of those who are asked for, and of those who wait for that.
#[derive(Debug)]
struct Lot {
    waiting: Arc<Semaphore>,
    at_once: Arc<Semaphore>,
}

impl Lot {
    fn new(at_once: usize) -> Lot {
        Lot {
            waiting: Arc::new(Semaphore::new(HISTORY_WAITING_MAX)),
            at_once: Arc::new(Semaphore::new(at_once)),
        }
    }
}

/// Asks for the owner. Pages and topics wait apart: a page is answered, topics are asked for until they are there.
#[derive(Debug)]
pub struct Asker {
    projection: Projection,
    inputs: mpsc::Sender<Input>,
    pages: Lot,
    topics: Lot,
    acts: Lot,
}

impl Asker {
    /// Gives it back when too many wait.
    pub fn ask(&self, asked: HistoryAsked) -> Result<(), HistoryAsked> {
        let lot = if asked.wish == Wish::Topics { &self.topics } else { &self.pages };
        let Ok(place) = Arc::clone(&lot.waiting).try_acquire_owned() else { return Err(asked) };
        let (projection, inputs, at_once) =
            (self.projection.clone(), self.inputs.clone(), Arc::clone(&lot.at_once));
        self.projection.runtime.spawn(async move {
            let (found, one_of_them) = answer(&projection, &asked, &at_once, &inputs).await;
            // Without an owner nobody waits for it.
            let _owner_gone = inputs.send(Input::History { asked, found }).await;
            drop((one_of_them, place));
        });
        Ok(())
    }

    /// Marks what Cassandra has of it, as soon as Cassandra takes that. Too many that wait are told to people.
    pub fn act(&self, acted: ActElsewhere) {
        let Ok(place) = Arc::clone(&self.acts.waiting).try_acquire_owned() else {
            let why =
                format!("more than {HISTORY_WAITING_MAX} acts on what only Cassandra has wait: one is lost");
            self.projection.watch.alert(ACT_LOST, false, &why);
            return;
        };
        let (projection, inputs, at_once) =
            (self.projection.clone(), self.inputs.clone(), Arc::clone(&self.acts.at_once));
        self.projection.runtime.spawn(async move {
            while !inputs.is_closed() {
                let one_of_them = at_once.acquire().await;
                let marked = projection.mark(&acted).await;
                drop(one_of_them);
                match marked {
                    Ok(()) => break,
                    Err(_) => sleep(CASSANDRA_ASKED_EVERY).await,
                }
            }
            drop(place);
        });
    }
}

/// With the place among those who are asked: a page stands in memory until the owner takes it.
async fn answer<'a>(
    projection: &Projection,
    asked: &HistoryAsked,
    at_once: &'a Semaphore,
    inputs: &mpsc::Sender<Input>,
) -> (Result<Option<History>, String>, Option<SemaphorePermit<'a>>) {
    loop {
        let one_of_them = at_once.acquire().await.ok();
        let found = match &asked.wish {
            Wish::Page(_, request) => projection.history(&asked.user, request, Shows::Rows).await,
            Wish::Topics | Wish::TopicsNow => projection.topics(&asked.user).await,
        };
        match found {
            Err(HistoryError::Away(_)) if asked.wish == Wish::Topics && !inputs.is_closed() => {
                drop(one_of_them);
                sleep(CASSANDRA_ASKED_EVERY).await;
            }
            found => return (found.map_err(|error| error.to_string()), one_of_them),
        }
    }
}

impl Projection {
    /// Nobody's but the user's own, and what went to topics and to everybody.
    async fn mark(&self, acted: &ActElsewhere) -> Result<(), HistoryError> {
        let ActElsewhere { user, ids, mark } = acted;
        let cluster = self.reachable()?;
        // Taken before anything is looked at: an erasure that comes meanwhile has a later one, and takes the marks along.
        let state = queue::State::load(&self.store)?.unwrap_or_default();
        let number = state.last.max(self.clock.wall().0.cast_unsigned());
        if queue::waits_for_erasure(&self.store, user)?.is_some() {
            return Ok(());
        }
        let ttl_s = rows::mark_seconds(self.spans);
        let known = cluster.known_to(user, ids).await?;
        let writes =
            known.into_iter().map(|id| Write::Mark { user: user.clone(), id, mark: Some(*mark), ttl_s });
        cluster.write(writes.collect(), number).await?;
        Ok(())
    }

    async fn topics(&self, user: &str) -> Result<Option<History>, HistoryError> {
        let topics = self.reachable()?.subscriptions(user).await?;
        Ok(Some(History { subscriptions: Some(Subscriptions { topics }), ..History::default() }))
    }
}
