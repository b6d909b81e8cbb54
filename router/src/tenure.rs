//! What this router holds, for whoever acts outside the owner's thread: providers' workers and the API.
//!
//! Where several routers share the work, a router that was stopped for a while may go on with what has passed to another. So
//! nobody acts for a partition without asking here: it must be held under the same term, and the brokers must have confirmed
//! the router a moment ago. And it counts the calls that are out, so that partitions are not given up, nor the router ended, before
//! providers have answered. Owns that knowledge; never decides who holds what. Told by `node::several`, `node::run` and
//! whoever calls. A router alone holds everything, always.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ops::clock::Clock;
use tokio::sync::watch;
use tokio::time::sleep;
use wire::partition::partition_of;
use wire::time::Mono;

use crate::limits::{PROOF_HOLDS_FOR, PROVEN_EVERY};

/// By what right a provider is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
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

/// Whether somebody is asked to carry a delivery out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begun {
    /// Yes, and it counts as out until it is answered.
    Yes,
    /// It is another router's by now.
    Elsewhere,
    /// Nobody wants it any more.
    Over,
}

#[derive(Debug, Clone)]
pub struct Tenure(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// `None`: this router is alone.
    several: Option<Several>,
    held: Mutex<Held>,
    changed: watch::Sender<()>,
    /// Something else is held, or nothing more begins.
    news: watch::Sender<()>,
}

#[derive(Debug)]
struct Several {
    count: u32,
    clock: Clock,
}

#[derive(Debug, Default)]
struct Held {
    terms: BTreeMap<u32, Term>,
    proven: Option<Mono>,
    /// No call begins: the partitions are about to go.
    paused: bool,
    /// Nor will one ever: the router is about to go.
    ended: bool,
    /// Calls that are out, by the right by which they are made.
    out: BTreeMap<Option<Claim>, usize>,
}

impl Tenure {
    /// Of one router that is alone.
    pub fn alone() -> Tenure {
        Tenure::new(None)
    }

    /// Of one of several, which holds nothing yet.
    pub fn of_one_of_several(count: u32, clock: Clock) -> Tenure {
        Tenure::new(Some(Several { count, clock }))
    }

    fn new(several: Option<Several>) -> Tenure {
        let (changed, news) = (watch::Sender::new(()), watch::Sender::new(()));
        Tenure(Arc::new(Shared { several, held: Mutex::default(), changed, news }))
    }

    pub fn is_alone(&self) -> bool {
        self.0.several.is_none()
    }

    /// From here on these are held, under these terms. What was called under others nobody waits for.
    pub fn hold(&self, terms: BTreeMap<u32, Term>) {
        self.change(|held| {
            held.out.retain(|claim, _| claim.is_none_or(|claim| is_current(&terms, claim)));
            held.terms = terms;
        });
        self.0.news.send_replace(());
    }

    /// The brokers took a transaction that began then.
    pub fn prove(&self, at: Mono) {
        self.change(|held| held.proven = Some(at));
    }

    /// No call begins until there is another assignment.
    pub fn pause(&self) {
        self.change(|held| held.paused = true);
        self.0.news.send_replace(());
    }

    /// There is one.
    pub fn go_on(&self) {
        self.change(|held| held.paused = false);
    }

    /// No provider is called any more.
    pub fn end(&self) {
        self.change(|held| held.ended = true);
        self.0.news.send_replace(());
    }

    pub fn has_ended(&self) -> bool {
        self.0.held().ended
    }

    /// No provider is called for now.
    pub fn is_paused(&self) -> bool {
        let held = self.0.held();
        held.paused || held.ended
    }

    /// So many calls have been answered.
    pub fn answered(&self, claim: Option<Claim>, calls: usize) {
        if let Some(out) = self.0.held().out.get_mut(&claim) {
            *out = out.saturating_sub(calls);
        }
    }

    /// Calls that began and are not answered.
    pub fn out(&self) -> usize {
        self.0.held().out.values().sum()
    }

    fn change(&self, change: impl FnOnce(&mut Held)) {
        change(&mut self.0.held());
        self.0.changed.send_replace(());
    }

    pub fn of_user(&self, user: &str) -> Standing {
        let several = self.0.several.as_ref();
        several.map_or(Standing::Ours, |several| self.0.standing(several, partition_of(user, several.count)))
    }

    pub fn of(&self, partition: u32) -> Standing {
        self.0.several.as_ref().map_or(Standing::Ours, |several| self.0.standing(several, partition))
    }

    /// What this router answers for.
    pub fn held(&self) -> Holds {
        let Some(several) = &self.0.several else { return Holds::Everything };
        let held = self.0.held();
        if !several.is_proven(&held) {
            return Holds::Unproven;
        }
        let active = held.terms.iter().filter(|(_, term)| term.is_active);
        let partitions: Vec<u32> = active.map(|(partition, _)| *partition).collect();
        let is_all = partitions.len() == several.count as usize;
        Holds::Parts { partitions, is_all }
    }

    /// Whether a call has passed to another router, or to a later owner.
    pub fn is_over(&self, claim: Option<Claim>) -> bool {
        self.over()(claim)
    }

