//! All gateways are down: the router notices and says so, what has a fallback takes it, the rest waits in the inbox; and when they
//! are back, so is everybody.

use std::time::Duration;

use serde_json::json;
use tests::loadtest::Load;
use tests::{Cluster, Equation, until, until_within};

const NOTICED: Duration = Duration::from_secs(10);

fn alert_stands(cluster: &Cluster) -> bool {
    let alerts = cluster.api().get("/v1/alerts").expect(200).json();
    let alerts = alerts["items"].as_array().expect("a list").iter();
    alerts.filter(|alert| alert["name"] == "no_gateway").any(|alert| alert["until"].is_null())
}

#[test]
fn the_router_notices_falls_back_and_everybody_returns() {
    let mut cluster = Cluster::start(2, |setup| setup);
    let load = Load::start(
        &cluster,
        "chaos",
        &[
            "-n",
            "300",
            "--connect-rate",
            "1000",
            "--rate",
            "50",
            "--for",
            "25s",
            "--cut",
            "wait",
            "--settle",
            "40s",
            "--expect",
            "lost=0,storm_lost=300,storm_back=300",
        ],
    );
    until_within(Duration::from_secs(30), "all are in", || {
        (cluster.nodes.iter().map(tests::cluster::Node::connections).sum::<u64>() == 300).then_some(())
    });
    // The storm begins with the first that is lost once messages go out.
    until("messages go out", || (Equation::read(&cluster.api()).number("accepted") > 20).then_some(()));
    cluster.nodes.iter_mut().for_each(tests::cluster::Node::kill_9);
    until_within(NOTICED, "the router has no links", || (cluster.links() == 0).then_some(()));
    until_within(NOTICED, "it says so", || alert_stands(&cluster).then_some(()));
    let id = cluster.api().accepted(&json!({
        "to": { "user": "ada" }, "title": "nobody is there", "ack_within_s": 1, "fallback": ["push", "email"],
    }));
    until("a push went out", || {
        let sent = cluster.api().get("/v1/outbox?channel=push&user=ada").expect(200).text;
        sent.contains(&id).then_some(())
    });
    let inbox = cluster.api().get("/v1/users/ada/inbox?limit=10").expect(200).text;
    assert!(inbox.contains(&id), "it waits in the inbox, too: {inbox}");
    cluster.nodes.iter_mut().for_each(tests::cluster::Node::restart);
    until("the alert is over", || (!alert_stands(&cluster)).then_some(()));
    let loaded = load.end(Duration::from_secs(120));
    assert_eq!(loaded.code, Some(0), "{}", loaded.log);
    assert!(loaded.number("/messages/synced") > 0.0, "{}", loaded.log);
    Equation::settled(&cluster.api());
}
