//! What stands between the sockets of the TLS door and the shard: ciphertext comes in and plaintext goes on, what the shard
//! sends goes out as records, and the shard knows nothing of it.
//!
//! Owns each such socket's session, the records that wait for the kernel, the turn of those who shake hands, and how a TLS
//! connection closes. Bounded: a socket has one send of at most [`limits::TLS_SEND_BYTES`] under way and tells the shard
//! `Sent` only when the kernel has all its records; all sends together are bounded, too; handshakes have the shard's own
//! `handshake_s`, half records the same. Decides nothing about clients: whom to admit, what to say and whom to cut are the
//! shard's. Sockets of the plaintext door are not in here. Called by `shard_loop`.

mod passage;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rustls::ServerConfig;
use wire::http::response;
use wire::time::Mono;

use crate::limits;
use crate::metrics::ShardMetrics;
use crate::shard::Key;
use crate::tls::session::Failure;
use passage::{Passage, Stage};

/// What the shard is to be told of a connection.
#[derive(Debug)]
pub(super) enum Told<'a> {
    /// It may be changed in place.
    Received(&'a mut [u8]),
    /// The records of its last send are with the kernel.
    Sent,
    Ended,
    Failed,
}

/// What the rings are to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Output {
    Send {
        key: Key,
        records: Bytes,
    },
    /// Hold reading back, or go on with it.
    Pause {
        key: Key,
        paused: bool,
    },
    Close {
        key: Key,
        hard: bool,
    },
}

