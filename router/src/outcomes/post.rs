//! Tells what became of notifications: what waits goes to a service's webhook, signed, or to the topic in Kafka, in batches and in its
//! order.
//!
//! One task a hearer, one batch at a time, so that nobody waits for another's receiver and none overtakes itself. What was
//! not taken is tried again, ever more slowly, for as long as it waits; `pace` says what goes out next. A row is struck out after the
//! answer: what was on its way in a crash goes out again. Started by the router's start.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ops::clock::Clock;
use ops::metrics::Counter;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};
use wire::time::Wall;

use super::pace::{Pace, Step};
use super::{Hearer, Outcome, backlog, lost, oldest, strike_out};
use crate::config::Webhook;
#[cfg(feature = "kafka")]
use crate::journal::kafka::{OutcomeRecord, Outcomes};
#[cfg(feature = "kafka")]
use crate::limits::OUTCOMES_PRODUCED_MAX;
use crate::limits::{OUTCOMES_PER_MESSAGE_MAX, WEBHOOK_RETRY_MAX, WEBHOOK_RETRY_MIN};
use crate::node::board::Watch;
use crate::store::{DiskStore, StoreError};
use crate::webhook::{self, Refusal};

/// After so many looks in vain it is read from the beginning, where an erasure may have written a row anew. Not each time: what was
/// struck out still lies there for the store to pass over.
const LOOKS_ONWARD: u64 = 150;

/// Where outcomes go.
#[derive(Debug)]
pub enum Target {
    /// Where a reload points it.
    Webhook(Mutex<Webhook>),
    #[cfg(feature = "kafka")]
    Topic(Outcomes),
}

/// Who is told, and how it does.
#[derive(Debug)]
pub struct Receiver {
    pub hearer: Hearer,
    target: Target,
    sent: Counter,
    refused: Counter,
    failures: Counter,
    /// Why the last message was not taken.
    failing: Mutex<Option<String>>,
    /// It was pointed elsewhere: what waits need not wait longer.
    pointed: Notify,
}

/// `outcomes` in `/v1/status`.
#[derive(Debug, Clone, Serialize)]
pub struct Shown {
    /// `webhook` or `kafka`.
    pub by: &'static str,
    /// Whose webhook; empty for the topic.
    pub service: String,
    pub waiting: u64,
    pub oldest_waiting_s: u64,
    /// Told, called wrong by the receiver, and messages that were not taken, since the start.
    pub sent: u64,
    pub refused: u64,
    pub failures: u64,
    /// Those that found no room, ever.
    pub dropped: u64,
    /// Why the last message was not taken. `None`: it was.
    pub failing: Option<String>,
}

impl Receiver {
    pub fn new(hearer: Hearer, target: Target) -> Receiver {
        let (sent, refused, failures) = (Counter::new(), Counter::new(), Counter::new());
        let (failing, pointed) = (Mutex::default(), Notify::new());
        Receiver { hearer, target, sent, refused, failures, failing, pointed }
    }

    /// Another address, or another key, from the next message on: also for what waits.
    pub fn point_at(&self, webhook: &Webhook) {
        if let Target::Webhook(to) = &self.target {
            let mut to = to.lock().unwrap_or_else(PoisonError::into_inner);
            if *to != *webhook {
                to.clone_from(webhook);
                self.pointed.notify_one();
            }
        }
    }

    fn failing(&self) -> MutexGuard<'_, Option<String>> {
        self.failing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the store.
    pub fn shown(&self, store: &DiskStore, now: Wall) -> Result<Shown, StoreError> {
        let (waiting, oldest) = backlog(store, &self.hearer)?;
        let age_us = oldest.map_or(0, |oldest| now.0.saturating_sub(oldest.0));
        Ok(Shown {
            by: self.hearer.by(),
            service: self.hearer.service().to_owned(),
            waiting,
            oldest_waiting_s: u64::try_from(age_us / 1_000_000).unwrap_or(0),
            sent: self.sent.get(),
            refused: self.refused.get(),
            failures: self.failures.get(),
            dropped: lost(store, &self.hearer)?,
            failing: self.failing().clone(),
        })
    }
}

/// Tells one hearer.
#[derive(Debug)]
pub struct Sender {
    pub receiver: Arc<Receiver>,
    pub store: DiskStore,
    /// Which router says so.
    pub instance: String,
    pub watch: Watch,
    pub clock: Clock,
}

/// Rows by their numbers. `None`: one that cannot be read.
type Batch = Vec<(u64, Option<Outcome>)>;

