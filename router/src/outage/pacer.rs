//! How fast what waits on the disk may follow, beside live records that go first.
//!
//! Pure. Two bounds: a rate that halves while live records suffer and grows again while they do not, and a window of
//! records that Kafka has and the owner has not taken, since a live record waits behind them in its own topic. Neither
//! keeps a drain below [`PER_S_MIN`]. Owns no clock. Called by `pace`.

use std::collections::BTreeMap;
use std::time::Duration;

use wire::message::Priority;
use wire::time::Mono;

use crate::journal::Positions;

/// Records a second that a drain never falls below: a million in under nine minutes.
const PER_S_MIN: f64 = 2_000.0;
/// What a live record may take longer than in calm: a fifth, or so much.
const LIVE_SLOWER_MAX: f64 = 1.2;
const LIVE_LATER_MAX: Duration = Duration::from_millis(5);
/// Records that may stand before the owner while more are drained: a few milliseconds of its work.
const WINDOW: u64 = 128;
/// Tokens that gather while nothing is drained, as time at the present rate.
const GATHERED: Duration = Duration::from_millis(50);
const SLOWER: f64 = 0.5;
const FASTER: f64 = 1.02;

/// What was seen since the last look.
#[derive(Debug, Clone, Copy, Default)]
pub struct Seen {
    /// The slowest live record, if there was any.
    pub live: Option<Duration>,
    /// What a live record takes while nothing is drained.
    pub calm: Duration,
}

/// What a drain sent and the owner has not taken.
#[derive(Debug, Clone, Default)]
struct Ahead(BTreeMap<(Priority, u32), Lane>);

#[derive(Debug, Clone, Copy)]
struct Lane {
    first: u64,
    last: u64,
}

impl Ahead {
    fn records(&self, taken: &Positions) -> u64 {
        let ahead = |(lane, sent): (&(Priority, u32), &Lane)| {
            let next = taken.get(lane).map_or(sent.first, |taken| sent.first.max(taken + 1));
            (sent.last + 1).saturating_sub(next)
        };
        self.0.iter().map(ahead).sum()
    }
}

#[derive(Debug, Clone)]
struct Bucket {
    per_s: f64,
    tokens: f64,
}

impl Bucket {
    fn new(per_s: f64) -> Bucket {
        Bucket { per_s, tokens: 0.0 }
    }

    fn gain(&mut self, passed: Duration) {
        let gained = passed.as_secs_f64() * self.per_s;
        self.tokens = (self.tokens + gained).min((self.per_s * GATHERED.as_secs_f64()).max(1.0));
    }

    fn wait(&self) -> Duration {
        Duration::from_secs_f64(((1.0 - self.tokens) / self.per_s).clamp(0.001, 1.0))
    }
}

#[derive(Debug, Clone)]
pub struct Pacer {
    per_s_max: f64,
    pace: Bucket,
    least: Bucket,
    ahead: Ahead,
    at: Mono,
}

impl Pacer {
    /// `per_s_max`: `[router.limits] drain_per_s`.
    pub fn new(per_s_max: u32, now: Mono) -> Pacer {
        let per_s_max = f64::from(per_s_max.max(1));
        let least = Bucket::new(per_s_max.min(PER_S_MIN));
        Pacer { per_s_max, pace: least.clone(), least, ahead: Ahead::default(), at: now }
    }

    /// Kafka has a drained record at this offset of its lane.
    pub fn handle_sent(&mut self, lane: (Priority, u32), offset: u64) {
        let lane = self.ahead.0.entry(lane).or_insert(Lane { first: offset, last: offset });
        *lane = Lane { first: lane.first.min(offset), last: lane.last.max(offset) };
    }

    /// What is sent from here on is all that counts: Kafka may have begun its offsets anew.
    pub fn forget_sent(&mut self) {
        self.ahead.0.clear();
    }

    /// Whether the owner has taken everything that was sent.
    pub fn is_caught_up(&self, taken: &Positions) -> bool {
        self.ahead.records(taken) == 0
    }

    /// Changes the rate by what was seen.
    pub fn handle_seen(&mut self, seen: Seen) {
        let bound = seen.calm.mul_f64(LIVE_SLOWER_MAX).max(seen.calm + LIVE_LATER_MAX);
        let suffers = seen.live.is_some_and(|live| live > bound);
        let factor = if suffers { SLOWER } else { FASTER };
        self.pace.per_s = (self.pace.per_s * factor).max(PER_S_MIN).min(self.per_s_max);
    }

    /// How many of `wanted` may go now. `taken`: how far the owner is in each lane.
    pub fn take(&mut self, wanted: usize, taken: &Positions, now: Mono) -> usize {
        let passed = now.since(self.at);
        self.at = now;
        self.pace.gain(passed);
        self.least.gain(passed);
        let room = WINDOW.saturating_sub(self.ahead.records(taken)) as usize;
        let count = (self.pace.tokens as usize).min(room).max(self.least.tokens as usize).min(wanted);
        for bucket in [&mut self.pace, &mut self.least] {
            bucket.tokens = (bucket.tokens - count as f64).max(0.0);
        }
        count
    }

