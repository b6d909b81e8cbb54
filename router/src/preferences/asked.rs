//! The body of `PUT /v1/users/{user}/preferences`, checked: each fault names its field. Pure.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use serde_json::value::RawValue;

use super::{Clock, Every, OTHERS, Preferences, QuietHours, Rhythm};
use crate::api::problem::{Kind, Problem};
use crate::ingest::fields::{Object, typed, unknown_value};
use crate::limits::{CATEGORY_BYTES_MAX, PREFERENCE_CATEGORIES_MAX};
use crate::record::Channel;

const FIELDS: [&str; 4] = ["channels", "unsubscribed", "quiet_hours", "digest"];
const QUIET: [&str; 4] = ["from", "to", "zone", "channels"];
const RHYTHM: [&str; 4] = ["every", "at", "zone", "channels"];
const CHANNELS: [&str; 5] = ["inapp", "push", "email", "sms", "voice"];
/// What several notifications can be put together for; SMS and calls wake, and are for what cannot wait.
const GATHERED: [Channel; 2] = [Channel::Email, Channel::Push];
/// What wakes people.
const LOUD: [Channel; 3] = [Channel::Push, Channel::Sms, Channel::Voice];

impl Preferences {
    /// What a service says that a user wants, in place of all that was known.
    pub fn asked(bytes: &[u8]) -> Result<Preferences, Problem> {
        let text = std::str::from_utf8(bytes).map_err(|error| {
            Problem::new(Kind::Malformed, format!("not UTF-8 at byte {}", error.valid_up_to()))
        })?;
        let object = Object::parse(text, "")?;
        object.only(&FIELDS)?;
        let quiet_hours = object.field("quiet_hours").map(quiet_hours).transpose()?;
        let zone = quiet_hours.as_ref().map(|quiet| quiet.zone.as_str());
        let digest = object.field("digest").map(|raw| digest(raw, zone)).transpose()?.unwrap_or_default();
        Ok(Preferences {
            channels: object.field("channels").map_or_else(|| Ok(BTreeMap::new()), by_category)?,
            unsubscribed: object.field("unsubscribed").map_or_else(|| Ok(Vec::new()), categories)?,
            quiet_hours,
            digest,
        })
    }
}

fn malformed(pointer: impl Into<String>, why: impl Into<String>) -> Problem {
    Problem::at(Kind::Malformed, pointer, why)
}

/// Each of it is possible, and not together.
fn contradiction(pointer: String, why: &str) -> Problem {
    Problem::at(Kind::Contradiction, pointer, why)
}

fn category(name: &str, pointer: &str) -> Result<(), Problem> {
    if (1..=CATEGORY_BYTES_MAX).contains(&name.len()) {
        return Ok(());
    }
    Err(malformed(pointer, format!("a category has 1..={CATEGORY_BYTES_MAX} bytes")))
}

fn by_category(raw: &RawValue) -> Result<BTreeMap<String, Vec<Channel>>, Problem> {
    let wanted = "an object: a category, or * for all others, and its channels";
    each_category(raw, "/channels", wanted, channels)
}

fn each_category<T>(
    raw: &RawValue,
    at: &str,
    wanted: &str,
    read: impl Fn(&RawValue, &str) -> Result<T, Problem>,
) -> Result<BTreeMap<String, T>, Problem> {
    let asked: BTreeMap<String, &RawValue> = typed(raw, at, wanted)?;
    if asked.len() > PREFERENCE_CATEGORIES_MAX {
        return Err(malformed(at, format!("at most {PREFERENCE_CATEGORIES_MAX} categories")));
    }
    let mut of = BTreeMap::new();
    for (name, raw) in asked {
        let pointer = format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"));
        category(&name, &pointer)?;
        let value = read(raw, &pointer)?;
        of.insert(name, value);
    }
    Ok(of)
}

/// `zone`: that of the quiet hours, for those that name none.
fn digest(raw: &RawValue, zone: Option<&str>) -> Result<BTreeMap<String, Rhythm>, Problem> {
    let wanted = "an object: a category, or * for all others, and how often what came goes out together";
    each_category(raw, "/digest", wanted, |raw, at| rhythm(raw, at, zone))
}

