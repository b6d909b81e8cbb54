//! The attackers: each comes, does one thing that no client should, and notes how long the server let it.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use socket2::SockRef;
use tests::deadline::Stopwatch;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpSocket, TcpStream};
use wire::http::ConnectRequest;
use wire::ws::{self, Control, Data, OpCode};

/// The user whose inbox is worth asking for: a page of it is more than an outbox.
pub const HOARD: &str = "hoard";
/// An attacker that is still there after this is not going to be closed.
const GIVE_UP: Duration = Duration::from_secs(40);
/// Attackers that are closed at once do not come back sooner than this.
const CYCLE: Duration = Duration::from_secs(3);
const SECOND: Duration = Duration::from_secs(1);
/// A socket that does not read learns by its writes that it is closed.
const LOOK: Duration = Duration::from_millis(700);
const MASK: Option<[u8; 4]> = Some([1, 2, 3, 4]);

/// What an attacker does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Connects and says nothing.
    Silent,
    /// One byte of a request's head a second.
    DripHead,
    /// One byte of a frame a second.
    DripFrame,
    /// One byte of a promised body a second.
    DripBody,
    /// Asks for page after page with its window shut.
    DeafSocket,
    /// The same on an event stream.
    DeafStream,
    PingFlood,
    MessageFlood,
    /// A message in fragments of one byte, without an end.
    FragmentFlood,
    OversizedFrame,
    BrokenFrames,
    BrokenRequest,
    /// TLS on a plain port.
    TlsHello,
    /// Comes and goes.
    Churn,
}

impl Kind {
    pub const ALL: [Kind; 14] = [
        Kind::Silent,
        Kind::DripHead,
        Kind::DripFrame,
        Kind::DripBody,
        Kind::DeafSocket,
        Kind::DeafStream,
        Kind::PingFlood,
        Kind::MessageFlood,
        Kind::FragmentFlood,
        Kind::OversizedFrame,
        Kind::BrokenFrames,
        Kind::BrokenRequest,
        Kind::TlsHello,
        Kind::Churn,
    ];
}

/// Whom to attack, and the proof of being a user that is needed to get in.
#[derive(Debug, Clone)]
pub struct Target {
    pub server: SocketAddr,
    pub token: Arc<str>,
}

impl Target {
    /// The head lines of a request.
    fn lines(&self) -> String {
        format!("Host: {}\r\nAuthorization: Bearer {}\r\n", self.server, self.token)
    }
}

/// How one attack went.
#[derive(Debug, Clone, Copy)]
pub struct End {
    pub kind: Kind,
    /// From the offence to the close; `None`: it was let be.
    pub lasted: Option<Duration>,
}

/// One attacker's whole career: again and again until it is told to stop.
pub async fn career(number: u32, to: Target, say: tokio::sync::mpsc::UnboundedSender<End>) {
    let kind = Kind::ALL[number as usize % Kind::ALL.len()];
    let mut random = SmallRng::seed_from_u64(u64::from(number));
    tokio::time::sleep(SECOND.mul_f64(random.random())).await;
    loop {
        let began = Stopwatch::start();
        // No port free just now, or the door is shut: both pass.
        if let Ok(stream) = connect(number, to.server, kind).await {
            let lasted = attack(kind, &to, stream, &mut random).await;
            if say.send(End { kind, lasted }).is_err() {
                return;
            }
        }
        tokio::time::sleep(CYCLE.saturating_sub(began.elapsed())).await;
    }
}

/// Some fifty attackers share an address, so that none runs out of ports.
async fn connect(number: u32, server: SocketAddr, kind: Kind) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    if matches!(kind, Kind::DeafSocket | Kind::DeafStream) {
        socket.set_recv_buffer_size(4_096)?;
        // Loopback's segments of 64 KiB would let the server's kernel take megabytes before anybody waits.
        SockRef::from(&socket).set_tcp_mss(1_400)?;
    }
    let place = number / 50;
    let from = Ipv4Addr::new(127, 1, (place / 250) as u8, (place % 250 + 1) as u8);
    socket.bind((from, 0).into())?;
    socket.connect(server).await
}

async fn attack(kind: Kind, to: &Target, stream: TcpStream, random: &mut SmallRng) -> Option<Duration> {
    let (mut read, mut write) = stream.into_split();
    let needs_session = matches!(
        kind,
        Kind::DripFrame
            | Kind::DeafSocket
            | Kind::PingFlood
            | Kind::MessageFlood
            | Kind::FragmentFlood
            | Kind::OversizedFrame
            | Kind::BrokenFrames
    );
    if needs_session && open(&mut read, &mut write, to, random).await.is_err() {
        return Some(Duration::ZERO);
    }
    if kind == Kind::Churn {
        return Some(Duration::ZERO);
    }
    let mut began = Stopwatch::start();
    let offence = async {
        match kind {
            Kind::DeafSocket | Kind::DeafStream => deaf(kind, to, &mut write, &mut began).await,
            _ => {
                tokio::select! {
                    _closed = heard_out(&mut read) => {}
                    never = offend(kind, to, &mut write, random) => never,
                }
            }
        }
    };
    let closed = tokio::time::timeout(GIVE_UP, offence).await;
    closed.ok().map(|()| began.elapsed())
}

