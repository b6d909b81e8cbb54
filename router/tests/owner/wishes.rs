//! What a user wants is kept to: channels by category, hours in which nobody is disturbed, and nothing unsubscribed from.

use std::time::Duration;

use router::owner::{Answer, Command, Outcome, OwnerConfig};
use router::preferences::Preferences;
use router::provider::letter::Address;
use router::provider::way::{Way, Ways};
use router::record::Channel;
use router::suppression::Why;
use router::unsubscribe::Leaving;
use serde_json::{Value, json};
use wire::time::Wall;

use crate::world::{PARTITIONS, START, World, whats};

const HOUR: Duration = Duration::from_secs(3_600);

fn wants(world: &mut World, body: &Value) {
    let preferences = Preferences::asked(body.to_string().as_bytes()).expect("preferences");
    let command = Command::PutPreferences { user: "ann".to_owned(), preferences };
    assert_eq!(world.command(command), Answer::Done);
}

/// 2026-01-01T00:00:00Z is one o'clock at night in Berlin: the quiet hours end at six by UTC.
fn quiet() -> Value {
    json!({"quiet_hours": {"from": "22:00", "to": "07:00", "zone": "Europe/Berlin"}})
}

fn called(world: &World) -> Vec<Channel> {
    world.seen.calls.iter().map(|call| call.delivery.channel).collect()
}

#[test]
fn channels_that_are_not_wanted_are_dropped_and_a_fallback_passes_over_them() {
    let mut world = World::new();
    wants(&mut world, &json!({"channels": {"news": ["inapp", "email"]}, "unsubscribed": ["offers"]}));
    let request = |category: &str, priority: &str| {
        json!({"to": {"user": "ann"}, "category": category, "priority": priority, "channels": ["push"],
            "fallback": ["sms", "email"], "ack_within_s": 3_600})
    };
    let news = world.send(request("news", "high"));
    world.pass(Duration::ZERO);
    assert_eq!(called(&world), [Channel::Email], "the first that is wanted, at once");
    for channel in [Channel::Push, Channel::Sms] {
        assert_eq!(world.delivery(news, channel).reason.as_deref(), Some("unsubscribed"));
    }
    world.seen.calls.clear();
    let offers =
        world.send(json!({"to": {"user": "ann"}, "category": "offers", "channels": ["inapp", "push"]}));
    assert_eq!((called(&world), world.inbox_ids("ann")), (vec![], vec![]));
    assert_eq!(world.state(offers, Channel::Inapp), "dropped");
    world.send(request("news", "critical"));
    assert_eq!(called(&world), [Channel::Push], "critical passes over all of it");
    world.seen.calls.clear();
    world.send(json!({"to": {"users": ["ann", "bob"]}, "category": "news", "channels": ["push"]}));
    let users: Vec<_> = world.seen.calls.iter().map(|call| call.delivery.user.as_str()).collect();
    assert_eq!(users, ["bob"], "others have wishes of their own");
    world.balanced();
}

#[test]
fn what_comes_in_quiet_hours_is_held_until_they_end_also_over_a_crash() {
    let mut world = World::new();
    let link = world.link(1, &["ann"]);
    wants(&mut world, &quiet());
    let id = world.send(json!({"to": {"user": "ann"}, "channels": ["inapp", "push", "email"]}));
    assert_eq!(
        (world.delivered(id), called(&world)),
        (vec![link], vec![Channel::Email]),
        "these disturb nobody"
    );
    let held = world.delivery(id, Channel::Push);
    assert_eq!((&*held.state, whats(&held)), ("open", vec!["accepted", "held"]));
    world.seen.calls.clear();
    world.crash();
    world.pass(5 * HOUR);
    world.seen.calls.clear();
    assert_eq!(world.state(id, Channel::Push), "open");
    world.pass(HOUR);
    assert_eq!(called(&world), [Channel::Push]);
    let went_at = world.delivery(id, Channel::Push).timeline.last().map(|moment| moment.at);
    assert!(
        went_at.is_some_and(|at| at >= Wall(START) + 6 * HOUR && at < Wall(START) + 6 * HOUR + HOUR / 60)
    );
    world.seen.calls.clear();
    let critical = world.send(json!({"to": {"user": "ann"}, "channels": ["push"], "priority": "critical"}));
    assert_eq!((called(&world), world.state(critical, Channel::Push)), (vec![Channel::Push], "open"));
    world.balanced();
}

#[test]
fn a_fallback_waits_for_what_is_held_instead_of_waking_by_another_channel() {
    let mut world = World::new();
    wants(&mut world, &quiet());
    let id = world.send(json!({"to": {"user": "ann"}, "channels": ["inapp"], "fallback": ["push", "sms"],
        "ack_within_s": 60}));
    world.pass(5 * HOUR);
    assert!(called(&world).is_empty(), "{:?}", called(&world));
    world.pass(HOUR + HOUR / 30);
    assert_eq!(called(&world), [Channel::Push, Channel::Sms], "in the morning, in turn");
    let timeline = world.timeline(id).deliveries;
    let sms = timeline.iter().find(|delivery| delivery.channel == Channel::Sms).expect("it began");
    let began = sms.timeline.first().map(|moment| moment.at);
    assert!(began >= Some(Wall(START) + 6 * HOUR + HOUR / 60), "a minute behind the push: {began:?}");
    world.balanced();
}

