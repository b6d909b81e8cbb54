//! The JSON messages between a client and the system. The same text travels over WebSocket, SSE and QUIC.
//!
//! Unknown fields are ignored, so that an old server understands a newer client; unknown types are an error
//! that the session answers with `{"type":"error","code":"unknown_type"}`.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::limits;
use crate::time::Wall;

/// How urgent a notification is. Each priority has a journal lane of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    Critical,
    High,
    #[default]
    Normal,
    Low,
}

impl Priority {
    /// Most urgent first.
    pub const ALL: [Priority; 4] = [Priority::Critical, Priority::High, Priority::Normal, Priority::Low];

    pub fn name(self) -> &'static str {
        match self {
            Priority::Critical => "critical",
            Priority::High => "high",
            Priority::Normal => "normal",
            Priority::Low => "low",
        }
    }
}

/// What a client may say.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ClientMessage {
    /// A client may also send `app`, its name and version. Nothing here reads it, so it is not parsed.
    Hello {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        device: Option<String>,
    },
    Sync(SyncRequest),
    Ack {
        ids: Vec<Uuid>,
    },
    Read {
        ids: Vec<Uuid>,
    },
    Subscribe {
        topics: Vec<String>,
    },
    Unsubscribe {
        topics: Vec<String>,
    },
    Ping {
        #[serde(default)]
        t: i64,
    },
}

/// `{"type":"sync",…}`: what did I miss? `cursor` (from an earlier batch) wins over `last_seen_at`; neither
/// means from the beginning.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SyncRequest {
    #[serde(default)]
    pub last_seen_at: Option<Wall>,
    #[serde(default)]
    pub cursor: Option<String>,
    /// 1..=50; more is taken as 50.
    #[serde(default)]
    pub limit: Option<usize>,
}

/// Why a client's message was refused. `code` is stable; the text is for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadMessage {
    #[error("not a JSON object: {0}")]
    NotJson(String),
    #[error("no message has the type {0:?}")]
    UnknownType(String),
    #[error("{0}")]
    BadField(String),
    #[error("{what}: {found} is more than {max}")]
    TooMany { what: &'static str, found: usize, max: usize },
}

impl BadMessage {
    pub fn code(&self) -> &'static str {
        match self {
            BadMessage::NotJson(_) => "bad_json",
            BadMessage::UnknownType(_) => "unknown_type",
            BadMessage::BadField(_) => "bad_field",
            BadMessage::TooMany { .. } => "too_many",
        }
    }

    fn unknown(kind: &str) -> BadMessage {
        const KIND_CHARS_MAX: usize = 64;
        BadMessage::UnknownType(kind.chars().take(KIND_CHARS_MAX).collect())
    }

    fn field(why: &serde_json::Error) -> BadMessage {
        BadMessage::BadField(shortened(why))
    }
}

/// The parser quotes what it did not like, which may be all of a message; a person needs its beginning.
fn shortened(why: &serde_json::Error) -> String {
    const REASON_CHARS_MAX: usize = 200;
    why.to_string().chars().take(REASON_CHARS_MAX).collect()
}

/// The `type` of a message in either direction.
fn kind_of(text: &str) -> Result<Cow<'_, str>, BadMessage> {
    #[derive(Deserialize)]
    struct Kind<'a> {
        #[serde(rename = "type", borrow)]
        kind: Cow<'a, str>,
    }
    match serde_json::from_str(text) {
        Ok(Kind { kind }) => Ok(kind),
        Err(why) => Err(BadMessage::NotJson(shortened(&why))),
    }
}

fn fields<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, serde_json::Error> {
    serde_json::from_str(text)
}

impl ClientMessage {
    /// Reads one message and checks every bound of [`limits`].
    pub fn parse(text: &str) -> Result<ClientMessage, BadMessage> {
        const KINDS: [&str; 7] = ["hello", "sync", "ack", "read", "subscribe", "unsubscribe", "ping"];
        let message = match serde_json::from_str::<ClientMessage>(text) {
            Ok(message) => message,
            Err(why) => {
                let kind = kind_of(text)?;
                return Err(if KINDS.contains(&kind.as_ref()) {
                    BadMessage::field(&why)
                } else {
                    BadMessage::unknown(&kind)
                });
            }
        };
        message.check()?;
        Ok(message)
    }

    fn check(&self) -> Result<(), BadMessage> {
        let at_most = |what, found, max| {
            if found > max { Err(BadMessage::TooMany { what, found, max }) } else { Ok(()) }
        };
        match self {
            ClientMessage::Hello { device } => {
                let device_bytes = device.as_ref().map_or(0, String::len);
                at_most("bytes of a name", device_bytes, limits::NAME_BYTES_MAX)?;
            }
            ClientMessage::Sync(sync) => {
                let cursor = sync.cursor.as_ref().map_or(0, String::len);
                at_most("bytes of a cursor", cursor, limits::CURSOR_BYTES_MAX)?;
            }
            ClientMessage::Ack { ids } | ClientMessage::Read { ids } => {
                at_most("ids", ids.len(), limits::IDS_PER_MESSAGE_MAX)?;
            }
            ClientMessage::Subscribe { topics } | ClientMessage::Unsubscribe { topics } => {
                at_most("topics", topics.len(), limits::TOPICS_PER_MESSAGE_MAX)?;
                for topic in topics {
                    at_most("bytes of a topic", topic.len(), limits::NAME_BYTES_MAX)?;
                    if topic.is_empty() {
                        return Err(BadMessage::BadField("a topic has a name".to_owned()));
                    }
                }
            }
            ClientMessage::Ping { .. } => {}
        }
        Ok(())
    }
}

