//! The console in a real browser (Chromium, driven by playwright-core): what an operator sees and clicks.
//!
//! Each test starts a system and one script with a scenario's name; the scenario's steps are in `console.mjs`. Pictures
//! are left in `target/tests`.
#![forbid(unsafe_code)]

use std::process::Command;
use std::time::Duration;

use tests::process::run;
use tests::{Setup, Tocsin, paths};

/// One scenario starts a browser and clicks through a page.
const SCENARIO: Duration = Duration::from_secs(60);

#[track_caller]
fn scenario(tocsin: &Tocsin, name: &str) {
    let mut command = Command::new("node");
    command.arg(paths::root().join("tests/browser/console.mjs")).arg(name);
    command.env("CONSOLE", format!("http://{}/", tocsin.clients()));
    command.env("API", tocsin.api().base()).env("KEY", tocsin.setup.service_key());
    command.env("TOKEN", tocsin.setup.token("ada"));
    command.env("PICTURES", paths::kept());
    command.env("PLAYWRIGHT", paths::prepared("node/node_modules/playwright-core/index.mjs"));
    let (good, text) = run(&mut command, SCENARIO);
    print!("{text}");
    assert!(good, "{name}: {text}");
}

#[test]
fn what_is_sent_from_the_form_arrives_and_is_acknowledged() {
    scenario(&Setup::standalone().start(), "send");
}

#[test]
fn a_second_window_greys_out_what_the_first_acknowledged() {
    scenario(&Setup::standalone().start(), "devices");
}

#[test]
fn the_outboxes_and_the_equation_are_shown() {
    scenario(&Setup::standalone().start(), "outboxes");
}

#[test]
fn accounts_and_one_use_codes_are_shown_rung_by_rung_and_no_code() {
    scenario(&Setup::standalone().start(), "operations");
}

#[test]
fn hostile_texts_are_shown_and_not_run() {
    scenario(&Setup::standalone().start(), "hostile");
}

#[test]
fn what_was_missed_is_there_after_a_reload() {
    scenario(&Setup::standalone().start(), "missed");
}

#[test]
fn a_full_node_is_shown_with_the_time_to_wait() {
    let tocsin = Setup::standalone().set("gateway.soft_limit", 1).set("gateway.hard_limit", 4).start();
    let _only = tocsin.connect("somebody");
    scenario(&tocsin, "full");
}

#[test]
fn with_keys_and_services_of_its_own_it_asks_for_both() {
    let setup = Setup::standalone().with_tokens().service("shop", "key-of-the-shop", |service| {
        service.insert("operator".to_owned(), true.into());
    });
    scenario(&setup.start(), "keyed");
}

#[test]
fn a_gateway_of_its_own_serves_it_where_it_is_told_the_api() {
    let key = Setup::split().service_key().to_owned();
    let setup = Setup::split().without("router.service").service("tests", &key, |service| {
        service.insert("operator".to_owned(), true.into());
        service.insert("broadcast".to_owned(), true.into());
        service.insert("topics".to_owned(), vec!["*"].into());
    });
    let (api, page) = (setup.text("router.api").to_owned(), setup.text("gateway.listen").to_owned());
    let setup = setup
        .set("console.api", format!("http://{api}"))
        .set("router.allowed_origins", vec![format!("http://{page}")]);
    scenario(&setup.start(), "keyed");
}

#[test]
fn what_is_dropped_during_a_sync_is_asked_for_after_it() {
    scenario(&Setup::standalone().start(), "gap");
}
