//! Carries what waits to Cassandra, in the order of the commits, and tells the owner.
//!
//! Owns the order: names that wait, then people to be erased, then a bounded part of a rebuild. What Cassandra does not take
//! is tried again as it is then, for as long as it takes. Takes nothing that is not on the disk: what a power cut undoes
//! was never in Cassandra. The owner is told a while later, and what was not told is carried again when Cassandra has been
//! away: a node that was killed may have forgotten what it had taken. Decides nothing about rows.

use std::collections::{HashSet, VecDeque};
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use ops::clock::Clock;
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;
use wire::time::Mono;

use super::cluster::{Away, Cluster};
use super::queue::{self, Changes, Erasure};
use super::rows::{self, Spans, Write};
use super::{Connected, Shared};
use crate::limits::{
    CASSANDRA_ASKED_EVERY, PROJECTION_COMMITS_MAX, PROJECTION_HELD_FOR, PROJECTION_IDLE,
    PROJECTION_NAMES_MAX, PROJECTION_REBUILD_ROWS,
};
use crate::node::board::Watch;
use crate::node::inputs::Input;
use crate::owner::Carried;
use crate::store::{DiskStore, Order, Range, Space, Store, StoreError};

/// People that are erased in one round.
const ERASURES_MAX: usize = 16;
/// How often it is noted where a rebuild stands.
const REBUILD_NOTED_EVERY: Duration = Duration::from_secs(1);

pub(super) struct Carrier {
    store: DiskStore,
    cluster: watch::Receiver<Connected>,
    inputs: mpsc::Sender<Input>,
    /// The newest number that is on the disk.
    safe: watch::Receiver<u64>,
    shared: Arc<Shared>,
    spans: Spans,
    clock: Clock,
    watch: Watch,
    /// The owner was told that Cassandra took everything up to here; `shared` knows how much it has taken since.
    told: u64,
    /// What the owner is told when it has been held for long enough.
    held: VecDeque<(Mono, Carried)>,
    rebuild: Option<Rebuild>,
    stood: Stood,
}

/// Where the reading of the whole store stands.
#[derive(Debug, Clone)]
struct Rebuild {
    /// The newest number when it began.
    until: u64,
    space: usize,
    after: Option<Vec<u8>>,
    rows: u64,
}

/// Where a rebuild stood, now and then: where it goes on when a node may have forgotten what came since.
#[derive(Debug, Default)]
struct Stood {
    /// The newest one that no killed node has forgotten, and those that came since.
    places: VecDeque<(Mono, Rebuild)>,
}

impl Stood {
    fn note(&mut self, rebuild: &Rebuild, now: Mono) {
        let is_due = self.places.back().is_none_or(|(at, _)| now.since(*at) >= REBUILD_NOTED_EVERY);
        if is_due {
            self.places.push_back((now, rebuild.clone()));
        }
        while self.places.get(1).is_some_and(|(at, _)| now.since(*at) >= PROJECTION_HELD_FOR) {
            self.places.pop_front();
        }
    }

    /// `None`: from the beginning.
    fn go_back(&mut self, now: Mono) -> Option<Rebuild> {
        self.places.retain(|(at, _)| now.since(*at) >= PROJECTION_HELD_FOR);
        self.places.back().map(|(_, rebuild)| rebuild.clone())
    }
}

/// Why a round ended early.
enum Hindrance {
    Away(Away),
    Store(StoreError),
    /// The router ends.
    Over,
}

impl From<Away> for Hindrance {
    fn from(away: Away) -> Hindrance {
        Hindrance::Away(away)
    }
}

impl From<StoreError> for Hindrance {
    fn from(error: StoreError) -> Hindrance {
        Hindrance::Store(error)
    }
}

impl Carrier {
    pub(super) fn new(
        store: DiskStore,
        cluster: watch::Receiver<Connected>,
        inputs: mpsc::Sender<Input>,
        safe: watch::Receiver<u64>,
        shared: Arc<Shared>,
        (spans, clock, watch): (Spans, Clock, Watch),
    ) -> Carrier {
        Carrier {
            store,
            cluster,
            inputs,
            safe,
            shared,
            spans,
            clock,
            watch,
            told: 0,
            held: VecDeque::new(),
            rebuild: None,
            stood: Stood::default(),
        }
    }

