//! Silent, slow and expired clients.

use super::*;

#[test]
fn who_never_says_what_it_wants_is_closed_in_ten_seconds() {
    let mut house = House::new();
    let silent = house.accept();
    let dripping = house.accept();
    for _ in 0..9 {
        house.receive(dripping, b"G");
        house.pass(Duration::from_secs(1));
    }
    house.pass(Duration::from_millis(1_100));
    assert_eq!(house.answer(silent).0, 408);
    assert!(house.closed.contains_key(&silent) && house.closed.contains_key(&dripping));
}

#[test]
fn two_pings_unanswered_close_with_4408_and_any_sign_of_life_does_not() {
    let mut house = House::new();
    let dead = house.user("dead");
    let alive = house.user("alive");
    let started = house.now.mono;
    for _ in 0..60 {
        house.pass(Duration::from_secs(2));
        if house.sent.remove(&alive).is_some() {
            house.receive(alive, &ws::pong_frame(b"", Some(MASK)));
        }
        if house.closed.contains_key(&dead) {
            break;
        }
    }
    let (_, close) = house.heard(dead);
    assert_eq!(close.map(|close| close.0), Some(4408));
    let silence = house.now.mono.since(started);
    assert!(silence > Duration::from_secs(60) && silence < Duration::from_secs(80), "{silence:?}");
    assert!(!house.closed.contains_key(&alive));
}

#[test]
fn pings_are_spread() {
    let mut house = House::new();
    let keys: Vec<Key> = (0..500).map(|n| house.user(&format!("u{n}"))).collect();
    house.sent.clear();
    let mut per_second = Vec::new();
    for _ in 0..26 {
        house.pass(Duration::from_secs(1));
        per_second.push(house.sent.len());
        house.sent.clear();
    }
    assert_eq!(per_second.iter().sum::<usize>(), keys.len());
    assert!(per_second[..19].iter().all(|pings| *pings == 0), "{per_second:?}");
    assert!(per_second.iter().all(|pings| *pings < 180), "{per_second:?}");
}

