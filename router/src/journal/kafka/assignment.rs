//! Which partitions are ours, and the thread that serves the consumer.
//!
//! With several routers ([`GroupEvent`]) offsets are committed by the transactions of the ledger, and a partition is read from
//! when its owner is open ([`Group::open`]).
//!
//! Owns the consumer, the queue of each partition, what was fetched ahead, and the commits that wait. The thread
//! polls the consumer's main queue (rebalances, statistics, errors) whatever the owner does, splits off a queue for
//! each partition before an assignment, and commits. Never hands out a record of a partition that was revoked, never
//! commits one that was not handed out since the assignment.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::consumer::{
    BaseConsumer, CommitMode, Consumer, ConsumerContext, ConsumerGroupMetadata, Rebalance,
};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::{ClientConfig, ClientContext, Offset, Statistics, TopicPartitionList};
use tokio::sync::{Notify, mpsc, watch};
use wire::message::Priority;

use super::client;
use super::config::Topics;
use super::lag::LagTable;
use super::restoring::News;
use crate::journal::Position;
use crate::journal::embedded::LANES;
use crate::limits::LEAVES_WITHIN;

/// Records of one lane fetched from librdkafka and not yet handed out.
const HELD_MAX: usize = 512;
/// Records taken from one partition before the next one has its turn.
const RUN_MAX: usize = 64;
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// How long commits may wait to be sent. After a crash that much is read again.
const COMMIT_INTERVAL: Duration = Duration::from_millis(200);

/// What this process owns. `generation` rises with every assignment and revocation that it saw.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ownership {
    pub generation: u64,
    pub partitions: BTreeSet<u32>,
}

/// What the group says to one of several routers.
#[derive(Debug)]
pub enum GroupEvent {
    /// These are ours from now on.
    Assigned(Assignment),
    /// They are to be given up. The group goes on when `done` is told, or a while later.
    Revoked { done: std::sync::mpsc::Sender<()> },
    /// They are another's already.
    Lost,
    /// A partition's copy is complete, or why it is not.
    Restored(News),
}

/// One assignment by the group.
pub struct Assignment {
    /// Entries that are read under it carry this number.
    pub round: u64,
    pub partitions: BTreeSet<u32>,
    /// Who we are in the group, as of this assignment. Brokers refuse it when there is another.
    pub group: ConsumerGroupMetadata,
}

impl std::fmt::Debug for Assignment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Assignment { round, partitions, .. } = self;
        f.debug_struct("Assignment")
            .field("round", round)
            .field("partitions", partitions)
            .finish_non_exhaustive()
    }
}

/// How long giving partitions up may take, once it is known.
const REVOKED_WITHIN: Duration = Duration::from_secs(2 * LEAVES_WITHIN.as_secs());

/// The hold of one of several routers on its reading.
#[derive(Clone)]
pub struct Group {
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Group {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Group").finish_non_exhaustive()
    }
}

impl Group {
    pub(super) fn new(shared: &Arc<Shared>) -> Group {
        Group { shared: Arc::clone(shared) }
    }

    /// What a transaction committed of the lanes.
    pub fn committed(&self, offsets: &BTreeMap<(Priority, u32), u64>) {
        self.shared.lag.committed(offsets);
    }

    /// From here on entries of this partition come, if the round is still the same.
    pub fn open(&self, round: u64, partition: u32) {
        let mut assigned = self.shared.assigned();
        if assigned.round == round {
            assigned.opened.insert(partition);
            drop(assigned);
            self.shared.wake.notify_one();
        }
    }
}

/// A record as it came from the brokers.
#[derive(Debug)]
pub(super) struct Fetched {
    pub(super) position: Position,
    pub(super) key: Option<Bytes>,
    pub(super) bytes: Bytes,
}

struct LaneQueue {
    partition: u32,
    queue: PartitionQueue<Context>,
}

/// What goes with an assignment and dies with it.
#[derive(Default)]
struct Assigned {
    /// Counts the assignments.
    round: u64,
    /// Of several routers: the partitions that are read.
    opened: BTreeSet<u32>,
    queues: [Vec<LaneQueue>; LANES],
    /// The partition of each lane whose turn it is.
    turns: [usize; LANES],
    held: [VecDeque<Fetched>; LANES],
    /// By partition: the offset behind the last record handed out.
    handed_out: BTreeMap<(Priority, u32), u64>,
    /// What is final: the next offset needed.
    finished: BTreeMap<(Priority, u32), u64>,
    /// Of those, what was sent to the brokers. They may yet refuse it.
    sent: BTreeMap<(Priority, u32), u64>,
}

