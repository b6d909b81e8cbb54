//! Every error of the contract's ingest, as problem+json that names its cause.

use serde_json::{Value, json};
use tests::Setup;

use crate::support::{shared, to_user};

#[test]
fn what_is_malformed_names_its_field() {
    let api = shared().api();
    let cases: [(Value, &str); 8] = [
        (json!({}), "/to"),
        (json!({ "to": {} }), "/to"),
        (json!({ "to": { "user": 5 } }), "/to/user"),
        (json!({ "to": { "user": "u", "topic": "t" } }), "/to"),
        (json!({ "to": { "user": "u" }, "priority": "urgent" }), "/priority"),
        (json!({ "to": { "user": "u" }, "tilte": "x" }), "/tilte"),
        (json!({ "to": { "user": "u" }, "ttl_s": -1 }), "/ttl_s"),
        (json!({ "to": { "user": "u" }, "channels": ["pigeon"] }), "/channels/0"),
    ];
    for (body, pointer) in cases {
        let answer = api.post(&body);
        answer.problem(400);
        assert!(answer.text.contains(pointer), "{pointer} is not named: {}", answer.text);
    }
    for raw in ["", "{", "[]", "\u{0}", "{\"to\":{\"user\":\"u\"}} trailing"] {
        let json = [("content-type", "application/json")];
        let answer = api.request("POST", "/v1/notifications", &json, Some(raw.as_bytes()));
        answer.expect("an answer").problem(400);
    }
}

#[test]
fn what_contradicts_itself_is_422() {
    let api = shared().api();
    for body in [
        json!({ "to": { "topic": "t" }, "channels": ["inapp", "push"] }),
        json!({ "to": { "all": true }, "channels": ["sms"] }),
        json!({ "to": { "user": "u" }, "channels": ["sms"], "fallback": ["sms"] }),
    ] {
        api.post(&body).problem(422);
    }
}

#[test]
fn what_is_too_large_is_413() {
    let api = shared().api();
    let body = json!({ "to": { "user": "u" }, "data": { "x": "y".repeat(1 << 20) } });
    api.post(&body).problem(413);
}

#[test]
fn who_has_no_key_is_401() {
    let tocsin = shared();
    for api in [tocsin.api().with_key(""), tocsin.api().with_key("wrong"), tocsin.api().with_key("deV")] {
        api.post(&to_user("u", "x")).problem(401);
        for path in ["/v1/reconcile", "/v1/outbox", "/v1/status", "/v1/users/u/inbox", "/v1/overflow"] {
            api.get(path).problem(401);
        }
        api.send("POST", "/v1/tickets", &json!({ "user": "u" })).problem(401);
        api.send("POST", "/v1/revocations", &json!({ "user": "u" })).problem(401);
    }
}

#[test]
fn what_a_service_may_not_do_is_403() {
    let tocsin = Setup::standalone()
        .service("small", "small-key", |service| {
            service.insert("priorities".into(), vec!["normal", "low"].into());
            service.insert("topics".into(), vec!["team-*"].into());
        })
        .start();
    let api = tocsin.api();
    api.accepted(&json!({ "to": { "user": "u" }, "priority": "low" }));
    api.accepted(&json!({ "to": { "topic": "team-7" } }));
    api.post(&json!({ "to": { "user": "u" }, "priority": "critical" })).problem(403);
    api.post(&json!({ "to": { "topic": "other" } })).problem(403);
    api.post(&json!({ "to": { "all": true } })).problem(403);
}

#[test]
fn what_is_not_there_is_404_and_a_wrong_method_405() {
    let api = shared().api();
    api.get("/v1/notifications/00000000-0000-4000-8000-000000000000").problem(404);
    api.get("/v1/no-such-thing").problem(404);
    assert_eq!(api.get("/v1/notifications/not-a-uuid").status / 100, 4);
    assert_eq!(api.send("PUT", "/v1/notifications", &json!({})).status, 405);
}

#[test]
fn a_batch_answers_line_by_line() {
    let tocsin = shared();
    let lines = "{\"to\":{\"user\":\"batch-a\"}}\nnonsense\n{\"to\":{\"user\":\"batch-b\"},\"idempotency_key\":\"batch-k\"}\n{\"to\":{}}\n{\"to\":{\"user\":\"batch-b\"},\"idempotency_key\":\"batch-k\"}";
    let answer = tocsin.api().request("POST", "/v1/notifications/batch", &[], Some(lines.as_bytes()));
    let answer = answer.expect("an answer").expect(200);
    let results: Vec<Value> =
        answer.text.lines().map(|line| serde_json::from_str(line).expect("a JSON line")).collect();
    let statuses: Vec<_> = results.iter().map(|result| result["status"].as_u64().unwrap_or(0)).collect();
    assert_eq!(statuses.len(), 5, "one line each: {}", answer.text);
    assert_eq!([statuses[0], statuses[1], statuses[2], statuses[3]], [202, 400, 202, 400], "{}", answer.text);
    // The same key while the first is on its way is 409; after it, the same answer.
    assert!(statuses[4] == 409 || results[4]["id"] == results[2]["id"], "{}", answer.text);
}

#[test]
fn the_api_describes_itself() {
    let description = shared().api().get("/openapi.json").expect(200).json();
    assert!(description["openapi"].is_string());
    assert!(description["paths"]["/v1/notifications"]["post"].is_object());
}
