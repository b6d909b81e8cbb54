//! A router with an empty store beside a Cassandra that has everything: nothing is missed, nothing comes twice, and what cannot
//! be read is never shown as nothing.

use std::collections::HashSet;

use serde_json::{Value, json};
use tests::client::id_of;
use tests::{Tocsin, until};

use crate::support::{Held, server, to_user, wait_for_state, wait_until_carried};

fn ids(notifications: &[Value]) -> Vec<String> {
    notifications.iter().map(id_of).collect()
}

/// Another router on the same keyspace, which has never seen anything.
fn successor(held: &Held, keyspace: &str, mut before: Tocsin) -> Tocsin {
    wait_until_carried(&before);
    before.kill_9();
    drop(before);
    held.on(keyspace).start()
}

fn inbox(tocsin: &Tocsin, user: &str) -> Vec<Value> {
    let mut all = Vec::new();
    let mut path = format!("/v1/users/{user}/inbox?limit=50");
    loop {
        let page = tocsin.api().get(&path).expect(200).json();
        all.extend(page["notifications"].as_array().expect("a list").iter().cloned());
        if page["has_more"] == false {
            return all;
        }
        path =
            format!("/v1/users/{user}/inbox?limit=50&cursor={}", page["cursor"].as_str().expect("a cursor"));
    }
}

#[test]
fn thousands_missed_come_in_pages_of_fifty_from_cassandra() {
    let held = server();
    let (setup, keyspace) = held.setup();
    let first = setup.start();
    let notes: Vec<Value> = (0..3_000).map(|i| to_user("ina", &i.to_string())).collect();
    let mut sent: Vec<String> = Vec::new();
    for some in notes.chunks(1_000) {
        sent.extend(first.api().accepted_batch(some));
    }
    let second = successor(&held, &keyspace, first);
    let more: Vec<String> =
        (0..70).map(|i| second.api().accepted(&to_user("ina", &format!("new {i}")))).collect();
    sent.extend(more);
    until("the new ones are decided", || (second.api().reconcile()["journal_lag"] == 0).then_some(()));
    let mut client = second.connect("ina");
    let (missed, pages) = client.sync_all(&json!({ "last_seen_at": "2020-01-01T00:00:00Z", "limit": 50 }));
    assert_eq!(ids(&missed), sent, "all, in order, each once");
    assert_eq!(pages.iter().filter(|page| **page == 50).count(), 3_070 / 50);
    let stamp =
        |one: &Value| wire::time::Wall::parse(one["created_at"].as_str().expect("a stamp")).expect("a date");
    let in_one_millisecond =
        missed.windows(2).filter(|pair| stamp(&pair[0]).millis() == stamp(&pair[1]).millis());
    assert!(in_one_millisecond.count() > 100, "rows that Cassandra holds under the same time are among them");
    assert_eq!(ids(&inbox(&second, "ina")), sent);
    let (rest, _) = client.sync_all(&json!({ "last_seen_at": missed[2_500]["created_at"] }));
    assert_eq!(ids(&rest), sent[2_501..]);
}

#[test]
fn rows_of_the_very_same_stamp_are_told_apart() {
    let held = server();
    let (setup, keyspace) = held.setup();
    let first = setup.start();
    first.api().accepted(&to_user("jo", "first"));
    let second = successor(&held, &keyspace, first);
    let cql = held.cql();
    let at = "2026-01-02T03:04:05.678Z";
    let mut planted = HashSet::new();
    for i in 0..120 {
        let id = format!("00000000-0000-4000-8000-{i:012}");
        let text = json!({
            "id": id, "created_at": at, "accepted_at": at, "priority": "normal", "category": null,
            "title": "tie", "body": null, "data": {}, "topic": null, "collapse_key": null,
        });
        cql.run(&format!(
            "INSERT INTO {keyspace}.notifications_by_user (user_id, created_at, notification_id, stamp_us, notification) \
             VALUES ('jo', '2026-01-02T03:04:05.678+0000', {id}, 1767323045678000, '{text}')"
        ));
        planted.insert(id);
    }
    // Others may write there, too: what is no notification is passed over.
    for (i, text) in ["no JSON", "{}", ""].iter().enumerate() {
        cql.run(&format!(
            "INSERT INTO {keyspace}.notifications_by_user (user_id, created_at, notification_id, stamp_us, notification) \
             VALUES ('jo', '2026-01-03T03:04:05.678+0000', 00000000-0000-4000-8000-00000000000{i}, 1767409445678000, '{text}')"
        ));
    }
    let mut client = second.connect("jo");
    let (missed, pages) = client.sync_all(&json!({ "limit": 50 }));
    assert_eq!(pages, [50, 50, 21]);
    let met: HashSet<String> = ids(&missed).into_iter().collect();
    assert_eq!((met.len(), planted.is_subset(&met)), (121, true));
    let (rest, _) = client.sync_all(&json!({ "last_seen_at": at }));
    assert_eq!(rest.len(), 1, "what has that very stamp was seen");
}

