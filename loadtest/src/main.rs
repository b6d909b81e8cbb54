//! The program: reads the command line, runs, prints, exits. Everything else is in the library.
#![forbid(unsafe_code)]

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use loadtest::cli::{Cli, one_line};
use loadtest::compare::config::CompareConfig;
use loadtest::compare::html::html;
use loadtest::compare::table;
use loadtest::config::{DrawConfig, Job, MergeConfig, RunConfig};
use loadtest::interrupt::Interrupt;
use loadtest::kept::{self, Outputs};
use loadtest::offer::OfferConfig;
use loadtest::providers::ProvidersConfig;
use loadtest::report::Report;
use loadtest::report::merge::merge;
use loadtest::run::{RunError, run};
use ops::clock::Clock;

const FAILED: u8 = 1;
const USAGE: u8 = 2;

/// A code and the line that says why.
type End = (u8, String);

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(help) if !help.use_stderr() => help.exit(),
        Err(error) => return end((USAGE, one_line(&error))),
    };
    ops::logs::init(cli.log_format);
    let clock = Clock::start();
    let job = match cli.command.settle(clock.wall(), ops::random::seed(), command_line()) {
        Ok(job) => job,
        Err(usage) => return end((USAGE, usage.to_string())),
    };
    let done = match job {
        Job::Run(config) => measure(&config, clock),
        Job::Compare(config) => side_by_side(&config, clock),
        Job::Merge(config) => add_up(&config),
        Job::Draw(config) => draw(&config),
        Job::Offer(config) => offer(&config, clock),
        Job::Providers(config) => providers(config, clock),
    };
    done.map_or_else(end, |passed| ExitCode::from(if passed { 0 } else { FAILED }))
}

fn measure(config: &RunConfig, clock: Clock) -> Result<bool, End> {
    let outputs = Outputs::open(config.json.as_deref(), config.html.as_deref()).map_err(usage)?;
    let interrupt =
        Interrupt::listen().map_err(|error| (FAILED, format!("cannot listen for signals: {error}")))?;
    let report = run(config, clock, &interrupt).map_err(|error| no_report(&error))?;
    tell(outputs, &report)
}

/// The files of a comparison are opened before the first turn, too.
fn side_by_side(config: &CompareConfig, clock: Clock) -> Result<bool, End> {
    for path in config.json.iter().chain(&config.html).chain(&config.markdown) {
        let opened = fs::File::options().append(true).create(true).open(path);
        opened.map_err(|error| (USAGE, format!("cannot write {}: {error}", path.display())))?;
    }
    let interrupt =
        Interrupt::listen().map_err(|error| (FAILED, format!("cannot listen for signals: {error}")))?;
    let report = loadtest::compare::run(config, clock, &interrupt).map_err(|error| no_report(&error))?;
    let written = write!(std::io::stdout(), "{}", report.page())
        .and_then(|()| config.json.iter().try_for_each(|path| fs::write(path, report.to_json() + "\n")))
        .and_then(|()| config.html.iter().try_for_each(|path| fs::write(path, html(&report))))
        .and_then(|()| {
            config.markdown.iter().try_for_each(|path| {
                let before = fs::read_to_string(path)?;
                fs::write(path, table::insert(&before, &table::markdown(&report)))
            })
        });
    written.map_err(|error| (FAILED, format!("cannot write the report: {error}")))?;
    Ok(report.passed)
}

fn no_report(error: &RunError) -> End {
    match error {
        RunError::Usage(_) | RunError::Short(_) | RunError::Start(_) => (USAGE, error.to_string()),
        RunError::Failed(_) => (FAILED, error.to_string()),
    }
}

fn add_up(config: &MergeConfig) -> Result<bool, End> {
    let reports = kept::read_all(&config.files).map_err(usage)?;
    let report = merge(&reports, &command_line(), &config.expectations);
    let report = report.map_err(|misfit| (USAGE, misfit.to_string()))?;
    let outputs = Outputs::open(config.json.as_deref(), config.html.as_deref()).map_err(usage)?;
    tell(outputs, &report)
}

/// Whether the run passed was said by the run; that it can be shown is what counts here.
fn draw(config: &DrawConfig) -> Result<bool, End> {
    let report = kept::read(&config.file).map_err(usage)?;
    let outputs = Outputs::open(None, config.html.as_deref()).map_err(usage)?;
    tell(outputs, &report).map(|_| true)
}

fn offer(config: &OfferConfig, clock: Clock) -> Result<bool, End> {
    let file = config.json.as_deref().filter(|path| *path != Path::new("-"));
    if let Some(path) = file {
        let opened = fs::File::options().append(true).create(true).open(path);
        opened.map_err(|error| (USAGE, format!("cannot write {}: {error}", path.display())))?;
    }
    let interrupt =
        Interrupt::listen().map_err(|error| (FAILED, format!("cannot listen for signals: {error}")))?;
    let report = loadtest::offer::run(config, clock, &interrupt)
        .map_err(|error| (USAGE, format!("threads cannot be started: {error}")))?;
    let json = serde_json::to_string_pretty(&report).expect("numbers and names") + "\n";
    let shown = if config.json.is_some() && file.is_none() { &json } else { &report.to_string() };
    let written = write!(std::io::stdout(), "{shown}");
    let written = written.and_then(|()| file.map_or(Ok(()), |path| fs::write(path, &json)));
    written.map_err(|error| (FAILED, format!("cannot write the report: {error}")))?;
    Ok(report.is_good())
}

fn providers(config: ProvidersConfig, clock: Clock) -> Result<bool, End> {
    use loadtest::providers::ProvidersError;
    loadtest::providers::serve(config, clock).map(|()| true).map_err(|error| match error {
        ProvidersError::Listen(..) => (USAGE, error.to_string()),
        ProvidersError::Start(_) => (FAILED, error.to_string()),
    })
}

fn tell(outputs: Outputs, report: &Report) -> Result<bool, End> {
    let written = outputs.write(report);
    written.map_err(|error| (FAILED, format!("cannot write the report: {error}")))?;
    Ok(report.passed)
}

fn usage(line: String) -> End {
    (USAGE, line)
}

fn end((code, line): End) -> ExitCode {
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
