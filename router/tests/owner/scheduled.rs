//! What is to be sent later is sent then: not before, once, and as things are by then.

use std::time::Duration;

use router::journal::Entry;
use router::owner::{Answer, Command, OwnerConfig};
use router::preferences::Preferences;
use router::record::Channel;
use router::store::{Batch, Order, Range, Space, Store};
use serde_json::{Value, json};
use uuid::Uuid;
use wire::time::Wall;

use crate::world::{PARTITIONS, World, whats};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(24 * 3_600);

/// The same, to be sent after a while.
fn later(world: &World, by: Duration, mut request: Value) -> Value {
    request["send_at"] = json!(Wall(world.wall) + by);
    request
}

fn schedule(world: &mut World, by: Duration, request: Value) -> Uuid {
    let request = later(world, by, request);
    world.send(request)
}

fn cancel(world: &mut World, id: Uuid) -> Answer {
    world.command(Command::Cancel { id, by: Some("svc".to_owned()), promised: None, of: None })
}

fn rows(world: &World, space: Space) -> usize {
    world.store.scan(space, &Range::all(), Order::Forward, 10_000).expect("readable").len()
}

#[test]
fn it_goes_out_at_its_moment_and_is_stamped_then() {
    let mut world = World::new();
    let link = world.link(1, &["ann"]);
    let (accepted, at) = (Wall(world.wall), Wall(world.wall) + HOUR);
    let request = json!({"to": {"user": "ann"}, "channels": ["inapp", "sms"], "ttl_s": 60});
    let id = schedule(&mut world, HOUR, request);
    for channel in [Channel::Inapp, Channel::Sms] {
        let waits = world.delivery(id, channel);
        assert_eq!((&*waits.state, waits.due_at, waits.created_at), ("open", Some(at), None));
        assert_eq!(whats(&waits), ["accepted", "scheduled"]);
        assert_eq!(waits.timeline[1].detail, Some(at.to_string()));
    }
    world.pass(Duration::from_micros(3_599_999_999));
    assert_eq!((world.delivered(id).len(), world.seen.calls.len(), world.inbox_ids("ann").len()), (0, 0, 0));
    assert_eq!(world.balanced().total().open, 2);
    world.pass(SECOND);
    assert_eq!((world.delivered(id), world.seen.calls.len()), (vec![link], 1));
    assert_eq!(world.seen.calls[0].begins_at, at, "what it took counts from here");
    let shown = world.delivery(id, Channel::Inapp);
    assert!(shown.created_at.is_some_and(|stamp| stamp >= at && stamp < at + SECOND), "{shown:?}");
    assert_eq!(whats(&shown), ["accepted", "scheduled", "inbox", "handed_over"]);
    let timeline = world.timeline(id);
    let ends = (timeline.accepted_at, timeline.send_at, timeline.expires_at);
    assert_eq!(ends, (accepted, Some(at), Some(at + 60 * SECOND)));
    assert_eq!(world.inbox_ids("ann"), [id], "its life began with its moment");
    world.pass(60 * SECOND);
    assert_eq!(world.inbox_ids("ann").len(), 0);
    world.balanced();
}

#[test]
fn what_lies_in_the_past_or_within_a_second_goes_at_once() {
    let mut world = World::new();
    let past = Wall(world.wall) - HOUR;
    let late = world.send(json!({"to": {"user": "ann"}, "send_at": past, "ttl_s": 60}));
    let soon = schedule(&mut world, SECOND, json!({"to": {"user": "ann"}}));
    let not_yet = schedule(&mut world, SECOND + Duration::from_micros(1), json!({"to": {"user": "ann"}}));
    assert_eq!(world.inbox_ids("ann"), [late, soon]);
    assert_eq!(world.timeline(late).expires_at, Some(Wall(world.wall) + 60 * SECOND), "from its acceptance");
    world.pass(2 * SECOND);
    assert_eq!(world.inbox_ids("ann"), [late, soon, not_yet]);
    world.balanced();
}

#[test]
fn a_crash_keeps_it_a_moment_that_passed_meanwhile_is_made_up_for_and_it_goes_once() {
    let mut world = World::new();
    let request =
        later(&world, HOUR, json!({"to": {"users": ["ann", "bob"]}, "channels": ["inapp", "push"]}));
    let entry = world.record(request);
    let again =
        Entry { position: entry.position, record: Ok(entry.record.as_ref().expect("a record").clone()) };
    let id = entry.record.as_ref().expect("a record").id;
    world.owner.handle_entry(entry, world.now());
    world.turn();
    world.crash();
    world.pass(HOUR / 2);
    assert_eq!(world.seen.calls.len(), 0);
    // The journal brings it again, and it is away for longer than it waits.
    world.owner.handle_entry(again, world.now());
    world.turn();
    world.step(HOUR);
    world.crash();
    world.pass(3 * SECOND);
    world.crash();
    world.pass(3 * SECOND);
    for user in ["ann", "bob"] {
        assert_eq!(world.inbox_ids(user), [id]);
        let calls = world.seen.calls.iter().filter(|call| call.delivery.user == user && !call.again);
        assert_eq!(calls.count(), 1);
    }
    assert_eq!(world.balanced().total().accepted, 4);
}

