//! Existing Kafka topics as sources: what a foreign record means, by configuration.
//!
//! Owns `[[kafka.source]]`: which topics, and where in a record our fields are (JSON pointers, headers, constants, or
//! the API's own schema). Pure: bytes in, [`Draft`] or the reason for the dead letters out; whatever a request of
//! the API may not be, an imported record may not be either. Never reads Kafka; that is `run`'s.

use std::collections::BTreeMap;

use async_trait::async_trait;
use bytes::Bytes;
use regex_lite::Regex;
use serde_json::{Map, Value};
use wire::message::Priority;
use wire::time::Wall;

use super::{Draft, is_topic_name};
use crate::config::SourceSection;
use crate::ids;
use crate::ingest::validate;
use field::{Field, Place};

mod field;
#[cfg(feature = "kafka")]
mod run;

#[cfg(feature = "kafka")]
pub use run::{IMPORT_GROUP, Import, ImportPanicked, ImportStatus};

/// Bytes of a foreign record; more is refused before it is parsed.
pub const SOURCE_BYTES_MAX: usize = 512 * 1024;
/// Characters of a reason for the dead letters.
const REASON_CHARS_MAX: usize = 300;

/// What is wrong with a `[[kafka.source]]`; one line for the operator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    #[error("[[kafka.source]] needs either `topic` or `pattern`")]
    TopicOrPattern,
    #[error("[[kafka.source]] topic {0:?} is not a name that Kafka takes")]
    BadTopic(String),
    #[error("[[kafka.source]] pattern {pattern:?}: {why}")]
    BadPattern { pattern: String, why: String },
    #[error("[[kafka.source]] {0}: `service` is missing")]
    NoService(String),
    #[error("[[kafka.source]] {0}: `schema` can only be \"tocsin\"")]
    UnknownSchema(String),
    #[error("[[kafka.source]] {0}: with schema = \"tocsin\" the record says everything; leave out {1}")]
    SchemaAnd(String, &'static str),
    #[error("[[kafka.source]] {source_name}: there is no field {field:?}; the fields are {known}")]
    UnknownField { source_name: String, field: String, known: String },
    #[error("[[kafka.source]] {source_name}: {field} = {value:?} is neither a JSON pointer (/a/b) nor =text")]
    BadPointer { source_name: String, field: String, value: String },
    #[error("[[kafka.source]] {0}: the fields must say who it is for: user, users, topic or all")]
    NoTarget(String),
}

/// Which topics a source reads.
#[derive(Debug, Clone)]
enum Topics {
    One(String),
    Matching(Regex),
}

#[derive(Debug, Clone)]
enum Shape {
    /// Our fields are somewhere in a JSON document or in headers. The first place that has a value wins.
    Mapped(BTreeMap<Field, Vec<Place>>),
    /// The record is a request of the API, with `idempotency_key` as a field.
    Tocsin,
}

/// One `[[kafka.source]]`, checked.
#[derive(Debug, Clone)]
pub struct Source {
    topics: Topics,
    service: String,
    shape: Shape,
}

/// A record as it came from a source's topic.
#[derive(Debug, Clone, Copy)]
pub struct Foreign<'a> {
    pub topic: &'a str,
    pub partition: i32,
    pub offset: i64,
    /// Header names with their bytes, in order.
    pub headers: &'a [(&'a str, &'a [u8])],
    /// `None`: a tombstone.
    pub value: Option<&'a [u8]>,
}

/// A record of a source that is no request, as the router's own dead letters keep it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignLetter {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    pub reason: String,
    /// Its value, or the beginning of it.
    pub bytes: Bytes,
    /// There was more.
    pub cut: bool,
}

/// Where foreign letters are counted and listed.
#[async_trait]
pub trait LetterBook: Send + Sync {
    /// Returns when it is written down. The same letter may come again, and is one.
    async fn enter(&self, letter: ForeignLetter) -> Result<(), String>;
}

impl Source {
    pub fn new(section: &SourceSection) -> Result<Source, SourceError> {
        let (topics, name) = match (&section.topic, &section.pattern) {
            (Some(topic), None) if is_topic_name(topic) => (Topics::One(topic.clone()), topic.clone()),
            (Some(topic), None) => return Err(SourceError::BadTopic(topic.clone())),
            (None, Some(pattern)) => (Topics::Matching(anchored(pattern)?), pattern.clone()),
            _ => return Err(SourceError::TopicOrPattern),
        };
        if section.service.is_empty() {
            return Err(SourceError::NoService(name));
        }
        let shape = match section.schema.as_deref() {
            None => Shape::Mapped(places(section, &name)?),
            Some("tocsin") => {
                let extras = [
                    ("fields", !section.fields.is_empty()),
                    ("headers", !section.headers.is_empty()),
                    ("priority", section.priority.is_some()),
                    ("category", section.category.is_some()),
                ];
                match extras.into_iter().find(|(_, given)| *given) {
                    Some((extra, _)) => return Err(SourceError::SchemaAnd(name, extra)),
                    None => Shape::Tocsin,
                }
            }
            Some(_) => return Err(SourceError::UnknownSchema(name)),
        };
        Ok(Source { topics, service: section.service.clone(), shape })
    }

