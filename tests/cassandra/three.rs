//! Three nodes and three copies of each row: one of them may die or hang, and nobody notices. Too large for every run:
//! `tests/campaign cassandra3`.

use std::time::Duration;

use serde_json::{Value, json};
use tests::cassandra::Cassandra;
use tests::client::id_of;
use tests::deadline::Stopwatch;
use tests::sla::{Failure, Took, report};
use tests::{Setup, Tocsin, until_within};

use crate::support::{CAUGHT_UP, standing, state, to_user, wait_until_carried};

/// Notifications that one user missed.
const MISSED: usize = 5_000;

fn on(cassandra: &Cassandra) -> Setup {
    Setup::standalone().set("cassandra.nodes", cassandra.contacts()).set("cassandra.replication", 3)
}

fn nodes(tocsin: &Tocsin, state: &str) -> u64 {
    Tocsin::metric(&tocsin.router_admin(), "tocsin_router_cassandra_nodes", state) as u64
}

/// Written, carried and read while one node is away; nothing on the board but a figure. How long that figure and the writing took.
fn unnoticed(tocsin: &Tocsin, cassandra: &Cassandra, what: &str) -> [Duration; 2] {
    let clock = Stopwatch::start();
    until_within(CAUGHT_UP, "a figure says that one is away", || (nodes(tocsin, "away") == 1).then_some(()));
    let found = clock.elapsed();
    let clock = Stopwatch::start();
    let notes: Vec<Value> = (0..200).map(|i| to_user("max", &format!("{what} {i}"))).collect();
    let ids = tocsin.api().accepted_batch(&notes);
    wait_until_carried(tocsin);
    let carried = clock.elapsed();
    println!("REPORT: one node {what}: 200 carried in {} ms", carried.as_millis());
    assert_eq!((&state(tocsin)["state"], standing(tocsin)), (&json!("up"), vec![]));
    // One that begins now has nothing but what Cassandra has.
    let reader = on(cassandra).start();
    let mut client = reader.connect("max");
    let (all, _) = client.sync_all(&json!({ "limit": 50 }));
    let met: Vec<String> = all.iter().map(id_of).collect();
    assert_eq!(met[met.len() - ids.len()..], ids, "another router reads them");
    [found, carried]
}

#[test]
#[ignore = "three servers: tests/campaign cassandra3"]
fn one_node_of_three_dies_or_hangs_and_nobody_notices() {
    let mut cassandra = Cassandra::start_nodes(3);
    let tocsin = on(&cassandra).start();
    let notes: Vec<Value> = (0..MISSED).map(|i| to_user("nan", &i.to_string())).collect();
    let sent: Vec<String> = notes.chunks(1_000).flat_map(|some| tocsin.api().accepted_batch(some)).collect();
    let clock = Stopwatch::start();
    wait_until_carried(&tocsin);
    println!("REPORT: {MISSED} of one user carried {} ms behind the last 202", clock.elapsed().as_millis());
    pages(&on(&cassandra).start(), &sent);

    cassandra.nodes[2].process.kill_9();
    let [detection, mitigation] = unnoticed(&tocsin, &cassandra, "dead");
    let clock = Stopwatch::start();
    cassandra.nodes[2].start_again();
    until_within(CAUGHT_UP, "it is back", || (nodes(&tocsin, "connected") == 3).then_some(()));
    report(Failure::CassandraNode, Took { detection, mitigation, recovery: clock.elapsed() });

    cassandra.nodes[1].process.freeze();
    unnoticed(&tocsin, &cassandra, "hung");
    cassandra.nodes[1].process.thaw();
    until_within(CAUGHT_UP, "it is back", || (nodes(&tocsin, "connected") == 3).then_some(()));
    pages(&on(&cassandra).start(), &sent);
}

/// A page of fifty is promised within 50 ms.
fn pages(reader: &Tocsin, sent: &[String]) {
    let mut client = reader.connect("nan");
    let mut request = json!({ "last_seen_at": "2020-01-01T00:00:00Z", "limit": 50 });
    let (mut met, mut took_us) = (Vec::new(), Vec::new());
    loop {
        let clock = Stopwatch::start();
        let page = client.sync(&request);
        took_us.push(clock.elapsed().as_micros());
        met.extend(page["notifications"].as_array().expect("a list").iter().map(id_of));
        if page["has_more"] == false {
            break;
        }
        request = json!({ "cursor": page["cursor"], "limit": 50 });
    }
    assert!(met == sent, "{} of {}, or not in their order", met.len(), sent.len());
    took_us.sort_unstable();
    let at = |share: usize| took_us[(took_us.len() - 1) * share / 100] as f64 / 1_000.0;
    println!(
        "REPORT: {} pages of 50 from Cassandra: p50 {:.1} ms, p99 {:.1} ms, longest {:.1} ms (promised: 50 ms)",
        took_us.len(),
        at(50),
        at(99),
        at(100)
    );
}
