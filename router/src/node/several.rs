//! One of several routers: its owners, joined to the consumer group and to the ledger in Kafka.
//!
//! Owns the order of a hand-over and of a commit. What the group gives is restored from the ledger before anything is
//! decided about it; what was decided is in the ledger before anything of it leaves; and nothing leaves on a proof of
//! membership that is old. Never decides about a notification. Driven by the owner's loop, on its thread; its
//! transactions block it, as a commit to the disk does.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc;
use std::time::Duration;

use ops::clock::Clock;
use uuid::Uuid;
use wire::link::Frame;
use wire::message::Priority;
use wire::time::Mono;

use super::board::Watch;
use super::decider::{CommitError, Decider};
use crate::journal::Entry;
use crate::journal::kafka::{
    Assignment, Failed, Group, GroupEvent, LedgerWriter, News, Refused, Restored, Restoring, name_row,
};
use crate::limits::{COPY_AGE_MAX, LEAVES_WITHIN, PROOF_HOLDS_FOR, PROVEN_EVERY, RESTORE_RETRY};
use crate::owner::{
    Carried, Command, DeliveryKey, HistoryAsked, Kept, LinkId, Now, Outcome, Output, OwnerLimits, Ownership,
};
use crate::owners::{Owners, Stamp, Wanted};
use crate::record::Record;
use crate::store::part::{Copied, Rows};
use crate::store::{Batch, DiskStore, Part, Store, StoreError};
use crate::sync::history::History;
use crate::tenure::Tenure;

/// The alert of a ledger that cannot be used.
const LEDGER_UNFIT: &str = "ledger_unfit";
/// No assignment has this number.
const NO_ROUND: u64 = u64::MAX;
/// Partitions that one turn takes up, and how long the first of them waits for others: each turn claims all again.
const ADOPTED_PER_TURN: usize = 64;
const ADOPTED_AFTER: Duration = Duration::from_millis(50);
/// How often it is noted that the copies are still those of the ledgers.
const COPIES_NOTED_EVERY: Duration = Duration::from_secs(COPY_AGE_MAX.as_secs() / 12);

/// What joins it to the rest.
pub struct Parts {
    pub owners: Owners<DiskStore>,
    pub store: DiskStore,
    pub writer: LedgerWriter,
    pub restoring: Restoring,
    pub group: Group,
    pub tenure: Tenure,
    pub clock: Clock,
    pub watch: Watch,
}

/// How far the ledger of a partition is known.
#[derive(Debug, Clone, Copy)]
struct Ledger {
    name: Uuid,
    /// The offset behind the last row.
    next: u64,
}

/// Partitions are being given up.
struct Leaving {
    /// Dropped or told: the group goes on.
    done: mpsc::Sender<()>,
    until: Mono,
}

/// Where a commit stands.
enum Stage {
    Gathering,
    /// Not in Kafka, as far as we know.
    Sending(Wanted),
    /// In Kafka, and not on the disk.
    Writing {
        rows: BTreeMap<u32, Rows>,
        next: BTreeMap<u32, u64>,
    },
}

pub struct Several {
    owners: Owners<DiskStore>,
    store: DiskStore,
    writer: LedgerWriter,
    restoring: Restoring,
    group: Group,
    tenure: Tenure,
    clock: Clock,
    watch: Watch,
    /// What the group says is ours. `None`: nothing for now.
    assignment: Option<Assignment>,
    round: u64,
    ledgers: BTreeMap<u32, Ledger>,
    /// By lane, what is committed of it.
    offsets: BTreeMap<(Priority, u32), u64>,
    /// Counts what was given to be restored, and what of it is not complete.
    orders: u64,
    incomplete: BTreeSet<u32>,
    /// Restored, and their owners are not opened yet.
    unopened: Vec<Restored>,
    /// Taken up in this turn: read from when the commit is done.
    adopted: BTreeSet<u32>,
    stage: Stage,
    /// When the last transaction began that the brokers took.
    proven: Option<Mono>,
    leaving: Option<Leaving>,
    step_at: Mono,
    copies_noted: Mono,
    ready: Option<Output>,
}

