//! A real Redis, and a Sentinel beside it; `redis-cli` to speak to them.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::certificate::Certificate;
use crate::deadline::until_within;
use crate::paths;
use crate::ports;
use crate::process::{Plan, Process};

const START: Duration = Duration::from_secs(30);
/// How long one question may take; a frozen server never answers.
const ASKED_S: &str = "10";

/// A running server.
#[derive(Debug)]
pub struct Redis {
    pub address: SocketAddr,
    pub process: Process,
    arguments: Vec<OsString>,
    /// What `redis-cli` needs to be let in.
    login: Vec<String>,
    folder: TempDir,
}

impl Redis {
    /// Keeps nothing on its disk: one that is killed comes back empty.
    pub fn start() -> Redis {
        Redis::with("--port", &[], &[])
    }

    pub fn with_password(password: &str) -> Redis {
        Redis::with("--port", &["--requirepass", password], &["-a", password])
    }

    pub fn replica_of(master: SocketAddr) -> Redis {
        Redis::with("--port", &["--replicaof", "127.0.0.1", &master.port().to_string()], &[])
    }

    /// One that speaks nothing but TLS.
    pub fn with_tls(of: &Certificate) -> Redis {
        let (cert, key) = (of.cert.display().to_string(), of.key.display().to_string());
        let more =
            ["--port", "0", "--tls-cert-file", &cert, "--tls-key-file", &key, "--tls-auth-clients", "no"];
        Redis::with("--tls-port", &more, &["--tls", "--cacert", &cert])
    }

    fn with(port: &str, more: &[&str], login: &[&str]) -> Redis {
        let (address, folder) = (ports::free(), paths::scratch("redis-"));
        let number = address.port().to_string();
        let plain = [port, &number, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"];
        let arguments: Vec<OsString> = plain.iter().chain(more).map(Into::into).collect();
        let process = launch("redis", &arguments, &folder);
        let login = login.iter().map(ToString::to_string).collect();
        let redis = Redis { address, process, arguments, login, folder };
        redis.answers();
        redis
    }

    /// The same server after its end.
    pub fn start_again(&mut self) {
        self.process = launch("redis", &self.arguments, &self.folder);
        self.answers();
    }

    fn answers(&self) {
        until_within(START, "Redis answers", || (self.ask(&["PING"]) == "PONG").then_some(()));
    }

    pub fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// What `redis-cli` prints.
    pub fn ask(&self, words: &[&str]) -> String {
        self.ask_with(words, None)
    }

    /// The same with a last argument of any bytes.
    pub fn ask_with(&self, words: &[&str], last: Option<&[u8]>) -> String {
        let mut command = cli(self.address);
        command.args(&self.login);
        if last.is_some() {
            command.arg("-x");
        }
        command.args(words).stdin(if last.is_some() { Stdio::piped() } else { Stdio::null() });
        let mut child = command.spawn().expect("redis-cli is there: run `tests/run prepare`");
        if let Some(last) = last {
            let mut stdin = child.stdin.take().expect("it was piped");
            // A server that is gone closes its end; the answer tells.
            let _ = std::io::Write::write_all(&mut stdin, last);
        }
        let output = child.wait_with_output().expect("it ends");
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    }

    pub fn length(&self, list: &str) -> usize {
        self.ask(&["LLEN", list]).parse().unwrap_or(usize::MAX)
    }

    /// A list, one value a line.
    pub fn values(&self, list: &str) -> Vec<String> {
        self.ask(&["LRANGE", list, "0", "-1"]).lines().map(str::to_owned).collect()
    }
}

fn cli(address: SocketAddr) -> Command {
    let mut command = Command::new("timeout");
    command.args([ASKED_S, "redis-cli", "--raw", "-p", &address.port().to_string()]);
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    command
}

fn launch(name: &str, arguments: &[OsString], folder: &TempDir) -> Process {
    let plan = Plan {
        program: PathBuf::from("redis-server"),
        arguments: arguments.to_vec(),
        environment: Vec::new(),
        folder: folder.path().to_path_buf(),
        log: folder.path().join(format!("{name}.log")),
    };
    Process::start(name, &plan)
}

/// One that watches a master called `tocsin` and names another when it is gone for a second.
#[derive(Debug)]
pub struct Sentinel {
    pub address: SocketAddr,
    pub process: Process,
    _folder: TempDir,
}

impl Sentinel {
    /// # Panics
    /// When it does not find the master's replica.
    pub fn start(master: SocketAddr) -> Sentinel {
        let (address, folder) = (ports::free(), paths::scratch("sentinel-"));
        let settings = format!(
            "port {}\nbind 127.0.0.1\nsentinel monitor tocsin 127.0.0.1 {} 1\n\
             sentinel down-after-milliseconds tocsin 1000\nsentinel failover-timeout tocsin 5000\n",
            address.port(),
            master.port()
        );
        let file = folder.path().join("sentinel.conf");
        std::fs::write(&file, settings).expect("a file");
        let process = launch("sentinel", &[file.into(), "--sentinel".into()], &folder);
        let sentinel = Sentinel { address, process, _folder: folder };
        until_within(START, "the sentinel knows the replica", || {
            let known = sentinel.ask(&["SENTINEL", "REPLICAS", "tocsin"]);
            known.contains("slave").then_some(())
        });
        sentinel
    }

    pub fn ask(&self, words: &[&str]) -> String {
        let output = cli(self.address).args(words).output().expect("redis-cli is there");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}
