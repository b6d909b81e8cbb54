//! One command starts everything; what is wrong with a start is said in one line, with exit code 2.

use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use tests::process::run;
use tests::setup::Shape;
use tests::{Ending, Setup, Tocsin, paths};

use crate::support::{expect_id, to_user};

const REFUSAL: Duration = Duration::from_secs(20);

/// One line for a person that names the cause, exit code 2, and nothing left running.
#[track_caller]
fn refused(mut tocsin: Tocsin, says: &[&str]) {
    let mut process = tocsin.launch_gateway();
    let ending = process.ending(REFUSAL);
    one_line(&ending, says);
    tocsin.kill_9();
}

#[track_caller]
fn one_line(ending: &Ending, says: &[&str]) {
    assert_eq!(ending.status.code(), Some(2), "{}", ending.log);
    for word in says {
        assert!(ending.log.contains(word), "{word:?} is not named: {}", ending.log);
    }
    assert!(!ending.log.contains("panicked") && !ending.log.contains("stack backtrace"), "{}", ending.log);
    let said: Vec<&str> = ending.log.lines().filter(|line| !is_routine(line)).collect();
    assert_eq!(said.len(), 1, "one line and nothing else: {}", ending.log);
    assert!(says.iter().all(|word| said[0].contains(word)), "{}", said[0]);
}

/// A line of the log that is no more than the ordinary course of a start and its end.
fn is_routine(line: &str) -> bool {
    line.contains(" INFO ")
}

#[test]
fn it_prints_where_everything_listens() {
    let mut tocsin = Setup::standalone().start();
    let log = tocsin.gateway().log();
    for key in ["gateway.listen", "gateway.admin", "router.api", "router.admin"] {
        let address = tocsin.setup.text(key);
        assert!(log.contains(address), "{key} = {address} is not printed: {log}");
    }
    let console = format!("http://{}/", tocsin.clients());
    assert!(log.contains(&console), "the console's address is not printed: {log}");
}

#[test]
fn a_second_start_finds_everything() {
    let mut tocsin = Setup::standalone().start();
    let id = tocsin.api().accepted(&to_user("ada", "kept"));
    let mut client = tocsin.connect("ada");
    client.say(&json!({ "type": "subscribe", "topics": ["news"] }));
    client.recv("subscribed");
    tocsin.gateway().terminate();
    let ending = tocsin.gateway().ending(Duration::from_secs(30));
    assert_eq!(ending.status.code(), Some(0), "an orderly end: {}", ending.log);
    tocsin.start_gateway();
    let mut client = tocsin.connect("ada");
    let (missed, _) = client.sync_all(&json!({}));
    assert_eq!(missed.len(), 1);
    assert_eq!(missed[0]["id"], id.as_str());
    assert_eq!(tocsin.api().get(&format!("/v1/notifications/{id}")).expect(200).json()["id"], id.as_str());
    let news = tocsin.api().accepted(&json!({ "to": { "topic": "news" }, "title": "still subscribed" }));
    expect_id(&mut client, &news);
}

#[test]
fn a_port_in_use_is_named() {
    let setup = Setup::standalone();
    for key in ["gateway.listen", "gateway.admin", "router.api", "router.admin"] {
        let address = setup.text(key).to_owned();
        let holder = std::net::TcpListener::bind(&address).expect("it was free");
        refused(setup.clone().prepare(), &[&address]);
        drop(holder);
    }
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let tocsin = Setup::standalone().prepare();
    // A file where the folder should be: not even root can write into it.
    std::fs::write(tocsin.folder().join("data"), "in the way").expect("the folder can be written");
    refused(tocsin, &["data"]);
}

#[test]
fn a_folder_that_the_system_lets_nobody_write_is_named() {
    let tocsin = Setup::standalone().prepare();
    // Not even root makes a folder there.
    std::os::unix::fs::symlink("/sys/kernel", tocsin.folder().join("data")).expect("a link");
    refused(tocsin, &["data"]);
}

#[test]
fn a_folder_in_use_is_named() {
    let running = Setup::standalone().start();
    let second = Setup::standalone().prepare();
    let data = second.folder().join("data");
    std::os::unix::fs::symlink(running.folder().join("data"), &data).expect("a link");
    refused(second, &["data"]);
    running.api().accepted(&to_user("ada", "the first goes on"));
}

#[test]
fn an_unknown_key_is_answered_with_the_nearest() {
    refused(
        Setup::standalone().set("gateway.soft_limt", 5).prepare(),
        &["gateway.toml:", "soft_limt", "soft_limit"],
    );
    refused(Setup::standalone().set("router.dat", "x").prepare(), &["gateway.toml:", "`dat`", "data"]);
}

