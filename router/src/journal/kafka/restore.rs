//! Brings the copy of a partition up to its ledger, as far as anybody can have written it before us.
//!
//! Owns the order that makes this right: the lanes' offsets first, stable (no transaction that the group let through is
//! open on them); then the end of the ledger as it stands, transactions under way included; then everything committed up to
//! there. Works in steps, so that other partitions are served meanwhile. Never writes to Kafka, and never past what
//! is committed there. Blocks for a bounded time. Called by `restoring`.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use ops::clock::Clock;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{ClientContext, Offset, TopicPartitionList};
use uuid::Uuid;
use wire::message::Priority;

use super::client;
use super::config::{KafkaConfig, Topics};
use crate::limits::{COPY_AGE_MAX, LEDGER_ANSWERS_WITHIN, RESTORE_STEP, RESTORED_ROWS_PER_STEP};
use crate::store::part::{Copied, Rows};
use crate::store::{Part, Space, Store, StoreError};

/// The first row of a ledger is its name: before every other key of its space, which is the first.
const NAME_KEY: &[u8] = b"\0name";

/// Why a partition is not there yet, or never will be.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    #[error(transparent)]
    Store(#[from] StoreError),
    /// For a person.
    #[error("{0}")]
    Unfit(String),
}

/// A partition whose copy is complete.
#[derive(Debug)]
pub struct Restored {
    pub partition: u32,
    /// Rows that others wrote, or that had not reached this disk.
    pub rows: u64,
    pub ledger: Uuid,
    /// Nobody has written it yet: the first row has to be its name.
    pub is_new: bool,
    /// The next offset of each lane.
    pub offsets: BTreeMap<Priority, u64>,
}

/// What a step came to.
#[derive(Debug)]
pub enum Step {
    Done(Restored),
    /// There is more to do at once.
    More,
    /// Somebody's transaction is under way.
    Waits,
    /// There is nothing to do.
    Idle,
}

/// One partition under way.
#[derive(Debug)]
struct Work {
    partition: u32,
    /// Its owner is open: the copy is of this ledger for certain.
    is_held: bool,
    offsets: BTreeMap<Priority, u64>,
    /// The ledger's end when the offsets were stable. `None`: not asked yet.
    end: Option<u64>,
    reading: Option<Reading>,
}

impl Work {
    fn new(partition: u32, is_held: bool) -> Work {
        Work { partition, is_held, offsets: BTreeMap::new(), end: None, reading: None }
    }
}

#[derive(Debug)]
enum Reading {
    /// The first row tells whose ledger it is.
    Name,
    Rows {
        ledger: Uuid,
        next: u64,
        rows: u64,
    },
}

/// The end of a ledger is what we wait for, and no error.
pub(super) struct Reader;

impl ClientContext for Reader {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        client::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if error.rdkafka_error_code() != Some(RDKafkaErrorCode::PartitionEOF) {
            client::note_error(&error, reason);
        }
    }
}

impl ConsumerContext for Reader {}

pub struct Restorer<S> {
    store: S,
    topics: Topics,
    clock: Clock,
    committed: BaseConsumer<Reader>,
    uncommitted: BaseConsumer<Reader>,
    waiting: VecDeque<Work>,
}

impl<S> std::fmt::Debug for Restorer<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Restorer").field("waiting", &self.waiting).finish_non_exhaustive()
    }
}

impl<S: Store> Restorer<S> {
    pub fn new(config: &KafkaConfig, store: S, clock: Clock) -> KafkaResult<Restorer<S>> {
        let client =
            |stable| config.ledger_reader(stable).create_with_context::<Reader, BaseConsumer<Reader>>(Reader);
        Ok(Restorer {
            store,
            topics: config.topics().clone(),
            clock,
            committed: client(true)?,
            uncommitted: client(false)?,
            waiting: VecDeque::new(),
        })
    }

