//! The report of a comparison as one HTML file that stands alone, with the look of all reports: who was compared, the tables, and
//! every turn. Pure; called by `main`.

use std::fmt::Write as _;

use super::report::{CompareReport, Turn};
use super::table::{Table, beats_us, cell, tables};
use crate::report::html::{escape, frame};

const LEAD: &str = "Read this before the figures:";

/// The whole file.
pub fn html(report: &CompareReport) -> String {
    let others = report.peers.iter().map(|peer| peer.name.as_str()).filter(|name| *name != report.ours);
    let title = format!("{} beside {}", report.ours, others.collect::<Vec<_>>().join(", "));
    let footer = format!("the load tester ran on core {}, each server alone in its turn", report.our_cores);
    let notes = (LEAD, &report.warnings[..]);
    frame::page(&report.head, &title, report.passed, notes, &footer, |out| {
        write_cards(out, report)?;
        write_tables(out, report)?;
        write_peers(out, report)?;
        write_turns(out, &report.turns)
    })
}

fn write_cards(out: &mut String, report: &CompareReport) -> std::fmt::Result {
    let count = |turns: usize| frame::grouped(turns as u64);
    let whole = report.turns.iter().filter(|turn| turn.is_whole()).count();
    let lost = report.turns.iter().map(|turn| turn.lost).sum();
    let (better, compared) = against_us(report);
    let cards = [
        (count(whole), format!("of {} turns delivered everything", count(report.turns.len()))),
        (frame::grouped(lost), "copies lost".to_owned()),
        (
            count(better),
            format!("of {} figures in which another server is better than {}", count(compared), report.ours),
        ),
    ];
    frame::write_cards(out, &cards)
}

/// Figures in which another server beats ours, and all that were compared.
fn against_us(report: &CompareReport) -> (usize, usize) {
    let (mut better, mut compared) = (0, 0);
    for Table { columns, rows, .. } in tables(&report.summary) {
        for figure in
            rows.iter().flat_map(|row| columns.iter().map(|(metric, _)| (*metric, row.figures.get(metric))))
        {
            if let (metric, Some(figure)) = figure
                && figure.ratio.is_some()
            {
                compared += 1;
                better += usize::from(beats_us(metric, figure));
            }
        }
    }
    (better, compared)
}

fn write_tables(out: &mut String, report: &CompareReport) -> std::fmt::Result {
    for Table { title, columns, rows } in tables(&report.summary) {
        write!(out, "<h2>{}</h2><div class=\"scroll\"><table><tr><th>server</th>", escape(&title))?;
        for (_, head) in columns {
            write!(out, "<th>{}</th>", escape(head))?;
        }
        out.push_str("</tr>");
        for row in rows {
            write!(out, "<tr><td>{}</td>", escape(&row.peer))?;
            for (metric, _) in columns {
                let figure = row.figures.get(metric);
                let class = if figure.is_some_and(|figure| beats_us(*metric, figure)) {
                    " class=\"bad\""
                } else {
                    ""
                };
                write!(out, "<td{class}>{}</td>", escape(&cell(*metric, figure)))?;
            }
            out.push_str("</tr>");
        }
        out.push_str("</table></div>\n");
    }
    let ours = escape(&report.ours);
    writeln!(
        out,
        "<p class=\"sub\">Median (range) · ratio to {ours}, paired by round; red and bold: better than {ours}.</p>"
    )
}

fn write_peers(out: &mut String, report: &CompareReport) -> std::fmt::Result {
    out.push_str("<h2>Who was compared</h2><div class=\"scroll\"><table><tr><th>server</th><th class=\"text\">address</th><th class=\"text\">core</th><th class=\"text\">about</th></tr>");
    for peer in &report.peers {
        write!(out, "<tr><td>{}</td>", escape(&peer.name))?;
        for text in [&peer.url, &peer.cores, &peer.about] {
            write!(out, "<td class=\"text\">{}</td>", escape(text))?;
        }
        out.push_str("</tr>");
    }
    out.push_str("</table></div>\n");
    Ok(())
}

fn write_turns(out: &mut String, turns: &[Turn]) -> std::fmt::Result {
    out.push_str("<h2>Turns, as they ran</h2><div class=\"scroll\"><table><tr><th>server</th><th>sockets</th><th>round</th><th>in</th><th>copies owed</th><th>received</th><th>lost</th><th>duplicated</th><th>ended</th></tr>");
    for turn in turns {
        let class = if turn.is_whole() { "good" } else { "bad" };
        let ended = turn.error.as_deref().unwrap_or(if turn.is_whole() { "whole" } else { "not whole" });
        write!(out, "<tr><td>{}</td>", escape(&turn.peer))?;
        for count in [
            u64::from(turn.sockets),
            u64::from(turn.round) + 1,
            u64::from(turn.established),
            turn.owed,
            turn.received,
            turn.lost,
            turn.duplicated,
        ] {
            write!(out, "<td>{}</td>", frame::grouped(count))?;
        }
        write!(out, "<td class=\"{class}\">{}</td></tr>", escape(ended))?;
    }
    out.push_str("</table></div>\n");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::report::tests::{peers, report, turn};
    use crate::report::html::tests::{assert_alone, assert_closed};

    #[test]
    fn the_file_stands_alone_and_says_who_is_better_and_what_failed() {
        let mut lossy = turn("uws", 1, 50.0);
        lossy.lost = 3;
        let failed = Turn { error: Some("nobody <answers>".to_owned()), ..turn("nats", 0, 1.0) };
        let turns = vec![turn("tocsin", 0, 100_000.0), turn("uws", 0, 50_000.0), lossy, failed];
        let mut report = report(turns, peers(&["tocsin", "uws", "nats"]));
        report.peers[1].about = "a <b> & c".to_owned();
        report.head.command = "loadtest compare --peer 'uws=ws://<i>'".to_owned();
        report.passed = false;
        let page = html(&report);
        for part in [
            "tocsin beside uws, nats",
            "Failed",
            "<td class=\"bad\">50.0 · 0.50×</td>",
            "<td>100</td>",
            "nobody &lt;answers&gt;",
            "a &lt;b&gt; &amp; c",
            "uws=ws://&lt;i&gt;",
            "<b>2</b><span>of 4 turns delivered everything",
            "<b>1</b><span>of 1 figures in which another server is better than tocsin",
        ] {
            assert!(page.contains(part), "{part}: {page}");
        }
        assert_alone(&page);
        assert_closed(&page);
    }
}
