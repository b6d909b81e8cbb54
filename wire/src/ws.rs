//! WebSocket frames (RFC 6455 §5): reading heads, masking, and building the few frames that we send.
//!
//! Heads are tungstenite's; what it leaves to its protocol layer (reserved bits, the shortest length, the rules for
//! control frames) is checked here. Frames of a server are not masked, so one encoding serves every recipient.

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
    /// Reads a head off the front of `input`; `None` until it is complete.
    pub fn parse(input: &[u8]) -> Result<Option<Head>, Fault> {
        let [first, second, ..] = *input else { return Ok(None) };
        if first & 0x70 != 0 {
            return Err(protocol("a reserved bit is set"));
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
        let head = Head {
            last: header.is_final,
            opcode: header.opcode,
            mask: header.mask,
            head_bytes: 2 + length_bytes + if header.mask.is_some() { 4 } else { 0 },
            payload_bytes,
        };
        head.check()?;
        Ok(Some(head))
    }

    fn check(&self) -> Result<(), Fault> {
        match self.opcode {
            OpCode::Control(Control::Reserved(_)) | OpCode::Data(Data::Reserved(_)) => {
                Err(protocol("a reserved opcode"))
            }
            OpCode::Control(_) if !self.last => Err(protocol("a control frame is fragmented")),
            OpCode::Control(_) if self.payload_bytes > CONTROL_BYTES_MAX as u64 => {
                Err(protocol("a control frame is too long"))
            }
            _ => Ok(()),
        }
    }
}

/// Masks or unmasks `payload` in place. `offset` is how many bytes of the frame came before it.
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
    let header =
        FrameHeader { is_final: last, rsv1: false, rsv2: false, rsv3: false, opcode, mask: mask_with };
    let length = payload.len() as u64;
    let mut out = BytesMut::with_capacity(header.len(length) + payload.len());
    header.format(length, &mut (&mut out).writer()).expect("a buffer in memory takes it");
    let start = out.len();
    out.put_slice(payload);
    if let Some(key) = mask_with {
        mask(&mut out[start..], key, 0);
    }
    out.freeze()
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
    let reason = &reason[..reason.floor_char_boundary(CONTROL_BYTES_MAX - 2)];
    let mut payload = Vec::with_capacity(2 + reason.len());
    payload.extend_from_slice(&code.to_be_bytes());
    payload.extend_from_slice(reason.as_bytes());
    frame(OpCode::Control(Control::Close), &payload, mask_with)
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
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn heads_at_every_length_boundary_read_back() {
        for length in [0_usize, 1, 125, 126, 127, 65_535, 65_536, 70_000] {
            for key in [None, Some([1, 2, 3, 4])] {
                let whole = frame(OpCode::Data(Data::Text), &vec![b'x'; length], key);
                let head = Head::parse(&whole).unwrap().unwrap();
                assert_eq!((head.payload_bytes, head.mask, head.last), (length as u64, key, true));
                assert_eq!(head.head_bytes + length, whole.len());
                for cut in 0..head.head_bytes {
                    assert_eq!(Head::parse(&whole[..cut]), Ok(None), "cut at {cut}");
                }
            }
        }
    }

    #[test]
    fn what_the_rfc_forbids_is_refused() {
        let cases: [(&[u8], &str); 10] = [
            (&[0x90 | 0x01, 0], "rsv3"),
            (&[0xc1, 0], "rsv1"),
            (&[0x83, 0], "reserved data opcode"),
            (&[0x8b, 0], "reserved control opcode"),
            (&[0x09, 0], "fragmented ping"),
            (&[0x89, 126, 0, 126], "long ping"),
            (&[0x81, 126, 0, 125], "126 for 125"),
            (&[0x81, 127, 0, 0, 0, 0, 0, 0, 0xff, 0xff], "127 for 65535"),
            (&[0x81, 127, 0x80, 0, 0, 0, 0, 1, 0, 0], "top bit of the length"),
            (&[0x88, 126, 1, 0], "long close"),
        ];
        for (bytes, what) in cases {
            assert_eq!(Head::parse(bytes).map_err(|fault| fault.code), Err(CloseCode::Protocol), "{what}");
        }
    }

    #[test]
    fn a_long_close_reason_is_cut_between_characters() {
        let whole = close_frame(1008, &"é".repeat(100), None);
        let (code, reason) = parse_close(&whole[2..]).unwrap();
        assert_eq!((code, reason.chars().count()), (Some(1008), 61));
    }

    #[test]
    fn close_payloads_are_checked() {
        assert_eq!(parse_close(&[]), Ok((None, "")));
        assert!(parse_close(&[3]).is_err());
        for code in [0_u16, 999, 1004, 1005, 1006, 1015, 2000, 5000] {
            assert!(parse_close(&code.to_be_bytes()).is_err(), "{code}");
        }
        assert_eq!(parse_close(&[0x03, 0xe8, 0xff]), Err(BAD_UTF8));
    }

    proptest! {
        #[test]
        fn masking_is_its_own_inverse_and_agrees_with_the_definition(
            bytes in proptest::collection::vec(any::<u8>(), 0..100), key: [u8; 4], cut in 0_usize..100,
        ) {
            let cut = cut.min(bytes.len());
            let plainly: Vec<u8> = bytes.iter().enumerate().map(|(i, b)| b ^ key[i % 4]).collect();
            let mut masked = bytes.clone();
            mask(&mut masked[..cut], key, 0);
            mask(&mut masked[cut..], key, cut);
            prop_assert_eq!(&masked, &plainly);
            mask(&mut masked, key, 0);
            prop_assert_eq!(masked, bytes);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..20)) {
            let _either = Head::parse(&bytes);
            let _either = parse_close(&bytes);
        }
    }
}
