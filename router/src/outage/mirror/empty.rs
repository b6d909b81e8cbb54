//! Empties the list once Kafka takes records: what the ledger knows leaves, what only the list has goes to Kafka, what is no record
//! is set aside.
//!
//! Decides by the ledger and the book, so a killed router and a new node decide alike. A value leaves the processing list when it
//! is settled and not before. Never brings what the disk brings by itself.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use tokio::task::coop::unconstrained;
use uuid::Uuid;
use wire::message::Priority;
use wire::time::Mono;

use super::{Aside, Away, Counts, List, Rest, value};
use crate::journal::{AppendError, Appended, Draft, Journal};
use crate::limits::{LIST_LOOKED_AT_EVERY, LIST_RETRY, LIST_TAKEN_MAX, RESCUE_PATIENCE};
use crate::node::board::Watch;
use crate::outage::Shared;
use crate::outage::book::Book;
use crate::outage::pace::Pace;
use crate::outage::phase::Phase;

/// How long what is on its way to the ledger is given before it is looked for again.
const SETTLES_WITHIN: Duration = Duration::from_millis(200);
/// How long a record that Kafka took from the list may be unknown to the ledger before the list lets go of it.
const KAFKA_S_WORD: Duration = Duration::from_secs(60);
/// The alert of values that are no records.
const FOREIGN: &str = "redis_foreign_values";

pub(super) struct Empty {
    pub(super) list: Arc<dyn List>,
    pub(super) kafka: Arc<dyn Journal>,
    pub(super) book: Book,
    pub(super) pace: Pace,
    pub(super) shared: Arc<Shared>,
    pub(super) ledger_kept: Duration,
    pub(super) counts: Arc<Counts>,
    pub(super) watch: Watch,
    /// Records of the list that Kafka took, until the ledger has them.
    pub(super) carried: HashMap<Uuid, Mono>,
}

/// What becomes of a value.
enum Verdict {
    /// The ledger has it.
    Known,
    /// The disk has it, or it is on its way.
    Waits,
    OnlyHere(Box<Draft>),
    /// It is none of ours, and why.
    Foreign(String),
}

/// How a record stands with this router's store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// The ledger has it.
    Known,
    /// The disk took it.
    Promised,
}

impl Empty {
    /// Takes one batch of what the list holds to its end.
    pub(super) async fn step(&mut self) -> Rest {
        let Ok(taken) = self.list.take(LIST_TAKEN_MAX).await else { return Rest::For(LIST_RETRY) };
        self.counts.length.store(taken.length, Ordering::Relaxed);
        self.note_foreign(taken.aside);
        if taken.values.is_empty() {
            self.carried.clear();
            return Rest::For(LIST_LOOKED_AT_EVERY);
        }
        let judged = match self.judge(taken.values).await {
            Ok(judged) => judged,
            Err(why) => {
                tracing::warn!(why, "what the list of critical records holds cannot be looked up");
                return Rest::For(LIST_RETRY);
            }
        };
        self.settle(judged).await.unwrap_or(Rest::For(LIST_RETRY))
    }

    async fn settle(&mut self, judged: Vec<(Bytes, Verdict)>) -> Result<Rest, Away> {
        let (mut done, mut foreign, mut only_here) = (Vec::new(), Vec::new(), Vec::new());
        let mut reason = None;
        for (value, verdict) in judged {
            match verdict {
                Verdict::Known => done.push(value),
                Verdict::Foreign(why) => {
                    reason = Some(why);
                    foreign.push(value);
                }
                Verdict::OnlyHere(draft) => only_here.push(*draft),
                Verdict::Waits => {}
            }
        }
        if let Some(reason) = reason {
            tracing::warn!(count = foreign.len(), reason, "values in the list of critical records are none");
            let aside = self.list.set_aside(&foreign).await?;
            self.note_foreign(aside);
        }
        if !done.is_empty() {
            self.list.finish(&done).await?;
        }
        self.carry(only_here).await;
        Ok(if done.is_empty() && foreign.is_empty() { Rest::For(SETTLES_WITHIN) } else { Rest::Not })
    }

