//! After an outage: every promise that the disk made is looked for in the ledger. One that is not there is named, by the
//! alert and in `/v1/reconcile`, until it is found.
//!
//! Never takes a record's absence from its log for its presence in the ledger: the book stands apart.

use std::sync::Arc;

use tokio::time::sleep;

use super::Shared;
use super::book::{Book, Look};
use super::phase::{Outage, Phase};
use crate::journal::Journal;
use crate::limits::{MISSING_IDS_SHOWN_MAX, MISSING_LOOKED_FOR_EVERY, VERIFY_EVERY, VERIFY_PATIENCE};

pub(super) struct Verify {
    pub(super) kafka: Arc<dyn Journal>,
    pub(super) book: Book,
    pub(super) shared: Arc<Shared>,
}

impl Verify {
    /// Runs until the runtime ends.
    pub(super) async fn run(self) {
        let mut outage = self.shared.outage.subscribe();
        loop {
            let is_missing = self.shared.missing().missing > 0;
            let phase = outage.borrow_and_update().phase();
            match phase {
                Phase::Verifying => {
                    self.verify().await;
                    sleep(VERIFY_EVERY).await;
                }
                Phase::Normal if is_missing => {
                    if let Some(look) = self.look().await {
                        *self.shared.missing() = look;
                    }
                    sleep(MISSING_LOOKED_FOR_EVERY).await;
                }
                _ => {
                    if outage.changed().await.is_err() {
                        return;
                    }
                }
            }
        }
    }

    /// What is not there yet may still be on its way from Kafka to the owner.
    async fn verify(&self) {
        let Some(look) = self.look().await else { return };
        let since = self.shared.outage.borrow().since();
        let is_late = self.shared.clock.wall() >= since + VERIFY_PATIENCE && self.kafka.status().lag == 0;
        if look.missing == 0 || is_late {
            *self.shared.missing() = look;
            self.shared.tell(Outage::handle_verified);
        }
    }

    async fn look(&self) -> Option<Look> {
        let book = self.book.clone();
        let looked = tokio::task::spawn_blocking(move || book.look(MISSING_IDS_SHOWN_MAX)).await;
        match looked {
            Ok(Ok(look)) => Some(look),
            Ok(Err(error)) => {
                tracing::warn!(%error, "what the disk promised cannot be verified yet");
                None
            }
            Err(_) => None,
        }
    }
}
