//! Where people are reached is put and read by the API, outlives a restart, and goes with the person.

use serde_json::json;

use crate::support::Node;

const ANN: &str = "/v1/users/ann/contacts";

#[test]
fn contacts_are_read_as_they_were_put_also_after_a_restart() {
    let node = Node::start();
    assert_eq!(node.get(ANN).json(), json!({"push": []}));
    let put = node.put(ANN, &json!({"email": "ann@example.org", "push": [{"kind": "fcm", "token": "abc"}]}));
    assert_eq!(put.status, 200, "{}", put.text);
    assert!(put.json()["push"][0]["registered_at"].is_string(), "{}", put.text);
    assert_eq!(node.get(ANN).json(), put.json());
    let again = node.put(ANN, &put.json());
    assert_eq!(again.json(), put.json(), "what GET gives can be put");
    let node = node.restart();
    assert_eq!(node.get(ANN).json(), put.json());
    let erased = node.request("DELETE", "/v1/users/ann", &[("authorization", "Bearer dev")], b"");
    assert_eq!(erased.json()["erased"]["people"], 1, "{}", erased.text);
    assert_eq!(node.get(ANN).json(), json!({"push": []}));
}

#[test]
fn what_cannot_be_an_address_is_refused_and_changes_nothing() {
    let node = Node::start();
    node.put(ANN, &json!({"phone": "+4930123456"}));
    let problem = node.put(ANN, &json!({"phone": "030 123456"})).is_problem(400, "malformed");
    assert_eq!(problem["pointer"], "/phone");
    assert_eq!(node.get(ANN).json()["phone"], "+4930123456");
    node.request("PUT", ANN, &[], b"{}").is_problem(401, "unauthenticated");
}
