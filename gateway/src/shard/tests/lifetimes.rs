//! Connections that have an end from the start.

use super::*;

fn limited(min_s: u64, max_s: u64, accept_rate: u64) -> House {
    House::with(|plan| {
        plan.gateway.lifetime_min_s = min_s;
        plan.gateway.lifetime_max_s = max_s;
        plan.limits.accept_rate = accept_rate;
    })
}

/// Lets a second pass; clients answer their pings, and leave when they are advised to if they are obedient.
fn second(house: &mut House, keys: &[Key], obedient: bool) -> (usize, Vec<u16>) {
    house.pass(Duration::from_secs(1));
    let (mut advised, mut closes) = (0, Vec::new());
    for key in keys {
        if !house.sent.contains_key(key) {
            continue;
        }
        let (texts, close) = house.heard(*key);
        closes.extend(close.map(|close| close.0));
        let told = texts.iter().filter(|text| text.contains("\"reconnect\"")).count();
        advised += told;
        if told > 0 && obedient {
            house.receive(*key, &ws::close_frame(1_000, "", Some(MASK)));
        } else if !house.closed.contains_key(key) {
            house.receive(*key, &ws::pong_frame(b"", Some(MASK)));
        }
    }
    (advised, closes)
}

#[test]
fn without_a_lifetime_nobody_is_moved() {
    let mut house = House::new();
    let keys = [house.user("ada")];
    for _ in 0..7_200 {
        assert_eq!(second(&mut house, &keys, false), (0, Vec::new()));
    }
    assert_eq!(house.shard.lifetimes.next_look(keys[0].index()), None);
}

#[test]
fn lives_end_spread_over_their_range_by_advice_and_then_1001() {
    let mut house = limited(600, 900, 1_000_000);
    let keys: Vec<Key> = (0..300).map(|n| house.user(&format!("u{n}"))).collect();
    let (mut advised, mut closed) = (Vec::new(), 0);
    for _ in 0..920 {
        let (told, closes) = second(&mut house, &keys, false);
        assert!(closes.iter().all(|code| *code == 1001), "{closes:?}");
        advised.push(told);
        closed += closes.len();
    }
    assert_eq!((advised.iter().sum::<usize>(), closed), (300, 300), "each is told once, then closed");
    assert!(advised[..599].iter().all(|told| *told == 0), "nobody earlier than the shortest life");
    let (first, second) = (advised[599..751].iter().sum::<usize>(), advised[751..].iter().sum::<usize>());
    assert!(first.abs_diff(second) < 90, "evenly: {first} and {second}");
    assert!(advised.iter().all(|told| *told <= 8), "never many at once: {advised:?}");
}

#[test]
fn who_moves_in_time_is_not_closed() {
    let mut house = limited(60, 60, 1_000_000);
    let keys = [house.user("ada")];
    let all: Vec<_> = (0..80).map(|_| second(&mut house, &keys, true)).collect();
    assert_eq!(all.iter().map(|(told, _)| told).sum::<usize>(), 1);
    assert_eq!(house.shard.open_sessions(), 0);
    assert_eq!(house.shard.metrics().closes_of(CloseCode::GoingAway), 0);
}

#[test]
fn lives_that_end_together_end_at_a_pace_and_pings_go_on() {
    // A tenth of the accept rate: five a second, though all five hundred are due at once.
    let mut house = limited(60, 60, 50);
    let keys: Vec<Key> = (0..500)
        .map(|n| {
            house.pass(Duration::from_millis(20));
            house.user(&format!("u{n}"))
        })
        .collect();
    let mut advised = Vec::new();
    for _ in 0..300 {
        let (told, closes) = second(&mut house, &keys, true);
        assert!(closes.iter().all(|code| *code == 1000), "nobody was cut meanwhile: {closes:?}");
        advised.push(told);
    }
    assert_eq!(advised.iter().sum::<usize>(), 500);
    assert!(advised.iter().all(|told| *told <= 7), "{advised:?}");
}

#[test]
fn a_drain_or_a_reload_takes_lives_over() {
    let mut house = limited(60, 60, 1_000_000);
    let keys = [house.user("ada")];
    house.shard.set_settings(Settings::from(&Gateway::default()));
    for _ in 0..90 {
        assert_eq!(second(&mut house, &keys, false).0, 0, "turned off");
    }
    let mut house = limited(20, 20, 1_000_000);
    let keys = [house.user("ada")];
    house.pass(Duration::from_secs(19));
    house.shard.handle_drain(DrainKind::Restart, house.now);
    let all: Vec<_> = (0..32).map(|_| second(&mut house, &keys, false)).collect();
    assert_eq!(all.iter().map(|(told, _)| told).sum::<usize>(), 1, "the drain's advice alone");
    assert!(all.iter().all(|(_, closes)| closes.iter().all(|code| *code == 1012)), "{all:?}");
}
