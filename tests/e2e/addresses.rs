//! One user and one address have only so many connections on a node, and a proxy's word about addresses counts only if
//! the operator trusts the proxy.

use std::net::SocketAddr;

use serde_json::Value;
use tests::client::Connect;
use tests::deadline::PATIENCE;
use tests::{Client, Refused, Setup, Tocsin, until};
use wire::proxy;

/// The test's own connections come from here, as a proxy's would.
const PEER: &str = "127.0.0.1";

fn proxied(tocsin: &Tocsin, user: &str, client: &str) -> Result<Client, Refused> {
    let client: SocketAddr = client.parse().expect("an address");
    tocsin.as_user(user).prelude(&proxy::header(Some(client), tocsin.clients())).to(tocsin.clients())
}

#[track_caller]
fn too_many(refused: &Refused) {
    assert_eq!(refused.status(), 429, "{refused:?}");
    let wait: u64 = refused.header("retry-after").and_then(|wait| wait.parse().ok()).expect("whole seconds");
    assert!((5..=30).contains(&wait), "{wait}");
    let Refused::Http { body, .. } = refused else { panic!("{refused:?}") };
    let body: Value = serde_json::from_str(body).expect("a JSON body");
    assert_eq!((&body["error"], &body["retry_after_ms"]), (&"too_many".into(), &(wait * 1_000).into()));
}

#[test]
fn a_user_has_so_many_connections_on_the_whole_node() {
    let mut tocsin =
        Setup::standalone().set("gateway.shards", 4).set("gateway.limits.connections_per_user", 3).start();
    let mut held: Vec<_> = (0..3).map(|_| tocsin.connect("ada")).collect();
    for _ in 0..12 {
        too_many(&tocsin.try_connect("ada").expect_err("three are there, on whichever shard"));
    }
    let page = Connect::default().query("user", "ada").protocol("tocsin.v1.browser");
    let (code, reason) = page.upgrade(tocsin.clients()).expect("an upgrade, to be told").closed(PATIENCE);
    assert_eq!(code, 1008);
    assert!(reason.starts_with("{\"retry_after_ms\":"), "{reason}");
    tocsin.connect("bob");
    held.pop();
    held.push(until("there is room again", || tocsin.try_connect("ada").ok()));
    tocsin.reload(|setup| setup.set("gateway.limits.connections_per_user", 5));
    until("a reload raises the cap", || tocsin.try_connect("ada").ok());
}

#[test]
fn an_address_has_so_many_connections_whoever_they_are_for() {
    let tocsin = Setup::standalone().set("gateway.limits.connections_per_ip", 3).start();
    let _held: Vec<_> = (0..3).map(|i| tocsin.connect(&format!("u{i}"))).collect();
    too_many(&tocsin.try_connect("late").expect_err("one too many"));
    let counted = Tocsin::metric(&tocsin.gateway_admin(), "tocsin_gateway_admission_total", "address");
    assert!(counted >= 1.0, "{counted}");
}

#[test]
fn behind_a_trusted_proxy_it_is_the_client_that_is_counted() {
    let trusting = Setup::standalone()
        .set("gateway.limits.connections_per_ip", 2)
        .set("gateway.trusted_proxies", vec!["10.0.0.0/8", PEER]);
    let tocsin = trusting.start();
    let _one = proxied(&tocsin, "a", "203.0.113.7:1").expect("the first");
    let forwarded = |list: &str| tocsin.as_user("b").header("x-forwarded-for", list).to(tocsin.clients());
    let _two = forwarded("1.1.1.1, 203.0.113.7").expect("the second");
    too_many(&proxied(&tocsin, "c", "203.0.113.7:2").expect_err("the third of one address"));
    too_many(&forwarded("203.0.113.7:80, 10.9.9.9").expect_err("the fourth"));
    let _other = proxied(&tocsin, "d", "[2001:db8::1]:1").expect("another address");
    let _health: Vec<_> = (0..4).map(|_| tocsin.connect("e")).collect();
    let said = |how| Tocsin::metric(&tocsin.gateway_admin(), "tocsin_gateway_proxied_total", how);
    assert!(said("\"proxy\"") >= 3.0 && said("forwarded") >= 2.0 && said("silent") >= 4.0);
}

#[test]
fn a_stranger_s_word_about_addresses_counts_for_nothing() {
    let tocsin = Setup::standalone()
        .set("gateway.limits.connections_per_ip", 2)
        .set("gateway.trusted_proxies", vec!["10.0.0.0/8"])
        .start();
    let refused = proxied(&tocsin, "a", "203.0.113.7:1").expect_err("a stranger's PROXY header");
    assert_eq!(refused.status(), 400, "{refused:?}");
    let forged = |list: &str| tocsin.as_user("b").header("x-forwarded-for", list).to(tocsin.clients());
    // The connection of the refused header may take a moment to be gone.
    let _held: Vec<_> =
        (0..2).map(|i| until("there is room for two", || forged(&format!("203.0.113.{i}")).ok())).collect();
    too_many(&forged("203.0.113.9").expect_err("it is its own address that counts"));
}

#[test]
fn a_prefix_that_is_none_is_refused_by_name() {
    let mut tocsin = Setup::standalone().set("gateway.trusted_proxies", vec!["10.0.0.1/8"]).prepare();
    tocsin.gateway = Some(tocsin.launch_gateway());
    let ending = tocsin.gateway().ending(PATIENCE);
    assert_eq!(ending.status.code(), Some(2));
    assert!(ending.log.contains("\"10.0.0.1/8\" has bits behind its prefix"), "{}", ending.log);
}
