//! A whole router on free ports of loopback, driven as services and gateway shards drive it. One target for all, so
//! that it is linked once; one behaviour a file.

#[path = "edge/support.rs"]
mod support;

#[path = "edge/api_answers.rs"]
mod api_answers;
#[path = "edge/cancelling.rs"]
mod cancelling;
#[path = "edge/contacts.rs"]
mod contacts;
#[path = "edge/ingest_batch.rs"]
mod ingest_batch;
#[path = "edge/ingest_errors.rs"]
mod ingest_errors;
#[path = "edge/ingest_idempotency.rs"]
mod ingest_idempotency;
#[path = "edge/links_credit.rs"]
mod links_credit;
#[path = "edge/links_delivery.rs"]
mod links_delivery;
#[cfg(feature = "kafka")]
#[path = "edge/node_kafka.rs"]
mod node_kafka;
#[path = "edge/node_restart.rs"]
mod node_restart;
#[path = "edge/node_start.rs"]
mod node_start;
#[path = "edge/otp.rs"]
mod otp;
#[path = "edge/outages.rs"]
mod outages;
#[path = "edge/providers.rs"]
mod providers;
#[path = "edge/retention.rs"]
mod retention;
#[path = "edge/unsubscribe.rs"]
mod unsubscribe;
