//! Carries what waits on the disk to Kafka: the most urgent first, each under its own id, at the pace that live records leave.
//!
//! Never lets go of a record before Kafka has it. A record that Kafka had already taken when it fell silent goes there
//! again and is known to the owner by its id.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::watch;
use tokio::task::coop::unconstrained;
use tokio::time::{sleep, timeout};

use super::Shared;
use super::book::Book;
use super::pace::Pace;
use super::phase::{Outage, Phase};
use crate::journal::import::{ForeignLetter, LetterBook};
use crate::journal::{AppendError, Draft, Entry, Journal, JournalReader, Position};
use crate::limits::{DRAINED_AT_ONCE_MAX, READ_RETRY};
use crate::record::Record;

/// How long the disk may take to hand out what it says is waiting.
const READ_WITHIN: Duration = Duration::from_secs(1);
const REST: Duration = Duration::from_millis(50);
/// How long the owner may take to see the first record: a consumer group waits ten seconds for members that it lost.
const OWNER_READS_WITHIN: Duration = Duration::from_secs(15);

pub(super) struct Drain {
    pub(super) kafka: Arc<dyn Journal>,
    pub(super) disk: Arc<dyn Journal>,
    pub(super) reader: Box<dyn JournalReader>,
    pub(super) letters: Arc<dyn LetterBook>,
    /// With several routers: struck out here, as no ledger of ours need ever know them.
    pub(super) struck: Option<Book>,
    pub(super) pace: Pace,
    pub(super) shared: Arc<Shared>,
}

/// What became of one attempt.
enum Tried {
    /// With its offset.
    Taken(Option<u64>),
    Refused(String),
    /// Nobody will ever take it.
    Unfit(String),
}

impl Drain {
    /// Runs until the runtime ends.
    pub(super) async fn run(mut self) {
        let mut outage = self.shared.outage.subscribe();
        loop {
            if outage.wait_for(Outage::may_drain).await.is_err() {
                return;
            }
            if self.disk.status().lag == 0 {
                self.shared.tell(Outage::handle_empty);
                sleep(REST).await;
                continue;
            }
            match timeout(READ_WITHIN, self.reader.read(DRAINED_AT_ONCE_MAX)).await {
                Ok(Ok(entries)) => self.carry(entries, &mut outage).await,
                Ok(Err(error)) => {
                    tracing::warn!(%error, "what waits on the disk cannot be read");
                    sleep(READ_RETRY).await;
                }
                Err(_) => {}
            }
        }
    }

    /// Everything of one read, in its order, until Kafka has all of it.
    async fn carry(&mut self, entries: Vec<Entry>, outage: &mut watch::Receiver<Outage>) {
        let positions: Vec<Position> = entries.iter().map(|entry| entry.position).collect();
        let mut waiting = VecDeque::from(entries);
        while !waiting.is_empty() {
            if outage.wait_for(Outage::may_drain).await.is_err() {
                return;
            }
            // As long as Kafka has taken nothing, one record is the question.
            let is_asking = outage.borrow().phase() == Phase::Buffering;
            let wanted = if is_asking { 1 } else { waiting.len() };
            let count = self.pace.take(wanted).await;
            if count == 0 {
                continue;
            }
            if is_asking {
                self.pace.begin_anew();
            }
            let tried = self.try_first(count, &mut waiting).await;
            if is_asking && tried.is_ok() {
                // Live records that go to Kafka before its consumer group has found together again would wait there, and critical
                // ones with them.
                self.pace.owner_reads(OWNER_READS_WITHIN).await;
            }
            self.shared.tell(|outage, now| match tried {
                Ok(()) => outage.handle_drained(now),
                Err(why) => outage.handle_refusal(&why, now),
            });
        }
        if let Err(error) = self.reader.commit(&positions).await {
            tracing::warn!(%error, "the disk was not told that Kafka has its records; they go there again");
        }
    }

    /// Tries the first `count` at once, in their order; what was refused keeps its place. `Err`: why.
    async fn try_first(&mut self, count: usize, waiting: &mut VecDeque<Entry>) -> Result<(), String> {
        let first: Vec<Entry> = waiting.drain(..count).collect();
        // By its own budget tokio would stop some of them half-way, and those behind would overtake.
        let kafka = &*self.kafka;
        let tried = unconstrained(join_all(first.iter().map(|entry| attempt(kafka, entry)))).await;
        let mut result = Ok(());
        for (entry, tried) in first.into_iter().zip(tried).rev() {
            match tried {
                Tried::Taken(offset) => {
                    self.shared.counts.drained.inc();
                    if let Some(book) = &self.struck {
                        strike(book, &entry);
                    } else {
                        let Position { priority, partition, .. } = entry.position;
                        self.pace.sent((priority, partition), offset);
                    }
                }
                Tried::Unfit(reason) => bury(&*self.letters, &entry, reason).await,
                Tried::Refused(why) => {
                    result = Err(why);
                    waiting.push_front(entry);
                }
            }
        }
        result
    }
}

/// A promise that stays in the book although it is kept is told as missing: rather that than the other way round.
fn strike(book: &Book, entry: &Entry) {
    if let Ok(record) = &entry.record
        && let Err(error) = book.strike(record.id)
    {
        tracing::warn!(%error, "a promise that is kept stays in the book");
    }
}

async fn attempt(kafka: &dyn Journal, entry: &Entry) -> Tried {
    let record = match &entry.record {
        Ok(record) => record,
        Err(poison) => return Tried::Unfit(poison.reason.clone()),
    };
    let Record { id, service, accepted_at, request, .. } = record.clone();
    match kafka.append(Draft { id, service, accepted_at, request }).await {
        Ok(appended) => Tried::Taken(appended.offset),
        Err(error @ AppendError::TooLong { .. }) => Tried::Unfit(error.to_string()),
        Err(error) => Tried::Refused(error.to_string()),
    }
}

/// To the dead letters, where an operator finds it.
async fn bury(letters: &dyn LetterBook, entry: &Entry, reason: String) {
    let Position { priority, partition, offset } = entry.position;
    let bytes = match &entry.record {
        Ok(record) => serde_json::to_vec(record).unwrap_or_default().into(),
        Err(poison) => poison.bytes.clone(),
    };
    let letter = ForeignLetter {
        topic: format!("buffer.{}", priority.name()),
        partition: partition.cast_signed(),
        offset: offset.cast_signed(),
        reason,
        bytes,
        cut: false,
    };
    while let Err(error) = letters.enter(letter.clone()).await {
        tracing::warn!(%error, "a record of the disk that cannot go to Kafka is not a dead letter yet");
        sleep(READ_RETRY).await;
    }
}
