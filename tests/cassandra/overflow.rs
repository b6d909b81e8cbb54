//! More changes than may wait: people are told, and Cassandra is made complete from the store. The same goes for a store that
//! is older than its Cassandra.

use serde_json::Value;
use tests::until;

use crate::support::{
    CAUGHT_UP, projection, server, standing, titles, to_user, wait_for_state, wait_until_carried,
};

fn notes(user: &str, count: usize) -> Vec<Value> {
    (0..count).map(|i| to_user(user, &format!("{i}"))).collect()
}

fn numbers(count: usize) -> Vec<String> {
    (0..count).map(|i| i.to_string()).collect()
}

#[test]
fn what_did_not_fit_is_carried_from_the_store() {
    let mut held = server();
    let (setup, keyspace) = held.setup();
    let tocsin = setup.set("cassandra.queue_bytes_max", 65_536).start();
    held.cassandra().nodes[0].process.freeze();
    let count = 2_000;
    tocsin.api().accepted_batch(&notes("flo", count));
    until("somebody is told", || {
        standing(&tocsin).contains(&"projection_incomplete".to_owned()).then_some(())
    });
    let waiting = projection(&tocsin)["waiting_bytes"].as_u64().expect("a number");
    assert!(waiting < 2 * 65_536 + 600_000, "{waiting} bytes wait: a bound and one turn of the owner");
    held.cassandra().nodes[0].process.thaw();
    wait_for_state(&tocsin, "up");
    wait_until_carried(&tocsin);
    assert_eq!(titles(&held.cql(), &keyspace, "flo"), numbers(count));
    tests::until_within(CAUGHT_UP, "the alert is over", || {
        (!standing(&tocsin).contains(&"projection_incomplete".to_owned())).then_some(())
    });
}

#[test]
fn a_store_that_was_there_first_is_carried_as_a_whole() {
    let held = server();
    let (setup, keyspace) = held.setup();
    let mut tocsin = setup.clone().without("cassandra").start();
    tocsin.api().accepted_batch(&notes("gil", 500));
    until("they are in the inbox", || {
        let page = tocsin.api().get("/v1/users/gil/inbox?limit=1").expect(200).json();
        (page["unread"] == 500).then_some(())
    });
    tocsin.kill_9();
    tocsin.rewrite(|_| setup);
    tocsin.start_gateway();
    wait_until_carried(&tocsin);
    assert_eq!(titles(&held.cql(), &keyspace, "gil"), numbers(500));
}
