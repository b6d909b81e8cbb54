//! Several notifications as one letter: what stands in it.
//!
//! Pure. Owns the words, their order and their bounds; who is put together with whom is the `owner`'s. Each notification keeps its
//! own delivery: this is only what they are shown by. An operator's templates may say it otherwise (`digest.PART`).

use std::cmp::Reverse;
use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::value::RawValue;
use uuid::Uuid;
use wire::message::Priority;
use wire::time::Wall;

use crate::limits::{DIGEST_LINE_CHARS_MAX, DIGEST_LINES_MAX};
use crate::record::Record;

/// The name of the templates that put one into words.
pub const CATEGORY: &str = "digest";
/// What stands where something was cut.
const CUT: &str = "…";

/// What is shown of several notifications for one user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digest {
    /// How many there are. Of those with one collapse key the newest counts.
    pub count: usize,
    /// The newest of them, newest first.
    pub lines: Vec<Line>,
    /// Of the most urgent one.
    pub priority: Priority,
    /// That of all of them, if it is one.
    pub category: Option<String>,
    /// When the last of them is over; `None`: one has no life of its own.
    pub expires_at: Option<Wall>,
}

/// One notification, as a template may use it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Line {
    pub id: Uuid,
    pub title: String,
    pub body: String,
    pub category: String,
    pub created_at: String,
}

impl Digest {
    /// Of one at least.
    pub fn of<'a>(records: impl IntoIterator<Item = &'a Record>) -> Digest {
        let mut records: Vec<&Record> = records.into_iter().collect();
        records.sort_by_key(|record| Reverse((record.begins_at(), record.id)));
        let ends: Option<Vec<Wall>> = records.iter().map(|record| record.expires_at()).collect();
        let first = records.first().and_then(|record| record.request.category.clone());
        let category = first.filter(|_| is_same(&records));
        let urgent = records.iter().map(|record| record.request.priority).min();
        let mut keys = BTreeSet::new();
        records.retain(|record| match &record.request.collapse_key {
            Some(key) => keys.insert((record.service.as_str(), key.as_str())),
            None => true,
        });
        Digest {
            count: records.len(),
            lines: records.iter().take(DIGEST_LINES_MAX).map(|record| line(record)).collect(),
            priority: urgent.unwrap_or_default(),
            category,
            expires_at: ends.and_then(|ends| ends.into_iter().max()),
        }
    }

    pub fn title(&self) -> String {
        match self.count {
            1 => "1 notification".to_owned(),
            count => format!("{count} notifications"),
        }
    }

    /// The newest ones, one on a line.
    pub fn body(&self) -> String {
        let mut lines: Vec<String> =
            self.lines.iter().map(Line::text).filter(|text| !text.is_empty()).collect();
        let more = self.count - lines.len();
        if more > 0 && !lines.is_empty() {
            lines.push(format!("and {more} more"));
        }
        lines.join("\n")
    }

    /// For the app that is opened by it.
    pub fn data(&self) -> Option<Box<RawValue>> {
        #[derive(Serialize)]
        struct Data {
            count: usize,
            ids: Vec<Uuid>,
        }
        let data = Data { count: self.count, ids: self.lines.iter().map(|line| line.id).collect() };
        serde_json::value::to_raw_value(&data).ok()
    }
}

impl Line {
    /// The title, or where there is none the beginning of the body, on one line.
    fn text(&self) -> String {
        let text = if self.title.trim().is_empty() { &self.body } else { &self.title };
        let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
        if words.chars().count() <= DIGEST_LINE_CHARS_MAX {
            return words;
        }
        words.chars().take(DIGEST_LINE_CHARS_MAX - 1).chain(CUT.chars()).collect()
    }
}

fn is_same(records: &[&Record]) -> bool {
    records.windows(2).all(|two| two[0].request.category == two[1].request.category)
}

fn line(record: &Record) -> Line {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    Line {
        id: record.id,
        title: text(&record.request.title),
        body: text(&record.request.body),
        category: text(&record.request.category),
        created_at: record.begins_at().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::record::RECORD_VERSION;

    /// Accepted a second behind each other.
    fn records(requests: &[Value]) -> Vec<Record> {
        let record = |(i, request): (usize, &Value)| {
            let mut request = request.clone();
            request["to"] = json!({"user": "ann"});
            let record = json!({"v": RECORD_VERSION, "id": Uuid::from_u128(i as u128 + 1), "service": "svc",
                "accepted_at": format!("2026-01-01T00:00:{i:02}Z"),
                "sequence": {"boot": 1, "partition": 0, "seq": 1}, "request": request});
            serde_json::from_value(record).expect("a record")
        };
        requests.iter().enumerate().map(record).collect()
    }

    fn digest(requests: &[Value]) -> Digest {
        Digest::of(&records(requests))
    }

    #[test]
    fn the_newest_titles_stand_in_it_and_the_rest_is_counted() {
        let eight: Vec<Value> = (0..8).map(|i| json!({"title": format!("t{i}"), "body": "b"})).collect();
        let digest = digest(&eight);
        assert_eq!(
            (digest.title(), digest.body()),
            ("8 notifications".to_owned(), "t7\nt6\nt5\nt4\nt3\nand 3 more".to_owned())
        );
        let data: Value = serde_json::from_str(digest.data().expect("data").get()).expect("JSON");
        assert_eq!((&data["count"], data["ids"].as_array().map(Vec::len)), (&json!(8), Some(5)));
    }

    #[test]
    fn a_line_is_a_title_or_the_beginning_of_a_body_and_short() {
        let long = "é".repeat(400);
        let table = [
            (json!({"title": "a\r\nb", "body": "c"}), "a b".to_owned()),
            (json!({"body": " one\ntwo "}), "one two".to_owned()),
            (json!({"title": long}), format!("{}…", "é".repeat(DIGEST_LINE_CHARS_MAX - 1))),
            (json!({"data": {"k": 1}}), String::new()),
        ];
        for (request, line) in table {
            assert_eq!(digest(std::slice::from_ref(&request)).lines[0].text(), line, "{request}");
        }
        let silent = digest(&[json!({}), json!({})]);
        assert_eq!((silent.title(), silent.body()), ("2 notifications".to_owned(), String::new()));
    }

    #[test]
    fn it_is_as_urgent_as_the_most_urgent_and_lives_as_long_as_the_last() {
        let one = |priority: &str, category: &str, ttl: Option<u32>| json!({"priority": priority, "category": category, "ttl_s": ttl, "title": "t"});
        let same = digest(&[one("low", "news", Some(60)), one("high", "news", Some(30))]);
        assert_eq!((same.priority, same.category.as_deref()), (Priority::High, Some("news")));
        assert_eq!(same.expires_at, Wall::parse("2026-01-01T00:01:00Z").ok());
        let mixed = digest(&[one("low", "news", Some(60)), one("normal", "offers", None)]);
        assert_eq!((mixed.category, mixed.expires_at), (None, None));
    }

    #[test]
    fn of_those_with_one_collapse_key_the_newest_is_shown() {
        let keyed = |title: &str, key: Option<&str>| json!({"title": title, "collapse_key": key});
        let digest = digest(&[keyed("old", Some("k")), keyed("other", None), keyed("new", Some("k"))]);
        assert_eq!((digest.count, digest.body()), (2, "new\nother".to_owned()));
    }
}
