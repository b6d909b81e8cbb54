//! What a client makes of what the server says, and what it says itself. Pure; part of `fleet`.

use std::time::Duration;

use bytes::Bytes;
use memchr::memmem::Finder;
use serde::Deserialize;
use serde_json::value::RawValue;
use wire::close::{CloseCode, Comeback};
use wire::message::{ClientMessage, ServerMessage, Welcome};
use wire::session::Incoming;
use wire::time::{Mono, Wall};
use wire::ws::{self, Data, OpCode};

use super::acks::Acks;
use super::errands::Matter;
use super::timers::{Wake, Why};
use super::{Fleet, Output, Phase};
use crate::dialect::Dialect;
use crate::marker::Marker;
use crate::receipts::{Arrival, Way};
use crate::tally::Copy;

/// How the server's encoder begins a notification; others are read as JSON.
const NOTIFICATION: &str = r#"{"type":"notification","#;
const CREATED_AT: &str = "\"created_at\":\"";
/// Longest RFC 3339 date that is looked for.
const DATE_BYTES_MAX: usize = 40;

/// SplitMix64 of one seed and one number.
pub(crate) fn mix(seed: u64, number: u64) -> u64 {
    let mut z = seed.wrapping_add(number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The Sec-WebSocket-Key of one attempt: made again when the answer comes rather than kept.
pub(super) fn handshake_key(seed: u64, client: u32, epoch: u32) -> [u8; 16] {
    let number = u64::from(client) << 32 | u64::from(epoch);
    let mut key = [0; 16];
    key[..8].copy_from_slice(&mix(seed, number).to_le_bytes());
    key[8..].copy_from_slice(&mix(!seed, number).to_le_bytes());
    key
}

/// A notification's id, with its quotes.
fn id(notification: &str) -> Option<&str> {
    #[derive(Deserialize)]
    struct Id<'t> {
        #[serde(borrow)]
        id: &'t RawValue,
    }
    serde_json::from_str(notification).ok().map(|Id { id }| id.get())
}

/// Finds marks and dates, draws masks.
#[derive(Debug)]
pub struct Speech {
    marker: Marker,
    created_at: Finder<'static>,
    seed: u64,
    drawn: u64,
}

impl Speech {
    pub fn new(seed: u64, marker: Marker) -> Speech {
        Speech { marker, created_at: Finder::new(CREATED_AT), seed, drawn: 0 }
    }

    /// A masking key. RFC 6455 wants them unpredictable to keep web pages from writing chosen bytes; nobody chooses ours.
    pub(super) fn mask(&mut self) -> [u8; 4] {
        self.drawn += 1;
        (mix(self.seed, self.drawn) as u32).to_le_bytes()
    }

    /// The ids, with their quotes, of the notifications of this run.
    fn ids<'t>(&self, text: &'t str) -> Vec<&'t str> {
        #[derive(Deserialize)]
        struct Page<'t> {
            #[serde(borrow)]
            notifications: Vec<&'t RawValue>,
        }
        if self.marker.find(text).nth(1).is_none() && text.starts_with(NOTIFICATION) {
            return id(text).into_iter().collect();
        }
        let Ok(Page { notifications }) = serde_json::from_str(text) else { return Vec::new() };
        let ours = notifications.iter().filter(|raw| self.marker.find(raw.get()).next().is_some());
        ours.filter_map(|raw| id(raw.get())).collect()
    }

    fn text_frame(&mut self, text: &[u8]) -> Bytes {
        ws::frame(OpCode::Data(Data::Text), text, Some(self.mask()))
    }

    pub(super) fn set_marker(&mut self, marker: Marker) {
        self.marker = marker;
    }

    /// The newest `created_at` in a message.
    pub(super) fn newest(&self, text: &str) -> Option<Wall> {
        let dates = self.created_at.find_iter(text.as_bytes()).filter_map(|at| {
            let rest = text.get(at + CREATED_AT.len()..)?;
            let end = rest.bytes().take(DATE_BYTES_MAX).position(|b| b == b'"')?;
            Wall::parse(&rest[..end]).ok()
        });
        dates.max()
    }
}

impl Fleet {
    pub(super) fn handle_incoming(&mut self, place: u32, incoming: &Incoming<'_>, now: Mono) {
        let phase = self.clients[place as usize].phase;
        if matches!(phase, Phase::Waiting | Phase::Out) {
            return;
        }
        match incoming {
            Incoming::Text(text) if self.config.dialect != Dialect::Tocsin => {
                self.handle_foreign(place, text, now);
            }
            Incoming::Text(text) => self.handle_text(place, text, Way::Live, now),
            Incoming::Ping(payload) => {
                let frame = ws::pong_frame(payload, Some(self.speech.mask()));
                self.journal.counts.pings_answered += 1;
                self.outputs.push_back(Output::Send { place, frame });
            }
            Incoming::Close { code, reason } => self.handle_close(place, *code, reason, now),
            Incoming::Binary(payload) => self.handle_binary(place, payload, now),
            Incoming::Pong(_) => {}
        }
    }

