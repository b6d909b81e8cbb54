//! Whether a node takes another connection.
//!
//! Owns the count of live sockets over all shards and the accept budget. Both are atomics that every shard
//! shares: a shard reserves a place before it looks at a connection, so that the hard limit is never passed
//! by one. How many sockets a user or an address has is `census`'s to know. Never touches a socket, reads a clock or draws from global randomness. Called by each shard
//! (`shard`) and by the admin listener.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use wire::time::Mono;

use crate::limits::{ACCEPT_BURST, RETIRE_FRACTION, RETRY_AFTER_S};

/// What becomes of a connection that the kernel accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// A place is reserved: [`Admission::release`] must follow.
    Accept,
    /// A place is reserved for as long as the refusal takes: [`Admission::release`] must follow.
    Refuse(Refusal),
    /// Close it at once, unread. Nothing is reserved.
    Reset,
}

/// Why a connection is refused, in words that are metric labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The soft limit is reached.
    OverSoft,
    /// More came in this second than the accept budget allows.
    OverRate,
    Draining,
    /// Its address has as many as it may have.
    FullAddress,
}

/// The limits of one node. Changed by a reload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AdmissionLimits {
    /// Sockets from which on new ones are refused.
    pub soft: u64,
    /// Sockets that are never exceeded.
    pub hard: u64,
    /// Connections a second.
    pub accept_rate: u64,
}

impl AdmissionLimits {
    /// The same where there is room for `room` only: `hard` is cut to that, and `soft` in proportion, so that
    /// clients are still refused in words before they are refused without.
    pub fn within(self, room: u64) -> AdmissionLimits {
        if self.hard <= room {
            return self;
        }
        let soft = u128::from(self.soft) * u128::from(room) / u128::from(self.hard);
        AdmissionLimits { soft: u64::try_from(soft).unwrap_or(room), hard: room, ..self }
    }
}

/// Shared by all shards of a node.
#[derive(Debug)]
pub struct Admission {
    live: AtomicU64,
    soft: AtomicU64,
    hard: AtomicU64,
    accept_rate: AtomicU64,
    /// When the accept budget is whole again, in nanoseconds of [`Mono`] (the generic cell rate algorithm).
    budget_whole_ns: AtomicU64,
    /// The same for connections whose lifetime is over.
    retire_whole_ns: AtomicU64,
    draining: AtomicBool,
}

const NS_PER_S: u64 = 1_000_000_000;

impl Admission {
    pub fn new(limits: AdmissionLimits) -> Admission {
        let admission = Admission {
            live: AtomicU64::new(0),
            soft: AtomicU64::new(0),
            hard: AtomicU64::new(0),
            accept_rate: AtomicU64::new(0),
            budget_whole_ns: AtomicU64::new(0),
            retire_whole_ns: AtomicU64::new(0),
            draining: AtomicBool::new(false),
        };
        admission.set_limits(limits);
        admission
    }

    /// Lowering the hard limit below what is live closes nobody; it only lets nobody in.
    pub fn set_limits(&self, limits: AdmissionLimits) {
        self.soft.store(limits.soft, Ordering::Relaxed);
        self.hard.store(limits.hard, Ordering::Relaxed);
        self.accept_rate.store(limits.accept_rate.max(1), Ordering::Relaxed);
    }

    pub fn limits(&self) -> AdmissionLimits {
        AdmissionLimits {
            soft: self.soft.load(Ordering::Relaxed),
            hard: self.hard.load(Ordering::Relaxed),
            accept_rate: self.accept_rate.load(Ordering::Relaxed),
        }
    }

    /// Decides about one accepted socket and reserves its place.
    pub fn admit(&self, now: Mono) -> Verdict {
        let Some(live_before) = self.reserve() else { return Verdict::Reset };
        if self.is_draining() {
            return Verdict::Refuse(Refusal::Draining);
        }
        if live_before >= self.soft.load(Ordering::Relaxed) {
            return Verdict::Refuse(Refusal::OverSoft);
        }
        if !self.take_from_budget(now) {
            return Verdict::Refuse(Refusal::OverRate);
        }
        Verdict::Accept
    }

    /// Reserves a place for one that is refused whatever the node's state: it takes nothing from the budget.
    pub fn admit_refused(&self, why: Refusal) -> Verdict {
        self.reserve().map_or(Verdict::Reset, |_| Verdict::Refuse(why))
    }

