//! The owner's end of the Kafka journal: the most urgent topic first, of the partitions that are ours.
//!
//! Owns what it takes to hand records out: their shares, their decoding, the keys of the poisoned ones. Never
//! touches the consumer itself; that is `assignment`'s.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::JoinHandle;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::{mpsc, watch};

use super::KafkaOpenError;
use super::assignment::{Fetched, Group, GroupEvent, Ownership, Shared, connect, serve};
use super::config::{GROUP, KafkaConfig};
use super::dead_letters::{DeadLetter, DeadLetters};
use super::lag::{LagTable, LaneLag};
use crate::journal::embedded::{LANES, narrowed, shares};
use crate::journal::encode::decode;
use crate::journal::{Entry, JournalReader, Poison, Position, ReadError};
use crate::owners;

/// Bytes that librdkafka fetches ahead, all partitions together.
const FETCHED_KBYTES_MAX: u32 = 64 * 1024;
/// Keys of poisoned records that are remembered until they are dead letters.
const POISONED_MAX: usize = 1_024;

/// The reading half.
#[derive(Debug)]
pub struct KafkaReader {
    shared: Arc<Shared>,
    dead_letters: DeadLetters,
    /// The original keys of poisoned records.
    poisoned: BTreeMap<Position, Bytes>,
    turn: u64,
    /// The assignment that the last read was under.
    round: u64,
    critical_only: bool,
    /// Of several routers, with the number of partitions.
    several: Option<u32>,
    thread: Option<JoinHandle<()>>,
}

impl KafkaReader {
    pub(super) fn open(
        config: &KafkaConfig,
        dead_letters: DeadLetters,
        lag: Arc<LagTable>,
        events: Option<mpsc::Sender<GroupEvent>>,
    ) -> Result<KafkaReader, KafkaOpenError> {
        let several = events.is_some().then(|| config.partitions());
        let shared = Arc::new(Shared::new(config.topics().clone(), lag, events));
        let mut client = config.consumer(GROUP);
        // With a queue for each partition librdkafka's bounds are each partition's.
        let kbytes = (FETCHED_KBYTES_MAX / (config.partitions() * LANES as u32)).max(1_024);
        client
            .set("queued.max.messages.kbytes", kbytes.to_string())
            .set("queued.min.messages", "1000")
            .set("statistics.interval.ms", "1000");
        let consumer = connect(&client, &shared)?;
        let serving = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("kafka".to_owned())
            .spawn(move || serve(consumer, &serving))
            .map_err(KafkaOpenError::Thread)?;
        Ok(KafkaReader {
            shared,
            dead_letters,
            poisoned: BTreeMap::new(),
            turn: 0,
            round: 0,
            critical_only: false,
            several,
            thread: Some(thread),
        })
    }

    /// What one of several routers says when a partition may be read.
    pub fn group(&self) -> Group {
        Group::new(&self.shared)
    }

    /// The partitions that are ours, as they come and go.
    pub fn ownership(&self) -> watch::Receiver<Ownership> {
        self.shared.ownership()
    }

    pub fn lag(&self) -> Vec<LaneLag> {
        self.shared.lag.rows()
    }

    /// Sends the last commits and leaves the group, so that the others need not wait for the session to end.
    pub async fn close(mut self) {
        self.shared.stop();
        if let Some(thread) = self.thread.take() {
            let joined = tokio::task::spawn_blocking(move || thread.join()).await;
            if !matches!(joined, Ok(Ok(()))) {
                tracing::error!("the Kafka thread panicked");
            }
        }
    }

    fn entry(&mut self, fetched: Fetched) -> Entry {
        let Fetched { position, key, bytes } = fetched;
        let decoded = decode(&bytes).and_then(|record| {
            let why = self.several.and_then(|count| owners::misplaced(&record, position.partition, count));
            why.map_or(Ok(record), |why| Err(why.to_owned()))
        });
        let record = decoded.map_err(|reason| {
            if let Some(key) = key
                && self.poisoned.len() < POISONED_MAX
            {
                self.poisoned.insert(position, key);
            }
            Poison { reason, bytes }
        });
        Entry { position, record }
    }
}

impl Drop for KafkaReader {
    fn drop(&mut self) {
        self.shared.stop();
    }
}

#[async_trait]
impl JournalReader for KafkaReader {
    async fn close(self: Box<Self>) {
        KafkaReader::close(*self).await;
    }

    async fn read(&mut self, max: usize) -> Result<Vec<Entry>, ReadError> {
        loop {
            let turn = self.turn;
            self.turn += 1;
            let critical_only = self.critical_only;
            let shares = |waiting| shares(narrowed(waiting, critical_only), max.max(1), turn);
            let (round, taken) = self.shared.take(shares);
            if !taken.is_empty() {
                // One alone reads whatever comes, under whichever assignment.
                self.round = if self.several.is_some() { round } else { 0 };
                return Ok(taken.into_iter().map(|fetched| self.entry(fetched)).collect());
            }
            if let Some(why) = self.shared.fatal() {
                return Err(ReadError(why));
            }
            self.shared.wake.notified().await;
        }
    }

    fn round(&self) -> u64 {
        self.round
    }

    fn narrow(&mut self, critical_only: bool) {
        self.critical_only = critical_only;
    }

    async fn commit(&mut self, positions: &[Position]) -> Result<(), ReadError> {
        // With several routers the ledger's transactions do it.
        if self.several.is_none() {
            self.shared.commit(positions);
        }
        Ok(())
    }

    async fn dead_letter(&mut self, entry: &Entry) -> Result<(), ReadError> {
        let Err(poison) = &entry.record else { return Ok(()) };
        let Position { priority, partition, offset } = entry.position;
        let key = self.poisoned.get(&entry.position).cloned();
        let letter = DeadLetter {
            reason: &poison.reason,
            topic: self.shared.topics().lane(priority),
            partition: partition.cast_signed(),
            offset: offset.cast_signed(),
            key: key.as_deref(),
            bytes: &poison.bytes,
            bytes_total: poison.bytes.len(),
        };
        self.dead_letters.put(letter).await.map_err(ReadError)?;
        self.poisoned.remove(&entry.position);
        Ok(())
    }
}
