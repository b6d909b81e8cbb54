//! What `tuning apply` would change: the running kernel's values and the files, worked out from what the host has, what was
//! found before the first apply, and what all applied profiles want. Changes nothing itself.
//!
//! Files are worked out from what was there before the first apply, so that a second one writes the same. Values only
//! get better: number by number, of the found one and the wanted one the better.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use crate::host::{self, Host};
use crate::profile::Profile;
use crate::record::{self, Applied, Record};
use crate::settings::Tuning;
use crate::table::{self, Facts, Place, Row};
use crate::texts::{self, Limits, Line};
use crate::wish::Wish;

/// Unit files and limits looked at.
const TEXTS_MAX: usize = 1_024;

/// Everything that would change.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes {
    pub sysctls: Vec<Change>,
    pub files: Vec<FileChange>,
    /// What no file here sets: its name and what to do.
    pub by_hand: Vec<(&'static str, String)>,
    /// Settings that fit as they are.
    pub fit: usize,
}

#[derive(Debug, PartialEq, Eq)]
pub struct Change {
    pub name: &'static str,
    pub found: String,
    pub set: String,
}

#[derive(Debug, PartialEq, Eq)]
pub struct FileChange {
    /// Below the root.
    pub path: String,
    pub found: Option<String>,
    pub wanted: String,
}

/// What is worked with.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    pub host: &'a Host,
    pub root: &'a Path,
    pub settings: &'a Tuning,
    /// All that is to hold: what was applied before, and what is applied now.
    pub applied: &'a [Applied],
    pub record: &'a Record,
}

pub fn changes(ask: &Ask) -> io::Result<Changes> {
    let facts = ask.host.facts();
    let mut changes = Changes::default();
    let mut lines = Vec::new();
    for row in table::rows().filter(|row| ask.applied.iter().any(|applied| applied.covers(row))) {
        let wishes = ask.wishes(row, &facts);
        match row.place {
            Place::Sysctl => ask.sysctl(row, &wishes, &mut changes, &mut lines),
            Place::Limit(_) => {}
            _ => {
                let found = ask.host.look(row);
                let unmet = wishes.iter().find(|wish| wish.judge(&found).is_bad());
                changes.by_hand.extend(unmet.and_then(|wish| Some((row.name, row.by_hand(wish)?))));
            }
        }
    }
    let mut wanted = vec![(texts::SYSCTLS.to_owned(), texts::sysctls(&lines))];
    wanted.extend(ask.limit_files(&facts)?);
    for (path, text) in wanted {
        let found = record::keep(&ask.root.join(&path))?.map(|kept| kept.text);
        let Some(text) = text else { continue };
        if found.as_deref() != Some(text.as_str()) {
            changes.files.push(FileChange { path, found, wanted: text });
        }
    }
    Ok(changes)
}

impl Applied {
    fn covers(&self, row: &Row) -> bool {
        row.is_wished(self.profile) && self.only.as_ref().is_none_or(|only| only.contains(row.name))
    }
}

