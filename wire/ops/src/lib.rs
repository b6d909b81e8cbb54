//! What every Tocsin program does at its start and beside its work.
//!
//! Owns the reader of settings, the set-up of logs, the Prometheus text, and the two porches that pure rooms
//! must not have: the clock and the source of seeds. Called by each program's `main` and by the I/O porches.
#![forbid(unsafe_code)]

pub mod clock;
pub mod host;
pub mod logs;
pub mod metrics;
pub mod random;
pub mod settings;
