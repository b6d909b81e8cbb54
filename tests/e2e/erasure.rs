//! `DELETE /v1/users/{user}`: a person is gone from every answer, over a kill of everything, and the equation holds.

use std::time::Duration;

use serde_json::{Value, json};
use tests::client::id_of;
use tests::{Api, Equation, Setup, Tocsin, until};

use crate::support::{expect_id, to_user};

const EVERYWHERE: Duration = Duration::from_secs(5);
/// Stands in no other word of any answer.
const PERSON: &str = "zoe-who-goes";

fn erase(api: &Api) -> Value {
    api.request("DELETE", &format!("/v1/users/{PERSON}"), &[], None).expect("an answer").expect(200).json()
}

/// Everything that the API shows without being asked for the person.
fn answers(api: &Api) -> String {
    let paths = ["outbox", "overflow", "dead-letters", "alerts", "status", "reconcile", "users/bob/inbox"];
    paths.map(|path| api.get(&format!("/v1/{path}")).expect(200).text).concat()
}

/// Something of every kind that one system can have of a person; the ids that are to be 404 afterwards.
fn live(tocsin: &Tocsin) -> Vec<String> {
    let api = tocsin.api();
    let mut client = tocsin.connect(PERSON);
    client.say(&json!({ "type": "subscribe", "topics": ["t"] }));
    client.recv("subscribed");
    let acted = api.accepted(&to_user(PERSON, "acted on"));
    expect_id(&mut client, &acted);
    client.ack(&[&acted]);
    let mut ids = vec![acted];
    // One push more than the hour allows.
    for i in 0..21 {
        let note = json!({ "to": { "user": PERSON }, "title": format!("private {i}"), "channels": ["inapp", "push"] });
        let answer = api.post_once(&format!("key-{i}"), &note).expect("an answer").expect(202).json();
        ids.push(id_of(&answer));
    }
    let open = json!({ "to": { "user": PERSON }, "fallback": ["sms"], "ack_within_s": 600 });
    ids.push(api.accepted(&open));
    api.send("POST", "/v1/tickets", &json!({ "user": PERSON, "ttl_s": 60 })).expect(201);
    ids
}

fn nothing_is_left(tocsin: &Tocsin, ids: &[String], shared: &str) {
    let api = tocsin.api();
    let inbox = api.get(&format!("/v1/users/{PERSON}/inbox")).expect(200).json();
    assert_eq!((&inbox["notifications"], &inbox["unread"]), (&json!([]), &json!(0)));
    for id in ids {
        api.get(&format!("/v1/notifications/{id}")).problem(404);
    }
    let story = api.get(&format!("/v1/notifications/{shared}")).expect(200);
    assert!(story.text.contains("bob") && !story.text.contains(PERSON), "{}", story.text);
    let all = answers(&api);
    assert!(all.contains("both") && !all.contains(PERSON) && !all.contains("private"), "{all}");
    let (notifications, _) =
        tocsin.connect(PERSON).sync_all(&json!({ "last_seen_at": "2020-01-01T00:00:00Z" }));
    assert_eq!(notifications, [] as [Value; 0]);
    Equation::settled(&api);
}

#[test]
fn an_erased_person_is_nowhere_and_does_not_come_back() {
    let mut tocsin = Setup::standalone().start();
    let api = tocsin.api();
    let ids = live(&tocsin);
    let shared = api.accepted(
        &json!({ "to": { "users": [PERSON, "bob"] }, "title": "both", "channels": ["inapp", "push"] }),
    );
    Equation::settled(&api);
    until("every push is in the outbox", || {
        let kept = api.get("/v1/outbox?limit=100").expect(200).json();
        (kept["items"].as_array()?.len() == 21).then_some(())
    });
    assert!(answers(&api).contains(PERSON));
    let accepted = Equation::read(&api).number("accepted");
    let mut client = tocsin.connect_device(PERSON, "phone");
    let answer = erase(&api);
    assert_eq!(client.closed(EVERYWHERE).0, 4401);
    assert_eq!(answer["found"], true);
    let expected = json!({ "ledger": 24, "notifications": 23, "lists": 1, "inbox": 24, "marks": 1, "recipients": 1,
        "subscriptions": 1, "tickets": 1, "idempotency": 21, "overflow": 2, "outbox": 20 });
    assert_eq!(answer["erased"], expected);
    assert_eq!(answer["cancelled"], 1, "the one that waited for an acknowledgement");
    assert_eq!(answer["remains"].as_array().map(Vec::len), Some(5));
    nothing_is_left(&tocsin, &ids, &shared);
    assert_eq!(Equation::read(&api).number("accepted"), accepted, "it stays counted");
    tocsin.crash_and_restart();
    nothing_is_left(&tocsin, &ids, &shared);
    let again = erase(&tocsin.api());
    assert_eq!(
        (&again["found"], &again["erased"], &again["cancelled"]),
        (&json!(false), &json!({}), &json!(0))
    );
    let mut client = tocsin.connect(PERSON);
    let anew = tocsin.api().accepted(&to_user(PERSON, "welcome back"));
    expect_id(&mut client, &anew);
}

#[test]
fn only_an_operator_s_key_erases_and_the_log_names_nobody() {
    let setup = Setup::standalone().service("ops", "the-key-of-ops", |service| {
        service.insert("operator".to_owned(), true.into());
    });
    let mut tocsin = setup.service("shop", "the-key-of-shop", |_| {}).start();
    let api = tocsin.api();
    api.accepted(&to_user(PERSON, "private"));
    let shop = api.with_key("the-key-of-shop");
    let refused = shop.request("DELETE", &format!("/v1/users/{PERSON}"), &[], None).expect("an answer");
    assert!(refused.problem(403).contains("operator"));
    erase(&api);
    let log = until("the log has it", || {
        let log = tocsin.gateway().log();
        log.contains("a person was erased").then_some(log)
    });
    assert!(!log.contains(PERSON), "{log}");
}
