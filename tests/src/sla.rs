//! The times that operators were promised for each failure, and what a test measured of them: a line that `tests/campaign sla`
//! collects into README's table.

use std::time::Duration;

use serde_json::json;

/// A row of the promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    Gateway,
    Broker,
    Kafka,
    Redis,
    Push,
    Sms,
    CassandraNode,
}

/// What it took.
#[derive(Debug, Clone, Copy)]
pub struct Took {
    /// From the fault until somebody who can act on it knows.
    pub detection: Duration,
    /// From the fault until users are served again, or the longest that one of them waited meanwhile.
    pub mitigation: Duration,
    /// From the end of the fault, a server's start included, until nothing of it is left.
    pub recovery: Duration,
}

const S: Duration = Duration::from_secs(1);
const MIN: Duration = Duration::from_secs(60);
/// Of a promise that is no number ("immediate", "automatic", "when the provider recovers"): nobody would call more than this so.
const AT_ONCE: Duration = Duration::from_secs(3);
const BY_ITSELF: Duration = Duration::from_secs(120);

impl Failure {
    fn name(self) -> &'static str {
        match self {
            Failure::Gateway => "gateway",
            Failure::Broker => "broker",
            Failure::Kafka => "kafka",
            Failure::Redis => "redis",
            Failure::Push => "push",
            Failure::Sms => "sms",
            Failure::CassandraNode => "cassandra_node",
        }
    }

    fn promise(self) -> Took {
        let (detection, mitigation, recovery) = match self {
            Failure::Gateway | Failure::Redis => (10 * S, 30 * S, 5 * MIN),
            Failure::Broker => (30 * S, 60 * S, 10 * MIN),
            Failure::Kafka => (30 * S, AT_ONCE, 10 * MIN),
            Failure::Push => (60 * S, AT_ONCE, BY_ITSELF),
            Failure::Sms => (30 * S, AT_ONCE, BY_ITSELF),
            Failure::CassandraNode => (30 * S, 30 * S, 30 * MIN),
        };
        Took { detection, mitigation, recovery }
    }
}

/// Prints the line.
///
/// # Panics
/// When a promise is broken.
#[track_caller]
pub fn report(failure: Failure, took: Took) {
    let Took { detection, mitigation, recovery } = took;
    let line = json!({ "failure": failure.name(), "detection_s": detection.as_secs_f64(),
        "mitigation_s": mitigation.as_secs_f64(), "recovery_s": recovery.as_secs_f64() });
    println!("SLA: {line}");
    let promise = failure.promise();
    let kept =
        detection < promise.detection && mitigation < promise.mitigation && recovery < promise.recovery;
    assert!(kept, "{failure:?}: {took:?} and promised {promise:?}");
}
