//! A token bucket in eight bytes: so many at once, and as many again in every minute. Kept by the gateway's
//! connections, one for messages and one for pings and pongs.

use std::time::Duration;

use crate::time::Mono;

const MINUTE_US: u64 = 60_000_000;

/// When the bucket will be full again (the generic cell rate algorithm's theoretical arrival time).
#[derive(Debug, Clone, Default)]
pub struct Rate(Mono);

impl Rate {
    pub fn new() -> Rate {
        Rate(Mono::ZERO)
    }

    /// Whether as much may be taken as from a new one.
    pub fn is_whole(&self, now: Mono) -> bool {
        self.0 <= now
    }

    /// Takes one of `per_minute`, which must not change much during a session; 0 is no limit.
    pub fn take(&mut self, per_minute: u32, now: Mono) -> bool {
        if per_minute == 0 {
            return true;
        }
        let one_us = MINUTE_US / u64::from(per_minute);
        let full_at = self.0.max(now) + Duration::from_micros(one_us);
        if full_at > now + Duration::from_micros(one_us * u64::from(per_minute)) {
            return false;
        }
        self.0 = full_at;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(rate: &mut Rate, now: Mono) -> usize {
        (0..1_000).take_while(|_| rate.take(100, now)).count()
    }

    #[test]
    fn a_minute_s_worth_at_once_then_by_the_clock() {
        let start = Mono(7_000_000);
        let mut rate = Rate::new();
        assert_eq!(taken(&mut rate, start), 100);
        assert_eq!(taken(&mut rate, start + Duration::from_millis(599)), 0);
        assert_eq!(taken(&mut rate, start + Duration::from_millis(600)), 1);
        assert_eq!(taken(&mut rate, start + Duration::from_secs(60)), 99);
        assert_eq!(taken(&mut rate, start + Duration::from_secs(3_600)), 100);
    }

    #[test]
    fn one_a_spacing_is_never_refused() {
        let mut rate = Rate::new();
        for i in 0..10_000 {
            assert!(rate.take(100, Mono(i * 600_000)));
        }
    }

    #[test]
    fn zero_is_no_limit() {
        let mut rate = Rate::new();
        assert!((0..10_000).all(|_| rate.take(0, Mono::ZERO)));
    }
}
