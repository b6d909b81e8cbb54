//! Operators' pages: health, readiness, and the metrics that the contract names.

use serde_json::json;
use tests::{Setup, Tocsin, until};

use crate::support::{expect_id, shared, to_user};

const GATEWAY: [&str; 9] = [
    "tocsin_gateway_connections",
    "tocsin_gateway_admission_total",
    "tocsin_gateway_handshakes_total",
    "tocsin_gateway_sends_total",
    "tocsin_gateway_send_bytes_total",
    "tocsin_gateway_slow_consumers_total",
    "tocsin_gateway_outbox_bytes",
    "tocsin_gateway_fanout_seconds",
    "tocsin_gateway_admission_total{",
];
const ROUTER: [&str; 8] = [
    "tocsin_router_ingest_total{",
    "tocsin_router_journal_lag",
    "tocsin_router_buffer_depth{store=\"",
    "tocsin_router_delivery_seconds_count{channel=\"",
    "tocsin_router_deliveries_total{",
    "tocsin_router_limited_total",
    "tocsin_router_dropped_total",
    "tocsin_router_ledger_unaccounted",
];

#[test]
fn the_contract_s_metrics_are_there() {
    let tocsin = shared();
    let mut client = tocsin.connect("health");
    let id = tocsin.api().accepted(&json!({ "to": { "user": "health" }, "channels": ["inapp", "push"] }));
    expect_id(&mut client, &id);
    let gateway = tocsin.gateway_admin().get("/metrics").expect(200).text;
    let router = tocsin.router_admin().get("/metrics").expect(200).text;
    let missing: Vec<&&str> = GATEWAY
        .iter()
        .filter(|name| !gateway.contains(**name))
        .chain(ROUTER.iter().filter(|name| !router.contains(**name)))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
    assert!(!router.contains("breaker_state"), "no provider has a breaker yet, so none is said to be closed");
}

#[test]
fn the_time_to_a_delivery_is_measured_on_every_channel() {
    let tocsin = Setup::standalone().start();
    let _here = tocsin.connect("timed");
    let channels = ["inapp", "push", "email", "sms", "voice"];
    tocsin.api().accepted(&json!({ "to": { "user": "timed" }, "channels": channels }));
    for channel in channels {
        let labels = format!("channel=\"{channel}\"");
        let sample = |name: &str| Tocsin::metric(&tocsin.router_admin(), name, &labels);
        until(&format!("one delivery by {channel}"), || {
            (sample("tocsin_router_delivery_seconds_count") >= 1.0).then_some(())
        });
        assert!(sample("tocsin_router_delivery_seconds_sum") > 0.0, "{channel}");
    }
}

#[test]
fn metrics_are_in_prometheus_form() {
    let tocsin = shared();
    for page in [tocsin.gateway_admin().get("/metrics"), tocsin.router_admin().get("/metrics")] {
        let page = page.expect(200);
        assert!(
            page.header("content-type").is_some_and(|kind| kind.starts_with("text/plain")),
            "{:?}",
            page.headers
        );
        for line in page.text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
            assert!(value.parse::<f64>().is_ok(), "{line}");
            assert!(series.starts_with("tocsin_"), "{line}");
        }
    }
}

#[test]
fn health_and_readiness_are_200() {
    let tocsin = shared();
    for admin in [tocsin.gateway_admin(), tocsin.router_admin()] {
        assert_eq!(admin.get("/healthz").status, 200);
        assert_eq!(admin.get("/readyz").status, 200);
    }
    assert_eq!(tocsin.door().get("/healthz").status, 200);
}

#[test]
fn operators_pages_are_not_on_the_clients_port() {
    let tocsin = shared();
    tocsin.api().accepted(&to_user("health-x", "x"));
    for path in ["/metrics", "/drain", "/readyz"] {
        assert_eq!(tocsin.door().get(path).status, 404, "{path}");
    }
    assert_ne!(tocsin.gateway_admin().get("/drain").status, 200, "a GET drains nothing");
}

#[test]
fn the_console_is_served_with_a_strict_policy() {
    let door = shared().door();
    let page = door.get("/").expect(200);
    assert!(page.header("content-type").is_some_and(|kind| kind.starts_with("text/html")));
    let policy = page.header("content-security-policy").expect("a policy").to_owned();
    assert!(!policy.contains("unsafe-inline") && !policy.contains("unsafe-eval"), "{policy}");
    for asset in ["/console.js", "/operations.js", "/console.css"] {
        assert!(!door.get(asset).expect(200).text.is_empty());
    }
    assert_eq!(door.get("/v1/console").expect(200).json()["local_user"], true);
}
