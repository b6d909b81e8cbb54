//! A person who is erased is gone from Cassandra, too, and the answer says whether.

use serde_json::json;

use crate::support::{Held, server, titles, to_user, wait_for_state, wait_until_carried};

fn rows_left(held: &Held, keyspace: &str) -> usize {
    let cql = held.cql();
    let of_user = ["notifications_by_user", "marks_by_user", "subscriptions_by_user"];
    let left = of_user.iter().map(|table| {
        cql.rows(&format!("SELECT user_id FROM {keyspace}.{table} WHERE user_id = 'dora'")).len()
    });
    let left: usize = left.sum();
    let deliveries = cql.texts(&format!("SELECT recipient FROM {keyspace}.deliveries_by_notification"));
    left + deliveries.iter().filter(|recipient| recipient.contains("dora")).count()
}

#[test]
fn a_person_goes_at_once_or_when_it_is_back() {
    let mut held = server();
    let (setup, keyspace) = held.setup();
    let tocsin = setup.start();
    let api = tocsin.api();
    let mut client = tocsin.connect("dora");
    client.say(&json!({ "type": "subscribe", "topics": ["news"] }));
    client.recv("subscribed");
    let shared = api.accepted(&json!({ "to": { "users": ["dora", "eve"] }, "title": "to both" }));
    let own = api.accepted(&to_user("dora", "own"));
    client.recv_ids(2);
    client.ack(&[&own]);
    wait_until_carried(&tocsin);
    assert!(rows_left(&held, &keyspace) >= 6);

    let told = api.send("DELETE", "/v1/users/dora", &json!(null)).expect(200).json();
    assert_eq!(told["cassandra"], "erased", "{told}");
    assert_eq!(rows_left(&held, &keyspace), 0);
    assert_eq!(titles(&held.cql(), &keyspace, "eve"), ["to both"]);
    let others = format!(
        "SELECT recipient FROM {keyspace}.deliveries_by_notification WHERE notification_id = {shared}"
    );
    assert!(held.cql().texts(&others).contains(&"user:eve".to_owned()));

    api.accepted(&to_user("dora", "after"));
    wait_until_carried(&tocsin);
    assert_eq!(titles(&held.cql(), &keyspace, "dora"), ["after"], "what comes later is kept");
    held.cassandra().nodes[0].process.freeze();
    let told = api.send("DELETE", "/v1/users/dora", &json!(null)).expect(200).json();
    assert_eq!(told["cassandra"], "waits", "{told}");
    held.cassandra().nodes[0].process.thaw();
    wait_for_state(&tocsin, "up");
    wait_until_carried(&tocsin);
    tests::until("nothing is left of her", || (rows_left(&held, &keyspace) == 0).then_some(()));
}
