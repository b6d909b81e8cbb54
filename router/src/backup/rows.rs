//! `store.rows`: the rows of a store, space by space, in a form that no engine owns.
//!
//! A line with the version; for each space a byte 1, the length of its name and the name, and for each of its rows a
//! byte 2, two lengths, key and value; at the end a byte 0. Numbers are little-endian.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};

use super::BackupError;
use super::folder::Fault;
use crate::store::disk::Frozen;
use crate::store::{Batch, DiskStore, Space, Store};

const MAGIC: &[u8] = b"tocsin rows 1\n";
const END: u8 = 0;
const SPACE: u8 = 1;
const ROW: u8 = 2;
/// Rows, and bytes of them, that are written to a store at once.
const BATCH_ROWS_MAX: usize = 4_096;
const BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Bytes of a key or a value; more is damage.
const PART_BYTES_MAX: u32 = 256 * 1024 * 1024;

/// How many rows each space has.
pub(super) fn write(frozen: &Frozen, out: &mut impl Write) -> Result<BTreeMap<String, u64>, Fault> {
    let mut counts = BTreeMap::new();
    out.write_all(MAGIC)?;
    for space in Space::ALL {
        let name = space.name();
        out.write_all(&[SPACE, name.len() as u8])?;
        out.write_all(name.as_bytes())?;
        let mut count = 0;
        for row in frozen.rows(space) {
            let (key, value) = row?;
            out.write_all(&[ROW])?;
            for part in [key.as_slice(), &value] {
                out.write_all(&(part.len() as u32).to_le_bytes())?;
            }
            out.write_all(&key)?;
            out.write_all(&value)?;
            count += 1;
        }
        counts.insert(name.to_owned(), count);
    }
    out.write_all(&[END])?;
    Ok(counts)
}

/// Into a new store. Not yet on the disk.
pub(super) fn read(from: &mut impl Read, store: &DiskStore) -> Result<BTreeMap<String, u64>, BackupError> {
    let broken = |error: io::Error| BackupError::Damaged(format!("its rows: {error}"));
    let mut counts = BTreeMap::new();
    let (mut batch, mut bytes) = (Batch::default(), 0);
    let mut space = None;
    let mut magic = [0; MAGIC.len()];
    from.read_exact(&mut magic).map_err(broken)?;
    if magic != MAGIC {
        return Err(BackupError::Damaged("its rows begin otherwise".to_owned()));
    }
    loop {
        let [kind] = array(from).map_err(broken)?;
        match (kind, space) {
            (END, _) => {
                store.commit(&batch)?;
                return Ok(counts);
            }
            (SPACE, _) => {
                let [length] = array(from).map_err(broken)?;
                let name = part(from, length.into()).map_err(broken)?;
                let known = Space::ALL.into_iter().find(|space| space.name().as_bytes() == name);
                let known =
                    known.ok_or_else(|| BackupError::Damaged("its rows have an unknown space".to_owned()))?;
                counts.insert(known.name().to_owned(), 0);
                space = Some(known);
            }
            (ROW, Some(space)) => {
                let lengths = [array(from), array(from)].map(|length| length.map(u32::from_le_bytes));
                let [key, value] = lengths;
                let (key, value) = (key.map_err(broken)?, value.map_err(broken)?);
                let (key, value) = (part(from, key).map_err(broken)?, part(from, value).map_err(broken)?);
                bytes += key.len() + value.len();
                batch.put(space, key, value);
                *counts.entry(space.name().to_owned()).or_default() += 1;
            }
            _ => return Err(BackupError::Damaged("its rows have an unknown mark".to_owned())),
        }
        if batch.writes.len() >= BATCH_ROWS_MAX || bytes >= BATCH_BYTES_MAX {
            store.commit(&std::mem::take(&mut batch))?;
            bytes = 0;
        }
    }
}

fn array<const N: usize>(from: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn part(from: &mut impl Read, length: u32) -> io::Result<Vec<u8>> {
    if length > PART_BYTES_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut bytes = vec![0; length as usize];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}
