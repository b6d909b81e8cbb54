//! A gateway is killed with clients on it: the others take all of them back, nothing is lost, and the router stops routing to it.

use std::time::Duration;

use tests::cluster::Node;
use tests::deadline::Stopwatch;
use tests::loadtest::Load;
use tests::sla::{Failure, Took, report};
use tests::{Cluster, Equation, until_within};

use crate::killing;

const CLIENTS: f64 = 3_000.0;
/// Shares 8, 1, 1.
const ON_THE_ONE: f64 = 2_400.0;
/// A dead node is noticed in less than this.
const NOTICED: Duration = Duration::from_secs(10);
/// Two shards a gateway.
const LINKS: u64 = 6;

#[test]
fn the_others_take_all_back_and_nothing_is_lost() {
    let mut cluster = Cluster::start(3, |setup| setup);
    until_within(NOTICED, "every shard has its link", || (cluster.links() == LINKS).then_some(()));
    let pid = cluster.nodes[0].process().pid().to_string();
    let load = Load::start(
        &cluster,
        "chaos",
        &[
            "-n",
            "3000",
            "--shares",
            "8,1,1",
            "--connect-rate",
            "2000",
            "--rate",
            "200",
            "--for",
            "15s",
            "--cut-at",
            "3s",
            "--kill-pid",
            &pid,
            "--settle",
            "20s",
            "--expect",
            "lost=0,back_all_s<=20",
        ],
    );
    until_within(Duration::from_secs(30), "the node is killed", || cluster.nodes[0].process().ended());
    let dead = Stopwatch::start();
    until_within(NOTICED, "the router has no link to the dead node", || {
        (cluster.links() == LINKS - 2).then_some(())
    });
    let detection = dead.elapsed();
    assert!(detection < NOTICED);
    until_within(Duration::from_secs(30), "all are on the others", || {
        let on: u64 = cluster.nodes[1..].iter().map(Node::connections).sum();
        (on == CLIENTS as u64).then_some(())
    });
    let mitigation = dead.elapsed();
    cluster.nodes[0].restart();
    until_within(NOTICED, "another takes its place", || (cluster.links() == LINKS).then_some(()));
    report(Failure::Gateway, Took { detection, mitigation, recovery: dead.elapsed() });
    let loaded = load.end(Duration::from_secs(60));
    assert_eq!(loaded.code, Some(0), "{}", loaded.log);
    assert!((loaded.number("/storm/lost") - ON_THE_ONE).abs() < 0.5, "{}", loaded.log);
    assert!((loaded.number("/connections/open_at_end") - CLIENTS).abs() < 0.5, "{}", loaded.log);
    assert!(loaded.number("/messages/synced") > 0.0, "those away fetched what they missed: {}", loaded.log);
    // The default spread is a second: most are back soon after it.
    assert!(loaded.number("/storm/back_s/p50") < 5.0, "{}", loaded.log);
    Equation::settled(&cluster.api());
}

#[test]
fn the_crowd_goes_to_both_of_the_others() {
    let mut cluster = Cluster::start(3, |setup| setup);
    let load = killing::storm(&mut cluster, 1_200, "1,0,0", &["--rate", "2000", "--for", "30s"]);
    // While they are there: the load tester says goodbye before it ends.
    let both = until_within(Duration::from_secs(40), "all are on the other two", || {
        let on = [cluster.nodes[1].connections(), cluster.nodes[2].connections()];
        (on.iter().sum::<u64>() == 1_200).then_some(on)
    });
    assert!(both.iter().all(|on| (400..=800).contains(on)), "{both:?}");
    let loaded = load.end(Duration::from_secs(60));
    assert_eq!(loaded.code, Some(0), "{}", loaded.log);
}
