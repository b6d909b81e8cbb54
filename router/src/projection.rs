//! What the store knows, in Cassandra too: for routers that do not have it, and for whoever lost a disk.
//!
//! The store stays the truth of its owner. Every commit names the rows that it changed (`queue`, in the same commit); once
//! that is on the disk, `carrier` reads those rows as they are (`rows`) and makes them so in Cassandra (`cluster`, behind it
//! `cassandra`). While Cassandra is away the names wait, within a bound; beyond it the store is read from end to end when
//! Cassandra is back. Nothing waits for Cassandra but who asks for what only Cassandra has.
//! Never decides what becomes of a notification. Started by the router's start.
//!
//! ```text
//! owner ─commit─▶ store, names ─persist─▶ carrier ─▶ Cassandra
//!   ▲─────────────────── carried ───────────┘
//! ```

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ops::clock::Clock;
use ops::metrics::Counter;
use serde::Serialize;
use tokio::runtime::{Handle, Runtime};
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};
use wire::time::Wall;

use crate::config::{CassandraConfig, Config};
use crate::limits::{CASSANDRA_ASKED_EVERY, PROJECTION_IDLE};
use crate::node::StartError;
use crate::node::board::Watch;
use crate::node::inputs::Input;
use crate::status::State;
use crate::store::{DiskStore, StoreError};
use carrier::Carrier;
use cluster::{Cluster, ConnectError};
use queue::Erasure;
use rows::Spans;

mod carrier;
#[cfg(feature = "cassandra")]
mod cassandra;
pub mod cluster;
pub mod history;
pub mod queue;
pub mod rows;
#[cfg(feature = "cassandra")]
mod schema;

type Connected = Option<Arc<dyn Cluster>>;

/// A Cassandra that was looked for, before anything else runs.
pub struct Opened {
    config: CassandraConfig,
    /// Or why it is not there.
    cluster: Result<Arc<dyn Cluster>, String>,
    is_empty: bool,
}

impl std::fmt::Debug for Opened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opened").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Opened {
    /// Whether Cassandra certainly has nothing that a new store lacks.
    pub fn is_empty(&self) -> bool {
        self.is_empty
    }
}

/// Connects, makes and checks the tables. A cluster that is not there is waited for while the router runs; one that
/// cannot be used is a mistake.
pub fn open(config: &Config, runtime: &Runtime, store: &DiskStore) -> Result<Option<Opened>, StartError> {
    let Some(config) = config.cassandra.clone() else { return Ok(None) };
    let cluster = match runtime.block_on(connect(&config)) {
        Ok(cluster) => Ok(cluster),
        Err(ConnectError::Unfit(why)) => return Err(StartError::Cassandra(why)),
        Err(ConnectError::Away(why)) => {
            tracing::warn!(why, "starting without Cassandra: what changes waits on the disk");
            Err(why)
        }
    };
    // Five tables are looked into: only for a store that never had one.
    let is_first = queue::State::load(store)?.is_none();
    let is_empty = match &cluster {
        Ok(cluster) if is_first => runtime.block_on(cluster.is_empty()),
        _ => false,
    };
    Ok(Some(Opened { config, cluster, is_empty }))
}

#[cfg(feature = "cassandra")]
async fn connect(config: &CassandraConfig) -> Result<Arc<dyn Cluster>, ConnectError> {
    let cluster = cassandra::Cassandra::connect(config).await?;
    Ok(Arc::new(cluster))
}

#[cfg(not(feature = "cassandra"))]
async fn connect(_config: &CassandraConfig) -> Result<Arc<dyn Cluster>, ConnectError> {
    Err(ConnectError::Unfit("this build is without Cassandra".to_owned()))
}

/// What the projection is joined to.
pub struct Parts {
    pub opened: Opened,
    pub store: DiskStore,
    pub inputs: mpsc::Sender<Input>,
    /// The newest number that is on the disk.
    pub safe: watch::Receiver<u64>,
    pub spans: Spans,
    pub clock: Clock,
    pub watch: Watch,
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts").finish_non_exhaustive()
    }
}

/// A running projection, for those who ask.
#[derive(Clone)]
pub struct Projection {
    store: DiskStore,
    cluster: watch::Receiver<Connected>,
    shared: Arc<Shared>,
    runtime: Handle,
    spans: Spans,
    clock: Clock,
    watch: Watch,
}

impl std::fmt::Debug for Projection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Projection").field("shared", &self.shared).finish_non_exhaustive()
    }
}

/// What its parts tell each other.
#[derive(Debug, Default)]
struct Shared {
    is_up: AtomicBool,
    /// Rows that Cassandra has taken, and tries that it has not.
    written: Counter,
    failed: Counter,
    /// Rows of the store that the rebuild under way has carried.
    rebuilt: Mutex<Option<u64>>,
    /// Cassandra took every change up to this number, all that the store had, and these erasures. Some of it is still held.
    /// Only `carrier` changes it.
    done: AtomicU64,
    is_rebuilt: AtomicBool,
    erased: Mutex<Vec<Erasure>>,
}