impl std::fmt::Debug for Several {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Several").field("round", &self.round).finish_non_exhaustive()
    }
}

impl Several {
    pub fn new(parts: Parts) -> Several {
        let Parts { owners, store, writer, restoring, group, tenure, clock, watch } = parts;
        Several {
            owners,
            store,
            writer,
            restoring,
            group,
            tenure,
            clock,
            watch,
            assignment: None,
            round: NO_ROUND,
            ledgers: BTreeMap::new(),
            offsets: BTreeMap::new(),
            orders: 0,
            incomplete: BTreeSet::new(),
            unopened: Vec::new(),
            adopted: BTreeSet::new(),
            stage: Stage::Gathering,
            proven: None,
            leaving: None,
            step_at: Mono::ZERO,
            copies_noted: Mono::ZERO,
            ready: None,
        }
    }

    /// Other partitions, or the same under another generation.
    fn begin(&mut self, assignment: Assignment) {
        self.leaving = None;
        self.forget_uncommitted();
        self.owners.suspend();
        self.offsets.clear();
        let gone: Vec<u32> =
            self.owners.partitions().filter(|held| !assignment.partitions.contains(held)).collect();
        for partition in &gone {
            self.close(*partition);
        }
        let count = assignment.partitions.len();
        tracing::info!(round = assignment.round, count, gone = gone.len(), "partitions are assigned");
        self.restore(&assignment.partitions);
        self.round = assignment.round;
        if count == 0 {
            // Nobody else says that these are not ours any more.
            let stamp = self.owners.stamp();
            self.owners.claim(Stamp { generation: stamp.generation + 1, ..stamp });
            self.owners.announce(&BTreeSet::new());
        }
        self.assignment = Some(assignment);
        self.tenure.hold(self.owners.terms());
        self.tenure.go_on();
    }

    /// These and no others.
    fn restore(&mut self, partitions: &BTreeSet<u32>) {
        self.orders += 1;
        self.unopened.clear();
        self.incomplete.clone_from(partitions);
        let held = |partition: &u32| (*partition, self.owners.holds(*partition));
        self.restoring.begin(self.orders, partitions.iter().map(held).collect());
    }

    /// Under another assignment nothing may be committed that was decided under the last one.
    fn forget_uncommitted(&mut self) {
        let uncommitted = self.owners.uncommitted();
        if !uncommitted.is_empty() {
            for partition in uncommitted {
                self.close(partition);
            }
            self.owners.forget_outputs();
            self.ready = Some(Output::CutLinks);
        }
    }

    fn close(&mut self, partition: u32) {
        self.owners.close(partition);
        self.ledgers.remove(&partition);
        self.adopted.remove(&partition);
        self.offsets.retain(|(_, of), _| *of != partition);
    }

    /// Nothing is ours for now; who owns what waits.
    fn suspend(&mut self) {
        self.owners.suspend();
        self.assignment = None;
        self.adopted.clear();
        self.offsets.clear();
        self.round = NO_ROUND;
        self.tenure.hold(self.owners.terms());
        self.restore(&BTreeSet::new());
    }

    /// What was decided since the last commit is not true and never will be: its owners are closed, and whoever waits for an
    /// answer, or said something, begins anew, as after a start.
    fn forget(&mut self, wanted: &Wanted, why: &str) {
        tracing::warn!(why, partitions = wanted.rows.len(), "what was decided last is forgotten");
        self.suspend();
        // Also of those that are committed, outputs waited: their calls are made again only by an owner that is opened anew.
        for partition in self.owners.partitions().collect::<Vec<_>>() {
            self.close(partition);
        }
        self.owners.forget_outputs();
        self.tenure.hold(self.owners.terms());
        self.stage = Stage::Gathering;
        self.ready = Some(Output::CutLinks);
    }

