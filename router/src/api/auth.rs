//! Who is asking: `Authorization: Bearer <service key>`.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;

use super::App;
use super::problem::{Kind, Problem};
use crate::config::Service;
use crate::metrics::Taken;

/// The service that asks. A handler that takes this is closed to everybody else.
#[derive(Debug, Clone)]
pub struct Caller(pub Arc<Service>);

impl Caller {
    /// Whether a notification of this service is the caller's business.
    pub fn may_see(&self, service: &str) -> bool {
        self.0.operator || self.0.name == service
    }
}

impl FromRequestParts<App> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Caller, Problem> {
        let service = bearer(parts).and_then(|key| app.access.now().service(key));
        service.map(Caller).ok_or_else(|| {
            app.metrics.count_ingest(None, Taken::Refused(Kind::Unauthenticated));
            Problem::new(
                Kind::Unauthenticated,
                "send `Authorization: Bearer <service key>` with a key that is known",
            )
        })
    }
}

fn bearer(parts: &Parts) -> Option<&str> {
    let (scheme, key) = parts.headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| key.trim_matches(' '))
}
