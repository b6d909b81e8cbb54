//! Clients that count what they are sent.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::programs::token;

/// How a client begins.
#[derive(Clone, Copy)]
pub(crate) enum Greeting {
    /// A WebSocket handshake with a token.
    WebSocket,
    /// Its name and a line break.
    Name,
}

/// Connects, and adds every notification that comes to `counted` until the server closes.
pub(crate) async fn connect(
    address: SocketAddr,
    user: String,
    greeting: Greeting,
    counted: Arc<AtomicU64>,
) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let mut buffer = Vec::with_capacity(16 * 1024);
    match greeting {
        Greeting::Name => stream.write_all(format!("{user}\n").as_bytes()).await?,
        Greeting::WebSocket => {
            let request = format!(
                "GET /v1/connect HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                 Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nAuthorization: Bearer {}\r\n\r\n",
                token(&user)
            );
            stream.write_all(request.as_bytes()).await?;
            upgraded(&mut stream, &mut buffer).await?;
        }
    }
    tokio::spawn(async move {
        loop {
            let counted_now = take_frames(&mut buffer);
            counted.fetch_add(counted_now, Ordering::Relaxed);
            match stream.read_buf(&mut buffer).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        }
    });
    Ok(())
}

async fn upgraded(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> anyhow::Result<()> {
    loop {
        if stream.read_buf(buffer).await.context("the handshake's answer")? == 0 {
            bail!("closed in the handshake");
        }
        if let Some(end) = buffer.windows(4).position(|end| end == b"\r\n\r\n") {
            if !buffer.starts_with(b"HTTP/1.1 101") {
                bail!("{}", String::from_utf8_lossy(buffer));
            }
            buffer.drain(..end + 4);
            return Ok(());
        }
    }
}

/// Takes whole frames off and counts those that carry a notification: text that is neither `welcome` nor `gap`.
fn take_frames(buffer: &mut Vec<u8>) -> u64 {
    let (mut place, mut count) = (0, 0);
    while let Some(head) = buffer.get(place..place + 2) {
        let (start, length) = match head[1] {
            126 => match buffer.get(place + 2..place + 4) {
                Some(bytes) => (place + 4, usize::from(u16::from_be_bytes([bytes[0], bytes[1]]))),
                None => break,
            },
            short => (place + 2, usize::from(short)),
        };
        let Some(payload) = buffer.get(start..start + length) else { break };
        let is_welcome =
            payload.starts_with(br#"{"type":"welcome""#) || payload.starts_with(br#"{"type":"gap""#);
        count += u64::from(head[0] == 0x81 && !is_welcome);
        place = start + length;
    }
    buffer.drain(..place);
    count
}
