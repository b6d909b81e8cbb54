//! The tables of a comparison, for the terminal, README and HTML. Pure. Whoever beats us stands in bold: losses are to be seen first.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::figures::{Compared, Metric};
use super::report::{CompareReport, Row};

/// What is measured once a connection, with the largest number of sockets.
const CONNECTIONS: [(Metric, &str); 3] = [
    (Metric::IdleBytes, "idle, B of RSS"),
    (Metric::HandshakeCpuNs, "handshake, µs CPU"),
    (Metric::HandshakesPerS, "handshakes/s"),
];
/// What is measured a message, with every number of sockets.
const MESSAGES: [(Metric, &str); 6] = [
    (Metric::SingleCpuNs, "one a socket, µs CPU"),
    (Metric::SingleBusyNs, "whole core, µs"),
    (Metric::SingleP99Ms, "p99 at equal load, ms"),
    (Metric::BurstCpuNs, "in bursts, µs CPU"),
    (Metric::BurstBusyNs, "whole core, µs"),
    (Metric::BurstP99Ms, "p99 at equal load, ms"),
];
const BEGIN: &str = "<!-- compare:begin -->";
const END: &str = "<!-- compare:end -->";

/// Does a peer beat ours in this figure, by the median of the pairs?
pub(super) fn beats_us(metric: Metric, compared: &Compared) -> bool {
    compared
        .ratio
        .is_some_and(|ratio| if metric.more_is_better() { ratio.median > 1.0 } else { ratio.median < 1.0 })
}

/// `7.54 (7.41–7.80) · 1.87×`.
pub(super) fn cell(metric: Metric, compared: Option<&Compared>) -> String {
    let Some(compared) = compared else { return "–".to_owned() };
    let value = &compared.value;
    let mut text = metric.shown(value.median);
    if value.rounds > 1 {
        let _infallible = write!(text, " ({}–{})", metric.shown(value.min), metric.shown(value.max));
    }
    if let Some(ratio) = compared.ratio {
        let _infallible = write!(text, " · {:.2}×", ratio.median);
    }
    text
}

/// One table: what its columns are, and who is in it.
pub(super) struct Table<'a> {
    pub(super) title: String,
    pub(super) columns: &'a [(Metric, &'a str)],
    pub(super) rows: Vec<&'a Row>,
}

pub(super) fn tables(rows: &[Row]) -> Vec<Table<'_>> {
    let counts: BTreeSet<u32> = rows.iter().map(|row| row.sockets).collect();
    let of = |sockets: u32| rows.iter().filter(|row| row.sockets == sockets).collect::<Vec<_>>();
    let mut tables = Vec::new();
    if let Some(most) = counts.last() {
        let title = format!("Connections, {most} sockets");
        tables.push(Table { title, columns: &CONNECTIONS, rows: of(*most) });
    }
    for sockets in counts {
        let title = format!("A message, {sockets} sockets");
        tables.push(Table { title, columns: &MESSAGES, rows: of(sockets) });
    }
    tables
}

/// For the terminal: aligned, one table below the other.
pub fn plain(rows: &[Row], ours: &str) -> String {
    let mut out = String::new();
    for Table { title, columns, rows } in tables(rows) {
        let heads: Vec<String> = columns.iter().map(|(_, head)| (*head).to_owned()).collect();
        let mut lines = vec![(title, heads)];
        for row in rows {
            let cells = columns.iter().map(|(metric, _)| {
                let compared = row.figures.get(metric);
                let better = compared.is_some_and(|compared| beats_us(*metric, compared));
                format!("{}{}", cell(*metric, compared), if better { " !" } else { "" })
            });
            lines.push((row.peer.clone(), cells.collect()));
        }
        out.push('\n');
        out.push_str(&aligned(&lines));
    }
    let _infallible =
        writeln!(out, "\nmedian (range) · ratio to {ours}, paired by round; ! = better than {ours}\n");
    out
}

