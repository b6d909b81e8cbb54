//! Channels in turn: the next one's turn comes when the ones before brought nothing, and not otherwise.

use std::time::Duration;

use router::owner::Outcome;
use router::record::Channel;
use serde_json::{Value, json};
use wire::link::DeliveryResult;

use crate::world::{World, whats};

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn request(channels: &[&str], fallback: &[&str]) -> Value {
    json!({"to": {"user": "ann"}, "channels": channels, "fallback": fallback, "ack_within_s": 10})
}

fn called(world: &World) -> Vec<&'static str> {
    world.seen.calls.iter().map(|call| call.delivery.channel.name()).collect()
}

#[test]
fn an_acknowledgement_in_time_ends_it() {
    let mut world = World::new();
    let link = world.link(1, &["ann"]);
    let id = world.send(request(&["inapp"], &["push", "email"]));
    assert_eq!(world.state(id, Channel::Inapp), "open");
    world.pass(seconds(9));
    world.says(link, 5, "ann", &json!({"type": "ack", "ids": [id]}));
    world.pass(seconds(100));
    assert_eq!((world.state(id, Channel::Inapp), called(&world)), ("delivered", vec![]));
    world.balanced();
}

#[test]
fn without_one_each_fallback_has_its_turn() {
    let mut world = World::new();
    world.link(1, &["ann"]);
    let id = world.send(request(&["inapp"], &["push", "email", "sms"]));
    world.pass(seconds(9));
    assert!(called(&world).is_empty());
    world.pass(seconds(1));
    assert_eq!((world.state(id, Channel::Inapp), called(&world)), ("fell_back", vec!["push"]));
    world.outcome(id, Channel::Push, "ann", Outcome::HandedOver);
    world.pass(seconds(10));
    assert_eq!(called(&world), ["push", "email"], "taken is no receipt");
    world.outcome(id, Channel::Email, "ann", Outcome::Delivered);
    world.pass(seconds(100));
    assert_eq!(called(&world), ["push", "email"]);
    let states = [Channel::Inapp, Channel::Push, Channel::Email].map(|channel| world.state(id, channel));
    assert_eq!(states, ["fell_back", "handed_over", "delivered"]);
    assert_eq!(world.balanced().total().accepted, 3);
}

#[test]
fn a_late_acknowledgement_is_a_receipt_and_stops_the_rest() {
    let mut world = World::new();
    let link = world.link(1, &["ann"]);
    let id = world.send(request(&["inapp"], &["push", "email"]));
    world.pass(seconds(10));
    world.says(link, 5, "ann", &json!({"type": "ack", "ids": [id]}));
    world.pass(seconds(100));
    assert_eq!((world.state(id, Channel::Inapp), called(&world)), ("delivered", vec!["push"]));
    world.balanced();
}

#[test]
fn who_is_nowhere_is_not_waited_for() {
    let mut world = World::new();
    world.link(1, &["bob"]);
    let id = world.send(request(&["inapp"], &["push"]));
    world.pass(Duration::ZERO);
    assert_eq!((world.state(id, Channel::Inapp), called(&world)), ("fell_back", vec!["push"]));
    assert_eq!(world.inbox_ids("ann"), [id], "it lies in the inbox all the same");
    world.balanced();
}

#[test]
fn who_may_be_somewhere_is_waited_for() {
    let mut world = World::new();
    world.owner.handle_link_up(router::owner::LinkId(9), "node", 0, world.now());
    let id = world.send(request(&["inapp"], &["push"]));
    world.pass(seconds(9));
    assert_eq!((world.state(id, Channel::Inapp), called(&world)), ("open", vec![]));
    assert_eq!(world.delivered(id).len(), 1, "and sent to where the snapshot is awaited");
}

#[test]
fn a_refused_channel_passes_its_turn_on_at_once() {
    let mut world = World::new();
    let id = world.send(request(&["push"], &["sms", "voice"]));
    for channel in [Channel::Push, Channel::Sms] {
        world.outcome(id, channel, "ann", Outcome::Drop { reason: "dead token".into() });
        world.pass(Duration::ZERO);
    }
    assert_eq!(called(&world), ["push", "sms", "voice"]);
    world.balanced();
}

