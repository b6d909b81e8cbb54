//! A one-use code through the API: sent, looked at, guessed, verified; and backup codes. Nothing that is not asked for shows
//! a code.

use serde_json::{Value, json};

use crate::support::Node;

/// What the outbox kept for a user by SMS, in which the code stands.
fn code_of(node: &Node, user: &str) -> String {
    let path = format!("/v1/outbox?channel=sms&user={user}");
    let kept = node.eventually(&path, |kept| kept["items"].as_array().is_some_and(|items| !items.is_empty()));
    let body = kept["items"][0]["body"].as_str().expect("a text").to_owned();
    body.split(' ').next().expect("it begins with the code").to_owned()
}

fn ask(node: &Node, body: &Value) -> Value {
    let answer = node.post("/v1/otp", body);
    assert_eq!(answer.status, 202, "{}", answer.text);
    assert_eq!(answer.header("location"), Some(&*format!("/v1/otp/{}", answer.id())));
    answer.json()
}

fn verify(node: &Node, id: &str, code: &str) -> Value {
    let answer = node.post(&format!("/v1/otp/{id}/verify"), &json!({"code": code}));
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json()
}

#[test]
fn a_code_goes_out_is_guessed_and_verified_once() {
    let node = Node::start();
    let shown = ask(&node, &json!({"user": "ann"}));
    let id = shown["id"].as_str().expect("an id").to_owned();
    let channels: Vec<_> =
        shown["rungs"].as_array().expect("a list").iter().map(|rung| &rung["channel"]).collect();
    assert_eq!(channels, ["sms", "push", "email", "voice"]);
    let code = code_of(&node, "ann");
    assert!(code.len() == 6 && code.bytes().all(|byte| byte.is_ascii_digit()), "{code}");
    assert!(!shown.to_string().contains(&code), "the answer does not show it");
    let wrong = if code == "000000" { "000001" } else { "000000" };
    assert_eq!(verify(&node, &id, wrong), json!({"verified": false, "left": 4}));
    assert_eq!(verify(&node, &id, &format!(" {code} ")), json!({"verified": true}));
    node.post(&format!("/v1/otp/{id}/verify"), &json!({"code": code})).is_problem(410, "over");
    let shown = node.get(&format!("/v1/otp/{id}")).json();
    assert_eq!((&shown["state"], &shown["offer_backup_codes"]), (&json!("verified"), &json!(false)));
    assert_eq!(shown["rungs"][0]["state"], "delivered", "{shown}");
    let story = node.get(&format!("/v1/notifications/{id}")).text;
    assert!(!story.contains(&code), "its story does not show it: {story}");
    node.get("/v1/otp/00000000-0000-0000-0000-000000000001").is_problem(404, "not_found");
}

#[test]
fn a_request_that_is_sent_again_brings_the_same_code_and_a_restart_forgets_none() {
    let node = Node::start();
    let headers = [("authorization", "Bearer dev"), ("idempotency-key", "login 7")];
    let send = |node: &Node| node.request("POST", "/v1/otp", &headers, br#"{"user":"bob"}"#);
    let (first, again) = (send(&node), send(&node));
    assert_eq!((first.status, first.id()), (202, again.id()));
    let code = code_of(&node, "bob");
    let kept = node.get("/v1/outbox?channel=sms&user=bob").json();
    assert_eq!(kept["items"].as_array().map(Vec::len), Some(1), "{kept}");
    let id = first.id();
    let node = node.restart();
    assert_eq!(verify(&node, &id, &code), json!({"verified": true}));
}

#[test]
fn a_service_brings_its_own_code_and_faults_name_their_field() {
    let node = Node::start();
    let id = ask(&node, &json!({"user": "cid", "code": "Tiger42", "ttl_s": 30}))["id"].clone();
    assert_eq!(code_of(&node, "cid"), "Tiger42");
    assert_eq!(verify(&node, id.as_str().expect("an id"), "Tiger42"), json!({"verified": true}));
    for (body, pointer) in [
        (json!({}), "/user"),
        (json!({"user": "x", "code": "1"}), "/code"),
        (json!({"user": "x", "contacts": {"email": "nobody"}}), "/contacts/email"),
    ] {
        let problem = node.post("/v1/otp", &body).is_problem(400, "malformed");
        assert_eq!(problem["pointer"], pointer, "{problem}");
    }
    node.post(&format!("/v1/otp/{}/verify", id.as_str().expect("an id")), &json!({"code": "x".repeat(13)}))
        .is_problem(400, "malformed");
}

#[test]
fn backup_codes_are_shown_once_and_each_is_good_once() {
    let node = Node::start();
    let path = "/v1/users/dee/backup-codes";
    let verify = |code: &str| node.post(&format!("{path}/verify"), &json!({"code": code}));
    verify("abcde-fghij").is_problem(404, "not_found");
    let made = node.post(path, &json!({}));
    assert_eq!((made.status, made.header("cache-control")), (201, Some("no-store")), "{}", made.text);
    let codes: Vec<String> = serde_json::from_value(made.json()["codes"].clone()).expect("codes");
    assert_eq!(codes.len(), 10);
    assert_eq!(verify("no code at all").json(), json!({"verified": false}));
    assert_eq!(verify(&codes[3].to_uppercase()).json(), json!({"verified": true, "left": 9}));
    assert_eq!(verify(&codes[3]).json(), json!({"verified": false}));
    let newer: Vec<String> =
        serde_json::from_value(node.post(path, &json!({})).json()["codes"].clone()).expect("codes");
    assert_eq!(verify(&codes[4]).json(), json!({"verified": false}), "the old ones are gone");
    assert_eq!(verify(&newer[4]).json(), json!({"verified": true, "left": 9}));
}
