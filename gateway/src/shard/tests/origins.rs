//! Where connections come from, how many each user and each address may have, and whose word counts.

use serde_json::Value;
use wire::proxy;

use super::admitted::retry_after;
use super::*;

const PROXY: &str = "10.0.0.1";

fn per_address(max: u32) -> House {
    House::with(|plan| {
        plan.gateway.limits.connections_per_ip = max;
        plan.gateway.trusted_proxies = vec!["10.0.0.0/24".parse().unwrap()];
    })
}

fn header(client: &str) -> Vec<u8> {
    proxy::header(Some(client.parse().unwrap()), "10.0.0.1:443".parse().unwrap())
}

/// The status of a WebSocket request on a connection from `peer`, with `first` in front and `headers` in it.
fn connect(house: &mut House, peer: &str, first: &[u8], headers: &str) -> (Key, u16) {
    let key = house.accept_from(peer);
    let request = String::from_utf8(upgrade_request("/v1/connect?user=u", &[])).unwrap();
    let request = request.replace("Upgrade: websocket\r\n", &format!("Upgrade: websocket\r\n{headers}"));
    house.receive(key, &[first, request.as_bytes()].concat());
    let answer = house.sent.remove(&key).unwrap_or_default();
    let status = answer.get(9..12).map_or(0, |digits| String::from_utf8_lossy(digits).parse().unwrap());
    (key, status)
}

fn gone(house: &mut House, key: Key) {
    house.shard.handle_ended(key, house.now);
    house.settle();
}

fn proxied(house: &House) -> String {
    let page = crate::metrics::render(&house.shard.config.admission, &[&house.shard.config.metrics]);
    let lines = page.lines().filter_map(|line| line.strip_prefix("tocsin_gateway_proxied_total{how="));
    lines.collect::<Vec<_>>().join(" ")
}

