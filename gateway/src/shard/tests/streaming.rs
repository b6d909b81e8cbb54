//! Event streams and posted messages.

use super::*;

fn events(house: &mut House, key: Key) -> Vec<(Option<String>, serde_json::Value)> {
    let bytes = house.sent.remove(&key).unwrap_or_default();
    let text = String::from_utf8(bytes).unwrap();
    let body = text.split_once("\r\n\r\n").map_or(text.as_str(), |(_, body)| body);
    body.split("\n\n")
        .filter_map(|event| {
            let id = event.lines().find_map(|line| line.strip_prefix("id: ")).map(str::to_owned);
            let data = event.lines().find_map(|line| line.strip_prefix("data: "))?;
            Some((id, serde_json::from_str(data).unwrap()))
        })
        .collect()
}

fn open(house: &mut House, target: &str) -> Key {
    let key = house.accept();
    house.receive(key, get(target, "").as_bytes());
    key
}

fn page(range: std::ops::Range<u128>, has_more: bool) -> bytes::Bytes {
    let of = |n: u128| notification(n).replace(r#""type":"notification","#, "");
    let list: Vec<String> = range.map(of).collect();
    let list = list.join(",");
    format!(r#"{{"type":"sync_batch","notifications":[{list}],"cursor":"c","has_more":{has_more}}}"#).into()
}

fn id_of(n: u128) -> String {
    wire::sse::event_id(Wall(i64::try_from(n).unwrap()), Uuid::from_u128(n))
}

fn titles(events: &[(Option<String>, serde_json::Value)]) -> Vec<&str> {
    events.iter().filter_map(|(_, event)| event["title"].as_str()).collect()
}

fn syncs(house: &mut House) -> Vec<serde_json::Value> {
    house
        .take_frames()
        .into_iter()
        .filter_map(|frame| match frame {
            Frame::ClientMessage { text, .. } => Some(serde_json::from_slice(&text).unwrap()),
            _ => None,
        })
        .collect()
}

#[test]
fn streams_are_told_to_come_back_at_moments_of_their_own() {
    for (spread_ms, widest) in [(0, 1_000), (30_000, 30_000)] {
        let mut house = House::with(|plan| plan.gateway.reconnect_spread_ms = spread_ms);
        let mut waits: Vec<u64> = (0..200)
            .map(|n| {
                let key = open(&mut house, &format!("/v1/events?user=u{n}"));
                let head = String::from_utf8(house.sent.remove(&key).unwrap()).unwrap();
                let line = head.lines().find_map(|line| line.strip_prefix("retry: ")).unwrap();
                line.parse().unwrap()
            })
            .collect();
        waits.sort_unstable();
        assert!(waits[0] >= 100 && waits[0] < widest / 5 && waits[100].abs_diff(widest / 2) < widest / 5);
        assert!(waits[199] <= widest && waits[199] > widest * 4 / 5, "{waits:?}");
    }
}

#[test]
fn a_stream_begins_with_the_welcome_and_carries_notifications_with_their_place() {
    let mut house = House::new();
    let key = open(&mut house, "/v1/events?user=ada");
    let first = events(&mut house, key);
    assert_eq!(first[0].1["type"], "welcome");
    house.deliver("ada", 3);
    assert_eq!(events(&mut house, key), [(Some(id_of(3)), serde_json::from_str(&notification(3)).unwrap())]);
    assert!(syncs(&mut house).is_empty(), "it said no place: it is told no past");
    assert_eq!(house.shard.open_sessions(), 1);
    house.shard.handle_ended(key, house.now);
    house.settle();
    assert_eq!(house.shard.open_sessions(), 0);
}

#[test]
fn what_was_missed_is_replayed_to_the_end_and_nothing_comes_twice() {
    let mut house = House::new();
    let key = open(&mut house, &format!("/v1/events?user=ada&last_event_id={}", id_of(10)));
    events(&mut house, key);
    let asked = syncs(&mut house);
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0]["last_seen_at"], Wall(10).to_string());
    house.deliver("ada", 62);
    let live = events(&mut house, key);
    assert_eq!(titles(&live), ["n62"]);
    assert_eq!(live[0].0, None, "a place that the replay has not reached");
    let session = key.session();
    house.router(Frame::Reply { session, text: page(10..60, true) });
    let replayed = events(&mut house, key);
    assert_eq!(replayed.len(), 49, "all but the one it had");
    assert_eq!(replayed[0].0, Some(id_of(11)));
    assert_eq!(syncs(&mut house)[0]["cursor"], "c");
    house.router(Frame::Reply { session, text: page(60..65, false) });
    assert_eq!(titles(&events(&mut house, key)), ["n60", "n61", "n63", "n64"]);
    assert!(syncs(&mut house).is_empty());
    house.deliver("ada", 66);
    assert_eq!(events(&mut house, key)[0].0, Some(id_of(66)), "live again");
}