pub(super) struct Shared {
    topics: Topics,
    assigned: Mutex<Assigned>,
    /// Something may have come.
    pub(super) wake: Notify,
    ownership: watch::Sender<Ownership>,
    pub(super) lag: Arc<LagTable>,
    stopped: AtomicBool,
    /// The consumer is beyond repair.
    fatal: Mutex<Option<String>>,
    /// Of several routers: who hears of the group.
    events: Option<mpsc::Sender<GroupEvent>>,
    rounds: AtomicU64,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("ownership", &*self.ownership.borrow()).finish_non_exhaustive()
    }
}

impl Shared {
    pub(super) fn new(
        topics: Topics,
        lag: Arc<LagTable>,
        events: Option<mpsc::Sender<GroupEvent>>,
    ) -> Shared {
        Shared {
            topics,
            assigned: Mutex::default(),
            wake: Notify::new(),
            ownership: watch::Sender::new(Ownership::default()),
            lag,
            stopped: AtomicBool::new(false),
            fatal: Mutex::default(),
            events,
            rounds: AtomicU64::new(0),
        }
    }

    fn assigned(&self) -> MutexGuard<'_, Assigned> {
        self.assigned.lock().expect("nobody panics while holding the assignment")
    }

    pub(super) fn topics(&self) -> &Topics {
        &self.topics
    }

    pub(super) fn ownership(&self) -> watch::Receiver<Ownership> {
        self.ownership.subscribe()
    }

    pub(super) fn fatal(&self) -> Option<String> {
        self.fatal.lock().expect("nobody panics while holding it").clone()
    }

    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
    }

    /// Fetches what is there, and hands out at most what `share` says of what each lane holds.
    /// With the number of the assignment that it is of.
    pub(super) fn take(&self, share: impl FnOnce([u64; LANES]) -> [usize; LANES]) -> (u64, Vec<Fetched>) {
        let mut assigned = self.assigned();
        let is_alone = self.events.is_none();
        for lane in 0..LANES {
            assigned.fill(lane, &self.topics, is_alone);
        }
        let taken = share(std::array::from_fn(|lane| assigned.held[lane].len() as u64));
        let mut out = Vec::with_capacity(taken.iter().sum());
        for (lane, taken) in taken.into_iter().enumerate() {
            let taken = taken.min(assigned.held[lane].len());
            out.extend(assigned.held[lane].drain(..taken));
        }
        for fetched in &out {
            let Position { priority, partition, offset } = fetched.position;
            assigned.handed_out.insert((priority, partition), offset + 1);
        }
        (assigned.round, out)
    }

    /// Notes what is final; what was not handed out since the last assignment is not ours to commit.
    pub(super) fn commit(&self, positions: &[Position]) {
        let mut assigned = self.assigned();
        for Position { priority, partition, offset } in positions {
            let (lane, next) = ((*priority, *partition), offset + 1);
            if assigned.handed_out.get(&lane).is_some_and(|handed_out| next <= *handed_out) {
                let finished = assigned.finished.entry(lane).or_default();
                *finished = next.max(*finished);
            }
        }
    }

    /// What is final and was not sent to the brokers yet.
    fn unsent(&self) -> Option<TopicPartitionList> {
        let Assigned { finished, sent, .. } = &mut *self.assigned();
        let unsent: Vec<_> = finished
            .iter()
            .map(|(lane, next)| (*lane, *next))
            .filter(|(lane, next)| sent.get(lane) != Some(next))
            .collect();
        sent.extend(unsent.iter().copied());
        self.offsets(&unsent)
    }

    /// Everything that is final in this assignment, also what is on its way: the brokers may refuse that during a
    /// rebalance, and their answer would come too late to send it again.
    fn finished(&self) -> Option<TopicPartitionList> {
        let finished: Vec<_> = self.assigned().finished.iter().map(|(lane, next)| (*lane, *next)).collect();
        self.offsets(&finished)
    }

    fn offsets(&self, next: &[((Priority, u32), u64)]) -> Option<TopicPartitionList> {
        let mut list = TopicPartitionList::with_capacity(next.len());
        for ((priority, partition), next) in next {
            let offset = Offset::Offset(next.cast_signed());
            let added =
                list.add_partition_offset(self.topics.lane(*priority), partition.cast_signed(), offset);
            added.expect("an offset of a record is a valid offset");
        }
        (!next.is_empty()).then_some(list)
    }

    /// Commits that the brokers did not take are sent again, or later ones in their place.
    fn commit_again(&self, list: &TopicPartitionList) {
        let refused = self.lanes_of(list);
        self.assigned().sent.retain(|lane, _| !refused.contains(lane));
    }

    fn revoke(&self) {
        let old = std::mem::take(&mut *self.assigned());
        drop(old);
        self.lag.clear();
        self.ownership.send_modify(|ownership| {
            ownership.generation += 1;
            ownership.partitions.clear();
        });
    }

    /// Gives each partition of a coming assignment a queue of its own, so that a lane's backlog never stands
    /// before a more urgent lane. Done before the fetching starts, so nothing of them is in the common queue.
    fn split(self: &Arc<Self>, consumer: &Arc<BaseConsumer<Context>>, list: &TopicPartitionList) {
        let mut queues: [Vec<LaneQueue>; LANES] = Default::default();
        let round = self.rounds.fetch_add(1, Ordering::Relaxed) + 1;
        for (priority, partition) in self.lanes_of(list) {
            let topic = self.topics.lane(priority);
            let Some(mut queue) = consumer.split_partition_queue(topic, partition.cast_signed()) else {
                // Its records come by the common queue then.
                tracing::error!(topic, partition, "a partition has no queue of its own");
                continue;
            };
            let shared = Arc::clone(self);
            queue.set_nonempty_callback(move || shared.wake.notify_one());
            queues[priority as usize].push(LaneQueue { partition, queue });
        }
        let mut assigned = self.assigned();
        (assigned.round, assigned.queues) = (round, queues);
    }

    fn lanes_of(&self, list: &TopicPartitionList) -> BTreeSet<(Priority, u32)> {
        let ours = list.elements().into_iter().filter_map(|element| {
            Some((self.topics.priority_of(element.topic())?, u32::try_from(element.partition()).ok()?))
        });
        ours.collect()
    }

    /// One of several routers hears of its assignment. A partition that has not a queue for every lane cannot be told from others
    /// when its records come, so it is not read at all.
    fn tell_assigned(&self, consumer: &BaseConsumer<Context>) {
        let Some(events) = &self.events else { return };
        let Some(group) = consumer.group_metadata() else {
            tracing::error!("the group gave us partitions and no metadata: they are not read");
            return;
        };
        // A membership that was lost meanwhile has metadata that brokers do not look at; the loss is told in a moment.
        if consumer.assignment_lost() {
            return;
        }
        let (round, partitions) = {
            let assigned = self.assigned();
            let of_lane = |lane: &Vec<LaneQueue>| lane.iter().map(|queue| queue.partition).collect();
            let lanes: [BTreeSet<u32>; LANES] = std::array::from_fn(|lane| of_lane(&assigned.queues[lane]));
            let whole = |partition: &u32| lanes.iter().all(|lane| lane.contains(partition));
            (assigned.round, lanes[0].iter().copied().filter(whole).collect())
        };
        // Nobody hears of it when the router goes down.
        let _gone = events.blocking_send(GroupEvent::Assigned(Assignment { round, partitions, group }));
    }

    /// The owners end what they are at before the group goes on, if they can in time. Should they go on behind that, the brokers
    /// refuse what they write.
    fn tell_revoked(&self, is_lost: bool) {
        let Some(events) = &self.events else { return };
        if is_lost {
            let _gone = events.blocking_send(GroupEvent::Lost);
            return;
        }
        let (done, is_done) = std::sync::mpsc::channel();
        // Nobody tells when the router goes down: then everything has ended.
        if events.blocking_send(GroupEvent::Revoked { done }).is_ok()
            && is_done.recv_timeout(REVOKED_WITHIN) == Err(RecvTimeoutError::Timeout)
        {
            tracing::warn!("partitions go to others before everything here has ended");
        }
    }

    /// A partition is ours when it is in every lane.
    fn note_assigned(&self, list: &TopicPartitionList) {
        let lanes = self.lanes_of(list);
        let whole = |partition: &u32| {
            Priority::ALL.into_iter().all(|priority| lanes.contains(&(priority, *partition)))
        };
        let partitions: BTreeSet<u32> = lanes.iter().map(|(_, partition)| *partition).filter(whole).collect();
        tracing::info!(partitions = partitions.len(), "the group gave us partitions");
        self.ownership.send_modify(|ownership| {
            ownership.generation += 1;
            ownership.partitions = partitions;
        });
        self.wake.notify_one();
    }

    fn note_polled(&self, polled: KafkaResult<BorrowedMessage<'_>>) {
        match polled {
            // It is of a partition that we did not take; whoever has it next reads it.
            Ok(_) if self.events.is_some() => {}
            Ok(message) => {
                if let Some((lane, fetched)) = fetched(&message, &self.topics) {
                    self.assigned().held[lane].push_back(fetched);
                    self.wake.notify_one();
                }
            }
            Err(KafkaError::MessageConsumptionFatal(code)) => {
                tracing::error!(%code, "the consumer is beyond repair");
                *self.fatal.lock().expect("nobody panics while holding it") = Some(code.to_string());
                self.wake.notify_one();
            }
            Err(error) => tracing::warn!(%error, "Kafka cannot be read for now"),
        }
    }
}

