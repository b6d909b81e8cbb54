//! `send_at` on Kafka: its record was read and committed long ago when its moment comes; what waits is the router's, and an heir's.

use std::time::Duration;

use serde_json::{Value, json};
use tests::client::id_of;
use tests::deadline::{PATIENCE, sleep_until_us, unix_us};
use tests::several::HAND_OVER;
use tests::{Event, Several, Tocsin, until_within};
use wire::time::Wall;

use crate::support::{OnKafka, SHOP};

const SECOND_US: i64 = 1_000_000;

fn at(user: &str, moment: i64) -> Value {
    json!({ "to": { "user": user }, "title": "later", "send_at": Wall(moment).to_string() })
}

/// Everything that Kafka has was read, and is committed there.
fn wait_until_read(tocsin: &Tocsin, accepted: u64) {
    until_within(2 * PATIENCE, "the journal was read", || {
        let found = tocsin.api().reconcile();
        (found["journal_lag"] == 0 && found["accepted"].as_u64()? == accepted).then_some(())
    });
}

fn shown(tocsin: &Tocsin, user: &str) -> Vec<String> {
    tocsin.connect(user).sync_all(&json!({})).0.iter().map(id_of).collect()
}

#[test]
fn it_waits_in_the_router_over_restarts_when_its_record_is_long_committed() {
    let mut system = OnKafka::start(|setup| setup);
    let moment = unix_us() + 40 * SECOND_US;
    let kept = system.tocsin.api().accepted(&at("ada", moment));
    let cancelled = system.tocsin.api().accepted(&at("ada", moment));
    wait_until_read(&system.tocsin, 2);
    system.tocsin.kill_9();
    system.tocsin.start_gateway();
    assert_eq!(shown(&system.tocsin, "ada").len(), 0);
    let path = format!("/v1/notifications/{cancelled}");
    let answer = system.tocsin.api().send("DELETE", &path, &json!(null)).expect(200).json();
    assert_eq!(answer["cancelled"], 1, "{answer}");
    system.tocsin.kill_9();
    sleep_until_us(moment + SECOND_US);
    system.tocsin.start_gateway();
    until_within(2 * PATIENCE, "it is made up for", || {
        (!shown(&system.tocsin, "ada").is_empty()).then_some(())
    });
    assert_eq!(shown(&system.tocsin, "ada"), [kept]);
    let found = system.tocsin.api().reconcile();
    assert_eq!((&found["open"], &found["dropped"]), (&json!(0), &json!(1)), "{found}");
}

#[test]
fn a_foreign_record_has_its_moment_too() {
    let system = OnKafka::with_shop(1);
    let mut client = system.tocsin.connect("ada");
    let moment = unix_us() + 20 * SECOND_US;
    let order = |id: &str, when: &str| {
        json!({ "order": id, "actor": { "id": "ada" }, "what": id, "when": when }).to_string() + "\n"
    };
    let lines = order("later", &Wall(moment).to_string())
        + &order("never", "soon")
        + &order("now", "1999-01-01T00:00:00Z");
    system.kafka.produce(SHOP, None, &lines);
    assert_eq!(client.recv_within("notification", 3 * PATIENCE)["title"], "now");
    assert_eq!(client.recv_within("notification", 3 * PATIENCE)["title"], "later");
    assert!(unix_us() >= moment - SECOND_US);
    let letters = system.tocsin.api().get("/v1/dead-letters").expect(200).json();
    let reason = letters["items"][0]["reason"].as_str().expect("a reason");
    assert!(reason.contains("/send_at"), "{reason}");
}

#[test]
fn in_an_outage_a_critical_one_waits_for_its_moment_and_not_for_kafka() {
    let mut system = OnKafka::start(|setup| setup);
    let mut client = system.tocsin.connect("ada");
    system.kafka.process.kill_9();
    let moment = unix_us() + 15 * SECOND_US;
    let mut note = at("ada", moment);
    note["priority"] = json!("critical");
    let answer = system.tocsin.api().post(&note).expect(202).json();
    assert_eq!(answer["durable_in"], "disk");
    let urgent = json!({ "to": { "user": "ada" }, "title": "at once", "priority": "critical" });
    let at_once = system.tocsin.api().accepted(&urgent);
    assert_eq!(
        id_of(&client.recv_within("notification", PATIENCE)),
        at_once,
        "the other one does not go ahead"
    );
    assert_eq!(client.recv_within("notification", PATIENCE)["id"], answer["id"]);
    assert!(unix_us() >= moment - SECOND_US);
    system.kafka.start_again();
    until_within(4 * PATIENCE, "the outage is over", || {
        let outage = system.tocsin.api().get("/v1/status").expect(200).json()["outage"].clone();
        (outage["phase"] == "normal" && outage["waiting"] == 0).then_some(())
    });
    assert_eq!(shown(&system.tocsin, "ada").len(), 2, "Kafka brought both, and both were known");
}

#[test]
fn the_heir_of_a_router_that_is_killed_sends_what_waited_there() {
    let mut several = Several::start(2, 2, 6);
    let users: Vec<String> = (0..12).map(|i| format!("user-{i}")).collect();
    let mut clients: Vec<_> = users.iter().map(|user| several.connect(user)).collect();
    let moment = unix_us() + 40 * SECOND_US;
    let list = json!({ "to": { "users": users }, "title": "later", "send_at": Wall(moment).to_string() });
    let id = several.api(1).accepted(&list);
    let is_scheduled = |several: &Several, user: &String| {
        let owner = several.owner_of(user);
        let answer = several.api(owner).get(&format!("/v1/notifications/{id}"));
        answer.text.contains("\"scheduled\"").then_some(())
    };
    for user in &users {
        until_within(HAND_OVER, "it is in the ledger", || is_scheduled(&several, user));
    }
    several.routers[0].router.as_mut().expect("it runs").kill_9();
    several.wait_until_owned_by(1);
    assert!(unix_us() < moment, "the group was too slow to look in time");
    for (user, client) in users.iter().zip(&mut clients) {
        let found = client.sync_all(&json!({})).0;
        assert!(found.is_empty(), "{user}: {found:?}");
    }
    for (user, client) in users.iter().zip(&mut clients) {
        assert_eq!(id_of(&client.recv_within("notification", HAND_OVER)), id, "{user}");
        assert!(unix_us() >= moment - SECOND_US);
        match client.event(Duration::from_millis(200)) {
            Event::Message(more) => assert_ne!(more["type"], "notification", "{user} got it twice"),
            Event::Nothing => {}
            other => panic!("{user} lost its socket: {other:?}"),
        }
    }
}
