//! The figures of a comparison: what is measured, how many rounds come to one median with its range, and the ratio to ours.
//! Pure arithmetic; `turn` measures, `report` and `table` show.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One thing that is measured. Less is better, but for handshakes a second and what a frame holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Growth of the server's resident memory ÷ sockets, all idle.
    IdleBytes,
    /// The server's CPU time a handshake, upgrade to welcome.
    HandshakeCpuNs,
    HandshakesPerS,
    /// The server's CPU time a message, each socket owed one at a time.
    SingleCpuNs,
    /// The same by the busy time of the server's whole core: kernel threads and interrupts are in it.
    SingleBusyNs,
    /// Intended publication → socket at the same load for all.
    SingleP99Ms,
    BurstCpuNs,
    BurstBusyNs,
    BurstP99Ms,
    /// Bytes of payload a message, as they came in.
    MessageBytes,
    /// Messages that one WebSocket message held, in bursts: what the server joins in its own protocol.
    BurstPerFrame,
    /// CPU of the server while nobody said anything: share of a core.
    IdleCpuShare,
}

impl Metric {
    pub fn more_is_better(self) -> bool {
        matches!(self, Metric::HandshakesPerS | Metric::BurstPerFrame)
    }

    /// In the unit that people read: bytes, µs, a second, ms.
    pub fn shown(self, value: f64) -> String {
        match self {
            Metric::HandshakeCpuNs
            | Metric::SingleCpuNs
            | Metric::SingleBusyNs
            | Metric::BurstCpuNs
            | Metric::BurstBusyNs => three_digits(value / 1e3),
            Metric::IdleBytes if value >= 10_240.0 => format!("{:.0} K", value / 1_024.0),
            Metric::HandshakesPerS | Metric::IdleBytes | Metric::MessageBytes => format!("{value:.0}"),
            Metric::IdleCpuShare => format!("{:.1} %", value * 100.0),
            Metric::SingleP99Ms | Metric::BurstP99Ms | Metric::BurstPerFrame => three_digits(value),
        }
    }
}

/// Three digits that count, no more than two of them behind the point.
fn three_digits(value: f64) -> String {
    let places = match value.abs() {
        ..9.995 => 2,
        ..99.95 => 1,
        _ => 0,
    };
    format!("{value:.places$}")
}

/// What one turn measured; a figure that could not be measured is missing, never zero.
pub type Figures = BTreeMap<Metric, f64>;

/// All rounds of one figure.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    pub median: f64,
    pub min: f64,
    pub max: f64,
    pub rounds: u32,
}

impl Spread {
    /// `None` of nothing.
    pub fn of(values: &[f64]) -> Option<Spread> {
        let mut sorted: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let median = if sorted.len() % 2 == 1 {
            sorted[middle]
        } else {
            f64::midpoint(sorted[middle - 1], sorted[middle])
        };
        Some(Spread { median, min, max, rounds: u32::try_from(sorted.len()).unwrap_or(u32::MAX) })
    }
}

/// One peer's value beside ours.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Compared {
    pub value: Spread,
    /// Theirs ÷ ours, each pair from the same round; none for ours itself.
    pub ratio: Option<Spread>,
}

/// Compares one figure of a peer, by round, with ours.
pub fn compare(theirs: &BTreeMap<u32, f64>, ours: Option<&BTreeMap<u32, f64>>) -> Option<Compared> {
    let value = Spread::of(&theirs.values().copied().collect::<Vec<_>>())?;
    let pairs = ours.map(|ours| {
        let pairs = theirs.iter().filter_map(|(round, value)| Some(value / ours.get(round)?));
        pairs.collect::<Vec<f64>>()
    });
    Some(Compared { value, ratio: pairs.and_then(|pairs| Spread::of(&pairs)) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rounds(values: &[f64]) -> BTreeMap<u32, f64> {
        (0..).zip(values.iter().copied()).collect()
    }

    #[test]
    fn a_median_is_the_middle_or_between_the_two_middles() {
        let spread = |values: &[f64]| Spread::of(values).map(|spread| spread.median);
        assert_eq!(spread(&[9.0, 1.0, 5.0]), Some(5.0));
        assert_eq!(spread(&[4.0, 1.0, 2.0, 9.0]), Some(3.0));
        assert_eq!(spread(&[]), None);
        assert_eq!(spread(&[f64::NAN, f64::INFINITY]), None);
    }

    #[test]
    fn ratios_are_paired_by_round() {
        // The machine was twice as slow in the second round: the ratio does not see it.
        let (ours, theirs) = (rounds(&[10.0, 20.0, 10.0]), rounds(&[20.0, 40.0, 30.0]));
        let compared = compare(&theirs, Some(&ours)).expect("figures");
        let ratio = compared.ratio.expect("pairs");
        assert_eq!((ratio.median, ratio.min, ratio.max, ratio.rounds), (2.0, 2.0, 3.0, 3));
        assert!((compared.value.median - 30.0).abs() < 1e-9);
    }

    #[test]
    fn a_round_that_one_of_both_missed_makes_no_pair() {
        let mut ours = rounds(&[10.0, 10.0]);
        ours.remove(&1);
        let compared = compare(&rounds(&[20.0, 50.0]), Some(&ours)).expect("figures");
        assert_eq!(compared.ratio.map(|ratio| (ratio.median, ratio.rounds)), Some((2.0, 1)));
        assert_eq!(compare(&BTreeMap::new(), Some(&ours)), None);
        assert_eq!(compare(&ours, None).and_then(|compared| compared.ratio), None);
    }

    #[test]
    fn figures_show_in_the_units_that_people_read() {
        assert_eq!(Metric::SingleCpuNs.shown(7_540.0), "7.54");
        assert_eq!(Metric::HandshakeCpuNs.shown(163_400.0), "163");
        assert_eq!(Metric::BurstCpuNs.shown(712.0), "0.71");
        assert_eq!(Metric::IdleBytes.shown(459.6), "460");
        assert_eq!(Metric::IdleBytes.shown(49_152.0), "48 K");
        assert_eq!(Metric::IdleCpuShare.shown(0.012), "1.2 %");
    }

    proptest! {
        #[test]
        fn a_median_lies_within_its_range(values in proptest::collection::vec(-1e9_f64..1e9, 1..20)) {
            let spread = Spread::of(&values).expect("some");
            prop_assert!(spread.min <= spread.median && spread.median <= spread.max);
            prop_assert_eq!(spread.rounds as usize, values.len());
            let below = values.iter().filter(|value| **value <= spread.median).count();
            prop_assert!(below * 2 >= values.len());
        }
    }
}
