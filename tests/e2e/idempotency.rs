//! The same Idempotency-Key is the same notification, however often and however quickly it is handed in.

use std::collections::HashSet;

use tests::Setup;
use tests::client::id_of;

use crate::support::{expect_id, expect_nothing_before_now, shared, to_user};

#[test]
fn a_repetition_gets_the_same_answer_and_nothing_comes_twice() {
    let tocsin = shared();
    let mut client = tocsin.connect("once");
    let note = to_user("once", "only once");
    let first = tocsin.api().post_once("once-1", &note).expect("an answer").expect(202).json();
    for _ in 0..5 {
        let again = tocsin.api().post_once("once-1", &note).expect("an answer").expect(202).json();
        assert_eq!(again["id"], first["id"]);
    }
    expect_id(&mut client, &id_of(&first));
    expect_nothing_before_now(tocsin, "once", &mut client);
}

#[test]
fn a_key_with_another_body_is_422() {
    let api = shared().api();
    api.post_once("once-2", &to_user("once-b", "one")).expect("an answer").expect(202);
    api.post_once("once-2", &to_user("once-b", "two")).expect("an answer").problem(422);
}

#[test]
fn a_key_is_one_service_s_own() {
    let all = |service: &mut toml::Table| {
        service.insert("broadcast".into(), true.into());
    };
    let tocsin = Setup::standalone().service("a", "key-a", all).service("b", "key-b", all).start();
    let note = to_user("ada", "the same words");
    let one = tocsin.api().with_key("key-a").post_once("k", &note).expect("an answer").expect(202).json();
    let two = tocsin.api().with_key("key-b").post_once("k", &note).expect("an answer").expect(202).json();
    assert_ne!(one["id"], two["id"]);
}

#[test]
fn many_at_once_make_one_notification() {
    let tocsin = shared();
    let mut client = tocsin.connect("once-race");
    let note = to_user("once-race", "a race");
    let answers: Vec<_> = std::thread::scope(|scope| {
        let racers: Vec<_> = (0..16)
            .map(|_| scope.spawn(|| tocsin.api().post_once("once-race", &note).expect("an answer")))
            .collect();
        racers.into_iter().map(|racer| racer.join().expect("no panic")).collect()
    });
    let mut ids = HashSet::new();
    for answer in answers {
        match answer.status {
            202 => ids.extend([id_of(&answer.json())]),
            _ => drop(answer.problem(409)),
        }
    }
    assert_eq!(ids.len(), 1, "one id for all: {ids:?}");
    expect_id(&mut client, ids.iter().next().expect("one"));
    expect_nothing_before_now(tocsin, "once-race", &mut client);
}

#[test]
fn a_key_is_remembered_over_a_crash() {
    let mut tocsin = Setup::standalone().start();
    let note = to_user("ada", "before the crash");
    let before = tocsin.api().post_once("k", &note).expect("an answer").expect(202).json();
    tocsin.crash_and_restart();
    let after = tocsin.api().post_once("k", &note).expect("an answer").expect(202).json();
    assert_eq!(before["id"], after["id"]);
    let mut client = tocsin.connect("ada");
    tests::until("the journal is read", || (tocsin.api().reconcile()["journal_lag"] == 0).then_some(()));
    let (missed, _) = client.sync_all(&serde_json::json!({}));
    assert_eq!(missed.len(), 1, "{missed:?}");
}
