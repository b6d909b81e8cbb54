//! Which of a user's addresses are not written to any more: `GET|POST|DELETE /v1/users/{user}/suppressions`.

use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};

use super::auth::Caller;
use super::problem::{Kind, Problem};
use super::query::{Asked, Named};
use super::{App, body, unavailable};
use crate::ingest::validate;
use crate::owner::{Answer, Command, View};
use crate::record::Channel;
use crate::suppression::{self, Why};

#[derive(Serialize)]
pub(super) struct List {
    items: Vec<suppression::Shown>,
}

pub(super) async fn show(
    State(app): State<App>,
    _caller: Caller,
    Named(user): Named<String>,
) -> Result<axum::Json<List>, Problem> {
    validate::name(&user, "/user")?;
    app.look_at(user, View::suppressions).await.map(|items| axum::Json(List { items }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OneAsked {
    channel: Channel,
}

/// As an unsubscribing page asks for it. 404: the user has no address there.
pub(super) async fn add(
    State(app): State<App>,
    _caller: Caller,
    Named(user): Named<String>,
    request: Body,
) -> Result<StatusCode, Problem> {
    let OneAsked { channel } = body::json(request).await?;
    validate::name(&user, "/user")?;
    check(channel, "/channel")?;
    app.command(Command::Suppress { user, channel, why: Why::Unsubscribe }).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LiftAsked {
    channel: Option<Channel>,
}

#[derive(Serialize)]
pub(super) struct Lifted {
    lifted: u32,
}

pub(super) async fn lift(
    State(app): State<App>,
    _caller: Caller,
    Named(user): Named<String>,
    Asked(asked): Asked<LiftAsked>,
) -> Result<axum::Json<Lifted>, Problem> {
    validate::name(&user, "/user")?;
    asked.channel.map_or(Ok(()), |channel| check(channel, "/channel"))?;
    match app.command(Command::LiftSuppressions { user, channel: asked.channel }).await? {
        Answer::Lifted(lifted) => Ok(axum::Json(Lifted { lifted })),
        _ => Err(unavailable("the owner does not answer")),
    }
}

fn check(channel: Channel, pointer: &str) -> Result<(), Problem> {
    if suppression::has(channel) {
        return Ok(());
    }
    Err(Problem::at(Kind::Malformed, pointer, "one of email, sms, voice"))
}
