//! `tuning check`: is this host fit for what it is to carry?
//!
//! Owns the command line and the printing. What is wanted stands in `table`, reading it in `host`, the verdict in
//! `check`. Changes nothing on the host.
#![forbid(unsafe_code)]

mod check;
mod host;
mod table;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::check::{Finding, Verdict};
use crate::host::Host;
use crate::table::Profile;

#[derive(Debug, Parser)]
#[command(name = "tuning", version, about = "Checks a host for a gateway, a router or a load tester")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Compare the host's limits and kernel settings with what a profile wants. Exit 1 if any is low.
    Check {
        #[arg(long, value_enum, default_value_t = Profile::Gateway500k)]
        profile: Profile,
        /// Print JSON instead of a table.
        #[arg(long)]
        json: bool,
        /// Read /proc and /sys below this folder.
        #[arg(long, default_value = "/", hide = true)]
        root: PathBuf,
    },
}

fn main() -> ExitCode {
    let Command::Check { profile, json, root } = Cli::parse().command;
    let findings = check::check(&Host::new(root), profile);
    if json {
        println!("{}", serde_json::json!({ "profile": profile, "findings": findings }));
    } else {
        print!("{}", table_of(&findings));
    }
    let low = findings.iter().any(|finding| finding.verdict == Verdict::Low);
    ExitCode::from(u8::from(low))
}

fn table_of(findings: &[Finding]) -> String {
    let mut page = String::new();
    for Finding { name, wanted, found, verdict, why, .. } in findings {
        let found = found.as_deref().unwrap_or("–");
        let _infallible = writeln!(page, "{verdict:7} {name:34} found {found:24} wanted {wanted:22} {why}");
    }
    let count = |verdict| findings.iter().filter(|finding| finding.verdict == verdict).count();
    let (ok, low, unknown) = (count(Verdict::Ok), count(Verdict::Low), count(Verdict::Unknown));
    let _infallible = writeln!(page, "{ok} ok, {low} low, {unknown} unknown");
    page
}
