//! The command line: what may be asked for, and the one line that says what is wrong with it. Called by `main`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use ops::logs::LogFormat;

use crate::apply::Request;
use crate::plan::{Asked, CONNECTIONS_MAX, NODES_MAX, RATE_MAX};
use crate::profile::Profile;
use crate::settings::{self, Tuning};
use crate::table;

const EXIT: &str = "Exit code: 0; 1 if the host is not fit (check) or not everything could be done (apply); 2 for bad usage \
                    or settings.";

/// Prepares a host for a gateway, a router or a load tester: says what it lacks, sets it, takes it back, plans it.
#[derive(Debug, Parser)]
#[command(name = "tuning", version, after_help = EXIT)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Settings, as TOML: [tuning]. `TOCSIN_TUNING_<KEY>` in the environment wins over it.
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    /// Check the settings and exit.
    #[arg(long, global = true)]
    pub check_config: bool,
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT", global = true)]
    pub log_format: LogFormat,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Compare the host's limits and kernel settings with what a profile wants. Exit 1 if any is low or high.
    Check(CheckArgs),
    /// Set what a profile wants: the running kernel's values, sysctl.d, limits.d, systemd drop-ins. Shows a diff first, keeps what
    /// it found, and never makes a value worse.
    Apply(ApplyArgs),
    /// What so many connections need: memory, cores, ports, rings, limits; each figure with its source.
    Plan(PlanArgs),
}

#[derive(Debug, Args)]
pub struct CheckArgs {
    /// What the host is to carry [default: tuning.profile, else gateway-500k]
    #[arg(long, value_enum)]
    pub profile: Option<Profile>,
    /// Print JSON instead of a table.
    #[arg(long)]
    pub json: bool,
    /// Read /proc and /sys below this folder.
    #[arg(long, value_name = "DIR", default_value = "/")]
    pub root: PathBuf,
}

#[derive(Debug, Args)]
pub struct ApplyArgs {
    /// What the host is to carry [default: tuning.profile, else gateway-500k]
    #[arg(long, value_enum, conflicts_with = "undo")]
    pub profile: Option<Profile>,
    /// Only this value; may be given several times.
    #[arg(long, value_name = "NAME", conflicts_with = "undo")]
    only: Vec<String>,
    /// Who runs the programs, for limits.d [default: tuning.user, else tocsin]
    #[arg(long, value_name = "NAME", conflicts_with = "undo")]
    user: Option<String>,
    /// Show what would change, and change nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Take back everything that was applied: values and files as they were found.
    #[arg(long)]
    pub undo: bool,
    /// With --undo: restore also what was changed since.
    #[arg(long, requires = "undo")]
    pub force: bool,
    /// The host below this folder: its etc, proc and var.
    #[arg(long, value_name = "DIR", default_value = "/")]
    pub root: PathBuf,
}

impl ApplyArgs {
    /// Checks the names; an error is one line.
    pub fn request<'a>(&'a self, settings: &'a Tuning) -> Result<Request<'a>, String> {
        if let Some(name) = self.only.iter().find(|name| table::rows().all(|row| row.name != *name)) {
            return Err(format!("--only: {}", settings::unknown_name(name)));
        }
        let user = self.user.as_deref().unwrap_or(&settings.user);
        settings::check_user(user).map_err(|why| format!("--user: {why}"))?;
        Ok(Request {
            root: &self.root,
            profile: self.profile.unwrap_or(settings.profile),
            user,
            only: (!self.only.is_empty()).then(|| self.only.iter().cloned().collect()),
            dry_run: self.dry_run,
        })
    }
}

#[derive(Debug, Args)]
pub struct PlanArgs {
    /// Connections in all.
    #[arg(long, short = 'n', value_parser = clap::value_parser!(u64).range(1..=CONNECTIONS_MAX))]
    connections: u64,
    /// Connections are wss.
    #[arg(long)]
    tls: bool,
    /// Messages a second to sockets, each copy counted.
    #[arg(long, default_value_t = 0.0, value_parser = rate)]
    rate: f64,
    /// Gateway nodes; of several, one may be lost without a connection being refused.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=NODES_MAX))]
    nodes: u64,
    /// Print JSON instead of a page.
    #[arg(long)]
    pub json: bool,
}

impl PlanArgs {
    pub fn asked(&self) -> Asked {
        Asked { connections: self.connections, tls: self.tls, rate: self.rate, nodes: self.nodes }
    }
}

fn rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (0.0..=RATE_MAX).contains(&rate) { Ok(rate) } else { Err(format!("must be between 0 and {RATE_MAX}")) }
}

/// The first sentence of clap's message, for the one line that people get.
pub fn one_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let told = text.lines().map(str::trim).take_while(|line| !line.is_empty()).collect::<Vec<_>>().join(" ");
    format!("{} (--help tells more)", told.trim_start_matches("error: "))
}
