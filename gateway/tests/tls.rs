//! A whole node's TLS listener on real sockets: WebSockets, HTTP and the end of both, whole and byte by byte.
#![expect(clippy::unwrap_used, reason = "a panic is how a test reports")]

#[path = "support/minted.rs"]
mod minted;

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use gateway::config::{Gateway, Tls};
use gateway::node::{self, Doors, RunningNode, StartError};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use tempfile::TempDir;
use tungstenite::{Message, WebSocket};

const WATCHDOG: Duration = Duration::from_secs(20);

struct House {
    node: RunningNode,
    settings: Gateway,
    folder: TempDir,
    /// A router that never answers: nothing here needs one.
    _router: TcpListener,
}

impl House {
    fn start() -> House {
        House::start_behind(&[])
    }

    /// With these proxies trusted.
    fn start_behind(proxies: &[&str]) -> House {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("both.pem"), minted::mint_p256()).unwrap();
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let file = folder.path().join("both.pem");
        let tls = Tls { listen: any, cert: file.clone(), key: file };
        let trusted_proxies = proxies.iter().map(|proxy| proxy.parse().unwrap()).collect();
        let settings = Gateway {
            listen: any,
            admin: any,
            shards: 2,
            tls: Some(tls),
            trusted_proxies,
            ..Gateway::default()
        };
        let router = TcpListener::bind(any).unwrap();
        let doors = Doors::open(&settings).unwrap();
        let node = node::start(&settings, doors, &[router.local_addr().unwrap()], None).unwrap();
        House { node, settings, folder, _router: router }
    }

    fn file(&self) -> std::path::PathBuf {
        self.folder.path().join("both.pem")
    }

    fn stream<S: Read + Write>(
        &self,
        carry: impl FnOnce(TcpStream) -> S,
    ) -> StreamOwned<ClientConnection, S> {
        let socket = TcpStream::connect(self.node.tls.unwrap()).unwrap();
        socket.set_read_timeout(Some(WATCHDOG)).unwrap();
        let session = ClientConnection::new(trusting(&self.file()), "localhost".try_into().unwrap()).unwrap();
        StreamOwned::new(session, carry(socket))
    }

    fn connect<S: Read + Write>(
        &self,
        carry: impl FnOnce(TcpStream) -> S,
    ) -> WebSocket<StreamOwned<ClientConnection, S>> {
        let url = format!("ws://localhost:{}/v1/connect?user=ada", self.node.tls.unwrap().port());
        tungstenite::client(url, self.stream(carry)).map_err(|why| why.to_string()).unwrap().0
    }
}

fn trusting(file: &Path) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(file).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    Arc::new(builder.with_root_certificates(roots).with_no_client_auth())
}

/// A socket that takes and brings one byte at a time.
struct Trickle(TcpStream);

impl Read for Trickle {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let few = into.len().min(1);
        self.0.read(&mut into[..few])
    }
}

impl Write for Trickle {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(&bytes[..bytes.len().min(1)])
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Says hello, hears its own ping, leaves in order: an end with `close_notify`, not a cut.
fn converse<S: Read + Write>(mut socket: WebSocket<StreamOwned<ClientConnection, S>>) {
    assert!(socket.read().unwrap().to_text().unwrap().contains("\"welcome\""));
    for text in [
        "{\"type\":\"ping\",\"t\":1}".to_owned(),
        format!("{{\"type\":\"ping\",\"t\":2{}}}", " ".repeat(40_000)),
    ] {
        socket.send(Message::text(text)).unwrap();
        assert!(socket.read().unwrap().to_text().unwrap().contains("\"pong\""));
    }
    socket.close(None).unwrap();
    let ended = loop {
        match socket.read() {
            Ok(Message::Close(_)) => {}
            Ok(other) => panic!("{other:?}"),
            Err(why) => break why,
        }
    };
    assert!(matches!(ended, tungstenite::Error::ConnectionClosed), "{ended}");
    assert_eq!(socket.get_mut().read(&mut [0; 1]).unwrap(), 0);
}

#[test]
fn a_websocket_by_tls_is_like_any_other() {
    let house = House::start();
    converse(house.connect(|socket| socket));
    house.node.stop();
}

#[test]
fn byte_by_byte_is_the_same() {
    let house = House::start();
    converse(house.connect(Trickle));
    house.node.stop();
}

#[test]
fn a_trusted_proxy_says_who_it_is_before_tls() {
    // PROXY, version 2, over TCP and IPv4: 192.0.2.7:4000 to 192.0.2.1:8443.
    const HEADER: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\xc0\0\x02\x01\x0f\xa0\x20\xfb";
    let house = House::start_behind(&["127.0.0.0/8"]);
    converse(house.connect(|mut socket| {
        socket.write_all(HEADER).unwrap();
        socket
    }));
    converse(house.connect(|mut socket| {
        for byte in HEADER {
            socket.write_all(&[*byte]).unwrap();
        }
        Trickle(socket)
    }));
    house.node.stop();
}

#[test]
fn an_answer_by_http_comes_whole_and_ends_in_order() {
    let house = House::start();
    for path in ["/healthz", "/v1/admission", "/nowhere"] {
        let mut stream = house.stream(|socket| socket);
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 ") && answer.contains("\r\n\r\n"), "{path}: {answer}");
    }
    house.node.stop();
}

#[test]
fn a_reload_takes_a_new_certificate_and_leaves_what_stands() {
    let house = House::start();
    let mut before = house.connect(|socket| socket);
    before.read().unwrap();
    std::fs::write(house.file(), "nonsense").unwrap();
    let refused = house.node.control().reload(&house.settings).unwrap_err().to_string();
    assert!(refused.contains("both.pem") && refused.contains("no PEM certificate"), "{refused}");
    std::fs::write(house.file(), minted::mint_p256()).unwrap();
    house.node.control().reload(&house.settings).unwrap();
    // Shards hear of it in their own time; who trusts the new one alone gets in by then.
    let started = std::time::Duration::from_millis(20);
    let taken = (0..500).any(|_| {
        std::thread::sleep(started);
        let mut stream = house.stream(|socket| socket);
        write!(stream, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").is_ok()
    });
    assert!(taken, "the new certificate is not served");
    converse_on(before);
    house.node.stop();
}

fn converse_on(mut socket: WebSocket<StreamOwned<ClientConnection, TcpStream>>) {
    socket.send(Message::text("{\"type\":\"ping\",\"t\":1}")).unwrap();
    assert!(socket.read().unwrap().to_text().unwrap().contains("\"pong\""));
}

#[test]
fn a_busy_port_is_named() {
    let house = House::start();
    let busy = house.node.tls.unwrap();
    let settings = Gateway {
        tls: Some(Tls { listen: busy, ..house.settings.tls.clone().unwrap() }),
        ..house.settings.clone()
    };
    let why = Doors::open(&settings).unwrap_err();
    assert!(matches!(&why, StartError::Listen { address, .. } if *address == busy), "{why}");
    assert!(why.to_string().contains("by TLS"), "{why}");
    house.node.stop();
}
