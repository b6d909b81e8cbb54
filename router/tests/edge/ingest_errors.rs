//! Every refusal of the contract, over real HTTP, as a problem that names what is wrong.

use std::sync::Arc;

use router::config::{Secret, Service};
use serde_json::json;
use wire::message::Priority;

use crate::support::Node;

const DEV: (&str, &str) = ("authorization", "Bearer dev");

#[test]
fn bodies_are_checked_field_by_field() {
    let node = Node::start();
    let post = |body: &str| node.request("POST", "/v1/notifications", &[DEV], body.as_bytes());
    post("{").is_problem(400, "malformed");
    post("").is_problem(400, "malformed");
    let problem = post(r#"{"to":{"user":"u"},"tilte":"x"}"#).is_problem(400, "malformed");
    assert_eq!(problem["pointer"], "/tilte");
    assert!(problem["detail"].as_str().unwrap().contains("`title`"));
    let problem = post(r#"{"to":{"users":["a",7]}}"#).is_problem(400, "malformed");
    assert_eq!(problem["pointer"], "/to/users/1");
    let problem = post(r#"{"to":{"topic":"t"},"channels":["push"]}"#).is_problem(422, "contradiction");
    assert_eq!(problem["pointer"], "/channels/0");
    let problem =
        post(r#"{"to":{"user":"u"},"send_at":"2999-01-01T00:00:00Z"}"#).is_problem(400, "malformed");
    assert_eq!(problem["pointer"], "/send_at");
    let reconciled = node.get("/v1/reconcile").json();
    assert_eq!(reconciled["deliveries"]["accepted"], 0, "nothing refused was accepted");
}

#[test]
fn a_body_that_is_too_long_is_413() {
    let node = Node::start();
    let body = format!(r#"{{"to":{{"user":"u"}},"title":"{}"}}"#, "x".repeat(600 * 1024));
    node.request("POST", "/v1/notifications", &[DEV], body.as_bytes()).is_problem(413, "too_large");
}

#[test]
fn nobody_gets_in_without_a_key() {
    let node = Node::start();
    let body = br#"{"to":{"user":"u"}}"#;
    for headers in [
        &[][..],
        &[("authorization", "Bearer wrong")],
        &[("authorization", "Bearer ")],
        &[("authorization", "Basic ZGV2")],
        &[("authorization", "dev")],
    ] {
        let answer = node.request("POST", "/v1/notifications", headers, body);
        answer.is_problem(401, "unauthenticated");
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
    }
    for path in ["/v1/status", "/v1/reconcile", "/v1/outbox", "/v1/users/u/inbox", "/v1/alerts"] {
        node.request("GET", path, &[], b"").is_problem(401, "unauthenticated");
    }
}

#[test]
fn rights_are_kept() {
    let shop = Service {
        name: "shop".to_owned(),
        secret: Secret::new("shop-key"),
        per_minute: None,
        priorities: Some(vec![Priority::Normal, Priority::Low]),
        broadcast: false,
        operator: false,
        topics: vec!["offers".to_owned()],
        webhook: None,
    };
    let node = Node::start_with(|config| config.services = vec![Arc::new(shop)]);
    let post = |body: serde_json::Value| {
        let headers = [("authorization", "Bearer shop-key")];
        node.request("POST", "/v1/notifications", &headers, body.to_string().as_bytes())
    };
    let problem = post(json!({"to": {"user": "u"}, "priority": "critical"})).is_problem(403, "forbidden");
    assert_eq!(problem["pointer"], "/priority");
    post(json!({"to": {"all": true}})).is_problem(403, "forbidden");
    post(json!({"to": {"topic": "news"}})).is_problem(403, "forbidden");
    assert_eq!(post(json!({"to": {"topic": "offers"}})).status, 202);
    assert_eq!(post(json!({"to": {"user": "u"}, "priority": "low"})).status, 202);
}

#[test]
fn a_spent_quota_is_429_and_says_when_to_come_back() {
    let service = |name: &str, per_minute| {
        let secret = Secret::new(name);
        Arc::new(Service { name: name.to_owned(), secret, per_minute, ..Service::dev() })
    };
    let node =
        Node::start_with(|config| config.services = vec![service("small", Some(5)), service("large", None)]);
    let post = |key: &str, body: serde_json::Value| {
        let bearer = format!("Bearer {key}");
        let headers = [("authorization", bearer.as_str())];
        node.request("POST", "/v1/notifications", &headers, body.to_string().as_bytes())
    };
    assert_eq!(post("small", json!({"to": {"users": ["a", "b", "c"]}})).status, 202);
    post("small", json!({"to": {"users": ["a", "b", "c"]}})).is_problem(429, "quota_spent");
    assert_eq!(post("small", json!({"to": {"user": "a"}})).status, 202);
    assert_eq!(post("small", json!({"to": {"topic": "t"}})).status, 202);
    let refused = post("small", json!({"to": {"user": "a"}}));
    let problem = refused.is_problem(429, "quota_spent");
    let wait: u32 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=61).contains(&wait) && problem["retry_after_s"] == wait);
    post("small", json!({"to": {"users": ["a", "b", "c", "d", "e", "f"]}})).is_problem(422, "contradiction");
    for _ in 0..20 {
        assert_eq!(
            post("large", json!({"to": {"user": "a"}})).status,
            202,
            "another service's quota is its own"
        );
    }
}

#[test]
fn unknown_places_and_methods_are_problems_too() {
    let node = Node::start();
    node.get("/v1/nowhere").is_problem(404, "not_found");
    node.request("DELETE", "/v1/status", &[DEV], b"").is_problem(405, "method_not_allowed");
    node.get("/v1/notifications/not-an-id").is_problem(400, "malformed");
    node.get("/v1/notifications/00000000-0000-0000-0000-000000000000").is_problem(404, "not_found");
}
