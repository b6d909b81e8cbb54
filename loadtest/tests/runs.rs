//! The load tester against a small server of the test's own, over real sockets on loopback: what it counts must be what the
//! server did.

#[path = "runs/drops.rs"]
mod drops;
#[path = "runs/events.rs"]
mod events;
#[path = "runs/hold.rs"]
mod hold;
#[path = "runs/merged.rs"]
mod merged;
#[path = "runs/messages.rs"]
mod messages;
#[path = "runs/offer.rs"]
mod offer;
#[path = "runs/server.rs"]
mod server;
#[path = "runs/signals.rs"]
mod signals;
#[path = "runs/slowed.rs"]
mod slowed;
#[path = "runs/storms.rs"]
mod storms;
#[path = "runs/streams.rs"]
mod streams;
#[path = "runs/usage.rs"]
mod usage;

use std::process::{Command, Output};
use std::time::Duration;

use clap::Parser;
use loadtest::cli::Cli;
use loadtest::config::Job;
use loadtest::interrupt::Interrupt;
use loadtest::report::Report;
use loadtest::run::{RunError, run};
use ops::clock::Clock;

/// Runs a command line inside this process.
fn report(words: &[&str]) -> Result<Report, RunError> {
    let clock = Clock::start();
    let cli = Cli::try_parse_from([&["loadtest"], words].concat()).expect("a good command line");
    let job = cli.command.settle(clock.wall(), 7, String::new()).expect("good flags");
    let Job::Run(config) = job else { panic!("a run: {job:?}") };
    run(&config, clock, &Interrupt::default())
}

/// Runs the program.
fn program(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_loadtest")).args(words).output().expect("the program starts")
}

/// Polls until something is so; the server's side of a run has no event to wait for from here.
fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..2_000 {
        if is_so() {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("not within ten seconds: {what}");
}
