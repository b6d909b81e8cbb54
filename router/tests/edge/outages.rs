//! A journal that takes nothing is said to be down wherever an operator looks, and up again by itself.

use std::fs;
use std::sync::Arc;

use router::config::Config;
use router::journal::embedded::{EmbeddedJournal, EmbeddedLimits};
use router::journal::storage::memory::MemoryStorage;
use router::node::{self, journal::JournalParts};
use serde_json::{Value, json};

use crate::support::{Node, http};

fn on_disk(limits: EmbeddedLimits) -> (Node, MemoryStorage) {
    let storage = MemoryStorage::new();
    let data = tempfile::tempdir().expect("a folder");
    let config = Config::on_free_ports(data.path());
    let disk: Arc<MemoryStorage> = Arc::new(storage.clone());
    let router = node::start_on(&config, |config, _| {
        let (journal, reader, _) = EmbeddedJournal::open_on(disk, config.partitions(), limits, 7)?;
        Ok(JournalParts::new(Arc::new(journal), Box::new(reader)))
    })
    .expect("it starts");
    (Node { router, data }, storage)
}

fn journal(status: &Value) -> Value {
    let all = status["dependencies"].as_array().expect("a list");
    all.iter().find(|one| one["name"] == "journal").expect("it is watched").clone()
}

fn standing(alerts: &Value) -> Vec<&str> {
    let all = alerts["items"].as_array().expect("a list").iter();
    all.filter(|alert| alert["until"].is_null())
        .map(|alert| alert["name"].as_str().expect("a name"))
        .collect()
}

fn ready(node: &Node) -> u16 {
    http(node.router.admin, "GET", "/readyz", &[], b"").status
}

#[test]
fn a_full_disk_shows_in_status_alerts_and_readiness_until_there_is_room() {
    let (node, storage) = on_disk(EmbeddedLimits::default());
    let healthy = journal(&node.get("/v1/status").json());
    assert_eq!((&healthy["state"], &healthy["degraded"]), (&json!("up"), &json!("")), "{healthy}");
    storage.set_capacity(Some(0));
    node.send(&json!({"to": {"user": "ada"}})).is_problem(503, "unavailable");
    let status = node.eventually("/v1/status", |status| journal(status)["state"] == "down");
    assert!(journal(&status)["detail"].as_str().is_some_and(|why| !why.is_empty()), "{status}");
    assert_ne!(journal(&status)["degraded"], "", "{status}");
    assert_eq!(standing(&node.get("/v1/alerts").json()), ["journal_unwritable"]);
    assert_eq!(ready(&node), 503);
    storage.set_capacity(None);
    // Nobody hands anything in meanwhile: a router that is not ready is not asked.
    node.eventually("/v1/status", |status| journal(status)["state"] == "up");
    assert_eq!(standing(&node.get("/v1/alerts").json()), [""; 0]);
    assert_eq!(ready(&node), 200);
    assert_eq!(node.send(&json!({"to": {"user": "ada"}})).status, 202);
}

#[test]
fn a_journal_at_its_limit_is_degraded_and_takes_what_is_critical() {
    let limits = EmbeddedLimits {
        bytes_max: 64 * 1024,
        critical_reserve_bytes: 62 * 1024,
        segment_bytes: 1024 * 1024,
    };
    let (node, _) = on_disk(limits);
    let body = json!({"to": {"user": "ada"}, "body": "x".repeat(6 * 1024)});
    node.send(&body).is_problem(503, "unavailable");
    node.eventually("/v1/status", |status| journal(status)["state"] == "degraded");
    assert_eq!(standing(&node.get("/v1/alerts").json()), ["journal_full"]);
    assert_eq!(ready(&node), 200, "what is critical is still taken");
    let critical = json!({"to": {"user": "ada"}, "priority": "critical"});
    assert_eq!(node.send(&critical).status, 202);
}

#[test]
fn a_damaged_journal_raises_an_alert() {
    let node = Node::start();
    node.accepted("ada", "hit by a bad sector");
    node.accepted("ada", "behind it");
    let Node { router, data } = node;
    router.shutdown();
    // As if nothing had been taken over yet: everything is read again, and one record of it is damaged.
    fs::remove_file(data.path().join("journal/commit")).expect("it was written");
    let lane = fs::read_dir(data.path().join("journal/normal")).expect("a lane");
    let segment = lane.map(|file| file.expect("a file").path()).next().expect("a segment");
    let mut bytes = fs::read(&segment).expect("readable");
    let at = bytes.windows(3).position(|window| window == b"bad").expect("the record");
    bytes[at] ^= 1;
    fs::write(&segment, bytes).expect("writable");
    let config = Config::on_free_ports(data.path());
    let node = Node { router: node::start(&config).expect("it starts"), data };
    let alerts = node.eventually("/v1/alerts", |alerts| standing(alerts).contains(&"journal_damaged"));
    let alert =
        alerts["items"].as_array().expect("a list").iter().find(|one| one["name"] == "journal_damaged");
    assert!(alert.is_some_and(|alert| alert["severity"] == "critical"), "{alerts}");
    assert_eq!(ready(&node), 200, "the rest goes on");
}
