//! A real Kafka 4: foreign topics are imported, delivered, dead-lettered when unreadable, and carried on with after a
//! restart. Each test has a broker of its own, so that consumer groups of one never wait for members of another.
#![forbid(unsafe_code)]

mod brokers;
mod codes;
mod foreign;
mod hostile;
mod journal;
mod lag;
mod letters;
mod migrate;
mod outage;
mod poison;
mod scheduled;
mod several;
mod support;
