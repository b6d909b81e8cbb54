//! One report from those of several load testers that ran together: counts are added, distributions merged bucket by bucket,
//! curves laid over each other by date. Refuses what does not belong together. Pure; called by `main`.

mod curves;

use std::collections::BTreeSet;

use wire::time::Wall;

use super::head::Head;
use super::storm::{Storm, chi2};
use super::{Admission, Client, Connections, Histograms, Messages, Report, RetryAfter, SCHEMA, Server};
use crate::counts::Errors;
use crate::expect::Expectation;
use crate::percentiles::Latencies;
use crate::returns::add_all;

/// Why reports are not one run: one line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("these do not belong together: {0}")]
pub struct Misfit(pub String);

/// What must be the same in all of them.
const ALIKE: [&str; 4] = ["size", "acks", "to", "cut"];

/// A report and the name by which a reader knows it.
pub type Named = (String, Report);

/// The sum.
pub fn merge(reports: &[Named], command: &str, expectations: &[Expectation]) -> Result<Report, Misfit> {
    check(reports)?;
    let all: Vec<&Report> = reports.iter().map(|(_, report)| report).collect();
    let first = all[0];
    let (from, to) = span(&all)?;
    let histograms = histograms(&all);
    let mut report = Report {
        head: Head {
            seconds: seconds(from, to),
            interrupted: all.iter().any(|report| report.head.interrupted),
            config: config(reports),
            ..Head::new(SCHEMA, command, from, first.head.machine.clone())
        },
        scenario: first.scenario.clone(),
        connections: connections(&all),
        handshake_ms: Latencies::from_buckets(&histograms.handshake_us).summary(),
        admission: admission(&all),
        messages: messages(&all),
        latency_ms: Latencies::from_buckets(&histograms.latency_us).summary(),
        latency_from_202_ms: Latencies::from_buckets(&histograms.latency_from_202_us).summary(),
        post_ms: Latencies::from_buckets(&histograms.post_us).summary(),
        post_late_ms: Latencies::from_buckets(&histograms.post_late_us).summary(),
        storm: storm(&all, &histograms)?,
        drain: None,
        series: curves::series(&all)?,
        server: server(&all),
        client: client(&all, &histograms),
        errors: errors(&all),
        histograms,
        warnings: warnings(reports),
        ..Report::example()
    };
    report.expectations = expectations.iter().map(|expectation| expectation.judge(&report)).collect();
    report.passed = report.judge(true) && all.iter().all(|each| each.passed);
    Ok(report)
}

fn check(reports: &[Named]) -> Result<(), Misfit> {
    let (one, first) = reports.first().ok_or_else(|| Misfit("there are none".to_owned()))?;
    let mut prefixes = BTreeSet::new();
    for (name, report) in reports {
        if report.head.schema != SCHEMA {
            return Err(Misfit(format!("{name} has schema {:?}, not {SCHEMA:?}", report.head.schema)));
        }
        if report.scenario != first.scenario {
            return Err(Misfit(format!("{one} is of {}, {name} of {}", first.scenario, report.scenario)));
        }
        for key in ALIKE {
            if report.head.config[key] != first.head.config[key] {
                let (was, is) = (&first.head.config[key], &report.head.config[key]);
                return Err(Misfit(format!("{key} is {was} in {one} and {is} in {name}")));
            }
        }
        let prefix = report.head.config["user_prefix"].as_str().unwrap_or_default();
        if report.head.config["auth"] != "tokens" && !prefixes.insert(prefix) {
            return Err(Misfit(format!(
                "{name} has the users of another one ({prefix:?}…): give each its --user-prefix"
            )));
        }
    }
    Ok(())
}

fn date(report: &Report) -> Result<Wall, Misfit> {
    let text = report.series.as_ref().map_or(&report.head.started_at, |series| &series.begun_at);
    Wall::parse(text).map_err(|_| Misfit(format!("{text:?} is not a date")))
}

fn seconds(from: Wall, to: Wall) -> f64 {
    (to.0 - from.0) as f64 / 1e6
}

fn after(date: Wall, seconds: f64) -> Wall {
    date + std::time::Duration::from_secs_f64(seconds.clamp(0.0, 1e9))
}

