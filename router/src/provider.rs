//! What carries a delivery out of the system: push, e-mail, SMS, voice.
//!
//! Owns the trait that a provider is, which provider has which channel, and the workers between them and the owner.
//! Never decides whether something is tried again: a provider's answer is data, the owner's ledger does the rest.
//!
//! To add a provider: a file beside `outbox.rs`, its section in `config/file.rs`, its line in [`Providers::new`].

use std::sync::Arc;

use async_trait::async_trait;
use ops::clock::Clock;
use tokio::sync::{Semaphore, mpsc};

use crate::limits::{PROVIDER_CALLS_AT_ONCE_MAX, PROVIDER_QUEUE_MAX};
use crate::metrics::Metrics;
use crate::node::inputs::Input;
use crate::owner::{Done, Outcome, ProviderCall};
use crate::record::Channel;
use crate::tenure::{Begun, Tenure};

mod aes128gcm;
pub mod apns;
pub mod callback;
pub mod caps;
pub mod carriers;
pub mod classify;
pub mod delivery;
pub mod dispatch;
pub mod fcm;
mod google;
pub mod health;
pub mod http;
mod jwt;
pub mod kept;
pub mod keys;
pub mod lane;
pub mod letter;
mod mail;
pub mod origins;
pub mod outbox;
mod payload;
pub mod policy;
mod public;
pub mod reply;
pub mod segments;
pub mod ses;
mod sigv4;
pub mod smtp;
pub mod stationery;
pub mod trust;
pub mod twilio;
pub mod unreached;
pub mod way;
pub mod webpush;
pub mod words;

/// One way out. Called again under the same delivery after a crash, so it is idempotent by delivery where it can be,
/// and answers [`Outcome::Unknown`] where it cannot know.
#[async_trait]
pub trait Provider: Send + Sync {
    /// For logs and metrics.
    fn name(&self) -> &'static str;

    async fn send(&self, call: &ProviderCall) -> Outcome;
}

/// Each channel's provider.
pub struct Providers {
    by_channel: [Option<Arc<dyn Provider>>; Channel::ALL.len()],
}

impl std::fmt::Debug for Providers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = self.by_channel.iter().map(|one| one.as_ref().map(|provider| provider.name()));
        f.debug_list().entries(names).finish()
    }
}

impl Providers {
    /// Every channel that leaves the system is kept in the outbox.
    pub fn new(outbox: &Arc<outbox::Outbox>) -> Providers {
        let by_channel = Channel::ALL
            .map(|channel| (channel != Channel::Inapp).then(|| Arc::clone(outbox) as Arc<dyn Provider>));
        Providers { by_channel }
    }

    pub fn of(&self, channel: Channel) -> Option<&Arc<dyn Provider>> {
        self.by_channel[channel as usize].as_ref()
    }
}

/// The queues to the workers, one a channel, each bounded.
#[derive(Debug)]
pub struct Queues {
    by_channel: [mpsc::Sender<ProviderCall>; Channel::ALL.len()],
}

impl Queues {
    /// Starts the workers on the current runtime. They end when the queues are dropped and their calls answered.
    pub fn start(
        providers: &Providers,
        inputs: &mpsc::Sender<Input>,
        tenure: &Tenure,
        clock: Clock,
        metrics: &Arc<Metrics>,
    ) -> Queues {
        let by_channel = Channel::ALL.map(|channel| {
            let (queue, calls) = mpsc::channel(PROVIDER_QUEUE_MAX);
            let worker = Worker {
                provider: providers.of(channel).cloned(),
                inputs: inputs.clone(),
                tenure: tenure.clone(),
                clock,
                metrics: Arc::clone(metrics),
            };
            tokio::spawn(worker.run(calls));
            queue
        });
        Queues { by_channel }
    }

    /// Gives the call back if its channel's queue is full.
    pub fn offer(&self, call: ProviderCall) -> Option<ProviderCall> {
        use mpsc::error::TrySendError;
        match self.by_channel[call.delivery.channel as usize].try_send(call) {
            Ok(()) => None,
            Err(TrySendError::Full(call) | TrySendError::Closed(call)) => Some(call),
        }
    }

    /// Waits until the channel's queue has room; with its worker gone, for ever.
    pub async fn room(&self, channel: Channel) {
        if self.by_channel[channel as usize].reserve().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// One channel's calls, a bounded number at once.
#[derive(Clone)]
struct Worker {
    provider: Option<Arc<dyn Provider>>,
    inputs: mpsc::Sender<Input>,
    tenure: Tenure,
    clock: Clock,
    metrics: Arc<Metrics>,
}

impl Worker {
    async fn run(self, mut calls: mpsc::Receiver<ProviderCall>) {
        let room = Arc::new(Semaphore::new(PROVIDER_CALLS_AT_ONCE_MAX));
        while let Some(call) = calls.recv().await {
            let permit = Arc::clone(&room).acquire_owned().await.expect("the semaphore is never closed");
            let worker = self.clone();
            tokio::spawn(async move {
                worker.answer(call).await;
                drop(permit);
            });
        }
    }

    async fn answer(&self, call: ProviderCall) {
        if self.tenure.begin_here(call.claim).await != Begun::Yes {
            // Whoever owns the partition now has the row, and makes the call.
            return;
        }
        let outcome = match &self.provider {
            Some(provider) => provider.send(&call).await,
            None => Outcome::Drop { reason: "no provider has this channel".to_owned() },
        };
        self.metrics.delivered(call.delivery.channel, call.begins_at, self.clock.wall());
        // With the owner gone the answer is lost: it asks again after a restart, under the same delivery.
        let done = Done { delivery: call.delivery, claim: call.claim, outcome };
        let _the_owner_is_gone = self.inputs.send(Input::Outcome(done)).await;
    }
}
