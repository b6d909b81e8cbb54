//! What the API asks for: tickets, revocations, cancelling, and sending again what was held back.

use std::time::Duration;

use bytes::Bytes;
use router::journal::import::ForeignLetter;
use router::owner::{Answer, Command, LinkId, Outcome, OwnerConfig};
use router::record::Channel;
use router::store::{Batch, Order, Range, Space, Store, keys};
use router::tickets;
use serde_json::json;
use uuid::Uuid;
use wire::link::{DeliveryResult, Frame, Revoked};
use wire::time::Wall;

use crate::world::{PARTITIONS, World};

fn redeem(world: &mut World, link: LinkId, ticket: &str) -> Option<String> {
    world.seen.frames.clear();
    world.frame(link, Frame::Redeem { request: 4, ticket: ticket.to_owned() });
    match &world.seen.frames[..] {
        [(_, Frame::Redeemed { request: 4, user })] => user.clone(),
        other => panic!("{other:?}"),
    }
}

fn issue(world: &mut World, ticket: &str, user: &str) {
    let expires_at = Wall(world.wall + 60_000_000);
    let command = Command::IssueTicket { user: user.into(), hash: tickets::hash(ticket), expires_at };
    assert_eq!(world.command(command), Answer::Done);
}

#[test]
fn a_ticket_lets_in_once_and_not_for_long() {
    let mut world = World::new();
    let link = world.link(1, &[]);
    issue(&mut world, "one", "ann");
    assert_eq!(redeem(&mut world, link, "none"), None);
    assert_eq!(redeem(&mut world, link, "one"), Some("ann".to_owned()));
    assert_eq!(redeem(&mut world, link, "one"), None);
    issue(&mut world, "two", "ann");
    world.step(Duration::from_secs(60));
    assert_eq!(redeem(&mut world, link, "two"), None);
    issue(&mut world, "three", "ann");
    world.crash();
    let link = world.link(2, &[]);
    assert_eq!(redeem(&mut world, link, "three"), Some("ann".to_owned()), "also after a restart");
    world.crash();
    let link = world.link(3, &[]);
    assert_eq!(redeem(&mut world, link, "three"), None);
    issue(&mut world, "four", "ann");
    world.pass(Duration::from_secs(61));
    assert_eq!(world.store.scan(Space::Tickets, &Range::all(), Order::Forward, 9), Ok(vec![]));
    assert_eq!(world.store.scan(Space::Due, &Range::all(), Order::Forward, 9), Ok(vec![]));
}

#[test]
fn a_revocation_reaches_every_shard_and_spoils_the_users_tickets() {
    let mut world = World::new();
    let link = world.link(1, &["ann"]);
    world.link(2, &["ann"]);
    issue(&mut world, "hers", "ann");
    issue(&mut world, "his", "bob");
    world.seen.frames.clear();
    assert_eq!(world.command(Command::Revoke { who: Revoked::User("ann".into()) }), Answer::Done);
    let revoked = |world: &World| {
        let frames = world.seen.frames.iter();
        frames
            .filter(|(_, frame)| matches!(frame, Frame::Revoke { who: Revoked::User(user) } if user == "ann"))
            .count()
    };
    assert_eq!(revoked(&world), 2);
    assert_eq!(redeem(&mut world, link, "hers"), None);
    assert_eq!(redeem(&mut world, link, "his"), Some("bob".to_owned()));
    world.link(3, &[]);
    assert_eq!(revoked(&world), 1, "a shard whose link was down hears of it too");
    world.step(Duration::from_secs(31));
    world.seen.frames.clear();
    world.link(4, &[]);
    assert_eq!(revoked(&world), 0);
}

/// As an operator, of what is no fresh promise.
fn cancel(id: Uuid) -> Command {
    Command::Cancel { id, by: None, promised: None, of: None }
}

