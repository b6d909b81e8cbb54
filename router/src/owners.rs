//! The owners of one router's partitions, where several routers share the work: a small router for each partition.
//!
//! Pure but for its store. Owns which partition an input is for, what is said of all partitions together (`Owns`), the one
//! meter that all owners count on, and what waits while a partition is between two assignments. An owner's store is its
//! [`Part`], so what it decides is true only when the ledger in Kafka has its rows: [`Owners::commit`] hands out rows and
//! offsets, and outputs may be polled when the brokers took them. Never asks who may own what: `node::several` does.
//! A router alone has none of this; its one owner has the whole store.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use uuid::Uuid;
use wire::link::{Frame, Revoked, SessionKey};
use wire::message::{Priority, ServerMessage};
use wire::partition::partition_of;
use wire::time::Mono;

use crate::journal::{Entry, Position};
use crate::limit::Meter;
use crate::limits::{PARKED_BYTES_MAX, PARKED_MAX};
use crate::owner::{
    Answer, Command, DeliveryKey, Kept, LinkId, Now, Outcome, Output, Owner, OwnerConfig, OwnerLimits, Told,
};
use crate::presence::START_GRACE;
use crate::record::{Record, Target};
use crate::store::codec::{Decoder, Encoder};
use crate::store::part::Rows;
use crate::store::{Batch, Order, Part, Range, Space, Store, StoreError};
use crate::tenure::{Claim, Term};
use crate::tickets;

/// Numbers of a partition's logs: the partition stands above them. Together they are whole numbers that JSON readers keep.
const LOG_NUMBER_BITS: u32 = 39;
/// Tags of a partition's frames, likewise.
const TAG_BITS: u32 = 48;
/// The claim of the owner, in its part's [`Space::Meta`].
const CLAIM_KEY: &[u8] = b"claim";
const CLAIM_VERSION: u8 = 1;
/// What a command weighs that waits: hardly one has more.
const COMMAND_BYTES: usize = 16 * 1024;
/// When a client may say again what nobody could take.
const BUSY_AGAIN_AFTER_MS: u64 = 1_000;

const _: () = assert!(LOG_NUMBER_BITS + 14 == 53);

/// The order of owners: each claim on a partition is higher than all before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Stamp {
    pub epoch: u64,
    pub generation: u64,
}

/// The partition whose logs gave this number.
pub fn partition_of_log(number: u64) -> u32 {
    u32::try_from(number >> LOG_NUMBER_BITS).unwrap_or(u32::MAX)
}

/// Why a record cannot be taken by the owner of this partition: what is behind the walk of one partition is elsewhere.
pub fn misplaced(record: &Record, partition: u32, count: u32) -> Option<&'static str> {
    let is_here = |user: &String| partition_of(user, count) == partition;
    match &record.request.to {
        Target::User(user) if is_here(user) => None,
        Target::Users(users) if users.iter().all(is_here) => None,
        Target::User(_) | Target::Users(_) => {
            Some("it names users of another partition than the one it is in")
        }
        Target::Topic(_) | Target::All(_) => Some("there are no topics with several routers yet"),
    }
}

/// What waits for a partition that is between two assignments.
#[derive(Debug)]
enum Parked {
    LinkUp(LinkId, String, u16),
    LinkDown(LinkId),
    Frame(LinkId, Frame),
    Outcome(DeliveryKey, Outcome),
    Command(u64, Command),
}

impl Parked {
    /// Of what others chose the length of.
    fn bytes(&self) -> usize {
        match self {
            Parked::Frame(_, Frame::ClientMessage { text, .. }) => text.len(),
            Parked::Frame(_, Frame::Snapshot { users, topics, .. }) => {
                users.iter().chain(topics).map(String::len).sum()
            }
            Parked::Command(_, Command::Bury(letter)) => letter.bytes.len(),
            Parked::Command(..) => COMMAND_BYTES,
            _ => 0,
        }
    }
}

#[derive(Debug, Default)]
struct Waiting {
    number: usize,
    bytes: usize,
}

#[derive(Debug)]
struct Held<S: Store> {
    owner: Owner<Part<S>>,
    part: Part<S>,
    /// Of this owner; see [`Claim`].
    term: u64,
    /// The group says that it is ours, now.
    is_active: bool,
    parked: VecDeque<Parked>,
}