#[test]
fn a_held_back_push_passes_its_turn_on_and_is_logged() {
    let mut world = World::new();
    world.link(1, &["ann"]);
    for _ in 0..20 {
        world.send(json!({"to": {"user": "ann"}, "channels": ["push"]}));
    }
    world.seen.calls.clear();
    let id = world.send(request(&["inapp"], &["push", "sms"]));
    world.pass(seconds(10));
    assert_eq!((world.state(id, Channel::Push), called(&world)), ("dropped", vec!["sms"]));
    assert_eq!(world.view().overflow(None, 9).expect("readable").items[0].id, Some(id));
    world.balanced();
}

#[test]
fn in_app_can_be_a_fallback_too() {
    let mut world = World::new();
    let link = world.link(1, &["ann"]);
    let id = world.send(request(&["push"], &["inapp"]));
    world.pass(seconds(10));
    assert_eq!((world.delivered(id), world.state(id, Channel::Inapp)), (vec![link], "open"));
    world.pass(seconds(10));
    assert_eq!(world.state(id, Channel::Inapp), "handed_over");
    world.balanced();
}

#[test]
fn waiting_for_an_acknowledgement_without_a_fallback_ends_as_handed_over() {
    let mut world = World::new();
    world.link(1, &["ann"]);
    let id = world.send(json!({"to": {"user": "ann"}, "ack_within_s": 10}));
    assert_eq!(world.state(id, Channel::Inapp), "open");
    world.pass(seconds(10));
    assert_eq!(world.state(id, Channel::Inapp), "handed_over");
    world.balanced();
}

#[test]
fn deadlines_survive_a_restart() {
    let mut world = World::new();
    world.link(1, &["ann"]);
    let id = world.send(request(&["inapp"], &["push"]));
    world.pass(seconds(4));
    world.crash();
    world.pass(seconds(5));
    assert!(called(&world).is_empty());
    world.pass(seconds(1));
    assert_eq!((world.state(id, Channel::Inapp), called(&world)), ("fell_back", vec!["push"]));
    world.balanced();
}

#[test]
fn a_step_of_the_clock_fires_and_delays_nothing() {
    for step in [-3_600_000_000, 3_600_000_000] {
        let mut world = World::new();
        world.link(1, &["ann"]);
        let id = world.send(request(&["inapp"], &["push"]));
        let living = world.send(json!({"to": {"user": "ann"}, "ttl_s": 600}));
        world.wall += step;
        world.pass(seconds(9));
        assert!(called(&world).is_empty(), "{step}");
        assert_eq!(world.inbox_ids("ann"), [id, living]);
        world.pass(seconds(1));
        assert_eq!(called(&world), ["push"], "{step}");
        world.pass(seconds(600));
        assert_eq!(world.inbox_ids("ann"), [id]);
    }
}

#[test]
fn a_provider_that_says_later_is_asked_later_until_it_is_enough() {
    let mut world = World::new();
    let id = world.send(json!({"to": {"user": "ann"}, "channels": ["email"]}));
    for attempt in 1..=20 {
        assert_eq!(world.seen.calls.len(), attempt);
        assert_eq!(world.seen.calls[attempt - 1].attempt, attempt as u32);
        world.outcome(id, Channel::Email, "ann", Outcome::Retry { after: seconds(30) });
        world.pass(seconds(29));
        assert_eq!(world.seen.calls.len(), attempt);
        world.pass(seconds(1));
    }
    assert_eq!(world.seen.calls.len(), 20);
    let ended = world.delivery(id, Channel::Email);
    assert_eq!((&*ended.state, ended.attempts), ("dead_lettered", 20));
    assert_eq!(world.view().dead_letters(None, 9).expect("readable").items[0].id, Some(id));
    world.balanced();
}

