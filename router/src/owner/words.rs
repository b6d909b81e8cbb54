//! What goes into the owner and what comes out of it: values, nothing else.

use std::sync::Arc;
use std::time::Duration;

use serde_json::value::RawValue;
use uuid::Uuid;
use wire::link::{Frame, Revoked, SessionKey};
use wire::message::{Priority, SyncRequest};
use wire::time::{Mono, Wall};

use super::erasure::Erasure;
use crate::contacts::Contacts;
use crate::contacts::asked::Asked;
use crate::digest::Digest;
use crate::inbox::Mark;
use crate::journal::Position;
use crate::journal::import::ForeignLetter;
use crate::otp::{Guess, Seal};
use crate::outcomes::Hearer;
use crate::preferences::Preferences;
use crate::projection;
use crate::provider::letter::{self, Address};
use crate::provider::way::Ways;
use crate::record::Channel;
use crate::suppression::Why;
use crate::tenure::Claim;
use crate::unsubscribe::Leaving;

pub use crate::presence::LinkId;

/// The time of an input, on both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    pub mono: Mono,
    pub wall: Wall,
}

/// What the owner is told at its start.
#[derive(Debug, Clone)]
pub struct OwnerConfig {
    /// Partitions of the journal.
    pub partitions: u32,
    /// Those of them that this router owns. Empty: all.
    pub owned: Vec<u32>,
    /// Of the ownership; see [`Frame::Owns`].
    pub epoch: u64,
    pub generation: u64,
    pub push_per_user_hour: u32,
    /// Deliveries a second, all services together.
    pub global_per_s: u32,
    /// Percent of `global_per_s` above which LOW is dropped.
    pub shed_low_percent: u32,
    /// Tries of one provider delivery before it is dead-lettered.
    pub provider_tries_max: u32,
    /// How long a notification without a life of its own stays in an inbox.
    pub inbox_kept: Duration,
    /// How long it can be looked up what became of a notification.
    pub ledger_kept: Duration,
    /// Rows that one call looks at to remove what was kept for long enough (and the notification that crosses it).
    pub sweep_rows_max: usize,
    /// Ways out for which there is a provider's account.
    pub ways: Ways,
    /// With Cassandra: bytes of names that may wait for it.
    pub projected_bytes_max: Option<u64>,
    /// Its tables were empty at this start: nothing of before is there.
    pub projected_from_nothing: bool,
    /// Who is told of outcomes.
    pub told_of_outcomes: Vec<Hearer>,
    /// False: one of many owners, each of one partition; they are spoken for by `owners`.
    pub alone: bool,
    /// The first number of the overflow log and of the dead letters.
    pub log_numbers_from: u64,
}

impl Default for OwnerConfig {
    fn default() -> OwnerConfig {
        OwnerConfig {
            partitions: 16,
            owned: Vec::new(),
            epoch: 0,
            generation: 1,
            push_per_user_hour: 20,
            global_per_s: 100_000,
            shed_low_percent: 150,
            provider_tries_max: 20,
            inbox_kept: crate::limits::INBOX_KEPT_DEFAULT,
            ledger_kept: crate::limits::LEDGER_KEPT_DEFAULT,
            sweep_rows_max: crate::limits::SWEEP_ROWS_MAX,
            ways: Ways::default(),
            projected_bytes_max: None,
            projected_from_nothing: false,
            told_of_outcomes: Vec::new(),
            alone: true,
            log_numbers_from: 1,
        }
    }
}

/// What the owner limits by, when it changes while it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnerLimits {
    pub push_per_user_hour: u32,
    pub global_per_s: u32,
    pub shed_low_percent: u32,
}

/// The partitions that this router owns from now on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ownership {
    pub epoch: u64,
    pub generation: u64,
    pub count: u32,
    pub partitions: Vec<u32>,
}

/// One delivery by a provider. Its text (`{id}/{channel}/{user}`) is the same at every try.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeliveryKey {
    pub id: Uuid,
    pub channel: Channel,
    pub user: String,
}

impl std::fmt::Display for DeliveryKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}/{}", self.id, self.channel.name(), self.user)
    }
}

