//! The link between gateway and router may be cut, hang or lose either end: clients stay, and nothing is lost.

use std::time::Duration;

use serde_json::json;
use tests::client::id_of;
use tests::{Client, Equation, Setup, Tocsin, until, until_within};

use crate::support::{expect_id, to_user};

/// A dead link is found in less than this.
const NOTICED: Duration = Duration::from_secs(15);

/// Hands in until one comes live: then the link is made again. What was handed in before is found by sync.
fn live_again(tocsin: &Tocsin, user: &str, client: &mut Client, accepted: &mut Vec<String>) {
    until_within(NOTICED, "the link is made again", || {
        accepted.push(tocsin.api().accepted(&to_user(user, "are you there")));
        client.try_recv("notification", Duration::from_millis(300)).ok()
    });
}

fn everything_is_found(tocsin: &Tocsin, user: &str, accepted: &[String]) {
    Equation::settled(&tocsin.api());
    let (found, _) = tocsin.connect(user).sync_all(&json!({}));
    let found: Vec<String> = found.iter().map(id_of).collect();
    let lost: Vec<&String> = accepted.iter().filter(|id| !found.contains(id)).collect();
    assert!(lost.is_empty(), "{lost:?}");
    let twice = found.len() - found.iter().collect::<std::collections::HashSet<_>>().len();
    assert_eq!(twice, 0);
}

#[test]
fn a_router_that_dies_and_returns_finds_its_clients_again() {
    let mut tocsin = Setup::split().start();
    let mut client = tocsin.connect("ada");
    let mut accepted = vec![tocsin.api().accepted(&to_user("ada", "before"))];
    expect_id(&mut client, &accepted[0]);
    for _ in 0..3 {
        accepted.push(tocsin.api().accepted(&to_user("ada", "just before the kill")));
        tocsin.router.as_mut().expect("it runs").kill_9();
        tocsin.start_router();
        live_again(&tocsin, "ada", &mut client, &mut accepted);
    }
    everything_is_found(&tocsin, "ada", &accepted);
}

#[test]
fn a_router_that_hangs_loses_nothing_and_clients_stay() {
    let mut tocsin = Setup::split().start();
    let mut client = tocsin.connect("ada");
    let mut accepted = vec![tocsin.api().accepted(&to_user("ada", "before"))];
    expect_id(&mut client, &accepted[0]);
    tocsin.router.as_mut().expect("it runs").freeze();
    client.say(&json!({ "type": "ping", "t": 1 }));
    assert_eq!(client.recv("pong")["t"], 1, "the gateway answers by itself");
    client.say(&json!({ "type": "sync" }));
    std::thread::sleep(Duration::from_secs(11));
    tocsin.router.as_mut().expect("it runs").thaw();
    live_again(&tocsin, "ada", &mut client, &mut accepted);
    everything_is_found(&tocsin, "ada", &accepted);
}

#[test]
fn without_a_router_a_client_is_told_to_wait() {
    let mut tocsin = Setup::split().start();
    let mut client = tocsin.connect("ada");
    tocsin.router.as_mut().expect("it runs").kill_9();
    until("the gateway has noticed", || {
        client.say(&json!({ "type": "sync" }));
        let error = client.try_recv("error", Duration::from_millis(700)).ok()?;
        assert!(error["retry_after_ms"].is_u64(), "{error}");
        Some(())
    });
    client.say(&json!({ "type": "ping", "t": 2 }));
    assert_eq!(client.recv("pong")["t"], 2);
}

#[test]
fn a_gateway_that_dies_leaves_everything_in_the_inbox() {
    let mut tocsin = Setup::split().start();
    let mut client = tocsin.connect("ada");
    let mut accepted = vec![tocsin.api().accepted(&to_user("ada", "before"))];
    expect_id(&mut client, &accepted[0]);
    tocsin.gateway().kill_9();
    for _ in 0..50 {
        accepted.push(tocsin.api().accepted(&to_user("ada", "nobody is there")));
    }
    tocsin.start_gateway();
    let mut client = tocsin.connect("ada");
    live_again(&tocsin, "ada", &mut client, &mut accepted);
    everything_is_found(&tocsin, "ada", &accepted);
}

#[test]
fn a_flapping_link_loses_nothing() {
    let mut tocsin = Setup::split().start();
    let mut client = tocsin.connect("ada");
    let mut accepted = Vec::new();
    for round in 0..6 {
        for _ in 0..30 {
            accepted.push(tocsin.api().accepted(&to_user("ada", "x")));
        }
        if round % 2 == 0 {
            tocsin.router.as_mut().expect("it runs").kill_9();
            tocsin.start_router();
        } else {
            tocsin.gateway().kill_9();
            tocsin.start_gateway();
            client = tocsin.connect("ada");
        }
    }
    live_again(&tocsin, "ada", &mut client, &mut accepted);
    everything_is_found(&tocsin, "ada", &accepted);
}