/// What a client is told.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ServerMessage {
    Welcome(Welcome),
    Notification(Notification),
    SyncBatch(SyncBatch),
    /// Somebody acted on these on another device.
    Dismiss {
        ids: Vec<Uuid>,
    },
    /// Something was not sent on this socket since then: sync.
    Gap {
        since: Wall,
    },
    /// Leave within the drain window: reconnect after this delay, elsewhere if there is an elsewhere.
    Reconnect {
        after_ms: u64,
    },
    /// The user's topics, after a change.
    Subscribed {
        topics: Vec<String>,
    },
    Pong {
        t: i64,
    },
    Error {
        code: String,
        message: String,
        retry_after_ms: Option<u64>,
    },
}

impl ServerMessage {
    /// Reads one message; a type that this version does not know is [`BadMessage::UnknownType`], to be ignored.
    pub fn parse(text: &str) -> Result<ServerMessage, BadMessage> {
        #[derive(Deserialize)]
        struct Ids {
            ids: Vec<Uuid>,
        }
        #[derive(Deserialize)]
        struct Gap {
            since: Wall,
        }
        #[derive(Deserialize)]
        struct Reconnect {
            after_ms: u64,
        }
        #[derive(Deserialize)]
        struct Subscribed {
            topics: Vec<String>,
        }
        #[derive(Deserialize)]
        struct Pong {
            t: i64,
        }
        #[derive(Deserialize)]
        struct Error {
            code: String,
            message: String,
            #[serde(default)]
            retry_after_ms: Option<u64>,
        }
        // Not serde's tagged enum: it reads into a buffer first, and a `RawValue` cannot come out of one.
        let message = match kind_of(text)?.as_ref() {
            "welcome" => fields(text).map(ServerMessage::Welcome),
            "notification" => fields(text).map(ServerMessage::Notification),
            "sync_batch" => fields(text).map(ServerMessage::SyncBatch),
            "dismiss" => fields(text).map(|Ids { ids }| ServerMessage::Dismiss { ids }),
            "gap" => fields(text).map(|Gap { since }| ServerMessage::Gap { since }),
            "reconnect" => fields(text).map(|Reconnect { after_ms }| ServerMessage::Reconnect { after_ms }),
            "subscribed" => fields(text).map(|Subscribed { topics }| ServerMessage::Subscribed { topics }),
            "pong" => fields(text).map(|Pong { t }| ServerMessage::Pong { t }),
            "error" => fields(text).map(|Error { code, message, retry_after_ms }| ServerMessage::Error {
                code,
                message,
                retry_after_ms,
            }),
            unknown => return Err(BadMessage::unknown(unknown)),
        };
        message.map_err(|why| BadMessage::field(&why))
    }

    /// The JSON text. Nothing of ours fails to serialize: keys are strings and floats never occur.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("server messages serialize")
    }
}

impl<'de> Deserialize<'de> for ServerMessage {
    /// From JSON text only, as [`RawValue`] has it.
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<ServerMessage, D::Error> {
        let text = Box::<RawValue>::deserialize(from)?;
        ServerMessage::parse(text.get()).map_err(serde::de::Error::custom)
    }
}

/// First message on every connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    pub session: String,
    pub node: String,
    pub ping_interval_ms: u64,
    pub server_time: Wall,
    pub reconnect: ReconnectHint,
}

/// Over how long the clients of a lost node spread their first attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReconnectHint {
    pub spread_ms: u64,
    pub max_ms: u64,
}

impl Default for ReconnectHint {
    fn default() -> ReconnectHint {
        ReconnectHint { spread_ms: 1_000, max_ms: 30_000 }
    }
}

/// One notification as a client sees it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Notification {
    pub id: Uuid,
    /// When the owner put it into the inbox: rises with every notification of one user (or topic).
    pub created_at: Wall,
    /// When the system took it from the service.
    pub accepted_at: Wall,
    pub priority: Priority,
    #[serde(default)]
    pub category: Option<String>,
    #[serde(default)]
    pub title: Option<String>,
    #[serde(default)]
    pub body: Option<String>,
    /// The service's own JSON, passed through as it came.
    #[serde(default = "empty_object")]
    pub data: Box<RawValue>,
    #[serde(default)]
    pub topic: Option<String>,
    #[serde(default)]
    pub collapse_key: Option<String>,
}

/// `{}`.
pub fn empty_object() -> Box<RawValue> {
    RawValue::from_string("{}".to_owned()).expect("{} is JSON")
}

/// One page of what was missed, oldest first. While `has_more`, ask again with `cursor`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SyncBatch {
    /// Each is a [`Notification`] object (without a `type`), kept as text.
    pub notifications: Vec<Box<RawValue>>,
    pub cursor: String,
    pub has_more: bool,
}

#[cfg(test)]
mod tests;
