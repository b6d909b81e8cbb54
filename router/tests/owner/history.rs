//! A store that is younger than its Cassandra: pages are made of both, in order, each row once; what cannot be had is refused.

use std::time::Duration;

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use router::classify::Recipient;
use router::inbox::Item;
use router::owner::{Command, HistoryAsked, OwnerConfig, Wish};
use router::projection::queue::{self, State};
use router::projection::rows;
use router::store::keys::Place;
use router::store::turn::Turn;
use router::sync::history::{self, History, Older};
use router::sync::topics::Subscriptions;
use serde_json::{Value, json};
use uuid::Uuid;
use wire::link::Frame;
use wire::time::Wall;

use crate::world::{PARTITIONS, START, World, id_of};

const SECOND_US: i64 = 1_000_000;
const KEPT: Duration = Duration::from_secs(90 * 24 * 3_600);

fn world() -> World {
    World::with(OwnerConfig {
        partitions: PARTITIONS,
        projected_bytes_max: Some(1 << 30),
        inbox_kept: KEPT,
        ..OwnerConfig::default()
    })
}

/// What stands in for Cassandra.
#[derive(Default)]
struct Elsewhere {
    rows: Vec<(Recipient, Item)>,
    topics: Vec<(String, Wall)>,
}

fn row(to: &Recipient, at: Wall, id: u128, expires_at: Option<Wall>) -> (Recipient, Item) {
    let id = Uuid::from_u128(id);
    let text = json!({
        "id": id, "created_at": at, "accepted_at": at, "priority": "normal", "category": null, "title": "older",
        "body": null, "data": {}, "topic": null, "collapse_key": null,
    });
    (to.clone(), Item { place: Place { at, id }, expires_at, text: Bytes::from(text.to_string()) })
}

impl Elsewhere {
    /// As many rows of a stream as were asked for, and a few more or none.
    fn older(&self, to: &Recipient, after: Place, until: Wall, limit: usize) -> Older {
        let mut items: Vec<Item> =
            self.rows.iter().filter(|(of, _)| of == to).map(|(_, item)| item.clone()).collect();
        items.sort_by_key(|item| item.place);
        items.retain(|item| item.place > after && item.place.at <= until);
        let more = items.len() > limit + 3;
        items.truncate(if more { limit + 3 } else { usize::MAX });
        Older { items, more }
    }

    /// Answers everything that was asked.
    fn answer(&self, world: &mut World) {
        for asked in std::mem::take(&mut world.seen.asked) {
            let topics = Subscriptions { topics: self.topics.clone() };
            let found = match &asked.wish {
                Wish::Topics | Wish::TopicsNow => {
                    Some(History { subscriptions: Some(topics), ..History::default() })
                }
                Wish::Page(_, request) => {
                    let turn = Turn::new(world.store.clone());
                    let state = State::load(&world.store).expect("memory").expect("there is one");
                    let lack = history::lack(&state, rows::inbox_kept_there(KEPT), Wall(world.wall));
                    history::wanted(&turn, &asked.user, request, lack).expect("memory").map(|mut wanted| {
                        let mut found = History::default();
                        if wanted.subscriptions {
                            wanted.with(&asked.user, &topics, request).expect("a cursor of ours");
                            found.subscriptions = Some(topics);
                        }
                        for (to, after) in &wanted.streams {
                            found
                                .streams
                                .push((to.clone(), self.older(to, *after, wanted.until, wanted.limit)));
                        }
                        found
                    })
                }
            };
            world.owner.handle_history(asked, Ok(found), world.now());
            world.turn();
        }
    }
}

/// All pages of a sync.
fn sync_all(world: &mut World, elsewhere: &Elsewhere, user: &str, limit: usize) -> Vec<Uuid> {
    let link = world.link(9, &[]);
    let mut ids = Vec::new();
    let mut ask = json!({ "type": "sync", "limit": limit });
    for _ in 0..10_000 {
        world.replies(link, 1);
        world.says(link, 1, user, &ask);
        elsewhere.answer(world);
        let page = world.replies(link, 1).pop().expect("a reply");
        assert_eq!(page["type"], "sync_batch", "{page}");
        let shown = page["notifications"].as_array().expect("a list");
        assert!(shown.len() <= limit);
        ids.extend(shown.iter().map(id_of));
        if page["has_more"] == false {
            return ids;
        }
        ask = json!({ "type": "sync", "limit": limit, "cursor": page["cursor"] });
    }
    panic!("it never ends")
}

