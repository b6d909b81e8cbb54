//! Promise: what Kafka took is read again in order, most urgent first, from where it was committed; what nobody can
//! read becomes a dead letter; foreign topics come in once. Against librdkafka's own mock brokers, or against real
//! ones: `TOCSIN_TEST_BROKERS=127.0.0.1:9092 cargo test -p router --test journal_kafka_mock -- --test-threads=1`.
#![cfg(feature = "kafka")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{DefaultProducerContext, FutureProducer, FutureRecord};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use router::config::SourceSection;
use router::ids;
use router::journal::import::{ForeignLetter, Import, LetterBook, Source};
use router::journal::kafka::{GROUP, KafkaConfig, KafkaJournal, KafkaOpenError, KafkaReader, Ownership};
use router::journal::{AppendError, Draft, DurableIn, Entry, Journal, JournalReader, Position};
use router::record::Record;
use uuid::Uuid;
use wire::message::Priority;
use wire::time::Wall;

const PARTITIONS: u32 = 4;
/// Longer than anything here takes, shorter than anybody waits.
const PATIENCE: Duration = Duration::from_secs(30);

/// Mock brokers, or real ones with topics of this test's own.
enum Cluster {
    Mock(MockCluster<'static, DefaultProducerContext>),
    Real,
}

impl Cluster {
    fn mock(&self) -> Option<&MockCluster<'static, DefaultProducerContext>> {
        match self {
            Cluster::Mock(mock) => Some(mock),
            Cluster::Real => None,
        }
    }
}

fn mock() -> MockCluster<'static, DefaultProducerContext> {
    MockCluster::new(1).expect("mock brokers start")
}

fn cluster() -> (Cluster, KafkaConfig) {
    let none = BTreeMap::new();
    if let Ok(brokers) = std::env::var("TOCSIN_TEST_BROKERS") {
        let own = Uuid::new_v4().simple().to_string();
        let topics = ["critical", "high", "normal", "low", "events", "ledger", "overflow", "dlq", "status"]
            .map(|topic| (topic.to_owned(), format!("test.{own}.{topic}")));
        let config = KafkaConfig::new(&[brokers], PARTITIONS, &topics.into(), &none).expect("it is right");
        return (Cluster::Real, config);
    }
    let cluster = mock();
    let config =
        KafkaConfig::new(&[cluster.bootstrap_servers()], PARTITIONS, &none, &none).expect("it is right");
    for topic in config.topics().all() {
        cluster.create_topic(topic, PARTITIONS.cast_signed(), 1).expect("a topic");
    }
    (Cluster::Mock(cluster), config)
}

fn draft(n: u128, user: &str, priority: Priority) -> Draft {
    let request =
        serde_json::json!({"to": {"user": user}, "priority": priority, "title": format!("number {n}")});
    Draft {
        id: Uuid::from_u128(n),
        service: "test".to_owned(),
        accepted_at: Wall(5),
        request: serde_json::from_value(request).expect("a request"),
    }
}

async fn open(config: &KafkaConfig) -> (Arc<KafkaJournal>, KafkaReader) {
    let (journal, reader) = KafkaJournal::open(config.clone()).await.expect("it opens");
    (Arc::new(journal), reader)
}

async fn owned(reader: &KafkaReader) -> Ownership {
    let mut ownership = reader.ownership();
    let all = |ownership: &Ownership| ownership.partitions.len() == PARTITIONS as usize;
    let waiting = ownership.wait_for(all);
    tokio::time::timeout(PATIENCE, waiting).await.expect("the group assigns").expect("it lives").clone()
}

async fn read(reader: &mut KafkaReader, count: usize) -> Vec<Entry> {
    let mut entries = Vec::new();
    while entries.len() < count {
        let more = tokio::time::timeout(PATIENCE, reader.read(100)).await;
        assert_eq!(reader.round(), 0, "the loop of a router alone takes no entry of another round");
        entries.extend(more.unwrap_or_else(|_| panic!("{} of {count}", entries.len())).expect("it reads"));
    }
    assert_eq!(entries.len(), count);
    entries
}

