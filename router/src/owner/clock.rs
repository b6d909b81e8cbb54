//! The owner's clocks. Stamps are dates, so they come from the wall clock; spans (deadlines, retries, the hour of the
//! push limit, lives) are measured on a steady line that starts at the wall's date and then follows the monotonic
//! clock, so that a step of the wall clock neither fires nor delays them. Nor does it go back over a restart: how far it
//! may have come is kept in the store, a little ahead.

use std::time::Duration;

use wire::time::{Mono, Wall};

use super::words::Now;

/// One moment on all clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tick {
    /// The date, for stamps and for people.
    pub wall: Wall,
    /// For spans; kept in rows.
    pub steady: Wall,
    pub mono: Mono,
}

impl Tick {
    /// When the monotonic clock will read what the steady line calls `at`; now, if that was before.
    pub fn to_mono(self, at: Wall) -> Mono {
        let left_us = u64::try_from(at.0.saturating_sub(self.steady.0)).unwrap_or(0);
        self.mono + Duration::from_micros(left_us)
    }

    /// A date of another process, like the end of a life, on the steady line.
    pub fn to_steady(self, date: Wall) -> Wall {
        Wall(self.steady.0.saturating_add(date.0.saturating_sub(self.wall.0)))
    }
}

/// Where the steady line began.
#[derive(Debug, Clone, Copy)]
pub struct Steady {
    wall: Wall,
    mono: Mono,
}

impl Steady {
    /// `reached`: how far it may have come before the restart.
    pub fn new(now: Now, reached: Option<Wall>) -> Steady {
        Steady { wall: reached.map_or(now.wall, |reached| reached.max(now.wall)), mono: now.mono }
    }

    pub fn tick(&self, now: Now) -> Tick {
        Tick { wall: now.wall, steady: self.wall + now.mono.since(self.mono), mono: now.mono }
    }

    /// When the monotonic clock will read what the steady line calls `at`.
    pub fn mono(&self, at: Wall) -> Mono {
        self.mono + Duration::from_micros(u64::try_from(at.0.saturating_sub(self.wall.0)).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000_000;

    #[test]
    fn a_step_of_the_wall_clock_leaves_spans_as_they_were() {
        let line = Steady::new(Now { mono: Mono(50), wall: Wall(1_000) }, None);
        for step in [-HOUR, 0, HOUR] {
            let tick = line.tick(Now { mono: Mono(60), wall: Wall(1_010 + step) });
            assert_eq!(tick.steady, Wall(1_010));
            assert_eq!(tick.to_steady(Wall(1_010 + step + 5)), Wall(1_015));
        }
        assert_eq!((line.mono(Wall(1_015)), line.mono(Wall(0))), (Mono(65), Mono(50)));
    }

    #[test]
    fn a_restart_with_the_clock_set_back_goes_on_where_it_was() {
        let now = Now { mono: Mono(3), wall: Wall(1_000) };
        let line = Steady::new(now, Some(Wall(5_000)));
        assert_eq!(line.tick(now).steady, Wall(5_000));
        assert_eq!(line.tick(now).to_steady(Wall(1_007)), Wall(5_007));
        assert_eq!(Steady::new(now, Some(Wall(900))).tick(now).steady, Wall(1_000));
    }
}
