//! A WebSocket client: connects, says things, waits for things, and keeps what came in between for later.

use std::collections::VecDeque;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::{Value, json};
use tungstenite::client::IntoClientRequest;
use tungstenite::http::HeaderValue;
use tungstenite::{HandshakeError, Message, WebSocket};

use crate::deadline::{Deadline, PATIENCE};

/// Messages that wait to be asked for.
const STASH_MAX: usize = 100_000;

/// How to connect.
#[derive(Debug, Clone, Default)]
pub struct Connect {
    pub query: Vec<(String, String)>,
    pub headers: Vec<(String, String)>,
    pub protocols: Vec<String>,
    /// What a proxy puts in front of everything.
    pub prelude: Vec<u8>,
}

/// The door stayed shut.
#[derive(Debug)]
pub enum Refused {
    /// An HTTP answer instead of the upgrade.
    Http { status: u16, headers: Vec<(String, String)>, body: String },
    /// Reset, or no answer.
    Lost(String),
}

impl Refused {
    pub fn status(&self) -> u16 {
        match self {
            Refused::Http { status, .. } => *status,
            Refused::Lost(_) => 0,
        }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let Refused::Http { headers, .. } = self else { return None };
        headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

/// What a socket gave.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    Message(Value),
    Closed {
        code: u16,
        reason: String,
    },
    /// Gone without a close frame.
    Lost(String),
    /// Nothing in the time given.
    Nothing,
}

/// One live connection.
#[derive(Debug)]
pub struct Client {
    socket: WebSocket<TcpStream>,
    stash: VecDeque<Value>,
    pub welcome: Value,
    /// The subprotocol that the server chose.
    pub protocol: Option<String>,
    /// Pings seen so far.
    pub pings: usize,
}

impl Connect {
    pub fn query(mut self, key: &str, value: &str) -> Connect {
        self.query.push((key.to_owned(), value.to_owned()));
        self
    }

    pub fn header(mut self, key: &str, value: &str) -> Connect {
        self.headers.push((key.to_owned(), value.to_owned()));
        self
    }

    pub fn protocol(mut self, name: &str) -> Connect {
        self.protocols.push(name.to_owned());
        self
    }

    pub fn prelude(mut self, bytes: &[u8]) -> Connect {
        self.prelude = bytes.to_vec();
        self
    }

    pub fn device(self, name: &str) -> Connect {
        self.query("device", name)
    }

    pub fn bearer(self, token: &str) -> Connect {
        self.header("authorization", &format!("Bearer {token}"))
    }

    /// Connects and reads the welcome.
    pub fn to(&self, address: SocketAddr) -> Result<Client, Refused> {
        let mut client = self.upgrade(address)?;
        match client.event(PATIENCE) {
            Event::Message(welcome) => {
                assert_eq!(welcome["type"], "welcome", "first comes the welcome: {welcome}");
                client.welcome = welcome;
                Ok(client)
            }
            Event::Closed { code, reason } => Err(Refused::Lost(format!("closed {code} {reason}"))),
            other => Err(Refused::Lost(format!("instead of a welcome: {other:?}"))),
        }
    }

    /// Connects and reads nothing yet.
    pub fn upgrade(&self, address: SocketAddr) -> Result<Client, Refused> {
        let lost = |error: std::io::Error| Refused::Lost(error.to_string());
        let mut stream = TcpStream::connect_timeout(&address, PATIENCE).map_err(lost)?;
        stream.write_all(&self.prelude).map_err(lost)?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(lost)?;
        stream.set_nodelay(true).map_err(lost)?;
        let query: Vec<String> =
            self.query.iter().map(|(key, value)| format!("{key}={}", percent_encoded(value))).collect();
        let mark = if query.is_empty() { "" } else { "?" };
        let url = format!("ws://{address}/v1/connect{mark}{}", query.join("&"));
        let mut request = url.into_client_request().map_err(|error| Refused::Lost(error.to_string()))?;
        let header = |value: &str| HeaderValue::from_str(value).expect("a header's value");
        for (name, value) in &self.headers {
            let name = tungstenite::http::HeaderName::from_bytes(name.as_bytes()).expect("a header's name");
            request.headers_mut().append(name, header(value));
        }
        if !self.protocols.is_empty() {
            request.headers_mut().insert("sec-websocket-protocol", header(&self.protocols.join(", ")));
        }
        match tungstenite::client::client(request, stream) {
            Ok((socket, response)) => {
                let protocol = response.headers().get("sec-websocket-protocol");
                let protocol = protocol.and_then(|value| value.to_str().ok()).map(str::to_owned);
                Ok(Client { socket, stash: VecDeque::new(), welcome: Value::Null, protocol, pings: 0 })
            }
            Err(HandshakeError::Failure(tungstenite::Error::Http(response))) => Err(Refused::Http {
                status: response.status().as_u16(),
                headers: response
                    .headers()
                    .iter()
                    .map(|(name, value)| (name.to_string(), value.to_str().unwrap_or_default().to_owned()))
                    .collect(),
                body: String::from_utf8_lossy(response.body().as_deref().unwrap_or_default()).into_owned(),
            }),
            Err(other) => Err(Refused::Lost(other.to_string())),
        }
    }
}

/// A query value. Only what is plainly safe stays as it is.
pub fn percent_encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    text.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

impl Client {
    /// # Panics
    /// When the socket takes no more.
    #[track_caller]
    pub fn say(&mut self, message: &Value) {
        self.say_raw(Message::text(message.to_string()));
    }

