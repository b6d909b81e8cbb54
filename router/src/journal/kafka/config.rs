//! What `[kafka]` says, checked: brokers, topics, and the properties that go through to librdkafka.
//!
//! Owns the properties that a configuration may not change, because durability, order or ownership hang on them.
//! Pure. Called at start.

use std::collections::BTreeMap;

use rdkafka::ClientConfig;
use wire::message::Priority;

use crate::journal::is_topic_name;
use crate::limits::LEDGER_ROW_BYTES_MAX;

/// The consumer group of the pipeline.
pub const GROUP: &str = "notification-router";
/// Partitions of each topic when nothing else is said.
pub const PARTITIONS_DEFAULT: u32 = 16;

/// Our topics, by the key that names them in `[kafka.topics]`.
const TOPICS: [(&str, &str); 9] = [
    ("critical", "notifications.critical"),
    ("high", "notifications.high"),
    ("normal", "notifications.normal"),
    ("low", "notifications.low"),
    ("events", "notifications.events"),
    ("ledger", "notifications.ledger"),
    ("overflow", "notifications.overflow"),
    ("dlq", "notifications.dlq"),
    ("status", "notifications.status"),
];

/// Properties that hold the house up. Given with the very value that stands here they do no harm.
const FIXED: [(&str, &str, &str); 16] = [
    ("group.id", GROUP, "the routers share one group"),
    ("group.protocol", "classic", "ownership of partitions is built on the classic protocol"),
    ("partition.assignment.strategy", "range", "the same partition of every topic must have the same owner"),
    ("enable.auto.commit", "false", "an offset is committed when its record is final or in the ledger"),
    ("enable.auto.offset.store", "false", "an offset is committed when its record is final or in the ledger"),
    ("auto.offset.reset", "earliest", "nothing that is in a topic may be passed over"),
    ("isolation.level", "read_committed", "an aborted claim must not be read"),
    ("acks", "all", "202 means that every in-sync replica has the record"),
    ("request.required.acks", "all", "202 means that every in-sync replica has the record"),
    ("enable.idempotence", "true", "a retry must not change the order of a user's notifications"),
    ("message.timeout.ms", "1500", "after that the disk takes the record"),
    ("delivery.timeout.ms", "1500", "after that the disk takes the record"),
    ("bootstrap.servers", "", "it is `[kafka] brokers`"),
    ("metadata.broker.list", "", "it is `[kafka] brokers`"),
    ("transactional.id", "", "the router makes its own"),
    ("allow.auto.create.topics", "false", "topics are made at start, with the same number of partitions"),
];

/// What is wrong with `[kafka]`; one line for the operator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KafkaConfigError {
    #[error("[kafka] brokers is empty")]
    NoBrokers,
    #[error("[kafka] partitions must be at least 1")]
    NoPartitions,
    #[error(
        "[kafka.topics] has no {0:?}; the topics are critical, high, normal, low, events, ledger, overflow, dlq, status"
    )]
    UnknownTopic(String),
    #[error("[kafka.topics] {key}: {name:?} is not a name that Kafka takes")]
    BadTopicName { key: String, name: String },
    #[error("[kafka.topics] {first} and {second} are both {name:?}")]
    SameTopic { first: &'static str, second: &'static str, name: String },
    #[error("[kafka.properties] {property} may not be changed: {why}")]
    FixedProperty { property: String, why: &'static str },
}

/// The names of our topics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topics {
    names: [String; TOPICS.len()],
}

impl Default for Topics {
    fn default() -> Topics {
        Topics { names: TOPICS.map(|(_, name)| name.to_owned()) }
    }
}

impl Topics {
    /// The default names, but for what `overrides` says.
    pub fn new(overrides: &BTreeMap<String, String>) -> Result<Topics, KafkaConfigError> {
        let mut topics = Topics::default();
        for (key, name) in overrides {
            let place = TOPICS
                .iter()
                .position(|(known, _)| known == key)
                .ok_or_else(|| KafkaConfigError::UnknownTopic(key.clone()))?;
            if !is_topic_name(name) {
                return Err(KafkaConfigError::BadTopicName { key: key.clone(), name: name.clone() });
            }
            topics.names[place].clone_from(name);
        }
        for (i, name) in topics.names.iter().enumerate() {
            if let Some(other) = topics.names[..i].iter().position(|other| other == name) {
                let (first, second) = (TOPICS[other].0, TOPICS[i].0);
                return Err(KafkaConfigError::SameTopic { first, second, name: name.clone() });
            }
        }
        Ok(topics)
    }

    pub fn lane(&self, priority: Priority) -> &str {
        &self.names[priority as usize]
    }

    /// The four lanes, most urgent first.
    pub fn lanes(&self) -> [&str; 4] {
        Priority::ALL.map(|priority| self.lane(priority))
    }

    pub fn priority_of(&self, topic: &str) -> Option<Priority> {
        Priority::ALL.into_iter().find(|priority| self.lane(*priority) == topic)
    }

    pub fn ledger(&self) -> &str {
        self.named("ledger")
    }

