//! The whole router on Kafka, against librdkafka's mock brokers: what services send and what foreign topics hold ends
//! in inboxes, once, also over a restart.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer};
use router::config::{BufferConfig, Config, JournalConfig, KafkaSection, SourceSection};
use router::node;
use serde_json::{Value, json};

use crate::support::{Node, http};

const PARTITIONS: u32 = 4;
const FOREIGN: &str = "orders";

type Cluster = MockCluster<'static, DefaultProducerContext>;

fn cluster() -> Cluster {
    let cluster = MockCluster::new(1).expect("mock brokers start");
    let ours = ["critical", "high", "normal", "low", "events", "ledger", "overflow", "dlq", "status"];
    for topic in ours.map(|name| format!("notifications.{name}")).iter().map(String::as_str).chain([FOREIGN])
    {
        cluster.create_topic(topic, PARTITIONS.cast_signed(), 1).expect("a topic");
    }
    cluster
}

fn buffer(config: &Config) -> BufferConfig {
    let (bytes_max, critical_reserve_bytes) = (1 << 30, 1 << 20);
    BufferConfig { dir: config.data.join("buffer"), bytes_max, critical_reserve_bytes }
}

fn on(cluster: &Cluster, config: &mut Config) {
    let fields = [("user", "/who"), ("title", "/what"), ("id", "/number")];
    let source = SourceSection {
        topic: Some(FOREIGN.to_owned()),
        service: "orders".to_owned(),
        fields: fields.map(|(field, place)| (field.to_owned(), place.to_owned())).into_iter().collect(),
        ..SourceSection::default()
    };
    let kafka = KafkaSection {
        brokers: vec![cluster.bootstrap_servers()],
        partitions: PARTITIONS,
        topics: BTreeMap::new(),
        outcomes: true,
        properties: BTreeMap::new(),
        source: Vec::new(),
    };
    let buffer = buffer(config);
    config.journal = JournalConfig::Kafka { kafka: Box::new(kafka), sources: vec![source], buffer };
}

fn produce(cluster: &Cluster, texts: &[String]) {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", cluster.bootstrap_servers())
        .create()
        .expect("a producer");
    for text in texts {
        producer.send(BaseRecord::<(), _>::to(FOREIGN).payload(text)).expect("it is queued");
    }
    producer.flush(Duration::from_secs(10)).expect("it is produced");
}

#[test]
fn http_and_foreign_topics_meet_in_one_inbox_and_nothing_comes_twice() {
    let cluster = cluster();
    let node = Node::start_with(|config| on(&cluster, config));
    let answer = node.send_with_key("k", &json!({"to": {"user": "ada"}, "title": "by HTTP"}));
    assert_eq!((answer.status, &answer.json()["durable_in"]), (202, &json!("kafka")), "{}", answer.text);
    produce(
        &cluster,
        &[
            json!({"who": "ada", "what": "by Kafka", "number": 7}).to_string(),
            "nonsense".to_owned(),
            json!({"who": "ada", "what": "again", "number": 7}).to_string(),
            json!({"who": "ada", "what": "behind the nonsense", "number": 8}).to_string(),
        ],
    );
    let titles = |inbox: &serde_json::Value| {
        let all = inbox["notifications"].as_array().expect("a list").iter();
        all.map(|one| one["title"].as_str().expect("a title").to_owned()).collect::<Vec<_>>()
    };
    let inbox = node.eventually("/v1/users/ada/inbox", |inbox| titles(inbox).len() == 3);
    assert!(titles(&inbox).contains(&"by HTTP".to_owned()));
    let status = node.eventually("/v1/status", |status| {
        status["kafka"]["import"]["imported"] == 3 && status["kafka"]["import"]["dead_lettered"] == 1
    });
    assert_eq!(status["kafka"]["import"]["topics"], json!([FOREIGN]));
    let letters = node.eventually("/v1/dead-letters", |page| page["items"] != json!([]));
    let letter = &letters["items"][0];
    assert_eq!(letters["items"].as_array().map(Vec::len), Some(1), "{letters}");
    assert_eq!(letter["excerpt"], "nonsense");
    assert!(letter["source"].as_str().is_some_and(|source| source.starts_with(FOREIGN)), "{letter}");
    assert!(letter["reason"].as_str().is_some_and(|why| !why.is_empty()) && letter["replayable"] == false);
    let replay = node.post(&format!("/v1/dead-letters/{}/replay", letter["number"]), &json!({}));
    let refused = replay.is_problem(422, "contradiction");
    assert!(refused["detail"].as_str().is_some_and(|why| why.contains(FOREIGN)), "{refused}");
    let reconciled = node.eventually("/v1/reconcile", |answer| answer["journal_lag"] == 0);
    assert_eq!(reconciled["dead_lettered"], 1, "{reconciled}");
    assert_eq!((&reconciled["balanced"], &reconciled["missing"]), (&json!(true), &json!(0)), "{reconciled}");

    let Node { router, data } = node;
    router.shutdown();
    let mut config = Config::on_free_ports(data.path());
    on(&cluster, &mut config);
    let node = Node { router: node::start(&config).expect("it starts again"), data };
    node.accepted("ada", "after the restart");
    let inbox = node.eventually("/v1/users/ada/inbox", |inbox| titles(inbox).len() >= 4);
    assert_eq!(titles(&inbox).len(), 4, "none twice: {:?}", titles(&inbox));
    // librdkafka tells its lag once a second.
    let shown = (0..200).any(|_| {
        std::thread::sleep(Duration::from_millis(50));
        let page = http(node.router.admin, "GET", "/metrics", &[], b"").text;
        page.contains("tocsin_router_kafka_lag{lane=\"normal\"") && page.contains("tocsin_router_import_lag")
    });
    assert!(shown, "lag is exported by lane and partition");
}

