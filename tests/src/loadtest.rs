//! The load tester as a process beside the system under test, and its report as JSON: its crate is not linked, its contract is
//! what tests read.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::cluster::Cluster;
use crate::paths;
use crate::process::{Plan, Process};

/// A run that goes on.
#[derive(Debug)]
pub struct Load {
    process: Process,
    json: PathBuf,
}

/// How a run ended.
#[derive(Debug)]
pub struct Loaded {
    pub code: Option<i32>,
    pub report: Value,
    pub log: String,
}

impl Load {
    /// Starts a scenario against all nodes of a cluster, in their order, with tokens that they believe.
    ///
    /// # Panics
    /// When the disk cannot be written.
    pub fn start(cluster: &Cluster, scenario: &str, words: &[&str]) -> Load {
        let folder = cluster.router.folder();
        let json = folder.join("report.json");
        let _from_an_earlier_run = std::fs::remove_file(&json);
        let mut arguments: Vec<String> = vec![scenario.to_owned()];
        for node in &cluster.nodes {
            arguments.extend(["--url".to_owned(), node.url()]);
        }
        arguments.extend(["--jwt-hs256".to_owned(), text(&folder.join("tokens.key"))]);
        arguments.extend(["--json".to_owned(), text(&json)]);
        if scenario == "chaos" {
            arguments.extend(["--api".to_owned(), cluster.api().base().to_owned()]);
            arguments.extend(["--key".to_owned(), crate::setup::SPLIT_KEY.to_owned()]);
        }
        arguments.extend(words.iter().map(|word| (*word).to_owned()));
        let plan = Plan {
            program: paths::program("loadtest"),
            arguments: arguments.into_iter().map(Into::into).collect(),
            environment: Vec::new(),
            folder: folder.to_path_buf(),
            log: folder.join("loadtest.log"),
        };
        Load { process: Process::start("loadtest", &plan), json }
    }

    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it does not end in time, or leaves no report.
    pub fn end(mut self, wait: Duration) -> Loaded {
        let ending = self.process.ending(wait);
        let text = std::fs::read_to_string(&self.json).unwrap_or_default();
        let report =
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("a report: {error}\n{}", ending.log));
        Loaded { code: ending.status.code(), report, log: ending.log }
    }
}

fn text(path: &Path) -> String {
    path.to_str().expect("UTF-8").to_owned()
}

impl Loaded {
    /// A figure of the report.
    ///
    /// # Panics
    /// When it is not there.
    pub fn number(&self, pointer: &str) -> f64 {
        let found = self.report.pointer(pointer).and_then(Value::as_f64);
        found.unwrap_or_else(|| panic!("{pointer} is not in the report:\n{}", self.log))
    }

    /// A column of numbers.
    pub fn column(&self, pointer: &str) -> Vec<f64> {
        let found = self.report.pointer(pointer).and_then(Value::as_array);
        found.into_iter().flatten().filter_map(Value::as_f64).collect()
    }
}
