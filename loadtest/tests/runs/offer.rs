//! `offer`: everything is offered, whatever the server says, and counted as what it was answered.

use serde_json::Value;

use super::program;
use super::server::{Manners, Server};

#[test]
fn a_refusal_is_counted_and_stops_nothing() {
    let server = Server::start(Manners { reject: vec![3, 5, 120], ..Manners::default() });
    let api = server.api_url();
    let words = [
        "offer", "--api", &api, "--rate", "200", "--for", "1s", "--users", "5", "--batch", "50", "--json",
        "-",
    ];
    let output = program(&words);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let report: Value = serde_json::from_slice(&output.stdout).expect("a report");
    let number = |name: &str| report[name].as_u64().unwrap_or_else(|| panic!("no {name}: {report}"));
    assert_eq!((number("intended"), number("offered"), number("accepted")), (200, 200, 197), "{report}");
    assert_eq!((&report["refused"]["429"], number("unknown")), (&3.into(), 0), "{report}");
    assert_eq!(server.posts(), 200);
}

#[test]
fn what_there_was_no_time_for_is_told_and_the_run_is_no_longer_for_it() {
    let stall = [(0, std::time::Duration::from_millis(1_500))].into();
    let server = Server::start(Manners { stall, ..Manners::default() });
    let api = server.api_url();
    let words = [
        "offer",
        "--api",
        &api,
        "--rate",
        "100",
        "--for",
        "1s",
        "--posters",
        "1",
        "--batch",
        "1",
        "--json",
        "-",
    ];
    let output = program(&words);
    let report: Value = serde_json::from_slice(&output.stdout).expect("a report");
    assert_eq!((&report["intended"], &report["offered"]), (&100.into(), &1.into()), "{report}");
    assert_eq!(report["saturated"], true);
}