#[test]
fn wishes_that_change_hold_for_what_waits() {
    let mut world = World::new();
    wants(&mut world, &quiet());
    let id = world.send(json!({"to": {"user": "ann"}, "category": "offers", "channels": ["push"]}));
    wants(&mut world, &json!({"unsubscribed": ["offers"]}));
    world.pass(7 * HOUR);
    assert!(called(&world).is_empty());
    assert_eq!(world.delivery(id, Channel::Push).reason.as_deref(), Some("unsubscribed"));
    // A second try disturbs like a first one: it waits, too.
    wants(&mut world, &json!({}));
    let id = world.send(json!({"to": {"user": "ann"}, "channels": ["push"]}));
    world.outcome(id, Channel::Push, "ann", Outcome::Retry { after: Duration::from_secs(5) });
    wants(&mut world, &json!({"quiet_hours": {"from": "07:00", "to": "20:00", "zone": "UTC"}}));
    world.seen.calls.clear();
    world.pass(12 * HOUR);
    assert!(called(&world).is_empty());
    world.pass(HOUR);
    assert_eq!(called(&world), [Channel::Push]);
    world.balanced();
}

#[test]
fn what_is_held_longer_than_it_lives_expires() {
    let mut world = World::new();
    wants(&mut world, &quiet());
    let id = world.send(json!({"to": {"user": "ann"}, "channels": ["push"], "ttl_s": 60}));
    world.pass(12 * HOUR);
    assert_eq!((called(&world), world.state(id, Channel::Push)), (vec![], "expired"));
    world.balanced();
}

#[test]
fn a_link_ends_the_mails_of_its_category_and_no_others_also_over_a_crash() {
    let mut world = World::new();
    world.contacts("ann", &json!({"email": "ann@example.org"}));
    let leaving = |category: Option<&str>| {
        let mark = Address::Email("ann@example.org".to_owned()).mark();
        Command::Unsubscribe(Leaving { user: "ann".to_owned(), category: category.map(str::to_owned), mark })
    };
    for _ in 0..2 {
        assert_eq!(world.command(leaving(Some("news"))), Answer::Done);
    }
    world.crash();
    let mail = |category: &str, priority: &str| {
        json!({"to": {"user": "ann"}, "category": category, "priority": priority,
            "channels": ["inapp", "email", "push"]})
    };
    let news = world.send(mail("news", "high"));
    assert_eq!(world.delivery(news, Channel::Email).reason.as_deref(), Some("unsubscribed"));
    assert_eq!(called(&world), [Channel::Push], "by other channels it goes on");
    let urgent = world.send(mail("news", "critical"));
    let other = world.send(mail("bills", "low"));
    for id in [urgent, other] {
        assert_eq!(world.state(id, Channel::Email), "open");
    }
    assert!(world.view().suppressions("ann").expect("readable").is_empty());
    world.balanced();
}

fn leave(world: &mut World, user: &str, category: Option<&str>) {
    let mark = Address::Email(format!("{user}@example.org")).mark();
    let category = category.map(str::to_owned);
    let leaving = Command::Unsubscribe(Leaving { user: user.to_owned(), category, mark });
    assert_eq!(world.command(leaving), Answer::Done);
}

#[test]
fn a_link_of_no_category_ends_what_is_not_named_and_neither_codes_nor_what_is_critical() {
    let ways = Ways::of([Way::Email]);
    let mut world = World::with(OwnerConfig { partitions: PARTITIONS, ways, ..OwnerConfig::default() });
    world.contacts("ann", &json!({"email": "ann@example.org"}));
    wants(&mut world, &json!({"channels": {"bills": ["email"]}}));
    leave(&mut world, "ann", None);
    let mut sent = |category: &str, priority: &str| {
        let mail = json!({"to": {"user": "ann"}, "priority": priority, "category": category, "title": "t",
            "channels": ["email"]});
        let id = world.send(mail);
        world.state(id, Channel::Email)
    };
    assert_eq!([sent("news", "high"), sent("other", "low")], ["dropped", "dropped"]);
    let still = [sent("bills", "normal"), sent("news", "critical"), sent("otp", "critical")];
    assert_eq!(still, ["open", "open", "open"]);
    assert_eq!(world.view().suppressions("ann"), Ok(Vec::new()));
}

#[test]
fn the_address_is_suppressed_where_nobody_is_known_and_nowhere_else() {
    let mut world = World::new();
    // Erased since: nothing is kept under the name, and the address is left alone.
    leave(&mut world, "bob", Some("news"));
    assert_eq!(world.view().preferences("bob"), Ok(Preferences::default()));
    // Reached elsewhere for the moment.
    world.contacts("ann", &json!({"phone": "+4930123456"}));
    leave(&mut world, "ann", Some("news"));
    for (user, reasons) in [("bob", &[Why::Unsubscribe][..]), ("ann", &[])] {
        world.contacts(user, &json!({"email": format!("{user}@example.org")}));
        let kept = world.view().suppressions(user).expect("readable");
        assert_eq!(kept.iter().map(|one| one.suppression.reason).collect::<Vec<_>>(), reasons, "{user}");
    }
    let mail = world.send(json!({"to": {"user": "ann"}, "category": "news", "channels": ["email"]}));
    assert_eq!(world.delivery(mail, Channel::Email).reason.as_deref(), Some("unsubscribed"));
    world.contacts("bob", &json!({"email": "another@example.org"}));
    assert_eq!(world.view().suppressions("bob"), Ok(Vec::new()), "the one that the mail went to");
}
