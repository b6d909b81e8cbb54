//! Whoever carries what the owner queued, late, twice and in pieces, ends with what the store has.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use router::owner::{Answer, Carried, Command, Outcome, OwnerConfig};
use router::projection::queue::{self, SPACES};
use router::projection::rows::{self, Spans, Write};
use router::record::Channel;
use router::store::{MemoryStore, Order, Range, Space, Store};
use serde_json::json;
use uuid::Uuid;
use wire::time::Wall;

use crate::world::{PARTITIONS, World};

const DAY: Duration = Duration::from_secs(24 * 3_600);
const SPANS: Spans = Spans { inbox: DAY, ledger: DAY };
/// Times to live are counted from here, so that the same row is always the same.
const THEN: Wall = Wall(0);
const USERS: [&str; 3] = ["ann", "bob", "cem"];

type Names = (Space, Vec<u8>);

/// What stands in for Cassandra: the newest number that a row was written with, and the row.
#[derive(Default)]
struct Mirror {
    rows: BTreeMap<Names, (u64, Write)>,
    done: u64,
}

impl Mirror {
    /// Carries at most so many commits. Without telling, the owner keeps them and they come again.
    fn carry(&mut self, world: &mut World, limit: usize, tells: bool) {
        let changes = queue::read(&world.store, self.done, limit).expect("memory").changes;
        for one in &changes {
            for name in &one.names {
                self.write(
                    &world.store,
                    name,
                    queue::State::load(&world.store).expect("memory").expect("it is there").last,
                );
            }
        }
        let Some(last) = changes.last().filter(|_| tells) else { return };
        self.done = last.number;
        world.owner.handle_carried(Carried { through: last.number, ..Carried::default() }, world.now());
        world.turn();
    }

    fn write(&mut self, store: &MemoryStore, (space, key): &Names, number: u64) {
        let write =
            rows::of(store, (*space, key), SPANS, THEN).expect("memory").expect("such spaces are carried");
        let newest = self.rows.entry((*space, key.clone())).or_insert((0, write.clone()));
        if number >= newest.0 {
            *newest = (number, write);
        }
    }

    /// What it has and what the store has.
    fn check(&self, store: &MemoryStore) {
        for space in SPACES {
            for (key, _) in store.scan(space, &Range::all(), Order::Forward, 100_000).expect("memory") {
                assert!(self.rows.contains_key(&(space, key)), "a row of {} was never named", space.name());
            }
        }
        for ((space, key), (_, write)) in &self.rows {
            let now = rows::of(store, (*space, key), SPANS, THEN).expect("memory");
            assert_eq!(Some(write), now.as_ref(), "a row of {}", space.name());
        }
    }
}

fn world(bytes_max: u64) -> World {
    World::with(OwnerConfig {
        partitions: PARTITIONS,
        inbox_kept: DAY,
        ledger_kept: DAY,
        projected_bytes_max: Some(bytes_max),
        projected_from_nothing: true,
        ..OwnerConfig::default()
    })
}

/// Anything that changes rows.
fn act(world: &mut World, rng: &mut StdRng, sent: &mut Vec<Uuid>) {
    let user = USERS[rng.random_range(0..USERS.len())];
    let link = world.link(rng.random_range(1..3), &USERS);
    let any = |rng: &mut StdRng, sent: &[Uuid]| {
        sent.get(rng.random_range(0..sent.len().max(1))).copied().unwrap_or_default()
    };
    match rng.random_range(0..12) {
        0..3 => sent.push(world.to(user)),
        3 => sent.push(world.send(json!({ "to": { "user": user }, "title": "c", "collapse_key": "k" }))),
        4 => sent.push(
            world.send(json!({ "to": { "users": USERS }, "ttl_s": 60, "channels": ["inapp", "push"] })),
        ),
        5 => sent.push(world.send(json!({ "to": { "topic": "news" }, "title": "t" }))),
        6 => {
            let id = any(rng, sent);
            world.says(link, 1, user, &json!({ "type": "ack", "ids": [id] }));
        }
        7 => {
            let ids = vec![any(rng, sent)];
            world.command(Command::MarkRead { user: user.to_owned(), ids });
        }
        8 => world.says(link, 1, user, &json!({ "type": "subscribe", "topics": ["news", user] })),
        9 => world.says(link, 1, user, &json!({ "type": "unsubscribe", "topics": [user] })),
        10 => {
            let id = any(rng, sent);
            world.command(Command::Cancel { id, by: None, promised: None, of: None });
        }
        _ => {
            for call in std::mem::take(&mut world.seen.calls) {
                world.outcome(call.delivery.id, Channel::Push, &call.delivery.user, Outcome::Delivered);
            }
            world.pass(Duration::from_secs(rng.random_range(1..50_000)));
        }
    }
}

#[test]
fn late_twice_and_in_pieces_it_comes_to_what_the_store_has() {
    for seed in 0..20 {
        let mut rng = StdRng::seed_from_u64(seed);
        let (mut world, mut mirror, mut sent) = (world(1 << 30), Mirror::default(), Vec::new());
        for _ in 0..300 {
            act(&mut world, &mut rng, &mut sent);
            match rng.random_range(0..20) {
                0 => mirror.carry(&mut world, 3, false),
                1..4 => mirror.carry(&mut world, 5, true),
                4 => world.crash(),
                5 => {
                    let entry = world.record(json!({ "to": { "user": "ann" }, "title": "once more" }));
                    world.owner.handle_entry(entry, world.now());
                    world.store.fail_commits(1);
                    world.owner.commit().expect_err("an injected failure");
                    world.turn();
                }
                6 => mirror.done = 0,
                _ => {}
            }
        }
        while queue::waiting(&world.store, 0).expect("memory").1.is_some() {
            mirror.done = 0;
            mirror.carry(&mut world, 1_000, true);
        }
        mirror.check(&world.store);
    }
}

#[test]
fn a_person_who_is_erased_is_named_until_that_was_carried() {
    let mut world = world(1 << 30);
    let mut mirror = Mirror::default();
    world.to("ann");
    world.to("bob");
    mirror.carry(&mut world, 100, true);
    let token = 77;
    world.owner.handle_command(token, Command::Erase { user: "ann".to_owned() }, world.now());
    world.turn();
    world.pass(Duration::ZERO);
    assert!(matches!(world.seen.answers.get(&token), Some(Answer::Erased(_))));
    world.crash();
    mirror.carry(&mut world, 100, true);
    mirror.check(&world.store);
    let waiting = queue::erasures(&world.store, 10).expect("memory");
    assert_eq!(waiting.iter().map(|erasure| erasure.user.as_str()).collect::<Vec<_>>(), ["ann"]);
    let state = queue::State::load(&world.store).expect("memory").expect("there is one");
    assert!(waiting[0].number <= state.last, "nothing later of hers is taken with it");
    world.owner.handle_carried(Carried { erased: waiting, ..Carried::default() }, world.now());
    world.turn();
    assert_eq!(queue::waits_for_erasure(&world.store, "ann"), Ok(None));
}

#[test]
fn without_cassandra_nothing_is_queued() {
    let mut world = World::new();
    world.to("ann");
    assert_eq!(world.store.scan(Space::Projected, &Range::all(), Order::Forward, 10).expect("memory"), []);
    assert_eq!(world.seen.queued, 0);
}
