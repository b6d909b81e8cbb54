//! Kafka dies, hangs, comes back: everything that was accepted meanwhile arrives, once, and what is critical does not wait.

use std::fs::OpenOptions;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use tests::deadline::{PATIENCE, Stopwatch};
use tests::sla::{Failure, Took, report};
use tests::{Equation, Tocsin, until_within};

use crate::support::OnKafka;

/// The promise: an outage is found in less.
const DETECTED_WITHIN: Duration = Duration::from_secs(30);
/// A lost broker is tried again every second; the consumer group waits ten for members that it lost.
const RECOVERED_WITHIN: Duration = Duration::from_secs(90);
/// The promise for a critical notification before the outage is found is two seconds; the rest is for a busy machine.
const CRITICAL_WITHIN: Duration = Duration::from_secs(3);

fn note(user: &str, title: &str, priority: &str) -> Value {
    json!({ "to": { "user": user }, "title": title, "priority": priority })
}

fn outage(tocsin: &Tocsin) -> Value {
    tocsin.api().get("/v1/status").expect(200).json()["outage"].clone()
}

fn wait_for_phase(tocsin: &Tocsin, phase: &str, wait: Duration) {
    until_within(wait, &format!("the outage is {phase}"), || {
        (outage(tocsin)["phase"] == phase).then_some(())
    });
}

/// Accepts one notification; where it is durable, and its id.
fn accept(tocsin: &Tocsin, note: &Value) -> (String, String) {
    let answer = tocsin.api().post(note).expect(202).json();
    let text = |name: &str| answer[name].as_str().expect("a text").to_owned();
    (text("durable_in"), text("id"))
}

fn is_standing(tocsin: &Tocsin, name: &str) -> bool {
    let alerts = tocsin.api().get("/v1/alerts").expect(200).json();
    let items = alerts["items"].as_array().expect("a list");
    items.iter().any(|alert| alert["name"] == name && alert["until"].is_null())
}

/// Nothing waits, nothing is missing, every delivery has a state.
fn over(system: &OnKafka) {
    wait_for_phase(&system.tocsin, "normal", RECOVERED_WITHIN);
    let outage = outage(&system.tocsin);
    assert_eq!((&outage["waiting"], &outage["missing"]), (&0.into(), &0.into()), "{outage}");
    let equation = Equation::settled(&system.tocsin.api());
    equation.check();
    let reconciled = system.tocsin.api().reconcile();
    assert_eq!(reconciled["missing"], 0, "no hole in a producer's sequence: {reconciled}");
    until_within(PATIENCE, "the alert is over", || {
        (!is_standing(&system.tocsin, "kafka_down")).then_some(())
    });
}

/// The inbox of `user`, oldest first, by title.
fn titles(tocsin: &Tocsin, user: &str) -> Vec<String> {
    let (found, _) = tocsin.connect(user).sync_all(&json!({}));
    found.iter().map(|one| one["title"].as_str().expect("a title").to_owned()).collect()
}

fn numbered(from: u32, to: u32) -> Vec<String> {
    (from..to).map(|i| i.to_string()).collect()
}

