//! A load tester that was held up says so, before any figure: what it measured then was itself.

use std::process::{Command, Stdio};
use std::time::Duration;

use loadtest::report::Report;

use super::eventually;
use super::server::{Manners, Server};

fn signal(pid: u32, name: &str) {
    let sent = Command::new("kill").args([name, &pid.to_string()]).status().expect("kill is there");
    assert!(sent.success());
}

/// Runs the program for three seconds, stops it meanwhile for as long; its page and its report.
fn held_up_for(stop: Duration) -> (String, Report) {
    let folder = tempfile::tempdir().expect("a folder");
    let json = folder.path().join("report.json");
    let server = Server::start(Manners::default());
    let (url, api) = (server.url(), server.api_url());
    let mut command = Command::new(env!("CARGO_BIN_EXE_loadtest"));
    command.args([
        "latency", "--url", &url, "--api", &api, "-n", "20", "--rate", "100", "--for", "3s", "--json",
    ]);
    let child = command.arg(&json).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    eventually("messages go out", || server.posts() > 20);
    signal(child.id(), "-STOP");
    std::thread::sleep(stop);
    signal(child.id(), "-CONT");
    let output = child.wait_with_output().expect("it ends");
    let page = String::from_utf8(output.stdout).expect("UTF-8");
    (page, serde_json::from_slice(&std::fs::read(&json).expect("a report")).expect("JSON"))
}

#[test]
fn half_a_second_in_which_it_stood_still_is_in_the_figures_and_said_before_them() {
    let (page, report) = held_up_for(Duration::from_millis(500));
    assert!(report.client.saturated, "{page}");
    let latency = report.latency_ms.expect("some came");
    assert!(latency.p99 > 300.0, "open loop: what was due meanwhile waited: {latency:?}");
    let at = |text: &str| page.find(text).unwrap_or_else(|| panic!("{text}: {page}"));
    assert!(at("the load tester was the bottleneck") < at("\nconnections"), "{page}");
    assert!(at("the load tester was the bottleneck") < at("\nlatency"), "{page}");
    assert!(loadtest::report::html::html(&report).contains("its own, not the server"));
}
