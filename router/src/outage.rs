//! What a router on Kafka does while Kafka takes nothing: everything accepted goes to the disk, critical records go out at
//! once, and when Kafka is back what waited follows, beside live records that go first.
//!
//! Owns the journal that `ingest` sees ([`Buffered`]): Kafka, and behind it a segment log of our own. Never promises what
//! neither has, never decides what becomes of a record. The decision whether Kafka is tried is `phase`'s; `watcher` tells
//! it what is seen, `drain` carries what waits to Kafka at the pace of `pacer`, `mirror` keeps a copy of what is critical elsewhere,
//! `verify` looks for every record of `book` in the ledger afterwards. Started by the router's start.
//!
//! ```text
//! append ─▶ Kafka ──refused, silent──▶ disk, book ─▶ 202 ─ critical ─▶ owner
//!                                       └▶ drain ─▶ Kafka ─▶ owner ─▶ ledger ◀─ verify ─ book
//! ```

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use ops::clock::Clock;
use ops::metrics::Counter;
use serde::Serialize;
use tokio::sync::{mpsc, watch};
use uuid::Uuid;
use wire::message::Priority;
use wire::time::Wall;

use crate::journal::embedded::{EmbeddedJournal, EmbeddedReader};
use crate::journal::import::LetterBook;
use crate::journal::{AppendError, Appended, Draft, DurableIn, Fault, Journal, JournalStatus, Positions};
use crate::node::board::Watch;
use crate::node::inputs::Input;
use crate::record::{Record, Sequence};
use crate::store::{DiskStore, StoreError};
use book::{Book, Look};
use drain::Drain;
use live::Live;
use pace::Pace;
use pacer::Seen;
use phase::{Outage, Phase};
use verify::Verify;
use watcher::Watcher;

pub mod book;
mod drain;
mod live;
pub mod mirror;
mod pace;
mod pacer;
pub mod phase;
mod verify;
mod watcher;

/// The disk's half: opened before anything else runs.
#[derive(Debug)]
pub struct Disk {
    pub journal: EmbeddedJournal,
    pub reader: EmbeddedReader,
}

/// What the parts of an outage are made of.
pub struct Parts {
    pub kafka: Arc<dyn Journal>,
    pub disk: Disk,
    pub store: DiskStore,
    pub inputs: mpsc::Sender<Input>,
    /// Where a record of the disk goes that nobody can read.
    pub letters: Arc<dyn LetterBook>,
    /// Where critical records are copied to.
    pub mirror: Option<Arc<dyn mirror::List>>,
    pub drain_per_s: u32,
    /// How long the ledger knows what it had.
    pub ledger_kept: Duration,
    /// What Kafka took may be another router's to decide: its promise is kept when Kafka has it.
    pub is_one_of_several: bool,
    /// How far the owner is in each lane of Kafka.
    pub taken: watch::Receiver<Positions>,
    pub clock: Clock,
    pub watch: Watch,
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts").finish_non_exhaustive()
    }
}

/// The journal of a router on Kafka.
pub struct Buffered {
    kafka: Arc<dyn Journal>,
    disk: Arc<dyn Journal>,
    book: Book,
    inputs: mpsc::Sender<Input>,
    shared: Arc<Shared>,
    mirror: Option<Arc<mirror::Counts>>,
    is_one_of_several: bool,
}

impl std::fmt::Debug for Buffered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Buffered").field("outage", &*self.shared.outage.borrow()).finish_non_exhaustive()
    }
}

/// What the parts tell each other.
#[derive(Debug)]
struct Shared {
    outage: watch::Sender<Outage>,
    seen: watch::Sender<Seen>,
    live: Live,
    counts: Counts,
    /// What the last look through the book could not find.
    missing: Mutex<Look>,
    clock: Clock,
}

/// Since the start.
#[derive(Debug, Default)]
struct Counts {
    buffered: Counter,
    bypassed: Counter,
    drained: Counter,
}

/// What people are shown of it.
#[derive(Debug, Clone, Serialize)]
pub struct Shown {
    pub phase: Phase,
    pub since: Wall,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// Records on the disk that Kafka has not.
    pub waiting: u64,
    pub bytes: u64,
    /// Since the start.
    pub buffered: u64,
    pub bypassed: u64,
    pub drained: u64,
    /// Promises of the disk whose notifications the ledger did not know when it was last looked.
    pub missing: u64,
    /// The first of them.
    pub missing_ids: Vec<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mirror: Option<mirror::Shown>,
}

impl Shared {
    fn new(is_left: bool, clock: Clock) -> Shared {
        Shared {
            outage: watch::Sender::new(Outage::new(is_left, clock.wall())),
            seen: watch::Sender::new(Seen::default()),
            live: Live::default(),
            counts: Counts::default(),
            missing: Mutex::default(),
            clock,
        }
    }

    /// Tells the phase something. Whoever waits for it wakes only if it changed.
    fn tell(&self, what: impl FnOnce(&mut Outage, Wall)) {
        let now = self.clock.wall();
        self.outage.send_if_modified(|outage| {
            let before = outage.clone();
            what(outage, now);
            if outage.phase() != before.phase() {
                tracing::warn!(
                    from = before.phase().name(),
                    to = outage.phase().name(),
                    why = outage.why(),
                    "Kafka"
                );
            }
            *outage != before
        });
    }