#[test]
fn a_dead_kafka_costs_nothing_that_was_accepted() {
    let mut system = OnKafka::start(|setup| setup);
    let mut ada = system.tocsin.connect("ada");
    assert_eq!(accept(&system.tocsin, &note("bob", "0", "normal")).0, "kafka");
    system.wait_for_inbox("bob", 1);

    system.kafka.process.kill_9();
    // The first ones are taken before anybody knows.
    let watch = Stopwatch::start();
    let (store, id) = accept(&system.tocsin, &note("ada", "urgent", "critical"));
    let waited = watch.elapsed();
    assert_eq!(store, "disk");
    assert!(waited < CRITICAL_WITHIN, "{waited:?}");
    assert_eq!(ada.recv_within("notification", CRITICAL_WITHIN)["id"], id.as_str());
    wait_for_phase(&system.tocsin, "buffering", DETECTED_WITHIN);
    let detection = watch.elapsed();
    let mut mitigation = waited;
    assert!(is_standing(&system.tocsin, "kafka_down"));
    assert_eq!(system.tocsin.router_admin().get("/readyz").status, 200, "it goes on taking in");
    for i in 1..=200 {
        assert_eq!(accept(&system.tocsin, &note("bob", &i.to_string(), "normal")).0, "disk");
    }
    let batch: Vec<Value> = (201..300).map(|i| note("bob", &i.to_string(), "normal")).collect();
    system.tocsin.api().accepted_batch(&batch);
    // Critical ones go out at once, over and over.
    for i in 0..20 {
        let watch = Stopwatch::start();
        let (_, id) = accept(&system.tocsin, &note("ada", &format!("urgent {i}"), "critical"));
        assert_eq!(ada.recv_within("notification", PATIENCE)["id"], id.as_str());
        mitigation = mitigation.max(watch.elapsed());
    }
    let shown = outage(&system.tocsin);
    assert_eq!((&shown["waiting"], &shown["bypassed"]), (&320.into(), &21.into()), "{shown}");
    assert_eq!(titles(&system.tocsin, "bob"), ["0"], "what is not critical waits");

    let watch = Stopwatch::start();
    system.kafka.start_again();
    system.wait_for_inbox("bob", 300);
    over(&system);
    report(Failure::Kafka, Took { detection, mitigation, recovery: watch.elapsed() });
    assert_eq!(titles(&system.tocsin, "bob"), numbered(0, 300), "all of them, once, in their order");
    assert_eq!(titles(&system.tocsin, "ada").len(), 21, "the criticals came by Kafka, too, and were known");
    assert_eq!(system.records("critical").len(), 21, "Kafka has them");
    assert_eq!(accept(&system.tocsin, &note("bob", "300", "normal")).0, "kafka");
    let refused = system.tocsin.api().send("POST", "/v1/backups", &json!({}));
    assert!(refused.problem(422).contains("only a node with a journal of its own"));
}

#[test]
fn a_kafka_that_hangs_is_as_good_as_dead() {
    let mut system = OnKafka::start(|setup| setup);
    accept(&system.tocsin, &note("bob", "0", "normal"));
    system.wait_for_inbox("bob", 1);
    system.kafka.process.freeze();
    wait_for_phase(&system.tocsin, "buffering", DETECTED_WITHIN);
    let all = Stopwatch::start();
    for i in 1..=50 {
        let watch = Stopwatch::start();
        assert_eq!(accept(&system.tocsin, &note("bob", &i.to_string(), "high")).0, "disk");
        let waited = watch.elapsed();
        assert!(waited < CRITICAL_WITHIN, "nobody waits for a hung Kafka: {waited:?}");
    }
    // One that was tried on Kafka first would take its time-out, 1.5 s, each time.
    assert!(all.elapsed() < PATIENCE, "all of them together: {:?}", all.elapsed());
    system.kafka.process.thaw();
    system.wait_for_inbox("bob", 51);
    over(&system);
    assert_eq!(titles(&system.tocsin, "bob"), numbered(0, 51));
}

#[test]
fn a_router_that_is_killed_in_an_outage_starts_in_it_and_goes_on() {
    let mut system = OnKafka::start(|setup| setup);
    accept(&system.tocsin, &note("bob", "0", "normal"));
    system.wait_for_inbox("bob", 1);
    system.kafka.process.kill_9();
    for i in 1..=20 {
        accept(&system.tocsin, &note("bob", &i.to_string(), "normal"));
    }
    let (_, critical) = accept(&system.tocsin, &note("ada", "urgent", "critical"));
    system.tocsin.kill_9();
    system.tocsin.start_gateway();
    wait_for_phase(&system.tocsin, "buffering", PATIENCE);
    assert_eq!(outage(&system.tocsin)["waiting"], 21);
    for i in 21..=40 {
        assert_eq!(accept(&system.tocsin, &note("bob", &i.to_string(), "normal")).0, "disk");
    }
    system.kafka.start_again();
    system.wait_for_inbox("bob", 41);
    over(&system);
    assert_eq!(titles(&system.tocsin, "bob"), numbered(0, 41));
    let (found, _) = system.tocsin.connect("ada").sync_all(&json!({}));
    assert_eq!(found.iter().map(|one| &one["id"]).collect::<Vec<_>>(), [critical.as_str()], "once");
}