    /// How many had a place before; `None` at the hard limit.
    fn reserve(&self) -> Option<u64> {
        let hard = self.hard.load(Ordering::Relaxed);
        self.live
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |live| (live < hard).then_some(live + 1))
            .ok()
    }

    /// Gives back the place of an admitted or refused socket that is closed now.
    pub fn release(&self) {
        let before = self.live.fetch_sub(1, Ordering::Relaxed);
        assert!(before > 0, "a place was given back that nobody had");
    }

    /// Sockets that hold a place.
    pub fn live(&self) -> u64 {
        self.live.load(Ordering::Relaxed)
    }

    /// What a connection that came now would be told, without taking anything. Whoever asks holds a place,
    /// which is not counted.
    pub fn outlook(&self, now: Mono) -> Result<(), Refusal> {
        if self.is_draining() {
            Err(Refusal::Draining)
        } else if self.live().saturating_sub(1) >= self.soft.load(Ordering::Relaxed) {
            Err(Refusal::OverSoft)
        } else if !self.budget_allows(self.budget_whole_ns.load(Ordering::Relaxed), now) {
            Err(Refusal::OverRate)
        } else {
            Ok(())
        }
    }

    /// Whether a load balancer should send anybody here: not at the hard limit and not while draining. At the
    /// soft limit it should, so that the refusal keeps its `Retry-After`.
    pub fn is_ready(&self) -> bool {
        !self.is_draining() && self.live() < self.hard.load(Ordering::Relaxed)
    }

    pub fn start_draining(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Whether one more connection whose lifetime is over may be told to move now: a part of the accept budget,
    /// since other nodes, or this one, have to take it.
    pub fn may_retire(&self, now: Mono) -> bool {
        let rate = (self.accept_rate.load(Ordering::Relaxed) / RETIRE_FRACTION).max(1);
        take(&self.retire_whole_ns, NS_PER_S / rate, now)
    }

    fn take_from_budget(&self, now: Mono) -> bool {
        take(&self.budget_whole_ns, self.cost_ns(), now)
    }

    fn budget_allows(&self, whole_ns: u64, now: Mono) -> bool {
        allows(whole_ns, self.cost_ns(), now)
    }

    fn cost_ns(&self) -> u64 {
        NS_PER_S / self.accept_rate.load(Ordering::Relaxed)
    }
}

/// Takes one of `cost_ns` from a budget that is whole again at `whole_ns`.
fn take(whole_ns: &AtomicU64, cost_ns: u64, now: Mono) -> bool {
    let taken = |whole: u64| allows(whole, cost_ns, now).then(|| whole.max(ns(now)) + cost_ns);
    whole_ns.fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken).is_ok()
}

fn allows(whole_ns: u64, cost_ns: u64, now: Mono) -> bool {
    let burst_ns = u64::try_from(ACCEPT_BURST.as_nanos()).unwrap_or(u64::MAX);
    whole_ns.max(ns(now)) + cost_ns <= ns(now) + burst_ns.max(cost_ns)
}

fn ns(at: Mono) -> u64 {
    at.0.saturating_mul(1_000)
}

/// `{"error":"over_capacity","retry_after_ms":…}`, the body of a refusal; also, without `error`, the reason
/// of a 1013.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryAfter {
    pub seconds: u64,
}

impl RetryAfter {
    /// Whole seconds, uniform over [`RETRY_AFTER_S`].
    pub fn draw(random: &mut impl rand::Rng) -> RetryAfter {
        RetryAfter { seconds: random.random_range(RETRY_AFTER_S) }
    }

    pub fn body(self) -> String {
        format!("{{\"error\":\"over_capacity\",\"retry_after_ms\":{}}}", self.seconds * 1_000)
    }

    /// The same for another reason, which `message` says: our own text, without quotes.
    pub fn body_saying(self, error: &str, message: &str) -> String {
        let ms = self.seconds * 1_000;
        format!("{{\"error\":\"{error}\",\"message\":\"{message}\",\"retry_after_ms\":{ms}}}")
    }

