//! What was promised is there after a restart; what cannot be promised is not.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use router::config::Config;
use router::journal::embedded::{EmbeddedJournal, EmbeddedLimits};
use router::journal::storage::memory::{Failure, MemoryStorage, Operation};
use router::node::{self, journal::JournalParts};
use serde_json::json;

use crate::support::{Node, Shard};

#[test]
fn everything_promised_is_there_after_a_restart() {
    let mut node = Node::start();
    let mut ids = BTreeSet::new();
    for round in 0..4 {
        for i in 0..25 {
            ids.insert(node.accepted("ada", &format!("{round}/{i}")));
        }
        node = node.restart();
    }
    let reconciled =
        node.eventually("/v1/reconcile", |answer| answer["deliveries"]["accepted"] == ids.len() as u64);
    assert_eq!(reconciled["balanced"], true, "{reconciled}");
    assert_eq!(reconciled["missing"], 0);
    let mut shard = Shard::dial(&node);
    shard.announce("ada");
    let mut synced = Vec::new();
    let mut cursor = serde_json::Value::Null;
    loop {
        let page = shard.ask("ada", &json!({"type": "sync", "cursor": cursor, "limit": 50}));
        for one in page["notifications"].as_array().unwrap() {
            synced.push(one["id"].as_str().unwrap().to_owned());
        }
        cursor = page["cursor"].clone();
        if page["has_more"] == false {
            break;
        }
    }
    assert_eq!(synced.len(), ids.len(), "none twice");
    assert_eq!(synced.into_iter().collect::<BTreeSet<_>>(), ids, "none lost");
}

#[test]
fn an_orderly_end_leaves_nothing_to_read_again() {
    let node = Node::start();
    for i in 0..20 {
        node.accepted("ada", &i.to_string());
    }
    let node = node.restart();
    node.eventually("/v1/status", |status| status["figures"]["journal_waiting"] == 0);
    let repeated: u64 = node.get("/v1/reconcile").json()["lanes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|lane| lane["repeated"].as_u64().unwrap())
        .sum();
    assert_eq!(repeated, 0);
}

/// A router whose journal's disk can be broken.
fn breakable() -> (Node, MemoryStorage) {
    let storage = MemoryStorage::new();
    let data = tempfile::tempdir().expect("a folder");
    let config = Config::on_free_ports(data.path());
    let disk: Arc<MemoryStorage> = Arc::new(storage.clone());
    let router = node::start_on(&config, |config, _| {
        let limits = EmbeddedLimits::default();
        let (journal, reader, _) = EmbeddedJournal::open_on(disk, config.partitions(), limits, 7)?;
        Ok(JournalParts::new(Arc::new(journal), Box::new(reader)))
    })
    .expect("it starts");
    (Node { router, data }, storage)
}

#[test]
fn a_journal_that_cannot_sync_is_503_and_never_a_promise() {
    let (node, storage) = breakable();
    let kept = node.accepted("ada", "kept");
    storage.fail(Failure::once(Operation::Sync, io::ErrorKind::Other));
    let body = json!({"to": {"user": "ada"}, "title": "not kept"});
    let refused = node.send_with_key("k", &body);
    refused.is_problem(503, "unavailable");
    assert_eq!(refused.header("retry-after"), Some("1"));
    let inbox = node
        .eventually("/v1/users/ada/inbox", |inbox| !inbox["notifications"].as_array().unwrap().is_empty());
    assert_eq!(inbox["notifications"][0]["id"], kept.as_str());
}

#[test]
fn a_full_disk_is_503_and_room_makes_it_202_again() {
    let (node, storage) = breakable();
    storage.set_capacity(Some(0));
    let body = json!({"to": {"user": "ada"}, "title": "later"});
    node.send_with_key("k", &body).is_problem(503, "unavailable");
    node.send_with_key("k", &json!({"to": {"user": "eve"}})).is_problem(422, "key_reused");
    storage.set_capacity(None);
    let mut answer = node.send_with_key("k", &body);
    for _ in 0..100 {
        if answer.status == 202 {
            break;
        }
        answer.is_problem(503, "unavailable");
        std::thread::sleep(std::time::Duration::from_millis(50));
        answer = node.send_with_key("k", &body);
    }
    assert_eq!(answer.status, 202, "{}", answer.text);
}
