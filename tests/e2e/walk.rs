//! Both walks, from the door to the other door, in one process and in two: the same behaviour.

use serde_json::json;
use tests::client::id_of;
use tests::{Equation, Setup, Tocsin, until};

use crate::support::{expect_id, to_user};

fn walk(tocsin: &Tocsin) {
    let api = tocsin.api();
    let mut phone = tocsin.connect_device("ada", "phone");
    let mut laptop = tocsin.connect_device("ada", "laptop");
    // Live, acknowledged on one, dismissed on the other.
    let id = api.accepted(&to_user("ada", "live"));
    expect_id(&mut phone, &id);
    expect_id(&mut laptop, &id);
    phone.ack(&[&id]);
    assert_eq!(laptop.recv("dismiss")["ids"], json!([id]));
    // A topic.
    laptop.say(&json!({ "type": "subscribe", "topics": ["ops"] }));
    laptop.recv("subscribed");
    let topic = api.accepted(&json!({ "to": { "topic": "ops" }, "title": "to a topic" }));
    expect_id(&mut laptop, &topic);
    // Everyone.
    let all = api.accepted(&json!({ "to": { "all": true }, "title": "to all" }));
    let mut ben = tocsin.connect("ben");
    until("ben finds what was for all", || {
        let (found, _) = ben.sync_all(&json!({ "last_seen_at": "2020-01-01T00:00:00Z" }));
        found.iter().any(|one| id_of(one) == all).then_some(())
    });
    // Missed and synced.
    let missed = api.accepted_batch(&(0..70).map(|i| to_user("cyd", &i.to_string())).collect::<Vec<_>>());
    Equation::settled(&api);
    let mut cyd = tocsin.connect("cyd");
    let (found, pages) = cyd.sync_all(&json!({}));
    assert_eq!(found.iter().map(id_of).filter(|id| missed.contains(id)).collect::<Vec<_>>(), missed);
    assert!(pages.iter().all(|page| *page <= 50), "{pages:?}");
    // Server-sent events.
    let mut events = tocsin.heard_events("dee");
    let event = api.accepted(&to_user("dee", "an event"));
    assert_eq!(id_of(&events.recv("notification").json()), event);
    Equation::settled(&api).check();
}

#[test]
fn in_one_process() {
    walk(&Setup::standalone().start());
}

#[test]
fn in_two_processes_over_the_link() {
    walk(&Setup::split().start());
}

#[test]
fn in_one_process_with_one_shard() {
    walk(&Setup::standalone().set("gateway.shards", 1).start());
}
