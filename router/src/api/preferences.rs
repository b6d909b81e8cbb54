//! What a person wants to be sent: `GET|PUT /v1/users/{user}/preferences`.

use axum::body::Body;
use axum::extract::State;

use super::auth::Caller;
use super::problem::Problem;
use super::query::Named;
use super::{App, body};
use crate::ingest::validate;
use crate::limits::{BODY_WITHIN, REQUEST_BYTES_MAX};
use crate::owner::{Command, View};
use crate::preferences::Preferences;

/// Who said nothing wants everything.
pub(super) async fn show(
    State(app): State<App>,
    _caller: Caller,
    Named(user): Named<String>,
) -> Result<axum::Json<Preferences>, Problem> {
    validate::name(&user, "/user")?;
    app.look_at(user, View::preferences).await.map(axum::Json)
}

pub(super) async fn replace(
    State(app): State<App>,
    _caller: Caller,
    Named(user): Named<String>,
    request: Body,
) -> Result<axum::Json<Preferences>, Problem> {
    let bytes = body::whole(request, REQUEST_BYTES_MAX, BODY_WITHIN).await?;
    let preferences = Preferences::asked(&bytes)?;
    validate::name(&user, "/user")?;
    app.command(Command::PutPreferences { user, preferences: preferences.clone() }).await?;
    Ok(axum::Json(preferences))
}
