//! How a storm went, as the report says it: the arrival curve, when which share was back, attempts, Retry-After and whether it was
//! drawn evenly, latency before, during and after. Pure; made by `run::sum`, part of `report`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use wire::time::{Mono, Wall};

use super::RetryAfter;
use crate::percentiles::Summary;
use crate::phases::PhaseLatencies;
use crate::returns::{Returns, STEP, Step};
use crate::series::POINTS_MAX;

/// The finest arrival curve that is reported.
const EVERY_FIRST_STEPS: usize = 10;
/// The contract's Retry-After: drawn uniformly from these seconds.
pub const RETRY_AFTER_S: std::ops::RangeInclusive<u32> = 5..=30;
/// Draws a cell that χ² wants at least.
const DRAWS_A_CELL: u64 = 5;
/// The attempt that fewer than one client in a hundred should need.
const FOURTH: u32 = 4;

/// `storm` in the report. Times are from `cut_at`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Storm {
    /// `rst`, `fin` (we ended the connections), `kill`, `term` (a server process was), `wait` (something else).
    pub cut: String,
    /// Absent when nothing was cut: the run ended before.
    pub cut_at: Option<String>,
    /// The same as seconds of the run, as in `series`.
    pub cut_s: Option<f64>,
    pub lost: u64,
    pub back: u64,
    /// From the first loss to the last.
    pub losing_s: Option<f64>,
    pub back_s: BackAfter,
    /// Attempts that clients needed to be back.
    pub attempts: BTreeMap<u32, u64>,
    /// Share of those that were back only with the fourth attempt or later.
    pub fourth_share: Option<f64>,
    pub refused: u64,
    pub retry_after_s: Option<RetryAfter>,
    pub retry_after_chi2: Option<Chi2>,
    pub arrivals: Arrivals,
    /// Intended post → socket. Before: came before the cut. During: came later, meant to be posted before all were back.
    pub before_ms: Option<Summary>,
    pub during_ms: Option<Summary>,
    pub after_ms: Option<Summary>,
    /// Those of `during_ms` that came live to clients that lost nothing.
    pub survivors_ms: Option<Summary>,
    /// The same while others' connections were still being lost (`losing_s`), and later.
    #[serde(default)]
    pub survivors_losing_ms: Option<Summary>,
    #[serde(default)]
    pub survivors_later_ms: Option<Summary>,
}

/// Seconds until so many of the lost were back; `null`: never.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct BackAfter {
    pub p50: Option<f64>,
    pub p90: Option<f64>,
    pub p99: Option<f64>,
    pub all: Option<f64>,
}

/// Columns of equal length, one entry for `every_s` seconds from the cut on.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Arrivals {
    pub every_s: f64,
    pub lost: Vec<u64>,
    pub attempts: Vec<u64>,
    pub refused: Vec<u64>,
    pub back: Vec<u64>,
}

/// Pearson's χ² of Retry-After against a uniform draw of 5..=30 whole seconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Chi2 {
    pub chi2: f64,
    pub cells: u32,
    pub draws: u64,
    /// The value that a uniform draw exceeds once in a thousand runs.
    pub bound: f64,
    /// Answers outside of 5..=30, which the contract does not know.
    pub outside: u64,
    pub uniform: bool,
}

