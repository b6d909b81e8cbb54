//! One client's TLS session: records in, plaintext out; plaintext in, records out.
//!
//! Holds no buffer while nothing is half-read: records are opened where the ring put them, and what goes out is written
//! into the caller's. A peer's fault is a [`Failure`] and an alert, never a panic. Knows nothing of sockets or HTTP.
//! Called by `io::front`.

use std::fmt;
use std::sync::Arc;

use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, EncryptError, UnbufferedStatus, WriteTraffic,
};
use rustls::{Error, HandshakeKind, InvalidMessage, PeerIncompatible, ProtocolVersion, ServerConfig};

use crate::limits::TLS_RECORD_BYTES_MAX;

/// Bytes that a record adds to its plaintext at the most: header, nonce, content type, tag.
const RECORD_OVERHEAD_BYTES: usize = 40;
/// Plaintext of one record (RFC 8446 §5.1).
const RECORD_PLAINTEXT_BYTES_MAX: usize = 16_384;

/// Why a session ended before its time, in words that are metric labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The first byte was no record's.
    NotTls,
    /// Nothing newer than TLS 1.1 was offered.
    Version,
    /// No suite, group or signature scheme in common.
    Suite,
    /// ALPN without `http/1.1`.
    Alpn,
    /// The client ended it: it does not like the certificate, say.
    Alert,
    /// A record that does not decrypt.
    BadRecord,
    /// Not what the protocol allows.
    Malformed,
    /// More of a handshake or record than any has.
    TooLong,
    /// A handshake or a record that did not come whole in time.
    TimedOut,
    /// The client left during the handshake.
    Gone,
    /// Keys used up, no randomness: nothing that a client does.
    Internal,
}

impl Failure {
    pub(crate) const ALL: [(Failure, &'static str); 11] = [
        (Failure::NotTls, "not_tls"),
        (Failure::Version, "version"),
        (Failure::Suite, "suite"),
        (Failure::Alpn, "alpn"),
        (Failure::Alert, "alert"),
        (Failure::BadRecord, "bad_record"),
        (Failure::Malformed, "malformed"),
        (Failure::TooLong, "too_long"),
        (Failure::TimedOut, "timed_out"),
        (Failure::Gone, "gone"),
        (Failure::Internal, "internal"),
    ];
}

impl From<Error> for Failure {
    fn from(why: Error) -> Failure {
        use PeerIncompatible as Incompatible;
        match why {
            Error::PeerIncompatible(
                Incompatible::Tls12NotOffered
                | Incompatible::Tls12NotOfferedOrEnabled
                | Incompatible::ServerDoesNotSupportTls12Or13
                | Incompatible::SupportedVersionsExtensionRequired
                // TLS 1.2 brought it (RFC 5246 §7.4.1.4.1), and every client of 1.2 sends it.
                | Incompatible::SignatureAlgorithmsExtensionRequired,
            )
            | Error::InvalidMessage(InvalidMessage::UnknownProtocolVersion) => Failure::Version,
            Error::PeerIncompatible(_) => Failure::Suite,
            Error::NoApplicationProtocol => Failure::Alpn,
            Error::AlertReceived(_) => Failure::Alert,
            Error::DecryptError => Failure::BadRecord,
            Error::InvalidMessage(_)
            | Error::InappropriateMessage { .. }
            | Error::InappropriateHandshakeMessage { .. }
            | Error::PeerMisbehaved(_)
            | Error::PeerSentOversizedRecord => Failure::Malformed,
            _ => Failure::Internal,
        }
    }
}

/// How a handshake that succeeded was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Established {
    pub(crate) is_tls13: bool,
    pub(crate) resumed: bool,
}

/// What records said.
#[derive(Debug)]
pub(crate) enum Heard<'a> {
    Plaintext(&'a [u8]),
    /// `close_notify`: the client says no more.
    End,
}

/// See the module.
pub(crate) struct Session {
    tls: UnbufferedServerConnection,
    /// Bytes that are not a whole record or handshake message yet, or wait for their turn.
    received: Vec<u8>,
}

/// Writes into the room it is given; says how much that was, or how much room it needs.
type Put<'p> =
    &'p mut dyn FnMut(&mut WriteTraffic<'_, ServerConnectionData>, &mut [u8]) -> Result<usize, EncryptError>;

impl fmt::Debug for Session {
    /// Without what it holds: half-read records, and keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("is_established", &self.is_established()).finish_non_exhaustive()
    }
}

impl Session {
    pub(crate) fn new(config: Arc<ServerConfig>) -> Result<Session, Failure> {
        let tls = UnbufferedServerConnection::new(config)?;
        Ok(Session { tls, received: Vec::new() })
    }

    pub(crate) fn is_established(&self) -> bool {
        !self.tls.is_handshaking()
    }

    /// How it was made; meaningful once it is established.
    pub(crate) fn established(&self) -> Established {
        Established {
            is_tls13: self.tls.protocol_version() == Some(ProtocolVersion::TLSv1_3),
            resumed: self.tls.handshake_kind() == Some(HandshakeKind::Resumed),
        }
    }

    /// Bytes that wait for more.
    pub(crate) fn is_unfinished(&self) -> bool {
        !self.received.is_empty()
    }

