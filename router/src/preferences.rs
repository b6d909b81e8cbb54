//! What a user wants to be sent, by which channels, and when not to be disturbed.
//!
//! Pure. Owns the document of one user, its persistent form, and the decision for one delivery. What is asked of it is checked
//! in `preferences/asked.rs`. Kept by the `owner` in [`Space::People`]. Critical notifications pass over all of it.

use std::collections::BTreeMap;

use bytes::Bytes;
use jiff::Timestamp;
use jiff::civil::{DateTime, Time};
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use wire::message::Priority;
use wire::time::Wall;

use crate::limits::PREFERENCE_CATEGORIES_MAX;
use crate::record::Channel;
use crate::store::codec::{Decoder, Encoder};
use crate::store::keys;
use crate::store::turn::Turn;
use crate::store::{Space, Store, StoreError};

pub mod asked;
mod rhythm;

pub use rhythm::{Every, Rhythm};

const VERSION: u8 = 1;
/// The kind of row behind a user's key in [`Space::People`]. Persistent.
const KIND: u8 = b'p';
/// Stands for every category that is not named, and for none.
pub const OTHERS: &str = "*";

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Preferences {
    /// By category: the channels that may be used. Not named here and no [`OTHERS`]: all.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub channels: BTreeMap<String, Vec<Channel>>,
    /// Categories of which nothing is sent at all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unsubscribed: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quiet_hours: Option<QuietHours>,
    /// By category: when what came in the meantime goes out together. Not named here and no [`OTHERS`]: at once.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub digest: BTreeMap<String, Rhythm>,
}

/// Every day from one time to another, there where the user is; over midnight if it ends earlier than it begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuietHours {
    pub from: Clock,
    pub to: Clock,
    /// An IANA name like `Europe/Berlin`.
    pub zone: String,
    /// What is held until they are over.
    pub channels: Vec<Channel>,
}

/// A time of day, to the minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Clock {
    hour: u8,
    minute: u8,
}

impl TryFrom<String> for Clock {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Clock, &'static str> {
        const WANTED: &str = "a time like 22:00";
        let (hour, minute) = text.split_once(':').ok_or(WANTED)?;
        let number = |text: &str, most: u8| {
            let is_number = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse().ok().filter(|number| is_number && *number <= most)
        };
        Ok(Clock { hour: number(hour, 23).ok_or(WANTED)?, minute: number(minute, 59).ok_or(WANTED)? })
    }
}

impl From<Clock> for String {
    fn from(Clock { hour, minute }: Clock) -> String {
        format!("{hour:02}:{minute:02}")
    }
}

impl Clock {
    fn time(self) -> Time {
        Time::constant(self.hour.cast_signed(), self.minute.cast_signed(), 0, 0)
    }
}

/// As many categories are named as may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoRoom;

/// What a user's preferences make of one delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    Go,
    /// The user does not want it, or not by this channel.
    Unwanted,
    /// Not before this date.
    Hold(Wall),
}

impl Preferences {
    pub fn load<S: Store>(turn: &Turn<S>, user: &str) -> Result<Preferences, StoreError> {
        let row = turn.get(Space::People, &key(user))?;
        Ok(row.map(decode).transpose()?.unwrap_or_default())
    }

    pub fn keep<S: Store>(&self, turn: &mut Turn<S>, user: &str) {
        if *self == Preferences::default() {
            turn.delete(Space::People, key(user));
        } else {
            turn.put(Space::People, key(user), Encoder::new(VERSION).json(self).finish());
        }
    }

    /// Nothing of this category by this channel any more. True: that is new.
    pub fn turn_off(&mut self, category: &str, channel: Channel) -> Result<bool, NoRoom> {
        if self.unsubscribed.iter().any(|off| off == category) {
            return Ok(false);
        }
        let named = self.channels.get(category);
        let allowed = named.or_else(|| self.channels.get(OTHERS)).map_or(&Channel::ALL[..], Vec::as_slice);
        if !allowed.contains(&channel) {
            return Ok(false);
        }
        if named.is_none() && self.channels.len() >= PREFERENCE_CATEGORIES_MAX {
            return Err(NoRoom);
        }
        let left = allowed.iter().copied().filter(|known| *known != channel).collect();
        self.channels.insert(category.to_owned(), left);
        Ok(true)
    }

