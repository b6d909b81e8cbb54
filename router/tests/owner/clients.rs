//! What clients say, and what the user's other devices hear of it.

use std::time::Duration;

use router::owner::{Command, LinkId};
use router::record::Channel;
use serde_json::json;
use wire::limits::TOPICS_PER_USER_MAX;
use wire::link::{DeliveryResult, Frame, SessionKey};

use crate::world::{World, whats};

#[test]
fn the_first_act_dismisses_it_on_the_other_devices_once() {
    let mut world = World::new();
    let (one, two) = (world.link(1, &["ann"]), world.link(2, &["ann"]));
    world.link(3, &["bob"]);
    let id = world.to("ann");
    for (kind, times) in [("ack", 1), ("ack", 1), ("read", 1)] {
        world.says(one, 5, "ann", &json!({"type": kind, "ids": [id]}));
        let tells: Vec<_> = world
            .seen
            .frames
            .iter()
            .filter_map(|(link, frame)| match frame {
                Frame::Tell { user, except, .. } => Some((*link, user.as_str(), *except)),
                _ => None,
            })
            .collect();
        // A session key means something on its own link only.
        assert_eq!(tells, [(one, "ann", Some(SessionKey(5))), (two, "ann", None)][..2 * times]);
    }
    assert_eq!(world.tells(two), [json!({"type": "dismiss", "ids": [id]})]);
    let delivery = world.delivery(id, Channel::Inapp);
    assert_eq!((&*delivery.state, delivery.acknowledgements), ("delivered", 1));
    assert_eq!(whats(&delivery)[3..], ["acknowledged", "delivered", "read"]);
    let page = world.inbox("ann");
    assert_eq!(
        (page.unread, page.notifications[0].read, page.notifications[0].acknowledged),
        (0, true, true)
    );
    world.balanced();
}

#[test]
fn nobody_acts_on_what_is_anothers() {
    let mut world = World::new();
    let link = world.link(1, &["ann", "eve"]);
    let id = world.to("ann");
    let topic = world.send(json!({"to": {"topic": "secret"}}));
    world.says(link, 5, "eve", &json!({"type": "read", "ids": [id, topic, uuid::Uuid::nil()]}));
    assert_eq!(
        (world.state(id, Channel::Inapp), world.state(topic, Channel::Inapp)),
        ("handed_over", "handed_over")
    );
    assert!(world.tells(link).is_empty());
    assert_eq!(world.inbox("ann").unread, 1);
    assert_eq!(
        world.command(Command::MarkRead { user: "eve".into(), ids: vec![id] }),
        router::owner::Answer::Marked { changed: 0, unread: 0 }
    );
    world.balanced();
}

#[test]
fn marking_read_by_the_api_counts_and_tells_every_device() {
    let mut world = World::new();
    let link = world.link(1, &["ann"]);
    let ids: Vec<_> = (0..3).map(|_| world.to("ann")).collect();
    let answer = world.command(Command::MarkRead { user: "ann".into(), ids: ids[..2].to_vec() });
    assert_eq!(answer, router::owner::Answer::Marked { changed: 2, unread: 1 });
    assert_eq!(world.tells(link), [json!({"type": "dismiss", "ids": ids[..2]})]);
    assert_eq!(world.inbox("ann").unread, 1);
}

#[test]
fn an_act_on_a_topics_notification_is_each_users_own() {
    let mut world = World::new();
    let link = world.link(1, &["ann", "bob"]);
    for user in ["ann", "bob"] {
        world.says(link, 1, user, &json!({"type": "subscribe", "topics": ["t"]}));
    }
    let id = world.send(json!({"to": {"topic": "t"}}));
    assert_eq!((world.inbox("ann").unread, world.inbox("bob").unread), (1, 1));
    world.says(link, 1, "ann", &json!({"type": "read", "ids": [id]}));
    assert_eq!((world.inbox("ann").unread, world.inbox("bob").unread), (0, 1));
    world.says(link, 1, "bob", &json!({"type": "ack", "ids": [id]}));
    let delivery = world.delivery(id, Channel::Inapp);
    assert_eq!((&*delivery.state, delivery.acknowledgements), ("delivered", 2));
    assert_eq!(world.balanced().total().accepted, 1);
}

#[test]
fn subscriptions_last_and_every_shard_of_the_user_hears_of_them() {
    let mut world = World::new();
    let (one, two) = (world.link(1, &["ann"]), world.link(2, &["ann"]));
    let reply = world.ask(one, 5, "ann", &json!({"type": "subscribe", "topics": ["a", "b"]}));
    assert_eq!(reply, json!({"type": "subscribed", "topics": ["a", "b"]}));
    let topics = |world: &World, link: LinkId| {
        let told = world.seen.frames.iter().rev().find_map(|(to, frame)| match frame {
            Frame::Topics { user, topics } if *to == link && user == "ann" => Some(topics.clone()),
            _ => None,
        });
        told.unwrap_or_default()
    };
    assert_eq!(
        (topics(&world, one), topics(&world, two)),
        (vec!["a".into(), "b".into()], vec!["a".into(), "b".into()])
    );
    let reply = world.ask(two, 1, "ann", &json!({"type": "unsubscribe", "topics": ["a"]}));
    assert_eq!(reply["topics"], json!(["b"]));
    world.crash();
    let three = world.link(3, &[]);
    world.frame(three, Frame::Announce { user: "ann".into() });
    assert_eq!(topics(&world, three), ["b"]);
    let four = world.link(4, &["ann"]);
    assert_eq!(topics(&world, four), ["b"], "also when she comes by a snapshot");
}

