//! The command line: what may be asked for, in which range, and the one line that says what is wrong. Reads the files that flags
//! name; opens no socket. Called by `main`.

pub(crate) mod checks;
pub(crate) mod common;
mod kept;
mod posting;
mod storm;

use clap::{Args, Parser, Subcommand};
use ops::logs::LogFormat;
use wire::time::Wall;

use crate::api::To;
use crate::compare::args::CompareArgs;
use crate::config::{DrainPlan, HoldPlan, Job, Scenario};
use crate::expect;
use crate::limits::{MESSAGES_MAX, MESSAGES_TO_ALL_MAX};
use crate::offer::OfferArgs;
use crate::providers::args::ProvidersArgs;

use checks::{duration, name};
use common::Common;
use kept::{MergeArgs, ReportArgs};
use posting::PostingArgs;
use storm::StormArgs;

const ABOUT: &str =
    "Simulated clients by the hundred thousand: scenarios against a running server, and reports";
const OPEN_LOOP: &str = "\
The load is open loop: connect number n is due at n / rate, message number n at n / rate, whatever became of those before. \
Every latency is counted from that intended time, so a server that stalls (or a load tester that cannot keep up) shows in \
the percentiles instead of slowing the schedule down: no coordinated omission. The report says when the load tester itself \
was the bottleneck (client.saturated).

Exit code: 0; 1 if --expect is unmet, a copy was lost, a client never got in (but with --best-effort), or nothing worked; \
2 for bad usage or a host whose limits do not hold the run.";

#[derive(Debug, Parser)]
#[command(name = "loadtest", version, args_override_self = true, about = ABOUT, long_about = format!("{ABOUT}.\n\n{OPEN_LOOP}"))]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
    #[arg(long, value_enum, default_value_t, global = true)]
    pub log_format: LogFormat,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Connect, stay, answer pings: connect rate, handshake latency, refusals, drops, bytes a connection.
    #[command(after_long_help = format!("{OPEN_LOOP}\n\n{}", expect::fields_help()))]
    Hold(HoldArgs),
    /// Each post goes to every socket: copies lost or duplicated, latency, the server's CPU time a copy.
    #[command(after_long_help = format!("{OPEN_LOOP}\n\n{}", expect::fields_help()))]
    Fanout(FanoutArgs),
    /// Each post goes to one connected user, drawn at random: latency from the intended time and from the 202.
    #[command(after_long_help = format!("{OPEN_LOOP}\n\n{}", expect::fields_help()))]
    Latency(LatencyArgs),
    /// All clients lose their connections at once and come back by the reconnect policy: arrival curve, attempts, Retry-After.
    #[command(after_long_help = format!("{OPEN_LOOP}\n\n{}", expect::fields_help()))]
    Storm(StormOnlyArgs),
    /// A storm while messages go on: what is lost or doubled, and latency before, during and after it.
    #[command(after_long_help = format!("{OPEN_LOOP}\n\n{}", expect::fields_help()))]
    Chaos(ChaosArgs),
    /// The same against several servers in turns: idle bytes, handshakes, CPU a message, p99, with ratios to ours.
    Compare(CompareArgs),
    /// Adds up reports of load testers that ran at the same time: counts, histograms, curves.
    Merge(MergeArgs),
    /// Shows a kept report again, as a page or as one HTML file with plots.
    Report(ReportArgs),
    /// A service that runs wild: hands in far more than it may and heeds no refusal; what was taken, what was refused and how.
    Offer(OfferArgs),
    /// Simulates the providers that carry letters, with their errors, faults and callbacks, until it is told to end.
    Providers(ProvidersArgs),
}

#[derive(Debug, Args)]
pub struct HoldArgs {
    #[command(flatten)]
    common: Common,
    /// Connects a second; handshake latency counts from each connect's intended time.
    #[arg(long, default_value_t = 2_000.0)]
    rate: f64,
    /// Send each client one notification once all are in; the clients acknowledge it, and the router's ledger is asked whether
    /// the acknowledgements were read.
    #[arg(long)]
    notify: bool,
    /// Those notifications a second.
    #[arg(long, default_value_t = 5_000.0)]
    notify_rate: f64,
    /// At the end this gateway process gets SIGTERM, and the clients leave as it asks them to.
    #[arg(long, value_name = "PID")]
    drain_pid: Option<u32>,
    /// How long that may take.
    #[arg(long, value_name = "TIME", default_value = "2m")]
    drain_within: String,
    #[command(flatten)]
    posting: PostingArgs,
}

#[derive(Debug, Args)]
pub struct FanoutArgs {
    #[command(flatten)]
    common: Common,
    /// Messages a second; latency counts from each message's intended time.
    #[arg(long, default_value_t = 1.0)]
    rate: f64,
    /// Connects a second, before the messages begin.
    #[arg(long, default_value_t = 2_000.0)]
    connect_rate: f64,
    /// Subscribe every client to this topic and send there; without it messages go to all.
    #[arg(long, value_name = "NAME")]
    topic: Option<String>,
    #[command(flatten)]
    posting: PostingArgs,
}

#[derive(Debug, Args)]
pub struct LatencyArgs {
    #[command(flatten)]
    common: Common,
    /// Messages a second; latency counts from each message's intended time.
    #[arg(long, default_value_t = 100.0)]
    rate: f64,
    /// Connects a second, before the messages begin.
    #[arg(long, default_value_t = 2_000.0)]
    connect_rate: f64,
    #[command(flatten)]
    posting: PostingArgs,
}

