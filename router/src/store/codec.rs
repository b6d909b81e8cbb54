//! How rows are written down: a version byte, then fixed fields, big-endian; texts and runs with their length first.
//!
//! Owns the primitives only; each row's own file owns its fields. A reader never panics on damaged bytes.

use bytes::Bytes;
use serde::Serialize;
use wire::time::Wall;

use super::{Space, StoreError};

/// Bytes that most rows fit into.
const ROW_BYTES: usize = 160;

/// A row that is being written.
#[derive(Debug)]
pub struct Encoder {
    bytes: Vec<u8>,
}

impl Encoder {
    pub fn new(version: u8) -> Encoder {
        let mut bytes = Vec::with_capacity(ROW_BYTES);
        bytes.push(version);
        Encoder { bytes }
    }

    /// A part of a row, without a version.
    pub fn bare() -> Encoder {
        Encoder { bytes: Vec::new() }
    }

    pub fn u8(&mut self, value: u8) -> &mut Encoder {
        self.bytes.push(value);
        self
    }

    pub fn u32(&mut self, value: u32) -> &mut Encoder {
        self.bytes.extend_from_slice(&value.to_be_bytes());
        self
    }

    pub fn u64(&mut self, value: u64) -> &mut Encoder {
        self.bytes.extend_from_slice(&value.to_be_bytes());
        self
    }

    pub fn wall(&mut self, value: Wall) -> &mut Encoder {
        self.bytes.extend_from_slice(&value.0.to_be_bytes());
        self
    }

    pub fn optional_wall(&mut self, value: Option<Wall>) -> &mut Encoder {
        self.u8(u8::from(value.is_some())).wall(value.unwrap_or_default())
    }

    pub fn run(&mut self, value: &[u8]) -> &mut Encoder {
        self.u32(value.len() as u32);
        self.bytes.extend_from_slice(value);
        self
    }

    pub fn text(&mut self, value: &str) -> &mut Encoder {
        self.run(value.as_bytes())
    }

    pub fn optional_text(&mut self, value: Option<&str>) -> &mut Encoder {
        self.u8(u8::from(value.is_some())).text(value.unwrap_or_default())
    }

    /// The last field, without a length.
    pub fn rest(&mut self, value: &[u8]) -> &mut Encoder {
        self.bytes.extend_from_slice(value);
        self
    }

    /// The last field, as JSON.
    pub fn json(&mut self, value: &impl Serialize) -> &mut Encoder {
        serde_json::to_writer(&mut self.bytes, value).expect("rows have names for keys and no floats");
        self
    }

    pub fn finish(&mut self) -> Bytes {
        Bytes::from(std::mem::take(&mut self.bytes))
    }
}

/// A row that is being read.
#[derive(Debug)]
pub struct Decoder {
    space: Space,
    bytes: Bytes,
    /// What was read.
    at: usize,
}

impl Decoder {
    /// Checks the version byte.
    pub fn new(space: Space, bytes: Bytes, version: u8) -> Result<Decoder, StoreError> {
        let mut decoder = Decoder { space, bytes, at: 0 };
        let found = decoder.u8()?;
        if found == version { Ok(decoder) } else { Err(decoder.damaged(format!("version {found}"))) }
    }

    pub fn damaged(&self, what: impl Into<String>) -> StoreError {
        StoreError::Damaged { space: self.space, what: what.into() }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], StoreError> {
        let Some(bytes) = self.bytes[self.at..].first_chunk::<N>().copied() else {
            return Err(self.damaged("it ends inside its fields"));
        };
        self.at += N;
        Ok(bytes)
    }

    /// The next bytes, where they lie.
    fn take(&mut self, count: usize) -> Result<std::ops::Range<usize>, StoreError> {
        if self.bytes.len() - self.at < count {
            return Err(self.damaged("it ends inside its fields"));
        }
        let range = self.at..self.at + count;
        self.at = range.end;
        Ok(range)
    }

    pub fn u8(&mut self) -> Result<u8, StoreError> {
        Ok(self.array::<1>()?[0])
    }

    pub fn u32(&mut self) -> Result<u32, StoreError> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    pub fn u64(&mut self) -> Result<u64, StoreError> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    pub fn wall(&mut self) -> Result<Wall, StoreError> {
        Ok(Wall(i64::from_be_bytes(self.array()?)))
    }

    pub fn optional_wall(&mut self) -> Result<Option<Wall>, StoreError> {
        let present = self.u8()? != 0;
        let value = self.wall()?;
        Ok(present.then_some(value))
    }

    pub fn text(&mut self) -> Result<String, StoreError> {
        let count = self.u32()? as usize;
        let range = self.take(count)?;
        match std::str::from_utf8(&self.bytes[range]) {
            Ok(text) => Ok(text.to_owned()),
            Err(_) => Err(self.damaged("a text is not UTF-8")),
        }
    }

    pub fn bytes(&mut self) -> Result<Vec<u8>, StoreError> {
        let count = self.u32()? as usize;
        let range = self.take(count)?;
        Ok(self.bytes[range].to_vec())
    }

    pub fn optional_text(&mut self) -> Result<Option<String>, StoreError> {
        let present = self.u8()? != 0;
        let value = self.text()?;
        Ok(present.then_some(value))
    }

    /// All that is left.
    pub fn rest(&mut self) -> Bytes {
        self.bytes.split_off(self.at)
    }

    /// A count of items that each have `bytes_min` at least: a damaged count reserves no memory.
    pub fn count(&mut self, bytes_min: usize) -> Result<usize, StoreError> {
        let count = self.u32()? as usize;
        if count > (self.bytes.len() - self.at) / bytes_min.max(1) {
            return Err(self.damaged("a count is larger than its row"));
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> Bytes {
        Encoder::new(3)
            .u8(7)
            .u32(8)
            .u64(9)
            .wall(Wall(-10))
            .optional_wall(None)
            .optional_wall(Some(Wall(11)))
            .text("twelve")
            .optional_text(None)
            .rest(b"rest")
            .finish()
    }

    #[test]
    fn what_was_written_is_read() {
        let mut row = Decoder::new(Space::Ledger, row(), 3).expect("the version");
        assert_eq!((row.u8(), row.u32(), row.u64(), row.wall()), (Ok(7), Ok(8), Ok(9), Ok(Wall(-10))));
        assert_eq!((row.optional_wall(), row.optional_wall()), (Ok(None), Ok(Some(Wall(11)))));
        assert_eq!((row.text(), row.optional_text()), (Ok("twelve".to_owned()), Ok(None)));
        assert_eq!(row.rest(), b"rest".as_slice());
    }

    #[test]
    fn another_version_and_a_cut_row_are_damage() {
        assert!(Decoder::new(Space::Ledger, row(), 4).is_err());
        assert!(Decoder::new(Space::Ledger, Bytes::new(), 3).is_err());
        let whole = Encoder::new(1).text("hello").finish();
        for length in 1..whole.len() {
            let mut cut = Decoder::new(Space::Inbox, whole.slice(..length), 1).expect("the version");
            assert!(matches!(cut.text(), Err(StoreError::Damaged { space: Space::Inbox, .. })), "{length}");
        }
    }

    #[test]
    fn a_lying_count_reserves_nothing() {
        let lie = Encoder::new(1).u32(u32::MAX).finish();
        assert!(Decoder::new(Space::Ledger, lie, 1).expect("the version").count(4).is_err());
    }
}
