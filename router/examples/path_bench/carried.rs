//! Kafka → socket: records that wait, until the last of them is with its client.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::bail;
use clap::Args;
use futures_util::StreamExt as _;
use router::journal::kafka::{KafkaConfig, KafkaJournal};
use router::journal::{Draft, Journal};
use uuid::Uuid;
use wire::message::Priority;
use wire::time::Wall;

use crate::clients::{Greeting, connect};
use crate::programs::{PARTITIONS, Places, Program, free_address, gateway, router, topics};
use crate::{Common, Measured, now, tell};

#[derive(Args)]
pub(crate) struct Options {
    #[command(flatten)]
    common: Common,
    #[arg(long)]
    kafka: String,
    /// Connected users.
    #[arg(long, default_value_t = 1_000)]
    users: usize,
    /// Records of one stretch.
    #[arg(long, default_value_t = 200_000)]
    records: u64,
}

/// Nothing came for so long.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for round in 0..options.common.rounds {
        let prefix = format!("carried-{}-{round}", std::process::id());
        fill(options, &prefix)?;
        ours.push(by_us(options, &prefix)?);
        bare.push(by_nobody(options, &prefix)?);
    }
    println!(
        "Kafka → {} sockets, {} records that wait, medians of {}",
        options.users,
        options.records,
        ours.len()
    );
    tell(&ours, &bare);
    Ok(())
}

#[tokio::main]
async fn fill(options: &Options, prefix: &str) -> anyhow::Result<()> {
    let config = KafkaConfig::new(
        std::slice::from_ref(&options.kafka),
        PARTITIONS,
        &topics(prefix),
        &BTreeMap::new(),
    )?;
    let (journal, reader) = KafkaJournal::open(config).await?;
    reader.close().await;
    let appends = (0..options.records).map(|number| journal.append(draft(number, options.users as u64)));
    let mut appends = futures_util::stream::iter(appends).buffer_unordered(4_096);
    while let Some(appended) = appends.next().await {
        appended?;
    }
    Ok(())
}

fn draft(number: u64, users: u64) -> Draft {
    let request = serde_json::json!({
        "to": {"user": format!("u{}", number % users)},
        "priority": Priority::Normal,
        "category": "orders",
        "title": "Your order is on its way",
        "body": "It left the warehouse this morning and will be with you by tomorrow evening.",
        "data": {"order": number},
    });
    Draft {
        id: Uuid::new_v4(),
        service: "bench".to_owned(),
        accepted_at: Wall(1_700_000_000_000_000),
        request: serde_json::from_value(request).expect("a request"),
    }
}

fn by_us(options: &Options, prefix: &str) -> anyhow::Result<Measured> {
    let dir = tempfile::tempdir_in("target")?;
    let places = Places::free()?;
    let programs = &options.common.programs;
    let mut gateway = gateway(programs, dir.path(), &places)?;
    gateway.wait_for(places.clients)?;
    let start = || Ok(vec![gateway, router(programs, dir.path(), &places, Some((&options.kafka, prefix)))?]);
    measure(options, places.clients, Greeting::WebSocket, start)
}

fn by_nobody(options: &Options, prefix: &str) -> anyhow::Result<Measured> {
    let address = free_address()?;
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("bare-consumer").arg("--listen").arg(address.to_string()).arg("--kafka").arg(&options.kafka);
    command.arg("--topic").arg(format!("{prefix}.normal")).arg("--clients").arg(options.users.to_string());
    let mut bare = Program::start(&mut command)?;
    bare.wait_for(address)?;
    measure(options, address, Greeting::Name, || Ok(vec![bare]))
}

/// From the first message that is with its client to the last. `start` gives the programs that carry, once all clients are there.
#[tokio::main(flavor = "current_thread")]
async fn measure(
    options: &Options,
    address: SocketAddr,
    greeting: Greeting,
    start: impl FnOnce() -> anyhow::Result<Vec<Program>>,
) -> anyhow::Result<Measured> {
    let counted = Arc::new(AtomicU64::new(0));
    for user in 0..options.users {
        connect(address, format!("u{user}"), greeting, Arc::clone(&counted)).await?;
    }
    let programs = start()?;
    let cpu = || programs.iter().map(Program::cpu_s).sum::<anyhow::Result<f64>>();
    let mut first = None;
    let mut moved = (0, now());
    loop {
        tokio::time::sleep(Duration::from_millis(2)).await;
        let count = counted.load(Ordering::Relaxed);
        if count > 0 && first.is_none() {
            first = Some((now(), count, cpu()?));
        }
        if count > moved.0 {
            moved = (count, now());
        }
        if let Some((began, before, cpu_before)) = first
            && count >= options.records
        {
            let messages = (count - before) as f64;
            let per_s = messages / began.elapsed().as_secs_f64();
            return Ok(Measured { per_s, cpu_us: (cpu()? - cpu_before) * 1e6 / messages });
        }
        if moved.1.elapsed() > PATIENCE {
            bail!("only {count} of {} came", options.records);
        }
    }
}
