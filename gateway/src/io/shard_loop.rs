//! The one loop of a shard: what the kernel says goes to the shard, what the shard answers goes to the
//! kernel.
//!
//! Runs in a glommio executor of its own; all sockets, links to routers included, are on the shard's rings.
//! Time is read once a turn. Decides nothing. Started by `node`.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender, TryRecvError, TrySendError};
use gateway_ring::{Conn, DoorId, Event, Notifier, Rings, SendOutcome};
use ops::clock::Clock;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use rustls::ServerConfig;
use wire::time::Mono;

use crate::auth::Authenticator;
use crate::io::front::{self, Front, Taken, Told};
use crate::io::link::Link;
use crate::limits;
use crate::metrics::ShardMetrics;
use crate::shard::drain::DrainKind;
use crate::shard::links::RouterIndex;
use crate::shard::{Key, Named, Now, Output, Settings, Shard};

/// What the rest of the process may tell a shard.
#[derive(Debug)]
pub enum Command {
    Drain(DrainKind),
    /// Ends the drain's window.
    Hurry,
    Reload {
        authenticator: Arc<Authenticator>,
        settings: Box<Settings>,
        tls: Option<Arc<ServerConfig>>,
    },
    /// The node's other shards. Said once, when all have started.
    Siblings(Vec<Sibling>),
    /// A device connected to a sibling.
    Named(Arc<Named>),
    /// Ends the loop now; sockets are closed by the kernel.
    Stop,
}

/// Another shard of the node.
#[derive(Debug, Clone)]
pub struct Sibling {
    pub commands: Sender<Command>,
    pub notifier: Notifier,
}

/// The way in by TLS: which of the rings' doors it is, and what it speaks.
#[derive(Debug, Clone)]
pub struct TlsDoor {
    pub door: DoorId,
    pub config: Arc<ServerConfig>,
}

/// A shard and its street.
#[derive(Debug)]
pub struct ShardLoop {
    rings: Rings,
    street: Street,
    commands: Receiver<Command>,
    clock: Clock,
    metrics: Arc<ShardMetrics>,
    next_gauges: Mono,
    drained_at: Option<Mono>,
    siblings: Vec<Sibling>,
    /// By sibling's place: what it has not been told yet.
    untold: VecDeque<(usize, Arc<Named>)>,
}

/// All but the rings, which are borrowed while they report.
#[derive(Debug)]
struct Street {
    shard: Shard,
    front: Front,
    /// The door of the connections that `front` stands before.
    tls_door: Option<DoorId>,
    links: Vec<Link>,
    random: SmallRng,
    /// Links to close once the rings have reported.
    to_cut: Vec<RouterIndex>,
}

const GAUGES_EVERY: Duration = Duration::from_millis(250);

impl ShardLoop {
    pub fn new(
        rings: Rings,
        shard: Shard,
        tls: Option<TlsDoor>,
        routers: &[std::net::SocketAddr],
        commands: Receiver<Command>,
        clock: Clock,
        metrics: Arc<ShardMetrics>,
    ) -> ShardLoop {
        let now = clock.mono();
        let links = routers.iter().map(|address| Link::new(*address, now)).collect();
        let random = SmallRng::seed_from_u64(ops::random::seed());
        let tls_door = tls.as_ref().map(|tls| tls.door);
        let handshake_wait = shard.handshake_wait();
        let front = Front::new(tls.map(|tls| tls.config), Arc::clone(&metrics), handshake_wait);
        let street = Street { shard, front, tls_door, links, random, to_cut: Vec::new() };
        ShardLoop {
            rings,
            street,
            commands,
            clock,
            metrics,
            next_gauges: now,
            drained_at: None,
            siblings: Vec::new(),
            untold: VecDeque::new(),
        }
    }

    /// Runs until the shard is drained or told to stop.
    pub async fn run(mut self) {
        loop {
            let now = self.now();
            let street = &mut self.street;
            let events = self.rings.turn(&mut |event| street.handle(event, now));
            if self.obey_commands(now) {
                return;
            }
            self.dial(now.mono);
            self.street.handle_timeouts(now);
            let outputs = self.carry_out(now);
            self.look_at_gauges(now.mono);
            if self.is_over(now.mono) {
                return;
            }
            if events + outputs > 0 {
                self.rings.give_way().await;
            } else {
                self.sleep(now.mono).await;
            }
        }
    }

