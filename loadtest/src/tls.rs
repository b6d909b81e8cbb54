//! TLS in the client role: whom to trust, one client's session, and the ticket with which it comes back.
//!
//! A session keeps no buffer while nothing is half-read, so that a hundred thousand of them fit. Pure but for rustls's own
//! randomness; opens no socket. Called by `engine` (sockets), `cli` (the CA file).

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{
    ClientConnectionData, ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue,
    UnbufferedClientConnection,
};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::unbuffered::{ConnectionState, EncodeError, EncodeTlsData, EncryptError, UnbufferedStatus};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, HandshakeKind, NamedGroup, RootCertStore,
    SignatureScheme,
};

/// Bytes that a record adds to its plaintext at the most.
const RECORD_OVERHEAD_BYTES: usize = 40;
/// Bytes of what cannot be read yet: two records, since a server may send a chain of certificates.
const UNREAD_BYTES_MAX: usize = 64 * 1024;

/// Whose certificates are believed.
#[derive(Debug, Clone)]
pub enum Trust {
    Roots(Arc<RootCertStore>),
    /// Anybody's: for servers with a test certificate.
    Anybody,
}

impl Trust {
    /// The certificates of a PEM file.
    pub fn roots(pem: &[u8]) -> Result<Trust, String> {
        let read = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
        let mut roots = RootCertStore::empty();
        for certificate in read.map_err(|why| why.to_string())? {
            roots.add(certificate).map_err(|why| why.to_string())?;
        }
        if roots.is_empty() {
            return Err("there is no PEM certificate in it".to_owned());
        }
        Ok(Trust::Roots(Arc::new(roots)))
    }
}

/// How clients speak TLS.
#[derive(Debug, Clone)]
pub struct TlsPlan {
    pub trust: Trust,
    /// A client that comes back does so with its last ticket.
    pub resumes: bool,
}

/// What all clients of a thread share.
#[derive(Debug)]
pub struct Clients {
    config: Arc<ClientConfig>,
    tickets: Arc<Tickets>,
}

impl Clients {
    pub fn new(plan: &TlsPlan) -> Result<Clients, Error> {
        let TlsPlan { trust, resumes } = plan;
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?;
        let builder = match trust {
            Trust::Roots(roots) => builder.with_root_certificates(Arc::clone(roots)),
            Trust::Anybody => {
                builder.dangerous().with_custom_certificate_verifier(Arc::new(AnybodyIs { provider }))
            }
        };
        let mut config = builder.with_no_client_auth();
        let tickets = Arc::new(Tickets::default());
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.resumption =
            if *resumes { Resumption::store(Arc::clone(&tickets) as _) } else { Resumption::disabled() };
        Ok(Clients { config: Arc::new(config), tickets })
    }

    /// A session of the client in this place; its hello is put behind `out`.
    pub fn connect(&self, place: u32, host: &str, out: &mut Vec<u8>) -> Result<Session, String> {
        self.tickets.current.store(place, Ordering::Relaxed);
        let name = ServerName::try_from(host.to_owned()).map_err(|why| why.to_string())?;
        let tls =
            UnbufferedClientConnection::new(Arc::clone(&self.config), name).map_err(|why| said(&why))?;
        let mut session = Session { tls, received: Vec::new() };
        self.receive(&mut session, place, &mut [], out, &mut |_| {})?;
        Ok(session)
    }

    /// Opens what came, in place. What is to be answered, alerts included, is put behind `out`. Err: why it is over.
    pub fn receive(
        &self,
        session: &mut Session,
        place: u32,
        data: &mut [u8],
        out: &mut Vec<u8>,
        hear: &mut dyn FnMut(&[u8]),
    ) -> Result<(), String> {
        // A ticket that comes now is this client's.
        self.tickets.current.store(place, Ordering::Relaxed);
        session.receive(data, out, hear).map_err(|why| said(&why))
    }
}

/// In words that are an error kind: few, and the same for the same fault.
fn said(why: &Error) -> String {
    match why {
        // A bad signature: of another issuer by the same name.
        Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => {
            "certificate not trusted".to_owned()
        }
        Error::InvalidCertificate(CertificateError::NotValidForNameContext { .. }) => {
            "certificate of another name".to_owned()
        }
        Error::InvalidCertificate(CertificateError::ExpiredContext { .. }) => {
            "certificate expired".to_owned()
        }
        Error::InvalidMessage(_) => "the server speaks no TLS".to_owned(),
        Error::AlertReceived(alert) => format!("alert {alert:?}"),
        other => other.to_string(),
    }
}

/// How a handshake was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Established {
    pub resumed: bool,
}

/// One client's TLS session.
pub struct Session {
    tls: UnbufferedClientConnection,
    /// Bytes that are not a whole record or message yet.
    received: Vec<u8>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("established", &self.established()).finish_non_exhaustive()
    }
}

impl Session {
    /// `None`: the handshake is under way.
    pub fn established(&self) -> Option<Established> {
        let resumed = self.tls.handshake_kind() == Some(HandshakeKind::Resumed);
        (!self.tls.is_handshaking()).then_some(Established { resumed })
    }

