//! The program: reads the command line, runs, prints, exits. Everything else is in the library.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use loadtest::cli::{Cli, one_line};
use loadtest::config::{Job, RunConfig};
use loadtest::interrupt::Interrupt;
use loadtest::report::Report;
use loadtest::run::{RunError, run};
use ops::clock::Clock;

const FAILED: u8 = 1;
const USAGE: u8 = 2;
/// What `--json` takes for standard output.
const STDOUT: &str = "-";

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(help) if !help.use_stderr() => help.exit(),
        Err(error) => return end(USAGE, &one_line(&error)),
    };
    ops::logs::init(cli.log_format);
    let clock = Clock::start();
    let config = match cli.command.settle(clock.wall(), ops::random::seed(), command_line()) {
        Ok(Job::Run(config)) => config,
        Err(usage) => return end(USAGE, &usage.to_string()),
    };
    // Before the run: an hour's report must not fail for want of a folder.
    let json = match config
        .json
        .as_deref()
        .filter(|path| *path != Path::new(STDOUT))
        .map(File::create)
        .transpose()
    {
        Ok(json) => json,
        Err(error) => return end(USAGE, &format!("--json: cannot write the report: {error}")),
    };
    let interrupt = match Interrupt::listen() {
        Ok(interrupt) => interrupt,
        Err(error) => return end(FAILED, &format!("cannot listen for signals: {error}")),
    };
    match run(&config, clock, &interrupt) {
        Ok(report) => tell(&config, &report, json),
        Err(error @ (RunError::Usage(_) | RunError::Short(_) | RunError::Start(_))) => {
            end(USAGE, &error.to_string())
        }
        Err(error @ RunError::Failed(_)) => end(FAILED, &error.to_string()),
    }
}

fn tell(config: &RunConfig, report: &Report, json: Option<File>) -> ExitCode {
    let written = match (config.json.as_deref(), json) {
        (Some(_), None) => writeln!(std::io::stdout(), "{}", report.to_json()),
        (_, Some(mut file)) => {
            let written = writeln!(file, "{}", report.to_json());
            written.and_then(|()| write!(std::io::stdout(), "{}", report.page()))
        }
        (None, None) => write!(std::io::stdout(), "{}", report.page()),
    };
    match written {
        Err(error) => end(FAILED, &format!("cannot write the report: {error}")),
        Ok(()) => ExitCode::from(if report.passed { 0 } else { FAILED }),
    }
}

fn end(code: u8, line: &str) -> ExitCode {
    eprintln!("loadtest: {line}");
    ExitCode::from(code)
}

/// The command line for the report, without the key.
fn command_line() -> String {
    let mut words: Vec<String> = std::env::args().skip(1).collect();
    for at in 0..words.len() {
        if words[at].starts_with("--key=") {
            "--key=…".clone_into(&mut words[at]);
        } else if at > 0 && words[at - 1] == "--key" {
            "…".clone_into(&mut words[at]);
        }
    }
    format!("loadtest {}", words.join(" "))
}
