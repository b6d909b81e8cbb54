//! A router to test against, an HTTP client for it, and a shard that is none.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use ops::clock::Clock;
use router::config::Config;
use router::node::{self, RunningRouter};
use serde_json::{Value, json};
use tempfile::TempDir;
use wire::link::{DeliveryResult, Frame, MAJOR, MINOR, SessionKey};

/// Nothing here takes so long.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// A running router and its folder.
pub struct Node {
    pub router: RunningRouter,
    pub data: TempDir,
}

/// What an HTTP request was answered.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub text: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub fn id(&self) -> String {
        self.json()["id"].as_str().unwrap_or_else(|| panic!("no id in {}", self.text)).to_owned()
    }

    /// Checks that this is a problem of the contract's shape with this status and name.
    #[track_caller]
    pub fn is_problem(&self, status: u16, name: &str) -> Value {
        assert_eq!(self.status, status, "{}", self.text);
        assert_eq!(self.header("content-type"), Some("application/problem+json"));
        let problem = self.json();
        assert_eq!(problem["type"], format!("urn:tocsin:problem:{name}"), "{problem}");
        assert_eq!(problem["status"], status);
        assert!(problem["title"].is_string() && problem["detail"].is_string());
        problem
    }
}

impl Node {
    pub fn start() -> Node {
        Node::start_with(|_| {})
    }

    pub fn start_with(change: impl FnOnce(&mut Config)) -> Node {
        let data = tempfile::tempdir().expect("a folder");
        let mut config = Config::on_free_ports(data.path());
        change(&mut config);
        Node { router: node::start(&config).expect("it starts"), data }
    }

    /// Ends in order and starts anew over the same folder.
    pub fn restart(self) -> Node {
        let Node { router, data } = self;
        router.shutdown();
        let config = Config::on_free_ports(data.path());
        Node { router: node::start(&config).expect("it starts"), data }
    }

    pub fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        http(self.router.api, method, path, headers, body)
    }

    pub fn get(&self, path: &str) -> Answer {
        self.request("GET", path, &[("authorization", "Bearer dev")], b"")
    }

    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.request("POST", path, &[("authorization", "Bearer dev")], body.to_string().as_bytes())
    }

    pub fn put(&self, path: &str, body: &Value) -> Answer {
        self.request("PUT", path, &[("authorization", "Bearer dev")], body.to_string().as_bytes())
    }

    pub fn send(&self, body: &Value) -> Answer {
        self.post("/v1/notifications", body)
    }

    pub fn send_with_key(&self, key: &str, body: &Value) -> Answer {
        let headers = [("authorization", "Bearer dev"), ("idempotency-key", key)];
        self.request("POST", "/v1/notifications", &headers, body.to_string().as_bytes())
    }

    /// Sends to a user and asserts the promise; the id.
    #[track_caller]
    pub fn accepted(&self, user: &str, title: &str) -> String {
        let answer = self.send(&json!({"to": {"user": user}, "title": title}));
        assert_eq!(answer.status, 202, "{}", answer.text);
        answer.id()
    }

    /// Asks until the answer is as wanted: what follows a 202 happens soon, not at once.
    #[track_caller]
    pub fn eventually(&self, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        for _ in 0..400 {
            let answer = self.get(path);
            if answer.status == 200 {
                last = answer.json();
                if wanted(&last) {
                    return last;
                }
            }
            std::thread::sleep(Duration::from_millis(25));
        }
        let last: String = last.to_string().chars().take(600).collect();
        panic!("{path} never was as wanted; at last {last}");
    }
}

/// One request on a connection of its own.
pub fn http(to: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(to).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a duration");
    let mut head = format!("{method} {path} HTTP/1.1\r\nhost: {to}\r\nconnection: close\r\n");
    for (name, value) in headers {
        head.extend([name, ": ", value, "\r\n"]);
    }
    head.extend(["content-length: ", &body.len().to_string(), "\r\n\r\n"]);
    stream.write_all(head.as_bytes()).expect("it reads");
    // A server that refuses early may have closed already; what it said is still there to be read.
    let _refused_early = stream.write_all(body);
    let mut raw = Vec::new();
    let _reset_after_answer = stream.read_to_end(&mut raw);
    parse(&raw)
}

fn parse(raw: &[u8]) -> Answer {
    let raw = String::from_utf8_lossy(raw).into_owned();
    let (head, body) = raw.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {raw:?}"));
    let mut lines = head.lines();
    let status: Option<u16> =
        lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|status| status.parse().ok());
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    Answer { status: status.expect("a status line"), headers, text: body.to_owned() }
}

/// A gateway's shard, as far as a router can tell.
pub struct Shard {
    stream: TcpStream,
    /// Writes come from the test and from the thread that keeps the link alive.
    writing: Arc<Mutex<TcpStream>>,
    buffer: BytesMut,
    clock: Clock,
}

impl Drop for Shard {
    fn drop(&mut self) {
        let _closed_already = self.stream.shutdown(Shutdown::Both);
    }
}

impl Shard {
    /// Dials, says hello, takes the router's hello, and owns up to having nobody.
    pub fn dial(node: &Node) -> Shard {
        Shard::dial_as(node, "edge-1")
    }

