//! A full node says so in a way that every client can read, and never takes one more than it may.

use std::collections::HashSet;

use serde_json::Value;
use tests::client::Connect;
use tests::deadline::PATIENCE;
use tests::{Refused, Setup, Tocsin, until};

use crate::support::{expect_id, to_user};

fn small() -> Tocsin {
    Setup::standalone().set("gateway.soft_limit", 4).set("gateway.hard_limit", 8).start()
}

#[test]
fn from_the_soft_limit_on_it_is_503_with_a_spread_retry_after() {
    let tocsin = small();
    let _held: Vec<_> = (0..4).map(|i| tocsin.connect(&format!("u{i}"))).collect();
    let mut waits = HashSet::new();
    for _ in 0..40 {
        let refused = tocsin.try_connect("late").expect_err("the node is full");
        assert_eq!(refused.status(), 503, "{refused:?}");
        let wait: u64 =
            refused.header("retry-after").and_then(|wait| wait.parse().ok()).expect("whole seconds");
        assert!((5..=30).contains(&wait), "{wait}");
        let Refused::Http { body, .. } = &refused else { panic!("{refused:?}") };
        let body: Value = serde_json::from_str(body).expect("a JSON body");
        assert_eq!(body["error"], "over_capacity");
        assert_eq!(body["retry_after_ms"], wait * 1_000);
        waits.insert(wait);
    }
    assert!(waits.len() > 8, "drawn from 5..=30: {waits:?}");
    assert_eq!(tocsin.gateway_admin().get("/readyz").status, 200, "a balancer must not hide the Retry-After");
}

#[test]
fn a_page_can_ask_before_it_connects() {
    let tocsin = small();
    let answer = tocsin.door().get("/v1/admission");
    assert_eq!(answer.status, 200, "{}", answer.text);
    let _held: Vec<_> = (0..4).map(|i| tocsin.connect(&format!("u{i}"))).collect();
    let origin = format!("http://{}", tocsin.clients());
    let answer =
        tocsin.door().request("GET", "/v1/admission", &[("origin", &origin)], None).expect("an answer");
    assert_eq!(answer.status, 503);
    assert!(answer.json()["retry_after_ms"].as_u64().is_some_and(|wait| (5_000..=30_000).contains(&wait)));
    assert!(answer.header("retry-after").is_some());
    assert!(answer.header("access-control-allow-origin").is_some(), "{:?}", answer.headers);
    let readable = answer.header("access-control-expose-headers").unwrap_or_default();
    assert!(readable.eq_ignore_ascii_case("retry-after"), "a page may read the header, too: {readable}");
    // Any page may ask, also one that may not connect.
    let asked = [("origin", "https://elsewhere.example"), ("access-control-request-method", "GET")];
    let answer = tocsin.door().request("OPTIONS", "/v1/admission", &asked, None).expect("an answer");
    assert_eq!(answer.status, 204, "{}", answer.text);
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    let methods = answer.header("access-control-allow-methods").unwrap_or_default();
    assert!(methods.contains("GET"), "{methods}");
}

#[test]
fn a_browser_is_told_by_a_close_1013() {
    let tocsin = small();
    let _held: Vec<_> = (0..4).map(|i| tocsin.connect(&format!("u{i}"))).collect();
    let connect = Connect::default().query("user", "page").protocol("tocsin.v1.browser");
    let mut client = connect.upgrade(tocsin.clients()).expect("an upgrade, to be told");
    let (code, reason) = client.closed(PATIENCE);
    assert_eq!(code, 1013);
    let reason: Value = serde_json::from_str(&reason).expect("the reason is JSON");
    assert!(
        reason["retry_after_ms"].as_u64().is_some_and(|wait| (5_000..=30_000).contains(&wait)),
        "{reason}"
    );
}

