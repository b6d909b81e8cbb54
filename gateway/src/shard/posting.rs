//! `POST /v1/messages`: what a client without a WebSocket says.
//!
//! One JSON message in the body, as on a WebSocket. What has a reply (sync, subscribe, unsubscribe, ping) is
//! answered with it; for the rest 202 says that the user's router was handed it. Called by `handshake` and
//! `conversation`.

use bytes::Bytes;
use wire::http::{self, json_response, response};
use wire::message::{ClientMessage, ServerMessage};

use crate::admission::RetryAfter;
use crate::limits;
use crate::metrics::Handshake;
use crate::shard::connection::{Posting, State};
use crate::shard::conversation::error_message;
use crate::shard::links::{Busy, Sent};
use crate::shard::{Key, Now, Shard, request};

impl Shard {
    /// A user's posted messages are as many a minute as those of one of its sockets, on the whole node.
    pub(super) fn may_post(&self, user: &str, now: Now) -> bool {
        self.config.census.may_post(user, self.config.settings.messages_per_minute, now.mono)
    }

    /// After one spacing there is room for one more.
    pub(super) fn too_many_posts(&self, cors: Option<&str>) -> Bytes {
        let seconds = 60_u64.div_ceil(u64::from(self.config.settings.messages_per_minute.max(1)));
        request::too_many(RetryAfter { seconds }, "this user posts too many messages", cors)
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "these are the fields of the wish, taken apart by its one caller"
    )]
    pub(super) fn begin_post(
        &mut self,
        key: Key,
        user: &str,
        cors: Option<String>,
        body_bytes: usize,
        wants_continue: bool,
        rest: &mut [u8],
        now: Now,
    ) {
        let cors = cors.map(String::into_boxed_str);
        let posting = Posting { user: user.to_owned(), cors, body: Vec::new(), body_bytes };
        let Some(connection) = self.sockets.slab.get(key) else { return };
        connection.state = State::Posting(Box::new(posting));
        if wants_continue && rest.len() < body_bytes {
            self.sockets.push_control(key, Bytes::from_static(http::CONTINUE));
        }
        self.read_body(key, rest, now);
    }

    /// More of a posted message. What comes behind it is not read: every answer ends its connection.
    pub(super) fn read_body(&mut self, key: Key, data: &[u8], now: Now) {
        let Some(connection) = self.sockets.slab.get(key) else { return };
        let State::Posting(posting) = &mut connection.state else { return };
        let missing = posting.body_bytes - posting.body.len();
        if missing == 0 && posting.body_bytes > 0 {
            return; // Already with the router.
        }
        posting.body.extend_from_slice(&data[..data.len().min(missing)]);
        if posting.body.len() == posting.body_bytes {
            self.handle_post(key, now);
        }
    }

    fn handle_post(&mut self, key: Key, now: Now) {
        let Some(connection) = self.sockets.slab.get(key) else { return };
        let State::Posting(posting) = &mut connection.state else { return };
        self.config.metrics.client_messages.inc();
        self.config.metrics.handshake(Handshake::Posted);
        let parsed = match std::str::from_utf8(&posting.body) {
            Ok(text) => ClientMessage::parse(text),
            Err(_) => Err(wire::message::BadMessage::NotJson("not UTF-8".to_owned())),
        };
        let message = match parsed {
            Ok(ClientMessage::Ping { t }) => {
                self.answer_post_with(key, 200, &ServerMessage::Pong { t }.to_json(), now);
                return;
            }
            Ok(message) => message,
            Err(bad) => {
                self.config.metrics.bad_messages.inc();
                self.answer_post_with(key, 400, &error_message(&bad).to_json(), now);
                return;
            }
        };
        let text = Bytes::copy_from_slice(&posting.body);
        if matches!(message, ClientMessage::Hello { .. }) {
            self.accept_post(key, now);
            return;
        }
        let sent = self.links.send_client_message(&posting.user, key.session(), text, now.mono);
        let has_reply = !matches!(message, ClientMessage::Ack { .. } | ClientMessage::Read { .. });
        match sent {
            Ok(_) if has_reply => self.sockets.wheel.arm(key.index(), now.mono + limits::REPLY_WAIT),
            Ok(Sent::Now) => self.accept_post(key, now),
            // 202 would say that a router has it. It may still get there: saying it again does no harm.
            Ok(Sent::Waits) | Err(Busy) => self.tell_busy(key, now),
        }
    }

    fn accept_post(&mut self, key: Key, now: Now) {
        let cors = self.cors_of_post(key);
        let headers =
            [("Access-Control-Allow-Origin", cors.as_deref().unwrap_or("null")), ("Vary", "Origin")];
        let shown = if cors.is_some() { &headers[..] } else { &[] };
        self.sockets.finish(key, response(202, shown, b""), now);
    }

    /// The router's reply is the answer's body.
    pub(super) fn answer_post(&mut self, key: Key, text: &Bytes, now: Now) {
        match std::str::from_utf8(text) {
            Ok(text) => self.answer_post_with(key, 200, text, now),
            Err(_) => self.answer_busy(key, now),
        }
    }

    fn answer_post_with(&mut self, key: Key, status: u16, json: &str, now: Now) {
        let cors = self.cors_of_post(key);
        let headers =
            [("Access-Control-Allow-Origin", cors.as_deref().unwrap_or("null")), ("Vary", "Origin")];
        let shown = if cors.is_some() { &headers[..] } else { &[] };
        self.sockets.finish(key, json_response(status, shown, json), now);
    }

    /// The client took too long to say what it promised, or the router to answer.
    pub(super) fn post_timed_out(&mut self, key: Key, now: Now) {
        let Some(connection) = self.sockets.slab.get(key) else { return };
        let State::Posting(posting) = &mut connection.state else { return };
        if posting.body.len() == posting.body_bytes {
            self.answer_busy(key, now);
        } else {
            self.metrics().handshake(Handshake::TimedOut);
            self.sockets.finish(key, request::error(408, "timeout", "the body did not come", None), now);
        }
    }

    fn cors_of_post(&mut self, key: Key) -> Option<Box<str>> {
        match &self.sockets.slab.get(key)?.state {
            State::Posting(posting) => posting.cors.clone(),
            _ => None,
        }
    }
}
