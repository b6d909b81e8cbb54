//! What the promises share: one system with default settings for those that need nothing of their own.

use std::sync::OnceLock;

use serde_json::{Value, json};
use tests::client::id_of;
use tests::{Client, Setup, Tocsin};

/// A standalone system that many tests use at once, each with users of its own.
pub(crate) fn shared() -> &'static Tocsin {
    static SHARED: OnceLock<Tocsin> = OnceLock::new();
    SHARED.get_or_init(|| Setup::standalone().start())
}

pub(crate) fn to_user(user: &str, title: &str) -> Value {
    json!({ "to": { "user": user }, "title": title })
}

/// The next notification, which must be this one.
#[track_caller]
pub(crate) fn expect_id(client: &mut Client, id: &str) -> Value {
    let notification = client.recv("notification");
    assert_eq!(id_of(&notification), id, "{notification}");
    notification
}

/// Shows that nothing was sent to `user` so far: what is sent now comes first.
#[track_caller]
pub(crate) fn expect_nothing_before_now(tocsin: &Tocsin, user: &str, client: &mut Client) {
    let id = tocsin.api().accepted(&to_user(user, "the next thing"));
    expect_id(client, &id);
}

/// The notifications' ids.
pub(crate) fn ids(notifications: &[Value]) -> Vec<String> {
    notifications.iter().map(id_of).collect()
}

pub(crate) fn strs(ids: &[String]) -> Vec<&str> {
    ids.iter().map(String::as_str).collect()
}
