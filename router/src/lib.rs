//! The router: takes notifications in, decides what becomes of them, delivers, and keeps the ledger.
//!
//! The walk of a notification, by file: `ingest` accepts it (quota, idempotency, durable before 202) →
//! `journal` holds it → `owner` takes it through `pipeline` (`classify` → `limit` → `route`) into the
//! `inbox` and the `ledger` → `links` carries it to gateway shards, `provider` to everyone else → the outcome
//! comes back to the `ledger`.
//!
//! Never touches a client's socket.
#![forbid(unsafe_code)]

pub mod alerts;
pub mod api;
pub mod backup;
pub mod breaker;
pub mod classify;
pub mod config;
pub mod contacts;
pub mod digest;
pub mod ids;
pub mod inbox;
pub mod ingest;
pub mod journal;
pub mod ledger;
pub mod limit;
pub mod limits;
pub mod links;
pub mod metrics;
pub mod migrate;
pub mod node;
pub mod otp;
pub mod outage;
pub mod outcomes;
pub mod owner;
pub mod owners;
pub mod pipeline;
pub mod preferences;
pub mod presence;
pub mod projection;
pub mod provider;
pub mod record;
#[cfg(feature = "redis")]
pub mod redis;
pub mod route;
pub mod same;
pub mod status;
pub mod store;
pub mod suppression;
pub mod sync;
pub mod templates;
pub mod tenure;
pub mod tickets;
pub mod unsubscribe;
pub mod webhook;
