//! What was found before anything was changed: the file that `tuning apply --undo` lives on, and the one way in which this
//! program writes files: whole or not at all.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::profile::Profile;

const SCHEMA: &str = "tocsin.tuning.record/1";
/// Below the root.
pub const PLACE: &str = "var/lib/tocsin/tuning.json";
const MODE: u32 = 0o644;

/// Everything that was applied on this host and is not undone yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    pub schema: String,
    pub applied: Vec<Applied>,
    pub sysctls: BTreeMap<String, Sysctl>,
    /// By the path below the root.
    pub files: BTreeMap<String, File>,
    /// Folders that were made, outermost first.
    pub folders: Vec<String>,
}

/// One profile, or some of its values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Applied {
    pub profile: Profile,
    pub user: String,
    /// Absent: all.
    pub only: Option<BTreeSet<String>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sysctl {
    pub found: String,
    /// As the kernel showed it after it was set.
    pub set: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// Absent: there was none.
    pub found: Option<Kept>,
    pub wrote: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    pub text: String,
    pub mode: u32,
}

impl Default for Record {
    fn default() -> Record {
        Record {
            schema: SCHEMA.to_owned(),
            applied: Vec::new(),
            sysctls: BTreeMap::new(),
            files: BTreeMap::new(),
            folders: Vec::new(),
        }
    }
}

/// The record of the host below `root`; none when nothing was applied. An error is one line.
pub fn read(root: &Path) -> Result<Option<Record>, String> {
    let path = root.join(PLACE);
    let text = match fs::read_to_string(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        text => text.map_err(|error| format!("{}: {error}", path.display()))?,
    };
    let record: Record = serde_json::from_str(&text)
        .map_err(|error| format!("{}: not a record of this program: {error}", path.display()))?;
    if record.schema != SCHEMA {
        return Err(format!("{}: its schema is {:?}, not {SCHEMA:?}", path.display(), record.schema));
    }
    Ok(Some(record))
}

impl Record {
    /// Keeps it, making its folder if need be.
    pub fn write(&mut self, root: &Path) -> io::Result<()> {
        let folders = make_folders(root, PLACE)?;
        self.folders.extend(folders);
        let text = serde_json::to_string_pretty(self).expect("a record serializes: its keys are strings");
        write(&root.join(PLACE), &text, MODE)
    }

    pub fn is_spent(&self) -> bool {
        self.sysctls.is_empty() && self.files.is_empty()
    }
}

/// What a file holds now, with its mode; none when there is none.
pub fn keep(path: &Path) -> io::Result<Option<Kept>> {
    match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        text => Ok(Some(Kept { text: text?, mode: fs::metadata(path)?.permissions().mode() & 0o7777 })),
    }
}

/// Makes the folders of a path below the root; those that were made, outermost first.
pub fn make_folders(root: &Path, path: &str) -> io::Result<Vec<String>> {
    let mut made = Vec::new();
    let folder = Path::new(path).parent().unwrap_or(Path::new(""));
    let mut so_far = PathBuf::new();
    for part in folder {
        so_far.push(part);
        match fs::create_dir(root.join(&so_far)) {
            Ok(()) => made.push(so_far.display().to_string()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Ok(made)
}

/// Writes a file whole or not at all: beside its place first, then put there, both forced to disk.
pub fn write(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let folder = path.parent().expect("a file lies in a folder");
    let mut beside = tempfile::NamedTempFile::new_in(folder)?;
    beside.write_all(text.as_bytes())?;
    beside.as_file().set_permissions(fs::Permissions::from_mode(mode))?;
    beside.as_file().sync_all()?;
    beside.persist(path).map_err(|error| error.error)?;
    fs::File::open(folder)?.sync_all()
}

/// The same with the usual mode, unless the file has one already.
pub fn write_beside(path: &Path, text: &str) -> io::Result<()> {
    let mode = keep(path)?.map_or(MODE, |kept| kept.mode);
    write(path, text, mode)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_comes_back_as_it_was() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(read(root.path()), Ok(None));
        let mut record = Record::default();
        let found = Some(Kept { text: "old\n".to_owned(), mode: 0o600 });
        record.files.insert("etc/x".to_owned(), File { found, wrote: "new\n".to_owned() });
        record.write(root.path()).unwrap();
        assert_eq!(record.folders, ["var", "var/lib", "var/lib/tocsin"]);
        assert_eq!(read(root.path()), Ok(Some(record)));
    }

    #[test]
    fn a_file_that_is_no_record_is_refused_in_one_line() {
        let root = tempfile::tempdir().unwrap();
        make_folders(root.path(), PLACE).unwrap();
        for text in ["", "{}", "{\"schema\":\"x\"", "\u{0}"] {
            fs::write(root.path().join(PLACE), text).unwrap();
            let error = read(root.path()).unwrap_err();
            assert!(error.contains("tuning.json") && error.lines().count() == 1, "{error}");
        }
        let other = Record { schema: "tocsin.tuning.record/2".to_owned(), ..Record::default() };
        fs::write(root.path().join(PLACE), serde_json::to_string(&other).unwrap()).unwrap();
        assert!(read(root.path()).unwrap_err().contains("record/2"));
    }

    #[test]
    fn a_file_is_replaced_whole_and_keeps_its_mode() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("file");
        write_beside(&path, "one").unwrap();
        assert_eq!(keep(&path).unwrap(), Some(Kept { text: "one".to_owned(), mode: MODE }));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        write_beside(&path, "two").unwrap();
        assert_eq!(keep(&path).unwrap(), Some(Kept { text: "two".to_owned(), mode: 0o600 }));
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1, "nothing is left beside it");
    }
}
