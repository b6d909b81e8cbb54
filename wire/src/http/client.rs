//! The client's half of the WebSocket handshake (RFC 6455 §4.1), and the answers to it.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use data_encoding::BASE64;
use tungstenite::handshake::derive_accept_key;

use super::{Headers, put_headers};
use crate::limits::{HEADER_BYTES_MAX, HEADERS_MAX};

/// A WebSocket handshake to send.
#[derive(Debug, Clone, Copy)]
pub struct ConnectRequest<'a> {
    /// Host and port as in the URL.
    pub host: &'a str,
    /// Path and query.
    pub target: &'a str,
    /// Sixteen random bytes, new for each connection.
    pub key: [u8; 16],
    pub protocols: &'a [&'a str],
    /// Further headers: `Authorization`, `Origin`, …
    pub headers: &'a [(&'a str, &'a str)],
}

impl ConnectRequest<'_> {
    /// The whole request.
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(256);
        out.put_slice(format!("GET {} HTTP/1.1\r\n", self.target).as_bytes());
        put_headers(
            &mut out,
            &[
                ("Host", self.host),
                ("Upgrade", "websocket"),
                ("Connection", "Upgrade"),
                ("Sec-WebSocket-Key", &BASE64.encode(&self.key)),
                ("Sec-WebSocket-Version", "13"),
            ],
        );
        if !self.protocols.is_empty() {
            put_headers(&mut out, &[("Sec-WebSocket-Protocol", &self.protocols.join(", "))]);
        }
        put_headers(&mut out, self.headers);
        out.put_slice(b"\r\n");
        out.freeze()
    }
}

/// The head of an answer, borrowed from the bytes it came in.
#[derive(Debug)]
pub struct ResponseHead<'a> {
    pub status: u16,
    /// Bytes of the head; a body, or WebSocket frames, follow.
    pub head_bytes: usize,
    headers: Headers<'a>,
}

/// The bytes are no HTTP response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadResponse {
    #[error("the answer is not HTTP/1")]
    Malformed,
    #[error("the answer's head is longer than {HEADER_BYTES_MAX} bytes or has over {HEADERS_MAX} headers")]
    TooLarge,
}

/// Why an answer does not open a WebSocket.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RefusedUpgrade {
    /// Not 101: refused, and perhaps told when to come back.
    #[error("the server answered {status}")]
    Status { status: u16, retry_after: Option<Duration> },
    #[error("the server did not upgrade to a WebSocket")]
    NotWebSocket,
    #[error("Sec-WebSocket-Accept is not the answer to our key")]
    AcceptKey,
    #[error("the server chose a subprotocol or an extension that was not offered")]
    NotOffered,
}

/// Reads a head off the front of `input`; `None` until it is complete.
pub fn parse_response(input: &[u8]) -> Result<Option<ResponseHead<'_>>, BadResponse> {
    let searched = &input[..input.len().min(HEADER_BYTES_MAX)];
    let mut lines = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut lines);
    match response.parse(searched) {
        Ok(httparse::Status::Complete(head_bytes)) => {
            let status = response.code.ok_or(BadResponse::Malformed)?;
            let count = response.headers.len();
            Ok(Some(ResponseHead { status, head_bytes, headers: Headers { lines, count } }))
        }
        Ok(httparse::Status::Partial) if input.len() < HEADER_BYTES_MAX => Ok(None),
        Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => Err(BadResponse::TooLarge),
        Err(_) => Err(BadResponse::Malformed),
    }
}

impl<'a> ResponseHead<'a> {
    /// The first value of that name that is text; case does not matter.
    pub fn header(&self, name: &str) -> Option<&'a str> {
        self.headers.text(name)
    }

    /// `Retry-After` in seconds. The form with a date is not read: none of our servers sends it.
    pub fn retry_after(&self) -> Option<Duration> {
        self.header("retry-after")?.parse().ok().map(Duration::from_secs)
    }

    /// Bytes of the body, if the head says so.
    pub fn content_length(&self) -> Option<u64> {
        self.header("content-length")?.parse().ok()
    }

    /// Whether this answers `request` with a WebSocket: the subprotocol that the server chose, if any.
    pub fn check_upgrade(&self, request: &ConnectRequest<'_>) -> Result<Option<&'a str>, RefusedUpgrade> {
        if self.status != 101 {
            return Err(RefusedUpgrade::Status { status: self.status, retry_after: self.retry_after() });
        }
        if !self.headers.has_member("upgrade", "websocket")
            || !self.headers.has_member("connection", "upgrade")
        {
            return Err(RefusedUpgrade::NotWebSocket);
        }
        let expected = derive_accept_key(BASE64.encode(&request.key).as_bytes());
        if self.header("sec-websocket-accept") != Some(expected.as_str()) {
            return Err(RefusedUpgrade::AcceptKey);
        }
        if self.headers.members("sec-websocket-extensions").next().is_some() {
            return Err(RefusedUpgrade::NotOffered);
        }
        let chosen = self.header("sec-websocket-protocol");
        if chosen.is_some_and(|chosen| !request.protocols.contains(&chosen)) {
            return Err(RefusedUpgrade::NotOffered);
        }
        Ok(chosen)
    }
}
