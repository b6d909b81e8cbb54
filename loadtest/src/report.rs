//! The report: one JSON object, versioned, and the page that people read on the terminal. Pure; `run` fills it in.
//!
//! # Shape, `"schema": "tocsin.loadtest/1"`
//! Fields are added, never renamed or removed, within one number. Times end in `_ms` (milliseconds, three digits), sizes
//! in `_bytes`; a figure that was not measured is `null`, never 0.
//!
//! | field | what |
//! |---|---|
//! | `scenario`, `version`, `command`, `started_at`, `seconds`, `interrupted` | what ran, when, how long; ended early by a signal? |
//! | `machine` | `cpu`, `cores`, `memory_bytes`, `kernel` of the load tester's host |
//! | `config` | what was asked for and what was settled (threads, sources); no secret |
//! | `connections` | `wanted`, `established` (got in at least once), `failed` (never got in), `open_at_end`, `dropped`, `reconnected`, `moved` (asked to leave by the server), `per_s` (established a second, from the first intended connect to the last welcome) |
//! | `handshake_ms` | intended connect → `welcome`: `count`, `min`, `mean`, `p50`, `p90`, `p99`, `p999`, `max` |
//! | `admission` | `refused` attempts, `retry_after_s` {`min`, `max`, `histogram`: {seconds: times}}, `attempts`: {attempts a client needed: clients} |
//! | `messages` | `sent` (202), `rejected`, `unknown` (no answer), `owed` copies, `received` of them, `lost` = owed − received, `duplicated` (live twice), `synced` (came by a sync), `acked` by clients, `acked_again` (once more, because the server had been too busy), `acks_read` (by how many more in-app deliveries the router's ledger calls delivered), `strays`, `per_s` |
//! | `latency_ms` | intended post → socket: open loop, so a late post counts against the server and the load tester alike |
//! | `latency_from_202_ms` | the API's 202 → socket; 0 where the message was faster than its 202 |
//! | `post_ms`, `post_late_ms` | intended post → 202; intended post → really posted |
//! | `storm` | storms only, see [`storm::Storm`]: `cut`, `cut_at`, `lost`, `back`, `losing_s`, `back_s` {`p50`, `p90`, `p99`, `all`}, `attempts`, `fourth_share`, `refused`, `retry_after_s`, `retry_after_chi2`, `arrivals` (columns from the cut on), `before_ms`, `during_ms`, `after_ms`, `survivors_ms` and, of them, `survivors_losing_ms` (meant to be posted while others' connections were still being lost) and `survivors_later_ms` |
//! | `drain` | with `--drain-pid`: `pid`, `clients` in when it was asked, `asked_to_leave`, `ended` (closed by it), `left_over`, `seconds` until the last had left |
//! | `series` | the run over time, see [`crate::series::Series`]: columns of at most 600 points, coarser as the run grows |
//! | `server` | `pid`, `rss_bytes` before and at the end of the run, `slab_bytes` (growth, whole machine: both ends where both are here), `bytes_per_connection` (growth of RSS ÷ established), `slab_bytes_per_connection`, `cpu_ns_per_message` (the process), `busy_ns_per_message` (all busy time of the machine but our own), `cpu_ns_per_handshake` |
//! | `client` | `cpu` (busiest thread, share of a core), `loop_lag_ms` (99th percentile of a loop turn's length), `post_late_ms`, `saturated`: if true, the figures are the load tester's, not the server's |
//! | `errors` | kind → times |
//! | `expectations` | `--expect`: `expected`, `found`, `met` |
//! | `warnings`, `passed` | what to know before the figures are believed; exit 0? |
//! | `histograms` | for merging and plots: `handshake_us`, `latency_us`, `latency_from_202_us`, `post_us`, `post_late_us`, the storm's `before_us`, `during_us`, `after_us`, `survivors_us`, `survivors_losing_us`, `survivors_later_us`, and `loop_lag_us`: pairs of (highest value of the bucket in µs, count) |

