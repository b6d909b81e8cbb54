//! Where a person is reached: `GET|PUT /v1/users/{user}/contacts`.

use axum::body::Body;
use axum::extract::State;

use super::auth::Caller;
use super::problem::Problem;
use super::query::Named;
use super::{App, body, unavailable};
use crate::contacts::Contacts;
use crate::contacts::asked::Asked;
use crate::ingest::validate;
use crate::limits::{BODY_WITHIN, REQUEST_BYTES_MAX};
use crate::owner::{Answer, Command, View};

/// Who was never heard of has none, like who has none.
pub(super) async fn show(
    State(app): State<App>,
    _caller: Caller,
    Named(user): Named<String>,
) -> Result<axum::Json<Contacts>, Problem> {
    validate::name(&user, "/user")?;
    app.look_at(user, View::contacts).await.map(axum::Json)
}

pub(super) async fn replace(
    State(app): State<App>,
    _caller: Caller,
    Named(user): Named<String>,
    request: Body,
) -> Result<axum::Json<Contacts>, Problem> {
    let bytes = body::whole(request, REQUEST_BYTES_MAX, BODY_WITHIN).await?;
    let asked = Asked::read(&bytes)?;
    validate::name(&user, "/user")?;
    match app.command(Command::PutContacts { user, asked }).await? {
        Answer::Contacts(contacts) => Ok(axum::Json(contacts)),
        _ => Err(unavailable("the owner does not answer")),
    }
}
