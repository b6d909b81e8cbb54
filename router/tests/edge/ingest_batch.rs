//! A batch: an answer a line, in order, each line for itself.

use serde_json::{Value, json};

use crate::support::{Answer, Node};

const DEV: (&str, &str) = ("authorization", "Bearer dev");

fn lines(answer: &Answer) -> Vec<Value> {
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(answer.header("content-type"), Some("application/x-ndjson"));
    answer.text.lines().map(|line| serde_json::from_str(line).expect("a JSON line")).collect()
}

#[test]
fn answers_come_in_order_and_a_refused_line_stops_no_other() {
    let node = Node::start();
    let body = [
        r#"{"to":{"user":"a"},"title":"1"}"#,
        r#"{"to":{"user":"a"},"priority":"urgent"}"#,
        "nonsense",
        r#"{"to":{"users":["a","b"]},"title":"2"}"#,
        "",
        r#"{"to":{"topic":"t"},"channels":["sms"]}"#,
        r#"{"to":{"user":"a"},"title":"3"}"#,
    ]
    .join("\n");
    let answers = lines(&node.request("POST", "/v1/notifications/batch", &[DEV], body.as_bytes()));
    let statuses: Vec<_> = answers.iter().map(|answer| answer["status"].as_u64().unwrap()).collect();
    assert_eq!(statuses, [202, 400, 400, 202, 422, 202]);
    assert_eq!(answers[1]["pointer"], "/priority");
    for accepted in [0, 3, 5] {
        assert!(answers[accepted]["id"].is_string() && answers[accepted]["durable_in"] == "journal");
    }
    let inbox =
        node.eventually("/v1/users/a/inbox", |inbox| inbox["notifications"].as_array().unwrap().len() == 3);
    let titles: Vec<_> =
        inbox["notifications"].as_array().unwrap().iter().map(|one| one["title"].as_str().unwrap()).collect();
    assert_eq!(titles, ["1", "2", "3"], "one user's order is the order of the lines");
}

#[test]
fn a_batch_sent_again_is_taken_once() {
    let node = Node::start();
    let body = [
        json!({"to": {"user": "u"}, "title": "own key", "idempotency_key": "mine"}),
        json!({"to": {"user": "u"}, "title": "numbered"}),
    ];
    let body = body.map(|line| line.to_string()).join("\n");
    let headers = [DEV, ("idempotency-key", "batch-1")];
    let first = lines(&node.request("POST", "/v1/notifications/batch", &headers, body.as_bytes()));
    let again = lines(&node.request("POST", "/v1/notifications/batch", &headers, body.as_bytes()));
    assert_eq!(first, again);
    let single = node.send_with_key("batch-1/2", &json!({"to": {"user": "u"}, "title": "numbered"}));
    assert_eq!(single.json()["id"], first[1]["id"], "line 2 has the key batch-1/2");
    node.eventually("/v1/reconcile", |answer| answer["deliveries"]["accepted"] == 2);
}

#[test]
fn thousands_of_lines_share_their_syncs_and_one_too_many_is_told() {
    let node = Node::start();
    let line = |i: usize| json!({"to": {"user": format!("u{}", i % 7)}, "title": i.to_string()}).to_string();
    let body: Vec<String> = (0..10_002).map(line).collect();
    let answers = lines(&node.request("POST", "/v1/notifications/batch", &[DEV], body.join("\n").as_bytes()));
    assert_eq!(answers.len(), 10_001);
    assert!(answers[..10_000].iter().all(|answer| answer["status"] == 202));
    assert_eq!(answers[10_000]["status"], 413);
    let reconciled = node.eventually("/v1/reconcile", |answer| answer["deliveries"]["accepted"] == 10_000);
    assert_eq!(reconciled["balanced"], true);
}

#[test]
fn nobody_sends_a_batch_without_a_key() {
    let node = Node::start();
    node.request("POST", "/v1/notifications/batch", &[], b"{}").is_problem(401, "unauthenticated");
}
