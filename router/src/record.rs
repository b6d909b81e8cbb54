//! One notification as a service handed it over: what the journal keeps and the owner reads.
//!
//! Persistent format: JSON with a version, so that any Kafka tool can read it. Written by `ingest` and by
//! `journal::import`, read by `owner`. Unknown fields are ignored; an unknown version is poison. What may not be ignored makes
//! a record of a higher version: a build that knows no `send_at` dead-letters it, in place of sending it at once.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;
use wire::message::Priority;
use wire::partition::partition_of;
use wire::time::Wall;

use crate::limits::{ACK_WITHIN_S_DEFAULT, SEND_AT_SLACK};

/// The version that this build writes.
pub const RECORD_VERSION: u8 = 1;
/// The version of one with a `send_at`.
pub const SCHEDULED_VERSION: u8 = 2;

/// Whether this build reads records of that version.
pub fn is_readable(version: u8) -> bool {
    (RECORD_VERSION..=SCHEDULED_VERSION).contains(&version)
}

/// A way to reach a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Channel {
    Inapp,
    Push,
    Email,
    Sms,
    Voice,
}

impl Channel {
    pub const ALL: [Channel; 5] =
        [Channel::Inapp, Channel::Push, Channel::Email, Channel::Sms, Channel::Voice];

    pub fn name(self) -> &'static str {
        match self {
            Channel::Inapp => "inapp",
            Channel::Push => "push",
            Channel::Email => "email",
            Channel::Sms => "sms",
            Channel::Voice => "voice",
        }
    }
}

/// Who a notification is for. In JSON exactly one of `user`, `users`, `topic`, `all: true`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Target {
    User(String),
    Users(Vec<String>),
    Topic(String),
    All(bool),
}

impl Target {
    /// Whether it is this user, or the user is on its list.
    pub fn names(&self, name: &str) -> bool {
        match self {
            Target::User(user) => user == name,
            Target::Users(users) => users.iter().any(|user| user == name),
            Target::Topic(_) | Target::All(_) => false,
        }
    }

    /// Without these users. `None`: it is for nobody else.
    pub fn without(&self, erased: &[String]) -> Option<Target> {
        match self {
            Target::User(user) if erased.contains(user) => None,
            Target::Users(users) => {
                let left: Vec<_> = users.iter().filter(|user| !erased.contains(user)).cloned().collect();
                (!left.is_empty()).then_some(Target::Users(left))
            }
            others => Some(others.clone()),
        }
    }
}

/// What a service asked for. Checked by `ingest::validate`; the owner trusts its bounds but not its sense.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Request {
    pub to: Target,
    #[serde(default)]
    pub priority: Priority,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Box<RawValue>>,
    /// Sent at once.
    #[serde(default = "in_app_only")]
    pub channels: Vec<Channel>,
    /// Tried in turn when `channels` brought nothing in time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fallback: Vec<Channel>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ack_within_s: Option<u32>,
    /// The same for what was sent by one channel, in place of it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub channel_within_s: BTreeMap<Channel, u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_s: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collapse_key: Option<String>,
    /// Not before this date. A life begins with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub send_at: Option<Wall>,
}

fn in_app_only() -> Vec<Channel> {
    vec![Channel::Inapp]
}

/// Where a record stands in its producer's sequence: runs without gaps per (producer boot, partition).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Sequence {
    /// Drawn anew at every start of an ingest process.
    pub boot: u64,
    pub partition: u32,
    /// From 1.
    pub seq: u64,
}

/// A run of sequence numbers, both ends in it.
pub type Skipped = (u64, u64);
/// Runs that one record tells.
pub const SKIPPED_RUNS_MAX: usize = 8;
/// Numbers that one record tells. A reader believes no more.
pub const SKIPPED_TOLD_MAX: u64 = 65_536;

/// A record of the journal.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Record {
    pub v: u8,
    pub id: Uuid,
    pub service: String,
    pub accepted_at: Wall,
    pub sequence: Sequence,
    /// Numbers of the same boot and partition whose records were never acknowledged: they may be missing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<Skipped>,
    pub request: Request,
}

impl Request {
    /// Of the record that it becomes.
    pub fn version(&self) -> u8 {
        if self.send_at.is_some() { SCHEDULED_VERSION } else { RECORD_VERSION }
    }

    /// How long `channel` is given before the next one's turn.
    pub fn patience(&self, channel: Channel) -> Duration {
        let within = self.channel_within_s.get(&channel).copied().or(self.ack_within_s);
        Duration::from_secs(within.unwrap_or(ACK_WITHIN_S_DEFAULT).into())
    }
}

impl Record {
    /// The partition that owns the record: by user; a list of users goes by its first (its owner splits it),
    /// a topic by its name, `all` by a fixed key.
    pub fn partition(to: &Target, count: u32) -> u32 {
        let key = match to {
            Target::User(user) => user,
            Target::Users(users) => users.first().map_or("", String::as_str),
            Target::Topic(topic) => topic,
            Target::All(_) => "all",
        };
        partition_of(key, count)
    }

    pub fn expires_at(&self) -> Option<Wall> {
        let ttl = Duration::from_secs(u64::from(self.request.ttl_s?));
        Some(self.begins_at() + ttl)
    }

    /// Its moment, or when it was accepted: what it takes, and how old it is, counts from here.
    pub fn begins_at(&self) -> Wall {
        self.request.send_at.map_or(self.accepted_at, |at| at.max(self.accepted_at))
    }

    /// When it is to be sent, if that is so far ahead that it has to wait.
    pub fn scheduled(&self, now: Wall) -> Option<Wall> {
        self.request.send_at.filter(|at| *at > now + SEND_AT_SLACK)
    }
}