#[test]
fn what_has_not_gone_out_can_be_cancelled() {
    let mut world = World::new();
    let link = world.link(1, &["ann"]);
    let request =
        json!({"to": {"users": ["ann", "bob"]}, "channels": ["inapp", "email"], "fallback": ["sms"]});
    let id = world.send(request);
    world.result(link, id, DeliveryResult::Sent { sockets: 1 });
    assert_eq!(world.seen.shown.len(), 1, "one shard has shown it");
    world.outcome(id, Channel::Email, "bob", Outcome::Retry { after: Duration::from_secs(60) });
    let answer = world.command(cancel(id));
    assert_eq!(answer, Answer::Cancelled { cancelled: 2, too_late: 2 });
    assert_eq!((world.inbox_ids("ann"), world.inbox_ids("bob")), (vec![id], vec![]));
    let calls = world.seen.calls.len();
    world.pass(Duration::from_secs(3_600));
    assert_eq!(world.seen.calls.len(), calls, "no retry and no fallback");
    world.outcome(id, Channel::Email, "ann", Outcome::HandedOver);
    assert_eq!(world.command(cancel(Uuid::nil())), Answer::NotFound);
    let total = world.balanced().total();
    assert_eq!((total.accepted, total.dropped, total.open), (4, 2, 0));
}

#[test]
fn what_is_still_in_the_journal_can_be_cancelled_and_nothing_of_it_ever_goes_out() {
    let mut world = World::new();
    let link = world.link(1, &["ann"]);
    let entry = world.record(json!({"to": {"users": ["ann", "bob"]}, "channels": ["inapp", "push"],
        "fallback": ["sms"], "ttl_s": 60}));
    let id = entry.record.as_ref().expect("a record").id;
    let command = Command::Cancel { id, by: Some("service".to_owned()), promised: Some(4), of: None };
    assert_eq!(world.command(command.clone()), Answer::Cancelled { cancelled: 4, too_late: 0 });
    assert_eq!(world.command(command), Answer::Cancelled { cancelled: 4, too_late: 0 }, "twice is once");
    world.crash();
    let again = world.link(2, &["ann"]);
    world.owner.handle_entry(entry, world.now());
    world.turn();
    world.pass(Duration::from_secs(3_600));
    assert_eq!((world.delivered(id), world.seen.calls.len()), (vec![], 0), "{link:?} {again:?}");
    assert_eq!((world.inbox_ids("ann"), world.inbox_ids("bob")), (vec![], vec![]));
    assert_eq!(world.delivery(id, Channel::Push).reason.as_deref(), Some("cancelled"));
    let total = world.balanced().total();
    assert_eq!((total.accepted, total.dropped, total.open), (4, 4, 0));
    let fresh = world.to("ann");
    assert_eq!(world.delivered(fresh).len(), 1, "nothing else is held back");
    let left = world.store.scan(Space::Cancellations, &Range::all(), Order::Forward, 9);
    assert_eq!(left, Ok(vec![]), "and nothing is kept for ever");
}

#[test]
fn a_cancellation_whose_record_never_comes_is_forgotten() {
    let mut world = World::new();
    let command = Command::Cancel { id: Uuid::from_u128(77), by: None, promised: Some(1), of: None };
    assert_eq!(world.command(command), Answer::Cancelled { cancelled: 1, too_late: 0 });
    world.pass(Duration::from_secs(8 * 24 * 3_600));
    for space in [Space::Cancellations, Space::Due] {
        assert_eq!(world.store.scan(space, &Range::all(), Order::Forward, 9), Ok(vec![]));
    }
}

#[test]
fn another_service_s_notification_is_not_there_for_a_service() {
    let mut world = World::new();
    let id = world.to("ann");
    let service = world.timeline(id).service;
    let by = |service: &str| Command::Cancel { id, by: Some(service.to_owned()), promised: None, of: None };
    assert_eq!(world.command(by("somebody else")), Answer::NotFound);
    assert_eq!(world.inbox_ids("ann"), vec![id]);
    assert_eq!(world.command(by(&service)), Answer::Cancelled { cancelled: 1, too_late: 0 });
}

