//! From what came back over HTTP to an [`Answer`]: the steps that all carriers share. Pure.

use std::time::Duration;

use hyper::HeaderMap;
use hyper::header::{HeaderValue, RETRY_AFTER};
use wire::time::Wall;

use super::classify::{Meaning, Speaker, meaning};
use super::http::{Lost, Reply};
use super::letter::{Answer, Class, Letter, Refusal};
use super::unreached::Unreached;
use super::words;
use crate::limits::CARRIER_RETRY_AFTER_MAX;

/// A provider's no, in its own words.
#[derive(Debug, Default)]
pub struct Said {
    pub code: Option<String>,
    pub message: String,
}

/// What a no means, by the table.
pub fn refused(speaker: Speaker, reply: &Reply, said: Said, letter: &Letter, now: Wall) -> Answer {
    let status = reply.status.as_u16();
    let code = said.code.unwrap_or_else(|| format!("HTTP {status}"));
    match meaning(speaker, status, Some(&code)) {
        Meaning::Unsure => Answer::Unknown { why: code },
        Meaning::No(class) => Answer::Refused(Refusal {
            class,
            code: words::one_line(&code).chars().take(64).collect(),
            detail: words::detail(&said.message, letter),
            retry_after: retry_after(&reply.headers, now),
        }),
    }
}

/// Nothing came back, and a second copy would be a second message.
pub fn lost(lost: Lost) -> Answer {
    match lost {
        Lost::Before(unreached) => not_reached(unreached),
        Lost::After(why) => Answer::Unknown { why },
    }
}

/// Nothing came back, and a second copy takes the first one's place at the receiver.
pub fn lost_harmlessly(lost: Lost) -> Answer {
    match lost {
        Lost::Before(unreached) => not_reached(unreached),
        Lost::After(why) => fault("no answer", why),
    }
}

/// It is broken, or not to be reached safely: nobody was asked.
pub fn not_reached(Unreached { code, why }: Unreached) -> Answer {
    fault(code, why)
}

fn fault(code: &str, detail: String) -> Answer {
    Answer::Refused(Refusal { class: Class::Fault, code: code.to_owned(), detail, retry_after: None })
}

/// A letter that we do not hand over at all.
pub fn unfit(class: Class, code: &str, why: &str) -> Answer {
    Answer::Refused(Refusal { class, code: code.to_owned(), detail: why.to_owned(), retry_after: None })
}

/// A header that is not shown.
pub fn hidden(text: &str) -> HeaderValue {
    let mut value = HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(""));
    value.set_sensitive(true);
    value
}

/// In seconds or as a date (RFC 9110, section 10.2.3).
pub fn retry_after(headers: &HeaderMap, now: Wall) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = text.parse().ok().map(Duration::from_secs).or_else(|| until(text, now))?;
    Some(wait.min(CARRIER_RETRY_AFTER_MAX))
}

fn until(date: &str, now: Wall) -> Option<Duration> {
    let at = httpdate::parse_http_date(date).ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
    let now = Duration::from_micros(u64::try_from(now.0).ok()?);
    Some(at.saturating_sub(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_said_in_seconds_or_as_a_date() {
        let of = |text: &str| {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, text.parse().unwrap())]);
            retry_after(&headers, Wall(784_111_767_000_000))
        };
        assert_eq!(of("120"), Some(Duration::from_secs(120)));
        assert_eq!(of("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::from_secs(10)));
        assert_eq!(of("Sat, 06 Nov 1993 08:49:37 GMT"), Some(Duration::ZERO));
        assert_eq!(of("99999999999"), Some(CARRIER_RETRY_AFTER_MAX));
        for nonsense in ["", "soon", "-1", "1.5"] {
            assert_eq!(of(nonsense), None, "{nonsense}");
        }
    }
}
