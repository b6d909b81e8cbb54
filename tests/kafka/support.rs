//! A system that reads from the shared broker, with its own names for everything in it.

use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;
use tests::kafka::{self, Kafka};
use tests::{Setup, Tocsin};
use toml::Table;

/// A system on Kafka.
pub(crate) struct OnKafka {
    pub(crate) kafka: &'static Kafka,
    pub(crate) tocsin: Tocsin,
    /// What its topics begin with.
    pub(crate) prefix: String,
}

const OURS: [&str; 9] =
    ["critical", "high", "normal", "low", "events", "ledger", "overflow", "dlq", "status"];

/// A name that no other test uses.
pub(crate) fn unique(name: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("{name}-{}", COUNT.fetch_add(1, Ordering::Relaxed))
}

/// `[[kafka.source]]` that maps a shop's records.
pub(crate) fn shop_source(topic: &str) -> Table {
    let text = format!(
        r#"
        topic = "{topic}"
        service = "shop"
        priority = "high"
        category = "orders"
        [fields]
        user = "/actor/id"
        title = "/what"
        body = "/details/text"
        id = "/order"
        "#
    );
    text.parse().expect("a source")
}

/// Settings with topics of their own on the shared broker.
pub(crate) fn setup(prefix: &str) -> Setup {
    let kafka = kafka::shared();
    let mut setup =
        Setup::standalone().set("kafka.brokers", vec![kafka.broker.to_string()]).set("kafka.partitions", 3);
    for topic in OURS {
        setup = setup.set(&format!("kafka.topics.{topic}"), format!("{prefix}.{topic}"));
    }
    setup
}

impl OnKafka {
    pub(crate) fn start(name: &str, with: impl FnOnce(Setup, &str) -> Setup) -> OnKafka {
        let prefix = unique(name);
        let tocsin = with(setup(&prefix), &prefix).start();
        OnKafka { kafka: kafka::shared(), tocsin, prefix }
    }

    /// A topic of ours, whole, one JSON value a record.
    pub(crate) fn records(&self, topic: &str) -> Vec<Value> {
        let lines = self.kafka.consume(&format!("{}.{topic}", self.prefix), "%s\n");
        lines
            .iter()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|_| Value::String(line.clone())))
            .collect()
    }
}
