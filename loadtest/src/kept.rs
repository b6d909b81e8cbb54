//! Reports on disk: read back, written, checked before a run that would end with nothing to show. A porch. Called by `main`.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::limits::REPORT_BYTES_MAX;
use crate::report::html::html;
use crate::report::{Report, SCHEMA};

/// What `--json` takes for standard output.
const STDOUT: &str = "-";

/// Where a report goes, opened before the run: an hour's report must not fail for want of a folder.
#[derive(Debug)]
pub struct Outputs {
    json: Option<File>,
    html: Option<File>,
    /// The JSON instead of the page.
    json_to_stdout: bool,
}

impl Outputs {
    pub fn open(json: Option<&Path>, html: Option<&Path>) -> Result<Outputs, String> {
        let json_to_stdout = json == Some(Path::new(STDOUT));
        let create = |flag: &str, path: Option<&Path>| {
            let file = path.map(File::create).transpose();
            file.map_err(|error| format!("{flag}: cannot write the report: {error}"))
        };
        Ok(Outputs {
            json: create("--json", json.filter(|_| !json_to_stdout))?,
            html: create("--report", html)?,
            json_to_stdout,
        })
    }

    pub fn write(self, report: &Report) -> io::Result<()> {
        if let Some(mut file) = self.json {
            writeln!(file, "{}", report.to_json())?;
        }
        if let Some(mut file) = self.html {
            file.write_all(html(report).as_bytes())?;
        }
        if self.json_to_stdout {
            return writeln!(io::stdout(), "{}", report.to_json());
        }
        write!(io::stdout(), "{}", report.page())
    }
}

/// A kept report, or a line that says what is wrong with the file.
pub fn read(path: &Path) -> Result<Report, String> {
    let failed = |why: &dyn std::fmt::Display| format!("{}: {why}", path.display());
    let size = fs::metadata(path).map_err(|error| failed(&error))?.len();
    if size > REPORT_BYTES_MAX {
        return Err(failed(&format!("{size} bytes are too many for a report")));
    }
    let text = fs::read_to_string(path).map_err(|error| failed(&error))?;
    let report: Report =
        serde_json::from_str(&text).map_err(|error| failed(&format!("not a report of ours: {error}")))?;
    if report.head.schema != SCHEMA {
        return Err(failed(&format!("its schema is {:?}, not {SCHEMA:?}", report.head.schema)));
    }
    Ok(report)
}

/// All of them, by their file names.
pub fn read_all(paths: &[PathBuf]) -> Result<Vec<(String, Report)>, String> {
    paths.iter().map(|path| Ok((path.display().to_string(), read(path)?))).collect()
}
