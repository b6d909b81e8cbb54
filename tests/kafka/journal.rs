//! With Kafka configured, Kafka is the journal: a 202 means that the brokers have it, and a restart goes on where it was.

use std::time::Duration;

use serde_json::json;
use tests::deadline::PATIENCE;
use tests::{Equation, Setup};

use crate::support::{OnKafka, SHOP, on, order};

/// A start that is refused has asked the brokers first.
const REFUSAL: Duration = Duration::from_secs(60);

#[test]
fn what_is_accepted_is_durable_in_kafka_and_delivered() {
    let system = OnKafka::start(|setup| setup);
    let mut client = system.tocsin.connect("ada");
    let note = json!({ "to": { "user": "ada" }, "title": "through Kafka", "priority": "critical" });
    let answer = system.tocsin.api().post(&note).expect(202).json();
    assert_eq!(answer["durable_in"], "kafka");
    assert_eq!(client.recv_within("notification", 3 * PATIENCE)["id"], answer["id"]);
    let records = system.records("critical");
    assert_eq!(records.len(), 1);
    assert_eq!(records[0]["id"], answer["id"], "readable by any Kafka tool: {}", records[0]);
}

#[test]
fn a_restart_goes_on_and_doubles_nothing() {
    let mut system = OnKafka::with_shop(2);
    let orders = |from: u32, to: u32| -> String {
        (from..to).map(|i| order(&format!("o-{i}"), "ada", &i.to_string())).collect()
    };
    system.kafka.produce(SHOP, None, &orders(0, 40));
    system.wait_for_inbox("ada", 40);
    system.tocsin.kill_9();
    system.kafka.produce(SHOP, None, &orders(40, 80));
    system.tocsin.start_gateway();
    // The group waits for the member that was killed before it gives its partitions to the new one.
    system.wait_for_inbox("ada", 80);
    Equation::settled(&system.tocsin.api());
    let (found, _) = system.tocsin.connect("ada").sync_all(&json!({}));
    assert_eq!(found.len(), 80, "none lost, none twice");
}

#[test]
fn topics_of_another_width_are_refused_by_name() {
    let mut system = OnKafka::start(|setup| setup);
    system.tocsin.kill_9();
    let tocsin = on(&system.kafka).set("kafka.partitions", 5).prepare();
    let mut process = tocsin.launch_gateway();
    let ending = process.ending(REFUSAL);
    assert_eq!(ending.status.code(), Some(2), "{}", ending.log);
    assert!(ending.log.contains("notifications.") && ending.log.contains('5'), "{}", ending.log);
}

#[test]
fn a_broker_that_is_not_there_is_named() {
    let nowhere = tests::ports::free().to_string();
    let tocsin = Setup::standalone().set("kafka.brokers", vec![nowhere.clone()]).prepare();
    let mut process = tocsin.launch_gateway();
    let ending = process.ending(REFUSAL);
    assert_eq!(ending.status.code(), Some(2), "{}", ending.log);
    assert!(ending.log.contains(&nowhere), "{}", ending.log);
}
