//! The gateway: shards themselves, with simulated sockets and a simulated porch around them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use gateway::admission::{Admission, AdmissionLimits};
use gateway::auth::{Authenticator, Beliefs};
use gateway::census::Census;
use gateway::metrics::ShardMetrics;
use gateway::shard::{Key, Now, Output, Settings, Shard, ShardConfig};

use crate::events::{Event, Events, MS};
use crate::links::Links;

/// Where every client believes that it connects.
pub(crate) const HOST: &str = "127.0.0.1:8080";

/// A socket: one occupant of one place of a shard.
#[derive(Debug)]
pub(crate) struct Socket {
    pub(crate) shard: usize,
    key: Key,
    /// Times of the last arrivals: nothing overtakes.
    to_client_us: u64,
    to_server_us: u64,
    server_is_done: bool,
}

#[derive(Debug)]
struct ShardSim {
    shard: Shard,
    free: Vec<u32>,
    next_index: u32,
    next_generation: u32,
    timer_us: Option<u64>,
}

#[derive(Debug)]
pub(crate) struct Shards {
    sims: Vec<ShardSim>,
    pub(crate) sockets: BTreeMap<u64, Socket>,
    next_socket: u64,
}

impl Shards {
    pub(crate) fn new(count: usize, events: &mut Events) -> Shards {
        let gateway =
            gateway::config::Gateway { ping_interval_ms: 5_000, ..gateway::config::Gateway::default() };
        let limits = AdmissionLimits { soft: 1_000, hard: 1_000, accept_rate: 1_000 };
        let admission = Arc::new(Admission::new(limits));
        let census = Arc::new(Census::new(events.bits()));
        let own = [format!("http://{HOST}")];
        let beliefs = Beliefs { local_user: true, own_origins: &own, ..Beliefs::default() };
        let authenticator = Arc::new(Authenticator::new(beliefs));
        let now = Now { mono: events.mono(), wall: events.wall() };
        let sims = (0..count).map(|shard| ShardSim {
            shard: Shard::new(
                ShardConfig {
                    node: "n1".to_owned(),
                    shard: shard as u16,
                    boot: events.bits(),
                    routers: 1,
                    admission: Arc::clone(&admission),
                    census: Arc::clone(&census),
                    authenticator: Arc::clone(&authenticator),
                    metrics: Arc::new(ShardMetrics::default()),
                    settings: Settings::from(&gateway),
                    console: None,
                },
                events.bits(),
                now,
            ),
            free: Vec::new(),
            next_index: 0,
            next_generation: 0,
            timer_us: None,
        });
        Shards { sims: sims.collect(), sockets: BTreeMap::new(), next_socket: 0 }
    }

    pub(crate) fn count(&self) -> usize {
        self.sims.len()
    }

    /// A client's connection is accepted.
    pub(crate) fn accept(&mut self, shard: usize, links: &mut Links, events: &mut Events) -> u64 {
        self.next_socket += 1;
        let sim = &mut self.sims[shard];
        let index = sim.free.pop().unwrap_or_else(|| {
            sim.next_index += 1;
            sim.next_index - 1
        });
        sim.next_generation += 1;
        let key = Key::new(index, sim.next_generation);
        let socket = Socket { shard, key, to_client_us: 0, to_server_us: 0, server_is_done: false };
        self.sockets.insert(self.next_socket, socket);
        let peer = SocketAddr::from(([127, 0, 0, 1], 40_000));
        self.input(shard, links, events, |shard, now| shard.handle_accepted(key, peer, now));
        self.next_socket
    }

    pub(crate) fn send_to_server(&mut self, id: u64, bytes: Bytes, events: &mut Events) {
        let Some(socket) = self.sockets.get_mut(&id) else { return };
        socket.to_server_us = socket.to_server_us.max(events.now_us() + events.between(20, 3 * MS));
        events.at(socket.to_server_us, Event::ToServer { socket: id, bytes });
    }

    pub(crate) fn received(&mut self, id: u64, bytes: &Bytes, links: &mut Links, events: &mut Events) {
        let Some((shard, key)) = self.live(id) else { return };
        let mut data = BytesMut::from(&bytes[..]);
        self.input(shard, links, events, |shard, now| shard.handle_received(key, &mut data, now));
    }

