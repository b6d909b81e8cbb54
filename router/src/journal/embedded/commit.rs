//! The commit file: up to where each lane is final.
//!
//! Owns its format (text, so that a person can read it: a version line, one line a lane, a checksum) and its atomic
//! replacement. Never trims anything. Called by the writer thread and at open.

use std::fmt::Write;
use std::io;

use wire::message::Priority;

use super::LANES;
use crate::journal::storage::Storage;

pub(super) const NAME: &str = "commit";
const NEW_NAME: &str = "commit.new";
const VERSION_LINE: &str = "tocsin commits 1";
/// Bytes of the file at most.
const BYTES_MAX: usize = 512;

/// For each lane the first offset that is still needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Committed(pub(super) [u64; LANES]);

impl Committed {
    /// With `true` when there is a file that cannot be read. Makes durable what a killed process may have left in
    /// the cache only, for segments are trimmed by it.
    pub(super) fn load(storage: &dyn Storage) -> io::Result<(Committed, bool)> {
        storage.sync_folder()?;
        let mut bytes = [0; BYTES_MAX];
        let filled = match storage.read(NAME, 0, &mut bytes) {
            Ok(filled) => filled,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok((Committed::default(), false));
            }
            Err(error) => return Err(error),
        };
        Ok(Committed::parse(&bytes[..filled]).map_or((Committed::default(), true), |found| (found, false)))
    }

    /// Durable when it returns.
    pub(super) fn store(&self, storage: &dyn Storage) -> io::Result<()> {
        match storage.remove(NEW_NAME) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = storage.create(NEW_NAME)?;
        file.append(self.text().as_bytes())?;
        file.sync()?;
        storage.rename(NEW_NAME, NAME)?;
        storage.sync_folder()
    }

    pub(super) fn text(&self) -> String {
        let mut text = format!("{VERSION_LINE}\n");
        for (priority, offset) in Priority::ALL.into_iter().zip(self.0) {
            writeln!(text, "{} {offset}", priority.name()).expect("a string takes everything");
        }
        let sum = crc32c::crc32c(text.as_bytes());
        writeln!(text, "sum {sum:08x}").expect("a string takes everything");
        text
    }

    fn parse(bytes: &[u8]) -> Option<Committed> {
        let text = std::str::from_utf8(bytes).ok()?;
        let mut lines = text.lines();
        let mut committed = Committed::default();
        (lines.next()? == VERSION_LINE).then_some(())?;
        for (priority, offset) in Priority::ALL.into_iter().zip(&mut committed.0) {
            *offset = lines.next()?.strip_prefix(priority.name())?.strip_prefix(' ')?.parse().ok()?;
        }
        // Written anew, it must be the same text, so every byte is covered by the sum.
        (committed.text() == text).then_some(committed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::storage::memory::MemoryStorage;

    #[test]
    fn what_was_stored_is_loaded() {
        let disk = MemoryStorage::new();
        assert_eq!(Committed::load(&disk).expect("readable"), (Committed::default(), false));
        for round in 0..3 {
            let committed = Committed([round, u64::MAX, 7, 0]);
            committed.store(&disk).expect("writable");
            assert_eq!(Committed::load(&disk).expect("readable"), (committed, false));
        }
    }

    #[test]
    fn a_flipped_bit_never_shows_as_another_offset() {
        let text = Committed([123, 4_567, 89, 0]).text().into_bytes();
        assert!(text.len() < BYTES_MAX);
        for bit in 0..text.len() * 8 {
            let mut hurt = text.clone();
            hurt[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Committed::parse(&hurt), None, "bit {bit}");
        }
        for length in 0..text.len() {
            assert_eq!(Committed::parse(&text[..length]), None, "{length} bytes");
        }
    }
}
