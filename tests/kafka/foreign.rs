//! A topic that existed before us, written by a program that knows nothing of us, reaches live sockets.

use serde_json::json;
use tests::kafka;
use tests::{Equation, until};
use wire::partition::partition_of;

use crate::support::{OnKafka, shop_source, unique};

#[test]
fn foreign_json_is_mapped_imported_and_delivered_live() {
    let topic = unique("shop-orders");
    kafka::shared().create_topic(&topic, 2);
    let system = OnKafka::start("foreign", |setup, _| setup.push("kafka.source", shop_source(&topic)));
    let mut client = system.tocsin.connect("4711");
    system.kafka.produce(
        &topic,
        Some("any-key"),
        "{\"order\":\"o-1\",\"actor\":{\"id\":4711},\"what\":\"Shipped\",\"details\":{\"text\":\"on its way\"},\"more\":[1]}\n",
    );
    let notification = client.recv("notification");
    for (field, value) in
        [("title", "Shipped"), ("body", "on its way"), ("priority", "high"), ("category", "orders")]
    {
        assert_eq!(notification[field], value, "{notification}");
    }
    // Our own topic holds it, on the partition that Kafka's own murmur2 would choose for the user.
    let placed = system.kafka.consume(&format!("{}.high", system.prefix), "%p\n");
    assert_eq!(placed, [partition_of("4711", 3).to_string()]);
    Equation::settled(&system.tocsin.api());
}

#[test]
fn the_same_order_twice_is_one_notification() {
    let topic = unique("shop-twice");
    kafka::shared().create_topic(&topic, 1);
    let system = OnKafka::start("twice", |setup, _| setup.push("kafka.source", shop_source(&topic)));
    let order = |id: &str| json!({ "order": id, "actor": { "id": "ada" }, "what": id }).to_string() + "\n";
    system.kafka.produce(&topic, None, &(order("o-1") + &order("o-1") + &order("o-2")));
    let mut client = system.tocsin.connect("ada");
    until("both are there", || {
        let (found, _) = client.sync_all(&json!({}));
        (found.len() == 2).then_some(())
    });
    Equation::settled(&system.tocsin.api());
    let (found, _) = client.sync_all(&json!({}));
    assert_eq!(found.len(), 2, "{found:?}");
}

#[test]
fn many_are_delivered_each_once_and_in_order() {
    let topic = unique("shop-many");
    kafka::shared().create_topic(&topic, 1);
    let system = OnKafka::start("many", |setup, _| setup.push("kafka.source", shop_source(&topic)));
    let mut client = system.tocsin.connect("ada");
    let lines: String = (0..500)
        .map(|i| {
            json!({ "order": format!("o-{i}"), "actor": { "id": "ada" }, "what": i.to_string() }).to_string()
                + "\n"
        })
        .collect();
    system.kafka.produce(&topic, None, &lines);
    let titles: Vec<_> = (0..500).map(|_| client.recv("notification")["title"].clone()).collect();
    let wanted: Vec<_> = (0..500).map(|i| json!(i.to_string())).collect();
    assert_eq!(titles, wanted);
}
