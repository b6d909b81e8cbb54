//! A client that shares no code and no language with us does the whole walk: Python, with `websockets`.

use std::process::Command;
use std::time::Duration;

use tests::process::run;
use tests::{paths, until};

use crate::support::shared;

#[test]
fn a_python_client_connects_receives_syncs_and_acknowledges() {
    let tocsin = shared();
    let mut command = Command::new(paths::prepared("venv/bin/python"));
    command.arg(paths::root().join("tests/python/walk.py"));
    command.arg(format!("ws://{}", tocsin.clients())).arg(tocsin.api().base()).arg(tests::setup::SERVICE_KEY);
    let (good, text) = run(&mut command, Duration::from_secs(60));
    assert!(good, "{text}");
    let id = text.lines().last().unwrap_or_default().trim().to_owned();
    until("the ledger says delivered", || {
        let story = tocsin.api().get(&format!("/v1/notifications/{id}")).expect(200).json();
        (story["deliveries"][0]["state"] == "delivered").then_some(())
    });
}
