//! `POST /v1/notifications`: one request, one answer.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;

use super::validate;
use crate::api::auth::Caller;
use crate::api::problem::{Kind, Problem};
use crate::api::{App, body};
use crate::limits::{BODY_WITHIN, REQUEST_BYTES_MAX};
use crate::metrics::Taken;

/// The header that makes a request one that can be sent again.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";

pub async fn post(State(app): State<App>, Caller(service): Caller, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let read = read(&parts.headers, body).await;
    let (key, bytes, request) = match read {
        Ok(read) => read,
        Err(problem) => {
            app.metrics.count_ingest(Some(&service.name), Taken::Refused(problem.kind));
            return problem.into_response();
        }
    };
    match app.intake.accept(&service, request, key.as_deref(), &bytes).await {
        Ok(accepted) => {
            let location = accepted.status_url.clone();
            (StatusCode::ACCEPTED, [(header::LOCATION, location)], axum::Json(accepted)).into_response()
        }
        Err(problem) => problem.into_response(),
    }
}

async fn read(
    headers: &HeaderMap,
    body: Body,
) -> Result<(Option<String>, Bytes, crate::record::Request), Problem> {
    let key = idempotency_key(headers)?;
    let bytes = body::whole(body, REQUEST_BYTES_MAX, BODY_WITHIN).await?;
    let request = validate::request(&bytes)?;
    Ok((key, bytes, request))
}

/// The header's value, if there is one.
pub(crate) fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Problem::new(Kind::Malformed, "there is more than one Idempotency-Key"));
    }
    let malformed = |why: String| Problem::new(Kind::Malformed, why);
    let key = value.to_str().map_err(|_| malformed("an Idempotency-Key is visible ASCII".to_owned()))?;
    validate::idempotency_key(key).map_err(malformed)?;
    Ok(Some(key.to_owned()))
}