    /// Ends when the owner is gone.
    pub(super) async fn run(mut self) {
        let mut asked_at = self.clock.mono();
        while !self.inputs.is_closed() {
            let connected = self.cluster.borrow_and_update().clone();
            let Some(cluster) = connected else {
                self.look_for_gaps();
                sleep(CASSANDRA_ASKED_EVERY).await;
                continue;
            };
            let mut round = self.round(&*cluster).await;
            let is_idle = matches!(round, Ok(false));
            if is_idle && self.clock.mono().since(asked_at) > CASSANDRA_ASKED_EVERY {
                round = cluster.ask().await.map(|()| false).map_err(Hindrance::from);
            }
            self.look_for_gaps();
            match round {
                Ok(carried) => {
                    if carried || self.clock.mono().since(asked_at) > CASSANDRA_ASKED_EVERY {
                        asked_at = self.clock.mono();
                        self.shared.tell(Ok(()), &self.watch);
                    }
                    if !carried {
                        sleep(PROJECTION_IDLE).await;
                    }
                }
                Err(Hindrance::Away(Away(why))) => {
                    self.begin_anew();
                    self.shared.tell(Err(&why), &self.watch);
                    sleep(CASSANDRA_ASKED_EVERY).await;
                }
                Err(Hindrance::Store(error)) => {
                    if let StoreError::Damaged { .. } = error {
                        self.watch.alert("store_row_damaged", true, &error.to_string());
                    }
                    tracing::warn!(%error, "the store cannot be read for Cassandra");
                    sleep(CASSANDRA_ASKED_EVERY).await;
                }
                Err(Hindrance::Over) => return,
            }
        }
    }

    /// True: there may be more to do.
    async fn round(&mut self, cluster: &dyn Cluster) -> Result<bool, Hindrance> {
        self.let_go().await?;
        let safe = *self.safe.borrow();
        let (store, done) = (self.store.clone(), self.shared.done.load(Ordering::Relaxed));
        let waiting = blocking(move || queue::read(&store, done, PROJECTION_COMMITS_MAX)).await?;
        if let Some(damage) = waiting.damage {
            self.watch.alert("store_row_damaged", true, &damage.to_string());
        }
        let changes = bounded(waiting.changes.into_iter().take_while(|changes| changes.number <= safe));
        if let Some(last) = changes.last() {
            let through = last.number;
            self.carry(cluster, names(&changes)).await?;
            self.shared.done.store(through, Ordering::Relaxed);
            self.hold(Carried { through, ..Carried::default() });
            return Ok(true);
        }
        let store = self.store.clone();
        // Those that are held still stand in the queue.
        let most = ERASURES_MAX + self.erased().len();
        let waiting = blocking(move || queue::erasures(&store, most)).await?;
        for erasure in waiting {
            if !self.shared.has_erased(&erasure) {
                cluster.erase(&erasure).await?;
                self.erased().push(erasure.clone());
                self.hold(Carried { erased: vec![erasure], ..Carried::default() });
            }
        }
        self.rebuild(cluster).await
    }

    /// Makes these rows in Cassandra what they are in the store.
    async fn carry(&self, cluster: &dyn Cluster, names: Vec<(Space, Vec<u8>)>) -> Result<(), Hindrance> {
        let (store, spans, now) = (self.store.clone(), self.spans, self.clock.wall());
        let looked = blocking(move || {
            // Read before the rows: none of them is older than it says.
            let number = queue::State::load(&store)?.map_or(0, |state| state.last);
            let mut writes: Vec<Write> = Vec::with_capacity(names.len());
            let mut damaged = None;
            for (space, key) in &names {
                match rows::of(&store, (*space, key), spans, now) {
                    Ok(write) => writes.extend(write),
                    Err(damage @ StoreError::Damaged { .. }) => damaged = Some(damage),
                    Err(error) => return Err(error),
                }
            }
            Ok((number, writes, damaged))
        });
        let (number, writes, damaged) = looked.await?;
        if let Some(damage) = damaged {
            self.watch.alert("store_row_damaged", true, &damage.to_string());
        }
        let count = writes.len() as u64;
        cluster.write(writes, number).await?;
        self.shared.written.add(count);
        Ok(())
    }

    /// A bounded part of it. False: there is none, or it is done.
    async fn rebuild(&mut self, cluster: &dyn Cluster) -> Result<bool, Hindrance> {
        let state = queue::State::load(&self.store)?.unwrap_or_default();
        if state.incomplete.is_none() || self.shared.is_rebuilt.load(Ordering::Relaxed) {
            self.at(None);
            return Ok(false);
        }
        let beginning = Rebuild { until: state.last, space: 0, after: None, rows: 0 };
        let mut rebuild = self.rebuild.clone().unwrap_or(beginning);
        let Some(space) = queue::SPACES.get(rebuild.space).copied() else {
            self.at(None);
            self.shared.is_rebuilt.store(true, Ordering::Relaxed);
            self.hold(Carried { rebuilt: Some(rebuild.until), ..Carried::default() });
            tracing::info!(rows = rebuild.rows, "Cassandra has all that the store has");
            return Ok(false);
        };
        let range = rebuild.after.iter().fold(Range::all(), |range, after| range.after(after));
        let store = self.store.clone();
        let looked = blocking(move || {
            let rows = store.scan(space, &range, Order::Forward, PROJECTION_REBUILD_ROWS)?;
            store.persist()?;
            Ok(rows)
        });
        let rows = looked.await?;
        rebuild.after =
            rows.last().filter(|_| rows.len() == PROJECTION_REBUILD_ROWS).map(|(key, _)| key.clone());
        rebuild.space += usize::from(rebuild.after.is_none());
        rebuild.rows += rows.len() as u64;
        self.carry(cluster, rows.into_iter().map(|(key, _)| (space, key)).collect()).await?;
        self.stood.note(&rebuild, self.clock.mono());
        self.at(Some(rebuild));
        Ok(true)
    }