    /// What became of a partition that is being restored.
    fn hear(&mut self, news: News, now: Now) {
        if news.round != self.orders {
            return;
        }
        match news.restored {
            Ok(restored) => {
                if self.unopened.is_empty() {
                    self.step_at = now.mono + ADOPTED_AFTER;
                }
                self.incomplete.remove(&restored.partition);
                self.unopened.push(restored);
                if self.incomplete.is_empty() || self.unopened.len() >= ADOPTED_PER_TURN {
                    self.step_at = now.mono;
                }
            }
            Err(Failed { why, is_unfit }) => {
                if is_unfit {
                    self.watch.alert(LEDGER_UNFIT, true, &why);
                }
                tracing::warn!(why, "a ledger cannot be read for now");
            }
        }
    }

    /// Owners of complete partitions: those that were ours go on, the others are opened. All are claimed and told.
    fn adopt(&mut self, now: Now) {
        let restored = std::mem::take(&mut self.unopened);
        let mut anew = BTreeSet::new();
        let mut stamp = self.owners.stamp();
        for restored in restored {
            let partition = restored.partition;
            match self.take_up(&restored, &mut anew, now) {
                Ok(found) => stamp = stamp.max(found),
                Err(error) => {
                    // The others go on; this one is tried again, and nothing of it is read meanwhile.
                    tracing::warn!(%error, partition, "an owner cannot be opened");
                    self.close(partition);
                    self.unopened.push(restored);
                    self.step_at = self.clock.mono() + RESTORE_RETRY;
                }
            }
        }
        if !self.adopted.is_empty() {
            self.owners.claim(Stamp { generation: stamp.generation + 1, ..stamp });
            self.owners.announce(&anew);
        }
        if self.unopened.is_empty() && self.incomplete.is_empty() {
            self.watch.over(LEDGER_UNFIT);
        }
    }

    /// One of them. Gives the highest claim on it.
    fn take_up(
        &mut self,
        restored: &Restored,
        anew: &mut BTreeSet<u32>,
        now: Now,
    ) -> Result<Stamp, StoreError> {
        let Restored { partition, rows, ledger, is_new, offsets } = restored;
        let (partition, is_new) = (*partition, *is_new);
        let mut stamp = self.owners.found(partition)?.unwrap_or_default();
        let goes_on = self.owners.holds(partition) && *rows == 0 && !is_new;
        if goes_on {
            self.owners.resume(partition, now);
        } else {
            if self.owners.holds(partition) {
                self.close(partition);
                anew.insert(partition);
            }
            let found = Part::copied(&self.store, partition)?;
            self.owners.open(partition, now)?;
            let name = if is_new { self.name(partition)? } else { *ledger };
            let next = found.map_or(0, |copied| copied.next);
            self.ledgers.insert(partition, Ledger { name, next });
        }
        if is_new {
            let date = u64::try_from(now.wall.millis()).unwrap_or(0) / 1_000;
            stamp.epoch = stamp.epoch.max(date);
        }
        let offsets = offsets.iter().map(|(priority, next)| ((*priority, partition), *next)).collect();
        self.group.committed(&offsets);
        self.offsets.extend(offsets);
        self.adopted.insert(partition);
        tracing::info!(partition, rows, goes_on, is_new, "a partition is ours");
        Ok(stamp)
    }

    /// A ledger that begins. Its name comes first in it.
    fn name(&mut self, partition: u32) -> Result<Uuid, StoreError> {
        let name = Uuid::new_v4();
        let ((space, key), value) = name_row(name);
        let mut batch = Batch::default();
        batch.writes.push((space, key, value));
        self.owners.commit_to(partition, &batch)?;
        Ok(name)
    }

    fn is_proven(&self, within: Duration) -> bool {
        self.proven.is_some_and(|at| self.clock.mono().since(at) < within)
    }

    /// Whether there is anything to be proven.
    fn holds_any(&self) -> bool {
        self.assignment.is_some() && self.owners.active_partitions().next().is_some()
    }

    /// What the owners want, and where it goes on.
    fn gather(&mut self) -> Result<(), CommitError> {
        let wanted = self.owners.commit()?;
        let is_empty = wanted.rows.is_empty() && wanted.offsets.is_empty();
        if self.assignment.is_none() && !is_empty {
            self.forget(&wanted, "the group took it away");
        } else if !is_empty || (self.holds_any() && !self.is_proven(PROVEN_EVERY)) {
            self.stage = Stage::Sending(wanted);
        } else {
            self.release();
        }
        Ok(())
    }

