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
    /// Ids that one socket brought twice.
    pub(crate) twice: u32,
    cursor: Option<String>,
    wants_sync: bool,
    syncing_since_us: Option<u64>,
    last_of_sync: Option<(Wall, Uuid)>,
    pub(crate) subscribed: bool,
    to_acknowledge: Vec<Uuid>,
    /// The last sync from the beginning, once it is whole: ids in order.
    pub(crate) whole: Vec<Uuid>,
    pub(crate) whole_is_complete: bool,
    reads_whole: bool,
    /// Promises that the server broke towards this client.
    pub(crate) faults: Vec<String>,
    pub(crate) dismissed: u32,
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
            twice: 0,
            cursor: None,
            wants_sync: false,
            syncing_since_us: None,
            last_of_sync: None,
            subscribed: topics.is_empty(),
            to_acknowledge: Vec::new(),
            whole: Vec::new(),
            whole_is_complete: false,
            reads_whole: false,
            faults: Vec::new(),
            dismissed: 0,
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open(_))
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
    }

    /// Bytes from the server; what is to be answered comes back.
    pub(crate) fn received(&mut self, bytes: &Bytes, events: &mut Events) -> Vec<Bytes> {
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
        self.read_frames(data, events)
    }

    fn read_frames(&mut self, mut data: BytesMut, events: &mut Events) -> Vec<Bytes> {
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
            self.faults.push(format!("the server broke RFC 6455: {fault:?}"));
        }
        for text in texts {
            answers.extend(self.heard(&text, events));
        }
        answers
    }

    fn heard(&mut self, text: &str, events: &mut Events) -> Option<Bytes> {
        let message: ServerMessage = match serde_json::from_str(text) {
            Ok(message) => message,
            Err(error) => {
                self.faults.push(format!("no message ({error}): {text}"));
                return None;
            }
        };
        match message {
            ServerMessage::Welcome(_) | ServerMessage::Gap { .. } => self.wants_sync = true,
            ServerMessage::Notification(notification) => self.got(&notification, true),
            ServerMessage::SyncBatch(page) => {
                for raw in &page.notifications {
                    match serde_json::from_str::<Notification>(raw.get()) {
                        Ok(notification) => self.got_on_a_page(&notification),
                        Err(error) => self.faults.push(format!("no notification ({error}): {}", raw.get())),
                    }
                }
                if page.notifications.len() > wire::limits::SYNC_PAGE_MAX {
                    self.faults.push(format!("a page of {}", page.notifications.len()));
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
                    self.faults.push(format!("error {code}: {message}"));
                }
                self.syncing_since_us = None;
                self.wants_sync = true;
            }
            ServerMessage::Subscribed { topics } => {
                self.subscribed = self.topics.iter().all(|topic| topics.contains(topic));
            }
            ServerMessage::Dismiss { .. } => self.dismissed += 1,
            ServerMessage::Pong { .. } | ServerMessage::Reconnect { .. } => {}
        }
        None
    }

    fn got_on_a_page(&mut self, notification: &Notification) {
        let place = (notification.created_at, notification.id);
        if self.last_of_sync.is_some_and(|last| last > place) {
            self.faults.push(format!("{} of a sync is older than the one before it", notification.id));
        }
        self.last_of_sync = Some(place);
        if self.reads_whole && !self.whole_is_complete {
            self.whole.push(notification.id);
        }
        self.got(notification, false);
    }

    fn got(&mut self, notification: &Notification, live: bool) {
        if !self.on_this_socket.insert(notification.id) && !self.reads_whole {
            self.twice += 1;
        }
        if let Entry::Vacant(unknown) = self.known.entry(notification.id) {
            unknown.insert(Known { live });
            self.to_acknowledge.push(notification.id);
        }
    }

    fn sync_request(&self) -> Bytes {
        say(&json!({ "type": "sync", "cursor": self.cursor, "limit": 50 }))
    }

    /// What an open client does next, if anything.
    pub(crate) fn act(&mut self, events: &mut Events) -> Vec<Bytes> {
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
        if !self.to_acknowledge.is_empty() && events.one_in(3) {
            let ids: Vec<Uuid> =
                self.to_acknowledge.drain(..).filter(|_| events.one_in(2)).take(200).collect();
            let kind = if events.one_in(4) { "read" } else { "ack" };
            said.extend((!ids.is_empty()).then(|| say(&json!({ "type": kind, "ids": ids }))));
        }
        said
    }
}

fn say(message: &serde_json::Value) -> Bytes {
    ws::frame(OpCode::Data(Data::Text), message.to_string().as_bytes(), Some([1, 2, 3, 4]))
}