    /// These and no others, from the beginning.
    pub fn begin(&mut self, partitions: impl Iterator<Item = (u32, bool)>) {
        self.stop_reading();
        self.waiting = partitions.map(|(partition, is_held)| Work::new(partition, is_held)).collect();
        // What goes on goes first.
        self.waiting.make_contiguous().sort_by_key(|work| !work.is_held);
    }

    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Goes on with the first that is waiting; one that has to wait lets the others pass.
    pub fn step(&mut self) -> Result<Step, RestoreError> {
        let Some(mut work) = self.waiting.pop_front() else { return Ok(Step::Idle) };
        let stepped = self.go_on(&mut work);
        match &stepped {
            Ok(Step::Done(_)) => {}
            Ok(Step::More) => self.waiting.push_front(work),
            Ok(Step::Waits | Step::Idle) => self.waiting.push_back(work),
            // Begins anew, behind the others.
            Err(_) => {
                self.stop_reading();
                self.waiting.push_back(Work::new(work.partition, work.is_held));
            }
        }
        stepped
    }

    fn go_on(&mut self, work: &mut Work) -> Result<Step, RestoreError> {
        match &mut work.reading {
            None => self.ask(work),
            Some(Reading::Name) => self.read_name(work),
            Some(Reading::Rows { .. }) => self.read_rows(work),
        }
    }

    /// Where the lanes and the ledger stand.
    fn ask(&mut self, work: &mut Work) -> Result<Step, RestoreError> {
        let partition = work.partition.cast_signed();
        let end = if let Some(end) = work.end {
            end
        } else {
            let Some(offsets) = self.stable_offsets(work.partition) else { return Ok(Step::Waits) };
            work.offsets = offsets;
            let topic = self.topics.ledger();
            let (_, end) = self.uncommitted.fetch_watermarks(topic, partition, LEDGER_ANSWERS_WITHIN)?;
            *work.end.insert(end.cast_unsigned())
        };
        let (_, stable) =
            self.committed.fetch_watermarks(self.topics.ledger(), partition, LEDGER_ANSWERS_WITHIN)?;
        if stable.cast_unsigned() < end {
            return Ok(Step::Waits);
        }
        if work.is_held
            && let Some(copied) = self.copied(work.partition, end)?
            && end <= copied.next + 1
        {
            // Behind the last row there is at most the mark that ended its transaction.
            return Ok(Step::Done(restored(work, copied.ledger, 0)));
        }
        self.read_from(work.partition, Offset::Beginning)?;
        work.reading = Some(Reading::Name);
        Ok(Step::More)
    }

    /// `None`: a transaction on them is under way.
    fn stable_offsets(&self, partition: u32) -> Option<BTreeMap<Priority, u64>> {
        let mut list = TopicPartitionList::new();
        for topic in self.topics.lanes() {
            list.add_partition(topic, partition.cast_signed());
        }
        let found = match self.committed.committed_offsets(list, LEDGER_ANSWERS_WITHIN) {
            Ok(found) => found,
            Err(error) => {
                tracing::debug!(%error, partition, "the lanes' offsets cannot be had yet");
                return None;
            }
        };
        let mut offsets = BTreeMap::new();
        for element in found.elements() {
            let Some(priority) = self.topics.priority_of(element.topic()) else { continue };
            if element.error().is_err() {
                return None;
            }
            let offset = match element.offset() {
                Offset::Offset(offset) => u64::try_from(offset).unwrap_or(0),
                _ => 0,
            };
            offsets.insert(priority, offset);
        }
        (offsets.len() == Priority::ALL.len()).then_some(offsets)
    }

    /// The copy on this disk, if it can be one of this ledger as it is.
    fn copied(&self, partition: u32, end: u64) -> Result<Option<Copied>, StoreError> {
        let copied = Part::copied(&self.store, partition)?;
        let oldest = self.clock.wall() - COPY_AGE_MAX;
        Ok(copied.filter(|copied| copied.next <= end && copied.at >= oldest))
    }

    fn read_from(&self, partition: u32, offset: Offset) -> KafkaResult<()> {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(self.topics.ledger(), partition.cast_signed(), offset)?;
        self.committed.assign(&list)
    }

    fn stop_reading(&self) {
        if let Err(error) = self.committed.unassign() {
            tracing::debug!(%error, "the ledger's reader does not stop");
        }
    }

