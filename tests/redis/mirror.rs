//! What the disk takes of critical records stands in the list, leaves it as it is drained, and is had from there when the disk
//! has lost it.

use serde_json::json;
use tests::until_within;

use crate::support::{
    LIST, OnBoth, RECOVERED_WITHIN, criticals, ids, inbox, is_standing, outage, over, sorted,
};

#[test]
fn critical_records_of_an_outage_stand_in_the_list_until_they_are_drained() {
    let mut system = OnBoth::start();
    assert_eq!(system.redis.length(LIST), 0);
    system.kafka_dies();
    let accepted = criticals(&system.tocsin, 60);
    system.tocsin.api().accepted(&json!({ "to": { "user": "bob" }, "title": "no hurry" }));
    system.wait_for_list(60);
    assert_eq!(ids(&system.redis.values(LIST)), accepted, "in their order, and nothing else");
    let shown = outage(&system.tocsin)["mirror"].clone();
    assert_eq!((&shown["mirrored"], &shown["length"]), (&60.into(), &60.into()), "{shown}");
    let page = system.tocsin.router_admin().get("/metrics").expect(200).text;
    assert!(page.contains("tocsin_router_buffer_depth{store=\"redis\"} 60"), "{page}");
    assert!(page.contains("tocsin_router_dependency_up{dependency=\"redis\"} 1"), "{page}");
    system.kafka_returns();
    system.wait_for_empty();
    assert_eq!(inbox(&system.tocsin), sorted(accepted), "once");
    let shown = outage(&system.tocsin)["mirror"].clone();
    assert_eq!((&shown["rescued"], &shown["foreign"]), (&0.into(), &0.into()), "{shown}");
    let lines = system.kafka.consume("notifications.critical", "%s\n");
    assert_eq!(lines.len(), 60, "what the disk brought the list does not bring again");
}

#[test]
fn a_new_node_delivers_what_a_lost_one_had_mirrored() {
    let mut system = OnBoth::start();
    system.kafka_dies();
    let accepted = criticals(&system.tocsin, 700);
    system.wait_for_list(700);
    system.tocsin.kill_9();
    std::fs::remove_dir_all(system.tocsin.folder().join("data")).expect("the disk is lost");
    system.kafka.start_again();
    system.tocsin.start_gateway();
    system.wait_for_empty();
    until_within(RECOVERED_WITHIN, "all are in the inbox", || {
        (inbox(&system.tocsin).len() >= 700).then_some(())
    });
    over(&system.tocsin);
    assert_eq!(inbox(&system.tocsin), sorted(accepted), "once");
    assert_eq!(outage(&system.tocsin)["mirror"]["rescued"], 700);
}

#[test]
fn past_its_bound_the_list_takes_no_more_and_the_disk_has_all() {
    let mut system = OnBoth::with(|setup| setup.set("router.buffer.redis_max", 10));
    system.kafka_dies();
    let accepted = criticals(&system.tocsin, 25);
    until_within(RECOVERED_WITHIN, "the rest is counted", || {
        (outage(&system.tocsin)["mirror"]["unmirrored"] == 15).then_some(())
    });
    assert_eq!(ids(&system.redis.values(LIST)), accepted[..10]);
    system.kafka_returns();
    system.wait_for_empty();
    assert_eq!(inbox(&system.tocsin), sorted(accepted));
    assert!(!is_standing(&system.tocsin, "redis_down"), "a full list is no fault");
}
