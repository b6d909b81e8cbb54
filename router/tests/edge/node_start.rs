//! What keeps a router from starting is one clear line, and a start that fails leaves nothing behind.

use std::net::TcpListener;

use router::config::Config;
use router::node;
use router::node::StartError;

use wire::link::DeliveryResult;

use crate::support::{Node, Shard, http};

fn refused(config: &Config) -> StartError {
    match node::start(config) {
        Ok(_) => panic!("it started"),
        Err(error) => {
            assert!(!error.to_string().contains('\n'), "one line: {error}");
            error
        }
    }
}

#[test]
fn a_port_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = taken.local_addr().unwrap();
    let data = tempfile::tempdir().unwrap();
    for change in [
        |config: &mut Config, at| config.api = at,
        |config: &mut Config, at| config.admin = at,
        |config: &mut Config, at| config.links = at,
    ] {
        let mut config = Config::on_free_ports(data.path());
        change(&mut config, at);
        let error = refused(&config).to_string();
        assert!(error.contains(&at.to_string()) && error.contains("in use"), "{error}");
    }
    assert!(!data.path().join("journal").exists(), "nothing was made");
}

#[test]
fn a_folder_that_cannot_be_used_is_named() {
    let data = tempfile::tempdir().unwrap();
    let file = data.path().join("a-file");
    std::fs::write(&file, "x").unwrap();
    let error = refused(&Config::on_free_ports(&file)).to_string();
    assert!(error.contains("a-file"), "{error}");
}

#[test]
fn two_routers_never_share_a_folder() {
    let node = Node::start();
    let error = refused(&Config::on_free_ports(node.data.path())).to_string();
    assert!(error.contains("in use by another process"), "{error}");
}

#[test]
fn a_ready_router_says_so_and_shows_its_metrics() {
    let node = Node::start();
    assert_eq!(http(node.router.admin, "GET", "/healthz", &[], b"").text, "ok\n");
    let ready = http(node.router.admin, "GET", "/readyz", &[], b"");
    assert_eq!((ready.status, ready.text.as_str()), (200, "ready\n"));
    node.accepted("ada", "counted");
    let mut shard = Shard::dial(&node);
    shard.credit(10);
    shard.announce("eve");
    shard.settle("eve");
    node.accepted("eve", "shown");
    let shown = shard.delivered();
    shard.result(&shown, DeliveryResult::Sent { sockets: 2 });
    shard.settle("eve");
    node.eventually("/v1/reconcile", |answer| answer["deliveries"]["accepted"] == 2);
    let page = http(node.router.admin, "GET", "/metrics", &[], b"").text;
    for sample in [
        "tocsin_router_ingest_total{service=\"dev\",outcome=\"accepted\"} 2",
        "tocsin_router_journal_lag",
        "tocsin_router_buffer_depth{store=\"journal\"}",
        "tocsin_router_delivery_seconds_count{channel=\"push\"} 0",
        "tocsin_router_delivery_seconds_count{channel=\"inapp\"} 1",
        "tocsin_router_deliveries_total{channel=\"inapp\",outcome=\"handed_over\"}",
        "tocsin_router_dropped_total{reason=",
        "tocsin_router_limited_total{layer=\"service_quota\"} 0",
        "tocsin_router_limited_total{layer=\"user_push\"} 0",
        "tocsin_router_limited_total{layer=\"global_shed\"} 0",
        "tocsin_router_ledger_unaccounted 0",
    ] {
        assert!(page.contains(sample), "{sample} is not in\n{page}");
    }
    assert!(!page.contains("breaker_state"), "no provider of this build has a breaker, so none is shown");
    assert!(!page.contains("ada"), "no user ever shows in a metric");
}
