//! What did I miss: all of it, in order, none of it twice.

use std::time::Duration;

use router::owner::view::{InboxError, InboxQuery};
use serde_json::json;
use uuid::Uuid;
use wire::link::Frame;
use wire::time::Wall;

use crate::world::World;

#[test]
fn thousands_come_in_pages_each_once_and_in_order() {
    let mut world = World::new();
    let link = world.link(1, &["ann"]);
    let entries: Vec<_> = (0..2_345).map(|_| world.record(json!({"to": {"user": "ann"}}))).collect();
    let ids: Vec<Uuid> = entries.iter().map(|entry| entry.record.as_ref().expect("a record").id).collect();
    for entry in entries {
        world.owner.handle_entry(entry, world.now());
    }
    world.turn();
    for limit in [50, 7] {
        assert_eq!(world.sync_all(link, "ann", json!({}), limit), ids);
    }
}

#[test]
fn a_page_that_holds_exactly_the_rest_says_so() {
    let mut world = World::new();
    let link = world.link(1, &["ann"]);
    for _ in 0..50 {
        world.to("ann");
    }
    let page = world.ask(link, 1, "ann", &json!({"type": "sync"}));
    assert_eq!(
        (page["has_more"].as_bool(), page["notifications"].as_array().map(Vec::len)),
        (Some(false), Some(50))
    );
    let next = world.ask(link, 1, "ann", &json!({"type": "sync", "cursor": page["cursor"]}));
    assert_eq!(
        (next["has_more"].as_bool(), next["notifications"].as_array().map(Vec::len)),
        (Some(false), Some(0))
    );
    let id = world.to("ann");
    let again = world.ask(link, 1, "ann", &json!({"type": "sync", "cursor": next["cursor"]}));
    assert_eq!(again["notifications"][0]["id"], json!(id));
    let asked_for_more = world.ask(link, 1, "ann", &json!({"type": "sync", "limit": 5_000}));
    assert_eq!(asked_for_more["notifications"].as_array().map(Vec::len), Some(50));
}

#[test]
fn last_seen_at_is_strict_and_of_one_microsecond() {
    let mut world = World::new();
    let link = world.link(1, &["ann"]);
    // No time goes by: stamps differ all the same.
    let ids: Vec<_> = (0..10).map(|_| world.to("ann")).collect();
    let page = world.ask(link, 1, "ann", &json!({"type": "sync"}));
    let stamps: Vec<String> = page["notifications"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|shown| shown["created_at"].as_str().expect("a date").to_owned())
        .collect();
    let mut sorted = stamps.clone();
    sorted.sort_by_key(|stamp| Wall::parse(stamp).expect("a date"));
    sorted.dedup();
    assert_eq!(sorted, stamps);
    for (i, stamp) in stamps.iter().enumerate() {
        assert_eq!(world.sync_all(link, "ann", json!({"last_seen_at": stamp}), 3), ids[i + 1..]);
    }
}

#[test]
fn a_cursor_wins_over_last_seen_at() {
    let mut world = World::new();
    let link = world.link(1, &["ann"]);
    let ids: Vec<_> = (0..4).map(|_| world.to("ann")).collect();
    let page = world.ask(link, 1, "ann", &json!({"type": "sync", "limit": 1}));
    let ask = json!({"cursor": page["cursor"], "last_seen_at": "2000-01-01T00:00:00Z"});
    assert_eq!(world.sync_all(link, "ann", ask, 50), ids[1..]);
}

#[test]
fn what_was_accepted_before_and_drained_after_is_not_missed() {
    let mut world = World::new();
    let link = world.link(1, &["ann"]);
    let late = world.record(json!({"to": {"user": "ann"}}));
    let late_id = late.record.as_ref().expect("a record").id;
    world.step(Duration::from_secs(600));
    world.to("ann");
    let page = world.ask(link, 1, "ann", &json!({"type": "sync"}));
    let seen = page["notifications"][0]["created_at"].clone();
    world.owner.handle_entry(late, world.now());
    world.turn();
    assert_eq!(world.sync_all(link, "ann", json!({"last_seen_at": seen}), 50), [late_id]);
    assert_eq!(world.sync_all(link, "ann", json!({"cursor": page["cursor"]}), 50), [late_id]);
}

#[test]
fn stamps_rise_over_restarts_and_clocks_that_go_back() {
    let mut world = World::new();
    let link = world.link(1, &["ann"]);
    let mut ids = vec![world.to("ann")];
    let page = world.ask(link, 1, "ann", &json!({"type": "sync"}));
    world.wall -= 3_600_000_000;
    ids.push(world.to("ann"));
    world.crash();
    world.wall -= 3_600_000_000;
    let link = world.link(2, &["ann"]);
    ids.push(world.to("ann"));
    assert_eq!(world.sync_all(link, "ann", json!({}), 1), ids);
    assert_eq!(world.sync_all(link, "ann", json!({"cursor": page["cursor"]}), 50), ids[1..]);
}

