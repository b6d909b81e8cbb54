//! What every flag is held to, and the one line that says so. Part of `cli`.

use std::fs;
use std::path::Path;
use std::time::Duration;

use wire::message::Priority;
use wire::time::Wall;

use crate::config::Moment;
use crate::limits::{AHEAD_MAX, FOR_MAX, RATE_MAX, SECRET_BYTES_MAX};
use crate::units::parse_duration;

use super::Usage;

pub(crate) fn within<T: PartialOrd + Copy + std::fmt::Display>(
    flag: &str,
    value: T,
    low: T,
    high: T,
) -> Result<T, Usage> {
    if value >= low && value <= high {
        Ok(value)
    } else {
        Err(Usage(format!("{flag} {value}: {low} to {high} are possible")))
    }
}

pub(crate) fn rate(flag: &str, per_s: f64) -> Result<f64, Usage> {
    let bad = || Usage(format!("{flag} {per_s}: more than 0 and at most {RATE_MAX} a second are possible"));
    if per_s > 0.0 && per_s <= RATE_MAX { Ok(per_s) } else { Err(bad()) }
}

pub(crate) fn duration(flag: &str, text: &str) -> Result<Duration, Usage> {
    let time = parse_duration(text).map_err(|why| Usage(format!("{flag} {why}")))?;
    if time > FOR_MAX {
        return Err(Usage(format!(
            "{flag} {text}: at most {} hours are possible",
            FOR_MAX.as_secs() / 3_600
        )));
    }
    Ok(time)
}

/// A name that stands in URLs and JSON without escapes.
pub(crate) fn name(flag: &str, text: String, bytes_max: usize) -> Result<String, Usage> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    if text.is_empty() || text.len() > bytes_max || !text.bytes().all(plain) {
        return Err(Usage(format!("{flag} {text:?}: 1 to {bytes_max} letters, digits, - _ . are possible")));
    }
    Ok(text)
}

pub(super) fn read_secret(flag: &str, path: &Path) -> Result<String, Usage> {
    let failed = |why: &dyn std::fmt::Display| Usage(format!("{flag} {}: {why}", path.display()));
    let size = fs::metadata(path).map_err(|error| failed(&error))?.len();
    if size > SECRET_BYTES_MAX {
        return Err(failed(&format!("{size} bytes are too many")));
    }
    fs::read_to_string(path).map_err(|error| failed(&error))
}

/// The service key of a file, or as given.
pub(crate) fn service_key(file: Option<&Path>, given: String) -> Result<String, Usage> {
    let key = match file {
        Some(path) => read_secret("--key-file", path)?.trim().to_owned(),
        None => given,
    };
    if key.is_empty() || !key.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(Usage("--key: a service key is plain ASCII without blanks, and not empty".to_owned()));
    }
    Ok(key)
}

/// `5s`, `+5s`, or a date that is not over and not far away.
pub(super) fn moment(flag: &str, text: &str, now: Wall) -> Result<Moment, Usage> {
    if let Ok(date) = Wall::parse(text) {
        let ahead = Duration::from_micros(u64::try_from(date.0 - now.0).unwrap_or(0));
        if ahead.is_zero() || ahead > AHEAD_MAX {
            return Err(Usage(format!(
                "{flag} {text}: a date within the next {} hours is wanted",
                AHEAD_MAX.as_secs() / 3_600
            )));
        }
        return Ok(Moment::At(date));
    }
    let after = parse_duration(text.strip_prefix('+').unwrap_or(text))
        .map_err(|_| Usage(format!("{flag} {text:?}: write 5s, +5s or a date as 2026-03-01T10:00:00Z")))?;
    if after > AHEAD_MAX {
        return Err(Usage(format!("{flag} {text}: at most {} hours", AHEAD_MAX.as_secs() / 3_600)));
    }
    Ok(Moment::After(after))
}

pub(crate) fn priority(text: &str) -> Result<Priority, String> {
    let named = Priority::ALL.into_iter().find(|priority| priority.name() == text);
    named.ok_or_else(|| "critical, high, normal and low are possible".to_owned())
}
