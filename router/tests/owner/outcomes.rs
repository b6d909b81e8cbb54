//! A service that wants to be told hears of each end of its deliveries, whatever happens meanwhile, and of nothing else.

use std::time::Duration;

use router::outcomes::{self, Hearer, Outcome as Told};
use router::owner::{Command, DeliveryKey, Outcome, OwnerConfig};
use router::record::Channel;
use router::store::{Order, Range, Space, Store};
use serde_json::json;
use wire::time::Wall;

use crate::erasure::again;
use crate::world::{PARTITIONS, World};

fn service_of(name: &str) -> Hearer {
    Hearer::Service(name.to_owned())
}

fn world(services: &[&str]) -> World {
    let told_of_outcomes = services.iter().map(|service| service_of(service)).collect();
    World::with(OwnerConfig { partitions: PARTITIONS, told_of_outcomes, ..OwnerConfig::default() })
}

fn told(world: &World) -> Vec<Told> {
    let all = outcomes::oldest(&world.store, &service_of("svc"), 0, 100).expect("memory");
    all.into_iter().map(|(_, outcome)| outcome.expect("a row")).collect()
}

fn words(world: &World) -> Vec<(Channel, String)> {
    told(world).into_iter().map(|told| (told.channel, told.outcome)).collect()
}

#[test]
fn each_rung_s_end_is_told_in_the_order_in_which_it_came() {
    let mut world = world(&["svc"]);
    let id = world.send(json!({"to": {"user": "ann"}, "title": "a secret", "channels": ["push"],
        "fallback": ["sms"], "ack_within_s": 60}));
    assert_eq!(words(&world), [], "nothing has ended");
    world.outcome(id, Channel::Push, "ann", Outcome::Drop { reason: "GONE".to_owned() });
    world.pass(Duration::from_secs(1));
    world.outcome(id, Channel::Sms, "ann", Outcome::HandedOver);
    let expected = [(Channel::Push, "dropped"), (Channel::Sms, "handed_over")];
    assert_eq!(words(&world), expected.map(|(channel, outcome)| (channel, outcome.to_owned())));
    let first = told(&world).remove(0);
    assert_eq!((first.id, first.recipient.as_str(), first.reason.as_deref()), (id, "user:ann", Some("GONE")));
    assert!(first.accepted_at <= first.ended_at && first.ended_at <= Wall(world.wall));
    world.outcome(id, Channel::Sms, "ann", Outcome::Delivered);
    assert_eq!(
        words(&world).last(),
        Some(&(Channel::Sms, "delivered".to_owned())),
        "better evidence, told too"
    );
    assert!(!serde_json::to_string(&told(&world)).expect("JSON").contains("secret"));
}

#[test]
fn what_a_crash_takes_with_it_is_told_when_it_is_made_again_and_what_was_told_is_not_told_anew() {
    let mut world = world(&["svc"]);
    let entry = world.record(json!({"to": {"user": "ann"}, "title": "t", "channels": ["sms"]}));
    let id = entry.record.as_ref().expect("a record").id;
    world.owner.handle_entry(again(&entry), world.now());
    world.turn();
    let key = DeliveryKey { id, channel: Channel::Sms, user: "ann".to_owned() };
    // The answer came, and its turn was never committed.
    world.owner.handle_outcome(key, Outcome::HandedOver, world.now());
    world.crash();
    assert_eq!(words(&world), []);
    world.outcome(id, Channel::Sms, "ann", Outcome::HandedOver);
    assert_eq!(words(&world), [(Channel::Sms, "handed_over".to_owned())]);
    outcomes::strike_out(&world.store, &service_of("svc"), &[1]).expect("memory");
    world.crash();
    world.owner.handle_entry(entry, world.now());
    world.turn();
    assert_eq!(words(&world), [], "the journal is read again, and nothing new has ended");
}

#[test]
fn whoever_is_erased_is_named_to_nobody_any_more() {
    let mut world = world(&["svc"]);
    let ended = world.send(json!({"to": {"user": "ann"}, "title": "t", "channels": ["sms"]}));
    world.outcome(ended, Channel::Sms, "ann", Outcome::HandedOver);
    world.send(json!({"to": {"user": "ann"}, "title": "t", "channels": ["email"]}));
    world.owner.handle_command(1, Command::Erase { user: "ann".to_owned() }, world.now());
    world.turn();
    world.pass(Duration::from_secs(1));
    let told: Vec<_> =
        told(&world).into_iter().map(|told| (told.recipient, told.outcome, told.reason)).collect();
    let erased = || "erased".to_owned();
    assert_eq!(
        told,
        [(erased(), "handed_over".to_owned(), None), (erased(), "dropped".to_owned(), Some(erased()))]
    );
}

#[test]
fn what_ends_in_the_very_turn_in_which_its_person_is_erased_is_told_all_the_same() {
    let mut world = world(&["svc"]);
    let id = world.send(json!({"to": {"user": "ann"}, "title": "t", "channels": ["sms"]}));
    world.owner.handle_command(1, Command::Erase { user: "ann".to_owned() }, world.now());
    world.turn();
    let key = DeliveryKey { id, channel: Channel::Sms, user: "ann".to_owned() };
    world.owner.handle_outcome(key, Outcome::HandedOver, world.now());
    world.owner.handle_timeout(world.now());
    world.turn();
    world.pass(Duration::from_secs(1));
    let told: Vec<_> = told(&world).into_iter().map(|told| (told.recipient, told.outcome)).collect();
    assert_eq!(told, [("erased".to_owned(), "handed_over".to_owned())]);
}

#[test]
fn a_service_that_does_not_want_to_be_told_leaves_no_rows() {
    let mut world = world(&["another"]);
    let id = world.send(json!({"to": {"user": "ann"}, "title": "t", "channels": ["sms"]}));
    world.outcome(id, Channel::Sms, "ann", Outcome::HandedOver);
    let rows = world.store.scan(Space::Outcomes, &Range::all(), Order::Forward, 9);
    assert_eq!(rows.expect("memory"), []);
}
