//! The report of a comparison: one JSON object, versioned, and the page for the terminal. Pure; `compare` fills it in.
//!
//! # Shape, `"schema": "tocsin.compare/1"`
//! Fields are added, never renamed or removed, within one number. A figure that was not measured is missing.
//!
//! | field | what |
//! |---|---|
//! | `version`, `command`, `started_at`, `seconds`, `interrupted`, `machine` | as in `report` |
//! | `config` | what was asked for; no secret |
//! | `ours` | the peer with which the others are compared |
//! | `peers` | `name`, `url`, `about` (what its starter said of it), `cores`: where the kernel lets it run |
//! | `our_cores` | where the kernel lets the load tester run |
//! | `turns` | every turn in the order in which they ran: `round`, `peer`, `sockets`, `established`, `figures` (see `figures`), `owed`, `received`, `lost`, `duplicated`, `strays` copies, `notes` on what to know of its figures (who was the bottleneck), `error`: why it ended early |
//! | `summary` | for each number of sockets and peer: each figure's `value` {`median`, `min`, `max`, `rounds`} and `ratio` to ours, paired by round |
//! | `warnings`, `passed` | what to know before the figures are believed; exit 0? |

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::figures::{Compared, Figures, Metric, compare};
use crate::report::head::Head;

pub const SCHEMA: &str = "tocsin.compare/1";
/// Payloads differ by no more than this share where they are called the same.
const SAME_BYTES: f64 = 0.02;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CompareReport {
    #[serde(flatten)]
    pub head: Head,
    pub ours: String,
    pub our_cores: String,
    pub peers: Vec<PeerSeen>,
    pub turns: Vec<Turn>,
    pub summary: Vec<Row>,
    pub warnings: Vec<String>,
    pub passed: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PeerSeen {
    pub name: String,
    pub url: String,
    pub about: String,
    pub cores: String,
}

/// One server's turn.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Turn {
    pub round: u32,
    pub peer: String,
    pub sockets: u32,
    pub established: u32,
    pub figures: Figures,
    pub owed: u64,
    pub received: u64,
    pub lost: u64,
    pub duplicated: u64,
    pub strays: u64,
    pub notes: Vec<String>,
    pub error: Option<String>,
}

impl Turn {
    /// Did it deliver everything to everybody?
    pub fn is_whole(&self) -> bool {
        self.error.is_none() && self.lost == 0 && self.owed > 0 && self.established == self.sockets
    }
}

/// All rounds of one peer with one number of sockets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    pub sockets: u32,
    pub peer: String,
    /// Turns, and those of them that delivered everything.
    pub turns: u32,
    pub whole: u32,
    pub figures: BTreeMap<Metric, Compared>,
    /// Each note of its turns, and how often it was made.
    pub notes: BTreeMap<String, u32>,
}

type ByRound = BTreeMap<u32, f64>;

/// Sums turns up. Only whole turns give figures: a server that loses messages is not cheap.
pub fn summarise(turns: &[Turn], sockets: &[u32], peers: &[PeerSeen], ours: &str) -> Vec<Row> {
    let mut rows = Vec::new();
    for &count in sockets {
        let of = |name: &str| -> BTreeMap<Metric, ByRound> {
            let mut metrics: BTreeMap<Metric, ByRound> = BTreeMap::new();
            for turn in
                turns.iter().filter(|turn| turn.sockets == count && turn.peer == name && turn.is_whole())
            {
                for (metric, value) in &turn.figures {
                    metrics.entry(*metric).or_default().insert(turn.round, *value);
                }
            }
            metrics
        };
        let our_figures = of(ours);
        for peer in peers {
            let of_peer: Vec<&Turn> =
                turns.iter().filter(|turn| turn.sockets == count && turn.peer == peer.name).collect();
            let mut notes = BTreeMap::new();
            for note in of_peer.iter().flat_map(|turn| &turn.notes) {
                *notes.entry(note.clone()).or_default() += 1;
            }
            let beside = |metric: &Metric| if peer.name == ours { None } else { our_figures.get(metric) };
            let figures = of(&peer.name).into_iter();
            rows.push(Row {
                sockets: count,
                peer: peer.name.clone(),
                turns: of_peer.len() as u32,
                whole: of_peer.iter().filter(|turn| turn.is_whole()).count() as u32,
                figures: figures
                    .filter_map(|(metric, rounds)| Some((metric, compare(&rounds, beside(&metric))?)))
                    .collect(),
                notes,
            });
        }
    }
    rows
}

