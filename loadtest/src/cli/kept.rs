//! The flags of what is done with kept reports. Part of `cli`.

use std::path::PathBuf;

use clap::Args;

use crate::config::{DrawConfig, MergeConfig};
use crate::expect;
use crate::limits::REPORTS_MAX;

use super::Usage;

#[derive(Debug, Args)]
pub struct MergeArgs {
    /// The reports, as --json wrote them.
    #[arg(value_name = "FILE.json", required = true)]
    files: Vec<PathBuf>,
    /// Write the sum there; - is standard output, instead of the page.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the sum there as one HTML file with plots.
    #[arg(long, value_name = "FILE.html")]
    report: Option<PathBuf>,
    /// Conditions for the sum, as 'p99_ms<50,lost=0'.
    #[arg(long, value_name = "CONDITIONS")]
    expect: Option<String>,
}

#[derive(Debug, Args)]
pub struct ReportArgs {
    /// The report, as --json wrote it.
    #[arg(value_name = "FILE.json")]
    file: PathBuf,
    /// The HTML file to write [default: the page for the terminal]
    #[arg(long, short, value_name = "FILE.html")]
    output: Option<PathBuf>,
}

impl MergeArgs {
    pub(super) fn settle(self) -> Result<MergeConfig, Usage> {
        let files = self.files.len();
        if !(2..=REPORTS_MAX).contains(&files) {
            return Err(Usage(format!("merge: {files} reports given; 2 to {REPORTS_MAX} are possible")));
        }
        let expectations = self.expect.map_or(Ok(Vec::new()), |text| expect::parse(&text));
        let expectations = expectations.map_err(|why| Usage(format!("--expect {why}")))?;
        Ok(MergeConfig { files: self.files, json: self.json, html: self.report, expectations })
    }
}

impl ReportArgs {
    pub(super) fn settle(self) -> DrawConfig {
        DrawConfig { file: self.file, html: self.output }
    }
}
