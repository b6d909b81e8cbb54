//! The command line: what may be asked for, in which range, and the one line that says what is wrong. Reads the files that flags
//! name; opens no socket. Called by `main`.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use ops::logs::LogFormat;
use ring::hmac;
use wire::time::Wall;

use crate::api::To;
use crate::config::{Posting, RunConfig, Scenario};
use crate::expect;
use crate::limits::{
    ATTEMPTS_MAX, BATCH_MAX, CONNECTIONS_MAX, FOR_MAX, MESSAGES_MAX, MESSAGES_TO_ALL_MAX, POSTERS_MAX,
    RATE_MAX, SECRET_BYTES_MAX, SIZE_MAX, THREADS_MAX, URLS_MAX,
};
use crate::sources::Sources;
use crate::target::{self, Target};
use crate::units::parse_duration;
use crate::users::{Proof, Users, parse_tokens};

const URL_DEFAULT: &str = "ws://127.0.0.1:8080";
/// A JWT of ours outlives any run by this much.
const JWT_SPARE: Duration = Duration::from_secs(24 * 3_600);
/// Bytes of a user prefix; a number follows, and a name has at most 256.
const PREFIX_BYTES_MAX: usize = 200;
/// Messages a second that one posting thread manages even if each answer takes 10 ms.
const RATE_A_POSTER: f64 = 50.0;
const POSTERS_LEAST: u16 = 4;
const POSTERS_BY_ITSELF_MAX: u16 = 128;
/// From this rate on, late messages are posted together.
const BATCH_FROM_RATE: f64 = 2_000.0;

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
}

#[derive(Debug, Args)]
pub struct HoldArgs {
    #[command(flatten)]
    common: Common,
    /// Connects a second; handshake latency counts from each connect's intended time.
    #[arg(long, default_value_t = 2_000.0)]
    rate: f64,
}

#[derive(Debug, Args)]
pub struct FanoutArgs {
    #[command(flatten)]
    common: Common,
    /// Messages a second; latency counts from each message's intended time.
    #[arg(long, default_value_t = 1.0)]
    rate: f64,
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
    #[command(flatten)]
    posting: PostingArgs,
}

#[derive(Debug, Args)]
struct Common {
    /// Where clients connect; several are used in turn [default: ws://127.0.0.1:8080]
    #[arg(long = "url", value_name = "URL")]
    urls: Vec<String>,
    /// Clients, each with a name and a connection of its own.
    #[arg(long, short = 'n', default_value_t = 1_000)]
    connections: u32,
    /// How long it lasts once the clients are in: 500ms, 10s, 2m, 1h.
    #[arg(long = "for", value_name = "TIME", default_value = "60s")]
    lasts: String,
    /// Client n is user PREFIXn.
    #[arg(long, default_value = "u", value_name = "PREFIX")]
    user_prefix: String,
    /// A file with one bearer token a line; client n uses line n, round and round [default: ?user=NAME]
    #[arg(long, value_name = "FILE", conflicts_with = "jwt_hs256")]
    token_file: Option<PathBuf>,
    /// A file with the secret to make each client's JWT with (HS256, sub = user name).
    #[arg(long, value_name = "FILE")]
    jwt_hs256: Option<PathBuf>,
    /// The aud of those JWTs.
    #[arg(long, value_name = "NAME", requires = "jwt_hs256")]
    jwt_audience: Option<String>,
    /// Source addresses, as 127.0.0.0/24; on loopback there are enough by itself.
    #[arg(long, value_name = "RANGE")]
    sources: Option<String>,
    /// Threads that hold clients [default: by connections and cores]
    #[arg(long)]
    threads: Option<u16>,
    /// io_uring instances a thread [default: by connections and the file-descriptor limit]
    #[arg(long)]
    rings: Option<u16>,
    /// Attempts in a row before a client gives up.
    #[arg(long, default_value_t = 10)]
    attempts: u32,
    /// The server's process, for its memory and CPU time [default: who listens on a local --url]
    #[arg(long, value_name = "PID")]
    server_pid: Option<u32>,
    /// Write the report there; - is standard output, instead of the page.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Conditions to pass, as 'p99_ms<50,lost=0'.
    #[arg(long, value_name = "CONDITIONS")]
    expect: Option<String>,
    /// Run with as many clients as the host's limits hold, and pass though some never got in.
    #[arg(long)]
    best_effort: bool,
    /// Draws the same users and delays again [default: random]
    #[arg(long)]
    seed: Option<u64>,
}

