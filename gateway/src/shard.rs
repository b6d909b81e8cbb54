//! One core's share of a node: its connections, who they belong to, and what they are owed.
//!
//! A state machine without clock, I/O or threads. The porch (`io::shard_loop`, or a simulation) feeds it with
//! what its sockets and links say, and carries out what [`Shard::poll_output`] answers; `poll_timeout` and
//! `handle_timeout` stand for the clock. Everything is bounded: by `limits`, by the configuration, and by the
//! credit that routers have.
//!
//! The rooms: `origin` (where does it come from?), `handshake` and `request` (what does it want?), `connection` (what is it?), `conversation`
//! (what does it say?), `events` and `posting` (the same without a WebSocket), `presence` and `registry` (who
//! is here?), `deliveries` and `fanout` (who gets this?), `sockets` and `outbox` (what is it owed?),
//! `timeouts` and `timers` (is it still there?), `lifetimes` (has it been long enough?), `links` (what do routers know?), `drain` (how do we leave?),
//! `settings` (what may we do?).

mod connection;
mod conversation;
mod deliveries;
mod doubles;
pub mod drain;
mod events;
mod fanout;
mod handshake;
mod lifetimes;
pub mod links;
mod origin;
pub mod outbox;
mod posting;
mod presence;
pub mod registry;
pub mod request;
mod settings;
mod sockets;
mod timeouts;
pub mod timers;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ahash::RandomState;
use rand::{SeedableRng, rngs::SmallRng};
use wire::close::CloseCode;
use wire::link::Frame;
use wire::proxy::Prefix;
use wire::time::{Mono, Wall};

use crate::admission::{Refusal, Verdict};
use crate::auth::Authenticator;
use crate::census::{Room, Source};
use crate::limits;
use crate::metrics::{Handshake, ShardMetrics};
use connection::{Behind, Flags, Head, State};
pub use connection::{CONNECTION_BYTES_MAX, DeviceName, Key};
use doubles::Doubles;
use drain::{Drain, DrainKind};
use fanout::Fanout;
use lifetimes::Lifetimes;
use links::{LinkOutput, Links, RouterIndex};
use outbox::{NextSend, Pool};
use registry::{Registry, TopicChange};
pub use settings::{Settings, ShardConfig};
use sockets::Sockets;
use timers::Wheel;

/// What time it is, in both senses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    pub mono: Mono,
    pub wall: Wall,
}

/// What the porch must do.
#[derive(Debug, PartialEq, Eq)]
pub enum Output {
    /// Hand [`Shard::next_send`] of this connection to the kernel, and report `handle_sent` or
    /// `handle_failed`.
    Send { key: Key },
    /// Let the kernel have the sends so far before those that follow: they are a sweep's, and many.
    Flush,
    /// Close the socket, `hard` with a reset; report `handle_closed`.
    Close { key: Key, hard: bool },
    /// Put a frame on a link.
    Link { router: RouterIndex, frame: Frame },
    /// Tell the node's other shards, which [`Shard::handle_named`] it. Only after [`Shard::set_siblings`].
    Named(Named),
    /// Close a link and make it anew; report `handle_link_up` then.
    CutLink { router: RouterIndex, why: &'static str },
    /// The drain is over and every session is closed.
    Drained,
}

/// A device of a user connected to a shard: the same device's older connections end, wherever on the node
/// they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    pub user: String,
    pub device: DeviceName,
    /// When, and on which shard: the later naming wins, at the same time that of the higher shard.
    pub stamp: (Mono, u16),
}

/// See the module.
#[derive(Debug)]
pub struct Shard {
    config: ShardConfig,
    random: SmallRng,
    sockets: Sockets,
    registry: Registry,
    /// The same on all shards of a process: they tell each other of devices.
    hasher: RandomState,
    /// By connection index: who it counts for. Shorter while addresses are not counted.
    sources: Vec<Source>,
    lifetimes: Lifetimes,
    fanout: Fanout,
    links: Links,
    /// By router: since when its frames may have been lost with the link, until the sockets are told.
    lost_since: Vec<Option<Wall>>,
    doubles: Doubles,
    draining: Option<Draining>,
    /// Sockets that its table holds.
    room: u64,
    /// Open WebSockets and event streams.
    open_websockets: u64,
    open_events: u64,
    /// Reused from turn to turn.
    due: Vec<u32>,
    finished: Vec<fanout::Finished>,
    is_drained_reported: bool,
    has_siblings: bool,
    /// Devices that siblings are to be told of.
    named: VecDeque<Named>,
}