impl Storm {
    pub fn new(cut: &str, cut_at: Option<(Mono, Wall)>, returns: &Returns, phases: &PhaseLatencies) -> Storm {
        let steps = cut_at.map(|(at, _)| returns.since(at)).unwrap_or_default();
        let sum = |of: fn(&Step) -> u32| steps.iter().map(|step| u64::from(of(step))).sum::<u64>();
        let (lost, back) = (sum(|step| step.lost), sum(|step| step.back));
        let mut storm = Storm {
            cut: cut.to_owned(),
            cut_at: cut_at.map(|(_, date)| date.to_string()),
            cut_s: None,
            lost,
            back,
            losing_s: losing(&steps),
            back_s: BackAfter {
                p50: reached(&steps, lost.div_ceil(2)),
                p90: reached(&steps, (lost * 9).div_ceil(10)),
                p99: reached(&steps, (lost * 99).div_ceil(100)),
                all: reached(&steps, lost),
            },
            attempts: returns.attempts_needed.clone(),
            fourth_share: None,
            refused: sum(|step| step.refused),
            retry_after_s: RetryAfter::of(returns.retry_after_s.clone()),
            retry_after_chi2: chi2(&returns.retry_after_s),
            arrivals: arrivals(&steps),
            before_ms: phases.before.summary(),
            during_ms: phases.during.summary(),
            after_ms: phases.after.summary(),
            survivors_ms: phases.survivors.summary(),
            survivors_losing_ms: phases.survivors_losing.summary(),
            survivors_later_ms: phases.survivors_later.summary(),
        };
        storm.count_fourths();
        storm
    }

    /// Who was back only with the fourth attempt or later, of all that are back.
    pub(super) fn count_fourths(&mut self) {
        let counted: u64 = self.attempts.values().sum();
        let late: u64 = self.attempts.range(FOURTH..).map(|(_, clients)| clients).sum();
        self.fourth_share = (counted > 0).then(|| late as f64 / counted as f64);
    }

    /// The survivors' 99th percentile over that of the calm.
    pub fn survivor_ratio(&self) -> Option<f64> {
        self.over_calm(self.survivors_ms)
    }

    /// The same of those once nobody lost anything any more.
    pub fn survivor_later_ratio(&self) -> Option<f64> {
        self.over_calm(self.survivors_later_ms)
    }

    fn over_calm(&self, times: Option<Summary>) -> Option<f64> {
        let (calm, times) = (self.before_ms?.p99, times?.p99);
        (calm > 0.0).then(|| times / calm)
    }
}

fn losing(steps: &[Step]) -> Option<f64> {
    let first = steps.iter().position(|step| step.lost > 0)?;
    let last = steps.iter().rposition(|step| step.lost > 0)?;
    Some((last + 1 - first) as f64 * STEP.as_secs_f64())
}

/// When the `count`th was back.
fn reached(steps: &[Step], count: u64) -> Option<f64> {
    let mut back = 0;
    let at = steps.iter().position(|step| {
        back += u64::from(step.back);
        count > 0 && back >= count
    })?;
    // The end of the step: not earlier than it was.
    Some(hundredths((at + 1) as f64 * STEP.as_secs_f64()))
}

fn hundredths(seconds: f64) -> f64 {
    (seconds * 100.0).round() / 100.0
}

fn arrivals(steps: &[Step]) -> Arrivals {
    let mut each = EVERY_FIRST_STEPS;
    while steps.len().div_ceil(each) > POINTS_MAX {
        each *= 2;
    }
    let column = |of: fn(&Step) -> u32| -> Vec<u64> {
        steps.chunks(each).map(|chunk| chunk.iter().map(|step| u64::from(of(step))).sum()).collect()
    };
    Arrivals {
        every_s: hundredths(each as f64 * STEP.as_secs_f64()),
        lost: column(|step| step.lost),
        attempts: column(|step| step.attempts),
        refused: column(|step| step.refused),
        back: column(|step| step.back),
    }
}

/// `None` while there are too few draws to say anything.
pub fn chi2(histogram: &BTreeMap<u32, u64>) -> Option<Chi2> {
    let cells = u64::from(RETRY_AFTER_S.end() - RETRY_AFTER_S.start() + 1);
    let draws: u64 = histogram.range(RETRY_AFTER_S).map(|(_, times)| times).sum();
    let all: u64 = histogram.values().sum();
    if draws < cells * DRAWS_A_CELL {
        return None;
    }
    let expected = draws as f64 / cells as f64;
    let off = |second: u32| histogram.get(&second).copied().unwrap_or(0) as f64 - expected;
    let chi2: f64 = RETRY_AFTER_S.map(|second| off(second).powi(2) / expected).sum();
    let bound = bound(cells as f64 - 1.0);
    let chi2 = (chi2 * 100.0).round() / 100.0;
    Some(Chi2 {
        chi2,
        cells: cells as u32,
        draws,
        bound,
        outside: all - draws,
        uniform: chi2 < bound && all == draws,
    })
}

