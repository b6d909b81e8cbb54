//! What was kept for long enough goes, by the owner's clock; what is younger, open, or has a life of its own stays.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use router::owner::{Command, Now, Outcome, Owner, OwnerConfig, Removed};
use router::record::Channel;
use router::store::{Batch, MemoryStore, Order, Range, Space, Store};
use serde_json::{Value, json};
use uuid::Uuid;
use wire::time::{Mono, Wall};

use crate::world::{PARTITIONS, START, World};

const DAY: Duration = Duration::from_secs(24 * 3_600);

fn days(count: u32) -> Duration {
    DAY * count
}

/// So many seconds before the end of so many days.
fn before(count: u64, seconds: u64) -> Duration {
    Duration::from_secs(count * 24 * 3_600 - seconds)
}

/// A world that keeps inboxes and the ledger for so many days.
fn world(inbox: u32, ledger: u32) -> World {
    World::with(config(inbox, ledger))
}

fn config(inbox: u32, ledger: u32) -> OwnerConfig {
    OwnerConfig {
        partitions: PARTITIONS,
        inbox_kept: days(inbox),
        ledger_kept: days(ledger),
        ..OwnerConfig::default()
    }
}

fn is_known(world: &World, id: Uuid) -> bool {
    world.view().timeline(id).expect("readable").is_some()
}

fn rows(store: &MemoryStore, space: Space) -> usize {
    store.scan(space, &Range::all(), Order::Forward, 10_000).expect("memory").len()
}

#[test]
fn an_inbox_and_the_ledger_are_kept_for_their_days_and_no_longer() {
    let mut world = world(9, 3);
    let id = world.to("ann");
    world.pass(before(3, 5));
    assert!(is_known(&world, id));
    world.pass(Duration::from_secs(10));
    assert_eq!((is_known(&world, id), world.seen.forgotten.as_slice()), (false, [id].as_slice()));
    assert_eq!(world.inbox_ids("ann"), [id], "the inbox is kept for longer");
    world.pass(before(6, 20));
    assert_eq!(world.inbox_ids("ann"), [id]);
    world.pass(Duration::from_secs(20));
    assert_eq!((world.inbox_ids("ann"), world.inbox("ann").unread), (vec![], 0));
    for space in [Space::Ledger, Space::Notifications, Space::Ages, Space::Inbox, Space::Due] {
        assert_eq!(rows(&world.store, space), 0, "{space:?}");
    }
    assert_eq!(world.owner.kept().removed, Removed { inbox: 1, ledger: 2, logs: 0 });
    assert_eq!(world.owner.kept().oldest, None);
}

#[test]
fn what_is_removed_stays_in_the_equation_as_it_ended() {
    let mut world = world(2, 4);
    let link = world.link(1, &["ann"]);
    let acted = world.to("ann");
    world.says(link, 1, "ann", &json!({"type": "ack", "ids": [acted]}));
    world.to("bob");
    let before = world.balanced().total();
    assert_eq!((before.delivered, before.handed_over), (1, 1));
    world.pass(days(5));
    let after = world.balanced();
    assert_eq!((after.total().delivered, after.total().expired), (1, 1), "nobody ever had bob's");
    assert_eq!((after.forgotten(), after.total().accepted), (2, 2));
}

#[test]
fn an_act_counts_as_long_as_the_inbox_shows_it() {
    let mut world = world(9, 2);
    let link = world.link(1, &["ann"]);
    world.says(link, 1, "ann", &json!({"type": "subscribe", "topics": ["t"]}));
    let own = world.to("ann");
    let topic = world.send(json!({"to": {"topic": "t"}}));
    let all = world.send(json!({"to": {"all": true}}));
    world.pass(days(3));
    assert_eq!(world.inbox("ann").unread, 3);
    world.says(link, 1, "ann", &json!({"type": "read", "ids": [own, topic, all]}));
    assert_eq!(world.inbox("ann").unread, 0);
    assert_eq!(world.balanced().total().delivered, 3);
}

#[test]
fn the_same_id_is_known_as_long_as_the_inbox_shows_it() {
    let mut world = world(9, 2);
    let entry = world.record(json!({"to": {"user": "ann"}}));
    let record = entry.record.as_ref().expect("a record").clone();
    let again = router::journal::Entry { position: entry.position, record: Ok(record) };
    world.owner.handle_entry(entry, world.now());
    world.turn();
    world.pass(days(5));
    world.owner.handle_entry(again, world.now());
    world.turn();
    assert_eq!(world.inbox_ids("ann").len(), 1);
    world.balanced();
}

