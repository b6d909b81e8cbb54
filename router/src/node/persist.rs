//! The task between the owner's commits and the journal's: forces the store to the disk every so often, and only then
//! lets the journal forget what the owner has taken over. Beside the owner's thread, so that a slow disk delays
//! the journal's trimming and no delivery.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::sleep;

use super::board::Watch;
use crate::journal::Positions;
use crate::limits::{COMMIT_RETRY, PERSIST_EVERY};
use crate::metrics::Metrics;
use crate::store::{DiskStore, Store};

pub struct Persist {
    pub store: DiskStore,
    pub committed: watch::Receiver<Positions>,
    pub safe: watch::Sender<Positions>,
    /// The same of what waits for Cassandra: what the owner has committed, and what is on the disk of it.
    pub queued: watch::Receiver<u64>,
    pub safe_queued: watch::Sender<u64>,
    pub metrics: Arc<Metrics>,
    pub watch: Watch,
}

impl Persist {
    /// Ends, after a last time, when the owner is gone.
    pub async fn run(mut self) {
        let mut turns = 0;
        loop {
            let ended = tokio::select! {
                ended = self.owner_ended() => ended,
                () = sleep(PERSIST_EVERY) => false,
            };
            let turned = self.metrics.turns.get();
            let carried_on = *self.queued.borrow() == *self.safe_queued.borrow();
            if turned == turns && carried_on && !ended {
                continue;
            }
            turns = turned;
            let positions = self.committed.borrow_and_update().clone();
            let queued = *self.queued.borrow_and_update();
            self.force().await;
            self.safe_queued.send_replace(queued);
            self.safe.send_if_modified(|safe| {
                let moved = *safe != positions;
                *safe = positions;
                moved
            });
            if ended {
                return;
            }
        }
    }

    /// Also what never was in the journal is forced on the beat: acknowledgements, tickets, what providers said.
    async fn owner_ended(&mut self) -> bool {
        while self.committed.changed().await.is_ok() {}
        true
    }

    /// Waits until the disk has it.
    async fn force(&self) {
        let mut failed = false;
        loop {
            let store = self.store.clone();
            let forced = tokio::task::spawn_blocking(move || store.persist()).await;
            match forced {
                Ok(Ok(())) => break,
                Ok(Err(error)) => self.fails(&error),
                Err(error) => self.fails(&error),
            }
            failed = true;
            sleep(COMMIT_RETRY).await;
        }
        if failed {
            self.watch.store_writes();
        }
    }

    fn fails(&self, why: &dyn std::fmt::Display) {
        self.metrics.store_failures.inc();
        self.watch.store_fails(why);
    }
}
