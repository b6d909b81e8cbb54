//! A whole node on real sockets: a router of plain std TCP on one side, tungstenite and hand-written HTTP on
//! the other.
#![expect(clippy::unwrap_used, reason = "a panic is how a test reports")]

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use bytes::BytesMut;
use gateway::config::Gateway;
use gateway::node::{self, Doors, RunningNode, StartError};
use gateway::shard::drain::DrainKind;
use tungstenite::{Message, WebSocket};
use uuid::Uuid;
use wire::link::{DeliveryResult, Frame, MAJOR, SessionKey};
use wire::time::Wall;

const WATCHDOG: Duration = Duration::from_secs(20);

/// A router that owns everything. What shards say comes out of `heard`, with the link's number.
struct Router {
    address: SocketAddr,
    heard: Receiver<(usize, Frame)>,
    links: Receiver<TcpStream>,
    up: Vec<TcpStream>,
    backlog: Vec<(usize, Frame)>,
}

impl Router {
    fn start() -> Router {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (say, heard) = channel();
        let (give, links) = channel();
        std::thread::spawn(move || {
            for (number, stream) in listener.incoming().enumerate() {
                let Ok(stream) = stream else { return };
                let say = say.clone();
                if give.send(stream.try_clone().unwrap()).is_err() {
                    return;
                }
                std::thread::spawn(move || read(number, stream, &say));
            }
        });
        Router { address, heard, links, up: Vec::new(), backlog: Vec::new() }
    }

    /// Greets the next link and claims all partitions.
    fn greet(&mut self) -> usize {
        let stream = self.links.recv_timeout(WATCHDOG).expect("a link");
        self.up.push(stream);
        let link = self.up.len() - 1;
        self.say(link, &Frame::Hello { major: MAJOR, minor: 0, node: "r".to_owned(), shard: 0, boot: 1 });
        self.say(link, &Frame::Credit { frames: 1_000 });
        self.say(link, &Frame::Owns { epoch: 1, generation: 1, count: 2, partitions: vec![0, 1] });
        link
    }

    fn say(&mut self, link: usize, frame: &Frame) {
        let mut bytes = BytesMut::new();
        frame.encode(&mut bytes);
        self.up[link].write_all(&bytes).unwrap();
    }

    /// The next frame that `wanted` takes; others are kept for later.
    fn expect<T>(&mut self, mut wanted: impl FnMut(usize, &Frame) -> Option<T>) -> T {
        for at in 0..self.backlog.len() {
            if let Some(found) = wanted(self.backlog[at].0, &self.backlog[at].1) {
                self.backlog.remove(at);
                return found;
            }
        }
        loop {
            let (link, frame) = self.heard.recv_timeout(WATCHDOG).expect("a frame");
            match wanted(link, &frame) {
                Some(found) => return found,
                None => self.backlog.push((link, frame)),
            }
        }
    }

    /// The link by which a user was announced or is in a snapshot.
    fn link_of(&mut self, name: &str) -> usize {
        self.expect(|link, frame| match frame {
            Frame::Announce { user } if user == name => Some(link),
            Frame::Snapshot { users, .. } if users.iter().any(|user| user == name) => Some(link),
            _ => None,
        })
    }
}

fn read(number: usize, mut stream: TcpStream, say: &Sender<(usize, Frame)>) {
    let mut bytes = BytesMut::new();
    let mut piece = [0; 4_096];
    loop {
        match stream.read(&mut piece) {
            Ok(0) | Err(_) => return,
            Ok(read) => bytes.extend_from_slice(&piece[..read]),
        }
        while let Some(frame) = Frame::decode(&mut bytes).expect("link frames") {
            if say.send((number, frame)).is_err() {
                return;
            }
        }
    }
}

fn settings() -> Gateway {
    let any = "127.0.0.1:0".parse().unwrap();
    Gateway { listen: any, admin: any, shards: 2, soft_limit: 100, hard_limit: 120, ..Gateway::default() }
}

fn start(settings: &Gateway, router: &Router) -> RunningNode {
    let doors = Doors::open(settings).unwrap();
    node::start(settings, doors, &[router.address], None).unwrap()
}