#[derive(Debug)]
pub struct Owners<S: Store> {
    store: S,
    config: OwnerConfig,
    seed: u64,
    held: BTreeMap<u32, Held<S>>,
    links: BTreeMap<LinkId, (String, u16)>,
    meter: Meter,
    stamp: Stamp,
    terms: u64,
    /// Owners that were told something since the last commit.
    touched: BTreeSet<u32>,
    rows: BTreeMap<u32, Rows>,
    offsets: BTreeMap<(Priority, u32), u64>,
    /// Of what is committed here and not in Kafka yet, and of what is.
    outputs: Vec<Output>,
    ready: VecDeque<Output>,
    /// For all partitions that are between two assignments.
    waiting: Waiting,
    /// More waited than there is room for.
    is_overrun: bool,
}

/// What one commit wants from Kafka.
#[derive(Debug, Default)]
pub struct Wanted {
    pub rows: BTreeMap<u32, Rows>,
    /// The next offset of each lane that was read.
    pub offsets: BTreeMap<(Priority, u32), u64>,
}

impl<S: Store> Owners<S> {
    /// `config`: of each owner, but for its partition. `seed` must differ from run to run.
    pub fn new(store: S, config: OwnerConfig, seed: u64) -> Owners<S> {
        Owners {
            meter: Meter::new(config.global_per_s, config.shed_low_percent),
            store,
            config,
            seed,
            held: BTreeMap::new(),
            links: BTreeMap::new(),
            stamp: Stamp::default(),
            terms: 0,
            touched: BTreeSet::new(),
            rows: BTreeMap::new(),
            offsets: BTreeMap::new(),
            outputs: Vec::new(),
            ready: VecDeque::new(),
            waiting: Waiting::default(),
            is_overrun: false,
        }
    }

    pub fn holds(&self, partition: u32) -> bool {
        self.held.contains_key(&partition)
    }