    /// The client went away, orderly or not.
    pub(crate) fn end(&mut self, id: u64, links: &mut Links, events: &mut Events) {
        if let Some((shard, key)) = self.live(id) {
            self.input(shard, links, events, |shard, now| shard.handle_ended(key, now));
        }
    }

    pub(crate) fn sent(&mut self, id: u64, links: &mut Links, events: &mut Events) {
        if let Some((shard, key)) = self.live(id) {
            self.input(shard, links, events, |shard, now| shard.handle_sent(key, now));
        }
    }

    pub(crate) fn closed(&mut self, id: u64, links: &mut Links, events: &mut Events) {
        if let Some(socket) = self.sockets.remove(&id) {
            let key = socket.key;
            self.sims[socket.shard].free.push(key.index());
            self.input(socket.shard, links, events, |shard, now| shard.handle_closed(key, now));
        }
    }

    fn live(&self, id: u64) -> Option<(usize, Key)> {
        self.sockets.get(&id).filter(|socket| !socket.server_is_done).map(|socket| (socket.shard, socket.key))
    }

    /// One input to a shard, and everything that it wants done about it.
    pub(crate) fn input(
        &mut self,
        shard: usize,
        links: &mut Links,
        events: &mut Events,
        input: impl FnOnce(&mut Shard, Now),
    ) {
        let now = Now { mono: events.mono(), wall: events.wall() };
        input(&mut self.sims[shard].shard, now);
        while let Some(output) = self.sims[shard].shard.poll_output() {
            self.carry_out(shard, output, links, events);
        }
        let due = self.sims[shard].shard.poll_timeout();
        let sim = &mut self.sims[shard];
        let Some(due) = due else { return };
        let due_us = due.since(wire::time::Mono(1_000_000)).as_micros() as u64;
        let due_us = due_us.max(events.now_us());
        if sim.timer_us.is_none_or(|set| due_us < set) {
            sim.timer_us = Some(due_us);
            events.at(due_us, Event::ShardTimer { shard });
        }
    }

    pub(crate) fn timer(&mut self, shard: usize, links: &mut Links, events: &mut Events) {
        self.sims[shard].timer_us = None;
        let due = self.sims[shard].shard.poll_timeout();
        let is_due = due.is_some_and(|due| due <= events.mono());
        self.input(shard, links, events, |shard, now| {
            if is_due {
                shard.handle_timeout(now);
            }
        });
    }

    fn carry_out(&mut self, shard: usize, output: Output, links: &mut Links, events: &mut Events) {
        match output {
            Output::Send { key } => self.send(shard, key, events),
            Output::Close { key, .. } => {
                let found =
                    self.sockets.iter_mut().find(|(_, socket)| socket.shard == shard && socket.key == key);
                let Some((id, socket)) = found else { return };
                socket.server_is_done = true;
                let id = *id;
                let last = socket.to_client_us.max(events.now_us());
                events.at(last + 10, Event::ClientEnds { socket: id });
                events.within(10, MS, Event::ServerClosed { socket: id });
            }
            Output::Link { frame, .. } => {
                if let Some(link) = links.of_shard(shard) {
                    links.send_to_router(link, frame, events);
                }
            }
            Output::CutLink { .. } => {
                if let Some(link) = links.of_shard(shard) {
                    links.cut(link, events);
                }
            }
            Output::Named(_) | Output::Drained => {}
        }
    }

    fn send(&mut self, shard: usize, key: Key, events: &mut Events) {
        let Some(frames) = self.sims[shard].shard.next_send(key) else { return };
        let bytes = frames.fold(BytesMut::new(), |mut bytes, frame| {
            bytes.extend_from_slice(&frame);
            bytes
        });
        let found = self.sockets.iter_mut().find(|(_, socket)| socket.shard == shard && socket.key == key);
        let Some((id, socket)) = found else { return };
        let id = *id;
        socket.to_client_us = socket.to_client_us.max(events.now_us() + events.between(20, 3 * MS));
        events.at(socket.to_client_us, Event::ToClient { socket: id, bytes: bytes.freeze() });
        events.within(10, 2 * MS, Event::Sent { socket: id });
    }

    /// How long a shard waits before it dials again.
    pub(crate) fn redial(shard: usize, events: &mut Events) {
        let most = Duration::from_millis(1_500).as_micros() as u64;
        events.within(50 * MS, most, Event::Dial { shard });
    }
}