    /// The same of many, as of now.
    pub fn over(&self) -> impl Fn(Option<Claim>) -> bool {
        let terms = (!self.is_alone()).then(|| self.0.held().terms.clone());
        move |claim| terms.as_ref().zip(claim).is_some_and(|(terms, claim)| !is_current(terms, claim))
    }

    /// Waits until a provider may be called, for as long as that is wanted, which may depend on whether none is called for now.
    pub async fn begin(&self, claim: Option<Claim>, is_wanted: impl Fn(bool) -> bool) -> Begun {
        self.begin_if(claim, |held| !held.ended, is_wanted).await
    }

    /// Waits until something may be done for a claim that stays in this router, also when it is about to end.
    pub async fn begin_here(&self, claim: Option<Claim>) -> Begun {
        self.begin_if(claim, |_| true, |_| true).await
    }

    async fn begin_if(
        &self,
        claim: Option<Claim>,
        may: impl Fn(&Held) -> bool,
        is_wanted: impl Fn(bool) -> bool,
    ) -> Begun {
        let mut changed = self.0.changed.subscribe();
        loop {
            changed.mark_unchanged();
            if !is_wanted(self.is_paused()) {
                return Begun::Over;
            }
            if let Some(begun) = self.0.begin(claim, &may) {
                return if begun { Begun::Yes } else { Begun::Elsewhere };
            }
            tokio::select! {
                _ = changed.changed() => {}
                () = sleep(PROVEN_EVERY) => {}
            }
        }
    }

    /// Changes when something else is held, or nothing more begins.
    pub fn news(&self) -> watch::Receiver<()> {
        self.0.news.subscribe()
    }
}

fn is_current(terms: &BTreeMap<u32, Term>, claim: Claim) -> bool {
    terms.get(&claim.partition).is_some_and(|term| term.number == claim.term)
}

impl Several {
    fn is_proven(&self, held: &Held) -> bool {
        held.proven.is_some_and(|at| self.clock.mono().since(at) < PROOF_HOLDS_FOR)
    }
}

impl Shared {
    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn standing(&self, several: &Several, partition: u32) -> Standing {
        let held = self.held();
        match held.terms.get(&partition) {
            None => Standing::Elsewhere,
            Some(term) if term.is_active && several.is_proven(&held) => Standing::Ours,
            Some(_) => Standing::Unproven,
        }
    }

    /// `None`: it is not known now.
    fn begin(&self, claim: Option<Claim>, is_allowed: impl Fn(&Held) -> bool) -> Option<bool> {
        let mut held = self.held();
        let may = match (&self.several, claim) {
            (Some(several), Some(claim)) => {
                let term = held.terms.get(&claim.partition).filter(|term| term.number == claim.term);
                let Some(term) = term else { return Some(false) };
                term.is_active && several.is_proven(&held)
            }
            _ => true,
        };
        let begins = may && !held.paused && is_allowed(&held);
        if begins {
            *held.out.entry(claim).or_default() += 1;
        }
        begins.then_some(true)
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
        tenure.0.begin(Some(Claim { partition: 1, term }), |held| !held.ended)
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
        tenure.go_on();
        hold(&tenure, 7, false);
        assert_eq!((begin(&tenure, 7), tenure.of(1)), (None, Standing::Unproven), "between two assignments");
        hold(&tenure, 8, true);
        assert_eq!((begin(&tenure, 7), begin(&tenure, 8)), (Some(false), Some(true)));
        assert_eq!(tenure.out(), 1);
        tenure.hold(BTreeMap::new());
        assert_eq!((begin(&tenure, 8), tenure.out()), (Some(false), 0));
    }

    #[test]
    fn calls_are_out_until_they_are_answered_or_their_term_is_over() {
        let (tenure, clock) = tenure();
        tenure.prove(clock.mono());
        let claim = |term| Some(Claim { partition: 1, term });
        for _ in 0..3 {
            assert_eq!(begin(&tenure, 7), Some(true));
        }
        tenure.answered(claim(7), 2);
        assert_eq!(tenure.out(), 1);
        // One letter of a call went out, the other did not: nobody will answer for the call.
        hold(&tenure, 8, true);
        assert_eq!(tenure.out(), 0, "the heir makes it again");
        assert_eq!(begin(&tenure, 8), Some(true));
        tenure.answered(claim(7), 1);
        assert_eq!(tenure.out(), 1, "a late answer is not that of the call that is out");
        tenure.answered(claim(8), 1);
        assert_eq!(tenure.out(), 0);
        assert!(tenure.is_over(claim(7)) && !tenure.is_over(claim(8)) && !tenure.is_over(None));
    }

    #[test]
    fn a_router_alone_holds_everything_and_counts_its_calls() {
        let alone = Tenure::alone();
        assert_eq!((alone.of(9), alone.of_user("u")), (Standing::Ours, Standing::Ours));
        assert_eq!(alone.held(), Holds::Everything);
        let provider = || alone.0.begin(None, |held| !held.ended);
        assert_eq!((provider(), alone.out()), (Some(true), 1));
        alone.answered(None, 1);
        alone.end();
        assert_eq!((provider(), alone.out()), (None, 0), "it is about to go");
        alone.go_on();
        assert_eq!(provider(), None);
        assert_eq!(alone.0.begin(None, |_| true), Some(true), "the outbox is here");
    }
}