    /// How long until one may go, unless the owner goes on before.
    pub fn wait(&self, taken: &Positions) -> Duration {
        let is_open = self.ahead.records(taken) < WINDOW;
        if is_open { self.pace.wait().min(self.least.wait()) } else { self.least.wait() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000;

    fn calm() -> Seen {
        Seen { live: Some(Duration::from_millis(2)), calm: Duration::from_millis(2) }
    }

    fn taken_in(pacer: &mut Pacer, from: u64, ms: u64) -> usize {
        (1..=ms).map(|at| pacer.take(1_000, &Positions::new(), Mono((from + at) * MS))).sum()
    }

    #[test]
    fn it_keeps_its_rate_and_gathers_little() {
        let mut pacer = Pacer::new(1_000, Mono(0));
        let taken = taken_in(&mut pacer, 0, 2_000);
        assert!((1_950..=2_000).contains(&taken), "{taken}");
        let late = pacer.take(1_000, &Positions::new(), Mono(3_600_000 * MS));
        assert_eq!(late, 50, "an hour's rest is no burst");
    }

    #[test]
    fn it_grows_in_calm_up_to_its_bound() {
        let mut pacer = Pacer::new(50_000, Mono(0));
        let first = pacer.pace.per_s;
        pacer.handle_seen(calm());
        assert!(pacer.pace.per_s > first);
        (0..400).for_each(|_| pacer.handle_seen(calm()));
        assert!((pacer.pace.per_s - 50_000.0).abs() < 1.0, "{}", pacer.pace.per_s);
    }

    #[test]
    fn it_gives_way_to_live_records() {
        let late = Seen { live: Some(Duration::from_millis(8)), ..calm() };
        let mut pacer = Pacer::new(50_000, Mono(0));
        (0..400).for_each(|_| pacer.handle_seen(calm()));
        pacer.handle_seen(late);
        assert!((pacer.pace.per_s - 25_000.0).abs() < 1.0);
        (0..20).for_each(|_| pacer.handle_seen(late));
        assert!((pacer.pace.per_s - PER_S_MIN).abs() < 1.0, "it goes on");
        let within = Seen { live: Some(Duration::from_millis(6)), ..calm() };
        let mut pacer = Pacer::new(50_000, Mono(0));
        pacer.handle_seen(within);
        assert!(pacer.pace.per_s > PER_S_MIN, "five milliseconds more are within the promise");
    }

    #[test]
    fn no_more_than_a_window_stands_before_the_owner() {
        let lane = (Priority::Normal, 3);
        let mut pacer = Pacer::new(1_000_000, Mono(0));
        (0..400).for_each(|_| pacer.handle_seen(calm()));
        let mut taken = Positions::new();
        let mut now = Mono(1_000 * MS);
        assert_eq!(pacer.take(1_000, &taken, now), WINDOW as usize);
        pacer.handle_sent(lane, 700 + WINDOW - 1);
        pacer.handle_sent(lane, 700);
        let floor = (PER_S_MIN * 0.01) as usize;
        now = now + Duration::from_millis(10);
        assert_eq!(pacer.take(1_000, &taken, now), floor, "the window is full: it goes on slowly");
        assert!(pacer.wait(&taken) <= Duration::from_millis(1) && !pacer.is_caught_up(&taken));
        taken.insert(lane, 700 + 99);
        now = now + Duration::from_millis(10);
        assert_eq!(pacer.take(1_000, &taken, now), 100, "what the owner took makes room");
        taken.insert(lane, 9_999);
        now = now + Duration::from_millis(10);
        assert_eq!(pacer.take(1_000, &taken, now), WINDOW as usize, "never more than that");
        assert!(pacer.is_caught_up(&taken));
    }

    #[test]
    fn a_lane_s_very_first_record_is_waited_for_too() {
        let lane = (Priority::Critical, 0);
        let mut pacer = Pacer::new(1_000, Mono(0));
        pacer.handle_sent(lane, 0);
        assert!(!pacer.is_caught_up(&Positions::new()));
        assert!(pacer.is_caught_up(&Positions::from([(lane, 0)])));
        pacer.handle_sent(lane, 9);
        pacer.forget_sent();
        assert!(pacer.is_caught_up(&Positions::new()));
    }

    #[test]
    fn an_operator_s_bound_below_the_least_holds() {
        let mut pacer = Pacer::new(10, Mono(0));
        (0..10).for_each(|_| pacer.handle_seen(calm()));
        assert_eq!(taken_in(&mut pacer, 0, 1_000), 10);
    }
}
