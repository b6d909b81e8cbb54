//! `POST /v1/backups`: a backup of this node, in its data folder's `backups`.

use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;

use super::auth::Caller;
use super::problem::{Kind, Problem};
use super::{App, unavailable};
use crate::backup::{BackupError, Manifest};

/// What was written, and where.
#[derive(Serialize)]
pub(super) struct Written {
    dir: String,
    #[serde(flatten)]
    manifest: Manifest,
}

/// An operator's right: it is everything of everybody. Goes on when nobody waits for the answer any more.
pub(super) async fn post(
    State(app): State<App>,
    caller: Caller,
) -> Result<(StatusCode, axum::Json<Written>), Problem> {
    if !caller.0.operator {
        return Err(Problem::new(Kind::Forbidden, "only a service with `operator` may write a backup"));
    }
    let by = caller.0.name.clone();
    let written = app.look(move |parts| {
        let journal = parts.intake.journal();
        let written = parts.backups.write(parts.view.store(), journal, parts.clock.wall());
        if let Ok(Some((dir, manifest))) = &written {
            tracing::info!(by, dir = %dir.display(), at = %manifest.at, "a backup was written");
        }
        written.map_err(|error| no_backup(&error))
    });
    let Some((dir, manifest)) = written.await? else {
        return Err(unavailable("another backup is being written"));
    };
    Ok((StatusCode::CREATED, axum::Json(Written { dir: dir.display().to_string(), manifest })))
}

fn no_backup(error: &BackupError) -> Problem {
    if let BackupError::Elsewhere | BackupError::Buffered = error {
        return Problem::new(Kind::Contradiction, error.to_string());
    }
    tracing::error!(%error, "no backup was written");
    unavailable(&error.to_string())
}
