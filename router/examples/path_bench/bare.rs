//! The same work without our code: a server that makes bodies durable, and a consumer that sends to sockets.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use clap::Args;
use rdkafka::ClientConfig;
use rdkafka::Message;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{FutureProducer, FutureRecord};
use tokio::sync::{mpsc, oneshot};

use crate::programs::PARTITIONS;

/// Bodies that share a sync at most, as in the segment log.
const BATCH_MAX: usize = 4_096;

#[derive(Args)]
pub(crate) struct ServerOptions {
    #[arg(long)]
    listen: SocketAddr,
    #[arg(long)]
    file: PathBuf,
    #[arg(long)]
    kafka: Option<String>,
    #[arg(long, default_value = "bare")]
    topic: String,
}

enum Store {
    Disk(mpsc::Sender<(Bytes, oneshot::Sender<()>)>),
    Kafka(FutureProducer, String),
}

#[tokio::main]
pub(crate) async fn serve(options: &ServerOptions) -> anyhow::Result<()> {
    let store = if let Some(broker) = &options.kafka {
        let mut client = ClientConfig::new();
        client
            .set("bootstrap.servers", broker)
            .set("acks", "all")
            .set("enable.idempotence", "true")
            .set("linger.ms", "1");
        Store::Kafka(client.create()?, options.topic.clone())
    } else {
        let (sender, bodies) = mpsc::channel(BATCH_MAX);
        let file = File::create(&options.file)?;
        std::thread::spawn(move || write(file, bodies));
        Store::Disk(sender)
    };
    let app = Router::new().route("/v1/notifications", post(take)).with_state(Arc::new(store));
    axum::serve(tokio::net::TcpListener::bind(options.listen).await?, app).await?;
    Ok(())
}

async fn take(State(store): State<Arc<Store>>, body: Bytes) -> StatusCode {
    let is_taken = match &*store {
        Store::Disk(bodies) => {
            let (sender, durable) = oneshot::channel();
            bodies.send((body, sender)).await.is_ok() && durable.await.is_ok()
        }
        Store::Kafka(producer, topic) => {
            let record = FutureRecord::<(), [u8]>::to(topic).payload(&body[..]);
            producer.send(record, Duration::ZERO).await.is_ok()
        }
    };
    if is_taken { StatusCode::ACCEPTED } else { StatusCode::SERVICE_UNAVAILABLE }
}

/// Whatever waits is written and synced at once.
fn write(mut file: File, mut bodies: mpsc::Receiver<(Bytes, oneshot::Sender<()>)>) -> std::io::Result<()> {
    let (mut waiting, mut bytes) = (Vec::new(), Vec::new());
    while bodies.blocking_recv_many(&mut waiting, BATCH_MAX) > 0 {
        bytes.clear();
        for (body, _) in &waiting {
            bytes.extend_from_slice(body);
        }
        file.write_all(&bytes)?;
        file.sync_data()?;
        for (_, durable) in waiting.drain(..) {
            let _gone = durable.send(());
        }
    }
    Ok(())
}

#[derive(Args)]
pub(crate) struct ConsumerOptions {
    #[arg(long)]
    listen: SocketAddr,
    #[arg(long)]
    kafka: String,
    #[arg(long)]
    topic: String,
    /// Clients that are waited for; each says its user in one line.
    #[arg(long)]
    clients: usize,
}

pub(crate) fn consume(options: &ConsumerOptions) -> anyhow::Result<()> {
    let listener = TcpListener::bind(options.listen)?;
    let mut sockets: HashMap<Vec<u8>, TcpStream> = HashMap::new();
    // Who says no name only looked whether somebody listens.
    while sockets.len() < options.clients {
        let (mut stream, _) = listener.accept()?;
        stream.set_nodelay(true)?;
        let mut user = Vec::new();
        let mut byte = [0];
        while stream.read(&mut byte)? == 1 && byte != *b"\n" {
            user.push(byte[0]);
        }
        if !user.is_empty() {
            sockets.insert(user, stream);
        }
    }
    let mut client = ClientConfig::new();
    client
        .set("bootstrap.servers", &options.kafka)
        .set("group.id", format!("bare-{}", std::process::id()))
        .set("auto.offset.reset", "earliest")
        .set("isolation.level", "read_committed")
        .set("enable.auto.commit", "false");
    let consumer: BaseConsumer = client.create()?;
    let mut list = rdkafka::TopicPartitionList::new();
    for partition in 0..PARTITIONS.cast_signed() {
        list.add_partition_offset(&options.topic, partition, rdkafka::Offset::Beginning)?;
    }
    consumer.assign(&list)?;
    let mut frame = Vec::new();
    loop {
        let Some(message) = consumer.poll(Duration::from_secs(1)) else { continue };
        let message = message?;
        let (key, payload) = (message.key().context("a key")?, message.payload().context("a payload")?);
        let socket = sockets.get_mut(key).context("a client of that name")?;
        frame.clear();
        frame.extend([0x81, 126]);
        frame.extend(u16::try_from(payload.len())?.to_be_bytes());
        frame.extend_from_slice(payload);
        socket.write_all(&frame)?;
    }
}
