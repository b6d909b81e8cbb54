//! HTTP → 202: requests a second, one notification each.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::programs::{Places, Program, SERVICE_KEY, free_address, router};
use crate::{Common, Measured, now, tell};

#[derive(Args)]
pub(crate) struct Options {
    #[command(flatten)]
    common: Common,
    /// A broker; absent: the disk.
    #[arg(long)]
    kafka: Option<String>,
    /// Connections, each with one request at a time.
    #[arg(long, default_value_t = 256)]
    connections: usize,
    /// Seconds of each stretch.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for round in 0..options.common.rounds {
        let dir = tempfile::tempdir_in("target")?;
        let places = Places::free()?;
        let prefix = format!("taken-{}-{round}", std::process::id());
        let kafka = options.kafka.as_deref().map(|broker| (broker, prefix.as_str()));
        let mut program = router(&options.common.programs, dir.path(), &places, kafka)?;
        program.wait_for(places.api)?;
        ours.push(measure(options, &program, places.api)?);
        drop(program);
        let address = free_address()?;
        let mut program = bare_server(options, dir.path(), address, &prefix)?;
        program.wait_for(address)?;
        bare.push(measure(options, &program, address)?);
    }
    let where_to = if options.kafka.is_some() { "Kafka" } else { "the disk" };
    println!(
        "HTTP → {where_to} → 202, {} connections, {} s each, medians of {}",
        options.connections,
        options.seconds,
        ours.len()
    );
    tell(&ours, &bare);
    Ok(())
}

fn bare_server(options: &Options, dir: &Path, address: SocketAddr, prefix: &str) -> anyhow::Result<Program> {
    let mut command = Command::new(std::env::current_exe()?);
    command
        .arg("bare-server")
        .arg("--listen")
        .arg(address.to_string())
        .arg("--file")
        .arg(dir.join("bare.log"));
    if let Some(broker) = &options.kafka {
        command.arg("--kafka").arg(broker).arg("--topic").arg(format!("{prefix}.normal"));
    }
    Program::start(&mut command)
}

#[tokio::main(flavor = "current_thread")]
async fn measure(options: &Options, program: &Program, address: SocketAddr) -> anyhow::Result<Measured> {
    let (counted, ended) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let clients: Vec<_> = (0..options.connections)
        .map(|number| tokio::spawn(client(address, number, Arc::clone(&counted), Arc::clone(&ended))))
        .collect();
    // What is not the steady state: connections, first records.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (began, before, cpu) = (now(), counted.load(Ordering::Relaxed), program.cpu_s()?);
    tokio::time::sleep(Duration::from_secs(options.seconds)).await;
    let messages = (counted.load(Ordering::Relaxed) - before) as f64;
    let measured = Measured {
        per_s: messages / began.elapsed().as_secs_f64(),
        cpu_us: (program.cpu_s()? - cpu) * 1e6 / messages,
    };
    ended.store(true, Ordering::Relaxed);
    for client in clients {
        client.await??;
    }
    Ok(measured)
}

/// Posts one notification behind the other.
async fn client(
    address: SocketAddr,
    number: usize,
    counted: Arc<AtomicU64>,
    ended: Arc<AtomicBool>,
) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let body = format!(
        r#"{{"to":{{"user":"u{number}"}},"category":"orders","title":"Your order is on its way","body":"It left the warehouse this morning and will be with you by tomorrow evening.","data":{{"order":{number}}}}}"#
    );
    let request = format!(
        "POST /v1/notifications HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {SERVICE_KEY}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut answer = vec![0; 8 * 1024];
    while !ended.load(Ordering::Relaxed) {
        stream.write_all(request.as_bytes()).await?;
        let mut filled = 0;
        loop {
            let count = stream.read(&mut answer[filled..]).await?;
            if count == 0 {
                bail!("the server closed");
            }
            filled += count;
            if is_whole(&answer[..filled])? {
                break;
            }
        }
        if !answer.starts_with(b"HTTP/1.1 202") {
            bail!("{}", String::from_utf8_lossy(&answer[..filled]));
        }
        counted.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

fn is_whole(answer: &[u8]) -> anyhow::Result<bool> {
    let Some(head) = answer.windows(4).position(|end| end == b"\r\n\r\n") else { return Ok(false) };
    let text = std::str::from_utf8(&answer[..head])?.to_ascii_lowercase();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length:"));
    let length: usize = length.context("no length")?.trim().parse()?;
    Ok(answer.len() >= head + 4 + length)
}
