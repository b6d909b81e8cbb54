//! A connection that has been there for long enough is advised to move, and closed if it does not.

use std::time::Duration;

use tests::deadline::PATIENCE;
use tests::{Setup, Tocsin};

#[test]
fn at_its_end_a_connection_is_advised_and_then_closed_with_1001() {
    let tocsin =
        Setup::standalone().set("gateway.lifetime_min_s", 1).set("gateway.lifetime_max_s", 2).start();
    let (mut stays, mut moves) = (tocsin.connect("stays"), tocsin.connect("moves"));
    let advice = moves.recv("reconnect");
    assert!(advice["after_ms"].as_u64().is_some_and(|wait| wait <= 1_000), "{advice}");
    drop(moves);
    let _again = tocsin.connect("moves");
    stays.recv("reconnect");
    assert_eq!(stays.closed(PATIENCE).0, 1001);
    assert!(Tocsin::metric(&tocsin.gateway_admin(), "tocsin_gateway_retired_total", "") >= 2.0);
}

#[test]
fn without_a_lifetime_nobody_is_moved() {
    let mut client = crate::support::shared().connect("lifetimes-off");
    assert!(client.try_recv("reconnect", Duration::from_secs(4)).is_err());
}
