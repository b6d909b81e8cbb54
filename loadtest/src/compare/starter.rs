//! The program that starts and stops the servers under test, each for its own turn, on the cores that it chose. A porch over
//! processes. Called by `turn`; `loadtest/peers/run` is such a program.

use std::path::Path;
use std::process::{Command, Stdio};

/// Starts a server; gives back the line that describes it: its version, and what was set.
pub fn start(starter: &Path, name: &str) -> Result<String, String> {
    call(starter, "start", name)
}

pub fn stop(starter: &Path, name: &str) -> Result<(), String> {
    call(starter, "stop", name).map(drop)
}

/// The starter bounds its own time. What it starts must not keep our pipes: it gives a server files of its own.
fn call(starter: &Path, verb: &str, name: &str) -> Result<String, String> {
    let told = |why: &dyn std::fmt::Display| format!("{} {verb} {name}: {why}", starter.display());
    let output = Command::new(starter).args([verb, name]).stdin(Stdio::null()).output();
    let output = output.map_err(|error| told(&error))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(told(&said.lines().next_back().unwrap_or("it failed and said nothing")));
    }
    Ok(String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_starter_describes_the_server_or_says_what_is_wrong() {
        assert_eq!(start(Path::new("echo"), "uws"), Ok("start uws".to_owned()));
        let refused = stop(Path::new("false"), "uws").expect_err("it fails");
        assert_eq!(refused, "false stop uws: it failed and said nothing");
        assert!(start(Path::new("/nowhere/at-all"), "uws").is_err());
    }
}
