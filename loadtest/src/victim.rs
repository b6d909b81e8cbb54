//! The server process that a run ends on purpose: looked at before the run, signalled at its time. A porch. Called by `run`.

use rustix::process::{Pid, kill_process, test_kill_process};

use crate::config::Signal;

/// Is there such a process, and may we signal it? The line says why not.
pub fn look(pid: u32) -> Result<(), String> {
    test_kill_process(process(pid)?).map_err(|error| format!("process {pid}: {error}"))
}

/// Sends it.
pub fn signal(pid: u32, signal: Signal) -> Result<(), String> {
    let number = match signal {
        Signal::Kill => rustix::process::Signal::KILL,
        Signal::Terminate => rustix::process::Signal::TERM,
    };
    kill_process(process(pid)?, number).map_err(|error| format!("process {pid}: {error}"))
}

fn process(pid: u32) -> Result<Pid, String> {
    let found = i32::try_from(pid).ok().and_then(Pid::from_raw);
    found.ok_or_else(|| format!("process {pid}: there is no such process"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_is_not_there_is_said_before_the_run() {
        assert!(look(std::process::id()).is_ok());
        // Above what the kernel gives out.
        assert!(look(0x7fff_ffff).is_err_and(|line| line.contains("2147483647")));
        assert!(look(0).is_err());
    }

    #[test]
    fn the_signal_is_the_one_that_was_asked_for() {
        use std::os::unix::process::ExitStatusExt;
        for (wanted, number) in [(Signal::Kill, 9), (Signal::Terminate, 15)] {
            let mut child = std::process::Command::new("sleep").arg("60").spawn().expect("sleep is there");
            signal(child.id(), wanted).expect("ours to signal");
            assert_eq!(child.wait().expect("it ends").signal(), Some(number));
        }
    }
}
