//! A real Redis beside a real Kafka: critical records of an outage stand in its list, too; it may die, hang, be emptied, fail over
//! or hold anything, and nothing that was accepted is lost, doubled or delayed. Each test has servers of its own.
#![forbid(unsafe_code)]

mod faults;
mod foreign;
mod mirror;
mod sentinel;
mod support;
