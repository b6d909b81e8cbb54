//! What somebody should be woken for: raised once, cleared once, kept to look at.
//!
//! Pure. Raising what is raised only counts it. Called by `node` and the porches that see a fault; shown by
//! `api` and counted by `metrics`.

pub mod webhook;

use std::collections::VecDeque;

use serde::Serialize;
use wire::time::Wall;

use crate::limits::ALERTS_KEPT_MAX;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    Warning,
    Critical,
}

impl Severity {
    pub fn name(self) -> &'static str {
        match self {
            Severity::Warning => "warning",
            Severity::Critical => "critical",
        }
    }
}

/// One alert, raised or over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Alert {
    /// Stable, like `store_unwritable`.
    pub name: String,
    pub severity: Severity,
    pub detail: String,
    pub since: Wall,
    pub until: Option<Wall>,
    /// How often it was raised while it stood.
    pub times: u64,
}

/// The latest alerts, newest last.
#[derive(Debug, Default)]
pub struct Alerts {
    kept: VecDeque<Alert>,
}

impl Alerts {
    /// True if it was not standing before.
    pub fn raise(&mut self, name: &str, severity: Severity, detail: String, now: Wall) -> bool {
        if let Some(standing) = self.find(name) {
            standing.times += 1;
            standing.detail = detail;
            return false;
        }
        if self.kept.len() >= ALERTS_KEPT_MAX {
            // What is over goes before what stands.
            let over = self.kept.iter().position(|alert| alert.until.is_some());
            self.kept.remove(over.unwrap_or(0));
        }
        let name = name.to_owned();
        self.kept.push_back(Alert { name, severity, detail, since: now, until: None, times: 1 });
        true
    }

    /// True if it was standing.
    pub fn clear(&mut self, name: &str, now: Wall) -> bool {
        let Some(standing) = self.find(name) else { return false };
        standing.until = Some(now);
        true
    }

    /// All that are kept, newest first.
    pub fn all(&self) -> impl Iterator<Item = &Alert> {
        self.kept.iter().rev()
    }

    pub fn standing(&self) -> impl Iterator<Item = &Alert> {
        self.kept.iter().filter(|alert| alert.until.is_none())
    }

    pub fn standing_count(&self) -> usize {
        self.standing().count()
    }

    fn find(&mut self, name: &str) -> Option<&mut Alert> {
        self.kept.iter_mut().rev().find(|alert| alert.name == name && alert.until.is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alert_stands_once_and_is_kept_when_it_is_over() {
        let mut alerts = Alerts::default();
        assert!(alerts.raise("disk_full", Severity::Critical, "0 bytes".into(), Wall(1)));
        assert!(!alerts.raise("disk_full", Severity::Critical, "still 0 bytes".into(), Wall(2)));
        assert!(alerts.clear("disk_full", Wall(3)) && !alerts.clear("disk_full", Wall(4)));
        let shown: Vec<_> = alerts.all().map(|alert| (alert.times, alert.since, alert.until)).collect();
        assert_eq!(shown, [(2, Wall(1), Some(Wall(3)))]);
        assert!(alerts.raise("disk_full", Severity::Critical, "again".into(), Wall(5)));
        assert_eq!((alerts.all().count(), alerts.standing_count()), (2, 1));
    }

    #[test]
    fn what_is_kept_is_bounded_and_what_stands_goes_last() {
        let mut alerts = Alerts::default();
        alerts.raise("stands", Severity::Warning, String::new(), Wall(0));
        for i in 0..2 * ALERTS_KEPT_MAX {
            alerts.raise(&format!("a{i}"), Severity::Warning, String::new(), Wall(1));
            alerts.clear(&format!("a{i}"), Wall(2));
        }
        assert_eq!(alerts.all().count(), ALERTS_KEPT_MAX);
        assert!(alerts.all().any(|alert| alert.name == "stands"));
    }
}
