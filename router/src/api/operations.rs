//! What operators ask: status, the equation, alerts, what limits held back, what nobody could read, the outboxes.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use wire::time::Wall;

use super::auth::Caller;
use super::problem::{Kind, Problem};
use super::query::{Asked, Named, page_limit};
use super::{App, Spans};
use crate::alerts::Alert;
use crate::ledger::Tally;
use crate::limits::PAGE_MAX;
use crate::outage::Shown;
use crate::outcomes::post;
use crate::owner::Command;
use crate::owner::view::LogPage;
use crate::projection::{self, Projection};
use crate::provider::dispatch::{self, Dispatch};
use crate::provider::kept::Sent;
use crate::record::Channel;
use crate::status::{Dependency, State as Health};
use crate::store::StoreError;

/// `GET /v1/status`.
#[derive(Serialize)]
pub(super) struct Status {
    state: Health,
    version: &'static str,
    dependencies: Vec<Dependency>,
    alerts_standing: usize,
    figures: Figures,
    retention: Retention,
    /// Accounts that carry what goes out, and the ways that have none.
    providers: Vec<Line>,
    /// Who is told what became of notifications.
    outcomes: Vec<post::Shown>,
    #[serde(skip_serializing_if = "Option::is_none")]
    outage: Option<Shown>,
    #[serde(skip_serializing_if = "Option::is_none")]
    projection: Option<projection::Shown>,
    /// Of one of several routers: the partitions that it answers for now.
    #[serde(skip_serializing_if = "Option::is_none")]
    partitions: Option<Vec<u32>>,
    #[cfg(feature = "kafka")]
    #[serde(skip_serializing_if = "Option::is_none")]
    kafka: Option<crate::node::kafka::KafkaShown>,
}

/// A way out of the system.
#[derive(Serialize)]
#[serde(untagged)]
enum Line {
    Account(Box<dispatch::Shown>),
    Absent(dispatch::Absent),
}

/// What moves, for people.
#[derive(Serialize)]
struct Figures {
    links: u64,
    journal_waiting: u64,
    journal_bytes: u64,
    provider_calls_waiting: u64,
    #[serde(flatten)]
    deliveries: Option<DeliveryFigures>,
}

#[derive(Serialize)]
struct DeliveryFigures {
    deliveries_accepted: u64,
    deliveries_open: u64,
}

/// How long things are kept, and what went since the start.
#[derive(Serialize)]
struct Retention {
    #[serde(flatten)]
    spans: Spans,
    oldest_taken_in: Option<Wall>,
    removed: BTreeMap<&'static str, u64>,
}

pub(super) async fn status(State(app): State<App>, caller: Caller) -> axum::Json<Status> {
    let counted = app.look(|parts| parts.view.counters()).await;
    let deliveries = counted.ok().map(|counters| {
        let Tally { accepted, open, .. } = counters.total();
        DeliveryFigures { deliveries_accepted: accepted, deliveries_open: open }
    });
    let journal = app.intake.journal().status();
    let outage = app.outage.as_ref().map(|buffered| buffered.shown());
    let projection =
        app.look(|parts| parts.projection.as_ref().map(Projection::shown).transpose()).await.ok().flatten();
    let mut outcomes = app.look(super::Parts::outcomes).await.unwrap_or_default();
    outcomes.retain(|told| caller.may_see(&told.service));
    #[cfg(feature = "kafka")]
    let kafka = app.kafka.as_ref().map(crate::node::kafka::KafkaFigures::read);
    let board = app.watch.lock();
    axum::Json(Status {
        state: board.board.overall(),
        version: env!("CARGO_PKG_VERSION"),
        dependencies: board.board.all().cloned().collect(),
        alerts_standing: board.alerts.standing_count(),
        figures: Figures {
            links: app.metrics.links.get(),
            journal_waiting: journal.lag,
            journal_bytes: journal.bytes,
            provider_calls_waiting: app.metrics.provider_waiting.get(),
            deliveries,
        },
        retention: Retention {
            spans: app.kept,
            oldest_taken_in: app.metrics.retention.oldest(),
            removed: app.metrics.retention.removed().into_iter().collect(),
        },
        providers: providers(&app.dispatch),
        outcomes,
        outage,
        projection,
        partitions: app.view.parts(),
        #[cfg(feature = "kafka")]
        kafka,
    })
}