    pub fn partitions(&self) -> impl Iterator<Item = u32> + '_ {
        self.held.keys().copied()
    }

    /// By what right each partition's calls are made.
    pub fn terms(&self) -> BTreeMap<u32, Term> {
        let term = |held: &Held<S>| Term { number: held.term, is_active: held.is_active };
        self.held.iter().map(|(partition, held)| (*partition, term(held))).collect()
    }

    /// Owners that were told something that is not committed.
    pub fn uncommitted(&self) -> BTreeSet<u32> {
        self.touched.clone()
    }

    /// Partitions that are between two assignments.
    pub fn suspended(&self) -> Vec<u32> {
        self.held.iter().filter(|(_, held)| !held.is_active).map(|(partition, _)| *partition).collect()
    }

    /// Adds writes of nobody's deciding to what a partition commits next.
    pub fn commit_to(&mut self, partition: u32, batch: &Batch) -> Result<(), StoreError> {
        self.touched.insert(partition);
        self.held.get(&partition).map_or(Ok(()), |held| held.part.commit(batch))
    }

    /// Those of them that nobody else can have written since we read their ledgers.
    pub fn active_partitions(&self) -> impl Iterator<Item = u32> + '_ {
        self.held.iter().filter(|(_, held)| held.is_active).map(|(partition, _)| *partition)
    }

    /// The shards are about to be told of it: nobody is absent, and nothing is due, until they have answered.
    pub fn await_shards(&mut self, partition: u32, now: Now) {
        if let Some(held) = self.held.get_mut(&partition) {
            held.owner.keep_quiet(now.mono + START_GRACE);
        }
    }

    pub fn stamp(&self) -> Stamp {
        self.stamp
    }

    /// The highest claim on a partition that its copy knows of.
    pub fn found(&self, partition: u32) -> Result<Option<Stamp>, StoreError> {
        let part = Part::new(self.store.clone(), partition);
        let Some(row) = part.get(Space::Meta, CLAIM_KEY)? else { return Ok(None) };
        let mut row = Decoder::new(Space::Meta, row, CLAIM_VERSION)?;
        Ok(Some(Stamp { epoch: row.u64()?, generation: row.u64()? }))
    }

    /// Opens the owner of a partition whose copy is complete. It takes part from the next commit on.
    pub fn open(&mut self, partition: u32, now: Now) -> Result<(), StoreError> {
        let part = Part::new(self.store.clone(), partition);
        let config = OwnerConfig {
            owned: vec![partition],
            alone: false,
            log_numbers_from: (u64::from(partition) << LOG_NUMBER_BITS) + 1,
            ..self.config.clone()
        };
        // The owner begins its tags at half of the seed.
        let seed = self.seed.wrapping_mul(2 * self.terms + 3);
        let tags = u64::from(partition) << TAG_BITS | (seed >> (64 - TAG_BITS + 1));
        let mut owner = Owner::open(part.clone(), config, tags << 1, now)?;
        owner.keep_quiet(now.mono + START_GRACE);
        for (link, (node, shard)) in &self.links {
            owner.handle_link_up(*link, node, *shard, now);
        }
        self.terms += 1;
        let held = Held { owner, part, term: self.terms, is_active: true, parked: VecDeque::new() };
        self.held.insert(partition, held);
        self.touched.insert(partition);
        Ok(())
    }

    /// Forgets the owner of a partition, and what it had not brought to Kafka.
    pub fn close(&mut self, partition: u32) {
        let parked = self.unpark(partition);
        if self.held.remove(&partition).is_none() {
            return;
        }
        self.touched.remove(&partition);
        self.rows.remove(&partition);
        self.offsets.retain(|(_, of), _| *of != partition);
        for parked in parked {
            match parked {
                Parked::Frame(link, frame) => self.refuse_frame(link, &frame),
                Parked::Command(token, _) => {
                    self.outputs.push(Output::Answer { token, answer: Answer::Elsewhere });
                }
                Parked::LinkUp(..) | Parked::LinkDown(_) | Parked::Outcome(..) => {}
            }
        }
    }

    /// Nothing that was decided and is not in Kafka leaves.
    pub fn forget_outputs(&mut self) {
        self.outputs.clear();
        self.rows.clear();
        self.offsets.clear();
    }

    /// The partitions are between two assignments: what is for them waits.
    pub fn suspend(&mut self) {
        self.held.values_mut().for_each(|held| held.is_active = false);
    }

    /// The group gave it to us again, and nobody else had it meanwhile.
    pub fn resume(&mut self, partition: u32, now: Now) {
        let Some(held) = self.held.get_mut(&partition) else { return };
        held.is_active = true;
        for parked in self.unpark(partition) {
            match parked {
                Parked::LinkUp(link, node, shard) => {
                    self.with(partition, |owner| owner.handle_link_up(link, &node, shard, now));
                }
                Parked::LinkDown(link) => self.with(partition, |owner| owner.handle_link_down(link, now)),
                Parked::Frame(link, frame) => {
                    self.with(partition, |owner| owner.handle_link_frame(link, frame, now));
                }
                Parked::Outcome(delivery, outcome) => {
                    self.with(partition, |owner| owner.handle_outcome(delivery, outcome, now));
                }
                Parked::Command(token, command) => {
                    self.with(partition, |owner| owner.handle_command(token, command, now));
                }
            }
        }
    }

    /// Claims every partition that is active; with the next commit the ledger knows. One that is between two assignments may be
    /// behind its ledger: nothing is written there.
    pub fn claim(&mut self, stamp: Stamp) {
        self.stamp = stamp;
        let row = Encoder::new(CLAIM_VERSION).u64(stamp.epoch).u64(stamp.generation).finish();
        for (partition, held) in self.held.iter().filter(|(_, held)| held.is_active) {
            let mut batch = Batch::default();
            batch.put(Space::Meta, CLAIM_KEY, row.clone());
            held.part.commit(&batch).expect("a part gathers");
            self.touched.insert(*partition);
        }
    }

    /// Tells every shard what is ours. Of what was opened anew it is said first that it is not, so that shards tell again
    /// who is there. Leaves with the next commit.
    pub fn announce(&mut self, anew: &BTreeSet<u32>) {
        let links: Vec<LinkId> = self.links.keys().copied().collect();
        for link in links {
            let others = self.active_partitions().filter(|held| !anew.contains(held)).collect();
            if !anew.is_empty() {
                self.tell_owned(link, others);
            }
            let all = self.active_partitions().collect();
            self.tell_owned(link, all);
        }
    }

    fn tell_owned(&mut self, link: LinkId, partitions: Vec<u32>) {
        let Stamp { epoch, generation } = self.stamp;
        let frame = Frame::Owns { epoch, generation, count: self.config.partitions, partitions };
        self.outputs.push(Output::Link { link, frame });
    }

    pub fn handle_limits(&mut self, limits: &OwnerLimits) {
        self.meter.change(limits.global_per_s, limits.shed_low_percent);
        self.config.push_per_user_hour = limits.push_per_user_hour;
        self.config.global_per_s = limits.global_per_s;
        self.config.shed_low_percent = limits.shed_low_percent;
        self.held.values_mut().for_each(|held| held.owner.handle_limits(limits));
    }

    pub fn handle_entry(&mut self, entry: Entry, now: Now) {
        let partition = entry.position.partition;
        if self.is_active(partition) {
            self.with(partition, |owner| owner.handle_entry(entry, now));
        }
    }

    pub fn handle_link_up(&mut self, link: LinkId, node: &str, shard: u16, now: Now) {
        self.links.insert(link, (node.to_owned(), shard));
        let all: Vec<u32> = self.held.keys().copied().collect();
        for partition in &all {
            if self.is_active(*partition) {
                self.with(*partition, |owner| owner.handle_link_up(link, node, shard, now));
            } else {
                self.park(*partition, Parked::LinkUp(link, node.to_owned(), shard));
            }
        }
        let active = self.active_partitions().collect();
        self.tell_owned(link, active);
    }

    pub fn handle_link_down(&mut self, link: LinkId, now: Now) {
        self.links.remove(&link);
        for partition in self.held.keys().copied().collect::<Vec<_>>() {
            if self.is_active(partition) {
                self.with(partition, |owner| owner.handle_link_down(link, now));
            } else {
                self.park(partition, Parked::LinkDown(link));
            }
        }
    }

    pub fn handle_link_frame(&mut self, link: LinkId, frame: Frame, now: Now) {
        match self.partition_of_frame(&frame) {
            Some(partition) if self.is_active(partition) => {
                self.with(partition, |owner| owner.handle_link_frame(link, frame, now));
            }
            Some(partition) if self.holds(partition) => self.park(partition, Parked::Frame(link, frame)),
            _ => self.refuse_frame(link, &frame),
        }
    }

    fn partition_of_frame(&self, frame: &Frame) -> Option<u32> {
        let of = |name: &str| Some(partition_of(name, self.config.partitions));
        match frame {
            Frame::Snapshot { partition, .. } | Frame::SnapshotEnd { partition } => Some(*partition),
            Frame::Announce { user } | Frame::Withdraw { user } | Frame::ClientMessage { user, .. } => {
                of(user)
            }
            Frame::Subscribe { topic } | Frame::Unsubscribe { topic } => of(topic),
            Frame::Result { tag, .. } => u32::try_from(tag >> TAG_BITS).ok(),
            Frame::Redeem { ticket, .. } => tickets::partition(ticket),
            _ => None,
        }
    }

    /// Who wants something of a partition that is not here is told so.
    fn refuse_frame(&mut self, link: LinkId, frame: &Frame) {
        match frame {
            Frame::ClientMessage { session, .. } => self.say_busy(link, *session),
            Frame::Redeem { request, .. } => {
                let frame = Frame::Redeemed { request: *request, user: None };
                self.outputs.push(Output::Link { link, frame });
            }
            _ => {}
        }
    }

    fn say_busy(&mut self, link: LinkId, session: SessionKey) {
        let busy = ServerMessage::Error {
            code: "busy".to_owned(),
            message: "this moves to another router: say it again".to_owned(),
            retry_after_ms: Some(BUSY_AGAIN_AFTER_MS),
        };
        let frame = Frame::Reply { session, text: busy.to_json().into() };
        self.outputs.push(Output::Link { link, frame });
    }

    pub fn handle_outcome(&mut self, delivery: DeliveryKey, outcome: Outcome, now: Now) {
        let partition = partition_of(&delivery.user, self.config.partitions);
        if self.is_active(partition) {
            self.with(partition, |owner| owner.handle_outcome(delivery, outcome, now));
        } else if self.holds(partition) {
            self.park(partition, Parked::Outcome(delivery, outcome));
        }
        // Else its heir has made the call again.
    }

    pub fn handle_command(&mut self, token: u64, command: Command, now: Now) {
        if let Command::Receipt(Told { delivery: None, .. }) = command {
            return self.tell_all(token, &command, now);
        }
        let to = match self.place(&command) {
            Ok(Ok(partition)) => Ok(partition),
            Ok(Err(answer)) => Err(answer),
            Err(error) => Err(Answer::Failed(error.to_string())),
        };
        match to {
            Ok(partition) if self.is_active(partition) => {
                self.with(partition, |owner| owner.handle_command(token, command, now));
            }
            Ok(partition) if self.holds(partition) => {
                self.park(partition, Parked::Command(token, command));
            }
            Ok(_) => self.outputs.push(Output::Answer { token, answer: Answer::Elsewhere }),
            Err(answer) => self.outputs.push(Output::Answer { token, answer }),
        }
    }

    /// Whose address it is nobody knows: it may be any partition's. The first answer counts.
    fn tell_all(&mut self, token: u64, command: &Command, now: Now) {
        let active: Vec<u32> = self.active_partitions().collect();
        // It is told again, and then all hear it.
        if active.is_empty() || active.len() < self.held.len() {
            return self.outputs.push(Output::Answer { token, answer: Answer::Elsewhere });
        }
        for partition in active {
            self.with(partition, |owner| owner.handle_command(token, command.clone(), now));
        }
    }

    /// Whose business a command is.
    fn place(&self, command: &Command) -> Result<Result<u32, Answer>, StoreError> {
        let of = |user: &str| partition_of(user, self.config.partitions);
        let any = || self.held.keys().next().copied().ok_or(Answer::Elsewhere);
        Ok(match command {
            Command::MarkRead { user, .. }
            | Command::IssueTicket { user, .. }
            | Command::PutContacts { user, .. }
            | Command::PutPreferences { user, .. }
            | Command::PutBackupCodes { user, .. }
            | Command::TryBackupCode { user }
            | Command::TakeBackupCode { user, .. }
            | Command::Suppress { user, .. }
            | Command::LiftSuppressions { user, .. }
            | Command::Revoke { who: Revoked::User(user) } => Ok(of(user)),
            Command::OpenOtp(opened) => Ok(of(&opened.user)),
            Command::GuessOtp { id, .. } => return self.place_of_otp(*id),
            Command::Receipt(Told { delivery: Some(delivery), .. }) => Ok(of(&delivery.user)),
            Command::Revoke { who: Revoked::Session(_) } => any(),
            Command::Cancel { id, of, .. } => return self.place_of(*id, *of),
            Command::ReplayOverflow { number } | Command::ReplayDeadLetter { number } => {
                Ok(partition_of_log(*number))
            }
            Command::Bury(letter) => {
                let usual = letter.partition.cast_unsigned() % self.config.partitions;
                if self.holds(usual) { Ok(usual) } else { any() }
            }
            // The API refuses them; of an address alone all are told.
            Command::Erase { .. }
            | Command::Unsubscribe(_)
            | Command::Receipt(Told { delivery: None, .. }) => {
                Err(Answer::Refused("several routers cannot do this yet".to_owned()))
            }
        })
    }

    /// Whether nothing is anywhere but here, as of the last assignment.
    fn has_all(&self) -> bool {
        self.active().count() == self.config.partitions as usize
    }

    /// The partition that has a one-use code.
    fn place_of_otp(&self, id: Uuid) -> Result<Result<u32, Answer>, StoreError> {
        for (partition, held) in &self.held {
            if held.part.get(Space::Otp, id.as_bytes())?.is_some() {
                return Ok(Ok(*partition));
            }
        }
        Ok(Err(if self.has_all() { Answer::NotFound } else { Answer::Elsewhere }))
    }

    /// The partition that has a notification. `promised`: where it was put, if it was put anywhere lately.
    fn place_of(&self, id: Uuid, promised: Option<u32>) -> Result<Result<u32, Answer>, StoreError> {
        let rows = Range::prefix(id.as_bytes());
        let mut found = Vec::new();
        for (partition, held) in &self.held {
            if !held.part.scan(Space::Ledger, &rows, Order::Forward, 1)?.is_empty() {
                found.push(*partition);
            }
        }
        let has_all = self.has_all();
        let is_part_of_list = match found.first().and_then(|partition| self.held.get(partition)) {
            Some(held) => held.owner.view().timeline(id)?.is_some_and(|timeline| timeline.is_list),
            None => false,
        };
        Ok(match (found.as_slice(), promised) {
            ([one], _) if has_all || !is_part_of_list => Ok(*one),
            ([], Some(promised)) => Ok(promised),
            ([], None) if has_all => Err(Answer::NotFound),
            ([], None) => Err(Answer::Elsewhere),
            _ => Err(Answer::Refused(
                "its users are in several partitions: it cannot be taken back".to_owned(),
            )),
        })
    }

    /// `None`: nothing is to be done by itself.
    pub fn poll_timeout(&self) -> Option<Mono> {
        self.active().filter_map(|held| held.owner.poll_timeout()).min()
    }

    pub fn handle_timeout(&mut self, now: Now) {
        let is_due =
            |held: &Held<S>| held.is_active && held.owner.poll_timeout().is_some_and(|at| at <= now.mono);
        let due: Vec<u32> =
            self.held.iter().filter(|(_, held)| is_due(held)).map(|(partition, _)| *partition).collect();
        for partition in due {
            self.with(partition, |owner| owner.handle_timeout(now));
        }
    }

    /// How long the journal should not be read, because more comes in than is allowed a second.
    pub fn reading_pause(&self, now: Now) -> Option<std::time::Duration> {
        self.meter.pause(now.mono)
    }

    /// What retention removed in all of them, and the oldest that is left in any.
    pub fn kept(&self) -> Kept {
        self.held.values().map(|held| held.owner.kept()).fold(Kept::default(), Kept::and)
    }

    fn active(&self) -> impl Iterator<Item = &Held<S>> {
        self.held.values().filter(|held| held.is_active)
    }

    fn is_active(&self, partition: u32) -> bool {
        self.held.get(&partition).is_some_and(|held| held.is_active)
    }

    fn park(&mut self, partition: u32, parked: Parked) {
        let Some(held) = self.held.get_mut(&partition) else { return };
        if self.waiting.number >= PARKED_MAX || self.waiting.bytes + parked.bytes() > PARKED_BYTES_MAX {
            match parked {
                Parked::Command(token, _) => {
                    self.outputs.push(Output::Answer { token, answer: Answer::Elsewhere });
                }
                _ => self.is_overrun = true,
            }
            return;
        }
        self.waiting.number += 1;
        self.waiting.bytes += parked.bytes();
        held.parked.push_back(parked);
    }

    fn unpark(&mut self, partition: u32) -> VecDeque<Parked> {
        let parked = self.held.get_mut(&partition).map(|held| std::mem::take(&mut held.parked));
        let parked = parked.unwrap_or_default();
        self.waiting.number -= parked.len();
        self.waiting.bytes -= parked.iter().map(Parked::bytes).sum::<usize>();
        parked
    }

    /// Whether more waited than there was room for: who is present is not known any more. True once.
    pub fn take_overrun(&mut self) -> bool {
        std::mem::take(&mut self.is_overrun)
    }

    fn with(&mut self, partition: u32, tell: impl FnOnce(&mut Owner<Part<S>>)) {
        let Some(held) = self.held.get_mut(&partition) else { return };
        held.owner.swap_meter(&mut self.meter);
        tell(&mut held.owner);
        held.owner.swap_meter(&mut self.meter);
        self.touched.insert(partition);
    }

    /// Gathers what was decided since the last commit. On an error nothing is lost: handle nothing more, and call it again.
    pub fn commit(&mut self) -> Result<Wanted, StoreError> {
        while let Some(partition) = self.touched.first().copied() {
            self.commit_one(partition)?;
            self.touched.remove(&partition);
        }
        Ok(Wanted { rows: std::mem::take(&mut self.rows), offsets: std::mem::take(&mut self.offsets) })
    }

    fn commit_one(&mut self, partition: u32) -> Result<(), StoreError> {
        let Some(held) = self.held.get_mut(&partition) else { return Ok(()) };
        held.owner.swap_meter(&mut self.meter);
        let committed = held.owner.commit();
        held.owner.swap_meter(&mut self.meter);
        committed?;
        let claim = Some(Claim { partition, term: held.term });
        while let Some(mut output) = held.owner.poll_output() {
            match &mut output {
                Output::Provide(call) => call.claim = claim,
                Output::Committed(Position { priority, partition, offset }) => {
                    self.offsets.insert((*priority, *partition), *offset + 1);
                }
                _ => {}
            }
            self.outputs.push(output);
        }
        let rows = held.part.take_gathered();
        if !rows.is_empty() {
            self.rows.insert(partition, rows);
        }
        Ok(())
    }

    /// The brokers took what the last commit gathered: its outputs may leave.
    pub fn release(&mut self) {
        self.ready.extend(self.outputs.drain(..));
    }

    pub fn poll_output(&mut self) -> Option<Output> {
        self.ready.pop_front()
    }
}

#[cfg(test)]
mod tests;
