//! The door: what a service hands in is checked, counted against its quota, made durable, and only then promised.
//!
//! Owns the order of the checks and what is answered. Never promises what is not durable, never takes one key twice.
//! `ingest::http` is one notification, `ingest::batch` many; both come through [`Intake::accept`]. From here a record
//! goes to the `journal`, and from there to the `owner`.

use std::future::{Future, ready};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ops::clock::Clock;
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use uuid::Uuid;

use crate::api::problem::{Kind, Problem};
use crate::config::Service;
use crate::ids;
use crate::journal::{AppendError, Draft, DurableIn, Journal};
use crate::limits::{IDEMPOTENCY_SWEEP_MAX, INGEST_IN_FLIGHT_MAX, RETRY_AFTER_S};
use crate::metrics::{Metrics, Taken};
use crate::record::{Request, Target};
use crate::store::{DiskStore, StoreError};
use idempotency::{Begun, Idempotency};
use inflight::InFlight;
use quota::Quota;
use quotas::{Quotas, lock};
use recent::{Promise, Recent};

pub mod batch;
pub(crate) mod fields;
pub mod http;
pub mod idempotency;
mod inflight;
pub mod quota;
mod quotas;
pub mod recent;
pub mod validate;

/// The promise: `202`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    pub id: Uuid,
    pub seq: u64,
    pub durable_in: DurableIn,
    pub status_url: String,
}

/// Takes requests in.
pub struct Intake {
    journal: Arc<dyn Journal>,
    idempotency: Idempotency<DiskStore>,
    in_flight: Arc<InFlight>,
    recent: Arc<Recent>,
    quotas: Quotas,
    room: Semaphore,
    clock: Clock,
    metrics: Arc<Metrics>,
}

impl std::fmt::Debug for Intake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Intake").finish_non_exhaustive()
    }
}

impl Intake {
    pub fn new(
        journal: Arc<dyn Journal>,
        idempotency: Idempotency<DiskStore>,
        recent: Arc<Recent>,
        services: &[Arc<Service>],
        clock: Clock,
        metrics: Arc<Metrics>,
    ) -> Intake {
        Intake {
            journal,
            idempotency,
            in_flight: Arc::new(InFlight::default()),
            recent,
            quotas: Quotas::new(services),
            room: Semaphore::new(INGEST_IN_FLIGHT_MAX),
            clock,
            metrics,
        }
    }

    /// Other services, or others' quotas, from here on.
    pub fn change_services(&self, services: &[Arc<Service>]) {
        self.quotas.change(services);
    }

    pub fn journal(&self) -> &dyn Journal {
        &*self.journal
    }

    /// What was promised a moment ago, and may not be in the ledger yet.
    pub fn promised(&self, id: Uuid) -> Option<Promise> {
        self.recent.promised(id)
    }

    /// Deletes idempotency rows that are over, all of them, in bounded batches.
    pub fn sweep(&self) {
        loop {
            match self.idempotency.sweep(self.clock.wall()) {
                Ok(swept) => {
                    self.metrics.retention.idempotency.add(swept as u64);
                    if swept < IDEMPOTENCY_SWEEP_MAX {
                        return;
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "idempotency rows were not swept");
                    return;
                }
            }
        }
    }

    /// Takes one checked request in. `bytes` are what the service sent, to tell another body under the same key.
    pub async fn accept(
        &self,
        service: &Service,
        request: Request,
        key: Option<&str>,
        bytes: &[u8],
    ) -> Result<Accepted, Problem> {
        self.accept_behind(service, request, key, bytes, ready(Ok(()))).await
    }

    /// The same for what needs something `before` it is promised: done once everything else allows it.
    pub async fn accept_behind(
        &self,
        service: &Service,
        request: Request,
        key: Option<&str>,
        bytes: &[u8],
        before: impl Future<Output = Result<(), Problem>> + Send,
    ) -> Result<Accepted, Problem> {
        let began = self.clock.mono();
        let result = self.promise(service, request, key, bytes, before).await;
        let taken = match &result {
            Ok((_, taken)) => *taken,
            Err(problem) => Taken::Refused(problem.kind),
        };
        self.metrics.count_ingest(Some(&service.name), taken);
        self.metrics.ingest_seconds.observe(self.clock.mono().since(began));
        result.map(|(accepted, _)| accepted)
    }

