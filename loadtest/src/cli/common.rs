//! The flags that every scenario has. Part of `cli`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use ring::hmac;
use wire::time::Wall;

use crate::config::{RunConfig, Scenario};
use crate::expect;
use crate::limits::{ATTEMPTS_MAX, CONNECTIONS_MAX, THREADS_MAX, URLS_MAX};
use crate::sources::Sources;
use crate::target::Target;
use crate::tls::{TlsPlan, Trust};
use crate::users::{Proof, Users, parse_tokens};

use super::Usage;
use super::checks::{duration, moment, name, rate, read_secret, within};

const URL_DEFAULT: &str = "ws://127.0.0.1:8080";
/// A JWT of ours outlives any run by this much.
const JWT_SPARE: Duration = Duration::from_secs(24 * 3_600);
/// Bytes of a user prefix; a number follows, and a name has at most 256.
const PREFIX_BYTES_MAX: usize = 200;
/// Attempts in a row before a client gives up: where none is refused for long, and where a node refuses for minutes.
const ATTEMPTS: u32 = 10;
const ATTEMPTS_OF_STORMS: u32 = 100;
/// The largest weight of one address.
const WEIGHT_MAX: u32 = 1_000_000;

#[derive(Debug, Args)]
pub(super) struct Common {
    /// Where clients connect: ws://, wss://, or http://, https:// for event streams; several are used in turn [default:
    /// ws://127.0.0.1:8080]
    ///
    /// At http:// and https:// clients read server-sent events (/v1/events). They come back as soon as the stream's `retry:` says,
    /// with Last-Event-ID; what they say (acknowledgements, topics, syncs) is posted to /v1/messages, each message on a
    /// connection of its own.
    #[arg(long = "url", value_name = "URL")]
    urls: Vec<String>,
    /// Clients, each with a name and a connection of its own.
    #[arg(long, short = 'n', default_value_t = 1_000)]
    pub(super) connections: u32,
    /// When the first client connects: +5s, or a date as 2026-03-01T10:00:00Z; several load testers begin together so.
    #[arg(long, value_name = "+TIME|DATE")]
    start_at: Option<String>,
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
    /// wss://, https://: a PEM file with the certificates to believe.
    #[arg(long, value_name = "FILE", conflicts_with = "insecure")]
    ca: Option<PathBuf>,
    /// wss://, https://: believe any certificate, as of a test server.
    #[arg(long)]
    insecure: bool,
    /// wss://, https://: also a client that comes back makes a full handshake; else it resumes its session.
    #[arg(long)]
    full_handshakes: bool,
    /// Threads that hold clients [default: by connections and cores]
    #[arg(long)]
    threads: Option<u16>,
    /// io_uring instances a thread [default: by connections and the file-descriptor limit]
    #[arg(long)]
    rings: Option<u16>,
    /// Attempts in a row before a client gives up [default: 10; in storms 100]
    #[arg(long)]
    attempts: Option<u32>,
    /// How clients are shared out among the --urls at first, as 10,1,1 [default: equally]
    #[arg(long, value_name = "WEIGHTS")]
    shares: Option<String>,
    /// The server's process, for its memory and CPU time [default: who listens on a local --url]
    #[arg(long, value_name = "PID")]
    server_pid: Option<u32>,
    /// Write the report there; - is standard output, instead of the page.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the report there as one HTML file with plots.
    #[arg(long, value_name = "FILE.html")]
    report: Option<PathBuf>,
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

impl Common {
    pub(super) fn settle(
        self,
        connect_rate: f64,
        scenario: Scenario,
        now: Wall,
        seed: u64,
        command: String,
    ) -> Result<RunConfig, Usage> {
        let lasts = self.lasts()?;
        let flag = if scenario.posts() { "--connect-rate" } else { "--rate" };
        let attempts =
            self.attempts.unwrap_or(if scenario.storm().is_some() { ATTEMPTS_OF_STORMS } else { ATTEMPTS });
        let users = self.users(now + lasts + JWT_SPARE)?;
        let urls = if self.urls.is_empty() { vec![URL_DEFAULT.to_owned()] } else { self.urls.clone() };
        if urls.len() > URLS_MAX {
            return Err(Usage(format!("--url: at most {URLS_MAX}")));
        }
        let targets = urls.iter().map(|url| Target::parse(url).map_err(|why| Usage(format!("--url {why}"))));
        let targets = targets.collect::<Result<Vec<_>, _>>()?;
        if targets.iter().any(|target| target.is_stream != targets[0].is_stream) {
            return Err(Usage(
                "--url: one run has WebSockets (ws://, wss://) or event streams (http://, https://); `merge` adds two up".to_owned(),
            ));
        }
        let tls = self.tls(&targets)?;
        let shares =
            self.shares.as_deref().map_or(Ok(vec![1; urls.len()]), |text| shares(text, urls.len()))?;
        let sources = self
            .sources
            .as_deref()
            .map(|text| Sources::parse(text).map_err(|why| Usage(format!("--sources {why}"))));
        let expectations = self.expect.map_or(Ok(Vec::new()), |text| expect::parse(&text));
        Ok(RunConfig {
            scenario,
            targets,
            connections: within("--connections", self.connections, 1, CONNECTIONS_MAX)?,
            connect_rate: rate(flag, connect_rate)?,
            lasts,
            start_at: self.start_at.map(|text| moment("--start-at", &text, now)).transpose()?,
            users,
            sources: sources.transpose()?,
            tls,
            threads: self.threads.map(|n| within("--threads", n, 1, THREADS_MAX)).transpose()?,
            rings: self.rings.map(|n| within("--rings", n, 1, 1_024)).transpose()?,
            shares,
            attempts: within("--attempts", attempts, 1, ATTEMPTS_MAX)?,
            server_pid: self.server_pid,
            expectations: expectations.map_err(|why| Usage(format!("--expect {why}")))?,
            best_effort: self.best_effort,
            json: self.json,
            html: self.report,
            seed: self.seed.unwrap_or(seed),
            command,
        })
    }

