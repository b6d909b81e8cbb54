//! The files under the embedded journal and the outage buffer, behind a seam that tests can break.
//!
//! Owns the few file operations that the segment log needs and what each of them promises about power loss. Never
//! knows what is in a file. Called by [`segment`](super::segment) and [`embedded`](super::embedded); the real
//! disk is here, the fault-injecting one in [`memory`].

use std::fmt::Debug;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub mod memory;

/// One file of a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    pub name: String,
    pub bytes: u64,
}

/// One flat folder of files. What is not followed by the matching sync may be gone, in part or whole, after a
/// power cut: bytes until [`Appender::sync`], names until [`Storage::sync_folder`].
pub trait Storage: Send + Sync + Debug {
    /// The folder below, made durable when it is new.
    fn folder(&self, name: &str) -> io::Result<Arc<dyn Storage>>;

    /// Its files, in no order; folders are left out.
    fn list(&self) -> io::Result<Vec<Listed>>;

    /// A new, empty file; `AlreadyExists` when there is one.
    fn create(&self, name: &str) -> io::Result<Box<dyn Appender>>;

    /// Fills as much of `into` as the file has from `at` on; returns the number of bytes, 0 at the end.
    fn read(&self, name: &str, at: u64, into: &mut [u8]) -> io::Result<usize>;

    /// Cuts the file to `bytes` and syncs it.
    fn truncate(&self, name: &str, bytes: u64) -> io::Result<()>;

    /// Makes a file's present bytes durable.
    fn sync(&self, name: &str) -> io::Result<()>;

    /// Replaces `to` if it exists, atomically.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes creations, renames and removals durable.
    fn sync_folder(&self) -> io::Result<()>;
}

/// The writing end of one file.
pub trait Appender: Send + Debug {
    /// All of `bytes` behind what is there. After an error any part of them may be in the file.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Makes everything appended durable. After an error nothing is known about what was not durable before,
    /// and a later success says nothing about it either: the kernel reports a lost write once.
    fn sync(&mut self) -> io::Result<()>;
}

/// A folder on the real disk.
#[derive(Debug)]
pub struct DiskStorage {
    dir: PathBuf,
}

impl DiskStorage {
    /// Makes the folder if need be, durably.
    pub fn open(dir: &Path) -> io::Result<DiskStorage> {
        if !dir.is_dir() {
            fs::create_dir_all(dir)?;
            if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
                File::open(parent)?.sync_all()?;
            }
        }
        Ok(DiskStorage { dir: dir.to_owned() })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}

impl Storage for DiskStorage {
    fn folder(&self, name: &str) -> io::Result<Arc<dyn Storage>> {
        Ok(Arc::new(DiskStorage::open(&self.path(name))?))
    }

    fn list(&self) -> io::Result<Vec<Listed>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            let about = entry.metadata()?;
            // A name that is no UTF-8 is none of ours.
            if let (true, Ok(name)) = (about.is_file(), entry.file_name().into_string()) {
                files.push(Listed { name, bytes: about.len() });
            }
        }
        Ok(files)
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn Appender>> {
        let file = OpenOptions::new().append(true).create_new(true).open(self.path(name))?;
        Ok(Box::new(DiskAppender { file }))
    }

    fn read(&self, name: &str, at: u64, into: &mut [u8]) -> io::Result<usize> {
        let mut file = File::open(self.path(name))?;
        file.seek(SeekFrom::Start(at))?;
        let mut filled = 0;
        while filled < into.len() {
            match file.read(&mut into[filled..]) {
                Ok(0) => break,
                Ok(bytes) => filled += bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn truncate(&self, name: &str, bytes: u64) -> io::Result<()> {
        let file = OpenOptions::new().write(true).open(self.path(name))?;
        file.set_len(bytes)?;
        file.sync_all()
    }

    fn sync(&self, name: &str) -> io::Result<()> {
        OpenOptions::new().append(true).open(self.path(name))?.sync_all()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path(from), self.path(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path(name))
    }

    fn sync_folder(&self) -> io::Result<()> {
        File::open(&self.dir)?.sync_all()
    }
}

#[derive(Debug)]
struct DiskAppender {
    file: File,
}

impl Appender for DiskAppender {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }
}
