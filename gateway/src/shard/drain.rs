//! Leaving without losing anything: how fast a draining shard advises its clients to move, and when it closes
//! those that stay.
//!
//! The window has three parts: for the first 70% clients are told `reconnect`, evenly; for the next 20% those
//! still there are closed, evenly; the last 10% is for the closes to finish. Never touches a connection: it
//! says how many. Called by `shard`.

use std::time::Duration;

use wire::close::CloseCode;
use wire::time::Mono;

/// Why a node leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DrainKind {
    /// SIGTERM: the process ends and may come back; closes are 1012.
    Restart,
    /// An operator's `/drain`: the node goes away; closes are 1001.
    GoingAway,
}

impl DrainKind {
    pub fn close_code(self) -> CloseCode {
        match self {
            DrainKind::Restart => CloseCode::Restart,
            DrainKind::GoingAway => CloseCode::GoingAway,
        }
    }
}

/// The pace of one drain.
#[derive(Debug, Clone)]
pub struct Drain {
    pub kind: DrainKind,
    started: Mono,
    window: Duration,
    /// Connections there were at the start.
    total: u64,
    advised: u64,
    closed: u64,
}

/// How often a draining shard looks at its pace.
pub const PACE: Duration = Duration::from_millis(20);

impl Drain {
    pub fn new(kind: DrainKind, window: Duration, total: u64, now: Mono) -> Drain {
        Drain { kind, started: now, window, total, advised: 0, closed: 0 }
    }

    /// How many more connections may be advised to move by now. The caller says what it did by
    /// [`Drain::advised`].
    pub fn to_advise(&self, now: Mono) -> u64 {
        self.share(now, 0, 70).saturating_sub(self.advised)
    }

    /// How many more may be closed by now.
    pub fn to_close(&self, now: Mono) -> u64 {
        self.share(now, 70, 90).saturating_sub(self.closed)
    }

    pub fn advised(&mut self, connections: u64) {
        self.advised += connections;
    }

    pub fn closed(&mut self, connections: u64) {
        self.closed += connections;
    }

    /// Time that an advised client has left before closes begin.
    pub fn advice(&self, now: Mono) -> Duration {
        self.at_percent(70).since(now)
    }

    pub fn closes_begin(&self) -> Mono {
        self.at_percent(70)
    }

    /// Cuts the window short: what is left is closed from now on, without advice.
    pub fn end_now(&mut self, now: Mono) {
        self.window = self.window.min(now.since(self.started));
    }

    /// When whatever is left is cut.
    pub fn ends(&self) -> Mono {
        self.started + self.window
    }

    /// How much of the total is due at `now`, when the work is spread evenly between two percents of the
    /// window.
    fn share(&self, now: Mono, from: u32, to: u32) -> u64 {
        let start = self.at_percent(from);
        if now < start {
            return 0;
        }
        let span = self.at_percent(to).since(start).as_micros().max(1);
        let passed = now.since(start).as_micros();
        let due = (u128::from(self.total) * passed).div_ceil(span);
        u64::try_from(due).unwrap_or(u64::MAX).min(self.total)
    }

    fn at_percent(&self, percent: u32) -> Mono {
        self.started + self.window * percent / 100
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Mono = Mono(5_000_000);
    const WINDOW: Duration = Duration::from_secs(30);

    #[test]
    fn advice_and_closes_are_spread_over_their_parts_of_the_window() {
        let mut drain = Drain::new(DrainKind::Restart, WINDOW, 10_000, START);
        let (mut most_advised, mut most_closed) = (0, 0);
        let mut now = START;
        while now < drain.ends() {
            let advise = drain.to_advise(now);
            let close = drain.to_close(now);
            assert!(close == 0 || now > drain.closes_begin());
            assert!(close == 0 || drain.advised == 10_000, "nobody is closed before all were advised");
            drain.advised(advise);
            drain.closed(close);
            most_advised = most_advised.max(advise);
            most_closed = most_closed.max(close);
            now = now + PACE;
        }
        assert_eq!((drain.advised, drain.closed), (10_000, 10_000));
        // 10,000 over 21 s and over 6 s, in steps of 20 ms.
        assert!(most_advised <= 11, "{most_advised}");
        assert!(most_closed <= 35, "{most_closed}");
    }

    #[test]
    fn advice_leaves_time_and_an_empty_shard_is_done_at_once() {
        let drain = Drain::new(DrainKind::GoingAway, WINDOW, 0, START);
        assert_eq!(drain.to_advise(drain.ends()), 0);
        assert_eq!(drain.to_close(drain.ends()), 0);
        assert_eq!(drain.advice(START), Duration::from_secs(21));
        assert_eq!(drain.advice(drain.ends()), Duration::ZERO);
        assert_eq!(DrainKind::GoingAway.close_code(), CloseCode::GoingAway);
        assert_eq!(DrainKind::Restart.close_code(), CloseCode::Restart);
    }
    #[test]
    fn a_window_that_is_cut_short_ends_now_and_never_later_than_it_would() {
        let mut drain = Drain::new(DrainKind::Restart, WINDOW, 10_000, START);
        let now = START + Duration::from_secs(3);
        drain.end_now(now);
        assert_eq!(drain.ends(), now);
        drain.end_now(now + Duration::from_secs(1));
        assert_eq!(drain.ends(), now);
        assert_eq!(drain.to_close(now), 10_000);
    }
}
