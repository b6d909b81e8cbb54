//! Curves of several runs laid over each other by date. Pure; part of `merge`.

use wire::time::Wall;

use super::super::Report;
use super::super::storm::{BackAfter, Storm};
use super::{Misfit, date, seconds};
use crate::series::{POINTS_MAX, Series};

/// Adds the arrivals of storms, each from its own cut, into `sum`, which counts from `first`.
pub(super) fn arrivals(sum: &mut Storm, first: Wall, cuts: &[(Wall, &Storm)]) {
    let end = |(cut, storm): &(Wall, &Storm)| {
        seconds(first, *cut) + storm.arrivals.back.len() as f64 * storm.arrivals.every_s
    };
    let length = cuts.iter().map(end).fold(0.0, f64::max);
    let mut every = cuts.iter().map(|(_, storm)| storm.arrivals.every_s).fold(0.1, f64::max);
    while length / every > POINTS_MAX as f64 {
        every *= 2.0;
    }
    let points = ((length / every).ceil() as usize).clamp(1, POINTS_MAX);
    let column = |of: fn(&Storm) -> &Vec<u64>| {
        let mut sums = vec![0; points];
        for (cut, storm) in cuts {
            let shift = seconds(first, *cut);
            for (n, count) in of(storm).iter().enumerate() {
                let at = ((shift + n as f64 * storm.arrivals.every_s) / every + 1e-6) as usize;
                sums[at.min(points - 1)] += count;
            }
        }
        sums
    };
    sum.arrivals.lost = column(|storm| &storm.arrivals.lost);
    sum.arrivals.attempts = column(|storm| &storm.arrivals.attempts);
    sum.arrivals.refused = column(|storm| &storm.arrivals.refused);
    sum.arrivals.back = column(|storm| &storm.arrivals.back);
    sum.arrivals.every_s = every;
    let reached = |count: u64| {
        let mut back = 0;
        let at = sum.arrivals.back.iter().position(|here| {
            back += here;
            count > 0 && back >= count
        });
        at.map(|at| ((at + 1) as f64 * every * 100.0).round() / 100.0)
    };
    sum.back_s = BackAfter {
        p50: reached(sum.lost.div_ceil(2)),
        p90: reached((sum.lost * 9).div_ceil(10)),
        p99: reached((sum.lost * 99).div_ceil(100)),
        all: reached(sum.lost),
    };
    let lost = |n: &usize| sum.arrivals.lost[*n] > 0;
    let ends = (0..points).find(lost).zip((0..points).rev().find(lost));
    sum.losing_s = ends.map(|(first, last)| (last + 1 - first) as f64 * every);
}

/// Counts add up in each point, what stands at its end is carried on, the longest lag stays.
pub(super) fn series(all: &[&Report]) -> Result<Option<Series>, Misfit> {
    let mut parts = Vec::new();
    for report in all {
        if let Some(series) = report.series.as_ref().filter(|series| !series.t_s.is_empty()) {
            parts.push((date(report)?, series));
        }
    }
    let Some(begun) = parts.iter().map(|(begun, _)| *begun).min() else { return Ok(None) };
    let end =
        |(from, series): &(Wall, &Series)| seconds(begun, *from) + series.t_s.last().copied().unwrap_or(0.0);
    let length = parts.iter().map(end).fold(0.0, f64::max);
    let mut every = parts.iter().map(|(_, series)| series.every_s).fold(0.2, f64::max);
    while length / every > POINTS_MAX as f64 {
        every *= 2.0;
    }
    let points = ((length / every).ceil() as usize).clamp(1, POINTS_MAX);
    let mut sum = Series {
        begun_at: begun.to_string(),
        every_s: every,
        t_s: (1..=points).map(|n| (n as f64 * every * 1e3).round() / 1e3).collect(),
        open: vec![0; points],
        attempts: vec![0; points],
        entered: vec![0; points],
        refused: vec![0; points],
        dropped: vec![0; points],
        received: vec![0; points],
        client_cpu: vec![0.0; points],
        client_lag_ms: vec![0.0; points],
        servers: Vec::new(),
    };
    for (from, series) in &parts {
        add(&mut sum, series, seconds(begun, *from));
    }
    Ok(Some(sum))
}

fn add(sum: &mut Series, series: &Series, shift: f64) {
    let points = sum.t_s.len();
    let place = |t: f64| (((shift + t) / sum.every_s - 1e-6).max(0.0) as usize).min(points - 1);
    let places: Vec<usize> = series.t_s.iter().map(|t| place(*t)).collect();
    let counts = [
        (&mut sum.attempts, &series.attempts),
        (&mut sum.entered, &series.entered),
        (&mut sum.refused, &series.refused),
        (&mut sum.dropped, &series.dropped),
        (&mut sum.received, &series.received),
    ];
    for (column, from) in counts {
        places.iter().zip(from).for_each(|(at, count)| column[*at] += count);
    }
    let mut cpu = vec![(0.0, 0_u32); points];
    for (n, at) in places.iter().enumerate() {
        cpu[*at].0 += series.client_cpu.get(n).copied().unwrap_or(0.0);
        cpu[*at].1 += 1;
        let lag = series.client_lag_ms.get(n).copied().unwrap_or(0.0);
        sum.client_lag_ms[*at] = sum.client_lag_ms[*at].max(lag);
    }
    for (at, (share, count)) in cpu.iter().enumerate().filter(|(_, (_, count))| *count > 0) {
        sum.client_cpu[at] += (share / f64::from(*count) * 1e3).round() / 1e3;
    }
    for at in 0..points {
        let known = places.iter().rposition(|place| *place <= at);
        sum.open[at] += known.and_then(|n| series.open.get(n)).copied().unwrap_or(0);
    }
    for server in &series.servers {
        if sum.servers.iter().any(|known| known.pid == server.pid && known.name == server.name) {
            continue;
        }
        let last = |at: usize| places.iter().rposition(|place| *place == at);
        let mut laid =
            crate::series::ServerSeries { name: server.name.clone(), pid: server.pid, ..Default::default() };
        for at in 0..points {
            laid.rss_bytes.push(last(at).and_then(|n| *server.rss_bytes.get(n)?));
            laid.cpu.push(last(at).and_then(|n| *server.cpu.get(n)?));
        }
        sum.servers.push(laid);
    }
}