impl Assigned {
    /// Tops up what the lane holds, partition by partition in turn.
    fn fill(&mut self, lane: usize, topics: &Topics, is_alone: bool) {
        let (queues, held) = (&self.queues[lane], &mut self.held[lane]);
        let mut dry = 0;
        while dry < queues.len() && held.len() < HELD_MAX {
            let turn = self.turns[lane] % queues.len();
            self.turns[lane] = turn + 1;
            if !is_alone && !self.opened.contains(&queues[turn].partition) {
                dry += 1;
                continue;
            }
            let before = held.len();
            while held.len() < HELD_MAX && held.len() - before < RUN_MAX {
                match queues[turn].queue.poll(Duration::ZERO) {
                    Some(Ok(message)) => held.extend(fetched(&message, topics).map(|(_, fetched)| fetched)),
                    Some(Err(error)) => {
                        let partition = queues[turn].partition;
                        tracing::warn!(%error, partition, "a partition cannot be read for now");
                        break;
                    }
                    None => break,
                }
            }
            dry = if held.len() == before { dry + 1 } else { 0 };
        }
    }
}

fn fetched(message: &BorrowedMessage<'_>, topics: &Topics) -> Option<(usize, Fetched)> {
    let priority = topics.priority_of(message.topic())?;
    let partition = u32::try_from(message.partition()).ok()?;
    let offset = u64::try_from(message.offset()).ok()?;
    let fetched = Fetched {
        position: Position { priority, partition, offset },
        key: message.key().map(Bytes::copy_from_slice),
        bytes: message.payload().map(Bytes::copy_from_slice).unwrap_or_default(),
    };
    Some((priority as usize, fetched))
}