fn providers(dispatch: &Dispatch) -> Vec<Line> {
    let accounts = dispatch.shown().into_iter().map(|account| Line::Account(Box::new(account)));
    accounts.chain(dispatch.absent().into_iter().map(Line::Absent)).collect()
}

/// The ledger's own words, and its totals once more under `deliveries`.
pub(super) async fn reconcile(State(app): State<App>, _caller: Caller) -> Result<axum::Json<Value>, Problem> {
    let reconciled = app
        .look(|parts| parts.view.reconcile(parts.clock.wall(), parts.intake.journal().status().lag))
        .await
        .map_err(|error: StoreError| Problem::from(error))?;
    let total = reconciled.total;
    let mut answer = serde_json::to_value(reconciled).expect("figures and names serialize");
    answer["deliveries"] = json!(total);
    if let Some(outage) = &app.outage {
        answer["outage"] = json!(outage.shown());
    }
    Ok(axum::Json(answer))
}

#[derive(Serialize)]
pub(super) struct AlertsShown {
    items: Vec<Alert>,
}

pub(super) async fn alerts(State(app): State<App>, _caller: Caller) -> axum::Json<AlertsShown> {
    axum::Json(AlertsShown { items: app.watch.lock().alerts.all().cloned().collect() })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PageAsked {
    after: Option<u64>,
    limit: Option<usize>,
}

pub(super) async fn overflow(
    State(app): State<App>,
    _caller: Caller,
    Asked(asked): Asked<PageAsked>,
) -> Result<axum::Json<LogPage>, Problem> {
    let limit = page_limit(asked.limit, PAGE_MAX)?;
    let page = app.look(move |parts| parts.view.overflow(asked.after, limit)).await;
    page.map(axum::Json).map_err(|error: StoreError| error.into())
}

pub(super) async fn dead_letters(
    State(app): State<App>,
    _caller: Caller,
    Asked(asked): Asked<PageAsked>,
) -> Result<axum::Json<LogPage>, Problem> {
    let limit = page_limit(asked.limit, PAGE_MAX)?;
    let page = app.look(move |parts| parts.view.dead_letters(asked.after, limit)).await;
    page.map(axum::Json).map_err(|error: StoreError| error.into())
}

pub(super) async fn replay_overflow(
    State(app): State<App>,
    _caller: Caller,
    Named(number): Named<u64>,
) -> Result<StatusCode, Problem> {
    app.command(Command::ReplayOverflow { number }).await?;
    Ok(StatusCode::ACCEPTED)
}

pub(super) async fn replay_dead_letter(
    State(app): State<App>,
    _caller: Caller,
    Named(number): Named<u64>,
) -> Result<StatusCode, Problem> {
    app.command(Command::ReplayDeadLetter { number }).await?;
    Ok(StatusCode::ACCEPTED)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OutboxAsked {
    channel: Option<Channel>,
    user: Option<String>,
    limit: Option<usize>,
}

#[derive(Serialize)]
pub(super) struct OutboxShown {
    items: Vec<Sent>,
}

pub(super) async fn outbox(
    State(app): State<App>,
    _caller: Caller,
    Asked(asked): Asked<OutboxAsked>,
) -> Result<axum::Json<OutboxShown>, Problem> {
    if asked.channel == Some(Channel::Inapp) {
        return Err(Problem::new(Kind::Malformed, "in-app goes to no provider: look into the user's inbox"));
    }
    let limit = page_limit(asked.limit, PAGE_MAX)?;
    let items = app
        .look(move |parts| parts.outbox.newest(asked.channel, asked.user.as_deref(), limit))
        .await
        .map_err(|error: StoreError| Problem::from(error))?;
    Ok(axum::Json(OutboxShown { items }))
}
