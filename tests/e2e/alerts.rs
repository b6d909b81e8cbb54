//! Alerts reach somebody outside: the webhook's messages, in Alertmanager's format, and Prometheus's rules.

use std::collections::BTreeSet;

use serde_json::Value;
use tests::{Setup, Tocsin, until};

use crate::receiver::{KEY, Message, is_signed, next, receiver};
use crate::support::shared;

/// Status of the alert, if the message is about it.
fn status_of(message: &Message, name: &str) -> Option<Value> {
    let shown: Value = serde_json::from_str(&message.body).expect("JSON");
    assert_eq!(shown["version"], "4", "{shown}");
    let alerts = shown["alerts"].as_array().expect("a list");
    alerts.iter().find(|one| one["labels"]["alertname"] == name).map(|one| one["status"].clone())
}

fn standing(tocsin: &Tocsin, name: &str) -> bool {
    let alerts = tocsin.api().get("/v1/alerts").expect(200).json();
    let items = alerts["items"].as_array().expect("a list");
    items.iter().any(|alert| alert["name"] == name && alert["until"].is_null())
}

#[test]
fn an_alert_is_told_when_it_begins_and_when_it_is_over_though_the_receiver_fails_at_first() {
    let (address, messages) = receiver(&[500, 302]);
    let key = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(key.path(), KEY).expect("the key");
    let setup = Setup::split()
        .set("alerts.webhook", format!("http://{address}/hooks/s3cret"))
        .set("alerts.key_file", key.path().display().to_string());
    let mut tocsin = setup.start();
    tocsin.gateway().kill_9();
    let shown = until("the failing receiver is an alert, too", || {
        let status = tocsin.api().get("/v1/status").expect(200).text;
        let alerts = tocsin.api().get("/v1/alerts").expect(200).text;
        standing(&tocsin, "webhook_fails").then_some(status + &alerts)
    });
    assert!(shown.contains("it answers") && !shown.contains("s3cret"), "{shown}");
    let begins = next(&messages);
    assert!(is_signed(&begins), "{}", begins.signature);
    assert_eq!(status_of(&begins, "no_gateway"), Some("firing".into()), "{}", begins.body);
    until("it is no alert any more", || (!standing(&tocsin, "webhook_fails")).then_some(()));
    tocsin.start_gateway();
    let ends = std::iter::repeat_with(|| next(&messages)).find_map(|one| status_of(&one, "no_gateway"));
    assert_eq!(ends, Some("resolved".into()));
}

#[test]
fn prometheus_s_rules_name_metrics_that_there_are() {
    let tocsin = shared();
    let pages = tocsin.gateway_admin().get("/metrics").expect(200).text
        + &tocsin.router_admin().get("/metrics").expect(200).text;
    let rules = include_str!("../../tuning/prometheus/tocsin.rules.yml");
    let expressions = rules.lines().filter_map(|line| line.trim_start().strip_prefix("expr: "));
    let names: BTreeSet<&str> = expressions
        .flat_map(|line| line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_'))
        .filter(|word| word.starts_with("tocsin_"))
        .collect();
    // There is a row of it for each alert that stands, and none in calm; those of providers' accounts: `tests/providers`.
    let is_elsewhere = |name: &str| {
        name == "tocsin_router_alert_standing"
            || name == "tocsin_router_breaker_state"
            || name.starts_with("tocsin_router_provider_")
    };
    let missing: Vec<_> = names
        .iter()
        .filter(|name| {
            !is_elsewhere(name) && !["{", " "].iter().any(|end| pages.contains(&format!("\n{name}{end}")))
        })
        .collect();
    assert!(names.len() > 4 && missing.is_empty(), "{missing:?} of {names:?}");
}
