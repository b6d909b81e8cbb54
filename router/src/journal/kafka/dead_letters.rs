//! The dead letters' topic: records that are no records, with the reason and where they came from.
//!
//! Called by the Kafka reader and by the import. Never drops one: an error means that the record must not be
//! committed yet.

use std::time::Duration;

use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};

use super::client::Logged;

/// Bytes of a dead record that are kept; the whole stays where it came from until that topic forgets it.
pub const KEPT_BYTES_MAX: usize = 512 * 1024;
const QUEUE_PATIENCE: Duration = Duration::from_secs(1);

/// One record that nobody could read.
#[derive(Debug, Clone)]
pub struct DeadLetter<'a> {
    pub reason: &'a str,
    pub topic: &'a str,
    pub partition: i32,
    pub offset: i64,
    pub key: Option<&'a [u8]>,
    /// Its value, or the first [`KEPT_BYTES_MAX`] bytes of it.
    pub bytes: &'a [u8],
    /// How long the value was.
    pub bytes_total: usize,
}

/// Writes to the `.dlq` topic.
#[derive(Clone)]
pub struct DeadLetters {
    producer: FutureProducer<Logged>,
    topic: String,
    partitions: u32,
}

fn header<'a>(key: &'a str, value: &'a str) -> Header<'a, &'a str> {
    Header { key, value: Some(value) }
}

impl std::fmt::Debug for DeadLetters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeadLetters").field("topic", &self.topic).finish_non_exhaustive()
    }
}

impl DeadLetters {
    pub(super) fn new(producer: FutureProducer<Logged>, topic: &str, partitions: u32) -> DeadLetters {
        DeadLetters { producer, topic: topic.to_owned(), partitions }
    }

    /// Returns when the brokers have it.
    pub async fn put(&self, letter: DeadLetter<'_>) -> Result<(), String> {
        let kept = &letter.bytes[..letter.bytes.len().min(KEPT_BYTES_MAX)];
        let mut headers = OwnedHeaders::new()
            .insert(header("reason", letter.reason))
            .insert(header("source-topic", letter.topic))
            .insert(header("source-partition", &letter.partition.to_string()))
            .insert(header("source-offset", &letter.offset.to_string()));
        if kept.len() < letter.bytes_total {
            headers = headers.insert(header("source-bytes", &letter.bytes_total.to_string()));
        }
        let partition = letter.partition.rem_euclid(self.partitions.cast_signed());
        let mut record = FutureRecord::to(&self.topic).partition(partition).payload(kept).headers(headers);
        if let Some(key) = letter.key {
            record = record.key(key);
        }
        match self.producer.send(record, QUEUE_PATIENCE).await {
            Ok(_) => Ok(()),
            Err((error, _)) => Err(error.to_string()),
        }
    }
}