    fn now(&self) -> Now {
        Now { mono: self.clock.mono(), wall: self.clock.wall() }
    }

    async fn sleep(&mut self, now: Mono) {
        let retries = self.street.links.iter().filter_map(Link::retry_at);
        let timeouts = [self.street.shard.poll_timeout(), self.street.front.poll_timeout()];
        let due = timeouts.into_iter().flatten().chain(retries).min();
        let wait = due.map_or(limits::WAIT_MAX, |due| due.since(now)).min(limits::WAIT_MAX);
        if wait.is_zero() {
            self.rings.give_way().await;
        } else {
            self.rings.wait(wait).await;
        }
    }

    /// True: stop.
    fn obey_commands(&mut self, now: Now) -> bool {
        loop {
            match self.commands.try_recv() {
                Ok(Command::Drain(kind)) => self.street.shard.handle_drain(kind, now),
                Ok(Command::Hurry) => self.street.shard.handle_hurry(now),
                Ok(Command::Reload { authenticator, settings, tls }) => {
                    self.street.front.set(tls, settings.handshake_wait);
                    self.street.shard.set_authenticator(authenticator);
                    self.street.shard.set_settings(*settings);
                }
                Ok(Command::Siblings(siblings)) => {
                    self.street.shard.set_siblings(!siblings.is_empty());
                    self.siblings = siblings;
                }
                Ok(Command::Named(named)) => self.street.shard.handle_named(&named, now),
                // Without anybody to tell it anything, a shard is left over from a start that failed.
                Ok(Command::Stop) | Err(TryRecvError::Disconnected) => return true,
                Err(TryRecvError::Empty) => return false,
            }
        }
    }

    fn dial(&mut self, now: Mono) {
        let Street { links, random, .. } = &mut self.street;
        for link in links {
            if let Err(why) = link.dial(&mut self.rings, now, random) {
                tracing::warn!(router = %link.address(), %why, "cannot dial a router");
            }
        }
    }

    /// Carries out what the shard wants; returns how much that was.
    fn carry_out(&mut self, now: Now) -> usize {
        let mut outputs = 0;
        while outputs < limits::OUTPUTS_PER_TURN {
            let Some(output) = self.street.shard.poll_output() else { break };
            outputs += 1;
            match output {
                Output::Send { key } => self.send(key, now),
                Output::Flush => self.rings.submit(),
                Output::Close { key, hard } if self.street.front.has(key) => {
                    self.street.front.close(key, hard, now.mono);
                }
                Output::Close { key, hard } => self.close(key, hard),
                Output::Link { router, frame } => {
                    if self.street.links[usize::from(router)].queue(&frame).is_err() {
                        self.street.to_cut.push(router);
                    }
                }
                Output::CutLink { router, why } => {
                    let address = self.street.links[usize::from(router)].address();
                    tracing::warn!(router = %address, why, "link cut");
                    self.street.to_cut.push(router);
                }
                Output::Named(named) => {
                    let named = Arc::new(named);
                    let to_all = (0..self.siblings.len()).map(|sibling| (sibling, Arc::clone(&named)));
                    self.untold.extend(to_all);
                }
                Output::Drained => self.drained_at = Some(now.mono),
            }
        }
        outputs += self.tend_front(now);
        self.tend_links(now);
        self.tell_siblings();
        outputs
    }

    /// Sends and closes what the front wants to; returns how much that was.
    fn tend_front(&mut self, now: Now) -> usize {
        let mut outputs = 0;
        while let Some(key) = self.street.front.next_held() {
            self.send(key, now);
            outputs += 1;
        }
        while let Some(output) = self.street.front.poll_output() {
            outputs += 1;
            match output {
                front::Output::Send { key, records } => {
                    // Stale: its end is about to be reported.
                    let _outcome = self.rings.send(Conn::from_key(key.0), &mut std::iter::once(records));
                }
                front::Output::Pause { key, paused: true } => self.rings.pause_reading(Conn::from_key(key.0)),
                front::Output::Pause { key, paused: false } => {
                    self.rings.resume_reading(Conn::from_key(key.0));
                }
                front::Output::Close { key, hard } => self.close(key, hard),
            }
        }
        outputs
    }

