//! The porches: what touches sockets, signals and threads. They carry; the rooms beside decide.

pub mod admin;
pub mod certificates;
mod front;
pub mod link;
pub mod listener;
pub mod means;
pub mod shard_loop;
pub mod signals;
