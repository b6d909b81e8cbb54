//! Which plots a report has, and what each shows. Pure; called by `html`.

use std::collections::BTreeMap;

use super::plot::{Axis, Line, Mark, Plot, Unit};
use crate::report::Report;
use crate::report::storm::{RETRY_AFTER_S, Storm};
use crate::series::Series;

/// All plots that there is something for, in the order in which a reader wants them.
pub(super) fn all(report: &Report) -> Vec<Plot> {
    let mut plots = Vec::new();
    if let Some(storm) = report.storm.as_ref().filter(|storm| storm.lost > 0) {
        plots.push(arrivals(storm));
        plots.push(back(storm));
        plots.extend(attempts(&storm.attempts, "Attempts until a client was back"));
    } else {
        plots.extend(attempts(&report.admission.attempts, "Attempts until a client was in"));
    }
    plots.extend(retry_after(report));
    plots.extend(percentiles(report));
    if let Some(series) = report.series.as_ref().filter(|series| series.t_s.len() > 1) {
        let marks = marks(report);
        plots.insert(0, connected(series, &marks));
        plots.extend(received(series, &marks));
        plots.extend(memory(series, &marks));
        plots.extend(server_cpu(series, &marks));
        plots.push(ourselves(series, &marks));
        plots.push(lag(series, &marks));
    }
    plots
}

fn marks(report: &Report) -> Vec<Mark> {
    let cut = report.storm.as_ref().and_then(|storm| storm.cut_s);
    cut.map(|x| Mark { x, name: "cut".to_owned() }).into_iter().collect()
}

/// A plot over the run's time.
fn over_time(title: &str, note: &str, y: Axis, lines: Vec<Line>, series: &Series, marks: &[Mark]) -> Plot {
    let end = series.t_s.last().copied().unwrap_or(1.0);
    Plot {
        title: title.to_owned(),
        note: note.to_owned(),
        x: Axis::until("since the first connect", Unit::Seconds, end),
        y,
        lines,
        bars: Vec::new(),
        marks: marks.to_vec(),
    }
}

fn highest(lines: &[Line]) -> f64 {
    lines.iter().map(Line::highest).fold(0.0, f64::max)
}

/// Counts of each point as a rate.
fn rate(name: &str, counts: &[u64], series: &Series) -> Line {
    let starts = std::iter::once(0.0).chain(series.t_s.iter().copied());
    let lengths = series.t_s.iter().zip(starts).map(|(end, start)| (end - start).max(f64::EPSILON));
    let points = series.t_s.iter().zip(counts).zip(lengths).map(|((t, n), length)| (*t, *n as f64 / length));
    Line::new(name, points)
}

fn connected(series: &Series, marks: &[Mark]) -> Plot {
    let open = series.t_s.iter().zip(&series.open).map(|(t, n)| (*t, f64::from(*n)));
    let open = Line::new("clients in", open).filled();
    let y = Axis::linear("clients", Unit::Count, open.highest());
    over_time(
        "Clients connected",
        "Clients that have their welcome, at each moment of the run.",
        y,
        vec![open],
        series,
        marks,
    )
}

fn received(series: &Series, marks: &[Mark]) -> Option<Plot> {
    let line = rate("copies", &series.received, series).filled();
    (line.highest() > 0.0).then(|| {
        let y = Axis::linear("a second", Unit::Count, line.highest());
        over_time("Messages received", "Copies that reached a client's socket.", y, vec![line], series, marks)
    })
}

fn memory(series: &Series, marks: &[Mark]) -> Option<Plot> {
    let lines: Vec<Line> = series
        .servers
        .iter()
        .map(|server| Line {
            name: format!("{} (pid {})", server.name, server.pid),
            points: series
                .t_s
                .iter()
                .copied()
                .zip(server.rss_bytes.iter().map(|rss| rss.map(|n| n as f64)))
                .collect(),
            area: false,
        })
        .collect();
    (highest(&lines) > 0.0).then(|| {
        let y = Axis::linear("resident", Unit::Bytes, highest(&lines));
        over_time(
            "Server memory",
            "Resident memory of each server process on this machine.",
            y,
            lines,
            series,
            marks,
        )
    })
}

fn server_cpu(series: &Series, marks: &[Mark]) -> Option<Plot> {
    let lines: Vec<Line> = series
        .servers
        .iter()
        .map(|server| Line {
            name: format!("{} (pid {})", server.name, server.pid),
            points: series.t_s.iter().copied().zip(server.cpu.iter().copied()).collect(),
            area: false,
        })
        .collect();
    (highest(&lines) > 0.0).then(|| {
        let y = Axis::linear("cores", Unit::Cores, highest(&lines));
        over_time("Server CPU", "Cores that each server process kept busy.", y, lines, series, marks)
    })
}

