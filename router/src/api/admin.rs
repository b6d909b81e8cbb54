//! The admin listener: `/metrics`, `/healthz`, `/readyz`. For operators and their tools; no key, loopback by default.

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::App;
use super::listener::BoundedListener;
use crate::limits::ADMIN_CONNECTIONS_MAX;
use crate::metrics::page;

#[derive(Debug, Clone)]
struct Admin {
    app: App,
    down: watch::Receiver<bool>,
}

/// Serves until the runtime ends: also a router that goes down can be looked at.
pub async fn serve(listener: TcpListener, app: App, down: watch::Receiver<bool>) {
    let routes = Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .with_state(Admin { app, down });
    if let Err(error) = axum::serve(BoundedListener::new(listener, ADMIN_CONNECTIONS_MAX), routes).await {
        tracing::warn!(%error, "the admin listener ended");
    }
}

async fn metrics(State(admin): State<Admin>) -> Response {
    let app = admin.app.clone();
    let counters = app.look(|parts| parts.view.counters()).await.ok();
    let reconciled = app
        .look(|parts| parts.view.reconcile(parts.clock.wall(), parts.intake.journal().status().lag))
        .await
        .ok();
    let told = app.look(super::Parts::outcomes).await.unwrap_or_default();
    let text = page::render(&app, counters.as_ref(), reconciled.as_ref(), &told);
    ([(header::CONTENT_TYPE, ops::metrics::Text::CONTENT_TYPE)], text).into_response()
}

/// The process answers.
async fn healthz() -> &'static str {
    "ok\n"
}

/// New work may be sent here.
async fn readyz(State(admin): State<Admin>) -> (StatusCode, String) {
    let not_ready = |why: String| (StatusCode::SERVICE_UNAVAILABLE, why);
    if *admin.down.borrow() {
        return not_ready("going down\n".to_owned());
    }
    let watch = admin.app.watch.lock();
    match watch.board.all().find(|dependency| dependency.stops_work()) {
        Some(down) => not_ready(format!("{} is down\n", down.name)),
        None => (StatusCode::OK, "ready\n".to_owned()),
    }
}
