//! What happened over time, in at most [`POINTS_MAX`] points: a run that goes on makes them coarser instead of more. Pure. Fed by
//! `run`, which looks at the threads and at /proc; drawn by `report::page`.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use wire::time::Mono;

/// Points of a series at most.
pub const POINTS_MAX: usize = 600;
const _: () = assert!(POINTS_MAX.is_multiple_of(2), "points are merged in pairs");
/// The distance of the first points.
const EVERY_FIRST: Duration = Duration::from_millis(200);

/// One look at the run: counts since its begin, and how things stand.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Look {
    pub open: u32,
    pub attempts: u64,
    pub entered: u64,
    pub refused: u64,
    pub dropped: u64,
    pub received: u64,
    /// Our own CPU time.
    pub cpu: Duration,
    /// The longest turn of a thread's loop since the last look.
    pub lag: Duration,
    /// One for each server process on this machine: resident memory and CPU time; `None` when it is gone.
    pub servers: Vec<Option<(u64, Duration)>>,
}

/// Columns of equal length. `t_s`: the end of each point, from the first intended connect; counts are of the point's time alone.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// The date of second 0.
    pub begun_at: String,
    pub every_s: f64,
    pub t_s: Vec<f64>,
    /// Clients in at the point's end.
    pub open: Vec<u32>,
    pub attempts: Vec<u64>,
    pub entered: Vec<u64>,
    pub refused: Vec<u64>,
    pub dropped: Vec<u64>,
    pub received: Vec<u64>,
    /// All of the load tester, in cores.
    pub client_cpu: Vec<f64>,
    pub client_lag_ms: Vec<f64>,
    pub servers: Vec<ServerSeries>,
}

/// One server process; `null` where it was not there.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ServerSeries {
    pub name: String,
    pub pid: u32,
    pub rss_bytes: Vec<Option<u64>>,
    /// In cores.
    pub cpu: Vec<Option<f64>>,
}

/// One point as it is kept: counts as differences, CPU as time.
#[derive(Debug, Clone, Default)]
struct Point {
    at: Mono,
    length: Duration,
    look: Look,
}

/// Collects looks.
#[derive(Debug)]
pub struct Sampler {
    start: Mono,
    last: Mono,
    every: Duration,
    before: Look,
    points: Vec<Point>,
}

impl Sampler {
    pub fn new(start: Mono, first: Look) -> Sampler {
        Sampler { start, last: start, every: EVERY_FIRST, before: first, points: Vec::new() }
    }

    pub fn is_due(&self, now: Mono) -> bool {
        now.since(self.last) >= self.every
    }

    pub fn handle_look(&mut self, look: &Look, now: Mono) {
        if self.points.len() >= POINTS_MAX {
            self.coarsen();
        }
        let before = std::mem::replace(&mut self.before, look.clone());
        let length = now.since(self.last);
        self.last = now;
        let servers = look.servers.iter().enumerate().map(|(at, server)| {
            let (rss, cpu) = (*server)?;
            let was = before.servers.get(at).copied().flatten().map_or(cpu, |(_, cpu)| cpu);
            Some((rss, cpu.saturating_sub(was)))
        });
        let servers = servers.collect();
        let look = Look {
            open: look.open,
            attempts: look.attempts.saturating_sub(before.attempts),
            entered: look.entered.saturating_sub(before.entered),
            refused: look.refused.saturating_sub(before.refused),
            dropped: look.dropped.saturating_sub(before.dropped),
            received: look.received.saturating_sub(before.received),
            cpu: look.cpu.saturating_sub(before.cpu),
            lag: look.lag,
            servers,
        };
        self.points.push(Point { at: now, length, look });
    }

    /// Every two points become one.
    fn coarsen(&mut self) {
        let pairs = self.points.chunks(2).map(|pair| match pair {
            [one, two] => join(one, two),
            alone => alone[0].clone(),
        });
        self.points = pairs.collect();
        self.every *= 2;
    }

