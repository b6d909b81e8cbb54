//! A backup's folder while it is written: every file is summed up and forced to the disk; the sums come last, under
//! their name only when they are whole.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use ring::digest::{Context, SHA256};

use super::{BackupError, SUMS, at};
use crate::store::StoreError;

/// What can go wrong while one file is filled.
#[derive(Debug)]
pub(super) enum Fault {
    Io(io::Error),
    Store(StoreError),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Fault {
        Fault::Io(error)
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Fault {
        Fault::Store(error)
    }
}

/// A file that is summed up as it is written.
pub(super) struct Summed {
    file: BufWriter<File>,
    sum: Context,
}

impl Write for Summed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.sum.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

pub(super) struct Folder {
    dir: PathBuf,
    /// Lines as `sha256sum` writes them.
    sums: String,
    files: usize,
    finished: bool,
}

impl Drop for Folder {
    /// A disk that is full need not stay so.
    fn drop(&mut self) {
        if !self.finished {
            let _what_is_left_is_no_backup = fs::remove_dir_all(&self.dir);
        }
    }
}

impl Folder {
    /// A folder that is not there yet, or is empty.
    pub(super) fn make(dir: &Path) -> Result<Folder, BackupError> {
        refuse_full(dir)?;
        at(dir, fs::create_dir_all(dir))?;
        Ok(Folder { dir: dir.to_owned(), sums: String::new(), files: 0, finished: false })
    }

    /// `path` is below the folder, with `/`.
    pub(super) fn file<T>(
        &mut self,
        path: &str,
        fill: impl FnOnce(&mut Summed) -> Result<T, Fault>,
    ) -> Result<T, BackupError> {
        let to = self.dir.join(path);
        if let Some(parent) = to.parent() {
            at(parent, fs::create_dir_all(parent))?;
        }
        let file = at(&to, File::create_new(&to))?;
        let mut out = Summed { file: BufWriter::new(file), sum: Context::new(&SHA256) };
        let filled = match fill(&mut out) {
            Ok(filled) => filled,
            Err(Fault::Store(error)) => return Err(error.into()),
            Err(Fault::Io(source)) => return Err(BackupError::Io { path: to, source }),
        };
        at(&to, out.file.flush())?;
        at(&to, out.file.get_ref().sync_all())?;
        let sum = HEXLOWER.encode(out.sum.finish().as_ref());
        self.sums.extend([sum.as_str(), "  ", path, "\n"]);
        self.files += 1;
        Ok(filled)
    }

    pub(super) fn files(&self) -> usize {
        self.files
    }

    /// From here on it is a backup.
    pub(super) fn finish(mut self) -> Result<(), BackupError> {
        sync_folders(&self.dir)?;
        let (new, sums) = (self.dir.join(format!("{SUMS}.new")), self.dir.join(SUMS));
        let write = || {
            let mut file = File::create_new(&new)?;
            file.write_all(self.sums.as_bytes())?;
            file.sync_all()?;
            fs::rename(&new, &sums)?;
            File::open(&self.dir)?.sync_all()
        };
        at(&sums, write())?;
        self.finished = true;
        Ok(())
    }
}

/// Nothing is ever written over.
pub(super) fn refuse_full(dir: &Path) -> Result<(), BackupError> {
    match fs::read_dir(dir).map(|mut entries| entries.next().is_none()) {
        Ok(true) => Ok(()),
        Ok(false) => Err(BackupError::NotEmpty { dir: dir.to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(BackupError::Io { path: dir.to_owned(), source }),
    }
}

/// Makes the names in a folder, in all below it, and its own durable.
pub(super) fn sync_folders(dir: &Path) -> Result<(), BackupError> {
    for entry in at(dir, fs::read_dir(dir))? {
        let entry = at(dir, entry)?;
        if at(&entry.path(), entry.file_type())?.is_dir() {
            sync_folders(&entry.path())?;
        }
    }
    let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    for folder in [dir, parent] {
        at(folder, File::open(folder).and_then(|folder| folder.sync_all()))?;
    }
    Ok(())
}
