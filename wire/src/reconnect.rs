//! When a client comes back after it lost its connection: the policy of the contract, for every client of ours.
//!
//! Attempt 0 waits a uniform share of the node's spread, attempt n between 2^(n−1) and 2^n seconds, never longer
//! than the maximum. What a server said (`Retry-After`, `reconnect`) wins. The count starts anew only after a
//! stable minute: a client that is refused again a second after it got in must not begin at 0 each time.

use std::time::Duration;

use crate::message::ReconnectHint;
use crate::time::Mono;

/// A connection that lasted this long clears the count of attempts.
pub const STABLE: Duration = Duration::from_secs(60);

/// SplitMix64: enough to spread clients, seeded by whoever owns the policy.
#[derive(Debug, Clone)]
struct Draws(u64);

impl Draws {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform over `0..=span_us`, without the bias of a remainder.
    fn up_to(&mut self, span_us: u64) -> u64 {
        ((u128::from(self.next()) * (u128::from(span_us) + 1)) >> 64) as u64
    }
}

/// One client's memory between connections.
#[derive(Debug, Clone)]
pub struct Reconnect {
    draws: Draws,
    hint: ReconnectHint,
    attempt: u32,
    opened_at: Option<Mono>,
    advice: Option<Duration>,
}

impl Reconnect {
    pub fn new(seed: u64) -> Reconnect {
        Reconnect {
            draws: Draws(seed),
            hint: ReconnectHint::default(),
            attempt: 0,
            opened_at: None,
            advice: None,
        }
    }

    /// The node welcomed us, and said how to spread a return.
    pub fn handle_open(&mut self, hint: ReconnectHint, now: Mono) {
        self.hint = hint;
        self.opened_at = Some(now);
        self.advice = None;
    }

    /// A server said when to come back: `Retry-After`, `retry_after_ms`, `after_ms`.
    pub fn handle_advice(&mut self, delay: Duration) {
        self.advice = Some(delay);
    }

    /// The connection is gone, or never came about: how long to wait before the next attempt.
    pub fn handle_loss(&mut self, now: Mono) -> Duration {
        if self.opened_at.take().is_some_and(|opened| now.since(opened) >= STABLE) {
            self.attempt = 0;
        }
        let attempt = self.attempt;
        self.attempt = self.attempt.saturating_add(1);
        let own = self.own_delay(attempt);
        self.advice.take().unwrap_or(own)
    }

    /// Attempts since the last stable connection.
    pub fn attempts(&self) -> u32 {
        self.attempt
    }

    fn own_delay(&mut self, attempt: u32) -> Duration {
        let most = Duration::from_millis(self.hint.max_ms);
        if attempt == 0 {
            let spread = Duration::from_millis(self.hint.spread_ms);
            return Duration::from_micros(self.draws.up_to(spread.as_micros() as u64));
        }
        // 2^31 s is beyond any maximum, so larger exponents need no arithmetic.
        let low = Duration::from_secs(1 << (attempt - 1).min(31));
        (low + Duration::from_micros(self.draws.up_to(low.as_micros() as u64))).min(most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Mono = Mono(1_000_000_000);

    fn delays(attempt: u32, hint: ReconnectHint) -> Vec<u64> {
        (0..10_000)
            .map(|seed| {
                let mut policy = Reconnect::new(seed);
                policy.handle_open(hint, NOW);
                for _ in 0..attempt {
                    policy.handle_loss(NOW);
                }
                policy.handle_loss(NOW).as_micros() as u64
            })
            .collect()
    }

    /// χ² over 20 cells of equal width; 19 degrees of freedom, 43.8 is the 0.1% point.
    fn assert_uniform(delays: &[u64], low_us: u64, high_us: u64) {
        let mut cells = [0_f64; 20];
        for delay in delays {
            assert!((low_us..=high_us).contains(delay), "{delay}");
            let cell = (delay - low_us) * 20 / (high_us - low_us + 1);
            cells[cell as usize] += 1.0;
        }
        let expected = delays.len() as f64 / 20.0;
        let chi: f64 = cells.iter().map(|cell| (cell - expected).powi(2) / expected).sum();
        assert!(chi < 43.8, "chi² {chi}");
    }

    #[test]
    fn the_first_attempt_is_uniform_over_the_spread() {
        assert_uniform(&delays(0, ReconnectHint::default()), 0, 1_000_000);
        assert_uniform(&delays(0, ReconnectHint { spread_ms: 30_000, max_ms: 30_000 }), 0, 30_000_000);
    }

    #[test]
    fn later_attempts_are_uniform_between_powers_of_two() {
        for attempt in 1..=4_u32 {
            let high = 1_000_000 << attempt;
            assert_uniform(&delays(attempt, ReconnectHint::default()), high / 2, high);
        }
    }

    #[test]
    fn no_attempt_waits_longer_than_the_maximum() {
        for attempt in [5, 6, 40, 100] {
            assert!(delays(attempt, ReconnectHint::default()).iter().all(|delay| *delay <= 30_000_000));
        }
    }

    #[test]
    fn the_maximum_cuts_an_attempt_and_not_its_lower_bound() {
        let hint = ReconnectHint::default();
        assert!(delays(5, hint).iter().all(|delay| (16_000_000..=30_000_000).contains(delay)));
        assert!(delays(6, hint).iter().all(|delay| *delay == 30_000_000));
        let hint = ReconnectHint { max_ms: 10_000, ..hint };
        assert!(delays(4, hint).iter().all(|delay| (8_000_000..=10_000_000).contains(delay)));
    }

    #[test]
    fn the_same_seed_waits_the_same() {
        let waits = |seed| {
            let mut policy = Reconnect::new(seed);
            [(); 6].map(|()| policy.handle_loss(NOW))
        };
        assert_eq!(waits(7), waits(7));
        assert_ne!(waits(7), waits(8));
    }

    #[test]
    fn advice_that_a_new_connection_overtook_is_forgotten() {
        let mut policy = Reconnect::new(1);
        policy.handle_advice(Duration::from_secs(25));
        policy.handle_open(ReconnectHint::default(), NOW);
        assert!(policy.handle_loss(NOW + STABLE) <= Duration::from_secs(1));
    }

    #[test]
    fn a_servers_word_wins_once() {
        let mut policy = Reconnect::new(1);
        policy.handle_advice(Duration::from_secs(17));
        assert_eq!(policy.handle_loss(NOW), Duration::from_secs(17));
        assert!(policy.handle_loss(NOW) <= Duration::from_secs(2));
    }

    #[test]
    fn only_a_stable_minute_clears_the_count() {
        let mut policy = Reconnect::new(1);
        let hint = ReconnectHint::default();
        for _ in 0..3 {
            policy.handle_loss(NOW);
        }
        policy.handle_open(hint, NOW);
        assert!(policy.handle_loss(NOW + Duration::from_secs(59)) >= Duration::from_secs(4));
        policy.handle_open(hint, NOW);
        assert!(policy.handle_loss(NOW + STABLE) <= Duration::from_secs(1));
        assert_eq!(policy.attempts(), 1);
    }
}
