//! A link carries what the shard has credit for, in order; what does not fit is told as a gap; a link that breaks the
//! rules is cut.

use std::time::Duration;

use router::limits::{LINK_CREDIT_GRANTED, LINK_QUEUE_PAID_MAX};
use router::links::FRAMES_PER_INPUT_MAX;
use serde_json::json;
use wire::link::{DeliveryResult, Frame, MAJOR, SessionKey};

use crate::support::{Node, PATIENCE, Shard, title};

#[test]
fn without_credit_deliveries_wait_and_then_come_in_order() {
    let node = Node::start();
    let mut shard = Shard::dial(&node);
    shard.announce("ada");
    shard.settle("ada");
    for i in 0..5 {
        node.accepted("ada", &i.to_string());
    }
    node.eventually("/v1/reconcile", |answer| answer["deliveries"]["accepted"] == 5);
    let early =
        shard.look(Duration::from_millis(300), |frame| matches!(frame, Frame::Deliver { .. }).then_some(()));
    assert_eq!(early, None, "no credit, no delivery");
    shard.credit(2);
    assert_eq!([title(&shard.delivered()), title(&shard.delivered())], ["0", "1"]);
    shard.credit(100);
    assert_eq!(
        [title(&shard.delivered()), title(&shard.delivered()), title(&shard.delivered())],
        ["2", "3", "4"]
    );
}

#[test]
fn a_reply_never_overtakes_a_delivery() {
    let node = Node::start();
    let mut shard = Shard::dial(&node);
    shard.announce("ada");
    shard.settle("ada");
    node.accepted("ada", "first");
    node.eventually("/v1/reconcile", |answer| answer["deliveries"]["accepted"] == 1);
    shard.tell("ada", &json!({"type": "sync", "limit": 50}));
    let early =
        shard.look(Duration::from_millis(300), |frame| matches!(frame, Frame::Reply { .. }).then_some(()));
    assert_eq!(early, None, "the page waits behind the delivery that has no credit yet");
    shard.credit(1);
    let order = [(); 2].map(|()| {
        shard.wait(|frame| match frame {
            Frame::Deliver { .. } => Some("deliver"),
            Frame::Reply { .. } => Some("reply"),
            _ => None,
        })
    });
    assert_eq!(order, ["deliver", "reply"]);
}

#[test]
fn what_a_full_queue_drops_is_told_as_a_gap_and_found_by_sync() {
    let node = Node::start();
    let mut shard = Shard::dial(&node);
    shard.announce("ada");
    shard.settle("ada");
    let extra = 10;
    let count = LINK_QUEUE_PAID_MAX + extra;
    let lines: Vec<String> =
        (0..count).map(|i| json!({"to": {"user": "ada"}, "title": i.to_string()}).to_string()).collect();
    for chunk in lines.chunks(2_000) {
        let headers = [("authorization", "Bearer dev")];
        let answer = node.request("POST", "/v1/notifications/batch", &headers, chunk.join("\n").as_bytes());
        assert!(answer.text.lines().all(|line| line.contains("\"status\":202")));
    }
    node.eventually("/v1/reconcile", |answer| answer["deliveries"]["accepted"] == count);
    shard.credit(u32::MAX);
    let (mut delivered, mut gaps) = (0, Vec::new());
    while let Some(gap) = shard.look(Duration::from_millis(500), |frame| match frame {
        Frame::Deliver { .. } => Some(None),
        Frame::Gap { since } => Some(Some(*since)),
        _ => None,
    }) {
        delivered += usize::from(gap.is_none());
        gaps.extend(gap);
    }
    assert_eq!(delivered, LINK_QUEUE_PAID_MAX);
    let [since] = gaps[..] else { panic!("told once: {gaps:?}") };
    let page = shard.ask("ada", &json!({"type": "sync", "last_seen_at": since, "limit": 50}));
    let missed: Vec<_> =
        page["notifications"].as_array().unwrap().iter().map(|one| one["title"].as_str().unwrap()).collect();
    let wanted: Vec<String> = (LINK_QUEUE_PAID_MAX..count).map(|i| i.to_string()).collect();
    assert_eq!(missed, wanted, "exactly what was dropped");
}

#[test]
fn credit_for_client_messages_is_given_and_given_again() {
    let node = Node::start();
    let mut shard = Shard::dial_silently(node.router.links);
    shard.say(&Frame::Hello { major: MAJOR, minor: 0, node: "edge".to_owned(), shard: 0, boot: 1 });
    let granted = |frame: &Frame| match frame {
        Frame::Credit { frames } => Some(*frames),
        _ => None,
    };
    let mut credit = shard.wait(granted);
    assert_eq!(credit, LINK_CREDIT_GRANTED);
    for _ in 0..3 * LINK_CREDIT_GRANTED {
        while credit == 0 {
            credit += shard.wait(granted);
        }
        credit -= 1;
        shard.tell("ada", &json!({"type": "ack", "ids": []}));
    }
}

#[test]
fn a_shard_that_breaks_the_rules_ends() {
    let node = Node::start();
    let hello = |major| Frame::Hello { major, minor: 0, node: "edge".to_owned(), shard: 0, boot: 1 };
    let mut newer = Shard::dial_silently(node.router.links);
    newer.say(&hello(MAJOR + 1));
    assert!(newer.ends(), "another major version");

    let mut rude = Shard::dial_silently(node.router.links);
    rude.say(&Frame::Announce { user: "ada".to_owned() });
    assert!(rude.ends(), "no hello");

    let mut twice = Shard::dial_silently(node.router.links);
    twice.say(&hello(MAJOR));
    twice.say(&hello(MAJOR));
    assert!(twice.ends(), "two hellos");
}

/// More than one input of the owner's holds, and then a second hello: what was said before it counts, in its order.
#[test]
fn what_came_in_one_piece_is_handled_whole_up_to_the_frame_that_breaks_the_rules() {
    let node = Node::start();
    let mut shard = Shard::dial(&node);
    shard.announce("ada");
    shard.settle("ada");
    shard.credit(1_000);
    let count = 2 * FRAMES_PER_INPUT_MAX + 1;
    let ids: Vec<String> = (0..count).map(|i| node.accepted("ada", &i.to_string())).collect();
    let mut said = Vec::new();
    for _ in &ids {
        let deliver = shard.delivered();
        shard.result(&deliver, DeliveryResult::Sent { sockets: 1 });
    }
    for id in &ids {
        let text = json!({"type": "ack", "ids": [id]}).to_string().into();
        said.push(Frame::ClientMessage { user: "ada".to_owned(), session: SessionKey(7), text });
    }
    said.push(Frame::Hello { major: MAJOR, minor: 0, node: "edge".to_owned(), shard: 0, boot: 1 });
    shard.say_all(&said);
    assert!(shard.ends(), "two hellos");
    node.eventually("/v1/reconcile", |answer| answer["deliveries"]["delivered"] == count);
}

#[test]
fn a_silent_link_is_dead_within_ten_seconds() {
    let node = Node::start();
    let mut mute = Shard::dial_silently(node.router.links);
    mute.say(&Frame::Hello { major: MAJOR, minor: 0, node: "edge".to_owned(), shard: 0, boot: 1 });
    let clock = ops::clock::Clock::start();
    let began = clock.mono();
    assert!(mute.ends());
    assert!(clock.mono().since(began) < PATIENCE);
}