#[derive(Debug, Args)]
struct PostingArgs {
    /// The router's API.
    #[arg(long, default_value = "http://127.0.0.1:8090", value_name = "URL")]
    api: String,
    /// The service key.
    #[arg(long, default_value = "dev", conflicts_with = "key_file")]
    key: String,
    /// A file with the service key.
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Bytes of each message's body text.
    #[arg(long, default_value_t = 128)]
    size: usize,
    /// Connects a second, before the messages begin.
    #[arg(long, default_value_t = 2_000.0)]
    connect_rate: f64,
    /// Threads that post, each with a connection of its own [default: by rate]
    #[arg(long)]
    posters: Option<u16>,
    /// Messages that are due and may go in one request [default: 1, and 64 from 2,000 a second]
    #[arg(long)]
    batch: Option<u16>,
    /// How long copies may still come after the last post.
    #[arg(long, default_value = "10s", value_name = "TIME")]
    settle: String,
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

impl Command {
    /// Checks every flag and reads the files they name.
    pub fn settle(self, now: Wall, seed: u64, command: String) -> Result<RunConfig, Usage> {
        let (common, connect_rate, scenario) = match self {
            Command::Hold(HoldArgs { common, rate }) => (common, rate, Scenario::Hold),
            Command::Fanout(FanoutArgs { common, rate, topic, posting }) => {
                let to = topic.map_or(Ok(To::All), |topic| name("--topic", topic, 256).map(To::Topic))?;
                let connect_rate = posting.connect_rate;
                let posting = posting.settle(rate, to, &common, MESSAGES_TO_ALL_MAX)?;
                (common, connect_rate, Scenario::Fanout(posting))
            }
            Command::Latency(LatencyArgs { common, rate, posting }) => {
                let connect_rate = posting.connect_rate;
                let posting = posting.settle(rate, To::User, &common, MESSAGES_MAX)?;
                (common, connect_rate, Scenario::Latency(posting))
            }
        };
        common.settle(connect_rate, scenario, now, seed, command)
    }
}

impl Common {
    fn settle(
        self,
        connect_rate: f64,
        scenario: Scenario,
        now: Wall,
        seed: u64,
        command: String,
    ) -> Result<RunConfig, Usage> {
        let lasts = self.lasts()?;
        let flag = if scenario == Scenario::Hold { "--rate" } else { "--connect-rate" };
        let users = self.users(now + lasts + JWT_SPARE)?;
        let urls = if self.urls.is_empty() { vec![URL_DEFAULT.to_owned()] } else { self.urls };
        if urls.len() > URLS_MAX {
            return Err(Usage(format!("--url: at most {URLS_MAX}")));
        }
        let targets = urls.iter().map(|url| Target::parse(url).map_err(|why| Usage(format!("--url {why}"))));
        let sources =
            self.sources.map(|text| Sources::parse(&text).map_err(|why| Usage(format!("--sources {why}"))));
        let expectations = self.expect.map_or(Ok(Vec::new()), |text| expect::parse(&text));
        Ok(RunConfig {
            scenario,
            targets: targets.collect::<Result<_, _>>()?,
            connections: within("--connections", self.connections, 1, CONNECTIONS_MAX)?,
            connect_rate: rate(flag, connect_rate)?,
            lasts,
            users,
            sources: sources.transpose()?,
            threads: self.threads.map(|n| within("--threads", n, 1, THREADS_MAX)).transpose()?,
            rings: self.rings.map(|n| within("--rings", n, 1, 1_024)).transpose()?,
            attempts: within("--attempts", self.attempts, 1, ATTEMPTS_MAX)?,
            server_pid: self.server_pid,
            expectations: expectations.map_err(|why| Usage(format!("--expect {why}")))?,
            best_effort: self.best_effort,
            json: self.json,
            seed: self.seed.unwrap_or(seed),
            command,
        })
    }

    fn lasts(&self) -> Result<Duration, Usage> {
        duration("--for", &self.lasts)
    }

