//! What this router holds, for whoever acts outside the owner's thread: providers' workers and the API.
//!
//! Where several routers share the work, a router that was stopped for a while may go on with what has passed to another. So
//! nobody acts for a partition without asking here: it must be held under the same term, and the brokers must have confirmed
//! the router a moment ago. Owns that knowledge; never decides who holds what. Told by `node::several`. A router
//! alone holds everything, always.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ops::clock::Clock;
use tokio::sync::watch;
use tokio::time::sleep;
use wire::partition::partition_of;
use wire::time::Mono;

use crate::limits::{PROOF_HOLDS_FOR, PROVEN_EVERY};

/// By what right a provider is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    pub partition: u32,
    /// Of the owner that wants it. Never used again by another one.
    pub term: u64,
}

/// Whether this router answers for a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    Ours,
    /// Another router has it, or nobody.
    Elsewhere,
    /// It is ours as far as we know, but the brokers have not said so lately.
    Unproven,
}

/// An owner of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Term {
    pub number: u64,
    /// False: between two assignments. What is for it waits.
    pub is_active: bool,
}

#[derive(Debug, Clone, Default)]
pub struct Tenure(Option<Arc<Shared>>);

/// All that a router answers for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holds {
    /// It is alone.
    Everything,
    /// In order. `is_all`: there are no others.
    Parts { partitions: Vec<u32>, is_all: bool },
    /// The brokers have not confirmed anything lately.
    Unproven,
}

#[derive(Debug)]
struct Shared {
    count: u32,
    clock: Clock,
    held: Mutex<Held>,
    changed: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct Held {
    terms: BTreeMap<u32, Term>,
    proven: Option<Mono>,
    /// No call begins: the partitions are about to go.
    paused: bool,
    /// Calls that are out.
    out: usize,
}

impl Tenure {
    /// Of one router that is alone.
    pub fn alone() -> Tenure {
        Tenure(None)
    }

    /// Of one of several, which holds nothing yet.
    pub fn of_one_of_several(count: u32, clock: Clock) -> Tenure {
        let changed = watch::Sender::new(());
        Tenure(Some(Arc::new(Shared { count, clock, held: Mutex::default(), changed })))
    }

    pub fn is_alone(&self) -> bool {
        self.0.is_none()
    }

    /// From here on these are held, under these terms.
    pub fn hold(&self, terms: BTreeMap<u32, Term>) {
        self.change(|held| {
            held.terms = terms;
            held.paused = false;
        });
    }

    /// The brokers took a transaction that began then.
    pub fn prove(&self, at: Mono) {
        self.change(|held| held.proven = Some(at));
    }

    /// No call begins until something is held again.
    pub fn pause(&self) {
        self.change(|held| held.paused = true);
    }

    /// A call has been answered.
    pub fn answered(&self) {
        self.change(|held| held.out = held.out.saturating_sub(1));
    }

    /// Calls that began and are not answered.
    pub fn out(&self) -> usize {
        self.0.as_ref().map_or(0, |shared| shared.held().out)
    }

    fn change(&self, change: impl FnOnce(&mut Held)) {
        if let Some(shared) = &self.0 {
            change(&mut shared.held());
            shared.changed.send_replace(());
        }
    }

    pub fn of_user(&self, user: &str) -> Standing {
        self.0.as_ref().map_or(Standing::Ours, |shared| shared.standing(partition_of(user, shared.count)))
    }

    pub fn of(&self, partition: u32) -> Standing {
        self.0.as_ref().map_or(Standing::Ours, |shared| shared.standing(partition))
    }

    /// What this router answers for.
    pub fn held(&self) -> Holds {
        let Some(shared) = &self.0 else { return Holds::Everything };
        let held = shared.held();
        if !shared.is_proven(&held) {
            return Holds::Unproven;
        }
        let active = held.terms.iter().filter(|(_, term)| term.is_active);
        let partitions: Vec<u32> = active.map(|(partition, _)| *partition).collect();
        let is_all = partitions.len() == shared.count as usize;
        Holds::Parts { partitions, is_all }
    }

    /// Waits until a call may be made. False: it is another's by now.
    pub async fn begin(&self, claim: Option<Claim>) -> bool {
        let (Some(shared), Some(claim)) = (&self.0, claim) else { return true };
        let mut changed = shared.changed.subscribe();
        loop {
            changed.mark_unchanged();
            if let Some(begun) = shared.begin(claim) {
                return begun;
            }
            tokio::select! {
                _ = changed.changed() => {}
                () = sleep(PROVEN_EVERY) => {}
            }
        }
    }
}

impl Shared {
    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_proven(&self, held: &Held) -> bool {
        held.proven.is_some_and(|at| self.clock.mono().since(at) < PROOF_HOLDS_FOR)
    }

    fn standing(&self, partition: u32) -> Standing {
        let held = self.held();
        match held.terms.get(&partition) {
            None => Standing::Elsewhere,
            Some(term) if term.is_active && self.is_proven(&held) => Standing::Ours,
            Some(_) => Standing::Unproven,
        }
    }

    /// `None`: it is not known now.
    fn begin(&self, claim: Claim) -> Option<bool> {
        let mut held = self.held();
        let term = held.terms.get(&claim.partition).filter(|term| term.number == claim.term);
        let Some(term) = term.copied() else { return Some(false) };
        let may = term.is_active && !held.paused && self.is_proven(&held);
        held.out += usize::from(may);
        may.then_some(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenure() -> (Tenure, Clock) {
        let clock = Clock::start();
        let tenure = Tenure::of_one_of_several(4, clock);
        hold(&tenure, 7, true);
        (tenure, clock)
    }

    fn hold(tenure: &Tenure, number: u64, is_active: bool) {
        tenure.hold([(1, Term { number, is_active })].into());
    }

    fn begin(tenure: &Tenure, term: u64) -> Option<bool> {
        tenure.0.as_ref().expect("one of several").begin(Claim { partition: 1, term })
    }

    #[test]
    fn nothing_is_done_without_a_fresh_proof() {
        let (tenure, clock) = tenure();
        assert_eq!((tenure.of(1), tenure.of(2)), (Standing::Unproven, Standing::Elsewhere));
        assert_eq!(begin(&tenure, 7), None);
        tenure.prove(clock.mono());
        assert_eq!((tenure.of(1), tenure.of(2)), (Standing::Ours, Standing::Elsewhere));
        assert_eq!((begin(&tenure, 7), tenure.out()), (Some(true), 1));
    }

    #[test]
    fn a_call_of_an_earlier_term_is_dropped_and_one_of_a_leaving_router_waits() {
        let (tenure, clock) = tenure();
        tenure.prove(clock.mono());
        assert_eq!(begin(&tenure, 6), Some(false));
        tenure.pause();
        assert_eq!(begin(&tenure, 7), None);
        hold(&tenure, 7, false);
        assert_eq!((begin(&tenure, 7), tenure.of(1)), (None, Standing::Unproven), "between two assignments");
        hold(&tenure, 8, true);
        assert_eq!((begin(&tenure, 7), begin(&tenure, 8)), (Some(false), Some(true)));
        tenure.hold(BTreeMap::new());
        assert_eq!((begin(&tenure, 8), tenure.out()), (Some(false), 1));
    }

    #[test]
    fn a_router_alone_holds_everything() {
        let alone = Tenure::alone();
        assert_eq!((alone.of(9), alone.of_user("u")), (Standing::Ours, Standing::Ours));
        assert_eq!(alone.held(), Holds::Everything);
    }
}