#[derive(Debug, Args)]
pub struct StormOnlyArgs {
    #[command(flatten)]
    common: Common,
    /// Connects a second, before the storm.
    #[arg(long, default_value_t = 2_000.0)]
    rate: f64,
    #[command(flatten)]
    storm: StormArgs,
}

#[derive(Debug, Args)]
pub struct ChaosArgs {
    #[command(flatten)]
    common: Common,
    /// Messages a second, each to one user, whether connected or not; latency counts from each message's intended time.
    #[arg(long, default_value_t = 100.0)]
    rate: f64,
    /// Connects a second, before the messages begin.
    #[arg(long, default_value_t = 2_000.0)]
    connect_rate: f64,
    #[command(flatten)]
    posting: PostingArgs,
    #[command(flatten)]
    storm: StormArgs,
}

/// Bad usage: one line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);

/// A first sentence of clap's message, for the one line that people get.
pub fn one_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let told = text.lines().map(str::trim).take_while(|line| !line.is_empty()).collect::<Vec<_>>().join(" ");
    format!("{} (--help tells more)", told.trim_start_matches("error: "))
}

impl HoldArgs {
    fn plan(&mut self) -> Result<HoldPlan, Usage> {
        let drain = self.drain_pid.map(|pid| {
            let within = duration("--drain-within", &self.drain_within)?;
            Ok(DrainPlan { pid: storm::server("--drain-pid", pid)?, within })
        });
        let posting = std::mem::take(&mut self.posting);
        let notify =
            self.notify.then(|| posting.settle(self.notify_rate, To::Each, &self.common, MESSAGES_MAX));
        Ok(HoldPlan { notify: notify.transpose()?, drain: drain.transpose()? })
    }
}

impl Command {
    /// Checks every flag and reads the files they name.
    pub fn settle(self, now: Wall, seed: u64, command: String) -> Result<Job, Usage> {
        let (common, connect_rate, scenario) = match self {
            Command::Hold(mut args) => {
                let plan = args.plan()?;
                (args.common, args.rate, Scenario::Hold(plan))
            }
            Command::Fanout(FanoutArgs { common, rate, connect_rate, topic, posting }) => {
                let to = topic.map_or(Ok(To::All), |topic| name("--topic", topic, 256).map(To::Topic))?;
                let posting = posting.settle(rate, to, &common, MESSAGES_TO_ALL_MAX)?;
                (common, connect_rate, Scenario::Fanout(posting))
            }
            Command::Latency(LatencyArgs { common, rate, connect_rate, posting }) => {
                let posting = posting.settle(rate, To::User, &common, MESSAGES_MAX)?;
                (common, connect_rate, Scenario::Latency(posting))
            }
            Command::Storm(StormOnlyArgs { common, rate, storm }) => {
                let plan = storm.settle(now, common.lasts()?)?;
                (common, rate, Scenario::Storm(plan))
            }
            Command::Chaos(ChaosArgs { common, rate, connect_rate, posting, storm }) => {
                let plan = storm.settle(now, common.lasts()?)?;
                let posting = posting.settle(rate, To::Anyone, &common, MESSAGES_MAX)?;
                (common, connect_rate, Scenario::Chaos(posting, plan))
            }
            Command::Compare(args) => {
                return args.settle(now, seed, command).map(|config| Job::Compare(Box::new(config)));
            }
            Command::Merge(args) => return args.settle().map(Job::Merge),
            Command::Report(args) => return Ok(Job::Draw(args.settle())),
            Command::Offer(args) => {
                return args.settle(seed, command).map(|config| Job::Offer(Box::new(config)));
            }
            Command::Providers(args) => return args.settle().map(Job::Providers),
        };
        common.settle(connect_rate, scenario, now, seed, command).map(|config| Job::Run(Box::new(config)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settled(words: &[&str]) -> crate::config::RunConfig {
        let cli = Cli::try_parse_from([&["loadtest"], words].concat()).expect("a good command line");
        let job = cli.command.settle(Wall(0), 7, String::new()).expect("good flags");
        let Job::Run(config) = job else { panic!("a run: {job:?}") };
        *config
    }

    #[test]
    fn urls_add_up_and_other_flags_replace() {
        let config =
            settled(&["hold", "--url", "ws://a:1", "--rate", "5", "--url", "ws://b:2", "--rate", "9"]);
        assert_eq!(config.targets.len(), 2);
        assert!((config.connect_rate - 9.0).abs() < f64::EPSILON);
    }

    #[test]
    fn without_flags_it_is_a_standalone_gateway_on_this_machine() {
        let config = settled(&["latency"]);
        let posting = config.scenario.posting().expect("it posts");
        assert_eq!(
            (config.targets[0].port, posting.api.as_str(), posting.key.as_str()),
            (8080, "http://127.0.0.1:8090", "dev")
        );
        assert_eq!((posting.messages, posting.posters, posting.batch), (6_000, 4, 1));
    }

    #[test]
    fn a_high_rate_gets_batches_and_threads_by_itself() {
        let config = settled(&["latency", "--rate", "5000"]);
        let posting = config.scenario.posting().expect("it posts");
        assert_eq!((posting.posters, posting.batch), (100, 64));
    }

    #[test]
    fn the_report_of_a_config_holds_no_secret() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("secret");
        std::fs::write(&file, "canary-secret\n").expect("a file");
        let path = file.to_str().expect("UTF-8");
        let config = settled(&["fanout", "--jwt-hs256", path, "--key-file", path]);
        assert!(config.scenario.posting().is_some_and(|posting| posting.key == "canary-secret"));
        assert!(!config.to_json().to_string().contains("canary"));
        assert_eq!(config.to_json()["auth"], "hs256");
    }
}