fn rhythm(raw: &RawValue, at: &str, zone: Option<&str>) -> Result<Rhythm, Problem> {
    let object = Object::parse(raw.get(), at.to_owned())?;
    object.only(&RHYTHM)?;
    let every = match object.text("every", 1, 16)?.as_deref() {
        Some("hour") => Every::Hour,
        Some("day") => Every::Day,
        _ => return Err(malformed(format!("{at}/every"), "\"hour\" or \"day\" is needed")),
    };
    let time = match (every, object.field("at")) {
        (Every::Hour, None) => None,
        (Every::Hour, Some(_)) => {
            return Err(contradiction(format!("{at}/at"), "every hour begins when it begins: leave it out"));
        }
        (Every::Day, _) => Some(clock(&object, at, "at")?),
    };
    let named = object.field("zone").is_some();
    let zone = match (zone, every) {
        (Some(zone), _) if !named => zone.to_owned(),
        (None, Every::Hour) if !named => "UTC".to_owned(),
        _ => known_zone(&object, at)?,
    };
    let pointer = format!("{at}/channels");
    let channels =
        object.field("channels").map_or_else(|| Ok(GATHERED.to_vec()), |raw| channels(raw, &pointer))?;
    if let Some(i) = channels.iter().position(|channel| !GATHERED.contains(channel)) {
        return Err(contradiction(format!("{pointer}/{i}"), "only email and push are put together"));
    }
    Ok(Rhythm { every, at: time, zone, channels })
}

fn categories(raw: &RawValue) -> Result<Vec<String>, Problem> {
    let names: Vec<String> = typed(raw, "/unsubscribed", "a list of categories")?;
    if names.len() > PREFERENCE_CATEGORIES_MAX {
        return Err(malformed("/unsubscribed", format!("at most {PREFERENCE_CATEGORIES_MAX} categories")));
    }
    for (i, name) in names.iter().enumerate() {
        let pointer = format!("/unsubscribed/{i}");
        category(name, &pointer)?;
        if name == OTHERS {
            return Err(malformed(
                pointer,
                "name the categories; for all others say \"*\": [] in `channels`",
            ));
        }
        if names[..i].contains(name) {
            return Err(malformed(pointer, "it stands twice"));
        }
    }
    Ok(names)
}

fn channels(raw: &RawValue, pointer: &str) -> Result<Vec<Channel>, Problem> {
    let names: Vec<String> = typed(raw, pointer, "a list of channels")?;
    let mut channels = Vec::with_capacity(names.len().min(CHANNELS.len()));
    for (i, name) in names.iter().enumerate() {
        let at = format!("{pointer}/{i}");
        let channel = Channel::ALL.into_iter().find(|channel| channel.name() == name);
        let channel = channel.ok_or_else(|| unknown_value(&at, name, &CHANNELS))?;
        if channels.contains(&channel) {
            return Err(malformed(at, "it stands twice"));
        }
        channels.push(channel);
    }
    Ok(channels)
}

fn quiet_hours(raw: &RawValue) -> Result<QuietHours, Problem> {
    let object = Object::parse(raw.get(), "/quiet_hours")?;
    object.only(&QUIET)?;
    let (from, to) = (clock(&object, "/quiet_hours", "from")?, clock(&object, "/quiet_hours", "to")?);
    if from == to {
        return Err(malformed("/quiet_hours/to", "they end when they begin: name channels instead"));
    }
    let zone = known_zone(&object, "/quiet_hours")?;
    let at = "/quiet_hours/channels";
    let channels = object.field("channels").map_or_else(|| Ok(LOUD.to_vec()), |raw| channels(raw, at))?;
    if channels.contains(&Channel::Inapp) {
        return Err(malformed(at, "what is in the inbox disturbs nobody: inapp is never held"));
    }
    Ok(QuietHours { from, to, zone, channels })
}

fn known_zone(object: &Object<'_>, at: &str) -> Result<String, Problem> {
    let zone = object.text("zone", 1, 64)?.filter(|zone| TimeZone::get(zone).is_ok());
    zone.ok_or_else(|| malformed(format!("{at}/zone"), "a time zone like Europe/Berlin is needed"))
}

