//! What stands in front of a simulated provider and speaks TLS for it, well or badly, as a test says and may change.
//!
//! Passes bytes on and reads none of them. Every change ends the connections that there are.

use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use crate::certificate::Certificate;

/// One for all fronts.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().expect("a runtime"));

/// How it meets who comes.
#[derive(Clone)]
enum Manner {
    Tls(Arc<ServerConfig>),
    /// Something, and it is not TLS.
    Babble,
    /// It hears the first of it, and ends it.
    HangUp,
}

/// A port of this machine, by the name `localhost`.
pub struct Front {
    at: SocketAddr,
    manner: watch::Sender<Manner>,
}

impl std::fmt::Debug for Front {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Front").field("at", &self.at).finish_non_exhaustive()
    }
}

impl Front {
    /// In front of `behind`, which is `host:port` or an address with it. Hangs up until it is told otherwise.
    ///
    /// # Panics
    /// When there is no port left, or `behind` is none.
    pub fn of(behind: &str) -> Front {
        let behind = behind.rsplit("://").next().and_then(|rest| rest.split('/').next()).unwrap_or_default();
        let behind: SocketAddr = behind.parse().unwrap_or_else(|_| panic!("{behind} is an address"));
        let listener = RUNTIME.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port");
        let at = listener.local_addr().expect("an address");
        let (manner, seen) = watch::channel(Manner::HangUp);
        RUNTIME.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(meet(stream, behind, seen.clone()));
            }
        });
        Front { at, manner }
    }

    /// `https://localhost:1234` with `https`.
    pub fn url(&self, scheme: &str) -> String {
        format!("{scheme}://localhost:{}", self.at.port())
    }

    /// # Panics
    /// When its files are no certificate and key.
    pub fn shows(&self, certificate: &Certificate) {
        let chain = CertificateDer::pem_file_iter(&certificate.cert).expect("a file");
        let chain = chain.collect::<Result<Vec<_>, _>>().expect("certificates");
        let key = PrivateKeyDer::from_pem_file(&certificate.key).expect("a key");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring speaks TLS 1.2 and 1.3");
        let mut config = config.with_no_client_auth().with_single_cert(chain, key).expect("they fit");
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        self.manner.send_replace(Manner::Tls(Arc::new(config)));
    }

    pub fn speaks_no_tls(&self) {
        self.manner.send_replace(Manner::Babble);
    }

    pub fn hangs_up(&self) {
        self.manner.send_replace(Manner::HangUp);
    }
}

async fn meet(mut stream: TcpStream, behind: SocketAddr, mut seen: watch::Receiver<Manner>) {
    let manner = seen.borrow_and_update().clone();
    match manner {
        Manner::HangUp => {
            // What was said is read, else this would be a reset.
            let mut hello = [0; 4_096];
            let _read = stream.read(&mut hello).await;
            let _gone = stream.shutdown().await;
        }
        Manner::Babble => {
            let _gone = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await;
            let _end = copy_bidirectional(&mut stream, &mut tokio::io::empty()).await;
        }
        Manner::Tls(config) => {
            tokio::select! {
                _changed = seen.changed() => {}
                () = pass(stream, behind, config) => {}
            }
        }
    }
}

async fn pass(stream: TcpStream, behind: SocketAddr, config: Arc<ServerConfig>) {
    let Ok(mut client) = TlsAcceptor::from(config).accept(stream).await else { return };
    let Ok(mut server) = TcpStream::connect(behind).await else { return };
    let _end = copy_bidirectional(&mut client, &mut server).await;
}
