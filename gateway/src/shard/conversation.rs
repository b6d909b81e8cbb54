//! What a client says on its WebSocket, and what it is answered.
//!
//! Pings, hellos and bad messages are answered here; all else goes to the router that owns the user, whose
//! reply comes back by session. While a sync is under way, ids that were sent live are taken out of its
//! pages, so that nothing comes twice. Called by `shard` and `handshake`.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;
use wire::close::CloseCode;
use wire::limits::CONTROLS_PER_MINUTE_MAX;
use wire::message::{BadMessage, ClientMessage, ServerMessage};
use wire::session::{Glance, Incoming, Session};
use wire::ws;

use crate::auth::checked_name;
use crate::limits;
use crate::shard::connection::{Flags, State};
use crate::shard::{Key, Now, Shard};

/// How a conversation ends by what a client says.
enum End {
    /// It said close.
    Asked(Option<u16>),
    /// It broke a rule.
    Fault(CloseCode, &'static str),
}

impl Shard {
    /// Bytes of a WebSocket.
    pub(super) fn read_frames(&mut self, key: Key, data: &mut [u8], now: Now) {
        let Some(connection) = self.sockets.slab.get(key) else { return };
        // The session is taken out, so that what it says may touch the whole shard; the state left behind is
        // never seen.
        let State::WebSocket(mut session) = std::mem::replace(&mut connection.state, State::Leaving) else {
            return;
        };
        let was_open = connection.is_open();
        let limits = self.config.settings.session;
        let mut end = None;
        let read = session.handle_bytes(data, &limits, &mut |incoming| {
            if end.is_none() {
                end = self.hear(key, &incoming, now);
            }
        });
        let fault = read.err().map(|fault| End::Fault(fault.code, fault.reason));
        match fault.or(end) {
            None => self.put_back(key, session, now),
            // After our close frame no second one follows.
            Some(_) if !was_open => self.sockets.close(key),
            Some(End::Asked(code)) => {
                self.leave(key);
                self.sockets.finish(key, ws::close_reply(code, None), now);
            }
            Some(End::Fault(code, reason)) => {
                self.leave(key);
                self.metrics().closed(code);
                self.sockets.finish_lingering(key, ws::close_frame(code.number(), reason, None), now);
            }
        }
    }

    /// One thing that the client says.
    fn hear(&mut self, key: Key, incoming: &Incoming<'_>, now: Now) -> Option<End> {
        let per_minute = self.config.settings.messages_per_minute;
        let connection = self.sockets.slab.get(key)?;
        match incoming {
            Incoming::Text(text) => {
                if !connection.messages.take(per_minute, now.mono) {
                    return Some(End::Fault(CloseCode::Policy, "too many messages"));
                }
                self.hear_text(key, text, now);
            }
            Incoming::Ping(payload) => {
                if !connection.controls.take(CONTROLS_PER_MINUTE_MAX, now.mono) {
                    return Some(End::Fault(CloseCode::Policy, "too many pings"));
                }
                self.sockets.push_control(key, ws::pong_frame(payload, None));
            }
            Incoming::Pong(_) => {
                if !connection.controls.take(CONTROLS_PER_MINUTE_MAX, now.mono) {
                    return Some(End::Fault(CloseCode::Policy, "too many pongs"));
                }
            }
            Incoming::Close { code, .. } => return Some(End::Asked(*code)),
            // The session's limits refuse it.
            Incoming::Binary(_) => {
                return Some(End::Fault(CloseCode::Unsupported, "messages are text"));
            }
        }
        None
    }

    /// After a read that the conversation outlived.
    fn put_back(&mut self, key: Key, session: Session, now: Now) {
        let Some(connection) = self.sockets.slab.get(key) else { return };
        if connection.flags.has(Flags::CLOSED) {
            return; // Cut while it spoke.
        }
        let is_unfinished = session.is_unfinished();
        connection.state = State::WebSocket(session);
        if !connection.is_open() {
            return;
        }
        if is_unfinished {
            // What was begun is to be ended as soon as a handshake would have to be.
            let wait = self.config.settings.unfinished_wait();
            let since = *connection.passing().unfinished_since.get_or_insert(now.mono);
            connection.flags.set(Flags::EARLY);
            self.sockets.wheel.arm_no_later(key.index(), since + wait);
        } else if let Some(passing) = connection.if_passing() {
            passing.unfinished_since = None;
            connection.give_back(now.mono);
        }
    }

    /// One text message.
    fn hear_text(&mut self, key: Key, text: &str, now: Now) {
        self.metrics().client_messages.inc();
        match ClientMessage::parse(text) {
            Ok(ClientMessage::Ping { t }) => self.answer(key, &ServerMessage::Pong { t }),
            Ok(ClientMessage::Hello { device: None }) => {}
            Ok(ClientMessage::Hello { device: Some(name) }) => {
                if let Some(device) = checked_name(&name) {
                    self.name_device(key, &device, now);
                } else {
                    let why = "a device has a name of 1 to 256 bytes".to_owned();
                    self.answer_bad(key, &BadMessage::BadField(why));
                }
            }
            Ok(message) => {
                if let ClientMessage::Sync(request) = &message {
                    self.begin_sync(key, request.cursor.as_deref(), now);
                }
                self.forward(key, Bytes::copy_from_slice(text.as_bytes()), now);
            }
            Err(bad) => self.answer_bad(key, &bad),
        }
    }

