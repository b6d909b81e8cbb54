//! Many clients by event streams: what holds for WebSockets holds for them, in each scenario that they can play.

use std::process::Command;
use std::time::Duration;

use tests::process::run;
use tests::{Setup, Tocsin, paths};

use crate::tls::Tls;

/// Plays a scenario and expects it to pass; what the load tester says of it.
#[track_caller]
fn play_to(tocsin: &Tocsin, url: &str, scenario: &str, words: &[&str], expected: &str) -> String {
    let mut command = Command::new(paths::program("loadtest"));
    command.args([scenario, "--url", url, "--settle", "20s", "--expect", expected]).args(words);
    command.arg("--api").arg(tocsin.api().base());
    let (good, text) = run(&mut command, Duration::from_secs(90));
    assert!(good, "{text}");
    text
}

/// The same to a system of its own.
#[track_caller]
fn play(scenario: &str, words: &[&str], expected: &str) -> String {
    let tocsin = Setup::standalone().start();
    play_to(&tocsin, &format!("http://{}/v1/events", tocsin.clients()), scenario, words, expected)
}

#[test]
fn clients_of_streams_are_held_and_what_they_acknowledge_is_read() {
    let words = ["-n", "500", "--rate", "1000", "--for", "2s", "--notify", "--notify-rate", "500"];
    play("hold", &words, "established=500,failed=0,dropped=0,lost=0,duplicated=0,acks_read=500");
}

#[test]
fn messages_to_one_reach_its_stream() {
    let words = ["-n", "200", "--connect-rate", "1000", "--rate", "200", "--for", "3s"];
    play("latency", &words, "lost=0,duplicated=0,received=600,errors=0");
}

#[test]
fn a_fan_out_to_a_topic_reaches_every_stream() {
    let words = [
        "-n",
        "500",
        "--connect-rate",
        "1000",
        "--topic",
        "news",
        "--rate",
        "10",
        "--for",
        "3s",
        "--size",
        "2000",
    ];
    play("fanout", &words, "lost=0,duplicated=0,received=15000");
}

#[test]
fn streams_that_are_cut_come_back_to_where_they_were() {
    let words = ["-n", "200", "--connect-rate", "1000", "--rate", "200", "--for", "8s", "--cut-at", "2s"];
    let text = play("chaos", &words, "lost=0,duplicated=0,storm_lost=200,storm_back=200");
    assert!(!text.contains(" 0 by sync"), "some were sent while nobody was there: {text}");
}

#[test]
fn streams_and_what_is_posted_beside_them_go_by_https() {
    let tls = Tls::start(Setup::standalone());
    let url = format!("https://localhost:{}", tls.tocsin.tls().port());
    let ca = tls.certificate.cert.to_str().expect("UTF-8");
    let words = ["-n", "200", "--rate", "500", "--for", "2s", "--notify", "--notify-rate", "200", "--ca", ca];
    let text = play_to(&tls.tocsin, &url, "hold", &words, "lost=0,duplicated=0,acks_read=200,errors=0");
    assert!(text.contains("200 full handshakes, 0 resumed"), "posts are not counted: {text}");
}