    pub fn dial_as(node: &Node, name: &str) -> Shard {
        let mut shard = Shard::dial_silently(node.router.links);
        shard.say(&Frame::Hello { major: MAJOR, minor: MINOR, node: name.to_owned(), shard: 0, boot: 1 });
        shard.wait(|frame| matches!(frame, Frame::Hello { .. }).then_some(()));
        let partitions = shard.wait(|frame| match frame {
            Frame::Owns { partitions, .. } => Some(partitions.clone()),
            _ => None,
        });
        for partition in partitions {
            shard.say(&Frame::SnapshotEnd { partition });
        }
        shard.keep_alive();
        shard
    }

    /// Says something now and then, as a shard does: one that is silent for long is dead.
    fn keep_alive(&self) {
        let writing = Arc::clone(&self.writing);
        std::thread::spawn(move || {
            loop {
                std::thread::sleep(Duration::from_secs(1));
                if write(&writing, &Frame::Ping { t: 0 }).is_err() {
                    return;
                }
            }
        });
    }

    pub fn dial_silently(links: SocketAddr) -> Shard {
        let stream = TcpStream::connect(links).expect("it listens");
        stream.set_nodelay(true).expect("a socket");
        let writing = Arc::new(Mutex::new(stream.try_clone().expect("a handle")));
        Shard { stream, writing, buffer: BytesMut::new(), clock: Clock::start() }
    }

    pub fn say(&mut self, frame: &Frame) {
        write(&self.writing, frame).expect("it reads");
    }

    /// All of them in one write.
    pub fn say_all(&mut self, frames: &[Frame]) {
        let mut out = BytesMut::new();
        for frame in frames {
            frame.encode(&mut out);
        }
        self.writing.lock().expect("nobody panics while writing").write_all(&out).expect("it reads");
    }

    pub fn credit(&mut self, frames: u32) {
        self.say(&Frame::Credit { frames });
    }

    pub fn announce(&mut self, user: &str) {
        self.say(&Frame::Announce { user: user.to_owned() });
    }

    /// Everything this shard said before is handled by the owner once its answer to this is here.
    pub fn settle(&mut self, user: &str) -> Value {
        self.ask(user, &json!({"type": "sync", "limit": 50}))
    }

    /// A client's message, and the answer to it.
    pub fn ask(&mut self, user: &str, message: &Value) -> Value {
        self.tell(user, message);
        let text = self.wait(|frame| match frame {
            Frame::Reply { session: SessionKey(7), text } => Some(text.clone()),
            _ => None,
        });
        serde_json::from_slice(&text).expect("JSON")
    }

    /// A client's message that has no answer.
    pub fn tell(&mut self, user: &str, message: &Value) {
        let text = Bytes::from(message.to_string());
        self.say(&Frame::ClientMessage { user: user.to_owned(), session: SessionKey(7), text });
    }

    pub fn result(&mut self, deliver: &Frame, result: DeliveryResult) {
        let (Frame::Deliver { tag, id, .. } | Frame::Broadcast { tag, id, .. }) = deliver else {
            panic!("{deliver:?} has no result");
        };
        self.say(&Frame::Result { tag: *tag, id: *id, result });
    }

    /// The next frame that answers the question; others are passed over.
    #[track_caller]
    pub fn wait<T>(&mut self, wanted: impl Fn(&Frame) -> Option<T>) -> T {
        self.look(PATIENCE, wanted).expect("the router is silent")
    }

    #[track_caller]
    pub fn delivered(&mut self) -> Frame {
        self.wait(|frame| {
            matches!(frame, Frame::Deliver { .. } | Frame::Broadcast { .. }).then(|| frame.clone())
        })
    }

    /// Like `wait`, but `None` after a while or at the end.
    pub fn look<T>(&mut self, patience: Duration, wanted: impl Fn(&Frame) -> Option<T>) -> Option<T> {
        let deadline = self.clock.mono() + patience;
        loop {
            while let Some(frame) = Frame::decode(&mut self.buffer).expect("frames of ours") {
                if let Frame::Ping { t } = frame {
                    self.say(&Frame::Pong { t });
                }
                if let Some(found) = wanted(&frame) {
                    return Some(found);
                }
            }
            // Pings keep coming, so the time is counted here.
            let left = deadline.since(self.clock.mono());
            if left.is_zero() {
                return None;
            }
            self.stream.set_read_timeout(Some(left)).expect("a duration");
            let mut chunk = [0; 16 * 1024];
            match self.stream.read(&mut chunk) {
                Ok(0) | Err(_) => return None,
                Ok(read) => self.buffer.extend_from_slice(&chunk[..read]),
            }
        }
    }

    /// Whether the router hangs up.
    pub fn ends(mut self) -> bool {
        self.stream.set_read_timeout(Some(PATIENCE)).expect("a duration");
        let mut chunk = [0; 16 * 1024];
        loop {
            match self.stream.read(&mut chunk) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) => return error.kind() == std::io::ErrorKind::ConnectionReset,
            }
        }
    }
}

fn write(to: &Mutex<TcpStream>, frame: &Frame) -> std::io::Result<()> {
    let mut out = BytesMut::new();
    frame.encode(&mut out);
    to.lock().expect("nobody panics while writing").write_all(&out)
}

/// The title of a `Deliver` or `Broadcast`.
pub fn title(frame: &Frame) -> String {
    let (Frame::Deliver { text, .. } | Frame::Broadcast { text, .. }) = frame else {
        panic!("{frame:?} has no title");
    };
    let message: Value = serde_json::from_slice(text).expect("JSON");
    assert_eq!(message["type"], "notification");
    message["title"].as_str().expect("a title").to_owned()
}