/// From the first begin to the last end; there must be a time at which all ran.
fn span(all: &[&Report]) -> Result<(Wall, Wall), Misfit> {
    let begins = all.iter().map(|report| date(report)).collect::<Result<Vec<_>, _>>()?;
    let ends: Vec<Wall> =
        begins.iter().zip(all).map(|(begin, report)| after(*begin, report.head.seconds)).collect();
    let (first, last) = (begins.iter().min(), begins.iter().max());
    let (Some(first), Some(last), Some(earliest), Some(end)) =
        (first, last, ends.iter().min(), ends.iter().max())
    else {
        return Err(Misfit("there are none".to_owned()));
    };
    if last >= earliest {
        return Err(Misfit(format!(
            "one had ended at {earliest}, before another began at {last}: start them together (--start-at)"
        )));
    }
    Ok((*first, *end))
}

fn config(reports: &[Named]) -> serde_json::Value {
    let each = reports.iter().map(|(name, report)| {
        serde_json::json!({ "file": name, "command": report.head.command, "machine": report.head.machine, "config": report.head.config })
    });
    serde_json::json!({ "merged": each.collect::<Vec<_>>() })
}

fn connections(all: &[&Report]) -> Connections {
    let mut sum = Connections::default();
    // Each window is from its first intended connect to its last welcome; the sum's covers all.
    let (mut begin, mut end) = (i64::MAX, i64::MIN);
    for report in all {
        let c = &report.connections;
        sum.wanted += c.wanted;
        sum.established += c.established;
        sum.failed += c.failed;
        sum.open_at_end += c.open_at_end;
        sum.dropped += c.dropped;
        sum.reconnected += c.reconnected;
        sum.moved += c.moved;
        sum.tls_full += c.tls_full;
        sum.tls_resumed += c.tls_resumed;
        if let (Some(per_s), Ok(from)) = (c.per_s.filter(|per_s| *per_s > 0.0), date(report)) {
            begin = begin.min(from.0);
            end = end.max(after(from, f64::from(c.established) / per_s).0);
        }
    }
    sum.per_s = (end > begin).then(|| f64::from(sum.established) / seconds(Wall(begin), Wall(end)));
    sum
}

fn admission(all: &[&Report]) -> Admission {
    let mut sum = Admission::default();
    let mut said = std::collections::BTreeMap::new();
    for report in all {
        sum.refused += report.admission.refused;
        add_all(&mut sum.attempts, &report.admission.attempts);
        if let Some(retry_after) = &report.admission.retry_after_s {
            add_all(&mut said, &retry_after.histogram);
        }
    }
    sum.retry_after_s = RetryAfter::of(said);
    sum
}

fn messages(all: &[&Report]) -> Messages {
    let mut sum = Messages::default();
    for report in all {
        let m = &report.messages;
        sum.sent += m.sent;
        sum.rejected += m.rejected;
        sum.unknown += m.unknown;
        sum.owed += m.owed;
        sum.received += m.received;
        sum.lost += m.lost;
        sum.duplicated += m.duplicated;
        sum.synced += m.synced;
        sum.acked += m.acked;
        sum.acked_again += m.acked_again;
        sum.strays += m.strays;
        sum.per_s = match (sum.per_s, m.per_s) {
            (Some(one), Some(other)) => Some(one + other),
            (one, other) => one.or(other),
        };
    }
    // One ledger counted everybody's; ledgers of different routers add up.
    let routers: BTreeSet<String> = all.iter().map(|report| report.head.config["api"].to_string()).collect();
    let read: Option<Vec<u64>> = all.iter().map(|report| report.messages.acks_read).collect();
    sum.acks_read = read
        .map(|read| if routers.len() == 1 { read.into_iter().max().unwrap_or(0) } else { read.iter().sum() });
    sum
}

fn histograms(all: &[&Report]) -> Histograms {
    let sum = |of: fn(&Histograms) -> &Vec<(u64, u64)>| {
        let mut sum = Latencies::default();
        for report in all {
            sum.merge(&Latencies::from_buckets(of(&report.histograms)));
        }
        sum.buckets()
    };
    Histograms {
        handshake_us: sum(|h| &h.handshake_us),
        latency_us: sum(|h| &h.latency_us),
        latency_from_202_us: sum(|h| &h.latency_from_202_us),
        post_us: sum(|h| &h.post_us),
        post_late_us: sum(|h| &h.post_late_us),
        before_us: sum(|h| &h.before_us),
        during_us: sum(|h| &h.during_us),
        after_us: sum(|h| &h.after_us),
        survivors_us: sum(|h| &h.survivors_us),
        survivors_losing_us: sum(|h| &h.survivors_losing_us),
        survivors_later_us: sum(|h| &h.survivors_later_us),
        loop_lag_us: sum(|h| &h.loop_lag_us),
    }
}

