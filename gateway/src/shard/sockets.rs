//! The sockets of a shard: who is owed what, whose turn it is, and how each of them ends.
//!
//! Owns the slab, the outboxes, the timers and the lists of sockets that have something to send: who is sent
//! something of its own goes before those that a sweep has reached. A slow client
//! is cut here: past its budget a socket is told `gap` once and sent nothing more until it has read that; if
//! that takes longer than `SLOW_CONSUMER_GRACE` it is closed with 4429 (`timeouts`). Knows nothing of users,
//! routers or HTTP. Called by the other files of `shard`.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use uuid::Uuid;
use wire::close::CloseCode;
use wire::message::ServerMessage;
use wire::time::Wall;
use wire::{sse, ws};

use crate::limits;
use crate::metrics::ShardMetrics;
use crate::shard::connection::{Connection, Flags, Key, Slab, State};
use crate::shard::outbox::Pool;
use crate::shard::timers::Wheel;
use crate::shard::{Now, Output};

#[derive(Debug)]
pub(super) struct Sockets {
    pub(super) slab: Slab,
    pub(super) pool: Pool,
    pub(super) wheel: Wheel,
    pub(super) metrics: Arc<ShardMetrics>,
    /// Sockets with frames to send and none in flight. A flag keeps each in one of them, once. Those that a sweep
    /// has reached come behind the rest.
    ready: VecDeque<Key>,
    ready_of_sweeps: VecDeque<Key>,
    /// Sends came out that are to be with the kernel before those of sweeps.
    hurries: bool,
    /// Closes that the porch has not been told yet.
    closes: VecDeque<(Key, bool)>,
    counted: Counted,
}

/// What one turn counted of each frame. Atomics for every frame would cost more than the frame's place in the queue.
#[derive(Debug, Default)]
struct Counted {
    sends: u64,
    send_bytes: u64,
    batches: u64,
}

/// One server message on its way to many sockets: encoded at most once for each way of framing it.
#[derive(Debug)]
pub(super) struct Encoded {
    text: Bytes,
    /// Place in the user's stream, if it is a notification.
    place: Option<(Wall, Uuid)>,
    websocket: Option<Bytes>,
    event: Option<Bytes>,
    event_without_id: Option<Bytes>,
}

impl Encoded {
    pub(super) fn notification(text: Bytes, created_at: Wall, id: Uuid) -> Encoded {
        Encoded { place: Some((created_at, id)), ..Encoded::message(text) }
    }

    /// A message that is no notification.
    pub(super) fn message(text: Bytes) -> Encoded {
        Encoded { text, place: None, websocket: None, event: None, event_without_id: None }
    }

    fn websocket(&mut self) -> Bytes {
        self.websocket.get_or_insert_with(|| ws::text_frame(&self.text)).clone()
    }

    fn event(&mut self) -> Bytes {
        let id = self.place.map(|(created_at, id)| sse::event_id(created_at, id));
        self.event.get_or_insert_with(|| sse::event(id.as_deref(), &self.text)).clone()
    }

    fn event_without_id(&mut self) -> Bytes {
        self.event_without_id.get_or_insert_with(|| sse::event(None, &self.text)).clone()
    }
}

/// What became of one message for one socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Offered {
    Queued,
    /// The outbox is full.
    Dropped,
    /// The connection is not open.
    NotOpen,
}

impl Sockets {
    pub(super) fn new(pool: Pool, wheel: Wheel, metrics: Arc<ShardMetrics>) -> Sockets {
        Sockets {
            slab: Slab::default(),
            pool,
            wheel,
            metrics,
            ready: VecDeque::new(),
            ready_of_sweeps: VecDeque::new(),
            hurries: false,
            closes: VecDeque::new(),
            counted: Counted::default(),
        }
    }

    /// Queues a message for an open connection. `sharers` is how many sockets get the same bytes.
    pub(super) fn offer(&mut self, index: u32, message: &mut Encoded, sharers: usize, now: Now) -> Offered {
        let Some(connection) = self.slab.at(index).filter(|connection| connection.is_open()) else {
            return Offered::NotOpen;
        };
        if is_over(connection) {
            self.metrics.dropped.inc();
            return Offered::Dropped;
        }
        let frame = match &mut connection.state {
            State::WebSocket(_) => message.websocket(),
            State::Events(None) => message.event(),
            State::Events(Some(_)) => message.event_without_id(),
            _ => return Offered::NotOpen,
        };
        let bytes = frame.len() as u64;
        if self.pool.push(&mut connection.queue, frame, sharers).is_err() {
            let since = message.place.map_or(now.wall, |(created_at, _)| created_at);
            self.went_over(index, since, now);
            return Offered::Dropped;
        }
        if let Some((_, id)) = message.place {
            remember_sent(connection, id, now);
        }
        let ready = if sharers > 1 { &mut self.ready_of_sweeps } else { &mut self.ready };
        mark_ready(ready, connection);
        self.counted.sends += 1;
        self.counted.send_bytes += bytes;
        Offered::Queued
    }

