//! A notification reaches whom it names: a user, users, a topic's subscribers, everyone; and nobody else.

use serde_json::json;
use tests::client::id_of;
use tests::{Equation, Setup};

use crate::support::{expect_id, expect_nothing_before_now, shared};

#[test]
fn a_user_gets_it_as_it_was_handed_in() {
    let tocsin = shared();
    let mut client = tocsin.connect("targets-ada");
    let answer = tocsin.api().post(&json!({
        "to": { "user": "targets-ada" }, "priority": "high", "category": "disks", "title": "Disk almost full",
        "body": "db-3 has 4 % left — ünïcode \u{1F514}", "data": { "free": 4.0, "nested": { "list": [1, null] } },
    }));
    let answer = answer.expect(202).json();
    assert!(
        ["journal", "disk", "kafka"].contains(&answer["durable_in"].as_str().unwrap_or_default()),
        "{answer}"
    );
    assert!(answer["seq"].as_u64().is_some_and(|seq| seq > 0), "{answer}");
    let notification = client.recv("notification");
    assert_eq!(notification["id"], answer["id"]);
    for (field, value) in [
        ("priority", json!("high")),
        ("category", json!("disks")),
        ("title", json!("Disk almost full")),
        ("body", json!("db-3 has 4 % left — ünïcode \u{1F514}")),
        ("data", json!({ "free": 4.0, "nested": { "list": [1, null] } })),
        ("topic", json!(null)),
        ("collapse_key", json!(null)),
    ] {
        assert_eq!(notification[field], value, "{field}");
    }
    let dates =
        ["accepted_at", "created_at"].map(|field| notification[field].as_str().expect("a date").to_owned());
    assert!(dates.iter().all(|date| date.ends_with('Z')), "{dates:?}");
}

#[test]
fn each_of_several_users_gets_it_once_and_others_do_not() {
    let tocsin = shared();
    let mut named: Vec<_> = (0..5).map(|i| tocsin.connect(&format!("targets-many-{i}"))).collect();
    let mut other = tocsin.connect("targets-many-other");
    let users: Vec<String> = (0..5).map(|i| format!("targets-many-{i}")).collect();
    let id = tocsin.api().accepted(&json!({ "to": { "users": users }, "title": "to several" }));
    for (i, client) in named.iter_mut().enumerate() {
        expect_id(client, &id);
        expect_nothing_before_now(tocsin, &format!("targets-many-{i}"), client);
    }
    expect_nothing_before_now(tocsin, "targets-many-other", &mut other);
}

#[test]
fn a_topic_reaches_its_subscribers_until_they_leave() {
    let tocsin = shared();
    let (mut inside, mut outside) = (tocsin.connect("targets-in"), tocsin.connect("targets-out"));
    inside.say(&json!({ "type": "subscribe", "topics": ["targets-t", "targets-u"] }));
    let subscribed = inside.recv("subscribed");
    assert_eq!(subscribed["topics"].as_array().map(Vec::len), Some(2), "{subscribed}");
    let id = tocsin.api().accepted(&json!({ "to": { "topic": "targets-t" }, "title": "to a topic" }));
    let notification = expect_id(&mut inside, &id);
    assert_eq!(notification["topic"], "targets-t");
    expect_nothing_before_now(tocsin, "targets-out", &mut outside);
    inside.say(&json!({ "type": "unsubscribe", "topics": ["targets-t"] }));
    assert_eq!(inside.recv("subscribed")["topics"], json!(["targets-u"]));
    tocsin.api().accepted(&json!({ "to": { "topic": "targets-t" }, "title": "nobody hears it" }));
    expect_nothing_before_now(tocsin, "targets-in", &mut inside);
}

#[test]
fn a_subscription_outlives_the_connection() {
    let tocsin = shared();
    let mut client = tocsin.connect("targets-back");
    client.say(&json!({ "type": "subscribe", "topics": ["targets-back"] }));
    client.recv("subscribed");
    drop(client);
    let missed = tocsin.api().accepted(&json!({ "to": { "topic": "targets-back" }, "title": "missed" }));
    Equation::settled(&tocsin.api());
    let mut client = tocsin.connect("targets-back");
    // The owner tells the shard the user's topics before it answers.
    let (page, _) = client.sync_all(&json!({}));
    assert_eq!(page.iter().map(id_of).collect::<Vec<_>>(), [missed]);
    let live = tocsin.api().accepted(&json!({ "to": { "topic": "targets-back" }, "title": "live" }));
    expect_id(&mut client, &live);
}

#[test]
fn all_means_every_connection_and_every_device() {
    let tocsin = Setup::standalone().start();
    let mut clients: Vec<_> =
        (0..20).map(|i| tocsin.connect_device(&format!("u{}", i / 2), &format!("d{i}"))).collect();
    let id = tocsin.api().accepted(&json!({ "to": { "all": true }, "title": "to everyone" }));
    for client in &mut clients {
        expect_id(client, &id);
    }
    let mut late = tocsin.connect("late");
    let (missed, _) = late.sync_all(&json!({ "last_seen_at": "2020-01-01T00:00:00Z" }));
    assert_eq!(missed.iter().map(id_of).collect::<Vec<_>>(), [id], "who was away finds it by sync");
}

#[test]
fn one_user_s_notifications_keep_their_order() {
    let tocsin = shared();
    let mut client = tocsin.connect("targets-order");
    let notes: Vec<_> =
        (0..300).map(|i| json!({ "to": { "user": "targets-order" }, "title": format!("{i}") })).collect();
    let sent = tocsin.api().accepted_batch(&notes);
    assert_eq!(client.recv_ids(300), sent);
}
