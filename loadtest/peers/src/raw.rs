//! The floor: a bare loop on the rings that accepts, answers 101 and a welcome, and sends shared frames. No admission, no auth, no
//! registry, no timers, no outbox. Whatever a client of `/publish` says goes to all others. A peer of `loadtest compare`, never
//! shipped: a client that does not read holds everybody up.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use clap::Parser;
use gateway_ring::{Conn, Event, FRAMES_PER_SEND_MAX, RingConfig, Rings, SendOutcome, bind, executor};
use wire::http::parse_request;
use wire::limits::HEADER_BYTES_MAX;
use wire::session::{Incoming, Role, Session, SessionLimits};
use wire::ws;

const PUBLISH_PATH: &str = "/publish";
const BACKLOG: i32 = 65_535;
/// Messages taken and not sent yet; publishers wait past it.
const PENDING_MAX: usize = 4_096;
/// Sends queued between two turns, as a shard does.
const CHUNK: usize = 1_024;
const WAIT_MAX: Duration = Duration::from_secs(1);
/// Low nibble of a frame's first byte: the client says goodbye (RFC 6455 §5.2).
const CLOSE: u8 = 0x8;

#[derive(Debug, Parser)]
#[command(about = "A bare broadcast loop on io_uring: the floor")]
struct Arguments {
    #[arg(long)]
    listen: SocketAddr,
    /// Slots for connections.
    #[arg(long, default_value_t = 20_000)]
    connections: u32,
    /// What each client is told behind its 101; a welcome of Tocsin's lets `loadtest hold` in.
    #[arg(long, default_value = "welcome")]
    welcome: String,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let told = executor(None, "raw").spawn(move || async move { serve(&arguments).await });
    let ended = told.map_err(|error| error.to_string()).map(glommio::ExecutorJoinHandle::join);
    match ended {
        Ok(Ok(Err(error))) | Err(error) => {
            eprintln!("peer-raw: {error}");
            ExitCode::FAILURE
        }
        Ok(Err(error)) => {
            eprintln!("peer-raw: {error}");
            ExitCode::FAILURE
        }
        Ok(Ok(Ok(never))) => match never {},
    }
}

