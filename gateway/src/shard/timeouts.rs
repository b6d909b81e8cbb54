//! Who has been silent, slow or there for too long, and the pace of a drain.
//!
//! Here a slow client is cut with 4429, a silent one with 4408, one whose token ended with 4401, and one that
//! never said what it wants. Called by `shard` when timers are due.

use std::time::Duration;

use bytes::Bytes;
use rand::Rng;
use wire::close::CloseCode;
use wire::message::ServerMessage;
use wire::sse;

use crate::limits;
use crate::metrics::Handshake;
use crate::shard::connection::{Flags, State};
use crate::shard::drain::PACE;
use crate::shard::sockets::{Encoded, is_over};
use crate::shard::{Key, Now, Shard, request};

/// A WebSocket ping without a payload.
const PING: &[u8] = &[0x89, 0x00];

impl Shard {
    pub(super) fn look_at_due(&mut self, now: Now) {
        let mut due = std::mem::take(&mut self.due);
        self.sockets.wheel.take_due(now.mono, &mut due, limits::TIMERS_PER_TURN);
        for index in due.drain(..) {
            self.look_at(index, now);
        }
        self.due = due;
    }

    fn look_at(&mut self, index: u32, now: Now) {
        let Some(connection) = self.sockets.slab.at(index) else { return };
        let key = connection.key;
        if connection.is_open() {
            self.look_at_open(key, now);
            return;
        }
        match &connection.state {
            State::Head(_) => self.timed_out(key, now),
            State::Redeeming(_) => self.answer_busy(key, now),
            State::Posting(_) => self.post_timed_out(key, now),
            // It had time to take its last bytes, and has taken them or not. What a dead peer's kernel does not
            // take, ours should not keep either.
            _ if connection.queue.owed_bytes() == 0 && connection.missed < limits::MISSED_PONGS_MAX => {
                self.sockets.close(key);
            }
            _ => self.sockets.abort(key),
        }
    }

    fn timed_out(&mut self, key: Key, now: Now) {
        self.metrics().handshake(Handshake::TimedOut);
        self.sockets.finish(key, request::error(408, "timeout", "the request did not come", None), now);
    }

    fn look_at_open(&mut self, key: Key, now: Now) {
        let Some(connection) = self.sockets.slab.get(key) else { return };
        if connection.has_expired(now.wall) {
            self.close_session(key, CloseCode::Auth, "the token has expired", now);
            return;
        }
        if self.look_at_life(key, now) {
            return;
        }
        let Some(connection) = self.sockets.slab.get(key) else { return };
        if is_over(connection) {
            let cut_at = connection.passing().over_since + limits::SLOW_CONSUMER_GRACE;
            if cut_at <= now.mono {
                self.metrics().slow_consumers.inc();
                self.close_session(key, CloseCode::SlowConsumer, "", now);
            } else {
                self.sockets.wheel.arm(key.index(), cut_at);
            }
            return;
        }
        let unfinished_since = connection.if_passing().and_then(|passing| passing.unfinished_since);
        if let Some(since) = unfinished_since {
            let cut_at = since + self.config.settings.unfinished_wait();
            if cut_at <= now.mono {
                self.close_session(key, CloseCode::Idle, "a message was not finished", now);
            } else {
                self.sockets.wheel.arm(key.index(), cut_at);
            }
            return;
        }
        connection.give_back(now.mono);
        if let State::Events(Some(replay)) = &connection.state
            && !replay.rest.is_empty()
        {
            let cut_at = replay.waits_since + limits::SLOW_CONSUMER_GRACE;
            if cut_at <= now.mono {
                self.metrics().slow_consumers.inc();
                self.close_session(key, CloseCode::SlowConsumer, "", now);
            } else {
                self.sockets.wheel.arm(key.index(), cut_at);
            }
            return;
        }
        if connection.flags.has(Flags::EARLY) {
            connection.flags.clear(Flags::EARLY);
            self.arm_ping(key, now);
            return;
        }
        if let State::Events(Some(replay)) = &connection.state
            && replay.is_asked
        {
            // The page did not come; the client comes back to where it was.
            self.end_stream(key, now);
            return;
        }
        self.ping(key, now);
    }

