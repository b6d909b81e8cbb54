//! The programs that are measured: their settings, their start and end, their CPU.

use std::fmt::Write as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use data_encoding::{BASE64, BASE64URL_NOPAD};
use ring::hmac;

use crate::now;

const START_WITHIN: Duration = Duration::from_secs(20);
/// Of a second, in `/proc/PID/stat`.
const TICKS_PER_S: f64 = 100.0;
pub(crate) const SERVICE_KEY: &str = "path-bench";
const TOKEN_KEY: [u8; 32] = [7; 32];

/// A program that ends with its handle.
pub(crate) struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _gone_already = self.0.kill();
        let _gone_already = self.0.wait();
    }
}

impl Program {
    pub(crate) fn start(command: &mut Command) -> anyhow::Result<Program> {
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        Ok(Program(child.with_context(|| format!("{}", command.get_program().display()))?))
    }

    /// Seconds of CPU that its threads have used.
    pub(crate) fn cpu_s(&self) -> anyhow::Result<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0.id()))?;
        // The name in parentheses may hold blanks.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = |place: usize| fields.get(place).and_then(|field| field.parse::<f64>().ok());
        Ok((ticks(11).zip(ticks(12)).map(|(user, system)| user + system).context("stat")?) / TICKS_PER_S)
    }

    /// Waits until something listens at `address`.
    pub(crate) fn wait_for(&mut self, address: SocketAddr) -> anyhow::Result<()> {
        let until = now() + START_WITHIN;
        while TcpStream::connect(address).is_err() {
            if now() > until || self.0.try_wait()?.is_some() {
                bail!("nothing listens at {address}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

pub(crate) fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// Where the parts of one measured system are.
pub(crate) struct Places {
    pub(crate) api: SocketAddr,
    pub(crate) links: SocketAddr,
    pub(crate) clients: SocketAddr,
}

impl Places {
    pub(crate) fn free() -> anyhow::Result<Places> {
        Ok(Places { api: free_address()?, links: free_address()?, clients: free_address()? })
    }
}

/// A router with a data folder of its own. `kafka`: broker and what our topics' names begin with.
pub(crate) fn router(
    programs: &Path,
    dir: &Path,
    places: &Places,
    kafka: Option<(&str, &str)>,
) -> anyhow::Result<Program> {
    let mut text = format!(
        "[router]\napi = \"{}\"\nadmin = \"{}\"\nlinks = \"{}\"\n[[router.service]]\nname = \"bench\"\nkey = \"{SERVICE_KEY}\"\n",
        places.api,
        free_address()?,
        places.links
    );
    if let Some((broker, prefix)) = kafka {
        writeln!(text, "[kafka]\nbrokers = [\"{broker}\"]\npartitions = {PARTITIONS}\n[kafka.topics]")?;
        for (key, name) in topics(prefix) {
            writeln!(text, "{key} = \"{name}\"")?;
        }
    }
    let config = dir.join("router.toml");
    std::fs::write(&config, text)?;
    let mut command = Command::new(programs.join("router"));
    Program::start(command.arg("--config").arg(config).arg("--data").arg(dir.join("data")))
}

pub(crate) fn gateway(programs: &Path, dir: &Path, places: &Places) -> anyhow::Result<Program> {
    let key = dir.join("tokens.key");
    std::fs::write(&key, BASE64.encode(&TOKEN_KEY))?;
    let text = format!(
        "[gateway]\nlisten = \"{}\"\nadmin = \"{}\"\nsoft_limit = 4000\nhard_limit = 5000\n[gateway.auth]\nkeys = [\"{}\"]\n[gateway.links]\nrouters = [\"{}\"]\n",
        places.clients,
        free_address()?,
        key.display(),
        places.links
    );
    let config = dir.join("gateway.toml");
    std::fs::write(&config, text)?;
    Program::start(Command::new(programs.join("gateway")).arg("--config").arg(config))
}

/// What a client shows.
pub(crate) fn token(user: &str) -> String {
    let expires = std::time::UNIX_EPOCH.elapsed().unwrap_or_default().as_secs() + 3_600;
    let claims = format!(r#"{{"sub":"{user}","exp":{expires}}}"#);
    let signed = [r#"{"alg":"HS256","typ":"JWT"}"#, claims.as_str()]
        .map(|part| BASE64URL_NOPAD.encode(part.as_bytes()))
        .join(".");
    let key = hmac::Key::new(hmac::HMAC_SHA256, BASE64.encode(&TOKEN_KEY).as_bytes());
    let tag = hmac::sign(&key, signed.as_bytes());
    format!("{signed}.{}", BASE64URL_NOPAD.encode(tag.as_ref()))
}

pub(crate) const PARTITIONS: u32 = 4;

/// Our topics, with names of their own.
pub(crate) fn topics(prefix: &str) -> std::collections::BTreeMap<String, String> {
    let keys = ["critical", "high", "normal", "low", "events", "ledger", "overflow", "dlq", "status"];
    keys.into_iter().map(|key| (key.to_owned(), format!("{prefix}.{key}"))).collect()
}