    /// `servers`: name and pid of each, in the order of the looks.
    pub fn series(&self, servers: &[(String, u32)]) -> Series {
        let points = &self.points;
        let share = |time: Duration, point: &Point| {
            round(time.as_secs_f64() / point.length.as_secs_f64().max(f64::EPSILON), 3)
        };
        let each = servers.iter().enumerate().map(|(at, (name, pid))| {
            let of = |point: &Point| point.look.servers.get(at).copied().flatten();
            ServerSeries {
                name: name.clone(),
                pid: *pid,
                rss_bytes: points.iter().map(|point| of(point).map(|(rss, _)| rss)).collect(),
                cpu: points.iter().map(|point| of(point).map(|(_, cpu)| share(cpu, point))).collect(),
            }
        });
        Series {
            begun_at: String::new(),
            every_s: self.every.as_secs_f64(),
            t_s: points.iter().map(|point| round(point.at.since(self.start).as_secs_f64(), 3)).collect(),
            open: points.iter().map(|point| point.look.open).collect(),
            attempts: points.iter().map(|point| point.look.attempts).collect(),
            entered: points.iter().map(|point| point.look.entered).collect(),
            refused: points.iter().map(|point| point.look.refused).collect(),
            dropped: points.iter().map(|point| point.look.dropped).collect(),
            received: points.iter().map(|point| point.look.received).collect(),
            client_cpu: points.iter().map(|point| share(point.look.cpu, point)).collect(),
            client_lag_ms: points.iter().map(|point| round(point.look.lag.as_secs_f64() * 1e3, 3)).collect(),
            servers: each.collect(),
        }
    }
}

/// Counts add up, levels are those of the end, the longest lag stays.
fn join(one: &Point, two: &Point) -> Point {
    let (a, b) = (&one.look, &two.look);
    let servers = b.servers.iter().enumerate().map(|(at, server)| {
        let (rss, cpu) = (*server)?;
        Some((rss, cpu + a.servers.get(at).copied().flatten().map_or(Duration::ZERO, |(_, cpu)| cpu)))
    });
    let look = Look {
        open: b.open,
        attempts: a.attempts + b.attempts,
        entered: a.entered + b.entered,
        refused: a.refused + b.refused,
        dropped: a.dropped + b.dropped,
        received: a.received + b.received,
        cpu: a.cpu + b.cpu,
        lag: a.lag.max(b.lag),
        servers: servers.collect(),
    };
    Point { at: two.at, length: one.length + two.length, look }
}

fn round(number: f64, digits: i32) -> f64 {
    let scale = 10_f64.powi(digits);
    (number * scale).round() / scale
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(n: u64) -> Look {
        let servers = vec![Some((1_000 + n, Duration::from_millis(100 * n))), None];
        Look { open: n as u32, entered: n, cpu: Duration::from_millis(50 * n), servers, ..Look::default() }
    }

    /// However long a run is, its series is bounded, and nothing that was counted is left out.
    #[test]
    fn a_long_run_is_coarser_and_not_longer() {
        let mut sampler = Sampler::new(Mono(0), look(0));
        let (mut now, looks) = (Mono(0), 5_000);
        for n in 1..=looks {
            now = now + sampler.every;
            assert!(sampler.is_due(now));
            sampler.handle_look(&look(n), now);
        }
        let series = sampler.series(&[("a".to_owned(), 7), ("b".to_owned(), 8)]);
        assert!((300..=POINTS_MAX).contains(&series.t_s.len()), "{}", series.t_s.len());
        assert_eq!(series.entered.iter().sum::<u64>(), looks);
        assert_eq!(series.open.last(), Some(&(looks as u32)));
        assert!(series.every_s > 1.0);
        assert_eq!(series.servers[0].rss_bytes.last(), Some(&Some(1_000 + looks)));
        assert!(series.servers[1].rss_bytes.iter().all(Option::is_none));
    }

    #[test]
    fn cpu_is_a_share_of_the_points_own_time() {
        let mut sampler = Sampler::new(Mono(0), look(0));
        sampler.handle_look(&look(2), Mono(400_000));
        let series = sampler.series(&[("a".to_owned(), 7)]);
        assert_eq!((series.client_cpu[0], series.servers[0].cpu[0]), (0.25, Some(0.5)));
        assert_eq!(series.t_s, [0.4]);
    }
}
