//! `/v1/notifications/{id}`: what became of one notification, and taking it back. A service's own only: another's is
//! 404, as if there were none, but for an operator's key.

use std::borrow::Cow;

use axum::extract::State;
use serde::Serialize;
use uuid::Uuid;
use wire::message::Priority;
use wire::time::Wall;

use super::App;
use super::auth::Caller;
use super::problem::Problem;
use super::query::Named;
use super::{away, elsewhere, here, not_found, unproven};
use crate::ingest::recent::Promise;
use crate::node::views::Found;
use crate::owner::view::{DeliveryView, Moment, Timeline};
use crate::owner::{Answer, Command};
use crate::record::Channel;
use crate::store::StoreError;
use crate::tenure::Standing;

/// The whole of it. `state` is `accepted` (in the journal only), `open` (something may still happen) or `final`.
#[derive(Serialize)]
pub(super) struct Story {
    id: Uuid,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    service: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    priority: Option<Priority>,
    category: Option<String>,
    accepted_at: Option<Wall>,
    send_at: Option<Wall>,
    expires_at: Option<Wall>,
    deliveries: Vec<Delivery>,
    /// There are more deliveries than are shown.
    more: bool,
}

#[derive(Serialize)]
struct Delivery {
    /// The user, `topic:…`, `all` or `erased`: for people. A program reads `to`.
    recipient: String,
    to: To,
    channel: Channel,
    state: Cow<'static, str>,
    reason: Option<String>,
    due_at: Option<Wall>,
    created_at: Option<Wall>,
    sockets: u32,
    acknowledgements: u32,
    attempts: u32,
    timeline: Vec<Event>,
}

/// The recipient as a request names it, so that a user called `all` is still a user.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum To {
    User(String),
    Topic(String),
    All(bool),
    Erased(bool),
}

#[derive(Serialize)]
struct Event {
    at: Wall,
    #[serde(rename = "event")]
    what: Cow<'static, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

pub(super) async fn timeline(
    State(app): State<App>,
    caller: Caller,
    Named(id): Named<Uuid>,
) -> Result<axum::Json<Story>, Problem> {
    let found = app
        .look(move |parts| parts.view.timeline(id))
        .await
        .map_err(|error: StoreError| Problem::from(error))?;
    if matches!(found, Found::Nowhere | Found::Elsewhere)
        && let Some(promise) = promised(&app, &caller, id)
    {
        let tenure = app.view.tenure();
        let of = match promise.partition {
            Some(partition) => tenure.of(partition),
            // A list is in several partitions, of which this router may have some.
            None if tenure.is_alone() => Standing::Ours,
            None => Standing::Elsewhere,
        };
        return match of {
            Standing::Ours => Ok(axum::Json(waiting(id))),
            Standing::Elsewhere => Err(elsewhere()),
            Standing::Unproven => Err(unproven()),
        };
    }
    let found = here(found)?;
    // Another router's, or of a store of before.
    let found = match &app.projection {
        Some(projection) if found.is_none() => projection.timeline(id).await.map_err(|why| away(&why))?,
        _ => found,
    };
    let seen = found.filter(|timeline| caller.may_see(&timeline.service));
    seen.map(|timeline| axum::Json(story(timeline))).ok_or_else(not_found)
}

/// What became of a cancellation.
#[derive(Serialize)]
pub(super) struct Cancellation {
    id: Uuid,
    /// Deliveries that will not go out.
    cancelled: u32,
    /// Deliveries that had gone out, or had ended.
    too_late: u32,
}

pub(super) async fn cancel(
    State(app): State<App>,
    caller: Caller,
    Named(id): Named<Uuid>,
) -> Result<axum::Json<Cancellation>, Problem> {
    let promise = promised(&app, &caller, id);
    let of = promise.as_ref().and_then(|promise| promise.partition);
    let promised = promise.map(|promise| promise.deliveries);
    let by = (!caller.0.operator).then(|| caller.0.name.clone());
    match app.command(Command::Cancel { id, by, promised, of }).await? {
        Answer::Cancelled { cancelled, too_late } => Ok(axum::Json(Cancellation { id, cancelled, too_late })),
        _ => Err(not_found()),
    }
}

/// What this caller was promised and the owner may not have seen yet.
fn promised(app: &App, caller: &Caller, id: Uuid) -> Option<Promise> {
    app.intake.promised(id).filter(|promise| caller.may_see(&promise.service))
}

fn waiting(id: Uuid) -> Story {
    Story {
        id,
        state: "accepted",
        service: None,
        priority: None,
        category: None,
        accepted_at: None,
        send_at: None,
        expires_at: None,
        deliveries: Vec::new(),
        more: false,
    }
}

fn story(timeline: Timeline) -> Story {
    let open = timeline.deliveries.iter().any(|delivery| delivery.state == "open");
    Story {
        id: timeline.id,
        state: if open { "open" } else { "final" },
        service: Some(timeline.service),
        priority: Some(timeline.priority),
        category: timeline.category,
        accepted_at: Some(timeline.accepted_at),
        send_at: timeline.send_at,
        expires_at: timeline.expires_at,
        deliveries: timeline.deliveries.into_iter().map(delivery).collect(),
        more: timeline.more,
    }
}

fn delivery(view: DeliveryView) -> Delivery {
    let to = match view.recipient.split_once(':') {
        Some(("user", user)) => To::User(user.to_owned()),
        Some(("topic", topic)) => To::Topic(topic.to_owned()),
        _ if view.recipient == "erased" => To::Erased(true),
        _ => To::All(true),
    };
    let recipient = match &to {
        To::User(user) => user.clone(),
        To::Topic(_) | To::All(_) | To::Erased(_) => view.recipient,
    };
    Delivery {
        recipient,
        to,
        channel: view.channel,
        state: view.state,
        reason: view.reason,
        due_at: view.due_at,
        created_at: view.created_at,
        sockets: view.sockets,
        acknowledgements: view.acknowledgements,
        attempts: view.attempts,
        timeline: view.timeline.into_iter().map(event).collect(),
    }
}

fn event(moment: Moment) -> Event {
    Event { at: moment.at, what: moment.what, reason: moment.detail }
}
