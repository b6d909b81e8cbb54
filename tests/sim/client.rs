//! A client as the contract describes it: connects, subscribes, syncs from its cursor, takes what comes, acknowledges,
//! answers pings, comes back after a loss. It knows each id once.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use bytes::{Bytes, BytesMut};
use serde_json::json;
use uuid::Uuid;
use wire::http::{ConnectRequest, parse_response};
use wire::message::{Notification, ServerMessage};
use wire::session::{Incoming, Role, Session, SessionLimits};
use wire::time::Wall;
use wire::ws::{self, Data, OpCode};

use crate::events::{Events, S};
use crate::model::Model;
use crate::shards::HOST;

/// How long a client waits for a page before it asks again.
const PAGE_WAIT_US: u64 = 12 * S;

/// Where the connection stands.
#[derive(Debug)]
enum Phase {
    Away,
    /// The bytes of the answer's head so far.
    Shaking(BytesMut),
    Open(Session),
}

/// What a client knows of a notification.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Known {
    pub(crate) live: bool,
}

#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) user: String,
    device: String,
    topics: Vec<String>,
    pub(crate) socket: Option<u64>,
    phase: Phase,
    pub(crate) known: BTreeMap<Uuid, Known>,
    on_this_socket: BTreeSet<Uuid>,
    live_on_this_socket: BTreeSet<Uuid>,
    /// Ids that one socket brought twice.
    pub(crate) twice: u32,
    cursor: Option<String>,
    wants_sync: bool,
    syncing_since_us: Option<u64>,
    last_of_sync: Option<(Wall, Uuid)>,
    /// Pages asked for and not come; an error does not say what it is about.
    asked: u32,
    pub(crate) subscribed: bool,
    to_acknowledge: Vec<Uuid>,
    /// The last sync from the beginning, once it is whole: ids in order.
    pub(crate) whole: Vec<Uuid>,
    pub(crate) whole_is_complete: bool,
    reads_whole: bool,
    pub(crate) dismissed: u32,
    /// It left for good.
    pub(crate) has_left: bool,
}

impl Client {
    pub(crate) fn new(user: &str, device: &str, topics: &[&str]) -> Client {
        Client {
            user: user.to_owned(),
            device: device.to_owned(),
            topics: topics.iter().map(|topic| (*topic).to_owned()).collect(),
            socket: None,
            phase: Phase::Away,
            known: BTreeMap::new(),
            on_this_socket: BTreeSet::new(),
            live_on_this_socket: BTreeSet::new(),
            twice: 0,
            cursor: None,
            wants_sync: false,
            syncing_since_us: None,
            last_of_sync: None,
            asked: 0,
            subscribed: topics.is_empty(),
            to_acknowledge: Vec::new(),
            whole: Vec::new(),
            whole_is_complete: false,
            reads_whole: false,
            dismissed: 0,
            has_left: false,
        }
    }

    pub(crate) fn name(&self) -> String {
        format!("{}/{}", self.user, self.device)
    }

