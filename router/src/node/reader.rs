//! The task between the journal and the owner: reads on while the owner has room, commits what the owner has made
//! final or open in its store.
//!
//! Never reads ahead by more than [`ENTRIES_QUEUE_MAX`] batches, never commits what is not on the owner's disk.
//!
//! [`ENTRIES_QUEUE_MAX`]: crate::limits::ENTRIES_QUEUE_MAX

use tokio::sync::{mpsc, watch};
use tokio::time::sleep;

use super::board::Watch;
use crate::journal::{Entry, JournalReader, Position, Positions, ReadError};
use crate::limits::{READ_ENTRIES_MAX, READ_RETRY};

/// What one read gave.
pub struct Taken {
    /// The assignment that it was read under.
    pub round: u64,
    pub batch: Vec<Entry>,
}

impl Taken {
    /// One by one, each with its assignment.
    pub fn entries(self) -> impl Iterator<Item = (u64, Entry)> {
        let round = self.round;
        self.batch.into_iter().map(move |entry| (round, entry))
    }
}

pub struct ReaderTask {
    pub reader: Box<dyn JournalReader>,
    pub entries: mpsc::Sender<Taken>,
    /// What is safe in the owner's store.
    pub committed: watch::Receiver<Positions>,
    pub down: watch::Receiver<bool>,
    /// Critical records alone are wanted: far too much comes.
    pub critical_only: watch::Receiver<bool>,
    pub watch: Watch,
}

impl ReaderTask {
    /// Runs until `down` turns true; then commits on until the owner has nothing more to say.
    pub async fn run(self) {
        let ReaderTask { mut reader, entries, mut committed, mut down, mut critical_only, watch } = self;
        let mut told = Positions::new();
        loop {
            reader.narrow(*critical_only.borrow_and_update());
            tokio::select! {
                biased;
                Ok(()) = critical_only.changed() => {}
                changed = committed.changed() => match changed {
                    Ok(()) => commit(&mut *reader, &mut committed, &mut told, &watch).await,
                    Err(_) => return,
                },
                () = told_to_end(&mut down) => break,
                (permit, batch) = next(&entries, &mut *reader) => {
                    let Some(permit) = permit else { break };
                    match batch {
                        Ok(batch) => {
                            watch.journal_reads();
                            dead_letter(&mut *reader, &batch).await;
                            permit.send(Taken { round: reader.round(), batch });
                        }
                        Err(error) => {
                            watch.journal_fails(&error);
                            sleep(READ_RETRY).await;
                        }
                    }
                }
            }
        }
        // The owner takes this as the sign to finish.
        drop(entries);
        while committed.changed().await.is_ok() {
            commit(&mut *reader, &mut committed, &mut told, &watch).await;
        }
        reader.close().await;
    }
}

async fn told_to_end(down: &mut watch::Receiver<bool>) {
    let _down_or_gone = down.wait_for(|down| *down).await;
}

/// Waits for room at the owner first, so that a slow owner slows the journal's reader. Cancel safe.
async fn next<'a>(
    entries: &'a mpsc::Sender<Taken>,
    reader: &mut dyn JournalReader,
) -> (Option<mpsc::Permit<'a, Taken>>, Result<Vec<Entry>, ReadError>) {
    match entries.reserve().await {
        Ok(permit) => (Some(permit), reader.read(READ_ENTRIES_MAX).await),
        Err(_) => (None, Ok(Vec::new())),
    }
}

async fn commit(
    reader: &mut dyn JournalReader,
    committed: &mut watch::Receiver<Positions>,
    told: &mut Positions,
    watch: &Watch,
) {
    let safe = committed.borrow_and_update().clone();
    let news: Vec<Position> = safe
        .iter()
        .filter(|(lane, offset)| told.get(*lane) != Some(*offset))
        .map(|((priority, partition), offset)| Position {
            priority: *priority,
            partition: *partition,
            offset: *offset,
        })
        .collect();
    match reader.commit(&news).await {
        Ok(()) => *told = safe,
        // Tried again with the next news; until then a restart would only read more again.
        Err(error) => watch.journal_fails(&error),
    }
}

/// A record that nobody can read goes to the journal's own dead letters before the owner takes it off the lane.
async fn dead_letter(reader: &mut dyn JournalReader, batch: &[Entry]) {
    for entry in batch.iter().filter(|entry| entry.record.is_err()) {
        while let Err(error) = reader.dead_letter(entry).await {
            tracing::warn!(%error, "a dead letter cannot be kept; the lane waits");
            sleep(READ_RETRY).await;
        }
    }
}
