//! The report as one HTML file that stands alone: no scripts, no fonts, nothing fetched. Says first whether the run passed and
//! what stands between the reader and the figures, then shows the plots, then all numbers. Pure; called by `main`.

pub(crate) mod frame;
mod plot;
mod plots;

use std::fmt::Write as _;

use frame::grouped;
pub(crate) use plot::escape;
use plot::{Unit, write as number};

use super::Report;
use crate::expect::Verdict;
use crate::percentiles::Summary;

/// The whole file.
pub fn html(report: &Report) -> String {
    let lag = report.client.loop_lag_ms.map_or("–".to_owned(), |lag| format!("{lag:.2} ms"));
    let busy = report.client.cpu * 100.0;
    let footer = format!(
        "the load tester’s busiest thread took {busy:.0}% of a core at most, 99% of its turns less than {lag}"
    );
    let lead = if report.client.saturated {
        "The load tester was the bottleneck: the figures below are its own, not the server’s."
    } else {
        "Read this before the figures:"
    };
    let notes = (lead, &report.warnings[..]);
    frame::page(&report.head, &title(report), report.passed, notes, &footer, |out| write_figures(out, report))
}

fn write_figures(out: &mut String, report: &Report) -> std::fmt::Result {
    frame::write_cards(out, &cards(report))?;
    write_expectations(out, &report.expectations)?;
    let plots = plots::all(report);
    if !plots.is_empty() {
        out.push_str("<h2>Over time, and as distributions</h2><div class=\"plots\">\n");
        for plot in &plots {
            out.push_str(&plot.figure());
        }
        out.push_str("</div>");
    }
    write_tables(out, report)
}

fn title(report: &Report) -> String {
    let clients = number(f64::from(report.connections.wanted), Unit::Count);
    let what = match report.scenario.as_str() {
        "hold" => "held",
        "storm" => "in a storm",
        "chaos" => "in a storm, with messages",
        "fanout" => "in a fan-out",
        "latency" => "and their latency",
        other => other,
    };
    format!("{clients} clients {what}")
}

/// The few numbers that the scenario is about.
fn cards(report: &Report) -> Vec<(String, String)> {
    let (c, m) = (&report.connections, &report.messages);
    let count = |n: u64| grouped(n);
    let ms = |time: f64| number(time, Unit::Millis);
    let mut cards =
        vec![(count(u64::from(c.established)), format!("of {} clients got in", count(u64::from(c.wanted))))];
    if let Some(per_s) = c.per_s {
        cards.push((format!("{}/s", grouped(per_s.round() as u64)), "let in".to_owned()));
    }
    if let Some(storm) = &report.storm {
        cards.push((
            format!("{} of {}", count(storm.back), count(storm.lost)),
            "lost clients are back".to_owned(),
        ));
        if let Some(all) = storm.back_s.all {
            cards.push((number(all, Unit::Seconds), "until all were back".to_owned()));
        }
        if let Some(ratio) = storm.survivor_ratio() {
            cards.push((format!("× {ratio:.2}"), "survivors’ p99 over the calm’s".to_owned()));
        }
    }
    if m.sent > 0 {
        cards.push((count(m.lost), format!("of {} copies lost", count(m.owed))));
        cards.push((count(m.duplicated), "came twice".to_owned()));
    }
    if m.acked > 0
        && let Some(read) = m.acks_read
    {
        cards.push((count(read), format!("of {} acknowledgements read", count(m.acked))));
    }
    if let Some(calm) = report.storm.as_ref().and_then(|storm| storm.before_ms) {
        cards.push((ms(calm.p99), "latency before the storm, 99th percentile".to_owned()));
    } else if let Some(times) = report.latency_ms.or(report.handshake_ms) {
        let what = if report.latency_ms.is_some() { "latency" } else { "handshake" };
        cards.push((ms(times.p99), format!("{what}, 99th percentile")));
    }
    if let Some(bytes) = report.server.as_ref().and_then(|server| server.bytes_per_connection) {
        cards.push((format!("{bytes:.0} B"), "server memory a connection".to_owned()));
    }
    if let Some(ns) = report.server.as_ref().and_then(|server| server.cpu_ns_per_message) {
        cards.push((format!("{:.2} µs", ns / 1e3), "server CPU a copy".to_owned()));
    }
    if let Some(drain) = &report.drain {
        cards.push((
            number(drain.seconds, Unit::Seconds),
            format!("to drain {} clients", count(u64::from(drain.clients))),
        ));
    }
    cards
}

fn write_expectations(out: &mut String, expectations: &[Verdict]) -> std::fmt::Result {
    if expectations.is_empty() {
        return Ok(());
    }
    out.push_str(
        "<h2>Expected</h2><div class=\"scroll\"><table><tr><th>condition</th><th>found</th><th>met</th></tr>",
    );
    for Verdict { expected, found, met } in expectations {
        let found =
            found.map_or("not measured".to_owned(), |found| format!("{}", (found * 1e4).round() / 1e4));
        let (class, word) = if *met { ("good", "yes") } else { ("bad", "no") };
        write!(
            out,
            "<tr><td>{}</td><td>{found}</td><td class=\"{class}\">{word}</td></tr>",
            escape(expected)
        )?;
    }
    out.push_str("</table></div>\n");
    Ok(())
}

