//! What nobody acknowledged in time goes on by the next channel, and the ledger tells both stories.

use serde_json::json;
use tests::{Equation, Setup, until, until_within};

use crate::support::expect_id;

#[test]
fn an_unacknowledged_one_falls_back() {
    let tocsin = Setup::standalone().start();
    let id = tocsin.api().accepted(&json!({
        "to": { "user": "ada" }, "title": "answer me", "ack_within_s": 1, "fallback": ["sms", "email"],
    }));
    until_within(tests::deadline::PATIENCE, "an SMS went out", || {
        let sent = tocsin.api().get("/v1/outbox?channel=sms&user=ada").expect(200).text;
        sent.contains(&id).then_some(())
    });
    let equation = Equation::settled(&tocsin.api());
    assert_eq!(equation.of("inapp", "fell_back"), 1, "{:#}", equation.answer);
}

#[test]
fn an_acknowledged_one_does_not() {
    let tocsin = Setup::standalone().start();
    let mut client = tocsin.connect("ada");
    let id = tocsin.api().accepted(&json!({
        "to": { "user": "ada" }, "title": "answered", "ack_within_s": 1, "fallback": ["sms"],
    }));
    expect_id(&mut client, &id);
    client.ack(&[&id]);
    until("delivered", || (Equation::read(&tocsin.api()).of("inapp", "delivered") == 1).then_some(()));
    std::thread::sleep(std::time::Duration::from_millis(1_500));
    assert!(!tocsin.api().get("/v1/outbox?channel=sms&user=ada").expect(200).text.contains(&id));
    assert_eq!(Equation::settled(&tocsin.api()).of("sms", "accepted"), 0);
}

#[test]
fn a_deadline_that_passed_while_it_was_down_is_kept() {
    let mut tocsin = Setup::standalone().start();
    let id = tocsin.api().accepted(&json!({
        "to": { "user": "ada" }, "title": "late", "ack_within_s": 1, "fallback": ["push"],
    }));
    tocsin.crash_and_restart();
    until("a push went out", || {
        tocsin.api().get("/v1/outbox?channel=push&user=ada").expect(200).text.contains(&id).then_some(())
    });
}