async fn serve(arguments: &Arguments) -> Result<std::convert::Infallible, String> {
    let listener =
        bind(arguments.listen, BACKLOG, false).map_err(|error| format!("{}: {error}", arguments.listen))?;
    let config = RingConfig { connections: arguments.connections, ..RingConfig::default() };
    let mut rings = Rings::open(&config).map_err(|error| error.to_string())?;
    rings.listen(listener).map_err(|error| error.to_string())?;
    let mut floor = Floor::new(rings.table().capacity as usize, &arguments.welcome);
    loop {
        let events = rings.turn(&mut |event| floor.note(event));
        floor.answer(&mut rings);
        floor.tell_all(&mut rings);
        if events == 0 {
            rings.wait(WAIT_MAX).await;
        } else {
            rings.give_way().await;
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Upgrading,
    Listening,
    Publishing,
}

#[derive(Debug, Clone, Copy)]
struct Client {
    conn: Conn,
    state: State,
    sending: bool,
}

/// All clients, by their slots.
struct Floor {
    clients: Vec<Option<Client>>,
    /// No slot from here on was ever used.
    used: usize,
    /// Heads of which a part has come.
    partial: HashMap<usize, Vec<u8>>,
    publishers: HashMap<usize, Session>,
    answers: Vec<(Conn, Bytes)>,
    goodbyes: Vec<Conn>,
    pending: Vec<Bytes>,
    in_flight: usize,
    welcome: Bytes,
}

impl Floor {
    fn new(capacity: usize, welcome: &str) -> Floor {
        Floor {
            clients: vec![None; capacity],
            used: 0,
            partial: HashMap::new(),
            publishers: HashMap::new(),
            answers: Vec::new(),
            goodbyes: Vec::new(),
            pending: Vec::new(),
            in_flight: 0,
            welcome: ws::text_frame(welcome.as_bytes()),
        }
    }

    fn note(&mut self, event: Event<'_>) {
        match event {
            Event::Accepted { conn, .. } => {
                self.used = self.used.max(conn.index() + 1);
                self.clients[conn.index()] = Some(Client { conn, state: State::Upgrading, sending: false });
            }
            Event::Received { conn, data } => self.read(conn, data),
            Event::Sent { conn } => self.sent(conn),
            Event::SendFailed { conn, .. } => {
                self.sent(conn);
                self.goodbyes.push(conn);
            }
            Event::Ended { conn, .. } => self.goodbyes.push(conn),
            Event::Connected { .. } | Event::ConnectFailed { .. } | Event::Closed { .. } => {}
        }
    }

    fn sent(&mut self, conn: Conn) {
        if let Some(client) = &mut self.clients[conn.index()]
            && std::mem::take(&mut client.sending)
        {
            self.in_flight -= 1;
        }
    }

    fn read(&mut self, conn: Conn, data: &mut [u8]) {
        let at = conn.index();
        match self.clients[at].map(|client| client.state) {
            Some(State::Upgrading) => self.upgrade(conn, data),
            Some(State::Listening) if data.first().is_some_and(|first| first & 0xf == CLOSE) => {
                self.goodbyes.push(conn);
            }
            Some(State::Publishing) => self.publish(conn, data),
            Some(State::Listening) | None => {}
        }
    }

    fn upgrade(&mut self, conn: Conn, data: &[u8]) {
        let at = conn.index();
        let kept = self.partial.remove(&at);
        let whole = kept.map(|kept| [&kept, data].concat());
        let input = whole.as_deref().unwrap_or(data);
        let head = match parse_request(input) {
            Ok(None) if input.len() < HEADER_BYTES_MAX => {
                self.partial.insert(at, input.to_vec());
                return;
            }
            Ok(Some(head)) => head,
            Ok(None) | Err(_) => return self.goodbyes.push(conn),
        };
        let Ok(upgrade) = head.upgrade() else { return self.goodbyes.push(conn) };
        let publishes = head.path == PUBLISH_PATH;
        let mut answer = BytesMut::from(&upgrade.response(&[])[..]);
        if publishes {
            self.publishers.insert(at, Session::new(Role::Server));
        } else {
            answer.extend_from_slice(&self.welcome);
        }
        if let Some(client) = &mut self.clients[at] {
            client.state = if publishes { State::Publishing } else { State::Listening };
        }
        self.answers.push((conn, answer.freeze()));
    }

    fn publish(&mut self, conn: Conn, data: &mut [u8]) {
        let Some(session) = self.publishers.get_mut(&conn.index()) else { return };
        let mut ended = false;
        let read = session.handle_bytes(data, &SessionLimits::default(), &mut |incoming| match incoming {
            Incoming::Text(text) => self.pending.push(ws::text_frame(text.as_bytes())),
            Incoming::Close { .. } => ended = true,
            Incoming::Binary(_) | Incoming::Ping(_) | Incoming::Pong(_) => {}
        });
        if ended || read.is_err() {
            self.goodbyes.push(conn);
        }
    }

    /// Sends the 101s, closes who is to go, holds publishers back while too much is pending.
    fn answer(&mut self, rings: &mut Rings) {
        for (conn, answer) in std::mem::take(&mut self.answers) {
            self.send(rings, conn, &mut std::iter::once(answer));
        }
        for conn in std::mem::take(&mut self.goodbyes) {
            let at = conn.index();
            if self.clients[at].is_some_and(|client| client.conn == conn) {
                self.sent(conn);
                self.clients[at] = None;
                self.partial.remove(&at);
                self.publishers.remove(&at);
                rings.close(conn);
            }
        }
        for at in self.publishers.keys() {
            let Some(client) = self.clients[*at] else { continue };
            if self.pending.len() > PENDING_MAX {
                rings.pause_reading(client.conn);
            } else {
                rings.resume_reading(client.conn);
            }
        }
    }

    fn send(&mut self, rings: &mut Rings, conn: Conn, frames: &mut dyn Iterator<Item = Bytes>) {
        if let SendOutcome::Sending { .. } = rings.send(conn, frames)
            && let Some(client) = &mut self.clients[conn.index()]
        {
            client.sending = true;
            self.in_flight += 1;
        }
    }

    /// Everything that is pending to everybody, once the last sweep is with the kernel.
    fn tell_all(&mut self, rings: &mut Rings) {
        if self.pending.is_empty() || self.in_flight > 0 {
            return;
        }
        let count = self.pending.len().min(FRAMES_PER_SEND_MAX);
        let frames: Vec<Bytes> = self.pending.drain(..count).collect();
        let mut queued = 0;
        for at in 0..self.used {
            let Some(Client { conn, state: State::Listening, .. }) = self.clients[at] else { continue };
            self.send(rings, conn, &mut frames.iter().cloned());
            queued += 1;
            if queued % CHUNK == 0 {
                rings.turn(&mut |event| self.note(event));
            }
        }
    }
}
