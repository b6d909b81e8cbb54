//! Latency distributions: HdrHistogram over microseconds, three digits. Pure; merged from all threads into the report.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// The longest time that is told apart, microseconds: one hour. Longer ones count as this.
const HIGHEST_US: u64 = 3_600_000_000;
const DIGITS: u8 = 3;

/// A distribution of times.
#[derive(Debug, Clone)]
pub struct Latencies {
    histogram: Histogram<u64>,
}

impl Default for Latencies {
    fn default() -> Latencies {
        let histogram = Histogram::new_with_bounds(1, HIGHEST_US, DIGITS).expect("the bounds are constants");
        Latencies { histogram }
    }
}

impl Latencies {
    pub fn record(&mut self, time: Duration) {
        let us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.histogram.saturating_record(us.min(HIGHEST_US));
    }

    pub fn merge(&mut self, other: &Latencies) {
        self.histogram.add(&other.histogram).expect("all have the same bounds");
    }

    /// The distribution that [`Latencies::buckets`] wrote: equal to it in every figure, but for the smallest value of a bucket.
    pub fn from_buckets(buckets: &[(u64, u64)]) -> Latencies {
        let mut all = Latencies::default();
        for (us, count) in buckets {
            all.histogram.saturating_record_n((*us).min(HIGHEST_US), *count);
        }
        all
    }

    pub fn count(&self) -> u64 {
        self.histogram.len()
    }

    /// `None` when nothing was recorded: a zero would look like a measurement.
    pub fn summary(&self) -> Option<Summary> {
        if self.histogram.is_empty() {
            return None;
        }
        let at = |quantile| ms(self.histogram.value_at_quantile(quantile) as f64);
        Some(Summary {
            count: self.histogram.len(),
            min: ms(self.histogram.min() as f64),
            mean: ms(self.histogram.mean()),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: ms(self.histogram.max() as f64),
        })
    }

    /// Every bucket that holds something: (microseconds, count). What `merge` and plots need.
    pub fn buckets(&self) -> Vec<(u64, u64)> {
        self.histogram.iter_recorded().map(|v| (v.value_iterated_to(), v.count_at_value())).collect()
    }
}

fn ms(us: f64) -> f64 {
    us.round() / 1e3
}

/// Milliseconds, each right to three digits.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    pub count: u64,
    pub min: f64,
    pub mean: f64,
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub p999: f64,
    pub max: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_right_to_three_digits() {
        let mut all = Latencies::default();
        for us in 1..=100_000 {
            all.record(Duration::from_micros(us));
        }
        let summary = all.summary().expect("there are some");
        for (found, wanted) in
            [(summary.p50, 50.0), (summary.p99, 99.0), (summary.p999, 99.9), (summary.max, 100.0)]
        {
            assert!((found - wanted).abs() / wanted < 0.002, "{found} {wanted}");
        }
    }

    #[test]
    fn merging_equals_recording_in_one() {
        let (mut one, mut two, mut both) = (Latencies::default(), Latencies::default(), Latencies::default());
        for us in 0..10_000_u64 {
            let time = Duration::from_micros(us * us);
            if us % 3 == 0 {
                one.record(time);
            } else {
                two.record(time);
            }
            both.record(time);
        }
        one.merge(&two);
        assert_eq!(one.buckets(), both.buckets());
        assert_eq!(one.summary(), both.summary());
    }

    #[test]
    fn what_was_written_is_read_back_to_the_same_percentiles() {
        let mut all = Latencies::default();
        for us in 1..30_000_u64 {
            all.record(Duration::from_micros(us * us % 7_000_003));
        }
        let back = Latencies::from_buckets(&all.buckets());
        assert_eq!(back.buckets(), all.buckets());
        let (back, all) = (back.summary().expect("some"), all.summary().expect("some"));
        assert_eq!((back.count, back.p50, back.p99, back.p999), (all.count, all.p50, all.p99, all.p999));
    }

    #[test]
    fn nothing_recorded_is_no_figure_and_beyond_the_end_is_the_end() {
        let mut none = Latencies::default();
        assert_eq!(none.summary(), None);
        none.record(Duration::from_secs(1 << 40));
        assert!(none.summary().is_some_and(|s| s.max >= 3_600_000.0));
    }
}
