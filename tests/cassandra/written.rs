//! What the router's store has, Cassandra has: as it is now, not as it was.

use serde_json::{Value, json};
use tests::until;

use crate::support::{server, titles, to_user, wait_until_carried};

#[test]
fn every_state_of_a_notification_is_there() {
    let held = server();
    let (setup, keyspace) = held.setup();
    let tocsin = setup.start();
    let api = tocsin.api();
    let cql = held.cql();
    let mut client = tocsin.connect("ada");
    client.say(&json!({ "type": "subscribe", "topics": ["news", "sport"] }));
    client.recv("subscribed");
    client.say(&json!({ "type": "unsubscribe", "topics": ["sport"] }));
    client.recv("subscribed");
    let one = api.accepted(&to_user("ada", "one"));
    let two = api.accepted(&to_user("ada", "two"));
    let pushed =
        api.accepted(&json!({ "to": { "user": "ada" }, "title": "three", "channels": ["inapp", "push"] }));
    api.accepted(&json!({ "to": { "topic": "news" }, "title": "to a topic" }));
    api.accepted(&json!({ "to": { "all": true }, "title": "to everybody" }));
    client.recv_ids(5);
    client.ack(&[&one]);
    api.send("POST", "/v1/users/ada/inbox/read", &json!({ "ids": [two] })).expect(204);
    until("it is acknowledged", || {
        let story = api.get(&format!("/v1/notifications/{one}")).expect(200).json();
        (story["deliveries"][0]["state"] == "delivered").then_some(())
    });
    wait_until_carried(&tocsin);
    assert_eq!(titles(&cql, &keyspace, "ada"), ["one", "two", "three"]);
    let marks = |id: &str, column: &str| {
        cql.texts(&format!(
            "SELECT {column} FROM {keyspace}.marks_by_user WHERE user_id = 'ada' AND notification_id = {id}"
        ))
    };
    // A mark that is not set is not written: it could only take one away that another hand has set.
    assert_eq!((marks(&one, "acknowledged"), marks(&one, "read")), (vec!["Boolean(true)".into()], vec![]));
    assert_eq!(marks(&two, "read"), ["Boolean(true)"]);
    assert!(marks(&pushed, "read").is_empty());
    let topics = format!("SELECT topic FROM {keyspace}.subscriptions_by_user WHERE user_id = 'ada'");
    assert_eq!(cql.texts(&topics), ["news"]);
    let broadcast = |scope: &str, topic: &str| {
        cql.rows(&format!(
            "SELECT notification_id FROM {keyspace}.notifications_by_topic WHERE scope = '{scope}' AND topic = '{topic}'"
        ))
        .len()
    };
    assert_eq!((broadcast("topic", "news"), broadcast("all", "")), (1, 1));
    let states =
        format!("SELECT state FROM {keyspace}.deliveries_by_notification WHERE notification_id = {one}");
    assert_eq!(cql.texts(&states), ["delivered"]);
    let channels =
        format!("SELECT channel FROM {keyspace}.deliveries_by_notification WHERE notification_id = {pushed}");
    assert_eq!(cql.texts(&channels), ["inapp", "push"]);
    let told =
        format!("SELECT delivery FROM {keyspace}.deliveries_by_notification WHERE notification_id = {one}");
    let told: Value = serde_json::from_str(&cql.texts(&told)[0]).expect("JSON");
    assert_eq!((&told["recipient"], &told["acknowledgements"]), (&json!("user:ada"), &json!(1)), "{told}");
}

#[test]
fn what_is_shown_no_more_is_gone_there_too() {
    let held = server();
    let (setup, keyspace) = held.setup();
    let tocsin = setup.start();
    let api = tocsin.api();
    let cql = held.cql();
    let collapsing = |title: &str| json!({ "to": { "user": "bo" }, "title": title, "collapse_key": "k" });
    api.accepted(&collapsing("older"));
    wait_until_carried(&tocsin);
    assert_eq!(titles(&cql, &keyspace, "bo"), ["older"]);
    api.accepted(&collapsing("newer"));
    api.accepted(&json!({ "to": { "user": "bo" }, "title": "short", "ttl_s": 1 }));
    let cancelled = api.accepted(&to_user("bo", "cancelled"));
    wait_until_carried(&tocsin);
    api.send("DELETE", &format!("/v1/notifications/{cancelled}"), &json!(null)).expect(200);
    until("only what is shown is left", || (titles(&cql, &keyspace, "bo") == ["newer"]).then_some(()));
}