/// Who listens to [`Told`].
pub(super) type Tell<'t> = &'t mut dyn FnMut(Key, Told<'_>);

/// What became of frames that the shard gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    /// [`Told::Sent`] will follow, or [`Told::Failed`].
    Sending,
    /// There is no session to send them in.
    Refused,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Front {
    /// What new connections are made with. `None`: there is no TLS door.
    config: Option<Arc<ServerConfig>>,
    metrics: Arc<ShardMetrics>,
    /// By the connection's index. A plaintext connection costs no more in here than a pointer.
    passages: Vec<Option<Box<Passage>>>,
    /// Connections with records to send and no send under way.
    ready: VecDeque<Key>,
    closes: VecDeque<(Key, bool)>,
    pauses: VecDeque<(Key, bool)>,
    /// Connections whose handshake has bytes to look at.
    shaking: VecDeque<Key>,
    /// Connections that the shard wants to send on, but too much is under way.
    held: VecDeque<Key>,
    /// Connections that are closing, and when they are closed hard. In order: all have the same time.
    closing: VecDeque<(Mono, Key)>,
    /// Connections with a half-read record, each once, and when they are looked at.
    unfinished: BinaryHeap<Reverse<(Mono, Key)>>,
    in_flight_bytes: usize,
    /// How long a record may take to come whole.
    record_wait: Duration,
    /// Plaintext on its way to or from the shard. Reused.
    scratch: Vec<u8>,
}

impl Front {
    pub(super) fn new(
        config: Option<Arc<ServerConfig>>,
        metrics: Arc<ShardMetrics>,
        record_wait: Duration,
    ) -> Front {
        Front {
            config,
            metrics,
            passages: Vec::new(),
            ready: VecDeque::new(),
            closes: VecDeque::new(),
            pauses: VecDeque::new(),
            shaking: VecDeque::new(),
            held: VecDeque::new(),
            closing: VecDeque::new(),
            unfinished: BinaryHeap::new(),
            in_flight_bytes: 0,
            record_wait,
            scratch: Vec::new(),
        }
    }

    /// New connections are made with these from now on; those that stand are left as they are.
    pub(super) fn set(&mut self, config: Option<Arc<ServerConfig>>, record_wait: Duration) {
        if config.is_some() {
            self.config = config;
        }
        self.record_wait = record_wait;
    }

    /// A connection came through the TLS door.
    pub(super) fn accepted(&mut self, key: Key) {
        let place = key.index() as usize;
        if self.passages.len() <= place {
            self.passages.resize_with(place + 1, || None);
        }
        self.passages[place] = Some(Box::new(Passage::new(key)));
    }

    /// Whether this connection came through the TLS door.
    pub(super) fn has(&self, key: Key) -> bool {
        let passage = self.passages.get(key.index() as usize).and_then(Option::as_ref);
        passage.is_some_and(|passage| passage.key == key)
    }

    fn passage(&mut self, key: Key) -> Option<&mut Passage> {
        passage(&mut self.passages, key)
    }

    /// Bytes came from the socket.
    pub(super) fn received(&mut self, key: Key, data: &mut [u8], now: Mono, tell: Tell<'_>) {
        let Some(passage) = passage(&mut self.passages, key) else { return };
        if passage.is_closing || data.is_empty() {
            return;
        }
        // A record of TLS, or what somebody says who does not know that this is a TLS port. The header of a trusted
        // proxy is off already.
        if matches!(passage.stage, Stage::Opening) {
            let begun = passage.begin(data[0], self.config.as_ref());
            if let Err(why) = begun {
                return self.fail(key, why, tell);
            }
        }
        let is_enough = match &mut passage.stage {
            Stage::Secure(session) if !session.is_established() => session.keep(data),
            Stage::Secure(_) => return self.open(key, data, now, tell),
            Stage::Opening | Stage::Over => return,
        };
        if is_enough && !std::mem::replace(&mut passage.is_paused, true) {
            self.pauses.push_back((key, true));
        }
        if !std::mem::replace(&mut passage.is_shaking, true) {
            self.shaking.push_back(key);
        }
    }

    /// Goes on with the handshakes whose turn it is: few that are answered, since that costs, and more that are not.
    pub(super) fn shake_hands(&mut self, now: Mono, tell: Tell<'_>) {
        let (mut looked_at, mut answered) = (0, 0);
        while looked_at < limits::TLS_PIECES_PER_TURN && answered < limits::TLS_HANDSHAKES_PER_TURN {
            let Some(key) = self.shaking.pop_front() else { return };
            let Some(passage) = self.passage(key).filter(|passage| !passage.is_closing) else { continue };
            passage.is_shaking = false;
            if std::mem::take(&mut passage.is_paused) {
                self.pauses.push_back((key, false));
            }
            let waited = self.waiting_bytes(key);
            self.open(key, &mut [], now, tell);
            looked_at += 1;
            answered += usize::from(self.waiting_bytes(key) > waited);
            let established = self.passage(key).and_then(Passage::became_established);
            if let Some(established) = established {
                self.metrics.tls.established(established);
            }
        }
    }

    fn waiting_bytes(&mut self, key: Key) -> usize {
        self.passage(key).map_or(0, |passage| passage.to_send.len())
    }

    /// Opens records and hands on what they say.
    fn open(&mut self, key: Key, data: &mut [u8], now: Mono, tell: Tell<'_>) {
        let mut scratch = std::mem::take(&mut self.scratch);
        let Some(passage) = passage(&mut self.passages, key) else { return };
        let opened = passage.open(data, &mut scratch, now, &mut |told| tell(key, told));
        self.scratch = scratch;
        let opened = opened.and_then(|()| {
            let fits = passage.to_send.len() <= limits::TLS_WAITING_BYTES_MAX;
            if fits { Ok(()) } else { Err(Failure::TooLong) }
        });
        if let Err(why) = opened {
            return self.fail(key, why, tell);
        }
        if let Some(since) = passage.unfinished_since()
            && !std::mem::replace(&mut passage.is_watched, true)
        {
            self.unfinished.push(Reverse((since + self.record_wait, key)));
        }
        self.list(key);
    }

    /// Lists a connection that has something for the kernel.
    fn list(&mut self, key: Key) {
        let Some(passage) = passage(&mut self.passages, key) else { return };
        if passage.can_send() && !std::mem::replace(&mut passage.is_listed, true) {
            self.ready.push_back(key);
        }
    }

    /// There is no session any more, if there was one; the alert that says why goes out before the shard closes.
    fn fail(&mut self, key: Key, why: Failure, tell: Tell<'_>) {
        self.metrics.tls.failed(why);
        if let Some(passage) = self.passage(key) {
            passage.stage = Stage::Over;
            if why == Failure::NotTls {
                passage.to_send = answer_to_plaintext();
            }
        }
        self.list(key);
        tell(key, Told::Failed);
    }

    /// Whether the shard's next send must wait. Then this connection is in [`Front::next_held`] later.
    pub(super) fn holds_back(&mut self, key: Key) -> bool {
        if self.in_flight_bytes < limits::TLS_IN_FLIGHT_BYTES_MAX {
            return false;
        }
        let Some(passage) = passage(&mut self.passages, key) else { return false };
        if !std::mem::replace(&mut passage.is_held, true) {
            self.held.push_back(key);
        }
        true
    }

    /// A connection that was held back and may send now.
    pub(super) fn next_held(&mut self) -> Option<Key> {
        if self.in_flight_bytes >= limits::TLS_IN_FLIGHT_BYTES_MAX {
            return None;
        }
        let key = self.held.pop_front()?;
        if let Some(passage) = self.passage(key) {
            passage.is_held = false;
        }
        Some(key)
    }

    /// The shard sends frames: as many of them as one send takes.
    pub(super) fn send(&mut self, key: Key, frames: &mut dyn Iterator<Item = Bytes>) -> Taken {
        let Some(passage) = passage(&mut self.passages, key) else { return Taken::Refused };
        if passage.is_closing {
            return Taken::Refused;
        }
        if passage.is_shaking_hands() {
            // The shard says something before there is a session only when it gives the client up.
            passage.stage = Stage::Over;
            self.metrics.tls.failed(Failure::TimedOut);
            return Taken::Refused;
        }
        match passage.take(frames, &mut self.scratch) {
            Ok(()) => {
                self.list(key);
                Taken::Sending
            }
            Err(why) => {
                if matches!(passage.stage, Stage::Secure(_)) {
                    self.metrics.tls.failed(why);
                }
                passage.stage = Stage::Over;
                Taken::Refused
            }
        }
    }

    /// The kernel took the records of a connection.
    pub(super) fn sent(&mut self, key: Key, tell: Tell<'_>) {
        let Some(passage) = passage(&mut self.passages, key) else { return };
        self.in_flight_bytes -= std::mem::take(&mut passage.sending);
        if passage.to_send.is_empty() && !passage.is_closing {
            match passage.take_rest() {
                Ok(false) => {}
                Ok(true) => return self.list(key),
                Err(why) => return self.fail(key, why, tell),
            }
            if std::mem::take(&mut passage.is_owed) {
                tell(key, Told::Sent);
            }
        } else if passage.to_send.is_empty() {
            self.closes.push_back((key, false));
        } else {
            self.list(key);
        }
    }

    /// The client closed its side of the socket, or it failed (a send, too).
    pub(super) fn ended(&mut self, key: Key, failed: bool, tell: Tell<'_>) {
        let Some(passage) = passage(&mut self.passages, key) else { return };
        if passage.is_shaking_hands() && !passage.is_closing {
            passage.stage = Stage::Over;
            self.metrics.tls.failed(Failure::Gone);
        }
        if failed {
            self.in_flight_bytes -= passage.sending;
            passage.give_up();
        }
        if passage.is_closing {
            self.closes.push_back((key, failed));
        } else {
            tell(key, if failed { Told::Failed } else { Told::Ended });
        }
    }

    /// The shard closes a connection: `close_notify` first, unless it is hard.
    pub(super) fn close(&mut self, key: Key, hard: bool, now: Mono) {
        let Some(passage) = passage(&mut self.passages, key) else { return };
        if hard {
            passage.is_closing = true;
            self.closes.push_back((key, true));
            return;
        }
        if std::mem::replace(&mut passage.is_closing, true) {
            return;
        }
        passage.say_goodbye();
        if passage.sending == 0 && passage.to_send.is_empty() {
            self.closes.push_back((key, false));
        } else {
            self.closing.push_back((now + limits::CLOSE_GRACE, key));
            self.list(key);
        }
    }

    /// The socket is gone.
    pub(super) fn closed(&mut self, key: Key) {
        let Some(passage) = passage(&mut self.passages, key) else { return };
        self.in_flight_bytes -= passage.sending;
        self.passages[key.index() as usize] = None;
    }

    /// When [`Front::handle_timeout`] is due. [`Mono::ZERO`]: there is work left for the next turn.
    pub(super) fn poll_timeout(&self) -> Option<Mono> {
        let has_room = self.in_flight_bytes < limits::TLS_IN_FLIGHT_BYTES_MAX;
        if !self.shaking.is_empty() || has_room && !self.held.is_empty() {
            return Some(Mono::ZERO);
        }
        let closing = self.closing.front().map(|(at, _)| *at);
        let unfinished = self.unfinished.peek().map(|Reverse((at, _))| *at);
        closing.into_iter().chain(unfinished).min()
    }

    /// Closes those that do not take their last records, fails those whose record does not come whole.
    pub(super) fn handle_timeout(&mut self, now: Mono, tell: Tell<'_>) {
        while self.closing.front().is_some_and(|(at, _)| *at <= now) {
            self.closes.extend(self.closing.pop_front().map(|(_, key)| (key, true)));
        }
        while self.unfinished.peek().is_some_and(|Reverse((at, _))| *at <= now) {
            let Some(Reverse((_, key))) = self.unfinished.pop() else { break };
            let Some(passage) = passage(&mut self.passages, key) else { continue };
            passage.is_watched = false;
            let Some(since) = passage.unfinished_since().filter(|_| !passage.is_closing) else { continue };
            if since + self.record_wait <= now {
                self.fail(key, Failure::TimedOut, tell);
            } else {
                passage.is_watched = true;
                self.unfinished.push(Reverse((since + self.record_wait, key)));
            }
        }
    }

    pub(super) fn poll_output(&mut self) -> Option<Output> {
        while let Some(key) = self.ready.pop_front() {
            let Some(passage) = passage(&mut self.passages, key) else { continue };
            passage.is_listed = false;
            if passage.can_send() {
                let records = Bytes::from(std::mem::take(&mut passage.to_send));
                passage.sending = records.len();
                self.in_flight_bytes += records.len();
                return Some(Output::Send { key, records });
            }
        }
        if let Some((key, paused)) = self.pauses.pop_front() {
            return Some(Output::Pause { key, paused });
        }
        self.closes.pop_front().map(|(key, hard)| Output::Close { key, hard })
    }
}

/// Whoever speaks HTTP to the TLS port is told so, in HTTP.
fn answer_to_plaintext() -> Vec<u8> {
    let headers = [("Content-Type", "text/plain; charset=utf-8")];
    response(400, &headers, b"this port speaks TLS: use https:// or wss://\n").to_vec()
}

fn passage(passages: &mut [Option<Box<Passage>>], key: Key) -> Option<&mut Passage> {
    let passage = passages.get_mut(key.index() as usize)?.as_deref_mut()?;
    (passage.key == key).then_some(passage)
}

#[cfg(test)]
mod tests;
