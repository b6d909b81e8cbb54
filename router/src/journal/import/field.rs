//! Our fields in foreign records: where they stand and what their values become.
//!
//! Pure. Called by [`import`](super).

use serde_json::Value;

/// A field of an API request that a source can fill, and `id`, which becomes the notification's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Field {
    User,
    Users,
    Topic,
    All,
    Id,
    Title,
    Body,
    Data,
    Priority,
    Category,
    CollapseKey,
    TtlS,
    SendAt,
    AckWithinS,
    Channels,
    Fallback,
}

impl Field {
    const ALL_FIELDS: [Field; 16] = [
        Field::User,
        Field::Users,
        Field::Topic,
        Field::All,
        Field::Id,
        Field::Title,
        Field::Body,
        Field::Data,
        Field::Priority,
        Field::Category,
        Field::CollapseKey,
        Field::TtlS,
        Field::SendAt,
        Field::AckWithinS,
        Field::Channels,
        Field::Fallback,
    ];

    /// They say who a notification is for, and stand inside `to`.
    pub(super) const TARGETS: [Field; 4] = [Field::User, Field::Users, Field::Topic, Field::All];

    pub(super) fn name(self) -> &'static str {
        match self {
            Field::User => "user",
            Field::Users => "users",
            Field::Topic => "topic",
            Field::All => "all",
            Field::Id => "id",
            Field::Title => "title",
            Field::Body => "body",
            Field::Data => "data",
            Field::Priority => "priority",
            Field::Category => "category",
            Field::CollapseKey => "collapse_key",
            Field::TtlS => "ttl_s",
            Field::SendAt => "send_at",
            Field::AckWithinS => "ack_within_s",
            Field::Channels => "channels",
            Field::Fallback => "fallback",
        }
    }

    pub(super) fn named(name: &str) -> Option<Field> {
        Field::ALL_FIELDS.into_iter().find(|field| field.name() == name)
    }

    pub(super) fn names() -> String {
        Field::ALL_FIELDS.map(Field::name).join(", ")
    }

    /// The value as the API wants it. Whether it is in its bounds is for the API's own check.
    pub(super) fn convert(self, value: &Value) -> Result<Value, String> {
        match self {
            Field::Users => match value {
                Value::Array(users) => users.iter().map(|user| self.text(user).map(Value::String)).collect(),
                _ => Err(unfit(value, "a list of users")),
            },
            Field::Channels | Field::Fallback => match value {
                Value::Array(_) => Ok(value.clone()),
                Value::String(names) => {
                    Ok(names.split(',').map(|name| Value::String(name.trim().to_owned())).collect())
                }
                _ => Err(unfit(value, "a list of channels")),
            },
            Field::TtlS | Field::AckWithinS => match value {
                Value::Number(_) => Ok(value.clone()),
                Value::String(digits) => match digits.trim().parse::<u64>() {
                    Ok(number) => Ok(Value::from(number)),
                    Err(_) => Err(unfit(value, "a number of seconds")),
                },
                _ => Err(unfit(value, "a number of seconds")),
            },
            Field::All => match value {
                Value::Bool(true) => Ok(Value::Bool(true)),
                Value::String(text) if text == "true" => Ok(Value::Bool(true)),
                _ => Err(unfit(value, "true")),
            },
            Field::Data => Ok(value.clone()),
            Field::Priority => Ok(Value::String(self.text(value)?.to_ascii_lowercase())),
            _ => Ok(Value::String(self.text(value)?)),
        }
    }

    /// A text, or a number as its digits. Fractions only where a person reads it: as an id, 1.0 and 1 are one
    /// person to some and two to others.
    pub(super) fn text(self, value: &Value) -> Result<String, String> {
        match value {
            Value::String(text) => Ok(text.clone()),
            Value::Number(number) if number.is_i64() || number.is_u64() => Ok(number.to_string()),
            Value::Number(number) if matches!(self, Field::Title | Field::Body) => Ok(number.to_string()),
            _ => Err(unfit(value, "a text")),
        }
    }
}

fn unfit(value: &Value, wanted: &str) -> String {
    let found = match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    };
    format!("{found} where {wanted} belongs")
}

/// Where a field's value stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// RFC 6901. The empty pointer is the whole document.
    Pointer(String),
    Header(String),
    Constant(String),
}

impl Place {
    pub(super) fn parse(text: &str) -> Option<Place> {
        if let Some(constant) = text.strip_prefix('=') {
            return Some(Place::Constant(constant.to_owned()));
        }
        let escapes_are_whole =
            text.split('~').skip(1).all(|rest| rest.starts_with('0') || rest.starts_with('1'));
        let is_pointer = (text.is_empty() || text.starts_with('/')) && escapes_are_whole;
        is_pointer.then(|| Place::Pointer(text.to_owned()))
    }

    /// `None` when there is nothing, or null.
    pub(super) fn look_up(
        &self,
        document: &Value,
        headers: &[(&str, &[u8])],
    ) -> Result<Option<Value>, String> {
        match self {
            Place::Constant(text) => Ok(Some(Value::String(text.clone()))),
            Place::Pointer(pointer) => {
                Ok(document.pointer(pointer).filter(|value| !value.is_null()).cloned())
            }
            Place::Header(name) => {
                // Of headers of one name Kafka's own clients take the last.
                let Some((_, bytes)) = headers.iter().rev().find(|(header, _)| header == name) else {
                    return Ok(None);
                };
                let text =
                    std::str::from_utf8(bytes).map_err(|_| format!("the header {name} is not UTF-8"))?;
                Ok(Some(Value::String(text.to_owned())))
            }
        }
    }
}
