//! The journal in Kafka: one topic for each priority, one consumer group for all routers.
//!
//! Owns the producer (idempotent, all in-sync replicas, the partition computed by us) and, in its files, the
//! consumer. Never acknowledges what the brokers did not, never lets a property of the configuration weaken that.
//! Opened by the router's start; [`KafkaJournal`] goes to `ingest` and to `import`, [`KafkaReader`] to the owner's
//! run loop.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use bytes::BytesMut;
use futures_util::future::join_all;
use rdkafka::error::KafkaError;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::future_producer::DeliveryFuture;
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::types::RDKafkaErrorCode;
use tokio::sync::{Semaphore, mpsc};
use wire::message::Priority;
use wire::partition::partition_of;

use super::encode::Prepared;
use super::segment::RECORD_BYTES_MAX;
use super::{AppendError, Appended, Draft, DurableIn, Fault, Journal, JournalStatus};
use crate::record::{Request, Sequence, Skipped, Target};
use client::Logged;
use health::Health;
use lag::LagTable;
use numbers::Numbers;

mod assignment;
mod carried;
mod client;
mod config;
mod dead_letters;
mod health;
mod lag;
mod numbers;
mod outcomes;
mod reader;
mod restore;
mod restoring;
mod topics;
mod transaction;

pub use assignment::{Assignment, Group, GroupEvent, Ownership};
pub use carried::{CarryError, CarryReader, CarryWriter, Met};
pub use config::{GROUP, KafkaConfig, KafkaConfigError, PARTITIONS_DEFAULT, Topics};
pub use dead_letters::{DeadLetter, DeadLetters, KEPT_BYTES_MAX};
pub use lag::LaneLag;
pub use outcomes::{OutcomeRecord, Outcomes, Unwritten};
pub use reader::KafkaReader;
pub use restore::{Restored, Restorer, name_row};
pub use restoring::{Failed, News, Restoring};
pub use transaction::{LedgerWriter, Refused};

/// Bytes of records of one priority that wait for the brokers; appends beyond wait their turn.
const IN_FLIGHT_BYTES_MAX: usize = 16 * 1024 * 1024;
/// What the shortest record counts for, so that records are bounded, too (32,768 a priority).
const RECORD_COST_MIN: usize = 512;

const _: () = assert!(RECORD_BYTES_MAX < IN_FLIGHT_BYTES_MAX);
const _: () = assert!(Priority::ALL.len() * IN_FLIGHT_BYTES_MAX / RECORD_COST_MIN < 500_000);

/// Kafka cannot be used. Each has one line for the operator.
#[derive(Debug, thiserror::Error)]
pub enum KafkaOpenError {
    #[error(transparent)]
    Config(#[from] KafkaConfigError),
    #[error("no Kafka at {brokers}: {why}")]
    Unreachable { brokers: String, why: String },
    #[error(
        "the topic {topic} has {found} partitions, wanted are {wanted}: all our topics need the same number, and \
         it cannot change while records are in them"
    )]
    Partitions { topic: String, found: usize, wanted: usize },
    #[error(
        "the topic {topic} has {key} = {found}, wanted is {wanted}: routers would lose what they write there; set it with \
         kafka-configs --alter"
    )]
    Ledger { topic: String, key: &'static str, found: String, wanted: String },
    #[error("the topic {topic} cannot be made: {why}")]
    Create { topic: String, why: String },
    #[error("[kafka.properties]: {0}")]
    Client(#[from] KafkaError),
    #[error("the Kafka thread cannot be started: {0}")]
    Thread(std::io::Error),
    #[error("no randomness to be had: {0}")]
    NoRandomness(getrandom::Error),
}

/// The writing half.
pub struct KafkaJournal {
    producer: FutureProducer<Logged>,
    config: KafkaConfig,
    boot: u64,
    /// By partition.
    numbers: Vec<Mutex<Numbers>>,
    room: [Semaphore; Priority::ALL.len()],
    lag: Arc<LagTable>,
    health: Arc<Health>,
    /// Lists of users are split by partition.
    is_one_of_several: bool,
}

impl std::fmt::Debug for KafkaJournal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaJournal").field("brokers", &self.config.brokers()).finish_non_exhaustive()
    }
}