    fn at(&mut self, rebuild: Option<Rebuild>) {
        let mut shown = self.shared.rebuilt.lock().unwrap_or_else(PoisonError::into_inner);
        *shown = rebuild.as_ref().map(|rebuild| rebuild.rows);
        drop(shown);
        self.rebuild = rebuild;
    }

    fn hold(&mut self, carried: Carried) {
        self.held.push_back((self.clock.mono(), carried));
    }

    /// Tells the owner what was held for long enough.
    async fn let_go(&mut self) -> Result<(), Hindrance> {
        let now = self.clock.mono();
        let mut due = Carried::default();
        while self.held.front().is_some_and(|(at, _)| now.since(*at) >= PROJECTION_HELD_FOR) {
            let Some((_, carried)) = self.held.pop_front() else { break };
            due.through = due.through.max(carried.through);
            due.erased.extend(carried.erased);
            due.rebuilt = due.rebuilt.max(carried.rebuilt);
        }
        if due == Carried::default() {
            return Ok(());
        }
        self.told = self.told.max(due.through);
        self.erased().retain(|erasure| !due.erased.contains(erasure));
        let is_rebuilt = due.rebuilt.is_some();
        self.inputs.send(Input::Carried(due)).await.map_err(|_| Hindrance::Over)?;
        if is_rebuilt {
            // The owner takes that over before another one may begin.
            self.stood = Stood::default();
            sleep(PROJECTION_IDLE).await;
            self.shared.is_rebuilt.store(false, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Cassandra was away: what is held is carried again.
    fn begin_anew(&mut self) {
        self.held.clear();
        self.erased().clear();
        self.shared.is_rebuilt.store(false, Ordering::Relaxed);
        self.shared.done.store(self.told, Ordering::Relaxed);
        let goes_on = self.stood.go_back(self.clock.mono());
        self.at(goes_on);
    }

    fn erased(&self) -> MutexGuard<'_, Vec<Erasure>> {
        self.shared.erased.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells people when more changed than could be queued.
    fn look_for_gaps(&self) {
        if let Ok(state) = queue::State::load(&self.store) {
            let incomplete =
                state.and_then(|state| state.incomplete).filter(|incomplete| incomplete.until > 0);
            self.watch.projection_incomplete(incomplete.as_ref());
        }
    }
}

/// Commits whose names are few enough for one round.
fn bounded(changes: impl Iterator<Item = Changes>) -> Vec<Changes> {
    let mut taken = Vec::new();
    let mut count = 0;
    for one in changes {
        count += one.names.len();
        taken.push(one);
        if count >= PROJECTION_NAMES_MAX {
            break;
        }
    }
    taken
}

/// Each once, where it stood first.
fn names(changes: &[Changes]) -> Vec<(Space, Vec<u8>)> {
    let mut met = HashSet::new();
    changes
        .iter()
        .flat_map(|changes| &changes.names)
        .filter(|(space, key)| met.insert((*space, key.as_slice())))
        .cloned()
        .collect()
}

async fn blocking<T: Send + 'static>(
    look: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let looked = tokio::task::spawn_blocking(look).await;
    looked.unwrap_or_else(|error| Err(StoreError::Io(error.to_string())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: u64) -> Mono {
        Mono(second * 1_000_000)
    }

    #[test]
    fn a_rebuild_goes_back_behind_what_a_killed_node_may_have_forgotten() {
        let mut stood = Stood::default();
        let held = PROJECTION_HELD_FOR.as_secs();
        for second in 0..100 {
            let rebuild = Rebuild { until: 9, space: 0, after: None, rows: second };
            stood.note(&rebuild, at(second));
            stood.note(&Rebuild { rows: 1_000, ..rebuild }, at(second));
            assert!(stood.places.len() as u64 <= held + 2, "{}", stood.places.len());
        }
        assert_eq!(stood.go_back(at(99)).map(|rebuild| rebuild.rows), Some(99 - held));
        assert_eq!(stood.go_back(at(500)).map(|rebuild| rebuild.rows), Some(99 - held), "still away");
        let mut young = Stood::default();
        young.note(&Rebuild { until: 9, space: 0, after: None, rows: 5 }, at(3));
        assert!(young.go_back(at(4)).is_none(), "all of it may be forgotten");
    }
}
