//! How often a user wants what came in the meantime, together: every hour or every day, there where the user is.
//!
//! Pure. Owns when the next time is, also on days on which clocks are set.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use wire::time::Wall;

use super::Clock;
use crate::record::Channel;

const HOUR_S: i64 = 3_600;
const SECOND_US: i64 = 1_000_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Every {
    Hour,
    Day,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rhythm {
    pub every: Every,
    /// The time of day; of a day alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Clock>,
    /// An IANA name like `Europe/Berlin`.
    pub zone: String,
    /// What waits for it; other channels go at once.
    pub channels: Vec<Channel>,
}

impl Rhythm {
    /// The first time behind this date. `None`: the zone is not known any more, and nothing waits for it.
    pub(super) fn next(&self, after: Wall) -> Option<Wall> {
        let zone = TimeZone::get(&self.zone).ok()?;
        match (self.every, self.at) {
            (Every::Hour, _) => full_hour(&zone, after),
            (Every::Day, Some(at)) => time_of_day(&zone, at, after),
            (Every::Day, None) => None,
        }
    }
}

/// By the clock there: some zones are half an hour off.
fn full_hour(zone: &TimeZone, after: Wall) -> Option<Wall> {
    let ahead_us =
        i64::from(zone.to_offset(Timestamp::from_microsecond(after.0).ok()?).seconds()) * SECOND_US;
    let hour_us = HOUR_S * SECOND_US;
    let here = after.0.checked_add(ahead_us)?;
    Some(Wall((here.div_euclid(hour_us) + 1).checked_mul(hour_us)? - ahead_us))
}

/// Once a day: a time that a day has twice is the first one, one that it does not have is the first behind the gap, and a day
/// that a zone leaves out is left out.
fn time_of_day(zone: &TimeZone, at: Clock, after: Wall) -> Option<Wall> {
    let today = zone.to_datetime(Timestamp::from_microsecond(after.0).ok()?).date();
    let days = std::iter::successors(Some(today), |day| day.tomorrow().ok()).take(4);
    days.filter_map(|day| {
        let zoned = zone.to_zoned(DateTime::from_parts(day, at.time())).ok()?;
        Some(Wall(zoned.timestamp().as_microsecond()))
    })
    .find(|time| *time > after)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rhythm(at: Option<&str>, zone: &str) -> Rhythm {
        let at = at.map(|at| Clock::try_from(at.to_owned()).expect("a time"));
        let every = if at.is_some() { Every::Day } else { Every::Hour };
        Rhythm { every, at, zone: zone.to_owned(), channels: vec![Channel::Email] }
    }

    fn date(text: &str) -> Wall {
        Wall::parse(text).expect("a date")
    }

    #[test]
    fn the_next_time_is_told_by_the_clock_there() {
        let table = [
            (Some("08:00"), "Europe/Berlin", "2026-01-10T06:59:59Z", "2026-01-10T07:00:00Z"),
            (Some("08:00"), "Europe/Berlin", "2026-01-10T07:00:00Z", "2026-01-11T07:00:00Z"),
            (Some("08:00"), "Europe/Berlin", "2026-07-10T06:00:00Z", "2026-07-11T06:00:00Z"),
            // The days on which clocks go forward, and back.
            (Some("08:00"), "Europe/Berlin", "2026-03-28T07:00:00Z", "2026-03-29T06:00:00Z"),
            (Some("08:00"), "Europe/Berlin", "2026-10-24T06:00:00Z", "2026-10-25T07:00:00Z"),
            // 02:30 is left out, and comes twice.
            (Some("02:30"), "Europe/Berlin", "2026-03-28T22:00:00Z", "2026-03-29T01:30:00Z"),
            (Some("02:30"), "Europe/Berlin", "2026-10-24T22:00:00Z", "2026-10-25T00:30:00Z"),
            (Some("02:30"), "Europe/Berlin", "2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"),
            // Samoa had no 30 December in 2011.
            (Some("08:00"), "Pacific/Apia", "2011-12-29T18:00:00Z", "2011-12-30T18:00:00Z"),
            (None, "Asia/Kathmandu", "2026-01-10T06:14:59Z", "2026-01-10T06:15:00Z"),
            (None, "UTC", "2026-01-10T06:00:00Z", "2026-01-10T07:00:00Z"),
        ];
        for (at, zone, after, next) in table {
            let found = rhythm(at, zone).next(date(after));
            assert_eq!(found, Some(date(next)), "{at:?} {zone} after {after}");
        }
        assert_eq!(rhythm(None, "Europe/Nowhere").next(Wall(0)), None);
    }

    proptest! {
        /// It always comes, never at once, and never later than a day (and what clocks are set by) or an hour.
        #[test]
        fn the_next_time_always_comes(
            minutes in prop::option::of(0u32..1_440), minute in 0i64..2_000_000,
            zone in prop::sample::select(vec!["Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Pacific/Apia",
                "Australia/Lord_Howe", "UTC"]),
        ) {
            let at = minutes.map(|minutes| format!("{:02}:{:02}", minutes / 60, minutes % 60));
            let rhythm = rhythm(at.as_deref(), zone);
            let now = Wall(date("2011-01-01T00:00:00Z").0 + minute * 60_000_000);
            let next = rhythm.next(now).expect("a next time");
            let most_h = if at.is_some() { 49 } else { 1 };
            prop_assert!(next > now && next.0 - now.0 <= most_h * 3_600_000_000, "{next} after {now}");
        }
    }
}
