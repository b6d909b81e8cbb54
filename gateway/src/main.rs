//! The gateway as a program: alone beside routers, or (feature `standalone`) with a router in the same
//! process.
//!
//! The only place that names both. Reads the settings once, opens the doors before anything else, says what
//! listens where.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use gateway::config::{Config, Gateway, SECTIONS};
use gateway::node::{self, Control, Doors, RunningNode};
use gateway::shard::drain::DrainKind;
use gateway::shard::request::Console;
use ops::logs::LogFormat;

/// Exit code of bad usage, bad settings, or a start that cannot be.
const BAD_START: u8 = 2;

/// Holds clients' connections and fans notifications out. Without `[gateway.links]` it is standalone: gateway
/// and router in one process, on embedded stores.
#[derive(Debug, Parser)]
#[command(name = "gateway", version)]
struct Arguments {
    /// Settings, as TOML. `TOCSIN_<SECTION>_<KEY>` in the environment wins over it.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The folder of the router's journal and store, in standalone.
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
            eprintln!("gateway: {why:#}");
            ExitCode::from(BAD_START)
        }
    }
}

fn read_settings(file: Option<&Path>) -> anyhow::Result<Config> {
    let config: Config = ops::settings::read(file, &SECTIONS)?;
    config.gateway.check()?;
    config.console.check(&config.gateway)?;
    Ok(config)
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let Config { gateway, console, .. } = read_settings(arguments.config.as_deref())?;
    match &gateway.links {
        Some(links) => {
            if arguments.data.is_some() {
                anyhow::bail!("--data is for standalone; with [gateway.links] a gateway keeps nothing");
            }
            if arguments.check_config {
                return check(&gateway);
            }
            node::check_host(&gateway)?;
            let routers = node::resolve_routers(&links.routers)?;
            let doors = Doors::open(&gateway)?;
            let page = console.api.map(|api| Console { api, key: None, local_user: false });
            let has_console = page.is_some();
            let running = node::start(&gateway, doors, &routers, page)?;
            say(&running);
            if has_console {
                println!("console  http://{}/", running.clients);
            }
            let file = arguments.config.clone();
            let reload = move |node: &Control| {
                node.reload(&read_settings(file.as_deref())?.gateway)?;
                tracing::info!("keys, certificates, origins and limits reloaded");
                Ok(())
            };
            serve(running, reload)
        }
        None => standalone::run(arguments, &gateway),
    }
}

fn say(running: &RunningNode) {
    println!("clients  http://{0}  ws://{0}/v1/connect", running.clients);
    if let Some(tls) = running.tls {
        println!("tls      https://{tls}  wss://{tls}/v1/connect");
    }
    println!("admin    http://{}/metrics", running.admin);
    for (shard, table) in running.tables.iter().enumerate() {
        println!("shard {shard}  {table}");
    }
}

/// Also the files that the settings name.
fn check(gateway: &Gateway) -> anyhow::Result<()> {
    node::check_files(gateway)?;
    println!("the settings are good");
    Ok(())
}

/// Serves until a drain is over. `reload` reads the settings again and says what came of it.
fn serve(
    running: RunningNode,
    mut reload: impl FnMut(&Control) -> anyhow::Result<()> + Send + 'static,
) -> anyhow::Result<()> {
    let drainer = running.control();
    let hurrier = running.control();
    let reloader = running.control();
    let drain = move || {
        tracing::info!("draining");
        drainer.drain(DrainKind::Restart);
    };
    let hurry = move || {
        tracing::info!("told again to end: closing what is left; once more ends at once");
        hurrier.hurry();
    };
    let reload = move || {
        if let Err(why) = reload(&reloader) {
            tracing::error!("nothing was reloaded: {why:#}");
        }
    };
    gateway::io::signals::listen(drain, hurry, reload)?;
    running.wait();
    Ok(())
}

#[cfg(feature = "standalone")]
mod standalone {
    //! Gateway and router in one process. They talk over loopback, as two processes would.

    use std::path::PathBuf;

    use gateway::config::Gateway;
    use gateway::node::{self, Control, Doors};
    use gateway::shard::request::Console;
    use router::config::Config;

    use super::{Arguments, check, read_settings, say, serve};

    /// The service key of a standalone router without services of its own.
    const DEV_KEY: &str = "dev";

    pub(super) fn run(arguments: &Arguments, gateway: &Gateway) -> anyhow::Result<()> {
        let (config, data) = (arguments.config.as_deref(), arguments.data.as_deref());
        let mut settings = Config::read(config, data, true)?;
        if arguments.check_config {
            return check(gateway);
        }
        node::check_files(gateway)?;
        node::check_host(gateway)?;
        let doors = Doors::open(gateway)?;
        let origins = doors.own_origins();
        settings.allowed_origins.extend(origins.clone());
        let is_dev = settings.standalone;
        let router = router::node::start(&settings)?;
        // The page knows a key: it is for this machine alone.
        let page = gateway.is_on_loopback().then(|| Console {
            api: format!("http://{}", router.api),
            key: is_dev.then(|| DEV_KEY.to_owned()),
            local_user: gateway.local_user(),
        });
        let has_console = page.is_some();
        let running = node::start(gateway, doors, &[router.links], page)?;
        say(&running);
        println!("api      http://{}  key {}", router.api, if is_dev { DEV_KEY } else { "as configured" });
        println!("router   http://{}/metrics  links {}", router.admin, router.links);
        if has_console {
            println!("console  http://{}/", running.clients);
        }
        if gateway.local_user() {
            tracing::warn!(
                "?user=NAME is believed from this machine: configure [gateway.auth] keys to end that"
            );
        }
        let (config, data) = (arguments.config.clone(), arguments.data.clone());
        let reload = both_halves(config, data, origins, router.control());
        serve(running, reload)?;
        router.shutdown();
        Ok(())
    }

    /// Reads and checks everything for both before either changes anything, so that a bad file changes nothing.
    fn both_halves(
        config: Option<PathBuf>,
        data: Option<PathBuf>,
        origins: Vec<String>,
        router: router::node::control::Control,
    ) -> impl FnMut(&Control) -> anyhow::Result<()> {
        move |node| {
            let gateway = read_settings(config.as_deref())?.gateway;
            let mut settings = Config::read(config.as_deref(), data.as_deref(), true)?;
            settings.allowed_origins.extend(origins.iter().cloned());
            node.reload(&gateway)?;
            tracing::info!("keys, certificates, origins and limits reloaded");
            router.say_reloaded(&settings);
            Ok(())
        }
    }
}

#[cfg(not(feature = "standalone"))]
mod standalone {
    //! A build without the router.

    use super::Arguments;

    pub(super) fn run(_: &Arguments, _: &gateway::config::Gateway) -> anyhow::Result<()> {
        anyhow::bail!("this build has no router in it: name the routers in [gateway.links]")
    }
}
