//! All simulated clients of one thread: connecting at their intended times, shaking hands, listening, answering pings, coming
//! back by the contract's policy, leaving in order. Pure: bytes and time come in, wishes go out. Called by `engine`.
//!
//! A client is known by its place in this thread; its number in the run is `lane.number(place)`.

mod acks;
mod closing;
mod config;
mod errands;
mod foreign;
mod handshake;
mod losing;
mod route;
mod speech;
mod streaming;
mod syncing;
#[cfg(test)]
mod tests;
mod timers;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use wire::close::Comeback;
use wire::reconnect::Reconnect;
use wire::session::{Role, Session, SessionLimits};
use wire::time::Mono;

use crate::counts::Journal;
use crate::dialect::Dialect;
use crate::limits::{HANDSHAKE_WITHIN, SERVER_MESSAGE_BYTES_MAX, SLOT_AGAIN};
use crate::marker::Marker;
use crate::percentiles::Latencies;
use crate::posts::Posts;
use crate::receipts::Receipts;
use crate::tally::{Bits, Tally, ToAll, ToOne};
use acks::Unsure;
use closing::Closing;
use errands::Errands;
use losing::Cutting;
use streaming::Stream;
use timers::{Timers, Wake, Why};

pub use config::FleetConfig;
pub use speech::Speech;
pub(crate) use speech::mix;

/// What the engine is to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Output {
    /// Open a socket to target number `target`.
    Connect {
        place: u32,
        target: usize,
    },
    Send {
        place: u32,
        frame: Bytes,
    },
    /// Close the socket; it is not ours any more.
    Close {
        place: u32,
        how: End,
    },
    /// The client came in, or went out.
    Presence {
        client: u32,
        inside: bool,
    },
}

/// How a socket ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Nothing of it lingers on this side, and its port is free at once.
    Reset,
    /// In order, as TCP has it.
    Fin,
}

/// Who is told what in the run, for [`Fleet::begin_run`].
#[derive(Debug, Clone)]
pub enum Audience {
    All,
    One,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// No socket: not begun, or waiting to come back.
    Waiting,
    Connecting,
    Upgrading,
    Welcoming,
    Subscribing,
    In,
    /// We said goodbye.
    Closing,
    /// Gone for good.
    Out,
}

impl Phase {
    fn shakes_hands(self) -> bool {
        matches!(self, Phase::Connecting | Phase::Upgrading | Phase::Welcoming | Phase::Subscribing)
    }
}

#[derive(Debug)]
struct Client {
    session: Session,
    reconnect: Reconnect,
    /// When the current attempt was meant to begin.
    intended: Mono,
    /// `created_at` of the newest notification heard of (or the first welcome's time), microseconds; 0: none.
    seen_us: i64,
    /// Where the sync began that goes on; 0: none does.
    sync_from_us: i64,
    /// Attempts since the client was last in.
    attempts: u32,
    /// Counts sockets, so that timers of an earlier one are known as stale.
    epoch: u32,
    /// Addresses it went on to: with every attempt and after every loss the next.
    turn: u16,
    /// The address of the current attempt.
    target: u16,
    phase: Phase,
    was_in: bool,
    /// Never lost since returns are watched.
    stayed: bool,
}

const _: () = assert!(size_of::<Client>() <= 160);

/// The clients of one thread.
#[derive(Debug)]
pub struct Fleet {
    config: FleetConfig,
    limits: SessionLimits,
    clients: Vec<Client>,
    /// Of each client; none where they have WebSockets.
    streams: Vec<Stream>,
    errands: Errands,
    /// Clients that have begun; the next one begins at its time in the pace.
    begun: u32,
    /// Clients that are neither waiting, in nor out.
    under_way: usize,
    out: u32,
    closing: Option<Closing>,
    cutting: Option<Cutting>,
    watches_returns: bool,
    leaving: bool,
    timers: Timers,
    /// Heads of answers of which a part has come.
    partial: HashMap<u32, Vec<u8>>,
    speech: Speech,
    unsure: Unsure,
    receipts: Option<Receipts>,
    journal: Journal,
    outputs: VecDeque<Output>,
    last_in: Option<Mono>,
}

