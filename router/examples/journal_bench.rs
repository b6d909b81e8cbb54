//! How fast the journal takes and gives records, beside what its disk (or its brokers) can do alone.
//!
//! ```text
//! cargo run --release -p router --example journal_bench -- [--dir DIR | --kafka HOST:PORT] [--appenders 1,16,256,2048] [--for 3]
//! ```
//! Appends run for `--for` seconds with each number of concurrent appenders; then everything is read and committed.
//! The bare disk writes the same bytes in the same batches with the same number of syncs, without our code.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Parser;
use router::journal::embedded::{EmbeddedJournal, EmbeddedLimits};
use router::journal::{Draft, Journal, JournalReader, Position};
use uuid::Uuid;
use wire::message::Priority;
use wire::time::Wall;

const PARTITIONS: u32 = 16;
/// Records of one read.
const READ_MAX: usize = 1_024;

#[derive(Parser)]
struct Arguments {
    /// Where the embedded journal is made (and removed again).
    #[arg(long, default_value = "target/journal-bench")]
    dir: PathBuf,
    /// Kafka instead of the embedded journal.
    #[arg(long)]
    kafka: Option<String>,
    /// Numbers of concurrent appenders.
    #[arg(long, value_delimiter = ',', default_value = "1,16,256,2048")]
    appenders: Vec<usize>,
    /// Seconds for each.
    #[arg(long = "for", default_value_t = 3)]
    seconds: u64,
}

#[expect(clippy::disallowed_methods, reason = "a bench measures")]
fn now() -> Instant {
    Instant::now()
}

fn draft(n: u64) -> Draft {
    let request = serde_json::json!({
        "to": {"user": format!("user-{}", n % 10_000)},
        "priority": Priority::Normal,
        "category": "orders",
        "title": "Your order is on its way",
        "body": "It left the warehouse this morning and will be with you by tomorrow evening.",
        "data": {"order": n},
    });
    Draft {
        id: Uuid::from_u128(u128::from(n)),
        service: "bench".to_owned(),
        accepted_at: Wall(1_700_000_000_000_000),
        request: serde_json::from_value(request).expect("a request"),
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    println!(
        "{:>9} {:>10} {:>8} {:>8} {:>8} {:>10}",
        "appenders", "appends/s", "p50 ms", "p99 ms", "max ms", "reads/s"
    );
    for appenders in &arguments.appenders {
        match &arguments.kafka {
            Some(brokers) => kafka(brokers, *appenders, arguments.seconds).await?,
            None => embedded(&arguments, *appenders).await?,
        }
    }
    Ok(())
}

async fn embedded(arguments: &Arguments, appenders: usize) -> anyhow::Result<()> {
    let dir = arguments.dir.join(format!("{appenders}"));
    if dir.exists() {
        std::fs::remove_dir_all(&dir)?;
    }
    let (journal, reader, _) = EmbeddedJournal::open(&dir, PARTITIONS, EmbeddedLimits::default())?;
    let before = disk_writes();
    let appended = measure(Arc::new(journal), reader, appenders, arguments.seconds).await?;
    let syncs = before.zip(disk_writes()).map(|(before, after)| after - before);
    std::fs::remove_dir_all(&dir)?;
    bare_disk(&arguments.dir, appenders, appended, arguments.seconds)?;
    if let Some(writes) = syncs {
        println!("{:>9} {writes} write requests reached the block device meanwhile", "");
    }
    Ok(())
}

#[cfg(feature = "kafka")]
async fn kafka(brokers: &str, appenders: usize, seconds: u64) -> anyhow::Result<()> {
    use router::journal::kafka::{KafkaConfig, KafkaJournal};
    let none = std::collections::BTreeMap::new();
    let config = KafkaConfig::new(&[brokers.to_owned()], PARTITIONS, &none, &none)?;
    let (journal, reader) = KafkaJournal::open(config).await?;
    let mut ownership = reader.ownership();
    ownership.wait_for(|ownership| !ownership.partitions.is_empty()).await?;
    measure(Arc::new(journal), reader, appenders, seconds).await?;
    Ok(())
}

#[cfg(not(feature = "kafka"))]
async fn kafka(_: &str, _: usize, _: u64) -> anyhow::Result<()> {
    anyhow::bail!("this build has no Kafka")
}

/// Appends for a while, then reads everything. Returns the number of appends.
async fn measure(
    journal: Arc<dyn Journal>,
    mut reader: impl JournalReader,
    appenders: usize,
    seconds: u64,
) -> anyhow::Result<u64> {
    let until = now() + Duration::from_secs(seconds);
    let next = Arc::new(AtomicU64::new(0));
    let tasks: Vec<_> = (0..appenders)
        .map(|_| {
            let (journal, next) = (Arc::clone(&journal), Arc::clone(&next));
            tokio::spawn(async move {
                let mut times_us = Vec::new();
                while now() < until {
                    let draft = draft(next.fetch_add(1, Ordering::Relaxed));
                    let started = now();
                    journal.append(draft).await?;
                    times_us.push(started.elapsed().as_micros() as u64);
                }
                Ok::<_, router::journal::AppendError>(times_us)
            })
        })
        .collect();
    let started = now();
    let mut times_us = Vec::new();
    for task in tasks {
        times_us.extend(task.await??);
    }
    let took = started.elapsed();
    let appended = times_us.len() as u64;
    let reading = now();
    let mut read = 0;
    while read < appended {
        let entries = reader.read(READ_MAX).await?;
        read += entries.len() as u64;
        let positions: Vec<Position> = entries.iter().map(|entry| entry.position).collect();
        reader.commit(&positions).await?;
    }
    let reads = read as f64 / reading.elapsed().as_secs_f64();
    times_us.sort_unstable();
    let at = |share: f64| times_us[((times_us.len() - 1) as f64 * share) as usize] as f64 / 1_000.0;
    let per_s = appended as f64 / took.as_secs_f64();
    println!(
        "{appenders:>9} {per_s:>10.0} {:>8.2} {:>8.2} {:>8.2} {reads:>10.0}",
        at(0.5),
        at(0.99),
        at(1.0)
    );
    Ok(appended)
}

/// The same record size, `appenders` records a sync, as fast as the disk goes.
fn bare_disk(dir: &std::path::Path, appenders: usize, appended: u64, seconds: u64) -> anyhow::Result<()> {
    let record = serde_json::to_vec(&draft(appended).request)?.len() + 200;
    let path = dir.join("bare");
    let mut file =
        std::fs::OpenOptions::new().create_new(true).append(true).open(&path).context("the bare file")?;
    let batch = vec![b'x'; record * appenders];
    let (started, until) = (now(), now() + Duration::from_secs(seconds));
    let mut syncs = 0_u64;
    while now() < until {
        file.write_all(&batch)?;
        file.sync_data()?;
        syncs += 1;
    }
    let per_s = syncs as f64 / started.elapsed().as_secs_f64();
    std::fs::remove_file(&path)?;
    println!(
        "{:>9} {:>10.0} the bare disk: {per_s:.0} syncs/s of {appenders} records",
        "",
        per_s * appenders as f64
    );
    Ok(())
}

/// Write requests of all block devices so far, where the kernel tells.
fn disk_writes() -> Option<u64> {
    let stats = std::fs::read_to_string("/proc/diskstats").ok()?;
    stats.lines().map(|line| line.split_whitespace().nth(7)?.parse::<u64>().ok()).sum()
}
