//! A migration's end at Kafka: appends records of an embedded journal as they are, each with its place there in a header,
//! and reads back which of them are in the topics.
//!
//! A record waits for the brokers for as long as it takes: one that gave up would be overtaken by those behind it. Never
//! commits anything for the group. Blocks where it reads. Called by `migrate`.

use std::time::Duration;

use futures_util::future::join_all;
use ops::clock::Clock;
use rdkafka::Offset;
use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::{Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::types::RDKafkaErrorCode;
use tokio::time::timeout;
use uuid::Uuid;
use wire::message::Priority;

use super::client::Logged;
use super::config::{GROUP, KafkaConfig};
use super::key_of;
use super::restore::Reader;
use crate::journal::encode::decode;
use crate::journal::segment::LogRecord;
use crate::limits::{MIGRATION_ANSWERS_WITHIN, MIGRATION_STEP};
use crate::record::Record;

/// The header with a record's place: the migration's id, and the offset in its lane.
const PLACE: &str = "journal";

/// What brokers say while topics, or their leaders, are new.
const SETTLING: [RDKafkaErrorCode; 6] = [
    RDKafkaErrorCode::NotLeaderForPartition,
    RDKafkaErrorCode::LeaderNotAvailable,
    RDKafkaErrorCode::UnknownTopicOrPartition,
    RDKafkaErrorCode::CoordinatorNotAvailable,
    RDKafkaErrorCode::NotCoordinator,
    RDKafkaErrorCode::CoordinatorLoadInProgress,
];

/// Why Kafka and a migration do not come together. One line for a person.
#[derive(Debug, thiserror::Error)]
pub enum CarryError {
    #[error("Kafka: {0}")]
    Kafka(#[from] KafkaError),
    #[error("Kafka took nothing for {} s: what it has stays, and the same command goes on from there", .0.as_secs())]
    Silent(Duration),
    #[error("Kafka does not take the record at {lane}/{offset} of the journal: {why}", lane = priority.name())]
    Refused { priority: Priority, offset: u64, why: KafkaError },
    #[error(
        "a router is on this Kafka: the group {GROUP} has {0} members, and none may read before all is there"
    )]
    Members(usize),
    #[error(
        "partition {partition} of the topic {topic} has {records} records already: a migration needs topics without any"
    )]
    Foreign { topic: String, partition: u32, records: u64 },
    #[error(
        "the group {GROUP} has read partition {partition} of {topic} to {committed}, and the migration begins at {end}: what \
         lies between would never be read here. Delete the group, or the topics"
    )]
    ReadBefore { topic: String, partition: u32, committed: u64, end: u64 },
}

/// Appends.
pub struct CarryWriter {
    producer: FutureProducer<Logged>,
    config: KafkaConfig,
    /// The migration.
    id: Uuid,
}

impl std::fmt::Debug for CarryWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CarryWriter").field("id", &self.id).finish_non_exhaustive()
    }
}

impl CarryWriter {
    pub fn new(config: &KafkaConfig, id: Uuid) -> KafkaResult<CarryWriter> {
        Ok(CarryWriter {
            producer: config.carrying().create_with_context(Logged)?,
            config: config.clone(),
            id,
        })
    }

    /// All of them in their order, when Kafka has them.
    pub async fn append(&self, priority: Priority, records: &[LogRecord]) -> Result<(), CarryError> {
        let refused = |offset, why| CarryError::Refused { priority, offset, why };
        let mut under_way = Vec::with_capacity(records.len());
        for record in records {
            let sent = self.send(priority, record).map_err(|why| refused(record.offset, why))?;
            under_way.push(async move { (record.offset, sent.await) });
        }
        let within = MIGRATION_ANSWERS_WITHIN;
        let answers = timeout(within, join_all(under_way)).await.map_err(|_| CarryError::Silent(within))?;
        for (offset, answer) in answers {
            match answer {
                Ok(Ok(_)) => {}
                Ok(Err((why, _))) => return Err(refused(offset, why)),
                Err(_) => return Err(CarryError::Silent(within)),
            }
        }
        Ok(())
    }

    /// One that nobody can read goes, too: it becomes a dead letter there as it would have here.
    fn send(
        &self,
        priority: Priority,
        record: &LogRecord,
    ) -> KafkaResult<rdkafka::producer::future_producer::DeliveryFuture> {
        let read = decode(&record.body).ok();
        let partition =
            read.as_ref().map_or(0, |read| Record::partition(&read.request.to, self.config.partitions()));
        let (key, id) =
            read.map_or_else(Default::default, |read| (key_of(&read.request.to), read.id.to_string()));
        let place = format!("{}/{}", self.id, record.offset);
        let headers = OwnedHeaders::new()
            .insert(Header { key: "id", value: Some(&id) })
            .insert(Header { key: PLACE, value: Some(&place) });
        let record = FutureRecord::to(self.config.topics().lane(priority))
            .partition(partition.cast_signed())
            .key(&key)
            .headers(headers)
            .payload(&record.body[..]);
        self.producer.send_result(record).map_err(|(error, _)| error)
    }
}

/// What was met in a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Met {
    /// One of this migration's, from this offset of the journal's lane.
    Carried { partition: u32, offset: u64 },
    /// Somebody else's.
    Foreign,
}

/// Reads back.
pub struct CarryReader {
    consumer: BaseConsumer<Reader>,
    config: KafkaConfig,
    clock: Clock,
}

