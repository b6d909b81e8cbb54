//! A record that nobody can read goes to the dead-letter topic with its reason, and the partition moves on.

use serde_json::json;
use tests::deadline::PATIENCE;
use tests::{Equation, until};

use crate::support::{OnKafka, SHOP, order};

const DLQ: &str = "notifications.dlq";

#[test]
fn poison_in_a_foreign_topic_is_set_aside_with_its_reason() {
    let system = OnKafka::with_shop(1);
    let mut client = system.tocsin.connect("ada");
    let poison = [
        "this is no JSON",
        "{\"order\":\"o\",\"what\":\"nobody to tell\"}",
        "[[[[[[",
        "{\"actor\":{\"id\":{}}}",
    ];
    let good = order("good", "ada", "behind the poison");
    system.kafka.produce(SHOP, None, &format!("{}\n{good}", poison.join("\n")));
    assert_eq!(client.recv_within("notification", 3 * PATIENCE)["title"], "behind the poison");
    // The dead-letter topic has several partitions: the order between them is nobody's.
    let set_aside = until("all four are in the dead-letter topic", || {
        let records = system.kafka.consume(DLQ, "%s|%h\n");
        (records.len() >= poison.len()).then_some(records)
    });
    assert_eq!(set_aside.len(), poison.len(), "{set_aside:?}");
    for text in poison {
        let record = set_aside.iter().find(|record| record.starts_with(text));
        let record = record.unwrap_or_else(|| panic!("{text} is not there as it was: {set_aside:?}"));
        assert!(record.contains("reason="), "with a reason: {record}");
        assert!(record.contains(SHOP), "with its origin: {record}");
    }
}

#[test]
fn poison_in_our_own_topic_is_set_aside_too() {
    let system = OnKafka::start(|setup| setup);
    let mut client = system.tocsin.connect("ada");
    for partition in ["0", "1", "2"] {
        let arguments = ["-P", "-t", "notifications.normal", "-p", partition];
        system.kafka.kcat(&arguments, Some("{\"v\":99,\"nobody\":\"knows this version\"}\n"));
    }
    let id = system.tocsin.api().accepted(&json!({ "to": { "user": "ada" }, "title": "moves on" }));
    assert_eq!(client.recv_within("notification", 3 * PATIENCE)["id"], id.as_str());
    until("three dead letters", || (system.kafka.consume(DLQ, "%h\n").len() == 3).then_some(()));
    let equation = Equation::settled(&system.tocsin.api());
    assert_eq!(equation.number("dead_lettered"), 3, "{:#}", equation.answer);
    let letters = system.tocsin.api().get("/v1/dead-letters").expect(200).json();
    assert_eq!(letters["items"].as_array().map(Vec::len), Some(3), "{letters}");
}
