//! The router's HTTP: what services hand in, what became of it, and what operators ask.
//!
//! Owns the table of routes, who may call them, and the shape of every answer. Reads the store through the owner's
//! [`View`]; changes go to the owner as commands. `openapi.json` says the same for programs; a test keeps it equal.

use std::ops::Deref;
use std::sync::{Arc, Weak};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::header;
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, any, delete, get, post, put};
use ops::clock::Clock;
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

use crate::backup::Backups;
use crate::config::{Config, ProviderConfig};
use crate::ingest::{self, Intake};
use crate::limits::{ANSWER_WITHIN, API_CONNECTIONS_MAX, RETRY_AFTER_S};
use crate::metrics::Metrics;
use crate::node::board::Watch;
use crate::node::inputs::Input;
use crate::node::views::{Found, Place, Views};
use crate::outage::Buffered;
use crate::outcomes::post::{self, Receiver};
use crate::owner::{Answer, Command, View};
use crate::projection::Projection;
use crate::projection::cluster::Away;
use crate::provider::dispatch::Dispatch;
use crate::provider::outbox::Outbox;
use crate::store::StoreError;
use crate::unsubscribe::Exits;
use access::Access;
use callbacks::Callbacks;
use listener::BoundedListener;
use problem::{Kind, Problem};

pub mod access;
pub mod admin;
pub mod auth;
mod backups;
pub mod body;
pub mod callbacks;
mod contacts;
mod cors;
mod inbox;
mod ladders;
pub mod listener;
mod notifications;
mod operations;
pub mod otp;
mod people;
mod preferences;
pub mod problem;
mod query;
mod suppressions;
mod unsubscribe;

/// The document at `/openapi.json`.
pub const OPENAPI: &str = include_str!("api/openapi.json");

/// What the handlers work with.
#[derive(Clone)]
pub struct App(Arc<Parts>);

pub struct Parts {
    pub access: Access,
    pub intake: Intake,
    pub view: Views,
    pub outbox: Arc<Outbox>,
    pub dispatch: Arc<Dispatch>,
    pub inputs: mpsc::Sender<Input>,
    pub watch: Watch,
    pub clock: Clock,
    pub metrics: Arc<Metrics>,
    pub kept: Spans,
    /// What stands in for Kafka, where there is a Kafka.
    pub outage: Option<Arc<Buffered>>,
    /// What carries to Cassandra, where there is one.
    pub projection: Option<Projection>,
    pub backups: Backups,
    /// Who is told of outcomes.
    pub receivers: Vec<Arc<Receiver>>,
    pub codes: otp::Codes,
    /// By which mails are ended, if they say how.
    pub exits: Option<Arc<Exits>>,
    /// Whose callbacks are believed.
    pub accounts: ProviderConfig,
    #[cfg(feature = "kafka")]
    pub kafka: Option<crate::node::kafka::KafkaFigures>,
}

/// `[retention]`, as it was read at the start.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Spans {
    inbox_days: u64,
    ledger_days: u64,
    idempotency_h: u64,
}

impl Spans {
    pub fn of(config: &Config) -> Spans {
        let hours = |kept: Duration| kept.as_secs() / 3_600;
        Spans {
            inbox_days: hours(config.inbox_kept) / 24,
            ledger_days: hours(config.ledger_kept) / 24,
            idempotency_h: hours(config.idempotency),
        }
    }
}

impl Deref for App {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl std::fmt::Debug for App {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("App").finish_non_exhaustive()
    }
}

/// An [`App`] that does not keep the router running.
#[derive(Debug, Clone)]
pub struct WeakApp(Weak<Parts>);

impl WeakApp {
    pub fn upgrade(&self) -> Option<App> {
        self.0.upgrade().map(App)
    }
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts").finish_non_exhaustive()
    }
}

impl Parts {
    /// How services are told of outcomes. Reads the store.
    pub(crate) fn outcomes(&self) -> Result<Vec<post::Shown>, StoreError> {
        let now = self.clock.wall();
        self.receivers.iter().map(|receiver| receiver.shown(self.view.store(), now)).collect()
    }
}

impl App {
    pub fn new(parts: Parts) -> App {
        App(Arc::new(parts))
    }

    pub fn downgrade(&self) -> WeakApp {
        WeakApp(Arc::downgrade(&self.0))
    }

    /// Asks the owner for a change; the answer comes once it is committed.
    async fn command(&self, command: Command) -> Result<Answer, Problem> {
        self.command_within(command, ANSWER_WITHIN).await
    }

