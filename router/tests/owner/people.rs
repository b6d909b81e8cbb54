//! What is known of people is kept as it was put, and nothing else is.

use std::time::Duration;

use router::contacts::Contacts;
use router::contacts::asked::Asked;
use router::owner::{Answer, Command};
use router::store::{Batch, Order, Range, Space, Store};
use serde_json::json;
use wire::time::Wall;

use crate::world::World;

#[test]
fn contacts_are_replaced_as_a_whole_and_outlive_a_crash() {
    let mut world = World::new();
    world.contacts("ann", &json!({"email": "ann@example.org", "phone": "+4930123456"}));
    let tokens = json!({"push": [{"kind": "fcm", "token": "a"}, {"kind": "apns", "token": "ab"}]});
    let kept = world.contacts("ann", &tokens);
    assert_eq!((kept.email.is_none(), kept.phone.is_none(), kept.push.len()), (true, true, 2));
    world.crash();
    assert_eq!(world.view().contacts("ann"), Ok(kept));
    assert_eq!(world.view().contacts("bob"), Ok(Contacts::default()));
}

#[test]
fn a_token_keeps_the_date_at_which_it_was_first_told() {
    let mut world = World::new();
    let first = Wall(world.wall);
    world.contacts("ann", &json!({"push": [{"kind": "fcm", "token": "a"}]}));
    world.step(Duration::from_secs(60));
    let second = Wall(world.wall);
    let kept = world
        .contacts("ann", &json!({"push": [{"kind": "fcm", "token": "b"}, {"kind": "fcm", "token": "a"}]}));
    let dates: Vec<Wall> = kept.push.iter().map(|one| one.registered_at).collect();
    assert_eq!(dates, [second, first]);
}

#[test]
fn a_commit_that_fails_leaves_the_command_to_the_next_and_answers_nobody() {
    let mut world = World::new();
    let asked = Asked::read(br#"{"phone":"+4930123456"}"#).expect("contacts");
    world.owner.handle_command(77, Command::PutContacts { user: "ann".to_owned(), asked }, world.now());
    world.store.fail_commits(1);
    assert!(world.owner.commit().is_err());
    world.drain();
    assert!(!world.seen.answers.contains_key(&77));
    world.turn();
    assert!(matches!(world.seen.answers.get(&77), Some(Answer::Contacts(_))));
    assert!(world.view().contacts("ann").expect("readable").phone.is_some());
}

#[test]
fn damaged_contacts_are_told_and_can_be_replaced() {
    let mut world = World::new();
    world.contacts("ann", &json!({"phone": "+4930123456"}));
    let rows = world.store.scan(Space::People, &Range::all(), Order::Forward, 2).expect("memory");
    let mut batch = Batch::default();
    batch.put(Space::People, rows[0].0.clone(), vec![1, b'{']);
    world.store.commit(&batch).expect("memory");
    assert!(world.view().contacts("ann").is_err());
    world.contacts("ann", &json!({"phone": "+4930123457"}));
    assert_eq!(world.view().contacts("ann").expect("readable").phone.as_deref(), Some("+4930123457"));
}
