//! Web Push: a browser reads what was written, a subscription that is over is given up, and nobody is lured into our own network.

use std::sync::Arc;
use std::time::Duration;

use router::provider::letter::{Address, Carrier, Class, Letter};
use router::record::Channel;
use serde_json::json;
use tests::Simulators;

use crate::apns::key;
use crate::support::{carriers, letter, refused, send, taken};

fn start(private: bool) -> (Simulators, Arc<dyn Carrier>) {
    let simulators = Simulators::start();
    let file = simulators.file("vapid.pem", &key().0);
    let text = format!(
        "[webpush]\nkey = \"{file}\"\nsubject = \"mailto:ops@shop.example\"\nprivate_endpoints = {private}\n"
    );
    let webpush = carriers(&text).webpush.expect("Web Push");
    (simulators, webpush)
}

fn push(simulators: &Simulators) -> Letter {
    to(simulators, &simulators.of("webpush", "endpoint"))
}

fn to(simulators: &Simulators, endpoint: &str) -> Letter {
    let of = |key: &str| simulators.of("webpush", key);
    let to = Address::WebPush { endpoint: endpoint.to_owned(), p256dh: of("p256dh"), auth: of("auth") };
    letter(Channel::Push, to)
}

#[test]
fn a_browser_reads_what_was_written_and_the_push_service_does_not() {
    let (simulators, webpush) = start(true);
    let mut push = push(&simulators);
    push.ttl = Some(Duration::from_secs(300));
    push.data = serde_json::value::RawValue::from_string("{\"a\":1}".to_owned()).ok();
    for _ in 0..2 {
        assert!(taken(send(&*webpush, &push)).is_some());
    }
    let received = simulators.received("webpush");
    let content = &received[0]["content"];
    let id = push.delivery.id.to_string();
    let shown = json!({ "id": id, "title": "Disk almost full", "body": "db-3 has 4 % left", "category": "disk", "data": { "a": 1 } });
    assert_eq!(content["shown"], shown);
    assert_eq!(content["headers"]["ttl"], "300");
    assert_eq!(
        (&content["headers"]["urgency"], &content["claims"]["sub"]),
        (&json!("high"), &json!("mailto:ops@shop.example"))
    );
    let topic = |at: usize| received[at]["content"]["headers"]["topic"].clone();
    assert!(topic(0) == topic(1) && !topic(0).to_string().contains(&id), "one topic, that tells nothing");
}

#[test]
fn the_longest_push_is_as_long_as_is_allowed() {
    let (simulators, webpush) = start(true);
    let mut long = push(&simulators);
    long.body = Some("\u{1F514}\"".repeat(4_000));
    taken(send(&*webpush, &long));
    let content = simulators.received("webpush")[0]["content"].clone();
    let bytes = content["bytes"].as_u64().expect("a size");
    assert!((4_080..=4_096).contains(&bytes), "{bytes}");
    assert!(content["shown"]["body"].as_str().expect("a body").ends_with('…'));
}

#[test]
fn each_status_is_whose_fault_it_is() {
    let (simulators, webpush) = start(true);
    // Until it has taken something, it may be anybody's: no fault of Web Push's.
    simulators.faults(&json!({ "webpush": { "do": { "error": "503" } } }));
    refused(send(&*webpush, &push(&simulators)), Class::Quota, "HTTP 503");
    simulators.faults(&json!({}));
    taken(send(&*webpush, &push(&simulators)));
    for (status, class) in [
        ("404", Class::Gone),
        ("410", Class::Gone),
        ("413", Class::Content),
        ("400", Class::Content),
        ("401", Class::Recipient),
        ("403", Class::Recipient),
        ("429", Class::Quota),
        ("500", Class::Fault),
        ("503", Class::Fault),
    ] {
        simulators.faults(&json!({ "webpush": { "do": { "error": status } } }));
        refused(send(&*webpush, &push(&simulators)), class, &format!("HTTP {status}"));
    }
    simulators.faults(&json!({ "webpush": { "do": { "throttle": { "retry_after": "9" } } } }));
    let refusal = refused(send(&*webpush, &push(&simulators)), Class::Quota, "HTTP 429");
    assert_eq!(refusal.retry_after, Some(Duration::from_secs(9)));
    simulators.faults(&json!({ "webpush": { "do": "reset" } }));
    refused(send(&*webpush, &push(&simulators)), Class::Fault, "no answer");
}

#[test]
fn nobody_is_lured_into_our_own_network() {
    let (simulators, webpush) = start(false);
    let port = simulators.of("webpush", "url");
    let port = port.rsplit(':').next().expect("a port").to_owned();
    for host in
        ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "2130706433", "0x7f.1", "169.254.169.254"]
    {
        let endpoint = format!("https://{host}:{port}/push/browser-1");
        refused(send(&*webpush, &to(&simulators, &endpoint)), Class::Gone, "endpoint");
    }
    for endpoint in
        ["http://push.example/x", "https://u:p@push.example/x", "file:///etc/passwd", "gopher://x", "", "x"]
    {
        refused(send(&*webpush, &to(&simulators, endpoint)), Class::Gone, "endpoint");
    }
    // A name is looked up first, and what it is looked up as is refused.
    let endpoint = format!("https://localhost:{port}/push/browser-1");
    refused(send(&*webpush, &to(&simulators, &endpoint)), Class::Recipient, "endpoint");
    assert!(simulators.received("webpush").is_empty());
}

#[test]
fn a_redirect_into_our_own_network_is_not_followed() {
    let (simulators, webpush) = start(true);
    simulators.faults(&json!({ "webpush": { "do": "redirect" } }));
    refused(send(&*webpush, &push(&simulators)), Class::Auth, "HTTP 307");
    assert_eq!(simulators.received("webpush").len(), 1);
}

#[test]
fn keys_that_are_none_are_given_up() {
    let (simulators, webpush) = start(true);
    for (p256dh, auth) in [("", ""), ("AAAA", "AAAA"), ("not base64", "BTBZMqHH6r4Tts7J_aSIgg")] {
        let endpoint = simulators.of("webpush", "endpoint");
        let to = Address::WebPush { endpoint, p256dh: p256dh.to_owned(), auth: auth.to_owned() };
        refused(send(&*webpush, &letter(Channel::Push, to)), Class::Gone, "keys");
    }
}