    pub(crate) fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open(_))
    }

    /// Connected, subscribed, and with nothing to ask for.
    pub(crate) fn is_settled(&self) -> bool {
        self.is_open() && self.subscribed && !self.wants_sync && self.syncing_since_us.is_none()
    }

    /// Forgets the cursor: the next sync reads everything from the beginning.
    pub(crate) fn begin_whole(&mut self) {
        self.cursor = None;
        self.whole.clear();
        self.whole_is_complete = false;
        self.reads_whole = true;
        self.wants_sync = true;
        self.syncing_since_us = None;
    }

    /// The request that opens its socket.
    pub(crate) fn connect(&mut self, socket: u64, events: &mut Events) -> Bytes {
        self.socket = Some(socket);
        self.phase = Phase::Shaking(BytesMut::new());
        self.on_this_socket.clear();
        self.live_on_this_socket.clear();
        let target = format!("/v1/connect?user={}&device={}", self.user, self.device);
        let key = (u128::from(events.bits()) << 64 | u128::from(events.bits())).to_be_bytes();
        ConnectRequest { host: HOST, target: &target, key, protocols: &["tocsin.v1"], headers: &[] }.encode()
    }

    /// The socket is gone.
    pub(crate) fn lost(&mut self) {
        self.socket = None;
        self.phase = Phase::Away;
        self.syncing_since_us = None;
        self.last_of_sync = None;
        self.asked = 0;
    }

    /// Bytes from the server; what is to be answered comes back.
    pub(crate) fn received(&mut self, bytes: &Bytes, model: &Model, events: &mut Events) -> Vec<Bytes> {
        let mut data = BytesMut::from(&bytes[..]);
        if let Phase::Shaking(head) = &mut self.phase {
            head.extend_from_slice(&data);
            let parsed = parse_response(head).expect("the server speaks HTTP");
            let Some((status, head_bytes)) = parsed.map(|head| (head.status, head.head_bytes)) else {
                return Vec::new();
            };
            if status != 101 {
                // Refused: the server closes, and the client comes back later.
                return Vec::new();
            }
            data = head.split_off(head_bytes);
            self.phase = Phase::Open(Session::new(Role::Client));
        }
        self.read_frames(data, model, events)
    }

    fn read_frames(&mut self, mut data: BytesMut, model: &Model, events: &mut Events) -> Vec<Bytes> {
        let Phase::Open(session) = &mut self.phase else { return Vec::new() };
        let (mut texts, mut answers) = (Vec::new(), Vec::new());
        let fault =
            session.handle_bytes(&mut data, &SessionLimits::client(), &mut |incoming| match incoming {
                Incoming::Text(text) => texts.push(text.to_owned()),
                Incoming::Ping(payload) => answers.push(ws::pong_frame(payload, Some([7, 7, 7, 7]))),
                Incoming::Close { code, .. } => answers.push(ws::close_reply(code, Some([7, 7, 7, 7]))),
                Incoming::Binary(_) | Incoming::Pong(_) => {}
            });
        if let Err(fault) = fault {
            events.broken("I1", format!("{} was sent what is no WebSocket: {fault:?}", self.name()));
        }
        for text in texts {
            answers.extend(self.heard(&text, model, events));
        }
        answers
    }

    fn heard(&mut self, text: &str, model: &Model, events: &mut Events) -> Option<Bytes> {
        let message: ServerMessage = match serde_json::from_str(text) {
            Ok(message) => message,
            Err(error) => {
                events.broken("I1", format!("{} was sent no message ({error}): {text}", self.name()));
                return None;
            }
        };
        match message {
            ServerMessage::Welcome(_) | ServerMessage::Gap { .. } => self.wants_sync = true,
            ServerMessage::Notification(notification) => self.got(&notification, true, model, events),
            ServerMessage::SyncBatch(page) => {
                if self.asked > 1 {
                    // One that was asked for twice comes twice.
                    self.last_of_sync = None;
                }
                self.asked = self.asked.saturating_sub(1);
                for raw in &page.notifications {
                    match serde_json::from_str::<Notification>(raw.get()) {
                        Ok(notification) => self.got_on_a_page(&notification, model, events),
                        Err(error) => {
                            events.broken("I1", format!("no notification ({error}): {}", raw.get()));
                        }
                    }
                }
                if page.notifications.len() > wire::limits::SYNC_PAGE_MAX {
                    events.broken("I5", format!("a page of {}", page.notifications.len()));
                }
                self.cursor = Some(page.cursor);
                if page.has_more {
                    self.syncing_since_us = Some(events.now_us());
                    return Some(self.sync_request());
                }
                self.syncing_since_us = None;
                self.last_of_sync = None;
                self.whole_is_complete = self.reads_whole;
            }
            ServerMessage::Error { code, message, .. } => {
                if code != "busy" {
                    events.broken("I1", format!("{} got error {code}: {message}", self.name()));
                }
                self.syncing_since_us = None;
                self.wants_sync = true;
            }
            ServerMessage::Subscribed { topics } => {
                self.subscribed = self.topics.iter().all(|topic| topics.contains(topic));
            }
            ServerMessage::Dismiss { ids } => {
                self.dismissed += 1;
                for id in ids {
                    self.check_own(id, model, events);
                }
            }
            ServerMessage::Pong { .. } | ServerMessage::Reconnect { .. } => {}
        }
        None
    }

    fn check_own(&self, id: Uuid, model: &Model, events: &mut Events) {
        if !model.promise(id).is_some_and(|promise| Model::is_for(promise, &self.user)) {
            events.broken("I3", format!("{} was shown {id}, which is for others", self.name()));
        }
    }

    fn got_on_a_page(&mut self, notification: &Notification, model: &Model, events: &mut Events) {
        let place = (notification.created_at, notification.id);
        if self.last_of_sync.is_some_and(|last| last > place) {
            let id = notification.id;
            events.broken("I1", format!("{id} of a sync is older than the one before it"));
        }
        self.last_of_sync = Some(place);
        if self.reads_whole && !self.whole_is_complete {
            self.whole.push(notification.id);
        }
        self.got(notification, false, model, events);
    }

    fn got(&mut self, notification: &Notification, live: bool, model: &Model, events: &mut Events) {
        let id = notification.id;
        self.check_own(id, model, events);
        if live && !self.live_on_this_socket.insert(id) && !model.had_power_cut {
            events.broken("I2", format!("{} was sent {id} live on one socket twice", self.name()));
        }
        if !self.on_this_socket.insert(id) && !self.reads_whole {
            self.twice += 1;
        }
        if let Entry::Vacant(unknown) = self.known.entry(id) {
            unknown.insert(Known { live });
            self.to_acknowledge.push(id);
        }
    }

    fn sync_request(&mut self) -> Bytes {
        self.asked += 1;
        say(&json!({ "type": "sync", "cursor": self.cursor, "limit": 50 }))
    }

    /// What an open client does next, if anything.
    pub(crate) fn act(&mut self, model: &mut Model, events: &mut Events) -> Vec<Bytes> {
        let mut said = Vec::new();
        if !self.is_open() {
            return said;
        }
        if self.syncing_since_us.is_some_and(|since| events.now_us() - since > PAGE_WAIT_US) {
            self.syncing_since_us = None;
            self.wants_sync = true;
        }
        if self.wants_sync && self.syncing_since_us.is_none() {
            self.wants_sync = false;
            self.syncing_since_us = Some(events.now_us());
            self.last_of_sync = None;
            if self.reads_whole && !self.whole_is_complete {
                self.cursor = None;
                self.whole.clear();
            }
            said.push(self.sync_request());
        }
        if !self.subscribed {
            said.push(say(&json!({ "type": "subscribe", "topics": self.topics })));
        }
        if !model.promises.is_empty() && events.one_in(40) {
            // Whoever it is for: what is not its user's must change nothing.
            let any = events.between(0, model.promises.len() as u64 - 1) as usize;
            let ids = [model.promises[any].id];
            model.acts(&self.user, &ids);
            said.push(say(&json!({ "type": "ack", "ids": ids })));
        }
        if !self.to_acknowledge.is_empty() && events.one_in(3) {
            let ids: Vec<Uuid> =
                self.to_acknowledge.drain(..).filter(|_| events.one_in(2)).take(200).collect();
            let kind = if events.one_in(4) { "read" } else { "ack" };
            model.acts(&self.user, &ids);
            said.extend((!ids.is_empty()).then(|| say(&json!({ "type": kind, "ids": ids }))));
        }
        said
    }
}

fn say(message: &serde_json::Value) -> Bytes {
    ws::frame(OpCode::Data(Data::Text), message.to_string().as_bytes(), Some([1, 2, 3, 4]))
}