    pub fn close_reason(self) -> String {
        format!("{{\"retry_after_ms\":{}}}", self.seconds * 1_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand::rngs::SmallRng;
    use std::time::Duration;

    fn admission(soft: u64, hard: u64, accept_rate: u64) -> Admission {
        Admission::new(AdmissionLimits { soft, hard, accept_rate })
    }

    const START: Mono = Mono(1_000_000);

    proptest! {
        /// Any order of arrivals, departures and reloads: the hard limit holds, and every verdict is the one
        /// that the limits ask for.
        #[test]
        fn the_hard_limit_is_never_passed(
            steps in proptest::collection::vec((0u8..10, 0u64..3), 0..400),
            soft in 1u64..20,
            above in 0u64..10,
        ) {
            let admission = admission(soft, soft + above, 1_000_000);
            let mut live = 0;
            for (step, moved) in steps {
                let now = START + Duration::from_millis(moved * 10);
                if step < 7 {
                    match admission.admit(now) {
                        Verdict::Accept => { prop_assert!(live < soft); live += 1; }
                        Verdict::Refuse(Refusal::OverSoft) => { prop_assert!(live >= soft); live += 1; }
                        Verdict::Refuse(_) => live += 1,
                        Verdict::Reset => prop_assert_eq!(live, soft + above),
                    }
                } else if live > 0 {
                    admission.release();
                    live -= 1;
                }
                prop_assert!(live <= soft + above);
                prop_assert_eq!(admission.live(), live);
            }
        }
    }

    #[test]
    fn many_shards_at_once_do_not_pass_the_hard_limit() {
        let admission = admission(500, 1_000, 1_000_000_000);
        let in_and_out = |keep_every: usize| {
            let admission = &admission;
            move || {
                let mut kept = 0_u64;
                for round in 0..20_000_usize {
                    if admission.admit(START) == Verdict::Reset {
                        continue;
                    }
                    assert!(admission.live() <= 1_000);
                    if round % keep_every == 0 { kept += 1 } else { admission.release() }
                }
                kept
            }
        };
        let kept: u64 = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|n| scope.spawn(in_and_out(30 + n))).collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).sum()
        });
        assert_eq!(admission.live(), kept);
        assert!(kept <= 1_000);
    }

    #[test]
    fn the_accept_budget_is_kept_over_any_second() {
        let admission = admission(1_000_000, 1_000_000, 2_000);
        let mut taken = Vec::new();
        for us in (0..3_000_000).step_by(50) {
            let now = START + Duration::from_micros(us);
            if admission.admit(now) == Verdict::Accept {
                taken.push(us);
            }
        }
        // Ten times too many came for three seconds: the rate plus one burst got in.
        let expected = 2_000 * 3 + 500;
        assert!(taken.len().abs_diff(expected) <= 5, "{} of {expected}", taken.len());
        for (first, us) in taken.iter().enumerate() {
            let within_a_second = taken[first..].iter().take_while(|later| **later - us < 1_000_000).count();
            assert!(within_a_second <= 2_505, "{within_a_second} within a second");
        }
    }

    #[test]
    fn the_outlook_takes_nothing_and_agrees_with_what_follows() {
        let node = admission(2, 3, 1_000);
        assert_eq!(node.outlook(START), Ok(()));
        assert_eq!((node.admit(START), node.admit(START)), (Verdict::Accept, Verdict::Accept));
        assert_eq!(node.outlook(START), Ok(()), "the one who asks is not counted");
        assert!(node.is_ready(), "a load balancer still sends here");
        assert_eq!(node.admit(START), Verdict::Refuse(Refusal::OverSoft));
        assert_eq!(node.outlook(START), Err(Refusal::OverSoft));
        assert!(!node.is_ready());
        assert_eq!(node.admit(START), Verdict::Reset);
        let slow = admission(100, 100, 1);
        assert_eq!(slow.admit(START), Verdict::Accept);
        assert_eq!(slow.outlook(START), Err(Refusal::OverRate));
        assert_eq!(slow.outlook(START + Duration::from_secs(1)), Ok(()));
        slow.start_draining();
        assert_eq!(slow.outlook(START), Err(Refusal::Draining));
        assert_eq!(slow.admit(START), Verdict::Refuse(Refusal::Draining));
        assert!(!slow.is_ready());
    }

    #[test]
    fn limits_are_cut_to_the_room_in_proportion() {
        let limits = AdmissionLimits { soft: 500_000, hard: 600_000, accept_rate: 20_000 };
        assert_eq!(limits.within(600_000), limits);
        let cut = limits.within(120);
        assert_eq!((cut.soft, cut.hard, cut.accept_rate), (100, 120, 20_000));
        let even = AdmissionLimits { soft: 600_000, ..limits }.within(120);
        assert_eq!((even.soft, even.hard), (120, 120));
        assert_eq!(limits.within(0).hard, 0);
    }

    /// χ² over the 26 whole seconds: the 99.9% quantile with 25 degrees of freedom is 52.6.
    #[test]
    fn retry_after_is_uniform_over_its_range() {
        const DRAWS: u32 = 260_000;
        let mut random = SmallRng::seed_from_u64(7);
        let mut seen = [0_u32; 26];
        for _ in 0..DRAWS {
            let drawn = RetryAfter::draw(&mut random);
            seen[usize::try_from(drawn.seconds - 5).expect("5..=30")] += 1;
        }
        let expected = f64::from(DRAWS / 26);
        let chi2: f64 = seen.iter().map(|n| (f64::from(*n) - expected).powi(2) / expected).sum();
        assert!(chi2 < 52.6, "χ² = {chi2}: {seen:?}");
        assert_eq!(RetryAfter { seconds: 7 }.body(), r#"{"error":"over_capacity","retry_after_ms":7000}"#);
        assert_eq!(RetryAfter { seconds: 7 }.close_reason(), r#"{"retry_after_ms":7000}"#);
    }
}
