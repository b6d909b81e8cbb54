//! `storm` and `chaos`: who was lost, when they were back, by how many attempts, and what became of messages meanwhile.

use std::collections::BTreeMap;

use super::report;
use super::server::{Manners, Server};

fn storm(server: &Server, more: &[&str]) -> loadtest::report::Report {
    let url = server.url();
    let words = ["storm", "--url", &url, "-n", "60", "--cut-at", "100ms", "--for", "10s", "--threads", "2"];
    report(&[&words[..], more].concat()).expect("it runs")
}

#[test]
fn everybody_is_cut_and_comes_back_inside_the_spread() {
    for how in ["rst", "fin"] {
        let server = Server::start(Manners { spread_ms: Some(600), ..Manners::default() });
        let report = storm(&server, &["--cut", how, "--expect", "storm_lost=60,storm_back=60,back_all_s<5"]);
        assert!(report.passed, "{report:#?}");
        let storm = report.storm.expect("a storm");
        assert_eq!((storm.cut.as_str(), storm.lost, storm.back), (how, 60, 60));
        assert_eq!(storm.attempts, [(1, 60)].into());
        // Sixty draws from 0..=600 ms: the middle one and the last are far from both ends.
        let (half, all) = (storm.back_s.p50.expect("back"), storm.back_s.all.expect("back"));
        assert!((0.1..1.5).contains(&half) && all > 0.4, "{half} {all}");
        assert_eq!(storm.arrivals.lost.iter().sum::<u64>(), 60);
        assert_eq!(storm.arrivals.attempts.iter().sum::<u64>(), 60);
        let c = &report.connections;
        assert_eq!((c.established, c.dropped, c.reconnected, c.open_at_end), (60, 0, 60, 60));
    }
}

#[test]
fn a_storm_that_nobody_comes_back_from_fails() {
    // Told to stay away, before the thirtieth message: lost in the storm's eyes, and never back.
    let away = Manners { close_before: BTreeMap::from([(30, 4409)]), ..Manners::default() };
    let server = Server::start(away);
    let (url, api) = (server.url(), server.api_url());
    let words = [
        "chaos", "--url", &url, "--api", &api, "-n", "10", "--rate", "100", "--for", "500ms", "--cut",
        "wait", "--settle", "100ms",
    ];
    let report = report(&words).expect("it runs");
    assert!(!report.passed);
    let storm = report.storm.expect("a storm");
    assert_eq!((storm.lost, storm.back, storm.back_s.p50), (10, 0, None));
}

#[test]
fn refusals_on_the_way_back_are_counted_with_what_they_said() {
    // Each user's first attempts are refused; the storm's own refusals are those after the cut.
    let server = Server::start(Manners::default());
    let report = storm(&server, &[]);
    assert_eq!(report.storm.expect("a storm").refused, 0);
    let refusal = Manners { refuse_again: 2, refuse_status: 503, retry_after_s: 1, ..Manners::default() };
    let server = Server::start(refusal);
    let report = storm(&server, &[]);
    assert!(report.passed, "{report:#?}");
    let storm = report.storm.expect("a storm");
    assert_eq!((storm.refused, storm.lost, storm.back), (120, 60, 60));
    assert_eq!(storm.retry_after_s.expect("said").histogram, [(1, 120)].into());
    assert_eq!(storm.attempts, [(3, 60)].into());
    assert!(storm.back_s.p50.is_some_and(|half| half >= 2.0), "two waits of a second each");
}

#[test]
fn messages_go_on_in_a_storm_and_what_was_missed_is_synced() {
    let server = Server::start(Manners { spread_ms: Some(800), ..Manners::default() });
    let (url, api) = (server.url(), server.api_url());
    let words = [
        "chaos",
        "--url",
        &url,
        "--api",
        &api,
        "-n",
        "20",
        "--rate",
        "100",
        "--for",
        "2s",
        "--cut-at",
        "500ms",
        "--settle",
        "5s",
        "--expect",
        "lost=0,duplicated=0,storm_back=20,calm_p99_ms<5000,storm_p99_ms>0",
    ];
    let report = report(&words).expect("it runs");
    assert!(report.passed, "{report:#?}");
    let m = &report.messages;
    assert_eq!((m.sent, m.received, m.lost), (200, 200, 0));
    assert!(m.synced > 0, "those away were told by a page");
    let storm = report.storm.expect("a storm");
    let (before, during) = (storm.before_ms.expect("calm"), storm.during_ms.expect("storm"));
    assert!(
        before.count >= 40 && during.count > 0 && before.count + during.count <= 200,
        "{before:?} {during:?}"
    );
    assert!(during.max > 100.0, "who was away waited: {during:?}");
}

#[test]
fn a_lost_copy_in_a_storm_is_still_lost() {
    let server = Server::start(Manners { swallow: vec![60, 61], ..Manners::default() });
    let (url, api) = (server.url(), server.api_url());
    let words = [
        "chaos", "--url", &url, "--api", &api, "-n", "5", "--rate", "100", "--for", "1s", "--cut-at",
        "300ms", "--settle", "500ms",
    ];
    let report = report(&words).expect("it runs");
    assert_eq!(report.messages.lost, 2, "{report:#?}");
    assert!(!report.passed);
}

#[test]
fn the_run_over_time_is_in_the_report() {
    let server = Server::start(Manners::default());
    let series = storm(&server, &[]).series.expect("a series");
    assert_eq!(series.entered.iter().sum::<u64>(), 120);
    assert!(series.open.contains(&60) && series.t_s.windows(2).all(|pair| pair[0] < pair[1]));
    assert_eq!(series.t_s.len(), series.client_cpu.len());
}
