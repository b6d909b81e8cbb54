//! Others can write into the list: what is no record of ours stands aside and is counted, and ours flow.

use serde_json::json;
use tests::until_within;

use crate::support::{
    ASIDE, LIST, NOTICED_WITHIN, OnBoth, criticals, inbox, is_standing, outage, redis, sorted, wait_for_redis,
};

#[test]
fn values_that_are_no_records_stand_aside() {
    let mut system = OnBoth::start();
    system.kafka_dies();
    let first = criticals(&system.tocsin, 3);
    system.wait_for_list(3);
    let ours = system.redis.values(LIST)[0].clone();
    let hostile: Vec<Vec<u8>> = vec![
        b"hush".to_vec(),
        vec![0, 0xff, 0xfe, b'\r', b'\n'],
        vec![b'x'; 2 * 1024 * 1024],
        format!("{}{}", "[".repeat(50_000), "]".repeat(50_000)).into_bytes(),
        ours.replace("\"critical\"", "\"low\"").into_bytes(),
        ours.replace("\"v\":1", "\"v\":9").into_bytes(),
        b"{\"id\":null}".to_vec(),
    ];
    for value in &hostile {
        system.redis.ask_with(&["RPUSH", LIST], Some(value));
    }
    // One of ours once more, as after a push that was not answered in time; and one that another router had.
    system.redis.ask_with(&["RPUSH", LIST], Some(ours.as_bytes()));
    let foreign = "0198c5a0-0000-7000-8000-000000000001";
    let record = json!({
        "v": 1, "id": foreign, "service": "shop", "accepted_at": ops::clock::Clock::start().wall(),
        "sequence": { "boot": 1, "partition": 0, "seq": 1 },
        "request": { "to": { "user": "ada" }, "priority": "critical", "title": "another router's" },
    });
    system.redis.ask_with(&["RPUSH", LIST], Some(record.to_string().as_bytes()));
    let mut accepted = criticals(&system.tocsin, 2);
    accepted.extend(first);
    system.kafka_returns();
    system.wait_for_empty();
    accepted.push(foreign.to_owned());
    until_within(NOTICED_WITHIN, "the other router's came, too", || {
        (inbox(&system.tocsin).len() >= accepted.len()).then_some(())
    });
    assert_eq!(inbox(&system.tocsin), sorted(accepted), "each once");
    assert_eq!(system.redis.length(ASIDE), hostile.len(), "nothing of it is lost");
    assert!(is_standing(&system.tocsin, "redis_foreign_values"));
    let shown = outage(&system.tocsin)["mirror"].clone();
    assert_eq!((&shown["foreign"], &shown["rescued"]), (&hostile.len().into(), &1.into()), "{shown}");
    let log = system.tocsin.gateway.as_ref().expect("it runs").log();
    assert!(!log.contains("hush"), "no payload in the log");
}

#[test]
fn a_key_that_is_no_list_is_told_and_stops_nothing() {
    let mut system = OnBoth::start();
    system.redis.ask(&["SET", LIST, "no list"]);
    wait_for_redis(&system.tocsin, "down");
    let shown = redis(&system.tocsin);
    assert!(shown["detail"].as_str().is_some_and(|text| text.contains("WRONGTYPE")), "{shown}");
    system.kafka_dies();
    let accepted = criticals(&system.tocsin, 10);
    system.redis.ask(&["DEL", LIST]);
    wait_for_redis(&system.tocsin, "up");
    system.wait_for_list(10);
    system.kafka_returns();
    system.wait_for_empty();
    assert_eq!(inbox(&system.tocsin), sorted(accepted));
}
