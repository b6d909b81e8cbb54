//! With Kafka configured, Kafka is the journal: a 202 means that the brokers have it, and a restart goes on where it was.

use serde_json::json;
use tests::{Equation, Setup, until};

use crate::support::{OnKafka, setup, shop_source, unique};

#[test]
fn what_is_accepted_is_durable_in_kafka_and_delivered() {
    let system = OnKafka::start("durable", |setup, _| setup);
    let mut client = system.tocsin.connect("ada");
    let note = json!({ "to": { "user": "ada" }, "title": "through Kafka", "priority": "critical" });
    let answer = system.tocsin.api().post(&note).expect(202).json();
    assert_eq!(answer["durable_in"], "kafka");
    assert_eq!(client.recv("notification")["id"], answer["id"]);
    let records = system.records("critical");
    assert_eq!(records.len(), 1);
    assert_eq!(records[0]["id"], answer["id"], "readable by any Kafka tool: {}", records[0]);
}

#[test]
fn a_restart_goes_on_and_doubles_nothing() {
    let topic = unique("shop-restart");
    tests::kafka::shared().create_topic(&topic, 2);
    let mut system = OnKafka::start("restart", |setup, _| setup.push("kafka.source", shop_source(&topic)));
    let lines = |from: u32, to: u32| -> String {
        (from..to)
            .map(|i| {
                json!({ "order": format!("o-{i}"), "actor": { "id": "ada" }, "what": i.to_string() })
                    .to_string()
                    + "\n"
            })
            .collect()
    };
    system.kafka.produce(&topic, None, &lines(0, 40));
    let mut client = system.tocsin.connect("ada");
    until("forty", || (client.sync_all(&json!({})).0.len() == 40).then_some(()));
    system.tocsin.kill_9();
    system.kafka.produce(&topic, None, &lines(40, 80));
    system.tocsin.start_gateway();
    let mut client = system.tocsin.connect("ada");
    until("eighty", || (client.sync_all(&json!({})).0.len() >= 80).then_some(()));
    Equation::settled(&system.tocsin.api());
    assert_eq!(client.sync_all(&json!({})).0.len(), 80, "none twice");
}

#[test]
fn topics_of_another_width_are_refused_by_name() {
    let system = OnKafka::start("width", |setup, _| setup);
    let tocsin = setup(&system.prefix).set("kafka.partitions", 5).prepare();
    let mut process = tocsin.launch_gateway();
    let ending = process.ending(std::time::Duration::from_secs(60));
    assert_eq!(ending.status.code(), Some(2), "{}", ending.log);
    assert!(ending.log.contains(&system.prefix) && ending.log.contains('5'), "{}", ending.log);
}

#[test]
fn a_broker_that_is_not_there_is_named() {
    let nowhere = tests::ports::free().to_string();
    let tocsin = Setup::standalone().set("kafka.brokers", vec![nowhere.clone()]).prepare();
    let mut process = tocsin.launch_gateway();
    let ending = process.ending(std::time::Duration::from_secs(60));
    assert_eq!(ending.status.code(), Some(2), "{}", ending.log);
    assert!(ending.log.contains(&nowhere), "{}", ending.log);
}
