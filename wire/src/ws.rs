//! WebSocket frames (RFC 6455 §5): reading heads, masking, and building the few frames that we send.
//!
//! Heads are tungstenite's; what it leaves to its protocol layer (reserved bits, the shortest length, the rules for
//! control frames) is checked here. Frames of a server are not masked, so one encoding serves every recipient.
//! Knows nothing of messages, fragments or roles: that is [`crate::session`], which calls it, as do the gateway's
//! fan-out and the load tester.

use std::io::Cursor;

use bytes::{BufMut, Bytes, BytesMut};
use tungstenite::protocol::frame::FrameHeader;
pub use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use crate::close::{CloseCode, valid_on_the_wire};
use crate::limits::CONTROL_BYTES_MAX;

/// Bytes of the longest frame head: 2, 8 of length, 4 of mask.
pub const HEAD_BYTES_MAX: usize = 14;

/// The head of one frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    pub last: bool,
    pub opcode: OpCode,
    pub mask: Option<[u8; 4]>,
    /// Bytes of the head itself.
    pub head_bytes: usize,
    pub payload_bytes: u64,
}

/// The peer broke the framing rules: the close code to answer with and a reason that is fit for the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{code:?}: {reason}")]
pub struct Fault {
    pub code: CloseCode,
    pub reason: &'static str,
}

pub(crate) const fn protocol(reason: &'static str) -> Fault {
    Fault { code: CloseCode::Protocol, reason }
}

impl Head {
    /// Reads a head off the front of `input`; `None` until it is complete. What can be refused is refused on the
    /// first byte that shows it.
    #[inline]
    pub fn parse(input: &[u8]) -> Result<Option<Head>, Fault> {
        let Some(&first) = input.first() else { return Ok(None) };
        check_first(first)?;
        let Some(&second) = input.get(1) else { return Ok(None) };
        if first & CONTROL_BIT != 0 && usize::from(second & 0x7f) > CONTROL_BYTES_MAX {
            return Err(protocol("a control frame is too long"));
        }
        let parsed =
            FrameHeader::parse(&mut Cursor::new(input)).map_err(|_| protocol("a reserved opcode"))?;
        let Some((header, payload_bytes)) = parsed else { return Ok(None) };
        let (length_bytes, shortest) = match second & 0x7f {
            126 => (2, payload_bytes >= 126),
            127 => (8, payload_bytes > u64::from(u16::MAX) && payload_bytes >> 63 == 0),
            _ => (0, true),
        };
        if !shortest {
            return Err(protocol("a length is not in its shortest form"));
        }
        Ok(Some(Head {
            last: header.is_final,
            opcode: header.opcode,
            mask: header.mask,
            head_bytes: 2 + length_bytes + if header.mask.is_some() { 4 } else { 0 },
            payload_bytes,
        }))
    }
}

/// The bit of an opcode that makes it a control frame.
const CONTROL_BIT: u8 = 0x08;

/// Reserved bits, opcodes, and fragments of what must have none.
fn check_first(first: u8) -> Result<(), Fault> {
    if first & 0x70 != 0 {
        return Err(protocol("a reserved bit is set"));
    }
    if !matches!(first & 0x0f, 0..=2 | 8..=10) {
        return Err(protocol("a reserved opcode"));
    }
    if first & CONTROL_BIT != 0 && first & 0x80 == 0 {
        return Err(protocol("a control frame is fragmented"));
    }
    Ok(())
}

/// Masks or unmasks `payload` in place (the same thing, RFC 6455 §5.3). `offset` is how many bytes of the frame's
/// payload came before it.
pub fn mask(payload: &mut [u8], key: [u8; 4], offset: usize) {
    let mut key = key;
    key.rotate_left(offset % 4);
    let [a, b, c, d] = key;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, rest) = payload.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(key.iter().cycle()) {
        *byte ^= key;
    }
}