    async fn command_within(&self, command: Command, patience: Duration) -> Result<Answer, Problem> {
        let (answer, answered) = oneshot::channel();
        let input = Input::Command { command, answer };
        let asked = async {
            self.inputs.send(input).await.ok()?;
            answered.await.ok()
        };
        match timeout(patience, asked).await {
            Ok(Some(Answer::NotFound)) => Err(not_found()),
            Ok(Some(Answer::Elsewhere)) => Err(elsewhere()),
            Ok(Some(Answer::Refused(why))) => Err(Problem::new(Kind::Contradiction, why)),
            Ok(Some(Answer::Failed(why))) => Err(unavailable(&why)),
            Ok(Some(answer)) => Ok(answer),
            Ok(None) | Err(_) => Err(unavailable("the owner does not answer")),
        }
    }

    /// Looks something up in the store, off the threads that carry requests.
    async fn look<T, E>(&self, look: impl FnOnce(&Parts) -> Result<T, E> + Send + 'static) -> Result<T, E>
    where
        T: Send + 'static,
        E: Send + 'static + From<StoreError>,
    {
        let app = self.clone();
        let looked = tokio::task::spawn_blocking(move || look(&app)).await;
        looked.unwrap_or_else(|error| Err(StoreError::Io(error.to_string()).into()))
    }

    /// Looks something of a user up, where it stands.
    async fn look_at<T: Send + 'static>(
        &self,
        user: String,
        read: impl FnOnce(&View<Place>, &str) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Problem> {
        let looked = self.look(move |parts| parts.view.read_of(&user, read)).await;
        here(looked.map_err(|error: StoreError| Problem::from(error))?)?.ok_or_else(not_found)
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Problem {
        tracing::warn!(%error, "the store does not answer");
        unavailable("the store does not answer")
    }
}

fn unavailable(why: &str) -> Problem {
    Problem::new(Kind::Unavailable, why).retry_after(RETRY_AFTER_S)
}

/// What was asked for may be in Cassandra, and only there.
fn away(why: &Away) -> Problem {
    tracing::debug!(%why, "Cassandra does not answer a reader");
    unavailable("Cassandra does not answer, and what is older is only there")
}

/// One of several routers is asked for what another has.
fn elsewhere() -> Problem {
    Problem::new(Kind::Elsewhere, "another router has this now: ask the others").retry_after(RETRY_AFTER_S)
}

/// What was found, or why it cannot be told.
fn here<T>(found: Found<T>) -> Result<Option<T>, Problem> {
    match found {
        Found::Here(found) => Ok(Some(found)),
        Found::Nowhere => Ok(None),
        Found::Elsewhere => Err(elsewhere()),
        Found::Unproven => Err(unproven()),
    }
}

fn unproven() -> Problem {
    unavailable("the brokers have not said lately what this router has")
}

fn not_found() -> Problem {
    Problem::new(Kind::NotFound, "nothing is kept under this id")
}

/// Every route. `openapi.json` lists the same.
fn routes() -> Vec<(&'static str, &'static str, MethodRouter<App>)> {
    vec![
        ("post", "/v1/notifications", post(ingest::http::post)),
        ("post", "/v1/notifications/batch", post(ingest::batch::post)),
        ("get", "/v1/notifications/{id}", get(notifications::timeline)),
        ("delete", "/v1/notifications/{id}", delete(notifications::cancel)),
        ("delete", "/v1/users/{user}", delete(people::erase)),
        ("get", "/v1/users/{user}/inbox", get(inbox::page)),
        ("post", "/v1/users/{user}/inbox/read", post(inbox::mark_read)),
        ("get", "/v1/users/{user}/contacts", get(contacts::show)),
        ("put", "/v1/users/{user}/contacts", put(contacts::replace)),
        ("post", "/v1/users/{user}/backup-codes", post(otp::make_backup_codes)),
        ("post", "/v1/users/{user}/backup-codes/verify", post(otp::verify_backup_code)),
        ("get", "/v1/otp", get(ladders::list)),
        ("post", "/v1/otp", post(otp::post)),
        ("get", "/v1/otp/{id}", get(otp::show)),
        ("post", "/v1/otp/{id}/verify", post(otp::verify)),
        ("get", "/v1/users/{user}/preferences", get(preferences::show)),
        ("put", "/v1/users/{user}/preferences", put(preferences::replace)),
        ("get", "/v1/users/{user}/suppressions", get(suppressions::show)),
        ("post", "/v1/users/{user}/suppressions", post(suppressions::add)),
        ("delete", "/v1/users/{user}/suppressions", delete(suppressions::lift)),
        ("get", "/v1/unsubscribe", get(unsubscribe::ask)),
        ("post", "/v1/unsubscribe", post(unsubscribe::leave)),
        ("get", "/v1/outbox", get(operations::outbox)),
        ("get", "/v1/status", get(operations::status)),
        ("get", "/v1/reconcile", get(operations::reconcile)),
        ("get", "/v1/alerts", get(operations::alerts)),
        ("get", "/v1/overflow", get(operations::overflow)),
        ("post", "/v1/overflow/{id}/replay", post(operations::replay_overflow)),
        ("get", "/v1/dead-letters", get(operations::dead_letters)),
        ("post", "/v1/dead-letters/{id}/replay", post(operations::replay_dead_letter)),
        ("post", "/v1/backups", post(backups::post)),
        ("post", "/v1/tickets", post(people::issue_ticket)),
        ("post", "/v1/revocations", post(people::revoke)),
        ("get", "/openapi.json", get(openapi)),
    ]
}

/// Serves the API until `down` turns true and what is on its way is answered.
pub async fn serve(listener: TcpListener, app: App, mut down: watch::Receiver<bool>) {
    let listener = BoundedListener::new(listener, API_CONNECTIONS_MAX);
    let served = axum::serve(listener, router(app))
        .with_graceful_shutdown(async move {
            let _down_or_gone = down.wait_for(|down| *down).await;
        })
        .await;
    if let Err(error) = served {
        tracing::warn!(%error, "the API's listener ended");
    }
}

fn router(app: App) -> Router {
    let is_alone = app.view.tenure().is_alone();
    let refused: Vec<(&str, MethodRouter<App>)> = if is_alone {
        Vec::new()
    } else {
        let whole = ONLY_ALONE.map(|path| (path, any(not_with_several)));
        let codes =
            CODES.into_iter().filter(|_| !app.codes.key_is_shared).map(|path| (path, any(no_shared_key)));
        whole.into_iter().chain(codes).collect()
    };
    let is_served = |path: &str| refused.iter().all(|(other, _)| *other != path);
    let routes = routes().into_iter().fold(Router::new(), |router, (_, path, to)| {
        if is_served(path) { router.route(path, to) } else { router }
    });
    let routes = refused.into_iter().fold(routes, |router, (path, to)| router.route(path, to));
    let callbacks = Callbacks::new(&app.accounts, Arc::new(app.clone()), app.clock).routes();
    routes
        .fallback(nowhere)
        .method_not_allowed_fallback(not_this_way)
        .layer(middleware::from_fn_with_state(app.clone(), cors::layer))
        .with_state(app)
        .merge(callbacks)
}

/// Paths that several routers refuse as wholes.
const ONLY_ALONE: [&str; 2] = ["/v1/users/{user}", "/v1/backups"];
/// Paths that need a key that all of them have.
const CODES: [&str; 3] = ["/v1/otp", "/v1/otp/{id}", "/v1/otp/{id}/verify"];

async fn not_with_several() -> Problem {
    Problem::new(Kind::NotBuiltYet, "several routers cannot do this yet")
}

async fn no_shared_key() -> Problem {
    let why = "several routers seal codes with one key: give each the same [otp] seal_key_file";
    Problem::new(Kind::NotBuiltYet, why)
}

async fn nowhere() -> Problem {
    Problem::new(Kind::NotFound, "the API has no such path; /openapi.json lists all")
}

async fn not_this_way(request: Request) -> Problem {
    Problem::new(Kind::MethodNotAllowed, format!("{} is not for this path", request.method()))
}

async fn openapi() -> Response<Body> {
    ([(header::CONTENT_TYPE, "application/json")], OPENAPI).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn openapi_lists_exactly_what_is_served() {
        let document: serde_json::Value = serde_json::from_str(OPENAPI).unwrap();
        let listed: BTreeSet<(String, String)> = document["paths"]
            .as_object()
            .unwrap()
            .iter()
            .flat_map(|(path, ways)| ways.as_object().unwrap().keys().map(|way| (way.clone(), path.clone())))
            .collect();
        let callbacks = callbacks::PATHS.map(|path| ("post", path));
        let served: BTreeSet<(String, String)> = routes()
            .into_iter()
            .map(|(way, path, _)| (way, path))
            .chain(callbacks)
            .map(|(way, path)| (way.to_owned(), path.to_owned()))
            .collect();
        assert_eq!(listed, served);
    }

    #[test]
    fn openapi_refers_only_to_what_it_defines() {
        let document: serde_json::Value = serde_json::from_str(OPENAPI).unwrap();
        let mut open = vec![&document];
        while let Some(value) = open.pop() {
            if let Some(to) = value.get("$ref").and_then(serde_json::Value::as_str) {
                assert!(document.pointer(to.trim_start_matches('#')).is_some(), "{to}");
            }
            open.extend(value.as_object().into_iter().flat_map(|object| object.values()));
            open.extend(value.as_array().into_iter().flatten());
        }
    }
}