#[test]
fn one_topic_too_many_is_refused_and_changes_nothing() {
    let mut world = World::new();
    let link = world.link(1, &["ann"]);
    for chunk in (0..TOPICS_PER_USER_MAX).collect::<Vec<_>>().chunks(64) {
        let topics: Vec<_> = chunk.iter().map(|i| format!("t{i}")).collect();
        world.ask(link, 1, "ann", &json!({"type": "subscribe", "topics": topics}));
    }
    let reply = world.ask(link, 1, "ann", &json!({"type": "subscribe", "topics": ["more"]}));
    assert_eq!((&reply["type"], &reply["code"]), (&json!("error"), &json!("too_many")));
    let reply = world.ask(link, 1, "ann", &json!({"type": "subscribe", "topics": ["t0"]}));
    assert_eq!(reply["topics"].as_array().map(Vec::len), Some(TOPICS_PER_USER_MAX));
}

#[test]
fn nonsense_is_answered_with_its_code() {
    let mut world = World::new();
    let link = world.link(1, &["ann"]);
    let cases = [
        (json!({"type": "dance"}), "unknown_type"),
        (json!({"type": "ack", "ids": ["x"]}), "bad_field"),
        (json!({"type": "sync", "cursor": "nonsense"}), "bad_cursor"),
        (json!({"type": "sync", "cursor": "AAAA"}), "bad_cursor"),
        (json!({"type": "subscribe", "topics": [""]}), "bad_field"),
    ];
    for (message, code) in cases {
        assert_eq!(world.ask(link, 1, "ann", &message)["code"], code, "{message}");
    }
    let text = bytes::Bytes::from_static(b"\xff\xfe");
    world.frame(link, Frame::ClientMessage { user: "ann".into(), session: SessionKey(9), text });
    assert_eq!(world.replies(link, 9)[0]["code"], "bad_json");
}

#[test]
fn whoever_may_lack_something_is_told_when_a_link_is_made_again() {
    let mut world = World::new();
    let users = ["ann", "bob", "cat"];
    let link = world.link(1, &users);
    let answered = world.to("cat");
    world.result(link, answered, DeliveryResult::Sent { sockets: 1 });
    let unanswered = world.to("bob");
    assert_eq!(world.delivered(unanswered), [link]);
    world.owner.handle_link_down(link, world.now());
    world.to("ann");
    world.step(Duration::from_secs(1));
    world.seen.frames.clear();
    world.owner.handle_link_up(LinkId(2), "node", 1, world.now());
    let link = LinkId(2);
    for partition in 0..crate::world::PARTITIONS {
        let users: Vec<_> = users
            .iter()
            .filter(|user| wire::partition::partition_of(user, crate::world::PARTITIONS) == partition)
            .map(|user| (*user).to_owned())
            .collect();
        world.frame(link, Frame::Snapshot { partition, users, topics: vec![] });
        world.frame(link, Frame::SnapshotEnd { partition });
    }
    let mut told: Vec<_> = world
        .seen
        .frames
        .iter()
        .filter_map(|(_, frame)| match frame {
            Frame::Tell { user, text, .. } => Some((user.as_str(), text.starts_with(br#"{"type":"gap""#))),
            _ => None,
        })
        .collect();
    told.sort_unstable();
    assert_eq!(told, [("ann", true), ("bob", true)]);
    world.seen.frames.clear();
    world.link(3, &["ann"]);
    assert!(world.tells(LinkId(3)).is_empty(), "another shard that was never here lacks nothing");
}

#[test]
fn a_shard_that_missed_a_broadcast_is_told_as_a_whole() {
    let mut world = World::new();
    let link = world.link(1, &["ann"]);
    world.frame(link, Frame::Subscribe { topic: "t".into() });
    world.owner.handle_link_down(link, world.now());
    world.send(json!({"to": {"topic": "t"}}));
    let gaps = |world: &World| {
        world.seen.frames.iter().filter(|(_, frame)| matches!(frame, Frame::Gap { .. })).count()
    };
    world.owner.handle_link_up(LinkId(2), "node", 1, world.now());
    world.frame(LinkId(2), Frame::Snapshot { partition: 0, users: vec![], topics: vec!["other".into()] });
    assert_eq!(gaps(&world), 0);
    world.frame(
        LinkId(2),
        Frame::Snapshot { partition: 1, users: vec![], topics: vec!["t".into(), "t".into()] },
    );
    assert_eq!(gaps(&world), 1);
    world.send(json!({"to": {"all": true}}));
    world.owner.handle_link_down(LinkId(2), world.now());
    world.owner.handle_link_up(LinkId(3), "node", 1, world.now());
    world.turn();
    assert_eq!(gaps(&world), 2, "of all, at once");
}

#[test]
fn after_a_restart_whoever_was_sent_something_lately_is_told() {
    let mut world = World::new();
    world.link(1, &["ann", "bob"]);
    world.to("bob");
    world.step(Duration::from_secs(3_600));
    world.to("ann");
    world.crash();
    let link = world.link(2, &["ann", "bob"]);
    assert_eq!(world.tells(link).len(), 1);
}
