//! A record that nobody can read goes to the dead-letter topic with its reason, and the partition moves on.

use tests::kafka;
use tests::{Equation, until};

use crate::support::{OnKafka, shop_source, unique};

#[test]
fn poison_in_a_foreign_topic_is_set_aside_with_its_reason() {
    let topic = unique("shop-poison");
    kafka::shared().create_topic(&topic, 1);
    let system = OnKafka::start("poison", |setup, _| setup.push("kafka.source", shop_source(&topic)));
    let mut client = system.tocsin.connect("ada");
    let good = "{\"order\":\"good\",\"actor\":{\"id\":\"ada\"},\"what\":\"behind the poison\"}";
    let poison = [
        "this is no JSON",
        "{\"order\":\"o\",\"what\":\"nobody to tell\"}",
        "[[[[[[",
        "{\"actor\":{\"id\":{}}}",
    ];
    system.kafka.produce(&topic, None, &format!("{}\n{good}\n", poison.join("\n")));
    assert_eq!(client.recv("notification")["title"], "behind the poison");
    let dlq = format!("{}.dlq", system.prefix);
    let set_aside = until("all four are in the dead-letter topic", || {
        let records = system.kafka.consume(&dlq, "%s|%h\n");
        (records.len() >= poison.len()).then_some(records)
    });
    assert_eq!(set_aside.len(), poison.len(), "{set_aside:?}");
    for (text, record) in poison.iter().zip(&set_aside) {
        assert!(record.starts_with(text), "as it was: {record}");
        assert!(record.contains("reason="), "with a reason: {record}");
        assert!(record.contains(&topic), "with its origin: {record}");
    }
}

#[test]
fn poison_in_our_own_topic_is_set_aside_too() {
    let system = OnKafka::start("own-poison", |setup, _| setup);
    let mut client = system.tocsin.connect("ada");
    let normal = format!("{}.normal", system.prefix);
    for partition in ["0", "1", "2"] {
        let arguments = ["-P", "-t", &normal, "-p", partition];
        system.kafka.kcat(&arguments, Some("{\"v\":99,\"nobody\":\"knows this version\"}\n"));
    }
    let id =
        system.tocsin.api().accepted(&serde_json::json!({ "to": { "user": "ada" }, "title": "moves on" }));
    assert_eq!(client.recv("notification")["id"], id.as_str());
    until("three dead letters", || {
        let records = system.kafka.consume(&format!("{}.dlq", system.prefix), "%h\n");
        (records.len() == 3).then_some(())
    });
    let equation = Equation::settled(&system.tocsin.api());
    assert_eq!(equation.number("dead_lettered"), 3, "{:#}", equation.answer);
    let letters = system.tocsin.api().get("/v1/dead-letters").expect(200).json();
    assert_eq!(letters["items"].as_array().map(Vec::len), Some(3), "{letters}");
}