/// Where a drain stands.
#[derive(Debug)]
struct Draining {
    pace: Drain,
    /// The next places of the slab to advise and to close.
    next_to_advise: u32,
    next_to_close: u32,
    next_look: Mono,
}

impl Shard {
    /// `seed` decides every jitter and draw: same seed and inputs, same outputs.
    pub fn new(config: ShardConfig, seed: u64, now: Now) -> Shard {
        let pool = Pool::new(config.settings.outbox_bytes, config.settings.outbox_shard_bytes);
        Shard {
            random: SmallRng::seed_from_u64(seed),
            sockets: Sockets::new(pool, Wheel::new(now.mono), Arc::clone(&config.metrics)),
            registry: Registry::new(seed.rotate_left(7) ^ 0x7265_6769),
            hasher: RandomState::with_seeds(
                config.boot,
                config.boot.rotate_left(23),
                !config.boot,
                0x6465_7669,
            ),
            sources: Vec::new(),
            lifetimes: Lifetimes::default(),
            fanout: Fanout::new(seed.rotate_left(13) ^ 0x726f_6f6d),
            links: Links::new(&config.node, config.shard, config.boot, config.routers),
            lost_since: vec![None; config.routers],
            doubles: Doubles::default(),
            draining: None,
            room: u64::MAX,
            open_websockets: 0,
            open_events: 0,
            due: Vec::new(),
            finished: Vec::new(),
            is_drained_reported: false,
            has_siblings: false,
            named: VecDeque::new(),
            config,
        }
    }

    /// The kernel accepted a connection.
    pub fn handle_accepted(&mut self, key: Key, peer: SocketAddr, now: Now) {
        let is_proxy = Prefix::any_contains(&self.config.settings.trusted_proxies, peer.ip());
        // Of the whole node's limits; a shard's own table may fill before, if the kernel favours it.
        let own = self.config.admission.limits().within(self.room);
        let live = self.sockets.slab.live() as u64;
        let room = match () {
            () if live >= own.hard => Room::Reset,
            () if is_proxy => Room::Enough,
            () => self.count_source(key, peer.ip()),
        };
        let verdict = match room {
            Room::Enough if live >= own.soft => self.config.admission.admit_refused(Refusal::OverSoft),
            Room::Enough => self.config.admission.admit(now.mono),
            Room::Refuse => self.config.admission.admit_refused(Refusal::FullAddress),
            Room::Reset => Verdict::Reset,
        };
        self.metrics().admitted(if room == Room::Reset && live < own.hard {
            Verdict::Refuse(Refusal::FullAddress)
        } else {
            verdict
        });
        let refused = match verdict {
            Verdict::Accept => None,
            Verdict::Refuse(why) => Some(why),
            Verdict::Reset => {
                // Nothing is reserved; the entry only waits for the close.
                self.sockets.slab.insert(key, State::Leaving).flags.set(Flags::UNCOUNTED);
                self.sockets.abort(key);
                return;
            }
        };
        let behind = if is_proxy { Behind::Proxy } else { Behind::Known };
        let head = Head { bytes: Vec::new(), refused, behind };
        self.sockets.slab.insert(key, State::Head(Box::new(head)));
        self.sockets.wheel.arm(key.index(), now.mono + self.config.settings.handshake_wait);
    }

    /// Bytes arrived. They may be changed in place.
    pub fn handle_received(&mut self, key: Key, data: &mut [u8], now: Now) {
        let Some(connection) = self.sockets.slab.get(key) else { return };
        if connection.flags.has(Flags::CLOSED) {
            return;
        }
        connection.missed = 0;
        match &connection.state {
            State::WebSocket(_) => self.read_frames(key, data, now),
            State::Head(_) => self.read_head(key, data, now),
            State::Redeeming(_) => self.keep_early(key, data, now),
            State::Posting(_) => self.read_body(key, data, now),
            State::Events(_) | State::Leaving => self.throw_away(key, data.len()),
            State::Free => {}
        }
    }