fn ourselves(series: &Series, marks: &[Mark]) -> Plot {
    let line =
        Line::new("load tester", series.t_s.iter().copied().zip(series.client_cpu.iter().copied())).filled();
    let y = Axis::linear("cores", Unit::Cores, line.highest());
    let note = "Cores that the load tester itself kept busy, all threads together.";
    over_time("Load tester: CPU", note, y, vec![line], series, marks)
}

fn lag(series: &Series, marks: &[Mark]) -> Plot {
    let line =
        Line::new("longest turn", series.t_s.iter().copied().zip(series.client_lag_ms.iter().copied()));
    let y = Axis::linear("milliseconds", Unit::Millis, line.highest());
    let note = "The longest turn of its loops: what it could have added to a latency by itself.";
    over_time("Load tester: loop lag", note, y, vec![line], series, marks)
}

/// The crowd's way back, a line each for who tried, who got in and who was refused.
fn arrivals(storm: &Storm) -> Plot {
    let every = storm.arrivals.every_s;
    let line = |name: &str, counts: &[u64]| {
        Line::new(name, counts.iter().enumerate().map(|(n, count)| (n as f64 * every, *count as f64 / every)))
    };
    let mut lines =
        vec![line("attempts", &storm.arrivals.attempts), line("back", &storm.arrivals.back).filled()];
    if storm.refused > 0 {
        lines.push(line("refused", &storm.arrivals.refused));
    }
    Plot {
        title: "Arrival curve".to_owned(),
        note: format!(
            "{} clients lost their connection within {:.1} s; attempts, returns and refusals a second, from the cut on.",
            super::grouped(storm.lost),
            storm.losing_s.unwrap_or(0.0)
        ),
        x: Axis::until("since the cut", Unit::Seconds, (storm.arrivals.back.len() as f64 * every).max(every)),
        y: Axis::linear("a second", Unit::Count, highest(&lines)),
        lines,
        bars: Vec::new(),
        marks: Vec::new(),
    }
}

fn back(storm: &Storm) -> Plot {
    let (every, mut sum) = (storm.arrivals.every_s, 0);
    let shares = storm.arrivals.back.iter().enumerate().map(|(n, count)| {
        sum += count;
        ((n + 1) as f64 * every, 100.0 * sum as f64 / storm.lost as f64)
    });
    let shares = Line::new("back", std::iter::once((0.0, 0.0)).chain(shares)).filled();
    let at = &storm.back_s;
    let marks = [("50%", at.p50), ("99%", at.p99), ("all", at.all)];
    let marks =
        marks.into_iter().filter_map(|(name, at)| at.map(|x| Mark { x, name: format!("{name} {x:.1} s") }));
    Plot {
        title: "Share that is back".to_owned(),
        note: "Of the clients that lost their connection.".to_owned(),
        x: Axis::until("since the cut", Unit::Seconds, (storm.arrivals.back.len() as f64 * every).max(every)),
        y: Axis::linear("", Unit::Percent, 100.0),
        lines: vec![shares],
        bars: Vec::new(),
        marks: apart(marks.collect(), storm.arrivals.back.len() as f64 * every),
    }
}

/// Marks whose texts would lie over each other are thinned from the left; the last one stays.
fn apart(marks: Vec<Mark>, width: f64) -> Vec<Mark> {
    let mut kept: Vec<Mark> = Vec::new();
    for mark in marks.into_iter().rev() {
        if kept.last().is_none_or(|right| right.x - mark.x > width * 0.13) {
            kept.push(mark);
        }
    }
    kept
}

fn attempts(attempts: &BTreeMap<u32, u64>, title: &str) -> Option<Plot> {
    // One attempt each is no histogram to look at.
    let most = *attempts.keys().next_back().filter(|most| **most > 1)?;
    let high = attempts.values().copied().max()? as f64;
    let ticks =
        (1..=most).step_by((most as usize / 12).max(1)).map(|n| (f64::from(n), n.to_string())).collect();
    Some(Plot {
        title: title.to_owned(),
        note: String::new(),
        x: Axis::marked("attempts", 0.4, f64::from(most) + 0.6, ticks),
        y: Axis::linear("clients", Unit::Count, high),
        lines: Vec::new(),
        bars: attempts.iter().map(|(n, clients)| (f64::from(*n), *clients as f64)).collect(),
        marks: Vec::new(),
    })
}