/// What a provider is asked to send.
#[derive(Debug, Clone)]
pub struct ProviderCall {
    pub delivery: DeliveryKey,
    /// One letter to each. Empty where no account carries the channel: the outbox keeps it.
    pub addresses: Vec<Address>,
    pub service: String,
    pub priority: Priority,
    pub category: Option<String>,
    pub title: Option<String>,
    pub body: Option<String>,
    pub data: Option<Box<RawValue>>,
    pub collapse_key: Option<String>,
    pub begins_at: Wall,
    pub expires_at: Option<Wall>,
    /// The same on the clock that nobody sets: it is worth nothing from then on.
    pub ends_at: Option<Mono>,
    /// From 1.
    pub attempt: u32,
    /// The same try may have gone out before the router was stopped.
    pub again: bool,
    /// It speaks for several notifications; the texts above say so in plain words.
    pub digest: Option<Arc<Digest>>,
    /// With several routers: whoever makes the call asks first whether this still holds.
    pub claim: Option<Claim>,
}

/// What Cassandra has from now on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Carried {
    /// Every change up to this number.
    pub through: u64,
    pub erased: Vec<projection::queue::Erasure>,
    /// All that the store held at this number.
    pub rebuilt: Option<u64>,
}

/// Rows that only Cassandra has, wanted for one user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryAsked {
    pub link: LinkId,
    pub user: String,
    pub wish: Wish,
}

/// What of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    /// For this session.
    Page(SessionKey, SyncRequest),
    /// The user came, and nobody here knows its topics: they are asked for until they are there.
    Topics,
    /// A message waits for them: now or not at all.
    TopicsNow,
}

/// What a user did with notifications that only Cassandra has, if it has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActElsewhere {
    pub user: String,
    pub ids: Vec<Uuid>,
    /// Added to what is marked already.
    pub mark: Mark,
}

/// What a provider answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// There is a receipt.
    Delivered,
    /// The provider took it.
    HandedOver,
    Retry {
        after: Duration,
    },
    /// Nobody knows whether it went out. Never sent again on our own account.
    Unknown,
    Drop {
        reason: String,
    },
    /// What is known of each address of the call.
    Letters(Vec<Answered>),
    /// Nobody was asked, and nobody is to be any more.
    Withdrawn,
}

impl Outcome {
    /// How many times a provider was asked for it.
    pub fn calls(&self) -> usize {
        match self {
            Outcome::Withdrawn => 0,
            Outcome::Letters(letters) => {
                letters.iter().filter(|letter| matches!(letter.said, Said::Answer(_))).count()
            }
            _ => 1,
        }
    }
}

/// A call that is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    pub delivery: DeliveryKey,
    /// By what right it was made.
    pub claim: Option<Claim>,
    pub outcome: Outcome,
}

/// One letter of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    pub to: Address,
    pub said: Said,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// The provider was asked.
    Answer(letter::Answer),
    /// It was not, and may be asked after so long.
    Held { after: Duration, why: Held },
    /// It was not, and is not to be any more.
    Withdrawn,
}

/// Why a provider was not asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held {
    /// It is thought to be broken.
    Broken,
    /// More waits for it than it may be sent.
    Full,
}

/// A code that goes out, as it is kept.
#[derive(Clone, PartialEq, Eq)]
pub struct OtpOpened {
    /// The notification that brings it.
    pub id: Uuid,
    pub service: String,
    pub user: String,
    pub seal: Seal,
    pub expires_at: Wall,
    /// Where it goes, in place of what is known of the user.
    pub contacts: Option<Contacts>,
}

impl std::fmt::Debug for OtpOpened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OtpOpened")
            .field("id", &self.id)
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

/// What a provider tells of something that it had taken, or of somebody's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// `None`: it is about the address alone, as an answer STOP is.
    pub delivery: Option<DeliveryKey>,
    pub channel: Channel,
    /// Absent: the user's address as it is known now.
    pub to: Option<Address>,
    pub receipt: Receipt,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Receipt {
    Delivered,
    Failed {
        class: letter::Class,
        code: String,
    },
    /// Nothing more by this channel.
    OptedOut,
    Bounced {
        permanent: bool,
    },
    Complained,
}

