//! What a shard is made of and what it may do: the configuration as it uses it.
//!
//! Checks nothing: `config` did. Made by `node` at the start and at each reload.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use wire::message::ReconnectHint;
use wire::proxy::Prefix;
use wire::session::SessionLimits;

use crate::admission::Admission;
use crate::auth::Authenticator;
use crate::census::Census;
use crate::limits;
use crate::metrics::ShardMetrics;
use crate::shard::request;

/// What a shard is made of and what it may do. The `Arc`s are shared by the node's shards.
#[derive(Debug, Clone)]
pub struct ShardConfig {
    pub node: String,
    pub shard: u16,
    /// Differs at every start of the process.
    pub boot: u64,
    /// How many routers it is linked to.
    pub routers: usize,
    pub admission: Arc<Admission>,
    pub census: Arc<Census>,
    pub authenticator: Arc<Authenticator>,
    pub metrics: Arc<ShardMetrics>,
    pub settings: Settings,
    /// What the console page is told; absent but in standalone on loopback.
    pub console: Option<Arc<request::Console>>,
}

/// The configuration as the shard uses it.
#[derive(Debug, Clone)]
pub struct Settings {
    pub session: SessionLimits,
    /// Messages one socket may send a minute.
    pub messages_per_minute: u32,
    /// Bytes of a request head.
    pub header_bytes: usize,
    pub connections_per_user: u32,
    /// 0: not limited.
    pub connections_per_ip: u32,
    pub trusted_proxies: Arc<[Prefix]>,
    /// Bytes one socket may be owed.
    pub outbox_bytes: u32,
    /// Bytes all sockets may be owed.
    pub outbox_shard_bytes: u64,
    pub ping_interval: Duration,
    /// Silence after which a client is gone.
    pub idle: Duration,
    pub handshake_wait: Duration,
    /// How long an open connection stays; `None`: as long as it likes.
    pub lifetime: Option<RangeInclusive<Duration>>,
    pub drain_window: Duration,
    pub reconnect: ReconnectHint,
}

impl From<&crate::config::Gateway> for Settings {
    fn from(gateway: &crate::config::Gateway) -> Settings {
        let crate::config::Limits { message_bytes, fragments, messages_per_minute, .. } = gateway.limits;
        Settings {
            session: SessionLimits { message_bytes, fragments, binary: false },
            messages_per_minute,
            header_bytes: gateway.limits.header_bytes,
            connections_per_user: gateway.limits.connections_per_user,
            connections_per_ip: gateway.limits.connections_per_ip,
            trusted_proxies: gateway.trusted_proxies.as_slice().into(),
            outbox_bytes: gateway.limits.outbox_bytes,
            outbox_shard_bytes: gateway.limits.outbox_shard_bytes,
            ping_interval: gateway.ping_interval(),
            idle: Duration::from_secs(gateway.limits.idle_s),
            handshake_wait: gateway.limits.handshake_wait().saturating_sub(limits::DEADLINE_MARGIN),
            lifetime: gateway.lifetime(),
            drain_window: gateway.drain_window(),
            reconnect: ReconnectHint { spread_ms: gateway.reconnect_spread_ms, ..ReconnectHint::default() },
        }
    }
}

impl Settings {
    /// How long a client may leave a message unfinished: its close is done when a handshake would have to be.
    pub(super) fn unfinished_wait(&self) -> Duration {
        self.handshake_wait.saturating_sub(limits::CLOSE_GRACE).max(self.handshake_wait / 2)
    }
}
