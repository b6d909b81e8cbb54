//! Before, during and after a storm: to which part a copy of a message belongs, and the latencies of each. Pure but for two
//! numbers that all threads share. Called by `run` (which says when it is what) and by `receipts`.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use wire::time::Mono;

use crate::percentiles::Latencies;

/// When the storm began and when it was over; 0: not yet.
#[derive(Debug, Default)]
pub struct Phases {
    cut_us: AtomicU64,
    over_us: AtomicU64,
}

/// A part of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// It arrived before anything was cut.
    Before,
    /// It arrived later, and was meant to be posted before everybody was back.
    During,
    After,
}

impl Phases {
    pub fn mark_cut(&self, now: Mono) {
        self.cut_us.store(now.0, Ordering::Release);
    }

    pub fn mark_over(&self, now: Mono) {
        self.over_us.store(now.0, Ordering::Release);
    }

    pub fn of(&self, intended: Mono, arrived: Mono) -> Phase {
        let (cut, over) = (self.cut_us.load(Ordering::Acquire), self.over_us.load(Ordering::Acquire));
        if cut == 0 || arrived.0 < cut {
            Phase::Before
        } else if over == 0 || intended.0 < over {
            Phase::During
        } else {
            Phase::After
        }
    }
}

/// Intended post → socket, for each part.
#[derive(Debug, Clone, Default)]
pub struct PhaseLatencies {
    pub before: Latencies,
    pub during: Latencies,
    pub after: Latencies,
    /// Those of `during` that came live to clients that lost nothing.
    pub survivors: Latencies,
}

impl PhaseLatencies {
    pub fn record(&mut self, phase: Phase, survivor: bool, latency: Duration) {
        match phase {
            Phase::Before => self.before.record(latency),
            Phase::During => {
                self.during.record(latency);
                if survivor {
                    self.survivors.record(latency);
                }
            }
            Phase::After => self.after.record(latency),
        }
    }

    pub fn merge(&mut self, other: &PhaseLatencies) {
        self.before.merge(&other.before);
        self.during.merge(&other.during);
        self.after.merge(&other.after);
        self.survivors.merge(&other.survivors);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_that_crosses_the_cut_belongs_to_the_storm() {
        let phases = Phases::default();
        assert_eq!(phases.of(Mono(1), Mono(2)), Phase::Before);
        phases.mark_cut(Mono(100));
        assert_eq!(phases.of(Mono(90), Mono(99)), Phase::Before);
        assert_eq!(phases.of(Mono(90), Mono(5_000)), Phase::During);
        phases.mark_over(Mono(900));
        assert_eq!(phases.of(Mono(899), Mono(5_000)), Phase::During);
        assert_eq!(phases.of(Mono(900), Mono(901)), Phase::After);
    }
}
