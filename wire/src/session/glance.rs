//! What a server message is, without reading all of it: for load testers, which see millions. Our own encoder's
//! order is recognised by its first bytes; anything else is read as JSON.

use std::borrow::Cow;

use serde::Deserialize;
use uuid::Uuid;

/// How [`crate::message::ServerMessage`] begins a notification.
const NOTIFICATION: &str = r#"{"type":"notification","id":""#;
const UUID_BYTES: usize = 36;

/// The two fields of a server message that a client needs before all others.
#[derive(Debug, PartialEq, Eq, Deserialize)]
pub struct Glance<'a> {
    #[serde(rename = "type", borrow)]
    pub kind: Cow<'a, str>,
    #[serde(default)]
    pub id: Option<Uuid>,
}

impl Glance<'_> {
    /// Looks at a server message; `None` if the text is none. Behind the id of a notification in our own order,
    /// nothing is checked.
    pub fn of(text: &str) -> Option<Glance<'_>> {
        if let Some(rest) = text.as_bytes().strip_prefix(NOTIFICATION.as_bytes())
            && let Some((id, [b'"', ..])) = rest.split_at_checked(UUID_BYTES)
            && let Ok(id) = Uuid::try_parse_ascii(id)
        {
            return Some(Glance { kind: Cow::Borrowed("notification"), id: Some(id) });
        }
        serde_json::from_str(text).ok()
    }

    /// The ids on the page of a `sync_batch`, in its order; `None` if the text is none.
    pub fn ids_of_batch(text: &str) -> Option<Vec<Uuid>> {
        #[derive(Deserialize)]
        struct Batch<'a> {
            #[serde(rename = "type", borrow)]
            kind: Cow<'a, str>,
            notifications: Vec<Item>,
        }
        #[derive(Deserialize)]
        struct Item {
            id: Uuid,
        }
        let batch: Batch<'_> = serde_json::from_str(text).ok()?;
        (batch.kind == "sync_batch").then(|| batch.notifications.into_iter().map(|item| item.id).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Notification, Priority, ServerMessage, SyncBatch, empty_object};
    use crate::time::Wall;

    fn notification(id: Uuid) -> Notification {
        Notification {
            id,
            created_at: Wall(1),
            accepted_at: Wall(1),
            priority: Priority::Normal,
            category: None,
            title: Some("\"type\":\"gap\"".to_owned()),
            body: None,
            data: empty_object(),
            topic: None,
            collapse_key: None,
        }
    }

    fn kind(text: &str) -> Option<String> {
        Glance::of(text).map(|glance| glance.kind.into_owned())
    }

    #[test]
    fn a_notification_of_our_own_encoder_takes_the_fast_path() {
        let id = Uuid::from_u128(0x1234_5678);
        let text = ServerMessage::Notification(notification(id)).to_json();
        assert!(text.starts_with(NOTIFICATION), "the encoder's order changed: {text}");
        assert_eq!(Glance::of(&text), Some(Glance { kind: "notification".into(), id: Some(id) }));
    }

    #[test]
    fn any_order_and_any_kind_is_understood() {
        let id = Uuid::from_u128(7);
        let text = format!(r#" {{ "id" : "{id}", "data":{{"type":"gap"}}, "type" : "notification" }}"#);
        assert_eq!(Glance::of(&text), Some(Glance { kind: "notification".into(), id: Some(id) }));
        assert_eq!(kind(r#"{"type":"gap","since":"2026-02-20T10:00:00Z"}"#).as_deref(), Some("gap"));
        assert_eq!(kind(r#"{"type":"from the \"future\""}"#).as_deref(), Some("from the \"future\""));
        let short = format!("{NOTIFICATION}0\"");
        for broken in ["", "[]", "{}", "null", NOTIFICATION, &short, r#"{"type":"notification","id":"é"#] {
            assert_eq!(Glance::of(broken), None, "{broken:?}");
        }
    }

    #[test]
    fn a_page_lists_its_ids_in_order() {
        let ids: Vec<Uuid> = (1..=3).map(Uuid::from_u128).collect();
        let page =
            ids.iter().map(|id| serde_json::value::to_raw_value(&notification(*id)).unwrap()).collect();
        let batch = SyncBatch { notifications: page, cursor: "c".to_owned(), has_more: false };
        assert_eq!(Glance::ids_of_batch(&ServerMessage::SyncBatch(batch).to_json()), Some(ids));
        assert_eq!(Glance::ids_of_batch(r#"{"type":"gap","notifications":[]}"#), None);
    }
}