    async fn promise(
        &self,
        service: &Service,
        request: Request,
        key: Option<&str>,
        bytes: &[u8],
        before: impl Future<Output = Result<(), Problem>> + Send,
    ) -> Result<(Accepted, Taken), Problem> {
        rights(service, &request)?;
        validate::moment(&request, self.clock.wall())?;
        let Ok(_place) = self.room.try_acquire() else {
            return Err(unavailable("too many requests are on their way"));
        };
        let Some(key) = key else {
            let id = ids::fresh(self.clock.wall());
            return Ok((self.spend_and_append(service, id, request, before).await?, Taken::Accepted));
        };
        let id = ids::for_key(&service.name, key);
        let Some(_held) = self.in_flight.hold(id) else {
            return Err(
                Problem::new(Kind::KeyInFlight, "ask again when it is answered").retry_after(RETRY_AFTER_S)
            );
        };
        let body: [u8; 32] = digest(&SHA256, bytes).as_ref().try_into().expect("SHA-256 has 32 bytes");
        match self.idempotency.begin(id, body, self.clock.wall()).map_err(|error| store_fault(&error))? {
            Begun::Answered(accepted) => Ok((accepted, Taken::Replayed)),
            Begun::OtherBody => {
                Err(Problem::new(Kind::KeyReused, "a key names one request; use a new key for a new one"))
            }
            Begun::New(attempt) => {
                let accepted = self.spend_and_append(service, id, request, before).await?;
                if let Err(error) = self.idempotency.finish(attempt, &accepted) {
                    // The record is durable; a retry appends it again under the same id and collapses in the owner.
                    tracing::warn!(%error, "an answer was not remembered under its idempotency key");
                }
                Ok((accepted, Taken::Accepted))
            }
        }
    }

    async fn spend_and_append(
        &self,
        service: &Service,
        id: Uuid,
        request: Request,
        before: impl Future<Output = Result<(), Problem>> + Send,
    ) -> Result<Accepted, Problem> {
        let spent = match self.quotas.of(&service.name) {
            Some(quota) => {
                let taken = self.spend(&quota, recipients(&request))?;
                Some((quota, taken))
            }
            None => None,
        };
        let began = self.clock.mono();
        let is_list = matches!(request.to, Target::Users(_));
        let (name, deliveries) = (service.name.as_str().into(), deliveries(&request));
        let draft = Draft { id, service: service.name.clone(), accepted_at: self.clock.wall(), request };
        let result = match before.await {
            Ok(()) => self.journal.append(draft).await.map_err(|error| append_fault(&error)),
            Err(problem) => Err(problem),
        };
        self.metrics.append_seconds.observe(self.clock.mono().since(began));
        match result {
            Ok(appended) => {
                let partition = (!is_list).then_some(appended.partition);
                self.recent.note(id, Promise { service: name, deliveries, partition });
                let status_url = format!("/v1/notifications/{id}");
                Ok(Accepted { id, seq: appended.seq, durable_in: appended.durable_in, status_url })
            }
            Err(problem) => {
                if let Some((quota, taken)) = spent {
                    lock(&quota).give_back(taken);
                }
                Err(problem)
            }
        }
    }

    fn spend(&self, quota: &Mutex<Quota>, n: u32) -> Result<quota::Taken, Problem> {
        let mut quota = lock(quota);
        let per_minute = quota.per_minute();
        if u64::from(n) > per_minute {
            let why = format!("{n} users are more than this service's quota of {per_minute} a minute");
            return Err(Problem::at(Kind::Contradiction, "/to/users", why));
        }
        quota.take(n, self.clock.mono()).map_err(|spent| {
            let why = format!("{per_minute} recipients a minute are this service's quota");
            Problem::new(Kind::QuotaSpent, why).retry_after(whole_seconds(spent.retry_after))
        })
    }
}

/// Each user of a list counts; a topic and `all` count one.
fn recipients(request: &Request) -> u32 {
    match &request.to {
        Target::Users(users) => u32::try_from(users.len()).unwrap_or(u32::MAX),
        _ => 1,
    }
}

/// One for each recipient and channel.
fn deliveries(request: &Request) -> u32 {
    recipients(request).saturating_mul(u32::try_from(request.channels.len()).unwrap_or(u32::MAX))
}

/// What the service may do.
fn rights(service: &Service, request: &Request) -> Result<(), Problem> {
    let forbidden = |pointer: &str, why: String| Err(Problem::at(Kind::Forbidden, pointer, why));
    if !service.may_send_at(request.priority) {
        let why = format!("this service may not send at priority {}", request.priority.name());
        return forbidden("/priority", why);
    }
    match &request.to {
        Target::All(_) if !service.broadcast => {
            forbidden("/to/all", "this service may not send to everyone".to_owned())
        }
        Target::Topic(topic) if !service.may_send_to_topic(topic) => {
            forbidden("/to/topic", "this service may not send to this topic".to_owned())
        }
        _ => Ok(()),
    }
}

fn append_fault(error: &AppendError) -> Problem {
    match error {
        AppendError::TooLong { .. } => Problem::new(Kind::TooLarge, error.to_string()),
        AppendError::Full { .. } => unavailable(&error.to_string()),
        // What exactly failed is for the log, not for the service.
        AppendError::Unavailable(why) => {
            tracing::warn!(why, "an append failed");
            unavailable("the journal does not answer")
        }
    }
}

fn store_fault(error: &StoreError) -> Problem {
    tracing::warn!(%error, "the store does not answer");
    unavailable("the store does not answer")
}

fn unavailable(why: &str) -> Problem {
    Problem::new(Kind::Unavailable, why).retry_after(RETRY_AFTER_S)
}

/// At least one second: a `Retry-After` of 0 is an invitation to a loop.
fn whole_seconds(wait: Duration) -> u32 {
    u32::try_from(wait.as_micros().div_ceil(1_000_000)).unwrap_or(u32::MAX).max(1)
}
