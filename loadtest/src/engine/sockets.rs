//! Which socket is which client's, and the frames that wait for a socket. Part of the `engine` porch.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use gateway_ring::{Conn, ConnectError, Event, Rings, SendOutcome};
use ops::clock::Clock;
use wire::time::Mono;

use super::secure::Secure;
use crate::fleet::{End, Fleet};
use crate::limits::CLIENT_QUEUE_MAX;
use crate::schedule::Lane;
use crate::sources::Sources;

/// No client has this place.
const NOBODY: u32 = u32::MAX;

/// All sockets of one thread.
#[derive(Debug)]
pub(super) struct Sockets {
    pub(super) rings: Rings,
    /// The client of each slot.
    places: Vec<u32>,
    /// The socket of each client.
    conns: Vec<Option<Conn>>,
    /// Frames behind a send that has not completed, for the few clients that have any.
    waiting: HashMap<u32, VecDeque<Bytes>>,
    addresses: Vec<SocketAddr>,
    sources: Option<Sources>,
    lane: Lane,
    /// `None`: no target speaks TLS.
    secure: Option<Secure>,
}

impl Sockets {
    pub(super) fn new(
        rings: Rings,
        places: u32,
        addresses: Vec<SocketAddr>,
        sources: Option<Sources>,
        lane: Lane,
        secure: Option<Secure>,
    ) -> Sockets {
        let conns = vec![None; places as usize];
        let places = vec![NOBODY; rings.table().capacity as usize];
        Sockets { rings, places, conns, waiting: HashMap::new(), addresses, sources, lane, secure }
    }

    pub(super) fn connect(&mut self, place: u32, target: usize, fleet: &mut Fleet, now: Mono) {
        let to = self.addresses[target];
        if let Some(Err(why)) = self.secure.as_mut().map(|secure| secure.begin(place, target)) {
            fleet.handle_connect_failed(place, &format!("tls: {why}"), now);
            return;
        }
        match self.rings.connect(self.source(place, to), to) {
            Ok(conn) => {
                self.places[conn.index()] = place;
                self.conns[place as usize] = Some(conn);
            }
            Err(ConnectError::Full) => fleet.handle_no_slot(place, now),
            Err(ConnectError::Socket { source, .. } | ConnectError::Install(source)) => {
                fleet.handle_connect_failed(place, &source.kind().to_string(), now);
            }
            Err(ConnectError::Bind { source, .. }) => {
                fleet.handle_connect_failed(place, &format!("bind: {}", source.kind()), now);
            }
        }
    }

    /// Each client has its own source address; a server of the other family gets the kernel's choice.
    fn source(&self, place: u32, to: SocketAddr) -> Option<IpAddr> {
        let sources = self.sources.filter(|sources| sources.is_ipv4() == to.is_ipv4())?;
        Some(sources.address(u64::from(self.lane.number(place))))
    }

    pub(super) fn send(&mut self, place: u32, frame: Bytes, fleet: &mut Fleet, now: Mono) {
        let sealed = match &mut self.secure {
            Some(secure) => secure.seal(place, frame),
            None => Some(frame),
        };
        let is_sent = sealed.is_some_and(|frame| self.submit(place, frame));
        if !is_sent {
            fleet.handle_ended(place, Some("the server does not read"), now);
        }
    }

    /// Hands bytes to the client's socket, or keeps them until it takes them. False: too many wait.
    fn submit(&mut self, place: u32, frame: Bytes) -> bool {
        let Some(conn) = self.conns[place as usize] else { return true };
        if let Some(queue) = self.waiting.get_mut(&place) {
            let fits = queue.len() < CLIENT_QUEUE_MAX;
            if fits {
                queue.push_back(frame);
            }
            return fits;
        }
        let mut frames = std::iter::once(frame);
        match self.rings.send(conn, &mut frames) {
            SendOutcome::Busy => {
                self.waiting.insert(place, frames.collect());
            }
            SendOutcome::Sending { .. } | SendOutcome::Nothing | SendOutcome::Stale => {}
        }
        true
    }

    pub(super) fn close(&mut self, place: u32, how: End) {
        self.waiting.remove(&place);
        if let Some(secure) = &mut self.secure {
            secure.end(place);
        }
        if let Some(conn) = self.conns[place as usize].take() {
            self.places[conn.index()] = NOBODY;
            match how {
                End::Reset => self.rings.close_hard(conn),
                End::Fin => self.rings.close(conn),
            }
        }
    }

    /// One turn of the rings; returns how much happened.
    pub(super) fn turn(&mut self, fleet: &mut Fleet, clock: &Clock) -> usize {
        let Sockets { rings, places, conns, waiting, secure, .. } = self;
        let mut free_to_send = Vec::new();
        let mut answers = Vec::new();
        let events = rings.turn(&mut |event| {
            let owner = |conn: Conn| {
                let place = places[conn.index()];
                (place != NOBODY && conns[place as usize] == Some(conn)).then_some(place)
            };
            match event {
                Event::Connected { conn } => {
                    if let Some(place) = owner(conn) {
                        match secure.as_mut().and_then(|secure| secure.hello(place)) {
                            Some(hello) => answers.push((place, hello)),
                            None => fleet.handle_connected(place),
                        }
                    }
                }
                Event::ConnectFailed { conn, error } => {
                    if let Some(place) = owner(conn) {
                        // The ring frees the slot itself.
                        conns[place as usize] = None;
                        places[conn.index()] = NOBODY;
                        fleet.handle_connect_failed(place, &error.kind().to_string(), clock.mono());
                    }
                }
                Event::Received { conn, data } => {
                    if let Some(place) = owner(conn) {
                        match secure {
                            Some(secure) => {
                                let records = secure.receive(place, data, fleet, clock.mono());
                                answers.extend(records.map(|records| (place, records)));
                            }
                            None => fleet.handle_bytes(place, data, clock.mono()),
                        }
                    }
                }
                Event::Ended { conn, error } => {
                    if let Some(place) = owner(conn) {
                        let why = error.map(|error| error.kind().to_string());
                        fleet.handle_ended(place, why.as_deref(), clock.mono());
                    }
                }
                Event::SendFailed { conn, error } => {
                    if let Some(place) = owner(conn) {
                        fleet.handle_ended(place, Some(&error.kind().to_string()), clock.mono());
                    }
                }
                Event::Sent { conn } => {
                    if let Some(place) = owner(conn)
                        && waiting.contains_key(&place)
                    {
                        free_to_send.push((place, conn));
                    }
                }
                Event::Accepted { .. } | Event::Closed { .. } => {}
            }
        });
        for (place, conn) in free_to_send {
            self.send_waiting(place, conn);
        }
        for (place, records) in answers {
            if !self.submit(place, records) {
                fleet.handle_ended(place, Some("the server does not read"), clock.mono());
            }
        }
        events
    }

    fn send_waiting(&mut self, place: u32, conn: Conn) {
        let Some(queue) = self.waiting.get_mut(&place) else { return };
        self.rings.send(conn, &mut std::iter::from_fn(|| queue.pop_front()));
        if queue.is_empty() {
            self.waiting.remove(&place);
        }
    }
}
