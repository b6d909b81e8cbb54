//! The server's half of the WebSocket handshake (RFC 6455 §4.2).

use bytes::{BufMut, Bytes, BytesMut};
use data_encoding::BASE64;
use tungstenite::handshake::derive_accept_key;

use super::{RequestHead, put_head, refusal};

/// What a subprotocol's name begins with when it carries a token instead.
const BEARER: &str = "bearer.";

/// The subprotocols that we speak. Both are the same JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// `tocsin.v1`
    V1,
    /// `tocsin.v1.browser`: the client cannot read a 503, so it is refused by a close with 1013.
    V1Browser,
}

impl Protocol {
    pub fn name(self) -> &'static str {
        match self {
            Protocol::V1 => "tocsin.v1",
            Protocol::V1Browser => "tocsin.v1.browser",
        }
    }
}

/// A handshake that may be answered with 101.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upgrade<'a> {
    /// For `Sec-WebSocket-Accept`.
    pub accept_key: String,
    /// The browser's, if it was offered at all; none if only unknown ones were.
    pub protocol: Option<Protocol>,
    /// The token of a `bearer.<jwt>` subprotocol. Never sent back.
    pub bearer: Option<&'a str>,
}

/// Why a request is no WebSocket handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotUpgrade {
    #[error("a WebSocket begins with GET")]
    Method,
    #[error("a WebSocket needs HTTP/1.1")]
    Version,
    #[error("this is a WebSocket: ask for an upgrade")]
    NotAsked,
    #[error("Sec-WebSocket-Key is not 16 bytes in base64")]
    Key,
    #[error("only version 13 of the WebSocket protocol is spoken here")]
    WebSocketVersion,
    #[error("more than one bearer token is offered")]
    Bearers,
}

impl NotUpgrade {
    pub fn status(self) -> u16 {
        match self {
            NotUpgrade::Method => 405,
            NotUpgrade::Version | NotUpgrade::Key | NotUpgrade::Bearers => 400,
            NotUpgrade::NotAsked | NotUpgrade::WebSocketVersion => 426,
        }
    }

    /// The whole answer.
    pub fn response(self) -> Bytes {
        let headers: &[(&str, &str)] = match self.status() {
            405 => &[("Allow", "GET")],
            // RFC 9110 §15.5.22 and RFC 6455 §4.4.
            426 => &[("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13")],
            _ => &[],
        };
        refusal(self.status(), headers, &self.to_string())
    }
}

impl<'a> RequestHead<'a> {
    /// Reads the request as a WebSocket handshake. Who asks, and whether there is room, is for others to say.
    pub fn upgrade(&self) -> Result<Upgrade<'a>, NotUpgrade> {
        if self.method != "GET" {
            return Err(NotUpgrade::Method);
        }
        if !self.headers.has_member("upgrade", "websocket")
            || !self.headers.has_member("connection", "upgrade")
        {
            return Err(NotUpgrade::NotAsked);
        }
        if self.minor_version == 0 {
            return Err(NotUpgrade::Version);
        }
        if self.header("sec-websocket-version") != Some("13") {
            return Err(NotUpgrade::WebSocketVersion);
        }
        let key = self.header("sec-websocket-key").filter(|key| is_key(key)).ok_or(NotUpgrade::Key)?;
        let (protocol, bearer) = self.protocols()?;
        Ok(Upgrade { accept_key: derive_accept_key(key.as_bytes()), protocol, bearer })
    }

    fn protocols(&self) -> Result<(Option<Protocol>, Option<&'a str>), NotUpgrade> {
        let (mut protocol, mut bearer) = (None, None);
        for offered in self.headers.members("sec-websocket-protocol") {
            if let Some(token) = offered.strip_prefix(BEARER) {
                if bearer.replace(token).is_some() {
                    return Err(NotUpgrade::Bearers);
                }
            } else if offered == Protocol::V1Browser.name() {
                protocol = Some(Protocol::V1Browser);
            } else if offered == Protocol::V1.name() {
                protocol = protocol.or(Some(Protocol::V1));
            }
        }
        Ok((protocol, bearer))
    }
}

fn is_key(text: &str) -> bool {
    BASE64.decode(text.as_bytes()).is_ok_and(|key| key.len() == 16)
}

impl Upgrade<'_> {
    /// The whole 101.
    pub fn response(&self, headers: &[(&str, &str)]) -> Bytes {
        let mut out = BytesMut::with_capacity(192);
        put_head(
            &mut out,
            101,
            &[
                ("Upgrade", "websocket"),
                ("Connection", "Upgrade"),
                ("Sec-WebSocket-Accept", &self.accept_key),
            ],
        );
        if let Some(protocol) = self.protocol {
            super::put_headers(&mut out, &[("Sec-WebSocket-Protocol", protocol.name())]);
        }
        super::put_headers(&mut out, headers);
        out.put_slice(b"\r\n");
        out.freeze()
    }
}
