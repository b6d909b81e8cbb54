//! The little HTTP/1.1 that a notification system speaks: request heads in, whole responses out, and the
//! WebSocket handshake from both ends.
//!
//! Owns what a well-formed head is (RFC 9110, 9112; RFC 6455 §4). Refuses what two parsers could read
//! differently, since a proxy in front would be one of them. Never reads a body, routes, or keeps a
//! connection alive: every response but 101 says `Connection: close`. Called by the gateway's shards, its
//! admin listener, and the load tester.

mod client;
mod request;
mod upgrade;

use bytes::{BufMut, Bytes, BytesMut};

pub use client::{BadResponse, ConnectRequest, RefusedUpgrade, ResponseHead, parse_response};
pub use request::{RequestHead, parse_request};
pub use upgrade::{NotUpgrade, Protocol, Upgrade};

use crate::limits::HEADERS_MAX;

/// Tells a client that waits for it (`Expect: 100-continue`) to send its body.
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// A request that is refused for its form, before anybody asks what it wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{status}: {reason}")]
pub struct BadRequest {
    pub status: u16,
    /// Fit for the body of the answer.
    pub reason: &'static str,
}

impl BadRequest {
    /// The whole answer.
    pub fn response(&self) -> Bytes {
        refusal(self.status, &[], self.reason)
    }
}

/// A whole response. `Content-Length` and `Connection: close` are added. A line break in a header's value is
/// sent as a space, so that no value can forge a header.
pub fn response(status: u16, headers: &[(&str, &str)], body: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(128 + body.len() + headers.len() * 48);
    put_head(&mut out, status, headers);
    out.put_slice(b"Connection: close\r\n");
    if status != 204 && status != 304 {
        out.put_slice(format!("Content-Length: {}\r\n", body.len()).as_bytes());
    }
    out.put_slice(b"\r\n");
    out.put_slice(body);
    out.freeze()
}

/// A response with a JSON body.
pub fn json_response(status: u16, headers: &[(&str, &str)], json: &str) -> Bytes {
    let mut all = vec![("Content-Type", "application/json")];
    all.extend_from_slice(headers);
    response(status, &all, json.as_bytes())
}

/// What a `HEAD` request gets of a response.
pub fn without_body(response: &Bytes) -> Bytes {
    let head_bytes = memchr::memmem::find(response, b"\r\n\r\n").map_or(response.len(), |at| at + 4);
    response.slice(..head_bytes)
}

/// The reason phrase of every status that we send.
pub fn phrase(status: u16) -> &'static str {
    match status {
        101 => "Switching Protocols",
        200 => "OK",
        202 => "Accepted",
        204 => "No Content",
        304 => "Not Modified",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        411 => "Length Required",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        417 => "Expectation Failed",
        422 => "Unprocessable Content",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        // RFC 9112 §4: the phrase may be empty.
        _ => "",
    }
}

/// `reason` is our own text: it holds nothing that JSON must escape.
fn refusal(status: u16, headers: &[(&str, &str)], reason: &str) -> Bytes {
    json_response(status, headers, &format!(r#"{{"error":"{reason}"}}"#))
}

fn put_head(out: &mut BytesMut, status: u16, headers: &[(&str, &str)]) {
    out.put_slice(format!("HTTP/1.1 {status} {}\r\n", phrase(status)).as_bytes());
    put_headers(out, headers);
}

fn put_headers(out: &mut BytesMut, headers: &[(&str, &str)]) {
    for (name, value) in headers {
        out.put_slice(name.as_bytes());
        out.put_slice(b": ");
        let start = out.len();
        out.put_slice(value.as_bytes());
        for byte in &mut out[start..] {
            if matches!(byte, b'\r' | b'\n' | 0) {
                *byte = b' ';
            }
        }
        out.put_slice(b"\r\n");
    }
}

/// The header lines of one head, as they stood.
#[derive(Debug)]
struct Headers<'a> {
    lines: [httparse::Header<'a>; HEADERS_MAX],
    count: usize,
}

impl<'a> Headers<'a> {
    /// Each value of that name, in order; names differ by more than case.
    fn all<'h>(&'h self, name: &'h str) -> impl Iterator<Item = &'a [u8]> + 'h {
        let lines = &self.lines[..self.count];
        lines.iter().filter(move |line| line.name.eq_ignore_ascii_case(name)).map(|line| line.value)
    }

    /// The first value of that name that is text.
    fn text(&self, name: &str) -> Option<&'a str> {
        self.all(name).find_map(|value| str::from_utf8(value).ok())
    }

    /// The members of a comma-separated list, over all lines of that name (RFC 9110 §5.6.1).
    fn members<'h>(&'h self, name: &'h str) -> impl Iterator<Item = &'a str> + 'h {
        self.all(name)
            .filter_map(|value| str::from_utf8(value).ok())
            .flat_map(|value| value.split(','))
            .map(str::trim_ascii)
            .filter(|member| !member.is_empty())
    }

    fn has_member(&self, name: &str, member: &str) -> bool {
        self.members(name).any(|found| found.eq_ignore_ascii_case(member))
    }
}

#[cfg(test)]
mod tests;
