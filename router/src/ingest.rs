//! Ingest
mod fields;
pub mod quota;
pub mod validate;
