//! Time as values: pure rooms are handed these and never read a clock.
//!
//! [`Mono`] orders events inside one process; [`Wall`] is a date that crosses processes.

use std::ops::{Add, Sub};
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;

const SHOWN: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z");

/// A reading of a monotonic clock, in microseconds since an origin that only its process knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Mono(pub u64);

impl Mono {
    pub const ZERO: Mono = Mono(0);

    /// Time since `earlier`; zero when `earlier` is later.
    pub fn since(self, earlier: Mono) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Mono {
    type Output = Mono;

    fn add(self, by: Duration) -> Mono {
        Mono(self.0.saturating_add(u64::try_from(by.as_micros()).unwrap_or(u64::MAX)))
    }
}

/// A wall-clock instant, in microseconds since 1970-01-01T00:00:00Z. On the wire it is an RFC 3339 string.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Wall(pub i64);

/// The text was not an RFC 3339 date between the years 1 and 9999.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an RFC 3339 date: {0:?}")]
pub struct NotADate(pub String);

impl Wall {
    pub fn parse(text: &str) -> Result<Wall, NotADate> {
        let date = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| NotADate(text.to_owned()))?;
        i64::try_from(date.unix_timestamp_nanos().div_euclid(1_000))
            .map(Wall)
            .map_err(|_| NotADate(text.to_owned()))
    }

    pub fn millis(self) -> i64 {
        self.0.div_euclid(1_000)
    }
}

impl Add<Duration> for Wall {
    type Output = Wall;

    fn add(self, by: Duration) -> Wall {
        Wall(self.0.saturating_add(i64::try_from(by.as_micros()).unwrap_or(i64::MAX)))
    }
}

impl Sub<Duration> for Wall {
    type Output = Wall;

    fn sub(self, by: Duration) -> Wall {
        Wall(self.0.saturating_sub(i64::try_from(by.as_micros()).unwrap_or(i64::MAX)))
    }
}

impl std::fmt::Display for Wall {
    /// RFC 3339 in UTC, always with six fractional digits, so that texts sort as their times do. A value outside
    /// the years 1..=9999 shows as the nearest date inside.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const MIN_US: i64 = -62_135_596_800_000_000;
        const MAX_US: i64 = 253_402_300_799_999_999;
        let nanos = i128::from(self.0.clamp(MIN_US, MAX_US)) * 1_000;
        let text = OffsetDateTime::from_unix_timestamp_nanos(nanos)
            .ok()
            .and_then(|date| date.format(SHOWN).ok())
            .ok_or(std::fmt::Error)?;
        f.write_str(&text)
    }
}

impl Serialize for Wall {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Wall {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Wall, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(from)?;
        Wall::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_survives_the_round_trip_to_the_microsecond() {
        for us in [0, 1, -1, 1_700_000_000_123_456, 253_402_300_799_999_999, -62_135_596_800_000_000] {
            assert_eq!(Wall::parse(&Wall(us).to_string()), Ok(Wall(us)));
        }
    }

    #[test]
    fn texts_sort_as_their_times_do() {
        let times = [0, 1, 580_000, 580_001, 580_010, 1_000_000, 1_700_000_000_000_000].map(Wall);
        assert!(times.map(|time| time.to_string()).is_sorted());
        assert_eq!(Wall(580_000).to_string(), "1970-01-01T00:00:00.580000Z");
    }

    #[test]
    fn offsets_are_taken_into_account() {
        assert_eq!(Wall::parse("2026-02-20T11:00:00+01:00"), Wall::parse("2026-02-20T10:00:00Z"));
    }

    #[test]
    fn nonsense_is_not_a_date() {
        for text in ["", "yesterday", "2026-02-30T00:00:00Z", "2026-02-20 10:00:00"] {
            assert!(Wall::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn values_out_of_range_show_as_the_nearest_date() {
        assert_eq!(Wall(i64::MAX).to_string(), "9999-12-31T23:59:59.999999Z");
    }
}