    fn send(&mut self, mut wanted: Wanted) -> Result<(), CommitError> {
        let Some(assignment) = &self.assignment else {
            self.forget(&wanted, "the group took it away");
            return Ok(());
        };
        self.add_witnesses(&mut wanted);
        let began = self.clock.mono();
        match self.writer.commit(&wanted.rows, &wanted.offsets, &assignment.group) {
            Ok(next) => {
                self.proven = Some(began);
                self.tenure.prove(began);
                self.group.committed(&wanted.offsets);
                self.offsets.extend(wanted.offsets);
                self.stage = Stage::Writing { rows: wanted.rows, next };
                Ok(())
            }
            Err(Refused::Fenced(why)) => {
                self.forget(&wanted, &why);
                Ok(())
            }
            Err(Refused::Later(why)) => {
                self.stage = Stage::Sending(wanted);
                Err(CommitError::Ledger(why))
            }
        }
    }

    /// Each partition with rows has an offset in the transaction: whoever owns it next waits for the end of it. And the
    /// group looks at who we are only if there is one at all.
    fn add_witnesses(&self, wanted: &mut Wanted) {
        let read: BTreeSet<u32> = wanted.offsets.keys().map(|(_, partition)| *partition).collect();
        let mut silent: Vec<u32> = wanted.rows.keys().copied().filter(|of| !read.contains(of)).collect();
        if silent.is_empty() && read.is_empty() {
            silent.extend(self.owners.active_partitions().next());
        }
        for partition in silent {
            let lane = (Priority::Critical, partition);
            wanted.offsets.insert(lane, self.offsets.get(&lane).copied().unwrap_or(0));
        }
    }

    fn write(&mut self, rows: BTreeMap<u32, Rows>, next: BTreeMap<u32, u64>) -> Result<(), CommitError> {
        let now = self.clock.mono();
        for (partition, next) in &next {
            if let Some(ledger) = self.ledgers.get_mut(partition) {
                ledger.next = *next;
            }
        }
        let all = now.since(self.copies_noted) >= COPIES_NOTED_EVERY;
        let mut batch = Batch::default();
        // What is being restored has its note from there.
        let active: BTreeSet<u32> = self.owners.active_partitions().collect();
        for (partition, ledger) in self.ledgers.iter().filter(|(partition, _)| active.contains(partition)) {
            if all || next.contains_key(partition) {
                let copied = Copied { ledger: ledger.name, next: ledger.next, at: self.clock.wall() };
                Part::<DiskStore>::note_copied(&mut batch, *partition, copied);
            }
        }
        for (partition, rows) in &rows {
            batch.writes.extend(Part::<DiskStore>::written(*partition, rows.clone()).writes);
        }
        if let Err(error) = self.store.commit(&batch) {
            self.stage = Stage::Writing { rows, next };
            return Err(error.into());
        }
        if all {
            self.copies_noted = now;
        }
        if self.is_proven(PROOF_HOLDS_FOR) || !self.holds_any() {
            self.release();
        } else {
            // That took so long that we may be somebody else by now.
            self.stage = Stage::Sending(Wanted::default());
        }
        Ok(())
    }

    /// What was committed may leave, and what was taken up is read from.
    fn release(&mut self) {
        self.stage = Stage::Gathering;
        self.owners.release();
        let adopted = std::mem::take(&mut self.adopted);
        if !adopted.is_empty() {
            self.tenure.hold(self.owners.terms());
            let now = Now { mono: self.clock.mono(), wall: self.clock.wall() };
            for partition in adopted {
                self.owners.await_shards(partition, now);
                self.group.open(self.round, partition);
            }
        }
    }

    /// Lets the group go on once nothing of ours is out.
    fn leave(&mut self) {
        let now = self.clock.mono();
        let may = |leaving: &mut Leaving| self.tenure.out() == 0 || now >= leaving.until;
        if let Some(leaving) = self.leaving.take_if(may) {
            self.suspend();
            // The consumer's thread may have gone on without us.
            let _gone = leaving.done.send(());
        }
    }
}