impl Sender {
    /// Sends until the runtime ends.
    pub async fn run(self) {
        let agent = webhook::agent();
        let mut pace = Pace::new(self.receiver.target.batch_max());
        let mut to = self.receiver.target.webhook();
        let mut looks = 0_u64;
        loop {
            let (after, most) = pace.next();
            let batch = match self.read(after, most).await {
                Ok(batch) => batch,
                Err(error) => {
                    tracing::warn!(%error, "outcomes that wait cannot be read");
                    sleep(WEBHOOK_RETRY_MIN).await;
                    continue;
                }
            };
            let Some((last, _)) = batch.last() else {
                looks += 1;
                if looks.is_multiple_of(LOOKS_ONWARD) {
                    pace.begin_anew();
                }
                let step = pace.handle_nothing();
                self.follow(step, &batch).await;
                continue;
            };
            let points_to = self.receiver.target.webhook();
            if points_to != to {
                to = points_to;
                pace.handle_pointed();
                continue;
            }
            let told = self.tell(&agent, to.as_ref(), &batch).await;
            let step = match &told {
                Ok(()) => pace.handle_taken(*last),
                // Nobody asks that one any more.
                Err(Refusal::Wrong(_)) if self.receiver.target.webhook() != to => Step::GoOn,
                Err(Refusal::Wrong(_)) => pace.handle_refused(batch.len(), *last),
                Err(Refusal::Failed(_)) => pace.handle_failed(),
            };
            self.says(told.err().map(|(Refusal::Wrong(why) | Refusal::Failed(why))| why));
            self.follow(step, &batch).await;
        }
    }

    async fn follow(&self, step: Step, batch: &Batch) {
        match step {
            Step::StrikeOut => {
                self.receiver.sent.add(batch.len() as u64);
                self.strike_out(batch).await;
            }
            Step::LeaveOut => {
                let ids: Vec<_> =
                    batch.iter().filter_map(|(_, outcome)| Some(outcome.as_ref()?.id)).collect();
                tracing::warn!(hearer = %self.receiver.hearer, ?ids, "the receiver calls an outcome wrong: it is left out");
                self.receiver.refused.inc();
                self.strike_out(batch).await;
            }
            Step::GoOn => {}
            Step::Wait(wait) => {
                let _ended = timeout(wait, self.receiver.pointed.notified()).await;
            }
        }
    }

    /// `to`: the target's webhook, if it is one.
    async fn tell(&self, agent: &ureq::Agent, to: Option<&Webhook>, batch: &Batch) -> Result<(), Refusal> {
        match &self.receiver.target {
            Target::Webhook(_) => {
                let Some(to) = to else { return Err(Refusal::Failed("it has no address".to_owned())) };
                let body = message(self.receiver.hearer.service(), &self.instance, batch).to_string();
                webhook::post(agent, to, body, self.clock.wall()).await
            }
            #[cfg(feature = "kafka")]
            Target::Topic(topic) => topic.put(&records(batch)).await.map_err(|unwritten| {
                if unwritten.is_too_long {
                    Refusal::Wrong(unwritten.why)
                } else {
                    Refusal::Failed(unwritten.why)
                }
            }),
        }
    }

    async fn read(&self, after: u64, most: usize) -> Result<Batch, StoreError> {
        self.on_disk(move |store, hearer| oldest(store, hearer, after, most)).await
    }

    async fn on_disk<T: Send + 'static>(
        &self,
        work: impl FnOnce(&DiskStore, &Hearer) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (store, hearer) = (self.store.clone(), self.receiver.hearer.clone());
        let done = spawn_blocking(move || work(&store, &hearer)).await;
        done.unwrap_or_else(|error| Err(StoreError::Io(error.to_string())))
    }

    /// Until they are: what cannot be struck out would go out again, and again.
    async fn strike_out(&self, batch: &Batch) {
        let numbers: Arc<[u64]> = batch.iter().map(|(number, _)| *number).collect();
        let mut wait = WEBHOOK_RETRY_MIN;
        loop {
            let numbers = Arc::clone(&numbers);
            let struck = self.on_disk(move |store, hearer| strike_out(store, hearer, &numbers)).await;
            let Err(error) = struck else { return };
            tracing::warn!(%error, "outcomes that were told cannot be struck out");
            sleep(wait).await;
            wait = (wait * 2).min(WEBHOOK_RETRY_MAX);
        }
    }

    fn says(&self, why: Option<String>) {
        if why.is_some() {
            self.receiver.failures.inc();
        }
        self.watch.outcomes(&self.receiver.hearer.to_string(), why.as_deref());
        *self.receiver.failing() = why;
    }
}

impl Target {
    /// Where it points now. `None`: to the topic.
    fn webhook(&self) -> Option<Webhook> {
        match self {
            Target::Webhook(to) => Some(to.lock().unwrap_or_else(PoisonError::into_inner).clone()),
            #[cfg(feature = "kafka")]
            Target::Topic(_) => None,
        }
    }

    fn batch_max(&self) -> usize {
        match self {
            Target::Webhook(_) => OUTCOMES_PER_MESSAGE_MAX,
            #[cfg(feature = "kafka")]
            Target::Topic(_) => OUTCOMES_PRODUCED_MAX,
        }
    }
}

/// One record for each.
#[cfg(feature = "kafka")]
fn records(batch: &Batch) -> Vec<OutcomeRecord> {
    let record = |outcome: &Outcome| OutcomeRecord {
        id: outcome.id.to_string(),
        recipient: outcome.recipient.clone(),
        json: json!(outcome).to_string(),
    };
    batch.iter().filter_map(|(_, outcome)| outcome.as_ref()).map(record).collect()
}

fn message(service: &str, instance: &str, batch: &Batch) -> Value {
    let outcomes: Vec<&Outcome> = batch.iter().filter_map(|(_, outcome)| outcome.as_ref()).collect();
    json!({ "version": "1", "service": service, "instance": instance, "outcomes": outcomes })
}