fn token(user: &str, expires: Wall) -> (Authenticator, String) {
    const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
    let mut keys = crate::auth::keys::KeySet::default();
    keys.add_file(SECRET).unwrap();
    let encode = |text: String| data_encoding::BASE64URL_NOPAD.encode(text.as_bytes());
    let claims = format!(r#"{{"sub":"{user}","exp":{}}}"#, expires.0 / 1_000_000);
    let message = format!("{}.{}", encode(r#"{"alg":"HS256"}"#.to_owned()), encode(claims));
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, SECRET);
    let tag = ring::hmac::sign(&key, message.as_bytes());
    let token = format!("{message}.{}", data_encoding::BASE64URL_NOPAD.encode(tag.as_ref()));
    (Authenticator::new(Beliefs { keys, ..Beliefs::default() }), token)
}

#[test]
fn a_session_ends_with_its_token() {
    let mut house = House::new();
    let (authenticator, token) = token("ada", house.now.wall + Duration::from_secs(40));
    house.shard.set_authenticator(Arc::new(authenticator));
    let by_protocol = house.accept();
    house.receive(by_protocol, &upgrade_request("/v1/connect", &["tocsin.v1", &format!("bearer.{token}")]));
    let shown = String::from_utf8_lossy(&house.sent[&by_protocol]).into_owned();
    assert!(shown.contains("Sec-WebSocket-Protocol: tocsin.v1\r\n") && !shown.contains(&token));
    let by_header = house.accept();
    let authorization = format!("Authorization: Bearer {token}\r\n");
    house.receive(by_header, get("/v1/events", &authorization).as_bytes());
    house.texts(by_protocol);
    house.deliver("ada", 1);
    assert_eq!(house.texts(by_protocol).len(), 1);

    house.pass(Duration::from_secs(39));
    assert!(house.heard(by_protocol).1.is_none() && !house.closed.contains_key(&by_header));
    house.pass(Duration::from_secs(2));
    assert_eq!(house.heard(by_protocol).1.map(|close| close.0), Some(4401));
    assert!(house.closed.contains_key(&by_header));
    let late = house.accept();
    house.receive(late, get("/v1/events", &authorization).as_bytes());
    assert_eq!(house.answer(late).0, 401);
}

#[test]
fn a_socket_over_its_budget_is_told_gap_once_and_nothing_after() {
    let mut house = House::with(|plan| plan.gateway.limits.outbox_bytes = 70_000);
    let slow = house.user("ada");
    let other = house.user("ada");
    house.stuck.insert(slow);
    let mut dropped_from = 0;
    for n in 1..3_000 {
        house.deliver("ada", n);
        let results = house.results();
        assert_eq!(results.len(), 1);
        if house.shard.config.metrics.gaps.get() == 1 && dropped_from == 0 {
            dropped_from = n;
        }
    }
    assert!(dropped_from > 0);
    assert_eq!(house.shard.config.metrics.gaps.get(), 1);
    assert_eq!(house.texts(other).len(), 2_999, "others get everything");
    // It reads again: what it was owed, then the gap, then what is new.
    house.stuck.clear();
    house.shard.handle_sent(slow, house.now);
    house.settle();
    let texts = house.texts(slow);
    let gap = format!(r#"{{"type":"gap","since":"{}"}}"#, Wall(i64::try_from(dropped_from).unwrap()));
    assert_eq!(texts.last(), Some(&gap));
    assert_eq!(texts.len(), usize::try_from(dropped_from).unwrap(), "all before the gap, and the gap");
    house.deliver("ada", 5_000);
    assert_eq!(house.texts(slow), [notification(5_000)]);
    house.pass(Duration::from_secs(15));
    assert!(house.heard(slow).1.is_none(), "it caught up in time");
}

#[test]
fn a_socket_that_stays_over_its_budget_is_cut_with_4429_in_ten_seconds() {
    let mut house = House::with(|plan| plan.gateway.limits.outbox_bytes = 70_000);
    let slow = house.user("ada");
    house.stuck.insert(slow);
    for n in 1..3_000 {
        house.deliver("ada", n);
    }
    house.take_frames();
    house.pass(limits::SLOW_CONSUMER_GRACE + Duration::from_millis(200));
    assert_eq!(house.shard.config.metrics.slow_consumers.get(), 1);
    assert!(matches!(house.take_frames().as_slice(), [.., Frame::Withdraw { .. }]));
    house.pass(limits::CLOSE_GRACE + Duration::from_millis(200));
    assert_eq!(house.closed.get(&slow), Some(&true), "it does not take its close either");
    assert_eq!(house.shard.sockets.pool.charged_bytes(), 0);
}

#[test]
fn a_message_that_is_not_finished_is_cut_though_bytes_drip_in() {
    let mut house = House::new();
    let ada = house.user("ada");
    let message = ws::frame(OpCode::Data(Data::Text), &[b' '; 100], Some(MASK));
    for byte in &message[..40] {
        house.receive(ada, &[*byte]);
        house.pass(Duration::from_millis(500));
    }
    assert_eq!(house.heard(ada).1.map(|close| close.0), Some(4408));
    let bob = house.user("bob");
    for byte in &message[..10] {
        house.receive(bob, &[*byte]);
        house.pass(Duration::from_millis(500));
    }
    house.receive(bob, &message[10..]);
    house.pass(Duration::from_secs(18));
    assert!(house.heard(bob).1.is_none());
}

#[test]
fn an_idle_connection_gives_back_what_it_needed_for_a_while() {
    let mut house = House::new();
    let ada = house.user("ada");
    let phone = house.websocket("/v1/connect?user=bob&device=phone");
    for key in [ada, phone] {
        house.say(key, r#"{"type":"sync"}"#);
        conversing::reply(&mut house, key, conversing::page(&[1], false));
        let frame = ws::frame(OpCode::Data(Data::Text), br#"{"type":"ping","t":1}"#, Some(MASK));
        house.receive(key, &frame[..5]);
        house.receive(key, &frame[5..]);
        house.say(key, r#"{"type":"sync","cursor":"lost"}"#);
    }
    let holds = |house: &mut House, key| {
        let connection = house.shard.sockets.slab.get(key).expect("it is open");
        (connection.if_passing().is_some(), connection.extra.is_some())
    };
    assert_eq!((holds(&mut house, ada), holds(&mut house, phone)), ((true, true), (true, true)));
    house.pass(limits::SYNC_PAUSE_MAX + Duration::from_secs(25));
    assert_eq!((holds(&mut house, ada), holds(&mut house, phone)), ((false, false), (false, true)));
}