#[test]
fn a_foreign_record_that_is_no_request_is_counted_once_and_never_replayed() {
    let mut world = World::new();
    let letter = |offset, reason: &str| ForeignLetter {
        topic: "shop.orders".to_owned(),
        partition: 3,
        offset,
        reason: reason.to_owned(),
        bytes: Bytes::from_static(b"nonsense"),
        cut: false,
    };
    for letter in [letter(7, "no JSON"), letter(7, "no JSON"), letter(8, "for nobody")] {
        assert_eq!(world.command(Command::Bury(letter)), Answer::Done);
    }
    world.crash();
    assert_eq!(world.command(Command::Bury(letter(8, "for nobody"))), Answer::Done, "imported again");
    let items = world.view().dead_letters(None, 10).expect("readable").items;
    let shown: Vec<_> = items.iter().map(|item| (item.reason.as_str(), item.source.as_deref())).collect();
    let places = [Some("shop.orders 3/7"), Some("shop.orders 3/8")];
    assert_eq!(shown, [("no JSON", places[0]), ("for nobody", places[1])]);
    assert!(items.iter().all(|item| !item.replayable && item.excerpt.as_deref() == Some("nonsense")));
    let replay = world.command(Command::ReplayDeadLetter { number: items[0].number });
    assert!(matches!(&replay, Answer::Refused(why) if why.contains("shop.orders 3/7")), "{replay:?}");
    let total = world.balanced().total();
    assert_eq!((total.accepted, total.dead_lettered), (2, 2));
}

#[test]
fn a_push_that_was_held_back_goes_out_when_an_operator_says_so() {
    let mut world = World::new();
    for _ in 0..21 {
        world.send(json!({"to": {"user": "ann"}, "channels": ["push"], "title": "t"}));
    }
    assert_eq!(world.seen.calls.len(), 20);
    let page = world.view().overflow(None, 10).expect("readable");
    let item = &page.items[0];
    assert_eq!(
        (page.items.len(), item.reason.as_str(), item.channel),
        (1, "push_limit", Some(Channel::Push))
    );
    assert_eq!(world.command(Command::ReplayOverflow { number: item.number }), Answer::Replayed);
    assert_eq!((world.seen.calls.len(), world.seen.calls[20].title.as_deref()), (21, Some("t")));
    let id = item.id.expect("a delivery");
    assert_eq!(world.state(id, Channel::Push), "open");
    world.outcome(id, Channel::Push, "ann", Outcome::HandedOver);
    assert!(matches!(world.command(Command::ReplayOverflow { number: item.number }), Answer::Refused(_)));
    assert_eq!(world.command(Command::ReplayOverflow { number: 99 }), Answer::NotFound);
    assert!(world.view().overflow(None, 10).expect("readable").items[0].replayed_at.is_some());
    world.balanced();
}

#[test]
fn low_is_shed_above_the_limit_logged_and_shown_when_replayed() {
    let config = OwnerConfig { partitions: PARTITIONS, global_per_s: 10, ..OwnerConfig::default() };
    let mut world = World::with(config);
    let link = world.link(1, &["ann"]);
    let low = json!({"to": {"user": "ann"}, "priority": "low", "title": "kept"});
    for _ in 0..15 {
        world.send(low.clone());
    }
    assert_eq!(world.owner.reading_pause(world.now()), None);
    let shed = world.send(low.clone());
    let normal = world.to("ann");
    assert!(world.delivered(shed).is_empty() && world.delivered(normal).len() == 1);
    assert_eq!(world.owner.reading_pause(world.now()), None, "LOW holds nobody up");
    for _ in 0..15 {
        world.to("ann");
    }
    assert!(world.owner.reading_pause(world.now()).is_some());
    assert_eq!(world.delivery(shed, Channel::Inapp).reason.as_deref(), Some("shed"));
    world.step(Duration::from_secs(1));
    assert!(world.owner.reading_pause(world.now()).is_none());
    assert_eq!(world.command(Command::ReplayOverflow { number: 1 }), Answer::Replayed);
    assert_eq!((world.delivered(shed), world.state(shed, Channel::Inapp)), (vec![link], "handed_over"));
    let text = world.inbox("ann").notifications.pop().expect("it is there").notification;
    assert!(text.get().contains("kept"));
    assert_eq!(world.send(low).as_u128(), 33);
    world.balanced();
}

