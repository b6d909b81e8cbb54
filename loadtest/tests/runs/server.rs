//! A server with manners to choose: WebSockets by tungstenite and event streams (`streams`), one thread each, and an API that
//! answers 202.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tungstenite::Message;
use tungstenite::handshake::server::{ErrorResponse, Request, Response};

/// What the server does wrong, and what it saw.
#[derive(Default)]
pub struct Manners {
    /// Each user's first attempts are refused with this status and Retry-After.
    pub refuse_first: u32,
    /// The attempts after the first one are refused so often: a server that is full when its crowd comes back.
    pub refuse_again: u32,
    pub refuse_status: u16,
    pub retry_after_s: u64,
    /// Numbers of posts (from 0, in the order they come) that are taken and never delivered.
    pub swallow: Vec<u64>,
    /// Delivered twice.
    pub double: Vec<u64>,
    /// Answered 429.
    pub reject: Vec<u64>,
    /// Delivered to user u0 instead.
    pub misroute: Vec<u64>,
    /// Posts before which the API thread sleeps.
    pub stall: BTreeMap<u64, Duration>,
    /// Ping every socket once, right after the welcome.
    pub ping: bool,
    /// What the welcome says of the spread; 50 ms if nothing.
    pub spread_ms: Option<u64>,
    /// Say this instead of a welcome.
    pub instead_of_welcome: Option<String>,
    /// So many acknowledgements are refused as busy, to be said again after 50 ms.
    pub busy_for: u64,
    /// Close frames sent to all sockets before this post, with the code.
    pub close_before: BTreeMap<u64, u16>,
}

#[derive(Default)]
pub(super) struct Seen {
    attempts: HashMap<String, u32>,
    sockets: HashMap<String, TcpStream>,
    /// Of clients that read event streams.
    pub(super) streams: HashMap<String, TcpStream>,
    /// `Last-Event-ID`s, in the order in which they came.
    pub(super) resumed: Vec<String>,
    /// Every user's notifications, oldest first.
    pub(super) inboxes: HashMap<String, Vec<Value>>,
    pongs: u64,
    goodbyes: u64,
    /// Acknowledgements heard, refused ones included, and what was acknowledged by the others.
    acks: u64,
    read: BTreeSet<String>,
    posts: u64,
    authorizations: Vec<String>,
}

/// A running server. Its threads end with the test's process.
#[derive(Clone)]
pub struct Server {
    pub clients: SocketAddr,
    pub api: SocketAddr,
    pub(super) manners: Arc<Manners>,
    seen: Arc<Mutex<Seen>>,
}

const PAGE: usize = 2;

impl Server {
    pub fn start(manners: Manners) -> Server {
        let (clients, api) = (listen(), listen());
        let server = Server {
            clients: clients.local_addr().expect("an address"),
            api: api.local_addr().expect("an address"),
            manners: Arc::new(manners),
            seen: Arc::default(),
        };
        let (one, two) = (server.clone(), server.clone());
        each(clients, move |stream| one.serve_client(stream));
        each(api, move |stream| two.serve_api(stream));
        server
    }

    pub fn url(&self) -> String {
        format!("ws://{}", self.clients)
    }

    pub fn api_url(&self) -> String {
        format!("http://{}", self.api)
    }

    pub fn connected(&self) -> usize {
        let seen = self.seen();
        seen.sockets.len() + seen.streams.len()
    }

    pub fn pongs(&self) -> u64 {
        self.seen().pongs
    }

    pub fn goodbyes(&self) -> u64 {
        self.seen().goodbyes
    }

    pub fn posts(&self) -> u64 {
        self.seen().posts
    }

    pub fn authorizations(&self) -> Vec<String> {
        self.seen().authorizations.clone()
    }

