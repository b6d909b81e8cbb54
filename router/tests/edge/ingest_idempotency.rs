//! One key is one notification, however often and from wherever it is sent.

use std::collections::BTreeSet;

use serde_json::json;

use crate::support::Node;

#[test]
fn the_same_request_gets_the_same_answer() {
    let node = Node::start();
    let body = json!({"to": {"user": "u"}, "title": "once"});
    let first = node.send_with_key("k1", &body);
    assert_eq!(first.status, 202, "{}", first.text);
    let again = node.send_with_key("k1", &body);
    assert_eq!((again.status, &again.text), (202, &first.text));
    assert_eq!(first.header("location"), first.json()["status_url"].as_str());
    node.send_with_key("k1", &json!({"to": {"user": "v"}})).is_problem(422, "key_reused");
    let other = node.send_with_key("k2", &body);
    assert_ne!(other.id(), first.id());
    let reconciled = node.eventually("/v1/reconcile", |answer| answer["deliveries"]["accepted"] == 2);
    assert_eq!(reconciled["balanced"], true);
}

#[test]
fn the_answer_is_remembered_over_a_restart() {
    let node = Node::start();
    let body = json!({"to": {"user": "u"}, "title": "once"});
    let first = node.send_with_key("k1", &body);
    let node = node.restart();
    assert_eq!(node.send_with_key("k1", &body).text, first.text);
    node.send_with_key("k1", &json!({"to": {"user": "v"}})).is_problem(422, "key_reused");
}

#[test]
fn a_key_sent_by_many_at_once_is_one_record() {
    let node = Node::start();
    let body = json!({"to": {"user": "u"}, "title": "once"});
    let answers: Vec<_> = std::thread::scope(|scope| {
        let sending: Vec<_> = (0..16).map(|_| scope.spawn(|| node.send_with_key("storm", &body))).collect();
        sending.into_iter().map(|sending| sending.join().unwrap()).collect()
    });
    let ids: BTreeSet<_> =
        answers.iter().filter(|answer| answer.status == 202).map(super::support::Answer::id).collect();
    assert_eq!(ids.len(), 1);
    for answer in answers.iter().filter(|answer| answer.status != 202) {
        answer.is_problem(409, "key_in_flight");
        assert!(answer.header("retry-after").is_some());
    }
    let id = ids.first().unwrap();
    node.eventually(&format!("/v1/notifications/{id}"), |answer| answer["state"] != "accepted");
    let inbox = node.get("/v1/users/u/inbox").json();
    assert_eq!(inbox["notifications"].as_array().unwrap().len(), 1);
    assert_eq!(node.get("/v1/reconcile").json()["deliveries"]["accepted"], 1);
}

#[test]
fn keys_are_checked() {
    let node = Node::start();
    let long = "k".repeat(257);
    for key in ["", long.as_str()] {
        node.send_with_key(key, &json!({"to": {"user": "u"}})).is_problem(400, "malformed");
    }
    let twice = [("authorization", "Bearer dev"), ("idempotency-key", "a"), ("idempotency-key", "b")];
    node.request("POST", "/v1/notifications", &twice, br#"{"to":{"user":"u"}}"#).is_problem(400, "malformed");
}
