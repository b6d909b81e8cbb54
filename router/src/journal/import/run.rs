//! Carries the sources' records into the journal.
//!
//! Owns the import's consumer group and its commits: an offset is committed when its record is durable in the
//! journal or among the dead letters, never before, and a record that neither takes is tried again for as long as
//! it needs. Order holds within a partition. Started by the router next to the pipeline.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance, StreamConsumer};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::{ClientContext, Offset, Statistics, TopicPartitionList};
use serde::Serialize;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use wire::time::Wall;

use super::{Foreign, ForeignLetter, LetterBook, Source};
use crate::journal::kafka::{DeadLetter, DeadLetters, KEPT_BYTES_MAX, KafkaConfig, KafkaOpenError};
use crate::journal::{AppendError, Journal};

/// The consumer group of the import.
pub const IMPORT_GROUP: &str = "notification-router-import";
/// Records that wait for the journal at one time, and their bytes (the record that crosses it counts).
const IN_FLIGHT_MAX: usize = 512;
const IN_FLIGHT_BYTES_MAX: usize = 8 * 1024 * 1024;
/// How often new topics are looked for, and commits are sent.
const LOOK_INTERVAL: Duration = Duration::from_secs(30);
const COMMIT_INTERVAL: Duration = Duration::from_millis(200);
const METADATA_PATIENCE: Duration = Duration::from_secs(5);
/// Pauses between tries of a record that nothing takes.
const RETRY_PAUSE_MIN: Duration = Duration::from_millis(100);
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(5);
/// Bytes of one answer of the brokers. A record that the brokers took is read whole before it can be refused.
const FETCH_BYTES_MAX: &str = "268435456";

/// What the import has done since its start.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ImportStatus {
    pub topics: Vec<String>,
    pub imported: u64,
    pub dead_lettered: u64,
    /// Tries that the journal or the dead letters refused; each was or will be made again.
    pub refused: u64,
    /// Records of the sources that are not committed.
    pub lag: u64,
}

/// The import: made at start, run as a task.
pub struct Import {
    sources: Arc<Vec<Source>>,
    consumer: Arc<StreamConsumer<Context>>,
    journal: Arc<dyn Journal>,
    dead_letters: DeadLetters,
    our_topics: Vec<String>,
    clock: fn() -> Wall,
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Import {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Import").field("sources", &self.sources.len()).finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct Shared {
    imported: AtomicU64,
    dead_lettered: AtomicU64,
    refused: AtomicU64,
    /// Rises with every rebalance: what was read before is not committed after it.
    generation: AtomicU64,
    topics: Mutex<Vec<String>>,
    lag: Mutex<BTreeMap<(String, i32), u64>>,
}

struct Context {
    shared: Arc<Shared>,
}

impl ClientContext for Context {
    fn error(&self, error: KafkaError, reason: &str) {
        tracing::warn!(target: "kafka", %error, "{reason}");
    }

    fn stats(&self, statistics: Statistics) {
        let mut lag = self.shared.lag.lock().expect("nobody panics while holding the lag");
        lag.clear();
        for (name, topic) in statistics.topics {
            for (partition, numbers) in topic.partitions {
                let (Ok(end), true) = (u64::try_from(numbers.hi_offset), partition >= 0) else { continue };
                let first = u64::try_from(numbers.lo_offset).unwrap_or(0);
                let committed = u64::try_from(numbers.committed_offset).unwrap_or(first);
                lag.insert((name.clone(), partition), end.saturating_sub(committed));
            }
        }
    }
}

impl ConsumerContext for Context {
    fn pre_rebalance(&self, _consumer: &BaseConsumer<Self>, _rebalance: &Rebalance<'_>) {
        self.shared.generation.fetch_add(1, Ordering::AcqRel);
    }