impl std::fmt::Debug for CarryReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CarryReader").field("config", &self.config).finish_non_exhaustive()
    }
}

impl CarryReader {
    pub fn new(config: &KafkaConfig, clock: Clock) -> KafkaResult<CarryReader> {
        let consumer = config.ledger_reader(true).create_with_context(Reader)?;
        Ok(CarryReader { consumer, config: config.clone(), clock })
    }

    /// Nobody reads the topics yet.
    pub fn check_group(&self) -> Result<(), CarryError> {
        let groups = self.asked(|| self.consumer.fetch_group_list(Some(GROUP), MIGRATION_ANSWERS_WITHIN))?;
        let members = groups.groups().iter().map(|group| group.members().len()).sum();
        if members == 0 { Ok(()) } else { Err(CarryError::Members(members)) }
    }

    /// Again while the brokers have not agreed yet on who has what: topics may have been made a moment ago.
    fn asked<T>(&self, ask: impl Fn() -> KafkaResult<T>) -> KafkaResult<T> {
        let began = self.clock.mono();
        loop {
            let answer = ask();
            if !answer.as_ref().err().is_some_and(is_settling)
                || self.clock.mono().since(began) > MIGRATION_ANSWERS_WITHIN
            {
                return answer;
            }
            std::thread::sleep(MIGRATION_STEP);
        }
    }

    /// The cluster's own id, if it tells one.
    pub fn cluster(&self) -> Option<String> {
        self.consumer.client().fetch_cluster_id(MIGRATION_ANSWERS_WITHIN)
    }

    /// What the group has read of a lane lies before these offsets.
    pub fn check_unread(&self, priority: Priority, from: &[u64]) -> Result<(), CarryError> {
        let topic = self.config.topics().lane(priority);
        let mut asked = TopicPartitionList::new();
        asked.add_partition_range(topic, 0, self.config.partitions().cast_signed() - 1);
        let committed =
            self.asked(|| self.consumer.committed_offsets(asked.clone(), MIGRATION_ANSWERS_WITHIN))?;
        for (partition, end) in (0..).zip(from.iter().copied()) {
            let found = committed.find_partition(topic, i32::try_from(partition).unwrap_or(i32::MAX));
            if let Some(Offset::Offset(committed)) = found.map(|element| element.offset())
                && committed.cast_unsigned() > end
            {
                let (topic, committed) = (topic.to_owned(), committed.cast_unsigned());
                return Err(CarryError::ReadBefore { topic, partition, committed, end });
            }
        }
        Ok(())
    }

    /// By partition: where the lane ends. It has to be empty, and nobody may have read beyond.
    pub fn end_of_empty(&self, priority: Priority) -> Result<Vec<u64>, CarryError> {
        let topic = self.config.topics().lane(priority);
        let mut ends = Vec::new();
        for partition in 0..self.config.partitions() {
            let at = partition.cast_signed();
            let marks = || self.consumer.fetch_watermarks(topic, at, MIGRATION_ANSWERS_WITHIN);
            let (first, end) = self.asked(marks)?;
            if first != end {
                let records = (end - first).cast_unsigned();
                return Err(CarryError::Foreign { topic: topic.to_owned(), partition, records });
            }
            ends.push(end.cast_unsigned());
        }
        self.check_unread(priority, &ends)?;
        Ok(ends)
    }

    /// Everything in a lane behind these offsets, in the order of each partition.
    pub fn read_back(
        &self,
        priority: Priority,
        from: &[u64],
        id: Uuid,
        mut each: impl FnMut(Met),
    ) -> Result<(), CarryError> {
        let topic = self.config.topics().lane(priority);
        let mut list = TopicPartitionList::new();
        for (partition, from) in (0..).zip(from) {
            list.add_partition_offset(topic, partition, Offset::Offset(from.cast_signed()))?;
        }
        self.consumer.assign(&list)?;
        let mut ended = vec![false; from.len()];
        let mut heard = self.clock.mono();
        while ended.contains(&false) {
            match self.consumer.poll(MIGRATION_STEP) {
                None if self.clock.mono().since(heard) > MIGRATION_ANSWERS_WITHIN => {
                    return Err(CarryError::Silent(MIGRATION_ANSWERS_WITHIN));
                }
                None => continue,
                Some(Err(error)) if is_settling(&error) => continue,
                Some(Err(KafkaError::PartitionEOF(partition))) => ended[partition as usize] = true,
                Some(Err(error)) => return Err(error.into()),
                Some(Ok(message)) => {
                    ended[message.partition() as usize] = false;
                    let place = message.headers().and_then(|headers| place_of(headers, id));
                    let partition = message.partition().cast_unsigned();
                    each(place.map_or(Met::Foreign, |offset| Met::Carried { partition, offset }));
                }
            }
            heard = self.clock.mono();
        }
        self.consumer.unassign()?;
        Ok(())
    }
}

fn is_settling(error: &KafkaError) -> bool {
    error.rdkafka_error_code().is_some_and(|code| SETTLING.contains(&code))
}

fn place_of(headers: &impl Headers, id: Uuid) -> Option<u64> {
    let place = headers.iter().find(|header| header.key == PLACE)?.value?;
    let (migration, offset) = std::str::from_utf8(place).ok()?.split_once('/')?;
    (migration.parse() == Ok(id)).then_some(())?;
    offset.parse().ok()
}
