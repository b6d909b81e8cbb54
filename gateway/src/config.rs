//! The gateway's settings: the `[gateway…]` tables of the configuration file, with units, bounds and
//! defaults.
//!
//! Owns what may be set and what is refused. Never reads a file or the environment itself (`ops::settings`
//! does). Called by `main` and by tests; the rest of the gateway sees only checked values.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use serde::de::IgnoredAny;
use wire::proxy::Prefix;

use crate::limits;

/// The tables that an environment variable may address: ours and those of the programs that share the file.
pub const SECTIONS: [&str; 28] = [
    "gateway",
    "gateway.tls",
    "gateway.quic",
    "gateway.auth",
    "gateway.limits",
    "gateway.links",
    "router",
    "router.limits",
    "router.buffer",
    "kafka",
    "kafka.topics",
    "kafka.properties",
    "redis",
    "cassandra",
    "provider.fcm",
    "provider.apns",
    "provider.webpush",
    "provider.ses",
    "provider.smtp",
    "provider.twilio",
    "otp",
    "alerts",
    "retention",
    "templates",
    "email",
    "console",
    "provider",
    "kafka.source",
];

/// The whole file. The tables of other programs are theirs to read; only their names are known here.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    pub gateway: Gateway,
    router: IgnoredAny,
    kafka: IgnoredAny,
    redis: IgnoredAny,
    cassandra: IgnoredAny,
    provider: IgnoredAny,
    otp: IgnoredAny,
    alerts: IgnoredAny,
    retention: IgnoredAny,
    templates: IgnoredAny,
    email: IgnoredAny,
    pub console: Console,
}

/// `[console]`: for a gateway with `[gateway.links]`. In standalone the console is there without it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Console {
    /// Where browsers on this machine find the router's API, as `http://127.0.0.1:8090`: then the page is served.
    pub api: Option<String>,
    pub token_file: Option<PathBuf>,
}

impl Console {
    /// Refuses what is no origin, or would show the page or send keys over a network.
    pub fn check(&self, gateway: &Gateway) -> Result<(), ConfigError> {
        not_built("console.token_file", self.token_file.is_some())?;
        let Some(api) = &self.api else { return Ok(()) };
        if !gateway.is_on_loopback() {
            return Err(wrong("console.api", "is for a gateway that listens on loopback only"));
        }
        if crate::auth::origin::Origin::parse(api).is_none() {
            return Err(wrong("console.api", format!("{api:?} is not like http://127.0.0.1:8090")));
        }
        let local = ["http://127.0.0.1", "http://localhost", "http://[::1]"];
        let host_ends = |rest: &str| rest.is_empty() || rest.starts_with(':');
        if api.starts_with("https://") || local.iter().any(|own| api.strip_prefix(own).is_some_and(host_ends))
        {
            return Ok(());
        }
        Err(wrong("console.api", format!("{api} is not loopback, where service keys need https")))
    }
}

/// `[gateway]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Gateway {
    /// The node's name in `welcome`, on links and in logs. Empty: the host's name.
    pub node: String,
    /// Where clients connect.
    pub listen: SocketAddr,
    /// Where operators look: `/metrics`, `/healthz`, `/readyz`, `/drain`.
    pub admin: SocketAddr,
    /// Shards, each a thread on a core of its own. 0: as many as there are cores.
    pub shards: usize,
    /// Sockets from which on new ones are refused with 503 and `Retry-After`.
    pub soft_limit: u64,
    /// Sockets that are never exceeded: past this a connection is reset before anything is read.
    pub hard_limit: u64,
    /// Connections taken a second; past this they are refused as at the soft limit.
    pub accept_rate: u64,
    /// Seconds over which a drain spreads its advice and its closes.
    pub drain_s: u64,
    /// Milliseconds over which clients of a node lost without notice spread their first attempt.
    pub reconnect_spread_ms: u64,
    /// Milliseconds between two pings to an idle client (each a random bit earlier).
    pub ping_interval_ms: u64,
    /// Peers, as addresses or prefixes, whose word about a client's address is taken: a PROXY header (version
    /// 2), or `X-Forwarded-For`. Each must set one of them on every connection that it passes on.
    pub trusted_proxies: Vec<Prefix>,
    /// Seconds after which a connection is told `reconnect`, and a little later closed with 1001: drawn from this
    /// range for each. Both 0: never.
    pub lifetime_min_s: u64,
    pub lifetime_max_s: u64,
    /// Absent: plaintext on loopback only.
    pub tls: Option<Tls>,
    pub quic: Option<IgnoredTable>,
    pub auth: Auth,
    pub limits: Limits,
    /// Absent: gateway and router in one process.
    pub links: Option<Links>,
}

