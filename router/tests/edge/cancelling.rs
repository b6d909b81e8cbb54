//! What was promised and not yet looked at can be taken back, by whoever handed it in, and is then never shown.

use std::sync::Arc;

use async_trait::async_trait;
use router::config::{Config, Secret, Service};
use router::journal::embedded::{EmbeddedJournal, EmbeddedLimits};
use router::journal::storage::memory::MemoryStorage;
use router::journal::{Entry, JournalReader, Position, ReadError};
use router::node::{self, journal::JournalParts};
use serde_json::json;
use tokio::sync::watch;

use crate::support::{Answer, Node, Shard, title};

/// A journal whose reader says nothing until it is let go: the owner is as far behind as a test wants it.
struct Held {
    inner: Box<dyn JournalReader>,
    let_go: watch::Receiver<bool>,
}

#[async_trait]
impl JournalReader for Held {
    async fn read(&mut self, max: usize) -> Result<Vec<Entry>, ReadError> {
        drop(self.let_go.wait_for(|gone| *gone).await);
        self.inner.read(max).await
    }

    fn narrow(&mut self, critical_only: bool) {
        self.inner.narrow(critical_only);
    }

    async fn commit(&mut self, positions: &[Position]) -> Result<(), ReadError> {
        self.inner.commit(positions).await
    }

    async fn dead_letter(&mut self, entry: &Entry) -> Result<(), ReadError> {
        self.inner.dead_letter(entry).await
    }
}

fn held() -> (Node, watch::Sender<bool>) {
    let data = tempfile::tempdir().expect("a folder");
    let config = Config::on_free_ports(data.path());
    let (let_go, held) = watch::channel(false);
    let router = node::start_on(&config, |config, _| {
        let storage = Arc::new(MemoryStorage::new());
        let limits = EmbeddedLimits::default();
        let (journal, inner, _) = EmbeddedJournal::open_on(storage, config.partitions(), limits, 7)?;
        let reader = Held { inner: Box::new(inner), let_go: held };
        Ok(JournalParts::new(Arc::new(journal), Box::new(reader)))
    })
    .expect("it starts");
    (Node { router, data }, let_go)
}

fn cancel(node: &Node, id: &str, key: &str) -> Answer {
    let key = format!("Bearer {key}");
    node.request("DELETE", &format!("/v1/notifications/{id}"), &[("authorization", &key)], b"")
}

#[test]
fn a_promise_is_taken_back_before_the_owner_has_seen_it() {
    let (node, let_go) = held();
    let mut shard = Shard::dial(&node);
    shard.credit(100);
    shard.announce("ada");
    shard.settle("ada");
    let taken_back: Vec<String> = (0..5).map(|i| node.accepted("ada", &format!("never {i}"))).collect();
    for id in &taken_back {
        let answer = cancel(&node, id, "dev");
        assert_eq!(answer.status, 200, "known from the 202 on: {}", answer.text);
        assert_eq!(cancel(&node, id, "dev").status, 200, "twice is once");
    }
    cancel(&node, "00000000-0000-0000-0000-000000000001", "dev").is_problem(404, "not_found");
    node.accepted("ada", "behind them");
    let_go.send(true).expect("it runs");
    assert_eq!(title(&shard.delivered()), "behind them", "nothing that was taken back goes out");
    for id in &taken_back {
        let story = node.get(&format!("/v1/notifications/{id}")).json();
        assert_eq!((&story["state"], &story["deliveries"][0]["state"]), (&json!("final"), &json!("dropped")));
        assert_eq!(story["deliveries"][0]["reason"], "cancelled", "{story}");
    }
    let inbox = node.get("/v1/users/ada/inbox").json();
    assert_eq!(inbox["notifications"].as_array().map(Vec::len), Some(1), "{inbox}");
    let reconciled = node.get("/v1/reconcile").json();
    assert_eq!((&reconciled["balanced"], &reconciled["dropped"]), (&json!(true), &json!(5)), "{reconciled}");
}

#[test]
fn a_service_reads_and_cancels_its_own_and_an_operator_everyone_s() {
    let node = Node::start_with(|config| {
        let service = |name: &str, operator| {
            let secret = Secret::new(&format!("{name}-key"));
            Arc::new(Service { name: name.to_owned(), secret, operator, ..Service::dev() })
        };
        config.services = vec![service("shop", false), service("bank", false), service("desk", true)];
    });
    let ask = |method: &str, path: &str, who: &str, body: &str| {
        node.request(method, path, &[("authorization", &format!("Bearer {who}-key"))], body.as_bytes())
    };
    let body = json!({"to": {"user": "ada"}, "title": "t"}).to_string();
    let id = ask("POST", "/v1/notifications", "shop", &body).id();
    let path = format!("/v1/notifications/{id}");
    // From the 202 on, and once the owner has it.
    ask("GET", &path, "bank", "").is_problem(404, "not_found");
    cancel(&node, &id, "bank-key").is_problem(404, "not_found");
    while ask("GET", &path, "shop", "").json()["state"] != "final" {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    ask("GET", &path, "bank", "").is_problem(404, "not_found");
    cancel(&node, &id, "bank-key").is_problem(404, "not_found");
    assert_eq!(ask("GET", &path, "desk", "").json()["service"], "shop");
    assert_eq!(cancel(&node, &id, "desk-key").json()["cancelled"], 1);
    assert_eq!(ask("GET", &path, "shop", "").json()["deliveries"][0]["reason"], "cancelled");
}