fn positions(entries: &[Entry]) -> Vec<Position> {
    entries.iter().map(|entry| entry.position).collect()
}

fn record(entry: &Entry) -> &Record {
    entry.record.as_ref().expect("a record")
}

async fn make_topic(config: &KafkaConfig, name: &str, partitions: i32) {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", config.brokers()).create().expect("a client");
    let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(-1));
    let made = admin.create_topics(&[topic], &AdminOptions::new()).await.expect("it answers");
    assert!(made.iter().all(Result::is_ok), "{made:?}");
}

fn producer(config: &KafkaConfig) -> FutureProducer {
    ClientConfig::new().set("bootstrap.servers", config.brokers()).create().expect("a producer")
}

async fn produce(producer: &FutureProducer, topic: &str, partition: i32, key: &str, value: &[u8]) {
    let record = FutureRecord::to(topic).partition(partition).key(key).payload(value);
    producer.send(record, PATIENCE).await.expect("it is produced");
}

/// Waits until the group's commits of this lane are with the brokers: the mock ones, other than real ones, refuse
/// commits from the moment on that a second member joins.
async fn committed(config: &KafkaConfig, lane: Priority, next: BTreeMap<u32, u64>) {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", config.brokers())
        .set("group.id", GROUP)
        .create()
        .expect("a consumer");
    let mut wanted = TopicPartitionList::new();
    for (partition, next) in next {
        let offset = Offset::Offset(next.cast_signed());
        wanted
            .add_partition_offset(config.topics().lane(lane), partition.cast_signed(), offset)
            .expect("an offset");
    }
    let there = tokio::task::spawn_blocking(move || {
        let same = |found: &TopicPartitionList| found.to_topic_map() == wanted.to_topic_map();
        while !consumer.committed_offsets(wanted.clone(), PATIENCE).is_ok_and(|found| same(&found)) {}
    });
    tokio::time::timeout(PATIENCE, there).await.expect("in time").expect("no panic");
}

/// The next dead letter: headers, key, value.
async fn dead_letter(config: &KafkaConfig) -> (BTreeMap<String, String>, Option<Vec<u8>>, Vec<u8>) {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", config.brokers())
        .set("group.id", Uuid::new_v4().to_string())
        .set("auto.offset.reset", "earliest")
        .create()
        .expect("a consumer");
    consumer.subscribe(&[config.topics().dead_letters()]).expect("it subscribes");
    let wait = move || {
        // A poll also ends with a rebalance.
        let polled = (0..300).find_map(|_| consumer.poll(Duration::from_millis(100)));
        let message = polled.expect("a dead letter").expect("it reads");
        let headers = message.headers().expect("headers").iter().map(|header| {
            let value = String::from_utf8_lossy(header.value.unwrap_or_default()).into_owned();
            (header.key.to_owned(), value)
        });
        let headers = headers.collect();
        (headers, message.key().map(<[u8]>::to_vec), message.payload().unwrap_or_default().to_vec())
    };
    tokio::task::spawn_blocking(wait).await.expect("no panic")
}

/// The router's own list is not of interest here.
struct NoBook;

