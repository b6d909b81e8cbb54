//! From a backup to a data folder. Everything is checked before anything is made, and the folder has its name only when
//! it is whole and on the disk.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use ops::clock::Clock;
use ring::digest::{Context, SHA256};

use super::folder::{refuse_full, sync_folders};
use super::{BackupError, CHUNK_BYTES, FORMAT, JOURNAL, MANIFEST, Manifest, ROWS, SUMS, at, rows};
use crate::config::{JOURNAL_DIR, STORE_DIR};
use crate::projection::queue;
use crate::store::{DiskStore, FORMAT_VERSION, Store};

/// Makes `data` of the backup in `from`.
pub fn restore(from: &Path, data: &Path) -> Result<Manifest, BackupError> {
    let manifest = check(from)?;
    refuse_full(data)?;
    let making = beside(data);
    refuse_full(&making)?;
    let journal = making.join(JOURNAL_DIR);
    for path in files_below(&from.join(JOURNAL))? {
        let to = journal.join(&path);
        let parent = to.parent().unwrap_or(&journal);
        at(parent, fs::create_dir_all(parent))?;
        let copied = fs::copy(from.join(JOURNAL).join(&path), &to).and_then(|_| File::open(&to)?.sync_all());
        at(&to, copied)?;
    }
    restore_rows(from, &making, &manifest)?;
    sync_folders(&making)?;
    at(data, fs::rename(&making, data))?;
    sync_folders(data)?;
    Ok(manifest)
}

fn restore_rows(from: &Path, making: &Path, manifest: &Manifest) -> Result<(), BackupError> {
    let store = making.join(STORE_DIR);
    at(&store, fs::create_dir_all(&store))?;
    let store = DiskStore::open(&store)?;
    let path = from.join(ROWS);
    let counts = rows::read(&mut BufReader::new(at(&path, File::open(&path))?), &store)?;
    if counts != manifest.rows {
        return Err(BackupError::Damaged(format!("{ROWS} has other rows than {MANIFEST} says")));
    }
    queue::put_back(&store, Clock::start().wall())?;
    store.persist()?;
    Ok(())
}

/// `data` with `.restoring` behind its name.
fn beside(data: &Path) -> PathBuf {
    let mut name = data.file_name().map_or_else(OsString::new, OsString::from);
    name.push(".restoring");
    data.with_file_name(name)
}

/// Whether every file is there as it was written, and no other.
fn check(from: &Path) -> Result<Manifest, BackupError> {
    let sums = match fs::read_to_string(from.join(SUMS)) {
        Ok(sums) => sums,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(BackupError::Unfinished { dir: from.to_owned() });
        }
        Err(error) => return Err(BackupError::Damaged(format!("{SUMS}: {error}"))),
    };
    if !sums.ends_with('\n') {
        return Err(BackupError::Damaged(format!("{SUMS} is cut short")));
    }
    let mut there = files_below(from)?;
    there.remove(Path::new(SUMS));
    for line in sums.lines() {
        let Some((sum, path)) = line.split_once("  ") else {
            return Err(BackupError::Damaged(format!("{SUMS} has a line that is none")));
        };
        if !there.remove(Path::new(path)) {
            return Err(BackupError::Damaged(format!("{path} is missing")));
        }
        if at(&from.join(path), sum_of(&from.join(path)))? != sum {
            return Err(BackupError::Damaged(format!("{path} is not what was written")));
        }
    }
    if let Some(path) = there.first() {
        return Err(BackupError::Damaged(format!("{} is not in {SUMS}", path.display())));
    }
    let manifest = manifest(from)?;
    if sums.lines().count() != manifest.files + 1 {
        return Err(BackupError::Damaged(format!("{SUMS} has not all {} files", manifest.files)));
    }
    Ok(manifest)
}

fn manifest(from: &Path) -> Result<Manifest, BackupError> {
    #[derive(serde::Deserialize)]
    struct Formats {
        format: u8,
        store_format: u8,
    }
    let broken = |error: &dyn std::fmt::Display| BackupError::Damaged(format!("{MANIFEST}: {error}"));
    let text = fs::read(from.join(MANIFEST)).map_err(|error| broken(&error))?;
    let Formats { format, store_format } = serde_json::from_slice(&text).map_err(|error| broken(&error))?;
    let (found, wanted) = ((format, store_format), (FORMAT, FORMAT_VERSION));
    if found != wanted {
        return Err(BackupError::Format { found, wanted });
    }
    serde_json::from_slice(&text).map_err(|error| broken(&error))
}

fn sum_of(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut sum = Context::new(&SHA256);
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        match file.read(&mut chunk)? {
            0 => return Ok(HEXLOWER.encode(sum.finish().as_ref())),
            bytes => sum.update(&chunk[..bytes]),
        }
    }
}

/// Paths of all files, below `dir`.
fn files_below(dir: &Path) -> Result<BTreeSet<PathBuf>, BackupError> {
    let mut files = BTreeSet::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        let here = dir.join(&folder);
        for entry in at(&here, fs::read_dir(&here))? {
            let entry = at(&here, entry)?;
            let path = folder.join(entry.file_name());
            if at(&here, entry.file_type())?.is_dir() {
                folders.push(path);
            } else {
                files.insert(path);
            }
        }
    }
    Ok(files)
}