#[test]
fn a_delivery_that_was_given_up_can_be_tried_again() {
    let config = OwnerConfig { partitions: PARTITIONS, provider_tries_max: 1, ..OwnerConfig::default() };
    let mut world = World::with(config);
    let id = world.send(json!({"to": {"user": "ann"}, "channels": ["sms"]}));
    world.outcome(id, Channel::Sms, "ann", Outcome::Retry { after: Duration::from_secs(1) });
    assert_eq!(world.state(id, Channel::Sms), "dead_lettered");
    assert_eq!(world.command(Command::ReplayDeadLetter { number: 1 }), Answer::Replayed);
    assert_eq!((world.state(id, Channel::Sms), world.seen.calls.len()), ("open", 2));
    world.outcome(id, Channel::Sms, "ann", Outcome::Delivered);
    assert_eq!(world.state(id, Channel::Sms), "delivered");
    world.balanced();
}

#[test]
fn poison_stays_poison_and_a_record_that_was_hurt_by_a_row_comes_back() {
    let mut world = World::new();
    let link = world.link(1, &["ann"]);
    let poison = world.poison(b"nonsense");
    world.owner.handle_entry(poison, world.now());
    let mut batch = Batch::default();
    batch.put(Space::Recipients, keys::user("ann"), vec![99]);
    world.store.commit(&batch).expect("memory");
    let id = world.to("ann");
    assert!(matches!(world.command(Command::ReplayDeadLetter { number: 1 }), Answer::Refused(_)));
    assert!(matches!(world.command(Command::ReplayDeadLetter { number: 2 }), Answer::Failed(_)));
    let mut batch = Batch::default();
    batch.delete(Space::Recipients, keys::user("ann"));
    world.store.commit(&batch).expect("memory");
    assert_eq!(world.command(Command::ReplayDeadLetter { number: 2 }), Answer::Replayed);
    assert_eq!(world.delivered(id), [link]);
    assert!(matches!(world.command(Command::ReplayDeadLetter { number: 2 }), Answer::Refused(_)));
    let total = world.balanced().total();
    assert_eq!((total.accepted, total.dead_lettered, total.handed_over), (2, 1, 1));
}

#[test]
fn logs_come_in_pages() {
    let mut world = World::new();
    for _ in 0..30 {
        world.send(json!({"to": {"user": "ann"}, "channels": ["push"]}));
    }
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let page = world.view().overflow(after, 4).expect("readable");
        seen.extend(page.items.iter().map(|item| item.number));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(seen, (1..=10).collect::<Vec<_>>());
}

#[test]
fn a_router_that_takes_partitions_over_says_so_on_every_link() {
    let mut world = World::new();
    world.link(1, &["ann"]);
    let ownership =
        router::owner::Ownership { epoch: 2, generation: 5, count: PARTITIONS, partitions: vec![0, 3] };
    world.seen.frames.clear();
    world.owner.handle_ownership(ownership, world.now());
    world.turn();
    let owns = Frame::Owns { epoch: 2, generation: 5, count: PARTITIONS, partitions: vec![0, 3] };
    assert_eq!(world.seen.frames, [(LinkId(1), owns.clone())]);
    world.owner.handle_link_up(LinkId(2), "node", 2, world.now());
    world.turn();
    assert_eq!(world.seen.frames[1], (LinkId(2), owns));
}