    fn ping(&mut self, key: Key, now: Now) {
        let Some(connection) = self.sockets.slab.get(key) else { return };
        if connection.missed >= limits::MISSED_PONGS_MAX {
            self.close_session(key, CloseCode::Idle, "", now);
            return;
        }
        if matches!(connection.state, State::Events(_)) {
            // A stream's client says nothing; it is gone when its socket takes nothing.
            connection.missed = if connection.queue.is_sending() { connection.missed + 1 } else { 0 };
            self.sockets.push_control(key, Bytes::from_static(sse::HEARTBEAT));
        } else {
            connection.missed += 1;
            self.sockets.push_control(key, Bytes::from_static(PING));
        }
        self.arm_ping(key, now);
    }

    /// The next look at an open connection: its next ping, or the end of its token or of its life.
    pub(super) fn arm_ping(&mut self, key: Key, now: Now) {
        let interval = self.config.settings.ping_interval;
        let idle = self.config.settings.idle;
        let Some(connection) = self.sockets.slab.get(key) else { return };
        let wait = if connection.missed < limits::MISSED_PONGS_MAX {
            let jitter_us = (interval / limits::PING_JITTER_FRACTION).as_micros() as u64;
            interval.saturating_sub(Duration::from_micros(self.random.random_range(0..=jitter_us)))
        } else {
            // Both pings went unanswered so far: the last wait ends when the client was silent for `idle`.
            interval.min(idle.saturating_sub(interval * 2)).max(super::timers::TICK)
        };
        let mut at = now.mono + wait;
        if connection.expires_s != 0 {
            let left_us = i64::from(connection.expires_s) * 1_000_000 - now.wall.0;
            at = at.min(now.mono + Duration::from_micros(u64::try_from(left_us).unwrap_or(0)));
        }
        if let Some(look) = self.lifetimes.next_look(key.index()) {
            at = at.min(look);
        }
        self.sockets.wheel.arm(key.index(), at);
    }

    /// As much of the drain as is due.
    pub(super) fn continue_drain(&mut self, now: Now) {
        let Some(draining) = self.draining.as_mut() else { return };
        if now.mono < draining.next_look {
            return;
        }
        draining.next_look = now.mono + PACE;
        let is_over = now.mono >= draining.pace.ends();
        let per_turn = limits::DRAIN_PER_TURN as u64;
        let to_advise = if is_over { 0 } else { draining.pace.to_advise(now.mono).min(per_turn) };
        let to_close = if is_over { per_turn } else { draining.pace.to_close(now.mono).min(per_turn) };
        self.advise(to_advise, now);
        self.close_for_drain(to_close, now);
    }

    fn advise(&mut self, connections: u64, now: Now) {
        let Some(draining) = self.draining.as_mut() else { return };
        let (pace, mut next) = (draining.pace.clone(), draining.next_to_advise);
        let (end, mut advised) = (self.sockets.slab.end(), 0);
        while advised < connections && next < end {
            let index = next;
            next += 1;
            let Some(_open) = self.sockets.slab.at(index).filter(|connection| connection.is_open()) else {
                continue;
            };
            // Anywhere in what is left of the advice's part of the window, a second at the most.
            let most_ms = pace.advice(now.mono).as_millis().min(1_000) as u64;
            let after_ms = self.random.random_range(0..=most_ms);
            let text = ServerMessage::Reconnect { after_ms }.to_json();
            self.sockets.offer(index, &mut Encoded::message(Bytes::from(text)), 1, now);
            advised += 1;
        }
        if let Some(draining) = self.draining.as_mut() {
            draining.next_to_advise = next;
            // At the end of the walk all are advised, also those who left meanwhile.
            draining.pace.advised(if next == end { connections } else { advised });
        }
    }

    fn close_for_drain(&mut self, connections: u64, now: Now) {
        let Some(draining) = self.draining.as_mut() else { return };
        let (code, mut next) = (draining.pace.kind.close_code(), draining.next_to_close);
        let (end, mut closed) = (self.sockets.slab.end(), 0);
        while closed < connections && next < end {
            let index = next;
            next += 1;
            let open = self.sockets.slab.at(index).filter(|connection| connection.is_open());
            let Some(key) = open.map(|connection| connection.key) else { continue };
            self.close_session(key, code, "", now);
            closed += 1;
        }
        if let Some(draining) = self.draining.as_mut() {
            // Whoever came in behind the walk is met on the next one.
            draining.next_to_close = if next == end { 0 } else { next };
            draining.pace.closed(closed);
        }
    }
}
