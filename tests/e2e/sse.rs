//! Where WebSocket is blocked, server-sent events carry the same, and a POST says what a client has to say.

use serde_json::json;
use tests::client::id_of;
use tests::until;

use crate::support::{shared, to_user};

#[test]
fn events_bring_the_welcome_and_what_comes() {
    let tocsin = shared();
    let mut events = tocsin.heard_events("sse-live");
    assert!(events.header("content-type").is_some_and(|kind| kind.starts_with("text/event-stream")));
    let caching = events.header("cache-control").unwrap_or_default();
    assert!(["no-cache", "no-store"].contains(&caching), "{:?}", events.headers);
    let id = tocsin
        .api()
        .accepted(&json!({ "to": { "user": "sse-live" }, "body": "line one\nline two\r\n\u{2028}" }));
    let event = events.recv("notification");
    assert_eq!(id_of(&event.json()), id);
    assert_eq!(event.json()["body"], "line one\nline two\r\n\u{2028}");
    assert!(event.id.is_some(), "an event to come back to: {event:?}");
}

#[test]
fn last_event_id_brings_everything_since() {
    let tocsin = shared();
    let mut events = tocsin.heard_events("sse-back");
    tocsin.api().accepted(&to_user("sse-back", "seen"));
    let seen = events.recv("notification").id.expect("an id");
    drop(events);
    let notes: Vec<_> = (0..123).map(|i| to_user("sse-back", &i.to_string())).collect();
    let missed = tocsin.api().accepted_batch(&notes);
    until("the journal is read", || (tocsin.api().reconcile()["journal_lag"] == 0).then_some(()));
    let mut events = tocsin.events("sse-back", Some(&seen));
    let found: Vec<String> = (0..123).map(|_| id_of(&events.recv("notification").json())).collect();
    assert_eq!(found, missed);
    let live = tocsin.api().accepted(&to_user("sse-back", "live"));
    assert_eq!(id_of(&events.recv("notification").json()), live, "none twice");
}

#[test]
fn a_post_acknowledges_and_dismisses_elsewhere() {
    let tocsin = shared();
    let mut events = tocsin.heard_events("sse-ack");
    let mut socket = tocsin.connect("sse-ack");
    // Behind the answer to a sync the router knows of this socket's shard, too.
    socket.say(&json!({ "type": "sync" }));
    socket.recv("sync_batch");
    let id = tocsin.api().accepted(&to_user("sse-ack", "x"));
    events.recv("notification");
    socket.recv("notification");
    let answer =
        tocsin.door().send("POST", "/v1/messages?user=sse-ack", &json!({ "type": "ack", "ids": [id] }));
    assert_eq!(answer.status / 100, 2, "{}", answer.text);
    assert_eq!(socket.recv("dismiss")["ids"], json!([id]));
}

#[test]
fn a_post_s_answer_is_the_reply() {
    let tocsin = shared();
    let id = tocsin.api().accepted(&to_user("sse-sync", "x"));
    until("the journal is read", || (tocsin.api().reconcile()["journal_lag"] == 0).then_some(()));
    let say = |message: &serde_json::Value| tocsin.door().send("POST", "/v1/messages?user=sse-sync", message);
    let page = say(&json!({ "type": "sync" })).expect(200).json();
    assert_eq!(page["type"], "sync_batch", "{page}");
    assert_eq!(id_of(&page["notifications"][0]), id);
    assert_eq!(say(&json!({ "type": "ping", "t": 7 })).expect(200).json()["t"], 7);
    assert_eq!(say(&json!({ "type": "dance" })).status / 100, 4);
}