impl Shared {
    fn has_erased(&self, erasure: &Erasure) -> bool {
        self.erased.lock().unwrap_or_else(PoisonError::into_inner).contains(erasure)
    }

    /// What a try of anything showed.
    fn tell(&self, answer: Result<(), &str>, watch: &Watch) {
        self.is_up.store(answer.is_ok(), Ordering::Relaxed);
        match answer {
            Ok(()) => watch.cassandra(State::Up, ""),
            Err(why) => {
                self.failed.inc();
                watch.cassandra(State::Down, why);
            }
        }
    }
}

/// What people are shown of it.
#[derive(Debug, Clone, Serialize)]
pub struct Shown {
    /// Bytes of names that Cassandra has not been told.
    pub waiting_bytes: u64,
    /// When the oldest of them was committed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest_waiting: Option<Wall>,
    /// Since the start.
    pub written: u64,
    pub failed: u64,
    /// Since when more has changed than was queued: the store is carried as a whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub incomplete_since: Option<Wall>,
    /// Rows that Cassandra may still show although they are gone.
    pub deletions_lost: u64,
    /// Rows of the store that were carried in the rebuild under way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rebuilt: Option<u64>,
    pub nodes_connected: usize,
    pub nodes_known: usize,
}

/// Starts it. Called inside the runtime.
pub fn start(parts: Parts) -> Projection {
    let Parts { opened, store, inputs, safe, spans, clock, watch } = parts;
    let Opened { config, cluster, .. } = opened;
    watch.add_cassandra();
    let shared = Arc::new(Shared::default());
    let (connected, connected_out) = watch::channel(None);
    match cluster {
        Ok(cluster) => {
            shared.tell(Ok(()), &watch);
            connected.send_replace(Some(cluster));
        }
        Err(why) => shared.tell(Err(&why), &watch),
    }
    let is_connected = connected.borrow().is_some();
    if !is_connected {
        tokio::spawn(keep_connecting(config, connected, Arc::clone(&shared), watch.clone()));
    }
    let projection = Projection {
        store: store.clone(),
        cluster: connected_out.clone(),
        shared,
        runtime: Handle::current(),
        spans,
        clock,
        watch: watch.clone(),
    };
    let shared = Arc::clone(&projection.shared);
    tokio::spawn(Carrier::new(store, connected_out, inputs, safe, shared, (spans, clock, watch)).run());
    projection
}

async fn keep_connecting(
    config: CassandraConfig,
    connected: watch::Sender<Connected>,
    shared: Arc<Shared>,
    watch: Watch,
) {
    while !connected.is_closed() {
        sleep(CASSANDRA_ASKED_EVERY).await;
        match connect(&config).await {
            Ok(cluster) => {
                watch.cassandra_unfit(None);
                shared.tell(Ok(()), &watch);
                connected.send_replace(Some(cluster));
                return;
            }
            Err(error) => {
                shared.tell(Err(&error.to_string()), &watch);
                watch.cassandra_unfit(match error {
                    ConnectError::Unfit(why) => Some(why),
                    ConnectError::Away(_) => None,
                });
            }
        }
    }
}

impl Projection {
    pub fn shown(&self) -> Result<Shown, StoreError> {
        let (waiting_bytes, oldest) = queue::waiting(&self.store, self.shared.done.load(Ordering::Relaxed))?;
        let incomplete = queue::State::load(&self.store)?.and_then(|state| state.incomplete);
        let incomplete = incomplete.filter(|_| !self.shared.is_rebuilt.load(Ordering::Relaxed));
        let (nodes_connected, nodes_known) =
            self.cluster.borrow().as_ref().map_or((0, 0), |cluster| cluster.nodes());
        Ok(Shown {
            waiting_bytes,
            oldest_waiting: oldest.map(|number| Wall(number.cast_signed())),
            written: self.shared.written.get(),
            failed: self.shared.failed.get(),
            incomplete_since: incomplete.as_ref().map(|incomplete| incomplete.since),
            deletions_lost: incomplete.map_or(0, |incomplete| incomplete.deletions_lost),
            rebuilt: *self.shared.rebuilt.lock().unwrap_or_else(PoisonError::into_inner),
            nodes_connected,
            nodes_known,
        })
    }

    /// Waits until Cassandra has nothing of this person any more. False: it still waits for that.
    pub async fn erased_within(&self, user: &str, patience: Duration) -> Result<bool, StoreError> {
        let gone = async {
            while let Some(number) = queue::waits_for_erasure(&self.store, user)? {
                if self.shared.has_erased(&Erasure { user: user.to_owned(), number }) {
                    break;
                }
                sleep(PROJECTION_IDLE).await;
            }
            Ok(())
        };
        timeout(patience, gone).await.map_or(Ok(false), |gone| gone.map(|()| true))
    }

    /// Whether the last that was tried worked.
    pub fn is_up(&self) -> bool {
        self.shared.is_up.load(Ordering::Relaxed)
    }
}
