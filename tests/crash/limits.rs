//! A crowd that does not fit is told when to come again, keeps to it, and never passes a limit.

use std::time::Duration;

use tests::Cluster;
use tests::loadtest::Loaded;

use crate::killing;

const SOFT: f64 = 500.0;

fn retry_after(loaded: &Loaded) -> (f64, f64) {
    (loaded.number("/storm/retry_after_s/min"), loaded.number("/storm/retry_after_s/max"))
}

#[test]
fn at_the_soft_limit_of_the_survivor_the_rest_is_refused_and_waits_as_told() {
    let mut cluster =
        Cluster::start(2, |setup| setup.set("gateway.soft_limit", 500).set("gateway.hard_limit", 560));
    // 400 lose their node, 300 are on the survivor.
    let load = killing::storm(&mut cluster, 700, "4,3", &["--rate", "2000", "--for", "14s"]);
    let loaded = load.end(Duration::from_secs(60));
    // 200 places for 400: not all are back, and it says so.
    assert_eq!(loaded.code, Some(1), "{}", loaded.log);
    let open = loaded.number("/connections/open_at_end");
    assert!(open > SOFT - 20.0 && open <= SOFT, "{open}\n{}", loaded.log);
    assert!(loaded.number("/storm/refused") >= 200.0, "{}", loaded.log);
    let (least, most) = retry_after(&loaded);
    assert!(least >= 5.0 && most <= 30.0, "{least} {most}");
    // After the first wave (a second of spread, then the dead node's address for some) nobody tries again before five seconds.
    let attempts = loaded.column("/storm/arrivals/attempts");
    let early: f64 = attempts.iter().skip(35).take(13).sum();
    assert!(early < 1.0, "{early} attempts between 3.5 and 4.8 s\n{}", loaded.log);
}

#[test]
fn a_slow_door_lets_all_in_within_a_minute_and_draws_its_waits_evenly() {
    let mut cluster = Cluster::start(2, |setup| setup.set("gateway.accept_rate", 60));
    let more = ["--rate", "50", "--for", "60s", "--expect", "back_all_s<=60,retry_after_chi2<70"];
    let loaded = killing::storm(&mut cluster, 400, "1,0", &more).end(Duration::from_secs(120));
    assert_eq!(loaded.code, Some(0), "{}", loaded.log);
    let (least, most) = retry_after(&loaded);
    assert!((least, most) == (5.0, 30.0), "{least} {most}");
}
