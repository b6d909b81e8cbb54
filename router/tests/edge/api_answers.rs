//! What the API answers beside taking things in.

use serde_json::{Value, json};

use crate::support::Node;

#[test]
fn a_story_is_told_from_the_promise_on() {
    let node = Node::start();
    let answer =
        node.send(&json!({"to": {"users": ["ada", "bob"]}, "title": "t", "channels": ["inapp", "push"]}));
    let path = answer.json()["status_url"].as_str().unwrap().to_owned();
    let first = node.get(&path);
    assert_eq!(first.status, 200, "known from the 202 on: {}", first.text);
    let story = node.eventually(&path, |story| story["state"] == "final");
    let mut told: Vec<_> = story["deliveries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["recipient"].as_str().unwrap(), one["channel"].as_str().unwrap(), &one["state"]))
        .collect();
    told.sort_by_key(|(recipient, channel, _)| (*recipient, *channel));
    let handed_over = json!("handed_over");
    assert_eq!(
        told,
        [
            ("ada", "inapp", &handed_over),
            ("ada", "push", &handed_over),
            ("bob", "inapp", &handed_over),
            ("bob", "push", &handed_over)
        ]
    );
}

#[test]
fn what_has_not_gone_out_can_be_cancelled() {
    let node = Node::start();
    let body = json!({"to": {"user": "ada"}, "title": "t", "ack_within_s": 3600, "fallback": ["push"]});
    let id = node.send(&body).id();
    let path = format!("/v1/notifications/{id}");
    node.eventually(&path, |story| story["state"] == "open");
    let answer = node.request("DELETE", &path, &[("authorization", "Bearer dev")], b"");
    assert_eq!(answer.status, 200, "{}", answer.text);
    let answer = answer.json();
    assert_eq!(answer["cancelled"].as_u64().unwrap() + answer["too_late"].as_u64().unwrap(), 1, "{answer}");
    let gone = "/v1/notifications/00000000-0000-0000-0000-000000000001";
    node.request("DELETE", gone, &[("authorization", "Bearer dev")], b"").is_problem(404, "not_found");
    node.request("DELETE", &path, &[], b"").is_problem(401, "unauthenticated");
    assert_eq!(node.get("/v1/reconcile").json()["balanced"], true);
}

#[test]
fn lists_of_a_thousand_users_are_taken_a_turn_at_a_time() {
    let node = Node::start();
    let users: Vec<String> = (0..1_000).map(|i| format!("u{i}")).collect();
    for _ in 0..6 {
        let body = json!({"to": {"users": users}, "title": "t", "channels": ["inapp", "email"]});
        assert_eq!(node.send(&body).status, 202);
    }
    let reconciled = node.eventually("/v1/reconcile", |answer| {
        answer["deliveries"]["accepted"] == 12_000 && answer["deliveries"]["open"] == 0
    });
    assert_eq!(
        (&reconciled["balanced"], &reconciled["deliveries"]["handed_over"]),
        (&json!(true), &json!(12_000))
    );
}

#[test]
fn an_inbox_is_paged_counted_and_read() {
    let node = Node::start();
    let ids: Vec<String> = (0..7).map(|i| node.accepted("ada", &i.to_string())).collect();
    node.accepted("bob", "not ada's");
    node.eventually("/v1/reconcile", |answer| answer["deliveries"]["accepted"] == 8);
    let mut seen: Vec<Value> = Vec::new();
    let mut path = "/v1/users/ada/inbox?limit=3".to_owned();
    loop {
        let page = node.get(&path).json();
        assert_eq!(page["unread"], 7);
        seen.extend(page["notifications"].as_array().unwrap().iter().cloned());
        if page["has_more"] == false {
            break;
        }
        path = format!("/v1/users/ada/inbox?limit=3&cursor={}", page["cursor"].as_str().unwrap());
    }
    let shown: Vec<_> = seen.iter().map(|one| one["id"].as_str().unwrap()).collect();
    assert_eq!(shown, ids);
    let since = seen[4]["created_at"].as_str().unwrap();
    let page = node.get(&format!("/v1/users/ada/inbox?since={since}")).json();
    assert_eq!(page["notifications"].as_array().unwrap().len(), 2, "strictly after");
    assert_eq!(node.post("/v1/users/ada/inbox/read", &json!({"ids": ids[..3]})).status, 204);
    let page = node.get("/v1/users/ada/inbox").json();
    assert_eq!(page["unread"], 4);
    assert_eq!(
        (&page["notifications"][0]["read"], &page["notifications"][6]["read"]),
        (&json!(true), &json!(false))
    );
    assert_eq!(node.get("/v1/users/bob/inbox").json()["unread"], 1);
    assert_eq!(node.get("/v1/users/nobody/inbox").json()["notifications"], json!([]));
}

#[test]
fn queries_are_checked() {
    let node = Node::start();
    for path in [
        "/v1/users/ada/inbox?limit=0",
        "/v1/users/ada/inbox?limit=51",
        "/v1/users/ada/inbox?limit=x",
        "/v1/users/ada/inbox?since=yesterday",
        "/v1/users/ada/inbox?cursor=nonsense",
        "/v1/users/ada/inbox?colour=red",
        "/v1/users/%FF/inbox",
        "/v1/users/a%00b/inbox",
        "/v1/outbox?channel=pidgeon",
        "/v1/outbox?channel=inapp",
        "/v1/overflow?after=x",
        "/v1/dead-letters?limit=1000",
    ] {
        node.get(path).is_problem(400, "malformed");
    }
    for (path, body) in [
        ("/v1/users/ada/inbox/read", json!({"ids": []})),
        ("/v1/users/ada/inbox/read", json!({"ids": ["x"]})),
        ("/v1/tickets", json!({"user": ""})),
        ("/v1/tickets", json!({"user": "u", "ttl_s": 61})),
        ("/v1/tickets", json!({"user": "u", "role": "admin"})),
        ("/v1/revocations", json!({})),
        ("/v1/revocations", json!({"user": "u", "session": "s"})),
    ] {
        node.post(path, &body).is_problem(400, "malformed");
    }
    node.post("/v1/overflow/7/replay", &json!({})).is_problem(404, "not_found");
    node.post("/v1/dead-letters/7/replay", &json!({})).is_problem(404, "not_found");
}

#[test]
fn status_and_alerts_are_shown() {
    let node = Node::start();
    let status = node.get("/v1/status").json();
    assert_eq!(status["state"], "up");
    let names: Vec<_> =
        status["dependencies"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["journal", "store"]);
    assert!(status["dependencies"][0]["since"].is_string());
    assert_eq!(status["figures"]["links"], 0);
    assert_eq!(node.get("/v1/alerts").json()["items"], json!([]));
}

#[test]
fn what_a_limit_held_back_is_kept_and_can_be_sent_again() {
    let node = Node::start();
    for i in 0..25 {
        let body = json!({"to": {"user": "ada"}, "title": i.to_string(), "channels": ["push"]});
        assert_eq!(node.send(&body).status, 202);
    }
    let reconciled = node.eventually("/v1/reconcile", |answer| {
        answer["deliveries"]["accepted"] == 25 && answer["deliveries"]["open"] == 0
    });
    assert_eq!((&reconciled["balanced"], &reconciled["deliveries"]["dropped"]), (&json!(true), &json!(5)));
    let page = node.get("/v1/overflow").json();
    let items = page["items"].as_array().unwrap();
    assert_eq!(items.len(), 5, "20 pushes an hour to one user, the rest is here");
    let number = items[0]["number"].as_u64().unwrap();
    assert_eq!(node.post(&format!("/v1/overflow/{number}/replay"), &json!({})).status, 202);
    node.eventually("/v1/outbox?channel=push&user=ada", |page| page["items"].as_array().unwrap().len() == 21);
}

#[test]
fn pages_of_allowed_origins_may_call_and_no_others() {
    let node = Node::start_with(|config| config.allowed_origins = vec!["http://127.0.0.1:8080".to_owned()]);
    let preflight = |origin: &str| {
        let headers = [
            ("origin", origin),
            ("access-control-request-method", "POST"),
            ("access-control-request-headers", "authorization,content-type,idempotency-key"),
        ];
        node.request("OPTIONS", "/v1/notifications", &headers, b"")
    };
    let allowed = preflight("http://127.0.0.1:8080");
    assert_eq!(allowed.status, 204);
    assert_eq!(allowed.header("access-control-allow-origin"), Some("http://127.0.0.1:8080"));
    assert!(allowed.header("access-control-allow-headers").unwrap().contains("idempotency-key"));
    for origin in
        ["http://127.0.0.1:8081", "https://127.0.0.1:8080", "http://127.0.0.1:8080.evil.example", "null"]
    {
        assert_eq!(preflight(origin).header("access-control-allow-origin"), None, "{origin}");
    }
    let headers = [("origin", "http://127.0.0.1:8080"), ("authorization", "Bearer dev")];
    let answer = node.request("GET", "/v1/status", &headers, b"");
    assert_eq!(answer.header("access-control-allow-origin"), Some("http://127.0.0.1:8080"));
    let refused = node.request("GET", "/v1/status", &headers[..1], b"");
    refused.is_problem(401, "unauthenticated");
    assert!(refused.header("access-control-allow-origin").is_some(), "a page can read its refusal");
}

#[test]
fn the_document_of_the_api_is_served_to_everybody() {
    let node = Node::start();
    let answer = node.request("GET", "/openapi.json", &[], b"");
    assert_eq!((answer.status, &answer.json()["openapi"]), (200, &json!("3.1.0")));
}
