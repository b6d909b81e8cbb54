//! Leaving without losing anything: advice first, then a close with the right code, then the end.

use std::time::Duration;

use serde_json::json;
use tests::deadline::Stopwatch;
use tests::{Client, Setup, Tocsin};

use crate::support::{ids, to_user};

/// The window of the settings is two seconds.
const ORDERLY: Duration = Duration::from_secs(20);

fn advised_then_closed(clients: &mut [Client], code: u16) {
    for client in clients {
        let advice = client.recv("reconnect");
        assert!(advice["after_ms"].is_u64(), "{advice}");
        assert_eq!(client.closed(ORDERLY).0, code);
    }
}

#[test]
fn sigterm_advises_closes_with_1012_and_ends_in_time() {
    let mut tocsin = Setup::standalone().start();
    let mut clients: Vec<_> = (0..20).map(|i| tocsin.connect(&format!("u{i}"))).collect();
    let began = Stopwatch::start();
    tocsin.gateway().terminate();
    advised_then_closed(&mut clients, 1012);
    let ending = tocsin.gateway().ending(ORDERLY);
    assert_eq!(ending.status.code(), Some(0), "{}", ending.log);
    assert!(began.elapsed() < ORDERLY, "{:?}", began.elapsed());
}

#[test]
fn drain_advises_closes_with_1001_and_takes_nobody_new() {
    let tocsin = Setup::standalone().start();
    let mut clients: Vec<_> = (0..20).map(|i| tocsin.connect(&format!("u{i}"))).collect();
    let answer = tocsin.gateway_admin().send("POST", "/drain", &json!({}));
    assert_eq!(answer.status / 100, 2, "{}", answer.text);
    assert_eq!(tocsin.gateway_admin().get("/readyz").status, 503);
    assert!(tocsin.try_connect("late").is_err(), "a node that leaves takes nobody");
    advised_then_closed(&mut clients, 1001);
}

#[test]
fn what_is_accepted_around_a_drain_is_found_after_it() {
    let mut tocsin = Setup::standalone().start();
    let _client = tocsin.connect("ada");
    let mut accepted = Vec::new();
    let hand_in = |tocsin: &Tocsin, accepted: &mut Vec<String>| {
        if let Ok(answer) = tocsin.api().post_once(&format!("drain-{}", accepted.len()), &to_user("ada", "x"))
            && answer.status == 202
        {
            accepted.push(answer.json()["id"].as_str().expect("an id").to_owned());
        }
    };
    (0..50).for_each(|_| hand_in(&tocsin, &mut accepted));
    tocsin.gateway().terminate();
    (0..200).for_each(|_| hand_in(&tocsin, &mut accepted));
    tocsin.gateway().ending(ORDERLY);
    tocsin.start_gateway();
    tests::Equation::settled(&tocsin.api());
    let (missed, _) = tocsin.connect("ada").sync_all(&json!({}));
    let mut found = ids(&missed);
    found.sort();
    accepted.sort();
    assert_eq!(found, accepted);
}