/// One whole frame. `mask_with` is `None` for a server.
pub fn frame(opcode: OpCode, payload: &[u8], mask_with: Option<[u8; 4]>) -> Bytes {
    piece(opcode, payload, mask_with, true)
}

/// One fragment of a message: `last` ends it.
pub fn piece(opcode: OpCode, payload: &[u8], mask_with: Option<[u8; 4]>, last: bool) -> Bytes {
    let head_bytes = header(opcode, mask_with, last).len(payload.len() as u64);
    let mut out = BytesMut::with_capacity(head_bytes + payload.len());
    put_piece(&mut out, opcode, payload, mask_with, last);
    out.freeze()
}

/// As [`piece`], behind what `out` holds already: many frames in one buffer.
pub fn put_piece(out: &mut BytesMut, opcode: OpCode, payload: &[u8], mask_with: Option<[u8; 4]>, last: bool) {
    let header = header(opcode, mask_with, last);
    header.format(payload.len() as u64, &mut out.writer()).expect("a buffer in memory takes it");
    let start = out.len();
    out.put_slice(payload);
    if let Some(key) = mask_with {
        mask(&mut out[start..], key, 0);
    }
}

fn header(opcode: OpCode, mask: Option<[u8; 4]>, is_final: bool) -> FrameHeader {
    FrameHeader { is_final, rsv1: false, rsv2: false, rsv3: false, opcode, mask }
}

/// A server's text frame: encoded once, shared by every recipient.
pub fn text_frame(payload: &[u8]) -> Bytes {
    frame(OpCode::Data(Data::Text), payload, None)
}

/// A ping; `payload` of at most 125 bytes.
pub fn ping_frame(payload: &[u8], mask_with: Option<[u8; 4]>) -> Bytes {
    assert!(payload.len() <= CONTROL_BYTES_MAX);
    frame(OpCode::Control(Control::Ping), payload, mask_with)
}

/// The answer to a ping carries the ping's payload.
pub fn pong_frame(payload: &[u8], mask_with: Option<[u8; 4]>) -> Bytes {
    assert!(payload.len() <= CONTROL_BYTES_MAX);
    frame(OpCode::Control(Control::Pong), payload, mask_with)
}

/// A close; a reason longer than fits is cut at a character.
pub fn close_frame(code: u16, reason: &str, mask_with: Option<[u8; 4]>) -> Bytes {
    let mut end = reason.len().min(CONTROL_BYTES_MAX - 2);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    let reason = &reason[..end];
    let mut payload = Vec::with_capacity(2 + reason.len());
    payload.extend_from_slice(&code.to_be_bytes());
    payload.extend_from_slice(reason.as_bytes());
    frame(OpCode::Control(Control::Close), &payload, mask_with)
}

/// The close that answers a peer's: its own code, or nothing if it gave none (RFC 6455 §5.5.1).
pub fn close_reply(code: Option<u16>, mask_with: Option<[u8; 4]>) -> Bytes {
    match code {
        Some(code) => close_frame(code, "", mask_with),
        None => frame(OpCode::Control(Control::Close), &[], mask_with),
    }
}

/// Reads a close frame's payload; an empty one carries no code.
pub fn parse_close(payload: &[u8]) -> Result<(Option<u16>, &str), Fault> {
    let Some((code, reason)) = payload.split_first_chunk::<2>() else {
        return if payload.is_empty() { Ok((None, "")) } else { Err(protocol("a close code has two bytes")) };
    };
    let code = u16::from_be_bytes(*code);
    if !valid_on_the_wire(code) {
        return Err(protocol("a close code that must not be sent"));
    }
    let reason = std::str::from_utf8(reason).map_err(|_| BAD_UTF8)?;
    Ok((Some(code), reason))
}

pub(crate) const BAD_UTF8: Fault = Fault { code: CloseCode::BadUtf8, reason: "text is not UTF-8" };

#[cfg(test)]
mod tests;