    pub(super) fn lasts(&self) -> Result<Duration, Usage> {
        duration("--for", &self.lasts)
    }

    /// How clients speak TLS, if a target does.
    fn tls(&self, targets: &[Target]) -> Result<Option<TlsPlan>, Usage> {
        let Some(target) = targets.iter().find(|target| target.is_tls) else { return Ok(None) };
        let trust = match (&self.ca, self.insecure) {
            (Some(path), _) => {
                let pem = read_secret("--ca", path)?;
                let roots = Trust::roots(pem.as_bytes());
                roots.map_err(|why| Usage(format!("--ca {}: {why}", path.display())))?
            }
            (None, true) => Trust::Anybody,
            (None, false) => {
                let url = target.url();
                return Err(Usage(format!("--url {url}: whom to trust? give --ca FILE or --insecure")));
            }
        };
        Ok(Some(TlsPlan { trust, resumes: !self.full_handshakes }))
    }

    fn users(&self, expires: Wall) -> Result<Users, Usage> {
        let prefix = name("--user-prefix", self.user_prefix.clone(), PREFIX_BYTES_MAX)?;
        let proof = if let Some(path) = &self.token_file {
            let tokens = parse_tokens(&read_secret("--token-file", path)?);
            Proof::Tokens(
                tokens.map_err(|why| Usage(format!("--token-file {}: {why}", path.display())))?.into(),
            )
        } else if let Some(path) = &self.jwt_hs256 {
            let key = jwt_key(path)?;
            let audience = self.jwt_audience.clone();
            Proof::Hs256 { key, audience, expires_unix_s: expires.millis() / 1_000 }
        } else {
            Proof::Query
        };
        Ok(Users { prefix, proof })
    }
}

/// The key of our own JWTs.
fn jwt_key(path: &Path) -> Result<hmac::Key, Usage> {
    let secret = read_secret("--jwt-hs256", path)?;
    let secret = secret.trim_end_matches(['\n', '\r']);
    if secret.is_empty() {
        return Err(Usage(format!("--jwt-hs256 {}: the file is empty", path.display())));
    }
    Ok(hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()))
}

/// Clients u0, u1, …, with a JWT each where there is a secret to make it with.
pub(crate) fn jwt_users(secret: Option<&Path>, now: Wall) -> Result<Users, Usage> {
    let expires_unix_s = (now + JWT_SPARE).millis() / 1_000;
    let proof = match secret {
        Some(path) => Proof::Hs256 { key: jwt_key(path)?, audience: None, expires_unix_s },
        None => Proof::Query,
    };
    Ok(Users { prefix: "u".to_owned(), proof })
}

/// One weight for each address, in their order; at least one is above 0.
fn shares(text: &str, urls: usize) -> Result<Vec<u32>, Usage> {
    let bad = || {
        Usage(format!(
            "--shares {text:?}: write one number of 0 to {WEIGHT_MAX} for each of {urls} --url, as 10,1,1"
        ))
    };
    let weights: Option<Vec<u32>> = text
        .split(',')
        .map(|weight| weight.trim().parse().ok().filter(|weight| *weight <= WEIGHT_MAX))
        .collect();
    weights.filter(|all| all.len() == urls && all.iter().any(|weight| *weight > 0)).ok_or_else(bad)
}