    /// The kernel took all that `next_send` gave.
    pub fn handle_sent(&mut self, key: Key, now: Now) {
        if self.sockets.sent(key) {
            self.continue_replay(key, now);
        }
    }

    /// The peer closed its side. An answer under way still goes out.
    pub fn handle_ended(&mut self, key: Key, now: Now) {
        let Some(connection) = self.sockets.slab.get(key) else { return };
        let is_answering = connection.flags.has(Flags::CLOSE_WHEN_SENT) && connection.queue.owed_bytes() > 0;
        if !is_answering {
            self.handle_failed(key, now);
        }
    }

    /// A send or the socket itself failed.
    pub fn handle_failed(&mut self, key: Key, _now: Now) {
        let Some(connection) = self.sockets.slab.get(key) else { return };
        if matches!(connection.state, State::Head(_) | State::Redeeming(_)) {
            self.config.metrics.handshake(Handshake::Gone);
        }
        self.leave(key);
        self.sockets.close(key);
    }

    /// The socket is gone, whoever closed it.
    pub fn handle_closed(&mut self, key: Key, _now: Now) {
        self.leave(key);
        let Some(connection) = self.sockets.slab.get(key) else { return };
        let is_counted = !connection.flags.has(Flags::UNCOUNTED);
        self.sockets.remove(key);
        if is_counted {
            self.config.admission.release();
        }
        self.forget_source(key);
    }

    /// A link to a router stands.
    pub fn handle_link_up(&mut self, router: RouterIndex, now: Now) {
        self.links.handle_up(router, now.mono);
    }

    /// A link is gone, and with it what was under way on it: up to the silence after which a link counts as
    /// dead.
    pub fn handle_link_down(&mut self, router: RouterIndex, now: Now) {
        self.links.handle_down(router);
        self.lost_since[usize::from(router)].get_or_insert(now.wall - limits::LINK_SILENCE_MAX);
        self.metrics().link_cuts.inc();
    }

    /// Begins to leave. A second call changes nothing.
    pub fn handle_drain(&mut self, kind: DrainKind, now: Now) {
        if self.draining.is_some() {
            return;
        }
        self.config.admission.start_draining();
        let open = self.open_websockets + self.open_events;
        let pace = Drain::new(kind, self.config.settings.drain_window, open, now.mono);
        self.draining = Some(Draining { pace, next_to_advise: 0, next_to_close: 0, next_look: now.mono });
    }

    /// Ends a drain's window now: whoever is still here is closed. Without a drain it changes nothing.
    pub fn handle_hurry(&mut self, now: Now) {
        if let Some(draining) = &mut self.draining {
            draining.pace.end_now(now.mono);
            draining.next_look = now.mono;
        }
    }

    /// How many sockets of clients the shard's table holds. Not said: as many as the node may have.
    pub fn set_room(&mut self, sockets: u64) {
        self.room = sockets;
    }

    /// Whether the node has other shards.
    pub fn set_siblings(&mut self, any: bool) {
        self.has_siblings = any;
    }

    /// Whether a link takes less than it is given: then snapshots pause.
    pub fn set_links_congested(&mut self, congested: bool) {
        self.links.set_congested(congested);
    }

    /// New keys, origins or belief in local users.
    pub fn set_authenticator(&mut self, authenticator: Arc<Authenticator>) {
        self.config.authenticator = authenticator;
    }

    /// New limits. Those of open connections count from their next message on.
    pub fn set_settings(&mut self, settings: Settings) {
        self.sockets.pool.set_budgets(settings.outbox_bytes, settings.outbox_shard_bytes);
        self.config.settings = settings;
    }

    /// How long a client may take to say what it wants.
    pub fn handshake_wait(&self) -> Duration {
        self.config.settings.handshake_wait
    }

    /// When `handle_timeout` is due at the latest. [`Mono::ZERO`]: there is work left for the next turn.
    pub fn poll_timeout(&self) -> Option<Mono> {
        if self.fanout.is_under_way() || self.links.has_snapshots() {
            return Some(Mono::ZERO);
        }
        let drain = self.draining.as_ref().map(|draining| draining.next_look);
        [self.sockets.wheel.next_due(), self.links.poll_timeout(), drain].into_iter().flatten().min()
    }

