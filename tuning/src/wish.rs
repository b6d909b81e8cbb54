//! What is wanted of a value, and what a found value is worth: pure arithmetic.
//!
//! Called by `check` (the verdict) and `change` (what would have to be written). A value that is already better than
//! wanted is never made worse: [`Wish::improved`] works number by number.

use std::borrow::Cow;

use serde::Serialize;

/// What is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    /// Each number at least that.
    AtLeast(Cow<'static, [u64]>),
    /// Each number at most that.
    AtMost(Cow<'static, [u64]>),
    /// One number within bounds; a worse one becomes the bound that is nearer.
    Within(u64, u64),
    /// A number that is a mode, not an amount.
    Exactly(u64),
    /// A range of ports that is this wide; a narrower one becomes `low..=high`.
    Ports { width: u64, low: u64, high: u64 },
    /// Ports that the kernel must not hand out by itself.
    Reserved(&'static [u16]),
    /// One of these words; the first is what to set.
    OneOf(&'static [&'static str]),
    /// Better not there at all.
    Absent,
    /// Only told.
    Told,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    Numbers(Vec<u64>),
    Text(String),
    /// It is known not to be there.
    Nothing,
    /// It has no meaning on this host.
    NotApplicable(&'static str),
    /// The host does not say.
    Unsaid,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Ok,
    /// Less than wanted, or another mode or word than wanted.
    Low,
    /// More than wanted.
    High,
    /// The host does not say, or the kernel has no such setting.
    Unknown,
    /// Nothing on this host is decided by it.
    NotApplicable,
    /// Told, not judged.
    Reported,
}

impl Verdict {
    /// Does it make a host unfit?
    pub fn is_bad(self) -> bool {
        matches!(self, Verdict::Low | Verdict::High)
    }
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Verdict::Ok => "ok",
            Verdict::Low => "LOW",
            Verdict::High => "HIGH",
            Verdict::Unknown => "unknown",
            Verdict::NotApplicable => "n/a",
            Verdict::Reported => "told",
        })
    }
}

impl Wish {
    pub fn judge(&self, found: &Found) -> Verdict {
        match (self, found) {
            (_, Found::NotApplicable(_)) => Verdict::NotApplicable,
            (_, Found::Unsaid) => Verdict::Unknown,
            (Wish::Told, _) => Verdict::Reported,
            (Wish::Absent, Found::Nothing) => Verdict::Ok,
            (Wish::Absent, _) => Verdict::High,
            (Wish::OneOf(words), Found::Text(text)) if words.contains(&text.as_str()) => Verdict::Ok,
            (Wish::OneOf(_), _) => Verdict::Low,
            (Wish::Reserved(ports), Found::Text(text)) => {
                let covered = ports.iter().all(|port| is_listed(text, *port));
                if covered { Verdict::Ok } else { Verdict::Low }
            }
            (_, Found::Numbers(numbers)) => self.judge_numbers(numbers),
            (_, Found::Text(_) | Found::Nothing) => Verdict::Unknown,
        }
    }

    fn judge_numbers(&self, found: &[u64]) -> Verdict {
        let Some(better) = self.improved_numbers(found) else { return Verdict::Unknown };
        match (found.iter().zip(&better).find(|(found, better)| found != better), self) {
            (None, _) => Verdict::Ok,
            (Some(_), Wish::Ports { .. } | Wish::Exactly(_)) => Verdict::Low,
            (Some((found, better)), _) if found < better => Verdict::Low,
            (Some(_), _) => Verdict::High,
        }
    }

    /// The text to write in the place of what was found: every number the better of found and wanted. `None`: nothing is to
    /// be written, or this is no setting.
    pub fn improved(&self, found: &Found) -> Option<String> {
        match (self, found) {
            (Wish::Reserved(ports), Found::Text(text)) => {
                let missing = ports.iter().filter(|port| !is_listed(text, **port)).map(u16::to_string);
                let listed =
                    text.split(',').map(|part| part.trim().to_owned()).filter(|part| !part.is_empty());
                let all: Vec<String> = listed.chain(missing).collect();
                Some(all.join(",")).filter(|better| better != text)
            }
            (_, Found::Numbers(numbers)) => self
                .improved_numbers(numbers)
                .filter(|better| better != numbers)
                .map(|better| spaced(&better)),
            _ => None,
        }
    }

    fn improved_numbers(&self, found: &[u64]) -> Option<Vec<u64>> {
        let each = |wanted: &[u64], better: fn(u64, u64) -> u64| {
            let pairs = found.iter().zip(wanted);
            (found.len() == wanted.len())
                .then(|| pairs.map(|(found, wanted)| better(*found, *wanted)).collect())
        };
        match (self, found) {
            (Wish::AtLeast(wanted), _) => each(wanted, u64::max),
            (Wish::AtMost(wanted), _) => each(wanted, u64::min),
            (Wish::Within(low, high), [found]) => Some(vec![(*found).clamp(*low, *high)]),
            (Wish::Exactly(wanted), [_]) => Some(vec![*wanted]),
            (Wish::Ports { width, low, high }, [first, last]) => {
                let wide = last.saturating_sub(*first) >= *width;
                Some(if wide { found.to_vec() } else { vec![*low.min(first), *high.max(last)] })
            }
            _ => None,
        }
    }

