//! A plain broadcast server on tokio and tungstenite, one task a connection: what people write first. Whatever a client of
//! `/publish` says goes to all others. A peer of `loadtest compare`, never shipped.
#![forbid(unsafe_code)]

use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;

use clap::Parser;
use futures_util::{SinkExt, StreamExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::broadcast::{self, Receiver, Sender, error::RecvError};
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};
use tokio_tungstenite::{WebSocketStream, accept_hdr_async_with_config};

/// Messages that a slow client may be behind before it misses some.
const BEHIND_MAX: usize = 1_024;
const BACKLOG: u32 = 65_535;
const PUBLISH_PATH: &str = "/publish";

#[derive(Debug, Parser)]
#[command(about = "A plain tokio-tungstenite broadcast server")]
struct Arguments {
    #[arg(long)]
    listen: SocketAddr,
    /// Bytes of a connection's read buffer, and from how many on it writes [default: tungstenite's, 128 KiB each]
    #[arg(long)]
    buffers: Option<usize>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match serve(&arguments).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("peer-tungstenite: {}: {error}", arguments.listen);
            ExitCode::FAILURE
        }
    }
}

async fn serve(arguments: &Arguments) -> io::Result<()> {
    let socket = if arguments.listen.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(arguments.listen)?;
    let listener = socket.listen(BACKLOG)?;
    let mut config = WebSocketConfig::default();
    if let Some(bytes) = arguments.buffers {
        config = config.read_buffer_size(bytes).write_buffer_size(bytes);
    }
    let (messages, _) = broadcast::channel(BEHIND_MAX);
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let messages = messages.clone();
                tokio::spawn(async move { converse(stream, &messages, config).await });
            }
            // One connection's fault, or no descriptor is left: the listener goes on.
            Err(error) => {
                eprintln!("peer-tungstenite: accept: {error}");
                tokio::task::yield_now().await;
            }
        }
    }
}

/// One connection to its end. How it ends is the client's affair.
async fn converse(stream: TcpStream, messages: &Sender<Utf8Bytes>, config: WebSocketConfig) {
    let mut publishes = false;
    #[expect(clippy::result_large_err, reason = "tungstenite's callback is made so")]
    let look = |request: &Request, response: Response| -> Result<Response, ErrorResponse> {
        publishes = request.uri().path() == PUBLISH_PATH;
        Ok(response)
    };
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let Ok(socket) = accept_hdr_async_with_config(stream, look, Some(config)).await else { return };
    let _ended =
        if publishes { take(socket, messages).await } else { tell(socket, messages.subscribe()).await };
}

/// A publisher.
async fn take(mut socket: WebSocketStream<TcpStream>, messages: &Sender<Utf8Bytes>) -> Result<(), Error> {
    while let Some(message) = socket.next().await {
        if let Message::Text(text) = message? {
            // Nobody there to hear it is no error.
            let _heard_by = messages.send(text);
        }
    }
    Ok(())
}

/// A subscriber: the welcome, then everything. What is due at one time is flushed once.
async fn tell(
    mut socket: WebSocketStream<TcpStream>,
    mut messages: Receiver<Utf8Bytes>,
) -> Result<(), Error> {
    socket.send(Message::text("welcome")).await?;
    loop {
        tokio::select! {
            message = messages.recv() => match message {
                Ok(text) => {
                    socket.feed(Message::Text(text)).await?;
                    while let Ok(text) = messages.try_recv() {
                        socket.feed(Message::Text(text)).await?;
                    }
                    socket.flush().await?;
                }
                Err(RecvError::Lagged(missed)) => eprintln!("peer-tungstenite: a client missed {missed} messages"),
                Err(RecvError::Closed) => return Ok(()),
            },
            // Reading answers pings and the close by itself.
            heard = socket.next() => if heard.transpose()?.is_none() { return Ok(()) },
        }
    }
}