    /// One message of the server. `way` is how a notification came, if it is one.
    pub(super) fn handle_text(&mut self, place: u32, text: &str, way: Way, now: Mono) {
        if text.starts_with(NOTIFICATION) {
            return self.handle_copies(place, text, way, now);
        }
        match serde_json::from_str(text) {
            Ok(ServerMessage::Notification(_)) => self.handle_copies(place, text, way, now),
            Ok(ServerMessage::Welcome(welcome)) => self.handle_welcome(place, &welcome, now),
            Ok(ServerMessage::SyncBatch(batch)) => {
                self.handle_copies(place, text, Way::Sync, now);
                self.handle_page(place, &batch);
            }
            Ok(ServerMessage::Subscribed { topics }) => {
                let mine = self.config.topic.as_ref().is_some_and(|topic| topics.contains(topic));
                if mine && self.clients[place as usize].phase == Phase::Subscribing {
                    self.enter(place, now);
                }
            }
            Ok(ServerMessage::Gap { since }) => {
                self.journal.errors.add("gap: the server left something out on a socket");
                self.sync(place, Some(since));
            }
            Ok(ServerMessage::Reconnect { after_ms }) => {
                let epoch = self.clients[place as usize].epoch;
                let wake = Wake { place, epoch, why: Why::Moves };
                self.timers.set_wake(now + Duration::from_millis(after_ms), wake);
            }
            Ok(ServerMessage::Error { code, retry_after_ms, .. }) => {
                self.journal.errors.add(&format!("server error: {code}"));
                if let Some(after) = retry_after_ms.map(Duration::from_millis) {
                    self.sync_again(place, after, now);
                    self.subscribe_again(place, after, now);
                    self.refuse_said(place, after, now);
                }
            }
            Ok(ServerMessage::Dismiss { .. } | ServerMessage::Pong { .. }) => {}
            Err(_) => self.journal.errors.add("the server sent a message that is not understood"),
        }
    }

    pub(super) fn handle_copies(&mut self, place: u32, text: &str, way: Way, now: Mono) {
        if self.config.syncs
            && let Some(newest) = self.speech.newest(text)
        {
            let client = &mut self.clients[place as usize];
            client.seen_us = client.seen_us.max(newest.0);
        }
        let Some(receipts) = &mut self.receipts else { return };
        let stayed = self.clients[place as usize].stayed;
        let at = Arrival { place, client: self.config.lane.number(place), way, stayed, now };
        let (mut first, mut copies) = (false, 0_u64);
        for mark in self.speech.marker.find(text) {
            first |= receipts.handle_copy(mark, at, &mut self.journal) == Copy::First;
            copies += 1;
        }
        if copies > 0 {
            self.journal.counts.frames += 1;
            self.journal.counts.payload_bytes += text.len() as u64;
        }
        if first && self.config.acks {
            self.acknowledge(place, text, now);
        }
    }

    /// Says one message of JSON.
    pub(super) fn say(&mut self, place: u32, text: &[u8]) {
        let frame = self.speech.text_frame(text);
        self.outputs.push_back(Output::Send { place, frame });
    }

    /// The same, whichever way the client has for it.
    pub(super) fn say_message(&mut self, place: u32, message: &ClientMessage, matter: Matter) {
        let text = serde_json::to_string(message).expect("client messages serialize");
        if self.config.reads_streams() {
            self.send_errand(place, text, matter);
        } else {
            self.say(place, text.as_bytes());
        }
    }

    pub(super) fn subscribe(&mut self, place: u32) {
        let topics = self.config.topic.iter().cloned().collect();
        self.say_message(place, &ClientMessage::Subscribe { topics }, Matter::Subscribe);
    }

    /// The server could not take a subscription now.
    pub(super) fn subscribe_again(&mut self, place: u32, after: Duration, now: Mono) {
        let client = &self.clients[place as usize];
        if client.phase == Phase::Subscribing {
            let wake = Wake { place, epoch: client.epoch, why: Why::Subscribes };
            self.timers.set_wake(now + after, wake);
        }
    }

    /// Acknowledges every notification of this run in a message: one, or those of a page.
    fn acknowledge(&mut self, place: u32, text: &str, now: Mono) {
        let ids = self.speech.ids(text);
        if ids.is_empty() {
            return self.journal.errors.add("a notification without an id");
        }
        self.journal.counts.acked += ids.len() as u64;
        self.say_acks(place, Acks::of(&ids), now);
    }

    fn handle_welcome(&mut self, place: u32, welcome: &Welcome, now: Mono) {
        let client = &mut self.clients[place as usize];
        if client.phase != Phase::Welcoming {
            return;
        }
        client.reconnect.handle_open(welcome.reconnect, now);
        self.journal.handshakes.record(now.since(client.intended));
        let came_back = client.seen_us != 0;
        if !came_back {
            client.seen_us = welcome.server_time.0;
        }
        let is_behind = client.sync_from_us != 0;
        let resumes = self.resumes(place, welcome.server_time);
        if self.config.topic.is_some() {
            self.clients[place as usize].phase = Phase::Subscribing;
            self.subscribe(place);
        } else {
            self.enter(place, now);
        }
        if is_behind || came_back && !resumes {
            self.sync(place, None);
        }
    }

    fn handle_close(&mut self, place: u32, number: Option<u16>, reason: &str, now: Mono) {
        if self.clients[place as usize].phase == Phase::Closing {
            return self.finish(place);
        }
        let code = number.and_then(CloseCode::from_number);
        if code == Some(CloseCode::OverCapacity) {
            return self.handle_over_capacity(place, reason, now);
        }
        let comeback = code.map_or(Comeback::Backoff, CloseCode::comeback);
        let phase = if self.clients[place as usize].phase == Phase::In { "dropped" } else { "handshake" };
        let why = number
            .map_or(format!("{phase}: close without a code"), |number| format!("{phase}: close {number}"));
        self.lose(place, &why, comeback, now);
    }

    fn handle_over_capacity(&mut self, place: u32, reason: &str, now: Mono) {
        #[derive(Deserialize)]
        struct Advice {
            retry_after_ms: u64,
        }
        let advice = serde_json::from_str(reason).ok();
        self.refuse(
            place,
            advice.map(|Advice { retry_after_ms }| Duration::from_millis(retry_after_ms)),
            now,
        );
    }
}