#[test]
fn brokers_that_are_not_there_and_settings_that_make_no_sense_are_one_line() {
    let data = tempfile::tempdir().expect("a folder");
    let start = |change: &dyn Fn(&mut KafkaSection)| {
        let mut config = Config::on_free_ports(data.path());
        let mut kafka = KafkaSection { brokers: vec!["127.0.0.1:1".to_owned()], ..KafkaSection::default() };
        change(&mut kafka);
        let buffer = buffer(&config);
        config.journal = JournalConfig::Kafka { kafka: Box::new(kafka), sources: Vec::new(), buffer };
        let error = node::start(&config).map(|_| ()).expect_err("it does not start").to_string();
        assert!(!error.contains('\n'), "{error}");
        error
    };
    let error = start(&|_| {});
    assert!(error.contains("127.0.0.1:1"), "{error}");
    let error = start(&|kafka| {
        kafka.properties.insert("acks".to_owned(), "1".to_owned());
    });
    assert!(error.contains("acks"), "{error}");
}

/// Whether Kafka comes to be in this state, without anything being handed in.
fn kafka_becomes(node: &Node, state: &str) -> bool {
    // The brokers are asked every five seconds, and librdkafka takes up to ten to try a lost one again.
    (0..800).any(|_| {
        std::thread::sleep(Duration::from_millis(50));
        let status = node.get("/v1/status").json();
        let mut all = status["dependencies"].as_array().expect("a list").iter();
        all.any(|one| one["name"] == "kafka" && one["state"] == state)
    })
}

#[test]
fn brokers_that_go_away_and_come_back_show_without_an_append() {
    let cluster = cluster();
    let node = Node::start_with(|config| on(&cluster, config));
    let ready = || http(node.router.admin, "GET", "/readyz", &[], b"").status;
    assert_eq!(ready(), 200);
    cluster.broker_down(1).expect("there is one");
    assert!(kafka_becomes(&node, "down"), "nobody said that the brokers are away");
    assert_eq!(node.get("/v1/status").json()["state"], "degraded");
    let alerts = node.get("/v1/alerts").json();
    let mut names = alerts["items"].as_array().expect("a list").iter().map(|alert| &alert["name"]);
    assert!(names.any(|name| name == "kafka_down"), "{alerts}");
    assert_eq!(ready(), 200, "the disk stands in");
    cluster.broker_up(1).expect("there is one");
    assert!(kafka_becomes(&node, "up"), "nobody said that they are back");
    assert_eq!(ready(), 200);
}

/// What the topic of outcomes holds once it has so many records, by key.
fn told(cluster: &Cluster, many: usize) -> Vec<(String, Value)> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", cluster.bootstrap_servers())
        .set("group.id", "a reader of outcomes")
        .set("auto.offset.reset", "earliest")
        .set("enable.auto.commit", "false")
        .create()
        .expect("a consumer");
    consumer.subscribe(&["notifications.status"]).expect("it subscribes");
    let mut told = Vec::new();
    for _ in 0..600 {
        if told.len() >= many {
            break;
        }
        let Some(record) = consumer.poll(Duration::from_millis(100)) else { continue };
        let record = record.expect("a record");
        let key = String::from_utf8(record.key().expect("a key").to_vec()).expect("text");
        told.push((key, serde_json::from_slice(record.payload().expect("a value")).expect("JSON")));
    }
    told
}

#[test]
fn each_final_outcome_goes_to_the_topic_and_not_again_over_a_restart() {
    let cluster = cluster();
    let node = Node::start_with(|config| on(&cluster, config));
    let by_sms = |user: &str| json!({"to": {"user": user}, "title": "private words", "channels": ["sms"]});
    let first = node.send_with_key("k1", &by_sms("ada")).id();
    assert_eq!(told(&cluster, 1).len(), 1);
    node.eventually("/v1/status", |status| {
        let topic = &status["outcomes"][0];
        topic["by"] == "kafka" && topic["sent"] == 1 && topic["waiting"] == 0
    });
    let Node { router, data } = node;
    router.shutdown();
    let mut config = Config::on_free_ports(data.path());
    on(&cluster, &mut config);
    let node = Node { router: node::start(&config).expect("it starts again"), data };
    let second = node.send_with_key("k2", &by_sms("bob")).id();
    let told = told(&cluster, 2);
    let shown = |(key, outcome): &(String, Value)| {
        assert!(outcome["ended_at"].is_string() && outcome["accepted_at"].is_string(), "{outcome}");
        let word = |name: &str| outcome[name].as_str().unwrap_or_default().to_owned();
        (key.clone(), word("id"), word("recipient"), word("channel"), word("outcome"))
    };
    let mut shown: Vec<_> = told.iter().map(shown).collect();
    shown.sort();
    let expected = |user: &str, id: String| {
        (user.to_owned(), id, format!("user:{user}"), "sms".to_owned(), "handed_over".to_owned())
    };
    assert_eq!(shown, [expected("ada", first), expected("bob", second)]);
    assert!(!format!("{told:?}").contains("private"));
}