pub mod head;
pub mod html;
pub mod merge;
mod page;
pub mod storm;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::expect::Verdict;
use crate::machine::Machine;
use crate::percentiles::Summary;
use crate::series::Series;
use head::Head;
use storm::Storm;
use wire::time::Wall;

/// The report's shape and its number.
pub const SCHEMA: &str = "tocsin.loadtest/1";

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    #[serde(flatten)]
    pub head: Head,
    pub scenario: String,
    pub connections: Connections,
    pub handshake_ms: Option<Summary>,
    pub admission: Admission,
    pub messages: Messages,
    pub latency_ms: Option<Summary>,
    pub latency_from_202_ms: Option<Summary>,
    pub post_ms: Option<Summary>,
    pub post_late_ms: Option<Summary>,
    #[serde(default)]
    pub storm: Option<Storm>,
    #[serde(default)]
    pub drain: Option<Drain>,
    #[serde(default)]
    pub series: Option<Series>,
    pub server: Option<Server>,
    pub client: Client,
    pub errors: BTreeMap<String, u64>,
    pub expectations: Vec<Verdict>,
    pub warnings: Vec<String>,
    pub passed: bool,
    pub histograms: Histograms,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Connections {
    pub wanted: u32,
    pub established: u32,
    pub failed: u32,
    pub open_at_end: u32,
    pub dropped: u64,
    pub reconnected: u64,
    pub moved: u64,
    #[serde(default)]
    pub tls_full: u64,
    #[serde(default)]
    pub tls_resumed: u64,
    pub per_s: Option<f64>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Admission {
    pub refused: u64,
    pub retry_after_s: Option<RetryAfter>,
    pub attempts: BTreeMap<u32, u64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RetryAfter {
    pub min: u32,
    pub max: u32,
    pub histogram: BTreeMap<u32, u64>,
}

impl RetryAfter {
    pub fn of(histogram: BTreeMap<u32, u64>) -> Option<RetryAfter> {
        let (min, max) = (*histogram.keys().next()?, *histogram.keys().next_back()?);
        Some(RetryAfter { min, max, histogram })
    }
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Messages {
    pub sent: u64,
    pub rejected: u64,
    pub unknown: u64,
    pub owed: u64,
    pub received: u64,
    pub lost: u64,
    pub duplicated: u64,
    pub synced: u64,
    #[serde(default)]
    pub acked: u64,
    #[serde(default)]
    pub acked_again: u64,
    #[serde(default)]
    pub acks_read: Option<u64>,
    pub strays: u64,
    pub per_s: Option<f64>,
}

/// How a gateway drained.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Drain {
    pub pid: u32,
    /// Clients in when it was asked.
    pub clients: u32,
    /// Left because the server said so beforehand.
    pub asked_to_leave: u64,
    /// Were closed, or their connection ended.
    pub ended: u64,
    /// Still there when the time was over.
    pub left_over: u32,
    /// Until the last one had left.
    pub seconds: f64,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Server {
    pub pid: u32,
    pub rss_before_bytes: u64,
    pub rss_bytes: u64,
    pub slab_bytes: Option<u64>,
    pub bytes_per_connection: Option<f64>,
    pub slab_bytes_per_connection: Option<f64>,
    pub cpu_ns_per_handshake: Option<f64>,
    pub cpu_ns_per_message: Option<f64>,
    pub busy_ns_per_message: Option<f64>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Client {
    pub cpu: f64,
    pub loop_lag_ms: Option<f64>,
    pub loop_lag_max_ms: Option<f64>,
    pub saturated: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Histograms {
    pub handshake_us: Vec<(u64, u64)>,
    pub latency_us: Vec<(u64, u64)>,
    pub latency_from_202_us: Vec<(u64, u64)>,
    #[serde(default)]
    pub post_us: Vec<(u64, u64)>,
    #[serde(default)]
    pub post_late_us: Vec<(u64, u64)>,
    #[serde(default)]
    pub before_us: Vec<(u64, u64)>,
    #[serde(default)]
    pub during_us: Vec<(u64, u64)>,
    #[serde(default)]
    pub after_us: Vec<(u64, u64)>,
    #[serde(default)]
    pub survivors_us: Vec<(u64, u64)>,
    #[serde(default)]
    pub survivors_losing_us: Vec<(u64, u64)>,
    #[serde(default)]
    pub survivors_later_us: Vec<(u64, u64)>,
    #[serde(default)]
    pub loop_lag_us: Vec<(u64, u64)>,
}

impl Report {
    /// Everything zero or absent: what `run` starts from, and tests.
    pub fn example() -> Report {
        Report {
            head: Head::new(SCHEMA, "", Wall(0), Machine::default()),
            scenario: "hold".to_owned(),
            connections: Connections::default(),
            handshake_ms: None,
            admission: Admission::default(),
            messages: Messages::default(),
            latency_ms: None,
            latency_from_202_ms: None,
            post_ms: None,
            post_late_ms: None,
            storm: None,
            drain: None,
            series: None,
            server: None,
            client: Client::default(),
            errors: BTreeMap::new(),
            expectations: Vec::new(),
            warnings: Vec::new(),
            passed: false,
            histograms: Histograms::default(),
        }
    }

    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("a report serializes: keys are strings, floats are finite")
    }
}

impl Report {
    /// Did the run do what it was asked, and is nothing missing?
    pub fn judge(&self, best_effort: bool) -> bool {
        let connections = &self.connections;
        let sends = ["fanout", "latency", "chaos"].contains(&self.scenario.as_str());
        self.expectations.iter().all(|verdict| verdict.met)
            && self.messages.lost == 0
            && connections.established > 0
            && (best_effort || connections.failed == 0)
            && (!sends || self.messages.sent > 0)
            && self.storm.as_ref().is_none_or(|storm| storm.lost > 0 && storm.back == storm.lost)
            && self.drain.as_ref().is_none_or(|drain| drain.left_over == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_contract_s_fields_stand_where_it_puts_them() {
        let mut report = Report::example();
        report.handshake_ms = Some(Summary {
            count: 1,
            min: 0.0,
            mean: 0.0,
            p50: 1.0,
            p90: 1.0,
            p99: 1.0,
            p999: 1.0,
            max: 1.0,
        });
        report.latency_ms = report.handshake_ms;
        report.server = Some(Server::default());
        report.admission.retry_after_s = RetryAfter::of(BTreeMap::from([(5, 2), (30, 1)]));
        let json: serde_json::Value = serde_json::from_str(&report.to_json()).expect("JSON");
        for path in [
            "/schema",
            "/scenario",
            "/machine/kernel",
            "/config",
            "/connections/wanted",
            "/connections/established",
            "/connections/failed",
            "/connections/per_s",
            "/handshake_ms/p50",
            "/handshake_ms/p99",
            "/handshake_ms/p999",
            "/handshake_ms/max",
            "/admission/refused",
            "/admission/retry_after_s/min",
            "/admission/retry_after_s/max",
            "/admission/retry_after_s/histogram/5",
            "/admission/attempts",
            "/messages/sent",
            "/messages/received",
            "/messages/lost",
            "/messages/duplicated",
            "/messages/per_s",
            "/latency_ms/p99",
            "/server/pid",
            "/server/rss_bytes",
            "/server/slab_bytes",
            "/server/bytes_per_connection",
            "/server/cpu_ns_per_message",
            "/client/cpu",
            "/client/loop_lag_ms",
            "/client/saturated",
            "/errors",
        ] {
            assert!(json.pointer(path).is_some(), "{path} is missing");
        }
        let back: Report = serde_json::from_value(json).expect("a report");
        assert_eq!(back, report);
    }
}
