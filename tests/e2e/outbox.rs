//! In standalone, what goes out by push, e-mail, SMS or voice is there to be looked at.

use serde_json::{Value, json};
use tests::{Equation, Setup, Tocsin, until};

use crate::support::{expect_id, shared};

fn outbox(tocsin: &Tocsin, channel: &str, user: &str) -> Vec<Value> {
    let answer = tocsin.api().get(&format!("/v1/outbox?channel={channel}&user={user}")).expect(200).json();
    let list = answer.as_array().or_else(|| answer["sent"].as_array()).or_else(|| answer["items"].as_array());
    list.unwrap_or_else(|| panic!("a list: {answer}")).clone()
}

#[test]
fn each_channel_shows_what_it_sent() {
    let tocsin = shared();
    let mut client = tocsin.connect("outbox");
    let id = tocsin.api().accepted(&json!({
        "to": { "user": "outbox" }, "title": "Out it goes", "body": "b", "priority": "critical",
        "channels": ["inapp", "push", "email", "sms", "voice"],
    }));
    expect_id(&mut client, &id);
    for channel in ["push", "email", "sms", "voice"] {
        let sent = until(channel, || outbox(tocsin, channel, "outbox").into_iter().next());
        assert_eq!(sent["user"], "outbox", "{sent}");
        assert_eq!(sent["title"], "Out it goes");
        assert!(sent.to_string().contains(&id), "{sent}");
    }
    let story = tocsin.api().get(&format!("/v1/notifications/{id}")).expect(200).json();
    assert_eq!(story["deliveries"].as_array().map(Vec::len), Some(5), "{story}");
}

#[test]
fn only_the_named_channels_are_used() {
    let tocsin = shared();
    tocsin.api().accepted(&json!({ "to": { "user": "outbox-one" }, "title": "x", "channels": ["email"] }));
    until("an e-mail", || outbox(tocsin, "email", "outbox-one").into_iter().next());
    for channel in ["push", "sms", "voice"] {
        assert!(outbox(tocsin, channel, "outbox-one").is_empty(), "{channel}");
    }
}

#[test]
fn a_crash_sends_nothing_twice() {
    let mut tocsin = Setup::standalone().start();
    let notes: Vec<Value> = (0..50)
        .map(|i| json!({ "to": { "user": format!("u{i}") }, "title": "once", "channels": ["sms"] }))
        .collect();
    tocsin.api().accepted_batch(&notes);
    tocsin.crash_and_restart();
    Equation::settled(&tocsin.api());
    for i in 0..50 {
        let user = format!("u{i}");
        let sent = until("an SMS", || Some(outbox(&tocsin, "sms", &user)).filter(|sent| !sent.is_empty()));
        assert_eq!(sent.len(), 1, "{user}: {sent:?}");
    }
}
