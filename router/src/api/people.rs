//! What is done about one person: `POST /v1/tickets`, `POST /v1/revocations`.

use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use wire::link::Revoked;
use wire::time::Wall;

use super::App;
use super::auth::Caller;
use super::body;
use super::problem::{Kind, Problem};
use crate::ingest::validate;
use crate::limits::TICKET_S_MAX;
use crate::owner::Command;
use crate::tickets;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TicketAsked {
    user: String,
    ttl_s: Option<u32>,
}

#[derive(Serialize)]
struct Ticket {
    ticket: String,
    expires_at: Wall,
}

/// The ticket is shown once; only its hash is kept.
pub(super) async fn issue_ticket(
    State(app): State<App>,
    _caller: Caller,
    request: Body,
) -> Result<Response, Problem> {
    let asked: TicketAsked = body::json(request).await?;
    validate::name(&asked.user, "/user")?;
    let ttl_s = asked.ttl_s.unwrap_or(TICKET_S_MAX);
    if !(1..=TICKET_S_MAX).contains(&ttl_s) {
        return Err(Problem::at(Kind::Malformed, "/ttl_s", format!("a whole number in 1..={TICKET_S_MAX}")));
    }
    let ticket = tickets::draw();
    let expires_at = app.clock.wall() + Duration::from_secs(ttl_s.into());
    app.command(Command::IssueTicket { user: asked.user, hash: tickets::hash(&ticket), expires_at }).await?;
    Ok((StatusCode::CREATED, axum::Json(Ticket { ticket, expires_at })).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RevocationAsked {
    user: Option<String>,
    session: Option<String>,
}

pub(super) async fn revoke(
    State(app): State<App>,
    _caller: Caller,
    request: Body,
) -> Result<StatusCode, Problem> {
    let asked: RevocationAsked = body::json(request).await?;
    let who = match asked {
        RevocationAsked { user: Some(user), session: None } => {
            validate::name(&user, "/user")?;
            Revoked::User(user)
        }
        RevocationAsked { user: None, session: Some(session) } => {
            validate::name(&session, "/session")?;
            Revoked::Session(session)
        }
        _ => return Err(Problem::new(Kind::Malformed, "exactly one of user, session")),
    };
    app.command(Command::Revoke { who }).await?;
    Ok(StatusCode::ACCEPTED)
}
