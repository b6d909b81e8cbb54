//! A shard against clients and a router that exist only as bytes and frames, under a clock that the test
//! turns.

mod admitted;
mod conversing;
mod delivered;
mod draining;
mod handed_over;
mod lifetimes;
mod origins;
mod streaming;
mod syncing;
mod timed;

use std::collections::{HashMap, HashSet};

use uuid::Uuid;
use wire::http::parse_response;
use wire::link::MAJOR;
use wire::session::{Incoming, Role, Session, SessionLimits};
use wire::ws::{self, Data, OpCode};

use super::*;
use crate::admission::{Admission, AdmissionLimits};
use crate::auth::Beliefs;
use crate::census::Census;
use crate::config::Gateway;

const MASK: [u8; 4] = [1, 2, 3, 4];
const HOST: &str = "127.0.0.1:8080";

/// A shard, its street and its one router.
struct House {
    shard: Shard,
    now: Now,
    generation: u32,
    /// What each connection was sent and has not been read by the test.
    sent: HashMap<Key, Vec<u8>>,
    /// Connections whose sends do not complete.
    stuck: HashSet<Key>,
    closed: HashMap<Key, bool>,
    /// Frames for the router.
    frames: Vec<Frame>,
    cuts: Vec<&'static str>,
    named: Vec<Named>,
    is_drained: bool,
}

/// How a test's house differs from the usual one.
struct Plan {
    gateway: Gateway,
    limits: AdmissionLimits,
    routers: usize,
}

impl Default for Plan {
    fn default() -> Plan {
        let limits = AdmissionLimits { soft: 1_000, hard: 1_200, accept_rate: 1_000_000 };
        Plan { gateway: Gateway::default(), limits, routers: 1 }
    }
}

