//! One user's inbox: `GET /v1/users/{user}/inbox`, `POST …/inbox/read`.

use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;
use wire::limits::{CURSOR_BYTES_MAX, SYNC_PAGE_MAX};
use wire::time::Wall;

use super::auth::Caller;
use super::body;
use super::problem::{Kind, Problem};
use super::query::{Asked, Named, page_limit};
use super::{App, away, here, not_found};
use crate::ingest::validate;
use crate::limits::READ_IDS_MAX;
use crate::owner::Command;
use crate::owner::view::{InboxError, InboxItem, InboxQuery};
use crate::projection::history::{HistoryError, Shows};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PageAsked {
    since: Option<Wall>,
    cursor: Option<String>,
    limit: Option<usize>,
}

#[derive(Serialize)]
pub(super) struct Page {
    notifications: Vec<Item>,
    unread: u64,
    cursor: String,
    has_more: bool,
}

/// A notification as clients get it, and what its user did with it.
#[derive(Serialize)]
struct Item {
    #[serde(flatten)]
    notification: serde_json::Map<String, serde_json::Value>,
    acknowledged: bool,
    read: bool,
}

pub(super) async fn page(
    State(app): State<App>,
    _caller: Caller,
    Named(user): Named<String>,
    Asked(asked): Asked<PageAsked>,
) -> Result<axum::Json<Page>, Problem> {
    validate::name(&user, "/user")?;
    if asked.cursor.as_ref().is_some_and(|cursor| cursor.len() > CURSOR_BYTES_MAX) {
        return Err(bad_cursor());
    }
    let limit = Some(page_limit(asked.limit, SYNC_PAGE_MAX)?);
    let query = InboxQuery { since: asked.since, cursor: asked.cursor, limit, now: app.clock.wall() };
    let history = match &app.projection {
        Some(projection) => projection.history(&user, &query.request(), Shows::Marks).await?,
        None => None,
    };
    let looked = app.look(move |parts| parts.view.inbox(&user, &query, history.unwrap_or_default()));
    let page = looked.await.map_err(|error| match error {
        InboxError::BadCursor => bad_cursor(),
        InboxError::Store(error) => error.into(),
    })?;
    let page = here(page)?.ok_or_else(not_found)?;
    let notifications = page.notifications.into_iter().map(item).collect();
    let (unread, cursor, has_more) = (page.unread, page.cursor, page.has_more);
    Ok(axum::Json(Page { notifications, unread, cursor, has_more }))
}

impl From<HistoryError> for Problem {
    fn from(error: HistoryError) -> Problem {
        match error {
            HistoryError::BadCursor(_) => bad_cursor(),
            HistoryError::Store(error) => error.into(),
            HistoryError::Away(why) => away(&why),
        }
    }
}

fn item(item: InboxItem) -> Item {
    let InboxItem { notification, acknowledged, read } = item;
    Item { notification: object(&notification), acknowledged, read }
}

/// The owner wrote it, so it is an object; anything else shows as an empty one.
fn object(notification: &RawValue) -> serde_json::Map<String, serde_json::Value> {
    serde_json::from_str(notification.get()).unwrap_or_default()
}

fn bad_cursor() -> Problem {
    Problem::new(Kind::Malformed, "the cursor is none of ours: begin anew without it")
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReadAsked {
    ids: Vec<Uuid>,
}

pub(super) async fn mark_read(
    State(app): State<App>,
    _caller: Caller,
    Named(user): Named<String>,
    request: Body,
) -> Result<StatusCode, Problem> {
    let ReadAsked { ids } = body::json(request).await?;
    validate::name(&user, "/user")?;
    if !(1..=READ_IDS_MAX).contains(&ids.len()) {
        return Err(Problem::at(Kind::Malformed, "/ids", format!("1..={READ_IDS_MAX} ids")));
    }
    app.command(Command::MarkRead { user, ids }).await?;
    Ok(StatusCode::NO_CONTENT)
}
