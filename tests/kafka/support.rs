//! A broker and a system that reads from it.

use serde_json::Value;
use tests::deadline::PATIENCE;
use tests::kafka::Kafka;
use tests::{Setup, Tocsin, until_within};
use toml::Table;

/// A system on Kafka. The system goes first, then its broker.
pub(crate) struct OnKafka {
    pub(crate) tocsin: Tocsin,
    pub(crate) kafka: Kafka,
}

/// A topic that was there before us.
pub(crate) const SHOP: &str = "shop.orders";

/// `[[kafka.source]]` that maps a shop's records.
fn shop_source() -> Table {
    let text = r#"
        topic = "shop.orders"
        service = "shop"
        priority = "high"
        category = "orders"
        [fields]
        user = "/actor/id"
        title = "/what"
        body = "/details/text"
        id = "/order"
        send_at = "/when"
    "#;
    text.parse().expect("a source")
}

/// A record of the shop's, one line.
pub(crate) fn order(id: &str, user: &str, what: &str) -> String {
    serde_json::json!({ "order": id, "actor": { "id": user }, "what": what }).to_string() + "\n"
}

pub(crate) fn on(kafka: &Kafka) -> Setup {
    Setup::standalone().set("kafka.brokers", vec![kafka.broker.to_string()]).set("kafka.partitions", 3)
}

impl OnKafka {
    /// With Kafka as the journal, and no foreign topic.
    pub(crate) fn start(with: impl FnOnce(Setup) -> Setup) -> OnKafka {
        let kafka = Kafka::start();
        OnKafka { tocsin: with(on(&kafka)).start(), kafka }
    }

    /// With the shop's topic beside it.
    pub(crate) fn with_shop(partitions: u32) -> OnKafka {
        let kafka = Kafka::start();
        kafka.create_topic(SHOP, partitions);
        OnKafka { tocsin: on(&kafka).push("kafka.source", shop_source()).start(), kafka }
    }

    /// A topic of ours, whole, one JSON value a record.
    pub(crate) fn records(&self, topic: &str) -> Vec<Value> {
        let lines = self.kafka.consume(&format!("notifications.{topic}"), "%s\n");
        lines
            .iter()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|_| Value::String(line.clone())))
            .collect()
    }

    /// Waits until a user's inbox holds so many.
    pub(crate) fn wait_for_inbox(&self, user: &str, count: usize) {
        until_within(4 * PATIENCE, &format!("{count} in the inbox of {user}"), || {
            let page = self.tocsin.api().get(&format!("/v1/users/{user}/inbox?limit=1")).expect(200).json();
            (page["unread"].as_u64()? >= count as u64).then_some(())
        });
    }
}
