//! One comparison, settled: the peers and what every turn does. Values only; `args` reads the command line.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;

use crate::dialect::Dialect;
use crate::target::Target;
use crate::users::Users;

/// A server under test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its kind, with anything behind a dash: `centrifugo`, `tungstenite-4k`.
    pub name: String,
    pub dialect: Dialect,
    pub target: Target,
}

impl Peer {
    /// `NAME=ws://…`.
    pub fn parse(text: &str) -> Result<Peer, String> {
        let (name, url) =
            text.split_once('=').ok_or_else(|| format!("{text:?}: write NAME=ws://host:port"))?;
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b);
        if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.bytes().all(plain) {
            return Err(format!("{name:?}: 1 to {NAME_BYTES_MAX} small letters, digits, - _ . are possible"));
        }
        let kind = name.split('-').next().unwrap_or_default();
        let dialect = match kind {
            "tocsin" => Dialect::Tocsin,
            "centrifugo" => Dialect::Centrifugo,
            "nats" => Dialect::Nats,
            "tungstenite" | "uws" | "raw" => Dialect::Plain,
            _ => return Err(format!("{kind:?} is no kind of server that is known: {KINDS}")),
        };
        let target = Target::parse(url)?;
        if target.is_tls || target.is_stream {
            return Err(format!("{url:?}: servers are compared over ws://"));
        }
        Ok(Peer { name: name.to_owned(), dialect, target })
    }

    pub fn url(&self) -> String {
        format!("ws://{}{}", self.target.authority(), self.dialect.path(&self.target.path))
    }
}

const NAME_BYTES_MAX: usize = 32;
/// What a name may begin with.
pub const KINDS: &str = "tocsin, centrifugo, nats, tungstenite, uws, raw";

/// Everything a comparison needs to know.
#[derive(Debug, Clone)]
pub struct CompareConfig {
    pub peers: Vec<Peer>,
    /// Numbers of sockets; each has its own rounds.
    pub sockets: Vec<u32>,
    pub rounds: u32,
    /// Bytes of payload that every server sends for one message.
    pub size: usize,
    /// Messages published at one time in a burst.
    pub burst: u32,
    /// Copies that the closed parts are to make: messages × sockets.
    pub copies: u64,
    /// Copies a second in the paced parts.
    pub rate: f64,
    /// Length of each paced part.
    pub lasts: Duration,
    /// How long nobody says anything before memory is read.
    pub rest: Duration,
    /// How long copies may still come after the last publication of a part.
    pub settle: Duration,
    /// Handshakes under way at one time.
    pub at_once: usize,
    /// A program that starts and stops the peers: `STARTER start NAME`, `STARTER stop NAME`.
    pub starter: Option<PathBuf>,
    /// Tocsin's API and key.
    pub api: String,
    pub key: String,
    /// Who tocsin's clients say they are.
    pub users: Users,
    pub json: Option<PathBuf>,
    pub html: Option<PathBuf>,
    pub markdown: Vec<PathBuf>,
    pub seed: u64,
    /// The command line, for the report; without secrets.
    pub command: String,
}

impl CompareConfig {
    /// Messages of a closed part: enough for the copies that are wanted, at least a burst.
    pub fn closed_messages(&self, sockets: u32, burst: u32) -> u64 {
        let bursts = self.copies.div_ceil(u64::from(sockets) * u64::from(burst)).max(1);
        bursts * u64::from(burst)
    }

    /// Messages a second of a paced part, and how many fall into its length: at least one burst.
    pub fn paced(&self, sockets: u32, burst: u32) -> (f64, u64) {
        let per_s = self.rate / f64::from(sockets);
        let bursts = (per_s * self.lasts.as_secs_f64() / f64::from(burst)).round().max(1.0);
        (per_s, bursts as u64 * u64::from(burst))
    }

    /// Ours, with which the others are compared: the first tocsin, or the first at all.
    pub fn ours(&self) -> &str {
        let tocsin = self.peers.iter().find(|peer| peer.dialect == Dialect::Tocsin);
        tocsin.or(self.peers.first()).map_or("", |peer| peer.name.as_str())
    }

    /// What the report says of it. No key, no token.
    pub fn to_json(&self) -> serde_json::Value {
        json!({
            "rounds": self.rounds,
            "sockets": self.sockets,
            "size": self.size,
            "burst": self.burst,
            "copies": self.copies,
            "rate": self.rate,
            "for_s": self.lasts.as_secs_f64(),
            "rest_s": self.rest.as_secs_f64(),
            "at_once": self.at_once,
            "started_by_us": self.starter.is_some(),
            "auth": format!("{:?}", self.users.proof).trim_end_matches("(…)").to_lowercase(),
            "seed": self.seed,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_a_kind_with_an_optional_tail_and_an_address() {
        let peer = Peer::parse("centrifugo-tuned=ws://127.0.0.1:9").expect("a peer");
        assert_eq!((peer.name.as_str(), peer.dialect), ("centrifugo-tuned", Dialect::Centrifugo));
        assert_eq!(peer.url(), "ws://127.0.0.1:9/connection/websocket");
        assert_eq!(Peer::parse("uws=ws://h:1").map(|peer| peer.dialect), Ok(Dialect::Plain));
        for (text, why) in [
            ("tocsin", "write NAME="),
            ("=ws://h", "1 to 32"),
            ("Tocsin=ws://h", "small letters"),
            ("emqx=ws://h", "no kind of server"),
            ("nats=tcp://h", "only ws://"),
            ("uws=wss://h", "over ws://"),
        ] {
            let error = Peer::parse(text).expect_err(text);
            assert!(error.contains(why) && error.lines().count() == 1, "{text}: {error}");
        }
    }

    #[test]
    fn parts_have_whole_bursts_and_never_none() {
        let config = crate::compare::tests::config(&["raw=ws://h:1"]);
        let config =
            CompareConfig { copies: 100_000, rate: 20_000.0, lasts: Duration::from_secs(2), ..config };
        assert_eq!((config.closed_messages(1_000, 1), config.closed_messages(10_000, 10)), (100, 10));
        assert_eq!(config.closed_messages(1_000_000, 10), 10);
        assert_eq!(config.paced(1_000, 1), (20.0, 40));
        assert_eq!(config.paced(10_000, 10), (2.0, 10));
    }

    #[test]
    fn ours_is_tocsin_wherever_it_stands() {
        let config = crate::compare::tests::config(&["raw=ws://h:1", "tocsin=ws://h:2"]);
        assert_eq!(config.ours(), "tocsin");
        assert_eq!(crate::compare::tests::config(&["uws=ws://h:1", "raw=ws://h:2"]).ours(), "uws");
    }
}