    fn commit_callback(&self, result: KafkaResult<()>, _offsets: &TopicPartitionList) {
        if let Err(error) = result {
            tracing::warn!(%error, "an import's commit failed; some is imported again, under the same ids");
        }
    }
}

/// Where a record in the works came from.
#[derive(Debug, Clone)]
struct Place {
    topic: String,
    partition: i32,
    offset: i64,
    generation: u64,
    bytes: usize,
}

/// Records on their way, in reading order.
#[derive(Debug, Default)]
struct InFlight {
    records: VecDeque<(Place, JoinHandle<()>)>,
    bytes: usize,
}

impl InFlight {
    fn has_room(&self) -> bool {
        self.records.len() < IN_FLIGHT_MAX && self.bytes < IN_FLIGHT_BYTES_MAX
    }

    fn push(&mut self, place: Place, task: JoinHandle<()>) {
        self.bytes += place.bytes;
        self.records.push_back((place, task));
    }

    /// The first record, when it is where it belongs; waits for ever when there is none. A caller that gives up
    /// loses nothing.
    async fn first_done(&mut self) -> Result<Place, ImportPanicked> {
        let Some((place, task)) = self.records.front_mut() else { return std::future::pending().await };
        if task.await.is_err() {
            return Err(ImportPanicked { topic: place.topic.clone(), offset: place.offset });
        }
        let (place, _) = self.records.pop_front().expect("it was there");
        self.bytes -= place.bytes;
        Ok(place)
    }
}

/// What may be committed, of the assignment that it was read under.
#[derive(Debug, Default)]
struct Done {
    generation: u64,
    next: BTreeMap<(String, i32), i64>,
}

impl Done {
    fn enter(&mut self, generation: u64) {
        if self.generation != generation {
            *self = Done { generation, next: BTreeMap::new() };
        }
    }
}

/// A bug of ours ended the import. The record is not committed, so a restart tries it again.
#[derive(Debug, thiserror::Error)]
#[error("the import panicked at offset {offset} of {topic}")]
pub struct ImportPanicked {
    topic: String,
    offset: i64,
}

impl Import {
    /// `dead_letters` are those of the Kafka journal. `clock` gives `accepted_at`.
    pub fn new(
        sources: Vec<Source>,
        config: &KafkaConfig,
        journal: Arc<dyn Journal>,
        dead_letters: DeadLetters,
        clock: fn() -> Wall,
    ) -> Result<Import, KafkaOpenError> {
        let shared = Arc::new(Shared::default());
        let mut client = config.consumer(IMPORT_GROUP);
        client
            .set("statistics.interval.ms", "1000")
            .set("queued.max.messages.kbytes", "16384")
            .set("receive.message.max.bytes", FETCH_BYTES_MAX);
        let context = Context { shared: Arc::clone(&shared) };
        let consumer = StreamConsumer::from_config_and_context(&client, context)?;
        Ok(Import {
            sources: Arc::new(sources),
            consumer: Arc::new(consumer),
            journal,
            dead_letters,
            our_topics: config.topics().all().map(str::to_owned).collect(),
            clock,
            shared,
        })
    }

    /// Reads what it has done so far, from any task.
    pub fn watch(&self) -> impl Fn() -> ImportStatus + Send + Sync + use<> {
        let shared = Arc::clone(&self.shared);
        move || ImportStatus {
            topics: shared.topics.lock().expect("nobody panics while holding the topics").clone(),
            imported: shared.imported.load(Ordering::Relaxed),
            dead_lettered: shared.dead_lettered.load(Ordering::Relaxed),
            refused: shared.refused.load(Ordering::Relaxed),
            lag: shared.lag.lock().expect("nobody panics while holding the lag").values().sum(),
        }
    }

    /// Runs until `stop` is true or its sender is gone; `book` is told of every dead letter. What is in flight then is imported again next time, under
    /// the same ids.
    pub async fn run(
        self,
        mut stop: watch::Receiver<bool>,
        book: Arc<dyn LetterBook>,
    ) -> Result<(), ImportPanicked> {
        let mut in_flight = InFlight::default();
        let mut done = Done::default();
        let mut look = tokio::time::interval(LOOK_INTERVAL);
        let mut commit = tokio::time::interval(COMMIT_INTERVAL);
        let result = loop {
            tokio::select! {
                () = stopped(&mut stop) => break Ok(()),
                _ = look.tick() => self.look_for_topics().await,
                _ = commit.tick() => self.commit(&mut done),
                first = in_flight.first_done() => match first {
                    Ok(place) => self.note_done(place, &mut done),
                    Err(panicked) => break Err(panicked),
                },
                message = self.consumer.recv(), if in_flight.has_room() => match message {
                    Ok(message) => {
                        if let Some((place, task)) = self.start(&message, &book).await {
                            in_flight.push(place, task);
                        }
                    }
                    Err(error) => {
                        tracing::warn!(%error, "a source cannot be read for now");
                        tokio::time::sleep(RETRY_PAUSE_MIN).await;
                    }
                },
            }
        };
        for (_, task) in in_flight.records {
            task.abort();
        }
        self.commit(&mut done);
        result
    }

