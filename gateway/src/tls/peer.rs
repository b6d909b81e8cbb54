//! The other side in tests: rustls's own buffered client, and bytes carried to and fro.

use std::io::{Read, Write};
use std::sync::Arc;

use rustls::client::Resumption as ClientResumption;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, SupportedProtocolVersion};

use super::identity::{Identity, read_chain, read_key};
use super::minted::mint_p256;
use super::{Resumption, provider};

/// An identity out of one PEM text.
pub(crate) fn identity(pem: &[u8]) -> Identity {
    Identity::new(read_chain(pem).unwrap(), read_key(pem).unwrap(), "c.pem").unwrap()
}

/// A server's settings, and those of a client that trusts it.
pub(crate) fn both(version: &'static SupportedProtocolVersion) -> (Arc<ServerConfig>, Arc<ClientConfig>) {
    let pem = mint_p256();
    let server = Resumption::new().unwrap().server_config(&identity(&pem)).unwrap();
    (server, client(&pem, version))
}

/// A client that trusts these certificates and resumes when it can.
pub(crate) fn client(trusted: &[u8], version: &'static SupportedProtocolVersion) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(read_chain(trusted).unwrap());
    let builder = ClientConfig::builder_with_provider(Arc::new(provider()));
    let builder = builder.with_protocol_versions(&[version]).unwrap();
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.resumption = ClientResumption::in_memory_sessions(8);
    Arc::new(config)
}

pub(crate) fn connect(config: &Arc<ClientConfig>) -> ClientConnection {
    let name = ServerName::try_from("localhost").unwrap();
    ClientConnection::new(Arc::clone(config), name).unwrap()
}

/// What the client wants to send.
pub(crate) fn flight(client: &mut ClientConnection) -> Vec<u8> {
    let mut bytes = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut bytes).unwrap();
    }
    bytes
}

/// Gives the client records and returns the plaintext in them; `None` behind `close_notify`.
pub(crate) fn read(client: &mut ClientConnection, mut records: &[u8]) -> Option<Vec<u8>> {
    let mut plain = Vec::new();
    let mut is_over = false;
    while !records.is_empty() && !is_over {
        client.read_tls(&mut records).unwrap();
        is_over = client.process_new_packets().unwrap().peer_has_closed();
        let mut piece = [0; 4_096];
        while let Ok(read @ 1..) = client.reader().read(&mut piece) {
            plain.extend_from_slice(&piece[..read]);
        }
    }
    (!is_over || !plain.is_empty()).then_some(plain)
}

pub(crate) fn say(client: &mut ClientConnection, plain: &[u8]) -> Vec<u8> {
    let mut records = Vec::new();
    for piece in plain.chunks(16_000) {
        client.writer().write_all(piece).unwrap();
        records.extend(flight(client));
    }
    records
}
