//! A notification goes through the owner to where it belongs, and the ledger says so.

use std::time::Duration;

use router::owner::Outcome;
use router::record::Channel;
use router::store::{Batch, Space, Store, keys};
use serde_json::json;
use wire::link::{DeliveryResult, Frame};
use wire::message::{Notification, ServerMessage};

use crate::world::{World, whats};

#[test]
fn in_app_reaches_every_link_of_the_user_and_nobody_else() {
    let mut world = World::new();
    let (one, two) = (world.link(1, &["ann", "bob"]), world.link(2, &["ann"]));
    let id = world.send(json!({"to": {"user": "ann"}, "title": "t", "data": {"a": 1}, "priority": "high"}));
    assert_eq!(world.delivered(id), [one, two]);
    let told = world.seen.frames.iter().find_map(|(_, frame)| match frame {
        Frame::Deliver { user, text, created_at, .. } => Some((user.clone(), text.clone(), *created_at)),
        _ => None,
    });
    let (user, text, created_at) = told.expect("a delivery");
    let message: ServerMessage = serde_json::from_slice(&text).expect("a message");
    let ServerMessage::Notification(Notification { id: shown, created_at: at, title, .. }) = message else {
        panic!("{text:?}")
    };
    assert_eq!((user.as_str(), shown, at, title.as_deref()), ("ann", id, created_at, Some("t")));
    assert_eq!(world.state(id, Channel::Inapp), "handed_over");
    world.result(one, id, DeliveryResult::Sent { sockets: 2 });
    world.result(two, id, DeliveryResult::None);
    let delivery = world.delivery(id, Channel::Inapp);
    assert_eq!(delivery.sockets, 2);
    assert_eq!(whats(&delivery), ["accepted", "inbox", "handed_over", "sent", "no_socket"]);
    assert_eq!((world.inbox_ids("ann"), world.inbox_ids("bob")), (vec![id], vec![]));
    world.balanced();
}

#[test]
fn nothing_shows_before_the_commit_and_a_failed_commit_loses_nothing() {
    let mut world = World::new();
    let link = world.link(1, &["ann"]);
    let entry = world.record(json!({"to": {"user": "ann"}, "channels": ["inapp", "push"]}));
    let (id, position) = (entry.record.as_ref().expect("a record").id, entry.position);
    world.owner.handle_entry(entry, world.now());
    world.drain();
    assert_eq!(world.delivered(id), []);
    world.store.fail_commits(2);
    for _ in 0..2 {
        assert!(world.owner.commit().is_err());
        world.drain();
        assert!(
            world.delivered(id).is_empty() && world.seen.calls.is_empty() && world.seen.committed.is_empty()
        );
    }
    world.turn();
    assert_eq!((world.delivered(id), world.seen.calls.len()), (vec![link], 1));
    assert_eq!(world.seen.committed, [position]);
    world.balanced();
}

#[test]
fn a_failed_read_keeps_the_input_and_what_comes_behind_it_in_order() {
    let mut world = World::new();
    let link = world.link(1, &["ann"]);
    let entries: Vec<_> = (0..3).map(|_| world.record(json!({"to": {"user": "ann"}}))).collect();
    let ids: Vec<_> = entries.iter().map(|entry| entry.record.as_ref().expect("a record").id).collect();
    world.store.fail_reads(3);
    for entry in entries {
        world.owner.handle_entry(entry, world.now());
    }
    assert!(world.owner.commit().is_err());
    world.drain();
    assert!(world.seen.committed.is_empty());
    while world.owner.commit().is_err() {}
    world.drain();
    let delivered: Vec<_> = world
        .seen
        .frames
        .iter()
        .filter_map(|(to, frame)| match frame {
            Frame::Deliver { id, .. } if *to == link => Some(*id),
            _ => None,
        })
        .collect();
    assert_eq!((delivered, world.inbox_ids("ann")), (ids.clone(), ids));
    assert_eq!(world.balanced().total().accepted, 3);
}

#[test]
fn a_read_that_fails_half_way_leaves_no_half() {
    for good in 0..12 {
        let mut world = World::new();
        world.link(1, &["a", "b"]);
        let request =
            json!({"to": {"users": ["a", "b"]}, "channels": ["inapp", "push"], "collapse_key": "k"});
        let older = world.send(request.clone());
        let entry = world.record(request);
        let id = entry.record.as_ref().expect("a record").id;
        world.store.fail_reads_after(good, 1);
        world.owner.handle_entry(entry, world.now());
        while world.owner.commit().is_err() {}
        world.store.fail_reads(0);
        world.drain();
        assert_eq!((world.delivered(id).len(), world.seen.calls.len()), (2, 4), "after {good}");
        assert_eq!((world.inbox_ids("a"), world.inbox_ids("b")), (vec![id], vec![id]));
        assert_eq!(world.timeline(older).deliveries[0].reason.as_deref(), Some("collapsed"));
        assert_eq!(world.balanced().total().accepted, 8, "after {good}");
        let lanes = world.view().reconcile(wire::time::Wall(world.wall), 0).expect("readable").lanes;
        assert_eq!(lanes.iter().map(|lane| lane.lane.read).sum::<u64>(), 2);
    }
}

