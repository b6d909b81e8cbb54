//! `tuning`: is this host fit for what it is to carry, and what would make it so?
//!
//! Owns the order of things and the exit codes. What is wanted stands in `table`, reading the host in `host`, verdicts in
//! `wish` and `check`, what would change in `change`, changing it and taking it back in `apply`, arithmetic over the measured
//! model in `plan`.
#![forbid(unsafe_code)]

mod apply;
mod change;
mod check;
mod cli;
mod host;
mod model;
mod plan;
mod profile;
mod record;
mod settings;
mod table;
mod texts;
mod wish;

use std::process::ExitCode;

use clap::Parser;

use crate::apply::{Ending, Extent};
use crate::cli::{ApplyArgs, CheckArgs, Cli, Command, PlanArgs, one_line};
use crate::host::Host;
use crate::settings::Tuning;

const FAILED: u8 = 1;
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(help) if !help.use_stderr() => help.exit(),
        Err(error) => return end(USAGE, &one_line(&error)),
    };
    ops::logs::init(cli.log_format);
    let settings = match settings::read(cli.config.as_deref()) {
        Ok(settings) => settings,
        Err(why) => return end(USAGE, &why),
    };
    if cli.check_config {
        println!("the settings are good");
        return ExitCode::SUCCESS;
    }
    match cli.command {
        None => end(USAGE, "say what to do: check, apply or plan (--help tells more)"),
        Some(Command::Check(args)) => check(&args, &settings),
        Some(Command::Apply(args)) => apply(&args, &settings),
        Some(Command::Plan(args)) => plan(&args),
    }
}

fn check(args: &CheckArgs, settings: &Tuning) -> ExitCode {
    if !args.root.is_dir() {
        return end(USAGE, &format!("--root: {} is no folder", args.root.display()));
    }
    let check =
        check::check(&Host::new(args.root.clone()), args.profile.unwrap_or(settings.profile), settings);
    if args.json {
        println!("{}", check.to_json());
    } else {
        print!("{}", check.page());
    }
    ExitCode::from(if check.fit { 0 } else { FAILED })
}

fn apply(args: &ApplyArgs, settings: &Tuning) -> ExitCode {
    if !args.root.is_dir() {
        return end(USAGE, &format!("--root: {} is no folder", args.root.display()));
    }
    let request = match args.request(settings) {
        Ok(request) => request,
        Err(why) => return end(USAGE, &why),
    };
    let ended = if args.undo {
        apply::undo(&args.root, Extent { dry_run: args.dry_run, force: args.force })
    } else {
        apply::apply(&request, settings)
    };
    match ended {
        Ok(Ending::Done) => ExitCode::SUCCESS,
        Ok(Ending::InPart) => ExitCode::from(FAILED),
        Err(why) => end(FAILED, &why),
    }
}

fn plan(args: &PlanArgs) -> ExitCode {
    let plan = plan::plan(args.asked());
    if args.json {
        println!("{}", plan.to_json());
    } else {
        print!("{}", plan.page());
    }
    ExitCode::SUCCESS
}

fn end(code: u8, line: &str) -> ExitCode {
    eprintln!("tuning: {line}");
    ExitCode::from(code)
}