    /// Dates, as quiet hours are told by the clock on the wall: `since` when the delivery's turn came, which is `now` at first.
    pub fn wish(
        &self,
        category: Option<&str>,
        channel: Channel,
        priority: Priority,
        since: Wall,
        now: Wall,
    ) -> Wish {
        if priority == Priority::Critical {
            return Wish::Go;
        }
        let is_off = category.is_some_and(|category| self.unsubscribed.iter().any(|off| off == category));
        let named = category.and_then(|category| self.channels.get(category));
        let allowed = named.or_else(|| self.channels.get(OTHERS));
        if is_off || allowed.is_some_and(|allowed| !allowed.contains(&channel)) {
            return Wish::Unwanted;
        }
        let named = category.and_then(|category| self.digest.get(category));
        let rhythm = named.or_else(|| self.digest.get(OTHERS));
        let rhythm = rhythm.filter(|rhythm| rhythm.channels.contains(&channel));
        let beat = rhythm.and_then(|rhythm| rhythm.next(since)).filter(|beat| *beat > now);
        let quiet = self.quiet_hours.as_ref().filter(|quiet| quiet.channels.contains(&channel));
        // What would go out in quiet hours waits for their end, too.
        let end = quiet.and_then(|quiet| quiet.end(beat.unwrap_or(now)));
        end.or(beat).map_or(Wish::Go, Wish::Hold)
    }
}

impl QuietHours {
    /// When those end that `now` lies in. On days on which clocks are set they may be an hour shorter or longer; a time that
    /// such a day does not have is the first one behind.
    fn end(&self, now: Wall) -> Option<Wall> {
        let zone = TimeZone::get(&self.zone).ok()?;
        let here = zone.to_datetime(Timestamp::from_microsecond(now.0).ok()?).date();
        let at = |date, clock: Clock| {
            let zoned = zone.to_zoned(DateTime::from_parts(date, clock.time())).ok()?;
            Some(Wall(zoned.timestamp().as_microsecond()))
        };
        // Those of today, or those that began yesterday.
        [here, here.yesterday().ok()?].into_iter().find_map(|date| {
            let over_midnight = (self.to.hour, self.to.minute) <= (self.from.hour, self.from.minute);
            let last = if over_midnight { date.tomorrow().ok()? } else { date };
            let (begin, end) = (at(date, self.from)?, at(last, self.to)?);
            (begin <= now && now < end).then_some(end)
        })
    }
}

fn key(user: &str) -> Vec<u8> {
    keys::within(&keys::user(user), &[KIND])
}

