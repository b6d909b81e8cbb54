//! Clients of event streams, in every scenario that they can play.

use std::collections::BTreeMap;

use loadtest::report::Report;

use super::server::{Manners, Server};
use super::streams::RETRY_MS;
use super::{eventually, program, report};

fn messages(scenario: &str, server: &Server, more: &[&str]) -> Report {
    let (url, api) = (server.stream_url(), server.api_url());
    let words = [scenario, "--url", &url, "--api", &api, "-n", "20", "--for", "1s", "--settle", "10s"];
    report(&[&words[..], more].concat()).expect("it runs")
}

#[test]
fn everybody_reads_a_stream_and_hangs_up_at_the_end() {
    let refusal = Manners { refuse_first: 1, refuse_status: 503, retry_after_s: 1, ..Manners::default() };
    let server = Server::start(refusal);
    let words = ["hold", "--url", &server.stream_url(), "-n", "60", "--for", "300ms", "--threads", "2"];
    let report = report(&words).expect("it runs");
    assert!(report.passed, "{report:#?}");
    let c = &report.connections;
    assert_eq!((c.established, c.failed, c.open_at_end, c.dropped), (60, 0, 60, 0));
    assert_eq!(report.admission.attempts, BTreeMap::from([(2, 60)]));
    assert_eq!(report.handshake_ms.expect("a handshake").count, 60);
    assert_eq!(report.errors, BTreeMap::new());
}

#[test]
fn each_message_reaches_its_stream_once_and_is_acknowledged_by_a_post() {
    let server = Server::start(Manners { busy_for: 10, double: vec![5], ..Manners::default() });
    let words = ["--rate", "100", "--acks", "--expect", "acked=100,acks_read=100,lost=0,duplicated=1"];
    let report = messages("latency", &server, &words);
    assert!(report.passed, "{report:#?}");
    assert_eq!(report.messages.acked_again, 10);
    assert_eq!(report.errors, BTreeMap::from([("message: status 503".to_owned(), 10)]));
    assert_eq!(report.latency_ms.expect("latencies").count, 100);
}

#[test]
fn a_fan_out_over_a_topic_reaches_every_stream() {
    let server = Server::start(Manners::default());
    let report = messages("fanout", &server, &["--rate", "20", "--topic", "news"]);
    assert!(report.passed, "{report:#?}");
    assert_eq!((report.messages.owed, report.messages.received), (400, 400));
}

#[test]
fn what_was_missed_comes_with_the_last_event_id_and_nothing_counts_twice() {
    // The streams end before the fiftieth message, and come back when `retry:` says so.
    let server = Server::start(Manners { close_before: BTreeMap::from([(50, 1001)]), ..Manners::default() });
    let report = messages("fanout", &server, &["--rate", "100", "-n", "5"]);
    assert!(report.passed, "{report:#?}");
    let m = &report.messages;
    assert_eq!((m.sent, m.received, m.lost, m.duplicated), (100, 500, 0, 0));
    assert_eq!(report.errors, BTreeMap::from([("dropped: end of stream".to_owned(), 5)]));
    let resumed = server.resumed();
    assert!(
        resumed.len() == 5 && resumed.iter().all(|id| id.starts_with("2026-01-01T00:00:01.")),
        "{resumed:?}"
    );
}

#[test]
fn a_storm_is_over_when_all_are_back_after_their_retry() {
    let server = Server::start(Manners::default());
    let url = server.stream_url();
    let words = [
        "storm",
        "--url",
        &url,
        "-n",
        "50",
        "--for",
        "20s",
        "--cut-at",
        "200ms",
        "--expect",
        "storm_back=50",
    ];
    let report = report(&words).expect("it runs");
    assert!(report.passed, "{report:#?}");
    let first = report.storm.expect("a storm").back_s.p50.expect("half of them");
    assert!(first * 1e3 >= RETRY_MS as f64 - 10.0, "{first}");
    eventually("all had come again", || server.connected() >= 50);
}

#[test]
fn streams_and_sockets_are_not_mixed() {
    let output = program(&["hold", "--url", "ws://127.0.0.1:1", "--url", "http://127.0.0.1:1"]);
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.lines().count() == 1 && said.contains("event streams"), "{said}");
}
