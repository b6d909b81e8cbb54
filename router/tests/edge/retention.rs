//! A whole router that keeps things for seconds: what was kept for long enough is gone from its API and its disk.

use std::time::Duration;

use serde_json::json;

use crate::support::Node;

#[test]
fn what_was_kept_for_long_enough_is_404_and_out_of_the_inbox() {
    let node = Node::start_with(|config| {
        config.ledger_kept = Duration::from_secs(1);
        config.inbox_kept = Duration::from_secs(3);
    });
    let id = node.accepted("ada", "short-lived");
    let lived = node.send(&json!({"to": {"user": "ada"}, "title": "lives", "ttl_s": 600}));
    let lives = lived.id();
    node.eventually("/v1/users/ada/inbox", |inbox| inbox["notifications"].as_array().unwrap().len() == 2);
    let path = format!("/v1/notifications/{id}");
    for _ in 0..400 {
        if node.get(&path).status == 404 {
            break;
        }
        std::thread::sleep(Duration::from_millis(25));
    }
    node.get(&path).is_problem(404, "not_found");
    let inbox =
        node.eventually("/v1/users/ada/inbox", |inbox| inbox["notifications"].as_array().unwrap().len() == 1);
    assert_eq!(inbox["notifications"][0]["id"], lives.as_str(), "what has a life of its own stays");
    let status = node.eventually("/v1/status", |status| status["retention"]["removed"]["inbox"] == 1);
    assert!(status["retention"]["oldest_taken_in"].is_string(), "{status}");
    let reconciled = node.get("/v1/reconcile").json();
    assert_eq!((&reconciled["balanced"], &reconciled["deliveries"]["accepted"]), (&json!(true), &json!(2)));
    assert_eq!(reconciled["forgotten"], 1, "{reconciled}");
    let page = crate::support::http(node.router.admin, "GET", "/metrics", &[], b"").text;
    assert!(page.contains("tocsin_router_retention_removed_total{kind=\"inbox\"} 1"), "{page}");
    let node = node.restart();
    node.get(&path).is_problem(404, "not_found");
}
