//! `POST /v1/notifications/batch`: a request a line, an answer a line, in the same order.
//!
//! Lines are taken in as they arrive, with many appends waiting for the journal at once (bounded), so that one batch
//! shares its syncs. The answers are held until the last line was read: a client that sends everything before it
//! reads anything never blocks. Each line stands alone: one that is refused stops no other.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream::{FuturesOrdered, StreamExt};
use serde::Serialize;
use tokio::task::coop::unconstrained;
use tokio::time::timeout;

use super::http::idempotency_key;
use super::{Accepted, Intake, validate};
use crate::api::App;
use crate::api::auth::Caller;
use crate::api::problem::{Kind, Problem};
use crate::config::Service;
use crate::limits::{
    BATCH_IN_FLIGHT_BYTES_MAX, BATCH_IN_FLIGHT_MAX, BATCH_LINES_MAX, BATCH_WITHIN, IDEMPOTENCY_KEY_BYTES_MAX,
    REQUEST_BYTES_MAX,
};
use crate::metrics::Taken;
use lines::{Lines, NextLine};

mod lines;

const NDJSON: &str = "application/x-ndjson";

pub async fn post(State(app): State<App>, Caller(service): Caller, request: Request) -> Response {
    let key = match idempotency_key(request.headers()) {
        Ok(key) => key,
        Err(problem) => return problem.into_response(),
    };
    let batch = Batch { app: app.clone(), service, key };
    let lines = Lines::new(request.into_body().into_data_stream());
    match timeout(BATCH_WITHIN, batch.take(lines)).await {
        Ok(Ok(answers)) => ([(header::CONTENT_TYPE, NDJSON)], answers).into_response(),
        Ok(Err(problem)) => problem.into_response(),
        Err(_) => {
            let why = format!("a batch has {} s; what was durable by then is taken", BATCH_WITHIN.as_secs());
            Problem::new(Kind::TooSlow, why).into_response()
        }
    }
}

/// One line's answer.
#[derive(Serialize)]
struct Answer<'a> {
    status: u16,
    #[serde(flatten)]
    accepted: &'a Accepted,
}

struct Batch {
    app: App,
    service: Arc<Service>,
    /// With a key for the whole batch, line `n` (from 1) has the key `<key>/<n>` unless it brings its own.
    key: Option<String>,
}

impl Batch {
    async fn take(&self, mut lines: Lines) -> Result<String, Problem> {
        let mut answers = String::new();
        let mut on_their_way = FuturesOrdered::new();
        let (mut number, mut bytes_on_their_way) = (0, 0);
        loop {
            // Lines that are here already go to the journal together; while the body is slow, what is on its way goes on.
            let line = tokio::select! {
                biased;
                line = lines.next(), if has_room(on_their_way.len(), bytes_on_their_way) => line?,
                Some((bytes, answer)) = on_their_way.next(), if !on_their_way.is_empty() => {
                    bytes_on_their_way -= bytes;
                    push_answer(&mut answers, answer);
                    continue;
                }
            };
            let line = match line {
                NextLine::End => break,
                NextLine::Line(line) => {
                    bytes_on_their_way += line.len();
                    Ok(line)
                }
                NextLine::TooLong => {
                    Err(Problem::new(Kind::TooLarge, format!("a line has at most {REQUEST_BYTES_MAX} bytes")))
                }
            };
            number += 1;
            if number > BATCH_LINES_MAX {
                let why = format!(
                    "a batch has at most {BATCH_LINES_MAX} lines: send this one and those behind it again"
                );
                on_their_way.push_back(self.line(number, Err(Problem::new(Kind::TooLarge, why))));
                break;
            }
            on_their_way.push_back(self.line(number, line));
        }
        while let Some((_, answer)) = on_their_way.next().await {
            push_answer(&mut answers, answer);
        }
        Ok(answers)
    }

    /// The line's answer, and how long it was. By its own budget tokio would stop some lines half-way, and those behind
    /// would overtake: each reaches the journal when it is first looked at, in the order of the lines.
    fn line(
        &self,
        number: usize,
        line: Result<Bytes, Problem>,
    ) -> impl Future<Output = (usize, Result<Accepted, Problem>)> {
        let bytes = line.as_ref().map_or(0, Bytes::len);
        unconstrained(async move { (bytes, self.accept(number, line).await) })
    }

    async fn accept(&self, number: usize, line: Result<Bytes, Problem>) -> Result<Accepted, Problem> {
        let read = line.and_then(|bytes| {
            let line = validate::line(&bytes)?;
            let key = match (line.idempotency_key, &self.key) {
                (Some(own), _) => Some(own),
                (None, Some(whole)) => Some(numbered(whole, number)?),
                (None, None) => None,
            };
            Ok((key, line.request, bytes))
        });
        let intake: &Intake = &self.app.intake;
        match read {
            Ok((key, request, bytes)) => intake.accept(&self.service, request, key.as_deref(), &bytes).await,
            Err(problem) => {
                self.app.metrics.count_ingest(Some(&self.service.name), Taken::Refused(problem.kind));
                Err(problem)
            }
        }
    }
}

fn has_room(lines: usize, bytes: usize) -> bool {
    lines < BATCH_IN_FLIGHT_MAX && bytes < BATCH_IN_FLIGHT_BYTES_MAX
}

fn numbered(whole: &str, number: usize) -> Result<String, Problem> {
    let key = format!("{whole}/{number}");
    if key.len() > IDEMPOTENCY_KEY_BYTES_MAX {
        let why = format!(
            "with `/{number}` behind it the Idempotency-Key has more than {IDEMPOTENCY_KEY_BYTES_MAX} bytes"
        );
        return Err(Problem::new(Kind::Malformed, why));
    }
    Ok(key)
}

fn push_answer(answers: &mut String, answer: Result<Accepted, Problem>) {
    match answer {
        Ok(accepted) => {
            let answer = Answer { status: 202, accepted: &accepted };
            answers.push_str(&serde_json::to_string(&answer).expect("an answer is strings and numbers"));
        }
        Err(problem) => answers.push_str(&problem.to_json()),
    }
    answers.push('\n');
}
