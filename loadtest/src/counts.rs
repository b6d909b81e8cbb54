//! What one thread's clients went through, as numbers. Pure; merged over threads into the report.

use std::collections::BTreeMap;

use crate::limits::ERROR_KINDS_MAX;
use crate::percentiles::Latencies;
use crate::phases::PhaseLatencies;
use crate::returns::{Returns, add_all};

/// Kinds of errors and how often each came. Bounded: a server that invents errors fills one place, `other`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Errors {
    kinds: BTreeMap<String, u64>,
}

impl Errors {
    pub fn add(&mut self, kind: &str) {
        self.add_many(kind, 1);
    }

    pub fn add_many(&mut self, kind: &str, times: u64) {
        if let Some(count) = self.kinds.get_mut(kind) {
            *count += times;
            return;
        }
        let kind = if self.kinds.len() < ERROR_KINDS_MAX { kind } else { "other" };
        *self.kinds.entry(kind.to_owned()).or_default() += times;
    }

    pub fn merge(&mut self, other: &Errors) {
        for (kind, count) in &other.kinds {
            self.add_many(kind, *count);
        }
    }

    pub fn total(&self) -> u64 {
        self.kinds.values().sum()
    }

    pub fn into_map(self) -> BTreeMap<String, u64> {
        self.kinds
    }
}

/// How connections went.
#[derive(Debug, Clone, Default)]
pub struct Counts {
    /// Clients that are in now.
    pub open: u32,
    /// Clients that got in at least once.
    pub established: u32,
    /// Clients that gave up.
    pub failed: u32,
    /// Attempts begun.
    pub attempts: u64,
    /// Attempts that the server refused by 503, 429 or close 1013.
    pub refused: u64,
    /// Connections that ended without our wish.
    pub dropped: u64,
    /// Connections that we ended on purpose.
    pub cut: u64,
    /// Clients lost and back since returns are watched, however they were lost.
    pub lost: u64,
    pub back: u64,
    /// Clients that a server asked to move, and that did.
    pub moved: u64,
    /// Times that a client got in again.
    pub reconnected: u64,
    /// TLS handshakes, in full and with a ticket.
    pub tls_full: u64,
    pub tls_resumed: u64,
    pub pings_answered: u64,
    /// Copies of messages of this run, with those that a sync brought.
    pub received: u64,
    pub duplicated: u64,
    /// Notifications that clients acknowledged.
    pub acked: u64,
    /// Of those, said again because the server had been too busy.
    pub acked_again: u64,
    /// First copies that came by a sync after a drop or a gap.
    pub synced: u64,
    /// Copies at a socket that should not get them, or of no known message.
    pub strays: u64,
    /// Messages on the wire that held copies, and the bytes of their payloads: a server may put several copies into one.
    pub frames: u64,
    pub payload_bytes: u64,
}

/// The copies among them, between two moments.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Copies {
    pub received: u64,
    pub duplicated: u64,
    pub strays: u64,
    pub frames: u64,
    pub payload_bytes: u64,
}

impl Copies {
    pub fn merge(&mut self, other: Copies) {
        self.received += other.received;
        self.duplicated += other.duplicated;
        self.strays += other.strays;
        self.frames += other.frames;
        self.payload_bytes += other.payload_bytes;
    }
}

impl Counts {
    /// What came since `before`, which these counts grew from.
    pub fn copies_since(&self, before: &Counts) -> Copies {
        Copies {
            received: self.received - before.received,
            duplicated: self.duplicated - before.duplicated,
            strays: self.strays - before.strays,
            frames: self.frames - before.frames,
            payload_bytes: self.payload_bytes - before.payload_bytes,
        }
    }

    pub fn merge(&mut self, other: &Counts) {
        self.open += other.open;
        self.established += other.established;
        self.failed += other.failed;
        self.attempts += other.attempts;
        self.refused += other.refused;
        self.dropped += other.dropped;
        self.cut += other.cut;
        self.lost += other.lost;
        self.back += other.back;
        self.moved += other.moved;
        self.reconnected += other.reconnected;
        self.tls_full += other.tls_full;
        self.tls_resumed += other.tls_resumed;
        self.pings_answered += other.pings_answered;
        self.received += other.received;
        self.duplicated += other.duplicated;
        self.acked += other.acked;
        self.acked_again += other.acked_again;
        self.synced += other.synced;
        self.strays += other.strays;
        self.frames += other.frames;
        self.payload_bytes += other.payload_bytes;
    }
}

/// The same with everything that only the end needs.
#[derive(Debug, Clone, Default)]
pub struct Journal {
    pub counts: Counts,
    pub errors: Errors,
    /// From the intended time of an attempt to the server's `welcome`.
    pub handshakes: Latencies,
    /// Retry-After in whole seconds, and how often each was said.
    pub retry_after_s: BTreeMap<u32, u64>,
    /// How many attempts clients needed to get in.
    pub attempts_needed: BTreeMap<u32, u64>,
    /// How clients came back from a storm.
    pub returns: Returns,
    /// From a message's intended time to its arrival at a socket.
    pub latency: Latencies,
    /// From the API's 202 to the arrival; zero where the message was faster than the 202.
    pub latency_from_202: Latencies,
    /// The same latency by the parts of a storm.
    pub phases: PhaseLatencies,
}

impl Journal {
    pub fn merge(&mut self, other: &Journal) {
        self.counts.merge(&other.counts);
        self.errors.merge(&other.errors);
        self.handshakes.merge(&other.handshakes);
        add_all(&mut self.retry_after_s, &other.retry_after_s);
        add_all(&mut self.attempts_needed, &other.attempts_needed);
        self.returns.merge(&other.returns);
        self.latency.merge(&other.latency);
        self.latency_from_202.merge(&other.latency_from_202);
        self.phases.merge(&other.phases);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_bounded_in_kind_and_exact_in_number() {
        let mut errors = Errors::default();
        for n in 0..1_000 {
            errors.add(&format!("kind {n}"));
        }
        let mut sum = Errors::default();
        sum.merge(&errors);
        assert_eq!((errors.total(), sum.total()), (1_000, 1_000));
        assert!(sum.into_map().len() <= ERROR_KINDS_MAX + 1);
    }
}
