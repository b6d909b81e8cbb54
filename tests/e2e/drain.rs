//! Leaving without losing anything: advice first, then a close with the right code, then the end.

use std::time::Duration;

use serde_json::json;
use tests::deadline::Stopwatch;
use tests::{Client, Refused, Setup, Tocsin, until};

use crate::support::{expect_id, ids, to_user};

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
    let mut tocsin = Setup::standalone().start();
    let mut clients: Vec<_> = (0..20).map(|i| tocsin.connect(&format!("u{i}"))).collect();
    let answer = tocsin.gateway_admin().send("POST", "/drain", &json!({}));
    assert_eq!(answer.status / 100, 2, "{}", answer.text);
    assert_eq!(tocsin.gateway_admin().get("/readyz").status, 503);
    let refused = tocsin.try_connect("late").expect_err("a node that leaves takes nobody");
    assert_eq!(refused.status(), 503, "{refused:?}");
    assert!(refused.header("retry-after").is_some(), "{refused:?}");
    assert_eq!(tocsin.door().get("/v1/admission").status, 503);
    advised_then_closed(&mut clients, 1001);
    tocsin.gateway().ending(ORDERLY);
    let refused = tocsin.try_connect("later").expect_err("nobody listens any more");
    assert!(matches!(&refused, Refused::Lost(why) if why.contains("refused")), "{refused:?}");
}

#[test]
fn the_end_comes_inside_the_window_though_some_clients_answer_nothing() {
    let mut tocsin = Setup::standalone().set("gateway.drain_s", 8).start();
    let _mute: Vec<_> = (0..20).map(|i| tocsin.connect(&format!("u{i}"))).collect();
    let began = Stopwatch::start();
    tocsin.gateway().terminate();
    let ending = tocsin.gateway().ending(ORDERLY);
    assert_eq!(ending.status.code(), Some(0), "{}", ending.log);
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
}

#[test]
fn a_second_signal_closes_what_is_left_and_ends_in_order() {
    for second in ["TERM", "INT"] {
        let mut tocsin = Setup::standalone().set("gateway.drain_s", 600).start();
        let mut clients: Vec<_> = (0..20).map(|i| tocsin.connect(&format!("u{i}"))).collect();
        let id = tocsin.api().accepted(&to_user("u0", "in time"));
        expect_id(&mut clients[0], &id);
        tocsin.gateway().terminate();
        until("it drains", || (tocsin.gateway_admin().get("/readyz").status == 503).then_some(()));
        tocsin.gateway().signal(second);
        for client in &mut clients {
            assert_eq!(client.closed(ORDERLY).0, 1012);
        }
        let ending = tocsin.gateway().ending(ORDERLY);
        assert_eq!(ending.status.code(), Some(0), "{}", ending.log);
    }
}

#[test]
fn a_third_signal_ends_it_at_once() {
    let mut tocsin = Setup::standalone().set("gateway.drain_s", 600).start();
    // It never answers its close, so that the second signal alone needs a moment.
    let _mute = tocsin.connect("mute");
    tocsin.gateway().terminate();
    until("it drains", || (tocsin.gateway_admin().get("/readyz").status == 503).then_some(()));
    tocsin.gateway().signal("INT");
    until("it closes", || tocsin.gateway().log().contains("told again to end").then_some(()));
    tocsin.gateway().signal("TERM");
    assert_eq!(tocsin.gateway().ending(ORDERLY).status.code(), Some(1));
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
