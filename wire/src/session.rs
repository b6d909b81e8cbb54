//! The bytes of one WebSocket connection, in either role: frames, fragments, UTF-8, control frames, close.
//!
//! An idle session is a pointer and two flags. Whole frames are read where they lie, without a copy; only a frame or a
//! message that is not complete yet has memory of its own, and gives it back when it ends.
//! Never answers by itself: the caller is told of pings and closes, and sends what follows.

use std::collections::VecDeque;

use serde::Deserialize;
use uuid::Uuid;

use crate::close::CloseCode;
use crate::limits::{CONTROL_BYTES_MAX, FRAGMENTS_MAX, MESSAGE_BYTES_MAX};
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
    pub message_bytes: usize,
    pub fragments: u32,
}

impl Default for SessionLimits {
    fn default() -> SessionLimits {
        SessionLimits { message_bytes: MESSAGE_BYTES_MAX, fragments: FRAGMENTS_MAX }
    }
}

/// What the peer said. Borrowed from the bytes that were handed in.
#[derive(Debug, PartialEq, Eq)]
pub enum Incoming<'a> {
    Text(&'a str),
    Binary(&'a [u8]),
    /// To be answered with a pong of the same payload.
    Ping(&'a [u8]),
    Pong(&'a [u8]),
    /// To be answered with a close of the same code, if we did not close first. Nothing follows.
    Close {
        code: Option<u16>,
        reason: &'a str,
    },
}

/// One connection's state.
#[derive(Debug)]
pub struct Session {
    role: Role,
    closed: bool,
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
        Session { role, closed: false, unfinished: None }
    }

    /// Whether a frame or message is incomplete and holds memory.
    pub fn is_unfinished(&self) -> bool {
        self.unfinished.is_some()
    }

    /// Bytes held by an incomplete frame or message.
    pub fn held_bytes(&self) -> usize {
        self.unfinished.as_ref().map_or(0, |unfinished| {
            size_of::<Unfinished>()
                + unfinished.message.as_ref().map_or(0, |message| message.bytes.capacity())
        })
    }

    /// Reads bytes as they came from the socket, unmasking them in place. After a fault the session must be
    /// closed with the fault's code; bytes behind a close frame are ignored.
    pub fn handle_bytes(
        &mut self,
        input: &mut [u8],
        limits: &SessionLimits,
        sink: Sink<'_>,
    ) -> Result<(), Fault> {
        let mut rest = input;
        while !self.closed && !rest.is_empty() {
            let taken = match self.unfinished.as_mut().and_then(|unfinished| unfinished.frame) {
                Some(frame) => self.go_on(frame, rest, limits, sink)?,
                None => self.begin(rest, limits, sink)?,
            };
            rest = &mut rest[taken..];
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
        unfinished.control.clear();
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
                    return deliver(data == Data::Text, payload, sink);
                }
                self.append(data, payload)?;
                self.end_fragment(head.last, sink)
            }
        }
    }

    /// In the middle of a frame: takes what has come of its payload.
    fn go_on(
        &mut self,
        frame: Frame,
        input: &mut [u8],
        limits: &SessionLimits,
        sink: Sink<'_>,
    ) -> Result<usize, Fault> {
        debug_assert!(frame.head.payload_bytes <= limits.message_bytes.max(CONTROL_BYTES_MAX) as u64);
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
            Control::Ping => sink(Incoming::Ping(payload)),
            Control::Pong => sink(Incoming::Pong(payload)),
            Control::Close => {
                let (code, reason) = ws::parse_close(payload)?;
                self.closed = true;
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
            return deliver(message.text, &message.bytes, sink);
        }
        unfinished.message.as_mut().expect("append made it").between = true;
        Ok(())
    }

    fn forget_if_finished(&mut self) {
        let finished = |unfinished: &Unfinished| {
            unfinished.head_bytes == 0 && unfinished.frame.is_none() && unfinished.message.is_none()
        };
        if self.closed || self.unfinished.as_deref().is_some_and(finished) {
            self.unfinished = None;
        }
    }
}

fn deliver(text: bool, payload: &[u8], sink: Sink<'_>) -> Result<(), Fault> {
    if text {
        sink(Incoming::Text(std::str::from_utf8(payload).map_err(|_| BAD_UTF8)?));
    } else {
        sink(Incoming::Binary(payload));
    }
    Ok(())
}