impl Fleet {
    pub fn new(config: FleetConfig) -> Fleet {
        let count = config.lane.share(config.clients);
        let clients = (0..count)
            .map(|place| Client {
                session: Session::new(Role::Client),
                reconnect: Reconnect::new(speech::mix(config.seed, u64::from(config.lane.number(place)))),
                intended: Mono::ZERO,
                seen_us: 0,
                sync_from_us: 0,
                attempts: 0,
                epoch: 0,
                turn: 0,
                target: 0,
                phase: Phase::Waiting,
                was_in: false,
                stayed: true,
            })
            .collect();
        Fleet {
            speech: Speech::new(config.seed, config.marker.clone()),
            limits: SessionLimits {
                message_bytes: SERVER_MESSAGE_BYTES_MAX,
                binary: config.dialect == Dialect::Nats,
                ..SessionLimits::default()
            },
            streams: (0..if config.reads_streams() { count } else { 0 }).map(|_| Stream::default()).collect(),
            errands: Errands::new(count, config.errand_places()),
            config,
            clients,
            begun: 0,
            under_way: 0,
            out: 0,
            closing: None,
            cutting: None,
            watches_returns: false,
            leaving: false,
            timers: Timers::default(),
            partial: HashMap::new(),
            unsure: Unsure::default(),
            receipts: None,
            journal: Journal::default(),
            outputs: VecDeque::new(),
            last_in: None,
        }
    }

    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Everything that was counted, and the tally, at the end.
    pub fn into_results(self) -> (Journal, Tally, Option<Mono>) {
        (self.journal, self.receipts.map_or(Tally::Nothing, |receipts| receipts.tally), self.last_in)
    }

    /// Is every client in or gone for good?
    pub fn is_settled(&self) -> bool {
        self.journal.counts.open + self.out == self.clients.len() as u32
    }

    /// From here on copies of messages are counted. Who is in now must get everything that goes to all.
    pub fn begin_run(&mut self, posts: Arc<Posts>, audience: &Audience) {
        let messages = posts.messages();
        let tally = match audience {
            Audience::One => Tally::ToOne(ToOne::new(messages)),
            Audience::All => {
                let mut expected = Bits::with_room(self.clients.len());
                for (place, client) in self.clients.iter().enumerate() {
                    if client.phase == Phase::In {
                        expected.insert(place);
                    }
                }
                Tally::ToAll(ToAll::new(expected, u32::try_from(messages).unwrap_or(u32::MAX)))
            }
        };
        self.receipts = Some(Receipts { posts, tally });
    }

    /// The same for one part of several, each with marks and latencies of its own.
    pub fn begin_part(&mut self, posts: Arc<Posts>, marker: Marker) {
        self.speech.set_marker(marker);
        self.journal.latency = Latencies::default();
        self.begin_run(posts, &Audience::All);
    }

