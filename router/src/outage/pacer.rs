//! How fast what waits on the disk may follow, beside live records that go first.
//!
//! Pure. A token bucket whose rate halves while live records suffer or the owner falls behind, and grows again while they
//! do not. Owns no clock. Called by `drain`.

use std::time::Duration;

use wire::time::Mono;

/// Records a second that a drain never falls below: a million in under nine minutes.
const PER_S_MIN: f64 = 2_000.0;
/// What a live record may take longer than in calm: a fifth, or so much.
const LIVE_SLOWER_MAX: f64 = 1.2;
const LIVE_LATER_MAX: Duration = Duration::from_millis(5);
/// Records that may wait for the owner while it is still fed.
const LAG_MAX: u64 = 4_096;
/// Tokens that gather while nothing is drained, as time at the present rate.
const GATHERED: Duration = Duration::from_millis(50);
const SLOWER: f64 = 0.5;
const FASTER: f64 = 1.1;

/// What was seen since the last look.
#[derive(Debug, Clone, Copy, Default)]
pub struct Seen {
    /// The slowest live record, if there was any.
    pub live: Option<Duration>,
    /// What a live record takes while nothing is drained.
    pub calm: Duration,
    /// Records that the brokers hold and the owner has not finished.
    pub lag: u64,
}

#[derive(Debug, Clone)]
pub struct Pacer {
    per_s_max: f64,
    per_s: f64,
    tokens: f64,
    at: Mono,
}

impl Pacer {
    /// `per_s_max`: `[router.limits] drain_per_s`.
    pub fn new(per_s_max: u32, now: Mono) -> Pacer {
        let per_s_max = f64::from(per_s_max.max(1));
        Pacer { per_s_max, per_s: per_s_max.min(PER_S_MIN), tokens: 0.0, at: now }
    }

    pub fn per_s(&self) -> f64 {
        self.per_s
    }

    /// Changes the rate by what was seen.
    pub fn handle_seen(&mut self, seen: Seen) {
        let bound = seen.calm.mul_f64(LIVE_SLOWER_MAX).max(seen.calm + LIVE_LATER_MAX);
        let suffers = seen.live.is_some_and(|live| live > bound);
        let factor = if suffers || seen.lag > LAG_MAX { SLOWER } else { FASTER };
        self.per_s = (self.per_s * factor).max(PER_S_MIN).min(self.per_s_max);
    }

    /// How many of `wanted` may go now.
    pub fn take(&mut self, wanted: usize, now: Mono) -> usize {
        let gained = now.since(self.at).as_secs_f64() * self.per_s;
        self.at = now;
        self.tokens = (self.tokens + gained).min((self.per_s * GATHERED.as_secs_f64()).max(1.0));
        let taken = (self.tokens as usize).min(wanted);
        self.tokens -= taken as f64;
        taken
    }

    /// How long until one may go.
    pub fn wait(&self) -> Duration {
        Duration::from_secs_f64(((1.0 - self.tokens) / self.per_s).clamp(0.001, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000;

    fn calm() -> Seen {
        Seen { live: Some(Duration::from_millis(2)), calm: Duration::from_millis(2), lag: 0 }
    }

    fn taken_in(pacer: &mut Pacer, from: u64, ms: u64) -> usize {
        (1..=ms).map(|at| pacer.take(1_000, Mono((from + at) * MS))).sum()
    }

    #[test]
    fn it_keeps_its_rate_and_gathers_little() {
        let mut pacer = Pacer::new(1_000, Mono(0));
        let taken = taken_in(&mut pacer, 0, 2_000);
        assert!((1_950..=2_000).contains(&taken), "{taken}");
        assert_eq!(pacer.take(1_000, Mono(3_600_000 * MS)), 50, "an hour's rest is no burst");
    }

    #[test]
    fn it_grows_in_calm_up_to_its_bound() {
        let mut pacer = Pacer::new(50_000, Mono(0));
        let first = pacer.per_s();
        pacer.handle_seen(calm());
        assert!(pacer.per_s() > first);
        (0..100).for_each(|_| pacer.handle_seen(calm()));
        assert!((pacer.per_s() - 50_000.0).abs() < 1.0, "{}", pacer.per_s());
    }

    #[test]
    fn it_gives_way_to_live_records_and_to_an_owner_that_is_behind() {
        let late = Seen { live: Some(Duration::from_millis(8)), ..calm() };
        let behind = Seen { lag: LAG_MAX + 1, ..calm() };
        for seen in [late, behind] {
            let mut pacer = Pacer::new(50_000, Mono(0));
            (0..100).for_each(|_| pacer.handle_seen(calm()));
            pacer.handle_seen(seen);
            assert!((pacer.per_s() - 25_000.0).abs() < 1.0, "{seen:?}");
            (0..20).for_each(|_| pacer.handle_seen(seen));
            assert!((pacer.per_s() - PER_S_MIN).abs() < 1.0, "it goes on");
        }
        let within = Seen { live: Some(Duration::from_millis(6)), ..calm() };
        let mut pacer = Pacer::new(50_000, Mono(0));
        pacer.handle_seen(within);
        assert!(pacer.per_s() > PER_S_MIN, "five milliseconds more are within the promise");
    }

    #[test]
    fn an_operator_s_bound_below_the_least_holds() {
        let mut pacer = Pacer::new(10, Mono(0));
        (0..10).for_each(|_| pacer.handle_seen(calm()));
        assert_eq!(taken_in(&mut pacer, 0, 1_000), 10);
    }
}
