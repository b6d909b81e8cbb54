//! One core's share of a node.
pub mod drain;
pub mod links;
pub mod outbox;
pub mod registry;
pub mod timers;
