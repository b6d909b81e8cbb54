//! The bytes of one WebSocket connection, in either role: frames, fragments, UTF-8, control frames, close.
//!
//! An idle session is a pointer and two flags. Whole frames are read where they lie, without a copy; only a frame or a
//! message that is not complete yet has memory of its own, and gives it back when it ends.
//! Never answers by itself: the caller is told of pings and closes, and sends what follows. Never counts by the
//! clock either: a caller that bounds rates keeps a [`Rate`] beside it.
//! Called by the gateway's shards (server), the load tester and the tests (client).

mod glance;
mod rate;
mod seen;

pub use glance::Glance;
pub use rate::Rate;
pub use seen::{SEEN_IDS, Seen};

use crate::close::CloseCode;
use crate::limits::{FRAGMENTS_MAX, LINK_FRAME_BYTES_MAX, MESSAGE_BYTES_MAX};
use crate::ws::{self, BAD_UTF8, Control, Data, Fault, HEAD_BYTES_MAX, Head, OpCode, protocol};

/// Which end of the connection we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Peers must mask.
    Server,
    /// Peers must not mask.
    Client,
}

/// Bounds of what a peer may send.
#[derive(Debug, Clone, Copy)]
pub struct SessionLimits {
    /// Bytes of one message, put together.
    pub message_bytes: usize,
    /// Frames of one message.
    pub fragments: u32,
    /// Tocsin is text: otherwise a binary message is a fault with 1003.
    pub binary: bool,
}

impl Default for SessionLimits {
    fn default() -> SessionLimits {
        SessionLimits { message_bytes: MESSAGE_BYTES_MAX, fragments: FRAGMENTS_MAX, binary: false }
    }
}

impl SessionLimits {
    /// What a client takes from its server: pages as large as a router may send.
    pub fn client() -> SessionLimits {
        SessionLimits { message_bytes: LINK_FRAME_BYTES_MAX, ..SessionLimits::default() }
    }

    /// What conformance suites send: binary too, and 16 MiB in as many frames as they like.
    pub fn conformance() -> SessionLimits {
        SessionLimits { message_bytes: 16 * 1024 * 1024, fragments: u32::MAX, binary: true }
    }
}