#[test]
fn one_whose_life_was_over_before_anybody_could_send_it_is_expired() {
    let mut world = World::new();
    let id = schedule(&mut world, HOUR, json!({"to": {"user": "ann"}, "ttl_s": 60}));
    world.step(HOUR + 120 * SECOND);
    world.crash();
    world.pass(SECOND);
    assert_eq!((world.state(id, Channel::Inapp), world.inbox_ids("ann").len()), ("expired", 0));
    world.balanced();
}

#[test]
fn a_cancelled_one_is_never_sent_and_a_sent_one_is_too_late() {
    let mut world = World::new();
    let users = json!({"to": {"users": ["ann", "bob"]}, "channels": ["inapp", "sms"], "collapse_key": "k"});
    let id = schedule(&mut world, HOUR, users);
    assert_eq!(cancel(&mut world, id), Answer::Cancelled { cancelled: 4, too_late: 0 });
    assert_eq!(cancel(&mut world, id), Answer::Cancelled { cancelled: 0, too_late: 4 });
    assert_eq!(rows(&world, Space::Due), 0, "nothing is left that could come due");
    world.pass(2 * HOUR);
    assert_eq!((world.inbox_ids("ann").len(), world.seen.calls.len()), (0, 0));
    assert_eq!(world.delivery(id, Channel::Sms).reason.as_deref(), Some("cancelled"));
    let sent = schedule(&mut world, HOUR, json!({"to": {"user": "ann"}, "channels": ["sms"]}));
    world.pass(2 * HOUR);
    assert_eq!(cancel(&mut world, sent), Answer::Cancelled { cancelled: 0, too_late: 1 });
    world.balanced();
}

#[test]
fn one_that_was_taken_back_before_the_owner_saw_it_does_not_wait() {
    let mut world = World::new();
    let request = later(&world, HOUR, json!({"to": {"user": "ann"}}));
    let entry = world.record(request);
    let id = entry.record.as_ref().expect("a record").id;
    let command = Command::Cancel { id, by: None, promised: Some(1), of: None };
    assert_eq!(world.command(command), Answer::Cancelled { cancelled: 1, too_late: 0 });
    world.owner.handle_entry(entry, world.now());
    world.turn();
    assert_eq!(world.delivery(id, Channel::Inapp).reason.as_deref(), Some("cancelled"));
    world.balanced();
}

#[test]
fn wishes_and_limits_are_those_of_its_moment() {
    let mut world =
        World::with(OwnerConfig { partitions: PARTITIONS, push_per_user_hour: 1, ..OwnerConfig::default() });
    let push = json!({"to": {"user": "ann"}, "channels": ["push"], "category": "news"});
    let unwanted = schedule(&mut world, HOUR, push);
    let held = schedule(&mut world, 2 * HOUR, json!({"to": {"user": "ann"}, "channels": ["push"]}));
    let first = schedule(&mut world, 24 * HOUR, json!({"to": {"user": "ann"}, "channels": ["push"]}));
    let second = schedule(&mut world, 24 * HOUR, json!({"to": {"user": "ann"}, "channels": ["push"]}));
    // The hour of pushes that counts is not the one in which they came.
    assert!(world.seen.calls.is_empty());
    let body =
        json!({"unsubscribed": ["news"], "quiet_hours": {"from": "02:00", "to": "07:00", "zone": "UTC"}});
    let preferences = Preferences::asked(body.to_string().as_bytes()).expect("preferences");
    world.command(Command::PutPreferences { user: "ann".to_owned(), preferences });
    world.pass(3 * HOUR);
    assert_eq!(world.delivery(unwanted, Channel::Push).reason.as_deref(), Some("unsubscribed"));
    assert_eq!(whats(&world.delivery(held, Channel::Push)), ["accepted", "scheduled", "held"]);
    assert!(world.seen.calls.is_empty());
    world.pass(22 * HOUR);
    let mut ends = [first, second].map(|id| world.delivery(id, Channel::Push).reason.unwrap_or_default());
    ends.sort();
    assert_eq!(ends, ["", "push_limit"]);
    assert_eq!(world.seen.calls.len(), 2, "that of the morning, and one");
    world.balanced();
}

