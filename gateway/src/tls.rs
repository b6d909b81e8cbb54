//! TLS as the gateway speaks it: 1.2 and 1.3 by rustls with `ring`, AEAD suites only, ALPN `http/1.1`, tickets instead of
//! long handshakes, never early data.
//!
//! Owns what a node proves itself with (`identity`) and one client's half-understood bytes (`session`). Opens no file and
//! no socket: `io::certificates` reads the files, `io::front` stands between the sockets and the shard. Called by those.

pub mod identity;
pub(crate) mod session;

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};
use rustls::server::{ProducesTickets, ServerSessionMemoryCache, StoresServerSessions};
use rustls::sign::SingleCertAndKey;
use rustls::version::{TLS12, TLS13};
use rustls::{Error, ServerConfig};

use crate::limits::TLS_SESSIONS_MAX;
use identity::Identity;

/// What clients may offer by ALPN. One that offers only something else is refused (RFC 7301 §3.2).
const ALPN: &[u8] = b"http/1.1";
/// Tickets that a client of TLS 1.3 is given after its handshake. It uses one and is given another.
const TICKETS_EACH: usize = 1;

/// What lets a client come back by a shorter handshake. Lives as long as the node: a new certificate keeps it.
#[derive(Debug, Clone)]
pub struct Resumption {
    /// Keys change every six hours; the last ones are still taken for as long.
    tickets: Arc<dyn ProducesTickets>,
    /// For clients of TLS 1.2 without tickets. Bounded: the oldest is forgotten.
    sessions: Arc<dyn StoresServerSessions>,
}

impl Resumption {
    /// Err: there is no randomness to be had.
    pub fn new() -> Result<Resumption, Error> {
        let sessions = ServerSessionMemoryCache::new(TLS_SESSIONS_MAX);
        Ok(Resumption { tickets: ring::Ticketer::new()?, sessions })
    }

    /// What new connections are made with from now on.
    pub fn server_config(&self, identity: &Identity) -> Result<Arc<ServerConfig>, Error> {
        let mut config = ServerConfig::builder_with_provider(Arc::new(provider()))
            .with_protocol_versions(&[&TLS13, &TLS12])?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(identity.certified())));
        // Which of the suites is the client's to choose: all are good, and it knows what its hardware does fast.
        config.ignore_client_order = false;
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.ticketer = Arc::clone(&self.tickets);
        config.session_storage = Arc::clone(&self.sessions);
        config.send_tls13_tickets = TICKETS_EACH;
        config.max_early_data_size = 0;
        Ok(Arc::new(config))
    }
}

/// The one backend for all cryptography here; it has no suite without AEAD.
fn provider() -> CryptoProvider {
    ring::default_provider()
}

#[cfg(test)]
#[path = "../tests/support/minted.rs"]
pub(crate) mod minted;

/// A client of the buffered kind, for tests from the other side.
#[cfg(test)]
pub(crate) mod peer;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_suite_is_aead_with_forward_secrecy() {
        for suite in provider().cipher_suites {
            let name = format!("{:?}", suite.suite());
            let aead = name.contains("_GCM_") || name.contains("CHACHA20_POLY1305");
            let ephemeral = name.starts_with("TLS13_") || name.starts_with("TLS_ECDHE_");
            assert!(aead && ephemeral, "{name}");
        }
    }
}
