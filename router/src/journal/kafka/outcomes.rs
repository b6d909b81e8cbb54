//! The topic of outcomes: one record for each end of a delivery, for whoever reads along.
//!
//! Keyed and placed by recipient, so that what becomes of one user's notifications stays in order. Never drops one: an error means that
//! the batch goes out again as a whole, at least once. Called by `outcomes::post`.

use rdkafka::error::KafkaError;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::future_producer::DeliveryFuture;
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::types::RDKafkaErrorCode;
use wire::partition::partition_of;

use super::client::Logged;
use super::config::KafkaConfig;

/// One record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutcomeRecord {
    /// Of the notification.
    pub id: String,
    /// Whom it was for: `user:ada`, `topic:news`.
    pub recipient: String,
    pub json: String,
}

/// Why a batch is not there, or not whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unwritten {
    pub why: String,
    /// It will never be: a record is longer than the topic takes.
    pub is_too_long: bool,
}

/// Writes to the `.status` topic.
#[derive(Clone)]
pub struct Outcomes {
    producer: FutureProducer<Logged>,
    topic: String,
    partitions: u32,
}

impl std::fmt::Debug for Outcomes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outcomes").field("topic", &self.topic).finish_non_exhaustive()
    }
}

impl Outcomes {
    /// On a producer of its own: no 202 waits behind what is merely told.
    pub(super) fn open(config: &KafkaConfig) -> Result<Outcomes, KafkaError> {
        let producer = config.producer().create_with_context(Logged)?;
        Ok(Outcomes {
            producer,
            topic: config.topics().outcomes().to_owned(),
            partitions: config.partitions(),
        })
    }

    /// Returns when the brokers have all of them. They are handed over in their order.
    pub async fn put(&self, records: &[OutcomeRecord]) -> Result<(), Unwritten> {
        let mut under_way = Vec::with_capacity(records.len());
        for record in records {
            under_way.push(self.hand_over(record)?);
        }
        for delivery in under_way {
            match delivery.await {
                Ok(Ok(_)) => {}
                Ok(Err((error, _))) => return Err(unwritten(&error)),
                Err(_) => {
                    return Err(Unwritten { why: "the producer is closed".to_owned(), is_too_long: false });
                }
            }
        }
        Ok(())
    }

    fn hand_over(&self, record: &OutcomeRecord) -> Result<DeliveryFuture, Unwritten> {
        let user = record.recipient.strip_prefix("user:").unwrap_or(&record.recipient);
        let partition = partition_of(user, self.partitions).cast_signed();
        let headers = OwnedHeaders::new().insert(Header { key: "id", value: Some(&record.id) });
        let produced = FutureRecord::to(&self.topic).partition(partition).key(user).headers(headers);
        self.producer.send_result(produced.payload(&record.json)).map_err(|(error, _)| unwritten(&error))
    }
}

fn unwritten(error: &KafkaError) -> Unwritten {
    let is_too_long = error.rdkafka_error_code() == Some(RDKafkaErrorCode::MessageSizeTooLarge);
    Unwritten { why: error.to_string(), is_too_long }
}