#[test]
fn pages_of_both_have_each_row_once_and_in_order() {
    for seed in 0..30 {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut world = world();
        let streams = [Recipient::User("ann".into()), Recipient::All, Recipient::Topic("news".into())];
        let mut elsewhere = Elsewhere {
            topics: vec![("news".into(), Wall(START - 500 * SECOND_US))],
            ..Elsewhere::default()
        };
        let mut wanted = Vec::new();
        for i in 0..rng.random_range(0..160) {
            let to = &streams[rng.random_range(0..streams.len())];
            // Few stamps, so that many rows share one; some lie in front of the subscription, some are over.
            let at = Wall(START - rng.random_range(1..700) * SECOND_US);
            let expires_at = rng.random_bool(0.6).then_some(Wall(START - 1));
            let one = row(to, at, 1_000_000 + i, expires_at);
            let before_it = *to == streams[2] && at.0 <= START - 500 * SECOND_US;
            if expires_at.is_none() && !before_it {
                wanted.push(one.1.place);
            }
            elsewhere.rows.push(one);
        }
        let link = world.link(1, &["ann"]);
        elsewhere.answer(&mut world);
        for i in 0..rng.random_range(0..40) {
            let to =
                [json!({ "user": "ann" }), json!({ "all": true }), json!({ "topic": "news" })][i % 3].clone();
            let id = world.send(json!({ "to": to, "title": "newer" }));
            let stream = router::store::keys::ledger(id, &streams[i % 3]);
            let row = router::store::Store::get(&world.store, router::store::Space::Ledger, &stream);
            let row = router::ledger::LedgerRow::decode(row.expect("memory").expect("a row")).expect("a row");
            let place = Place { at: row.created_at.expect("it is in the inbox"), id };
            wanted.push(place);
            // What was carried since is there, too.
            if rng.random_bool(0.5) {
                let (to, mut item) = self::row(&streams[i % 3], place.at, 0, None);
                item.place = place;
                elsewhere.rows.push((to, item));
            }
            world.step(Duration::from_millis(300));
        }
        let topics = world.seen.frames.iter().any(|(to, frame)| {
            *to == link && matches!(frame, Frame::Topics { topics, .. } if *topics == ["news"])
        });
        assert!(topics, "the shard knows what the user is subscribed to");
        wanted.sort();
        let wanted: Vec<Uuid> = wanted.into_iter().map(|place| place.id).collect();
        let limit = rng.random_range(1..20);
        assert_eq!(sync_all(&mut world, &elsewhere, "ann", limit), wanted, "seed {seed}, pages of {limit}");
    }
}

#[test]
fn what_cannot_be_had_is_refused_and_what_is_new_needs_nobody() {
    let mut world = world();
    let link = world.link(1, &[]);
    let sync = json!({ "type": "sync" });
    world.says(link, 1, "bob", &sync);
    let asked: Vec<HistoryAsked> = std::mem::take(&mut world.seen.asked);
    assert_eq!(asked.len(), 1);
    assert!(world.replies(link, 1).is_empty(), "nothing is shown before it is known");
    world.owner.handle_history(asked[0].clone(), Err("it is away".to_owned()), world.now());
    world.turn();
    let refused = world.replies(link, 1).remove(0);
    assert_eq!((&refused["type"], &refused["code"]), (&json!("error"), &json!("unavailable")), "{refused}");
    // Its topics are known from here on, and what it saw last is younger than this store.
    let nothing = Elsewhere::default();
    world.says(link, 1, "bob", &sync);
    nothing.answer(&mut world);
    world.pass(Duration::from_secs(3_600));
    let seen = Wall(world.wall - 60 * SECOND_US);
    let id = world.to("bob");
    let page = world.ask(link, 1, "bob", &json!({ "type": "sync", "last_seen_at": seen }));
    assert_eq!(page["notifications"].as_array().expect("a list").iter().map(id_of).collect::<Vec<_>>(), [id]);
    assert!(world.seen.asked.is_empty());
}

#[test]
fn an_act_on_what_is_not_here_is_handed_on_and_dismissed() {
    let mut world = world();
    let (one, two) = (world.link(1, &["ann"]), world.link(2, &["ann"]));
    let here = world.to("ann");
    let there = Uuid::from_u128(99_999);
    world.says(one, 1, "ann", &json!({ "type": "ack", "ids": [here, there] }));
    let acted = world.seen.acted.pop().expect("it is handed on");
    assert_eq!(
        (acted.user.as_str(), &acted.ids[..], acted.mark.acknowledged, acted.mark.read),
        ("ann", &[there][..], true, false)
    );
    assert_eq!(world.tells(two), [json!({ "type": "dismiss", "ids": [here, there] })]);
    let mut complete = World::new();
    let link = complete.link(1, &["ann"]);
    complete.says(link, 1, "ann", &json!({ "type": "read", "ids": [there] }));
    assert!(complete.seen.acted.is_empty(), "a store that has it all knows that it is nothing");
}

#[test]
fn a_store_that_has_it_all_asks_nobody() {
    let mut world = World::new();
    let link = world.link(1, &["ann"]);
    let page: Value = world.ask(link, 1, "ann", &json!({ "type": "sync" }));
    assert_eq!((&page["type"], world.seen.asked.len()), (&json!("sync_batch"), 0));
}

