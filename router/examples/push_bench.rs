//! What a push costs: the FCM carrier beside `h2load`, which sends the same bytes to the same simulator on one connection of HTTP/2, in
//! turns, on the same machine.
//!
//! ```text
//! cargo build --release --bins
//! cargo run --release -p router --example push_bench
//! ```
//! `ours`: letters of the router's own carrier, as its worker sends them, on one thread. CPU is that of this process, and `h2load`'s its own;
//! the simulator's is neither's. A letter's share of a core says how many a core can send. Needs `openssl`; without `h2load` (Debian:
//! nghttp2-client) ours stands alone.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use clap::Parser;
use http_body_util::Full;
use hyper::Request;
use hyper::body::Bytes;
use ops::clock::Clock;
use router::config::provider::ProviderSection;
use router::owner::DeliveryKey;
use router::provider::carriers::Carriers;
use router::provider::http::{Http, Version};
use router::provider::letter::{Address, Answer, Carrier, Letter};
use router::provider::trust::Trust;
use router::record::Channel;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use uuid::Uuid;
use wire::message::Priority;

/// Of a second, in `/proc/PID/stat`.
const TICKS_PER_S: f64 = 100.0;
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Parser)]
struct Options {
    /// Times that each is measured.
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// Letters of one measured stretch.
    #[arg(long, default_value_t = 50_000)]
    letters: u32,
    /// Letters under way at once.
    #[arg(long, default_value_t = 100)]
    in_flight: u32,
    /// Measure ours alone.
    #[arg(long)]
    alone: bool,
    /// Where the release programs are.
    #[arg(long, default_value = "target/release")]
    programs: PathBuf,
}

/// One measured stretch.
#[derive(Debug, Clone, Copy)]
struct Measured {
    per_s: f64,
    cpu_us: f64,
}

/// The simulated providers; they end with their handle.
struct Simulators {
    child: Child,
    addresses: Value,
}

impl Drop for Simulators {
    fn drop(&mut self) {
        let _gone_already = self.child.kill();
        let _gone_already = self.child.wait();
    }
}

impl Simulators {
    fn start(options: &Options) -> anyhow::Result<Simulators> {
        let program = options.programs.join("loadtest");
        let mut command = Command::new(&program);
        command.args(["providers", "--listen", "127.0.0.1:0"]).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().with_context(|| format!("{}", program.display()))?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("its output")?).read_line(&mut line)?;
        Ok(Simulators { child, addresses: serde_json::from_str(&line).context("the simulators' addresses")? })
    }

    fn of(&self, provider: &str, key: &str) -> anyhow::Result<&str> {
        self.addresses[provider][key].as_str().with_context(|| format!("{provider}.{key}"))
    }
}

