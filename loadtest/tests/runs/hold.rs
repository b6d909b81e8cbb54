//! `hold`: connections, refusals, pings, the orderly end.

use std::collections::BTreeMap;

use super::server::{Manners, Server};
use super::{eventually, report};

#[test]
fn everybody_gets_in_stays_and_leaves_in_order() {
    let server = Server::start(Manners { ping: true, ..Manners::default() });
    let report = report(&[
        "hold",
        "--url",
        &server.url(),
        "-n",
        "60",
        "--rate",
        "2000",
        "--for",
        "200ms",
        "--threads",
        "2",
    ])
    .expect("it runs");
    assert!(report.passed, "{report:#?}");
    let c = &report.connections;
    assert_eq!((c.wanted, c.established, c.failed, c.open_at_end, c.dropped), (60, 60, 0, 60, 0));
    assert_eq!(report.handshake_ms.expect("a handshake").count, 60);
    assert_eq!(report.admission.attempts, BTreeMap::from([(1, 60)]));
    assert_eq!(report.errors, BTreeMap::new());
    assert_eq!(server.pongs(), 60);
    eventually("the server heard sixty goodbyes", || server.goodbyes() == 60);
}

#[test]
fn a_refusal_is_obeyed_and_counted() {
    let refusal = Manners { refuse_first: 2, refuse_status: 503, retry_after_s: 1, ..Manners::default() };
    let server = Server::start(refusal);
    let report = report(&["hold", "--url", &server.url(), "-n", "10", "--for", "0s"]).expect("it runs");
    assert!(report.passed, "{report:#?}");
    assert_eq!(report.admission.refused, 20);
    let said = report.admission.retry_after_s.expect("the server said when");
    assert_eq!((said.min, said.max, said.histogram), (1, 1, BTreeMap::from([(1, 20)])));
    assert_eq!(report.admission.attempts, BTreeMap::from([(3, 10)]));
    assert!(report.head.seconds >= 2.0, "two refusals of one second each: {}", report.head.seconds);
    // Latency is of the attempt that got in, from the time it was meant to begin: not of the waiting that was asked for.
    assert!(report.handshake_ms.expect("a handshake").p50 < 1_000.0);
}

#[test]
fn who_is_refused_for_good_is_a_failure_with_its_status() {
    let refusal = Manners { refuse_first: 1_000, refuse_status: 401, ..Manners::default() };
    let server = Server::start(refusal);
    let report = report(&["hold", "--url", &server.url(), "-n", "5", "--for", "10s"]).expect("it runs");
    assert!(!report.passed);
    assert_eq!((report.connections.failed, report.connections.established), (5, 0));
    assert_eq!(report.errors, BTreeMap::from([("upgrade: status 401".to_owned(), 5)]));
    assert!(report.head.seconds < 8.0, "nobody is in to hold");
}

#[test]
fn a_server_that_always_refuses_is_given_up_after_the_attempts() {
    let refusal = Manners { refuse_first: 1_000, refuse_status: 503, retry_after_s: 0, ..Manners::default() };
    let server = Server::start(refusal);
    let words =
        ["hold", "--url", &server.url(), "-n", "5", "--for", "0s", "--attempts", "3", "--best-effort"];
    let report = report(&words).expect("it runs");
    assert_eq!((report.admission.refused, report.connections.failed), (15, 5));
    assert!(!report.passed, "best effort still needs somebody");
}

#[test]
fn tokens_travel_in_the_header() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("tokens");
    std::fs::write(&file, "one.token.x\ntwo.token.y\n").expect("a file");
    let server = Server::start(Manners::default());
    let words = ["hold", "--url", &server.url(), "-n", "4", "--for", "0s", "--token-file"];
    let report = report(&[&words[..], &[file.to_str().expect("UTF-8")]].concat()).expect("it runs");
    assert!(report.passed);
    let mut seen = server.authorizations();
    seen.sort();
    let wanted = ["Bearer one.token.x", "Bearer one.token.x", "Bearer two.token.y", "Bearer two.token.y"];
    assert_eq!(seen, wanted);
    assert!(!report.to_json().contains("one.token"), "no secret in a report");
}

#[test]
fn junk_instead_of_a_welcome_is_an_error_not_a_client() {
    let server = Server::start(Manners { instead_of_welcome: Some("junk".to_owned()), ..Manners::default() });
    let words = ["hold", "--url", &server.url(), "-n", "2", "--for", "0s", "--attempts", "1"];
    let closer = server.clone();
    let watcher = std::thread::spawn(move || {
        eventually("both are there", || closer.connected() == 2);
        closer.close_all(1012);
    });
    let report = report(&words).expect("it runs");
    watcher.join().expect("the watcher");
    assert_eq!(report.connections.established, 0);
    assert_eq!(
        report.errors.get("the server sent a message that is not understood"),
        Some(&2),
        "{:?}",
        report.errors
    );
    assert_eq!(report.errors.get("handshake: close 1012"), Some(&2), "{:?}", report.errors);
}