/// The 99.9% point of χ² by Wilson and Hilferty: within 0.1 of the tables from ten degrees of freedom on.
fn bound(freedom: f64) -> f64 {
    const NORMAL_999: f64 = 3.090_232;
    let share = 2.0 / (9.0 * freedom);
    let cube = (1.0 - share + NORMAL_999 * share.sqrt()).powi(3);
    (freedom * cube * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A thousand lost at once, back one each millisecond from the first second on.
    fn returns() -> Returns {
        let mut returns = Returns::default();
        for n in 0..1_000_u64 {
            returns.handle_loss(Mono(10_000_000));
            returns.handle_attempt(Mono(11_000_000 + n * 1_000));
            returns.handle_back(if n < 20 { 4 } else { 1 }, Mono(11_000_000 + n * 1_000));
        }
        returns
    }

    #[test]
    fn shares_are_back_when_they_were() {
        let at = Some((Mono(10_000_000), Wall(0)));
        let storm = Storm::new("rst", at, &returns(), &PhaseLatencies::default());
        assert_eq!((storm.lost, storm.back), (1_000, 1_000));
        let found = [storm.back_s.p50, storm.back_s.p90, storm.back_s.p99, storm.back_s.all];
        assert_eq!(found, [Some(1.5), Some(1.9), Some(1.99), Some(2.0)]);
        assert_eq!(storm.fourth_share, Some(0.02));
        assert_eq!(
            (storm.arrivals.every_s, storm.arrivals.lost[0], storm.arrivals.back.len()),
            (0.1, 1_000, 20)
        );
        assert_eq!(storm.arrivals.back[10], 100);
    }

    #[test]
    fn who_never_came_back_leaves_no_time() {
        let mut returns = returns();
        returns.handle_loss(Mono(10_500_000));
        let storm =
            Storm::new("kill", Some((Mono(10_000_000), Wall(0))), &returns, &PhaseLatencies::default());
        assert_eq!((storm.back_s.p99, storm.back_s.all), (Some(2.0), None));
        let nothing = Storm::new("wait", None, &Returns::default(), &PhaseLatencies::default());
        assert_eq!((nothing.lost, nothing.back_s.p50, nothing.fourth_share), (0, None, None));
    }

    #[test]
    fn a_long_storm_is_coarser_and_not_longer() {
        let mut returns = returns();
        returns.handle_back(1, Mono(600_000_000));
        let storm =
            Storm::new("rst", Some((Mono(10_000_000), Wall(0))), &returns, &PhaseLatencies::default());
        assert!(storm.arrivals.back.len() <= POINTS_MAX && storm.arrivals.every_s > 0.5);
        assert_eq!(storm.arrivals.back.iter().sum::<u64>(), 1_001);
    }

    #[test]
    fn an_even_draw_is_uniform_and_a_lopsided_one_is_not() {
        let even = chi2(&(5..=30).map(|second| (second, 100)).collect()).expect("enough");
        assert!(even.uniform && even.chi2 < 0.01 && (52.0..53.2).contains(&even.bound), "{even:?}");
        let lopsided: BTreeMap<u32, u64> = (5..=30).map(|second| (second, u64::from(second) * 10)).collect();
        assert!(chi2(&lopsided).is_some_and(|found| !found.uniform));
        let outside: BTreeMap<u32, u64> = (5..=31).map(|second| (second, 100)).collect();
        assert!(chi2(&outside).is_some_and(|found| found.outside == 100 && !found.uniform));
        assert_eq!(chi2(&BTreeMap::from([(5, 3)])), None);
    }
}