    pub fn dead_letters(&self) -> &str {
        self.named("dlq")
    }

    pub fn outcomes(&self) -> &str {
        self.named("status")
    }

    pub fn all(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }

    fn named(&self, key: &str) -> &str {
        let place = TOPICS.iter().position(|(known, _)| *known == key);
        &self.names[place.expect("the keys are our own")]
    }
}

/// `[kafka]`, checked.
#[derive(Debug, Clone)]
pub struct KafkaConfig {
    brokers: String,
    partitions: u32,
    topics: Topics,
    properties: BTreeMap<String, String>,
}

impl KafkaConfig {
    pub fn new(
        brokers: &[String],
        partitions: u32,
        topics: &BTreeMap<String, String>,
        properties: &BTreeMap<String, String>,
    ) -> Result<KafkaConfig, KafkaConfigError> {
        let brokers = brokers.join(",");
        if brokers.trim_matches([',', ' ']).is_empty() {
            return Err(KafkaConfigError::NoBrokers);
        }
        if partitions == 0 {
            return Err(KafkaConfigError::NoPartitions);
        }
        for (property, value) in properties {
            if let Some((_, _, why)) =
                FIXED.iter().find(|(name, fixed, _)| name == property && fixed != value)
            {
                return Err(KafkaConfigError::FixedProperty { property: property.clone(), why });
            }
        }
        let topics = Topics::new(topics)?;
        Ok(KafkaConfig { brokers, partitions, topics, properties: properties.clone() })
    }

    pub fn brokers(&self) -> &str {
        &self.brokers
    }

    pub fn partitions(&self) -> u32 {
        self.partitions
    }

    pub fn topics(&self) -> &Topics {
        &self.topics
    }

    /// What all clients have in common.
    pub(crate) fn client(&self) -> ClientConfig {
        let mut client = ClientConfig::new();
        client
            .set("bootstrap.servers", &self.brokers)
            .set("client.id", "tocsin-router")
            .set("socket.nagle.disable", "true")
            // A broker that hangs costs its partitions this much; librdkafka's own bound is a minute.
            .set("socket.timeout.ms", "10000")
            // librdkafka's own bound is ten seconds: so long would an outage be longer than it is.
            .set("reconnect.backoff.max.ms", "1000");
        client
    }

    /// The operator's properties are for all clients alike. librdkafka warns of those that only another kind of
    /// client has; they are left out instead.
    fn with_properties(&self, client: &mut ClientConfig, not_for_it: &[&str]) {
        for (property, value) in &self.properties {
            if !not_for_it.iter().any(|prefix| property.starts_with(prefix)) {
                client.set(property, value);
            }
        }
    }

    pub(crate) fn admin(&self) -> ClientConfig {
        let mut client = self.client();
        self.with_properties(&mut client, &[CONSUMER_ONLY, PRODUCER_ONLY].concat());
        client
    }

    pub(crate) fn producer(&self) -> ClientConfig {
        let mut client = self.client();
        client.set("linger.ms", "1").set("queue.buffering.max.messages", "500000");
        self.with_properties(&mut client, CONSUMER_ONLY);
        client
            .set("acks", "all")
            .set("enable.idempotence", "true")
            .set("message.timeout.ms", MESSAGE_TIMEOUT_MS);
        client
    }

    /// The producer of a migration: it never gives a record up, so none is overtaken.
    pub(crate) fn carrying(&self) -> ClientConfig {
        let mut client = self.producer();
        for name in ["delivery.timeout.ms", "retries", "message.send.max.retries"] {
            client.remove(name);
        }
        client.set("linger.ms", "5").set("message.timeout.ms", "0");
        // One that is refused for good ends it: nothing behind it may come before it.
        client.set("enable.gapless.guarantee", "true");
        client
    }

    /// The producer of the ledger.
    pub(crate) fn transactional(&self, id: &str) -> ClientConfig {
        let mut client = self.producer();
        client
            .set("linger.ms", "5")
            .set("message.max.bytes", (2 * LEDGER_ROW_BYTES_MAX).to_string())
            .set("message.timeout.ms", "5000")
            .set("transactional.id", id)
            .set("transaction.timeout.ms", TRANSACTION_TIMEOUT_MS);
        client
    }

    /// What reads the ledger, and asks where lanes' offsets and the ledger's end are. It is no member of the group.
    /// `stable`: sees only what is committed.
    pub(crate) fn ledger_reader(&self, stable: bool) -> ClientConfig {
        let mut client = self.consumer(GROUP);
        client
            .set("isolation.level", if stable { "read_committed" } else { "read_uncommitted" })
            .set("enable.partition.eof", "true")
            .set("fetch.wait.max.ms", "20")
            .set("fetch.message.max.bytes", (2 * LEDGER_ROW_BYTES_MAX).to_string())
            .set("auto.offset.reset", "error");
        client
    }

