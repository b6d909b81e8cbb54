//! A server of HTTP/2 that is about to leave: it reads one request and says GOAWAY, no stream processed (RFC 9113, section 6.8).
//! Written by hand, since a well-behaved library never does this.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const PREFACE_BYTES: usize = 24;
const FRAME_BYTES_MAX: usize = 16_384;
const HEADERS: u8 = 1;
/// Length 0, type SETTINGS, no flags, stream 0.
const EMPTY_SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
/// Length 8, type GOAWAY, stream 0; the last stream is 0, the reason NO_ERROR.
const GOAWAY: [u8; 17] = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

pub(super) async fn send_away(mut stream: TcpStream) -> io::Result<()> {
    let mut preface = [0; PREFACE_BYTES];
    stream.read_exact(&mut preface).await?;
    stream.write_all(&EMPTY_SETTINGS).await?;
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        if length > FRAME_BYTES_MAX {
            return Ok(());
        }
        stream.read_exact(&mut vec![0; length]).await?;
        if head[3] == HEADERS {
            break;
        }
    }
    stream.write_all(&GOAWAY).await?;
    stream.shutdown().await?;
    // Until the client has read it: a close with unread bytes would be a reset, and GOAWAY lost.
    while stream.read(&mut [0; 1_024]).await? > 0 {}
    Ok(())
}
