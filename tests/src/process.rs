//! A program under test as a process: started, watched, signalled by pid, and gone when its handle is dropped.
//!
//! Every child is started by one thread that lives as long as the test process, with the parent-death signal set: a
//! test that is killed leaves nothing behind.

use std::ffi::OsString;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{LazyLock, Mutex, mpsc};
use std::time::Duration;

use crate::deadline::{Deadline, until_within};
use crate::paths;

/// Lines of a log that a failed test shows.
const TAIL_LINES: usize = 40;

/// What to start.
#[derive(Debug, Clone)]
pub struct Plan {
    pub program: PathBuf,
    pub arguments: Vec<OsString>,
    pub environment: Vec<(String, String)>,
    pub folder: PathBuf,
    /// Standard output and error go here, appended over restarts.
    pub log: PathBuf,
}

/// A running (or ended) child.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    stopped: bool,
}

/// How a child ended.
#[derive(Debug)]
pub struct Ending {
    pub status: ExitStatus,
    pub log: String,
}

type Order = (Command, mpsc::Sender<std::io::Result<Child>>);

static SPAWNER: LazyLock<Mutex<mpsc::Sender<Order>>> = LazyLock::new(|| {
    let (orders, taken) = mpsc::channel::<Order>();
    std::thread::spawn(move || {
        for (mut command, answer) in taken {
            let _ = answer.send(command.spawn());
        }
    });
    Mutex::new(orders)
});

/// Starts `command` from the thread that outlives all tests.
pub(crate) fn spawn_guarded(command: Command) -> std::io::Result<Child> {
    let (answer, child) = mpsc::channel();
    SPAWNER.lock().expect("sending does not panic").send((command, answer)).expect("the spawner lives");
    child.recv().expect("the spawner answers")
}

/// `program` under `setpriv`, which sets the parent-death signal and becomes it (same pid). What cargo tells this test of its
/// package is not for it: another cargo would build `ring` anew, which looks at it, and all that stands on that.
pub(crate) fn guarded(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program).stdin(Stdio::null());
    for (name, _) in std::env::vars_os() {
        if ["CARGO_MANIFEST_", "CARGO_PKG_"].iter().any(|of| name.to_string_lossy().starts_with(of)) {
            command.env_remove(name);
        }
    }
    command
}

impl Process {
    /// # Panics
    /// When the program cannot be started at all.
    pub fn start(name: &str, plan: &Plan) -> Process {
        let mut command = guarded(&plan.program);
        let log = File::options().create(true).append(true).open(&plan.log).expect("a log can be written");
        let both = log.try_clone().expect("a file can be cloned");
        command.args(&plan.arguments).current_dir(&plan.folder).stdout(log).stderr(both);
        // The settings of whoever runs the tests are not ours.
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("TOCSIN_")) {
            command.env_remove(name);
        }
        command.envs(plan.environment.iter().map(|(name, value)| (name, value)));
        let child = spawn_guarded(command).expect("setpriv (util-linux) starts the program");
        Process { name: name.to_owned(), child, log: plan.log.clone(), stopped: false }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child can be asked")
    }

    /// Waits for the end.
    ///
    /// # Panics
    /// When it does not end within `wait`.
    pub fn ending(&mut self, wait: Duration) -> Ending {
        let promise = format!("{} ends", self.name);
        let status = until_within(wait, &promise, || self.ended());
        Ending { status, log: self.log() }
    }

    pub fn kill_9(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    pub fn terminate(&self) {
        self.signal("TERM");
    }

    /// Sends a signal by name.
    ///
    /// # Panics
    /// When the process is gone.
    pub fn signal(&self, name: &str) {
        let done = Command::new("sh").arg("-c").arg(format!("kill -{name} {}", self.pid())).status();
        assert!(done.is_ok_and(|status| status.success()), "kill -{name} {} ({})", self.pid(), self.name);
    }

    /// Freezes it: a hung program is not a dead one.
    pub fn freeze(&mut self) {
        self.signal("STOP");
        self.stopped = true;
    }

    pub fn thaw(&mut self) {
        self.signal("CONT");
        self.stopped = false;
    }

    /// Resident memory, in bytes.
    pub fn resident_bytes(&self) -> u64 {
        resident_bytes_of(self.pid())
    }

    fn show(&self) {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        let tail = &lines[lines.len().saturating_sub(TAIL_LINES)..];
        let mut err = std::io::stderr().lock();
        let _ = writeln!(err, "--- the last of {} (pid {}):", self.name, self.pid());
        for line in tail {
            let _ = writeln!(err, "    {line}");
        }
        let test = std::thread::current().name().unwrap_or("main").replace("::", "-");
        let kept = paths::kept().join(format!("{test}-{}.log", self.name));
        if std::fs::copy(&self.log, &kept).is_ok() {
            let _ = writeln!(err, "--- all of it: {}", kept.display());
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.show();
        }
        self.kill_9();
    }
}

/// Resident memory of a process, in bytes; 0 when it is gone.
pub fn resident_bytes_of(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok()).unwrap_or(0) * 1_024
}

/// Runs a command to its end with a bound on its time; gives back whether it succeeded and all it printed.
///
/// # Panics
/// When it cannot be started, or does not end in time.
pub fn run(command: &mut Command, wait: Duration) -> (bool, String) {
    let mut out = tempfile::tempfile().expect("a temporary file");
    let copies = (out.try_clone().expect("a clone"), out.try_clone().expect("a clone"));
    let shown = format!("{command:?}");
    let mut child = command
        .stdin(Stdio::null())
        .stdout(copies.0)
        .stderr(copies.1)
        .spawn()
        .unwrap_or_else(|error| panic!("{shown}: {error}"));
    let deadline = Deadline::after(wait);
    let status = loop {
        if let Some(status) = child.try_wait().expect("a child can be asked") {
            break Some(status);
        }
        if deadline.passed() {
            let _ = child.kill();
            let _ = child.wait();
            break None;
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    let mut text = String::new();
    let _ = std::io::Seek::rewind(&mut out);
    let _ = std::io::Read::read_to_string(&mut out, &mut text);
    let status = status.unwrap_or_else(|| panic!("not ended within {wait:?}: {shown}\n{text}"));
    (status.success(), text)
}