    fn close(&mut self, key: Key, hard: bool) {
        let conn = Conn::from_key(key.0);
        if hard { self.rings.close_hard(conn) } else { self.rings.close(conn) }
    }

    fn tell_siblings(&mut self) {
        while let Some((place, named)) = self.untold.pop_front() {
            let sibling = &self.siblings[place];
            let told = sibling.commands.try_send(Command::Named(Arc::clone(&named)));
            sibling.notifier.wake();
            if matches!(told, Err(TrySendError::Full(_))) {
                self.untold.push_front((place, named));
                break;
            }
        }
        if self.untold.len() > limits::NAMED_PENDING_MAX {
            let lost = self.untold.len() - limits::NAMED_PENDING_MAX;
            tracing::warn!(lost, "a shard does not hear its siblings: devices may be connected twice");
            self.untold.drain(..lost);
        }
    }

    fn send(&mut self, key: Key, now: Now) {
        let Street { shard, front, .. } = &mut self.street;
        let is_tls = front.has(key);
        if is_tls && front.holds_back(key) {
            return;
        }
        let Some(mut frames) = shard.next_send(key) else { return };
        let failed = if is_tls {
            front.send(key, &mut frames) == Taken::Refused
        } else {
            self.rings.send(Conn::from_key(key.0), &mut frames) == SendOutcome::Stale
        };
        if failed {
            shard.handle_failed(key, now);
        }
    }

    fn tend_links(&mut self, now: Now) {
        let Street { shard, links, random, to_cut, .. } = &mut self.street;
        for router in to_cut.drain(..) {
            let link = &mut links[usize::from(router)];
            link.close(&mut self.rings);
            if link.went_down(now.mono, random) {
                shard.handle_link_down(router, now);
            }
        }
        for link in links.iter_mut() {
            link.flush(&mut self.rings);
        }
        shard.set_links_congested(links.iter().any(Link::is_congested));
    }

    fn look_at_gauges(&mut self, now: Mono) {
        if now < self.next_gauges {
            return;
        }
        self.next_gauges = now + GAUGES_EVERY;
        self.street.shard.refresh_gauges();
        let stats = self.rings.stats();
        let ring = &self.metrics.ring;
        ring.capacity.set(u64::from(self.rings.table().capacity));
        ring.enters.set(stats.enters);
        ring.completions.set(stats.completions);
        ring.overflows.set(stats.overflows);
        ring.accept_errors.set(stats.accept_errors);
        ring.send_errors.set(stats.send_errors);
        ring.waits.set(stats.waits);
    }

    /// Whether the drain is over, and the last sockets had their time to close.
    fn is_over(&self, now: Mono) -> bool {
        self.drained_at.is_some_and(|drained| {
            self.street.shard.connections() == 0 || now.since(drained) >= limits::LAST_CLOSES_WAIT
        })
    }
}