    /// Does what is due and a bounded piece of the work that is left.
    pub fn handle_timeout(&mut self, now: Now) {
        self.look_at_due(now);
        self.continue_fanout(now);
        self.links.continue_snapshots(&self.registry);
        self.tell_what_links_lost(now);
        self.links.handle_timeout(now.mono);
        while let Some(session) = self.links.poll_overdue(now.mono) {
            self.tell_busy(Key(session.0), now);
        }
        self.continue_drain(now);
    }

    /// What to do next. `None`: all is said until the next input.
    pub fn poll_output(&mut self) -> Option<Output> {
        if let Some(output) = self.links.poll_output() {
            return Some(match output {
                LinkOutput::Frame { router, frame } => {
                    self.metrics().link_frames_out.inc();
                    Output::Link { router, frame }
                }
                LinkOutput::Cut { router, why } => {
                    self.metrics().link_cuts.inc();
                    Output::CutLink { router, why }
                }
            });
        }
        if let Some(named) = self.named.pop_front() {
            return Some(Output::Named(named));
        }
        if let Some(output) = self.sockets.poll_output() {
            return Some(output);
        }
        self.sockets.publish_counts();
        let is_drained = self.draining.is_some() && self.open_websockets + self.open_events == 0;
        if is_drained && !self.is_drained_reported {
            self.is_drained_reported = true;
            return Some(Output::Drained);
        }
        None
    }

    /// The frames of a connection's next send, at most 64 and at most 256 KiB but for one longer frame.
    /// Whoever takes them must report how it went.
    pub fn next_send(&mut self, key: Key) -> Option<NextSend<'_>> {
        self.sockets.next_send(key)
    }

    /// Connections that hold a place, open or not.
    pub fn connections(&self) -> usize {
        self.sockets.slab.live()
    }

    /// Open WebSockets and event streams.
    pub fn open_sessions(&self) -> u64 {
        self.open_websockets + self.open_events
    }

    /// The name that a router gave itself in its hello.
    pub fn router_name(&self, router: RouterIndex) -> &str {
        self.links.router_name(router)
    }

    /// Copies what is only looked at now and then into the metrics. For the porch, a few times a second.
    pub fn refresh_gauges(&self) {
        let metrics = self.metrics();
        metrics.open_websockets.set(self.open_websockets);
        metrics.open_events.set(self.open_events);
        metrics.users.set(self.registry.user_count() as u64);
        metrics.topics.set(self.registry.topic_count() as u64);
        metrics.outbox_bytes.set(self.sockets.pool.charged_bytes());
        metrics.links_ready.set(self.links.ready_count() as u64);
    }

    fn metrics(&self) -> &ShardMetrics {
        &self.config.metrics
    }

    fn tell_topic_changes(&mut self, changes: Vec<TopicChange>) {
        for change in changes {
            match change {
                TopicChange::First(topic) => self.links.subscribe(&topic),
                TopicChange::Last(topic) => self.links.unsubscribe(&topic),
            }
        }
    }

    /// Ends a session: leaves, says why, and closes once that is sent.
    fn close_session(&mut self, key: Key, code: CloseCode, reason: &str, now: Now) {
        self.leave(key);
        self.sockets.say_goodbye(key, code, reason, now);
    }

    fn throw_away(&mut self, key: Key, bytes: usize) {
        let Some(connection) = self.sockets.slab.get(key) else { return };
        let passing = connection.passing();
        passing.lingered_bytes = passing.lingered_bytes.saturating_add(bytes);
        if passing.lingered_bytes > limits::LINGER_BYTES_MAX {
            self.leave(key);
            self.sockets.abort(key);
        }
    }

    /// The session's name towards people: unique over nodes and restarts.
    fn session_name(&self, key: Key) -> String {
        format!("{:016x}.{:x}.{:x}", self.config.boot, self.config.shard, key.0)
    }

    fn session_of(&self, name: &str) -> Option<Key> {
        let key = name.rsplit('.').next().and_then(|key| u64::from_str_radix(key, 16).ok()).map(Key)?;
        (self.session_name(key) == name).then_some(key)
    }
}

#[cfg(test)]
mod tests;
