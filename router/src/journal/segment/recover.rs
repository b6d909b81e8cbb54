//! What a log finds in its folder when it is opened: whole records, torn tails, damage, missing files.
//!
//! Owns the walk over all segments and the quarantine. Never drops a byte that was a record once without a copy
//! beside the segment and a line in the [`Recovery`]. Called by `SegmentLog::open` and, for damage that shows
//! later, by `LogReader`.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use super::Segment;
use super::format::{SEGMENT_HEADER_BYTES, first_offset, segment_name};
use super::scan::{Found, Scanner};
use crate::journal::storage::Storage;

/// Bytes of one damaged region that are copied; the region itself stays in its segment until that is trimmed.
const QUARANTINE_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Damaged regions that are kept aside in one folder; more are counted only.
const QUARANTINE_FILES_MAX: usize = 1_000;
const QUARANTINE_SUFFIX: &str = ".bad";
const COPY_BYTES: usize = 256 * 1024;

/// What an open found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovery {
    pub segments: usize,
    /// Readable records, committed ones of kept segments included.
    pub records: u64,
    pub bytes: u64,
    /// Writes that a crash cut short; nobody was told that they were durable.
    pub torn: Vec<Torn>,
    /// Bytes that were records once. Each is worth an alarm, unless it was `known` at an earlier open.
    pub damaged: Vec<Damaged>,
    /// Uncommitted offsets whose files are gone. Each is worth an alarm.
    pub missing: Vec<Range<u64>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Torn {
    pub segment: String,
    pub at: u64,
    pub bytes: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damaged {
    pub segment: String,
    pub bytes: Range<u64>,
    /// The records that are surely gone; empty when nothing readable follows to tell (then at least one).
    pub offsets: Range<u64>,
    /// The copy; `None` when it could not be made.
    pub kept_as: Option<String>,
    /// An earlier open has reported it.
    pub known: bool,
}

impl Recovery {
    /// Whether nothing has to be told to anybody.
    pub fn is_clean(&self) -> bool {
        self.unreported() == 0
    }

    /// Places at which records are gone and nobody was told yet.
    pub fn unreported(&self) -> u64 {
        let damaged = self.damaged.iter().filter(|damaged| !damaged.known).count();
        (damaged + self.missing.len()) as u64
    }
}

pub(super) fn recover(
    storage: &Arc<dyn Storage>,
    committed: u64,
) -> io::Result<(VecDeque<Segment>, Recovery)> {
    let mut names: Vec<(u64, u64)> = storage
        .list()?
        .into_iter()
        .filter_map(|file| Some((first_offset(&file.name)?, file.bytes)))
        .collect();
    names.sort_unstable();
    let mut walk = Walk { storage, committed, segments: VecDeque::new(), recovery: Recovery::default() };
    for (i, (first, bytes)) in names.iter().enumerate() {
        walk.visit(*first, *bytes, names.get(i + 1).map(|(first, _)| *first))?;
    }
    walk.find_missing();
    walk.recovery.segments = walk.segments.len();
    walk.recovery.bytes = walk.segments.iter().map(|segment| segment.bytes).sum();
    if let Some(last) = walk.segments.back() {
        // What a killed process had written but not synced is about to be read as durable.
        storage.sync(&segment_name(last.first))?;
        storage.sync_folder()?;
    }
    Ok((walk.segments, walk.recovery))
}

struct Walk<'a> {
    storage: &'a Arc<dyn Storage>,
    committed: u64,
    segments: VecDeque<Segment>,
    recovery: Recovery,
}

