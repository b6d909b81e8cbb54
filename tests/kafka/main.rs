//! A real Kafka 4: foreign topics are imported, delivered, dead-lettered when unreadable, and carried on with after a
//! restart. One broker serves all tests here; each has topics of its own.
#![forbid(unsafe_code)]

mod foreign;
mod journal;
mod lag;
mod poison;
mod support;
