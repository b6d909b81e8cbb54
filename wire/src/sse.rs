//! Server-sent events: the way in for networks that break WebSockets. The same JSON, one event a message.
//!
//! Format: WHATWG HTML, "Server-sent events". An event's id is a place in the user's stream that a client gives
//! back as `Last-Event-ID`: `<created_at>_<notification id>`.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use uuid::Uuid;

use crate::limits::NOTIFICATION_BYTES_MAX;
use crate::time::Wall;

/// A comment line: keeps the connection alive, says nothing.
pub const HEARTBEAT: &[u8] = b":\n\n";

/// Bytes that the parser holds at most: one event of the longest message.
pub const EVENT_BYTES_MAX: usize = 64 * NOTIFICATION_BYTES_MAX;

/// The head of a response that goes on as a stream of events.
pub fn response_head(allowed_origin: Option<&str>) -> Bytes {
    let mut out = BytesMut::with_capacity(256);
    out.put_slice(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\n\
          X-Accel-Buffering: no\r\nConnection: close\r\n",
    );
    if let Some(origin) = allowed_origin {
        out.put_slice(b"Access-Control-Allow-Origin: ");
        out.put_slice(origin.as_bytes());
        out.put_slice(b"\r\nVary: Origin\r\n");
    }
    out.put_slice(b"\r\n");
    out.freeze()
}

/// One event. A line break inside `json` begins a new `data:` line, so no text can forge a field.
pub fn event(id: Option<&str>, json: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(json.len() + id.map_or(0, str::len) + 16);
    if let Some(id) = id {
        debug_assert!(!id.contains(['\n', '\r', '\0']), "an event id is one line");
        out.put_slice(b"id: ");
        out.put_slice(id.as_bytes());
        out.put_u8(b'\n');
    }
    let mut rest = json;
    loop {
        let end = memchr::memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
        out.put_slice(b"data: ");
        out.put_slice(&rest[..end]);
        out.put_u8(b'\n');
        if end == rest.len() {
            break;
        }
        let crlf = rest[end..].starts_with(b"\r\n");
        rest = &rest[end + 1 + usize::from(crlf)..];
    }
    out.put_u8(b'\n');
    out.freeze()
}

/// Tells the browser's own reconnection how long to wait.
pub fn retry(ms: u64) -> Bytes {
    Bytes::from(format!("retry: {ms}\n\n"))
}

/// The id of a notification's event.
pub fn event_id(created_at: Wall, id: Uuid) -> String {
    format!("{created_at}_{id}")
}

/// Reads a `Last-Event-ID`; `None` for what [`event_id`] never wrote.
pub fn parse_event_id(text: &str) -> Option<(Wall, Uuid)> {
    const UUID_CHARS: usize = 36;
    let (created_at, id) = text.split_once('_')?;
    let id = Uuid::try_parse(id).ok().filter(|_| id.len() == UUID_CHARS)?;
    Some((Wall::parse(created_at).ok()?, id))
}

/// What a stream said.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Event {
    pub id: Option<String>,
    pub data: String,
}

/// The stream is not server-sent events, or an event is longer than [`EVENT_BYTES_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SseFault {
    #[error("the stream is not UTF-8")]
    NotUtf8,
    #[error("an event is longer than {EVENT_BYTES_MAX} bytes")]
    TooLong,
}

/// Reads a stream piece by piece: the client's role (WHATWG HTML, "Interpreting an event stream").
#[derive(Debug, Default)]
pub struct Parser {
    line: Vec<u8>,
    id: Option<String>,
    data: String,
    has_data: bool,
    after_cr: bool,
    begun: bool,
    retry: Option<Duration>,
}

impl Parser {
    /// How long the server wants clients to wait before they come back, if it said so.
    pub fn retry(&self) -> Option<Duration> {
        self.retry
    }

    pub fn handle_bytes(&mut self, input: &[u8], sink: &mut dyn FnMut(Event)) -> Result<(), SseFault> {
        let mut rest = input;
        while !rest.is_empty() {
            if std::mem::take(&mut self.after_cr) && rest[0] == b'\n' {
                rest = &rest[1..];
                continue;
            }
            let end = memchr::memchr2(b'\n', b'\r', rest);
            let piece = &rest[..end.unwrap_or(rest.len())];
            if self.line.len() + self.data.len() + piece.len() > EVENT_BYTES_MAX {
                return Err(SseFault::TooLong);
            }
            self.line.extend_from_slice(piece);
            let Some(end) = end else { break };
            self.after_cr = rest[end] == b'\r';
            rest = &rest[end + 1..];
            let mut line = std::mem::take(&mut self.line);
            self.handle_line(str::from_utf8(&line).map_err(|_| SseFault::NotUtf8)?, sink);
            line.clear();
            self.line = line;
        }
        Ok(())
    }

