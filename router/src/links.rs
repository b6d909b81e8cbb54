//! Links
pub mod queue;
