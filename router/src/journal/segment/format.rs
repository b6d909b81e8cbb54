//! The bytes of a segment: its header and its records.
//!
//! A segment starts with its header twice, so that one flipped bit does not cost the file. A record is a header of
//! 24 bytes (magic, version, length, offset, CRC of the body, CRC of the header) and its body. Two sums, so that a
//! damaged body still says where the next record starts. Both are salted with the segment's salt, so that bytes
//! inside a body never pass for a record when a damaged region is searched. All integers are big-endian.
//!
//! Pure. Called by the rest of [`segment`](super).

use bytes::{Buf, BufMut, BytesMut};

/// Bytes before a record's body.
pub const RECORD_HEADER_BYTES: usize = 24;
/// Bytes before a segment's first record.
pub const SEGMENT_HEADER_BYTES: usize = 2 * COPY_BYTES;
const COPY_BYTES: usize = 24;

const SEGMENT_MAGIC: [u8; 4] = *b"TSEG";
pub(super) const RECORD_MAGIC: [u8; 2] = [0xa7, 0x4a];
/// Of segments and records alike; another one is not read.
const VERSION: u8 = 1;
const RESERVED: u8 = 0;

/// What a segment says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub(super) first: u64,
    pub(super) salt: u32,
}

impl SegmentHeader {
    pub(super) fn encode(self, out: &mut BytesMut) {
        for _ in 0..2 {
            let start = out.len();
            out.put_slice(&SEGMENT_MAGIC);
            out.put_u8(VERSION);
            out.put_slice(&[RESERVED; 3]);
            out.put_u64(self.first);
            out.put_u32(self.salt);
            let sum = crc32c::crc32c(&out[start..]);
            out.put_u32(sum);
        }
    }

    /// From either copy.
    pub(super) fn decode(bytes: &[u8]) -> Option<SegmentHeader> {
        bytes.chunks_exact(COPY_BYTES).take(2).find_map(SegmentHeader::decode_copy)
    }

    fn decode_copy(copy: &[u8]) -> Option<SegmentHeader> {
        let (content, mut sum) = copy.split_at_checked(COPY_BYTES - 4)?;
        if sum.get_u32() != crc32c::crc32c(content) || !content.starts_with(&SEGMENT_MAGIC) {
            return None;
        }
        if content[4] != VERSION {
            return None;
        }
        let mut fields = &content[8..];
        Some(SegmentHeader { first: fields.get_u64(), salt: fields.get_u32() })
    }
}

/// What a record says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RecordHeader {
    pub(super) length: usize,
    pub(super) offset: u64,
    pub(super) body_sum: u32,
}

impl RecordHeader {
    /// `None`: these 24 bytes are no header of a segment with this salt.
    pub(super) fn decode(bytes: &[u8], salt: u32) -> Option<RecordHeader> {
        let (content, mut sum) = bytes.get(..RECORD_HEADER_BYTES)?.split_at(RECORD_HEADER_BYTES - 4);
        if !content.starts_with(&RECORD_MAGIC) || content[2] != VERSION || content[3] != RESERVED {
            return None;
        }
        if sum.get_u32() != crc32c::crc32c_append(salt, content) {
            return None;
        }
        let mut fields = &content[4..];
        Some(RecordHeader {
            length: fields.get_u32() as usize,
            offset: fields.get_u64(),
            body_sum: fields.get_u32(),
        })
    }

    pub(super) fn fits(&self, body: &[u8], salt: u32) -> bool {
        crc32c::crc32c_append(salt, body) == self.body_sum
    }
}

pub(super) fn encode_record(offset: u64, salt: u32, body: &[u8], out: &mut BytesMut) {
    let start = out.len();
    out.put_slice(&RECORD_MAGIC);
    out.put_u8(VERSION);
    out.put_u8(RESERVED);
    out.put_u32(u32::try_from(body.len()).expect("the caller bounds records"));
    out.put_u64(offset);
    out.put_u32(crc32c::crc32c_append(salt, body));
    let sum = crc32c::crc32c_append(salt, &out[start..]);
    out.put_u32(sum);
    out.put_slice(body);
}

/// `00000000000000000042.log`: names sort as their first offsets do.
pub(super) fn segment_name(first: u64) -> String {
    format!("{first:020}.log")
}

pub(super) fn first_offset(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".log")?;
    if digits.len() != 20 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_found_again_under_its_salt_only() {
        let mut bytes = BytesMut::new();
        encode_record(7, 99, b"body", &mut bytes);
        let header = RecordHeader::decode(&bytes, 99).expect("our own record");
        assert_eq!((header.length, header.offset), (4, 7));
        assert!(header.fits(&bytes[RECORD_HEADER_BYTES..], 99));
        assert!(!header.fits(b"bodz", 99));
        assert_eq!(RecordHeader::decode(&bytes, 98), None);
    }

    #[test]
    fn a_segment_header_survives_one_flipped_bit() {
        let header = SegmentHeader { first: 42, salt: 7 };
        let mut bytes = BytesMut::new();
        header.encode(&mut bytes);
        assert_eq!(bytes.len(), SEGMENT_HEADER_BYTES);
        for bit in 0..bytes.len() * 8 {
            let mut hurt = bytes.clone();
            hurt[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(SegmentHeader::decode(&hurt), Some(header), "bit {bit}");
        }
    }

    #[test]
    fn only_our_names_are_segments() {
        assert_eq!(first_offset(&segment_name(u64::MAX)), Some(u64::MAX));
        for name in ["42.log", "commit", "00000000000000000042.log.bad", "99999999999999999999.log", ".log"] {
            assert_eq!(first_offset(name), None, "{name}");
        }
    }
}