/// Times from the first cut. When which share was back is read from the merged curve, so it is as exact as a point is wide.
fn storm(all: &[&Report], histograms: &Histograms) -> Result<Option<Storm>, Misfit> {
    let storms: Vec<&Storm> = all.iter().filter_map(|report| report.storm.as_ref()).collect();
    if storms.is_empty() {
        return Ok(None);
    }
    let mut sum = Storm { cut: storms[0].cut.clone(), ..Storm::default() };
    let mut said = std::collections::BTreeMap::new();
    for storm in &storms {
        sum.lost += storm.lost;
        sum.back += storm.back;
        sum.refused += storm.refused;
        add_all(&mut sum.attempts, &storm.attempts);
        if let Some(retry_after) = &storm.retry_after_s {
            add_all(&mut said, &retry_after.histogram);
        }
    }
    sum.retry_after_chi2 = chi2(&said);
    sum.retry_after_s = RetryAfter::of(said);
    sum.count_fourths();
    let cuts = storms.iter().filter_map(|storm| Some((Wall::parse(storm.cut_at.as_ref()?).ok()?, *storm)));
    let cuts: Vec<(Wall, &Storm)> = cuts.collect();
    if let Some(first) = cuts.iter().map(|(date, _)| *date).min() {
        let begun = all.iter().map(|report| date(report)).collect::<Result<Vec<_>, _>>()?.into_iter().min();
        sum.cut_at = Some(first.to_string());
        sum.cut_s = begun.map(|begun| seconds(begun, first));
        curves::arrivals(&mut sum, first, &cuts);
    }
    sum.before_ms = Latencies::from_buckets(&histograms.before_us).summary();
    sum.during_ms = Latencies::from_buckets(&histograms.during_us).summary();
    sum.after_ms = Latencies::from_buckets(&histograms.after_us).summary();
    sum.survivors_ms = Latencies::from_buckets(&histograms.survivors_us).summary();
    sum.survivors_losing_ms = Latencies::from_buckets(&histograms.survivors_losing_us).summary();
    sum.survivors_later_ms = Latencies::from_buckets(&histograms.survivors_later_us).summary();
    Ok(Some(sum))
}

/// Of one process that all of them watched on one machine; else nobody can say.
fn server(all: &[&Report]) -> Option<Server> {
    let servers: Vec<&Server> = all.iter().map(|report| report.server.as_ref()).collect::<Option<_>>()?;
    let first = *servers.first()?;
    let same = all.iter().all(|report| report.head.machine == all[0].head.machine);
    if !same || servers.iter().any(|server| server.pid != first.pid) {
        return None;
    }
    let before = servers.iter().map(|server| server.rss_before_bytes).min()?;
    let rss = servers.iter().map(|server| server.rss_bytes).max()?;
    let established: u32 = all.iter().map(|report| report.connections.established).sum();
    let each = (established > 0).then(|| (rss as f64 - before as f64) / f64::from(established));
    Some(Server {
        pid: first.pid,
        rss_before_bytes: before,
        rss_bytes: rss,
        bytes_per_connection: each,
        ..Server::default()
    })
}

fn client(all: &[&Report], histograms: &Histograms) -> Client {
    let lag = Latencies::from_buckets(&histograms.loop_lag_us).summary();
    Client {
        cpu: all.iter().map(|report| report.client.cpu).fold(0.0, f64::max),
        loop_lag_ms: lag.map(|lag| lag.p99),
        loop_lag_max_ms: lag.map(|lag| lag.max),
        saturated: all.iter().any(|report| report.client.saturated),
    }
}

fn errors(all: &[&Report]) -> std::collections::BTreeMap<String, u64> {
    let mut sum = Errors::default();
    for report in all {
        report.errors.iter().for_each(|(kind, times)| sum.add_many(kind, *times));
    }
    sum.into_map()
}

fn warnings(reports: &[Named]) -> Vec<String> {
    let mut warnings = Vec::new();
    for (name, report) in reports {
        warnings.extend(report.warnings.iter().map(|warning| format!("{name}: {warning}")));
        let unmet = report.expectations.iter().filter(|verdict| !verdict.met);
        warnings.extend(unmet.map(|verdict| format!("{name}: did not meet {}", verdict.expected)));
        if !report.passed {
            warnings.push(format!("{name} failed by itself"));
        }
    }
    let machines: BTreeSet<String> =
        reports.iter().map(|(_, report)| format!("{:?}", report.head.machine)).collect();
    if machines.len() > 1 {
        warnings.push(format!("{} different machines took part; the first one is shown", machines.len()));
    }
    warnings
}

#[cfg(test)]
mod tests;
