//! Counters that a hot path can afford, and the text in which Prometheus reads them.
//!
//! Each counter has one writer in the usual case (a shard, the owner's thread), so relaxed atomics suffice:
//! a reader sees each value some microseconds late and never torn.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A number that only rises.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub const fn new() -> Counter {
        Counter(AtomicU64::new(0))
    }

    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    pub fn inc(&self) {
        self.add(1);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that rises and falls, never below zero.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    pub const fn new() -> Gauge {
        Gauge(AtomicU64::new(0))
    }

    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Upper bounds of the histogram's buckets, in seconds: from 100 µs to a minute.
pub const BOUNDS_S: [f64; 18] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
    30.0, 60.0,
];

/// A distribution of durations over [`BOUNDS_S`].
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [AtomicU64; BOUNDS_S.len()],
    count: AtomicU64,
    sum_us: AtomicU64,
}

impl Histogram {
    pub const fn new() -> Histogram {
        Histogram {
            buckets: [const { AtomicU64::new(0) }; BOUNDS_S.len()],
            count: AtomicU64::new(0),
            sum_us: AtomicU64::new(0),
        }
    }

    pub fn observe(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        if let Some(bucket) = BOUNDS_S.iter().position(|bound| seconds <= *bound) {
            self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        }
        self.count.fetch_add(1, Ordering::Relaxed);
        self.sum_us.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }
}

/// A page of metrics in Prometheus' text format 0.0.4. Samples of one name must be added one after another.
#[derive(Debug, Default)]
pub struct Text {
    page: String,
    last_name: String,
}

/// Label names and values of one sample.
pub type Labels<'a> = &'a [(&'a str, &'a str)];

impl Text {
    pub const CONTENT_TYPE: &'static str = "text/plain; version=0.0.4; charset=utf-8";

    pub fn new() -> Text {
        Text::default()
    }

    pub fn counter(&mut self, name: &str, help: &str, labels: Labels<'_>, value: u64) {
        self.header(name, help, "counter");
        self.sample(name, labels, &[], value);
    }

    pub fn gauge(&mut self, name: &str, help: &str, labels: Labels<'_>, value: u64) {
        self.header(name, help, "gauge");
        self.sample(name, labels, &[], value);
    }

    pub fn histogram(&mut self, name: &str, help: &str, labels: Labels<'_>, of: &Histogram) {
        self.header(name, help, "histogram");
        let bucket = format!("{name}_bucket");
        let mut below = 0;
        for (bound, count) in BOUNDS_S.iter().zip(&of.buckets) {
            below += count.load(Ordering::Relaxed);
            self.sample(&bucket, labels, &[("le", &bound.to_string())], below);
        }
        let count = of.count().max(below);
        self.sample(&bucket, labels, &[("le", "+Inf")], count);
        let sum = Duration::from_micros(of.sum_us.load(Ordering::Relaxed)).as_secs_f64();
        self.sample(&format!("{name}_sum"), labels, &[], sum);
        self.sample(&format!("{name}_count"), labels, &[], count);
    }

    pub fn finish(self) -> String {
        self.page
    }

    fn header(&mut self, name: &str, help: &str, kind: &str) {
        if self.last_name != name {
            name.clone_into(&mut self.last_name);
            let _infallible = write!(self.page, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
        }
    }

    fn sample(&mut self, name: &str, labels: Labels<'_>, more: Labels<'_>, value: impl std::fmt::Display) {
        self.page.push_str(name);
        let mut open = '{';
        for (label, text) in labels.iter().chain(more) {
            let escaped = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _infallible = write!(self.page, "{open}{label}=\"{escaped}\"");
            open = ',';
        }
        if open == ',' {
            self.page.push('}');
        }
        let _infallible = writeln!(self.page, " {value}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_reads_as_prometheus_writes_it() {
        let mut text = Text::new();
        text.counter("tocsin_x_total", "Xs.", &[("verdict", "soft")], 3);
        text.counter("tocsin_x_total", "Xs.", &[("verdict", "a\"b\\c\nd")], 4);
        text.gauge("tocsin_y", "Ys.", &[], 5);
        assert_eq!(
            text.finish(),
            "# HELP tocsin_x_total Xs.\n# TYPE tocsin_x_total counter\ntocsin_x_total{verdict=\"soft\"} 3\n\
             tocsin_x_total{verdict=\"a\\\"b\\\\c\\nd\"} 4\n# HELP tocsin_y Ys.\n# TYPE tocsin_y gauge\ntocsin_y 5\n"
        );
    }

    #[test]
    fn histogram_buckets_are_cumulative() {
        let histogram = Histogram::new();
        for ms in [0, 3, 3, 90_000] {
            histogram.observe(Duration::from_millis(ms));
        }
        let mut text = Text::new();
        text.histogram("h", "H.", &[("channel", "push")], &histogram);
        let page = text.finish();
        assert!(page.contains("h_bucket{channel=\"push\",le=\"0.0001\"} 1\n"), "{page}");
        assert!(page.contains("h_bucket{channel=\"push\",le=\"0.005\"} 3\n"));
        assert!(page.contains("h_bucket{channel=\"push\",le=\"+Inf\"} 4\nh_sum{channel=\"push\"} 90.006\n"));
    }
}