    fn missing(&self) -> MutexGuard<'_, Look> {
        self.missing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Joins the parts and starts what runs beside. Called inside the runtime.
pub fn start(parts: Parts) -> Result<Arc<Buffered>, StoreError> {
    let Parts { kafka, disk, store, inputs, letters, mirror, taken, clock, watch, .. } = parts;
    let Parts { drain_per_s, ledger_kept, is_one_of_several, .. } = parts;
    let Disk { journal, reader } = disk;
    let lane = journal.follow(Priority::Critical);
    let (disk, book) = (Arc::new(journal) as Arc<dyn Journal>, Book::new(store));
    watch.add_kafka();
    let is_left = disk.status().lag > 0 || !book.is_empty()?;
    let shared = Arc::new(Shared::new(is_left, clock));
    let mirror = mirror.map(|list| {
        let (kafka, book, shared) = (Arc::clone(&kafka), book.clone(), Arc::clone(&shared));
        let pace = Pace::new(drain_per_s, taken.clone(), &shared);
        let counts = Arc::new(mirror::Counts::default());
        let watch = watch.clone();
        let parts = mirror::Parts { list, lane, kafka, book, pace, shared, ledger_kept, counts, watch };
        let counts = Arc::clone(&parts.counts);
        tokio::spawn(mirror::run(parts));
        counts
    });
    let watcher =
        Watcher { kafka: Arc::clone(&kafka), disk: Arc::clone(&disk), shared: Arc::clone(&shared), watch };
    tokio::spawn(watcher.run());
    let drain = Drain {
        kafka: Arc::clone(&kafka),
        disk: Arc::clone(&disk),
        reader: Box::new(reader),
        letters,
        struck: is_one_of_several.then(|| book.clone()),
        pace: Pace::new(drain_per_s, taken, &shared),
        shared: Arc::clone(&shared),
    };
    tokio::spawn(drain.run());
    let verify = Verify { kafka: Arc::clone(&kafka), book: book.clone(), shared: Arc::clone(&shared) };
    tokio::spawn(verify.run());
    Ok(Arc::new(Buffered { kafka, disk, book, inputs, shared, mirror, is_one_of_several }))
}

impl Buffered {
    pub fn shown(&self) -> Shown {
        let outage = self.shared.outage.borrow().clone();
        let Counts { buffered, bypassed, drained } = &self.shared.counts;
        let JournalStatus { lag, bytes, .. } = self.disk.status();
        let missing = self.shared.missing().clone();
        Shown {
            phase: outage.phase(),
            since: outage.since(),
            why: outage.why().to_owned(),
            waiting: lag,
            bytes,
            buffered: buffered.get(),
            bypassed: bypassed.get(),
            drained: drained.get(),
            missing: missing.missing,
            missing_ids: missing.ids,
            mirror: self.mirror.as_ref().map(|counts| counts.shown()),
        }
    }

    async fn on_disk(&self, draft: Draft) -> Result<Appended, AppendError> {
        let (id, accepted_at) = (draft.id, draft.accepted_at);
        let urgent = (draft.request.priority == Priority::Critical).then(|| draft.clone());
        let appended = Appended { durable_in: DurableIn::Disk, ..self.disk.append(draft).await? };
        let entered = self.book.enter(id, accepted_at);
        entered.map_err(|error| AppendError::Unavailable(error.to_string()))?;
        self.shared.counts.buffered.inc();
        // Who has the user cannot be known without Kafka.
        if let Some(draft) = urgent.filter(|_| !self.is_one_of_several) {
            self.bypass(draft, appended).await;
        }
        Ok(appended)
    }

    /// The owner gets the record now; when it comes by Kafka it is known.
    async fn bypass(&self, draft: Draft, appended: Appended) {
        let Draft { id, service, accepted_at, request } = draft;
        let sequence = Sequence { boot: 0, partition: appended.partition, seq: appended.seq };
        let v = request.version();
        let record = Record { v, id, service, accepted_at, sequence, skipped: Vec::new(), request };
        // Without an owner the router is going down; the disk has the record.
        if self.inputs.send(Input::Bypass(Box::new(record))).await.is_ok() {
            self.shared.counts.bypassed.inc();
        }
    }
}

#[async_trait]
impl Journal for Buffered {
    async fn append(&self, draft: Draft) -> Result<Appended, AppendError> {
        let mut outage = self.shared.outage.subscribe();
        if outage.borrow().takes_live() {
            let under_way = self.shared.live.begin(self.shared.clock);
            tokio::select! {
                biased;
                answer = self.kafka.append(draft.clone()) => match answer {
                    Err(AppendError::Unavailable(why)) => {
                        self.shared.tell(|outage, now| outage.handle_refusal(&why, now));
                    }
                    answer => {
                        if answer.is_ok() {
                            under_way.answered();
                        }
                        return answer;
                    }
                },
                // Kafka may have it all the same; the owner knows it by its id.
                _ = outage.wait_for(|outage| !outage.takes_live()) => {}
            }
        }
        self.on_disk(draft).await
    }

    fn status(&self) -> JournalStatus {
        let disk = self.disk.status();
        JournalStatus { lag: self.kafka.status().lag + disk.lag, ..disk }
    }

    /// Kafka's own faults are the disk's business; that it has one is `kafka` on the board.
    fn fault(&self) -> Option<Fault> {
        if self.shared.outage.borrow().takes_live() { None } else { self.disk.fault() }
    }

    fn name(&self) -> &'static str {
        "kafka"
    }
}
