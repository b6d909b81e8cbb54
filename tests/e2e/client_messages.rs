//! What a client says wrongly is answered with an error that has a stable code; the connection lives.

use serde_json::{Value, json};
use tungstenite::Message;

use crate::support::shared;

#[test]
fn each_fault_has_its_code() {
    let tocsin = shared();
    let mut client = tocsin.connect("messages");
    let many: Vec<String> = (0..257).map(|i| format!("00000000-0000-4000-8000-{i:012}")).collect();
    let cases: [(String, &str); 8] = [
        ("hello".into(), "bad_json"),
        ("[]".into(), "bad_json"),
        ("{}".into(), "bad_json"),
        (r#"{"type":"dance"}"#.into(), "unknown_type"),
        (r#"{"type":"ack","ids":["x"]}"#.into(), "bad_field"),
        (r#"{"type":"ack"}"#.into(), "bad_field"),
        (json!({ "type": "ack", "ids": many }).to_string(), "too_many"),
        (json!({ "type": "subscribe", "topics": ["x".repeat(300)] }).to_string(), "too_many"),
    ];
    for (text, code) in cases {
        client.say_raw(Message::text(text.clone()));
        let error = client.recv("error");
        assert_eq!(error["code"], code, "{text}: {error}");
        assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()), "{error}");
    }
    client.say(&json!({ "type": "ping", "t": 42 }));
    assert_eq!(client.recv("pong")["t"], 42);
}

#[test]
fn unknown_fields_are_ignored() {
    let mut client = shared().connect("messages-new");
    client.say(&json!({ "type": "ping", "t": 1, "colour": "red" }));
    assert_eq!(client.recv("pong")["t"], 1);
    client.say(&json!({ "type": "hello", "device": "d", "app": "ios/9", "model": { "x": [] } }));
    client.say(&json!({ "type": "ping", "t": 2 }));
    assert_eq!(client.recv("pong")["t"], 2);
}

#[test]
fn the_welcome_says_what_a_client_needs() {
    let client = shared().connect("messages-welcome");
    let welcome: &Value = &client.welcome;
    assert!(welcome["session"].as_str().is_some_and(|session| session.len() >= 8), "{welcome}");
    assert_eq!(welcome["node"], "n1");
    assert_eq!(welcome["ping_interval_ms"], 25_000);
    assert_eq!(welcome["reconnect"]["spread_ms"], 1_000);
    assert!(welcome["reconnect"]["max_ms"].is_u64() && welcome["server_time"].is_string(), "{welcome}");
    let other = shared().connect("messages-welcome");
    assert_ne!(other.welcome["session"], welcome["session"]);
}
