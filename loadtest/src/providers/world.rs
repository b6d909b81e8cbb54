//! What all simulators share: rules, what came, and numbers for ids.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ops::clock::Clock;
use tokio::sync::watch;
use wire::time::Mono;

use super::Provider;
use super::faults::{Callbacks, Events, Fault, Faults};
use super::received::{Letter, Received};
use super::sns::Topic;
use crate::limits::SIMULATED_TOKENS_MAX;

#[derive(Debug)]
pub(super) struct World {
    faults: Mutex<Faults>,
    received: Arc<Mutex<Received>>,
    ids: AtomicU64,
    /// Access tokens that were given out, and when each ends.
    tokens: Mutex<VecDeque<(String, Mono)>>,
    pub(super) topic: Topic,
    pub(super) clock: Clock,
    /// Changes with the rules.
    changed: watch::Sender<u64>,
}

impl World {
    pub(super) fn new(faults: Faults, clock: Clock) -> World {
        World {
            faults: Mutex::new(faults),
            received: Arc::default(),
            ids: AtomicU64::new(1),
            tokens: Mutex::default(),
            topic: Topic::default(),
            clock,
            changed: watch::Sender::new(0),
        }
    }

    pub(super) fn set_faults(&self, faults: Faults) {
        *lock(&self.faults) = faults;
        self.changed.send_modify(|count| *count += 1);
    }

    /// Tells when there are other rules.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    pub(super) fn fault(&self, provider: Provider, address: &str) -> Option<Fault> {
        lock(&self.faults).next(provider, address)
    }

    pub(super) fn sends_away(&self, provider: Provider) -> bool {
        lock(&self.faults).sends_away(provider)
    }

    pub(super) fn refuses(&self, provider: Provider) -> bool {
        lock(&self.faults).refuses(provider)
    }

    pub(super) fn drains(&self, provider: Provider) -> bool {
        lock(&self.faults).drains(provider)
    }

    pub(super) fn callbacks(&self) -> Callbacks {
        lock(&self.faults).callbacks.clone()
    }

    pub(super) fn events(&self) -> Events {
        lock(&self.faults).events.clone()
    }

    pub(super) fn keep(&self, letter: Letter) {
        lock(&self.received).keep(letter);
    }

    pub(super) fn keeper(&self) -> Keeper {
        Keeper { received: Arc::clone(&self.received), clock: self.clock }
    }

    pub(super) fn received(&self) -> MutexGuard<'_, Received> {
        lock(&self.received)
    }

    pub(super) fn token_life_s(&self) -> u64 {
        lock(&self.faults).token_life_s
    }

    /// A new access token.
    pub(super) fn give_token(&self, life: Duration) -> String {
        let token = format!("ya29.simulated-{:016x}", self.next_id());
        let mut tokens = lock(&self.tokens);
        tokens.push_back((token.clone(), self.clock.mono() + life));
        if tokens.len() > SIMULATED_TOKENS_MAX {
            tokens.pop_front();
        }
        token
    }

    pub(super) fn has_token(&self, token: &str) -> bool {
        let now = self.clock.mono();
        lock(&self.tokens).iter().any(|(known, ends)| known == token && *ends > now)
    }

    /// A number that no other id has.
    pub(super) fn next_id(&self) -> u64 {
        self.ids.fetch_add(1, Ordering::Relaxed)
    }
}

/// For what is told by and by.
#[derive(Debug, Clone)]
pub(super) struct Keeper {
    received: Arc<Mutex<Received>>,
    pub(super) clock: Clock,
}

impl Keeper {
    pub(super) fn keep(&self, letter: Letter) {
        lock(&self.received).keep(letter);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
