//! The report as the page that people read on the terminal. Pure; part of `report`.

use std::fmt::Write as _;

use super::storm::Storm;
use super::{Drain, Report, Server};
use crate::expect::Verdict;
use crate::percentiles::Summary;

impl Report {
    /// The page for the terminal.
    pub fn page(&self) -> String {
        let mut page = String::new();
        // Writing to a String never fails.
        let _infallible = self.write_page(&mut page);
        page
    }

    fn write_page(&self, page: &mut String) -> std::fmt::Result {
        let Report { connections: c, admission, messages: m, .. } = self;
        self.head.write_page(page, &self.scenario)?;
        for warning in &self.warnings {
            writeln!(page, "warning       {warning}")?;
        }
        let rate = c.per_s.map_or(String::new(), |per_s| format!(" at {per_s:.0}/s"));
        writeln!(
            page,
            "connections   {} of {} in{rate}; {} failed, {} dropped, {} came back, {} in at the end",
            c.established, c.wanted, c.failed, c.dropped, c.reconnected, c.open_at_end
        )?;
        if c.tls_full + c.tls_resumed > 0 {
            writeln!(page, "tls           {} full handshakes, {} resumed", c.tls_full, c.tls_resumed)?;
        }
        write_times(page, "handshake", self.handshake_ms.as_ref())?;
        if admission.refused > 0 {
            let range = admission
                .retry_after_s
                .as_ref()
                .map_or("without Retry-After".to_owned(), |r| format!("Retry-After {}..={} s", r.min, r.max));
            writeln!(page, "refused       {} attempts, {range}", admission.refused)?;
        }
        if let Some(storm) = &self.storm {
            write_storm(page, storm)?;
        }
        if m.sent + m.rejected + m.unknown > 0 {
            writeln!(
                page,
                "messages      {} accepted, {} rejected, {} without an answer",
                m.sent, m.rejected, m.unknown
            )?;
            let rate = m.per_s.map_or(String::new(), |per_s| format!(" ({per_s:.0}/s)"));
            writeln!(
                page,
                "copies        {} of {} received{rate}; {} lost, {} duplicated, {} by sync",
                m.received, m.owed, m.lost, m.duplicated, m.synced
            )?;
        }
        if m.acked > 0 {
            let read =
                m.acks_read.map_or("not asked".to_owned(), |read| format!("{read} read by the router"));
            let again = match m.acked_again {
                0 => String::new(),
                again => format!(" ({again} once more: the server had been busy)"),
            };
            writeln!(page, "acks          {} sent{again}, {read}", m.acked)?;
        }
        if let Some(drain) = &self.drain {
            write_drain(page, drain)?;
        }
        write_times(page, "latency", self.latency_ms.as_ref())?;
        write_times(page, "  after 202", self.latency_from_202_ms.as_ref())?;
        write_times(page, "  post", self.post_ms.as_ref())?;
        if let Some(server) = &self.server {
            write_server(page, server)?;
        }
        let lag = self.client.loop_lag_ms.map_or("–".to_owned(), |lag| format!("{lag:.2} ms"));
        writeln!(
            page,
            "load tester   busiest thread {:.0}% of a core, loop lag p99 {lag}",
            self.client.cpu * 100.0
        )?;
        for (kind, times) in &self.errors {
            writeln!(page, "error         {times} × {kind}")?;
        }
        for Verdict { expected, found, met } in &self.expectations {
            let found = found.map_or("not measured".to_owned(), |found| format!("{found}"));
            writeln!(
                page,
                "{}  {expected} (found {found})",
                if *met { "met         " } else { "NOT MET     " }
            )?;
        }
        writeln!(page, "{}", if self.passed { "passed" } else { "FAILED" })
    }
}

fn write_drain(page: &mut String, drain: &Drain) -> std::fmt::Result {
    let Drain { clients, asked_to_leave, ended, left_over, seconds, .. } = drain;
    writeln!(
        page,
        "drain         {clients} clients: {asked_to_leave} left when asked, {ended} were closed, {left_over} stayed; {seconds:.1} s"
    )
}

fn write_storm(page: &mut String, storm: &Storm) -> std::fmt::Result {
    let seconds = |time: Option<f64>| time.map_or("never".to_owned(), |s| format!("{s:.2} s"));
    let back = &storm.back_s;
    writeln!(
        page,
        "storm         {} lost ({}), {} back, {} refusals",
        storm.lost, storm.cut, storm.back, storm.refused
    )?;
    writeln!(
        page,
        "  back        50% {}, 90% {}, 99% {}, all {}",
        seconds(back.p50),
        seconds(back.p90),
        seconds(back.p99),
        seconds(back.all)
    )?;
    let attempts: Vec<String> =
        storm.attempts.iter().map(|(needed, clients)| format!("{needed}: {clients}")).collect();
    if !attempts.is_empty() {
        writeln!(page, "  attempts    {}", attempts.join(", "))?;
    }
    if let Some(found) = &storm.retry_after_chi2 {
        let verdict = if found.uniform { "uniform over 5..=30" } else { "NOT uniform over 5..=30" };
        writeln!(
            page,
            "  Retry-After {verdict}: χ² {:.1} of {} draws (bound {:.1})",
            found.chi2, found.draws, found.bound
        )?;
    }
    for (name, times) in [
        ("  before", storm.before_ms),
        ("  during", storm.during_ms),
        ("  survivors", storm.survivors_ms),
        ("  … losing", storm.survivors_losing_ms),
        ("  … later", storm.survivors_later_ms),
        ("  after", storm.after_ms),
    ] {
        write_times(page, name, times.as_ref())?;
    }
    Ok(())
}

fn write_times(page: &mut String, name: &str, times: Option<&Summary>) -> std::fmt::Result {
    let Some(Summary { p50, p90, p99, p999, max, .. }) = times else { return Ok(()) };
    writeln!(page, "{name:13} p50 {p50:.2}  p90 {p90:.2}  p99 {p99:.2}  p99.9 {p999:.2}  max {max:.2} ms")
}

fn write_server(page: &mut String, server: &Server) -> std::fmt::Result {
    write!(
        page,
        "server        pid {}, RSS {:.1} MiB",
        server.pid,
        server.rss_bytes as f64 / f64::from(1 << 20)
    )?;
    if let Some(bytes) = server.bytes_per_connection {
        write!(page, ", {bytes:.0} B a connection")?;
    }
    if let Some(bytes) = server.slab_bytes_per_connection {
        write!(page, ", slab {bytes:.0} B a connection (whole machine)")?;
    }
    for (what, ns) in [("handshake", server.cpu_ns_per_handshake), ("message", server.cpu_ns_per_message)] {
        if let Some(ns) = ns {
            write!(page, ", {:.2} µs CPU a {what}", ns / 1e3)?;
        }
    }
    writeln!(page)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Messages;

    #[test]
    fn the_page_names_what_went_wrong() {
        let mut report = Report::example();
        report.messages = Messages { sent: 2, owed: 20, received: 19, lost: 1, ..Messages::default() };
        report.errors.insert("dropped: close 4429".to_owned(), 3);
        report.warnings.push("the load tester was the bottleneck".to_owned());
        let page = report.page();
        for part in ["19 of 20", "1 lost", "3 × dropped: close 4429", "bottleneck", "FAILED"] {
            assert!(page.contains(part), "{part}: {page}");
        }
    }
}