/// What the figures cannot say by themselves.
pub fn warn(rows: &[Row], turns: &[Turn]) -> Vec<String> {
    let mut warnings = Vec::new();
    for turn in turns.iter().filter(|turn| !turn.is_whole()) {
        let Turn { peer, sockets, round, established, lost, owed, .. } = turn;
        let why =
            turn.error.clone().unwrap_or_else(|| format!("{established} in, {lost} of {owed} copies lost"));
        warnings.push(format!("{peer}, {sockets} sockets, round {}: not counted: {why}", round + 1));
    }
    for sockets in rows.iter().map(|row| row.sockets).collect::<std::collections::BTreeSet<_>>() {
        let bytes = |row: &Row| row.figures.get(&Metric::MessageBytes).map(|compared| compared.value.median);
        let all: Vec<f64> = rows.iter().filter(|row| row.sockets == sockets).filter_map(bytes).collect();
        let (least, most) =
            (all.iter().copied().fold(f64::MAX, f64::min), all.iter().copied().fold(0.0, f64::max));
        if most > least * (1.0 + SAME_BYTES) {
            warnings.push(format!(
                "{sockets} sockets: messages are {least:.0} to {most:.0} bytes on the wire; a larger --size makes them equal"
            ));
        }
    }
    warnings.extend(notes(rows));
    warnings
}

/// Each note once, with the peers it was made of and in how many of their turns.
fn notes(rows: &[Row]) -> Vec<String> {
    let mut notes: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for row in rows {
        for (note, times) in &row.notes {
            let whom = format!("{} at {} ({times} of {})", row.peer, row.sockets, row.turns);
            notes.entry(note).or_default().push(whom);
        }
    }
    notes.into_iter().map(|(note, whom)| format!("{note}: {}", whom.join(", "))).collect()
}

