//! `--expect 'p99_ms<50,lost=0'`: what a run must reach to pass. Pure.

use serde::{Deserialize, Serialize};

use crate::report::Report;

type Read = fn(&Report) -> Option<f64>;

/// Every field that can be expected, what it is, and where it stands in the report.
pub const FIELDS: &[(&str, &str, Read)] = &[
    ("established", "clients that got in", |r| Some(f64::from(r.connections.established))),
    ("failed", "clients that never got in", |r| Some(f64::from(r.connections.failed))),
    ("open", "clients in at the end", |r| Some(f64::from(r.connections.open_at_end))),
    ("dropped", "connections lost on the way", |r| Some(r.connections.dropped as f64)),
    ("connects_per_s", "clients let in, a second", |r| r.connections.per_s),
    ("refused", "attempts refused (503, 429, 1013)", |r| Some(r.admission.refused as f64)),
    ("handshake_p50_ms", "intended connect to welcome, median", |r| r.handshake_ms.map(|s| s.p50)),
    ("handshake_p99_ms", "the same, 99th percentile", |r| r.handshake_ms.map(|s| s.p99)),
    ("handshake_max_ms", "the same, longest", |r| r.handshake_ms.map(|s| s.max)),
    ("sent", "messages the API accepted", |r| Some(r.messages.sent as f64)),
    ("rejected", "messages the API did not accept", |r| {
        Some((r.messages.rejected + r.messages.unknown) as f64)
    }),
    ("received", "copies received", |r| Some(r.messages.received as f64)),
    ("lost", "copies owed that never came", |r| Some(r.messages.lost as f64)),
    ("duplicated", "copies that came twice", |r| Some(r.messages.duplicated as f64)),
    ("acked", "notifications that clients acknowledged", |r| Some(r.messages.acked as f64)),
    ("acks_read", "acknowledgements that the router's ledger knows of", |r| {
        r.messages.acks_read.map(|read| read as f64)
    }),
    ("drain_s", "seconds until the last client had left a draining gateway", |r| {
        Some(r.drain.as_ref()?.seconds)
    }),
    ("drain_left", "clients that were still there", |r| Some(f64::from(r.drain.as_ref()?.left_over))),
    ("per_s", "copies received a second", |r| r.messages.per_s),
    ("p50_ms", "intended post to socket, median", |r| r.latency_ms.map(|s| s.p50)),
    ("p90_ms", "the same, 90th percentile", |r| r.latency_ms.map(|s| s.p90)),
    ("p99_ms", "the same, 99th percentile", |r| r.latency_ms.map(|s| s.p99)),
    ("p999_ms", "the same, 99.9th percentile", |r| r.latency_ms.map(|s| s.p999)),
    ("max_ms", "the same, longest", |r| r.latency_ms.map(|s| s.max)),
    ("after_202_p50_ms", "202 to socket, median", |r| r.latency_from_202_ms.map(|s| s.p50)),
    ("after_202_p99_ms", "202 to socket, 99th percentile", |r| r.latency_from_202_ms.map(|s| s.p99)),
    ("bytes_per_connection", "growth of the server's memory a connection", |r| {
        r.server.as_ref().and_then(|s| s.bytes_per_connection)
    }),
    ("slab_bytes_per_connection", "growth of the kernel's memory a connection", |r| {
        r.server.as_ref().and_then(|s| s.slab_bytes_per_connection)
    }),
    ("cpu_ns_per_message", "the server's CPU time a copy", |r| {
        r.server.as_ref().and_then(|s| s.cpu_ns_per_message)
    }),
    ("rss_bytes", "the server's memory at the end", |r| r.server.as_ref().map(|s| s.rss_bytes as f64)),
    ("storm_lost", "clients that lost their connection in the storm", |r| {
        Some(r.storm.as_ref()?.lost as f64)
    }),
    ("storm_back", "of those, who came back", |r| Some(r.storm.as_ref()?.back as f64)),
    ("back_p50_s", "seconds until half of the lost were back", |r| r.storm.as_ref()?.back_s.p50),
    ("back_p90_s", "the same, 90%", |r| r.storm.as_ref()?.back_s.p90),
    ("back_p99_s", "the same, 99%", |r| r.storm.as_ref()?.back_s.p99),
    ("back_all_s", "the same, all", |r| r.storm.as_ref()?.back_s.all),
    ("fourth_share", "share that needed a fourth attempt or more", |r| r.storm.as_ref()?.fourth_share),
    ("retry_after_chi2", "χ² of Retry-After against uniform 5..=30", |r| {
        Some(r.storm.as_ref()?.retry_after_chi2.as_ref()?.chi2)
    }),
    ("retry_after_uniform", "1 if that is what a uniform draw gives", |r| {
        Some(f64::from(u8::from(r.storm.as_ref()?.retry_after_chi2.as_ref()?.uniform)))
    }),
    ("calm_p99_ms", "p99 before the storm", |r| Some(r.storm.as_ref()?.before_ms?.p99)),
    ("storm_p99_ms", "p99 during the storm, clients that were away included", |r| {
        Some(r.storm.as_ref()?.during_ms?.p99)
    }),
    ("after_p99_ms", "p99 once all were back", |r| Some(r.storm.as_ref()?.after_ms?.p99)),
    ("survivor_p99_ms", "p99 during the storm of clients that lost nothing", |r| {
        Some(r.storm.as_ref()?.survivors_ms?.p99)
    }),
    ("survivor_p99_ratio", "that over calm_p99_ms", |r| r.storm.as_ref()?.survivor_ratio()),
    ("survivor_losing_p99_ms", "their p99 while others' connections were still being lost", |r| {
        Some(r.storm.as_ref()?.survivors_losing_ms?.p99)
    }),
    ("survivor_later_p99_ms", "their p99 from then on", |r| Some(r.storm.as_ref()?.survivors_later_ms?.p99)),
    ("survivor_later_p99_ratio", "that over calm_p99_ms", |r| r.storm.as_ref()?.survivor_later_ratio()),
    ("errors", "errors of all kinds", |r| Some(r.errors.values().sum::<u64>() as f64)),
    ("saturated", "1 if the load tester was the bottleneck", |r| {
        Some(f64::from(u8::from(r.client.saturated)))
    }),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Op {
    Less,
    AtMost,
    More,
    AtLeast,
    Equal,
    Unequal,
}

/// Longest first, so that `<=` is not read as `<`.
const OPS: [(&str, Op); 7] = [
    ("<=", Op::AtMost),
    (">=", Op::AtLeast),
    ("!=", Op::Unequal),
    ("==", Op::Equal),
    ("<", Op::Less),
    (">", Op::More),
    ("=", Op::Equal),
];

/// One condition.
#[derive(Debug, Clone)]
pub struct Expectation {
    text: String,
    read: Read,
    op: Op,
    number: f64,
}

impl PartialEq for Expectation {
    fn eq(&self, other: &Expectation) -> bool {
        self.text == other.text
    }
}

/// How a condition came out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    pub expected: String,
    /// `null`: the scenario or the host did not give the figure, and the condition is not met.
    pub found: Option<f64>,
    pub met: bool,
}