fn aligned(lines: &[(String, Vec<String>)]) -> String {
    let columns = lines.first().map_or(0, |(_, cells)| cells.len());
    let wide =
        |texts: &mut dyn Iterator<Item = &String>| texts.map(|text| text.chars().count()).max().unwrap_or(0);
    let first = wide(&mut lines.iter().map(|(name, _)| name));
    let widths: Vec<usize> =
        (0..columns).map(|at| wide(&mut lines.iter().filter_map(|(_, cells)| cells.get(at)))).collect();
    let mut out = String::new();
    for (name, cells) in lines {
        let mut line = format!("{name:<first$}");
        for (cell, width) in cells.iter().zip(&widths) {
            let _infallible = write!(line, "  {cell:>width$}");
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

/// The same for README, with what is needed to judge and to repeat it.
pub fn markdown(report: &CompareReport) -> String {
    let mut out = String::new();
    let config = &report.head.config;
    let date = report.head.started_at.split('T').next().unwrap_or_default();
    let _infallible = writeln!(
        out,
        "Measured {date}: {}, {} cores, Linux {}. Every server alone on core {}, the load tester on core {}; {} round(s) in turns, a \
         message is {} B of payload, a burst {} messages, the equal load {} copies/s. Median (range) · ratio to {ours}, paired by \
         round; **bold**: better than {ours}.",
        report.head.machine.cpu,
        report.head.machine.cores,
        report.head.machine.kernel,
        report.peers.first().map_or("", |peer| peer.cores.as_str()),
        report.our_cores,
        config["rounds"],
        config["size"],
        config["burst"],
        config["rate"].as_f64().unwrap_or_default(),
        ours = report.ours,
    );
    for Table { title, columns, rows } in tables(&report.summary) {
        let heads: Vec<&str> = columns.iter().map(|(_, head)| *head).collect();
        let _infallible = writeln!(out, "\n| {title} | {} |", heads.join(" | "));
        let _infallible = writeln!(out, "|---|{}", "---|".repeat(heads.len()));
        for row in rows {
            let cells = columns.iter().map(|(metric, _)| {
                let compared = row.figures.get(metric);
                let text = cell(*metric, compared);
                if compared.is_some_and(|compared| beats_us(*metric, compared)) {
                    format!("**{text}**")
                } else {
                    text
                }
            });
            let _infallible = writeln!(out, "| {} | {} |", row.peer, cells.collect::<Vec<_>>().join(" | "));
        }
    }
    out.push('\n');
    for peer in report.peers.iter().filter(|peer| !peer.about.is_empty()) {
        let _infallible = writeln!(out, "- `{}`: {}", peer.name, peer.about);
    }
    for warning in &report.warnings {
        let _infallible = writeln!(out, "- {warning}");
    }
    out
}

/// `file` with the tables between its two marks; the tables alone where it has none.
pub fn insert(file: &str, tables: &str) -> String {
    let begin = file.find(BEGIN).map(|at| at + BEGIN.len());
    let places = begin.and_then(|begin| Some((begin, begin + file.get(begin..)?.find(END)?)));
    match places {
        Some((begin, end)) => format!("{}\n{}\n{}", &file[..begin], tables.trim_end(), &file[end..]),
        None => tables.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::report::summarise;
    use crate::compare::report::tests::{peers, turn};

    fn rows() -> Vec<Row> {
        let mut turns = vec![];
        for round in 0..2 {
            turns.push(turn("tocsin", round, 6_000.0));
            turns.push(turn("uws", round, 9_000.0));
            turns.push(turn("nats", round, 3_000.0 + f64::from(round) * 600.0));
        }
        summarise(&turns, &[10], &peers(&["tocsin", "uws", "nats"]), "tocsin")
    }

    #[test]
    fn who_beats_us_is_marked_and_what_was_not_measured_is_a_dash() {
        let text = plain(&rows(), "tocsin");
        let line =
            |name: &str| text.lines().rev().find(|line| line.starts_with(name)).expect("a line").to_owned();
        assert!(line("nats").contains("3.30 (3.00–3.60) · 0.55× !"), "{text}");
        assert!(line("uws").contains("9.00 (9.00–9.00) · 1.50×") && !line("uws").contains('!'), "{text}");
        assert!(line("tocsin").contains("6.00 (6.00–6.00)") && line("tocsin").contains('–'), "{text}");
    }

    #[test]
    fn handshakes_a_second_are_better_when_there_are_more() {
        let compared = |ratio| Compared {
            value: crate::compare::figures::Spread { median: 1.0, min: 1.0, max: 1.0, rounds: 1 },
            ratio: crate::compare::figures::Spread::of(&[ratio]),
        };
        assert!(
            beats_us(Metric::HandshakesPerS, &compared(1.1))
                && !beats_us(Metric::HandshakesPerS, &compared(0.9))
        );
        assert!(beats_us(Metric::IdleBytes, &compared(0.9)) && !beats_us(Metric::IdleBytes, &compared(1.1)));
    }

    #[test]
    fn a_file_keeps_everything_outside_the_marks() {
        let file = format!("# Title\n{BEGIN}\nold\n{END}\nend\n");
        let new = insert(&file, "new\n");
        assert_eq!(new, format!("# Title\n{BEGIN}\nnew\n{END}\nend\n"));
        assert_eq!(insert(&new, "new\n"), new);
        for unmarked in ["", "text", BEGIN, END, &format!("{END}{BEGIN}")] {
            assert_eq!(insert(unmarked, "new\n"), "new\n");
        }
    }
}
