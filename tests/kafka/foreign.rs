//! A topic that existed before us, written by a program that knows nothing of us, reaches live sockets.

use serde_json::json;
use tests::Equation;
use tests::deadline::PATIENCE;
use wire::partition::partition_of;

use crate::support::{OnKafka, SHOP, order};

#[test]
fn foreign_json_is_mapped_imported_and_delivered_live() {
    let system = OnKafka::with_shop(2);
    let mut client = system.tocsin.connect("4711");
    // A number as the user's id, a key that means nothing to us, fields that nobody asked for.
    system.kafka.produce(
        SHOP,
        Some("any-key"),
        "{\"order\":\"o-1\",\"actor\":{\"id\":4711},\"what\":\"Shipped\",\"details\":{\"text\":\"on its way\"},\"more\":[1]}\n",
    );
    let notification = client.recv_within("notification", 3 * PATIENCE);
    for (field, value) in
        [("title", "Shipped"), ("body", "on its way"), ("priority", "high"), ("category", "orders")]
    {
        assert_eq!(notification[field], value, "{notification}");
    }
    // Our own topic holds it, on the partition that Kafka's own murmur2 would choose for the user.
    let placed = system.kafka.consume("notifications.high", "%p\n");
    assert_eq!(placed, [partition_of("4711", 3).to_string()]);
    Equation::settled(&system.tocsin.api());
}

#[test]
fn the_same_order_twice_is_one_notification() {
    let system = OnKafka::with_shop(1);
    let orders = order("o-1", "ada", "one") + &order("o-1", "ada", "one") + &order("o-2", "ada", "two");
    system.kafka.produce(SHOP, None, &orders);
    system.wait_for_inbox("ada", 2);
    Equation::settled(&system.tocsin.api());
    let (found, _) = system.tocsin.connect("ada").sync_all(&json!({}));
    assert_eq!(found.len(), 2, "{found:?}");
}

#[test]
fn many_are_delivered_each_once_and_in_order() {
    let system = OnKafka::with_shop(1);
    let mut client = system.tocsin.connect("ada");
    let orders: String = (0..500).map(|i| order(&format!("o-{i}"), "ada", &i.to_string())).collect();
    system.kafka.produce(SHOP, None, &orders);
    let titles: Vec<_> =
        (0..500).map(|_| client.recv_within("notification", 3 * PATIENCE)["title"].clone()).collect();
    let wanted: Vec<_> = (0..500).map(|i| json!(i.to_string())).collect();
    assert_eq!(titles, wanted);
}