    /// Hands a message to the user's router; if none can take it, says so.
    fn forward(&mut self, key: Key, text: Bytes, now: Now) {
        let Some(connection) = self.sockets.slab.get(key).filter(|connection| connection.is_open()) else {
            return;
        };
        let user = self.registry.user_name(connection.user);
        if self.links.send_client_message(user, key.session(), text, now.mono).is_err() {
            self.tell_busy(key, now);
        }
    }

    /// No router took this connection's message in time.
    pub(super) fn tell_busy(&mut self, key: Key, now: Now) {
        self.metrics().busy.inc();
        let Some(connection) = self.sockets.slab.get(key) else { return };
        match &connection.state {
            State::Posting(_) => self.answer_busy(key, now),
            // It reconnects by itself, and begins where it was.
            State::Events(Some(_)) => self.end_stream(key, now),
            // Also a session that is being read right now, which is out of its place.
            _ => self.answer(
                key,
                &ServerMessage::Error {
                    code: "busy".to_owned(),
                    message: "no router can take this now".to_owned(),
                    retry_after_ms: Some(limits::BUSY_RETRY_AFTER_MS),
                },
            ),
        }
    }

    fn answer_bad(&mut self, key: Key, bad: &BadMessage) {
        self.metrics().bad_messages.inc();
        self.answer(key, &error_message(bad));
    }

    /// Answers on a WebSocket. The session may be out of its place just now, so its framing is not looked up.
    fn answer(&mut self, key: Key, message: &ServerMessage) {
        let frame = ws::text_frame(message.to_json().as_bytes());
        // Full: the client does not read its own answers, and a gap already says that it must sync.
        let _full = self.sockets.push_reply(key, frame);
    }

    /// A request with the cursor of the last page goes on with its sync; any other begins one.
    fn begin_sync(&mut self, key: Key, cursor: Option<&str>, now: Now) {
        let Some(connection) = self.sockets.slab.get(key) else { return };
        let goes_on = cursor.is_some()
            && connection.syncing(now.mono).is_some_and(|syncing| syncing.next_cursor.as_deref() == cursor);
        let syncing = &mut connection.passing().syncing;
        if !goes_on {
            *syncing = None;
        }
        syncing.get_or_insert_default().asked_at = now.mono;
    }

    /// A router's answer to one session.
    pub(super) fn handle_reply(&mut self, key: Key, text: &Bytes, now: Now) {
        let Some(connection) = self.sockets.slab.get(key) else { return };
        match &connection.state {
            State::WebSocket(_) => {
                let mended = self.without_sent(key, text, now);
                self.sockets.reply(key, mended.as_deref().unwrap_or(text), now);
            }
            State::Events(Some(_)) => self.replay_page(key, text, now),
            State::Posting(_) => self.answer_post(key, text, now),
            _ => {}
        }
    }

    /// A page of a sync without what was sent live since the sync began; `None`: as it came.
    fn without_sent(&mut self, key: Key, text: &Bytes, now: Now) -> Option<Bytes> {
        let connection = self.sockets.slab.get(key)?;
        let syncing = connection.syncing(now.mono)?;
        let text = std::str::from_utf8(text).ok()?;
        if Glance::of(text).is_none_or(|glance| glance.kind != "sync_batch") {
            return None;
        }
        let mut page: Page = serde_json::from_str(text).ok()?;
        let before = page.notifications.len();
        page.notifications
            .retain(|notification| !id_of(notification).is_some_and(|id| syncing.sent.contains(&id)));
        if page.has_more {
            syncing.next_cursor = Some(page.cursor.clone());
        } else {
            connection.passing().syncing = None;
            connection.give_back(now.mono);
        }
        if page.notifications.len() == before {
            return None;
        }
        let json = serde_json::to_string(&page).expect("a page that was read can be written");
        Some(Bytes::from(json))
    }
}

/// A `sync_batch`, with its notifications as text.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Page {
    #[serde(rename = "type")]
    kind: String,
    pub(super) notifications: Vec<Box<RawValue>>,
    pub(super) cursor: String,
    pub(super) has_more: bool,
}

pub(super) fn id_of(notification: &RawValue) -> Option<Uuid> {
    #[derive(Deserialize)]
    struct Id {
        id: Uuid,
    }
    serde_json::from_str::<Id>(notification.get()).ok().map(|found| found.id)
}

pub(super) fn error_message(bad: &BadMessage) -> ServerMessage {
    let mut message = bad.to_string();
    // A fault of the JSON may quote what the client sent.
    let end = (0..=256.min(message.len())).rev().find(|at| message.is_char_boundary(*at));
    message.truncate(end.unwrap_or(0));
    ServerMessage::Error { code: bad.code().to_owned(), message, retry_after_ms: None }
}