    fn note_done(&self, place: Place, done: &mut Done) {
        let generation = self.shared.generation.load(Ordering::Acquire);
        done.enter(generation);
        if place.generation == generation {
            done.next.insert((place.topic, place.partition), place.offset + 1);
        }
    }

    /// Patterns are ours to resolve, so that they mean the same in every place.
    async fn look_for_topics(&self) {
        let consumer = Arc::clone(&self.consumer);
        let asked = tokio::task::spawn_blocking(move || {
            let metadata = consumer.fetch_metadata(None, METADATA_PATIENCE)?;
            Ok::<_, KafkaError>(metadata.topics().iter().map(|topic| topic.name().to_owned()).collect())
        });
        let existing: Vec<String> = match asked.await {
            Ok(Ok(existing)) => existing,
            Ok(Err(error)) => {
                tracing::warn!(%error, "the sources' topics cannot be listed for now");
                return;
            }
            Err(_) => return,
        };
        let named = self.sources.iter().filter_map(|source| source.topic().map(str::to_owned));
        let mut wanted: Vec<String> = existing
            .into_iter()
            .filter(|topic| self.sources.iter().any(|source| source.reads(topic)))
            .chain(named)
            // What we write must never come back as a source, and neither must Kafka's own books.
            .filter(|topic| !self.our_topics.contains(topic) && !topic.starts_with("__"))
            .collect();
        wanted.sort_unstable();
        wanted.dedup();
        let unchanged = *self.shared.topics.lock().expect("nobody panics while holding the topics") == wanted;
        if unchanged || wanted.is_empty() {
            return;
        }
        let names: Vec<&str> = wanted.iter().map(String::as_str).collect();
        match self.consumer.subscribe(&names) {
            Ok(()) => {
                tracing::info!(topics = ?names, "importing");
                *self.shared.topics.lock().expect("nobody panics while holding the topics") = wanted;
            }
            Err(error) => tracing::warn!(%error, "the sources cannot be subscribed to for now"),
        }
    }

    /// Maps the record and starts its way into the journal (or to the dead letters).
    async fn start(
        &self,
        message: &BorrowedMessage<'_>,
        book: &Arc<dyn LetterBook>,
    ) -> Option<(Place, JoinHandle<()>)> {
        let topic = message.topic();
        let source = self.sources.iter().find(|source| source.reads(topic))?;
        let place = Place {
            topic: topic.to_owned(),
            partition: message.partition(),
            offset: message.offset(),
            generation: self.shared.generation.load(Ordering::Acquire),
            bytes: message.payload_len().min(KEPT_BYTES_MAX),
        };
        let headers: Vec<(&str, &[u8])> = message.headers().map_or_else(Vec::new, |headers| {
            headers.iter().map(|header| (header.key, header.value.unwrap_or_default())).collect()
        });
        let foreign = Foreign {
            topic,
            partition: place.partition,
            offset: place.offset,
            headers: &headers,
            value: message.payload(),
        };
        let carrier = Carrier {
            journal: Arc::clone(&self.journal),
            dead_letters: self.dead_letters.clone(),
            book: Arc::clone(book),
            shared: Arc::clone(&self.shared),
            place: place.clone(),
        };
        let mut carrying: Pin<Box<dyn Future<Output = ()> + Send>> =
            match source.map(&foreign, (self.clock)()) {
                Ok(draft) => {
                    let dead = Dead::of(message, String::new());
                    Box::pin(async move { carrier.append(draft, dead).await })
                }
                Err(reason) => {
                    let dead = Dead::of(message, reason);
                    Box::pin(async move { carrier.bury(&dead).await })
                }
            };
        // Begun here, so that records reach the journal in the order in which they were read.
        let begun = std::future::poll_fn(|cx| Poll::Ready(carrying.as_mut().poll(cx))).await;
        let task = match begun {
            Poll::Ready(()) => tokio::spawn(std::future::ready(())),
            Poll::Pending => tokio::spawn(carrying),
        };
        Some((place, task))
    }

