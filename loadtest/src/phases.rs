//! Before, during and after a storm: to which part a copy of a message belongs, and the latencies of each. Pure but for three
//! numbers that all threads share. Called by `run` (which says when it is what) and by `receipts`.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use wire::time::Mono;

use crate::percentiles::Latencies;

/// Connections are still being lost for so long after the last one that was.
const LOSS_PAUSE: Duration = Duration::from_millis(200);

/// When the storm began, when a connection was last seen to be lost in it, and when it was over; 0: not yet.
#[derive(Debug, Default)]
pub struct Phases {
    cut_us: AtomicU64,
    last_loss: AtomicU64,
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

    pub fn mark_loss(&self, now: Mono) {
        self.last_loss.store(now.0, Ordering::Release);
    }

    /// Whether connections were still being lost when a copy was meant to be posted: what the servers' host closes and the clients
    /// hear of is beside it then.
    pub fn is_losing(&self, intended: Mono) -> bool {
        let last = self.cut_us.load(Ordering::Acquire).max(self.last_loss.load(Ordering::Acquire));
        intended <= Mono(last) + LOSS_PAUSE
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
    /// Those of `survivors` that were meant to be posted while others' connections were still being lost, and later.
    pub survivors_losing: Latencies,
    pub survivors_later: Latencies,
}

/// Who got a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// A client that lost its connection, or one that had it from a sync.
    Returned,
    /// A client that lost nothing; whether others were still losing theirs.
    Survivor { losing: bool },
}

impl PhaseLatencies {
    pub fn record(&mut self, phase: Phase, whose: Whose, latency: Duration) {
        match phase {
            Phase::Before => self.before.record(latency),
            Phase::During => {
                self.during.record(latency);
                if let Whose::Survivor { losing } = whose {
                    self.survivors.record(latency);
                    let part = if losing { &mut self.survivors_losing } else { &mut self.survivors_later };
                    part.record(latency);
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
        self.survivors_losing.merge(&other.survivors_losing);
        self.survivors_later.merge(&other.survivors_later);
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

    #[test]
    fn a_survivors_copy_is_told_apart_by_whether_others_were_still_losing_theirs() {
        let phases = Phases::default();
        phases.mark_cut(Mono(1_000_000));
        assert!(phases.is_losing(Mono(999_000)) && phases.is_losing(Mono(1_100_000)));
        assert!(!phases.is_losing(Mono(1_300_000)));
        phases.mark_loss(Mono(4_000_000));
        assert!(phases.is_losing(Mono(1_300_000)) && phases.is_losing(Mono(4_200_000)));
        assert!(!phases.is_losing(Mono(4_200_001)));
        let mut latencies = PhaseLatencies::default();
        for (whose, ms) in [
            (Whose::Survivor { losing: true }, 500),
            (Whose::Survivor { losing: false }, 5),
            (Whose::Returned, 9_000),
        ] {
            latencies.record(Phase::During, whose, Duration::from_millis(ms));
        }
        let p99 = |latencies: &Latencies| latencies.summary().map(|summary| summary.p99.round());
        assert_eq!(p99(&latencies.survivors_losing), Some(500.0));
        assert_eq!(p99(&latencies.survivors_later), Some(5.0));
        assert_eq!((latencies.survivors.count(), latencies.during.count()), (2, 3));
    }
}