/// What the API asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    MarkRead {
        user: String,
        ids: Vec<Uuid>,
    },
    /// `hash`: [`crate::tickets::hash`].
    IssueTicket {
        user: String,
        hash: [u8; 32],
        expires_at: Wall,
    },
    Revoke {
        who: Revoked,
    },
    /// What has not gone out yet does not go out.
    Cancel {
        id: Uuid,
        /// The service that asks, which must be the notification's own. `None`: an operator.
        by: Option<String>,
        /// The deliveries that `by` was promised and the owner may not have seen yet; `None`: no promise is known.
        promised: Option<u32>,
        /// The partition that the promised record was put into, if it is one record.
        of: Option<u32>,
    },
    ReplayOverflow {
        number: u64,
    },
    ReplayDeadLetter {
        number: u64,
    },
    /// A person goes, everywhere. Answered when the last row is gone.
    Erase {
        user: String,
    },
    /// Where a person is reached from now on.
    PutContacts {
        user: String,
        asked: Asked,
    },
    /// Given again, it changes nothing.
    OpenOtp(Box<OtpOpened>),
    GuessOtp {
        id: Uuid,
        /// The service that asks, which must be the code's own.
        by: String,
        seal: Seal,
    },
    /// In place of those that the user had.
    PutBackupCodes {
        user: String,
        hashes: Vec<String>,
    },
    /// Counts one try, and answers with what is to be compared.
    TryBackupCode {
        user: String,
    },
    /// The code of this hash was said.
    TakeBackupCode {
        user: String,
        hash: String,
    },
    /// What a person wants from now on.
    PutPreferences {
        user: String,
        preferences: Preferences,
    },
    /// A provider called back. Told again, it changes nothing.
    Receipt(Told),
    /// Nothing more to the user's address of this channel.
    Suppress {
        user: String,
        channel: Channel,
        why: Why,
    },
    /// Somebody wants no more mails of one kind. Said again, it changes nothing.
    Unsubscribe(Leaving),
    /// The user's addresses of this channel, or of all, may be written to again.
    LiftSuppressions {
        user: String,
        channel: Option<Channel>,
    },
    /// A foreign record that could not be imported is counted and listed. Given again, it changes nothing.
    Bury(ForeignLetter),
}

/// The answer to a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    Done,
    Marked {
        changed: u32,
        unread: u64,
    },
    /// How many deliveries will not go out, and how many had gone out or ended before.
    Cancelled {
        cancelled: u32,
        too_late: u32,
    },
    /// It is on its way again.
    Replayed,
    Erased(Erasure),
    /// As they are kept.
    Contacts(Contacts),
    Guessed(Guess),
    /// Hashes of a user's backup codes.
    BackupCodes(Vec<String>),
    BackupCodeTaken {
        left: usize,
    },
    /// How many addresses may be written to again.
    Lifted(u32),
    NotFound,
    /// Another router has it.
    Elsewhere,
    /// There, but it cannot be done; the text is for people.
    Refused(String),
    /// A row is damaged.
    Failed(String),
}

/// What the owner wants done, in this order, after the commit that it belongs to.
#[derive(Debug)]
pub enum Output {
    Link {
        link: LinkId,
        frame: Frame,
    },
    Provide(ProviderCall),
    /// Every record of this lane and partition up to here is final or open in the ledger.
    Committed(Position),
    Answer {
        token: u64,
        answer: Answer,
    },
    /// Calls for this user that no provider was handed yet are not made.
    Recall {
        user: String,
    },
    /// The user has acted on it elsewhere: what no provider was handed yet of this call is taken back, and comes back as
    /// withdrawn.
    Withdraw(DeliveryKey),
    /// What was asked for is removed: it is not found any more.
    Forgotten {
        id: Uuid,
    },
    /// A shard has queued it for its sockets.
    Shown {
        accepted_at: Wall,
    },
    /// Answered by [`super::Owner::handle_history`].
    History(HistoryAsked),
    ActElsewhere(ActElsewhere),
    /// All links end and are made anew, and whoever waits for an answer asks again: something that was said is lost.
    CutLinks,
    /// What changed up to this number waits for Cassandra.
    Queued {
        number: u64,
    },
    Alert {
        /// Stable, like `poison_record`.
        name: &'static str,
        critical: bool,
        detail: String,
    },
}