#[test]
fn a_kafka_that_dies_again_while_it_is_fed_loses_and_doubles_nothing() {
    let mut system = OnKafka::start(|setup| setup.set("router.limits.drain_per_s", 100));
    accept(&system.tocsin, &note("bob", "0", "normal"));
    system.wait_for_inbox("bob", 1);
    system.kafka.process.kill_9();
    for i in 1..=400 {
        accept(&system.tocsin, &note("bob", &i.to_string(), "normal"));
    }
    system.kafka.start_again();
    until_within(RECOVERED_WITHIN, "some are drained", || {
        let drained = outage(&system.tocsin)["drained"].as_u64()?;
        (drained >= 50).then_some(())
    });
    system.kafka.process.kill_9();
    wait_for_phase(&system.tocsin, "buffering", DETECTED_WITHIN);
    assert!(outage(&system.tocsin)["waiting"].as_u64() > Some(0), "it died in the middle");
    assert_eq!(accept(&system.tocsin, &note("bob", "401", "normal")).0, "disk");
    system.kafka.start_again();
    system.wait_for_inbox("bob", 402);
    over(&system);
    let mut found = titles(&system.tocsin, "bob");
    found.sort_by_key(|title| title.parse::<u32>().expect("a number"));
    assert_eq!(found, numbered(0, 402), "none lost, none twice");
}

#[test]
fn a_record_that_is_lost_from_the_disk_is_named() {
    let mut system = OnKafka::start(|setup| setup);
    system.kafka.process.kill_9();
    accept(&system.tocsin, &note("bob", "kept", "low"));
    let (_, lost) = accept(&system.tocsin, &note("bob", "lost", "low"));
    system.tocsin.kill_9();
    cut_last_record(&system.tocsin);
    system.tocsin.start_gateway();
    system.kafka.start_again();
    system.wait_for_inbox("bob", 1);
    until_within(RECOVERED_WITHIN, "the loss is told", || {
        is_standing(&system.tocsin, "buffered_missing").then_some(())
    });
    let alerts = system.tocsin.api().get("/v1/alerts").expect(200).json().to_string();
    assert!(alerts.contains(&lost), "{alerts}");
    let outage = outage(&system.tocsin);
    assert_eq!(
        (&outage["missing"], &outage["missing_ids"][0]),
        (&1.into(), &lost.as_str().into()),
        "{outage}"
    );
    assert_eq!(titles(&system.tocsin, "bob"), ["kept"]);
}

/// Takes the last record off the disk by hand: a torn tail, such as nobody was ever promised.
fn cut_last_record(tocsin: &Tocsin) {
    let lane = tocsin.folder().join("data/buffer/low");
    let mut segments: Vec<PathBuf> = std::fs::read_dir(&lane)
        .expect("the lane's folder")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.metadata().is_ok_and(|about| about.len() > 0))
        .collect();
    segments.sort();
    let last = segments.last().expect("a segment");
    let bytes = std::fs::read(last).expect("the segment");
    // A segment is longer than its records: what is behind them is empty.
    let end = bytes.iter().rposition(|byte| *byte != 0).expect("a record") + 1;
    let file = OpenOptions::new().write(true).open(last).expect("the segment");
    file.set_len(end as u64 - 8).expect("it is cut");
}
