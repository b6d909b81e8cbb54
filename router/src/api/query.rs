//! What stands behind the `?` and in the path, checked.

use axum::extract::{FromRequestParts, Path, Query};
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use super::problem::{Kind, Problem};
use crate::limits::PAGE_MAX;

/// A query string with no parameter but those of `T` (which denies unknown fields).
pub(super) struct Asked<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Asked<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Asked<T>, Problem> {
        let asked = Query::<T>::try_from_uri(&parts.uri);
        asked.map(|Query(asked)| Asked(asked)).map_err(|rejection| {
            Problem::new(
                Kind::Malformed,
                rejection.body_text().replace("Failed to deserialize query string: ", ""),
            )
        })
    }
}

/// The one variable part of a path.
pub(super) struct Named<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Named<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Named<T>, Problem> {
        match Path::<T>::from_request_parts(parts, state).await {
            Ok(Path(name)) => Ok(Named(name)),
            Err(rejection) => Err(Problem::new(Kind::Malformed, rejection.body_text())),
        }
    }
}

/// How many items a page has: as asked, within bounds.
pub(super) fn page_limit(asked: Option<usize>, most: usize) -> Result<usize, Problem> {
    let most = most.min(PAGE_MAX);
    match asked {
        None => Ok(most),
        Some(limit) if (1..=most).contains(&limit) => Ok(limit),
        Some(_) => Err(Problem::new(Kind::Malformed, format!("limit is in 1..={most}"))),
    }
}
