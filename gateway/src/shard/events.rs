//! Event streams: the same notifications for clients that cannot have a WebSocket.
//!
//! A stream that says where it was (`Last-Event-ID`) is replayed from there: the shard itself asks the user's
//! router for page after page and streams them as fast as the client reads. What arrives live meanwhile goes
//! out at once, but without an event id, so that a client that is cut off during the replay comes back to
//! where the replay was. Called by `handshake` and `conversation`.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use rand::Rng;
use serde::Deserialize;
use uuid::Uuid;
use wire::limits::SYNC_PAGE_MAX;
use wire::message::{ClientMessage, SyncRequest};
use wire::sse;
use wire::time::Wall;

use crate::limits;
use crate::metrics::Handshake;
use crate::shard::connection::{Flags, Replay, State};
use crate::shard::conversation::Page;
use crate::shard::{Key, Now, Shard};

impl Shard {
    /// Answers with the stream's head and the welcome.
    pub(super) fn open_events(&mut self, key: Key, cors: Option<&str>, now: Now) {
        let mut first = BytesMut::new();
        first.extend_from_slice(&sse::response_head(cors));
        // An `EventSource` waits exactly so long: drawn here, or all streams of a node would come back at one moment.
        let spread_ms = self.config.settings.reconnect.spread_ms.max(limits::STREAM_SPREAD_LEAST_MS);
        first.extend_from_slice(&sse::retry(
            self.random.random_range(limits::STREAM_RETRY_LEAST_MS..=spread_ms),
        ));
        first.extend_from_slice(&sse::event(None, self.welcome(key, now).as_bytes()));
        let Some(connection) = self.sockets.slab.get(key) else { return };
        connection.state = State::Events(None);
        connection.flags.set(Flags::STREAM);
        self.open_events += 1;
        self.config.metrics.handshake(Handshake::Events);
        self.sockets.push_control(key, first.freeze());
    }

    pub(super) fn begin_replay(&mut self, key: Key, created_at: Wall, last_id: Uuid, now: Now) {
        if let Some(connection) = self.sockets.slab.get(key) {
            // The last one seen may be on the first page again: topics are read with an overlap.
            let replay = Replay { sent_live: vec![last_id], ..Replay::default() };
            connection.state = State::Events(Some(Box::new(replay)));
        }
        let request =
            SyncRequest { last_seen_at: Some(created_at), cursor: None, limit: Some(SYNC_PAGE_MAX) };
        self.ask_for_page(key, request, now);
    }

    fn ask_for_page(&mut self, key: Key, request: SyncRequest, now: Now) {
        let text = serde_json::to_string(&ClientMessage::Sync(request)).expect("a sync serializes");
        let Some(connection) = self.sockets.slab.get(key).filter(|connection| connection.is_open()) else {
            return;
        };
        if let State::Events(Some(replay)) = &mut connection.state {
            replay.is_asked = true;
        }
        let user = self.registry.user_name(connection.user);
        if self.links.send_client_message(user, key.session(), Bytes::from(text), now.mono).is_err() {
            self.end_stream(key, now);
            return;
        }
        self.sockets.wheel.arm_no_later(key.index(), now.mono + limits::REPLY_WAIT);
    }

    /// A page of the past.
    pub(super) fn replay_page(&mut self, key: Key, text: &Bytes, now: Now) {
        let page = std::str::from_utf8(text).ok().and_then(|text| serde_json::from_str::<Page>(text).ok());
        let Some(page) = page else {
            // An error of the router's: the stream ends, and the client comes back to where it was.
            self.end_stream(key, now);
            return;
        };
        let Some(connection) = self.sockets.slab.get(key) else { return };
        let State::Events(Some(replay)) = &mut connection.state else { return };
        replay.pages += 1;
        replay.is_asked = false;
        let missed = page.notifications.iter().filter_map(|raw| Missed::read(raw.get()));
        let missed = missed.filter(|missed| !replay.sent_live.contains(&missed.id));
        let rest: VecDeque<_> = missed.map(|missed| (missed.event_id(), missed.text)).collect();
        replay.rest = rest;
        replay.next_cursor =
            (page.has_more && replay.pages < limits::REPLAY_PAGES_MAX).then_some(page.cursor);
        self.continue_replay(key, now);
    }

    /// Streams on while the outbox has room; the rest follows when the client has read.
    pub(super) fn continue_replay(&mut self, key: Key, now: Now) {
        let Some(connection) = self.sockets.slab.get(key) else { return };
        let State::Events(Some(replay)) = &mut connection.state else { return };
        let budget = self.config.settings.outbox_bytes / 2;
        let mut owed = connection.queue.owed_bytes();
        let mut frames = Vec::new();
        while owed < budget
            && let Some((event_id, text)) = replay.rest.pop_front()
        {
            let frame = sse::event(Some(&event_id), text.as_bytes());
            owed += frame.len() as u32;
            frames.push(frame);
        }
        let next_cursor = if replay.rest.is_empty() { replay.next_cursor.take() } else { None };
        if !replay.rest.is_empty() {
            // A page in memory is not kept for a client that does not read.
            replay.waits_since = now.mono;
            connection.flags.set(Flags::EARLY);
            self.sockets.wheel.arm_no_later(key.index(), now.mono + limits::SLOW_CONSUMER_GRACE);
        }
        if replay.rest.is_empty() && next_cursor.is_none() && !replay.is_asked {
            connection.state = State::Events(None);
        }
        for frame in frames {
            if self.sockets.push_reply(key, frame).is_err() {
                self.end_stream(key, now);
                return;
            }
        }
        if let Some(cursor) = next_cursor {
            let request =
                SyncRequest { last_seen_at: None, cursor: Some(cursor), limit: Some(SYNC_PAGE_MAX) };
            self.ask_for_page(key, request, now);
        }
    }

    /// Ends a stream in order: its client comes back by itself.
    pub(super) fn end_stream(&mut self, key: Key, now: Now) {
        self.leave(key);
        self.sockets.finish(key, Bytes::from_static(sse::HEARTBEAT), now);
    }
}

/// One notification of a page, as a message of its own.
struct Missed {
    created_at: Wall,
    id: Uuid,
    text: Box<str>,
}

impl Missed {
    fn read(notification: &str) -> Option<Missed> {
        #[derive(Deserialize)]
        struct Place {
            id: Uuid,
            created_at: Wall,
        }
        let Place { id, created_at } = serde_json::from_str(notification).ok()?;
        let fields = notification.trim_ascii_start().strip_prefix('{')?;
        let text = format!("{{\"type\":\"notification\",{fields}").into_boxed_str();
        Some(Missed { created_at, id, text })
    }

    fn event_id(&self) -> String {
        sse::event_id(self.created_at, self.id)
    }
}
