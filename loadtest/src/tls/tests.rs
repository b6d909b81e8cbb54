//! A client's session against rustls's own server: in pieces, back again, and against servers that are not what they seem.

use std::io::{Read, Write};
use std::process::Command;

use rustls::pki_types::PrivateKeyDer;
use rustls::version::{TLS12, TLS13};
use rustls::{ServerConfig, ServerConnection, SupportedProtocolVersion};

use super::*;

/// A certificate for localhost and its key, in one PEM text.
fn mint() -> Vec<u8> {
    let words = "req -x509 -nodes -days 30 -subj /CN=localhost -newkey ec -pkeyopt ec_paramgen_curve:P-256 \
                 -addext subjectAltName=DNS:localhost -addext basicConstraints=critical,CA:FALSE \
                 -keyout /dev/stdout -out /dev/stdout";
    let minted =
        Command::new("openssl").args(words.split_whitespace()).output().expect("openssl is installed");
    assert!(minted.status.success(), "{}", String::from_utf8_lossy(&minted.stderr));
    minted.stdout
}

fn server(pem: &[u8], version: &'static SupportedProtocolVersion) -> Arc<ServerConfig> {
    let chain = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>().expect("minted");
    let key = PrivateKeyDer::from_pem_slice(pem).expect("minted");
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_protocol_versions(&[version]).expect("ring has both").with_no_client_auth();
    let mut config = builder.with_single_cert(chain, key).expect("they match");
    config.ticketer = ring::Ticketer::new().expect("there is randomness");
    Arc::new(config)
}

fn clients(trust: Trust) -> Clients {
    Clients::new(&TlsPlan { trust, resumes: true }).expect("ring has everything")
}

/// Carries bytes to and fro until both are through; each flight of the server's is cut at `at`.
fn shake(
    clients: &Clients,
    place: u32,
    server: &mut ServerConnection,
    at: usize,
) -> Result<(Session, Vec<u8>), String> {
    let (mut to_server, mut plain) = (Vec::new(), Vec::new());
    let mut session = clients.connect(place, "localhost", &mut to_server)?;
    while session.established().is_none() || server.is_handshaking() || server.wants_write() {
        let mut from = to_server.as_slice();
        while !from.is_empty() {
            server.read_tls(&mut from).map_err(|why| why.to_string())?;
            server.process_new_packets().map_err(|why| why.to_string())?;
        }
        let (mut flight, mut answer) = (Vec::new(), Vec::new());
        while server.wants_write() {
            server.write_tls(&mut flight).map_err(|why| why.to_string())?;
        }
        let cut = at.min(flight.len());
        let (front, back) = flight.split_at_mut(cut);
        for piece in [front, back] {
            clients.receive(&mut session, place, piece, &mut answer, &mut |said| {
                plain.extend_from_slice(said);
            })?;
        }
        to_server = answer;
    }
    Ok((session, plain))
}

#[test]
fn a_cut_at_every_byte_changes_nothing() {
    let pem = mint();
    let clients = clients(Trust::roots(&pem).expect("a certificate"));
    for version in [&TLS12, &TLS13] {
        let config = server(&pem, version);
        for at in (0..1_200).step_by(7) {
            let mut server = ServerConnection::new(Arc::clone(&config)).expect("good settings");
            server.writer().write_all(b"hello, client").expect("it is kept");
            let (mut session, plain) = shake(&clients, at as u32, &mut server, at).expect("they agree");
            assert_eq!(plain, b"hello, client", "cut at {at}");
            assert_eq!(session.received.capacity(), 0, "an idle session holds no buffer");
            let records = session.encrypt(b"hello, server").expect("it stands");
            server.read_tls(&mut records.as_slice()).expect("whole records");
            server.process_new_packets().expect("good records");
            let mut heard = [0; 13];
            server.reader().read_exact(&mut heard).expect("all of it");
            assert_eq!(&heard, b"hello, server");
        }
    }
}

#[test]
fn each_client_comes_back_with_a_ticket_of_its_own() {
    let pem = mint();
    for version in [&TLS12, &TLS13] {
        let clients = clients(Trust::Anybody);
        let config = server(&pem, version);
        let resumed = |place| {
            let mut server = ServerConnection::new(Arc::clone(&config)).expect("good settings");
            let (session, _) = shake(&clients, place, &mut server, 0).expect("they agree");
            session.established().expect("it stands").resumed
        };
        assert!(!resumed(1), "the first time in full");
        assert!(!resumed(2), "not with the first one's ticket");
        assert!(resumed(1) && resumed(2) && resumed(1));
    }
    let full = Clients::new(&TlsPlan { trust: Trust::Anybody, resumes: false }).expect("ring has everything");
    let config = server(&pem, &TLS13);
    for _ in 0..2 {
        let mut server = ServerConnection::new(Arc::clone(&config)).expect("good settings");
        let (session, _) = shake(&full, 1, &mut server, 0).expect("they agree");
        assert!(session.established().is_some_and(|established| !established.resumed));
    }
}

#[test]
fn who_is_not_believed_is_named_as_such() {
    let (pem, other) = (mint(), mint());
    let config = server(&pem, &TLS13);
    let clients = clients(Trust::roots(&other).expect("a certificate"));
    let mut server = ServerConnection::new(config).expect("good settings");
    assert_eq!(shake(&clients, 1, &mut server, 0).err().as_deref(), Some("certificate not trusted"));
    let mut hello = Vec::new();
    let mut session = clients.connect(1, "localhost", &mut hello).expect("a hello");
    let mut http = *b"HTTP/1.1 400 Bad Request\r\n\r\n";
    let said = clients.receive(&mut session, 1, &mut http, &mut Vec::new(), &mut |_| {});
    assert_eq!(said, Err("the server speaks no TLS".to_owned()));
}

#[test]
fn a_file_without_certificates_is_no_trust() {
    assert!(Trust::roots(b"hello").is_err_and(|why| why.contains("no PEM certificate")));
}