impl Decider for Several {
    fn handle_entry(&mut self, entry: Entry, now: Now) {
        self.owners.handle_entry(entry, now);
    }

    /// Without Kafka nobody knows whose it is: it waits on the disk like the others.
    fn handle_bypass(&mut self, _record: Record, _now: Now) {}

    /// That is for a router alone.
    fn handle_ownership(&mut self, _ownership: Ownership, _now: Now) {}

    fn handle_link_up(&mut self, link: LinkId, node: &str, shard: u16, now: Now) {
        self.owners.handle_link_up(link, node, shard, now);
    }

    fn handle_link_frame(&mut self, link: LinkId, frame: Frame, now: Now) {
        self.owners.handle_link_frame(link, frame, now);
    }

    fn handle_link_down(&mut self, link: LinkId, now: Now) {
        self.owners.handle_link_down(link, now);
    }

    fn handle_outcome(&mut self, delivery: DeliveryKey, outcome: Outcome, now: Now) {
        self.owners.handle_outcome(delivery, outcome, now);
    }

    /// Settings with Cassandra are refused.
    fn handle_carried(&mut self, _carried: Carried, _now: Now) {}

    fn handle_history(&mut self, _asked: HistoryAsked, _found: Result<Option<History>, String>, _now: Now) {}

    fn handle_limits(&mut self, limits: &OwnerLimits) {
        self.owners.handle_limits(limits);
    }

    fn handle_command(&mut self, token: u64, command: Command, now: Now) {
        self.owners.handle_command(token, command, now);
    }

    fn handle_group(&mut self, event: GroupEvent, now: Now) {
        match event {
            GroupEvent::Assigned(assignment) => self.begin(assignment),
            GroupEvent::Revoked { done } => {
                self.round = NO_ROUND;
                self.tenure.pause();
                self.leaving = Some(Leaving { done, until: now.mono + LEAVES_WITHIN });
            }
            GroupEvent::Lost => {
                tracing::warn!("the group goes on without us");
                self.leaving = None;
                self.forget_uncommitted();
                self.suspend();
            }
            GroupEvent::Restored(news) => self.hear(news, now),
        }
    }

    fn poll_timeout(&self) -> Option<Mono> {
        if let Some(leaving) = &self.leaving {
            return Some(leaving.until);
        }
        let proof = self.proven.map_or(Mono::ZERO, |at| at + PROVEN_EVERY);
        let proof = self.holds_any().then_some(proof);
        let step = (!self.unopened.is_empty()).then_some(self.step_at);
        [self.owners.poll_timeout(), proof, step].into_iter().flatten().min()
    }

    fn handle_timeout(&mut self, now: Now) {
        if self.leaving.is_some() {
            return;
        }
        self.owners.handle_timeout(now);
        if !self.unopened.is_empty() && self.step_at <= now.mono {
            self.adopt(now);
        }
    }

    fn commit(&mut self) -> Result<(), CommitError> {
        if matches!(self.stage, Stage::Gathering) {
            self.gather()?;
        }
        loop {
            match std::mem::replace(&mut self.stage, Stage::Gathering) {
                Stage::Gathering => break,
                Stage::Sending(wanted) => self.send(wanted)?,
                Stage::Writing { rows, next } => self.write(rows, next)?,
            }
        }
        if self.owners.take_overrun() {
            // Who is present there is not known any more.
            self.owners.suspended().into_iter().for_each(|partition| self.close(partition));
            self.tenure.hold(self.owners.terms());
            self.ready = Some(Output::CutLinks);
        }
        self.leave();
        Ok(())
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.ready.take().or_else(|| self.owners.poll_output())
    }

    fn reading_pause(&self, now: Now) -> Option<Duration> {
        self.owners.reading_pause(now)
    }

    fn kept(&self) -> Kept {
        self.owners.kept()
    }

    fn round(&self) -> u64 {
        self.round
    }
}