    fn read_name(&mut self, work: &mut Work) -> Result<Step, RestoreError> {
        let name = match self.committed.poll(RESTORE_STEP) {
            None => return Ok(Step::More),
            Some(Err(KafkaError::PartitionEOF(of))) if of == work.partition.cast_signed() => None,
            Some(Err(error)) => return Err(error.into()),
            Some(Ok(first)) => Some(name_of(&first)?),
        };
        let Some(ledger) = name else {
            self.stop_reading();
            if work.offsets.values().any(|offset| *offset > 0) {
                let why = format!(
                    "partition {} was read by the group and its ledger is empty: it was served by one router \
                     alone, or the topic was made anew",
                    work.partition
                );
                return Err(RestoreError::Unfit(why));
            }
            Part::forget(&self.store, work.partition)?;
            return Ok(Step::Done(Restored { is_new: true, ..restored(work, Uuid::nil(), 0) }));
        };
        let end = work.end.unwrap_or(u64::MAX);
        let copied = self.copied(work.partition, end)?.filter(|copied| copied.ledger == ledger);
        let next = copied.map_or(0, |copied| copied.next);
        if copied.is_some() {
            self.read_from(work.partition, Offset::Offset(next.cast_signed()))?;
        } else {
            Part::forget(&self.store, work.partition)?;
            self.read_from(work.partition, Offset::Beginning)?;
        }
        work.reading = Some(Reading::Rows { ledger, next, rows: 0 });
        Ok(Step::More)
    }

    fn read_rows(&mut self, work: &mut Work) -> Result<Step, RestoreError> {
        let partition = work.partition.cast_signed();
        let Some(Reading::Rows { ledger, next, rows }) = &mut work.reading else { return Ok(Step::Idle) };
        let mut read = Rows::new();
        let (mut count, mut ended) = (0, false);
        let mut wait = RESTORE_STEP;
        while count < RESTORED_ROWS_PER_STEP && !ended {
            match self.committed.poll(wait) {
                None => break,
                Some(Err(KafkaError::PartitionEOF(of))) if of == partition => ended = true,
                Some(Err(KafkaError::PartitionEOF(_))) => {}
                Some(Err(error)) => return Err(error.into()),
                Some(Ok(message)) => {
                    let (key, value) = row_of(&message)?;
                    read.insert(key, value);
                    *next = message.offset().cast_unsigned() + 1;
                    count += 1;
                    wait = Duration::ZERO;
                }
            }
        }
        *rows += count as u64;
        if count > 0 || ended {
            let mut batch = Part::<S>::written(work.partition, read);
            let copied = Copied { ledger: *ledger, next: *next, at: self.clock.wall() };
            Part::<S>::note_copied(&mut batch, work.partition, copied);
            self.store.commit(&batch)?;
        }
        if !ended {
            return Ok(Step::More);
        }
        let (ledger, rows) = (*ledger, *rows);
        self.stop_reading();
        Ok(Step::Done(restored(work, ledger, rows)))
    }
}

fn restored(work: &Work, ledger: Uuid, rows: u64) -> Restored {
    Restored { partition: work.partition, rows, ledger, is_new: false, offsets: work.offsets.clone() }
}

type LedgerRow = ((Space, Vec<u8>), Option<Bytes>);

fn row_of(message: &BorrowedMessage<'_>) -> Result<LedgerRow, RestoreError> {
    let unfit = || {
        RestoreError::Unfit(format!(
            "the ledger has a row that no router wrote, at {}/{}",
            message.partition(),
            message.offset()
        ))
    };
    let (space, key) = message.key().and_then(<[u8]>::split_first).ok_or_else(unfit)?;
    let space = *Space::ALL.get(usize::from(*space)).ok_or_else(unfit)?;
    Ok(((space, key.to_vec()), message.payload().map(Bytes::copy_from_slice)))
}

fn name_of(message: &BorrowedMessage<'_>) -> Result<Uuid, RestoreError> {
    let ((space, key), value) = row_of(message)?;
    let name = value.and_then(|value| Uuid::from_slice(&value).ok());
    match name {
        Some(name) if space == Space::Meta && key == NAME_KEY => Ok(name),
        _ => {
            let why = format!("the ledger of partition {} does not begin with its name", message.partition());
            Err(RestoreError::Unfit(why))
        }
    }
}

/// The row that names a new ledger. It has to come first.
pub fn name_row(name: Uuid) -> ((Space, Vec<u8>), Option<Bytes>) {
    ((Space::Meta, NAME_KEY.to_vec()), Some(Bytes::copy_from_slice(name.as_bytes())))
}
