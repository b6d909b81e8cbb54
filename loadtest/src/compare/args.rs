//! The flags of `loadtest compare`: which are possible, in which range, and the one line that says what is wrong. Called by
//! `main`, as `cli` is.

use std::path::PathBuf;

use clap::Args;
use wire::time::Wall;

use super::config::{CompareConfig, KINDS, Peer};
use crate::cli::Usage;
use crate::cli::checks::{duration, rate, service_key, within};
use crate::cli::common::jwt_users;
use crate::limits::{
    BATCH_MAX, COMPARE_COPIES_MAX, COMPARE_PEERS_MAX, COMPARE_ROUNDS_MAX, COMPARE_SOCKETS_MAX,
    HANDSHAKES_AT_ONCE_MAX, SIZE_MAX,
};
use crate::target;

#[derive(Debug, Args)]
pub struct CompareArgs {
    /// A server as NAME=ws://host:port; its kind is what NAME begins with, up to a dash: tocsin, centrifugo, nats,
    /// tungstenite, uws, raw. Repeat it; turns go in this order, round and round.
    #[arg(long = "peer", value_name = "NAME=URL", required = true)]
    peers: Vec<String>,
    /// Sockets of each server; several numbers are compared one after the other.
    #[arg(long, short = 'n', value_delimiter = ',', default_value = "1000")]
    sockets: Vec<u32>,
    /// Rounds of all peers: medians and ranges are over these.
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// Bytes of WebSocket payload a message, the same from every server.
    #[arg(long, default_value_t = 512)]
    size: usize,
    /// Messages published at one time in a burst.
    #[arg(long, default_value_t = 10)]
    burst: u32,
    /// Copies (messages × sockets) over which CPU a message is taken.
    #[arg(long, default_value_t = 100_000)]
    copies: u64,
    /// Copies a second while latency is taken: the equal load.
    #[arg(long, default_value_t = 20_000.0)]
    rate: f64,
    /// How long latency is taken, once for single messages and once for bursts.
    #[arg(long = "for", value_name = "TIME", default_value = "2s")]
    lasts: String,
    /// How long all sockets are idle before memory is read.
    #[arg(long, value_name = "TIME", default_value = "700ms")]
    rest: String,
    /// How long copies may still come after the last publication.
    #[arg(long, value_name = "TIME", default_value = "10s")]
    settle: String,
    /// Handshakes under way at one time: fewer than the shortest listen backlog among the peers.
    #[arg(long, default_value_t = 256)]
    at_once: usize,
    /// A program that starts and stops each peer for its turn: STARTER start NAME, STARTER stop NAME
    /// (loadtest/peers/run). Without it all peers run already, all the time.
    #[arg(long, value_name = "FILE")]
    starter: Option<PathBuf>,
    /// Tocsin's API, for publishing.
    #[arg(long, default_value = "http://127.0.0.1:8090", value_name = "URL")]
    api: String,
    /// Tocsin's service key.
    #[arg(long, default_value = "dev", conflicts_with = "key_file")]
    key: String,
    /// A file with tocsin's service key.
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// A file with the secret to make the JWT of each of tocsin's clients with [default: ?user=NAME]
    #[arg(long, value_name = "FILE")]
    jwt_hs256: Option<PathBuf>,
    /// Write the report there.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the report there as one HTML file.
    #[arg(long, value_name = "FILE.html")]
    report: Option<PathBuf>,
    /// Write the tables there: between the lines <!-- compare:begin --> and <!-- compare:end --> where the file has them.
    #[arg(long, value_name = "FILE")]
    markdown: Vec<PathBuf>,
    /// Draws the same marks again [default: random]
    #[arg(long)]
    seed: Option<u64>,
}

impl CompareArgs {
    /// Checks every flag and reads the files they name.
    pub fn settle(self, now: Wall, seed: u64, command: String) -> Result<CompareConfig, Usage> {
        let peers = peers(&self.peers)?;
        let most = usize::from(BATCH_MAX);
        if self.sockets.is_empty() || self.sockets.len() > COMPARE_PEERS_MAX {
            return Err(Usage(format!("--sockets: 1 to {COMPARE_PEERS_MAX} numbers are possible")));
        }
        let sockets = self.sockets.into_iter().map(|n| within("--sockets", n, 1, COMPARE_SOCKETS_MAX));
        Ok(CompareConfig {
            peers,
            sockets: sockets.collect::<Result<_, _>>()?,
            rounds: within("--rounds", self.rounds, 1, COMPARE_ROUNDS_MAX)?,
            size: within("--size", self.size, 1, SIZE_MAX)?,
            burst: within("--burst", self.burst, 1, most as u32)?,
            copies: within("--copies", self.copies, 1, COMPARE_COPIES_MAX)?,
            rate: rate("--rate", self.rate)?,
            lasts: duration("--for", &self.lasts)?,
            rest: duration("--rest", &self.rest)?,
            settle: duration("--settle", &self.settle)?,
            at_once: within("--at-once", self.at_once, 1, HANDSHAKES_AT_ONCE_MAX)?,
            starter: self.starter,
            api: target::parse_api(&self.api).map_err(|why| Usage(format!("--api {why}")))?,
            key: service_key(self.key_file.as_deref(), self.key)?,
            users: jwt_users(self.jwt_hs256.as_deref(), now)?,
            json: self.json,
            html: self.report,
            markdown: self.markdown,
            seed: self.seed.unwrap_or(seed),
            command,
        })
    }
}

fn peers(texts: &[String]) -> Result<Vec<Peer>, Usage> {
    if texts.len() > COMPARE_PEERS_MAX {
        return Err(Usage(format!("--peer: at most {COMPARE_PEERS_MAX} ({KINDS})")));
    }
    let mut peers: Vec<Peer> = Vec::new();
    for text in texts {
        let peer = Peer::parse(text).map_err(|why| Usage(format!("--peer {why}")))?;
        if peers.iter().any(|other| other.name == peer.name) {
            return Err(Usage(format!("--peer {}: twice; write {}-2 for another one", peer.name, peer.name)));
        }
        peers.push(peer);
    }
    Ok(peers)
}