fn clock(object: &Object<'_>, at: &str, name: &str) -> Result<Clock, Problem> {
    let text = object.text(name, 1, 16)?.unwrap_or_default();
    Clock::try_from(text).map_err(|why| malformed(format!("{at}/{name}"), why))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn read(body: &Value) -> Result<Preferences, Problem> {
        Preferences::asked(body.to_string().as_bytes())
    }

    #[test]
    fn what_is_shown_can_be_put_again() {
        let body = json!({"channels": {"news": [], "*": ["inapp", "push"]}, "unsubscribed": ["offers"],
            "quiet_hours": {"from": "22:00", "to": "07:30", "zone": "Europe/Berlin"}});
        let read_once = read(&body).expect("all right");
        let shown = serde_json::to_value(&read_once).expect("JSON");
        assert_eq!(shown["quiet_hours"]["channels"], json!(["push", "sms", "voice"]));
        assert_eq!(shown["quiet_hours"]["to"], "07:30");
        assert_eq!(read(&shown), Ok(read_once));
        assert_eq!(read(&json!({})), Ok(Preferences::default()));
    }

    #[test]
    fn a_digest_is_where_the_quiet_hours_are_unless_it_says_otherwise() {
        let body = json!({"quiet_hours": {"from": "22:00", "to": "07:30", "zone": "Asia/Kathmandu"}, "digest": {
            "news": {"every": "day", "at": "08:00"},
            "*": {"every": "hour", "zone": "Europe/Berlin", "channels": ["push"]}}});
        let wishes = read(&body).expect("all right");
        let shown = serde_json::to_value(&wishes).expect("JSON");
        let news =
            json!({"every": "day", "at": "08:00", "zone": "Asia/Kathmandu", "channels": ["email", "push"]});
        assert_eq!(shown["digest"]["news"], news);
        assert_eq!(
            shown["digest"]["*"],
            json!({"every": "hour", "zone": "Europe/Berlin", "channels": ["push"]})
        );
        assert_eq!(read(&shown), Ok(wishes));
        let alone = read(&json!({"digest": {"news": {"every": "hour"}}})).expect("all right");
        assert_eq!(alone.digest["news"].zone, "UTC");
    }

    #[test]
    fn each_fault_names_its_field() {
        let quiet = |field: &str, value: Value| {
            let mut hours = json!({"from": "22:00", "to": "07:00", "zone": "Europe/Berlin"});
            hours[field] = value;
            json!({"quiet_hours": hours})
        };
        let daily = |field: &str, value: Value| {
            let mut rhythm = json!({"every": "day", "at": "08:00", "zone": "Europe/Berlin"});
            rhythm[field] = value;
            json!({"digest": {"a/b": rhythm}})
        };
        let cases = [
            (json!({"digest": []}), "/digest"),
            (json!({"digest": {"": {"every": "hour"}}}), "/digest/"),
            (json!({"digest": {"a": "daily"}}), "/digest/a"),
            (json!({"digest": {"a": {"every": "day", "at": "08:00"}}}), "/digest/a/zone"),
            (json!({"digest": {"a": {"every": "day", "zone": "UTC"}}}), "/digest/a/at"),
            (json!({"digest": {"a": {"every": "hour", "at": "08:00"}}}), "/digest/a/at"),
            (daily("every", json!("week")), "/digest/a~1b/every"),
            (daily("at", json!("8")), "/digest/a~1b/at"),
            (daily("zone", json!("Berlin")), "/digest/a~1b/zone"),
            (daily("channels", json!(["push", "sms"])), "/digest/a~1b/channels/1"),
            (daily("for", json!(1)), "/digest/a~1b/for"),
            (json!({"channel": {}}), "/channel"),
            (json!({"channels": []}), "/channels"),
            (json!({"channels": {"": []}}), "/channels/"),
            (json!({"channels": {"a/b": ["pigeon"]}}), "/channels/a~1b/0"),
            (json!({"channels": {"a": ["push", "push"]}}), "/channels/a/1"),
            (json!({"unsubscribed": ["a", "a"]}), "/unsubscribed/1"),
            (json!({"unsubscribed": ["*"]}), "/unsubscribed/0"),
            (quiet("from", json!("9pm")), "/quiet_hours/from"),
            (quiet("from", json!("24:00")), "/quiet_hours/from"),
            (quiet("to", json!("22:00")), "/quiet_hours/to"),
            (quiet("to", Value::Null), "/quiet_hours/to"),
            (quiet("zone", json!("Berlin")), "/quiet_hours/zone"),
            (quiet("zone", Value::Null), "/quiet_hours/zone"),
            (quiet("channels", json!(["inapp"])), "/quiet_hours/channels"),
            (quiet("until", json!(1)), "/quiet_hours/until"),
        ];
        for (body, pointer) in cases {
            let problem = read(&body).expect_err(pointer);
            assert_eq!(problem.pointer.as_deref(), Some(pointer), "{body}: {}", problem.detail);
        }
    }
}