#[test]
fn a_fallback_s_turn_and_an_acknowledgement_count_from_its_moment() {
    let mut world = World::new();
    let link = world.link(1, &["ann"]);
    let request = json!({"to": {"user": "ann"}, "fallback": ["sms"], "ack_within_s": 10});
    let id = schedule(&mut world, HOUR, request);
    world.says(link, 1, "ann", &json!({"type": "ack", "ids": [id]}));
    world.says(link, 1, "ann", &json!({"type": "read", "ids": [id]}));
    assert_eq!(world.delivery(id, Channel::Inapp).acknowledgements, 0, "nobody has got it yet");
    world.pass(HOUR + 5 * SECOND);
    assert_eq!((world.delivered(id).len(), world.seen.calls.len()), (1, 0));
    world.pass(6 * SECOND);
    assert_eq!((world.seen.calls.len(), world.state(id, Channel::Inapp)), (1, "fell_back"));
    world.balanced();
}

#[test]
fn a_collapse_key_acts_when_it_is_sent() {
    let mut world = World::new();
    let standing = world.send(json!({"to": {"user": "ann"}, "collapse_key": "k"}));
    let scheduled = schedule(&mut world, HOUR, json!({"to": {"user": "ann"}, "collapse_key": "k"}));
    assert_eq!(world.inbox_ids("ann"), [standing]);
    let newer = world.send(json!({"to": {"user": "ann"}, "collapse_key": "k"}));
    assert_eq!(world.inbox_ids("ann"), [newer]);
    assert_eq!(world.state(scheduled, Channel::Inapp), "open");
    world.pass(2 * HOUR);
    assert_eq!(world.inbox_ids("ann"), [scheduled]);
    world.balanced();
}

#[test]
fn a_topic_s_is_for_those_who_are_subscribed_by_then() {
    let mut world = World::new();
    let link = world.link(1, &["ann"]);
    let topic = schedule(&mut world, HOUR, json!({"to": {"topic": "t"}}));
    let all = schedule(&mut world, HOUR, json!({"to": {"all": true}}));
    world.pass(HOUR / 2);
    assert!(world.inbox_ids("ann").is_empty());
    world.says(link, 1, "ann", &json!({"type": "subscribe", "topics": ["t"]}));
    world.pass(HOUR);
    assert_eq!(world.inbox_ids("ann"), [topic, all]);
    world.balanced();
}

#[test]
fn an_erased_person_s_goes_along_and_others_of_its_list_get_theirs() {
    let mut world = World::new();
    let list = schedule(&mut world, HOUR, json!({"to": {"users": ["ann", "bob"]}, "title": "for both"}));
    let own = schedule(&mut world, HOUR, json!({"to": {"user": "ann"}, "channels": ["inapp", "sms"]}));
    let token = 77;
    world.owner.handle_command(token, Command::Erase { user: "ann".to_owned() }, world.now());
    world.turn();
    world.pass(SECOND);
    assert!(
        matches!(world.seen.answers.get(&token), Some(Answer::Erased(erasure)) if erasure.cancelled == 3)
    );
    assert!(world.view().timeline(own).expect("readable").is_none());
    world.pass(2 * HOUR);
    assert_eq!((world.inbox_ids("ann").len(), world.seen.calls.len()), (0, 0));
    assert_eq!(world.inbox_ids("bob"), [list]);
    assert_eq!(world.balanced().total().dropped, 3);
}

#[test]
fn retention_counts_from_its_moment() {
    let config = OwnerConfig { inbox_kept: 2 * DAY, ledger_kept: 3 * DAY, ..OwnerConfig::default() };
    let mut world = World::with(OwnerConfig { partitions: PARTITIONS, ..config });
    let id = schedule(&mut world, 30 * DAY, json!({"to": {"user": "ann"}}));
    let oldest = |world: &World| world.owner.kept().oldest.expect("there is one");
    assert_eq!(oldest(&world), Wall(world.wall), "not in a month");
    let cancelled = schedule(&mut world, 30 * DAY, json!({"to": {"user": "ann"}}));
    cancel(&mut world, cancelled);
    world.pass(DAY);
    let taken_in = Wall(world.wall);
    world.to("ann");
    assert!(oldest(&world) <= taken_in);
    world.pass(28 * DAY);
    assert!(oldest(&world) <= Wall(world.wall));
    assert_eq!(world.state(id, Channel::Inapp), "open");
    world.pass(2 * DAY);
    assert_eq!(world.inbox_ids("ann"), [id]);
    world.pass(DAY + HOUR);
    assert!(world.inbox_ids("ann").is_empty());
    world.pass(DAY + HOUR);
    assert_eq!((rows(&world, Space::Ledger), rows(&world, Space::Ages)), (0, 0));
    assert_eq!(world.balanced().total().accepted, 3);
}