impl KafkaJournal {
    /// Makes missing topics, checks the others, joins the group. Kafka must be there.
    pub async fn open(config: KafkaConfig) -> Result<(KafkaJournal, KafkaReader), KafkaOpenError> {
        topics::ensure(&config, false).await?;
        KafkaJournal::open_on_topics(config, None)
    }

    /// Makes missing topics and checks the others. With several routers also whether the ledger's keeps what they write.
    pub async fn ensure_topics(config: &KafkaConfig, is_one_of_several: bool) -> Result<(), KafkaOpenError> {
        topics::ensure(config, is_one_of_several).await
    }

    /// Those of our topics that are there, which have to fit. Makes none.
    pub async fn look_at_topics(config: &KafkaConfig) -> Result<Vec<String>, KafkaOpenError> {
        topics::look_only(config).await
    }

    /// The same where the topics are known to be there.
    /// `events`: of one of several routers.
    pub fn open_on_topics(
        config: KafkaConfig,
        events: Option<mpsc::Sender<GroupEvent>>,
    ) -> Result<(KafkaJournal, KafkaReader), KafkaOpenError> {
        let producer: FutureProducer<Logged> = config.producer().create_with_context(Logged)?;
        // 53 bits, so that a JSON reader that knows only doubles shows the number as it is.
        let boot = getrandom::u64().map_err(KafkaOpenError::NoRandomness)? >> 11;
        let partitions = config.partitions();
        let dead_letters = DeadLetters::new(producer.clone(), config.topics().dead_letters(), partitions);
        let lag = Arc::new(LagTable::default());
        let is_one_of_several = events.is_some();
        let reader = KafkaReader::open(&config, dead_letters, Arc::clone(&lag), events)?;
        let journal = KafkaJournal {
            producer,
            boot,
            numbers: (0..partitions).map(|_| Mutex::default()).collect(),
            room: std::array::from_fn(|_| Semaphore::new(IN_FLIGHT_BYTES_MAX)),
            config,
            lag,
            health: Arc::default(),
            is_one_of_several,
        };
        Ok((journal, reader))
    }

    /// The boot that this process's sequences run in.
    pub fn boot(&self) -> u64 {
        self.boot
    }

    pub fn dead_letters(&self) -> DeadLetters {
        DeadLetters::new(self.producer.clone(), self.config.topics().dead_letters(), self.config.partitions())
    }

    /// Writes to the topic of outcomes.
    pub fn outcomes(&self) -> Result<Outcomes, KafkaOpenError> {
        Ok(Outcomes::open(&self.config)?)
    }

    /// Asks the brokers every so often whether they are there, so that an outage shows without an append. Runs until
    /// the journal is gone.
    pub fn look_after(&self) -> impl Future<Output = ()> + Send + use<> {
        let topic = self.config.topics().lane(Priority::Critical).to_owned();
        health::look_after(self.producer.clone(), topic, Arc::downgrade(&self.health))
    }

    /// What waits, by priority and partition, of the partitions that this process owns.
    pub fn lag(&self) -> Vec<LaneLag> {
        self.lag.rows()
    }

    fn numbers(&self, partition: u32) -> MutexGuard<'_, Numbers> {
        self.numbers[partition as usize].lock().expect("nobody panics while holding a partition's numbers")
    }

    /// Gives the record its sequence and hands it to the producer, both under the partition's lock, so that
    /// sequences rise with offsets and one that was not handed over is not used up.
    fn produce(
        &self,
        priority: Priority,
        record: &Prepared,
        id: &str,
        key: &str,
    ) -> Result<(DeliveryFuture, Unconfirmed<'_>), AppendError> {
        let partition = record.partition;
        let mut numbers = self.numbers(partition);
        let told = numbers.told_next();
        let sequence = Sequence { boot: self.boot, partition, seq: numbers.next() };
        let mut bytes = BytesMut::with_capacity(record.bytes_max());
        record.write(sequence, &told, &mut bytes);
        let produced = FutureRecord::to(self.config.topics().lane(priority))
            .partition(partition.cast_signed())
            .key(key)
            .headers(OwnedHeaders::new().insert(Header { key: "id", value: Some(id) }))
            .payload(&bytes[..]);
        match self.producer.send_result(produced) {
            Ok(delivery) => {
                numbers.use_up(&told);
                Ok((delivery, Unconfirmed { journal: self, sequence, told, is_confirmed: false }))
            }
            Err((error, _)) => Err(refusal(&error, bytes.len())),
        }
    }
}