/// A table whose feature is not built yet: [`Gateway::check`] refuses it by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IgnoredTable;

impl<'de> Deserialize<'de> for IgnoredTable {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<IgnoredTable, D::Error> {
        IgnoredAny::deserialize(from).map(|_| IgnoredTable)
    }
}

/// `[gateway.tls]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tls {
    /// Where clients connect by TLS. May be off loopback.
    pub listen: SocketAddr,
    /// A PEM file with the node's certificate and those that lead to the root.
    pub cert: PathBuf,
    /// A PEM file with the certificate's private key, not encrypted.
    pub key: PathBuf,
}

/// `[gateway.auth]`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Auth {
    /// Files that hold a PEM public key, or a raw secret for HS256.
    pub keys: Vec<PathBuf>,
    /// A JWKS file, instead of `keys`.
    pub jwks: Option<PathBuf>,
    /// The `aud` that a token must carry. Absent: a token with an `aud` is refused.
    pub audience: Option<String>,
    /// Origins of web pages that may connect, as `scheme://host[:port]`. Absent: only this gateway's own,
    /// when it listens on loopback.
    pub allowed_origins: Option<Vec<String>>,
    /// Whether `?user=NAME` says who connects. Absent: in standalone on loopback without keys.
    pub local_user: Option<bool>,
}

/// `[gateway.limits]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Bytes of a request head.
    pub header_bytes: usize,
    /// Bytes of one message from a client.
    pub message_bytes: usize,
    /// Fragments of one message.
    pub fragments: u32,
    /// Messages one socket may send a minute.
    pub messages_per_minute: u32,
    /// Sockets of one user on the node.
    pub connections_per_user: u32,
    /// Sockets from one IPv4 address or one IPv6 network of 64 bits on the node. 0: no limit. A trusted proxy's
    /// own are not counted; its clients' are.
    pub connections_per_ip: u32,
    /// Bytes one socket may be owed.
    pub outbox_bytes: u32,
    /// Bytes all sockets of a shard may be owed.
    pub outbox_shard_bytes: u64,
    /// Seconds of silence after which a client is gone, pings or not.
    pub idle_s: u64,
    /// Seconds in which a client must have said what it wants.
    pub handshake_s: u64,
}

/// `[gateway.links]`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Links {
    /// The routers' link listeners, `host:port`.
    pub routers: Vec<String>,
    pub dns: Option<String>,
    pub key_file: Option<PathBuf>,
    pub cert: Option<PathBuf>,
    pub key: Option<PathBuf>,
    pub ca: Option<PathBuf>,
}

impl Default for Gateway {
    fn default() -> Gateway {
        Gateway {
            node: String::new(),
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080),
            admin: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9101),
            shards: 0,
            soft_limit: 500_000,
            hard_limit: 600_000,
            accept_rate: 20_000,
            drain_s: 30,
            reconnect_spread_ms: 1_000,
            ping_interval_ms: 25_000,
            trusted_proxies: Vec::new(),
            lifetime_min_s: 0,
            lifetime_max_s: 0,
            tls: None,
            quic: None,
            auth: Auth::default(),
            limits: Limits::default(),
            links: None,
        }
    }
}

