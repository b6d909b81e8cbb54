//! From what all threads brought home to the report. Arithmetic only.

use wire::time::{Mono, Wall};

use super::{Outcome, Run};
use crate::api::PostResult;
use crate::counts::Journal;
use crate::limits::{LOOP_LAG_MS_MAX, SEND_LAG_MS_MAX};
use crate::percentiles::Latencies;
use crate::posts::Totals;
use crate::report::head::Head;
use crate::report::storm::Storm;
use crate::report::{Admission, Client, Connections, Histograms, Messages, Report, RetryAfter, SCHEMA};
use crate::tally::{self, Balance, Tally};

/// Time in slow turns, of all time, from which on a percentile in the hundreds is ours.
const SLOW_SHARE: f64 = 0.01;
/// Full seconds, of all, from which on a thread counts as the bottleneck.
const FULL_SHARE: f64 = 0.1;

pub(super) fn report(run: &Run<'_>, outcome: Outcome, started_at: Wall) -> Report {
    let mut journal = Journal::default();
    let mut tallies = Vec::new();
    let mut last_in = None;
    let mut load = crate::engine::Load::default();
    for engine in outcome.engines {
        journal.merge(&engine.journal);
        tallies.push(engine.tally);
        last_in = last_in.max(engine.last_in);
        load.merge(&engine.load);
    }
    let (balance, totals, posted) = books(outcome.posts.as_ref(), &tallies);
    journal.errors.merge(&posted.errors);
    let counts = &journal.counts;
    let server = outcome.costs.server(counts.established, outcome.open_at_end, counts.received);
    let (client, mut warnings) = judge_ourselves(&load, &posted.late);
    warnings.extend(run.warnings.iter().cloned());
    if counts.strays > 0 {
        warnings.push(format!("{} copies came to sockets that were not counted on", counts.strays));
    }
    let mut config = run.config.to_json();
    config["threads"] = run.plan.threads.into();
    config["sources"] = run.plan.sources.map_or("the kernel's choice".to_owned(), |s| s.to_string()).into();
    config["rings"] = outcome.tables.clone().into();
    let date = |at: Mono| run.clock.wall() - run.clock.mono().since(at);
    let cut_at = outcome.storm.map(|at| (at, date(at)));
    let storm = run.config.scenario.storm().map(|plan| Storm {
        cut_s: outcome.storm.map(|at| at.since(outcome.begun).as_secs_f64()),
        ..Storm::new(plan.cut.name(), cut_at, &journal.returns, &journal.phases)
    });
    let mut messages = messages(&balance, &totals, &journal, outcome.messages_begun, outcome.messages_ended);
    messages.acks_read = outcome.acks_read;
    let mut report = Report {
        head: Head {
            seconds: outcome.ended.since(outcome.begun).as_secs_f64(),
            interrupted: outcome.interrupted,
            config,
            ..Head::new(SCHEMA, &run.config.command, started_at, crate::machine::machine())
        },
        scenario: run.config.scenario.name().to_owned(),
        connections: connections(run, &journal, outcome.open_at_end, outcome.begun, last_in),
        handshake_ms: journal.handshakes.summary(),
        admission: Admission {
            refused: counts.refused,
            retry_after_s: RetryAfter::of(journal.retry_after_s.clone()),
            attempts: journal.attempts_needed.clone(),
        },
        storm,
        drain: outcome.drain.clone(),
        series: run.watching.as_ref().map(|watching| watching.series(date(outcome.begun))),
        messages,
        latency_ms: journal.latency.summary(),
        latency_from_202_ms: journal.latency_from_202.summary(),
        post_ms: posted.post.summary(),
        post_late_ms: posted.late.summary(),
        server,
        client,
        histograms: Histograms {
            handshake_us: journal.handshakes.buckets(),
            latency_us: journal.latency.buckets(),
            latency_from_202_us: journal.latency_from_202.buckets(),
            post_us: posted.post.buckets(),
            post_late_us: posted.late.buckets(),
            before_us: journal.phases.before.buckets(),
            during_us: journal.phases.during.buckets(),
            after_us: journal.phases.after.buckets(),
            survivors_us: journal.phases.survivors.buckets(),
            survivors_losing_us: journal.phases.survivors_losing.buckets(),
            survivors_later_us: journal.phases.survivors_later.buckets(),
            loop_lag_us: load.lag.buckets(),
        },
        errors: journal.errors.into_map(),
        warnings,
        ..Report::example()
    };
    // Whom a drain closed was let go, not dropped.
    report.connections.dropped -= report.drain.as_ref().map_or(0, |drain| drain.ended.min(counts.dropped));
    report.expectations =
        run.config.expectations.iter().map(|expectation| expectation.judge(&report)).collect();
    report.passed = report.judge(run.config.best_effort);
    report
}

fn books(
    posts: Option<&(std::sync::Arc<crate::posts::Posts>, PostResult)>,
    tallies: &[Tally],
) -> (Balance, Totals, PostResult) {
    let Some((posts, result)) = posts else {
        return (Balance::default(), Totals::default(), PostResult::default());
    };
    let mut copy = PostResult::default();
    copy.merge(result);
    (tally::balance(tallies, posts.messages(), &|number| posts.is_accepted(number)), posts.totals(), copy)
}

