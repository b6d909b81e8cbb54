//! What every report begins with: what ran, on which machine, when and for how long. Its fields stand at the top of the JSON, its
//! lines at the top of the page. Pure; part of `report`, and of the report of a comparison.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use wire::time::Wall;

use crate::machine::Machine;

/// See the table of fields in `report`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Head {
    pub schema: String,
    pub version: String,
    /// Without secrets.
    pub command: String,
    pub started_at: String,
    pub seconds: f64,
    pub interrupted: bool,
    pub machine: Machine,
    /// What was asked for, and what it was settled as. No secret.
    pub config: serde_json::Value,
}

impl Head {
    /// Of a run that begins at this date; how long it takes and whether it ends early is not known yet.
    pub fn new(schema: &str, command: &str, started_at: Wall, machine: Machine) -> Head {
        Head {
            schema: schema.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            command: command.to_owned(),
            started_at: started_at.to_string(),
            seconds: 0.0,
            interrupted: false,
            machine,
            config: serde_json::Value::Null,
        }
    }

    /// Date and length.
    pub fn time(&self) -> String {
        let early = if self.interrupted { ", ended early" } else { "" };
        format!("{} · {:.1} s{early}", self.started_at, self.seconds)
    }

    /// The first lines of a page for the terminal.
    pub fn write_page(&self, page: &mut String, scenario: &str) -> std::fmt::Result {
        let Machine { cpu, cores, kernel, .. } = &self.machine;
        writeln!(page, "{scenario} · {}", self.time())?;
        writeln!(page, "{cpu} · {cores} cores · Linux {kernel}")
    }
}
