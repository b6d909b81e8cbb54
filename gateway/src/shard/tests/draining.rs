//! Leaving in order.

use super::*;

fn drain(kind: DrainKind, code: u16) {
    let mut house = House::new();
    let keys: Vec<Key> = (0..100).map(|n| house.user(&format!("u{n}"))).collect();
    let stream = house.accept();
    house.receive(stream, get("/v1/events?user=s", "").as_bytes());
    house.sent.clear();
    house.shard.handle_drain(kind, house.now);
    house.shard.handle_drain(DrainKind::GoingAway, house.now);
    let started = house.now.mono;
    assert_eq!(house.ask(&get("/v1/admission", "")).0, 503);
    let key = house.accept();
    house.receive(key, &upgrade_request("/v1/connect?user=late", &[]));
    assert_eq!(house.answer(key).0, 503);

    let mut advised = Vec::new();
    let (mut texts_of, mut closes) = (HashMap::<Key, usize>::new(), 0);
    while !house.is_drained {
        house.pass(Duration::from_secs(1));
        let before = texts_of.len();
        for key in &keys {
            let (texts, close) = house.heard(*key);
            if texts.iter().any(|text| text.contains("\"reconnect\"")) {
                *texts_of.entry(*key).or_default() += 1;
            }
            if let Some((found, _)) = close {
                assert_eq!(found, code);
                assert_eq!(texts_of.get(key), Some(&1), "advised before it is closed");
                closes += 1;
            }
        }
        advised.push(texts_of.len() - before);
        // A notification still reaches who is there.
        house.deliver("u99", house.now.mono.0.into());
        assert!(house.now.mono.since(started) < Duration::from_secs(31));
    }
    assert_eq!(closes, 100);
    assert!(advised.iter().all(|n| *n <= 7), "not all at once: {advised:?}");
    assert_eq!(house.shard.open_sessions(), 0);
    house.pass(Duration::from_secs(3));
    assert_eq!(house.shard.connections(), 0);
}

#[test]
fn a_restart_advises_then_closes_with_1012_inside_the_window() {
    drain(DrainKind::Restart, 1012);
}

#[test]
fn going_away_advises_then_closes_with_1001_inside_the_window() {
    drain(DrainKind::GoingAway, 1001);
}

#[test]
fn an_empty_shard_is_drained_at_once() {
    let mut house = House::new();
    house.shard.handle_drain(DrainKind::Restart, house.now);
    house.settle();
    assert!(house.is_drained);
}

#[test]
fn a_drain_that_is_hurried_closes_everybody_now() {
    let mut house = House::new();
    let keys: Vec<Key> = (0..100).map(|n| house.user(&format!("u{n}"))).collect();
    house.shard.handle_hurry(house.now);
    house.pass(Duration::from_secs(1));
    assert_eq!(house.shard.open_sessions(), 100, "without a drain it means nothing");
    house.shard.handle_drain(DrainKind::Restart, house.now);
    house.pass(Duration::from_secs(2));
    house.shard.handle_hurry(house.now);
    house.pass(Duration::from_millis(200));
    assert!(house.is_drained);
    for key in &keys {
        assert_eq!(house.heard(*key).1.map(|close| close.0), Some(1012));
    }
}
