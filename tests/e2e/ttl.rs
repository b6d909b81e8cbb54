//! What is out of date is not shown, and the ledger says that it expired.

use std::time::Duration;

use serde_json::json;
use tests::{Equation, Setup, until};

use crate::support::{expect_id, to_user};

#[test]
fn an_expired_notification_is_not_synced_and_is_accounted_for() {
    let tocsin = Setup::standalone().start();
    let brief = tocsin.api().accepted(&json!({ "to": { "user": "ada" }, "title": "brief", "ttl_s": 1 }));
    let lasting = tocsin.api().accepted(&to_user("ada", "lasting"));
    std::thread::sleep(Duration::from_millis(1_500));
    let mut client = tocsin.connect("ada");
    let (missed, _) = client.sync_all(&json!({}));
    assert_eq!(missed.len(), 1, "{missed:?}");
    assert_eq!(missed[0]["id"], lasting.as_str());
    until("its story says expired", || {
        let story = tocsin.api().get(&format!("/v1/notifications/{brief}")).expect(200).json();
        let state = story["deliveries"][0]["state"].clone();
        // Handed to the inbox in time is an outcome too, but then nobody saw it: that is expiry.
        (state == "expired").then_some(())
    });
    assert_eq!(Equation::settled(&tocsin.api()).number("expired"), 1);
}

#[test]
fn one_that_is_delivered_in_time_is_delivered() {
    let tocsin = Setup::standalone().start();
    let mut client = tocsin.connect("ada");
    let id = tocsin.api().accepted(&json!({ "to": { "user": "ada" }, "title": "quick", "ttl_s": 60 }));
    expect_id(&mut client, &id);
    client.ack(&[&id]);
    until("delivered", || (Equation::read(&tocsin.api()).number("delivered") == 1).then_some(()));
}
