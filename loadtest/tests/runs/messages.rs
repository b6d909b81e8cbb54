//! `latency` and `fanout`: every copy accounted for, and late posts counted against the schedule.

use std::collections::BTreeMap;
use std::time::Duration;

use loadtest::report::Report;

use super::report;
use super::server::{Manners, Server};

fn latency(server: &Server, more: &[&str]) -> Report {
    let (url, api) = (server.url(), server.api_url());
    let words = [
        "latency", "--url", &url, "--api", &api, "-n", "20", "--rate", "100", "--for", "1s", "--settle",
        "500ms",
    ];
    report(&[&words[..], more].concat()).expect("it runs")
}

fn fanout(server: &Server, more: &[&str]) -> Report {
    let (url, api) = (server.url(), server.api_url());
    let words = [
        "fanout", "--url", &url, "--api", &api, "-n", "30", "--rate", "20", "--for", "1s", "--settle",
        "500ms",
    ];
    report(&[&words[..], more].concat()).expect("it runs")
}

#[test]
fn each_message_reaches_its_user_once() {
    let server = Server::start(Manners::default());
    let report =
        latency(&server, &["--expect", "lost=0,duplicated=0,sent=100,p99_ms<5000,handshake_p99_ms>0"]);
    assert!(report.passed, "{report:#?}");
    let m = &report.messages;
    assert_eq!((m.sent, m.owed, m.received, m.lost, m.duplicated, m.strays), (100, 100, 100, 0, 0, 0));
    assert_eq!(report.latency_ms.expect("latencies").count, 100);
    assert_eq!(report.latency_from_202_ms.expect("latencies").count, 100);
    assert_eq!(report.post_ms.expect("posts").count, 100);
    assert_eq!(server.posts(), 100);
}

#[test]
fn what_the_server_loses_doubles_and_rejects_is_told_apart() {
    let server = Server::start(Manners {
        swallow: vec![7, 8],
        double: vec![20, 21, 22],
        reject: vec![50],
        ..Manners::default()
    });
    let report = latency(&server, &["--posters", "1"]);
    assert!(!report.passed, "lost is lost");
    let m = &report.messages;
    assert_eq!((m.sent, m.rejected, m.received, m.lost, m.duplicated), (99, 1, 97, 2, 3));
    assert_eq!(report.errors, BTreeMap::from([("post: status 429".to_owned(), 1)]));
}

#[test]
fn a_message_at_the_wrong_user_is_lost_and_said() {
    let server = Server::start(Manners { misroute: (0..100).collect(), ..Manners::default() });
    let report = latency(&server, &[]);
    let wrong = *report.errors.get("message at the wrong user").expect("most go wrong");
    assert_eq!(report.messages.lost, wrong);
    assert!(!report.passed && wrong > 50);
}

/// The check against coordinated omission: a second's stall of the API delays what was meant to be posted meanwhile, and
/// that is in the latency, though every single request but one was fast.
#[test]
fn a_stall_counts_for_every_message_that_was_due_in_it() {
    let stall = BTreeMap::from([(20, Duration::from_millis(600))]);
    let server = Server::start(Manners { stall, ..Manners::default() });
    let report = latency(&server, &["--posters", "1"]);
    assert_eq!(report.messages.received, 100);
    let (intended, after_202) = (report.latency_ms.expect("some"), report.latency_from_202_ms.expect("some"));
    // 60 of the 100 messages were due in those 600 ms, 10 ms apart; half of them waited 300 ms and more.
    assert!(intended.p90 > 400.0 && intended.max > 550.0, "{intended:?}");
    assert!(intended.p50 > 50.0, "{intended:?}");
    assert!(after_202.p90 < 100.0, "{after_202:?}");
    assert!(report.client.saturated, "posting late is said");
}

#[test]
fn a_fan_out_counts_every_copy_at_every_socket() {
    let server = Server::start(Manners { swallow: vec![3], double: vec![5], ..Manners::default() });
    let report = fanout(&server, &["--posters", "1", "--threads", "2"]);
    let m = &report.messages;
    assert_eq!((m.sent, m.owed, m.received, m.lost, m.duplicated), (20, 600, 570, 30, 30));
    assert!(!report.passed);
}

#[test]
fn an_ack_that_a_busy_server_refused_is_said_again() {
    let server = Server::start(Manners { busy_for: 30, ..Manners::default() });
    let report = latency(&server, &["--acks", "--settle", "10s", "--expect", "acked=100,acks_read=100"]);
    assert!(report.passed, "{report:#?}");
    // A refusal does not say what it refuses, so more than the refused ones may come again.
    assert!(report.messages.acked_again >= 30, "{report:#?}");
}

#[test]
fn a_topic_is_subscribed_before_anything_is_sent() {
    let server = Server::start(Manners::default());
    let report = fanout(&server, &["--topic", "news"]);
    assert!(report.passed, "{report:#?}");
    assert_eq!(report.messages.received, 600);
    assert_eq!(report.head.config["to"], serde_json::json!({ "topic": "news" }));
}

#[test]
fn batches_are_accounted_line_by_line() {
    let server = Server::start(Manners { reject: vec![10, 11], ..Manners::default() });
    let report = latency(&server, &["--rate", "1000", "--posters", "1", "--batch", "50"]);
    let m = &report.messages;
    assert_eq!((m.sent, m.rejected, m.received, m.lost), (998, 2, 998, 0));
}

#[test]
fn an_api_that_is_not_there_is_a_failure() {
    let server = Server::start(Manners::default());
    let report = latency(&server, &["--api", "http://127.0.0.1:1", "--rate", "20"]);
    assert!(!report.passed);
    assert_eq!((report.messages.sent, report.messages.unknown, report.messages.lost), (0, 20, 0));
    assert_eq!(report.errors, BTreeMap::from([("post: connection refused".to_owned(), 20)]));
}
