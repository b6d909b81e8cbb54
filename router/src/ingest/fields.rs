//! One JSON object read field by field, so that each fault can name its field. Pure; used by `validate`, and by what reads
//! people's contacts and preferences.

use std::borrow::Cow;
use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::api::problem::{Kind, Problem};
use crate::limits::JSON_DEPTH_MAX;

/// How far a name may be off to be worth suggesting.
const TYPO_DISTANCE_MAX: usize = 3;
/// Bytes of a caller's own text that an answer repeats.
const ECHO_CHARS_MAX: usize = 40;

/// The fields of an object, still as text.
pub(crate) struct Object<'a> {
    fields: Vec<(String, &'a RawValue)>,
    /// Where this object stands in the request.
    pointer: Cow<'static, str>,
}

impl<'de> Deserialize<'de> for Object<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Object<'de>, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Object<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object<'de>, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Object { fields, pointer: Cow::Borrowed("") })
            }
        }
        from.deserialize_map(Fields)
    }
}

impl<'a> Object<'a> {
    /// A whole body.
    pub(crate) fn read(bytes: &'a [u8]) -> Result<Object<'a>, Problem> {
        let text = std::str::from_utf8(bytes)
            .map_err(|error| at("", format!("not UTF-8 at byte {}", error.valid_up_to())))?;
        if depth(text) > JSON_DEPTH_MAX {
            return Err(at("", format!("nested deeper than {JSON_DEPTH_MAX}")));
        }
        Object::parse(text, "")
    }

    pub(crate) fn parse(text: &'a str, pointer: impl Into<Cow<'static, str>>) -> Result<Object<'a>, Problem> {
        let pointer = pointer.into();
        match serde_json::from_str::<Object<'a>>(text) {
            Ok(object) => Ok(Object { pointer, ..object }),
            Err(error) => Err(at(pointer, plain(&error))),
        }
    }

    /// Refuses fields that are not `known`, and fields that stand twice.
    pub(crate) fn only(&self, known: &[&str]) -> Result<(), Problem> {
        for (i, (name, _)) in self.fields.iter().enumerate() {
            let pointer = format!("{}/{}", self.pointer, name.replace('~', "~0").replace('/', "~1"));
            if !known.contains(&name.as_str()) {
                let why = format!("unknown field `{}`{}", echo(name), hint(name, known));
                return Err(Problem::at(Kind::Malformed, pointer, why));
            }
            if self.fields[..i].iter().any(|(earlier, _)| earlier == name) {
                return Err(Problem::at(Kind::Malformed, pointer, format!("`{name}` stands twice")));
            }
        }
        Ok(())
    }

    /// A field that is there and not null.
    pub(crate) fn field(&self, name: &str) -> Option<&'a RawValue> {
        let (_, raw) = self.fields.iter().find(|(field, _)| field == name)?;
        (raw.get() != "null").then_some(*raw)
    }

    /// A string of `low..=high` bytes.
    pub(crate) fn text(&self, name: &str, low: usize, high: usize) -> Result<Option<String>, Problem> {
        let Some(raw) = self.field(name) else { return Ok(None) };
        let pointer = format!("{}/{name}", self.pointer);
        let text: String = typed(raw, &pointer, "a string")?;
        if !(low..=high).contains(&text.len()) {
            return Err(at(pointer, format!("{low}..={high} bytes; there are {}", text.len())));
        }
        Ok(Some(text))
    }

    pub(crate) fn whole_number(&self, name: &str, low: u32, high: u32) -> Result<Option<u32>, Problem> {
        let Some(raw) = self.field(name) else { return Ok(None) };
        let pointer = format!("{}/{name}", self.pointer);
        match serde_json::from_str::<u64>(raw.get()).ok().and_then(|number| u32::try_from(number).ok()) {
            Some(number) if (low..=high).contains(&number) => Ok(Some(number)),
            _ => Err(at(pointer, format!("a whole number in {low}..={high}"))),
        }
    }

    /// An object, kept as the text it came as.
    pub(crate) fn json_object(&self, name: &str, high: usize) -> Result<Option<Box<RawValue>>, Problem> {
        let Some(raw) = self.field(name) else { return Ok(None) };
        let pointer = format!("{}/{name}", self.pointer);
        if raw.get().len() > high {
            return Err(at(pointer, format!("at most {high} bytes of JSON; there are {}", raw.get().len())));
        }
        // Read in full once: a raw value may hold escapes and numbers that no client could read.
        let _readable: serde_json::Map<String, serde_json::Value> = typed(raw, &pointer, "a JSON object")?;
        Ok(Some(raw.to_owned()))
    }
}

/// Reads one field's text as a `T`.
pub(crate) fn typed<'a, T: Deserialize<'a>>(
    raw: &'a RawValue,
    pointer: &str,
    wanted: &str,
) -> Result<T, Problem> {
    serde_json::from_str(raw.get())
        .map_err(|error| at(pointer, format!("{wanted} is wanted: {}", plain(&error))))
}

pub(crate) fn unknown_value(pointer: &str, found: &str, known: &[&str]) -> Problem {
    let why = format!("`{}` is not one of {}{}", echo(found), known.join(", "), hint(found, known));
    at(pointer, why)
}

/// How deep objects and lists nest. Counts brackets outside strings, so it never recurses.
pub(crate) fn depth(text: &str) -> usize {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0usize, 0, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

fn at(pointer: impl Into<String>, why: String) -> Problem {
    let pointer = pointer.into();
    if pointer.is_empty() {
        Problem::new(Kind::Malformed, why)
    } else {
        Problem::at(Kind::Malformed, pointer, why)
    }
}

/// serde_json's message, without the text that it quotes from the request.
fn plain(error: &serde_json::Error) -> String {
    let place = format!(" at line {} column {}", error.line(), error.column());
    let message = error.to_string();
    let message = message.strip_suffix(&place).unwrap_or(&message);
    match message.strip_prefix("invalid type: ").and_then(|rest| rest.split_once(", expected ")) {
        Some((found, wanted)) => {
            let found = found.split([' ', '`', '"']).next().unwrap_or("something else");
            format!("found {found}, expected {wanted}{place}")
        }
        None => format!("{message}{place}"),
    }
}

fn echo(text: &str) -> String {
    text.chars().take(ECHO_CHARS_MAX).collect()
}

fn hint(found: &str, known: &[&str]) -> String {
    let nearest = known
        .iter()
        .map(|name| (strsim::damerau_levenshtein(&echo(found), name), *name))
        .min()
        .filter(|(distance, name)| *distance <= TYPO_DISTANCE_MAX && *distance < name.len());
    nearest.map_or_else(String::new, |(_, name)| format!("; did you mean `{name}`?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_counts_brackets_outside_strings() {
        assert_eq!(depth(r#"{"a":[1,{"b":2}]}"#), 3);
        assert_eq!(depth(r#"{"a":"[[[[\"[["}"#), 1);
        assert_eq!(depth("]]]"), 0);
    }

    #[test]
    fn an_answer_repeats_no_text_of_the_request() {
        let raw = RawValue::from_string("\"the code is 123456\"".to_owned()).unwrap();
        let problem = typed::<Vec<String>>(&raw, "/x", "a list").unwrap_err();
        assert!(!problem.detail.contains("123456"), "{}", problem.detail);
    }
}
