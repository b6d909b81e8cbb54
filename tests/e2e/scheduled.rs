//! `send_at`: not before its moment, once, and until then it can be taken back.

use std::time::Duration;

use serde_json::{Value, json};
use tests::deadline::{sleep_until_us, unix_us};
use tests::{Api, Equation, Setup, Tocsin, until};
use wire::time::Wall;

use crate::support::{expect_id, expect_nothing_before_now, ids, shared};

const SECOND_US: i64 = 1_000_000;

fn in_seconds(seconds: i64) -> i64 {
    unix_us() + seconds * SECOND_US
}

fn at(user: &str, moment: i64) -> Value {
    json!({ "to": { "user": user }, "title": "later", "send_at": Wall(moment).to_string() })
}

fn story(api: &Api, id: &str) -> Value {
    until("the owner has it", || {
        let story = api.get(&format!("/v1/notifications/{id}")).expect(200).json();
        (story["state"] != "accepted").then_some(story)
    })
}

fn events(story: &Value, delivery: usize) -> Vec<String> {
    let timeline = story["deliveries"][delivery]["timeline"].as_array().expect("a list");
    timeline.iter().map(|moment| moment["event"].as_str().expect("a word").to_owned()).collect()
}

fn synced(tocsin: &Tocsin, user: &str) -> Vec<String> {
    ids(&tocsin.connect(user).sync_all(&json!({})).0)
}

#[test]
fn it_is_shown_at_its_moment_and_nowhere_before() {
    let tocsin = Setup::standalone().start();
    let (api, mut client) = (tocsin.api(), tocsin.connect("ada"));
    let moment = in_seconds(4);
    let id = api.accepted(&at("ada", moment));
    let waits = story(&api, &id);
    assert_eq!((&waits["state"], &waits["deliveries"][0]["state"]), (&json!("open"), &json!("open")));
    assert_eq!(events(&waits, 0), ["accepted", "scheduled"]);
    assert_eq!(Wall::parse(waits["send_at"].as_str().expect("a date")), Ok(Wall(moment)));
    assert_eq!(Equation::read(&api).number("open"), 1);
    expect_nothing_before_now(&tocsin, "ada", &mut client);
    assert_eq!(synced(&tocsin, "ada").len(), 1, "the other one");
    assert!(unix_us() < moment, "the machine was too slow to look in time");
    let shown = client.recv("notification");
    assert!(unix_us() >= moment);
    assert_eq!(shown["id"], id.as_str());
    let stamp = Wall::parse(shown["created_at"].as_str().expect("a date")).expect("a date");
    assert!(stamp.0 >= moment, "{shown}");
    assert_eq!(synced(&tocsin, "ada").len(), 2);
    Equation::settled(&api);
}

#[test]
fn it_can_be_taken_back_until_then_and_is_never_sent() {
    let tocsin = Setup::standalone().start();
    let (api, mut client) = (tocsin.api(), tocsin.connect("ada"));
    let moment = in_seconds(6);
    let mut note = at("ada", moment);
    note["channels"] = json!(["inapp", "sms"]);
    let id = api.accepted(&note);
    let answer = api.send("DELETE", &format!("/v1/notifications/{id}"), &json!(null)).expect(200).json();
    assert_eq!(answer["cancelled"], 2, "{answer}");
    sleep_until_us(moment + SECOND_US);
    expect_nothing_before_now(&tocsin, "ada", &mut client);
    assert_eq!(api.get("/v1/outbox?channel=sms").expect(200).json()["items"], json!([]));
    let ended = story(&api, &id);
    assert_eq!((&ended["state"], &ended["deliveries"][0]["reason"]), (&json!("final"), &json!("cancelled")));
    assert_eq!(Equation::settled(&api).number("dropped"), 2);
}

#[test]
fn a_moment_that_comes_while_it_is_dead_is_made_up_for_once() {
    let mut tocsin = Setup::standalone().start();
    let (soon, late) = (in_seconds(6), in_seconds(600));
    let [first, second, third] = [soon, late, soon].map(|moment| tocsin.api().accepted(&at("ada", moment)));
    for id in [&first, &second, &third] {
        assert_eq!(events(&story(&tocsin.api(), id), 0), ["accepted", "scheduled"]);
    }
    tocsin.kill_9();
    assert!(unix_us() < soon, "the machine was too slow to kill it in time");
    sleep_until_us(soon + SECOND_US);
    tocsin.start_gateway();
    until("both were made up for", || (synced(&tocsin, "ada").len() == 2).then_some(()));
    tocsin.crash_and_restart();
    let mut found = synced(&tocsin, "ada");
    found.sort();
    let mut expected = vec![first, third];
    expected.sort();
    assert_eq!(found, expected, "each once, and the one that is far ahead not at all");
    assert_eq!(events(&story(&tocsin.api(), &second), 0), ["accepted", "scheduled"]);
    let equation = Equation::read(&tocsin.api());
    assert_eq!((equation.number("accepted"), equation.number("open")), (3, 1));
}

#[test]
fn lines_of_a_batch_have_moments_of_their_own_and_keys_work_as_always() {
    let tocsin = shared();
    let (api, user) = (tocsin.api(), "scheduled-batch");
    let mut client = tocsin.connect(user);
    let moment = in_seconds(6);
    let now = json!({ "to": { "user": user }, "title": "now" });
    let sent = api.accepted_batch(&[at(user, moment), now, at(user, moment - 600 * SECOND_US)]);
    let mut at_once = vec![client.recv("notification"), client.recv("notification")];
    at_once.sort_by_key(|one| one["id"].as_str() != Some(&sent[1]));
    assert_eq!(ids(&at_once), sent[1..], "what lies in the past goes at once");
    expect_id(&mut client, &sent[0]);
    assert!(unix_us() >= moment);
    let keyed = at(user, in_seconds(3));
    let mut again = Vec::new();
    for _ in 0..2 {
        again.push(api.post_once("scheduled-key", &keyed).expect("an answer").expect(202).json());
    }
    assert_eq!(again[0], again[1]);
    expect_id(&mut client, again[0]["id"].as_str().expect("an id"));
    expect_nothing_before_now(tocsin, user, &mut client);
}

#[test]
fn topics_and_everybody_get_theirs_too() {
    let tocsin = Setup::standalone().start();
    let mut client = tocsin.connect("ada");
    client.say(&json!({ "type": "subscribe", "topics": ["news"] }));
    client.recv("subscribed");
    let moment = in_seconds(2);
    let mut sent = Vec::new();
    for to in [json!({ "topic": "news" }), json!({ "all": true })] {
        let mut note = at("nobody", moment);
        note["to"] = to;
        sent.push(tocsin.api().accepted(&note));
    }
    let mut found = client.recv_ids(2);
    assert!(unix_us() >= moment);
    found.sort();
    sent.sort();
    assert_eq!(found, sent);
}

#[test]
fn what_is_no_moment_is_refused_by_name() {
    let api = shared().api();
    let year = Duration::from_secs(366 * 24 * 3_600).as_micros() as i64;
    for moment in [json!("tomorrow"), json!(17), json!(Wall(unix_us() + year).to_string())] {
        let note = json!({ "to": { "user": "u" }, "send_at": moment });
        let answer = api.post(&note);
        answer.problem(400);
        assert!(answer.text.contains("/send_at"), "{}", answer.text);
        let lines = format!("{note}\n");
        let batch = api.request("POST", "/v1/notifications/batch", &[], Some(lines.as_bytes()));
        let line = batch.expect("an answer").expect(200).text;
        assert!(line.contains("/send_at") && line.contains("400"), "{line}");
    }
}
