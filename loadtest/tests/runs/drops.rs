//! Connections that the server ends: counted, made again by the policy, and what was missed is fetched.

use std::collections::BTreeMap;

use super::server::{Manners, Server};
use super::{eventually, report};

#[test]
fn who_is_dropped_comes_back_and_it_is_counted() {
    let server = Server::start(Manners::default());
    let closer = server.clone();
    let watcher = std::thread::spawn(move || {
        eventually("all are there", || closer.connected() == 10);
        closer.close_all(1012);
        eventually("all are there again", || closer.connected() == 10);
    });
    let report = report(&["hold", "--url", &server.url(), "-n", "10", "--for", "2s"]).expect("it runs");
    watcher.join().expect("the watcher");
    let c = &report.connections;
    assert_eq!((c.established, c.dropped, c.reconnected, c.open_at_end), (10, 10, 10, 10), "{report:#?}");
    assert_eq!(report.errors, BTreeMap::from([("dropped: close 1012".to_owned(), 10)]));
}

#[test]
fn what_was_missed_meanwhile_is_synced_page_by_page_and_nothing_counts_twice() {
    // One user, whose socket is closed before the tenth message: the next ones find nobody until the client is back.
    let server = Server::start(Manners { close_before: BTreeMap::from([(10, 1001)]), ..Manners::default() });
    let (url, api) = (server.url(), server.api_url());
    let words = [
        "fanout",
        "--url",
        &url,
        "--api",
        &api,
        "-n",
        "1",
        "--rate",
        "400",
        "--for",
        "100ms",
        "--posters",
        "1",
    ];
    let report = report(&words).expect("it runs");
    let m = &report.messages;
    assert_eq!((m.sent, m.received, m.lost, m.duplicated), (40, 40, 0, 0), "{report:#?}");
    assert!(m.synced > 0, "the client was away for some");
    assert!(report.passed);
}

#[test]
fn a_code_that_says_stay_away_is_obeyed() {
    let server = Server::start(Manners::default());
    let closer = server.clone();
    let watcher = std::thread::spawn(move || {
        eventually("all are there", || closer.connected() == 5);
        closer.close_all(4409);
    });
    let report = report(&["hold", "--url", &server.url(), "-n", "5", "--for", "1s"]).expect("it runs");
    watcher.join().expect("the watcher");
    let c = &report.connections;
    assert_eq!((c.established, c.dropped, c.reconnected, c.open_at_end), (5, 5, 0, 0));
}