    fn commit(&self, done: &mut Done) {
        done.enter(self.shared.generation.load(Ordering::Acquire));
        if done.next.is_empty() {
            return;
        }
        let mut list = TopicPartitionList::with_capacity(done.next.len());
        for ((topic, partition), next) in std::mem::take(&mut done.next) {
            list.add_partition_offset(&topic, partition, Offset::Offset(next))
                .expect("an offset of a record is a valid offset");
        }
        if let Err(error) = self.consumer.commit(&list, CommitMode::Async) {
            tracing::warn!(%error, "an import's commit cannot be sent; some is imported again");
        }
    }
}

/// A record that may have to go to the dead letters.
struct Dead {
    reason: String,
    key: Option<Bytes>,
    /// As much as is kept.
    bytes: Bytes,
    bytes_total: usize,
}

impl Dead {
    fn of(message: &BorrowedMessage<'_>, reason: String) -> Dead {
        let value = message.payload().unwrap_or_default();
        Dead {
            reason,
            key: message.key().map(Bytes::copy_from_slice),
            bytes: Bytes::copy_from_slice(&value[..value.len().min(KEPT_BYTES_MAX)]),
            bytes_total: value.len(),
        }
    }
}

/// Takes one record to where it belongs, however often it must try.
struct Carrier {
    journal: Arc<dyn Journal>,
    dead_letters: DeadLetters,
    book: Arc<dyn LetterBook>,
    shared: Arc<Shared>,
    place: Place,
}

impl Carrier {
    async fn append(self, draft: crate::journal::Draft, mut dead: Dead) {
        let mut pause = RETRY_PAUSE_MIN;
        loop {
            match self.journal.append(draft.clone()).await {
                Ok(_) => {
                    self.shared.imported.fetch_add(1, Ordering::Relaxed);
                    return;
                }
                Err(error @ AppendError::TooLong { .. }) => {
                    dead.reason = error.to_string();
                    return self.bury(&dead).await;
                }
                Err(error) => self.wait(&error.to_string(), &mut pause).await,
            }
        }
    }

    async fn bury(&self, dead: &Dead) {
        let mut pause = RETRY_PAUSE_MIN;
        let letter = DeadLetter {
            reason: &dead.reason,
            topic: &self.place.topic,
            partition: self.place.partition,
            offset: self.place.offset,
            key: dead.key.as_deref(),
            bytes: &dead.bytes,
            bytes_total: dead.bytes_total,
        };
        while let Err(error) = self.dead_letters.put(letter.clone()).await {
            self.wait(&error, &mut pause).await;
        }
        let letter = ForeignLetter {
            topic: self.place.topic.clone(),
            partition: self.place.partition,
            offset: self.place.offset,
            reason: dead.reason.clone(),
            bytes: dead.bytes.clone(),
            cut: dead.bytes.len() < dead.bytes_total,
        };
        while let Err(error) = self.book.enter(letter.clone()).await {
            self.wait(&error, &mut pause).await;
        }
        tracing::warn!(
            topic = self.place.topic,
            offset = self.place.offset,
            reason = dead.reason,
            "a dead letter"
        );
        self.shared.dead_lettered.fetch_add(1, Ordering::Relaxed);
    }

    async fn wait(&self, why: &str, pause: &mut Duration) {
        self.shared.refused.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(
            topic = self.place.topic,
            offset = self.place.offset,
            why,
            "a record waits to be imported"
        );
        tokio::time::sleep(*pause).await;
        *pause = (*pause * 2).min(RETRY_PAUSE_MAX);
    }
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    // Its sender gone means the same.
    let _ = stop.wait_for(|stop| *stop).await;
}
