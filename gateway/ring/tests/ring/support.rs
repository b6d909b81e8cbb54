//! A server's and a client's rings in one thread, what they reported, and a deadline instead of hope.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::Bytes;
use gateway_ring::{Conn, DoorId, Event, RingConfig, Rings, SendOutcome, bind};

/// Longer than any of these tests takes on a loaded machine; a lost wake-up or completion shows as this.
const DEADLINE: Duration = Duration::from_secs(30);

pub fn loopback() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
}

/// A small table: `rings` rings of `slots` slots.
pub fn small(rings: u16, slots: u32) -> RingConfig {
    RingConfig {
        connections: u32::from(rings) * slots,
        rings: Some(rings),
        slots_per_ring: Some(slots),
        ..RingConfig::default()
    }
}

/// What was reported of one connection.
#[derive(Debug, Default)]
pub struct Seen {
    pub peer: Option<SocketAddr>,
    pub door: Option<DoorId>,
    pub bytes: Vec<u8>,
    pub ended: Option<Result<(), ErrorKind>>,
    pub sent: usize,
    pub send_failed: Option<ErrorKind>,
    pub connect_failed: Option<ErrorKind>,
    pub closed: bool,
}

/// Rings with a diary.
pub struct Side {
    pub rings: Rings,
    pub seen: HashMap<Conn, Seen>,
    pub accepted: Vec<Conn>,
    pub connected: Vec<Conn>,
    /// Connections that something arrived on since this was last emptied.
    pub fresh: Vec<Conn>,
}

impl Side {
    pub fn new(config: &RingConfig) -> Side {
        let rings = Rings::open(config).expect("this kernel has io_uring");
        Side { rings, seen: HashMap::new(), accepted: Vec::new(), connected: Vec::new(), fresh: Vec::new() }
    }

    pub fn listening(config: &RingConfig) -> (Side, SocketAddr) {
        let mut side = Side::new(config);
        let (_, address) = side.hang_door();
        (side, address)
    }

    /// Listens on a fresh port (too).
    pub fn hang_door(&mut self) -> (DoorId, SocketAddr) {
        let listener = bind(loopback(), 4_096, false).expect("loopback has a free port");
        let address = listener.local_addr().expect("it is bound");
        (self.rings.listen(listener).expect("a fresh listener takes options"), address)
    }

    pub fn turn(&mut self) -> usize {
        let Side { rings, seen, accepted, connected, fresh } = self;
        rings.turn(&mut |event| note(seen, accepted, connected, fresh, event))
    }

    pub fn connect(&mut self, to: SocketAddr) -> Conn {
        let conn = self.rings.connect(Some(IpAddr::V4(Ipv4Addr::LOCALHOST)), to).expect("there is a slot");
        self.seen.insert(conn, Seen::default());
        conn
    }

    pub fn send(&mut self, conn: Conn, bytes: &[u8]) {
        let outcome = self.rings.send(conn, &mut std::iter::once(Bytes::copy_from_slice(bytes)));
        assert_eq!(outcome, SendOutcome::Sending { frames: 1, bytes: bytes.len() });
    }

    /// Turns until `done`, asleep in between; panics at the deadline.
    pub fn until(&mut self, what: &str, mut done: impl FnMut(&mut Side) -> bool) {
        let start = Instant::now();
        while !done(self) {
            assert!(start.elapsed() < DEADLINE, "{what}: not within {DEADLINE:?}; {:?}", self.rings.stats());
            if self.turn() == 0 {
                self.rings.wait_blocking(Duration::from_millis(5));
            }
        }
    }
}

/// Turns both sides until `done`.
pub fn both_until(
    a: &mut Side,
    b: &mut Side,
    what: &str,
    mut done: impl FnMut(&mut Side, &mut Side) -> bool,
) {
    let start = Instant::now();
    while !done(a, b) {
        assert!(start.elapsed() < DEADLINE, "{what}: not within {DEADLINE:?}");
        if a.turn() + b.turn() == 0 {
            a.rings.wait_blocking(Duration::from_micros(200));
        }
    }
}

fn note(
    seen: &mut HashMap<Conn, Seen>,
    accepted: &mut Vec<Conn>,
    connected: &mut Vec<Conn>,
    fresh: &mut Vec<Conn>,
    event: Event<'_>,
) {
    let conn = match &event {
        Event::Accepted { conn, .. }
        | Event::Connected { conn }
        | Event::ConnectFailed { conn, .. }
        | Event::Received { conn, .. }
        | Event::Ended { conn, .. }
        | Event::Sent { conn }
        | Event::SendFailed { conn, .. }
        | Event::Closed { conn } => *conn,
    };
    if matches!(event, Event::Accepted { .. }) {
        assert!(seen.insert(conn, Seen::default()).is_none(), "{conn:?} was given out twice");
    }
    let seen = seen.get_mut(&conn).expect("nothing is reported of a connection that was never given out");
    assert!(!seen.closed, "Closed is the last event of {conn:?}, yet {event:?}");
    match event {
        Event::Accepted { peer, door, .. } => {
            accepted.push(conn);
            seen.peer = Some(peer);
            seen.door = Some(door);
        }
        Event::Connected { .. } => connected.push(conn),
        Event::ConnectFailed { error, .. } => seen.connect_failed = Some(error.kind()),
        Event::Received { data, .. } => {
            assert!(seen.ended.is_none(), "nothing is received after the end of {conn:?}");
            fresh.push(conn);
            seen.bytes.extend_from_slice(data);
        }
        Event::Ended { error, .. } => {
            assert!(seen.ended.is_none(), "{conn:?} ends once");
            seen.ended = Some(error.map_or(Ok(()), |error| Err(error.kind())));
        }
        Event::Sent { .. } => seen.sent += 1,
        Event::SendFailed { error, .. } => seen.send_failed = Some(error.kind()),
        Event::Closed { .. } => seen.closed = true,
    }
}

/// Bytes that show a gap, a repetition and a swap.
pub fn pattern(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        bytes.extend(next());
    }
    bytes.truncate(length);
    bytes
}