#[test]
fn a_list_of_users_is_one_delivery_each_and_doubles_are_one() {
    let mut world = World::new();
    world.link(1, &["a", "b", "c"]);
    let id = world.send(json!({"to": {"users": ["a", "b", "a", "c"]}, "channels": ["inapp", "email"]}));
    assert_eq!((world.timeline(id).deliveries.len(), world.seen.calls.len()), (6, 3));
    let calls: Vec<_> = world.seen.calls.iter().map(|call| call.delivery.to_string()).collect();
    assert_eq!(calls, ["a", "b", "c"].map(|user| format!("{id}/email/{user}")));
    assert_eq!(world.balanced().total().accepted, 6);
}

#[test]
fn topics_and_all_are_one_broadcast_a_link_and_other_channels_are_refused() {
    let mut world = World::new();
    let (one, two) = (world.link(1, &["a"]), world.link(2, &["b"]));
    world.frame(two, Frame::Subscribe { topic: "news".to_owned() });
    let news = world.send(json!({"to": {"topic": "news"}, "channels": ["inapp", "push"]}));
    let all = world.send(json!({"to": {"all": true}}));
    assert_eq!((world.delivered(news), world.delivered(all)), (vec![two], vec![one, two]));
    assert_eq!(world.state(news, Channel::Inapp), "handed_over");
    let refused = world.delivery(news, Channel::Push);
    assert_eq!((&*refused.state, refused.reason.as_deref()), ("dropped", Some("refused")));
    assert!(world.seen.calls.is_empty());
    world.result(one, all, DeliveryResult::Sent { sockets: 3 });
    world.result(two, all, DeliveryResult::Sent { sockets: 4 });
    assert_eq!(world.delivery(all, Channel::Inapp).sockets, 7);
    world.balanced();
}

#[test]
fn what_is_over_before_it_comes_goes_nowhere() {
    let mut world = World::new();
    world.link(1, &["ann"]);
    let entry = world.record(json!({"to": {"user": "ann"}, "channels": ["inapp", "push"], "ttl_s": 5}));
    let id = entry.record.as_ref().expect("a record").id;
    world.step(Duration::from_secs(5));
    world.owner.handle_entry(entry, world.now());
    world.turn();
    assert!(world.delivered(id).is_empty() && world.seen.calls.is_empty());
    assert_eq!((world.state(id, Channel::Inapp), world.state(id, Channel::Push)), ("expired", "expired"));
    assert!(world.inbox_ids("ann").is_empty());
    world.pass(Duration::from_secs(60));
    world.balanced();
}

#[test]
fn a_record_given_again_changes_nothing() {
    let mut world = World::new();
    world.link(1, &["a", "b"]);
    let requests = [
        json!({"to": {"users": ["a", "b"]}, "channels": ["inapp", "push"], "fallback": ["sms"], "ack_within_s": 30}),
        json!({"to": {"topic": "t"}, "collapse_key": "k"}),
        json!({"to": {"topic": "t"}, "collapse_key": "k"}),
        json!({"to": {"user": "a"}, "ttl_s": 60}),
    ];
    let mut entries: Vec<_> = requests.into_iter().map(|request| world.record(request)).collect();
    entries.push(world.poison(b"nonsense"));
    let again: Vec<_> = entries
        .iter()
        .map(|entry| router::journal::Entry {
            position: entry.position,
            record: match &entry.record {
                Ok(record) => Ok(record.clone()),
                Err(poison) => Err(poison.clone()),
            },
        })
        .collect();
    let handle = |world: &mut World, entries: Vec<router::journal::Entry>| {
        for entry in entries {
            world.owner.handle_entry(entry, world.now());
        }
        world.turn();
    };
    handle(&mut world, entries);
    let before = world.balanced();
    let (frames, calls) = (world.seen.frames.len(), world.seen.calls.len());
    world.crash();
    handle(&mut world, again);
    let after = world.balanced();
    assert_eq!((before.total(), before.deliveries()), (after.total(), after.deliveries()));
    assert_eq!((world.seen.frames.len(), world.seen.calls.len()), (0, calls), "{frames} before");
    let (first, second) = world.seen.committed.split_at(world.seen.committed.len() / 2);
    assert_eq!(first, second, "positions move all the same");
    let lanes = world.view().reconcile(wire::time::Wall(world.wall), 0).expect("readable").lanes;
    assert_eq!(lanes.iter().map(|lane| lane.lane.repeated).sum::<u64>(), 5);
}

