//! The harness: starts the real programs and speaks to them from outside, as a service, a client or an operator would.
//!
//! Owns processes, free ports, settings files, and small clients for HTTP, WebSocket, SSE, Kafka and Redis. Never links code of
//! gateway or router (the `sim` target does that on its own): what a test here sees is the contract. Called by the
//! test targets beside it; started by `tests/run`, which builds the programs first.
#![forbid(unsafe_code)]

pub mod api;
pub mod cassandra;
pub mod certificate;
pub mod client;
pub mod cluster;
pub mod deadline;
pub mod front;
pub mod jwt;
pub mod kafka;
pub mod ledger;
pub mod loadtest;
pub mod paths;
pub mod ports;
pub mod process;
pub mod providers;
pub mod redis;
pub mod setup;
pub mod several;
pub mod sla;
pub mod sse;
pub mod tocsin;

pub use api::{Api, Response};
pub use client::{Client, Connect, Event, Refused};
pub use cluster::Cluster;
pub use deadline::{Deadline, until, until_within};
pub use front::Front;
pub use ledger::Equation;
pub use process::{Ending, Process};
pub use providers::Simulators;
pub use setup::Setup;
pub use several::Several;
pub use tocsin::Tocsin;
