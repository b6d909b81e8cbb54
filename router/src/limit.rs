//! Second step of the walk: what may go out now.
//!
//! Owns the hour of pushes of one user ([`Window`], exact, kept with the user's row) and the meter of everything that
//! comes in ([`Meter`], LOW is dropped when far too much does). Pure. Never drops anything but LOW for the meter's sake,
//! and never holds back critical: that is counted only. Called by `pipeline`.

use std::time::Duration;

use wire::message::Priority;
use wire::time::{Mono, Wall};

use crate::ledger::Reason;
use crate::record::Channel;
use crate::store::StoreError;
use crate::store::codec::{Decoder, Encoder};

/// What the push limit looks back over, in microseconds.
pub const HOUR_US: i64 = 3_600_000_000;
/// Entries of a window. Under higher limits the oldest are put together, which holds back rather too long than too
/// short.
const MARKS_MAX: usize = 1_024;
/// Slices of the meter's second.
const SLICES: usize = 10;
const SLICE_US: u64 = 1_000_000 / SLICES as u64;

/// The pushes of one user in the last hour.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Window {
    /// When, oldest first, and how many.
    marks: Vec<(Wall, u32)>,
}

impl Window {
    /// Counts one push and says whether it may go out. One that may not is not counted. `now` is on the steady clock.
    pub fn admit(&mut self, now: Wall, limit: u32, exempt: bool) -> bool {
        let begin = Wall(now.0.saturating_sub(HOUR_US));
        self.marks.retain(|(at, _)| *at > begin);
        // After a restart with the clock set back, nothing is held against the user for longer than an hour.
        self.marks.iter_mut().for_each(|(at, _)| *at = now.min(*at));
        if self.count() >= limit && !exempt {
            return false;
        }
        self.marks.push((now, 1));
        self.shorten(limit);
        true
    }

    pub fn count(&self) -> u32 {
        self.marks.iter().fold(0, |sum, (_, count)| sum.saturating_add(*count))
    }

    /// Forgets what cannot matter: more than the limit, and more than there is room for.
    fn shorten(&mut self, limit: u32) {
        while let Some((_, first)) = self.marks.first()
            && self.count() - first >= limit
        {
            self.marks.remove(0);
        }
        if self.marks.len() > MARKS_MAX {
            let (_, first) = self.marks.remove(0);
            self.marks[0].1 += first;
        }
    }

    pub fn encode(&self, row: &mut Encoder) {
        row.u32(self.marks.len() as u32);
        for (at, count) in &self.marks {
            row.wall(*at).u32(*count);
        }
    }

    pub fn decode(row: &mut Decoder) -> Result<Window, StoreError> {
        let marks = (0..row.count(12)?).map(|_| Ok((row.wall()?, row.u32()?))).collect::<Result<_, _>>()?;
        Ok(Window { marks })
    }
}

/// What came in a part of a second.
#[derive(Debug, Clone, Copy, Default)]
struct Slice {
    all: u64,
    /// But for LOW, which is never what others wait for.
    urgent: u64,
    /// Of those what a pause holds: all but what is critical.
    held: u64,
}

/// In a pause HIGH and NORMAL still get this share of a second, however much that is critical comes.
const FLOOR: u64 = 16;

/// How many deliveries came in the last second.
#[derive(Debug, Clone)]
pub struct Meter {
    slices: [Slice; SLICES],
    /// The number of the newest slice since the clock's origin.
    newest: u64,
    sum: Slice,
    /// A second's deliveries above which LOW is dropped.
    shed_above: u64,
}

impl Meter {
    pub fn new(global_per_s: u32, shed_low_percent: u32) -> Meter {
        let shed_above = u64::from(global_per_s) * u64::from(shed_low_percent) / 100;
        Meter { slices: Default::default(), newest: 0, sum: Slice::default(), shed_above: shed_above.max(1) }
    }

    /// Other limits from here on; what came in the last second still counts.
    pub fn change(&mut self, global_per_s: u32, shed_low_percent: u32) {
        self.shed_above = Meter::new(global_per_s, shed_low_percent).shed_above;
    }

    fn roll(&mut self, now: Mono) {
        let slice = now.0 / SLICE_US;
        let passed = slice.saturating_sub(self.newest).min(SLICES as u64);
        for i in 0..passed {
            let old = &mut self.slices[((slice - i) % SLICES as u64) as usize];
            self.sum.all -= old.all;
            self.sum.urgent -= old.urgent;
            self.sum.held -= old.held;
            *old = Slice::default();
        }
        self.newest = slice.max(self.newest);
    }

    /// Counts one delivery. False: it is one too many.
    fn admit(&mut self, now: Mono, priority: Priority) -> bool {
        self.roll(now);
        let is_low = priority == Priority::Low;
        if is_low && self.sum.all >= self.shed_above {
            return false;
        }
        for slice in [&mut self.slices[(self.newest % SLICES as u64) as usize], &mut self.sum] {
            slice.all += 1;
            slice.urgent += u64::from(!is_low);
            slice.held += u64::from(!is_low && priority != Priority::Critical);
        }
        true
    }

    /// How long to take in what is critical alone, because more comes than dropping LOW can hold off. LOW itself holds nobody up,
    /// and no flood of critical ones holds the others for good.
    pub fn pause(&self, now: Mono) -> Option<Duration> {
        let mut then = self.clone();
        then.roll(now);
        let next = (then.newest + 1) * SLICE_US;
        let Slice { urgent, held, .. } = then.sum;
        (urgent > then.shed_above && held > then.shed_above / FLOOR).then(|| Mono(next).since(now))
    }
}

/// What one delivery is measured by.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub push_per_user_hour: u32,
}