#[test]
fn a_retry_beyond_its_life_is_its_end() {
    let mut world = World::new();
    let id = world.send(json!({"to": {"user": "ann"}, "channels": ["email"], "ttl_s": 60}));
    world.outcome(id, Channel::Email, "ann", Outcome::Retry { after: seconds(60) });
    assert_eq!(world.state(id, Channel::Email), "expired");
    world.pass(seconds(100));
    assert_eq!(world.seen.calls.len(), 1);
    world.balanced();
}

#[test]
fn calls_without_an_outcome_are_provided_again_after_a_restart_under_the_same_id() {
    let mut world = World::new();
    let ids: Vec<_> =
        (0..300).map(|i| world.send(json!({"to": {"user": format!("u{i}")}, "channels": ["sms"]}))).collect();
    world.outcome(ids[0], Channel::Sms, "u0", Outcome::HandedOver);
    let mut before: Vec<_> = world.seen.calls.drain(1..).map(|call| call.delivery).collect();
    world.seen.calls.clear();
    for _ in 0..2 {
        world.crash();
        world.pass(seconds(1));
        let mut again: Vec<_> = world.seen.calls.drain(..).collect();
        assert!(again.iter().all(|call| call.again && call.attempt == 1));
        again.sort_by(|one, two| one.delivery.cmp(&two.delivery));
        before.sort();
        assert!(again.iter().map(|call| &call.delivery).eq(before.iter()));
    }
    assert_eq!(
        whats(&world.delivery(ids[5], Channel::Sms)),
        ["accepted", "provided", "provided_again", "provided_again"]
    );
    world.balanced();
}

#[test]
fn what_nobody_saw_expires_and_what_sockets_got_is_handed_over() {
    let mut world = World::new();
    let link = world.link(1, &["ann"]);
    let seen = world.send(json!({"to": {"user": "ann"}, "ttl_s": 60}));
    world.result(link, seen, DeliveryResult::Sent { sockets: 1 });
    let unseen = world.send(json!({"to": {"user": "bob"}, "ttl_s": 60}));
    assert_eq!(world.inbox("bob").unread, 1);
    world.pass(seconds(59));
    assert_eq!(world.inbox_ids("bob"), [unseen]);
    world.pass(seconds(1));
    assert_eq!(
        (world.state(seen, Channel::Inapp), world.state(unseen, Channel::Inapp)),
        ("handed_over", "expired")
    );
    assert!(world.inbox_ids("bob").is_empty() && world.inbox_ids("ann").is_empty());
    assert_eq!((world.inbox("bob").unread, world.inbox("ann").unread), (0, 0));
    world.balanced();
}

#[test]
fn a_newer_one_takes_the_place_of_the_older_with_its_collapse_key() {
    let mut world = World::new();
    let link = world.link(1, &["ann"]);
    let request = json!({"to": {"user": "ann"}, "collapse_key": "score", "ttl_s": 600});
    let ids: Vec<_> = (0..3).map(|_| world.send(request.clone())).collect();
    let other = world.send(json!({"to": {"user": "ann"}, "collapse_key": "other"}));
    let bobs = world.send(json!({"to": {"user": "bob"}, "collapse_key": "score"}));
    assert_eq!((world.inbox_ids("ann"), world.inbox_ids("bob")), (vec![ids[2], other], vec![bobs]));
    assert_eq!(world.inbox("ann").unread, 2);
    assert_eq!(world.delivery(ids[0], Channel::Inapp).reason.as_deref(), Some("collapsed"));
    world.says(link, 1, "ann", &json!({"type": "ack", "ids": [ids[2]]}));
    let last = world.send(request);
    assert_eq!(world.state(ids[2], Channel::Inapp), "delivered", "she had acted on it");
    assert_eq!(world.inbox_ids("ann"), [other, last]);
    world.pass(seconds(600));
    assert_eq!(world.inbox_ids("ann"), [other]);
    let fresh = world.send(json!({"to": {"user": "ann"}, "collapse_key": "score"}));
    assert_eq!(world.inbox_ids("ann"), [other, fresh]);
    world.balanced();
}
