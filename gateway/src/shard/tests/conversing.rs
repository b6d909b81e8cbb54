//! What clients say on a WebSocket, and what they are answered.

use super::*;

fn client_messages(house: &mut House) -> Vec<(String, SessionKeyed, String)> {
    house
        .take_frames()
        .into_iter()
        .filter_map(|frame| match frame {
            Frame::ClientMessage { user, session, text } => {
                Some((user, session, String::from_utf8(text.to_vec()).unwrap()))
            }
            _ => None,
        })
        .collect()
}

type SessionKeyed = wire::link::SessionKey;

pub(super) fn page(ids: &[u128], has_more: bool) -> bytes::Bytes {
    let of = |n: &u128| notification(*n).replace(r#""type":"notification","#, "");
    let list: Vec<String> = ids.iter().map(of).collect();
    let list = list.join(",");
    format!(r#"{{"type":"sync_batch","notifications":[{list}],"cursor":"c","has_more":{has_more}}}"#).into()
}

pub(super) fn reply(house: &mut House, key: Key, text: bytes::Bytes) {
    house.router(Frame::Reply { session: key.session(), text });
}

#[test]
fn what_is_not_ours_to_answer_goes_to_the_router_as_it_was_said() {
    let mut house = House::new();
    let ada = house.user("ada");
    house.take_frames();
    let said = [
        r#"{"type":"sync","cursor":null}"#,
        r#"{"type":"ack","ids":["00000000-0000-0000-0000-000000000001"]}"#,
        r#"{"type":"read","ids":[]}"#,
        r#"{"type":"subscribe","topics":["t"]}"#,
        r#"{"type":"unsubscribe","topics":["t"]}"#,
    ];
    for text in said {
        house.say(ada, text);
    }
    let passed_on = client_messages(&mut house);
    assert_eq!(passed_on.len(), said.len());
    for ((user, session, text), said) in passed_on.iter().zip(said) {
        assert_eq!((user.as_str(), *session, text.as_str()), ("ada", ada.session(), said));
    }
    reply(&mut house, ada, bytes::Bytes::from_static(b"{\"type\":\"subscribed\",\"topics\":[]}"));
    assert_eq!(house.texts(ada), ["{\"type\":\"subscribed\",\"topics\":[]}"]);
}

#[test]
fn bad_messages_are_answered_with_their_code_and_the_session_goes_on() {
    let mut house = House::new();
    let ada = house.user("ada");
    house.take_frames();
    let table = [
        ("nonsense", "bad_json"),
        (r#"{"type":"shout"}"#, "unknown_type"),
        (r#"{"type":"ack","ids":"x"}"#, "bad_field"),
        (r#"{"type":"hello","device":"a\u0000b"}"#, "bad_field"),
        (r#"{"type":"hello","device":""}"#, "bad_field"),
    ];
    for (said, code) in table {
        house.say(ada, said);
        let texts = house.texts(ada);
        assert_eq!(texts.len(), 1, "{said}");
        assert!(texts[0].contains(&format!("\"code\":\"{code}\"")), "{said}: {}", texts[0]);
    }
    assert!(client_messages(&mut house).is_empty());
    house.deliver("ada", 1);
    assert_eq!(house.texts(ada).len(), 1);
}

#[test]
fn a_flood_of_messages_or_pings_is_closed_with_1008() {
    let mut house = House::new();
    let ada = house.user("ada");
    for n in 0..101 {
        house.say(ada, &format!(r#"{{"type":"ping","t":{n}}}"#));
    }
    let (texts, close) = house.heard(ada);
    assert_eq!((texts.len(), close.map(|close| close.0)), (100, Some(1008)));

    let bob = house.user("bob");
    let ping = ws::ping_frame(b"x", Some(MASK)).repeat(121);
    house.receive(bob, &ping);
    assert_eq!(house.heard(bob).1.map(|close| close.0), Some(1008));

    let eve = house.user("eve");
    for n in 0..300 {
        house.say(eve, &format!(r#"{{"type":"ping","t":{n}}}"#));
        house.pass(Duration::from_millis(600));
    }
    assert!(house.heard(eve).1.is_none(), "one every 600 ms is what is allowed");
}

#[test]
fn broken_frames_are_closed_with_the_code_that_the_session_says() {
    let frames: [(&[u8], u16); 5] = [
        (b"\x81\x02hi", 1002),                                               // not masked
        (b"\xc1\x80\x01\x02\x03\x04", 1002),                                 // a reserved bit
        (b"\x82\x80\x01\x02\x03\x04", 1003),                                 // binary
        (b"\x81\x81\x00\x00\x00\x00\xff", 1007),                             // not UTF-8
        (b"\x81\xff\x00\x00\x00\x00\x00\x10\x00\x00\x01\x02\x03\x04", 1009), // a megabyte
    ];
    for (frame, code) in frames {
        let mut house = House::new();
        let ada = house.user("ada");
        house.take_frames();
        house.receive(ada, frame);
        assert_eq!(house.heard(ada).1.map(|close| close.0), Some(code), "{frame:?}");
        assert!(matches!(house.take_frames()[..], [Frame::Withdraw { .. }]));
        house.receive(ada, frame);
        house.pass(Duration::from_secs(1));
        assert!(house.sent.is_empty() && house.closed.contains_key(&ada));
        assert_eq!(house.shard.connections(), 0);
    }
}

#[test]
fn a_close_is_answered_with_its_own_code_once() {
    let mut house = House::new();
    let ada = house.user("ada");
    let close = ws::close_frame(3_456, "bye", Some(MASK));
    house.receive(ada, &close);
    assert_eq!(house.heard(ada).1, Some((3_456, String::new())));
    assert_eq!(house.closed.get(&ada), Some(&false));
    assert_eq!(house.shard.open_sessions(), 0);
}

#[test]
fn our_close_waits_for_the_clients_and_then_ends() {
    let mut house = House::new();
    let ada = house.user("ada");
    house.router(Frame::Revoke { who: wire::link::Revoked::User("ada".to_owned()) });
    assert_eq!(house.heard(ada).1.map(|close| close.0), Some(4401));
    assert!(house.closed.is_empty(), "the client's answer is awaited");
    house.receive(ada, &ws::close_frame(4_401, "", Some(MASK)));
    assert_eq!(house.closed.get(&ada), Some(&false));

    let bob = house.user("bob");
    house.router(Frame::Revoke { who: wire::link::Revoked::User("bob".to_owned()) });
    house.pass(limits::CLOSE_GRACE * 2);
    assert!(house.closed.contains_key(&bob), "or not for ever");
}

#[test]
fn without_an_owner_messages_wait_and_then_their_sender_is_told_busy() {
    let mut house = House::new();
    let ada = house.user("ada");
    house.shard.handle_link_down(0, house.now);
    house.say(ada, r#"{"type":"sync"}"#);
    assert!(house.texts(ada).is_empty());
    house.pass(limits::LINK_PENDING_WAIT + Duration::from_millis(100));
    let texts = house.texts(ada);
    assert!(
        texts[0].contains(r#""code":"busy""#) && texts[0].contains(r#""retry_after_ms":2000"#),
        "{texts:?}"
    );

    house.say(ada, r#"{"type":"sync"}"#);
    house.link_up();
    assert!(house.texts(ada).iter().all(|text| text.contains("gap")));
    house.shard.handle_link_frame(0, Frame::Credit { frames: 1 }, house.now);
    house.say(ada, r#"{"type":"sync"}"#);
    assert!(!client_messages(&mut house).is_empty(), "after the link is back it goes");
}

#[test]
fn a_users_connections_are_bounded() {
    let mut house = House::with(|plan| plan.gateway.limits.connections_per_user = 3);
    for _ in 0..3 {
        house.user("ada");
    }
    let key = house.accept();
    house.receive(key, &upgrade_request("/v1/connect?user=ada", &[]));
    assert_eq!(house.answer(key).0, 429);
    house.user("eve");
}
