//! The task between the owner's commits and the journal's: forces the store to the disk every so often, and only then
//! lets the journal forget what the owner has taken over. Beside the owner's thread, so that a slow disk delays
//! the journal's trimming and no delivery.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::sleep;

use super::board::Watch;
use super::reader::Positions;
use crate::limits::{COMMIT_RETRY, PERSIST_EVERY};
use crate::metrics::Metrics;
use crate::store::{DiskStore, Store};

pub struct Persist {
    pub store: DiskStore,
    pub committed: watch::Receiver<Positions>,
    pub safe: watch::Sender<Positions>,
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
            if turned == turns && !ended {
                continue;
            }
            turns = turned;
            let positions = self.committed.borrow_and_update().clone();
            self.force().await;
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
