//! Reads a log's durable records in order, across segments.
//!
//! Owns a place in the log. Never sees what is not durable, never returns a damaged record: damage that shows only
//! now is kept aside, counted and stepped over. Called by the embedded journal's reader and by the drain.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::format::segment_name;
use super::recover::quarantine;
use super::scan::{Found, Scanner};
use super::{Segment, Shared};

/// One record of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogRecord {
    pub offset: u64,
    pub body: Bytes,
}

#[derive(Debug)]
pub struct LogReader {
    shared: Arc<Shared>,
    /// Offsets below were returned, stepped over, or not asked for.
    next: u64,
    current: Option<Current>,
}

#[derive(Debug)]
struct Current {
    first: u64,
    scanner: Scanner,
}

impl LogReader {
    pub(super) fn new(shared: Arc<Shared>, from: u64) -> LogReader {
        LogReader { shared, next: from, current: None }
    }

    /// Durable records that were not returned yet (damaged ones included).
    pub fn waiting(&self) -> u64 {
        self.shared.end.load(Ordering::Acquire).saturating_sub(self.next)
    }

    pub fn next_offset(&self) -> u64 {
        self.next
    }

    /// Appends to `out` at most `records_max` records with at most `bytes_max` bytes (but one at least, if there
    /// is one). What was appended before an error counts as read.
    pub fn read(&mut self, records_max: usize, bytes_max: usize, out: &mut Vec<LogRecord>) -> io::Result<()> {
        let (mut records, mut bytes) = (0, 0);
        while records < records_max && bytes < bytes_max {
            let Some((segment, following)) = self.segment() else { return Ok(()) };
            if !self.stand_in(segment)? {
                continue;
            }
            let current = self.current.as_mut().expect("it stands in the segment");
            match current.scanner.next(segment.bytes)? {
                Found::Record { offset, .. } if following.is_some_and(|following| offset >= following) => {
                    self.leave(segment);
                }
                Found::Record { offset, .. } if offset < self.next => {}
                Found::Record { offset, body } => {
                    self.next = offset + 1;
                    records += 1;
                    bytes += body.len();
                    out.push(LogRecord { offset, body });
                }
                Found::Damage { bytes, offsets } => {
                    if bytes.end >= segment.bytes {
                        // Nothing behind it tells how many are gone, but the writer knows what it wrote.
                        current.scanner.expect(segment.end);
                    }
                    self.next = self.next.max(offsets.end);
                    self.note_damage(&segment_name(segment.first), bytes, offsets);
                }
                Found::Torn { at } => {
                    // Durable bytes that are gone from the file's end.
                    let lost = self.next..segment.end;
                    self.note_damage(&segment_name(segment.first), at..segment.bytes, lost);
                    self.leave(segment);
                }
                Found::End if following.is_none() => {
                    self.next = self.next.max(segment.end);
                    return Ok(());
                }
                Found::End => self.leave(segment),
            }
        }
        Ok(())
    }

    /// The segment to read in, and the first offset of the one behind it.
    fn segment(&self) -> Option<(Segment, Option<u64>)> {
        let segments = self.shared.segments();
        let place = self.place_in(&segments)?;
        Some((segments[place], segments.get(place + 1).map(|segment| segment.first)))
    }

    fn place_in(&self, segments: &VecDeque<Segment>) -> Option<usize> {
        if let Some(current) = &self.current
            && let Ok(place) = segments.binary_search_by_key(&current.first, |segment| segment.first)
        {
            return Some(place);
        }
        let place = segments.partition_point(|segment| segment.end <= self.next);
        (place < segments.len()).then_some(place)
    }

    /// False when the segment turned out to have no readable header and was left.
    fn stand_in(&mut self, segment: Segment) -> io::Result<bool> {
        if self.current.as_ref().is_some_and(|current| current.first == segment.first) {
            return Ok(true);
        }
        let name = segment_name(segment.first);
        let Some(scanner) = Scanner::open(Arc::clone(&self.shared.storage), name.clone())? else {
            self.note_damage(&name, 0..segment.bytes, self.next.max(segment.first)..segment.end);
            self.leave(segment);
            return Ok(false);
        };
        self.current = Some(Current { first: segment.first, scanner });
        Ok(true)
    }

    fn leave(&mut self, segment: Segment) {
        self.next = self.next.max(segment.end);
        self.current = None;
    }

    fn note_damage(&self, segment: &str, bytes: std::ops::Range<u64>, offsets: std::ops::Range<u64>) {
        let noted = quarantine(&self.shared.storage, segment, bytes.clone(), offsets.clone());
        if noted.as_ref().is_ok_and(|damaged| damaged.known) {
            return;
        }
        self.shared.damaged_since_open.fetch_add(1, Ordering::Relaxed);
        tracing::error!(segment, ?bytes, ?offsets, "the journal is damaged here; the rest flows");
    }
}
