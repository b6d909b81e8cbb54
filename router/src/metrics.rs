//! The router's counters and the page that Prometheus reads. Written by the porches, read by the admin listener.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use ops::metrics::{Counter, Gauge, Histogram};
use wire::time::Wall;

use crate::api::problem::Kind;
use crate::owner::Kept;
use crate::record::Channel;

pub mod page;

/// What became of a request to take something in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    Accepted,
    /// Given again: the same answer as before.
    Replayed,
    Refused(Kind),
}

const REFUSALS: [Kind; 12] = [
    Kind::Malformed,
    Kind::Unauthenticated,
    Kind::Forbidden,
    Kind::NotFound,
    Kind::TooSlow,
    Kind::KeyInFlight,
    Kind::TooLarge,
    Kind::Contradiction,
    Kind::NotBuiltYet,
    Kind::KeyReused,
    Kind::QuotaSpent,
    Kind::Unavailable,
];

/// One service's requests by outcome.
#[derive(Debug)]
pub struct IngestCounters {
    service: String,
    accepted: Counter,
    replayed: Counter,
    refused: [Counter; REFUSALS.len()],
}

impl IngestCounters {
    fn new(service: &str) -> IngestCounters {
        IngestCounters {
            service: service.to_owned(),
            accepted: Counter::new(),
            replayed: Counter::new(),
            refused: [const { Counter::new() }; REFUSALS.len()],
        }
    }
}

/// The number of something that comes and goes.
#[derive(Debug, Default)]
pub struct Present(AtomicU64);

impl Present {
    pub fn up(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub fn down(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What was removed since the start, because it was kept for long enough.
#[derive(Debug, Default)]
pub struct Retention {
    inbox: Gauge,
    ledger: Gauge,
    logs: Gauge,
    pub idempotency: Counter,
    /// When the oldest notification was taken in that anything is kept of, in microseconds since 1970; 0: none.
    oldest_us: Gauge,
}

impl Retention {
    /// As the owner counts it.
    pub fn owner(&self, kept: Kept) {
        self.inbox.set(kept.removed.inbox);
        self.ledger.set(kept.removed.ledger);
        self.logs.set(kept.removed.logs);
        self.oldest_us.set(kept.oldest.map_or(0, |at| u64::try_from(at.0).unwrap_or(0)));
    }

    /// By kind.
    pub fn removed(&self) -> [(&'static str, u64); 4] {
        [
            ("inbox", self.inbox.get()),
            ("ledger", self.ledger.get()),
            ("logs", self.logs.get()),
            ("idempotency", self.idempotency.get()),
        ]
    }

    pub fn oldest(&self) -> Option<Wall> {
        let oldest_us = self.oldest_us.get();
        (oldest_us > 0).then(|| Wall(oldest_us.cast_signed()))
    }
}

#[derive(Debug)]
pub struct Metrics {
    /// Configured services, and those who are none.
    ingest: RwLock<Vec<Arc<IngestCounters>>>,
    pub ingest_seconds: Histogram,
    pub append_seconds: Histogram,
    pub links: Present,
    pub link_frames_dropped: Counter,
    /// Turns of the owner that are committed.
    pub turns: Counter,
    /// One turn: what came in, the commit, what went out.
    pub turn_seconds: Histogram,
    pub store_failures: Counter,
    pub provider_waiting: Gauge,
    /// Parts of letters that went out in plain words.
    pub template_failures: Counter,
    pub retention: Retention,
    /// From acceptance to the provider's answer; in-app, to a shard's word that its sockets are sent it.
    pub delivery_seconds: [Histogram; Channel::ALL.len()],
}

/// The `service` label of requests without a valid key.
const NOBODY: &str = "";

impl Metrics {
    pub fn new<'a>(services: impl Iterator<Item = &'a str>) -> Metrics {
        let ingest = services.chain([NOBODY]).map(|service| Arc::new(IngestCounters::new(service)));
        Metrics {
            ingest: RwLock::new(ingest.collect()),
            ingest_seconds: Histogram::new(),
            append_seconds: Histogram::new(),
            links: Present::default(),
            link_frames_dropped: Counter::new(),
            turns: Counter::new(),
            turn_seconds: Histogram::new(),
            store_failures: Counter::new(),
            provider_waiting: Gauge::new(),
            template_failures: Counter::new(),
            retention: Retention::default(),
            delivery_seconds: [const { Histogram::new() }; Channel::ALL.len()],
        }
    }

    /// Services that are counted from here on. Those that are gone keep their counts: a counter never falls.
    pub fn add_services<'a>(&self, services: impl Iterator<Item = &'a str>) {
        let mut ingest = self.ingest.write().unwrap_or_else(PoisonError::into_inner);
        for service in services {
            if ingest.iter().all(|counters| counters.service != service) {
                ingest.push(Arc::new(IngestCounters::new(service)));
            }
        }
    }

    /// By service.
    pub fn ingest(&self) -> Vec<Arc<IngestCounters>> {
        self.ingest.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// One delivery reached the next hand at `now`.
    pub fn delivered(&self, channel: Channel, accepted_at: Wall, now: Wall) {
        let took = now.0.saturating_sub(accepted_at.0);
        let took = Duration::from_micros(u64::try_from(took).unwrap_or(0));
        self.delivery_seconds[channel as usize].observe(took);
    }

    /// Requests of all services that were refused so.
    pub fn refused(&self, kind: Kind) -> u64 {
        let Some(i) = REFUSALS.iter().position(|known| *known == kind) else { return 0 };
        self.ingest().iter().map(|service| service.refused[i].get()).sum()
    }

    /// Counts one request, or one line of a batch.
    pub fn count_ingest(&self, service: Option<&str>, taken: Taken) {
        let name = service.unwrap_or(NOBODY);
        let ingest = self.ingest.read().unwrap_or_else(PoisonError::into_inner);
        let Some(of) = ingest.iter().find(|counters| counters.service == name) else { return };
        match taken {
            Taken::Accepted => of.accepted.inc(),
            Taken::Replayed => of.replayed.inc(),
            Taken::Refused(kind) => {
                if let Some(i) = REFUSALS.iter().position(|known| *known == kind) {
                    of.refused[i].inc();
                }
            }
        }
    }
}