/// Reads conditions joined by commas.
pub fn parse(text: &str) -> Result<Vec<Expectation>, String> {
    text.split(',').map(|part| parse_one(part.trim())).collect()
}

fn parse_one(text: &str) -> Result<Expectation, String> {
    let at = text
        .find(['<', '>', '=', '!'])
        .ok_or_else(|| format!("{text:?}: write field<number, as in p99_ms<50"))?;
    let (name, rest) = text.split_at(at);
    let name = name.trim();
    let Some((_, _, read)) = FIELDS.iter().find(|(field, ..)| *field == name) else {
        let known: Vec<&str> = FIELDS.iter().map(|(field, ..)| *field).collect();
        return Err(format!("nothing is called {name:?}; there are {}", known.join(" ")));
    };
    let (sign, op) = OPS
        .iter()
        .find(|(sign, _)| rest.starts_with(sign))
        .ok_or_else(|| format!("{text:?}: = < > <= >= != compare"))?;
    let number = rest[sign.len()..].trim();
    let parsed = number.parse::<f64>().ok().filter(|n| n.is_finite());
    let number = parsed.ok_or_else(|| format!("{text:?}: {number:?} is not a number"))?;
    Ok(Expectation { text: text.to_owned(), read: *read, op: *op, number })
}

impl Expectation {
    pub fn judge(&self, report: &Report) -> Verdict {
        let found = (self.read)(report);
        let met = found.is_some_and(|found| match self.op {
            Op::Less => found < self.number,
            Op::AtMost => found <= self.number,
            Op::More => found > self.number,
            Op::AtLeast => found >= self.number,
            Op::Equal => (found - self.number).abs() < f64::EPSILON,
            Op::Unequal => (found - self.number).abs() >= f64::EPSILON,
        });
        Verdict { expected: self.text.clone(), found, met }
    }
}

/// The list for `--help`.
pub fn fields_help() -> String {
    let lines = FIELDS.iter().map(|(name, what, _)| format!("  {name:26} {what}\n"));
    format!("Fields of --expect (= == != < <= > >=):\n{}", lines.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn met(text: &str, report: &Report) -> Vec<bool> {
        parse(text).expect(text).iter().map(|expectation| expectation.judge(report).met).collect()
    }

    #[test]
    fn conditions_are_judged_by_the_figure() {
        let mut report = Report::example();
        report.messages.lost = 0;
        report.connections.established = 100;
        assert_eq!(met("lost=0,lost==0, lost<1 ,lost<=0,lost>=0", &report), [true; 5]);
        assert_eq!(met("lost>0,lost!=0,lost<0", &report), [false; 3]);
        assert_eq!(met("established>=100,established>99.5,established=101", &report), [true, true, false]);
    }

    #[test]
    fn a_figure_that_was_not_measured_never_passes() {
        let report = Report { latency_ms: None, server: None, ..Report::example() };
        assert_eq!(met("p99_ms<1000000,p99_ms>0,rss_bytes>=0", &report), [false; 3]);
    }

    #[test]
    fn what_is_no_condition_is_refused_in_one_line() {
        for (text, why) in [
            ("", "write field<number"),
            ("lost", "write field<number"),
            ("lost=", "not a number"),
            ("lost=none", "not a number"),
            ("lost=nan", "not a number"),
            ("lost=0,", "write field<number"),
            ("p99<5", "nothing is called \"p99\""),
            ("lost!0", "compare"),
            ("lost=<1", "not a number"),
        ] {
            let error = parse(text).expect_err(text);
            assert!(error.contains(why), "{text:?}: {error}");
            assert_eq!(error.lines().count(), 1);
        }
    }

    #[test]
    fn every_field_is_named_once_and_listed() {
        let names: std::collections::BTreeSet<_> = FIELDS.iter().map(|(name, ..)| *name).collect();
        assert_eq!(names.len(), FIELDS.len());
        assert!(names.iter().all(|name| fields_help().contains(name)));
    }
}