/// What librdkafka calls back, all of it on the consumer's thread.
pub(super) struct Context {
    shared: Arc<Shared>,
    /// Queues are split off an `Arc`, which the callbacks are not given.
    consumer: OnceLock<Weak<BaseConsumer<Context>>>,
}

/// A consumer that is ready to be served.
pub(super) fn connect(
    client: &ClientConfig,
    shared: &Arc<Shared>,
) -> KafkaResult<Arc<BaseConsumer<Context>>> {
    let context = Context { shared: Arc::clone(shared), consumer: OnceLock::new() };
    let consumer: Arc<BaseConsumer<Context>> = Arc::new(client.create_with_context(context)?);
    let _first = consumer.context().consumer.set(Arc::downgrade(&consumer));
    consumer.subscribe(&shared.topics.lanes())?;
    Ok(consumer)
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        client::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        client::note_error(&error, reason);
    }

    fn stats(&self, statistics: Statistics) {
        self.shared.lag.note(&statistics, &self.shared.topics);
    }
}

impl ConsumerContext for Context {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        match rebalance {
            Rebalance::Assign(list) => {
                if let Some(consumer) = self.consumer.get().and_then(Weak::upgrade) {
                    self.shared.split(&consumer, list);
                }
            }
            Rebalance::Revoke(_) => {
                self.shared.tell_revoked(consumer.assignment_lost());
                // The next owner starts where this one ended. Lost partitions have one already.
                if !consumer.assignment_lost()
                    && let Some(list) = self.shared.finished()
                    && let Err(error) = consumer.commit(&list, CommitMode::Sync)
                {
                    tracing::warn!(%error, "the last commit before a hand-over failed; some is read again");
                }
                self.shared.revoke();
            }
            Rebalance::Error(error) => tracing::error!(%error, "a rebalance failed"),
        }
    }

    fn post_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Assign(list) = rebalance {
            self.shared.note_assigned(list);
            self.shared.tell_assigned(consumer);
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, offsets: &TopicPartitionList) {
        if let Err(error) = result {
            tracing::warn!(%error, "a commit failed; it is sent again");
            self.shared.commit_again(offsets);
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the consumer's thread is a porch: it paces its own commits")]
fn now() -> Instant {
    Instant::now()
}

/// The consumer's thread: ends when the reader is gone, leaving the group in order.
pub(super) fn serve(consumer: Arc<BaseConsumer<Context>>, shared: &Arc<Shared>) {
    let mut commit_due = now();
    while !shared.stopped.load(Ordering::Acquire) {
        if let Some(polled) = consumer.poll(POLL_INTERVAL) {
            shared.note_polled(polled);
        }
        if now() >= commit_due {
            commit_due = now() + COMMIT_INTERVAL;
            if let Some(list) = shared.unsent()
                && let Err(error) = consumer.commit(&list, CommitMode::Async)
            {
                tracing::warn!(%error, "a commit cannot be sent; it is tried again");
                shared.commit_again(&list);
            }
        }
    }
    if let Some(list) = shared.finished()
        && let Err(error) = consumer.commit(&list, CommitMode::Sync)
    {
        tracing::warn!(%error, "the last commit failed; some is read again");
    }
    // The queues hold the consumer: without them this is its last owner, and it leaves the group here.
    shared.revoke();
    drop(consumer);
}
