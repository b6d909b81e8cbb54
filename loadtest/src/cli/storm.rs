//! The flags of scenarios in which connections are lost on purpose. Part of `cli`.

use std::time::Duration;

use clap::{Args, ValueEnum};
use wire::time::Wall;

use crate::config::{Cut, Signal, StormPlan};
use crate::limits::STORM_MAX;

use super::Usage;
use super::checks::moment;

#[derive(Debug, Args)]
pub(super) struct StormArgs {
    /// How connections end [default: rst; kill with --kill-pid]
    #[arg(long, value_enum, value_name = "HOW")]
    cut: Option<CutArg>,
    /// When: so long after everybody is in (with messages: after the first), or at a date as 2026-03-01T10:00:00Z.
    #[arg(long, value_name = "TIME|DATE", default_value = "5s")]
    cut_at: String,
    /// The server process on this machine that is killed; the clients' connections end with it.
    #[arg(long, value_name = "PID")]
    kill_pid: Option<u32>,
    /// What it is sent: KILL ends it at once, TERM lets it drain [default: kill]
    #[arg(long, value_enum, value_name = "NAME")]
    signal: Option<SignalArg>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum CutArg {
    /// The load tester resets every connection.
    Rst,
    /// The load tester closes every connection in order, without a word before.
    Fin,
    /// A server process is killed.
    Kill,
    /// Something else ends them; the storm begins with the first that is lost.
    Wait,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum SignalArg {
    #[value(alias = "KILL", alias = "SIGKILL", alias = "9")]
    Kill,
    #[value(alias = "TERM", alias = "SIGTERM", alias = "15")]
    Term,
}

impl StormArgs {
    /// `lasts`: `--for`, which bounds what is waited for.
    pub(super) fn settle(self, now: Wall, lasts: Duration) -> Result<StormPlan, Usage> {
        let signal = match self.signal.unwrap_or(SignalArg::Kill) {
            SignalArg::Kill => Signal::Kill,
            SignalArg::Term => Signal::Terminate,
        };
        let cut = match (self.cut, self.kill_pid) {
            (None | Some(CutArg::Kill), Some(pid)) => Cut::Kill { pid: server("--kill-pid", pid)?, signal },
            (Some(CutArg::Kill), None) => return Err(Usage("--cut kill needs --kill-pid".to_owned())),
            (Some(_), Some(_)) => return Err(Usage("--kill-pid goes with --cut kill alone".to_owned())),
            (_, None) if self.signal.is_some() => return Err(Usage("--signal needs --kill-pid".to_owned())),
            (None | Some(CutArg::Rst), None) => Cut::Reset,
            (Some(CutArg::Fin), None) => Cut::Fin,
            (Some(CutArg::Wait), None) => Cut::Wait,
        };
        if lasts > STORM_MAX {
            return Err(Usage(format!(
                "--for: a storm is watched for {} minutes at most",
                STORM_MAX.as_secs() / 60
            )));
        }
        Ok(StormPlan { cut, at: moment("--cut-at", &self.cut_at, now)?, within: lasts })
    }
}

/// A process that may be signalled.
pub(super) fn server(flag: &str, pid: u32) -> Result<u32, Usage> {
    // 0 and 1 are everybody and the first process: whoever means them means something else.
    if pid < 2 || pid == std::process::id() || i32::try_from(pid).is_err() {
        return Err(Usage(format!("{flag} {pid}: a server's process is wanted")));
    }
    Ok(pid)
}