fn connections(
    run: &Run<'_>,
    journal: &Journal,
    open_at_end: u32,
    begun: Mono,
    last_in: Option<Mono>,
) -> Connections {
    let counts = &journal.counts;
    let seconds = last_in.map(|at| at.since(begun).as_secs_f64()).filter(|seconds| *seconds > 0.0);
    Connections {
        wanted: run.config.connections,
        established: counts.established,
        // Who had not begun when the run was ended early never got in either.
        failed: run.plan.connections - counts.established,
        open_at_end,
        dropped: counts.dropped,
        reconnected: counts.reconnected,
        moved: counts.moved,
        tls_full: counts.tls_full,
        tls_resumed: counts.tls_resumed,
        per_s: seconds.map(|seconds| f64::from(counts.established) / seconds),
    }
}

fn messages(
    balance: &Balance,
    totals: &Totals,
    journal: &Journal,
    begun: Option<Mono>,
    ended: Option<Mono>,
) -> Messages {
    let counts = &journal.counts;
    let seconds =
        begun.zip(ended).map(|(begun, ended)| ended.since(begun).as_secs_f64()).filter(|s| *s > 0.0);
    Messages {
        sent: totals.accepted,
        rejected: totals.refused,
        unknown: totals.unknown,
        owed: balance.owed,
        received: balance.received,
        lost: balance.lost,
        duplicated: counts.duplicated,
        synced: counts.synced,
        acked: counts.acked,
        acked_again: counts.acked_again,
        acks_read: None,
        strays: counts.strays,
        per_s: seconds.map(|seconds| counts.received as f64 / seconds),
    }
}

/// Were we the bottleneck? The figures of a run that says yes are ours, not the server's.
fn judge_ourselves(load: &crate::engine::Load, late: &Latencies) -> (Client, Vec<String>) {
    let lag = load.lag.summary();
    let mut warnings = Vec::new();
    if f64::from(load.seconds_full) > f64::from(load.seconds) * FULL_SHARE {
        warnings.push(format!(
            "the load tester was the bottleneck: its threads were busy to the brim in {} of {} seconds; give it more cores \
             (--threads), or another host",
            load.seconds_full, load.seconds
        ));
    }
    if load.slow.as_secs_f64() > load.all.as_secs_f64() * SLOW_SHARE {
        warnings.push(format!(
            "the load tester was the bottleneck: for {:.1} of {:.1} s its loop was in turns of more than {LOOP_LAG_MS_MAX} ms, which \
             is in the latencies",
            load.slow.as_secs_f64(),
            load.all.as_secs_f64()
        ));
    }
    if let Some(late) = late.summary().filter(|late| late.p99 > SEND_LAG_MS_MAX) {
        warnings.push(format!(
            "the load tester was the bottleneck: 1% of the messages were posted {:.1} ms or more after their time, which is in \
             the latencies; more --posters or --batch, unless the API itself is slow",
            late.p99
        ));
    }
    let client = Client {
        cpu: load.cpu_max,
        loop_lag_ms: lag.map(|lag| lag.p99),
        loop_lag_max_ms: lag.map(|lag| lag.max),
        saturated: !warnings.is_empty(),
    };
    (client, warnings)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn good() -> Report {
        let mut report = Report::example();
        report.connections.established = 5;
        report
    }

    #[test]
    fn a_run_passes_only_when_nothing_is_missing() {
        assert!(good().judge(false));
        let mut failed = good();
        failed.connections.failed = 1;
        assert!(!failed.judge(false) && failed.judge(true));
        let mut lost = good();
        lost.messages.lost = 1;
        assert!(!lost.judge(true));
        assert!(!Report::example().judge(true), "nobody got in");
        let silent = Report { scenario: "latency".to_owned(), ..good() };
        assert!(!silent.judge(true), "nothing was accepted");
        let mut unmet = good();
        unmet.expectations =
            vec![crate::expect::Verdict { expected: String::new(), found: None, met: false }];
        assert!(!unmet.judge(true));
    }

    #[test]
    fn a_load_tester_that_could_not_keep_up_says_so() {
        let mut load = crate::engine::Load { seconds: 10, ..crate::engine::Load::default() };
        for _ in 0..10_000 {
            load.record(Duration::from_micros(100), Duration::from_millis(1));
        }
        let (client, warnings) = judge_ourselves(&load, &Latencies::default());
        assert!(!client.saturated && warnings.is_empty());
        let busy = crate::engine::Load { seconds_full: 2, ..load.clone() };
        assert!(judge_ourselves(&busy, &Latencies::default()).0.saturated);
        let mut late = Latencies::default();
        late.record(Duration::from_millis(500));
        let (client, warnings) = judge_ourselves(&load, &late);
        assert!(client.saturated && warnings[0].contains("posted 500"));
        // One turn of ten thousand: no percentile of turns shows it, but everything that was due in that second waited.
        load.record(Duration::from_secs(1), Duration::from_secs(1));
        let (client, warnings) = judge_ourselves(&load, &Latencies::default());
        assert!(client.saturated && warnings[0].contains("for 1.0 of 11.0 s"), "{warnings:?}");
        assert!(client.loop_lag_ms.is_some_and(|lag| lag < 1.0));
    }
}
