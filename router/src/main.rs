//! The router as a program of its own. In standalone the gateway's `main` starts the same rooms.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use ops::clock::Clock;
use ops::logs::LogFormat;
use router::backup::{self, Manifest};
use router::config::{Config, ConfigError};
#[cfg(feature = "kafka")]
use router::migrate::{self, How};
use router::node;

/// Exit code of bad usage, bad settings, or a start that cannot be.
const BAD_START: u8 = 2;

/// Takes notifications in, decides what becomes of them, delivers, and keeps the ledger.
#[derive(Debug, Parser)]
#[command(name = "router", version, args_conflicts_with_subcommands = true)]
struct Arguments {
    /// Settings, as TOML. `TOCSIN_<SECTION>_<KEY>` in the environment wins over it.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The folder of the journal and the store; wins over `[router] data`.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Check the settings and exit.
    #[arg(long)]
    check_config: bool,
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    log_format: LogFormat,
    #[command(subcommand)]
    order: Option<Order>,
}

#[derive(Debug, Subcommand)]
enum Order {
    /// Write a backup of a data folder on which no router runs. One that runs is asked: POST /v1/backups.
    Backup {
        /// The router's folder.
        #[arg(long, value_name = "DIR")]
        data: PathBuf,
        /// The backup's folder; not there yet, or empty.
        #[arg(long, value_name = "DIR")]
        to: PathBuf,
    },
    /// Check a backup and make a data folder of it.
    Restore {
        /// The backup's folder.
        #[arg(long, value_name = "DIR")]
        from: PathBuf,
        /// The router's folder; not there yet, or empty.
        #[arg(long, value_name = "DIR")]
        data: PathBuf,
    },
    /// Carry what waits in a data folder's own journal to the Kafka of the settings. No router may run on the folder.
    #[cfg(feature = "kafka")]
    Migrate {
        /// The settings, with the [kafka] that the journal goes to.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// The router's folder; wins over `[router] data`.
        #[arg(long, value_name = "DIR")]
        data: Option<PathBuf>,
        /// Count only; change nothing.
        #[arg(long)]
        dry_run: bool,
        /// Take back a migration that has begun and is not done.
        #[arg(long, conflicts_with = "dry_run")]
        abandon: bool,
        /// Let go of the journal as it is and carry nothing: of a folder that has long been on Kafka.
        #[arg(long, conflicts_with_all = ["dry_run", "abandon"])]
        leave: bool,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    ops::logs::init(arguments.log_format);
    let done = match &arguments.order {
        None => run(&arguments),
        Some(order) => carry_out(order),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("router: {why}");
            ExitCode::from(BAD_START)
        }
    }
}

fn carry_out(order: &Order) -> anyhow::Result<()> {
    match order {
        Order::Backup { data, to } => {
            let manifest = backup::write_offline(data, to, Clock::start().wall())?;
            say("the backup is", to, &manifest);
        }
        Order::Restore { from, data } => say("restored to", data, &backup::restore(from, data)?),
        #[cfg(feature = "kafka")]
        Order::Migrate { config, data, dry_run, abandon, leave } => {
            // Of a router alone or of both halves in one process: the folder is the same.
            let config = Config::read(config.as_deref(), data.as_deref(), true)?;
            let how = match (dry_run, abandon, leave) {
                (true, _, _) => How::Count,
                (_, true, _) => How::Abandon,
                (_, _, true) => How::Leave,
                _ => How::Carry,
            };
            println!("{}", migrate::run(&config, how, Clock::start())?);
        }
    }
    Ok(())
}

fn say(what: &str, dir: &Path, manifest: &Manifest) {
    let (rows, waiting): (u64, u64) = (manifest.rows.values().sum(), manifest.waiting.values().sum());
    println!("{what} {}: of {}, {rows} rows and {waiting} records to read", dir.display(), manifest.at);
}

fn read(arguments: &Arguments) -> Result<Config, ConfigError> {
    Config::read(arguments.config.as_deref(), arguments.data.as_deref(), false)
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let config = read(arguments)?;
    if arguments.check_config {
        println!("the settings are good");
        return Ok(());
    }
    let signals = node::signals::Signals::new()?;
    let running = node::start(&config)?;
    println!("api    http://{}", running.api);
    println!("admin  http://{}", running.admin);
    println!("links  {}", running.links);
    let control = running.control();
    signals.wait_for_end(|| match read(arguments) {
        Ok(config) => control.say_reloaded(&config),
        Err(why) => tracing::error!("nothing was reloaded: {why}"),
    });
    running.shutdown();
    Ok(())
}