#[test]
fn poison_and_nonsense_are_dead_lettered_and_the_rest_goes_on() {
    let mut world = World::new();
    world.link(1, &["ann"]);
    let poison = world.poison(b"\xff\xfe no JSON");
    world.owner.handle_entry(poison, world.now());
    world.send(json!({"to": {"users": []}}));
    let good = world.to("ann");
    assert_eq!(world.delivered(good).len(), 1);
    let page = world.view().dead_letters(None, 10).expect("readable");
    let reasons: Vec<_> = page.items.iter().map(|item| item.reason.as_str()).collect();
    assert_eq!(reasons, ["no JSON", "it is for nobody"]);
    assert!(page.items[0].excerpt.as_deref().is_some_and(|text| text.contains("no JSON")));
    assert_eq!(world.seen.alerts.len(), 2);
    assert_eq!(world.seen.committed.len(), 3);
    let total = world.balanced().total();
    assert_eq!((total.accepted, total.dead_lettered), (3, 2));
}

#[test]
fn a_damaged_row_stops_its_record_only() {
    let mut world = World::new();
    world.link(1, &["ann", "bob"]);
    let mut batch = Batch::default();
    batch.put(Space::Recipients, keys::user("ann"), vec![99]);
    world.store.commit(&batch).expect("memory");
    let (hurt, whole) = (world.to("ann"), world.to("bob"));
    assert!(world.delivered(hurt).is_empty() && world.delivered(whole).len() == 1);
    assert_eq!(world.seen.committed.len(), 2);
    assert!(world.seen.alerts.iter().any(|(name, _)| *name == "store_row_damaged"));
    assert_eq!(world.view().dead_letters(None, 9).expect("readable").items[0].id, Some(hurt));
    world.balanced();
}

#[test]
fn a_missing_sequence_number_is_found_and_named() {
    let mut world = World::new();
    let entries: Vec<_> = (0..4).map(|_| world.record(json!({"to": {"user": "ann"}}))).collect();
    for (i, entry) in entries.into_iter().enumerate() {
        if i != 2 {
            world.owner.handle_entry(entry, world.now());
        }
    }
    world.turn();
    world.pass(Duration::from_secs(10));
    let found = world.view().reconcile(wire::time::Wall(world.wall), 0).expect("readable");
    assert_eq!((found.missing, found.gaps[0].first, found.gaps[0].last), (1, 3, 3));
    assert!(!found.balanced && found.unaccounted == 0);
}

#[test]
fn outcomes_of_providers_reach_the_ledger() {
    let cases = [
        (Outcome::Delivered, "delivered", None),
        (Outcome::HandedOver, "handed_over", None),
        (Outcome::Unknown, "unknown", None),
        (Outcome::Drop { reason: "no such address".into() }, "dropped", Some("no such address")),
    ];
    for (outcome, state, reason) in cases {
        let mut world = World::new();
        let id =
            world.send(json!({"to": {"user": "ann"}, "channels": ["email"], "title": "t", "data": {"k": 1}}));
        let call = &world.seen.calls[0];
        assert_eq!((call.title.as_deref(), call.attempt, call.again), (Some("t"), 1, false));
        assert_eq!(world.state(id, Channel::Email), "open");
        world.outcome(id, Channel::Email, "ann", outcome.clone());
        let delivery = world.delivery(id, Channel::Email);
        assert_eq!((&*delivery.state, delivery.reason.as_deref()), (state, reason));
        world.outcome(id, Channel::Email, "ann", Outcome::Retry { after: Duration::from_secs(1) });
        world.pass(Duration::from_secs(10));
        assert_eq!((world.state(id, Channel::Email), world.seen.calls.len()), (state, 1), "it is final");
        world.balanced();
    }
}

#[test]
fn an_ambiguous_call_is_never_repeated_and_resolved_by_a_later_answer() {
    let mut world = World::new();
    let id = world.send(json!({"to": {"user": "ann"}, "channels": ["sms"]}));
    world.outcome(id, Channel::Sms, "ann", Outcome::Unknown);
    world.crash();
    world.pass(Duration::from_secs(3_600));
    assert_eq!(world.seen.calls.len(), 1);
    world.outcome(id, Channel::Sms, "ann", Outcome::Delivered);
    assert_eq!(world.state(id, Channel::Sms), "delivered");
    world.outcome(id, Channel::Sms, "ann", Outcome::Drop { reason: "late".into() });
    assert_eq!(world.state(id, Channel::Sms), "delivered");
    assert!(whats(&world.delivery(id, Channel::Sms)).contains(&"too_late"));
    world.balanced();
}
