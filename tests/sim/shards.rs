//! The gateways: two nodes of two shards each, the shards themselves, with simulated sockets and a simulated porch around
//! them. I5: what they owe stays in its budget.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use gateway::admission::{Admission, AdmissionLimits};
use gateway::auth::{Authenticator, Beliefs};
use gateway::census::Census;
use gateway::limits::OUTBOX_RESERVE_BYTES;
use gateway::metrics::ShardMetrics;
use gateway::shard::{Key, Now, Output, Settings, Shard, ShardConfig};

use crate::events::{Event, Events, MS, S, micros};
use crate::links::Links;

/// Where every client believes that it connects.
pub(crate) const HOST: &str = "127.0.0.1:8080";

const NODES: usize = 2;
const SHARDS_OF_NODE: usize = 2;
pub(crate) const SHARDS: usize = NODES * SHARDS_OF_NODE;
/// Small, so that a client that does not read is noticed.
const OUTBOX_BYTES: u32 = 4 * 1024;
const OUTBOX_SHARD_BYTES: u64 = 48 * 1024;
/// A page of a sync may pass a socket's budget, and all of them together the shard's.
const OWED_MAX: u64 = OUTBOX_SHARD_BYTES + 8 * OUTBOX_RESERVE_BYTES as u64;

/// A socket: one occupant of one place of a shard.
#[derive(Debug)]
pub(crate) struct Socket {
    pub(crate) shard: usize,
    key: Key,
    /// Times of the last arrivals: nothing overtakes.
    to_client_us: u64,
    to_server_us: u64,
    /// The client reads nothing before.
    slow_until_us: u64,
    server_is_done: bool,
}

#[derive(Debug)]
struct ShardSim {
    shard: Shard,
    metrics: Arc<ShardMetrics>,
    free: Vec<u32>,
    next_index: u32,
    next_generation: u32,
    timer_us: Option<u64>,
}

#[derive(Debug)]
pub(crate) struct Shards {
    sims: Vec<ShardSim>,
    /// By node: nobody is there before.
    down_until_us: [u64; NODES],
    pub(crate) sockets: BTreeMap<u64, Socket>,
    next_socket: u64,
}

/// A process of a gateway, as it starts.
fn start_node(node: usize, events: &mut Events) -> Vec<ShardSim> {
    let mut gateway =
        gateway::config::Gateway { ping_interval_ms: 5_000, ..gateway::config::Gateway::default() };
    gateway.limits.outbox_bytes = OUTBOX_BYTES;
    gateway.limits.outbox_shard_bytes = OUTBOX_SHARD_BYTES;
    let limits = AdmissionLimits { soft: 1_000, hard: 1_000, accept_rate: 1_000 };
    let admission = Arc::new(Admission::new(limits));
    let census = Arc::new(Census::new(events.bits()));
    let own = [format!("http://{HOST}")];
    let beliefs = Beliefs { local_user: true, own_origins: &own, ..Beliefs::default() };
    let authenticator = Arc::new(Authenticator::new(beliefs));
    let now = Now { mono: events.mono(), wall: events.wall() };
    let boot = events.bits();
    let start = |shard: usize| {
        let metrics = Arc::new(ShardMetrics::default());
        let config = ShardConfig {
            node: format!("n{node}"),
            shard: shard as u16,
            boot,
            routers: 1,
            admission: Arc::clone(&admission),
            census: Arc::clone(&census),
            authenticator: Arc::clone(&authenticator),
            metrics: Arc::clone(&metrics),
            settings: Settings::from(&gateway),
            console: None,
        };
        let mut shard = Shard::new(config, events.bits(), now);
        shard.set_siblings(true);
        ShardSim { shard, metrics, free: Vec::new(), next_index: 0, next_generation: 0, timer_us: None }
    };
    (0..SHARDS_OF_NODE).map(start).collect()
}

impl Shards {
    pub(crate) fn new(events: &mut Events) -> Shards {
        let sims = (0..NODES).flat_map(|node| start_node(node, events)).collect();
        Shards { sims, down_until_us: [0; NODES], sockets: BTreeMap::new(), next_socket: 0 }
    }

    /// A process dies with all its sockets and links, and comes back.
    pub(crate) fn die(&mut self, node: usize, links: &mut Links, events: &mut Events) {
        let of_node = node * SHARDS_OF_NODE..(node + 1) * SHARDS_OF_NODE;
        let gone: Vec<u64> =
            self.sockets.iter().filter(|(_, it)| of_node.contains(&it.shard)).map(|(id, _)| *id).collect();
        for socket in gone {
            self.sockets.remove(&socket);
            events.within(0, 200 * MS, Event::ClientEnds { socket });
        }
        for (shard, fresh) in of_node.zip(start_node(node, events)) {
            // A key is never used again, so that what is on its way to a dead socket finds nobody.
            let generation = self.sims[shard].next_generation;
            self.sims[shard] = ShardSim { next_generation: generation, ..fresh };
            links.orphan(shard, events);
            events.within(200 * MS, 3 * S, Event::Dial { shard });
        }
        self.down_until_us[node] = events.now_us() + events.between(100 * MS, 2 * S);
    }

