//! What is done about one person: `POST /v1/tickets`, `POST /v1/revocations`, `DELETE /v1/users/{user}`.

use std::collections::BTreeMap;
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
use super::query::Named;
use super::unavailable;
use crate::ingest::validate;
use crate::limits::{ERASED_THERE_WITHIN, ERASED_WITHIN, TICKET_S_MAX};
use crate::owner::{Answer, Command, Erasure};
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
    let ticket = app.view.partition(&asked.user).map_or_else(tickets::draw, tickets::draw_for);
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

/// What was erased, and what is left for a while.
#[derive(Serialize)]
pub(super) struct Report {
    /// False: nothing was there.
    found: bool,
    erased: BTreeMap<&'static str, u64>,
    cancelled: u64,
    /// With Cassandra: whether it is gone there, too.
    #[serde(skip_serializing_if = "Option::is_none")]
    cassandra: Option<&'static str>,
    remains: Vec<Remains>,
}

#[derive(Serialize)]
struct Remains {
    what: &'static str,
    until: &'static str,
}

/// An operator's right: it goes through every service's notifications.
pub(super) async fn erase(
    State(app): State<App>,
    caller: Caller,
    Named(user): Named<String>,
) -> Result<axum::Json<Report>, Problem> {
    validate::name(&user, "/user")?;
    if !caller.0.operator {
        return Err(Problem::new(Kind::Forbidden, "only a service with `operator` may erase a person"));
    }
    let Answer::Erased(Erasure { erased, cancelled }) =
        app.command_within(Command::Erase { user: user.clone() }, ERASED_WITHIN).await?
    else {
        return Err(unavailable("the owner does not answer"));
    };
    tracing::info!(by = caller.0.name, ?erased, cancelled, "a person was erased");
    let mut remains = remains(app.intake.journal().name());
    let cassandra = match &app.projection {
        None => None,
        Some(projection) if projection.erased_within(&user, ERASED_THERE_WITHIN).await? => Some("erased"),
        Some(_) => Some("waits"),
    };
    if cassandra.is_some() {
        remains.push(Remains {
            what: "in Cassandra, states of what went out by push, e-mail, SMS or voice from an earlier store",
            until: "`ledger_days` and two days are over",
        });
    }
    Ok(axum::Json(Report { found: !erased.is_empty(), erased, cancelled, cassandra, remains }))
}

fn remains(journal: &str) -> Vec<Remains> {
    let journal = match journal {
        "kafka" => Remains {
            what: "records in Kafka's topics, and those that wait for it on the disk and in Redis",
            until: "Kafka's retention is over",
        },
        _ => Remains { what: "records in the journal's files", until: "the files are trimmed" },
    };
    vec![
        journal,
        Remains { what: "deleted rows in the store's files", until: "it compacts them" },
        Remains {
            what: "a hash of the name, and under it how deliveries ended",
            until: "7 days and `ledger_days` are over",
        },
        Remains {
            what: "hashes of addresses that bounced or whose owner said no, so that nobody writes there again",
            until: "they are lifted",
        },
        Remains { what: "backups", until: "you delete them; erase again after restoring one" },
    ]
}