/// The two fields of a server message that a client needs before all others.
#[derive(Debug, Deserialize)]
pub struct Glance<'a> {
    #[serde(rename = "type", borrow)]
    pub kind: std::borrow::Cow<'a, str>,
    #[serde(default)]
    pub id: Option<Uuid>,
}

impl Glance<'_> {
    /// Looks at a server message without reading all of it.
    pub fn of(text: &str) -> Option<Glance<'_>> {
        serde_json::from_str(text).ok()
    }
}

/// Ids that a client has shown; the oldest are forgotten.
#[derive(Debug)]
pub struct Seen {
    order: VecDeque<Uuid>,
    ids: std::collections::HashSet<Uuid, ahash::RandomState>,
    capacity: usize,
}

/// Ids a client remembers by default.
pub const SEEN_IDS: usize = 1_024;

impl Default for Seen {
    fn default() -> Seen {
        Seen::with_capacity(SEEN_IDS)
    }
}

impl Seen {
    pub fn with_capacity(capacity: usize) -> Seen {
        assert!(capacity > 0);
        // A fixed key: ids are not chosen by whom we must fear, and a simulation must repeat itself.
        let hasher = ahash::RandomState::with_seeds(1, 2, 3, 4);
        Seen { order: VecDeque::new(), ids: std::collections::HashSet::with_hasher(hasher), capacity }
    }