    fn handle_line(&mut self, line: &str, sink: &mut dyn FnMut(Event)) {
        const BYTE_ORDER_MARK: char = '\u{feff}';
        let first = !std::mem::replace(&mut self.begun, true);
        let line = if first { line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line) } else { line };
        if line.is_empty() {
            if std::mem::take(&mut self.has_data) {
                let data = std::mem::take(&mut self.data);
                sink(Event { id: self.id.clone(), data });
            }
            return;
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "data" => {
                if std::mem::replace(&mut self.has_data, true) {
                    self.data.push('\n');
                }
                self.data.push_str(value);
            }
            "id" if !value.contains('\0') => self.id = Some(value.to_owned()),
            "retry" if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) => {
                self.retry = value.parse().ok().map(Duration::from_millis).or(self.retry);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parsed(pieces: &[&[u8]]) -> Vec<Event> {
        let mut events = Vec::new();
        let mut parser = Parser::default();
        for piece in pieces {
            parser.handle_bytes(piece, &mut |event| events.push(event)).unwrap();
        }
        events
    }

    #[test]
    fn an_event_id_comes_back_as_it_went() {
        let (at, id) = (Wall(1_771_580_000_123_456), Uuid::from_u128(7));
        assert_eq!(parse_event_id(&event_id(at, id)), Some((at, id)));
        for hostile in ["", "_", "2026-02-20T10:00:00Z", "x_y", "2026-02-20T10:00:00Z_1"] {
            assert_eq!(parse_event_id(hostile), None, "{hostile}");
        }
    }

    #[test]
    fn a_line_break_cannot_forge_a_field() {
        let forged = event(None, b"a\nid: 9\r\ndata: b\revent: x");
        assert_eq!(parsed(&[&forged]), [Event { id: None, data: "a\nid: 9\ndata: b\nevent: x".to_owned() }]);
    }

    #[test]
    fn comments_and_retries_are_no_events() {
        assert!(parsed(&[HEARTBEAT, &retry(500)]).is_empty());
    }

    #[test]
    fn every_line_end_and_field_form_of_the_standard_is_read() {
        let event = |id: Option<&str>, data: &str| Event { id: id.map(str::to_owned), data: data.to_owned() };
        let cases: [(&str, Vec<Event>); 9] = [
            ("data: a\r\nid: 1\r\n\r\n", vec![event(Some("1"), "a")]),
            ("data: YHOO\ndata: +2\ndata: 10\n\n", vec![event(None, "YHOO\n+2\n10")]),
            (
                ": c\r\ndata: a\rid: 1\n\rdata:b\r\r\ndata:  c\n\n",
                vec![event(Some("1"), "a"), event(Some("1"), "b"), event(Some("1"), " c")],
            ),
            ("data\n\ndata\ndata\n\ndata:", vec![event(None, ""), event(None, "\n")]),
            ("data:test\n\ndata: test\n\n", vec![event(None, "test"), event(None, "test")]),
            ("id: 1\ndata: a\nid\n\n", vec![event(Some(""), "a")]),
            ("id: 1\n\nid: x\0y\ndata: a\n\n", vec![event(Some("1"), "a")]),
            ("\u{feff}data: a\n\n\u{feff}data: b\n\n", vec![event(None, "a")]),
            ("Data: a\nevent: e\nunknown: b\n\ndata: unfinished\n", vec![]),
        ];
        for (stream, events) in cases {
            assert_eq!(parsed(&[stream.as_bytes()]), events, "{stream:?}");
            let bytes: Vec<&[u8]> = stream.as_bytes().chunks(1).collect();
            assert_eq!(parsed(&bytes), events, "{stream:?} by bytes");
        }
    }

    #[test]
    fn the_server_s_retry_is_kept() {
        let mut parser = Parser::default();
        for (line, ms) in
            [("", None), ("retry: 1500\n", Some(1500)), ("retry: soon\n", Some(1500)), ("retry:7\n", Some(7))]
        {
            parser.handle_bytes(line.as_bytes(), &mut |_| {}).unwrap();
            assert_eq!(parser.retry(), ms.map(Duration::from_millis), "{line:?}");
        }
    }

    #[test]
    fn an_endless_line_is_refused() {
        let mut parser = Parser::default();
        let piece = vec![b'x'; 1 << 20];
        let refused = (0..8).any(|_| parser.handle_bytes(&piece, &mut |_| {}) == Err(SseFault::TooLong));
        assert!(refused);
    }

    proptest! {
        #[test]
        fn any_text_comes_back_with_its_lines(text in "[ -~é\r\n:]{0,60}") {
            let lines = text.replace("\r\n", "\n").replace('\r', "\n");
            prop_assert_eq!(parsed(&[&event(None, text.as_bytes())]), [Event { id: None, data: lines }]);
        }

        #[test]
        fn any_bytes_are_events_or_a_fault(pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..60), 0..5)) {
            let mut parser = Parser::default();
            for piece in &pieces {
                let _either = parser.handle_bytes(piece, &mut |_| {});
            }
        }

        #[test]
        fn a_stream_reads_the_same_however_it_is_cut(texts in proptest::collection::vec("[ -~é]{0,40}", 1..5), cut in 0_usize..400) {
            let mut stream = Vec::new();
            for (n, text) in texts.iter().enumerate() {
                stream.extend_from_slice(&event(Some(&n.to_string()), text.as_bytes()));
                stream.extend_from_slice(HEARTBEAT);
            }
            let cut = cut % (stream.len() + 1);
            let events = parsed(&[&stream[..cut], &stream[cut..]]);
            let expected: Vec<Event> = texts.iter().enumerate()
                .map(|(n, text)| Event { id: Some(n.to_string()), data: text.clone() }).collect();
            prop_assert_eq!(events, expected);
        }
    }
}
