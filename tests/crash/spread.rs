//! The welcome's spread is honoured: a crowd that lost its node comes back over that time, not at once.

use std::time::Duration;

use tests::Cluster;
use tests::loadtest::Loaded;

use crate::killing;

fn storm(spread_ms: i64) -> Loaded {
    let mut cluster = Cluster::start(2, |setup| setup.set("gateway.reconnect_spread_ms", spread_ms));
    let more = ["--rate", "2000", "--for", "40s"];
    let loaded = killing::storm(&mut cluster, 2_000, "1,0", &more).end(Duration::from_secs(90));
    assert_eq!(loaded.code, Some(0), "{}", loaded.log);
    loaded
}

/// First attempts in each quarter of the spread.
fn quarters(loaded: &Loaded, spread_s: f64) -> Vec<f64> {
    let every = loaded.number("/storm/arrivals/every_s");
    let mut quarters = vec![0.0; 4];
    for (n, attempts) in loaded.column("/storm/arrivals/attempts").into_iter().enumerate() {
        let quarter = (n as f64 * every / spread_s * 4.0) as usize;
        if let Some(sum) = quarters.get_mut(quarter) {
            *sum += attempts;
        }
    }
    quarters
}

#[test]
fn eight_seconds_of_spread_are_eight_seconds_of_arrivals() {
    let loaded = storm(8_000);
    // 500 are expected in each; a uniform draw strays by more than 100 less than once in a million times.
    let quarters = quarters(&loaded, 8.0);
    assert!(
        quarters.iter().all(|attempts| (390.0..=610.0).contains(attempts)),
        "{quarters:?}\n{}",
        loaded.log
    );
    let half = loaded.number("/storm/back_s/p50");
    assert!((3.0..=6.0).contains(&half), "{half}\n{}", loaded.log);
}

#[test]
fn without_the_hint_they_come_in_the_first_second() {
    let loaded = storm(1_000);
    let first: f64 = loaded.column("/storm/arrivals/attempts").iter().take(15).sum();
    assert!(first >= 1_990.0, "{first}\n{}", loaded.log);
}
