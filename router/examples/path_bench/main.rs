//! The whole path beside a bare loop that does the same work without our code, in turns, on the same machine.
//!
//! ```text
//! cargo build --release --bins
//! cargo run --release -p router --example path_bench -- taken  [--kafka HOST:PORT]     HTTP → 202
//! cargo run --release -p router --example path_bench -- carried --kafka HOST:PORT      Kafka → socket
//! ```
//! `taken`: one notification a request over kept-alive connections, to a router, and to a bare HTTP server that makes the same
//! bytes durable: in a file (one sync for all that wait), or in Kafka (all in-sync replicas).
//! `carried`: records that wait in Kafka, until the last is on its WebSocket: by router and gateway, and by one loop that
//! consumes and sends. Each in turn, three times; medians, and the ratio of ours to the bare one.

mod bare;
mod carried;
mod clients;
mod programs;
mod taken;

use std::path::PathBuf;
use std::time::Instant;

use clap::{Args, Parser, Subcommand};

#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// HTTP → 202.
    Taken(taken::Options),
    /// Kafka → socket.
    Carried(carried::Options),
    /// The bare HTTP server; started by `taken`.
    #[command(hide = true)]
    BareServer(bare::ServerOptions),
    /// The bare consumer; started by `carried`.
    #[command(hide = true)]
    BareConsumer(bare::ConsumerOptions),
}

/// What both have.
#[derive(Args, Clone)]
pub(crate) struct Common {
    /// Times that each is measured.
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// Where the release programs are.
    #[arg(long, default_value = "target/release")]
    programs: PathBuf,
}

/// One measured stretch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Measured {
    per_s: f64,
    /// CPU of the measured programs, all threads, for each message.
    cpu_us: f64,
}

#[expect(clippy::disallowed_methods, reason = "a bench measures")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Both medians, and what ours comes to beside the bare one.
pub(crate) fn tell(ours: &[Measured], bare: &[Measured]) {
    let of = |all: &[Measured], value: fn(&Measured) -> f64| median(all.iter().map(value).collect());
    let (ours_per_s, bare_per_s) = (of(ours, |one| one.per_s), of(bare, |one| one.per_s));
    let (ours_cpu, bare_cpu) = (of(ours, |one| one.cpu_us), of(bare, |one| one.cpu_us));
    println!("{:>6} {:>12} {:>14}", "", "messages/s", "CPU µs/message");
    println!("{:>6} {ours_per_s:>12.0} {ours_cpu:>14.2}", "ours");
    println!("{:>6} {bare_per_s:>12.0} {bare_cpu:>14.2}", "bare");
    println!("{:>6} {:>12.2} {:>14.2}", "ratio", ours_per_s / bare_per_s, bare_cpu / ours_cpu);
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().what {
        What::Taken(options) => taken::run(&options),
        What::Carried(options) => carried::run(&options),
        What::BareServer(options) => bare::serve(&options),
        What::BareConsumer(options) => bare::consume(&options),
    }
}
