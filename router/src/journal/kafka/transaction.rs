//! One turn of the owners as one transaction: rows to the ledger, the offsets of what was read, all or nothing.
//!
//! Owns the transactional producer. The rows are in the log before the offsets are sent, and the offsets go under the
//! group's metadata as it was when our partitions were assigned: a member that has been replaced is refused there, and
//! with it everything. Whatever else goes wrong, the producer is thrown away and the same rows may be given again: the next
//! producer ends what the last one left. Blocks. Called by `node::several`, on the owner's thread.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerGroupMetadata;
use rdkafka::error::KafkaError;
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{ClientConfig, ClientContext, Offset, TopicPartitionList};
use wire::message::Priority;

use super::client;
use super::config::{KafkaConfig, Topics};
use crate::limits::TRANSACTION_WITHIN;
use crate::store::part::Rows;

/// Why a transaction did not come about.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The group has another generation: what we held is, or will be, another router's.
    #[error("the group does not know us any more: {0}")]
    Fenced(String),
    /// The same may be given again.
    #[error("the ledger cannot be written: {0}")]
    Later(String),
}

/// What the brokers said of each row.
#[derive(Debug, Default)]
struct Delivered {
    said: Mutex<Said>,
}

#[derive(Debug, Default)]
struct Said {
    /// By partition, of the ledger: the offset behind the last row.
    next: BTreeMap<u32, u64>,
    failed: Option<String>,
}

impl ClientContext for Delivered {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        client::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        client::note_error(&error, reason);
    }
}

impl ProducerContext for Delivered {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        match result {
            Ok(row) => {
                let place = u32::try_from(row.partition()).ok().zip(u64::try_from(row.offset()).ok());
                if let Some((partition, offset)) = place {
                    let next = said.next.entry(partition).or_default();
                    *next = (offset + 1).max(*next);
                }
            }
            Err((error, _)) => said.failed = Some(error.to_string()),
        }
    }
}

/// Writes the ledger.
pub struct LedgerWriter {
    client: ClientConfig,
    topics: Topics,
    producer: Option<BaseProducer<Delivered>>,
}

impl std::fmt::Debug for LedgerWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LedgerWriter").finish_non_exhaustive()
    }
}

impl LedgerWriter {
    /// `instance`: the same at every start of this router, and no other's.
    pub fn new(config: &KafkaConfig, instance: &str) -> LedgerWriter {
        LedgerWriter {
            client: config.transactional(&format!("tocsin-ledger-{instance}")),
            topics: config.topics().clone(),
            producer: None,
        }
    }

    /// All of it, or an error and none of it, as far as readers of what is committed can tell. `offsets` has one of each
    /// partition with rows, at least. Gives the offset behind the last row, by partition.
    pub fn commit(
        &mut self,
        rows: &BTreeMap<u32, Rows>,
        offsets: &BTreeMap<(Priority, u32), u64>,
        group: &ConsumerGroupMetadata,
    ) -> Result<BTreeMap<u32, u64>, Refused> {
        let committed = self.attempt(rows, offsets, group);
        if committed.is_err() {
            // What it left open ends with the next one's start, or with its time.
            self.producer = None;
        }
        committed
    }

    fn attempt(
        &mut self,
        rows: &BTreeMap<u32, Rows>,
        offsets: &BTreeMap<(Priority, u32), u64>,
        group: &ConsumerGroupMetadata,
    ) -> Result<BTreeMap<u32, u64>, Refused> {
        let LedgerWriter { client, topics, producer } = self;
        let producer = match producer {
            Some(producer) => producer,
            none => none.insert(begin(client)?),
        };
        *producer.context().said.lock().unwrap_or_else(PoisonError::into_inner) = Said::default();
        producer.begin_transaction().map_err(refusal)?;
        for (partition, rows) in rows {
            for ((space, key), value) in rows {
                let key = [&[*space as u8], key.as_slice()].concat();
                let record = BaseRecord::to(topics.ledger()).partition(partition.cast_signed()).key(&key);
                let record = match value {
                    Some(value) => record.payload(&value[..]),
                    None => record,
                };
                producer.send(record).map_err(|(error, _)| refusal(error))?;
            }
        }
        producer.flush(TRANSACTION_WITHIN).map_err(refusal)?;
        let said = {
            let mut said = producer.context().said.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *said)
        };
        if let Some(why) = said.failed {
            return Err(Refused::Later(why));
        }
        if let Some(silent) = rows.keys().find(|partition| !said.next.contains_key(partition)) {
            return Err(Refused::Later(format!("nothing was heard of the rows of partition {silent}")));
        }
        producer
            .send_offsets_to_transaction(&list(topics, offsets), group, TRANSACTION_WITHIN)
            .map_err(refusal)?;
        end(producer)?;
        Ok(said.next)
    }
}

fn list(topics: &Topics, offsets: &BTreeMap<(Priority, u32), u64>) -> TopicPartitionList {
    let mut list = TopicPartitionList::with_capacity(offsets.len());
    for ((priority, partition), next) in offsets {
        let (topic, offset) = (topics.lane(*priority), Offset::Offset(next.cast_signed()));
        let added = list.add_partition_offset(topic, partition.cast_signed(), offset);
        added.expect("an offset of a record is a valid offset");
    }
    list
}

fn begin(client: &ClientConfig) -> Result<BaseProducer<Delivered>, Refused> {
    let producer: BaseProducer<Delivered> =
        client.create_with_context(Delivered::default()).map_err(refusal)?;
    producer.init_transactions(TRANSACTION_WITHIN).map_err(refusal)?;
    Ok(producer)
}

/// Asks for the end as long as the answer is that it may be asked again.
fn end(producer: &BaseProducer<Delivered>) -> Result<(), Refused> {
    const ASKED_MAX: u32 = 3;
    for asked in 1.. {
        match producer.commit_transaction(TRANSACTION_WITHIN) {
            Ok(()) => break,
            Err(KafkaError::Transaction(error)) if error.is_retriable() && asked < ASKED_MAX => {
                std::thread::sleep(Duration::from_millis(10));
            }
            Err(error) => return Err(refusal(error)),
        }
    }
    Ok(())
}

#[expect(clippy::needless_pass_by_value, reason = "it is given to map_err")]
fn refusal(error: KafkaError) -> Refused {
    let why = error.to_string();
    let code = match &error {
        KafkaError::Transaction(error) => Some(error.code()),
        error => error.rdkafka_error_code(),
    };
    match code {
        Some(
            RDKafkaErrorCode::IllegalGeneration
            | RDKafkaErrorCode::UnknownMemberId
            | RDKafkaErrorCode::FencedInstanceId
            | RDKafkaErrorCode::RebalanceInProgress,
        ) => Refused::Fenced(why),
        _ => Refused::Later(why),
    }
}