    /// A client's connection is accepted; `None`: nobody listens.
    pub(crate) fn accept(&mut self, shard: usize, links: &mut Links, events: &mut Events) -> Option<u64> {
        if self.down_until_us[shard / SHARDS_OF_NODE] > events.now_us() {
            return None;
        }
        self.next_socket += 1;
        let sim = &mut self.sims[shard];
        let index = sim.free.pop().unwrap_or_else(|| {
            sim.next_index += 1;
            sim.next_index - 1
        });
        sim.next_generation += 1;
        let key = Key::new(index, sim.next_generation);
        let socket =
            Socket { shard, key, to_client_us: 0, to_server_us: 0, slow_until_us: 0, server_is_done: false };
        self.sockets.insert(self.next_socket, socket);
        let peer = SocketAddr::from(([127, 0, 0, 1], 40_000));
        self.input(shard, links, events, |shard, now| shard.handle_accepted(key, peer, now));
        Some(self.next_socket)
    }

    /// The client of a socket stops reading.
    pub(crate) fn slow(&mut self, socket: u64, for_us: u64, events: &Events) {
        if let Some(socket) = self.sockets.get_mut(&socket) {
            socket.slow_until_us = events.now_us() + for_us;
        }
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
        self.check_owed(shard, events);
        let sim = &mut self.sims[shard];
        let Some(due) = sim.shard.poll_timeout() else { return };
        let due_us = micros(due).max(events.now_us());
        if sim.timer_us.is_none_or(|set| due_us < set) {
            sim.timer_us = Some(due_us);
            events.at(due_us, Event::ShardTimer { shard });
        }
    }

    fn check_owed(&self, shard: usize, events: &mut Events) {
        let ShardSim { shard: room, metrics, .. } = &self.sims[shard];
        room.refresh_gauges();
        let owed = metrics.outbox_bytes.get();
        if owed > OWED_MAX {
            events.broken("I5", format!("shard {shard} owes {owed} bytes, more than {OWED_MAX}"));
        }
    }

    /// Frames that a full outbox did not take.
    pub(crate) fn dropped(&self) -> u64 {
        self.sims.iter().map(|sim| sim.metrics.dropped.get()).sum()
    }

    /// What is left when everybody has gone: nothing.
    pub(crate) fn check_empty(&self, events: &mut Events) {
        for (number, ShardSim { shard, metrics, .. }) in self.sims.iter().enumerate() {
            shard.refresh_gauges();
            let left = [
                shard.connections() as u64,
                shard.open_sessions(),
                metrics.users.get(),
                metrics.topics.get(),
                metrics.outbox_bytes.get(),
            ];
            if left != [0; 5] {
                let what = "connections, sessions, users, topics and owed bytes";
                events.broken("I5", format!("shard {number} keeps {left:?} {what} of clients that left"));
            }
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
                if let Some(link) = links.believed(shard) {
                    links.send_to_router(link, frame, events);
                }
            }
            Output::CutLink { .. } => {
                if let Some(link) = links.believed(shard) {
                    links.cut_by_shard(link, events);
                }
            }
            Output::Named(named) => {
                let node = shard / SHARDS_OF_NODE * SHARDS_OF_NODE;
                for sibling in (node..node + SHARDS_OF_NODE).filter(|sibling| *sibling != shard) {
                    self.input(sibling, links, events, |shard, now| shard.handle_named(&named, now));
                }
            }
            Output::Flush | Output::Drained => {}
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
        let taken = events.now_us().max(socket.slow_until_us) + events.between(10, 2 * MS);
        events.at(taken, Event::Sent { socket: id });
        socket.to_client_us = socket.to_client_us.max(taken + events.between(20, 3 * MS));
        events.at(socket.to_client_us, Event::ToClient { socket: id, bytes: bytes.freeze() });
    }

    /// How long a shard waits before it dials again.
    pub(crate) fn redial(shard: usize, events: &mut Events) {
        let most = Duration::from_millis(1_500).as_micros() as u64;
        events.within(50 * MS, most, Event::Dial { shard });
    }

    pub(crate) fn random_node(events: &mut Events) -> usize {
        events.between(0, NODES as u64 - 1) as usize
    }
}
