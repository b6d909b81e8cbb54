//! The one place that reads the clocks. Pure rooms get what it says as [`Mono`] and [`Wall`] values.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use wire::time::{Mono, Wall};

/// A process's clocks. Copies agree with each other.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    origin: Instant,
}

impl Clock {
    /// Starts at one second, so that "a while ago" can be told from zero.
    const ORIGIN: Mono = Mono(1_000_000);

    #[expect(clippy::disallowed_methods, reason = "this is the clock porch")]
    pub fn start() -> Clock {
        Clock { origin: Instant::now() }
    }

    #[expect(clippy::disallowed_methods, reason = "this is the clock porch")]
    pub fn mono(&self) -> Mono {
        Self::ORIGIN + Instant::now().duration_since(self.origin)
    }

    /// The date. May step backwards when the host's clock is set.
    #[expect(clippy::disallowed_methods, reason = "this is the clock porch")]
    pub fn wall(&self) -> Wall {
        let now = SystemTime::now();
        match now.duration_since(UNIX_EPOCH) {
            Ok(after) => Wall(0) + after,
            Err(before) => Wall(0) - before.duration(),
        }
    }
}