#[test]
fn what_is_owed_stays_until_its_life_is_over() {
    let mut world = world(2, 2);
    let link = world.link(1, &["ann", "bob"]);
    let life = 5 * 24 * 3_600;
    let owed = world.send(json!({"to": {"user": "ann"}, "ttl_s": life}));
    let acted = world.send(json!({"to": {"user": "bob"}, "ttl_s": life}));
    let everybody = world.send(json!({"to": {"all": true}, "ttl_s": life}));
    world.says(link, 1, "bob", &json!({"type": "ack", "ids": [acted, everybody]}));
    world.pass(days(4));
    assert_eq!(world.inbox_ids("ann"), [owed, everybody], "one user's act is not the others'");
    assert_eq!(world.inbox_ids("bob"), [everybody]);
    world.pass(days(1) + Duration::from_secs(2 * 3_600));
    assert!(world.inbox_ids("ann").is_empty());
    assert_eq!(rows(&world.store, Space::Ledger), 0);
    assert_eq!(world.balanced().total().expired, 1);
}

#[test]
fn what_is_open_stays_whatever_its_age() {
    let mut world = world(2, 2);
    let id = world.send(json!({"to": {"user": "ann"}, "channels": ["push"]}));
    world.pass(days(20));
    assert_eq!(world.state(id, Channel::Push), "open", "its provider has not answered");
    world.outcome(id, Channel::Push, "ann", Outcome::Delivered);
    world.pass(Duration::from_secs(2 * 3_600));
    assert!(!is_known(&world, id));
    assert_eq!(world.balanced().total().delivered, 1);
}

#[test]
fn a_collapse_key_is_free_once_its_notification_is_gone() {
    let mut world = world(4, 2);
    world.send(json!({"to": {"user": "ann"}, "collapse_key": "k"}));
    world.pass(days(5));
    assert_eq!(rows(&world.store, Space::Collapse), 0);
    let newer = world.send(json!({"to": {"user": "ann"}, "collapse_key": "k"}));
    assert_eq!(world.inbox_ids("ann"), [newer]);
    world.balanced();
}

#[test]
fn logs_go_with_the_ledger_in_the_order_of_their_dates() {
    let mut world = world(9, 3);
    let poison = world.poison(b"old");
    world.owner.handle_entry(poison, world.now());
    world.pass(days(2));
    let poison = world.poison(b"young");
    world.owner.handle_entry(poison, world.now());
    world.pass(days(1) + Duration::from_secs(2 * 3_600));
    let left = world.view().dead_letters(None, 9).expect("readable").items;
    assert_eq!(left.iter().map(|item| item.excerpt.as_deref()).collect::<Vec<_>>(), [Some("young")]);
    world.balanced();
}

#[test]
fn an_owner_that_starts_anew_goes_on_where_it_was() {
    let mut world = world(2, 3);
    let id = world.to("ann");
    world.pass(before(2, 60));
    world.crash();
    world.pass(days(1) + Duration::from_secs(120));
    assert!(!is_known(&world, id) && world.inbox_ids("ann").is_empty());
}

/// The wall clock alone leaps: nothing goes. Neither for an hour when it leapt while nobody ran.
#[test]
fn a_clock_that_leaps_takes_nothing_with_it() {
    let mut world = world(2, 2);
    let id = world.to("ann");
    world.wall += days(400).as_micros() as i64;
    world.pass(Duration::from_secs(3_600));
    assert!(is_known(&world, id), "while it runs");
    world.crash();
    world.pass(Duration::from_secs(3_500));
    assert!(is_known(&world, id), "at a start");
    let told = world.seen.alerts.iter().any(|(name, _)| *name == "retention_held");
    assert!(told, "{:?}", world.seen.alerts);
    world.pass(Duration::from_secs(200));
    assert!(!is_known(&world, id), "nobody set it right");
}

#[test]
fn a_store_of_an_earlier_build_gets_its_ages() {
    let mut world = world(2, 2);
    let id = world.to("ann");
    let mut earlier = Batch::default();
    earlier.delete(Space::Meta, b"aged".to_vec());
    for (key, _) in world.store.scan(Space::Ages, &Range::all(), Order::Forward, 9).expect("memory") {
        earlier.delete(Space::Ages, key);
    }
    world.store.commit(&earlier).expect("memory");
    world.crash();
    world.pass(days(2) + Duration::from_secs(5));
    assert!(!is_known(&world, id) && world.inbox_ids("ann").is_empty());
}