    pub(super) fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().expect("no test thread panics with it")
    }

    /// Whether a client may come in.
    pub(super) fn admits(&self, user: &str) -> bool {
        let mut seen = self.seen();
        let attempts = seen.attempts.entry(user.to_owned()).or_default();
        *attempts += 1;
        let again = (2..2 + self.manners.refuse_again).contains(attempts);
        *attempts > self.manners.refuse_first && !again
    }

    #[expect(clippy::result_large_err, reason = "tungstenite's callback is made so")]
    fn admit(&self, request: &Request, user: &mut String) -> Result<(), ErrorResponse> {
        let authorization = request.headers().get("authorization").and_then(|value| value.to_str().ok());
        let named = request.uri().query().and_then(|query| query.split("user=").nth(1));
        named.unwrap_or("").clone_into(user);
        if let Some(authorization) = authorization {
            let mut seen = self.seen();
            seen.authorizations.push(authorization.to_owned());
            *user = format!("bearer {}", seen.authorizations.len());
        }
        if self.admits(user) {
            return Ok(());
        }
        let mut refusal = ErrorResponse::new(None);
        *refusal.status_mut() = self.manners.refuse_status.try_into().expect("a status");
        let after = self.manners.retry_after_s.to_string().parse().expect("a header");
        refusal.headers_mut().insert("Retry-After", after);
        Err(refusal)
    }

    /// The first line says what a client speaks.
    fn serve_client(&self, stream: TcpStream) {
        let mut start = [0; 16];
        match stream.peek(&mut start) {
            Ok(count)
                if start[..count].starts_with(b"GET /v1/events") || start[..count].starts_with(b"POST") =>
            {
                self.serve_stream(stream);
            }
            _ => self.serve_socket(stream),
        }
    }

    fn serve_socket(&self, stream: TcpStream) {
        let writer = stream.try_clone().expect("a descriptor");
        let mut user = String::new();
        #[expect(clippy::result_large_err, reason = "tungstenite's callback is made so")]
        let callback =
            |request: &Request, response: Response| self.admit(request, &mut user).map(|()| response);
        let Ok(mut socket) = tungstenite::accept_hdr(stream, callback) else { return };
        let spread_ms = self.manners.spread_ms.unwrap_or(50);
        let welcome = json!({ "type": "welcome", "session": "s", "node": "n", "ping_interval_ms": 25_000,
            "server_time": "2026-01-01T00:00:00Z", "reconnect": { "spread_ms": spread_ms, "max_ms": 1_000 } });
        let first = self.manners.instead_of_welcome.clone().unwrap_or_else(|| welcome.to_string());
        self.seen().sockets.insert(user.clone(), writer);
        let mut sent = socket.send(Message::text(first));
        if self.manners.ping {
            sent = sent.and_then(|()| socket.send(Message::Ping("there?".into())));
        }
        while sent.is_ok() {
            match socket.read() {
                Ok(Message::Text(text)) => sent = self.answer(&mut socket, &user, &text),
                Ok(Message::Pong(payload)) => {
                    assert_eq!(&payload[..], b"there?");
                    self.seen().pongs += 1;
                }
                Ok(Message::Close(frame)) => {
                    let normal = frame.is_some_and(|frame| u16::from(frame.code) == 1000);
                    self.seen().goodbyes += u64::from(normal);
                }
                Ok(_) => {}
                Err(_) => break,
            }
        }
    }

    fn answer(
        &self,
        socket: &mut tungstenite::WebSocket<TcpStream>,
        user: &str,
        text: &str,
    ) -> Result<(), tungstenite::Error> {
        let said: Value = serde_json::from_str(text).expect("clients speak JSON");
        let reply = match said["type"].as_str() {
            Some("subscribe") => json!({ "type": "subscribed", "topics": said["topics"] }),
            Some("sync") => self.page(user, &said),
            Some("ack") if !self.read(&said) => {
                json!({ "type": "error", "code": "busy", "message": "", "retry_after_ms": 50 })
            }
            _ => return Ok(()),
        };
        socket.send(Message::text(reply.to_string()))
    }

    /// Reads an acknowledgement; false: too busy.
    pub(super) fn read(&self, said: &Value) -> bool {
        let mut seen = self.seen();
        seen.acks += 1;
        let reads = seen.acks > self.manners.busy_for;
        let ids = said["ids"].as_array().into_iter().flatten().filter_map(Value::as_str);
        seen.read.extend(ids.filter(|_| reads).map(str::to_owned));
        reads
    }

    /// A page behind the cursor, or behind `last_seen_at`, with the last one seen on it: pages may overlap.
    pub(super) fn page(&self, user: &str, said: &Value) -> Value {
        let seen = self.seen();
        let inbox = seen.inboxes.get(user).cloned().unwrap_or_default();
        let from = if let Some(cursor) = said["cursor"].as_str() {
            cursor.parse().expect("our cursor")
        } else {
            let last = said["last_seen_at"].as_str().expect("a date");
            inbox.iter().position(|n| n["created_at"].as_str() >= Some(last)).unwrap_or(inbox.len())
        };
        let to = (from + PAGE).min(inbox.len());
        json!({ "type": "sync_batch", "notifications": inbox[from..to], "cursor": to.to_string(),
            "has_more": to < inbox.len() })
    }

    fn serve_api(&self, stream: TcpStream) {
        let mut writer = stream.try_clone().expect("a descriptor");
        let mut reader = BufReader::new(stream);
        while let Some(Asked { path, body, .. }) = read_request(&mut reader) {
            let (status, answer) = if path == "/v1/reconcile" {
                let delivered = self.seen().read.len();
                (200, json!({ "channels": [{ "channel": "inapp", "delivered": delivered }] }).to_string())
            } else if path.ends_with("/batch") {
                let lines: Vec<String> = body.lines().map(|line| self.take(line).1).collect();
                (200, lines.join("\n"))
            } else {
                self.take(&body)
            };
            let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n", answer.len());
            if writer.write_all(format!("{head}{answer}").as_bytes()).is_err() {
                return;
            }
        }
    }

    fn take(&self, body: &str) -> (u16, String) {
        let request: Value = serde_json::from_str(body).expect("the load tester posts JSON");
        let number = {
            let mut seen = self.seen();
            seen.posts += 1;
            seen.posts - 1
        };
        if let Some(stall) = self.manners.stall.get(&number) {
            std::thread::sleep(*stall);
        }
        if self.manners.reject.contains(&number) {
            return (429, json!({ "type": "about:blank", "title": "slow down", "status": 429 }).to_string());
        }
        if let Some(code) = self.manners.close_before.get(&number) {
            self.close_all(*code);
        }
        self.deliver(&request, number);
        (202, json!({ "id": format!("n{number}"), "seq": number, "durable_in": "journal" }).to_string())
    }

    fn deliver(&self, request: &Value, number: u64) {
        if self.manners.swallow.contains(&number) {
            return;
        }
        let mut seen = self.seen();
        let to = &request["to"];
        let users: Vec<String> = match to["user"].as_str() {
            Some(_) if self.manners.misroute.contains(&number) => vec!["u0".to_owned()],
            Some(user) => vec![user.to_owned()],
            None => seen.attempts.keys().cloned().collect(),
        };
        let created_at = format!("2026-01-01T00:00:01.{number:06}Z");
        let notification = json!({ "id": format!("00000000-0000-4000-8000-{number:012}"), "created_at": created_at,
            "accepted_at": created_at, "priority": "normal", "body": request["body"], "data": request["data"] });
        let mut live = notification.clone();
        live["type"] = "notification".into();
        // The product's encoder begins with the type; serde_json's map is sorted.
        let text = format!(r#"{{"type":"notification",{}"#, &live.to_string()[1..])
            .replace(r#","type":"notification""#, "");
        let frame = wire::ws::text_frame(text.as_bytes());
        let event_id = format!("{created_at}_{}", notification["id"].as_str().expect("an id"));
        let event = wire::sse::event(Some(&event_id), text.as_bytes());
        for user in users {
            seen.inboxes.entry(user.clone()).or_default().push(notification.clone());
            let times = if self.manners.double.contains(&number) { 2 } else { 1 };
            for _ in 0..times {
                if let Some(socket) = seen.sockets.get_mut(&user) {
                    let _gone = socket.write_all(&frame);
                }
                if let Some(stream) = seen.streams.get_mut(&user) {
                    let _gone = stream.write_all(&event);
                }
            }
        }
    }

    pub fn close_all(&self, code: u16) {
        let frame = wire::ws::close_frame(code, "", None);
        let mut seen = self.seen();
        for (_, mut socket) in seen.sockets.drain() {
            let _gone = socket.write_all(&frame);
        }
        for (_, stream) in seen.streams.drain() {
            let _gone = stream.shutdown(std::net::Shutdown::Both);
        }
    }
}

fn listen() -> TcpListener {
    gateway_ring::bind(SocketAddr::from(([127, 0, 0, 1], 0)), 4_096, false).expect("a port")
}

fn each(listener: TcpListener, serve: impl Fn(TcpStream) + Send + Clone + 'static) {
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let serve = serve.clone();
            std::thread::spawn(move || serve(stream));
        }
    });
}

/// A request that was read.
pub(super) struct Asked {
    pub(super) method: String,
    pub(super) path: String,
    /// Names in small letters.
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: String,
}

pub(super) fn read_request(reader: &mut impl BufRead) -> Option<Asked> {
    let mut first = String::new();
    reader.read_line(&mut first).ok().filter(|bytes| *bytes > 0)?;
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|bytes| *bytes > 0)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let mut body = vec![0; length.map_or(Some(0), |(_, value)| value.parse().ok())?];
    reader.read_exact(&mut body).ok()?;
    let mut words = first.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    Some(Asked { method, path, headers, body: String::from_utf8(body).ok()? })
}