#[async_trait]
impl LetterBook for NoBook {
    async fn enter(&self, _: ForeignLetter) -> Result<(), String> {
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_appended_comes_back_in_order_with_sequences_that_rise_with_offsets() {
    let (_cluster, config) = cluster();
    let (journal, mut reader) = open(&config).await;
    let mut appended = BTreeMap::new();
    for n in 0..60 {
        let draft = draft(n, &format!("user-{}", n % 7), Priority::Normal);
        let done = journal.append(draft).await.expect("it is durable");
        assert_eq!(done.durable_in, DurableIn::Kafka);
        appended.insert(n, (done.partition, done.seq));
    }
    let entries = read(&mut reader, 60).await;
    let mut last: BTreeMap<u32, (u64, u64)> = BTreeMap::new();
    for entry in &entries {
        let record = record(entry);
        let place = (record.sequence.partition, record.sequence.seq);
        assert_eq!(appended.remove(&record.id.as_u128()), Some(place));
        assert_eq!(entry.position.partition, Record::partition(&record.request.to, PARTITIONS));
        assert_eq!(record.sequence.boot, journal.boot());
        let now = (entry.position.offset, record.sequence.seq);
        if let Some(before) = last.insert(entry.position.partition, now) {
            assert_eq!(now, (before.0 + 1, before.1 + 1), "no gap, no step back");
        }
    }
    assert!(appended.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_goes_on_behind_what_was_committed_and_lag_says_how_much_waits() {
    let (_cluster, config) = cluster();
    let (journal, mut reader) = open(&config).await;
    for n in 0..40 {
        journal.append(draft(n, "one-user", Priority::High)).await.expect("it is durable");
    }
    let entries = read(&mut reader, 40).await;
    reader.commit(&positions(&entries[..25])).await.expect("it commits");
    let lag = async {
        while journal.status().lag != 15 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, lag).await.unwrap_or_else(|_| panic!("{:?}", journal.lag()));
    reader.close().await;
    drop(journal);
    let (_journal, mut reader) = open(&config).await;
    let rest = read(&mut reader, 15).await;
    let ids: Vec<u128> = rest.iter().map(|entry| record(entry).id.as_u128()).collect();
    assert_eq!(ids, (25..40).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_of_low_never_stands_before_critical() {
    let (_cluster, config) = cluster();
    let (journal, mut reader) = open(&config).await;
    owned(&reader).await;
    let low = (0..3_000).map(|n| {
        let journal = Arc::clone(&journal);
        tokio::spawn(async move { journal.append(draft(n, &format!("u{n}"), Priority::Low)).await })
    });
    for append in low.collect::<Vec<_>>() {
        append.await.expect("no panic").expect("it is durable");
    }
    reader.read(16).await.expect("it reads");
    journal.append(draft(9_999, "u", Priority::Critical)).await.expect("it is durable");
    let mut seen = 0;
    loop {
        let entries = reader.read(16).await.expect("it reads");
        if entries.iter().any(|entry| entry.position.priority == Priority::Critical) {
            break;
        }
        seen += entries.len();
        // librdkafka fetches in the background: let it, as a busy owner would.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(seen < 2_000, "{seen} low records came first");
}

#[tokio::test(flavor = "multi_thread")]
async fn poison_goes_to_the_dead_letters_and_the_partition_moves_on() {
    let (_cluster, config) = cluster();
    let (journal, mut reader) = open(&config).await;
    produce(&producer(&config), config.topics().lane(Priority::Normal), 2, "the key", b"not ours").await;
    let poisoned = read(&mut reader, 1).await.remove(0);
    assert!(poisoned.record.is_err());
    reader.dead_letter(&poisoned).await.expect("the brokers take it");
    let (headers, key, value) = dead_letter(&config).await;
    assert_eq!(headers["source-topic"], config.topics().lane(Priority::Normal));
    assert_eq!((headers["source-partition"].as_str(), headers["source-offset"].as_str()), ("2", "0"));
    assert!(!headers["reason"].is_empty());
    assert_eq!((key.as_deref(), &value[..]), (Some(&b"the key"[..]), &b"not ours"[..]));
    journal.append(draft(1, "u", Priority::Normal)).await.expect("it is durable");
    assert_eq!(record(&read(&mut reader, 1).await[0]).id.as_u128(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_brokers_are_gone_an_append_is_refused_in_time() {
    let (cluster, config) = cluster();
    let Some(cluster) = cluster.mock() else { return };
    let (journal, mut reader) = open(&config).await;
    journal.append(draft(1, "u", Priority::Normal)).await.expect("it is durable");
    cluster.broker_down(1).expect("it goes down");
    let refused =
        tokio::time::timeout(Duration::from_secs(5), journal.append(draft(2, "u", Priority::Normal)));
    let refused = refused.await.expect("in time");
    assert!(matches!(refused, Err(AppendError::Unavailable(_))), "{refused:?}");
    cluster.broker_up(1).expect("it comes back");
    let back = async { while journal.append(draft(3, "u", Priority::Normal)).await.is_err() {} };
    tokio::time::timeout(PATIENCE, back).await.expect("it takes records again");
    let mut seen = Vec::new();
    while !(seen.contains(&1) && seen.contains(&3)) {
        let more = tokio::time::timeout(PATIENCE, reader.read(100)).await.expect("they come");
        seen.extend(more.expect("it reads").iter().map(|entry| record(entry).id.as_u128()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_router_takes_its_share_from_the_commits_of_the_first() {
    let (_cluster, config) = cluster();
    let (journal, mut first) = open(&config).await;
    owned(&first).await;
    for n in 0..80 {
        journal.append(draft(n, &format!("user-{n}"), Priority::High)).await.expect("it is durable");
    }
    // The first router finishes the first half of what each partition holds.
    let mut by_partition: BTreeMap<u32, Vec<Entry>> = BTreeMap::new();
    for entry in read(&mut first, 80).await {
        by_partition.entry(entry.position.partition).or_default().push(entry);
    }
    let mut open_ids = std::collections::BTreeSet::new();
    let mut next = BTreeMap::new();
    for (partition, entries) in &by_partition {
        let half = entries.len() / 2;
        next.insert(*partition, entries[half].position.offset);
        first.commit(&positions(&entries[..half])).await.expect("it commits");
        open_ids.extend(entries[half..].iter().map(|entry| record(entry).id.as_u128()));
    }
    committed(&config, Priority::High, next).await;
    let (_second_journal, mut second) = open(&config).await;
    let (mut one, mut other) = (first.ownership(), second.ownership());
    let shared = async {
        loop {
            let (mine, yours) = (one.borrow_and_update().clone(), other.borrow_and_update().clone());
            if mine.partitions.len() == 2 && yours.partitions.len() == 2 {
                assert!(mine.partitions.is_disjoint(&yours.partitions));
                break;
            }
            tokio::select! { _ = one.changed() => {}, _ = other.changed() => {} }
        }
    };
    tokio::time::timeout(PATIENCE, shared).await.expect("the group shares out");
    let mut again = std::collections::BTreeSet::new();
    while again.len() < open_ids.len() {
        let entries = tokio::select! {
            entries = first.read(100) => entries,
            entries = second.read(100) => entries,
            () = tokio::time::sleep(PATIENCE) => panic!("{again:?} of {open_ids:?}"),
        };
        again.extend(entries.expect("it reads").iter().map(|entry| record(entry).id.as_u128()));
    }
    assert_eq!(again, open_ids, "what was open is read again, what was committed is not");
    second.close().await;
    owned(&first).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_with_another_number_of_partitions_are_refused_with_their_name() {
    let cluster = mock();
    let none = BTreeMap::new();
    let config =
        KafkaConfig::new(&[cluster.bootstrap_servers()], PARTITIONS, &none, &none).expect("it is right");
    for topic in config.topics().all() {
        let partitions = if topic.ends_with("low") { 6 } else { PARTITIONS.cast_signed() };
        cluster.create_topic(topic, partitions, 1).expect("a topic");
    }
    let error = KafkaJournal::open(config).await.expect_err("it must not start");
    assert!(matches!(&error, KafkaOpenError::Partitions { found: 6, wanted: 4, .. }), "{error}");
    assert!(error.to_string().contains("notifications.low"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_brokers_and_a_bad_property_each_get_one_clear_line() {
    let none = BTreeMap::new();
    let nowhere = KafkaConfig::new(&["127.0.0.1:1".to_owned()], PARTITIONS, &none, &none).expect("it may be");
    let error = KafkaJournal::open(nowhere).await.expect_err("nobody is there");
    assert!(error.to_string().contains("127.0.0.1:1") && error.to_string().lines().count() == 1, "{error}");
    let typo = BTreeMap::from([("sasl.mechansim".to_owned(), "PLAIN".to_owned())]);
    let config =
        KafkaConfig::new(&["127.0.0.1:1".to_owned()], PARTITIONS, &none, &typo).expect("only they know");
    let error = KafkaJournal::open(config).await.expect_err("no such property");
    assert!(error.to_string().contains("sasl.mechansim"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn foreign_records_are_imported_once_and_the_unreadable_ones_are_dead_letters() {
    let (cluster, config) = cluster();
    let shop = format!("shop{}.orders", Uuid::new_v4().simple());
    match &cluster {
        Cluster::Mock(mock) => mock.create_topic(&shop, 2, 1).expect("a topic"),
        Cluster::Real => make_topic(&config, &shop, 2).await,
    }
    let (journal, mut reader) = open(&config).await;
    let foreign = producer(&config);
    for n in 0..50 {
        let value = format!(r#"{{"actor":{{"id":{n}}},"event":"order {n}"}}"#);
        produce(&foreign, &shop, n % 2, "k", value.as_bytes()).await;
    }
    produce(&foreign, &shop, 0, "bad", b"{\"actor\":null}").await;
    produce(&foreign, &shop, 0, "k", br#"{"actor":{"id":"last"},"event":"behind it"}"#).await;
    let section = SourceSection {
        pattern: Some(format!("{}.*", &shop[..30])),
        service: "shop".to_owned(),
        fields: [("user", "/actor/id"), ("title", "/event")]
            .map(|(field, place)| (field.to_owned(), place.to_owned()))
            .into(),
        ..SourceSection::default()
    };
    let sources = vec![Source::new(&section).expect("a good source")];
    let start = || {
        let letters = journal.dead_letters();
        let journal = Arc::clone(&journal) as Arc<dyn Journal>;
        let import = Import::new(sources.clone(), &config, journal, letters, || Wall(7));
        let import = import.expect("it starts");
        let (stop, stopped) = tokio::sync::watch::channel(false);
        (import.watch(), stop, tokio::spawn(import.run(stopped, Arc::new(NoBook))))
    };
    let (status, stop, task) = start();
    let entries = read(&mut reader, 51).await;
    let (headers, key, _) = dead_letter(&config).await;
    assert_eq!(headers["source-topic"], shop);
    assert_eq!(headers["reason"], "nothing says who it is for");
    assert_eq!(key.as_deref(), Some(&b"bad"[..]));
    for entry in &entries {
        let record = record(entry);
        assert_eq!((record.service.as_str(), record.accepted_at), ("shop", Wall(7)));
    }
    let mut found: Vec<Uuid> = entries.iter().map(|entry| record(entry).id).collect();
    let mut expected: Vec<Uuid> = (0..2)
        .flat_map(|partition| (0..25).map(move |offset| (partition, offset)))
        .map(|(partition, offset)| ids::for_source(&shop, partition, offset))
        .chain([ids::for_source(&shop, 0, 26)])
        .collect();
    found.sort_unstable();
    expected.sort_unstable();
    assert_eq!(found, expected);
    let settled = async {
        while status().lag != 0 || status().imported != 51 || status().dead_lettered != 1 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, settled).await.unwrap_or_else(|_| panic!("{:?}", status()));
    stop.send(true).expect("it runs");
    task.await.expect("no panic").expect("it ends in order");

    let (status, stop, task) = start();
    produce(&foreign, &shop, 1, "k", br#"{"actor":{"id":"new"},"event":"after a restart"}"#).await;
    assert_eq!(record(&read(&mut reader, 1).await[0]).id, ids::for_source(&shop, 1, 25));
    let counted = async {
        while status().imported == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, counted).await.expect("it is counted");
    assert_eq!((status().imported, status().dead_lettered), (1, 0), "nothing comes twice");
    stop.send(true).expect("it runs");
    task.await.expect("no panic").expect("it ends in order");
}