impl House {
    fn new() -> House {
        House::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut Plan)) -> House {
        let mut plan = Plan::default();
        change(&mut plan);
        let own = Gateway::own_origins(plan.gateway.listen);
        let beliefs = Beliefs { origins: &own, own_origins: &own, local_user: true, ..Beliefs::default() };
        let config = ShardConfig {
            node: "n1".to_owned(),
            shard: 3,
            boot: 0xb007,
            routers: plan.routers,
            admission: Arc::new(Admission::new(plan.limits)),
            census: Arc::new(Census::new(7)),
            authenticator: Arc::new(Authenticator::new(beliefs)),
            metrics: Arc::new(ShardMetrics::default()),
            settings: Settings::from(&plan.gateway),
            console: Some(Arc::new(request::Console {
                api: "http://127.0.0.1:8090".to_owned(),
                key: None,
                local_user: true,
            })),
        };
        let now = Now { mono: Mono(1_000_000), wall: Wall(1_800_000_000_000_000) };
        let mut house = House {
            shard: Shard::new(config, 42, now),
            now,
            generation: 0,
            sent: HashMap::new(),
            stuck: HashSet::new(),
            closed: HashMap::new(),
            frames: Vec::new(),
            cuts: Vec::new(),
            named: Vec::new(),
            is_drained: false,
        };
        house.link_up();
        house
    }

    /// The router stands, owns everything, and gives plenty of credit.
    fn link_up(&mut self) {
        self.shard.handle_link_up(0, self.now);
        let node = "r1".to_owned();
        self.router(Frame::Hello { major: MAJOR, minor: 0, node, shard: 0, boot: 1 });
        self.router(Frame::Credit { frames: 100_000 });
        self.router(Frame::Owns { epoch: 1, generation: 1, count: 4, partitions: vec![0, 1, 2, 3] });
        self.settle();
        self.frames.clear();
    }

    fn router(&mut self, frame: Frame) {
        self.router_at(0, frame);
    }

    fn router_at(&mut self, router: RouterIndex, frame: Frame) {
        self.shard.handle_link_frame(router, frame, self.now);
        self.settle();
    }

    /// Carries out what the shard wants, until it wants nothing more.
    fn settle(&mut self) {
        loop {
            while let Some(output) = self.shard.poll_output() {
                self.carry_out(output);
            }
            if self.shard.poll_timeout() != Some(Mono::ZERO) {
                return;
            }
            self.shard.handle_timeout(self.now);
        }
    }

    fn carry_out(&mut self, output: Output) {
        match output {
            Output::Send { key } => {
                let frames = self.shard.next_send(key).expect("it asked to send");
                let bytes: Vec<u8> = frames.flat_map(|frame| frame.to_vec()).collect();
                assert!(!bytes.is_empty(), "an empty send");
                self.sent.entry(key).or_default().extend(bytes);
                if !self.stuck.contains(&key) {
                    self.shard.handle_sent(key, self.now);
                }
            }
            Output::Flush => {}
            Output::Close { key, hard } => {
                assert!(self.closed.insert(key, hard).is_none(), "closed twice");
                self.shard.handle_closed(key, self.now);
            }
            Output::Link { frame, .. } => self.frames.push(frame),
            Output::CutLink { why, .. } => self.cuts.push(why),
            Output::Named(named) => self.named.push(named),
            Output::Drained => self.is_drained = true,
        }
    }

    /// Lets time pass, waking the shard when it asked for it.
    fn pass(&mut self, time: Duration) {
        let end = self.now.mono + time;
        while let Some(due) = self.shard.poll_timeout().filter(|due| *due <= end) {
            self.turn_clock(due.max(self.now.mono));
            self.shard.handle_timeout(self.now);
            self.settle();
            // The router of these tests is always there.
            self.shard.handle_link_frame(0, Frame::Pong { t: 0 }, self.now);
        }
        self.turn_clock(end);
    }

    /// Lets this many seconds pass; true: the connection was closed meanwhile.
    fn pass_until_closed(&mut self, key: Key, seconds: u64) -> bool {
        self.pass(Duration::from_secs(seconds) + Duration::from_millis(200));
        self.closed.contains_key(&key)
    }

    fn turn_clock(&mut self, to: Mono) {
        self.now.wall = self.now.wall + to.since(self.now.mono);
        self.now.mono = to;
    }

    fn accept(&mut self) -> Key {
        self.accept_from("127.0.0.1")
    }

    fn accept_from(&mut self, address: &str) -> Key {
        self.generation += 1;
        let key = Key::new(self.generation - 1, self.generation);
        self.shard.handle_accepted(key, SocketAddr::new(address.parse().unwrap(), 5_000), self.now);
        self.settle();
        key
    }

    fn receive(&mut self, key: Key, bytes: &[u8]) {
        let mut bytes = bytes.to_vec();
        let data = self.shard.take_prelude(key, &mut bytes);
        if !data.is_empty() {
            self.shard.handle_received(key, data, self.now);
        }
        self.settle();
    }

    /// Connects a WebSocket and reads its welcome.
    fn websocket(&mut self, target: &str) -> Key {
        let key = self.accept();
        self.receive(key, &upgrade_request(target, &[]));
        let texts = self.texts(key);
        assert!(texts[0].contains("\"type\":\"welcome\""), "{texts:?}");
        key
    }

    fn user(&mut self, name: &str) -> Key {
        self.websocket(&format!("/v1/connect?user={name}"))
    }

    fn say(&mut self, key: Key, text: &str) {
        let frame = ws::frame(OpCode::Data(Data::Text), text.as_bytes(), Some(MASK));
        self.receive(key, &frame);
    }

    /// All text messages that a WebSocket was sent since the last look.
    fn texts(&mut self, key: Key) -> Vec<String> {
        self.heard(key).0
    }

    /// Texts, and the close's code and reason if there was one. Pings are passed over.
    fn heard(&mut self, key: Key) -> (Vec<String>, Option<(u16, String)>) {
        let mut bytes = self.sent.remove(&key).unwrap_or_default();
        if let Ok(Some(head)) = parse_response(&bytes) {
            assert_eq!(head.status, 101, "{}", String::from_utf8_lossy(&bytes));
            let head_bytes = head.head_bytes;
            bytes.drain(..head_bytes);
        }
        let mut texts = Vec::new();
        let mut close = None;
        let mut session = Session::new(Role::Client);
        let limits = SessionLimits::client();
        let read = session.handle_bytes(&mut bytes, &limits, &mut |incoming| match incoming {
            Incoming::Text(text) => texts.push(text.to_owned()),
            Incoming::Close { code, reason } => {
                close = Some((code.expect("ours have one"), reason.to_owned()));
            }
            _ => {}
        });
        read.expect("a server's frames");
        assert!(!session.is_unfinished(), "half a frame");
        (texts, close)
    }

    /// A whole HTTP answer: status, head and body.
    fn answer(&mut self, key: Key) -> (u16, String, String) {
        let bytes = self.sent.remove(&key).expect("an answer");
        let text = String::from_utf8(bytes).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        (head[9..12].parse().unwrap(), head.to_owned(), body.to_owned())
    }

    fn ask(&mut self, request: &str) -> (u16, String, String) {
        let key = self.accept();
        self.receive(key, request.as_bytes());
        self.answer(key)
    }

    fn deliver(&mut self, user: &str, n: u128) {
        let id = Uuid::from_u128(n);
        let text = notification(n).into();
        let created_at = Wall(i64::try_from(n).unwrap());
        self.router(Frame::Deliver { tag: n as u64, id, created_at, user: user.to_owned(), text });
    }

    fn broadcast(&mut self, topic: Option<&str>, n: u128) {
        let id = Uuid::from_u128(n);
        let text = notification(n).into();
        let topic = topic.map(str::to_owned);
        self.router(Frame::Broadcast { tag: n as u64, id, created_at: Wall(n as i64), topic, text });
    }

    fn take_frames(&mut self) -> Vec<Frame> {
        std::mem::take(&mut self.frames)
    }

    fn results(&mut self) -> Vec<(u64, wire::link::DeliveryResult)> {
        self.take_frames()
            .into_iter()
            .filter_map(|frame| match frame {
                Frame::Result { tag, result, .. } => Some((tag, result)),
                _ => None,
            })
            .collect()
    }
}

fn notification(n: u128) -> String {
    let id = Uuid::from_u128(n);
    let at = Wall(i64::try_from(n).unwrap());
    format!(r#"{{"type":"notification","id":"{id}","created_at":"{at}","title":"n{n}"}}"#)
}

fn upgrade_request(target: &str, protocols: &[&str]) -> Vec<u8> {
    let offered = match protocols {
        [] => String::new(),
        _ => format!("Sec-WebSocket-Protocol: {}\r\n", protocols.join(", ")),
    };
    format!(
        "GET {target} HTTP/1.1\r\nHost: {HOST}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{offered}\r\n"
    )
    .into_bytes()
}

fn get(target: &str, headers: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: {HOST}\r\n{headers}\r\n")
}

fn post(target: &str, body: &str) -> String {
    format!("POST {target} HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}
