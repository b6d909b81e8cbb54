//! Takes back what was applied: values and files as the record says they were found.
//!
//! What somebody changed since then is left alone and said, unless it is forced: it is no longer ours.

use std::fs;
use std::io;
use std::path::Path;

use super::{Ending, is_same, may_change, set_sysctl, show};
use crate::host::Host;
use crate::record::{self, File, PLACE, Record, Sysctl};

/// How far it goes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Extent {
    pub dry_run: bool,
    /// Also what was changed since.
    pub force: bool,
}

/// What became of one value or file.
enum Fate {
    Restored,
    /// Changed since, or it could not be written: it stays in the record.
    Left(String),
}

/// Undoes everything. An error is one line, and nothing was changed by then.
pub fn undo(root: &Path, extent: Extent) -> Result<Ending, String> {
    let Some(record) = record::read(root)? else {
        return Err(format!(
            "there is nothing to undo: no record at {}, so nothing was applied here, or it was undone",
            root.join(PLACE).display()
        ));
    };
    let host = Host::new(root.to_owned());
    print!("{}", shown(&record, root, &host));
    if extent.dry_run {
        println!("nothing was changed (--dry-run)");
        return Ok(Ending::Done);
    }
    let _alone = may_change(root)?;
    let left = take_back(record, root, &host, extent.force);
    let spent = left.is_spent();
    forget(left, root).map_err(|error| format!("{}: {error}", root.join(PLACE).display()))?;
    if spent {
        println!("everything is as it was found");
        return Ok(Ending::Done);
    }
    println!("the rest is as it was found; --undo --force restores also what was changed since");
    Ok(Ending::InPart)
}

fn shown(record: &Record, root: &Path, host: &Host) -> String {
    let mut page = String::new();
    for (name, Sysctl { found, .. }) in &record.sysctls {
        let now = host.sysctl_text(name).unwrap_or_default();
        if !is_same(&now, found) {
            show::line(&mut page, name, &now, found);
        }
    }
    for (path, File { found, .. }) in &record.files {
        let now = record::keep(&root.join(path)).ok().flatten();
        let texts =
            (now.as_ref().map(|kept| kept.text.as_str()), found.as_ref().map(|kept| kept.text.as_str()));
        page.push_str(&show::diff(path, texts.0, texts.1));
    }
    page
}

/// Restores; what is left of the record afterwards was not.
fn take_back(mut record: Record, root: &Path, host: &Host, force: bool) -> Record {
    let keep = |name: &str, fate| match fate {
        Fate::Restored => false,
        Fate::Left(why) => {
            eprintln!("tuning: {name}: {why}");
            true
        }
    };
    record.sysctls.retain(|name, kept| keep(name, restore_value(name, kept, host, force)));
    record.files.retain(|path, kept| keep(path, restore_file(path, kept, root, force)));
    record
}

fn restore_value(name: &str, Sysctl { found, set }: &Sysctl, host: &Host, force: bool) -> Fate {
    match host.sysctl_text(name) {
        Some(now) if is_same(&now, found) => Fate::Restored,
        Some(now) if !is_same(&now, set) && !force => {
            Fate::Left(format!("left at {now}: it was set to {set} and changed since"))
        }
        Some(_) => set_sysctl(host, name, found).map_or_else(
            |error| Fate::Left(format!("{found} could not be set: {error}")),
            |()| Fate::Restored,
        ),
        None => Fate::Left("this kernel has no such value any more".to_owned()),
    }
}

fn restore_file(path: &str, kept: &File, root: &Path, force: bool) -> Fate {
    let place = root.join(path);
    let now = match record::keep(&place) {
        Ok(now) => now,
        Err(error) => return Fate::Left(error.to_string()),
    };
    if now == kept.found {
        return Fate::Restored;
    }
    if now.as_ref().is_none_or(|now| now.text != kept.wrote) && !force {
        return Fate::Left("left: it was changed since it was written".to_owned());
    }
    let restored = match &kept.found {
        None => fs::remove_file(&place),
        Some(found) => record::write(&place, &found.text, found.mode),
    };
    restored.map_or_else(|error| Fate::Left(error.to_string()), |()| Fate::Restored)
}

/// Keeps what is left; a spent record goes, with the folders that were made for it and the files.
fn forget(mut record: Record, root: &Path) -> io::Result<()> {
    if !record.is_spent() {
        return record.write(root);
    }
    fs::remove_file(root.join(PLACE))?;
    for folder in record.folders.iter().rev() {
        match fs::remove_dir(root.join(folder)) {
            // Somebody else keeps something there now.
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            removed => removed?,
        }
    }
    Ok(())
}