fn connect(node: SocketAddr, target: &str) -> WebSocket<TcpStream> {
    let stream = TcpStream::connect(node).unwrap();
    stream.set_read_timeout(Some(WATCHDOG)).unwrap();
    let (socket, _) = tungstenite::client(format!("ws://{node}{target}"), stream).unwrap();
    socket
}

fn text(socket: &mut WebSocket<TcpStream>) -> String {
    loop {
        match socket.read().unwrap() {
            Message::Text(text) => return text.to_string(),
            Message::Ping(_) | Message::Pong(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

/// A whole answer to one request.
fn ask(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(WATCHDOG)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn get(address: SocketAddr, path: &str) -> String {
    ask(address, &format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n"))
}

fn deliver(router: &mut Router, link: usize, user: &str, n: u128) {
    let text = format!(r#"{{"type":"notification","id":"{}"}}"#, Uuid::from_u128(n)).into();
    let id = Uuid::from_u128(n);
    let user = user.to_owned();
    router.say(link, &Frame::Deliver { tag: n as u64, id, created_at: Wall(1), user, text });
}

#[test]
fn a_notification_goes_from_a_router_to_a_client_and_its_ack_back() {
    let mut router = Router::start();
    let node = start(&settings(), &router);
    router.greet();
    router.greet();
    let mut ada = connect(node.clients, "/v1/connect?user=ada&device=d");
    assert!(text(&mut ada).contains("\"type\":\"welcome\""));
    let link = router.link_of("ada");
    deliver(&mut router, link, "ada", 5);
    assert!(text(&mut ada).contains("000000000005"));
    let result = router.expect(|_, frame| match frame {
        Frame::Result { tag: 5, result, .. } => Some(*result),
        _ => None,
    });
    assert_eq!(result, DeliveryResult::Sent { sockets: 1 });

    let ack = r#"{"type":"ack","ids":["00000000-0000-0000-0000-000000000005"]}"#;
    ada.send(Message::text(ack)).unwrap();
    let (session, said): (SessionKey, String) = router.expect(|_, frame| match frame {
        Frame::ClientMessage { session, text, .. } => {
            Some((*session, String::from_utf8(text.to_vec()).unwrap()))
        }
        _ => None,
    });
    assert_eq!(said, ack);
    let reply = bytes::Bytes::from_static(br#"{"type":"pong","t":77}"#);
    router.say(link, &Frame::Reply { session, text: reply });
    assert_eq!(text(&mut ada), r#"{"type":"pong","t":77}"#);

    let page = get(node.admin, "/metrics");
    assert!(page.contains("tocsin_gateway_connections 1\n"), "{page}");
    ada.close(None).unwrap();
    while ada.read().is_ok() {}
    router.expect(|_, frame| matches!(frame, Frame::Withdraw { user } if user == "ada").then_some(()));
    node.stop();
}

#[test]
fn a_lost_link_is_made_again_and_told_who_is_here() {
    let mut router = Router::start();
    let node = start(&Gateway { shards: 1, ..settings() }, &router);
    let first = router.greet();
    let mut ada = connect(node.clients, "/v1/connect?user=ada");
    text(&mut ada);
    assert_eq!(router.link_of("ada"), first);
    router.up[first].shutdown(std::net::Shutdown::Both).unwrap();
    let second = router.greet();
    // Nobody came or went: it is the snapshot that says so.
    let told = router.expect(|link, frame| match frame {
        Frame::Snapshot { users, .. } if link == second => Some(users.clone()),
        _ => None,
    });
    assert_eq!(told, ["ada"]);
    assert!(text(&mut ada).contains("\"type\":\"gap\""), "what was on the lost link is in the inbox");
    deliver(&mut router, second, "ada", 6);
    assert!(text(&mut ada).contains("000000000006"));
    node.stop();
}

#[test]
fn a_device_is_connected_once_whichever_shard_it_comes_to() {
    let mut router = Router::start();
    let node = start(&Gateway { shards: 4, ..settings() }, &router);
    (0..4).for_each(|_| _ = router.greet());
    let mut latest = connect(node.clients, "/v1/connect?user=ada&device=phone");
    text(&mut latest);
    for _ in 0..12 {
        let mut older =
            std::mem::replace(&mut latest, connect(node.clients, "/v1/connect?user=ada&device=phone"));
        text(&mut latest);
        let close = loop {
            match older.read() {
                Ok(Message::Close(close)) => break close.expect("a code"),
                Ok(_) => {}
                Err(why) => panic!("no close: {why}"),
            }
        };
        assert_eq!(u16::from(close.code), 4409);
    }
    node.stop();
}

#[test]
fn a_large_message_arrives_whole_and_a_burst_in_order() {
    let mut router = Router::start();
    let node = start(&Gateway { shards: 1, ..settings() }, &router);
    let link = router.greet();
    let mut ada = connect(node.clients, "/v1/connect?user=ada");
    text(&mut ada);
    router.link_of("ada");
    for n in 1..=500_u64 {
        let size = if n % 100 == 0 { 60_000 } else { 100 };
        let body = format!("{n}:{}", "x".repeat(size)).into();
        let frame = Frame::Broadcast {
            tag: n,
            id: Uuid::from_u128(n.into()),
            created_at: Wall(1),
            topic: None,
            text: body,
        };
        router.say(link, &frame);
        if n % 50 == 0 {
            // Keep within the outbox budget: the client reads along.
            for expected in n - 49..=n {
                let got = text(&mut ada);
                assert!(got.starts_with(&format!("{expected}:")), "{expected}: {}", &got[..10]);
            }
        }
    }
    node.stop();
}

#[test]
fn a_drain_tells_clients_closes_them_and_ends_inside_its_window() {
    let mut router = Router::start();
    let node = start(&Gateway { drain_s: 2, ..settings() }, &router);
    router.greet();
    router.greet();
    let mut clients: Vec<_> =
        (0..10).map(|n| connect(node.clients, &format!("/v1/connect?user=u{n}"))).collect();
    for client in &mut clients {
        text(client);
    }
    while !get(node.admin, "/readyz").starts_with("HTTP/1.1 200") {
        std::thread::yield_now();
    }
    let admin = node.admin;
    let answer = ask(admin, &format!("POST /drain HTTP/1.1\r\nHost: {admin}\r\nContent-Length: 0\r\n\r\n"));
    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
    assert!(get(admin, "/readyz").starts_with("HTTP/1.1 503"));
    assert!(get(node.clients, "/v1/admission").starts_with("HTTP/1.1 503"));
    node.control().drain(DrainKind::Restart);
    for client in &mut clients {
        assert!(text(client).contains("\"type\":\"reconnect\""));
        let close = loop {
            match client.read() {
                Ok(Message::Close(close)) => break close.expect("a code"),
                Ok(_) => {}
                Err(why) => panic!("no close: {why}"),
            }
        };
        assert_eq!(u16::from(close.code), 1001, "the first word counts");
        while client.read().is_ok() {}
    }
    node.wait();
}

#[test]
fn the_hard_limit_holds_on_real_sockets() {
    let router = Router::start();
    let node = start(&Gateway { soft_limit: 10, hard_limit: 20, shards: 1, ..settings() }, &router);
    let mut kept = Vec::new();
    for n in 0..10 {
        let mut client = connect(node.clients, &format!("/v1/connect?user=u{n}"));
        text(&mut client);
        kept.push(client);
    }
    let refused = get(node.clients, "/v1/events?user=x");
    assert!(refused.starts_with("HTTP/1.1 503") && refused.contains("Retry-After: "), "{refused}");
    // Ten who say nothing fill it up to the hard limit.
    let silent: Vec<TcpStream> = (0..10).map(|_| TcpStream::connect(node.clients).unwrap()).collect();
    let page = loop {
        let page = get(node.admin, "/metrics");
        if page.contains("tocsin_gateway_connections 20\n") {
            break page;
        }
    };
    assert!(page.contains("verdict=\"hard\"} 0"));
    for _ in 0..20 {
        let mut over = TcpStream::connect(node.clients).unwrap();
        over.set_read_timeout(Some(WATCHDOG)).unwrap();
        match over.read(&mut [0; 16]) {
            Ok(0) => {}
            Ok(_) => panic!("something was said past the hard limit"),
            Err(why) => assert_eq!(why.kind(), ErrorKind::ConnectionReset, "{why}"),
        }
    }
    let page = get(node.admin, "/metrics");
    assert!(page.contains("verdict=\"hard\"} 20"), "{page}");
    assert!(get(node.admin, "/readyz").starts_with("HTTP/1.1 503"));
    drop((kept, silent));
    node.stop();
}

/// What a door says to a connection that asks for a WebSocket: the status, or `None` when it is reset. Never nothing.
fn knock(address: SocketAddr, user: &str) -> (Option<u16>, TcpStream) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(WATCHDOG)).unwrap();
    let request = format!(
        "GET /v1/connect?user={user} HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\n\
         Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    );
    let mut head = [0; 12];
    let heard = stream.write_all(request.as_bytes()).and_then(|()| stream.read_exact(&mut head));
    if let Err(why) = heard {
        let is_reset = matches!(
            why.kind(),
            ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::UnexpectedEof
        );
        assert!(is_reset, "neither answered nor reset: {why}");
        return (None, stream);
    }
    (std::str::from_utf8(&head[9..]).unwrap().parse().ok(), stream)
}

#[test]
fn a_reload_past_the_table_lets_in_what_fits_and_answers_the_rest() {
    let mut router = Router::start();
    let settings = Gateway { shards: 1, soft_limit: 30, hard_limit: 40, ..settings() };
    let node = start(&settings, &router);
    router.greet();
    let more = Gateway { soft_limit: 3_000, hard_limit: 4_000, ..settings };
    node.control().reload(&more).unwrap();
    let holds = u64::from(node.tables[0].capacity);
    let mut said = std::collections::BTreeMap::new();
    let mut open = Vec::new();
    for n in 0..holds + 50 {
        let (status, stream) = knock(node.clients, &format!("u{n}"));
        *said.entry(status).or_insert(0) += 1;
        if status == Some(101) {
            open.push(stream);
        }
    }
    assert!(said[&Some(101)] > 500 && said[&Some(101)] < holds, "{said:?}");
    assert!(said[&Some(503)] >= 50, "who does not fit is told so: {said:?}");
    assert!(get(node.clients, "/v1/admission").starts_with("HTTP/1.1 503"));
    // Who says nothing takes what is left of the table. Full is full then: reset, not kept waiting, and not ready.
    let mut silent = Vec::new();
    while get(node.admin, "/readyz").starts_with("HTTP/1.1 200") || knock(node.clients, "late").0.is_some() {
        assert!((silent.len() as u64) < 2 * holds, "it is never full");
        silent.extend((0..16).map(|_| TcpStream::connect(node.clients).unwrap()));
    }
    drop(silent);
    node.stop();
}

#[test]
fn a_busy_port_and_a_bad_key_are_said_in_one_line() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    for settings in
        [Gateway { listen: address, ..settings() }, Gateway { admin: address, shards: 1, ..settings() }]
    {
        let error = Doors::open(&settings).unwrap_err();
        assert!(matches!(error, StartError::Listen { .. }));
        let line = error.to_string();
        assert!(line.contains(&address.to_string()) && !line.contains('\n'), "{line}");
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key");
    std::fs::write(&file, "short").unwrap();
    let mut bad = settings();
    bad.auth.keys = vec![file.clone(), folder.path().join("absent")];
    let doors = Doors::open(&bad).unwrap();
    let error = node::start(&bad, doors, &[], None).unwrap_err().to_string();
    assert!(error.starts_with(&file.display().to_string()) && !error.contains("short\""), "{error}");
}

#[test]
fn keys_are_reloaded_without_dropping_anybody() {
    let mut router = Router::start();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key");
    std::fs::write(&file, "a secret of at least 32 bytes, one\n").unwrap();
    let mut with_key = Gateway { shards: 1, ..settings() };
    with_key.auth.keys = vec![file.clone()];
    with_key.auth.local_user = Some(true);
    let node = start(&with_key, &router);
    let link = router.greet();
    let mut ada = connect(node.clients, "/v1/connect?user=ada");
    text(&mut ada);
    router.link_of("ada");
    with_key.auth.local_user = Some(false);
    node.control().reload(&with_key).unwrap();
    // The shard reads its orders in its own time.
    while !get(node.clients, "/v1/events?user=eve").starts_with("HTTP/1.1 401") {
        std::thread::yield_now();
    }
    deliver(&mut router, link, "ada", 9);
    assert!(text(&mut ada).contains("000000000009"));
    std::fs::write(&file, "short").unwrap();
    assert!(node.control().reload(&with_key).is_err(), "a bad key changes nothing");
    node.stop();
}