/// Opens a WebSocket; its welcome may stay unread.
async fn open(
    read: &mut OwnedReadHalf,
    write: &mut OwnedWriteHalf,
    to: &Target,
    random: &mut SmallRng,
) -> std::io::Result<()> {
    let (host, bearer) = (to.server.to_string(), format!("Bearer {}", to.token));
    let headers = [("Authorization", bearer.as_str())];
    let key = random.random();
    let request =
        ConnectRequest { host: &host, target: "/v1/connect", key, protocols: &[], headers: &headers };
    write.write_all(&request.encode()).await?;
    let mut answer = [0; 12];
    read.read_exact(&mut answer).await?;
    if answer.ends_with(b"101") { Ok(()) } else { Err(std::io::ErrorKind::ConnectionRefused.into()) }
}

/// Reads until there is nothing more to come.
async fn heard_out(read: &mut OwnedReadHalf) {
    let mut buffer = [0; 4_096];
    while read.read(&mut buffer).await.is_ok_and(|bytes| bytes > 0) {}
}

/// Writes what a kind writes. What can be written no more is waited out by the reading side.
async fn offend(kind: Kind, to: &Target, write: &mut OwnedWriteHalf, random: &mut SmallRng) {
    let text = |text: &[u8]| ws::frame(OpCode::Data(Data::Text), text, MASK).to_vec();
    let _closed = match kind {
        Kind::Silent => Ok(()),
        Kind::DripHead => drip(write, b"", b'x').await,
        Kind::DripFrame => drip(write, &[0x81, 0x80 | 0x64, 1, 2, 3, 4], b' ').await,
        Kind::DripBody => {
            let lines = to.lines();
            let head = format!("POST /v1/messages HTTP/1.1\r\n{lines}Content-Length: 1000\r\n\r\n");
            drip(write, head.as_bytes(), b' ').await
        }
        Kind::PingFlood => pour(write, &ws::frame(OpCode::Control(Control::Ping), b"!", MASK)).await,
        Kind::MessageFlood => pour(write, &text(br#"{"type":"ping","t":1}"#)).await,
        Kind::FragmentFlood => {
            let first = ws::piece(OpCode::Data(Data::Text), b" ", MASK, false);
            let next = ws::piece(OpCode::Data(Data::Continue), b" ", MASK, false);
            match write.write_all(&first).await {
                Ok(()) => pour(write, &next).await,
                failed => failed,
            }
        }
        Kind::OversizedFrame => {
            let mut frame = vec![0x81, 0x80 | 0x7f];
            frame.extend(10_000_000_u64.to_be_bytes());
            frame.extend([0; 1_028]);
            write.write_all(&frame).await
        }
        Kind::BrokenFrames => {
            let noise: [u8; 256] = random.random();
            // A reserved bit, so that it is broken whatever follows.
            write.write_all(&[&[0xc1][..], &noise].concat()).await
        }
        Kind::BrokenRequest => {
            let noise: [u8; 64] = random.random();
            write.write_all(&[b"\x01GET \x00".as_slice(), &noise].concat()).await
        }
        Kind::TlsHello => {
            write.write_all(&[&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3][..], &[7; 508]].concat()).await
        }
        Kind::DeafSocket | Kind::DeafStream | Kind::Churn => unreachable!("they have ways of their own"),
    };
    std::future::pending::<()>().await;
}

async fn drip(write: &mut OwnedWriteHalf, first: &[u8], then: u8) -> std::io::Result<()> {
    let first = if first.is_empty() { b"GET /v1/connect HTTP/1.1\r\nX-Drip: " } else { first };
    write.write_all(first).await?;
    loop {
        tokio::time::sleep(SECOND).await;
        write.write_all(&[then]).await?;
    }
}

async fn pour(write: &mut OwnedWriteHalf, frame: &[u8]) -> std::io::Result<()> {
    let many = frame.repeat(500);
    loop {
        write.write_all(&many).await?;
    }
}

/// Asks for more than it is ever going to read. The offence begins when it has been sent what it may be owed.
async fn deaf(kind: Kind, to: &Target, write: &mut OwnedWriteHalf, began: &mut Stopwatch) {
    let sync = ws::frame(OpCode::Data(Data::Text), br#"{"type":"sync","limit":50}"#, MASK);
    let lines = to.lines();
    let stream = format!(
        "GET /v1/events HTTP/1.1\r\n{lines}\
         Last-Event-ID: 1970-01-01T00:00:00Z_00000000-0000-0000-0000-000000000001\r\n\r\n"
    );
    let first: &[u8] = if kind == Kind::DeafSocket { &sync } else { stream.as_bytes() };
    let pong = ws::pong_frame(b"", MASK);
    let later: &[u8] = if kind == Kind::DeafSocket { &pong } else { b" " };
    let again: &[u8] = if kind == Kind::DeafSocket { &sync } else { b" " };
    if write.write_all(first).await.is_err() {
        return;
    }
    tokio::time::sleep(LOOK).await;
    *began = Stopwatch::start();
    if write.write_all(again).await.is_err() {
        return;
    }
    loop {
        tokio::time::sleep(LOOK).await;
        if write.write_all(later).await.is_err() {
            return;
        }
    }
}