    /// # Panics
    /// When the socket takes no more.
    #[track_caller]
    pub fn say_raw(&mut self, message: Message) {
        self.socket.send(message).unwrap_or_else(|error| panic!("a client could not speak: {error}"));
    }

    /// The socket underneath, for tests that break the rules.
    pub fn stream(&self) -> &TcpStream {
        self.socket.get_ref()
    }

    pub fn ack(&mut self, ids: &[&str]) {
        self.say(&json!({ "type": "ack", "ids": ids }));
    }

    /// What comes next, in the order in which it came.
    pub fn event(&mut self, wait: Duration) -> Event {
        match self.stash.pop_front() {
            Some(message) => Event::Message(message),
            None => self.read(wait),
        }
    }

    fn read(&mut self, wait: Duration) -> Event {
        let deadline = Deadline::after(wait);
        loop {
            let Some(left) = deadline.left() else { return Event::Nothing };
            self.socket.get_ref().set_read_timeout(Some(left)).expect("a socket has a timeout");
            match self.socket.read() {
                Ok(Message::Text(text)) => {
                    let text = text.as_str();
                    let message = serde_json::from_str(text);
                    return Event::Message(
                        message.unwrap_or_else(|_| panic!("the server said no JSON: {text}")),
                    );
                }
                Ok(Message::Close(frame)) => {
                    // The echo goes out with the next read.
                    let _ = self.socket.flush();
                    return match frame {
                        Some(frame) => {
                            Event::Closed { code: frame.code.into(), reason: frame.reason.to_string() }
                        }
                        None => Event::Closed { code: 1005, reason: String::new() },
                    };
                }
                Ok(Message::Ping(_)) => {
                    self.pings += 1;
                    let _ = self.socket.flush();
                }
                Ok(Message::Pong(_)) => {}
                Ok(other) => panic!("the server said {other:?}"),
                Err(tungstenite::Error::Io(error)) if is_timeout(&error) => return Event::Nothing,
                Err(error) => return Event::Lost(error.to_string()),
            }
        }
    }

    /// The next message of this type; others are kept for later.
    ///
    /// # Panics
    /// When none comes in time.
    #[track_caller]
    pub fn recv(&mut self, kind: &str) -> Value {
        self.recv_within(kind, PATIENCE)
    }

    /// [`Client::recv`] with a bound of the caller's.
    ///
    /// # Panics
    /// When none comes in time.
    #[track_caller]
    pub fn recv_within(&mut self, kind: &str, wait: Duration) -> Value {
        match self.try_recv(kind, wait) {
            Ok(message) => message,
            Err(instead) => panic!("no `{kind}` within {wait:?}; {instead:?}; kept: {:?}", self.stash),
        }
    }

    /// The next message of this type, or what ended the wait for it.
    pub fn try_recv(&mut self, kind: &str, wait: Duration) -> Result<Value, Event> {
        if let Some(at) = self.stash.iter().position(|message| message["type"] == kind) {
            return Ok(self.stash.remove(at).expect("it was found there"));
        }
        let deadline = Deadline::after(wait);
        loop {
            match self.read(deadline.left().unwrap_or_default()) {
                Event::Message(message) if message["type"] == kind => return Ok(message),
                Event::Message(message) => {
                    assert!(self.stash.len() < STASH_MAX, "too much that nobody asked for");
                    self.stash.push_back(message);
                }
                other => return Err(other),
            }
        }
    }

    /// The next `n` notifications' ids, in order.
    #[track_caller]
    pub fn recv_ids(&mut self, n: usize) -> Vec<String> {
        (0..n).map(|_| id_of(&self.recv("notification"))).collect()
    }

    /// Reads until the server closes, and says how.
    ///
    /// # Panics
    /// When it does not close.
    #[track_caller]
    pub fn closed(&mut self, wait: Duration) -> (u16, String) {
        let deadline = Deadline::after(wait);
        loop {
            match self.read(deadline.left().unwrap_or_default()) {
                Event::Message(message) => self.stash.push_back(message),
                Event::Closed { code, reason } => return (code, reason),
                other => panic!("no close frame within {wait:?}: {other:?}; kept: {:?}", self.stash),
            }
        }
    }

    /// Everything that came and was not asked for.
    pub fn kept(&self) -> impl Iterator<Item = &Value> {
        self.stash.iter()
    }

    /// One page of a sync.
    #[track_caller]
    pub fn sync(&mut self, request: &Value) -> Value {
        let mut message = request.clone();
        message["type"] = "sync".into();
        self.say(&message);
        self.recv("sync_batch")
    }

    /// A sync to the end: every notification, page by page, and how large the pages were.
    ///
    /// # Panics
    /// When it never ends.
    #[track_caller]
    pub fn sync_all(&mut self, request: &Value) -> (Vec<Value>, Vec<usize>) {
        const PAGES_MAX: usize = 90;
        let (mut all, mut pages) = (Vec::new(), Vec::new());
        let mut request = request.clone();
        for _ in 0..PAGES_MAX {
            let batch = self.sync(&request);
            let page = batch["notifications"].as_array().expect("a list").clone();
            pages.push(page.len());
            all.extend(page);
            if batch["has_more"] == false {
                return (all, pages);
            }
            request["cursor"] = batch["cursor"].clone();
        }
        panic!("more than {PAGES_MAX} pages: {pages:?}");
    }
}

fn is_timeout(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)
}

/// A notification's id.
///
/// # Panics
/// When it has none.
#[track_caller]
pub fn id_of(notification: &Value) -> String {
    notification["id"]
        .as_str()
        .unwrap_or_else(|| panic!("a notification has an id: {notification}"))
        .to_owned()
}
