//! A server-sent-events client, by the WHATWG rules, on a plain socket.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

use crate::deadline::{Deadline, PATIENCE};

/// Bytes of one line.
const LINE_BYTES_MAX: u64 = 1024 * 1024;

/// One event.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SseEvent {
    pub id: Option<String>,
    pub event: Option<String>,
    pub data: String,
}

impl SseEvent {
    /// # Panics
    /// When the data are not JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.data).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }
}

/// An open stream of events.
#[derive(Debug)]
pub struct Sse {
    reader: BufReader<TcpStream>,
    pub status: u16,
    pub headers: Vec<(String, String)>,
    chunked: bool,
    /// Bytes left of the chunk being read.
    chunk_left: usize,
}

impl Sse {
    /// Asks for `/v1/events` and reads the head of the answer.
    ///
    /// # Panics
    /// When no HTTP answer comes.
    pub fn open(address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Sse {
        let mut stream = TcpStream::connect_timeout(&address, PATIENCE).expect("the gateway listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket has a timeout");
        let mut request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nAccept: text/event-stream\r\n");
        for (name, value) in headers {
            request.extend([*name, ": ", *value, "\r\n"]);
        }
        request.push_str("\r\n");
        stream.write_all(request.as_bytes()).expect("a request can be sent");
        let mut reader = BufReader::new(stream);
        let mut line = || {
            let mut line = String::new();
            reader.read_line(&mut line).expect("an answer comes");
            line.trim_end().to_owned()
        };
        let status = line();
        let status = status.split(' ').nth(1).and_then(|code| code.parse().ok());
        let status = status.expect("a status line");
        let mut headers = Vec::new();
        loop {
            let header = line();
            let Some((name, value)) = header.split_once(':') else { break };
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let chunked = headers.iter().any(|(name, value)| name == "transfer-encoding" && value == "chunked");
        Sse { reader, status, headers, chunked, chunk_left: 0 }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The next event of a message with this `type`.
    #[track_caller]
    pub fn recv(&mut self, kind: &str) -> SseEvent {
        let deadline = Deadline::after(PATIENCE);
        let mut passed = Vec::new();
        loop {
            let event = self.try_next(deadline.left().unwrap_or_default());
            let event = event.unwrap_or_else(|| panic!("no `{kind}` came, but {passed:?}"));
            if event.json()["type"] == kind {
                return event;
            }
            passed.push(event);
        }
    }

    /// The next event, or `None` when none comes in time or the stream ends.
    pub fn try_next(&mut self, wait: Duration) -> Option<SseEvent> {
        let deadline = Deadline::after(wait);
        let mut event = SseEvent::default();
        let mut some = false;
        loop {
            let line = self.line(deadline)?;
            if line.is_empty() {
                if some {
                    return Some(event);
                }
                event = SseEvent::default();
                continue;
            }
            let (field, value) = line.split_once(':').unwrap_or((&line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "id" => event.id = Some(value.to_owned()),
                "event" => event.event = Some(value.to_owned()),
                "data" => {
                    if some {
                        event.data.push('\n');
                    }
                    event.data.push_str(value);
                    some = true;
                }
                _ => {}
            }
        }
    }

    fn line(&mut self, deadline: Deadline) -> Option<String> {
        let mut line = Vec::new();
        loop {
            let byte = self.byte(deadline)?;
            if byte == b'\n' {
                let line = String::from_utf8(line).expect("events are UTF-8");
                return Some(line.trim_end_matches('\r').to_owned());
            }
            line.push(byte);
            assert!((line.len() as u64) < LINE_BYTES_MAX, "a line without end");
        }
    }

    fn byte(&mut self, deadline: Deadline) -> Option<u8> {
        let left = deadline.left().unwrap_or(Duration::from_millis(1));
        self.reader.get_ref().set_read_timeout(Some(left)).expect("a socket has a timeout");
        if self.chunked && self.chunk_left == 0 {
            let mut size = String::new();
            while size.trim().is_empty() {
                size.clear();
                if self.reader.read_line(&mut size).ok()? == 0 {
                    return None;
                }
            }
            self.chunk_left = usize::from_str_radix(size.trim(), 16).expect("a chunk's size");
            if self.chunk_left == 0 {
                return None;
            }
        }
        let mut byte = [0];
        self.reader.read_exact(&mut byte).ok()?;
        self.chunk_left = self.chunk_left.saturating_sub(1);
        Some(byte[0])
    }
}