impl Walk<'_> {
    /// `following` is the first offset of the next segment: records from there on were superseded by it.
    fn visit(&mut self, first: u64, bytes: u64, following: Option<u64>) -> io::Result<()> {
        let name = segment_name(first);
        if following.is_some_and(|following| following <= self.committed) {
            // A trim that a crash undid.
            return self.storage.remove(&name);
        }
        let Some(mut scanner) = Scanner::open(Arc::clone(self.storage), name.clone())? else {
            return self.headless(&name, bytes, first..following.unwrap_or(first));
        };
        let mut segment = Segment { first, end: first, bytes };
        loop {
            match scanner.next(bytes)? {
                Found::Record { offset, .. } if following.is_some_and(|following| offset >= following) => {
                    break;
                }
                Found::Record { .. } => self.recovery.records += 1,
                Found::Damage { bytes, offsets } if offsets.is_empty() => {
                    // Nothing readable follows in this file; the next one tells how many are gone.
                    let from = scanner.expected();
                    self.damage(&name, bytes, from..following.unwrap_or(from).max(from))?;
                }
                Found::Damage { bytes, offsets } => self.damage(&name, bytes, offsets)?,
                Found::Torn { at } => {
                    self.storage.truncate(&name, at)?;
                    self.recovery.torn.push(Torn { segment: name.clone(), at, bytes: bytes - at });
                    segment.bytes = at;
                    break;
                }
                Found::End => break,
            }
        }
        segment.end = scanner.expected().min(following.unwrap_or(u64::MAX));
        if segment.end > segment.first {
            self.segments.push_back(segment);
            return Ok(());
        }
        // No record in it, and its name may be the next segment's.
        if self.recovery.damaged.last().is_some_and(|damaged| damaged.segment == name) {
            self.storage.rename(&name, &format!("{name}{QUARANTINE_SUFFIX}"))
        } else {
            self.storage.remove(&name)
        }
    }

    /// A segment without a readable header: a creation cut short, or damage of the whole file.
    fn headless(&mut self, name: &str, bytes: u64, offsets: Range<u64>) -> io::Result<()> {
        let mut head = vec![0; SEGMENT_HEADER_BYTES];
        let filled = self.storage.read(name, 0, &mut head)?;
        let never_written = head[..filled].iter().all(|byte| *byte == 0);
        if filled < SEGMENT_HEADER_BYTES || never_written && offsets.is_empty() {
            self.storage.remove(name)?;
            if bytes > 0 {
                self.recovery.torn.push(Torn { segment: name.to_owned(), at: 0, bytes });
            }
            return Ok(());
        }
        let kept = format!("{name}{QUARANTINE_SUFFIX}");
        self.storage.rename(name, &kept)?;
        self.recovery.damaged.push(Damaged {
            segment: name.to_owned(),
            bytes: 0..bytes,
            offsets,
            kept_as: Some(kept),
            known: false,
        });
        Ok(())
    }

    fn damage(&mut self, name: &str, bytes: Range<u64>, offsets: Range<u64>) -> io::Result<()> {
        self.recovery.damaged.push(quarantine(self.storage, name, bytes, offsets)?);
        Ok(())
    }

    /// Gaps between files that no damage explains.
    fn find_missing(&mut self) {
        let mut expected = self.committed;
        for segment in &self.segments {
            let gap = expected..segment.first;
            let explained =
                |damaged: &Damaged| damaged.offsets.start <= gap.start && damaged.offsets.end >= gap.end;
            if !gap.is_empty() && !self.recovery.damaged.iter().any(explained) {
                self.recovery.missing.push(gap);
            }
            expected = expected.max(segment.end);
        }
    }
}

/// Copies a damaged region beside its segment. A copy that is there already means that the region is known.
pub(super) fn quarantine(
    storage: &Arc<dyn Storage>,
    segment: &str,
    bytes: Range<u64>,
    offsets: Range<u64>,
) -> io::Result<Damaged> {
    let name = format!("{}-{}{QUARANTINE_SUFFIX}", segment.trim_end_matches(".log"), bytes.start);
    let kept = storage.list()?;
    let known = kept.iter().any(|file| file.name == name);
    let quarantined = kept.iter().filter(|file| file.name.strip_suffix(QUARANTINE_SUFFIX).is_some()).count();
    let room = quarantined < QUARANTINE_FILES_MAX;
    let kept_as =
        if known || room && copy(storage, segment, &bytes, &name).is_ok() { Some(name) } else { None };
    Ok(Damaged { segment: segment.to_owned(), bytes, offsets, kept_as, known })
}

fn copy(storage: &Arc<dyn Storage>, from: &str, bytes: &Range<u64>, to: &str) -> io::Result<()> {
    let unfinished = format!("{to}.part");
    match storage.remove(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut writer = storage.create(&unfinished)?;
    let end = bytes.end.min(bytes.start + QUARANTINE_BYTES_MAX);
    let mut at = bytes.start;
    let mut chunk = vec![0; COPY_BYTES];
    while at < end {
        let wanted = chunk.len().min(usize::try_from(end - at).unwrap_or(usize::MAX));
        let filled = storage.read(from, at, &mut chunk[..wanted])?;
        if filled == 0 {
            break;
        }
        writer.append(&chunk[..filled])?;
        at += filled as u64;
    }
    writer.sync()?;
    storage.rename(&unfinished, to)?;
    storage.sync_folder()
}