#[test]
fn an_address_that_has_too_many_is_told_so_and_others_are_not() {
    let mut house = per_address(2);
    let (first, _) = connect(&mut house, "192.0.2.1", b"", "");
    assert_eq!(connect(&mut house, "192.0.2.1", b"", "").1, 101);
    let late = house.accept_from("192.0.2.1");
    house.receive(late, &upgrade_request("/v1/connect?user=u", &["tocsin.v1"]));
    let (status, head, body) = house.answer(late);
    assert_eq!(status, 429);
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body["retry_after_ms"], retry_after(&head) * 1_000);
    assert_eq!(connect(&mut house, "192.0.2.2", b"", "").1, 101);
    let page = house.accept_from("192.0.2.1");
    house.receive(page, &upgrade_request("/v1/connect?user=u", &["tocsin.v1.browser"]));
    let (code, reason) = house.heard(page).1.expect("a close");
    assert_eq!(code, 1008);
    assert!(reason.starts_with(r#"{"retry_after_ms":"#), "{reason}");
    house.receive(page, &ws::close_frame(1_008, "", Some(MASK)));
    gone(&mut house, first);
    assert_eq!(connect(&mut house, "192.0.2.1", b"", "").1, 101, "who leaves makes room");
}

#[test]
fn an_address_that_keeps_coming_is_reset_and_costs_others_nothing() {
    let mut house = per_address(1);
    house.shard.config.admission.set_limits(AdmissionLimits { soft: 1_000, hard: 1_200, accept_rate: 40 });
    assert_eq!(connect(&mut house, "192.0.2.1", b"", "").1, 101);
    let silent: Vec<Key> = (0..100).map(|_| house.accept_from("192.0.2.1")).collect();
    let reset = silent.iter().filter(|key| house.closed.get(key) == Some(&true)).count();
    assert_eq!(reset, 100 - limits::REFUSALS_PER_ADDRESS_MAX as usize);
    assert_eq!(connect(&mut house, "192.0.2.2", b"", "").1, 101, "the accept budget is still there");
    house.pass(Duration::from_secs(15));
    assert_eq!(house.shard.config.admission.live(), 2, "who says nothing does not stay");
    assert_eq!(connect(&mut house, "192.0.2.1", b"", "").1, 429);
}

#[test]
fn an_ipv6_network_counts_as_one_address() {
    let mut house = per_address(1);
    assert_eq!(connect(&mut house, "2001:db8:1:2::1", b"", "").1, 101);
    assert_eq!(connect(&mut house, "2001:db8:1:2:ffff::9", b"", "").1, 429);
    assert_eq!(connect(&mut house, "2001:db8:1:3::1", b"", "").1, 101);
}

#[test]
fn the_client_behind_a_trusted_proxy_is_counted_not_the_proxy() {
    let mut house = per_address(1);
    let (first, status) = connect(&mut house, PROXY, &header("203.0.113.7:1"), "");
    assert_eq!(status, 101);
    assert_eq!(connect(&mut house, PROXY, &header("203.0.113.8:1"), "").1, 101);
    assert_eq!(connect(&mut house, PROXY, &header("203.0.113.7:2"), "").1, 429);
    assert_eq!(connect(&mut house, "203.0.113.7", b"", "").1, 429, "the same client, without the proxy");
    gone(&mut house, first);
    assert_eq!(connect(&mut house, PROXY, &header("203.0.113.7:3"), "").1, 101);
    // The proxy's own connections are its health checks.
    let own = proxy::header(None, "10.0.0.1:443".parse().unwrap());
    for _ in 0..3 {
        assert_eq!(connect(&mut house, PROXY, &own, "").1, 101);
    }
    // What a PROXY header does not name is not asked of the client.
    assert_eq!(connect(&mut house, PROXY, &own, "X-Forwarded-For: 203.0.113.7\r\n").1, 101);
    assert_eq!(proxied(&house), r#""proxy"} 4 "unnamed"} 4 "forwarded"} 0 "silent"} 0 "malformed"} 0"#);
}

#[test]
fn a_proxy_header_may_come_in_any_pieces() {
    let whole = [header("203.0.113.7:1"), upgrade_request("/v1/connect?user=u", &[])].concat();
    for cut in 1..whole.len() {
        let mut house = per_address(1);
        let key = house.accept_from(PROXY);
        house.receive(key, &whole[..cut]);
        house.receive(key, &whole[cut..]);
        assert!(house.texts(key)[0].contains("welcome"), "cut at {cut}");
        assert_eq!(connect(&mut house, "203.0.113.7", b"", "").1, 429, "cut at {cut}");
    }
}

#[test]
fn a_forwarded_address_counts_only_from_a_trusted_peer() {
    let mut house = per_address(1);
    let forwarded = |list: &str| format!("X-Forwarded-For: {list}\r\n");
    assert_eq!(connect(&mut house, PROXY, b"", &forwarded("203.0.113.7")).1, 101);
    assert_eq!(connect(&mut house, PROXY, b"", &forwarded("1.1.1.1, 203.0.113.7:99, 10.0.0.9")).1, 429);
    let two = format!("{}{}", forwarded("8.8.8.8"), forwarded("203.0.113.7"));
    assert_eq!(connect(&mut house, PROXY, b"", &two).1, 429, "over several lines the last one counts");
    assert_eq!(connect(&mut house, PROXY, b"", &forwarded("[2001:db8::1]:4")).1, 101);
    assert_eq!(connect(&mut house, "2001:db8::2", b"", "").1, 429);
    // Garbage and silence name nobody, and nobody is counted.
    for list in ["", "unknown", "203.0.113.7, _hidden"] {
        assert_eq!(connect(&mut house, PROXY, b"", &forwarded(list)).1, 101);
    }
    assert_eq!(connect(&mut house, PROXY, b"", "").1, 101);
    // A stranger's word is not read: it counts for its own address.
    assert_eq!(connect(&mut house, "192.0.2.1", b"", &forwarded("203.0.113.99")).1, 101);
    assert_eq!(connect(&mut house, "192.0.2.1", b"", &forwarded("203.0.113.98")).1, 429);
    // Two proxies, one behind the other: the outer by PROXY, the inner by its header.
    let outer = header("10.0.0.2:7");
    assert_eq!(connect(&mut house, PROXY, &outer, &forwarded("203.0.113.50")).1, 101);
    assert_eq!(connect(&mut house, "203.0.113.50", b"", "").1, 429);
}

#[test]
fn a_proxy_header_of_a_stranger_is_malformed() {
    let mut house = per_address(5);
    assert_eq!(connect(&mut house, "192.0.2.1", &header("203.0.113.7:1"), "").1, 400);
    let (_, status) = connect(&mut house, "192.0.2.1", b"PROXY TCP4 203.0.113.7 10.0.0.1 1 443\r\n", "");
    assert_eq!(status, 505, "version 1 is no HTTP either");
}

#[test]
fn a_broken_proxy_header_is_cut_and_a_missing_one_is_waited_for_as_a_handshake() {
    let mut house = per_address(5);
    let mut broken = header("203.0.113.7:1");
    broken[12] = 0x31;
    let (key, _) = connect(&mut house, PROXY, &broken, "");
    assert_eq!(house.closed.get(&key), Some(&true));
    assert!(proxied(&house).ends_with(r#""malformed"} 1"#), "{}", proxied(&house));
    let (key, _) = connect(&mut house, PROXY, b"PROXY TCP4 203.0.113.7 10.0.0.1 1 443\r\n", "");
    assert!(house.pass_until_closed(key, 1), "version 1 is not understood");
    let dripping = house.accept_from(PROXY);
    for byte in &header("203.0.113.7:1")[..9] {
        house.receive(dripping, &[*byte]);
        house.pass(Duration::from_secs(1));
    }
    assert!(house.pass_until_closed(dripping, 2), "ten seconds for all of it");
    assert_eq!(house.shard.config.admission.live(), 0);
}

#[test]
fn a_reload_changes_whom_to_trust_and_how_many() {
    let mut house = per_address(1);
    let settings = |change: fn(&mut Gateway)| {
        let mut gateway = Gateway::default();
        change(&mut gateway);
        Settings::from(&gateway)
    };
    house.shard.set_settings(settings(|gateway| gateway.limits.connections_per_ip = 2));
    assert_eq!(connect(&mut house, PROXY, &header("203.0.113.7:1"), "").1, 400, "trusted no more");
    assert_eq!(connect(&mut house, "192.0.2.1", b"", "").1, 101);
    assert_eq!(connect(&mut house, "192.0.2.1", b"", "").1, 101);
    assert_eq!(connect(&mut house, "192.0.2.1", b"", "").1, 429);
    house.shard.set_settings(settings(|_| {}));
    assert_eq!(connect(&mut house, "192.0.2.1", b"", "").1, 101, "0 is no limit");
}

#[test]
fn a_user_s_sessions_are_counted_over_all_shards() {
    let mut house = House::with(|plan| plan.gateway.limits.connections_per_user = 3);
    let census = Arc::clone(&house.shard.config.census);
    assert!(census.enter("ada", 3), "on a sibling");
    let first = house.user("ada");
    house.user("ada");
    let (status, head, body) = house.ask(&get("/v1/events?user=ada", "Origin: http://127.0.0.1:8080\r\n"));
    assert_eq!(status, 429);
    assert!(head.contains("Access-Control-Allow-Origin: http://127.0.0.1:8080"), "{head}");
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(
        (&body["error"], &body["retry_after_ms"]),
        (&"too_many".into(), &(retry_after(&head) * 1_000).into())
    );
    let page = house.accept();
    house.receive(page, &upgrade_request("/v1/connect?user=ada", &["tocsin.v1.browser"]));
    assert_eq!(house.heard(page).1.map(|close| close.0), Some(1008));
    house.user("bob");
    assert_eq!(house.ask(&post("/v1/messages?user=ada", r#"{"type":"ping","t":1}"#)).0, 200, "no session");
    gone(&mut house, first);
    house.user("ada");
    census.leave("ada");
    house.user("ada");
    for key in [page, first] {
        house.receive(key, &ws::close_frame(1_000, "", Some(MASK)));
    }
    assert_eq!(house.ask(&get("/v1/events?user=ada", "")).0, 429);
}