fn carrier(simulators: &Simulators, dir: &std::path::Path) -> anyhow::Result<Arc<dyn Carrier>> {
    let made = Command::new("openssl")
        .args(["genpkey", "-quiet", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"])
        .output()
        .context("openssl")?;
    ensure!(made.status.success(), "openssl made no key");
    let account = json!({
        "type": "service_account", "project_id": simulators.of("fcm", "project")?, "private_key_id": "key-1",
        "private_key": String::from_utf8(made.stdout)?, "client_email": "tocsin@simulated-project.iam.gserviceaccount.com",
        "token_uri": simulators.of("google", "token_uri")?,
    });
    let file = dir.join("account.json");
    std::fs::write(&file, account.to_string())?;
    let settings = format!(
        "[fcm]\ncredentials = {:?}\nendpoint = {:?}\n",
        file.display().to_string(),
        simulators.of("fcm", "url")?
    );
    let section: ProviderSection = toml::from_str(&settings)?;
    let config = section.checked().map_err(|why| anyhow::anyhow!("{why}"))?;
    Carriers::new(&config, Clock::start()).fcm.context("FCM")
}

fn letter(number: u32) -> Letter {
    Letter {
        delivery: DeliveryKey {
            id: Uuid::from_u128(number.into()),
            channel: Channel::Push,
            user: format!("user-{number}"),
        },
        to: Address::Fcm(format!("token-{number:08}-of-a-phone-whose-token-is-as-long-as-they-are")),
        priority: Priority::High,
        category: Some("news".to_owned()),
        title: Some("Disk almost full".to_owned()),
        body: Some("db-3 has 4 % left, and it is filling at a gigabyte an hour".to_owned()),
        data: None,
        collapse_key: None,
        ttl: Some(Duration::from_secs(3_600)),
        html: None,
        digest: None,
        unsubscribe: None,
    }
}

async fn ours(carrier: &Arc<dyn Carrier>, options: &Options) -> anyhow::Result<Measured> {
    let (began, before) = (now(), cpu_s(Who::Myself)?);
    let room = Arc::new(Semaphore::new(options.in_flight as usize));
    let mut sending = tokio::task::JoinSet::new();
    for number in 0..options.letters {
        let permit = Arc::clone(&room).acquire_owned().await?;
        let carrier = Arc::clone(carrier);
        sending.spawn(async move {
            let answer = carrier.send(&letter(number)).await;
            drop(permit);
            answer
        });
        while let Some(answer) = sending.try_join_next() {
            is_taken(&answer?)?;
        }
    }
    while let Some(answer) = sending.join_next().await {
        is_taken(&answer?)?;
    }
    measured(options, began.elapsed(), cpu_s(Who::Myself)? - before)
}

fn is_taken(answer: &Answer) -> anyhow::Result<()> {
    match answer {
        Answer::Taken { .. } => Ok(()),
        other => bail!("not taken: {other:?}"),
    }
}

fn measured(options: &Options, took: Duration, cpu_s: f64) -> anyhow::Result<Measured> {
    ensure!(cpu_s > 0.0, "too few letters to measure");
    let letters = f64::from(options.letters);
    Ok(Measured { per_s: letters / took.as_secs_f64(), cpu_us: cpu_s * 1e6 / letters })
}

/// The last letter that came, as `h2load` can send it: its authorisation and its body.
async fn same(simulators: &Simulators) -> anyhow::Result<(String, String)> {
    let control = simulators.addresses["control"].as_str().context("the control")?;
    let request = Request::get(format!("{control}/received?provider=fcm")).body(Full::new(Bytes::new()))?;
    let reply = Http::new(Version::Http1, PATIENCE, &Trust::default()).send(request).await;
    let reply = reply.map_err(|lost| anyhow::anyhow!("{lost:?}"))?;
    let received: Value = serde_json::from_slice(&reply.body).context("what the simulator received")?;
    let content =
        received["letters"].as_array().and_then(|all| all.last()).context("a letter")?["content"].clone();
    let authorization = content["authorization"].as_str().context("its authorisation")?.to_owned();
    Ok((authorization, json!({ "message": content["message"] }).to_string()))
}

fn theirs(
    simulators: &Simulators,
    options: &Options,
    (authorization, body): (&str, &std::path::Path),
) -> anyhow::Result<Measured> {
    let project = simulators.of("fcm", "project")?;
    let url = format!("{}/v1/projects/{project}/messages:send", simulators.of("fcm", "url")?);
    let (began, before) = (now(), cpu_s(Who::Children)?);
    let done = Command::new("h2load")
        .args([
            "-n",
            &options.letters.to_string(),
            "-c",
            "1",
            "-t",
            "1",
            "-m",
            &options.in_flight.to_string(),
        ])
        .args(["-H", &format!("authorization: {authorization}"), "-H", "content-type: application/json"])
        .arg("-d")
        .arg(body)
        .arg(url)
        .output()
        .context("h2load")?;
    let said = String::from_utf8_lossy(&done.stdout);
    let wanted = format!("{} succeeded", options.letters);
    ensure!(done.status.success() && said.contains(&wanted), "h2load: {said}");
    measured(options, began.elapsed(), cpu_s(Who::Children)? - before)
}

#[derive(Clone, Copy)]
enum Who {
    Myself,
    /// Those that have ended.
    Children,
}

/// Seconds of CPU that were used.
fn cpu_s(who: Who) -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    // The name in parentheses may hold blanks.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let first = match who {
        Who::Myself => 11,
        Who::Children => 13,
    };
    let ticks = |place: usize| fields.get(place).and_then(|field| field.parse::<f64>().ok());
    Ok(ticks(first).zip(ticks(first + 1)).map(|(user, system)| user + system).context("stat")? / TICKS_PER_S)
}

#[expect(clippy::disallowed_methods, reason = "a bench measures")]
fn now() -> Instant {
    Instant::now()
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

fn tell(name: &str, all: &[Measured]) -> f64 {
    let (per_s, cpu_us) = (median(all.iter().map(|one| one.per_s)), median(all.iter().map(|one| one.cpu_us)));
    println!("{name:>8} {per_s:>12.0} {cpu_us:>14.2} {:>16.0}", 1e6 / cpu_us);
    cpu_us
}

async fn run(options: &Options) -> anyhow::Result<()> {
    let (simulators, dir) = (Simulators::start(options)?, tempfile::tempdir()?);
    let carrier = carrier(&simulators, dir.path())?;
    is_taken(&carrier.send(&letter(0)).await)?;
    let (authorization, body) = same(&simulators).await?;
    let file = dir.path().join("letter.json");
    std::fs::write(&file, body)?;
    let (mut all_ours, mut all_theirs) = (Vec::new(), Vec::new());
    for _ in 0..options.rounds {
        all_ours.push(ours(&carrier, options).await?);
        if !options.alone {
            all_theirs.push(theirs(&simulators, options, (&authorization, &file))?);
        }
    }
    println!("{:>8} {:>12} {:>14} {:>16}", "", "letters/s", "CPU µs/letter", "letters/s a core");
    let our_us = tell("ours", &all_ours);
    if !options.alone {
        let their_us = tell("h2load", &all_theirs);
        println!("ours costs {:.2} times as much", our_us / their_us);
    }
    Ok(())
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run(&options))
}