fn write_tables(out: &mut String, report: &Report) -> std::fmt::Result {
    out.push_str("<h2>In numbers</h2>");
    write_times(out, report)?;
    out.push_str("<div class=\"tables\" style=\"margin-top:16px\">");
    let (c, m) = (&report.connections, &report.messages);
    let rows = [
        ("wanted", u64::from(c.wanted)),
        ("established", u64::from(c.established)),
        ("never got in", u64::from(c.failed)),
        ("dropped", c.dropped),
        ("came back", c.reconnected),
        ("asked to move", c.moved),
        ("attempts refused", report.admission.refused),
        ("in at the end", u64::from(c.open_at_end)),
    ];
    write_counts(out, "Connections", &rows)?;
    if m.sent + m.rejected + m.unknown > 0 {
        let rows = [
            ("accepted by the API", m.sent),
            ("rejected", m.rejected),
            ("without an answer", m.unknown),
            ("copies owed", m.owed),
            ("received", m.received),
            ("by sync", m.synced),
            ("lost", m.lost),
            ("duplicated", m.duplicated),
            ("acknowledged", m.acked),
            ("once more: busy", m.acked_again),
        ];
        write_counts(out, "Messages", &rows)?;
    }
    if !report.errors.is_empty() {
        let rows: Vec<(&str, u64)> =
            report.errors.iter().map(|(kind, times)| (kind.as_str(), *times)).collect();
        write_counts(out, "Errors", &rows)?;
    }
    out.push_str("</div>\n");
    Ok(())
}

fn write_counts(out: &mut String, name: &str, rows: &[(&str, u64)]) -> std::fmt::Result {
    write!(out, "<div class=\"scroll\"><table><tr><th>{name}</th><th></th></tr>")?;
    for (what, count) in rows {
        write!(out, "<tr><td>{}</td><td>{}</td></tr>", escape(what), grouped(*count))?;
    }
    out.push_str("</table></div>");
    Ok(())
}

fn write_times(out: &mut String, report: &Report) -> std::fmt::Result {
    let storm = report.storm.as_ref();
    let rows: Vec<(&str, Summary)> = [
        ("intended connect → welcome", report.handshake_ms),
        ("intended post → socket", report.latency_ms),
        ("… before the storm", storm.and_then(|storm| storm.before_ms)),
        ("… during it", storm.and_then(|storm| storm.during_ms)),
        ("… during it, survivors", storm.and_then(|storm| storm.survivors_ms)),
        ("… … while others lost theirs", storm.and_then(|storm| storm.survivors_losing_ms)),
        ("… … later", storm.and_then(|storm| storm.survivors_later_ms)),
        ("… after it", storm.and_then(|storm| storm.after_ms)),
        ("202 → socket", report.latency_from_202_ms),
        ("intended post → 202", report.post_ms),
        ("intended post → posted", report.post_late_ms),
    ]
    .into_iter()
    .filter_map(|(name, times)| Some((name, times?)))
    .collect();
    if rows.is_empty() {
        return Ok(());
    }
    out.push_str("<div class=\"scroll\"><table><tr><th>milliseconds</th><th>count</th><th>p50</th><th>p90</th><th>p99</th><th>p99.9</th><th>max</th></tr>");
    for (name, Summary { count, p50, p90, p99, p999, max, .. }) in rows {
        write!(
            out,
            "<tr><td>{name}</td><td>{}</td><td>{p50:.2}</td><td>{p90:.2}</td><td>{p99:.2}</td><td>{p999:.2}</td><td>{max:.2}</td></tr>",
            grouped(count)
        )?;
    }
    out.push_str("</table></div>");
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    #[test]
    fn the_file_stands_alone_and_says_what_went_wrong() {
        let mut report = Report::example();
        report.head.command = "loadtest hold --url 'ws://<b>\"x\"'".to_owned();
        report.warnings.push("the load tester was the bottleneck: 1 < 2".to_owned());
        report.client.saturated = true;
        report.expectations.push(Verdict { expected: "p99_ms<50".to_owned(), found: Some(61.5), met: false });
        report.errors.insert("dropped: close 4429".to_owned(), 1_234_567);
        let page = html(&report);
        for part in [
            "Failed",
            "p99_ms&lt;50",
            "61.5",
            "bottleneck: 1 &lt; 2",
            "1,234,567",
            "&lt;b&gt;&quot;x&quot;",
            "its own, not the server",
        ] {
            assert!(page.contains(part), "{part}");
        }
        assert_alone(&page);
    }

    /// Nothing is fetched or run.
    pub(crate) fn assert_alone(page: &str) {
        for outside in ["<script", "http://", "https://", "src=", "@import", "url("] {
            assert!(!page.contains(outside), "{outside}");
        }
    }

    #[test]
    fn every_tag_that_is_opened_is_closed() {
        let mut report = Report::example();
        report.admission.attempts = [(1, 5), (2, 7)].into();
        report.histograms.handshake_us = vec![(1_000, 3), (2_000, 1)];
        assert_closed(&html(&report));
    }

    pub(crate) fn assert_closed(page: &str) {
        for tag in
            ["div", "figure", "svg", "table", "tr", "td", "pre", "main", "ul", "text", "span", "h2", "h3"]
        {
            let opened =
                page.matches(&format!("<{tag} ")).count() + page.matches(&format!("<{tag}>")).count();
            assert_eq!(opened, page.matches(&format!("</{tag}>")).count(), "{tag}");
        }
    }
}
