//! Sums of reports made by hand.

use super::*;
use crate::report::storm::Arrivals;
use crate::series::Series;

fn part(prefix: &str, begun_at: &str) -> Named {
    let mut report = Report::example();
    report.scenario = "chaos".to_owned();
    report.head.started_at = begun_at.to_owned();
    report.head.seconds = 10.0;
    report.head.config = serde_json::json!({ "user_prefix": prefix, "size": 128, "to": "anyone", "acks": false, "cut": "rst", "auth": "query", "api": "a" });
    report.connections = Connections {
        wanted: 10,
        established: 10,
        open_at_end: 9,
        per_s: Some(5.0),
        ..Connections::default()
    };
    report.messages = Messages {
        sent: 7,
        owed: 7,
        received: 7,
        per_s: Some(3.0),
        acks_read: Some(5),
        ..Messages::default()
    };
    report.histograms.latency_us = vec![(1_000, 99), (50_000, 1)];
    report.errors.insert("gap".to_owned(), 2);
    report.passed = true;
    report.series = Some(Series {
        begun_at: begun_at.to_owned(),
        every_s: 1.0,
        t_s: (1..=10).map(f64::from).collect(),
        open: vec![5; 10],
        entered: vec![1; 10],
        attempts: vec![1; 10],
        refused: vec![0; 10],
        dropped: vec![0; 10],
        received: vec![2; 10],
        client_cpu: vec![0.5; 10],
        client_lag_ms: vec![1.0; 10],
        servers: Vec::new(),
    });
    report.storm = Some(Storm {
        cut: "rst".to_owned(),
        cut_at: Some(begun_at.replace(":00Z", ":04Z").replace(":01Z", ":05Z")),
        lost: 10,
        back: 10,
        attempts: [(1, 9), (4, 1)].into(),
        arrivals: Arrivals {
            every_s: 0.1,
            lost: vec![10, 0],
            back: vec![4, 6],
            attempts: vec![10, 1],
            refused: vec![0, 0],
        },
        ..Storm::default()
    });
    (prefix.to_owned(), report)
}

const AT: &str = "2026-03-01T10:00:00Z";
const LATER: &str = "2026-03-01T10:00:01Z";

fn sum(parts: &[Named]) -> Result<Report, Misfit> {
    merge(parts, "loadtest merge", &[])
}

#[test]
fn counts_add_up_and_distributions_merge_exactly() {
    let expected = crate::expect::parse("established=20,lost=0,p99_ms<2").expect("conditions");
    let sum = merge(&[part("a", AT), part("b", LATER)], "loadtest merge", &expected).expect("they fit");
    let c = &sum.connections;
    assert_eq!((c.wanted, c.established, c.open_at_end), (20, 20, 18));
    // Each took two seconds, the second began one later: twenty in three.
    assert!(c.per_s.is_some_and(|per_s| (per_s - 20.0 / 3.0).abs() < 1e-9), "{c:?}");
    assert_eq!((sum.messages.received, sum.messages.per_s, sum.messages.acks_read), (14, Some(6.0), Some(5)));
    let latency = sum.latency_ms.expect("some");
    assert_eq!(latency.count, 200);
    assert!(latency.p50 < 1.01 && latency.p999 > 49.9, "{latency:?}");
    assert_eq!(sum.errors["gap"], 4);
    assert!((sum.head.seconds - 11.0).abs() < 1e-9 && sum.passed, "{sum:#?}");
    assert_eq!(sum.expectations.iter().filter(|verdict| verdict.met).count(), 3);
}

#[test]
fn curves_lie_over_each_other_by_date() {
    let sum = sum(&[part("a", AT), part("b", LATER)]).expect("they fit");
    let series = sum.series.expect("a series");
    assert_eq!(series.t_s.len(), 11);
    assert_eq!((series.open[0], series.open[5], series.open[10]), (5, 10, 10));
    assert_eq!((series.entered[0], series.entered[5], series.entered[10]), (1, 2, 1));
    let storm = sum.storm.expect("a storm");
    assert_eq!((storm.lost, storm.back, storm.fourth_share), (20, 20, Some(0.1)));
    // The second was cut a second after the first.
    assert_eq!((storm.arrivals.lost[0], storm.arrivals.lost[10]), (10, 10));
    assert_eq!((storm.back_s.p50, storm.back_s.all), (Some(0.2), Some(1.2)));
    assert_eq!(storm.cut_s, Some(4.0));
}

#[test]
fn one_that_was_saturated_or_failed_is_in_the_sum() {
    let (mut one, two) = (part("a", AT), part("b", AT));
    one.1.client.saturated = true;
    one.1.warnings.push("busy".to_owned());
    one.1.passed = false;
    let sum = sum(&[one, two]).expect("they fit");
    assert!(sum.client.saturated && !sum.passed);
    assert_eq!(sum.warnings, ["a: busy", "a failed by itself"]);
}

#[test]
fn what_does_not_belong_together_is_refused_in_one_line() {
    let changed = |change: fn(&mut Report)| {
        let mut part = part("b", AT);
        change(&mut part.1);
        part
    };
    for (other, why) in [
        (part("a", AT), "has the users of another one (\"a\"…): give each its --user-prefix"),
        (part("b", "2026-03-01T11:00:00Z"), "before another began"),
        (changed(|report| report.scenario = "hold".to_owned()), "a is of chaos, b of hold"),
        (changed(|report| report.head.schema = "other/2".to_owned()), "b has schema \"other/2\""),
        (changed(|report| report.head.config["size"] = 64.into()), "size is 128 in a and 64 in b"),
        (changed(|report| report.series = None), ""),
    ] {
        match sum(&[part("a", AT), other]) {
            Ok(_) => assert_eq!(why, "", "a report of an older version has no series"),
            Err(misfit) => {
                let line = misfit.to_string();
                assert!(!why.is_empty() && line.contains(why), "{line}");
                assert_eq!(line.lines().count(), 1);
            }
        }
    }
}
