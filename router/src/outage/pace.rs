//! The pace of what follows Kafka's outage, for whoever carries it: tells `pacer` what the watcher saw and how far the owner is, and
//! waits as long as it says. Decides nothing.

use std::time::Duration;

use ops::clock::Clock;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use wire::message::Priority;

use super::Shared;
use super::pacer::{Pacer, Seen};
use crate::journal::Positions;

pub(super) struct Pace {
    pacer: Pacer,
    seen: watch::Receiver<Seen>,
    /// How far the owner is.
    taken: watch::Receiver<Positions>,
    clock: Clock,
}

impl Pace {
    /// `per_s_max`: `[router.limits] drain_per_s`.
    pub(super) fn new(per_s_max: u32, taken: watch::Receiver<Positions>, shared: &Shared) -> Pace {
        let clock = shared.clock;
        Pace { pacer: Pacer::new(per_s_max, clock.mono()), seen: shared.seen.subscribe(), taken, clock }
    }

    /// How many of `wanted` may go now. None: that was waited for until it may be otherwise.
    pub(super) async fn take(&mut self, wanted: usize) -> usize {
        if self.seen.has_changed().unwrap_or(false) {
            self.pacer.handle_seen(*self.seen.borrow_and_update());
        }
        let count = self.pacer.take(wanted, &self.taken.borrow_and_update(), self.clock.mono());
        if count == 0 {
            let wait = self.pacer.wait(&self.taken.borrow());
            if let Ok(Err(_owner_gone)) = timeout(wait, self.taken.changed()).await {
                sleep(wait).await;
            }
        }
        count
    }

    /// Kafka has one more, at this offset if it told any.
    pub(super) fn sent(&mut self, lane: (Priority, u32), offset: Option<u64>) {
        if let Some(offset) = offset {
            self.pacer.handle_sent(lane, offset);
        }
    }

    /// What was sent before no longer counts.
    pub(super) fn begin_anew(&mut self) {
        self.pacer.forget_sent();
    }

    /// Waits until the owner has taken what was sent, for so long.
    pub(super) async fn owner_reads(&mut self, within: Duration) {
        let Pace { taken, pacer, .. } = self;
        let _or_never = timeout(within, taken.wait_for(|taken| pacer.is_caught_up(taken))).await;
    }
}
