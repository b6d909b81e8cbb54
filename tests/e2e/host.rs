//! What a host does not give is said in one line, exit code 2, before anything is made; what it gives too little of is
//! made the most of, and everybody who knocks is answered.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use tests::deadline::PATIENCE;
use tests::process::{Plan, Process};
use tests::{Ending, Setup, Tocsin, paths, until};

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

#[test]
fn limits_that_hold_nobody_are_named() {
    for (limit, says) in
        [("ulimit -n 60", "60 file descriptors"), ("ulimit -l 64", "RLIMIT_MEMLOCK is 64 KiB")]
    {
        let tocsin = Setup::standalone().prepare();
        let script = format!("{limit}; exec \"$0\" \"$@\"");
        let ending = gateway(&tocsin, &["bash", "-c", &script]).ending(REFUSAL);
        one_line(&ending, &["gateway: ", says, "ulimit"]);
        assert!(!tocsin.folder().join("data").exists(), "a folder was made");
    }
}

/// The status of an answer, or `None` for a reset.
fn knock(tocsin: &Tocsin, user: &str) -> (Option<u16>, TcpStream) {
    let address = tocsin.clients();
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    let request = format!(
        "GET /v1/connect?user={user} HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    );
    let mut head = [0; 12];
    match stream.write_all(request.as_bytes()).and_then(|()| stream.read_exact(&mut head)) {
        Ok(()) => (String::from_utf8_lossy(&head[9..]).parse().ok(), stream),
        Err(why) => {
            assert!(why.kind() != ErrorKind::WouldBlock, "neither answered nor reset within {PATIENCE:?}");
            (None, stream)
        }
    }
}

#[test]
fn with_few_file_descriptors_some_get_in_and_the_rest_is_answered() {
    let mut tocsin = Setup::standalone().prepare();
    tocsin.gateway = Some(gateway(&tocsin, &["bash", "-c", "ulimit -n 256; exec \"$0\" \"$@\""]));
    tocsin.ready_gateway();
    let log = tocsin.gateway().log();
    assert!(log.contains("hard_limit is more than the rings' tables hold"), "{log}");
    let mut said = BTreeMap::new();
    let mut open = Vec::new();
    for n in 0..300 {
        let (status, stream) = knock(&tocsin, &format!("u{n}"));
        *said.entry(status).or_insert(0) += 1;
        open.extend((status == Some(101)).then_some(stream));
    }
    assert!(said[&Some(101)] >= 64 && said[&Some(503)] >= 100, "{said:?}");
    drop(open);
    until("there is room again", || (knock(&tocsin, "later").0 == Some(101)).then_some(()));
}