    /// The outbox is full: from here on the client must sync, and is told so by the last frame it is owed.
    fn went_over(&mut self, index: u32, since: Wall, now: Now) {
        let Some(connection) = self.slab.at(index) else { return };
        let key = connection.key;
        connection.flags.set(Flags::OVER);
        connection.flags.set(Flags::EARLY);
        connection.passing().over_since = now.mono;
        let is_websocket = matches!(connection.state, State::WebSocket(_));
        self.metrics.dropped.inc();
        self.metrics.gaps.inc();
        let gap = gap(since);
        let frame =
            if is_websocket { ws::text_frame(gap.as_bytes()) } else { sse::event(None, gap.as_bytes()) };
        self.push_control(key, frame);
        self.wheel.arm_no_later(index, now.mono + limits::SLOW_CONSUMER_GRACE);
    }

    /// Queues what one client asked for, in its own framing.
    pub(super) fn reply(&mut self, key: Key, text: &[u8], now: Now) {
        let Some(connection) = self.slab.get(key) else { return };
        let frame = match &connection.state {
            State::WebSocket(_) => ws::text_frame(text),
            State::Events(_) => sse::event(None, text),
            _ => return,
        };
        if is_over(connection) {
            self.metrics.dropped.inc();
        } else if self.push_reply(key, frame).is_err() {
            self.went_over(key.index(), now.wall, now);
        }
    }

    /// Queues bytes that are framed already, unless the outbox is full.
    pub(super) fn push_reply(&mut self, key: Key, frame: Bytes) -> Result<(), crate::shard::outbox::Full> {
        let Some(connection) = self.slab.get(key) else { return Ok(()) };
        let bytes = frame.len() as u64;
        self.pool.push_reply(&mut connection.queue, frame)?;
        mark_ready(&mut self.ready, connection);
        self.counted.sends += 1;
        self.counted.send_bytes += bytes;
        Ok(())
    }

    /// Queues a frame that must not be lost; a socket that cannot take even that is cut.
    pub(super) fn push_control(&mut self, key: Key, frame: Bytes) {
        let Some(connection) = self.slab.get(key) else { return };
        if self.pool.push_control(&mut connection.queue, frame).is_err() {
            self.abort(key);
            return;
        }
        mark_ready(&mut self.ready, connection);
    }

    /// Queues the last bytes of a connection and closes it once they are sent.
    pub(super) fn finish(&mut self, key: Key, frame: Bytes, now: Now) {
        let Some(connection) = self.slab.get(key) else { return };
        connection.state = State::Leaving;
        connection.flags.set(Flags::CLOSE_WHEN_SENT);
        self.wheel.arm(key.index(), now.mono + limits::CLOSE_GRACE);
        self.push_control(key, frame);
    }

    /// As [`Sockets::finish`], for a client that may still be sending: it is heard out for a moment, unread.
    pub(super) fn finish_lingering(&mut self, key: Key, frame: Bytes, now: Now) {
        let Some(connection) = self.slab.get(key) else { return };
        connection.state = State::Leaving;
        self.wheel.arm(key.index(), now.mono + limits::LINGER_WAIT);
        self.push_control(key, frame);
    }

    /// As [`Sockets::finish`], but what is already queued is dropped, and the client may close its side
    /// first.
    pub(super) fn say_goodbye(&mut self, key: Key, code: CloseCode, reason: &str, now: Now) {
        let Some(connection) = self.slab.get(key) else { return };
        self.pool.clear(&mut connection.queue);
        self.wheel.arm(key.index(), now.mono + limits::CLOSE_GRACE);
        if let State::WebSocket(session) = &mut connection.state {
            // The state stays: the client's answering close is still read.
            if session.begin_close() {
                self.metrics.closed(code);
                self.push_control(key, ws::close_frame(code.number(), reason, None));
            }
        } else {
            self.metrics.closed(code);
            connection.state = State::Leaving;
            connection.flags.set(Flags::CLOSE_WHEN_SENT);
            if connection.queue.owed_bytes() == 0 {
                self.close(key);
            }
        }
    }

