//! Simulated clients by the hundred thousand: scenarios against a running server, and reports.
//!
//! Owns the command line, the clients, the open-loop schedules and what is counted. Never links gateway or router code:
//! it speaks what `wire` says, over `gateway-ring`'s sockets. Called by the program `loadtest`, and by its tests.
//!
//! Pure rooms: `fleet` (the clients), `schedule`, `tally`, `receipts`, `returns`, `posts`, `counts`, `series`, `percentiles`,
//! `phases`, `marker`, `plan`, `expect`, `report`, `units`, `target`, `sources`, `tls`, `users`, `config`.
//! Porches: `run` (the walk), `engine` (sockets), `api` (posts), `machine` (/proc), `victim` (the server that dies), `cli`, `progress`,
//! `interrupt`, `kept` (reports on disk), `offer` (a service that runs wild),
//! `providers` (simulators of those who carry letters).
#![forbid(unsafe_code)]

pub mod api;
pub mod cli;
pub mod compare;
pub mod config;
pub mod counts;
pub mod dialect;
pub mod engine;
pub mod expect;
pub mod fleet;
pub mod interrupt;
pub mod kept;
pub mod limits;
pub mod machine;
pub mod marker;
pub mod offer;
pub mod percentiles;
pub mod phases;
pub mod plan;
pub mod posts;
pub mod progress;
pub mod providers;
pub mod receipts;
pub mod report;
pub mod returns;
pub mod run;
pub mod schedule;
pub mod series;
pub mod sources;
pub mod tally;
pub mod target;
pub mod tls;
pub mod units;
pub mod users;
pub mod victim;