    /// `group` is [`GROUP`] or the import's.
    pub(crate) fn consumer(&self, group: &str) -> ClientConfig {
        let mut client = self.client();
        client
            .set("session.timeout.ms", "10000")
            .set("heartbeat.interval.ms", "3000")
            .set("fetch.wait.max.ms", "250")
            .set("fetch.queue.backoff.ms", "20");
        self.with_properties(&mut client, PRODUCER_ONLY);
        client
            .set("group.id", group)
            .set("partition.assignment.strategy", "range")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "earliest")
            .set("isolation.level", "read_committed")
            .set("allow.auto.create.topics", "false");
        client
    }
}

/// How long a produced record may take, retries included, in ms.
const MESSAGE_TIMEOUT_MS: &str = "1500";

/// How long a transaction of a router that is gone stays open, and with it what its heir waits for, in ms. The brokers look
/// every ten seconds.
const TRANSACTION_TIMEOUT_MS: &str = "10000";

/// Prefixes of properties that only consumers have.
const CONSUMER_ONLY: &[&str] = &[
    "group.",
    "session.timeout",
    "heartbeat.",
    "partition.assignment",
    "max.poll",
    "enable.auto",
    "auto.",
    "fetch.",
    "queued.",
    "isolation.",
    "check.crcs",
    "allow.auto",
    "max.partition.fetch",
];
/// Prefixes of properties that only producers have.
const PRODUCER_ONLY: &[&str] = &[
    "linger.",
    "queue.buffering",
    "acks",
    "request.required",
    "enable.idempotence",
    "enable.gapless",
    "message.timeout",
    "delivery.timeout",
    "compression.",
    "batch.",
    "retries",
    "message.send.max",
    "max.in.flight",
    "sticky.",
    "partitioner",
    "transaction",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn config(topics: &[(&str, &str)], properties: &[(&str, &str)]) -> Result<KafkaConfig, KafkaConfigError> {
        KafkaConfig::new(&["127.0.0.1:9092".to_owned()], 16, &map(topics), &map(properties))
    }

    #[test]
    fn the_contract_s_names_stand_when_nothing_is_said() {
        let config = config(&[], &[]).expect("the defaults are right");
        assert_eq!(config.topics().lane(Priority::Critical), "notifications.critical");
        assert_eq!(config.topics().dead_letters(), "notifications.dlq");
        assert_eq!(config.topics().all().count(), 9);
    }

    #[test]
    fn topics_are_renamed_one_by_one_and_never_fall_together() {
        let renamed = config(&[("low", "acme.low")], &[]).expect("a good name");
        assert_eq!(renamed.topics().lanes()[3], "acme.low");
        assert_eq!(renamed.topics().priority_of("acme.low"), Some(Priority::Low));
        assert_eq!(renamed.topics().priority_of("notifications.low"), None);
        let same = config(&[("low", "notifications.high")], &[]).expect_err("two lanes in one topic");
        assert!(matches!(same, KafkaConfigError::SameTopic { first: "high", second: "low", .. }));
        assert!(config(&[("lowest", "x")], &[]).is_err());
        for name in ["", ".", "..", "a b", "ü", &"x".repeat(250)] {
            assert!(config(&[("low", name)], &[]).is_err(), "{name:?}");
        }
    }

    #[test]
    fn properties_that_durability_and_ownership_hang_on_are_refused_with_the_reason() {
        for (property, value) in [
            ("acks", "1"),
            ("enable.auto.commit", "true"),
            ("partition.assignment.strategy", "cooperative-sticky"),
            ("group.id", "mine"),
            ("group.protocol", "consumer"),
            ("enable.idempotence", "false"),
            ("bootstrap.servers", "elsewhere:9092"),
        ] {
            let error = config(&[], &[(property, value)]).expect_err(property);
            assert!(error.to_string().contains(property) && error.to_string().lines().count() == 1);
        }
        config(&[], &[("acks", "all"), ("group.protocol", "classic")]).expect("nothing is changed");
    }

    #[test]
    fn other_properties_go_to_the_clients_that_have_them() {
        let config = config(
            &[],
            &[("security.protocol", "SASL_SSL"), ("linger.ms", "9"), ("session.timeout.ms", "20000")],
        )
        .expect("all three may be set");
        let (producer, consumer) = (config.producer(), config.consumer(GROUP));
        assert_eq!(producer.get("security.protocol"), Some("SASL_SSL"));
        assert_eq!(consumer.get("security.protocol"), Some("SASL_SSL"));
        assert_eq!((producer.get("linger.ms"), consumer.get("linger.ms")), (Some("9"), None));
        assert_eq!(consumer.get("session.timeout.ms"), Some("20000"));
        assert_eq!(producer.get("session.timeout.ms"), None);
        assert_eq!(config.admin().get("linger.ms"), None);
    }

    #[test]
    fn there_must_be_a_broker_and_a_partition() {
        let none = BTreeMap::new();
        assert!(matches!(KafkaConfig::new(&[], 1, &none, &none), Err(KafkaConfigError::NoBrokers)));
        let broker = ["b:9092".to_owned()];
        assert!(matches!(KafkaConfig::new(&broker, 0, &none, &none), Err(KafkaConfigError::NoPartitions)));
    }
}
