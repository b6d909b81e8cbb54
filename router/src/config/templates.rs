//! `[templates]`: the folder with the operator's own words, read and checked as a whole at a start and at a reload.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;

use super::ConfigError;
use crate::limits::{TEMPLATE_BYTES_MAX, TEMPLATE_FILES_MAX};
use crate::templates::{Part, Templates};

/// `[templates]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TemplatesSection {
    /// With files like `alert.email.html`; absent: everything goes out in the words that services hand in.
    dir: Option<String>,
}

impl TemplatesSection {
    pub(super) fn checked(&self) -> Result<Option<Arc<Templates>>, ConfigError> {
        let Some(dir) = self.dir.as_ref().map(PathBuf::from) else { return Ok(None) };
        let templates = Templates::new(files(&dir)?);
        let templates =
            templates.map_err(|(file, why)| ConfigError::Template { file: dir.join(file), why })?;
        Ok(Some(Arc::new(templates)))
    }
}

/// Names and texts, in the order of names. What begins with a dot is an editor's or a mount's own.
fn files(dir: &Path) -> Result<Vec<(String, String)>, ConfigError> {
    let wrong = |file: &Path, why: String| ConfigError::Template { file: file.to_owned(), why };
    let unreadable = |error: std::io::Error| wrong(dir, error.to_string());
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        if name.starts_with('.') {
            continue;
        }
        if Part::of(&name).is_none() {
            let ends = Part::ALL.map(Part::name).join(", ");
            return Err(wrong(&path, format!("a template is named CATEGORY.PART, PART one of {ends}")));
        }
        if files.len() == TEMPLATE_FILES_MAX {
            return Err(wrong(dir, format!("at most {TEMPLATE_FILES_MAX} templates")));
        }
        let about = fs::metadata(&path).map_err(|error| wrong(&path, error.to_string()))?;
        if !about.is_file() {
            return Err(wrong(&path, "it is not a file".to_owned()));
        }
        if about.len() > TEMPLATE_BYTES_MAX {
            return Err(wrong(&path, format!("a template has at most {TEMPLATE_BYTES_MAX} bytes")));
        }
        let text = fs::read_to_string(&path).map_err(|error| wrong(&path, error.to_string()))?;
        files.push((name, text));
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(dir: &Path) -> Result<Option<Arc<Templates>>, String> {
        let section = TemplatesSection { dir: dir.to_str().map(str::to_owned) };
        section.checked().map_err(|error| error.to_string())
    }

    #[test]
    fn a_folder_is_read_as_a_whole_or_refused_with_the_file_at_fault() {
        assert!(TemplatesSection::default().checked().expect("nothing").is_none());
        let dir = tempfile::tempdir().expect("a folder");
        assert!(read(&dir.path().join("nowhere")).expect_err("no folder").contains("nowhere"));
        let write = |name: &str, text: &[u8]| fs::write(dir.path().join(name), text).expect("a file");
        write("alert.sms.txt", b"{{ title }}");
        write(".gitkeep", b"");
        assert!(read(dir.path()).expect("a template").is_some());
        let large = vec![b'x'; 64 * 1024 + 1];
        for (name, text, says) in [
            ("alert.fax.txt", b"x".as_slice(), "PART one of email.subject"),
            ("alert.push.txt", b"{{ title".as_slice(), "alert.push.txt: syntax error"),
            ("alert.push.title", b"\xff".as_slice(), "UTF-8"),
            ("alert.voice.txt", large.as_slice(), "at most 65536 bytes"),
        ] {
            write(name, text);
            let error = read(dir.path()).expect_err(name);
            assert!(error.contains(name) && error.contains(says) && !error.contains('\n'), "{error}");
            fs::remove_file(dir.path().join(name)).expect("a file");
        }
        fs::create_dir(dir.path().join("alert.email.txt")).expect("a folder");
        assert!(read(dir.path()).is_err(), "a folder is no template");
    }
}
