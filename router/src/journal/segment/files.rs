//! A look at the files of logs, for a backup or a copy. Reads what is durable and nothing else; never writes.

use std::io;
use std::sync::Arc;

use super::format::segment_name;
use super::{LogReader, Segment, Shared};

/// The durable bytes of one file, and the offset behind the last record in them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    pub name: String,
    pub bytes: u64,
    pub end: u64,
}

#[derive(Debug, Clone)]
pub struct LogFiles {
    shared: Arc<Shared>,
}

impl LogFiles {
    pub(super) fn new(shared: Arc<Shared>) -> LogFiles {
        LogFiles { shared }
    }

    /// What is durable in all of these logs at one moment, log by log: no commit ends in any of them meanwhile.
    pub fn at_once(logs: &[LogFiles]) -> Vec<Vec<Piece>> {
        let locked: Vec<_> = logs.iter().map(|log| log.shared.segments()).collect();
        let piece = |segment: &Segment| Piece {
            name: segment_name(segment.first),
            bytes: segment.bytes,
            end: segment.end,
        };
        locked.iter().map(|segments| segments.iter().map(piece).collect()).collect()
    }

    /// Reads the log from `from` on.
    pub fn reader(&self, from: u64) -> LogReader {
        LogReader::new(Arc::clone(&self.shared), from)
    }

    /// As [`Storage::read`](crate::journal::storage::Storage::read).
    pub fn read(&self, name: &str, at: u64, into: &mut [u8]) -> io::Result<usize> {
        self.shared.storage.read(name, at, into)
    }
}