#[test]
fn topics_and_everybodys_are_merged_by_time() {
    let mut world = World::new();
    let link = world.link(1, &["ann"]);
    let before = world.send(json!({"to": {"topic": "t"}}));
    let mut all = vec![world.send(json!({"to": {"all": true}}))];
    world.ask(link, 1, "ann", &json!({"type": "subscribe", "topics": ["t", "u"]}));
    for round in 0..40 {
        let to = match round % 4 {
            0 => json!({"topic": "t"}),
            1 => json!({"all": true}),
            2 => json!({"topic": "u"}),
            _ => json!({"user": "ann"}),
        };
        all.push(world.send(json!({"to": to})));
        world.send(json!({"to": {"topic": "not hers"}}));
        world.send(json!({"to": {"user": "bob"}}));
    }
    assert!(!all.contains(&before), "what was before the subscription is not hers");
    for limit in [1, 3, 50] {
        assert_eq!(world.sync_all(link, "ann", json!({}), limit), all);
    }
    assert_eq!(world.inbox("ann").unread, all.len() as u64);
}

#[test]
fn a_topic_of_a_later_subscription_begins_there() {
    let mut world = World::new();
    let link = world.link(1, &["ann"]);
    world.to("ann");
    let page = world.ask(link, 1, "ann", &json!({"type": "sync"}));
    world.send(json!({"to": {"topic": "t"}}));
    world.ask(link, 1, "ann", &json!({"type": "subscribe", "topics": ["t"]}));
    let first = world.send(json!({"to": {"topic": "t"}}));
    assert_eq!(world.sync_all(link, "ann", json!({"cursor": page["cursor"]}), 50), [first]);
    world.ask(link, 1, "ann", &json!({"type": "unsubscribe", "topics": ["t"]}));
    world.send(json!({"to": {"topic": "t"}}));
    assert!(world.sync_all(link, "ann", json!({"cursor": page["cursor"]}), 50).is_empty());
    world.ask(link, 1, "ann", &json!({"type": "subscribe", "topics": ["t"]}));
    assert!(world.sync_all(link, "ann", json!({"cursor": page["cursor"]}), 50).is_empty());
}

#[test]
fn topics_are_read_again_from_a_little_before_a_bare_last_seen_at() {
    let mut world = World::new();
    let link = world.link(1, &["ann"]);
    world.ask(link, 1, "ann", &json!({"type": "subscribe", "topics": ["t"]}));
    let early = world.send(json!({"to": {"topic": "t"}}));
    world.step(Duration::from_secs(4));
    let own = world.to("ann");
    let page = world.ask(link, 1, "ann", &json!({"type": "sync"}));
    let seen = page["notifications"][1]["created_at"].clone();
    assert_eq!(page["notifications"][1]["id"], json!(own));
    assert_eq!(world.sync_all(link, "ann", json!({"last_seen_at": seen}), 50), [early]);
    world.step(Duration::from_secs(60));
    let later = world.to("ann");
    assert_eq!(
        world.sync_all(link, "ann", json!({"last_seen_at": Wall(world.wall - 1_000_000)}), 50),
        [later]
    );
}

#[test]
fn what_is_over_is_not_served_and_has_more_does_not_count_it() {
    let mut world = World::new();
    let link = world.link(1, &["ann"]);
    let kept = world.to("ann");
    for _ in 0..60 {
        world.send(json!({"to": {"user": "ann"}, "ttl_s": 5}));
    }
    // Its time has come, and nobody has swept yet.
    world.step(Duration::from_secs(5));
    let page = world.ask(link, 1, "ann", &json!({"type": "sync", "limit": 1}));
    assert_eq!((&page["notifications"][0]["id"], &page["has_more"]), (&json!(kept), &json!(false)));
    world.pass(Duration::from_secs(1));
    assert_eq!(world.inbox_ids("ann"), [kept]);
}

#[test]
fn a_delivery_leaves_before_any_page_that_was_computed_after_it() {
    let mut world = World::new();
    let link = world.link(1, &["ann"]);
    let entry = world.record(json!({"to": {"user": "ann"}}));
    let text = bytes::Bytes::from_static(br#"{"type":"sync"}"#);
    let sync = Frame::ClientMessage { user: "ann".into(), session: wire::link::SessionKey(1), text };
    world.seen.frames.clear();
    world.owner.handle_link_frame(link, sync.clone(), world.now());
    world.owner.handle_entry(entry, world.now());
    world.owner.handle_link_frame(link, sync, world.now());
    world.turn();
    let shown: Vec<_> = world
        .seen
        .frames
        .iter()
        .map(|(_, frame)| match frame {
            Frame::Deliver { .. } => "delivery",
            Frame::Reply { text, .. } if text.windows(6).any(|part| part == b"\"id\":\"") => "page with it",
            _ => "page without it",
        })
        .collect();
    assert_eq!(shown, ["page without it", "delivery", "page with it"]);
}

#[test]
fn the_api_shows_the_same_pages() {
    let mut world = World::new();
    let ids: Vec<_> = (0..5).map(|_| world.to("ann")).collect();
    let view = world.view();
    let query = InboxQuery { limit: Some(3), ..InboxQuery::default() };
    let page = view.inbox("ann", &query).expect("readable");
    assert_eq!((page.notifications.len(), page.has_more, page.unread), (3, true, 5));
    let query = InboxQuery { cursor: Some(page.cursor), ..InboxQuery::default() };
    let rest = view.inbox("ann", &query).expect("readable");
    let last: serde_json::Value =
        serde_json::from_str(rest.notifications[1].notification.get()).expect("JSON");
    assert_eq!((crate::world::id_of(&last), rest.has_more), (ids[4], false));
    let query = InboxQuery { cursor: Some("?".into()), ..InboxQuery::default() };
    assert_eq!(view.inbox("ann", &query).map(|_| ()), Err(InboxError::BadCursor));
}
