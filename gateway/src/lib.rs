//! The edge gateway: holds connections and fans notifications out.
//!
//! The walk of a connection, by file: `io/listener` and `io/shard_loop` take it from the ring → `admission`
//! decides → `shard/request` reads what it wants → `auth` says who it is → `shard/connection` holds it →
//! `shard/registry` finds it → `shard/fanout` and `shard/outbox` owe it what it is sent → `shard/drain` lets
//! it go.
//!
//! Everything decided is decided in pure rooms (`admission`, `census`, `auth`, `shard` and below); only `io` and `node`
//! touch the street. Never knows what a provider or Kafka is.
#![forbid(unsafe_code)]

pub mod admission;
pub mod auth;
pub mod census;
pub mod config;
pub mod io;
pub mod limits;
pub mod metrics;
pub mod node;
pub mod shard;
pub mod tls;