#[test]
fn a_date_is_a_date_however_the_clock_is_set_meanwhile() {
    for (set, after) in [(10 * HOUR.as_micros() as i64, HOUR), (-(10 * HOUR.as_micros() as i64), 25 * HOUR)] {
        let mut world = World::new();
        let at = world.wall + (24 * HOUR).as_micros() as i64;
        let id = schedule(&mut world, 24 * HOUR, json!({"to": {"user": "ann"}}));
        world.pass(HOUR / 2);
        world.wall += set;
        // Set forward, it is noticed half-way to where the moment was thought to be.
        while world.inbox_ids("ann").is_empty() {
            world.pass(60 * SECOND);
            assert!(world.wall < at + after.as_micros() as i64, "{set}");
        }
        assert!(world.wall >= at, "{set}");
        assert_eq!(world.state(id, Channel::Inapp), "handed_over");
    }
}

#[test]
fn a_clock_that_is_set_back_by_less_than_a_second_lets_nothing_out_early() {
    let mut world = World::new();
    let at = Wall(world.wall) + HOUR;
    let id = schedule(&mut world, HOUR, json!({"to": {"user": "ann"}}));
    world.pass(3_599 * SECOND);
    world.wall -= 500_000;
    world.pass(SECOND + SECOND / 4);
    assert!(world.inbox_ids("ann").is_empty(), "a quarter of a second is left");
    world.pass(SECOND);
    let shown = world.delivery(id, Channel::Inapp);
    assert!(shown.created_at.is_some_and(|stamp| stamp >= at && stamp < at + SECOND), "{shown:?}");
    world.balanced();
}

#[test]
fn a_critical_one_that_comes_ahead_of_the_journal_waits_all_the_same() {
    let mut world = World::new();
    let request =
        later(&world, HOUR, json!({"to": {"user": "ann"}, "priority": "critical", "channels": ["sms"]}));
    let entry = world.record(request);
    world.owner.handle_bypass(entry.record.clone().expect("a record"), world.now());
    world.turn();
    assert!(world.seen.calls.is_empty());
    world.pass(HOUR);
    assert_eq!(world.seen.calls.len(), 1, "the outage is no matter");
    world.owner.handle_entry(entry, world.now());
    world.turn();
    assert_eq!((world.seen.calls.len(), world.balanced().total().accepted), (1, 1));
}

#[test]
fn of_what_waits_for_one_moment_the_most_urgent_goes_first() {
    let mut world = World::new();
    let mut ids = Vec::new();
    for priority in ["low", "normal", "high", "critical"] {
        let request = json!({"to": {"user": "ann"}, "priority": priority});
        ids.insert(0, schedule(&mut world, HOUR, request));
    }
    world.pass(HOUR + SECOND);
    assert_eq!(world.inbox_ids("ann"), ids);
}

#[test]
fn texts_are_kept_while_it_waits_and_no_longer() {
    let mut world = World::new();
    let id = schedule(&mut world, HOUR, json!({"to": {"user": "ann"}, "title": "a surprise"}));
    let kept = |world: &World| {
        let row =
            world.store.get(Space::Notifications, id.as_bytes()).expect("readable").expect("it is kept");
        String::from_utf8_lossy(&row).contains("a surprise")
    };
    assert!(kept(&world));
    world.pass(2 * HOUR);
    assert!(!kept(&world), "the inbox has them");
    assert_eq!(world.inbox_ids("ann"), [id]);
}

#[test]
fn what_it_needs_and_is_damaged_or_gone_dead_letters_it_and_stops_nobody() {
    for damage in [None, Some(vec![9, 9, 9])] {
        let mut world = World::new();
        let id = schedule(&mut world, HOUR, json!({"to": {"user": "ann"}, "channels": ["inapp", "sms"]}));
        let other = schedule(&mut world, HOUR, json!({"to": {"user": "ann"}}));
        let mut batch = Batch::default();
        match damage {
            Some(bytes) => batch.put(Space::Notifications, id.as_bytes().to_vec(), bytes),
            None => batch.delete(Space::Notifications, id.as_bytes().to_vec()),
        }
        world.store.commit(&batch).expect("it takes it");
        world.pass(2 * HOUR);
        assert_eq!(world.inbox_ids("ann"), [other]);
        let counters = world.balanced();
        assert_eq!((counters.total().dead_lettered, counters.total().open), (2, 0));
    }
}