/// What the peer said. Borrowed from the bytes that were handed in.
#[derive(Debug, PartialEq, Eq)]
pub enum Incoming<'a> {
    Text(&'a str),
    /// Only with [`SessionLimits::binary`].
    Binary(&'a [u8]),
    /// To be answered with a pong of the same payload.
    Ping(&'a [u8]),
    Pong(&'a [u8]),
    /// To be answered with [`ws::close_reply`] if [`Session::begin_close`] says so. Nothing follows.
    Close {
        code: Option<u16>,
        reason: &'a str,
    },
}

/// One connection's state.
#[derive(Debug)]
pub struct Session {
    role: Role,
    /// Nothing is read any more: the peer closed, or broke a rule.
    ended: bool,
    /// A close frame of ours is on its way.
    closing: bool,
    unfinished: Option<Box<Unfinished>>,
}

const _: () = assert!(size_of::<Session>() <= 16);

/// What is not complete yet.
#[derive(Debug, Default)]
struct Unfinished {
    head: [u8; HEAD_BYTES_MAX],
    head_bytes: usize,
    frame: Option<Frame>,
    control: Vec<u8>,
    message: Option<Message>,
}

/// A frame whose payload has not all come.
#[derive(Debug, Clone, Copy)]
struct Frame {
    head: Head,
    received: u64,
}

/// A message of which fragments, or a part of one, have come.
#[derive(Debug)]
struct Message {
    text: bool,
    bytes: Vec<u8>,
    /// Text up to here is valid UTF-8.
    valid: usize,
    fragments: u32,
    /// A fragment has ended and the next must be a continuation.
    between: bool,
}

type Sink<'a> = &'a mut dyn FnMut(Incoming<'_>);

impl Session {
    pub fn new(role: Role) -> Session {
        Session { role, ended: false, closing: false, unfinished: None }
    }

    /// Whether a frame or message is incomplete and holds memory.
    pub fn is_unfinished(&self) -> bool {
        self.unfinished.is_some()
    }

    /// Bytes held by an incomplete frame or message.
    pub fn held_bytes(&self) -> usize {
        self.unfinished.as_ref().map_or(0, |unfinished| {
            size_of::<Unfinished>()
                + unfinished.control.capacity()
                + unfinished.message.as_ref().map_or(0, |message| message.bytes.capacity())
        })
    }

    /// Whether the peer said its last: it closed, or broke a rule. What it still sends is not read.
    pub fn is_ended(&self) -> bool {
        self.ended
    }

    /// To be called before a close frame is sent; false if one was sent before, then send none. From here on
    /// only the peer's close is heard (RFC 6455 §1.4).
    pub fn begin_close(&mut self) -> bool {
        !std::mem::replace(&mut self.closing, true)
    }

    /// Reads bytes as they came from the socket, unmasking them in place. After a fault the connection must be
    /// closed with the fault's code; bytes behind a fault or a close frame are ignored.
    pub fn handle_bytes(
        &mut self,
        input: &mut [u8],
        limits: &SessionLimits,
        sink: Sink<'_>,
    ) -> Result<(), Fault> {
        let mut rest = input;
        while !self.ended && !rest.is_empty() {
            let taken = match self.unfinished.as_mut().and_then(|unfinished| unfinished.frame) {
                Some(frame) => self.go_on(frame, rest, sink),
                None => self.begin(rest, limits, sink),
            };
            match taken {
                Ok(taken) => rest = &mut rest[taken..],
                Err(fault) => {
                    self.ended = true;
                    self.unfinished = None;
                    return Err(fault);
                }
            }
        }
        self.forget_if_finished();
        Ok(())
    }

    /// At the start of a frame: reads its head, and its payload if it is all there.
    fn begin(&mut self, input: &mut [u8], limits: &SessionLimits, sink: Sink<'_>) -> Result<usize, Fault> {
        let kept = self.unfinished.as_ref().map_or(0, |unfinished| unfinished.head_bytes);
        let (head, from_input) = if kept == 0 {
            (Head::parse(input)?, 0)
        } else {
            let unfinished = self.unfinished.as_mut().expect("bytes of a head are kept in it");
            let more = input.len().min(HEAD_BYTES_MAX - kept);
            unfinished.head[kept..kept + more].copy_from_slice(&input[..more]);
            (Head::parse(&unfinished.head[..kept + more])?, more)
        };
        let Some(head) = head else {
            return Ok(self.keep_head(input, kept, from_input));
        };
        self.check(&head, limits)?;
        let head_taken = head.head_bytes - kept;
        if let Some(unfinished) = self.unfinished.as_mut() {
            unfinished.head_bytes = 0;
        }
        let payload_bytes = head.payload_bytes as usize;
        let payload = &mut input[head_taken..];
        if payload.len() >= payload_bytes {
            let payload = &mut payload[..payload_bytes];
            if let Some(key) = head.mask {
                ws::mask(payload, key, 0);
            }
            self.whole_frame(&head, payload, sink)?;
            return Ok(head_taken + payload_bytes);
        }
        let unfinished = self.unfinished.get_or_insert_default();
        unfinished.frame = Some(Frame { head, received: 0 });
        Ok(head_taken)
    }

    fn keep_head(&mut self, input: &[u8], kept: usize, copied: usize) -> usize {
        let unfinished = self.unfinished.get_or_insert_default();
        if copied == 0 {
            unfinished.head[..input.len()].copy_from_slice(input);
        }
        unfinished.head_bytes = kept + input.len();
        input.len()
    }

    /// The rules that depend on the role, on what came before, and on our limits.
    fn check(&self, head: &Head, limits: &SessionLimits) -> Result<(), Fault> {
        match (self.role, head.mask.is_some()) {
            (Role::Server, false) => return Err(protocol("a client's frame is not masked")),
            (Role::Client, true) => return Err(protocol("a server's frame is masked")),
            _ => {}
        }
        let message = self.unfinished.as_ref().and_then(|unfinished| unfinished.message.as_ref());
        match (head.opcode, message) {
            (OpCode::Control(_), _) => return Ok(()),
            (OpCode::Data(Data::Continue), None) => return Err(protocol("a continuation of nothing")),
            (OpCode::Data(Data::Text | Data::Binary), Some(_)) => {
                return Err(protocol("a new message inside a message"));
            }
            (OpCode::Data(Data::Binary), None) if !limits.binary => {
                return Err(Fault { code: CloseCode::Unsupported, reason: "messages are text" });
            }
            _ => {}
        }
        let before = message.map_or(0, |message| message.bytes.len() as u64);
        if before.saturating_add(head.payload_bytes) > limits.message_bytes as u64 {
            return Err(Fault { code: CloseCode::TooBig, reason: "the message is too big" });
        }
        if message.is_some_and(|message| message.fragments >= limits.fragments) {
            return Err(Fault { code: CloseCode::Policy, reason: "too many fragments" });
        }
        Ok(())
    }

    fn whole_frame(&mut self, head: &Head, payload: &[u8], sink: Sink<'_>) -> Result<(), Fault> {
        match head.opcode {
            OpCode::Control(control) => self.control(control, payload, sink),
            OpCode::Data(data) => {
                let in_message =
                    self.unfinished.as_ref().is_some_and(|unfinished| unfinished.message.is_some());
                if head.last && !in_message {
                    return self.deliver(data == Data::Text, payload, sink);
                }
                self.append(data, payload)?;
                self.end_fragment(head.last, sink)
            }
        }
    }

    /// In the middle of a frame: takes what has come of its payload.
    fn go_on(&mut self, frame: Frame, input: &mut [u8], sink: Sink<'_>) -> Result<usize, Fault> {
        let taken = input.len().min((frame.head.payload_bytes - frame.received) as usize);
        let payload = &mut input[..taken];
        if let Some(key) = frame.head.mask {
            ws::mask(payload, key, frame.received as usize);
        }
        let received = frame.received + taken as u64;
        let complete = received == frame.head.payload_bytes;
        let unfinished = self.unfinished.as_mut().expect("a frame is kept in it");
        unfinished.frame = (!complete).then_some(Frame { head: frame.head, received });
        match frame.head.opcode {
            OpCode::Control(control) => {
                unfinished.control.extend_from_slice(payload);
                if complete {
                    let payload = std::mem::take(&mut unfinished.control);
                    self.control(control, &payload, sink)?;
                }
            }
            OpCode::Data(data) => {
                self.append(data, payload)?;
                if complete {
                    self.end_fragment(frame.head.last, sink)?;
                }
            }
        }
        Ok(taken)
    }

    fn control(&mut self, control: Control, payload: &[u8], sink: Sink<'_>) -> Result<(), Fault> {
        match control {
            Control::Ping | Control::Pong if self.closing => {}
            Control::Ping => sink(Incoming::Ping(payload)),
            Control::Pong => sink(Incoming::Pong(payload)),
            Control::Close => {
                let (code, reason) = ws::parse_close(payload)?;
                self.ended = true;
                sink(Incoming::Close { code, reason });
            }
            Control::Reserved(_) => return Err(protocol("a reserved opcode")),
        }
        Ok(())
    }

    /// Adds payload to the message, failing at the first byte that cannot be UTF-8.
    fn append(&mut self, data: Data, payload: &[u8]) -> Result<(), Fault> {
        let unfinished = self.unfinished.get_or_insert_default();
        let message = unfinished.message.get_or_insert_with(|| Message {
            text: data == Data::Text,
            bytes: Vec::new(),
            valid: 0,
            fragments: 0,
            between: true,
        });
        if std::mem::take(&mut message.between) {
            message.fragments += 1;
        }
        message.bytes.extend_from_slice(payload);
        if message.text {
            match std::str::from_utf8(&message.bytes[message.valid..]) {
                Ok(_) => message.valid = message.bytes.len(),
                Err(error) if error.error_len().is_none() => message.valid += error.valid_up_to(),
                Err(_) => return Err(BAD_UTF8),
            }
        }
        Ok(())
    }

    fn end_fragment(&mut self, last: bool, sink: Sink<'_>) -> Result<(), Fault> {
        let unfinished = self.unfinished.as_mut().expect("append made it");
        if last {
            let message = unfinished.message.take().expect("append made it");
            return self.deliver(message.text, &message.bytes, sink);
        }
        unfinished.message.as_mut().expect("append made it").between = true;
        Ok(())
    }

    fn forget_if_finished(&mut self) {
        let finished = |unfinished: &Unfinished| {
            unfinished.head_bytes == 0 && unfinished.frame.is_none() && unfinished.message.is_none()
        };
        if self.ended || self.unfinished.as_deref().is_some_and(finished) {
            self.unfinished = None;
        }
    }

    fn deliver(&self, text: bool, payload: &[u8], sink: Sink<'_>) -> Result<(), Fault> {
        let incoming = if text {
            Incoming::Text(std::str::from_utf8(payload).map_err(|_| BAD_UTF8)?)
        } else {
            Incoming::Binary(payload)
        };
        if !self.closing {
            sink(incoming);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