impl CompareReport {
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("a report serializes: keys are strings, floats are finite")
    }

    /// The page for the terminal.
    pub fn page(&self) -> String {
        let mut page = String::new();
        // Writing to a String never fails.
        let _infallible = self.write_page(&mut page);
        page
    }

    fn write_page(&self, page: &mut String) -> std::fmt::Result {
        self.head.write_page(page, "compare")?;
        writeln!(page, "load tester on core {}; {} turns", self.our_cores, self.turns.len())?;
        for peer in &self.peers {
            writeln!(page, "{:<16} {} · core {} · {}", peer.name, peer.url, peer.cores, peer.about)?;
        }
        page.push_str(&super::table::plain(&self.summary, &self.ours));
        for warning in &self.warnings {
            writeln!(page, "warning       {warning}")?;
        }
        writeln!(page, "{}", if self.passed { "passed" } else { "FAILED" })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use wire::time::Wall;

    use super::*;
    use crate::machine::Machine;

    pub(in crate::compare) fn turn(peer: &str, round: u32, single_ns: f64) -> Turn {
        Turn {
            round,
            peer: peer.to_owned(),
            sockets: 10,
            established: 10,
            figures: Figures::from([(Metric::SingleCpuNs, single_ns), (Metric::MessageBytes, 512.0)]),
            owed: 100,
            received: 100,
            ..Turn::default()
        }
    }

    pub(in crate::compare) fn peers(names: &[&str]) -> Vec<PeerSeen> {
        names.iter().map(|name| PeerSeen { name: (*name).to_owned(), ..PeerSeen::default() }).collect()
    }

    #[test]
    fn a_turn_that_lost_messages_gives_no_figures_and_is_named() {
        let mut lossy = turn("uws", 1, 1.0);
        lossy.lost = 1;
        let turns = [turn("tocsin", 0, 100.0), turn("uws", 0, 150.0), turn("tocsin", 1, 100.0), lossy];
        let rows = summarise(&turns, &[10], &peers(&["tocsin", "uws"]), "tocsin");
        let uws = &rows[1];
        assert_eq!((uws.turns, uws.whole), (2, 1));
        let figure = uws.figures[&Metric::SingleCpuNs];
        assert_eq!((figure.value.median, figure.ratio.map(|ratio| ratio.median)), (150.0, Some(1.5)));
        assert_eq!(rows[0].figures[&Metric::SingleCpuNs].ratio, None);
        let warnings = warn(&rows, &turns);
        assert!(
            warnings[0].contains("uws, 10 sockets, round 2") && warnings[0].contains("1 of 100"),
            "{warnings:?}"
        );
    }

    #[test]
    fn who_did_not_get_everybody_in_or_failed_is_not_counted_either() {
        let mut short = turn("uws", 0, 1.0);
        short.established = 9;
        let failed = Turn { error: Some("nobody answers".to_owned()), ..turn("uws", 1, 1.0) };
        let silent = Turn { owed: 0, ..turn("uws", 2, 1.0) };
        for turn in [&short, &failed, &silent] {
            assert!(!turn.is_whole());
        }
        let warnings = warn(&[], &[short, failed]);
        assert!(warnings[0].contains("9 in") && warnings[1].contains("nobody answers"), "{warnings:?}");
    }

    #[test]
    fn a_note_stands_once_with_all_whom_it_is_about() {
        let noted = |peer, round| Turn { notes: vec!["late".to_owned()], ..turn(peer, round, 1.0) };
        let turns = [noted("tocsin", 0), noted("uws", 0), turn("tocsin", 1, 1.0), noted("uws", 1)];
        let rows = summarise(&turns, &[10], &peers(&["tocsin", "uws"]), "tocsin");
        assert_eq!(warn(&rows, &turns), ["late: tocsin at 10 (1 of 2), uws at 10 (2 of 2)"]);
    }

    #[test]
    fn unequal_bytes_are_a_warning() {
        let mut fat = turn("uws", 0, 1.0);
        fat.figures.insert(Metric::MessageBytes, 600.0);
        let turns = [turn("tocsin", 0, 1.0), fat];
        let rows = summarise(&turns, &[10], &peers(&["tocsin", "uws"]), "tocsin");
        assert!(warn(&rows, &turns).iter().any(|warning| warning.contains("512 to 600 bytes")));
    }

    /// Of ten sockets each.
    pub(in crate::compare) fn report(turns: Vec<Turn>, peers: Vec<PeerSeen>) -> CompareReport {
        CompareReport {
            head: Head::new(SCHEMA, "", Wall(0), Machine::default()),
            ours: "tocsin".to_owned(),
            our_cores: "1".to_owned(),
            summary: summarise(&turns, &[10], &peers, "tocsin"),
            peers,
            turns,
            warnings: Vec::new(),
            passed: true,
        }
    }

    #[test]
    fn a_report_reads_back_as_it_was_written() {
        let turns = vec![turn("tocsin", 0, 100.0), turn("uws", 0, 150.0)];
        let report = report(turns, peers(&["tocsin", "uws"]));
        let json: serde_json::Value = serde_json::from_str(&report.to_json()).expect("JSON");
        assert_eq!(json["summary"][1]["figures"]["single_cpu_ns"]["ratio"]["median"], 1.5);
        assert_eq!((&json["schema"], &json["machine"]["cores"]), (&SCHEMA.into(), &0.into()));
        assert_eq!(json["turns"][0]["figures"]["single_cpu_ns"], 100.0);
        assert_eq!(serde_json::from_value::<CompareReport>(json).expect("a report"), report);
        assert!(report.page().contains("uws") && report.page().ends_with("passed\n"));
    }
}