#[test]
fn an_operator_still_takes_back_what_only_the_inbox_shows() {
    let mut world = world(9, 2);
    let id = world.to("ann");
    world.pass(days(3));
    let cancel =
        |by: Option<&str>| Command::Cancel { id, by: by.map(str::to_owned), promised: None, of: None };
    assert_eq!(world.command(cancel(Some("svc"))), router::owner::Answer::NotFound);
    world.command(cancel(None));
    assert!(world.inbox_ids("ann").is_empty());
    world.balanced();
}

/// All rows but those that tell of the starts.
fn content(store: &MemoryStore) -> BTreeMap<(Space, Vec<u8>), Vec<u8>> {
    let mut content = BTreeMap::new();
    for space in Space::ALL {
        for (key, value) in store.scan(space, &Range::all(), Order::Forward, 100_000).expect("memory") {
            if space != Space::Meta || key == b"counters" {
                content.insert((space, key), value.to_vec());
            }
        }
    }
    content
}

fn request(kind: u8) -> Value {
    let user = format!("u{}", kind % 3);
    match kind / 3 % 7 {
        0 => json!({"to": {"users": ["u0", "u1", "u2"]}}),
        1 => json!({"to": {"user": user}, "ttl_s": 3 * 24 * 3_600}),
        2 => json!({"to": {"user": user}, "channels": ["inapp", "push"]}),
        3 => json!({"to": {"topic": "t"}}),
        4 => json!({"to": {"all": true}, "ttl_s": 9 * 24 * 3_600}),
        5 => json!({"to": {"user": user}, "collapse_key": "k"}),
        _ => json!({"to": {"user": user}}),
    }
}

/// Sweeps all that is due at one moment, so many rows a call.
fn swept(store: &MemoryStore, config: &OwnerConfig, slice: usize, at: Now) -> MemoryStore {
    let store = store.snapshot();
    let config = OwnerConfig { sweep_rows_max: slice, ..config.clone() };
    let mut owner = Owner::open(store.clone(), config, 99, at).expect("it opens");
    while owner.poll_timeout().is_some_and(|due| due <= at.mono) {
        owner.handle_timeout(at);
        owner.commit().expect("memory");
        while owner.poll_output().is_some() {}
    }
    store
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// A sweep in slices of any size leaves what a sweep at once leaves, the equation holds, and nothing is gone that is
    /// younger than its span.
    #[test]
    fn a_sweep_in_slices_is_a_sweep_at_once_and_takes_nothing_younger(
        sent in prop::collection::vec((any::<u8>(), 0u64..40, any::<bool>()), 1..40),
        inbox in 1u32..9,
        ledger in 1u32..9,
        slice in 1usize..9,
    ) {
        let mut world = world(inbox, ledger);
        let link = world.link(1, &["u0"]);
        let mut taken = Vec::new();
        for (kind, hours, acts) in &sent {
            let id = world.send(request(*kind));
            taken.push((id, world.wall));
            for call in std::mem::take(&mut world.seen.calls) {
                let outcome = if *acts { Outcome::HandedOver } else { Outcome::Unknown };
                let of = call.delivery;
                world.outcome(of.id, of.channel, &of.user, outcome);
            }
            if *acts {
                world.says(link, 1, "u0", &json!({"type": "ack", "ids": [id]}));
            }
            // No time-out in between: everything is left to one sweep, up to the span of a start that is held.
            world.step(Duration::from_secs(hours * 1_800));
        }
        let at = Now { mono: Mono(world.mono), wall: Wall(world.wall) };
        prop_assert!(at.wall.0 > START);
        let store = world.store.snapshot();
        let once = swept(&store, &world.config, 100_000, at);
        let sliced = swept(&store, &world.config, slice, at);
        prop_assert_eq!(content(&sliced), content(&once));
        world.store = sliced;
        let counters = world.balanced();
        prop_assert!(counters.total().accepted >= sent.len() as u64);
        for (id, taken_in) in taken {
            let age = Duration::from_micros((world.wall - taken_in) as u64);
            let known = is_known(&world, id);
            prop_assert!(known || age >= days(ledger), "{id} went after {age:?}");
            prop_assert!(!known || age < days(ledger) || counters.total().open > 0, "{id} is there after {age:?}");
        }
    }
}
