//! `GET /v1/notifications/{id}`: what became of one notification.

use axum::extract::State;
use serde::Serialize;
use uuid::Uuid;
use wire::message::Priority;
use wire::time::Wall;

use super::App;
use super::auth::Caller;
use super::not_found;
use super::problem::Problem;
use super::query::Named;
use crate::owner::view::{DeliveryView, Moment, Timeline};
use crate::record::Channel;
use crate::store::StoreError;

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
    expires_at: Option<Wall>,
    deliveries: Vec<Delivery>,
    /// There are more deliveries than are shown.
    more: bool,
}

#[derive(Serialize)]
struct Delivery {
    /// The user, `topic:…` or `all`.
    recipient: String,
    channel: Channel,
    state: &'static str,
    reason: Option<String>,
    due_at: Option<Wall>,
    created_at: Option<Wall>,
    sockets: u32,
    acknowledgements: u32,
    attempts: u32,
    timeline: Vec<Event>,
}

#[derive(Serialize)]
struct Event {
    at: Wall,
    #[serde(rename = "event")]
    what: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

pub(super) async fn timeline(
    State(app): State<App>,
    _caller: Caller,
    Named(id): Named<Uuid>,
) -> Result<axum::Json<Story>, Problem> {
    let found = app
        .look(move |parts| parts.view.timeline(id))
        .await
        .map_err(|error: StoreError| Problem::from(error))?;
    match found {
        Some(timeline) => Ok(axum::Json(story(timeline))),
        None if app.intake.has_accepted(id) => Ok(axum::Json(waiting(id))),
        None => Err(not_found()),
    }
}

fn waiting(id: Uuid) -> Story {
    Story {
        id,
        state: "accepted",
        service: None,
        priority: None,
        category: None,
        accepted_at: None,
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
        expires_at: timeline.expires_at,
        deliveries: timeline.deliveries.into_iter().map(delivery).collect(),
        more: timeline.more,
    }
}

fn delivery(view: DeliveryView) -> Delivery {
    Delivery {
        recipient: view.recipient.strip_prefix("user:").map_or(view.recipient.clone(), str::to_owned),
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
