//! What a real provider is asked to carry, and what it can answer.
//!
//! Decides nothing. One [`Letter`] is one delivery to one address; a push to three phones is three of them. An [`Answer`] says what
//! is known and nothing about what to do: whether it is tried again, whether the provider is thought broken and whether
//! the address is given up all follow from its [`Class`], in one table.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::value::RawValue;
use wire::message::Priority;
use wire::time::Wall;

use crate::digest::Digest;
use crate::owner::DeliveryKey;

/// Where one person is reached by one channel.
#[derive(Clone, PartialEq, Eq)]
pub enum Address {
    /// A registration token of Firebase Cloud Messaging.
    Fcm(String),
    /// A device token of Apple's, and when we were told of it.
    Apns {
        token: String,
        registered_at: Wall,
    },
    /// A browser's subscription: where to post, its public key and its secret, both base64url.
    WebPush {
        endpoint: String,
        p256dh: String,
        auth: String,
    },
    Email(String),
    /// E.164, with its plus.
    Phone(String),
}

/// Shows what kind it is; who it is of never stands in a log.
impl std::fmt::Debug for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Address::Fcm(_) => "fcm token",
            Address::Apns { .. } => "apns token",
            Address::WebPush { .. } => "web push subscription",
            Address::Email(_) => "e-mail address",
            Address::Phone(_) => "phone number",
        })
    }
}

/// One delivery to one address.
#[derive(Clone, Debug)]
pub struct Letter {
    /// Told to the provider wherever it has room for an id of ours, so that its callbacks find the way back.
    pub delivery: DeliveryKey,
    pub to: Address,
    pub priority: Priority,
    pub category: Option<String>,
    pub title: Option<String>,
    pub body: Option<String>,
    pub data: Option<Box<RawValue>>,
    pub collapse_key: Option<String>,
    /// How long it is still worth anything. `None`: as long as the provider keeps it.
    pub ttl: Option<Duration>,
    /// A mail in HTML, beside its body; made by a template alone.
    pub html: Option<String>,
    /// It speaks for several notifications.
    pub digest: Option<Arc<Digest>>,
    /// A mail's link for who wants no more of its kind; `None`: there is none.
    pub unsubscribe: Option<String>,
}

/// What is known after a try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It has it, under an id of its own.
    Taken {
        reference: Option<String>,
    },
    Refused(Refusal),
    /// It was asked and nothing that tells came back: it may have gone out.
    Unknown {
        why: String,
    },
}

/// A provider's no.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub class: Class,
    /// The provider's own code, for people: `UNREGISTERED`, `21211`, `HTTP 502`, `connect`.
    pub code: String,
    /// In the provider's words, cut, without address and without text of ours.
    pub detail: String,
    /// How long it asked us to wait.
    pub retry_after: Option<Duration>,
}

/// Whose fault it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// This address will never do again: give it up.
    Gone,
    /// This recipient cannot be had now or by this message; the address stays.
    Recipient,
    /// It does not take such a message, whoever it is for.
    Content,
    /// It does not take us: keys, rights, a suspended account. People have to look.
    Auth,
    /// This address takes nothing just now, and may later: a device that was written to too often, a full mailbox.
    Later,
    /// Too fast.
    Quota,
    /// Enough for today: a daily quota.
    Spent,
    /// Broken or not to be reached, and certainly nothing was sent.
    Fault,
}

/// One provider account. Sends one letter and says what is known; tries nothing again, remembers nothing about people.
#[async_trait]
pub trait Carrier: Send + Sync {
    /// For logs, metrics and the breaker: `twilio`, `fcm`.
    fn name(&self) -> &'static str;

    /// Ends within the provider's own time-out, whatever the network does.
    async fn send(&self, letter: &Letter) -> Answer;
}
