//! A person who is erased is nowhere any more, does not come back, and nobody else notices.

use std::collections::BTreeMap;
use std::time::Duration;

use router::classify::Recipient;
use router::contacts::Contacts;
use router::journal::Entry;
use router::ledger::Tally;
use router::owner::{Answer, Answered, Command, DeliveryKey, Erasure, Outcome, OwnerConfig, Said};
use router::provider::kept::{Kept, Sent};
use router::provider::letter::{self, Address, Class, Refusal};
use router::provider::way::{Way, Ways};
use router::record::Channel;
use router::store::{MemoryStore, Order, Range, Space, Store, keys};
use serde_json::{Value, json};
use uuid::Uuid;
use wire::link::{Frame, Revoked};
use wire::message::Priority;
use wire::time::Wall;

use crate::world::{PARTITIONS, World};

/// A name that is part of nothing else.
const ANN: &str = "ann-who-goes";
const DAY: Duration = Duration::from_secs(24 * 3_600);

fn world() -> World {
    // Every erasure takes many calls.
    World::with(OwnerConfig { partitions: PARTITIONS, sweep_rows_max: 3, ..OwnerConfig::default() })
}

fn begin(world: &mut World, user: &str) -> u64 {
    let token = 1_000 + world.seen.answers.len() as u64;
    world.owner.handle_command(token, Command::Erase { user: user.to_owned() }, world.now());
    world.turn();
    token
}

fn erase(world: &mut World) -> Erasure {
    let token = begin(world, ANN);
    world.pass(Duration::ZERO);
    match world.seen.answers.get(&token) {
        Some(Answer::Erased(erasure)) => erasure.clone(),
        other => panic!("{other:?}"),
    }
}

/// Spaces in which the name stands, in a key or in a value, or in base64 as the logs keep bytes.
fn traces(store: &MemoryStore) -> Vec<Space> {
    let encoded = (0..3).map(|shift| {
        let padded = [vec![b' '; shift], ANN.as_bytes().to_vec()].concat();
        data_encoding::BASE64.encode(&padded).as_bytes()[4..12].to_vec()
    });
    let parts: Vec<Vec<u8>> = encoded.chain([ANN.as_bytes().to_vec()]).collect();
    let holds = |bytes: &[u8]| {
        parts.iter().any(|part| bytes.windows(part.len()).any(|window| window == part.as_slice()))
    };
    let mut traces = Vec::new();
    for space in Space::ALL {
        let rows = store.scan(space, &Range::all(), Order::Forward, 10_000).expect("memory");
        traces.extend(rows.iter().filter(|(key, value)| holds(key) || holds(value)).map(|_| space));
    }
    traces
}

/// Spaces that keep something of a person.
const PERSONAL: [Space; 15] = [
    Space::Notifications,
    Space::Ledger,
    Space::Inbox,
    Space::Marks,
    Space::Recipients,
    Space::Collapse,
    Space::Subscriptions,
    Space::Due,
    Space::Calls,
    Space::Overflow,
    Space::DeadLetters,
    Space::Tickets,
    Space::Outbox,
    Space::People,
    Space::Idempotency,
];

fn to_ann() -> Value {
    json!({"to": {"user": ANN}, "title": "private"})
}

fn keep_in_outbox(world: &World, id: Uuid, user: &str) {
    let key = DeliveryKey { id, channel: Channel::Push, user: user.to_owned() };
    let sent = Sent {
        delivery: key.to_string(),
        id: id.to_string(),
        channel: Channel::Push,
        user: user.to_owned(),
        title: None,
        body: None,
        at: Wall(world.wall),
    };
    Kept::open(world.store.clone()).and_then(|kept| kept.keep(&sent)).expect("memory");
}

