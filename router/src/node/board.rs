//! Where the porches report how their dependencies do; kept as the status board and the alerts.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ops::clock::Clock;

use crate::alerts::{Alerts, Severity};
use crate::limits::JOURNAL_LAG_ALERT;
use crate::status::{Board, State};

/// Names on the board.
pub const JOURNAL: &str = "journal";
pub const STORE: &str = "store";
/// The alert of a journal that is read too slowly.
const LAG: &str = "journal_lag";
/// The alert of a router that no gateway is linked to any more.
const NO_GATEWAY: &str = "no_gateway";

/// Shared by all porches.
#[derive(Debug, Clone)]
pub struct Watch {
    clock: Clock,
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
pub struct Inner {
    pub board: Board,
    pub alerts: Alerts,
}

impl Watch {
    pub fn new(clock: Clock) -> Watch {
        let mut inner = Inner::default();
        inner.board.watch(JOURNAL, "what was accepted waits; nothing new is promised", clock.wall());
        inner.board.watch(STORE, "nothing is delivered or looked up", clock.wall());
        Watch { clock, inner: Arc::new(Mutex::new(inner)) }
    }

    pub fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn journal_fails(&self, why: &dyn std::fmt::Display) {
        self.fails(JOURNAL, "journal_unreadable", &why.to_string());
    }

    pub fn journal_reads(&self) {
        self.works(JOURNAL, "journal_unreadable");
    }

    pub fn store_fails(&self, why: &dyn std::fmt::Display) {
        self.fails(STORE, "store_unwritable", &why.to_string());
    }

    pub fn store_writes(&self) {
        self.works(STORE, "store_unwritable");
    }

    /// How much waits in the journal.
    pub fn journal_lag(&self, lag: u64) {
        let now = self.clock.wall();
        let mut inner = self.lock();
        if lag > JOURNAL_LAG_ALERT {
            let detail = format!("{lag} records wait, more than {JOURNAL_LAG_ALERT}");
            if inner.alerts.raise(LAG, Severity::Warning, detail, now) {
                tracing::warn!(alert = LAG, lag, "alert");
            }
        } else if inner.alerts.clear(LAG, now) {
            tracing::info!(alert = LAG, lag, "alert is over");
        }
    }

    /// How many links to shards there are, after one came or went. A router that never had one is merely new.
    pub fn gateways(&self, links: usize) {
        let now = self.clock.wall();
        let mut inner = self.lock();
        if links == 0 {
            let detail = "nobody is connected: notifications go to inboxes and by their fallbacks".to_owned();
            if inner.alerts.raise(NO_GATEWAY, Severity::Critical, detail, now) {
                tracing::warn!(alert = NO_GATEWAY, "alert");
            }
        } else if inner.alerts.clear(NO_GATEWAY, now) {
            tracing::info!(alert = NO_GATEWAY, "alert is over");
        }
    }

    /// Something to be woken for that is no dependency.
    pub fn alert(&self, name: &str, critical: bool, detail: &str) {
        let now = self.clock.wall();
        let severity = if critical { Severity::Critical } else { Severity::Warning };
        if self.lock().alerts.raise(name, severity, detail.to_owned(), now) {
            tracing::warn!(alert = name, detail, "alert");
        }
    }

    fn fails(&self, dependency: &'static str, alert: &str, why: &str) {
        let now = self.clock.wall();
        let mut inner = self.lock();
        inner.board.set(dependency, State::Down, why, now);
        if inner.alerts.raise(alert, Severity::Critical, why.to_owned(), now) {
            tracing::warn!(alert, why, "alert");
        }
    }

    fn works(&self, dependency: &'static str, alert: &str) {
        let now = self.clock.wall();
        let mut inner = self.lock();
        if inner.board.set(dependency, State::Up, "", now) && inner.alerts.clear(alert, now) {
            tracing::info!(alert, "alert is over");
        }
    }
}