/// A number that is used up by a record which nobody has acknowledged yet. Dropped, it may never be: its number is told
/// to the owner as skipped.
struct Unconfirmed<'a> {
    journal: &'a KafkaJournal,
    sequence: Sequence,
    told: Vec<Skipped>,
    is_confirmed: bool,
}

impl Unconfirmed<'_> {
    /// The brokers have the record. Gives back its number.
    fn confirm(mut self) -> u64 {
        self.is_confirmed = true;
        self.sequence.seq
    }
}

impl Drop for Unconfirmed<'_> {
    fn drop(&mut self) {
        if self.is_confirmed {
            return;
        }
        let told = std::mem::take(&mut self.told);
        self.journal.numbers(self.sequence.partition).give_back(self.sequence.seq, told);
    }
}

fn refusal(error: &KafkaError, found: usize) -> AppendError {
    match error.rdkafka_error_code() {
        Some(RDKafkaErrorCode::MessageSizeTooLarge) => AppendError::TooLong { found, max: RECORD_BYTES_MAX },
        _ => AppendError::Unavailable(error.to_string()),
    }
}

/// What other readers of the topic see as the record's key: whom it is for.
fn key_of(to: &Target) -> String {
    match to {
        Target::User(user) => user.clone(),
        Target::Users(users) => users.first().cloned().unwrap_or_default(),
        Target::Topic(topic) => topic.clone(),
        Target::All(_) => "all".to_owned(),
    }
}

/// What becomes of a list of users: one draft for each partition, under one id.
fn split(draft: &Draft, count: u32) -> Vec<Draft> {
    let Target::Users(users) = &draft.request.to else { return vec![draft.clone()] };
    let mut parts: BTreeMap<u32, Vec<String>> = BTreeMap::new();
    for user in users {
        parts.entry(partition_of(user, count)).or_default().push(user.clone());
    }
    let part = |users| {
        let request = Request { to: Target::Users(users), ..draft.request.clone() };
        Draft { request, ..draft.clone() }
    };
    parts.into_values().map(part).collect()
}

#[async_trait]
impl Journal for KafkaJournal {
    async fn append(&self, draft: Draft) -> Result<Appended, AppendError> {
        if !self.is_one_of_several {
            return self.append_one(draft).await;
        }
        let parts = split(&draft, self.config.partitions()).into_iter().map(|part| self.append_one(part));
        // All are under way together. One that is refused leaves the others, and comes again with them under the same id.
        let mut appended = join_all(parts).await.into_iter();
        let first =
            appended.next().unwrap_or(Err(AppendError::Unavailable("it is for nobody".to_owned())))?;
        appended.try_fold(first, |first, other| other.map(|_| first))
    }

    fn status(&self) -> JournalStatus {
        JournalStatus { lag: self.lag.total(), ..JournalStatus::default() }
    }

    fn fault(&self) -> Option<Fault> {
        self.health.fault()
    }

    fn name(&self) -> &'static str {
        "kafka"
    }
}

impl KafkaJournal {
    async fn append_one(&self, draft: Draft) -> Result<Appended, AppendError> {
        let priority = draft.request.priority;
        let (id, key) = (draft.id.to_string(), key_of(&draft.request.to));
        let record = Prepared::new(draft, self.config.partitions())?;
        let cost = record.bytes_max().max(RECORD_COST_MIN) as u32;
        let _room = self.room[priority as usize]
            .acquire_many(cost)
            .await
            .map_err(|_| AppendError::Unavailable("the journal is closed".to_owned()))?;
        let appended = match self.produce(priority, &record, &id, &key) {
            Ok((delivery, number)) => match delivery.await {
                Ok(Ok(delivery)) => {
                    let (partition, seq) = (record.partition, number.confirm());
                    let offset = u64::try_from(delivery.offset).ok();
                    Ok(Appended { partition, seq, durable_in: DurableIn::Kafka, offset })
                }
                Ok(Err((error, _))) => Err(refusal(&error, record.bytes_max())),
                Err(_) => Err(AppendError::Unavailable("the producer is closed".to_owned())),
            },
            Err(refused) => Err(refused),
        };
        self.health.note_append(&appended);
        appended
    }
}
