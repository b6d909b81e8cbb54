//! Publishing into the server under test: requests to its HTTP API, or frames on a WebSocket of its own, as its dialect says. A
//! porch over sockets; blocking, on the run's own thread. Called by `turn`.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use wire::http::{ConnectRequest, parse_response};
use wire::ws;

use super::config::{CompareConfig, Peer};
use crate::dialect::{Dialect, Publishing};
use crate::fleet::mix;
use crate::limits::ANSWER_BYTES_MAX;

const WITHIN: Duration = Duration::from_secs(10);
/// Bytes of an answer that are read.
const BODY_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// One way in.
#[derive(Debug)]
pub struct Publisher {
    dialect: Dialect,
    door: Door,
}

#[derive(Debug)]
enum Door {
    Http { agent: Box<ureq::Agent>, base: String, authorization: String },
    Socket { stream: TcpStream, seed: u64, frames: u64 },
}

impl Publisher {
    pub fn open(peer: &Peer, address: SocketAddr, config: &CompareConfig) -> Result<Publisher, String> {
        let door = match peer.dialect.publishing() {
            Publishing::Http { .. } => {
                let agent = ureq::Agent::config_builder()
                    .http_status_as_error(false)
                    .timeout_global(Some(WITHIN))
                    .proxy(None)
                    .build()
                    .new_agent();
                let ours = peer.dialect == Dialect::Tocsin;
                let base =
                    if ours { config.api.clone() } else { format!("http://{}", peer.target.authority()) };
                let authorization = if ours { format!("Bearer {}", config.key) } else { String::new() };
                Door::Http { agent: Box::new(agent), base, authorization }
            }
            Publishing::Socket { path, opening } => {
                let stream = connect(&peer.target.authority(), address, path, config.seed)
                    .map_err(|error| format!("the publisher's WebSocket: {error}"))?;
                let mut door = Door::Socket { stream, seed: config.seed, frames: 0 };
                if let Some(words) = opening {
                    door.write(peer.dialect, &[words.to_owned()])?;
                }
                door
            }
        };
        Ok(Publisher { dialect: peer.dialect, door })
    }

    /// Publishes all of these at one time; gives back how many were taken.
    pub fn publish(&mut self, publications: &[String]) -> Result<usize, String> {
        let dialect = self.dialect;
        match &mut self.door {
            Door::Socket { .. } => self.door.write(dialect, publications).map(|()| publications.len()),
            Door::Http { agent, base, authorization } => {
                let Publishing::Http { one, many, content_type } = dialect.publishing() else {
                    unreachable!("its door")
                };
                let (path, kind, body) = match publications {
                    [single] => (one, "application/json", single.clone()),
                    several => (many, content_type, dialect.batch(several)),
                };
                let mut request = agent.post(format!("{base}{path}")).header("Content-Type", kind);
                if !authorization.is_empty() {
                    request = request.header("Authorization", authorization.as_str());
                }
                let mut answer = request.send(&body).map_err(|error| format!("publish: {error}"))?;
                let status = answer.status().as_u16();
                let text = answer.body_mut().with_config().limit(BODY_BYTES_MAX).read_to_string();
                let text = text.map_err(|error| format!("publish: {error}"))?;
                Ok(dialect.taken(status, &text))
            }
        }
    }
}

impl Door {
    /// All frames in one write, so that a burst reaches the server as one.
    fn write(&mut self, dialect: Dialect, payloads: &[String]) -> Result<(), String> {
        let Door::Socket { stream, seed, frames } = self else { return Ok(()) };
        let mut bytes = Vec::new();
        for payload in payloads {
            *frames += 1;
            let mask = (mix(*seed, *frames) as u32).to_le_bytes();
            bytes.extend_from_slice(&ws::frame(dialect.opcode(), payload.as_bytes(), Some(mask)));
        }
        stream.write_all(&bytes).map_err(|error| format!("publish: {error}"))
    }
}

fn connect(host: &str, address: SocketAddr, path: &str, seed: u64) -> std::io::Result<TcpStream> {
    let refused = |why: String| std::io::Error::other(why);
    let mut stream = TcpStream::connect_timeout(&address, WITHIN)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(WITHIN))?;
    stream.set_write_timeout(Some(WITHIN))?;
    let mut key = [0; 16];
    key[..8].copy_from_slice(&mix(seed, u64::MAX).to_le_bytes());
    let request = ConnectRequest { host, target: path, key, protocols: &[], headers: &[] };
    stream.write_all(&request.encode())?;
    let mut answer = Vec::new();
    let mut piece = [0; 1_024];
    loop {
        let read = stream.read(&mut piece)?;
        answer.extend_from_slice(&piece[..read]);
        match parse_response(&answer).map_err(|error| refused(error.to_string()))? {
            Some(head) => {
                head.check_upgrade(&request).map_err(|error| refused(error.to_string()))?;
                return Ok(stream);
            }
            None if read == 0 || answer.len() > ANSWER_BYTES_MAX => {
                return Err(refused("the server did not upgrade".to_owned()));
            }
            None => {}
        }
    }
}