/// Whether a delivery may go out, or why not.
pub fn limit(
    channel: Channel,
    priority: Priority,
    window: &mut Window,
    meter: &mut Meter,
    limits: Limits,
    steady: Wall,
    mono: Mono,
) -> Result<(), Reason> {
    pass(meter, priority, mono)?;
    if channel == Channel::Push { push(window, priority, limits, steady) } else { Ok(()) }
}

/// The part of it that is about all services together: what is held is no push yet.
pub fn pass(meter: &mut Meter, priority: Priority, mono: Mono) -> Result<(), Reason> {
    if meter.admit(mono, priority) { Ok(()) } else { Err(Reason::Shed) }
}

/// The part of it that is about one user's hour.
pub fn push(window: &mut Window, priority: Priority, limits: Limits, steady: Wall) -> Result<(), Reason> {
    let exempt = priority == Priority::Critical;
    if window.admit(steady, limits.push_per_user_hour, exempt) { Ok(()) } else { Err(Reason::PushLimit) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Space;
    use proptest::prelude::*;

    fn minutes(count: i64) -> Wall {
        Wall(1_700_000_000_000_000 + count * 60_000_000)
    }

    #[test]
    fn the_twenty_first_waits_until_the_first_is_an_hour_old() {
        let mut window = Window::default();
        assert!((0..20).all(|i| window.admit(minutes(i), 20, false)));
        assert!(!window.admit(minutes(59), 20, false));
        assert!(!window.admit(Wall(minutes(60).0 - 1), 20, false));
        assert!(window.admit(minutes(60), 20, false));
        assert!(!window.admit(minutes(60), 20, false), "the second is not an hour old");
    }

    #[test]
    fn critical_counts_and_is_never_held_back() {
        let mut window = Window::default();
        assert!((0..30).all(|_| window.admit(minutes(0), 20, true)));
        assert!(!window.admit(minutes(1), 20, false));
        assert!(window.admit(minutes(1), 20, true));
        assert!(!window.admit(minutes(60), 20, false) || window.count() <= 20);
    }

    #[test]
    fn a_clock_set_back_holds_nothing_back_for_longer_than_an_hour() {
        let mut window = Window::default();
        assert!((0..20).all(|_| window.admit(minutes(100_000), 20, false)));
        assert!(!window.admit(minutes(0), 20, false));
        assert!(window.admit(minutes(60), 20, false));
    }

    #[test]
    fn low_alone_is_dropped_above_the_limit_and_taken_again_below() {
        let mut meter = Meter::new(100, 150);
        let at = Mono(5_000_000);
        assert!((0..150).all(|_| meter.admit(at, Priority::Low)));
        assert_eq!(meter.pause(at), None);
        assert!(!meter.admit(at, Priority::Low));
        assert!((0..500).all(|_| meter.admit(at, Priority::Normal)));
        assert_eq!(meter.pause(at), Some(Duration::from_millis(100)));
        assert!(!meter.admit(Mono(5_900_000), Priority::Low));
        assert!(meter.admit(Mono(6_000_000), Priority::Low));
        assert_eq!(meter.pause(Mono(6_000_000)), None);
    }

    #[test]
    fn a_flood_of_low_holds_nobody_else_up() {
        let mut meter = Meter::new(100, 150);
        for tenth in 0..50 {
            let at = Mono(5_000_000 + tenth * 100_000);
            for _ in 0..10 {
                assert!(meter.admit(at, Priority::Normal));
                assert_eq!(meter.pause(at), None);
                let _taken_or_shed = (0..100).map(|_| meter.admit(at, Priority::Low)).collect::<Vec<_>>();
            }
        }
        assert!(!meter.admit(Mono(9_900_000), Priority::Low), "LOW fills what is left, and no more");
    }

    #[test]
    fn a_flood_of_critical_ones_leaves_the_others_their_floor() {
        let mut meter = Meter::new(100, 160);
        let mut taken = 0;
        assert!((0..200).all(|_| meter.admit(Mono(5_000_000), Priority::Critical)));
        for tenth in 0..50 {
            let at = Mono(5_000_000 + tenth * 100_000);
            assert!((0..40).all(|_| meter.admit(at, Priority::Critical)), "they are never held");
            while meter.pause(at).is_none() && taken < 1_000 {
                assert!(meter.admit(at, Priority::Normal));
                taken += 1;
            }
        }
        assert!((50..=70).contains(&taken), "about ten a second, of 160: {taken}");
    }

    proptest! {
        /// Whatever the pace, no hour holds more than the limit; and nothing is held back without need.
        #[test]
        fn no_hour_holds_more_than_the_limit(
            steps in prop::collection::vec(0i64..20_000_000_000, 1..200),
            limit in 1u32..30,
        ) {
            let (mut window, mut sent, mut now) = (Window::default(), Vec::<Wall>::new(), minutes(0));
            for step in steps {
                now = Wall(now.0 + step / 40);
                let in_hour = sent.iter().filter(|at| at.0 > now.0 - HOUR_US).count();
                let admitted = window.admit(now, limit, false);
                prop_assert_eq!(admitted, in_hour < limit as usize);
                if admitted {
                    sent.push(now);
                }
                let mut row = Encoder::new(1);
                window.encode(&mut row);
                let mut row = Decoder::new(Space::Recipients, row.finish(), 1).expect("the version");
                prop_assert_eq!(Window::decode(&mut row), Ok(window.clone()));
            }
        }
    }

    #[test]
    fn a_limit_larger_than_there_is_room_for_holds_too() {
        let limit = MARKS_MAX as u32 + 500;
        let mut window = Window::default();
        let sent = (0..2 * limit).filter(|i| window.admit(Wall(i64::from(*i)), limit, false)).count();
        assert_eq!(sent, limit as usize);
        assert!(window.marks.len() <= MARKS_MAX);
    }
}