#[test]
fn a_replay_is_as_fast_as_its_reader() {
    let mut house = House::with(|plan| plan.gateway.limits.outbox_bytes = 70_000);
    let key = open(&mut house, &format!("/v1/events?user=ada&last_event_id={}", id_of(1)));
    house.settle();
    house.stuck.insert(key);
    house.sent.clear();
    let large = |n: u128| {
        notification(n)
            .replace(r#""type":"notification","#, "")
            .replace("\"n", &format!("\"{}n", "x".repeat(8_000)))
    };
    let list: Vec<String> = (2..52).map(large).collect();
    let text = format!(
        r#"{{"type":"sync_batch","notifications":[{}],"cursor":"c","has_more":false}}"#,
        list.join(",")
    );
    house.router(Frame::Reply { session: key.session(), text: text.into() });
    assert!(house.shard.sockets.pool.charged_bytes() < 70_000, "400 KB do not pile up");
    let mut rounds = 0;
    while house.shard.sockets.slab.get(key).is_some_and(|c| c.queue.is_sending()) {
        house.shard.handle_sent(key, house.now);
        house.settle();
        rounds += 1;
        assert!(rounds < 100);
    }
    assert_eq!(events(&mut house, key).len(), 50);
    assert!(rounds > 5, "{rounds}");
    assert_eq!(house.shard.config.metrics.gaps.get(), 0);
}

#[test]
fn a_replay_that_no_router_answers_ends_the_stream() {
    let mut house = House::new();
    let key = open(&mut house, &format!("/v1/events?user=ada&last_event_id={}", id_of(1)));
    house.pass(Duration::from_secs(11));
    assert!(house.closed.contains_key(&key), "its client comes back to where it was");
    let error = bytes::Bytes::from_static(br#"{"type":"error","code":"bad_cursor","message":""}"#);
    let key = open(&mut house, &format!("/v1/events?user=ada&last_event_id={}", id_of(1)));
    house.router(Frame::Reply { session: key.session(), text: error });
    assert!(house.closed.contains_key(&key));
}

#[test]
fn a_quiet_stream_is_kept_alive_and_a_dead_one_is_closed() {
    let mut house = House::new();
    let quiet = open(&mut house, "/v1/events?user=ada");
    let dead = open(&mut house, "/v1/events?user=eve");
    house.sent.clear();
    house.stuck.insert(dead);
    house.pass(Duration::from_secs(120));
    let kept = String::from_utf8(house.sent.remove(&quiet).unwrap()).unwrap();
    assert!(kept.len() >= 3 * 4 && kept.replace(":\n\n", "").is_empty(), "{kept:?}");
    assert!(!house.closed.contains_key(&quiet));
    assert!(house.closed.contains_key(&dead));
}

#[test]
fn posted_messages_are_answered_in_the_response() {
    let mut house = House::new();
    let (status, _, body) = house.ask(&post("/v1/messages?user=ada", r#"{"type":"ping","t":4}"#));
    assert_eq!((status, body.as_str()), (200, r#"{"type":"pong","t":4}"#));
    let (status, _, body) = house.ask(&post("/v1/messages?user=ada", "nonsense"));
    assert_eq!(status, 400);
    assert!(body.contains("\"code\":\"bad_json\""), "{body}");
    let (status, ..) = house.ask(&post("/v1/messages?user=ada", r#"{"type":"ack","ids":[]}"#));
    assert_eq!(status, 202);
    assert_eq!(syncs(&mut house).len(), 1);
    let (status, ..) = house.ask(&post("/v1/messages?user=ada", r#"{"type":"hello","device":"d"}"#));
    assert_eq!(status, 202);
    assert!(
        !house.frames.iter().any(|frame| matches!(frame, Frame::Announce { .. })),
        "a post is no presence"
    );
}

#[test]
fn a_posted_question_waits_for_the_routers_reply() {
    let mut house = House::new();
    let key = house.accept();
    let request = post("/v1/messages?user=ada", r#"{"type":"sync"}"#);
    let (head, body) = request.split_at(request.len() - 4);
    house.receive(key, head.as_bytes());
    assert!(syncs(&mut house).is_empty());
    house.receive(key, body.as_bytes());
    assert_eq!(syncs(&mut house).len(), 1);
    house.router(Frame::Reply { session: key.session(), text: page(1..2, false) });
    let (status, _, body) = house.answer(key);
    assert_eq!(status, 200);
    assert!(body.starts_with(r#"{"type":"sync_batch""#));
    assert!(house.closed.contains_key(&key));

    let unanswered = house.accept();
    house.receive(unanswered, request.as_bytes());
    house.pass(Duration::from_secs(11));
    assert_eq!(house.answer(unanswered).0, 503);
    let half = house.accept();
    house.receive(half, head.as_bytes());
    house.pass(Duration::from_secs(11));
    assert_eq!(house.answer(half).0, 408);
    house.shard.handle_link_down(0, house.now);
    let (status, head, _) = house.ask(&post("/v1/messages?user=ada", r#"{"type":"ack","ids":[]}"#));
    assert_eq!(status, 503, "202 would be a lie");
    assert!(head.contains("Retry-After: 2"));
}

#[test]
fn answers_to_allowed_pages_may_be_read_by_them() {
    let mut house = House::new();
    let origin = "http://localhost:8080";
    let request = post("/v1/messages?user=ada", r#"{"type":"ping","t":4}"#)
        .replace("Content-Length", &format!("Origin: {origin}\r\nContent-Length"));
    let (status, head, _) = house.ask(&request);
    assert_eq!(status, 200);
    assert!(head.contains(&format!("Access-Control-Allow-Origin: {origin}")), "{head}");
    let preflight = get("/v1/messages", &format!("Origin: {origin}\r\n")).replacen("GET", "OPTIONS", 1);
    let (status, head, _) = house.ask(&preflight);
    assert_eq!(status, 204);
    assert!(head.contains("Access-Control-Allow-Headers: Authorization"), "{head}");
    let evil = preflight.replace(origin, "http://evil.example");
    assert_eq!(house.ask(&evil).0, 403);
}

#[test]
fn posted_messages_are_held_to_the_pace_of_a_socket() {
    let mut house = House::with(|plan| plan.gateway.limits.messages_per_minute = 5);
    let say = |house: &mut House, user: &str| {
        house.ask(&post(&format!("/v1/messages?user={user}"), r#"{"type":"ping","t":1}"#))
    };
    let answers: Vec<u16> = (0..7).map(|_| say(&mut house, "ada").0).collect();
    assert_eq!(answers, [200, 200, 200, 200, 200, 429, 429]);
    let (_, head, body) = say(&mut house, "ada");
    assert_eq!(admitted::retry_after(&head), 12);
    assert!(body.contains(r#""error":"too_many""#) && body.contains(r#""retry_after_ms":12000"#), "{body}");
    assert_eq!(say(&mut house, "bob").0, 200, "others are not held to it");
    house.pass(Duration::from_secs(12));
    assert_eq!((say(&mut house, "ada").0, say(&mut house, "ada").0), (200, 429));
}

#[test]
fn a_replay_that_nobody_reads_is_not_kept() {
    let mut house = House::with(|plan| plan.gateway.limits.outbox_bytes = 70_000);
    let titled = format!(r#""title":"{}"#, "x".repeat(3_000));
    let text = String::from_utf8(page(2..52, false).to_vec()).unwrap().replace(r#""title":""#, &titled);
    let stopped = open(&mut house, &format!("/v1/events?user=ada&last_event_id={}", id_of(1)));
    let slow = open(&mut house, &format!("/v1/events?user=bob&last_event_id={}", id_of(1)));
    for key in [stopped, slow] {
        house.stuck.insert(key);
        house.router(Frame::Reply { session: key.session(), text: text.clone().into() });
    }
    for _ in 0..9 {
        house.pass(Duration::from_secs(1));
        house.shard.handle_sent(slow, house.now);
        house.settle();
    }
    assert_eq!(house.shard.config.metrics.slow_consumers.get(), 1);
    house.pass(Duration::from_secs(2));
    assert_eq!(house.closed.get(&stopped), Some(&true), "it takes its last bytes no more than the others");
    assert!(!house.closed.contains_key(&slow), "slow is not stopped");
    assert!(house.shard.sockets.pool.charged_bytes() < 70_000);
}