    fn users(&self, expires: Wall) -> Result<Users, Usage> {
        let prefix = name("--user-prefix", self.user_prefix.clone(), PREFIX_BYTES_MAX)?;
        let proof = if let Some(path) = &self.token_file {
            let tokens = parse_tokens(&read_secret("--token-file", path)?);
            Proof::Tokens(
                tokens.map_err(|why| Usage(format!("--token-file {}: {why}", path.display())))?.into(),
            )
        } else if let Some(path) = &self.jwt_hs256 {
            let secret = read_secret("--jwt-hs256", path)?;
            let secret = secret.trim_end_matches(['\n', '\r']);
            if secret.is_empty() {
                return Err(Usage(format!("--jwt-hs256 {}: the file is empty", path.display())));
            }
            let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
            let audience = self.jwt_audience.clone();
            Proof::Hs256 { key, audience, expires_unix_s: expires.millis() / 1_000 }
        } else {
            Proof::Query
        };
        Ok(Users { prefix, proof })
    }
}

impl PostingArgs {
    fn settle(self, per_s: f64, to: To, common: &Common, messages_max: u64) -> Result<Posting, Usage> {
        let rate = rate("--rate", per_s)?;
        let messages = (rate * common.lasts()?.as_secs_f64()).ceil() as u64;
        if !(1..=messages_max).contains(&messages) {
            return Err(Usage(format!(
                "--rate × --for is {messages} messages; 1 to {messages_max} are possible"
            )));
        }
        let api = target::parse_api(&self.api).map_err(|why| Usage(format!("--api {why}")))?;
        let key = match &self.key_file {
            Some(path) => read_secret("--key-file", path)?.trim().to_owned(),
            None => self.key,
        };
        if key.is_empty() || !key.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(Usage(
                "--key: a service key is plain ASCII without blanks, and not empty".to_owned(),
            ));
        }
        let by_itself = ((rate / RATE_A_POSTER).ceil() as u16).clamp(POSTERS_LEAST, POSTERS_BY_ITSELF_MAX);
        let batch_by_itself = if rate >= BATCH_FROM_RATE { 64 } else { 1 };
        Ok(Posting {
            api,
            key,
            to,
            rate,
            messages,
            size: within("--size", self.size, 0, SIZE_MAX)?,
            posters: within("--posters", self.posters.unwrap_or(by_itself), 1, POSTERS_MAX)?,
            batch: within("--batch", self.batch.unwrap_or(batch_by_itself), 1, BATCH_MAX)?,
            settle: duration("--settle", &self.settle)?,
        })
    }
}

fn within<T: PartialOrd + Copy + std::fmt::Display>(
    flag: &str,
    value: T,
    low: T,
    high: T,
) -> Result<T, Usage> {
    if value >= low && value <= high {
        Ok(value)
    } else {
        Err(Usage(format!("{flag} {value}: {low} to {high} are possible")))
    }
}

fn rate(flag: &str, per_s: f64) -> Result<f64, Usage> {
    let bad = || Usage(format!("{flag} {per_s}: more than 0 and at most {RATE_MAX} a second are possible"));
    if per_s > 0.0 && per_s <= RATE_MAX { Ok(per_s) } else { Err(bad()) }
}

fn duration(flag: &str, text: &str) -> Result<Duration, Usage> {
    let time = parse_duration(text).map_err(|why| Usage(format!("{flag} {why}")))?;
    if time > FOR_MAX {
        return Err(Usage(format!(
            "{flag} {text}: at most {} hours are possible",
            FOR_MAX.as_secs() / 3_600
        )));
    }
    Ok(time)
}

/// A name that stands in URLs and JSON without escapes.
fn name(flag: &str, text: String, bytes_max: usize) -> Result<String, Usage> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    if text.is_empty() || text.len() > bytes_max || !text.bytes().all(plain) {
        return Err(Usage(format!("{flag} {text:?}: 1 to {bytes_max} letters, digits, - _ . are possible")));
    }
    Ok(text)
}

fn read_secret(flag: &str, path: &Path) -> Result<String, Usage> {
    let failed = |why: &dyn std::fmt::Display| Usage(format!("{flag} {}: {why}", path.display()));
    let size = fs::metadata(path).map_err(|error| failed(&error))?.len();
    if size > SECRET_BYTES_MAX {
        return Err(failed(&format!("{size} bytes are too many")));
    }
    fs::read_to_string(path).map_err(|error| failed(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settled(words: &[&str]) -> RunConfig {
        let cli = Cli::try_parse_from([&["loadtest"], words].concat()).expect("a good command line");
        cli.command.settle(Wall(0), 7, String::new()).expect("good flags")
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
