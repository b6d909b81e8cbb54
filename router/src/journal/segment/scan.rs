//! Walks one segment from record to record and says what lies between them.
//!
//! Owns the judgement of damaged bytes: what is a torn tail (never acknowledged, so nobody misses it) and what is
//! damage (was acknowledged once, so it is counted and kept aside). Never changes a file and never returns a body
//! whose sum is wrong. Called by `recover` and by `LogReader`.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};

use super::RECORD_BYTES_MAX;
use super::format::{RECORD_HEADER_BYTES, RECORD_MAGIC, RecordHeader, SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::journal::storage::Storage;

/// Bytes read from a file at a time; a longer record is read whole.
const CHUNK_BYTES: usize = 256 * 1024;

/// What comes next in a segment.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    Record {
        offset: u64,
        body: Bytes,
    },
    /// These bytes were records once. `offsets` are those that are surely gone with them; empty when nothing
    /// readable follows to tell.
    Damage {
        bytes: Range<u64>,
        offsets: Range<u64>,
    },
    /// The file ends inside a record: the write was never acknowledged.
    Torn {
        at: u64,
    },
    End,
}

#[derive(Debug)]
pub(super) struct Scanner {
    storage: Arc<dyn Storage>,
    name: String,
    salt: u32,
    /// Where `window` starts in the file.
    at: u64,
    window: BytesMut,
    /// The offset that the next record should have.
    expected: u64,
}

impl Scanner {
    /// `Ok(None)`: neither copy of the header can be read.
    pub(super) fn open(storage: Arc<dyn Storage>, name: String) -> io::Result<Option<Scanner>> {
        let mut bytes = [0; SEGMENT_HEADER_BYTES];
        let filled = storage.read(&name, 0, &mut bytes)?;
        let Some(header) = SegmentHeader::decode(&bytes[..filled]) else { return Ok(None) };
        if filled < SEGMENT_HEADER_BYTES || super::format::segment_name(header.first) != name {
            return Ok(None);
        }
        Ok(Some(Scanner {
            storage,
            name,
            salt: header.salt,
            at: SEGMENT_HEADER_BYTES as u64,
            window: BytesMut::new(),
            expected: header.first,
        }))
    }

    /// The offset behind the last record that was found or skipped.
    pub(super) fn expected(&self) -> u64 {
        self.expected
    }

    /// The offset of the next record, from somebody who knows.
    pub(super) fn expect(&mut self, offset: u64) {
        self.expected = offset;
    }

    /// The next finding among the file's first `end` bytes.
    pub(super) fn next(&mut self, end: u64) -> io::Result<Found> {
        if self.at >= end {
            return Ok(Found::End);
        }
        let left = end - self.at;
        if left < RECORD_HEADER_BYTES as u64 || !self.fill(RECORD_HEADER_BYTES, end)? {
            return Ok(Found::Torn { at: self.at });
        }
        let header = RecordHeader::decode(&self.window, self.salt)
            .filter(|header| header.length <= RECORD_BYTES_MAX && header.offset == self.expected);
        let Some(header) = header else { return self.search(end) };
        let whole = RECORD_HEADER_BYTES + header.length;
        if left < whole as u64 || !self.fill(whole, end)? {
            return Ok(Found::Torn { at: self.at });
        }
        let started = self.at;
        self.expected += 1;
        if !header.fits(&self.window[RECORD_HEADER_BYTES..whole], self.salt) {
            self.skip(whole);
            return Ok(Found::Damage { bytes: started..self.at, offsets: header.offset..header.offset + 1 });
        }
        self.window.advance(RECORD_HEADER_BYTES);
        let body = self.window.split_to(header.length).freeze();
        self.at += whole as u64;
        Ok(Found::Record { offset: header.offset, body })
    }

    /// The header here cannot be read: looks for the next one that can.
    fn search(&mut self, end: u64) -> io::Result<Found> {
        let started = self.at;
        let mut only_zeros = true;
        loop {
            // At least the byte that was looked at last is left behind in every round.
            let here = usize::from(self.at == started);
            let jump = self.window.get(here..).and_then(|rest| memchr::memchr(RECORD_MAGIC[0], rest));
            let skipped = jump.map_or(self.window.len(), |jump| here + jump);
            only_zeros &= self.window[..skipped].iter().all(|byte| *byte == 0);
            self.skip(skipped);
            if !self.fill(RECORD_HEADER_BYTES, end)? {
                break;
            }
            if self.at > started && self.a_record_starts_here(started) {
                let offset = self.header_here().map_or(self.expected, |header| header.offset);
                let lost = self.expected..offset;
                self.expected = offset;
                return Ok(Found::Damage { bytes: started..self.at, offsets: lost });
            }
            if self.at > started {
                only_zeros &= self.window[0] == 0;
                self.skip(1);
            }
        }
        only_zeros &= self.window.iter().all(|byte| *byte == 0);
        self.skip(self.window.len());
        self.at = end;
        if only_zeros {
            // A file that grew before its bytes were written.
            return Ok(Found::Torn { at: started });
        }
        Ok(Found::Damage { bytes: started..end, offsets: self.expected..self.expected })
    }

    fn header_here(&self) -> Option<RecordHeader> {
        RecordHeader::decode(&self.window, self.salt)
    }

    /// Whether the bytes here are a header of this segment whose offset fits behind a gap that began at `started`.
    /// Its salted sum is proof enough: whether the body is whole shows when the record is read.
    fn a_record_starts_here(&self, started: u64) -> bool {
        let gap_records_max = (self.at - started) / RECORD_HEADER_BYTES as u64 + 1;
        self.header_here().is_some_and(|header| {
            header.length <= RECORD_BYTES_MAX
                && (self.expected..=self.expected + gap_records_max).contains(&header.offset)
        })
    }

    fn skip(&mut self, bytes: usize) {
        self.window.advance(bytes);
        self.at += bytes as u64;
    }

    /// Makes the window hold at least `wanted` bytes; false when the first `end` bytes of the file have no more.
    fn fill(&mut self, wanted: usize, end: u64) -> io::Result<bool> {
        let held = self.window.len();
        if held >= wanted {
            return Ok(true);
        }
        let from = self.at + held as u64;
        let readable = usize::try_from(end.saturating_sub(from)).unwrap_or(usize::MAX);
        let length = readable.min(CHUNK_BYTES.max(wanted - held));
        self.window.resize(held + length, 0);
        let filled = match self.storage.read(&self.name, from, &mut self.window[held..]) {
            Ok(filled) => filled,
            Err(error) => {
                self.window.truncate(held);
                return Err(error);
            }
        };
        self.window.truncate(held + filled);
        Ok(self.window.len() >= wanted)
    }
}