    /// The same wish with other numbers, as an operator's settings give them. `None`: this wish has no numbers.
    pub fn with_numbers(&self, numbers: &[u64]) -> Option<Wish> {
        match (self, numbers) {
            (Wish::AtLeast(wanted), _) if wanted.len() == numbers.len() => {
                Some(Wish::AtLeast(numbers.to_vec().into()))
            }
            (Wish::AtMost(wanted), _) if wanted.len() == numbers.len() => {
                Some(Wish::AtMost(numbers.to_vec().into()))
            }
            (Wish::Within(..), [low, high]) if low <= high => Some(Wish::Within(*low, *high)),
            (Wish::Exactly(_), [wanted]) => Some(Wish::Exactly(*wanted)),
            (Wish::Ports { .. }, [low, high]) if low < high && *high <= 65_535 => {
                Some(Wish::Ports { width: high - low, low: *low, high: *high })
            }
            _ => None,
        }
    }
}

impl std::fmt::Display for Wish {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Wish::AtLeast(wanted) => write!(f, "at least {}", spaced(wanted)),
            Wish::AtMost(wanted) => write!(f, "at most {}", spaced(wanted)),
            Wish::Within(low, high) => write!(f, "{low} to {high}"),
            Wish::Exactly(wanted) => write!(f, "{wanted}"),
            Wish::Ports { width, .. } => write!(f, "{width} ports or more"),
            Wish::Reserved(ports) => {
                let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
                write!(f, "{}", ports.join(","))
            }
            Wish::OneOf(words) => write!(f, "{}", words.join(" or ")),
            Wish::Absent => write!(f, "not there"),
            Wish::Told => write!(f, "–"),
        }
    }
}

impl std::fmt::Display for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Found::Numbers(numbers) => write!(f, "{}", spaced(numbers)),
            Found::Text(text) if text.is_empty() => write!(f, "(empty)"),
            Found::Text(text) => write!(f, "{text}"),
            Found::Nothing => write!(f, "not there"),
            Found::NotApplicable(why) => write!(f, "({why})"),
            Found::Unsaid => write!(f, "–"),
        }
    }
}

fn spaced(numbers: &[u64]) -> String {
    let numbers: Vec<String> = numbers
        .iter()
        .map(|number| if *number == u64::MAX { "unlimited".to_owned() } else { number.to_string() })
        .collect();
    numbers.join(" ")
}

/// Does a list such as `8080,9000-9100` hold the port?
fn is_listed(list: &str, port: u16) -> bool {
    list.split(',').any(|part| {
        let (low, high) = part.trim().split_once('-').unwrap_or((part.trim(), part.trim()));
        let bounds = (low.parse::<u16>(), high.parse::<u16>());
        matches!(bounds, (Ok(low), Ok(high)) if (low..=high).contains(&port))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(numbers: &[u64]) -> Found {
        Found::Numbers(numbers.to_vec())
    }

    #[test]
    fn each_number_is_judged_on_its_own() {
        let wish = Wish::AtLeast(vec![10, 20, 30].into());
        assert_eq!(wish.judge(&numbers(&[10, 20, 30])), Verdict::Ok);
        assert_eq!(wish.judge(&numbers(&[10, 19, 99])), Verdict::Low);
        assert_eq!(wish.judge(&numbers(&[10])), Verdict::Unknown, "another kernel's shape is not understood");
        let wish = Wish::AtMost(vec![4_096, 8_192].into());
        assert_eq!(wish.judge(&numbers(&[1, 8_193])), Verdict::High);
    }

    #[test]
    fn a_better_number_is_kept_beside_one_that_is_mended() {
        assert_eq!(
            Wish::AtLeast(vec![10, 20, 30].into()).improved(&numbers(&[50, 5, 30])),
            Some("50 20 30".to_owned())
        );
        assert_eq!(Wish::AtMost(vec![4, 8].into()).improved(&numbers(&[3, 9])), Some("3 8".to_owned()));
        assert_eq!(Wish::AtLeast(vec![10].into()).improved(&numbers(&[11])), None);
    }

    #[test]
    fn a_value_within_bounds_goes_to_the_nearer_bound() {
        let wish = Wish::Within(16, 128);
        assert_eq!(wish.judge(&numbers(&[64])), Verdict::Ok);
        assert_eq!(
            (wish.judge(&numbers(&[4])), wish.improved(&numbers(&[4]))),
            (Verdict::Low, Some("16".to_owned()))
        );
        assert_eq!(
            (wish.judge(&numbers(&[4_294_967_295])), wish.improved(&numbers(&[4_294_967_295]))),
            (Verdict::High, Some("128".to_owned()))
        );
    }

    #[test]
    fn a_port_range_counts_by_its_width_and_only_grows() {
        let wish = Wish::Ports { width: 60_000, low: 1_024, high: 65_535 };
        assert_eq!(wish.judge(&numbers(&[32_768, 60_999])), Verdict::Low);
        assert_eq!(wish.judge(&numbers(&[2_000, 65_000])), Verdict::Ok);
        assert_eq!(wish.improved(&numbers(&[1_000, 60_999])), Some("1000 65535".to_owned()));
    }

    #[test]
    fn reserved_ports_are_added_to_those_of_others() {
        let wish = Wish::Reserved(&[8_080, 9_101]);
        let text = |text: &str| Found::Text(text.to_owned());
        assert_eq!(wish.judge(&text("8000-8100,9101")), Verdict::Ok);
        assert_eq!(wish.judge(&text("")), Verdict::Low);
        assert_eq!(wish.improved(&text("70,8080")), Some("70,8080,9101".to_owned()));
        assert_eq!(wish.improved(&text("")), Some("8080,9101".to_owned()));
    }

    #[test]
    fn what_is_not_said_is_never_ok() {
        for wish in [Wish::AtLeast(vec![1].into()), Wish::Absent, Wish::Told, Wish::OneOf(&["madvise"])] {
            assert_eq!(wish.judge(&Found::Unsaid), Verdict::Unknown);
            assert_eq!(wish.judge(&Found::NotApplicable("")), Verdict::NotApplicable);
        }
    }
}