impl Street {
    fn handle(&mut self, event: Event<'_>, now: Now) {
        match event {
            Event::Accepted { conn, peer, door } => {
                if self.tls_door == Some(door) {
                    self.front.accepted(key(conn));
                }
                self.shard.handle_accepted(key(conn), peer, now);
            }
            Event::Received { conn, data } => match self.router_of(conn) {
                Some(router) => self.receive_link(router, data, now),
                None => self.receive_client(key(conn), data, now),
            },
            Event::Sent { conn } => match self.router_of(conn) {
                Some(router) => self.links[usize::from(router)].sent(),
                None => self.sent(key(conn), now),
            },
            Event::Ended { conn, error: None } if self.router_of(conn).is_none() => {
                self.ended(key(conn), false, now);
            }
            Event::Ended { conn, .. } | Event::SendFailed { conn, .. } => match self.router_of(conn) {
                Some(router) => self.to_cut.push(router),
                None => self.ended(key(conn), true, now),
            },
            Event::Closed { conn } => match self.router_of(conn) {
                Some(router) => self.link_down(router, now),
                None => self.closed(key(conn), now),
            },
            Event::Connected { conn } => {
                if let Some(router) = self.router_of(conn) {
                    self.links[usize::from(router)].connected(conn);
                    tracing::info!(router = %self.links[usize::from(router)].address(), "link up");
                    self.shard.handle_link_up(router, now);
                }
            }
            Event::ConnectFailed { conn, error } => {
                if let Some(router) = self.router_of(conn) {
                    let link = &self.links[usize::from(router)];
                    tracing::debug!(router = %link.address(), %error, "router not reached");
                    self.link_down(router, now);
                }
            }
        }
    }

    fn handle_timeouts(&mut self, now: Now) {
        let Street { shard, front, .. } = self;
        front.shake_hands(now.mono, &mut |key, told| tell(shard, key, told, now));
        if front.poll_timeout().is_some_and(|due| due <= now.mono) {
            front.handle_timeout(now.mono, &mut |key, told| tell(shard, key, told, now));
        }
        if shard.poll_timeout().is_some_and(|due| due <= now.mono) {
            shard.handle_timeout(now);
        }
    }

    /// What a trusted proxy says comes first, then what the front opens, then the client's own words.
    fn receive_client(&mut self, key: Key, data: &mut [u8], now: Now) {
        let Street { shard, front, .. } = self;
        let data = shard.take_prelude(key, data);
        if data.is_empty() {
            return;
        }
        if front.has(key) {
            front.received(key, data, now.mono, &mut |key, told| tell(shard, key, told, now));
        } else {
            shard.handle_received(key, data, now);
        }
    }

    fn sent(&mut self, key: Key, now: Now) {
        let Street { shard, front, .. } = self;
        if front.has(key) {
            front.sent(key, &mut |key, told| tell(shard, key, told, now));
        } else {
            shard.handle_sent(key, now);
        }
    }

    fn ended(&mut self, key: Key, failed: bool, now: Now) {
        let Street { shard, front, .. } = self;
        if front.has(key) {
            front.ended(key, failed, &mut |key, told| tell(shard, key, told, now));
        } else {
            tell(shard, key, if failed { Told::Failed } else { Told::Ended }, now);
        }
    }

    fn closed(&mut self, key: Key, now: Now) {
        self.front.closed(key);
        self.shard.handle_closed(key, now);
    }

    fn link_down(&mut self, router: RouterIndex, now: Now) {
        let link = &mut self.links[usize::from(router)];
        if link.went_down(now.mono, &mut self.random) {
            tracing::warn!(router = %link.address(), "link lost");
            self.shard.handle_link_down(router, now);
        }
    }

    /// What a proxy put in front comes off first, below TLS.
    fn receive_link(&mut self, router: RouterIndex, data: &[u8], now: Now) {
        let Street { shard, links, to_cut, .. } = self;
        let link = &mut links[usize::from(router)];
        let read = link.receive(data, &mut |frame| shard.handle_link_frame(router, frame, now));
        if let Err(why) = read {
            tracing::warn!(router = %link.address(), %why, "a router sent no link frame");
            to_cut.push(router);
        }
    }

    /// Which router's link this connection is. There are few.
    fn router_of(&self, conn: Conn) -> Option<RouterIndex> {
        let place = self.links.iter().position(|link| link.is_conn(conn))?;
        RouterIndex::try_from(place).ok()
    }
}

fn tell(shard: &mut Shard, key: Key, told: Told<'_>, now: Now) {
    match told {
        Told::Received(data) => shard.handle_received(key, data, now),
        Told::Sent => shard.handle_sent(key, now),
        Told::Ended => shard.handle_ended(key, now),
        Told::Failed => shard.handle_failed(key, now),
    }
}

fn key(conn: Conn) -> Key {
    Key(conn.key())
}