    async fn judge(&mut self, values: Vec<Bytes>) -> Result<Vec<(Bytes, Verdict)>, String> {
        let read: Vec<Result<Draft, String>> = values.iter().map(|value| value::read(value)).collect();
        let ids: BTreeSet<Uuid> = read.iter().flatten().map(|draft| draft.id).collect();
        let standing = self.look_up(ids).await?;
        let (now, disk_is_done) = (self.shared.clock.mono(), self.disk_is_done());
        let remembered = self.shared.clock.wall() - self.ledger_kept;
        let mut carried_now = BTreeSet::new();
        let verdicts = read.into_iter().map(|read| match read {
            Err(reason) => Verdict::Foreign(reason),
            Ok(Draft { id, .. }) if standing.get(&id) == Some(&Standing::Known) => {
                self.carried.remove(&id);
                Verdict::Known
            }
            Ok(Draft { id, .. }) if standing.contains_key(&id) && !disk_is_done => Verdict::Waits,
            Ok(Draft { accepted_at, .. }) if accepted_at < remembered => Verdict::Foreign(
                "a record of before what the ledger remembers: it may have gone out".to_owned(),
            ),
            Ok(draft) => match self.carried.get(&draft.id) {
                Some(at) if now.since(*at) > KAFKA_S_WORD => Verdict::Known,
                None if carried_now.insert(draft.id) => Verdict::OnlyHere(Box::new(draft)),
                _ => Verdict::Waits,
            },
        });
        let verdicts: Vec<Verdict> = verdicts.collect();
        Ok(values.into_iter().zip(verdicts).collect())
    }

    async fn look_up(&self, ids: BTreeSet<Uuid>) -> Result<HashMap<Uuid, Standing>, String> {
        let book = self.book.clone();
        let looked = tokio::task::spawn_blocking(move || {
            let mut standing = HashMap::new();
            for id in ids {
                if book.is_known(id)? {
                    standing.insert(id, Standing::Known);
                } else if book.has_promised(id)? {
                    standing.insert(id, Standing::Promised);
                }
            }
            Ok::<_, crate::store::StoreError>(standing)
        });
        looked.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
    }

    /// What the disk had has gone to Kafka, and from there to the ledger. What the ledger does not know by now, the disk has
    /// lost.
    fn disk_is_done(&self) -> bool {
        let outage = self.shared.outage.borrow();
        match outage.phase() {
            Phase::Normal => true,
            Phase::Verifying => {
                let is_late = self.shared.clock.wall() >= outage.since() + RESCUE_PATIENCE;
                is_late && self.kafka.status().lag == 0
            }
            Phase::Buffering | Phase::Recovering => false,
        }
    }

    /// To Kafka, in their order, behind live records. What it does not take stays where it is.
    async fn carry(&mut self, mut drafts: Vec<Draft>) {
        while !drafts.is_empty() {
            let count = self.pace.take(drafts.len()).await;
            if count > 0
                && let Err(error) = self.append(drafts.drain(..count).collect()).await
            {
                tracing::warn!(%error, "critical records that only the list has wait for Kafka");
                return;
            }
        }
    }

    async fn append(&mut self, drafts: Vec<Draft>) -> Result<(), AppendError> {
        let ids: Vec<Uuid> = drafts.iter().map(|draft| draft.id).collect();
        let appends = drafts.into_iter().map(|draft| self.kafka.append(draft));
        // By its own budget tokio would stop some of them half-way, and those behind would overtake.
        let appended = unconstrained(join_all(appends)).await;
        let (now, mut result, mut count) = (self.shared.clock.mono(), Ok(()), 0);
        for (id, appended) in ids.into_iter().zip(appended) {
            match appended {
                Ok(Appended { partition, offset, .. }) => {
                    self.pace.sent((Priority::Critical, partition), offset);
                    self.carried.insert(id, now);
                    count += 1;
                }
                Err(error) => result = Err(error),
            }
        }
        if count > 0 {
            self.counts.rescued.add(count);
            tracing::warn!(count, "critical records were only in the list; Kafka has them now");
        }
        if let Err(AppendError::Unavailable(why)) = &result {
            self.shared.tell(|outage, now| outage.handle_refusal(why, now));
        }
        result
    }

    fn note_foreign(&self, aside: Aside) {
        if aside == Aside::default() {
            return;
        }
        self.counts.foreign.add(aside.kept);
        self.counts.foreign_dropped.add(aside.dropped);
        let (kept, dropped) = (self.counts.foreign.get(), self.counts.foreign_dropped.get());
        let detail = format!(
            "{kept} values in the list of critical records are none and stand aside, {dropped} more were too many to be kept"
        );
        self.watch.alert(FOREIGN, false, &detail);
    }
}
