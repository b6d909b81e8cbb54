//! Parts of a run that are counted apart, one behind the other on the same connections: what a comparison measures. Part of the
//! `engine` porch: the run says which part it is, the threads count copies into it and hand it back.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::{Engine, Engines};
use crate::counts::{Copies, Counts};
use crate::fleet::Fleet;
use crate::marker::Marker;
use crate::percentiles::Latencies;
use crate::posts::Posts;
use crate::tally::Tally;

/// Messages that every client which is in must get.
#[derive(Debug, Clone)]
pub struct Part {
    pub posts: Arc<Posts>,
    /// Its own, so that a late copy of an earlier part is nobody's.
    pub marker: Marker,
}

/// What one thread counted of a part.
#[derive(Debug)]
pub struct PartResult {
    pub tally: Tally,
    pub latency: Latencies,
    pub copies: Copies,
}

/// What the run and its threads tell each other about parts.
#[derive(Debug, Default)]
pub(super) struct Parts {
    /// Raised with every begin and every end.
    number: AtomicU32,
    current: Mutex<Option<Part>>,
    /// Threads that know of the current number.
    armed: AtomicU32,
    /// Copies that came so far, all parts together.
    heard: AtomicU64,
    results: Mutex<Vec<PartResult>>,
}

/// A thread's own view.
#[derive(Debug, Default)]
pub(super) struct Seen {
    number: u32,
    heard: u64,
    before: Counts,
}

impl Engines {
    /// From here on copies of this part are counted, once [`Engines::is_part_armed`].
    pub fn begin_part(&self, part: Part) {
        self.turn_to(Some(part));
    }

    /// Ends it; [`Engines::take_parts`] has the results once [`Engines::is_part_armed`] again.
    pub fn end_part(&self) {
        self.turn_to(None);
    }

    fn turn_to(&self, part: Option<Part>) {
        let parts = &self.shared.parts;
        *parts.current.lock().unwrap_or_else(PoisonError::into_inner) = part;
        parts.armed.store(0, Ordering::Release);
        parts.number.fetch_add(1, Ordering::Release);
        self.wake();
    }

    /// Does every thread know of the last begin or end?
    pub fn is_part_armed(&self) -> bool {
        self.shared.parts.armed.load(Ordering::Acquire) as usize == self.notifiers.len()
    }

    /// Copies that came since the start, all parts together.
    pub fn copies_heard(&self) -> u64 {
        self.shared.parts.heard.load(Ordering::Acquire)
    }

    pub fn take_parts(&self) -> Vec<PartResult> {
        std::mem::take(&mut *self.shared.parts.results.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Engine {
    pub(super) fn obey_parts(&mut self, parts: &Parts) {
        let number = parts.number.load(Ordering::Acquire);
        if number == self.part.number {
            return;
        }
        self.part.number = number;
        if let Some(result) = hand_back(&mut self.fleet, &self.part.before) {
            parts.results.lock().unwrap_or_else(PoisonError::into_inner).push(result);
        }
        if let Some(part) = parts.current.lock().unwrap_or_else(PoisonError::into_inner).clone() {
            self.part.before = self.fleet.journal().counts.clone();
            self.fleet.begin_part(part.posts, part.marker);
        }
        parts.armed.fetch_add(1, Ordering::Release);
    }

    pub(super) fn tell_parts(&mut self, parts: &Parts) {
        let heard = self.fleet.journal().counts.received;
        if heard != self.part.heard {
            parts.heard.fetch_add(heard - self.part.heard, Ordering::Release);
            self.part.heard = heard;
        }
    }
}

fn hand_back(fleet: &mut Fleet, before: &Counts) -> Option<PartResult> {
    let (tally, latency) = fleet.end_part()?;
    Some(PartResult { tally, latency, copies: fleet.journal().counts.copies_since(before) })
}
