//! From a router's frame to the sockets it is for, and to no others.

use std::collections::BTreeSet;

use wire::link::{DeliveryResult, Revoked, SessionKey};

use super::*;

fn announced(frames: &[Frame]) -> Vec<&str> {
    frames
        .iter()
        .filter_map(|frame| match frame {
            Frame::Announce { user } => Some(user.as_str()),
            _ => None,
        })
        .collect()
}

#[test]
fn a_connection_walks_from_bytes_to_a_notification() {
    let mut house = House::new();
    let ada = house.user("ada");
    let eve = house.user("eve");
    assert_eq!(announced(&house.take_frames()), ["ada", "eve"]);
    house.deliver("ada", 7);
    assert_eq!(house.texts(ada), [notification(7)]);
    assert!(house.texts(eve).is_empty(), "nothing crosses users");
    assert_eq!(house.results(), [(7, DeliveryResult::Sent { sockets: 1 })]);
    house.deliver("nobody", 8);
    assert_eq!(house.results(), [(8, DeliveryResult::None)]);
}

#[test]
fn a_request_may_come_byte_by_byte_and_the_first_frame_right_behind_it() {
    let mut house = House::new();
    let key = house.accept();
    let mut bytes = upgrade_request("/v1/connect?user=ada", &["tocsin.v1"]);
    bytes.extend_from_slice(&ws::frame(OpCode::Data(Data::Text), br#"{"type":"ping","t":9}"#, Some(MASK)));
    for byte in &bytes[..bytes.len() - 5] {
        house.receive(key, &[*byte]);
    }
    house.receive(key, &bytes[bytes.len() - 5..]);
    let texts = house.texts(key);
    assert_eq!(texts.len(), 2);
    assert_eq!(texts[1], r#"{"type":"pong","t":9}"#);

    let key = house.accept();
    house.receive(key, &bytes);
    assert_eq!(house.texts(key).len(), 2, "in one piece");
}

#[test]
fn all_devices_of_a_user_get_it_and_tell_excepts_one() {
    let mut house = House::new();
    let phone = house.websocket("/v1/connect?user=ada&device=phone");
    let laptop = house.websocket("/v1/connect?user=ada&device=laptop");
    assert_eq!(announced(&house.take_frames()), ["ada"], "announced once");
    house.deliver("ada", 1);
    assert_eq!(house.texts(phone), house.texts(laptop));
    assert_eq!(house.results(), [(1, DeliveryResult::Sent { sockets: 2 })]);
    let text = bytes::Bytes::from_static(br#"{"type":"dismiss","ids":[]}"#);
    house.router(Frame::Tell { user: "ada".to_owned(), except: Some(phone.session()), text });
    assert!(house.texts(phone).is_empty());
    assert_eq!(house.texts(laptop).len(), 1);
}

#[test]
fn the_same_device_replaces_its_older_connection() {
    let mut house = House::new();
    let old = house.websocket("/v1/connect?user=ada&device=phone");
    let other_user = house.websocket("/v1/connect?user=eve&device=phone");
    let new = house.websocket("/v1/connect?user=ada&device=phone");
    assert_eq!(house.heard(old).1.map(|close| close.0), Some(4409));
    assert!(house.heard(other_user).1.is_none());
    let by_hello = house.user("ada");
    house.say(by_hello, r#"{"type":"hello","device":"phone","app":"ios/7"}"#);
    assert_eq!(house.heard(new).1.map(|close| close.0), Some(4409));
    house.deliver("ada", 1);
    assert_eq!(house.texts(by_hello).len(), 1);
    let frames = house.take_frames();
    assert!(!frames.iter().any(|frame| matches!(frame, Frame::Withdraw { .. })), "ada was here all along");
}

#[test]
fn a_device_is_connected_once_on_the_whole_node() {
    let mut here = House::new();
    here.shard.set_siblings(true);
    let old = here.websocket("/v1/connect?user=ada&device=phone");
    let laptop = here.websocket("/v1/connect?user=ada&device=laptop");
    let first = here.named[0].clone();
    let mut there = House::new();
    there.shard.set_siblings(true);
    there.pass(Duration::from_secs(1));
    let new = there.websocket("/v1/connect?user=ada&device=phone");
    let second = there.named[0].clone();
    assert!(second.stamp > first.stamp);
    let now = there.now;
    there.shard.handle_named(&first, now);
    there.settle();
    assert!(there.heard(new).1.is_none(), "the older one replaces nobody");
    here.shard.handle_named(&second, now);
    here.settle();
    assert_eq!(here.heard(old).1.map(|close| close.0), Some(4409));
    assert!(here.heard(laptop).1.is_none());
    // At the very same time, one of the two wins on both shards.
    let (low, high) =
        (Named { stamp: (Mono(9), 3), ..first.clone() }, Named { stamp: (Mono(9), 4), ..first });
    assert!(low.stamp < high.stamp);
}

#[test]
fn first_and_last_are_told_to_the_router() {
    let mut house = House::new();
    let one = house.user("ada");
    let two = house.user("ada");
    house.router(Frame::Topics { user: "ada".to_owned(), topics: vec!["t".to_owned()] });
    house.take_frames();
    house.shard.handle_ended(one, house.now);
    house.settle();
    assert!(house.take_frames().is_empty());
    house.shard.handle_ended(two, house.now);
    house.settle();
    let gone = house.take_frames();
    assert_eq!(
        gone,
        [Frame::Unsubscribe { topic: "t".to_owned() }, Frame::Withdraw { user: "ada".to_owned() }]
    );
    assert_eq!((house.shard.connections(), house.shard.config.admission.live()), (0, 0));
}

#[test]
fn a_topic_reaches_its_subscribers_and_everyone_reaches_everyone() {
    let mut house = House::new();
    let keys: Vec<Key> = (0..50).map(|n| house.user(&format!("u{n}"))).collect();
    for n in 0..20 {
        house.router(Frame::Topics { user: format!("u{n}"), topics: vec!["news".to_owned()] });
    }
    house.take_frames();
    house.broadcast(Some("news"), 1);
    assert_eq!(house.results(), [(1, DeliveryResult::Sent { sockets: 20 })]);
    house.broadcast(None, 2);
    assert_eq!(house.results(), [(2, DeliveryResult::Sent { sockets: 50 })]);
    house.broadcast(Some("silence"), 3);
    assert_eq!(house.results(), [(3, DeliveryResult::None)]);
    for (n, key) in keys.iter().enumerate() {
        assert_eq!(house.texts(*key).len(), if n < 20 { 2 } else { 1 }, "u{n}");
    }
}

#[test]
fn who_is_sent_something_of_its_own_goes_before_a_sweep_and_the_sweep_takes_short_turns_beside_it() {
    let wide = AdmissionLimits { soft: 10_000, hard: 10_000, accept_rate: 1_000_000_000 };
    let mut house = House::with(|plan| plan.limits = wide);
    for n in 0..1_000 {
        house.user(&format!("u{n}"));
    }
    let alone = house.user("alone");
    let everyone = Frame::Broadcast {
        tag: 1,
        id: Uuid::from_u128(1),
        created_at: Wall(1),
        topic: None,
        text: notification(1).into(),
    };
    house.shard.handle_link_frame(0, everyone, house.now);
    house.shard.handle_timeout(house.now);
    let deliver = Frame::Deliver {
        tag: 2,
        id: Uuid::from_u128(2),
        created_at: Wall(2),
        user: "alone".to_owned(),
        text: notification(2).into(),
    };
    house.shard.handle_link_frame(0, deliver, house.now);
    let sends = |house: &mut House| {
        let mut sends = Vec::new();
        while let Some(output) = house.shard.poll_output() {
            match output {
                Output::Send { key } => sends.push(Some(key)),
                Output::Flush => sends.push(None),
                _ => {}
            }
            house.carry_out(output);
        }
        sends
    };
    let first = sends(&mut house);
    assert_eq!(first[..2], [Some(alone), None], "its own send, and to the kernel with it");
    assert_eq!(first.len(), 2 + limits::FANOUT_SOCKETS_PER_TURN);
    house.shard.handle_timeout(house.now);
    assert_eq!(
        sends(&mut house).len(),
        limits::FANOUT_SOCKETS_BESIDE_OTHERS,
        "nobody else, nothing to flush"
    );
    house.turn_clock(house.now.mono + limits::FANOUT_HEEDS_OTHERS);
    house.shard.handle_timeout(house.now);
    assert_eq!(sends(&mut house).len(), limits::FANOUT_SOCKETS_PER_TURN);
}

#[test]
fn a_large_room_takes_turns_and_others_are_served_between_them() {
    let wide = AdmissionLimits { soft: 10_000, hard: 10_000, accept_rate: 1_000_000_000 };
    let mut house = House::with(|plan| plan.limits = wide);
    for n in 0..3_000 {
        house.user(&format!("u{n}"));
    }
    house.sent.clear();
    let everyone = |n: u128| Frame::Broadcast {
        tag: n as u64,
        id: Uuid::from_u128(n),
        created_at: Wall(1),
        topic: None,
        text: notification(n).into(),
    };
    house.shard.handle_link_frame(0, everyone(1), house.now);
    let mut turns = 0;
    while house.shard.poll_timeout() == Some(Mono::ZERO) {
        house.shard.handle_timeout(house.now);
        let mut sends = 0;
        while let Some(output) = house.shard.poll_output() {
            sends += usize::from(matches!(output, Output::Send { .. }));
            house.carry_out(output);
        }
        // The single delivery below is one more.
        assert!(sends <= limits::FANOUT_SOCKETS_PER_TURN + 1, "{sends} in one turn");
        turns += 1;
        if turns == 2 {
            let deliver = Frame::Deliver {
                tag: 99,
                id: Uuid::from_u128(99),
                created_at: Wall(2),
                user: "u2999".to_owned(),
                text: notification(99).into(),
            };
            house.shard.handle_link_frame(0, deliver, house.now);
            // More for the same room waits, and goes in one sweep.
            house.shard.handle_link_frame(0, everyone(2), house.now);
            house.shard.handle_link_frame(0, everyone(3), house.now);
        }
    }
    assert!(turns >= 12, "{turns}");
    let results: Vec<u64> = house.results().into_iter().map(|(tag, _)| tag).collect();
    assert_eq!(results, [99, 1, 2, 3], "the single delivery was answered first");
    for (key, bytes) in &house.sent {
        let text = String::from_utf8_lossy(bytes);
        let at = |n: u32| text.find(&format!("\"n{n}\"")).unwrap_or_else(|| panic!("{key:?} misses {n}"));
        assert!(at(1) < at(2) && at(2) < at(3));
    }
    assert_eq!(house.sent.len(), 3_000);
}

#[test]
fn credit_comes_back_for_every_paid_frame() {
    let mut house = House::new();
    house.user("ada");
    let batches = 3;
    for n in 0..u128::from(limits::LINK_CREDIT_BATCH) * batches {
        match n % 3 {
            0 => house.deliver("ada", n),
            1 => house.deliver("nobody", n),
            _ => house.broadcast(None, n),
        }
    }
    let granted: u32 = house
        .take_frames()
        .iter()
        .map(|frame| if let Frame::Credit { frames } = frame { *frames } else { 0 })
        .sum();
    assert_eq!(u128::from(granted), u128::from(limits::LINK_CREDIT_BATCH) * batches);
}

#[test]
fn revoked_users_and_sessions_are_closed_and_others_are_not() {
    let mut house = House::new();
    let ada = house.user("ada");
    let eve = house.accept();
    house.receive(eve, &upgrade_request("/v1/connect?user=eve", &[]));
    let welcome: serde_json::Value = serde_json::from_str(&house.texts(eve)[0]).unwrap();
    let session = welcome["session"].as_str().unwrap().to_owned();
    let bob = house.user("bob");
    house.router(Frame::Revoke { who: Revoked::User("ada".to_owned()) });
    assert_eq!(house.heard(ada).1.map(|close| close.0), Some(4401));
    for other in ["", "x", "000000000000b007.3", &session[1..], "000000000000b008.3.100000002"] {
        house.router(Frame::Revoke { who: Revoked::Session(other.to_owned()) });
    }
    assert!(house.heard(eve).1.is_none());
    house.router(Frame::Revoke { who: Revoked::Session(session) });
    assert_eq!(house.heard(eve).1.map(|close| close.0), Some(4401));
    assert!(house.heard(bob).1.is_none());
}

#[test]
fn a_routers_gap_is_told_to_every_socket() {
    let mut house = House::new();
    let keys: BTreeSet<Key> = (0..5).map(|n| house.user(&format!("u{n}"))).collect();
    house.router(Frame::Gap { since: Wall(0) });
    for key in keys {
        assert_eq!(house.texts(key), [r#"{"type":"gap","since":"1970-01-01T00:00:00.000000Z"}"#]);
    }
}

#[test]
fn after_a_lost_link_every_socket_is_told_to_sync_once_the_router_knows_it_again() {
    let mut house = House::new();
    let ada = house.user("ada");
    house.shard.handle_link_down(0, house.now);
    let lost = house.now.wall - limits::LINK_SILENCE_MAX;
    house.pass(Duration::from_secs(1));
    house.shard.handle_link_up(0, house.now);
    house.settle();
    assert!(house.texts(ada).is_empty(), "the router does not know who is here yet");
    house.link_up();
    let gap = format!(r#"{{"type":"gap","since":"{lost}"}}"#);
    assert_eq!(house.texts(ada), [gap]);
    house.pass(Duration::from_secs(30));
    assert!(house.texts(ada).iter().all(|text| !text.contains("gap")), "once");
}

#[test]
fn a_reply_to_a_session_that_is_gone_goes_nowhere() {
    let mut house = House::new();
    let ada = house.user("ada");
    house.shard.handle_ended(ada, house.now);
    house.settle();
    house.router(Frame::Reply { session: SessionKey(ada.0), text: bytes::Bytes::from_static(b"{}") });
    house.router(Frame::Reply { session: SessionKey(u64::MAX), text: bytes::Bytes::from_static(b"{}") });
    assert!(house.sent.is_empty());
}

#[test]
fn a_new_link_is_told_everything_again() {
    let mut house = House::new();
    for n in 0..10 {
        house.user(&format!("u{n}"));
    }
    house.shard.handle_link_down(0, house.now);
    house.shard.handle_link_up(0, house.now);
    let node = "r1".to_owned();
    house.router(Frame::Hello { major: MAJOR, minor: 0, node, shard: 0, boot: 2 });
    house.router(Frame::Owns { epoch: 1, generation: 1, count: 4, partitions: vec![0, 1, 2, 3] });
    let mut users = BTreeSet::new();
    let mut ends = 0;
    for frame in house.take_frames() {
        match frame {
            Frame::Snapshot { users: some, .. } => users.extend(some),
            Frame::SnapshotEnd { .. } => ends += 1,
            _ => {}
        }
    }
    assert_eq!((users.len(), ends), (10, 4));
}
