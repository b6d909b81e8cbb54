//! The provider of a set-up without any: keeps each message, to look at in the console and at `/v1/outbox`.

use std::time::Duration;

use async_trait::async_trait;
use ops::clock::Clock;

use super::Provider;
use super::kept::{Kept, Sent};
use crate::owner::{Outcome, ProviderCall};
use crate::record::Channel;
use crate::store::{DiskStore, StoreError};

/// How long a full disk is waited for.
const RETRY_AFTER: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub struct Outbox {
    kept: Kept<DiskStore>,
    clock: Clock,
}

impl Outbox {
    pub fn open(store: DiskStore, clock: Clock) -> Result<Outbox, StoreError> {
        Ok(Outbox { kept: Kept::open(store)?, clock })
    }

    /// What was sent, newest first.
    pub fn newest(
        &self,
        channel: Option<Channel>,
        user: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Sent>, StoreError> {
        self.kept.newest(channel, user, limit)
    }
}

#[async_trait]
impl Provider for Outbox {
    fn name(&self) -> &'static str {
        "outbox"
    }

    async fn send(&self, call: &ProviderCall) -> Outcome {
        let sent = Sent {
            delivery: call.delivery.to_string(),
            id: call.delivery.id.to_string(),
            channel: call.delivery.channel,
            user: call.delivery.user.clone(),
            title: call.title.clone(),
            body: call.body.clone(),
            at: self.clock.wall(),
        };
        match self.kept.keep(&sent) {
            Ok(()) => Outcome::HandedOver,
            Err(error) => {
                tracing::warn!(%error, "the outbox cannot keep a message");
                Outcome::Retry { after: RETRY_AFTER }
            }
        }
    }
}