    /// What was counted since the part began; `None` when none did.
    pub fn end_part(&mut self) -> Option<(Tally, Latencies)> {
        let receipts = self.receipts.take()?;
        Some((receipts.tally, std::mem::take(&mut self.journal.latency)))
    }

    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Fleet::handle_timeout`] wants to be called next.
    pub fn poll_timeout(&self) -> Option<Mono> {
        if let Some(closing) = &self.closing {
            let busy = closing.next < self.clients.len() as u32;
            return Some(if busy { Mono::ZERO } else { closing.by });
        }
        if self.cutting.is_some() {
            return Some(Mono::ZERO);
        }
        if self.errands.can_begin() {
            return Some(Mono::ZERO);
        }
        let deadline = self.timers.next_deadline();
        if self.under_way >= self.config.handshakes_at_once {
            return deadline;
        }
        let first = (self.begun < self.clients.len() as u32).then(|| self.intended(self.begun));
        [deadline, self.timers.next_wake(), first].into_iter().flatten().min()
    }

    fn intended(&self, place: u32) -> Mono {
        self.config.pace.intended(u64::from(self.config.lane.number(place)))
    }

    /// Begins what is due, gives up what is overdue.
    pub fn handle_timeout(&mut self, now: Mono) {
        if self.closing.is_some() {
            return self.go_on_closing(now);
        }
        self.go_on_cutting(now);
        while let Some((place, epoch)) = self.timers.pop_deadline(now) {
            if self.errand_overdue(place, epoch, now) {
                continue;
            }
            let client = &self.clients[place as usize];
            if client.epoch == epoch && client.phase.shakes_hands() {
                self.lose(place, "handshake timed out", Comeback::Backoff, now);
            }
        }
        while self.under_way < self.config.handshakes_at_once {
            if let Some((wake, at)) = self.timers.pop_wake(now) {
                self.wake(wake, at, now);
            } else if self.begun < self.clients.len() as u32 && self.intended(self.begun) <= now {
                let place = self.begun;
                self.begun += 1;
                self.begin(place, self.intended(place), now);
            } else {
                break;
            }
        }
        self.begin_errands(now);
    }

    fn wake(&mut self, wake: Wake, at: Mono, now: Mono) {
        let client = &self.clients[wake.place as usize];
        if client.epoch != wake.epoch {
            return;
        }
        match (client.phase, wake.why) {
            (Phase::Waiting, Why::Connects) => self.begin(wake.place, at, now),
            // There was no slot for its socket.
            (Phase::Connecting, Why::Connects) => {
                let target = usize::from(client.target);
                self.outputs.push_back(Output::Connect { place: wake.place, target });
            }
            (Phase::In, Why::Moves) => self.move_on(wake.place, at, now),
            (Phase::In, Why::Syncs) => self.sync(wake.place, None),
            (Phase::Subscribing, Why::Subscribes) => self.subscribe(wake.place),
            (Phase::In, Why::Acks) => self.acknowledge_again(wake.place, now),
            _ => {}
        }
    }

    fn begin(&mut self, place: u32, intended: Mono, now: Mono) {
        let target = self.next_target(place);
        let client = &mut self.clients[place as usize];
        client.session = Session::new(Role::Client);
        if let Some(stream) = self.streams.get_mut(place as usize) {
            stream.begin();
        }
        client.intended = intended;
        client.phase = Phase::Connecting;
        client.epoch = client.epoch.wrapping_add(1);
        client.attempts += 1;
        client.target = target as u16;
        self.timers.set_deadline(now + HANDSHAKE_WITHIN, place, client.epoch);
        self.under_way += 1;
        self.journal.counts.attempts += 1;
        if self.returns(place) {
            self.journal.returns.handle_attempt(now);
        }
        self.outputs.push_back(Output::Connect { place, target });
    }

    /// A TLS session stands; `resumed`: with the ticket of an earlier one. Those of errands are not counted.
    pub fn handle_secured(&mut self, place: u32, resumed: bool) {
        if self.errands.has(place) {
            return;
        }
        let counts = &mut self.journal.counts;
        *(if resumed { &mut counts.tls_resumed } else { &mut counts.tls_full }) += 1;
    }

    /// The socket is up (and its TLS session, if there is to be one).
    pub fn handle_connected(&mut self, place: u32) {
        if self.errand_connected(place) {
            return;
        }
        if self.clients[place as usize].phase != Phase::Connecting {
            return;
        }
        self.clients[place as usize].phase = Phase::Upgrading;
        #[expect(
            clippy::redundant_closure_for_method_calls,
            reason = "the method alone is of one lifetime only"
        )]
        let frame = if self.config.reads_streams() {
            self.request_events(place)
        } else {
            self.with_request(place, |request| request.encode())
        };
        self.outputs.push_back(Output::Send { place, frame });
    }

    /// The table had no free slot: sockets that we closed are still leaving. The attempt is made a little later, and its latency
    /// counts on from where it was meant to begin.
    pub fn handle_no_slot(&mut self, place: u32, now: Mono) {
        if self.errand_ended(place, Some("no slot for its socket"), now) {
            return;
        }
        let client = &mut self.clients[place as usize];
        if client.phase == Phase::Connecting {
            client.epoch = client.epoch.wrapping_add(1);
            self.timers.set_deadline(now + HANDSHAKE_WITHIN, place, client.epoch);
            let again = Wake { place, epoch: client.epoch, why: Why::Connects };
            self.timers.set_wake(now + SLOT_AGAIN, again);
        }
    }

    /// No socket came about.
    pub fn handle_connect_failed(&mut self, place: u32, why: &str, now: Mono) {
        if self.errand_ended(place, Some(why), now) {
            return;
        }
        if self.clients[place as usize].phase.shakes_hands() {
            self.lose(place, &format!("connect: {why}"), Comeback::Backoff, now);
        }
    }

    /// Bytes came on the client's socket.
    pub fn handle_bytes(&mut self, place: u32, input: &mut [u8], now: Mono) {
        if self.errand_bytes(place, input, now) {
            return;
        }
        match self.clients[place as usize].phase {
            Phase::Upgrading => self.read_answer(place, input, now),
            Phase::Welcoming | Phase::Subscribing | Phase::In | Phase::Closing => {
                self.read_messages(place, input, now);
            }
            Phase::Waiting | Phase::Connecting | Phase::Out => {}
        }
    }

    fn read_messages(&mut self, place: u32, input: &mut [u8], now: Mono) {
        if self.config.reads_streams() {
            self.read_events(place, input, now);
        } else {
            self.read_frames(place, input, now);
        }
    }

    fn read_frames(&mut self, place: u32, input: &mut [u8], now: Mono) {
        let client = &mut self.clients[place as usize];
        let epoch = client.epoch;
        let mut session = std::mem::replace(&mut client.session, Session::new(Role::Client));
        let limits = self.limits;
        let read =
            session.handle_bytes(input, &limits, &mut |incoming| self.handle_incoming(place, &incoming, now));
        let client = &mut self.clients[place as usize];
        if client.epoch == epoch {
            client.session = session;
        }
        let listens = !matches!(client.phase, Phase::Waiting | Phase::Out);
        if let (Err(fault), true) = (read, listens) {
            self.lose(
                place,
                &format!("the server broke the protocol: {}", fault.reason),
                Comeback::Backoff,
                now,
            );
        }
    }

    /// The peer closed its side, or the socket failed.
    pub fn handle_ended(&mut self, place: u32, error: Option<&str>, now: Mono) {
        if self.errand_ended(place, error, now) {
            return;
        }
        match self.clients[place as usize].phase {
            Phase::Waiting | Phase::Out => {}
            Phase::Closing => self.finish(place),
            Phase::In => {
                let why =
                    error.map_or("dropped: end of stream".to_owned(), |error| format!("dropped: {error}"));
                self.lose(place, &why, Comeback::Spread, now);
            }
            _ => {
                let why = error
                    .map_or("handshake: end of stream".to_owned(), |error| format!("handshake: {error}"));
                self.lose(place, &why, Comeback::Backoff, now);
            }
        }
    }

    fn enter(&mut self, place: u32, now: Mono) {
        let attempts = self.clients[place as usize].attempts;
        if self.returns(place) {
            self.journal.counts.back += 1;
            self.journal.returns.handle_back(attempts, now);
        }
        let client = &mut self.clients[place as usize];
        client.phase = Phase::In;
        *self.journal.attempts_needed.entry(client.attempts).or_default() += 1;
        client.attempts = 0;
        self.under_way -= 1;
        self.journal.counts.open += 1;
        if std::mem::replace(&mut client.was_in, true) {
            self.journal.counts.reconnected += 1;
        } else {
            self.last_in = Some(now);
            self.journal.counts.established += 1;
        }
        self.outputs.push_back(Output::Presence { client: self.config.lane.number(place), inside: true });
        self.acknowledge_again(place, now);
    }
}
