//! One broker of three is lost, killed or hung: nobody but its own partitions notices, nothing is lost, and each user's
//! notifications stay in their order.

use std::time::Duration;

use serde_json::{Value, json};
use tests::deadline::Stopwatch;
use tests::kafka::Kafka;
use tests::sla::{Failure, Took, report};
use tests::{Equation, Setup, Tocsin, until_within};

/// The promise for what waits on a lost broker; the rest of it is for a busy machine.
const DELAY_MAX: Duration = Duration::from_secs(60);
const USERS: [&str; 6] = ["ada", "ben", "cid", "dee", "eve", "fay"];

fn note(user: &str, number: usize) -> Value {
    json!({ "to": { "user": user }, "title": number.to_string() })
}

/// Sends to everybody, over and over, until each socket had `count` more; the longest time that one took.
fn send_and_receive(tocsin: &Tocsin, sent: &mut usize, count: usize) -> Duration {
    let mut clients: Vec<_> = USERS.iter().map(|user| tocsin.connect(user)).collect();
    let mut longest = Duration::ZERO;
    for _ in 0..count {
        let watch = Stopwatch::start();
        let notes: Vec<Value> = USERS.iter().map(|user| note(user, *sent)).collect();
        tocsin.api().accepted_batch(&notes);
        for client in &mut clients {
            let shown = client.recv_within("notification", DELAY_MAX);
            assert_eq!(shown["title"], sent.to_string(), "in order, none left out, none twice");
        }
        longest = longest.max(watch.elapsed());
        *sent += 1;
    }
    longest
}

/// What a broker knows of all partitions; `None` while it does not answer.
fn described(node: &Kafka) -> Option<String> {
    node.try_kcat(&["-L", "-m", "5"], None)
}

fn system(nodes: &[Kafka]) -> Tocsin {
    let brokers: Vec<String> = nodes.iter().map(|node| node.broker.to_string()).collect();
    Setup::standalone().set("kafka.brokers", brokers).set("kafka.partitions", 6).start()
}

#[test]
fn one_broker_of_three_is_killed_and_another_hangs() {
    let mut nodes = Kafka::start_nodes(3, &[]);
    let tocsin = system(&nodes);
    let mut sent = 0;
    send_and_receive(&tocsin, &mut sent, 5);

    nodes[2].process.kill_9();
    let watch = Stopwatch::start();
    let (dead, detection) = std::thread::scope(|scope| {
        let first = &nodes[0];
        let found = scope.spawn(move || {
            until_within(DELAY_MAX, "its partitions have other leaders", || {
                described(first).filter(|told| !told.contains("leader 3,")).map(|_| watch.elapsed())
            })
        });
        (send_and_receive(&tocsin, &mut sent, 20), found.join().expect("the cluster notices"))
    });
    let watch = Stopwatch::start();
    nodes[2].start_again();
    until_within(2 * DELAY_MAX, "all have all copies again", || {
        let told = described(&nodes[0])?;
        let is_whole =
            |line: &str| line.split_once("isrs: ").is_some_and(|(_, isrs)| isrs.split(',').count() == 3);
        told.lines().filter(|line| line.contains(" partition ")).all(is_whole).then_some(())
    });
    let recovery = watch.elapsed();
    println!("REPORT: one broker of three killed: the longest of 20 rounds took {} ms", dead.as_millis());
    report(Failure::Broker, Took { detection, mitigation: dead, recovery });

    nodes[1].process.freeze();
    let hung = send_and_receive(&tocsin, &mut sent, 20);
    nodes[1].process.thaw();
    println!("REPORT: one broker of three hung: the longest of 20 rounds took {} ms", hung.as_millis());
    assert!(dead.max(hung) < DELAY_MAX, "{dead:?}, {hung:?}");

    until_within(DELAY_MAX, "nothing waits on the disk any more", || {
        let outage = tocsin.api().get("/v1/status").expect(200).json()["outage"].clone();
        (outage["phase"] == "normal" && outage["waiting"] == 0 && outage["missing"] == 0).then_some(())
    });
    Equation::settled(&tocsin.api()).check();
    let wanted: Vec<String> = (0..sent).map(|number| number.to_string()).collect();
    for user in USERS {
        let (all, _) = tocsin.connect(user).sync_all(&json!({}));
        let titles: Vec<&str> = all.iter().filter_map(|one| one["title"].as_str()).collect();
        assert_eq!(titles, wanted, "{user}");
    }
}
