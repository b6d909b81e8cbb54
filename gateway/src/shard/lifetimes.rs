//! How long a connection stays: an end drawn at random when it opens, if the operator asks for one, so that
//! load spreads over nodes that came later.
//!
//! At its end a connection is told `reconnect`, and closed with 1001 if it is still there after a grace. How
//! many may end in a second is `admission`'s budget: what came in one storm does not leave in another.
//! An end is four bytes beside the slab, there only while lifetimes are on, and looked at when the
//! connection's one timer is due. Called by `presence` and `timeouts`.

use std::time::Duration;

use bytes::Bytes;
use rand::Rng;
use wire::close::CloseCode;
use wire::message::ServerMessage;
use wire::time::Mono;

use crate::limits;
use crate::shard::sockets::Encoded;
use crate::shard::{Key, Now, Shard};

/// The ends of connections, by index, in sixteenths of a second of [`Mono`]: 31 bits are four years.
#[derive(Debug, Default)]
pub(super) struct Lifetimes(Vec<u32>);

const NEVER: u32 = u32::MAX;
const STEP_US: u64 = 62_500;
/// The client was advised to move: what comes at the end is its close.
const ADVISED: u32 = 1 << 31;

impl Lifetimes {
    fn end_at(&mut self, index: u32, at: Mono) {
        let place = index as usize;
        if place >= self.0.len() {
            self.0.resize(place + 1, NEVER);
        }
        self.0[place] = steps(at);
    }

    fn advised(&mut self, index: u32, close_at: Mono) {
        self.end_at(index, close_at);
        self.0[index as usize] |= ADVISED;
    }

    fn forget(&mut self, index: u32) {
        if let Some(end) = self.0.get_mut(index as usize) {
            *end = NEVER;
        }
    }

    /// When this connection's life is to be looked at.
    pub(super) fn next_look(&self, index: u32) -> Option<Mono> {
        let end = *self.0.get(index as usize).filter(|end| **end != NEVER)?;
        Some(Mono(u64::from(end & !ADVISED) * STEP_US))
    }

    fn is_advised(&self, index: u32) -> bool {
        self.0.get(index as usize).is_some_and(|end| *end != NEVER && end & ADVISED != 0)
    }
}

/// Rounded up: never early.
fn steps(at: Mono) -> u32 {
    u32::try_from(at.0.div_ceil(STEP_US)).unwrap_or(NEVER).min(ADVISED - 1)
}

impl Shard {
    /// Draws the end of a connection that opens.
    pub(super) fn begin_life(&mut self, key: Key, now: Now) {
        match self.config.settings.lifetime.clone() {
            None => self.lifetimes.forget(key.index()),
            Some(range) => {
                let drawn_ms = self.random.random_range(millis(*range.start())..=millis(*range.end()));
                self.lifetimes.end_at(key.index(), now.mono + Duration::from_millis(drawn_ms));
            }
        }
    }

    /// Looks whether an open connection's life is over. True: this look was for that.
    pub(super) fn look_at_life(&mut self, key: Key, now: Now) -> bool {
        let index = key.index();
        if self.lifetimes.next_look(index).is_none_or(|at| now.mono < at) {
            return false;
        }
        if self.lifetimes.is_advised(index) {
            self.close_session(key, CloseCode::GoingAway, "", now);
            return true;
        }
        if self.draining.is_some() || self.config.settings.lifetime.is_none() {
            // The drain has a pace of its own, or lifetimes were turned off.
            self.lifetimes.forget(index);
            return false;
        }
        if !self.config.admission.may_retire(now.mono) {
            let interval_ms = millis(self.config.settings.ping_interval);
            let later_ms = self.random.random_range(interval_ms / 2..=interval_ms);
            self.lifetimes.end_at(index, now.mono + Duration::from_millis(later_ms));
            return false;
        }
        let after_ms = self.random.random_range(0..=millis(limits::LIFETIME_ADVICE_MAX));
        let text = ServerMessage::Reconnect { after_ms }.to_json();
        self.sockets.offer(index, &mut Encoded::message(Bytes::from(text)), 1, now);
        self.metrics().retired.inc();
        self.lifetimes.advised(index, now.mono + limits::LIFETIME_GRACE);
        self.arm_ping(key, now);
        true
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
