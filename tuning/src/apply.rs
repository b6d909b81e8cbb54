//! `tuning apply` and its `--undo`: shows what would change, keeps what was found, then changes it; and takes it all back.
//!
//! The record is on disk before anything is touched, so that an apply that is killed half-way can be undone. What cannot be
//! set is said and the rest goes on. Called by `main`; what is to change is worked out in `change`.

mod show;
mod undo;

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

pub use undo::{Extent, undo};

use crate::change::{self, Ask, Change, Changes};
use crate::host::Host;
use crate::profile::Profile;
use crate::record::{self, Record, Sysctl};
use crate::settings::Tuning;

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    pub root: &'a Path,
    pub profile: Profile,
    pub user: &'a str,
    /// Only these values; absent: all.
    pub only: Option<BTreeSet<String>>,
    pub dry_run: bool,
}

/// How it ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Ending {
    Done,
    /// Some of it could not be done; it was said what.
    InPart,
}

/// Applies a profile. An error is one line, and nothing was changed by then.
pub fn apply(request: &Request, settings: &Tuning) -> Result<Ending, String> {
    let root = request.root;
    let host = Host::new(root.to_owned());
    let mut record = record::read(root)?.unwrap_or_default();
    let applied = change::with(&record.applied, request.profile, request.user, request.only.clone());
    let ask = Ask { host: &host, root, settings, applied: &applied, record: &record };
    let changes = change::changes(&ask).map_err(|error| format!("cannot read the host: {error}"))?;
    print!("{}", show::changes(&changes));
    if changes.is_nothing() {
        println!("nothing is to be changed for {}", request.profile.name());
        return Ok(Ending::Done);
    }
    if request.dry_run {
        println!("nothing was changed (--dry-run)");
        return Ok(Ending::Done);
    }
    let _alone = may_change(root)?;
    record.applied = applied;
    remember(&mut record, root, &changes)?;
    let failures = carry_out(&mut record, root, &host, &changes);
    record.write(root).map_err(|error| format!("{}: {error}", record::PLACE))?;
    for failure in &failures {
        eprintln!("tuning: {failure}");
    }
    print!("{}", show::what_next(&changes));
    Ok(if failures.is_empty() { Ending::Done } else { Ending::InPart })
}

impl Changes {
    pub fn is_nothing(&self) -> bool {
        self.sysctls.is_empty() && self.files.is_empty()
    }
}

/// The record with everything that is about to change, on disk.
fn remember(record: &mut Record, root: &Path, changes: &Changes) -> Result<(), String> {
    let fault = |path: &str, error: &io::Error| format!("{}: {error}", root.join(path).display());
    for Change { name, found, set } in &changes.sysctls {
        let kept = record.sysctls.entry((*name).to_owned());
        kept.or_insert_with(|| Sysctl { found: found.clone(), set: String::new() }).set.clone_from(set);
    }
    for file in &changes.files {
        let found = record::keep(&root.join(&file.path)).map_err(|error| fault(&file.path, &error))?;
        let kept = record.files.entry(file.path.clone());
        kept.or_insert_with(|| record::File { found, wrote: String::new() }).wrote.clone_from(&file.wanted);
    }
    record.write(root).map_err(|error| fault(record::PLACE, &error))
}

/// Files first: what is in a file holds after the next boot, whatever the running kernel says. Gives what failed.
fn carry_out(record: &mut Record, root: &Path, host: &Host, changes: &Changes) -> Vec<String> {
    let mut failures = Vec::new();
    for file in &changes.files {
        let made = record::make_folders(root, &file.path);
        let written = made.and_then(|made| {
            record.folders.extend(made);
            record::write_beside(&root.join(&file.path), &file.wanted)
        });
        failures.extend(written.err().map(|error| format!("{}: {error}", root.join(&file.path).display())));
    }
    for Change { name, set, .. } in &changes.sysctls {
        let failure = set_sysctl(host, name, set).err();
        let now = host.sysctl_text(name).unwrap_or_default();
        if failure.is_none() && !is_same(&now, set) && !is_list(set) {
            failures.push(format!("{name}: {set} was written and the kernel made {now} of it"));
        }
        failures.extend(failure.map(|error| format!("{name}: {set} could not be set: {error}")));
        record.sysctls.get_mut(*name).expect("it was remembered").set = now;
    }
    failures
}

/// The kernel shows a list of ports in its own way: 9101,9102 as 9101-9102.
fn is_list(text: &str) -> bool {
    text.contains(',')
}

/// Writes a value into the running kernel. Only into a file that is there: a sysctl is never made.
fn set_sysctl(host: &Host, name: &str, value: &str) -> io::Result<()> {
    let mut file = fs::File::options().write(true).truncate(true).open(host.sysctl_path(name))?;
    // An empty value is a line, too: writing nothing would change nothing.
    file.write_all(format!("{value}\n").as_bytes())
}

/// Blanks between numbers do not count.
fn is_same(one: &str, other: &str) -> bool {
    one.split_whitespace().eq(other.split_whitespace())
}

/// Root where the real host is meant, and nobody else at it; holds while the answer lives.
fn may_change(root: &Path) -> Result<fs::File, String> {
    if root == Path::new("/") && !is_root() {
        return Err(
            "only root may change this host (sudo tuning apply …); --dry-run shows the changes to anybody"
                .to_owned(),
        );
    }
    let door = root.join("etc");
    let folder = fs::create_dir_all(&door).and_then(|()| fs::File::open(&door));
    let folder = folder.map_err(|error| format!("{}: {error}", door.display()))?;
    folder.try_lock().map_err(|_| "another tuning apply is at work on this host".to_owned())?;
    Ok(folder)
}

fn is_root() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let uids = status.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap_or_default();
    uids.split_whitespace().nth(1) == Some("0")
}