impl Default for Tls {
    fn default() -> Tls {
        Tls {
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8443),
            cert: PathBuf::new(),
            key: PathBuf::new(),
        }
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            header_bytes: wire::limits::HEADER_BYTES_MAX,
            message_bytes: wire::limits::MESSAGE_BYTES_MAX,
            fragments: wire::limits::FRAGMENTS_MAX,
            messages_per_minute: wire::limits::MESSAGES_PER_MINUTE_MAX,
            connections_per_user: 64,
            connections_per_ip: 0,
            outbox_bytes: 256 * 1024,
            outbox_shard_bytes: 1024 * 1024 * 1024,
            idle_s: 90,
            handshake_s: 10,
        }
    }
}

/// A month.
const LIFETIME_S_MAX: u64 = 31 * 24 * 3_600;

/// Settings that cannot be used; one line for a person. Exit code 2.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    #[error("{key} = {found}: must be {bounds}")]
    Bound { key: &'static str, found: String, bounds: String },
    #[error("{key}: {why}")]
    Wrong { key: &'static str, why: String },
    #[error("{key}: not built yet")]
    NotBuilt { key: &'static str },
}

fn within<N: PartialOrd + Copy + std::fmt::Display>(
    key: &'static str,
    found: N,
    low: N,
    high: N,
) -> Result<(), ConfigError> {
    if found < low || found > high {
        let bounds = format!("between {low} and {high}");
        return Err(ConfigError::Bound { key, found: found.to_string(), bounds });
    }
    Ok(())
}

fn not_built(key: &'static str, is_set: bool) -> Result<(), ConfigError> {
    if is_set { Err(ConfigError::NotBuilt { key }) } else { Ok(()) }
}

fn wrong(key: &'static str, why: impl Into<String>) -> ConfigError {
    ConfigError::Wrong { key, why: why.into() }
}

impl Gateway {
    /// Refuses what is out of bounds, contradictory, unsafe or not built yet.
    pub fn check(&self) -> Result<(), ConfigError> {
        within("gateway.shards", self.shards, 0, limits::SHARDS_MAX)?;
        within("gateway.node (bytes)", self.node.len(), 0, wire::limits::NAME_BYTES_MAX)?;
        within("gateway.soft_limit", self.soft_limit, 1, 100_000_000)?;
        within("gateway.hard_limit", self.hard_limit, 1, 100_000_000)?;
        if self.hard_limit < self.soft_limit {
            let why = format!("{} is below soft_limit = {}", self.hard_limit, self.soft_limit);
            return Err(wrong("gateway.hard_limit", why));
        }
        within("gateway.accept_rate", self.accept_rate, 1, 10_000_000)?;
        within("gateway.drain_s", self.drain_s, 1, 3_600)?;
        within("gateway.reconnect_spread_ms", self.reconnect_spread_ms, 0, 600_000)?;
        within("gateway.ping_interval_ms", self.ping_interval_ms, 100, 600_000)?;
        let proxies = self.trusted_proxies.len();
        within("gateway.trusted_proxies (count)", proxies, 0, limits::TRUSTED_PROXIES_MAX)?;
        self.check_lifetimes()?;
        self.tls.as_ref().map_or(Ok(()), Tls::check)?;
        not_built("gateway.quic", self.quic.is_some())?;
        self.limits.check(self.ping_interval_ms)?;
        self.check_exposure()?;
        self.auth.check()?;
        self.links.as_ref().map_or(Ok(()), Links::check)
    }

    fn check_lifetimes(&self) -> Result<(), ConfigError> {
        let (min, max) = (self.lifetime_min_s, self.lifetime_max_s);
        if (min, max) == (0, 0) {
            return Ok(());
        }
        within("gateway.lifetime_min_s", min, 1, LIFETIME_S_MAX)?;
        within("gateway.lifetime_max_s", max, 1, LIFETIME_S_MAX)?;
        if max < min {
            return Err(wrong("gateway.lifetime_max_s", format!("{max} is below lifetime_min_s = {min}")));
        }
        Ok(())
    }

    /// What may not be offered to a network: plaintext is for loopback, and so is `local_user`.
    fn check_exposure(&self) -> Result<(), ConfigError> {
        if !self.listen.ip().is_loopback() {
            let why = format!("{} is not loopback, and plaintext is refused off loopback", self.listen);
            return Err(wrong("gateway.listen", why));
        }
        if !self.admin.ip().is_loopback() {
            return Err(wrong("gateway.admin", format!("{} is not loopback", self.admin)));
        }
        if self.auth.local_user == Some(true) && self.links.is_some() {
            return Err(wrong("gateway.auth.local_user", "is for standalone only"));
        }
        if self.auth.local_user == Some(true) && !self.is_on_loopback() {
            return Err(wrong(
                "gateway.auth.local_user",
                "is for loopback only, and gateway.tls.listen is not",
            ));
        }
        Ok(())
    }

    /// Whether nobody but this machine reaches the clients' listeners.
    pub fn is_on_loopback(&self) -> bool {
        self.listen.ip().is_loopback() && self.tls.as_ref().is_none_or(|tls| tls.listen.ip().is_loopback())
    }

    /// Whether `?user=NAME` is believed.
    pub fn local_user(&self) -> bool {
        let standalone_on_loopback = self.links.is_none() && self.is_on_loopback();
        let no_keys = self.auth.keys.is_empty() && self.auth.jwks.is_none();
        standalone_on_loopback && self.auth.local_user.unwrap_or(no_keys)
    }

    /// The origins under which a gateway that listens here is reached on its own machine.
    pub fn own_origins(listen: SocketAddr) -> Vec<String> {
        own_origins("http", listen)
    }

    /// The same for its TLS listener.
    pub fn own_tls_origins(listen: SocketAddr) -> Vec<String> {
        own_origins("https", listen)
    }

    /// The origins that may connect when a browser names one. `own` are those of this gateway itself.
    pub fn origins(&self, own: &[String]) -> Vec<String> {
        self.auth.allowed_origins.clone().unwrap_or_else(|| own.to_vec())
    }

    pub fn ping_interval(&self) -> Duration {
        Duration::from_millis(self.ping_interval_ms)
    }

    /// How long connections stay; `None`: as long as they like.
    pub fn lifetime(&self) -> Option<RangeInclusive<Duration>> {
        let range = Duration::from_secs(self.lifetime_min_s)..=Duration::from_secs(self.lifetime_max_s);
        (self.lifetime_max_s > 0).then_some(range)
    }

    pub fn drain_window(&self) -> Duration {
        Duration::from_secs(self.drain_s)
    }
}

fn own_origins(scheme: &str, listen: SocketAddr) -> Vec<String> {
    if !listen.ip().is_loopback() {
        return Vec::new();
    }
    let port = listen.port();
    ["127.0.0.1", "localhost", "[::1]"].iter().map(|host| format!("{scheme}://{host}:{port}")).collect()
}

impl Tls {
    fn check(&self) -> Result<(), ConfigError> {
        for (key, file) in [("gateway.tls.cert", &self.cert), ("gateway.tls.key", &self.key)] {
            if file.as_os_str().is_empty() {
                return Err(wrong(key, "a PEM file must be named"));
            }
        }
        Ok(())
    }
}

impl Auth {
    fn check(&self) -> Result<(), ConfigError> {
        within("gateway.auth.keys (files)", self.keys.len(), 0, limits::KEYS_MAX)?;
        if self.jwks.is_some() && !self.keys.is_empty() {
            return Err(wrong("gateway.auth.jwks", "is instead of keys, not beside them"));
        }
        for origin in self.allowed_origins.iter().flatten() {
            if crate::auth::origin::Origin::parse(origin).is_none() {
                let why = format!("{origin:?} is no origin; scheme://host[:port] is");
                return Err(wrong("gateway.auth.allowed_origins", why));
            }
        }
        Ok(())
    }
}

impl Limits {
    fn check(&self, ping_interval_ms: u64) -> Result<(), ConfigError> {
        use wire::limits as outer;
        within("gateway.limits.header_bytes", self.header_bytes, 512, outer::HEADER_BYTES_MAX)?;
        within("gateway.limits.message_bytes", self.message_bytes, 256, outer::MESSAGE_BYTES_MAX)?;
        // The conformance profile sends a message of 64 KiB in fragments of one byte.
        within("gateway.limits.fragments", self.fragments, 1, 65_536)?;
        within("gateway.limits.messages_per_minute", self.messages_per_minute, 1, 60_000)?;
        within("gateway.limits.connections_per_user", self.connections_per_user, 1, 65_536)?;
        let counted = limits::SOCKETS_COUNTED_MAX;
        within("gateway.limits.connections_per_ip", self.connections_per_ip, 0, counted)?;
        let smallest = u32::try_from(outer::NOTIFICATION_BYTES_MAX).unwrap_or(u32::MAX) + 1_024;
        within("gateway.limits.outbox_bytes", self.outbox_bytes, smallest, 64 * 1024 * 1024)?;
        let shard = u64::from(self.outbox_bytes);
        within("gateway.limits.outbox_shard_bytes", self.outbox_shard_bytes, shard, 1 << 40)?;
        let pings_s = (2 * ping_interval_ms).div_ceil(1_000);
        within("gateway.limits.idle_s (at least two ping intervals)", self.idle_s, pings_s, 86_400)?;
        within("gateway.limits.handshake_s", self.handshake_s, 1, 10)
    }

    pub fn handshake_wait(&self) -> Duration {
        Duration::from_secs(self.handshake_s)
    }
}

impl Links {
    fn check(&self) -> Result<(), ConfigError> {
        not_built("gateway.links.dns", self.dns.is_some())?;
        not_built("gateway.links.cert", self.cert.is_some())?;
        not_built("gateway.links.key", self.key.is_some())?;
        not_built("gateway.links.ca", self.ca.is_some())?;
        not_built("gateway.links.key_file", self.key_file.is_some())?;
        within("gateway.links.routers (count)", self.routers.len(), 1, limits::ROUTERS_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Gateway, String> {
        let config: Config =
            ops::settings::parse(text, "t.toml", &SECTIONS, std::iter::empty()).map_err(|e| e.to_string())?;
        config.gateway.check().map_err(|e| e.to_string())?;
        config.console.check(&config.gateway).map_err(|e| e.to_string())?;
        Ok(config.gateway)
    }

    #[test]
    fn no_file_is_standalone_on_loopback_with_local_users() {
        let gateway = parsed("").unwrap();
        assert_eq!(gateway, Gateway::default());
        assert!(gateway.local_user());
        let own = Gateway::own_origins(gateway.listen);
        assert!(gateway.origins(&own).contains(&"http://localhost:8080".to_owned()));
    }

    #[test]
    fn tables_of_the_router_are_left_to_the_router() {
        assert!(parsed("[router]\napi = \"127.0.0.1:1\"\n[[kafka.source]]\ntopic = \"t\"\n").is_ok());
    }

    #[test]
    fn an_unknown_key_is_refused_by_name() {
        let error = parsed("[gateway]\nsoft_limt = 1\n").unwrap_err();
        assert_eq!(error, "t.toml:2: unknown key `soft_limt`; did you mean `soft_limit`?");
    }

    #[test]
    fn values_out_of_bounds_are_refused_by_name() {
        let cases = [
            ("[gateway]\nhard_limit = 10\n", "gateway.hard_limit: 10 is below soft_limit = 500000"),
            ("[gateway]\naccept_rate = 0\n", "gateway.accept_rate = 0: must be between 1 and 10000000"),
            ("[gateway]\nlisten = \"0.0.0.0:80\"\n", "gateway.listen: 0.0.0.0:80 is not loopback"),
            ("[gateway]\nadmin = \"0.0.0.0:80\"\n", "gateway.admin: 0.0.0.0:80 is not loopback"),
            ("[gateway.limits]\nhandshake_s = 11\n", "gateway.limits.handshake_s = 11"),
            ("[gateway]\nlifetime_max_s = 10\n", "gateway.lifetime_min_s = 0: must be between 1 and"),
            (
                "[gateway]\nlifetime_min_s = 20\nlifetime_max_s = 10\n",
                "gateway.lifetime_max_s: 10 is below lifetime_min_s = 20",
            ),
            ("[gateway.limits]\nconnections_per_ip = 100001\n", "gateway.limits.connections_per_ip = 100001"),
            ("[gateway]\ntrusted_proxies = [\"10.0.0.1/8\"]\n", "t.toml:2: \"10.0.0.1/8\" has bits behind"),
            ("[gateway]\ntrusted_proxies = [\"proxy-1\"]\n", "t.toml:2: \"proxy-1\" is no address and no"),
            ("[gateway.limits]\nidle_s = 10\n", "gateway.limits.idle_s (at least two ping intervals) = 10"),
            ("[gateway.links]\nrouters = []\n", "gateway.links.routers (count) = 0"),
            ("[console]\napi = \"http://10.0.0.1:1\"\n", "console.api: http://10.0.0.1:1 is not loopback"),
            ("[console]\napi = \"http://127.0.0.1.evil:1\"\n", "console.api: http://127.0.0.1.evil:1 is not"),
            (
                "[console]\napi = \"http://x; script-src *\"\n",
                "console.api: \"http://x; script-src *\" is not",
            ),
            ("[console]\ntoken_file = \"t\"\n", "console.token_file: not built yet"),
            ("[gateway.tls]\ncert = \"x\"\n", "gateway.tls.key: a PEM file must be named"),
            ("[gateway.tls]\nkey = \"x\"\n", "gateway.tls.cert: a PEM file must be named"),
            (
                "[gateway.tls]\ncert = \"c\"\nkey = \"k\"\nlisten = \"0.0.0.0:8443\"\n[gateway.auth]\nlocal_user = true\n",
                "gateway.auth.local_user: is for loopback only",
            ),
            (
                "[gateway.auth]\nallowed_origins = [\"x\"]\n",
                "gateway.auth.allowed_origins: \"x\" is no origin",
            ),
            (
                "[gateway.auth]\nlocal_user = true\n[gateway.links]\nrouters = [\"127.0.0.1:1\"]\n",
                "gateway.auth.local_user: is for standalone only",
            ),
        ];
        for (text, start) in cases {
            let error = parsed(text).unwrap_err();
            assert!(error.starts_with(start), "{text}: {error}");
            assert!(!error.contains('\n'));
        }
    }

    #[test]
    fn a_tls_listener_off_loopback_ends_the_belief_in_local_users() {
        let listening = |on: &str| format!("[gateway.tls]\ncert = \"c\"\nkey = \"k\"\nlisten = \"{on}\"\n");
        assert!(parsed(&listening("127.0.0.1:8443")).unwrap().local_user());
        assert!(!parsed(&listening("0.0.0.0:8443")).unwrap().local_user());
        let tls = parsed("[gateway.tls]\ncert = \"c\"\nkey = \"k\"\n").unwrap().tls.unwrap();
        assert_eq!(tls.listen.to_string(), "127.0.0.1:8443");
    }

    #[test]
    fn keys_or_links_end_the_belief_in_local_users() {
        assert!(!parsed("[gateway.auth]\nkeys = [\"k\"]\n").unwrap().local_user());
        assert!(!parsed("[gateway.links]\nrouters = [\"127.0.0.1:1\"]\n").unwrap().local_user());
        assert!(parsed("[gateway.auth]\nkeys = [\"k\"]\nlocal_user = true\n").unwrap().local_user());
    }
}