    /// Notes an id; false when it was known.
    pub fn insert(&mut self, id: Uuid) -> bool {
        if !self.ids.insert(id) {
            return false;
        }
        self.order.push_back(id);
        if self.order.len() > self.capacity {
            let oldest = self.order.pop_front().expect("it is longer than its capacity");
            self.ids.remove(&oldest);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KEY: [u8; 4] = [9, 8, 7, 6];
    const TEXT: OpCode = OpCode::Data(Data::Text);
    const CONTINUE: OpCode = OpCode::Data(Data::Continue);

    fn run(
        session: &mut Session,
        pieces: &[&[u8]],
        limits: &SessionLimits,
    ) -> Result<Vec<String>, CloseCode> {
        let mut said = Vec::new();
        for piece in pieces {
            session
                .handle_bytes(&mut piece.to_vec(), limits, &mut |incoming| said.push(format!("{incoming:?}")))
                .map_err(|fault| fault.code)?;
        }
        Ok(said)
    }

    fn heard(stream: &[u8]) -> Result<Vec<String>, CloseCode> {
        run(&mut Session::new(Role::Server), &[stream], &SessionLimits::default())
    }

    fn masked(opcode: OpCode, payload: &[u8], last: bool) -> Vec<u8> {
        ws::piece(opcode, payload, Some(KEY), last).to_vec()
    }

    #[test]
    fn a_message_in_fragments_with_a_ping_between_them() {
        let stream = [
            masked(TEXT, b"Hel", false),
            masked(OpCode::Control(Control::Ping), b"p", true),
            masked(CONTINUE, b"lo", true),
        ]
        .concat();
        assert_eq!(heard(&stream).unwrap(), ["Ping([112])", "Text(\"Hello\")"]);
    }

    #[test]
    fn faults_have_their_codes() {
        let two_texts = [masked(TEXT, b"a", false), masked(TEXT, b"b", true)].concat();
        let cases: [(&str, Vec<u8>, CloseCode); 6] = [
            ("unmasked", ws::text_frame(b"x").to_vec(), CloseCode::Protocol),
            ("continuation of nothing", masked(CONTINUE, b"x", true), CloseCode::Protocol),
            ("message in a message", two_texts, CloseCode::Protocol),
            (
                "bad UTF-8",
                masked(TEXT, b"\xce\xba\xe1\xbd\xb9\xcf\x83\xed\xa0\x80", true),
                CloseCode::BadUtf8,
            ),
            ("too big", masked(TEXT, &vec![b'x'; MESSAGE_BYTES_MAX + 1], true), CloseCode::TooBig),
            ("cut character", masked(TEXT, b"\xc3", true), CloseCode::BadUtf8),
        ];
        for (what, stream, code) in cases {
            assert_eq!(heard(&stream), Err(code), "{what}");
        }
    }

    #[test]
    fn bad_utf8_fails_before_the_frame_is_complete() {
        let whole = masked(TEXT, b"\xce\xba\xed\xa0\x80xxxxxxxx", true);
        assert_eq!(heard(&whole[..whole.len() - 8]), Err(CloseCode::BadUtf8));
    }

    #[test]
    fn fragments_are_counted() {
        let limits = SessionLimits { fragments: 3, ..SessionLimits::default() };
        let stream =
            [masked(TEXT, b"", false), masked(CONTINUE, b"", false), masked(CONTINUE, b"", false)].concat();
        let mut session = Session::new(Role::Server);
        assert!(run(&mut session, &[&stream], &limits).is_ok());
        assert_eq!(run(&mut session, &[&masked(CONTINUE, b"", true)], &limits), Err(CloseCode::Policy));
    }

    #[test]
    fn nothing_is_heard_after_a_close() {
        let stream = [ws::close_frame(1000, "bye", Some(KEY)).to_vec(), masked(TEXT, b"late", true)].concat();
        assert_eq!(heard(&stream).unwrap(), ["Close { code: Some(1000), reason: \"bye\" }"]);
    }

    #[test]
    fn an_idle_session_holds_no_memory() {
        let whole = masked(TEXT, &[b'x'; 300], true);
        let mut session = Session::new(Role::Server);
        run(&mut session, &[&whole[..200]], &SessionLimits::default()).unwrap();
        assert!(session.is_unfinished() && session.held_bytes() > 0);
        run(&mut session, &[&whole[200..]], &SessionLimits::default()).unwrap();
        assert!(!session.is_unfinished() && session.held_bytes() == 0);
    }

    #[test]
    fn seen_ids_are_forgotten_oldest_first() {
        let mut seen = Seen::with_capacity(2);
        let [a, b, c] = [1, 2, 3].map(Uuid::from_u128);
        assert!(seen.insert(a) && seen.insert(b) && !seen.insert(a));
        assert!(seen.insert(c) && seen.insert(a), "a was the oldest");
    }

    /// Messages as a peer may send them: fragments, pings in between.
    fn stream_of(messages: &[(String, Vec<usize>)]) -> (Vec<u8>, Vec<String>) {
        let (mut stream, mut expected) = (Vec::new(), Vec::new());
        for (text, cuts) in messages {
            let bytes = text.as_bytes();
            let mut from = 0;
            for (n, cut) in cuts.iter().enumerate() {
                let to = from + cut % (bytes.len() - from + 1);
                stream.extend(masked(if n == 0 { TEXT } else { CONTINUE }, &bytes[from..to], false));
                stream.extend(masked(OpCode::Control(Control::Pong), b"", true));
                expected.push("Pong([])".to_owned());
                from = to;
            }
            stream.extend(masked(if cuts.is_empty() { TEXT } else { CONTINUE }, &bytes[from..], true));
            expected.push(format!("Text({text:?})"));
        }
        (stream, expected)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_stream_reads_the_same_split_at_every_byte(
            messages in proptest::collection::vec(("[a-zé€😀]{0,80}", proptest::collection::vec(0_usize..100, 0..3)), 1..4),
        ) {
            let (stream, expected) = stream_of(&messages);
            let limits = SessionLimits::default();
            for cut in 0..=stream.len() {
                let said = run(&mut Session::new(Role::Server), &[&stream[..cut], &stream[cut..]], &limits);
                prop_assert_eq!(said.as_ref(), Ok(&expected), "cut at {}", cut);
            }
            let bytes: Vec<&[u8]> = stream.chunks(1).collect();
            prop_assert_eq!(run(&mut Session::new(Role::Server), &bytes, &limits), Ok(expected));
        }

        #[test]
        fn hostile_bytes_are_a_fault_or_nothing_and_hold_little(
            pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 0..6),
        ) {
            let mut session = Session::new(Role::Server);
            let limits = SessionLimits { message_bytes: 300, fragments: 4 };
            for piece in &pieces {
                if session.handle_bytes(&mut piece.clone(), &limits, &mut |_| {}).is_err() {
                    break;
                }
                prop_assert!(session.held_bytes() < 2_000);
            }
        }
    }
}
