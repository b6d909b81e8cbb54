//! Waiting for something that must happen. The harness's only clock.

use std::time::{Duration, Instant};

/// How long a test waits for what should take milliseconds. Generous, because the machine may be busy; a broken
/// promise costs this much once.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// How often a condition is looked at that nothing announces.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A moment after which waiting is over.
#[derive(Debug, Clone, Copy)]
pub struct Deadline(Instant);

impl Deadline {
    pub fn after(wait: Duration) -> Deadline {
        Deadline(now() + wait)
    }

    /// What is left; `None` when nothing is.
    pub fn left(self) -> Option<Duration> {
        self.0.checked_duration_since(now()).filter(|left| !left.is_zero())
    }

    pub fn passed(self) -> bool {
        self.left().is_none()
    }
}

/// Measures how long something took.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    pub fn start() -> Stopwatch {
        Stopwatch(now())
    }

    pub fn elapsed(self) -> Duration {
        now().duration_since(self.0)
    }
}

#[expect(clippy::disallowed_methods, reason = "the harness waits in real time; this is its only clock")]
fn now() -> Instant {
    Instant::now()
}

/// The wall clock, in seconds: for tokens' `exp`.
pub fn unix_seconds() -> u64 {
    since_epoch().as_secs()
}

/// The same in microseconds, as other processes on this machine write it down.
pub fn unix_us() -> i64 {
    i64::try_from(since_epoch().as_micros()).unwrap_or(i64::MAX)
}

/// Waits for a moment of [`unix_us`]; not at all if it has passed.
pub fn sleep_until_us(moment: i64) {
    let left = u64::try_from(moment - unix_us()).unwrap_or(0);
    std::thread::sleep(Duration::from_micros(left));
}

#[expect(
    clippy::disallowed_methods,
    reason = "tokens and letters carry dates; this is the harness's only wall clock"
)]
fn since_epoch() -> Duration {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default()
}

/// Looks again and again until `what` is there.
///
/// # Panics
/// When it is not there within `wait`.
pub fn until_within<T>(wait: Duration, promise: &str, mut what: impl FnMut() -> Option<T>) -> T {
    let deadline = Deadline::after(wait);
    loop {
        if let Some(found) = what() {
            return found;
        }
        assert!(!deadline.passed(), "not within {wait:?}: {promise}");
        std::thread::sleep(LOOK_EVERY);
    }
}

/// [`until_within`] the usual patience.
pub fn until<T>(promise: &str, what: impl FnMut() -> Option<T>) -> T {
    until_within(PATIENCE, promise, what)
}