fn retry_after(report: &Report) -> Option<Plot> {
    let storm = report.storm.as_ref();
    let said =
        storm.and_then(|storm| storm.retry_after_s.as_ref()).or(report.admission.retry_after_s.as_ref())?;
    let high = said.histogram.values().copied().max()? as f64;
    let (low, top) = (said.min.min(*RETRY_AFTER_S.start()), said.max.max(*RETRY_AFTER_S.end()));
    let chi2 = crate::report::storm::chi2(&said.histogram);
    let note = chi2.as_ref().map_or("Too few draws to judge.".to_owned(), |found| {
        let verdict = if found.uniform {
            "as a uniform draw of 5..=30 gives"
        } else {
            "not what a uniform draw of 5..=30 gives"
        };
        format!("{} draws, χ² {:.1} (bound {:.1}): {verdict}.", found.draws, found.chi2, found.bound)
    });
    let even = chi2.map(|found| found.draws as f64 / f64::from(found.cells));
    let lines = even.map(|even| {
        Line::new(
            "uniform",
            [(f64::from(*RETRY_AFTER_S.start()) - 0.5, even), (f64::from(*RETRY_AFTER_S.end()) + 0.5, even)],
        )
    });
    let step = ((top - low) as usize / 12).max(1);
    let ticks = (low..=top).step_by(step).map(|n| (f64::from(n), n.to_string())).collect();
    Some(Plot {
        title: "Retry-After".to_owned(),
        note,
        x: Axis::marked("seconds", f64::from(low) - 0.6, f64::from(top) + 0.6, ticks),
        y: Axis::linear("answers", Unit::Count, high.max(even.unwrap_or(0.0))),
        lines: lines.into_iter().collect(),
        bars: said.histogram.iter().map(|(n, times)| (f64::from(*n), *times as f64)).collect(),
        marks: Vec::new(),
    })
}

/// Latency by percentile; each nine is as wide as the one before.
fn percentiles(report: &Report) -> Option<Plot> {
    let h = &report.histograms;
    let lines: Vec<Line> = [
        ("handshake", &h.handshake_us),
        ("intended post → socket", &h.latency_us),
        ("202 → socket", &h.latency_from_202_us),
    ]
    .into_iter()
    .filter(|(_, buckets)| !buckets.is_empty())
    .map(|(name, buckets)| Line::new(name, curve(buckets)))
    .collect();
    let values = || lines.iter().flat_map(|line| &line.points).filter_map(|(_, y)| *y);
    let low = values().fold(f64::INFINITY, f64::min);
    let nines = lines.iter().flat_map(|line| &line.points).map(|(x, _)| *x).fold(1.0, f64::max).min(6.0);
    let names = ["0%", "90%", "99%", "99.9%", "99.99%", "99.999%", "99.9999%"];
    let mut ticks: Vec<(f64, String)> = names
        .iter()
        .take(nines as usize + 1)
        .enumerate()
        .map(|(n, name)| (n as f64, (*name).to_owned()))
        .collect();
    ticks.insert(1, (2_f64.log10(), "50%".to_owned()));
    (!lines.is_empty()).then(|| Plot {
        title: "Latency by percentile".to_owned(),
        note:
            "Open loop: counted from the intended time, so a stall shows for everything that was due in it."
                .to_owned(),
        x: Axis::marked("percentile", 0.0, nines, ticks),
        y: Axis::log("", Unit::Millis, low, highest(&lines)),
        lines,
        bars: Vec::new(),
        marks: Vec::new(),
    })
}

/// (nines, milliseconds) of a histogram.
fn curve(buckets: &[(u64, u64)]) -> Vec<(f64, f64)> {
    const LEAST_MS: f64 = 0.01;
    let total: u64 = buckets.iter().map(|(_, count)| count).sum();
    let mut below = 0_u64;
    let mut points = Vec::new();
    for (us, count) in buckets {
        let ms = (*us as f64 / 1e3).max(LEAST_MS);
        // From where the bucket begins to where it ends, the last one short of 100%.
        for rank in [below + 1, below + count] {
            let above = (total + 1 - rank).max(1) as f64 / total as f64;
            points.push((-above.min(1.0).log10(), ms));
        }
        below += count;
    }
    points
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_stands_where_it_belongs() {
        // 1 to 1,000 ms, once each.
        let points = curve(&(1..=1_000).map(|ms| (ms * 1_000, 1)).collect::<Vec<_>>());
        let near = |nines: f64| {
            let off = |x: f64| (x - nines).abs();
            points.iter().min_by(|a, b| off(a.0).total_cmp(&off(b.0))).expect("points").1
        };
        for (nines, ms) in [(2_f64.log10(), 500.0), (1.0, 900.0), (2.0, 990.0), (3.0, 1_000.0)] {
            assert!((near(nines) - ms).abs() <= 1.5, "{nines}: {}", near(nines));
        }
    }

    #[test]
    fn a_report_without_anything_has_no_plots_and_does_not_fail() {
        assert!(all(&Report::example()).is_empty());
    }
}