    /// Keeps bytes for a later [`Session::receive`]. True: no more should come before that.
    pub(crate) fn keep(&mut self, data: &[u8]) -> bool {
        self.received.extend_from_slice(data);
        self.received.len() > TLS_RECORD_BYTES_MAX
    }

    /// Opens what is kept and then `data`, in place. What is to be answered, alerts included, is put behind `out`. True: at
    /// least one record or message was whole.
    pub(crate) fn receive(
        &mut self,
        data: &mut [u8],
        out: &mut Vec<u8>,
        hear: &mut dyn FnMut(Heard<'_>),
    ) -> Result<bool, Failure> {
        if self.received.is_empty() {
            let (used, opened) = self.open(data, out, hear);
            opened?;
            self.received.extend_from_slice(&data[used..]);
            return self.bounded(used > 0);
        }
        let mut whole = std::mem::take(&mut self.received);
        whole.extend_from_slice(data);
        let (used, opened) = self.open(&mut whole, out, hear);
        opened?;
        whole.drain(..used);
        // An idle session keeps no buffer, a half-read one no more than it needs.
        whole.shrink_to_fit();
        self.received = whole;
        self.bounded(used > 0)
    }

    fn bounded(&self, opened: bool) -> Result<bool, Failure> {
        if self.received.len() > TLS_RECORD_BYTES_MAX { Err(Failure::TooLong) } else { Ok(opened) }
    }

    /// How many bytes are done with, and how it went.
    fn open(
        &mut self,
        input: &mut [u8],
        out: &mut Vec<u8>,
        hear: &mut dyn FnMut(Heard<'_>),
    ) -> (usize, Result<(), Failure>) {
        let mut used = 0;
        loop {
            let UnbufferedStatus { mut discard, state, .. } =
                self.tls.process_tls_records(&mut input[used..]);
            match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        match record {
                            Ok(record) => {
                                discard += record.discard;
                                hear(Heard::Plaintext(record.payload));
                            }
                            Err(why) => return (used + discard, Err(why.into())),
                        }
                    }
                }
                Ok(ConnectionState::EncodeTlsData(mut message)) => encode(&mut message, out),
                Ok(ConnectionState::TransmitTlsData(sent)) => sent.done(),
                Ok(ConnectionState::PeerClosed) => hear(Heard::End),
                Ok(
                    ConnectionState::WriteTraffic(_)
                    | ConnectionState::BlockedHandshake
                    | ConnectionState::Closed,
                ) => return (used + discard, Ok(())),
                // Early data, which no ticket of ours allows.
                Ok(_) => return (used + discard, Err(Failure::Malformed)),
                Err(why) => {
                    used += discard;
                    self.say_why(&mut input[used..], out);
                    return (used, Err(why.into()));
                }
            }
            used += discard;
        }
    }

    /// The alert that goes with a failure.
    fn say_why(&mut self, rest: &mut [u8], out: &mut Vec<u8>) {
        while self.tls.wants_write() {
            match self.tls.process_tls_records(rest).state {
                Ok(ConnectionState::EncodeTlsData(mut message)) => encode(&mut message, out),
                _ => return,
            }
        }
    }

    /// Puts records with this plaintext behind `out`.
    pub(crate) fn encrypt(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Result<(), Failure> {
        let records = plain.len().div_ceil(RECORD_PLAINTEXT_BYTES_MAX) + 1;
        let room = plain.len() + records * RECORD_OVERHEAD_BYTES;
        self.write(room, out, &mut |traffic, out| traffic.encrypt(plain, out))
    }

    /// Puts `close_notify` behind `out`.
    pub(crate) fn close(&mut self, out: &mut Vec<u8>) -> Result<(), Failure> {
        self.write(2 * RECORD_OVERHEAD_BYTES, out, &mut |traffic, out| traffic.queue_close_notify(out))
    }

    fn write(&mut self, mut room: usize, out: &mut Vec<u8>, put: Put<'_>) -> Result<(), Failure> {
        loop {
            // With what is kept: the session counts on it to be there.
            let UnbufferedStatus { discard, state, .. } = self.tls.process_tls_records(&mut self.received);
            match state? {
                ConnectionState::WriteTraffic(mut traffic) => {
                    let at = out.len();
                    out.resize(at + room, 0);
                    match put(&mut traffic, &mut out[at..]) {
                        Ok(written) => {
                            out.truncate(at + written);
                            return Ok(());
                        }
                        Err(EncryptError::InsufficientSize(short)) if short.required_size > room => {
                            out.truncate(at);
                            room = short.required_size;
                        }
                        Err(_) => {
                            out.truncate(at);
                            return Err(Failure::Internal);
                        }
                    }
                }
                ConnectionState::EncodeTlsData(mut message) => encode(&mut message, out),
                ConnectionState::TransmitTlsData(sent) => sent.done(),
                ConnectionState::PeerClosed => {}
                _ => return Err(Failure::Internal),
            }
            self.received.drain(..discard);
        }
    }
}

/// Puts a handshake message or an alert behind `out`.
fn encode(message: &mut EncodeTlsData<'_, ServerConnectionData>, out: &mut Vec<u8>) {
    let at = out.len();
    let Err(EncodeError::InsufficientSize(short)) = message.encode(&mut []) else { return };
    out.resize(at + short.required_size, 0);
    let encoded = message.encode(&mut out[at..]);
    debug_assert!(encoded.is_ok(), "there is as much room as was asked for");
}

#[cfg(test)]
mod tests;