    /// Tells the porch to close the socket in order.
    pub(super) fn close(&mut self, key: Key) {
        self.end(key, false);
    }

    /// Tells the porch to close the socket at once, with a reset.
    pub(super) fn abort(&mut self, key: Key) {
        self.end(key, true);
    }

    fn end(&mut self, key: Key, hard: bool) {
        let Some(connection) = self.slab.get(key) else { return };
        connection.state = State::Leaving;
        self.pool.clear(&mut connection.queue);
        self.wheel.disarm(key.index());
        if !connection.flags.has(Flags::CLOSED) {
            connection.flags.set(Flags::CLOSED);
            self.closes.push_back((key, hard));
        }
    }

    /// The kernel took what was in flight. True: the outbox is empty now.
    pub(super) fn sent(&mut self, key: Key) -> bool {
        let Some(connection) = self.slab.get(key) else { return false };
        self.pool.sent(&mut connection.queue);
        if !connection.queue.is_empty() {
            mark_ready(&mut self.ready_of_sweeps, connection);
            return false;
        }
        if connection.flags.has(Flags::CLOSE_WHEN_SENT) {
            self.close(key);
        }
        true
    }

    /// The frames of the next send of this connection.
    pub(super) fn next_send(&mut self, key: Key) -> Option<crate::shard::outbox::NextSend<'_>> {
        let connection = self.slab.get(key).filter(|connection| !connection.queue.is_sending())?;
        self.counted.batches += 1;
        Some(self.pool.next_send(&mut connection.queue))
    }

    /// The next socket to send on, or to close.
    pub(super) fn poll_output(&mut self) -> Option<Output> {
        if let Some(key) = next_ready(&mut self.ready, &mut self.slab) {
            self.hurries = true;
            return Some(Output::Send { key });
        }
        if std::mem::take(&mut self.hurries) && !self.ready_of_sweeps.is_empty() {
            return Some(Output::Flush);
        }
        if let Some(key) = next_ready(&mut self.ready_of_sweeps, &mut self.slab) {
            return Some(Output::Send { key });
        }
        self.closes.pop_front().map(|(key, hard)| Output::Close { key, hard })
    }

    /// Shows the metrics what was counted. Called when all outputs are out.
    pub(super) fn publish_counts(&mut self) {
        let Counted { sends, send_bytes, batches } = std::mem::take(&mut self.counted);
        if sends + batches > 0 {
            self.metrics.sends.add(sends);
            self.metrics.send_bytes.add(send_bytes);
            self.metrics.batches.add(batches);
        }
    }

    /// The socket is gone.
    pub(super) fn remove(&mut self, key: Key) {
        if let Some(connection) = self.slab.get(key) {
            self.pool.clear(&mut connection.queue);
            self.pool.sent(&mut connection.queue);
            self.wheel.disarm(key.index());
            self.slab.remove(key);
        }
    }
}

/// Whether the socket is to be sent nothing. The flag counts for as long as the `gap` that it stands for is
/// queued: once that is with the kernel, the client syncs after all that was dropped.
pub(super) fn is_over(connection: &mut Connection) -> bool {
    if connection.flags.has(Flags::OVER) && connection.queue.is_empty() {
        connection.flags.clear(Flags::OVER);
    }
    connection.flags.has(Flags::OVER)
}

fn next_ready(ready: &mut VecDeque<Key>, slab: &mut Slab) -> Option<Key> {
    while let Some(key) = ready.pop_front() {
        let Some(connection) = slab.get(key) else { continue };
        connection.flags.clear(Flags::READY);
        if !connection.queue.is_empty() && !connection.queue.is_sending() {
            return Some(key);
        }
    }
    None
}

fn mark_ready(ready: &mut VecDeque<Key>, connection: &mut Connection) {
    if !connection.flags.has(Flags::READY) && !connection.queue.is_sending() {
        connection.flags.set(Flags::READY);
        ready.push_back(connection.key);
    }
}

/// While pages of the past are on their way, what is sent live is remembered, so that it is not sent again.
fn remember_sent(connection: &mut Connection, id: Uuid, now: Now) {
    let sent = if let State::Events(Some(replay)) = &mut connection.state {
        Some(&mut replay.sent_live)
    } else {
        connection.syncing(now.mono).map(|syncing| &mut syncing.sent)
    };
    // Past the bound a client may see one twice, which it tells by its id.
    if let Some(sent) = sent.filter(|sent| sent.len() < limits::SENT_WHILE_SYNCING_MAX) {
        sent.push(id);
    }
}

fn gap(since: Wall) -> String {
    ServerMessage::Gap { since }.to_json()
}
