//! A client that reads server-sent events: the request, the answer's head, and what the events say. What it says itself goes by
//! `errands`. Pure; part of `fleet`.

use bytes::Bytes;
use wire::close::Comeback;
use wire::http::{ResponseHead, parse_response};
use wire::sse::{self, Event, Parser};
use wire::time::{Mono, Wall};

use super::{Fleet, Phase};
use crate::receipts::Way;
use crate::target::as_user;

/// What one client keeps of its streams.
#[derive(Debug, Default)]
pub(super) struct Stream {
    parser: Parser,
    /// The last event's id, which the next request gives back.
    last_event_id: Option<Box<str>>,
    /// The stream was asked for from that id on: what is older than its welcome is on it for that reason.
    resumes: bool,
    opened_at: Option<Wall>,
}

impl Stream {
    /// For another connection: what was half read is gone, what the next request needs is not.
    pub(super) fn begin(&mut self) {
        self.parser = Parser::default();
        self.resumes = false;
        self.opened_at = None;
    }

    /// How a notification came that was made at this time.
    fn way(&self, created_at: Option<Wall>) -> Way {
        let is_old = created_at.zip(self.opened_at).is_some_and(|(created, opened)| created <= opened);
        if self.resumes && is_old { Way::Sync } else { Way::Live }
    }

    /// Keeps an id that the server will know again.
    fn note_id(&mut self, id: Option<&str>) {
        let Some(id) = id else { return };
        if self.last_event_id.as_deref() != Some(id) && sse::parse_event_id(id).is_some() {
            self.last_event_id = Some(id.into());
        }
    }
}

impl Fleet {
    /// Asks for the stream, from where the client was.
    pub(super) fn request_events(&mut self, place: u32) -> Bytes {
        let target = &self.config.targets[usize::from(self.clients[place as usize].target)];
        let mut request = self.request_head("GET", &target.path, place);
        request.push_str("Accept: text/event-stream\r\nCache-Control: no-store\r\n");
        let stream = &mut self.streams[place as usize];
        if let Some(id) = &stream.last_event_id {
            stream.resumes = true;
            request.extend(["Last-Event-ID: ", id, "\r\n"]);
        }
        request.push_str("\r\n");
        Bytes::from(request)
    }

    /// Request line, host, and who it is.
    pub(super) fn request_head(&self, method: &str, path: &str, place: u32) -> String {
        let number = self.config.lane.number(place);
        let target = &self.config.targets[usize::from(self.clients[place as usize].target)];
        let host = target.authority();
        if let Some(token) = self.config.users.token(number) {
            format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n")
        } else {
            let path = as_user(path, &self.config.users.name(number));
            format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n")
        }
    }

    /// What the head of an answer means to a client that asked for a stream.
    pub(super) fn read_events_head(&mut self, place: u32, input: &mut [u8], now: Mono) {
        let head_bytes = match parse_response(input) {
            Ok(None) => {
                self.partial.insert(place, input.to_vec());
                return;
            }
            Err(error) => return self.lose(place, &format!("events: {error}"), Comeback::Backoff, now),
            Ok(Some(head)) => match refusal(&head) {
                None => head.head_bytes,
                Some(Refusal::Full) => return self.refuse(place, head.retry_after(), now),
                Some(Refusal::Other(why, comeback)) => return self.lose(place, &why, comeback, now),
            },
        };
        self.clients[place as usize].phase = Phase::Welcoming;
        self.read_events(place, &mut input[head_bytes..], now);
    }

    pub(super) fn read_events(&mut self, place: u32, input: &mut [u8], now: Mono) {
        let epoch = self.clients[place as usize].epoch;
        let mut parser = std::mem::take(&mut self.streams[place as usize].parser);
        let read = parser.handle_bytes(input, &mut |event| self.handle_event(place, epoch, &event, now));
        if !self.listens(place, epoch) {
            return;
        }
        self.streams[place as usize].parser = parser;
        if let Err(fault) = read {
            self.lose(place, &format!("the server broke the protocol: {fault}"), Comeback::Backoff, now);
        }
    }

    /// Is the client still on the connection on which this came?
    fn listens(&self, place: u32, epoch: u32) -> bool {
        let client = &self.clients[place as usize];
        client.epoch == epoch && !matches!(client.phase, Phase::Waiting | Phase::Out)
    }

    fn handle_event(&mut self, place: u32, epoch: u32, event: &Event, now: Mono) {
        if self.listens(place, epoch) {
            let way = self.streams[place as usize].way(self.speech.newest(&event.data));
            self.streams[place as usize].note_id(event.id.as_deref());
            self.handle_text(place, &event.data, way, now);
        }
    }

    /// A client is welcomed: does it read a stream on which the server sends by itself what was missed?
    pub(super) fn resumes(&mut self, place: u32, server_time: Wall) -> bool {
        self.streams.get_mut(place as usize).is_some_and(|stream| {
            stream.opened_at = Some(server_time);
            stream.resumes
        })
    }

    /// A stream that was open is lost: its `retry:` is the server's word on when to come back.
    pub(super) fn heed_retry(&mut self, place: u32) {
        if let Some(retry) = self.streams.get(place as usize).and_then(|stream| stream.parser.retry()) {
            self.clients[place as usize].reconnect.handle_advice(retry);
        }
    }
}

enum Refusal {
    /// 503, 429.
    Full,
    Other(String, Comeback),
}

fn refusal(head: &ResponseHead<'_>) -> Option<Refusal> {
    let other = |why: &str| Some(Refusal::Other(format!("events: {why}"), Comeback::Backoff));
    match head.status {
        200 => {}
        503 | 429 => return Some(Refusal::Full),
        // A client's fault: the same request would get the same answer.
        status @ 400..=499 => {
            return Some(Refusal::Other(format!("events: status {status}"), Comeback::Never));
        }
        status => return other(&format!("the server answered {status}")),
    }
    let kind = head.header("content-type").unwrap_or_default();
    if !kind.trim_start().to_ascii_lowercase().starts_with("text/event-stream") {
        return other("the answer is no event stream");
    }
    // What stands between may send it in chunks; ours never does.
    if head.header("transfer-encoding").is_some() {
        return other("the stream comes in a transfer encoding, which is not read here");
    }
    None
}
