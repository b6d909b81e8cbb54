//! Who gets in, and what those are told who do not.

use serde_json::Value;

use super::*;

fn full(plan: &mut Plan) {
    plan.limits = AdmissionLimits { soft: 2, hard: 4, accept_rate: 1_000_000 };
}

pub(super) fn retry_after(head: &str) -> u64 {
    let line = head.lines().find_map(|line| line.strip_prefix("Retry-After: ")).expect("a Retry-After");
    line.parse().expect("whole seconds")
}

#[test]
fn at_the_soft_limit_a_request_is_refused_with_a_delay() {
    let mut house = House::with(full);
    house.user("a");
    house.user("b");
    let key = house.accept();
    house.receive(key, &upgrade_request("/v1/connect?user=c", &["tocsin.v1"]));
    let (status, head, body) = house.answer(key);
    assert_eq!(status, 503);
    let seconds = retry_after(&head);
    assert!((5..=30).contains(&seconds));
    assert_eq!(body, format!(r#"{{"error":"over_capacity","retry_after_ms":{}}}"#, seconds * 1_000));
    assert!(head.contains("Access-Control-Allow-Origin: *"), "{head}");
    assert_eq!(house.closed.get(&key), Some(&false));
    assert_eq!(house.shard.config.admission.live(), 2, "its place was given back");
}

#[test]
fn a_browser_is_refused_by_a_close_that_carries_the_delay() {
    let mut house = House::with(full);
    house.user("a");
    house.user("b");
    let key = house.accept();
    house.receive(key, &upgrade_request("/v1/connect?user=c", &["tocsin.v1", "tocsin.v1.browser"]));
    let (texts, close) = house.heard(key);
    let (code, reason) = close.expect("a close");
    assert!(texts.is_empty());
    assert_eq!(code, 1013);
    let reason: Value = serde_json::from_str(&reason).unwrap();
    let ms = reason["retry_after_ms"].as_u64().unwrap();
    assert!((5_000..=30_000).contains(&ms) && ms.is_multiple_of(1_000));
    assert_eq!(house.shard.open_sessions(), 2);
    house.receive(key, &ws::close_frame(1_013, "", Some(MASK)));
    assert!(house.closed.contains_key(&key));
}

#[test]
fn a_shard_whose_table_fills_refuses_and_then_resets_before_the_node_does() {
    let mut house = House::new();
    house.shard.set_room(12);
    for n in 0..10 {
        house.user(&format!("u{n}"));
    }
    let key = house.accept();
    house.receive(key, &upgrade_request("/v1/connect?user=late", &[]));
    let (status, head, _) = house.answer(key);
    assert!(status == 503 && (5..=30).contains(&retry_after(&head)), "{head}");
    let silent = [house.accept(), house.accept()];
    let over = house.accept();
    assert_eq!(house.closed.get(&over), Some(&true), "reset, and its slot is free again");
    assert!(silent.iter().all(|key| !house.closed.contains_key(key)));
    assert_eq!(house.shard.config.admission.live(), 12);
    assert_eq!(house.shard.connections(), 12);
}

#[test]
fn at_the_hard_limit_a_connection_is_reset_unread() {
    let mut house = House::with(full);
    house.user("a");
    house.user("b");
    let slow = [house.accept(), house.accept()];
    let over = house.accept();
    assert_eq!(house.closed.get(&over), Some(&true));
    assert_eq!(house.shard.config.admission.live(), 4, "nothing was counted for it");
    house.pass(Duration::from_secs(15));
    assert!(
        slow.iter().all(|key| house.closed.contains_key(key)),
        "who says nothing does not keep its place"
    );
    assert_eq!(house.shard.config.admission.live(), 2);
}

#[test]
fn the_outlook_can_be_asked_for_by_anybody_at_any_time() {
    let mut house = House::with(full);
    let (status, head, _) = house.ask(&get("/v1/admission", "Origin: https://elsewhere.example\r\n"));
    assert_eq!(status, 200);
    assert!(head.contains("Access-Control-Allow-Origin: *"));
    house.user("a");
    house.user("b");
    let (status, head, body) = house.ask(&get("/v1/admission", ""));
    assert_eq!(status, 503);
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body["retry_after_ms"], retry_after(&head) * 1_000);
    let (status, head, _) =
        house.ask(&get("/v1/admission", "Origin: https://x.example\r\n").replacen("GET", "OPTIONS", 1));
    assert_eq!(status, 204);
    assert!(head.contains("Access-Control-Allow-Origin: *"), "{head}");
    assert_eq!(house.ask(&get("/healthz", "")).0, 200);
}

#[test]
fn refusals_differ_from_each_other() {
    let mut house = House::with(|plan| plan.limits.soft = 1);
    house.user("a");
    let mut delays: Vec<u64> =
        (0..200).map(|_| retry_after(&house.ask(&get("/v1/events?user=x", "")).1)).collect();
    delays.sort_unstable();
    delays.dedup();
    assert!(delays.len() > 20 && delays[0] == 5 && delays[delays.len() - 1] == 30, "{delays:?}");
}

#[test]
fn pages_of_other_origins_do_not_get_in() {
    let mut house = House::new();
    for (origin, status) in [
        ("http://evil.example", 403),
        ("null", 403),
        ("http://127.0.0.1:8080.evil.example", 403),
        ("https://127.0.0.1:8080", 403),
        ("http://127.0.0.1:8080", 101),
        ("http://localhost:8080", 101),
    ] {
        let key = house.accept();
        let request = String::from_utf8(upgrade_request("/v1/connect?user=ada", &[])).unwrap();
        let request =
            request.replace("Upgrade: websocket\r\n", &format!("Upgrade: websocket\r\nOrigin: {origin}\r\n"));
        house.receive(key, request.as_bytes());
        let answer = String::from_utf8_lossy(&house.sent.remove(&key).unwrap()).into_owned();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{origin}: {answer}");
    }
    let doubled = "Origin: http://127.0.0.1:8080\r\nOrigin: http://evil.example\r\n";
    assert_eq!(house.ask(&get("/v1/events?user=ada", doubled)).0, 400);
    assert_eq!(house.shard.open_sessions(), 2);
}

#[test]
fn who_does_not_say_who_it_is_gets_401_and_its_token_is_not_repeated() {
    let mut house = House::new();
    for (target, headers) in [
        ("/v1/events", ""),
        ("/v1/events?user=ada", "Authorization: Bearer secret-token\r\n"),
        ("/v1/events?user=ada", "Authorization: Basic secret-token\r\n"),
        ("/v1/events?ticket=", ""),
    ] {
        let (status, head, body) = house.ask(&get(target, headers));
        assert_eq!(status, 401, "{target} {headers}");
        assert!(head.contains("WWW-Authenticate: Bearer"));
        assert!(!format!("{head}{body}").contains("secret-token"));
    }
    let (status, _, _) = house.ask(&get("/v1/events?user=ada&user=eve", ""));
    assert_eq!(status, 400);
}

#[test]
fn a_ticket_is_a_routers_to_know() {
    let mut house = House::new();
    let key = house.accept();
    house.receive(key, &upgrade_request("/v1/connect?ticket=T1&device=d", &[]));
    let asked = house.take_frames();
    assert_eq!(asked, [Frame::Redeem { request: key.0, ticket: "T1".to_owned() }]);
    assert!(!house.sent.contains_key(&key), "nothing is said before the router knows");
    let ping = ws::frame(OpCode::Data(Data::Text), br#"{"type":"ping","t":1}"#, Some(MASK));
    house.receive(key, &ping);
    house.router(Frame::Redeemed { request: key.0, user: Some("ada".to_owned()) });
    assert_eq!(house.texts(key).len(), 2, "welcome, and the pong to what came early");
    house.deliver("ada", 1);
    assert_eq!(house.texts(key).len(), 1);

    let refused = house.accept();
    house.receive(refused, &upgrade_request("/v1/connect?ticket=T1", &[]));
    house.router(Frame::Redeemed { request: refused.0, user: None });
    assert_eq!(house.answer(refused).0, 401);
    // An answer that comes late, twice, or to nobody changes nothing.
    house.router(Frame::Redeemed { request: refused.0, user: Some("eve".to_owned()) });
    house.router(Frame::Redeemed { request: key.0, user: Some("eve".to_owned()) });
    house.router(Frame::Redeemed { request: 77, user: Some("eve".to_owned()) });
    house.deliver("eve", 2);
    assert!(house.sent.is_empty());

    let waiting = house.accept();
    house.receive(waiting, &upgrade_request("/v1/connect?ticket=T2", &[]));
    house.pass(Duration::from_secs(11));
    assert_eq!(house.answer(waiting).0, 503, "no answer: come again");
    house.shard.handle_link_down(0, house.now);
    let alone = house.accept();
    house.receive(alone, &upgrade_request("/v1/connect?ticket=T3", &[]));
    assert_eq!(house.answer(alone).0, 503, "no router to ask");
}

#[test]
fn requests_that_are_none_get_a_clear_refusal() {
    let mut house = House::new();
    let table = [
        (get("/nothing", ""), 404),
        (get("/v1/connect?user=ada", ""), 426),
        (get("/v1/messages?user=ada", ""), 405),
        ("POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n".to_owned(), 405),
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), 400),
        ("\x16\x03\x01\x02\x00\x01".to_owned(), 400),
        ("POST /v1/messages?user=a HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n".to_owned(), 411),
        ("POST /v1/messages?user=a HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n".to_owned(), 413),
        (format!("GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "y".repeat(9_000)), 431),
        (get("/v1/events?user=ada&last_event_id=yesterday", ""), 400),
        (get(&format!("/v1/events?user=ada&device={}", "d".repeat(300)), ""), 400),
    ];
    for (request, status) in table {
        let (found, _, body) = house.ask(&request);
        assert_eq!(found, status, "{request:?}: {body}");
    }
    house.pass(Duration::from_secs(5));
    assert_eq!(house.shard.connections(), 0);
}

#[test]
fn the_console_is_shown_only_under_the_gateways_own_name() {
    let mut house = House::new();
    let (status, head, body) = house.ask(&get("/", ""));
    assert_eq!(status, 200);
    assert!(head.contains("connect-src 'self' http://127.0.0.1:8090;") && body.contains("<html"));
    assert_eq!(house.ask(&get("/console.js", "")).0, 200);
    assert_eq!(house.ask(&get("/console.css", "")).0, 200);
    let (status, _, body) = house.ask(&get("/v1/console", ""));
    assert_eq!(
        (status, body.as_str()),
        (200, r#"{"api":"http://127.0.0.1:8090","key":null,"local_user":true}"#)
    );
    let rebound = get("/v1/console", "").replace(HOST, "evil.example:8080");
    assert_eq!(house.ask(&rebound).0, 404);
    let rebound = get("/v1/events?user=ada", "").replace(HOST, "evil.example:8080");
    assert_eq!(house.ask(&rebound).0, 401);
}
