//! The router as a program of its own. In standalone the gateway's `main` starts the same rooms.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use ops::logs::LogFormat;
use router::config::{Config, ConfigError};
use router::node;

/// Exit code of bad usage, bad settings, or a start that cannot be.
const BAD_START: u8 = 2;

/// Takes notifications in, decides what becomes of them, delivers, and keeps the ledger.
#[derive(Debug, Parser)]
#[command(name = "router", version)]
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
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    ops::logs::init(arguments.log_format);
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("router: {why}");
            ExitCode::from(BAD_START)
        }
    }
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