#[test]
fn nobody_is_shown_what_waits_to_be_erased() {
    let mut world = world();
    world.owner.handle_command(5, Command::Erase { user: "ann".to_owned() }, world.now());
    world.turn();
    world.pass(Duration::ZERO);
    let link = world.link(1, &[]);
    let page = world.ask(link, 1, "ann", &json!({ "type": "sync" }));
    assert_eq!((&page["notifications"], world.seen.asked.len()), (&json!([]), 0));
}

#[test]
fn what_changes_topics_waits_for_the_older_ones_and_takes_nothing_from_them() {
    let mut world = world();
    let link = world.link(1, &["ann"]);
    world.seen.asked.clear();
    world.says(link, 1, "ann", &json!({ "type": "subscribe", "topics": ["new"] }));
    world.says(link, 1, "ann", &json!({ "type": "unsubscribe", "topics": ["old"] }));
    assert!(world.replies(link, 1).is_empty(), "nothing is said before it is known");
    let elsewhere = Elsewhere {
        topics: vec![("old".into(), Wall(1)), ("older".into(), Wall(2))],
        ..Elsewhere::default()
    };
    elsewhere.answer(&mut world);
    let replies = world.replies(link, 1);
    assert_eq!(replies.last().expect("a reply")["topics"], json!(["older", "new"]), "{replies:?}");
    assert_eq!(replies.len(), 2, "each is answered once");
    let kept = Subscriptions::load(&Turn::new(world.store.clone()), "ann").expect("memory").expect("a row");
    assert_eq!((kept.topics[0].clone(), kept.topics[1].0.as_str()), (("older".to_owned(), Wall(2)), "new"));
}

#[test]
fn what_changes_topics_is_refused_while_the_older_ones_cannot_be_had() {
    let mut world = world();
    let link = world.link(1, &[]);
    let subscribe = json!({ "type": "subscribe", "topics": ["new"] });
    world.says(link, 1, "bob", &subscribe);
    let asked = world.seen.asked.remove(0);
    world.owner.handle_history(asked, Err("it is away".to_owned()), world.now());
    world.turn();
    let refused = world.replies(link, 1);
    assert_eq!((refused.len(), &refused[0]["code"]), (1, &json!("unavailable")), "{refused:?}");
    assert_eq!(Subscriptions::load(&Turn::new(world.store.clone()), "bob"), Ok(None));
    world.says(link, 1, "bob", &subscribe);
    Elsewhere::default().answer(&mut world);
    assert_eq!(world.replies(link, 1).pop().expect("a reply")["topics"], json!(["new"]));
}

#[test]
fn an_answer_from_before_an_erasure_brings_nothing_back() {
    let mut world = world();
    let link = world.link(1, &["ann"]);
    world.says(link, 1, "ann", &json!({ "type": "sync" }));
    let asked = std::mem::take(&mut world.seen.asked);
    assert_eq!(asked.len(), 2, "the user came, and asks for a page");
    world.owner.handle_command(5, Command::Erase { user: "ann".to_owned() }, world.now());
    world.turn();
    world.pass(Duration::from_secs(1));
    let own = Recipient::User("ann".into());
    let late = History {
        subscriptions: Some(Subscriptions { topics: vec![("old".into(), Wall(1))] }),
        streams: vec![(
            own.clone(),
            Older { items: vec![row(&own, Wall(START - 5), 77, None).1], more: false },
        )],
        ..History::default()
    };
    for one in asked {
        world.owner.handle_history(one, Ok(Some(late.clone())), world.now());
        world.turn();
    }
    assert_eq!(Subscriptions::load(&Turn::new(world.store.clone()), "ann"), Ok(None));
    let page = world.replies(link, 1).pop().expect("a reply");
    assert_eq!(page["notifications"], json!([]), "{page}");
}

#[test]
fn an_erasure_of_a_run_without_cassandra_is_made_good_later() {
    let mut world = world();
    world.to("ann");
    let with = world.config.projected_bytes_max.take();
    world.crash();
    world.owner.handle_command(5, Command::Erase { user: "ann".to_owned() }, world.now());
    world.turn();
    world.pass(Duration::from_secs(1));
    world.config.projected_bytes_max = with;
    world.crash();
    let waiting = queue::erasures(&world.store, 9).expect("memory");
    let state = State::load(&world.store).expect("memory").expect("there is one");
    assert_eq!(waiting.iter().map(|one| one.user.as_str()).collect::<Vec<_>>(), ["ann"]);
    assert!(waiting[0].number <= state.last, "what comes later is younger");
}

#[test]
fn rows_that_cassandra_cannot_have_any_more_are_not_asked_for() {
    let mut world = world();
    let link = world.link(1, &["ann"]);
    Elsewhere::default().answer(&mut world);
    world.pass(KEPT + Duration::from_secs(4 * 24 * 3_600));
    let page = world.ask(link, 1, "ann", &json!({ "type": "sync" }));
    assert_eq!((&page["notifications"], world.seen.asked.len()), (&json!([]), 0));
    world.says(link, 1, "ann", &json!({ "type": "ack", "ids": [Uuid::from_u128(5)] }));
    assert!(world.seen.acted.is_empty());
}