    /// Whether records of this topic are the source's.
    pub fn reads(&self, topic: &str) -> bool {
        match &self.topics {
            Topics::One(name) => name == topic,
            Topics::Matching(pattern) => pattern.is_match(topic),
        }
    }

    /// The topic, where it is named: it is read even before it exists.
    pub fn topic(&self) -> Option<&str> {
        match &self.topics {
            Topics::One(name) => Some(name),
            Topics::Matching(_) => None,
        }
    }

    pub fn service(&self) -> &str {
        &self.service
    }

    /// What the record asks for, or why it cannot be understood.
    pub fn map(&self, record: &Foreign<'_>, now: Wall) -> Result<Draft, String> {
        self.mapped(record, now).map_err(|reason| reason.chars().take(REASON_CHARS_MAX).collect())
    }

    fn mapped(&self, record: &Foreign<'_>, now: Wall) -> Result<Draft, String> {
        let value = record.value.ok_or("the record has no value")?;
        if value.len() > SOURCE_BYTES_MAX {
            return Err(format!("{} bytes are more than {SOURCE_BYTES_MAX}", value.len()));
        }
        let (request, key) = match &self.shape {
            Shape::Tocsin => {
                let line = validate::line(value).map_err(|problem| why(&problem))?;
                (line.request, line.idempotency_key)
            }
            Shape::Mapped(places) => {
                let found = find(places, record, value)?;
                let key = found.get(&Field::Id).map(|id| Field::Id.text(id)).transpose()?;
                let request = serde_json::to_vec(&request_of(&found)?).map_err(|error| error.to_string())?;
                (validate::request(&request).map_err(|problem| why(&problem))?, key)
            }
        };
        validate::moment(&request, now).map_err(|problem| why(&problem))?;
        let id = match key {
            Some(key) => ids::for_key(&self.service, &key),
            None => ids::for_source(record.topic, record.partition, record.offset),
        };
        Ok(Draft { id, service: self.service.clone(), accepted_at: now, request })
    }
}

/// A pattern matches whole names only.
fn anchored(pattern: &str) -> Result<Regex, SourceError> {
    let bad = |why: String| SourceError::BadPattern { pattern: pattern.to_owned(), why };
    // Alone first, so that a stray bracket cannot undo the anchors.
    Regex::new(pattern).map_err(|error| bad(error.to_string()))?;
    Regex::new(&format!("^(?:{pattern})$")).map_err(|error| bad(error.to_string()))
}

fn why(problem: &crate::api::problem::Problem) -> String {
    match &problem.pointer {
        Some(pointer) => format!("{pointer}: {}", problem.detail),
        None => problem.detail.clone(),
    }
}

/// Where each field may stand, in the order in which the places are tried.
fn places(section: &SourceSection, name: &str) -> Result<BTreeMap<Field, Vec<Place>>, SourceError> {
    let known = |field: &String| {
        Field::named(field).ok_or_else(|| SourceError::UnknownField {
            source_name: name.to_owned(),
            field: field.clone(),
            known: Field::names(),
        })
    };
    let mut places: BTreeMap<Field, Vec<Place>> = BTreeMap::new();
    for (field, value) in &section.fields {
        let place = Place::parse(value).ok_or_else(|| SourceError::BadPointer {
            source_name: name.to_owned(),
            field: field.clone(),
            value: value.clone(),
        })?;
        places.entry(known(field)?).or_default().push(place);
    }
    for (field, header) in &section.headers {
        places.entry(known(field)?).or_default().push(Place::Header(header.clone()));
    }
    let constants = [
        (Field::Priority, section.priority.map(Priority::name)),
        (Field::Category, section.category.as_deref()),
    ];
    for (field, value) in constants {
        if let Some(value) = value {
            places.entry(field).or_default().push(Place::Constant(value.to_owned()));
        }
    }
    if !Field::TARGETS.iter().any(|target| places.contains_key(target)) {
        return Err(SourceError::NoTarget(name.to_owned()));
    }
    Ok(places)
}

fn find(
    places: &BTreeMap<Field, Vec<Place>>,
    record: &Foreign<'_>,
    value: &[u8],
) -> Result<BTreeMap<Field, Value>, String> {
    let document: Value = serde_json::from_slice(value).map_err(|error| format!("not JSON: {error}"))?;
    let mut found = BTreeMap::new();
    for (field, places) in places {
        for place in places {
            if let Some(value) = place.look_up(&document, record.headers)? {
                found.insert(*field, value);
                break;
            }
        }
    }
    Ok(found)
}

/// The API request that the found values make.
fn request_of(found: &BTreeMap<Field, Value>) -> Result<Value, String> {
    let mut to = Map::new();
    let mut request = Map::new();
    for (field, value) in found {
        let value = field.convert(value).map_err(|reason| format!("{}: {reason}", field.name()))?;
        if *field == Field::Id {
            continue;
        }
        let object = if Field::TARGETS.contains(field) { &mut to } else { &mut request };
        object.insert(field.name().to_owned(), value);
    }
    if to.is_empty() {
        return Err("nothing says who it is for".to_owned());
    }
    request.insert("to".to_owned(), Value::Object(to));
    Ok(Value::Object(request))
}