impl Ask<'_> {
    fn wishes(&self, row: &Row, facts: &Facts) -> Vec<Wish> {
        let covering = self.applied.iter().filter(|applied| applied.covers(row));
        covering.filter_map(|applied| self.settings.wish(row, applied.profile, facts)).collect()
    }

    fn sysctl(&self, row: &'static Row, wishes: &[Wish], changes: &mut Changes, lines: &mut Vec<Line>) {
        // What is not there, or is the host's and not this namespace's, is not ours to set.
        let Some(running) = self.host.sysctl_text(row.name) else { return };
        let before = self.record.sysctls.get(row.name).map_or(&running, |kept| &kept.found);
        let in_file = improved(before, wishes);
        let in_kernel = improved(&running, wishes);
        if in_file.is_none() && in_kernel.is_none() {
            changes.fit += 1;
        }
        lines.extend(in_file.map(|value| Line { name: row.name, value, why: row.why }));
        changes.sysctls.extend(in_kernel.map(|set| Change { name: row.name, found: running, set }));
    }

    /// One text for the user's shells, one for each service.
    fn limit_files(&self, facts: &Facts) -> io::Result<Vec<(String, Option<String>)>> {
        let mut files = Vec::new();
        let users: BTreeSet<&str> = self.applied.iter().map(|applied| applied.user.as_str()).collect();
        let mut shells = String::new();
        for user in users {
            let limits = self.limits(facts, |applied| applied.user == user);
            let mut others = self.others("etc/security/limits.d", texts::LIMITS)?;
            others.extend(record::keep(&self.root.join("etc/security/limits.conf"))?.map(|kept| kept.text));
            let limits = above(limits, texts::nofile_of_user(&others, user));
            shells.push_str(&texts::limits(user, limits).unwrap_or_default());
        }
        files.push((texts::LIMITS.to_owned(), Some(shells).filter(|text| !text.is_empty())));
        let units: BTreeSet<&str> =
            self.applied.iter().filter_map(|applied| applied.profile.unit()).collect();
        for unit in units {
            let limits = self.limits(facts, |applied| applied.profile.unit() == Some(unit));
            let own = texts::drop_in(unit);
            let folder = Path::new(&own).parent().unwrap_or(Path::new("")).display().to_string();
            let mut others = self.others(&folder, &own)?;
            let unit_file = self.root.join("etc/systemd/system").join(unit);
            others.extend(record::keep(&unit_file)?.map(|kept| kept.text));
            let limits = above(limits, texts::nofile_of_unit(&others));
            files.push((own, texts::unit_limits(limits)));
        }
        Ok(files)
    }

    fn limits(&self, facts: &Facts, counts: impl Fn(&Applied) -> bool) -> Limits {
        let mut limits = Limits::default();
        for applied in self.applied.iter().filter(|applied| counts(applied)) {
            for row in table::rows().filter(|row| applied.covers(row)) {
                let wish = self.settings.wish(row, applied.profile, facts);
                match (row.place, wish) {
                    (Place::Limit(table::OPEN_FILES), Some(Wish::AtLeast(least))) => {
                        limits.nofile = limits.nofile.max(least.first().copied());
                    }
                    (Place::Limit(table::LOCKED_MEMORY), Some(_)) => limits.memlock = true,
                    _ => {}
                }
            }
        }
        limits
    }

    /// The texts in a folder, but for our own.
    fn others(&self, folder: &str, own: &str) -> io::Result<Vec<String>> {
        let entries = match std::fs::read_dir(self.root.join(folder)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut texts = Vec::new();
        for entry in entries.take(TEXTS_MAX) {
            let path = entry?.path();
            if path != self.root.join(own) && path.extension().is_some_and(|extension| extension == "conf") {
                texts.extend(record::keep(&path)?.map(|kept| kept.text));
            }
        }
        Ok(texts)
    }
}

/// A bound that somebody else set higher stays.
fn above(limits: Limits, others: Option<u64>) -> Limits {
    Limits { nofile: limits.nofile.filter(|nofile| others.is_none_or(|others| others < *nofile)), ..limits }
}

/// A value made better by one wish after the other; none when nothing is to be written.
fn improved(text: &str, wishes: &[Wish]) -> Option<String> {
    let mut better = None;
    for wish in wishes {
        let so_far = better.as_deref().unwrap_or(text);
        better = wish.improved(&host::found_in(so_far)).or(better);
    }
    better
}

/// What holds once `profile` is applied, too: a profile applied in part and then whole is applied whole.
pub fn with(
    applied: &[Applied],
    profile: Profile,
    user: &str,
    only: Option<BTreeSet<String>>,
) -> Vec<Applied> {
    let mut applied = applied.to_vec();
    match applied.iter_mut().find(|before| before.profile == profile && before.user == user) {
        Some(before) => {
            before.only = before.only.take().zip(only).map(|(mut before, now)| {
                before.extend(now);
                before
            });
        }
        None => applied.push(Applied { profile, user: user.to_owned(), only }),
    }
    applied
}
