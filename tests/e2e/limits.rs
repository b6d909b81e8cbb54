//! A host that does not hold what is asked for is said in one line: which limit, what it is, what it should be, and which
//! `tuning` profile sets it. Programs run without CAP_IPC_LOCK here: with it nobody counts what they lock.

use std::process::Command;
use std::time::Duration;

use tests::process::run;
use tests::{Setup, Tocsin, paths};

const WAIT: Duration = Duration::from_secs(20);

/// `program` under these limits, all of which count.
fn limited(limits: &[&str], program: &str) -> Command {
    let mut command = Command::new("prlimit");
    command.args(limits);
    let (_, whoami) = run(Command::new("id").arg("-u"), WAIT);
    if whoami.trim() == "0" {
        command.args(["setpriv", "--bounding-set=-ipc_lock", "--"]);
    }
    command.arg(paths::program(program));
    command
}

/// Ends with exit code 2 and one line that says all of it; gives back that line.
#[track_caller]
fn refused(command: &mut Command, says: &[&str]) -> String {
    // `run` tells success from failure only.
    let (_, text) =
        run(Command::new("sh").args(["-c", "\"$@\"; echo \"exit $?\"", "sh"]).args(words(command)), WAIT);
    assert!(text.ends_with("exit 2\n"), "{text}");
    let lines: Vec<&str> = text.lines().filter(|line| line.contains(says[0])).collect();
    assert_eq!(lines.len(), 1, "one line: {text}");
    for word in says {
        assert!(lines[0].contains(word), "{word:?} is not in: {text}");
    }
    assert!(!text.contains("panicked"), "{text}");
    lines[0].to_owned()
}

fn words(command: &Command) -> Vec<std::ffi::OsString> {
    std::iter::once(command.get_program()).chain(command.get_args()).map(Into::into).collect()
}

fn gateway(tocsin: &Tocsin, limits: &[&str]) -> Command {
    let mut command = limited(limits, "gateway");
    command.arg("--config").arg(tocsin.folder().join("gateway.toml"));
    command.arg("--data").arg(tocsin.folder().join("data"));
    command
}

#[test]
fn too_few_file_descriptors_are_named_with_the_number_that_is_enough() {
    let tocsin = Setup::standalone().prepare();
    for nofile in [16, 64, 200, 700] {
        let limit = format!("--nofile={nofile}:{nofile}");
        let found = format!("RLIMIT_NOFILE is {nofile}");
        let says =
            [found.as_str(), "hard_limit = 600000", "ulimit -n", "tuning apply --profile gateway-500k"];
        refused(&mut gateway(&tocsin, &[&limit]), &says);
    }
    assert!(!tocsin.folder().join("data").exists(), "nothing was begun");
}

#[test]
fn too_little_locked_memory_is_named() {
    let tocsin = Setup::standalone().prepare();
    for bytes in [0, 65_536, 600 << 10, 2 << 20] {
        let limit = format!("--memlock={bytes}:{bytes}");
        let found = format!("RLIMIT_MEMLOCK is {} KiB", bytes / 1_024);
        refused(
            &mut gateway(&tocsin, &[&limit]),
            &[&found, "ulimit -l", "tuning apply --profile gateway-500k"],
        );
    }
}

#[test]
fn the_limits_of_an_ordinary_login_are_enough() {
    let mut tocsin = Setup::standalone().prepare();
    let limits = ["--nofile=1024:", "--memlock=8388608:8388608"];
    let mut child = tests::process::Plan {
        program: "prlimit".into(),
        arguments: words(&gateway(&tocsin, &limits)).into_iter().skip(1).collect(),
        environment: Vec::new(),
        folder: tocsin.folder().to_path_buf(),
        log: tocsin.folder().join("gateway.log"),
    };
    child.environment.push(("RUST_LOG".to_owned(), "info".to_owned()));
    tocsin.gateway = Some(tests::process::Process::start("gateway", &child));
    tocsin.ready_gateway();
    let mut client = tocsin.connect("ada");
    let id = tocsin.api().accepted(&crate::support::to_user("ada", "as anybody"));
    crate::support::expect_id(&mut client, &id);
}

#[test]
fn a_load_tester_names_its_limits_and_its_profile() {
    let run = ["hold", "--connections", "100000", "--for", "1s", "--url", "ws://127.0.0.1:1/v1/connect"];
    refused(
        limited(&["--nofile=260:260"], "loadtest").args(run),
        &["RLIMIT_NOFILE is 260", "100000 connections do not fit", "--profile loadtest"],
    );
    refused(
        limited(&["--memlock=65536:65536"], "loadtest").args(run),
        &["RLIMIT_MEMLOCK is 64 KiB", "ulimit -l", "--profile loadtest"],
    );
    refused(
        limited(&["--nofile=20000:20000"], "loadtest").args(run).args(["--sources", "127.0.0.1"]),
        &["ip_local_port_range", "100000 connections do not fit", "--profile loadtest"],
    );
}