#[test]
fn what_was_done_and_subscribed_to_is_known_to_the_next_router() {
    let held = server();
    let (setup, keyspace) = held.setup();
    let first = setup.start();
    let mut client = first.connect("kim");
    client.say(&json!({ "type": "subscribe", "topics": ["news"] }));
    client.recv("subscribed");
    let read = first.api().accepted(&to_user("kim", "read"));
    let unread = first.api().accepted(&to_user("kim", "unread"));
    let topic = first.api().accepted(&json!({ "to": { "topic": "news" }, "title": "topic" }));
    let everybody = first.api().accepted(&json!({ "to": { "all": true }, "title": "everybody" }));
    client.recv_ids(4);
    first.api().send("POST", "/v1/users/kim/inbox/read", &json!({ "ids": [read] })).expect(204);
    let story = |tocsin: &Tocsin| {
        let mut story = tocsin.api().get(&format!("/v1/notifications/{read}")).expect(200).json();
        story["deliveries"].as_array_mut().expect("a list").sort_by_key(|one| one["channel"].to_string());
        story
    };
    let told = until("it is read", || {
        Some(story(&first)).filter(|story| story["deliveries"][0]["state"] == "delivered")
    });
    let second = successor(&held, &keyspace, first);
    assert_eq!(story(&second), told, "the same story on any router");
    second.api().get("/v1/notifications/00000000-0000-4000-8000-000000000000").expect(404);
    let shown = inbox(&second, "kim");
    assert_eq!(ids(&shown), [read.as_str(), &unread, &topic, &everybody]);
    assert_eq!(shown.iter().map(|one| one["read"] == true).collect::<Vec<_>>(), [true, false, false, false]);
    let page = second.api().get("/v1/users/kim/inbox?limit=1").expect(200).json();
    assert_eq!(page["unread"], 1, "of the user's own: {page}");
    let mut client = second.connect("kim");
    let (missed, _) = client.sync_all(&json!({}));
    assert_eq!(ids(&missed), ids(&shown));
    // An act on what only Cassandra has is kept there; one on somebody else's is not.
    client.ack(&[&unread, "00000000-0000-4000-8000-000000000000"]);
    second.api().send("POST", "/v1/users/kim/inbox/read", &json!({ "ids": [topic] })).expect(204);
    until("both are marked", || {
        let shown = inbox(&second, "kim");
        let flags: Vec<_> =
            shown.iter().map(|one| (one["acknowledged"] == true, one["read"] == true)).collect();
        (flags == [(false, true), (true, false), (false, true), (false, false)]).then_some(())
    });
    let marks = format!("SELECT notification_id FROM {keyspace}.marks_by_user WHERE user_id = 'kim'");
    assert_eq!(held.cql().texts(&marks).len(), 3);
    // The subscription was brought, so that what is sent now comes at once.
    let live = second.api().accepted(&json!({ "to": { "topic": "news" }, "title": "live" }));
    assert_eq!(client.recv_ids(1), [live]);
}

#[test]
fn away_it_is_said_and_never_shown_as_nothing() {
    let mut held = server();
    let (setup, keyspace) = held.setup();
    let first = setup.start();
    let old = first.api().accepted(&to_user("lu", "old"));
    let second = successor(&held, &keyspace, first);
    let mut client = second.connect("lu");
    client.sync_all(&json!({}));
    held.cassandra().nodes[0].process.freeze();
    wait_for_state(&second, "down");
    let says = second.api().get("/v1/users/lu/inbox").problem(503);
    assert!(says.contains("Cassandra"), "{says}");
    second.api().get(&format!("/v1/notifications/{old}")).problem(503);
    client.say(&json!({ "type": "sync", "limit": 50 }));
    let refused = client.recv("error");
    assert_eq!(
        (&refused["code"], refused["retry_after_ms"].is_number()),
        (&json!("unavailable"), true),
        "{refused}"
    );
    // What is new is here, and so is the story of it.
    let new = second.api().accepted(&to_user("lu", "new"));
    assert_eq!(client.recv_ids(1), [new.as_str()]);
    second.api().get(&format!("/v1/notifications/{new}")).expect(200);
    held.cassandra().nodes[0].process.thaw();
    wait_for_state(&second, "up");
    assert_eq!(ids(&inbox(&second, "lu")), [old, new]);
}
