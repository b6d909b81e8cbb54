//! A real Cassandra 5: what a router has is there, too; it may die, hang, come back, and be all that is left. One server for
//! all, which some kill or freeze: one test at a time.
#![forbid(unsafe_code)]

mod away;
mod erased;
mod history;
mod overflow;
mod start;
mod support;
mod three;
mod written;
