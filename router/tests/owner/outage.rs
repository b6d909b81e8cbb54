//! An outage of Kafka from the owner's side: what goes out ahead is known when it comes, and numbers that nobody will read
//! are no losses.

use std::time::Duration;

use router::journal::Entry;
use router::record::{Channel, Record, SKIPPED_RUNS_MAX, SKIPPED_TOLD_MAX};
use serde_json::json;
use wire::message::Priority;
use wire::time::Wall;

use crate::world::World;

fn record(entry: &Entry) -> Record {
    entry.record.as_ref().expect("a record").clone()
}

#[test]
fn what_was_bypassed_goes_out_at_once_and_once() {
    let mut world = World::new();
    world.link(1, &["ann"]);
    let request = json!({"to": {"user": "ann"}, "priority": "critical", "channels": ["inapp", "sms"]});
    let entry = world.record(request);
    let id = record(&entry).id;
    world.owner.handle_bypass(record(&entry), world.now());
    world.turn();
    assert_eq!((world.delivered(id).len(), world.seen.calls.len(), world.inbox_ids("ann")), (1, 1, vec![id]));
    assert!(world.seen.committed.is_empty(), "the journal has not given it yet");
    world.crash();
    world.link(1, &["ann"]);
    world.owner.handle_entry(entry, world.now());
    world.turn();
    assert_eq!((world.delivered(id).len(), world.inbox_ids("ann")), (0, vec![id]), "it is known by its id");
    assert_eq!(world.seen.committed.len(), 1);
    assert_eq!(world.state(id, Channel::Inapp), "handed_over");
    let counters = world.balanced();
    assert_eq!(counters.total().accepted, 2);
}

#[test]
fn a_bypassed_record_that_makes_no_sense_is_left_to_its_lane() {
    let mut world = World::new();
    let entry = world.record(json!({"to": {"user": ""}, "priority": "critical"}));
    world.owner.handle_bypass(record(&entry), world.now());
    world.turn();
    let letters = |world: &World| world.view().dead_letters(None, 9).expect("readable").items.len();
    assert_eq!(letters(&world), 0);
    world.owner.handle_entry(entry, world.now());
    world.turn();
    assert_eq!(letters(&world), 1);
    world.balanced();
}

/// Five records of one partition of which the last alone comes, telling these runs. What is missing.
fn missing(runs: &[(u64, u64)]) -> u64 {
    let mut world = World::new();
    let mut last = (0..5).map(|_| world.record(json!({"to": {"user": "ann"}}))).last().expect("five");
    last.record.as_mut().expect("a record").skipped = runs.to_vec();
    world.owner.handle_entry(last, world.now());
    world.turn();
    world.pass(Duration::from_secs(10));
    world.view().reconcile(Wall(world.wall), 0).expect("readable").missing
}

#[test]
fn numbers_that_are_told_as_skipped_are_not_missing() {
    assert_eq!(missing(&[]), 4);
    assert_eq!(missing(&[(1, 2), (4, 4)]), 1);
    assert_eq!(missing(&[(1, 4)]), 0);
}

#[test]
fn what_a_record_tells_is_believed_within_bounds() {
    assert_eq!(missing(&[(0, u64::MAX)]), 0, "not beyond itself");
    assert_eq!(missing(&[(4, 1), (9, 12)]), 4, "a run that ends before it begins, and one ahead");
    let many = vec![(9, 9); SKIPPED_RUNS_MAX].into_iter().chain([(1, 4)]).collect::<Vec<_>>();
    assert_eq!(missing(&many), 4, "more runs than a producer tells");
    let mut world = World::new();
    let mut entry = world.record(json!({"to": {"user": "ann"}}));
    let told = entry.record.as_mut().expect("a record");
    told.sequence.seq = 10 * SKIPPED_TOLD_MAX;
    told.skipped = vec![(1, u64::MAX); SKIPPED_RUNS_MAX];
    entry.position.priority = Priority::Normal;
    world.owner.handle_entry(entry, world.now());
    world.turn();
}