    fn receive(
        &mut self,
        data: &mut [u8],
        out: &mut Vec<u8>,
        hear: &mut dyn FnMut(&[u8]),
    ) -> Result<(), Error> {
        if self.received.is_empty() {
            let used = self.open(data, out, hear)?;
            self.received.extend_from_slice(&data[used..]);
        } else {
            let mut whole = std::mem::take(&mut self.received);
            whole.extend_from_slice(data);
            let used = self.open(&mut whole, out, hear)?;
            whole.drain(..used);
            whole.shrink_to_fit();
            self.received = whole;
        }
        if self.received.len() > UNREAD_BYTES_MAX {
            return Err(Error::General("the server sends more than fits a handshake".to_owned()));
        }
        Ok(())
    }

    /// Returns how many bytes are done with.
    fn open(
        &mut self,
        input: &mut [u8],
        out: &mut Vec<u8>,
        hear: &mut dyn FnMut(&[u8]),
    ) -> Result<usize, Error> {
        let mut used = 0;
        loop {
            let UnbufferedStatus { mut discard, state, .. } =
                self.tls.process_tls_records(&mut input[used..]);
            match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record?;
                        discard += record.discard;
                        hear(record.payload);
                    }
                }
                Ok(ConnectionState::EncodeTlsData(mut message)) => encode(&mut message, out),
                Ok(ConnectionState::TransmitTlsData(sent)) => sent.done(),
                // The end of the socket follows and says the same.
                Ok(ConnectionState::PeerClosed) => {}
                Ok(_) => return Ok(used + discard),
                Err(why) => {
                    let rest = &mut input[used + discard..];
                    while self.tls.wants_write()
                        && let Ok(ConnectionState::EncodeTlsData(mut message)) =
                            self.tls.process_tls_records(rest).state
                    {
                        encode(&mut message, out);
                    }
                    return Err(why);
                }
            }
            used += discard;
        }
    }

    /// Records with this plaintext. `None`: there is no session to send in.
    pub fn encrypt(&mut self, plain: &[u8]) -> Option<Vec<u8>> {
        let mut room = plain.len() + (plain.len() / 16_384 + 2) * RECORD_OVERHEAD_BYTES;
        let mut out = Vec::new();
        loop {
            // With what is kept: the session counts on it to be there.
            let UnbufferedStatus { discard, state, .. } = self.tls.process_tls_records(&mut self.received);
            match state.ok()? {
                ConnectionState::WriteTraffic(mut traffic) => {
                    let at = out.len();
                    out.resize(at + room, 0);
                    match traffic.encrypt(plain, &mut out[at..]) {
                        Ok(written) => {
                            out.truncate(at + written);
                            return Some(out);
                        }
                        Err(EncryptError::InsufficientSize(short)) if short.required_size > room => {
                            out.truncate(at);
                            room = short.required_size;
                        }
                        Err(_) => return None,
                    }
                }
                ConnectionState::EncodeTlsData(mut message) => encode(&mut message, &mut out),
                ConnectionState::TransmitTlsData(sent) => sent.done(),
                ConnectionState::PeerClosed => {}
                _ => return None,
            }
            self.received.drain(..discard);
        }
    }
}

fn encode(message: &mut EncodeTlsData<'_, ClientConnectionData>, out: &mut Vec<u8>) {
    let at = out.len();
    let Err(EncodeError::InsufficientSize(short)) = message.encode(&mut []) else { return };
    out.resize(at + short.required_size, 0);
    let encoded = message.encode(&mut out[at..]);
    debug_assert!(encoded.is_ok(), "there is as much room as was asked for");
}

/// The last ticket of each client of a thread. rustls's own stores know servers, not clients: all would share a few tickets,
/// and some would come for the first time with one of somebody else's.
#[derive(Debug, Default)]
struct Tickets {
    /// The client that is being served. Set before each call into a session, on the one thread that has them.
    current: AtomicU32,
    kept: Mutex<HashMap<u32, Ticket>>,
}

#[derive(Debug)]
enum Ticket {
    Tls12(Box<Tls12ClientSessionValue>),
    Tls13(Box<Tls13ClientSessionValue>),
}

impl Tickets {
    fn kept(&self) -> (u32, MutexGuard<'_, HashMap<u32, Ticket>>) {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        (self.current.load(Ordering::Relaxed), kept)
    }
}

impl ClientSessionStore for Tickets {
    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }

    fn set_tls12_session(&self, _: ServerName<'static>, value: Tls12ClientSessionValue) {
        let (place, mut kept) = self.kept();
        kept.insert(place, Ticket::Tls12(Box::new(value)));
    }

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        let (place, kept) = self.kept();
        match kept.get(&place)? {
            Ticket::Tls12(value) => Some(Tls12ClientSessionValue::clone(value)),
            Ticket::Tls13(_) => None,
        }
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {
        let (place, mut kept) = self.kept();
        if matches!(kept.get(&place), Some(Ticket::Tls12(_))) {
            kept.remove(&place);
        }
    }

    fn insert_tls13_ticket(&self, _: ServerName<'static>, value: Tls13ClientSessionValue) {
        let (place, mut kept) = self.kept();
        kept.insert(place, Ticket::Tls13(Box::new(value)));
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        let (place, mut kept) = self.kept();
        if !matches!(kept.get(&place), Some(Ticket::Tls13(_))) {
            return None;
        }
        match kept.remove(&place)? {
            Ticket::Tls13(value) => Some(*value),
            Ticket::Tls12(_) => None,
        }
    }
}

/// Believes every certificate, but not every signature: the server must have its key.
#[derive(Debug)]
struct AnybodyIs {
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for AnybodyIs {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests;
