//! The journal held for a backup: while a [`Hold`] lives nothing is trimmed, appends go on.
//!
//! Owns which files a backup needs: those behind the commits that were noted when it began. Never writes.

use std::io;
use std::sync::Arc;

use wire::message::Priority;

use super::LANES;
use super::commit::{Committed, NAME};
use super::queue::Shared;
use crate::journal::segment::{LogFiles, Piece};

/// Made by [`Journal::hold`](crate::journal::Journal::hold).
#[derive(Debug)]
pub struct Hold {
    shared: Arc<Shared>,
    logs: Arc<[LogFiles]>,
    committed: Committed,
}

/// A file of the journal's folder, as far as it counts.
#[derive(Debug)]
pub struct Part {
    lane: usize,
    piece: Piece,
}

impl Part {
    /// Below the journal's folder.
    pub fn path(&self) -> String {
        format!("{}/{}", Priority::ALL[self.lane].name(), self.piece.name)
    }

    pub fn bytes(&self) -> u64 {
        self.piece.bytes
    }
}

impl Hold {
    pub(super) fn new(shared: Arc<Shared>, logs: Arc<[LogFiles]>) -> Hold {
        shared.hold();
        let committed = shared.committed();
        Hold { shared, logs, committed }
    }

    /// What is durable now, in all lanes at one moment, but for what was committed before the hold.
    pub fn parts(&self) -> Vec<Part> {
        let lanes = LogFiles::at_once(&self.logs).into_iter().enumerate();
        let parts = lanes.flat_map(|(lane, pieces)| {
            pieces
                .into_iter()
                .filter(move |piece| piece.end > self.committed.0[lane])
                .map(move |piece| Part { lane, piece })
        });
        parts.collect()
    }

    /// Fills as much of `into` as the file has from `at` on; also what does not count.
    pub fn read(&self, part: &Part, at: u64, into: &mut [u8]) -> io::Result<usize> {
        self.logs[part.lane].read(&part.piece.name, at, into)
    }

    /// The commit file: its path below the journal's folder, and its text.
    pub fn commits(&self) -> (&'static str, String) {
        (NAME, self.committed.text())
    }

    /// By lane: records behind the commits.
    pub fn waiting(&self, parts: &[Part]) -> [u64; LANES] {
        std::array::from_fn(|lane| {
            let ends = parts.iter().filter(|part| part.lane == lane).map(|part| part.piece.end);
            ends.max().map_or(0, |end| end - self.committed.0[lane])
        })
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.shared.release();
    }
}