#[test]
fn a_value_out_of_range_is_named() {
    refused(Setup::standalone().set("gateway.accept_rate", 0).prepare(), &["accept_rate"]);
    refused(
        Setup::standalone().set("router.limits.push_per_user_hour", 0).prepare(),
        &["push_per_user_hour"],
    );
}

#[test]
fn a_settings_file_that_is_not_there_is_named() {
    let mut command = Command::new(paths::program("gateway"));
    let (good, text) = run(command.args(["--config", "/nowhere/gateway.toml"]), REFUSAL);
    assert!(!good && text.contains("/nowhere/gateway.toml"), "{text}");
}

#[test]
fn settings_can_be_checked_without_a_start() {
    for (setup, good) in [
        (Setup::standalone(), true),
        (Setup::standalone().set("gateway.shards", -1), false),
        (Setup::standalone().set("gateway.auth.keys", vec!["/nowhere/tokens.key"]), false),
        (Setup::split().set("gateway.auth.keys", vec!["/nowhere/tokens.key"]), false),
    ] {
        let standalone = setup.shape == Shape::Standalone;
        let tocsin = setup.prepare();
        let mut command = Command::new(paths::program("gateway"));
        command.arg("--config").arg(tocsin.folder().join("gateway.toml")).arg("--check-config");
        if standalone {
            command.arg("--data").arg(tocsin.folder().join("data"));
        }
        let (passed, text) = run(&mut command, REFUSAL);
        assert_eq!(passed, good, "{text}");
        assert!(!tocsin.folder().join("data").exists(), "a check touches nothing");
    }
}

#[test]
fn a_key_file_that_is_not_there_or_no_key_is_named() {
    let folder = tests::paths::scratch("keys-");
    let bad = folder.path().join("bad.pem");
    std::fs::write(&bad, "-----BEGIN PUBLIC KEY-----\nnonsense\n-----END PUBLIC KEY-----\n").expect("a file");
    for key in ["/nowhere/tokens.key", bad.to_str().expect("a path")] {
        for setup in [Setup::standalone(), Setup::split()] {
            let tocsin = setup.set("gateway.auth.keys", vec![key]).prepare();
            let mut command = Command::new(paths::program("gateway"));
            command.arg("--config").arg(tocsin.folder().join("gateway.toml")).arg("--check-config");
            let (passed, text) = run(&mut command, REFUSAL);
            assert!(!passed && text.contains(key) && text.lines().count() == 1, "{text}");
        }
        // Nor does a start make anything first.
        let mut tocsin = Setup::standalone().set("gateway.auth.keys", vec![key]).prepare();
        let ending = tocsin.launch_gateway().ending(REFUSAL);
        one_line(&ending, &[key]);
        assert!(!tocsin.folder().join("data").exists(), "a folder was made");
        tocsin.kill_9();
    }
}

#[test]
fn the_environment_wins_over_the_file() {
    let tocsin = Setup::standalone().prepare();
    let mut command = Command::new(paths::program("gateway"));
    command.arg("--config").arg(tocsin.folder().join("gateway.toml")).arg("--check-config");
    command.env("TOCSIN_GATEWAY_ACCEPT_RATE", "0");
    let (passed, text) = run(&mut command, REFUSAL);
    assert!(!passed && text.contains("accept_rate"), "{text}");
}

#[test]
fn every_program_has_help_and_a_version() {
    for program in ["gateway", "router", "loadtest", "tuning"] {
        for flag in ["--help", "--version"] {
            let (good, text) = run(Command::new(paths::program(program)).arg(flag), REFUSAL);
            assert!(good && !text.trim().is_empty(), "{program} {flag}: {text}");
        }
        let (good, text) = run(Command::new(paths::program(program)).arg("--no-such-flag"), REFUSAL);
        assert!(!good && text.contains("--no-such-flag"), "{program}: {text}");
    }
}

#[test]
fn logs_can_be_json() {
    let mut tocsin = Setup::standalone().prepare();
    tocsin.arguments.extend(["--log-format".into(), "json".into()]);
    tocsin.start_gateway();
    tocsin.gateway().terminate();
    let ending = tocsin.gateway().ending(Duration::from_secs(30));
    // The addresses are for people, and printed; everything logged is an object.
    let is_log =
        |line: &&str| line.contains("\"level\"") || line.contains(" INFO ") || line.contains(" WARN ");
    let lines: Vec<&str> = ending.log.lines().filter(is_log).collect();
    let said: Vec<String> = lines
        .iter()
        .map(|line| {
            let line: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"));
            assert!(line["timestamp"].is_string() && line["level"].is_string(), "{line}");
            line["fields"]["message"].as_str().unwrap_or_else(|| panic!("no message: {line}")).to_owned()
        })
        .collect();
    assert!(said.iter().any(|message| message == "draining"), "{said:?}");
    assert!(said.iter().any(|message| message == "router ended"), "of both halves: {said:?}");
}
