//! Cassandra dies, or hangs: everything else goes on, what changed waits on the disk, and follows in order.

use serde_json::{Value, json};
use tests::{Tocsin, until};

use crate::support::{Held, server, standing, state, titles, to_user, wait_for_state, wait_until_carried};

/// Ingest, sockets, providers, the inbox and the story of what is in the store.
fn everything_goes_on(tocsin: &Tocsin, user: &str, titles: &[String]) {
    let api = tocsin.api();
    let mut client = tocsin.connect(user);
    let notes: Vec<Value> = titles.iter().map(|title| to_user(user, title)).collect();
    let ids = api.accepted_batch(&notes);
    assert_eq!(client.recv_ids(ids.len()), ids);
    for some in ids.chunks(50) {
        client.ack(&some.iter().map(String::as_str).collect::<Vec<_>>());
    }
    let pushed = api.accepted(&json!({ "to": { "user": user }, "title": "pushed", "channels": ["push"] }));
    until("a push", || {
        let outbox = api.get(&format!("/v1/outbox?channel=push&user={user}")).expect(200);
        outbox.text.contains(&pushed).then_some(())
    });
    api.get(&format!("/v1/notifications/{}", ids[0])).expect(200);
}

fn numbered(what: &str, count: usize) -> Vec<String> {
    (0..count).map(|i| format!("{what} {i}")).collect()
}

#[track_caller]
fn is_away(tocsin: &Tocsin) {
    let away = wait_for_state(tocsin, "down");
    assert!(away["degraded"].as_str().is_some_and(|text| text.contains("Cassandra")), "{away}");
    assert!(away["since"].is_string() && away["detail"].as_str() != Some(""), "{away}");
    assert!(standing(tocsin).contains(&"cassandra_down".to_owned()));
    let status = tocsin.api().get("/v1/status").expect(200).json();
    assert_eq!(status["state"], "degraded", "it stops no work");
    tocsin.router_admin().get("/readyz").expect(200);
}

fn followed(held: &Held, tocsin: &Tocsin, keyspace: &str, before: &[String], during: &[String]) {
    wait_for_state(tocsin, "up");
    wait_until_carried(tocsin);
    let wanted: Vec<&String> = before.iter().chain(during).collect();
    let found = titles(&held.cql(), keyspace, "cy");
    assert_eq!(found.iter().collect::<Vec<_>>(), wanted);
    let acknowledged = format!("SELECT acknowledged FROM {keyspace}.marks_by_user WHERE user_id = 'cy'");
    let cql = held.cql();
    until("every acknowledgement is there", || {
        (cql.texts(&acknowledged).len() == wanted.len()).then_some(())
    });
    until("the alert is over", || (!standing(tocsin).contains(&"cassandra_down".to_owned())).then_some(()));
    assert_eq!(state(tocsin)["degraded"], "");
}

#[test]
fn it_dies_and_nobody_else_notices() {
    let mut held = server();
    let (setup, keyspace) = held.setup();
    let mut tocsin = setup.start();
    let before = numbered("before", 20);
    everything_goes_on(&tocsin, "cy", &before);
    wait_until_carried(&tocsin);
    held.cassandra().nodes[0].process.kill_9();
    is_away(&tocsin);
    let during = numbered("during", 300);
    everything_goes_on(&tocsin, "cy", &during);
    // What waits outlives the router, too.
    tocsin.crash_and_restart();
    assert_eq!(state(&tocsin)["state"], "down", "it starts without Cassandra and says so");
    held.cassandra().nodes[0].start_again();
    followed(&held, &tocsin, &keyspace, &before, &during);
}

#[test]
fn it_hangs_and_nobody_else_notices() {
    let mut held = server();
    let (setup, keyspace) = held.setup();
    let tocsin = setup.start();
    let before = numbered("before", 20);
    everything_goes_on(&tocsin, "cy", &before);
    wait_until_carried(&tocsin);
    held.cassandra().nodes[0].process.freeze();
    is_away(&tocsin);
    let during = numbered("during", 300);
    everything_goes_on(&tocsin, "cy", &during);
    held.cassandra().nodes[0].process.thaw();
    followed(&held, &tocsin, &keyspace, &before, &during);
}