/// Something of every kind, for two people.
fn lived_in() -> World {
    let mut world = world();
    let link = world.link(1, &[ANN, "bob"]);
    world.says(link, 1, ANN, &json!({"type": "subscribe", "topics": ["t1", "t2"]}));
    let first = world.send(to_ann());
    let all = world.send(json!({"to": {"all": true}}));
    world.says(link, 1, ANN, &json!({"type": "read", "ids": [first, all]}));
    world.send(json!({"to": {"users": [ANN, "bob"]}, "channels": ["inapp", "email"]}));
    world.send(json!({"to": {"user": ANN}, "collapse_key": "k", "ttl_s": 600}));
    world.send(json!({"to": {"user": ANN}, "channels": ["inapp"], "fallback": ["sms"], "ack_within_s": 9}));
    let retried = world.send(json!({"to": {"user": ANN}, "channels": ["voice"]}));
    world.outcome(retried, Channel::Voice, ANN, Outcome::Retry { after: Duration::from_secs(60) });
    let refused = world.send(json!({"to": {"user": ANN}, "channels": ["sms"]}));
    let words = format!("{ANN} has no such number");
    world.outcome(refused, Channel::Sms, ANN, Outcome::Drop { reason: words });
    world.contacts(ANN, &json!({"email": "ann@example.org", "push": [{"kind": "fcm", "token": "a"}]}));
    world.contacts("bob", &json!({"phone": "+4930123456"}));
    for _ in 0..21 {
        let pushed = world.send(json!({"to": {"user": ANN}, "channels": ["push"]}));
        keep_in_outbox(&world, pushed, ANN);
    }
    keep_in_outbox(&world, first, "bob");
    let poison = world.poison(br#"{"to":{"user":"ann-who-goes"},"v":77}"#);
    world.owner.handle_entry(poison, world.now());
    let mut senseless = world.record(json!({"to": {"users": [ANN, "bob"]}}));
    senseless.record.as_mut().expect("a record").request.channels.clear();
    world.owner.handle_entry(senseless, world.now());
    let expires_at = Wall(world.wall) + Duration::from_secs(60);
    world.command(Command::IssueTicket { user: ANN.to_owned(), hash: [1; 32], expires_at });
    let mut answered = router::store::Batch::default();
    answered.put(Space::Idempotency, [b"i".as_slice(), first.as_bytes()].concat(), vec![1]);
    world.store.commit(&answered).expect("memory");
    world.to("bob");
    world
}

#[test]
fn nothing_of_a_person_is_left_and_the_answer_counts_it() {
    let mut world = lived_in();
    let before = traces(&world.store);
    let unseen = PERSONAL.iter().filter(|space| !before.contains(space));
    assert_eq!(unseen.collect::<Vec<_>>(), [&Space::Idempotency], "there was something of each kind");
    let bob = (world.inbox_ids("bob"), world.inbox("bob").unread);
    let accepted = world.balanced().total().accepted;
    let erasure = erase(&mut world);
    assert_eq!(traces(&world.store), []);
    let counted = [
        ("ledger", 27),
        ("notifications", 26),
        // One that was sent and one that was dead-lettered; both are bob's, too.
        ("lists", 2),
        ("inbox", 4),
        ("marks", 2),
        ("collapse", 1),
        ("recipients", 1),
        ("subscriptions", 1),
        ("tickets", 1),
        ("people", 1),
        ("idempotency", 1),
        ("overflow", 1),
        ("dead_letters", 1),
        ("outbox", 21),
    ];
    assert_eq!(erasure.erased, BTreeMap::from(counted));
    // An e-mail, an acknowledgement, a retry, and the pushes but the one over the limit.
    assert_eq!(erasure.cancelled, 1 + 1 + 1 + 20);
    let after = world.balanced();
    assert_eq!(after.total().accepted, accepted);
    assert_eq!(after.dropped().find(|(reason, _)| *reason == "erased"), Some(("erased", 23)));
    assert_eq!((world.inbox_ids("bob"), world.inbox("bob").unread), bob, "nobody else notices");
    assert_eq!(world.view().contacts(ANN), Ok(Contacts::default()));
    assert!(world.view().contacts("bob").expect("readable").phone.is_some());
    let outbox = Kept::open(world.store.clone()).and_then(|kept| kept.newest(None, None, 100));
    assert_eq!(outbox.expect("memory").len(), 1);
    let revoked = |frame: &Frame| *frame == Frame::Revoke { who: Revoked::User(ANN.to_owned()) };
    assert!(world.seen.frames.iter().any(|(_, frame)| revoked(frame)), "sockets are closed");
    assert!(world.seen.calls.iter().all(|call| call.delivery.user != ANN), "what waits is recalled");
    world.seen.calls.clear();
    world.pass(Duration::from_secs(700));
    assert!(world.seen.calls.iter().all(|call| call.delivery.user != ANN), "no timer sends it");
}

#[test]
fn a_list_tells_that_somebody_was_erased_and_not_who() {
    let mut world = world();
    let id = world.send(json!({"to": {"users": [ANN, "bob"]}, "channels": ["inapp", "email"]}));
    erase(&mut world);
    let told: Vec<_> = world
        .timeline(id)
        .deliveries
        .into_iter()
        .filter(|delivery| delivery.recipient != "user:bob")
        .map(|delivery| (delivery.recipient, delivery.state, delivery.reason, delivery.timeline.len()))
        .collect();
    let erased = || "erased".to_owned();
    let ended = |state: &'static str, reason| (erased(), state.into(), reason, 0);
    assert_eq!(told, [ended("handed_over", None), ended("dropped", Some(erased()))]);
    world.command(Command::Cancel { id, by: None, promised: None, of: None });
    world.balanced();
    assert_eq!(traces(&world.store), []);
}

#[test]
fn a_call_to_a_second_device_that_is_out_leaves_nothing_either() {
    let ways = Ways::of([Way::Fcm]);
    let mut world = World::with(OwnerConfig { partitions: PARTITIONS, ways, ..OwnerConfig::default() });
    world.contacts(ANN, &json!({"push": [{"kind": "fcm", "token": "a"}, {"kind": "fcm", "token": "b"}]}));
    let id = world.send(json!({"to": {"user": ANN}, "channels": ["push"]}));
    let fault = Refusal { class: Class::Fault, code: "X".into(), detail: String::new(), retry_after: None };
    let said = |answer| Said::Answer(answer);
    let letters = |first| {
        let to = |token: &str| Address::Fcm(token.to_owned());
        let second = Answered { to: to("b"), said: said(letter::Answer::Refused(fault.clone())) };
        let taken = Answered { to: to("a"), said: said(letter::Answer::Taken { reference: None }) };
        Outcome::Letters(if first { vec![taken, second] } else { vec![second] })
    };
    world.outcome(id, Channel::Push, ANN, letters(true));
    world.seen.calls.clear();
    world.pass(Duration::from_secs(60));
    assert_eq!(world.seen.calls.len(), 1, "the second device is tried");
    erase(&mut world);
    assert_eq!(traces(&world.store), []);
    world.outcome(id, Channel::Push, ANN, letters(false));
    world.pass(Duration::from_secs(600));
    assert_eq!(traces(&world.store), []);
    world.balanced();
}

#[test]
fn a_second_time_nothing_was_there() {
    let mut world = lived_in();
    erase(&mut world);
    assert_eq!(erase(&mut world), Erasure::default());
    world.balanced();
}

pub(crate) fn again(entry: &Entry) -> Entry {
    Entry { position: entry.position, record: Ok(entry.record.as_ref().expect("a record").clone()) }
}

#[test]
fn a_journal_that_is_read_again_brings_nothing_back() {
    let mut world = world();
    let handled = world.record(to_ann());
    let list = world.record(json!({"to": {"users": ["bob", ANN, "carl"]}, "title": "all three"}));
    for entry in [&handled, &list] {
        world.owner.handle_entry(again(entry), world.now());
    }
    world.turn();
    // Accepted, and still in the journal when the person is erased.
    let late = world.record(json!({"to": {"users": [ANN, "carl"]}, "channels": ["inapp", "push"]}));
    let late_alone = world.record(to_ann());
    let late_id = late.record.as_ref().expect("a record").id;
    world.step(Duration::from_secs(1));
    erase(&mut world);
    world.step(Duration::from_secs(1));
    world.seen.calls.clear();
    let before = world.balanced();
    for entry in [&handled, &list, &late, &late_alone, &late, &late_alone] {
        world.owner.handle_entry(again(entry), world.now());
        world.turn();
        assert_eq!(traces(&world.store), []);
    }
    assert!(world.seen.calls.iter().all(|call| call.delivery.user == "carl"));
    assert_eq!(world.inbox_ids("carl").len(), 2, "others get theirs");
    assert_eq!(world.timeline(late_id).deliveries.len(), 2 + 2);
    let after = world.balanced();
    let Tally { accepted, dropped, .. } = after.total();
    // Of the late ones two channels for two and one for one, once each.
    let fresh = (accepted - before.total().accepted, dropped - before.total().dropped);
    assert_eq!(fresh, (2 + 2 + 1, 2 + 1));
    let repeated = |counters: &router::ledger::Counters| counters.lane_of(Priority::Normal).repeated;
    assert_eq!(repeated(&after) - repeated(&before), 4, "the others were known");
    world.crash();
    let anew = world.send(to_ann());
    assert_eq!(world.inbox_ids(ANN), [anew], "what was accepted since comes");
    world.balanced();
}

#[test]
fn the_same_request_after_an_erasure_is_a_new_one_and_can_be_erased_again() {
    let mut world = world();
    let mut entry = world.record(to_ann());
    world.owner.handle_entry(again(&entry), world.now());
    world.step(Duration::from_secs(1));
    erase(&mut world);
    world.step(Duration::from_secs(1));
    let record = entry.record.as_mut().expect("a record");
    record.accepted_at = Wall(world.wall);
    let id = record.id;
    world.owner.handle_entry(again(&entry), world.now());
    world.turn();
    assert_eq!(world.inbox_ids(ANN), [id]);
    assert_eq!(erase(&mut world).erased["ledger"], 1);
    assert_eq!(traces(&world.store), []);
    assert_eq!(world.balanced().total().accepted, 2);
}

#[test]
fn an_erasure_that_a_stop_cuts_off_goes_on_at_the_next_start() {
    for turns in 0..60 {
        let mut world = lived_in();
        let token = begin(&mut world, ANN);
        for _ in 0..turns {
            world.owner.handle_timeout(world.now());
            world.turn();
        }
        world.crash();
        world.send(to_ann());
        world.pass(Duration::ZERO);
        assert_eq!(traces(&world.store), [], "cut off after {turns}");
        world.balanced();
        if world.seen.answers.contains_key(&token) {
            return;
        }
    }
    panic!("none of them ended before the stop");
}

#[test]
fn a_store_that_fails_meanwhile_loses_no_row_of_it() {
    for good in 0..120 {
        let mut world = lived_in();
        world.owner.handle_command(999, Command::Erase { user: ANN.to_owned() }, world.now());
        world.store.fail_reads_after(good, 2);
        for _ in 0..200 {
            while world.owner.commit().is_err() {}
            world.drain();
            world.owner.handle_timeout(world.now());
        }
        world.store.fail_reads(0);
        world.turn();
        assert_eq!(traces(&world.store), [], "failed after {good}");
        assert!(matches!(world.seen.answers.get(&999), Some(Answer::Erased(_))));
        world.balanced();
    }
}

#[test]
fn one_at_a_time_and_whoever_asks_again_gets_the_answer() {
    let mut world = lived_in();
    let tokens = [begin(&mut world, ANN), 7, 8];
    for (token, user) in [(8, ANN), (7, "bob")] {
        world.owner.handle_command(token, Command::Erase { user: user.to_owned() }, world.now());
        world.turn();
    }
    world.pass(Duration::ZERO);
    let answers = tokens.map(|token| world.seen.answers.get(&token).cloned());
    assert!(
        matches!(answers, [Some(Answer::Failed(_)), Some(Answer::Failed(_)), Some(Answer::Erased(_))]),
        "{answers:?}"
    );
    assert_ne!(world.inbox_ids("bob"), [] as [Uuid; 0]);
}

#[test]
fn what_stands_for_the_erased_goes_when_its_days_are_over() {
    let mut world = lived_in();
    erase(&mut world);
    let rows = |world: &World, space| {
        world.store.scan(space, &Range::all(), Order::Forward, 1_000).expect("memory").len()
    };
    world.pass(6 * DAY);
    assert_eq!(rows(&world, Space::Erased), 1);
    world.pass(DAY);
    assert_eq!(rows(&world, Space::Erased), 0);
    world.pass(100 * DAY);
    // What is open of bob's is never removed.
    let left = world.store.scan(Space::Ledger, &Range::all(), Order::Forward, 1_000).expect("memory");
    let of: Vec<_> = left.iter().map(|(key, _)| keys::ledger_parts(key).expect("a key").1).collect();
    assert_eq!(of, [Recipient::User("bob".to_owned())]);
    world.balanced();
}

#[test]
fn an_answer_of_a_provider_that_comes_too_late_leaves_nothing() {
    let mut world = lived_in();
    let id = world.send(json!({"to": {"user": ANN}, "channels": ["push"]}));
    erase(&mut world);
    world.seen.alerts.clear();
    keep_in_outbox(&world, id, ANN);
    world.outcome(id, Channel::Push, ANN, Outcome::HandedOver);
    assert_eq!(world.seen.alerts, []);
    assert_eq!(traces(&world.store), []);
    world.balanced();
}