fn decode(row: Bytes) -> Result<Preferences, StoreError> {
    let mut row = Decoder::new(Space::People, row, VERSION)?;
    serde_json::from_slice(&row.rest()).map_err(|error| row.damaged(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn preferences(text: &str) -> Preferences {
        serde_json::from_str(text).expect("preferences")
    }

    fn quiet(from: &str, to: &str, zone: &str) -> Preferences {
        preferences(&format!(
            r#"{{"quiet_hours":{{"from":"{from}","to":"{to}","zone":"{zone}","channels":["push","sms"]}}}}"#
        ))
    }

    fn date(text: &str) -> Wall {
        Wall::parse(text).expect("a date")
    }

    fn at(preferences: &Preferences, now: &str) -> Wish {
        preferences.wish(None, Channel::Push, Priority::High, date(now), date(now))
    }

    #[test]
    fn channels_are_chosen_by_category_and_critical_passes_over_all() {
        use Channel::{Email, Inapp, Push};
        let some =
            preferences(r#"{"channels":{"news":["email"],"*":["inapp","push"]},"unsubscribed":["offers"]}"#);
        let table = [
            (Some("news"), Email, Wish::Go),
            (Some("news"), Push, Wish::Unwanted),
            (Some("other"), Push, Wish::Go),
            (Some("other"), Email, Wish::Unwanted),
            (None, Inapp, Wish::Go),
            (None, Email, Wish::Unwanted),
            (Some("offers"), Inapp, Wish::Unwanted),
        ];
        for (category, channel, wish) in table {
            assert_eq!(
                some.wish(category, channel, Priority::High, Wall(0), Wall(0)),
                wish,
                "{category:?} {channel:?}"
            );
            assert_eq!(some.wish(category, channel, Priority::Critical, Wall(0), Wall(0)), Wish::Go);
        }
        let none = Preferences::default();
        assert!(
            Channel::ALL
                .iter()
                .all(|channel| { none.wish(None, *channel, Priority::Low, Wall(0), Wall(0)) == Wish::Go })
        );
    }

    #[test]
    fn one_category_is_turned_off_by_one_channel_and_no_other_is() {
        use Channel::{Email, Push, Sms};
        let kept = |text: &str| {
            let mut wishes = preferences(text);
            let said = wishes.turn_off("news", Email);
            (said, wishes.channels.get("news").cloned())
        };
        let all_others = Channel::ALL.into_iter().filter(|channel| *channel != Email).collect();
        assert_eq!(kept("{}"), (Ok(true), Some(all_others)));
        assert_eq!(kept(r#"{"channels":{"news":["email","sms"]}}"#), (Ok(true), Some(vec![Sms])));
        assert_eq!(kept(r#"{"channels":{"*":["push","email"]}}"#), (Ok(true), Some(vec![Push])));
        assert_eq!(kept(r#"{"channels":{"*":["push"]}}"#), (Ok(false), None), "it is off already");
        assert_eq!(kept(r#"{"channels":{"news":[]}}"#), (Ok(false), Some(vec![])));
        assert_eq!(kept(r#"{"unsubscribed":["news"]}"#), (Ok(false), None));
        let mut full = Preferences::default();
        for n in 0..PREFERENCE_CATEGORIES_MAX {
            full.channels.insert(format!("c{n}"), vec![Email]);
        }
        let before = full.clone();
        assert_eq!((full.turn_off("news", Email), &full), (Err(NoRoom), &before));
        assert_eq!(full.turn_off("c7", Email), Ok(true));
    }

    #[test]
    fn quiet_hours_end_at_their_time_there_where_the_user_is() {
        let berlin = quiet("22:00", "07:00", "Europe/Berlin");
        let table = [
            // Winter: an hour ahead of UTC.
            ("2026-01-10T20:59:59Z", None),
            ("2026-01-10T21:00:00Z", Some("2026-01-11T06:00:00Z")),
            ("2026-01-11T05:59:59Z", Some("2026-01-11T06:00:00Z")),
            ("2026-01-11T06:00:00Z", None),
            // Summer: two.
            ("2026-07-10T20:00:00Z", Some("2026-07-11T05:00:00Z")),
            ("2026-07-10T19:59:59Z", None),
            // The night in which clocks go forward, and the one in which they go back.
            ("2026-03-28T21:00:00Z", Some("2026-03-29T05:00:00Z")),
            ("2026-10-24T20:00:00Z", Some("2026-10-25T06:00:00Z")),
            ("2026-10-25T05:59:59Z", Some("2026-10-25T06:00:00Z")),
        ];
        for (now, end) in table {
            assert_eq!(at(&berlin, now), end.map_or(Wish::Go, |end| Wish::Hold(date(end))), "{now}");
        }
        let day = quiet("12:00", "13:30", "Asia/Kolkata");
        assert_eq!(at(&day, "2026-01-10T06:30:00Z"), Wish::Hold(date("2026-01-10T08:00:00Z")));
        assert_eq!(at(&day, "2026-01-10T08:00:00Z"), Wish::Go);
        // 02:30 is not on that day: it is 03:30, an hour later by the clock and at the same moment.
        let gap = quiet("01:00", "02:30", "Europe/Berlin");
        assert_eq!(at(&gap, "2026-03-29T00:30:00Z"), Wish::Hold(date("2026-03-29T01:30:00Z")));
        let night = date("2026-01-10T23:00:00Z");
        assert_eq!(berlin.wish(None, Channel::Email, Priority::Low, night, night), Wish::Go);
        assert_eq!(berlin.wish(None, Channel::Push, Priority::Critical, night, night), Wish::Go);
    }

    #[test]
    fn a_digest_holds_its_category_by_its_channels_until_its_time_and_no_longer() {
        use Channel::{Email, Push, Sms};
        let daily = r#"{"every":"day","at":"08:00","zone":"Europe/Berlin","channels":["email"]}"#;
        let hourly = r#"{"every":"hour","zone":"UTC","channels":["email","push"]}"#;
        let wishes = preferences(&format!(
            r#"{{"digest":{{"news":{daily},"*":{hourly}}},
            "quiet_hours":{{"from":"07:30","to":"09:00","zone":"Europe/Berlin","channels":["push"]}}}}"#
        ));
        let table = [
            // The turn came, it is now, and the wish.
            (Some("news"), Email, "2026-01-10T06:59:59Z", "06:59:59", Some("2026-01-10T07:00:00Z")),
            (Some("news"), Email, "2026-01-10T07:00:00Z", "07:00:00", Some("2026-01-11T07:00:00Z")),
            (Some("news"), Email, "2026-01-10T06:59:59Z", "07:00:00", None),
            (Some("news"), Push, "2026-01-10T05:59:59Z", "05:59:59", None),
            (Some("offers"), Email, "2026-01-10T05:10:00Z", "05:10:00", Some("2026-01-10T06:00:00Z")),
            (None, Push, "2026-01-10T05:10:00Z", "06:00:00", None),
            // Its time lies in quiet hours, and then it has come in them.
            (None, Push, "2026-01-10T06:10:00Z", "06:10:00", Some("2026-01-10T08:00:00Z")),
            (None, Push, "2026-01-10T06:10:00Z", "07:00:00", Some("2026-01-10T08:00:00Z")),
            (None, Push, "2026-01-10T06:10:00Z", "08:00:00", None),
            (None, Sms, "2026-01-10T06:40:00Z", "06:40:00", None),
        ];
        for (category, channel, since, time, until) in table {
            let (since, now) = (date(since), date(&format!("2026-01-10T{time}Z")));
            let wish = wishes.wish(category, channel, Priority::Normal, since, now);
            let wanted = until.map_or(Wish::Go, |until| Wish::Hold(date(until)));
            assert_eq!(wish, wanted, "{category:?} {channel:?} {since} {now}");
            assert_eq!(wishes.wish(category, channel, Priority::Critical, since, now), Wish::Go);
        }
    }

    #[test]
    fn what_was_kept_is_read_and_a_zone_that_is_gone_holds_nothing() {
        let mut turn = Turn::new(crate::store::MemoryStore::new());
        let kept = quiet("22:00", "07:05", "Europe/Berlin");
        kept.keep(&mut turn, "ann");
        assert_eq!(Preferences::load(&turn, "ann"), Ok(kept));
        assert_eq!(at(&quiet("00:00", "23:59", "Europe/Nowhere"), "2026-01-10T12:00:00Z"), Wish::Go);
    }

    proptest! {
        /// Held is held for less than a day, and at the end of it nothing is held for their sake any more.
        #[test]
        fn quiet_hours_always_end(
            from in 0u32..1_440, length in 1u32..1_440, minute in 0i64..2_000_000,
            zone in prop::sample::select(vec!["Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Pacific/Apia",
                "Australia/Lord_Howe", "UTC"]),
        ) {
            let clock = |minutes: u32| format!("{:02}:{:02}", minutes / 60 % 24, minutes % 60);
            let quiet = quiet(&clock(from), &clock(from + length), zone);
            let now = Wall(date("2011-01-01T00:00:00Z").0 + minute * 60_000_000);
            if let Wish::Hold(end) = quiet.wish(None, Channel::Push, Priority::Low, now, now) {
                prop_assert!(end > now && end.0 - now.0 <= 25 * 3_600_000_000);
                let then = quiet.wish(None, Channel::Push, Priority::Low, now, end);
                // Where a day is left out or clocks go back an hour the next quiet hours may begin at once.
                prop_assert!(then == Wish::Go || length > 1_300, "{then:?}");
            }
        }
    }
}