#[test]
fn the_hard_limit_is_never_passed_by_one() {
    let tocsin = Setup::standalone().set("gateway.soft_limit", 16).set("gateway.hard_limit", 16).start();
    let outcomes: Vec<bool> = std::thread::scope(|scope| {
        let storm: Vec<_> = (0..64)
            .map(|i| {
                let tocsin = &tocsin;
                scope.spawn(move || tocsin.try_connect(&format!("u{i}")).ok())
            })
            .collect();
        let clients: Vec<_> = storm.into_iter().map(|one| one.join().expect("no panic")).collect();
        let live = Tocsin::metric(&tocsin.gateway_admin(), "tocsin_gateway_connections", "");
        assert!(live <= 16.0, "{live}");
        clients.iter().map(Option::is_some).collect()
    });
    assert_eq!(outcomes.iter().filter(|taken| **taken).count(), 16);
}

#[test]
fn who_leaves_makes_room() {
    let tocsin = small();
    let mut held: Vec<_> = (0..4).map(|i| tocsin.connect(&format!("u{i}"))).collect();
    tocsin.try_connect("late").expect_err("the node is full");
    held.pop();
    until("there is room again", || tocsin.try_connect("late").ok());
}

#[test]
fn too_many_a_second_are_refused_as_at_the_soft_limit() {
    let tocsin = Setup::standalone().set("gateway.accept_rate", 5).start();
    let outcomes: Vec<u16> = (0..60)
        .map(|i| match tocsin.try_connect(&format!("u{i}")) {
            Ok(_) => 101,
            Err(refused) => refused.status(),
        })
        .collect();
    assert!(outcomes.contains(&101) && outcomes.contains(&503), "{outcomes:?}");
    assert!(outcomes.iter().all(|status| [101, 503].contains(status)), "{outcomes:?}");
}

#[test]
fn verdicts_are_counted() {
    let tocsin = small();
    let _held: Vec<_> = (0..4).map(|i| tocsin.connect(&format!("u{i}"))).collect();
    for _ in 0..3 {
        let _ = tocsin.try_connect("late");
    }
    let verdicts = tocsin.gateway_admin().get("/metrics").text;
    let verdicts: Vec<&str> =
        verdicts.lines().filter(|line| line.starts_with("tocsin_gateway_admission_total{")).collect();
    let total: f64 = verdicts.iter().filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum();
    assert!(verdicts.len() >= 2 && total >= 7.0, "{verdicts:?}");
}

#[test]
fn readiness_turns_at_the_hard_limit_and_back() {
    let tocsin = Setup::standalone().set("gateway.soft_limit", 4).set("gateway.hard_limit", 4).start();
    let mut held: Vec<_> = (0..3).map(|i| tocsin.connect(&format!("u{i}"))).collect();
    assert_eq!(tocsin.gateway_admin().get("/readyz").status, 200);
    held.push(tocsin.connect("u3"));
    assert_eq!(tocsin.gateway_admin().get("/readyz").status, 503);
    let refused = tocsin.try_connect("late").expect_err("it is full to the brim");
    assert!(matches!(refused, Refused::Lost(_)), "a reset, unread: {refused:?}");
    held.pop();
    until("there is room again", || (tocsin.gateway_admin().get("/readyz").status == 200).then_some(()));
}

#[test]
fn a_reload_moves_the_limits_and_closes_nobody() {
    let mut tocsin = small();
    let mut held: Vec<_> = (0..4).map(|i| tocsin.connect(&format!("u{i}"))).collect();
    tocsin.reload(|setup| setup.set("gateway.soft_limit", 6));
    held.extend((4..6).map(|i| until("there is more room", || tocsin.try_connect(&format!("u{i}")).ok())));
    tocsin.reload(|setup| setup.set("gateway.soft_limit", 1).set("gateway.hard_limit", 2));
    until("the node is beyond full", || (tocsin.gateway_admin().get("/readyz").status == 503).then_some(()));
    for (i, client) in held.iter_mut().enumerate() {
        let id = tocsin.api().accepted(&to_user(&format!("u{i}"), "still there"));
        expect_id(client, &id);
    }
    tocsin.reload(|setup| setup.set("gateway.soft_limit", 9).set("gateway.hard_limit", 3));
    until("nonsense is refused", || tocsin.gateway().log().contains("nothing was reloaded").then_some(()));
    assert_eq!(tocsin.gateway_admin().get("/readyz").status, 503, "and changes nothing");
}
