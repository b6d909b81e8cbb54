//! What a host does not give is said in one line, exit code 2, before anything is made.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use tests::process::{Plan, Process};
use tests::{Ending, Setup, Tocsin, paths};

const REFUSAL: Duration = Duration::from_secs(20);
/// The same on every architecture.
const IO_URING_SETUP: &str = "425";
const IO_URING_REGISTER: &str = "427";
const EPERM: &str = "1";
const ENOMEM: &str = "12";
const EINVAL: &str = "22";
const ENOSYS: &str = "38";

/// A program behind others, as `env` is behind a shell.
fn start(name: &str, folder: &Path, before: &[&str], arguments: &[OsString]) -> Process {
    let mut words: Vec<OsString> = before[1..].iter().map(Into::into).collect();
    words.push(paths::program(name).into());
    words.extend_from_slice(arguments);
    let log = folder.join(format!("{name}.log"));
    let plan = Plan {
        program: before[0].into(),
        arguments: words,
        environment: Vec::new(),
        folder: folder.to_path_buf(),
        log,
    };
    Process::start(name, &plan)
}

fn gateway(tocsin: &Tocsin, before: &[&str]) -> Process {
    let folder = tocsin.folder();
    let arguments =
        ["--config".into(), folder.join("gateway.toml").into(), "--data".into(), folder.join("data").into()];
    start("gateway", folder, before, &arguments)
}

/// All it said is one line that names the cause.
#[track_caller]
fn one_line(ending: &Ending, says: &[&str]) {
    assert_eq!(ending.status.code(), Some(2), "{}", ending.log);
    assert_eq!(ending.log.trim_end().lines().count(), 1, "{}", ending.log);
    for word in says {
        assert!(ending.log.contains(word), "{word:?} is not named: {}", ending.log);
    }
}

#[test]
fn without_io_uring_nothing_starts_and_nothing_is_made() {
    let filter = paths::root().join("tests/python/refuse_syscall.py").display().to_string();
    for (call, errno, says) in [
        (IO_URING_SETUP, EPERM, "kernel.io_uring_disabled"),
        (IO_URING_SETUP, ENOSYS, "CONFIG_IO_URING"),
        (IO_URING_SETUP, EINVAL, "too old"),
        (IO_URING_SETUP, ENOMEM, "ENOMEM"),
        (IO_URING_REGISTER, EPERM, "kernel.io_uring_disabled"),
    ] {
        let before = ["python3", &filter, call, errno];
        let tocsin = Setup::standalone().prepare();
        let ending = gateway(&tocsin, &before).ending(REFUSAL);
        one_line(&ending, &["gateway: ", says]);
        assert!(!tocsin.folder().join("data").exists(), "a folder was made");
        let folder = paths::scratch("loadtest-");
        let arguments: Vec<OsString> =
            ["hold", "--url", "ws://127.0.0.1:1/v1/connect", "--connections", "1"].map(Into::into).to_vec();
        let ending = start("loadtest", folder.path(), &before, &arguments).ending(REFUSAL);
        one_line(&ending, &["loadtest: ", says]);
    }
}

/// glommio looks at the limit itself, whoever counts what is locked; `limits` has the rest.
#[test]
fn a_limit_under_which_no_executor_starts_is_named() {
    let tocsin = Setup::standalone().prepare();
    let ending = gateway(&tocsin, &["bash", "-c", "ulimit -l 64; exec \"$0\" \"$@\""]).ending(REFUSAL);
    one_line(&ending, &["gateway: ", "RLIMIT_MEMLOCK is 64 KiB", "ulimit"]);
    assert!(!tocsin.folder().join("data").exists(), "a folder was made");
}
