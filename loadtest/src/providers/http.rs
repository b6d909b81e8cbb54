//! One request to a simulator: what was asked, what is answered, and what goes wrong in between.

use std::convert::Infallible;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, LOCATION, RETRY_AFTER};
use hyper::{HeaderMap, Method, Request, Response, StatusCode, Version};
use serde_json::Value;

use super::faults::Fault;
use super::received::Letter;
use super::world::World;
use super::{Provider, simulated};
use crate::limits::{SIMULATED_HUGE_BYTES, SIMULATED_REQUEST_BYTES_MAX};

/// What Google's front end says when nothing is behind it; other gateways' pages look alike.
const GATEWAY_PAGE: &str = "<!DOCTYPE html>\n<html lang=en>\n  <meta charset=utf-8>\n  <title>Error 502 (Server Error)!!1</title>\n  \
<p><b>502.</b> <ins>That\u{2019}s an error.</ins>\n  <p>The server encountered a temporary error and could not complete your request.<p>Please \
try again in 30 seconds.  <ins>That\u{2019}s all we know.</ins>\n</html>\n";

pub(super) type Body = UnsyncBoxBody<Bytes, io::Error>;

/// A request, read to its end.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) method: Method,
    pub(super) version: Version,
    pub(super) path: String,
    pub(super) query: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Asked {
    pub(super) async fn read(request: Request<Incoming>) -> Result<Asked, Answered> {
        let (head, body) = request.into_parts();
        let read = Limited::new(body, SIMULATED_REQUEST_BYTES_MAX).collect().await;
        let body = read.map_err(|_| Answered::text(413, "too large"))?.to_bytes();
        Ok(Asked {
            method: head.method,
            version: head.version,
            path: head.uri.path().to_owned(),
            query: head.uri.query().unwrap_or_default().to_owned(),
            headers: head.headers,
            body,
        })
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Some headers, for [`Letter::content`].
    pub(super) fn headers_named(&self, names: &[&str]) -> Value {
        let pairs = names.iter().filter_map(|name| Some(((*name).to_owned(), self.header(name)?.into())));
        Value::Object(pairs.collect())
    }
}

/// An answer.
#[derive(Debug, Clone)]
pub(super) struct Answered {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Bytes,
}

impl Answered {
    pub(super) fn json(status: u16, body: &Value) -> Answered {
        let headers = vec![(CONTENT_TYPE.as_str(), "application/json".to_owned())];
        Answered { status, headers, body: body.to_string().into() }
    }

    pub(super) fn text(status: u16, body: &str) -> Answered {
        let headers = vec![(CONTENT_TYPE.as_str(), "text/plain; charset=utf-8".to_owned())];
        Answered { status, headers, body: Bytes::copy_from_slice(body.as_bytes()) }
    }

    pub(super) fn with(mut self, name: &'static str, value: Option<String>) -> Answered {
        self.headers.extend(value.map(|value| (name, value)));
        self
    }

    fn response(self) -> Response<Body> {
        let body = Full::new(self.body).map_err(|never: Infallible| match never {}).boxed_unsync();
        let mut response = Response::new(body);
        *response.status_mut() =
            StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        for (name, value) in self.headers {
            if let Ok(value) = value.parse() {
                response.headers_mut().insert(name, value);
            }
        }
        response
    }

    /// Half of it, and then the connection breaks off.
    fn half(self) -> Response<Body> {
        let whole = self.body.clone();
        let mut response = self.response();
        response.headers_mut().insert(CONTENT_LENGTH, whole.len().max(2).into());
        let half = whole.slice(..whole.len() / 2);
        let steps = stream::unfold(Some(half), |left| async {
            match left {
                Some(half) if !half.is_empty() => Some((Ok(Frame::data(half)), Some(Bytes::new()))),
                _ => {
                    // What was said goes out first.
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    Some((Err(io::Error::from(io::ErrorKind::ConnectionReset)), None))
                }
            }
        });
        *response.body_mut() = StreamBody::new(steps).boxed_unsync();
        response
    }
}

/// What was done with a letter, before anything goes wrong.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) to: String,
    pub(super) content: Value,
    pub(super) answer: Answered,
}

/// The connection is to be reset.
#[derive(Debug, thiserror::Error)]
#[error("reset")]
pub(super) struct Reset;

/// One request, with what goes wrong.
pub(super) async fn exchange(
    provider: Provider,
    world: &World,
    request: Request<Incoming>,
) -> Result<Response<Body>, Reset> {
    let asked = match Asked::read(request).await {
        Ok(asked) => asked,
        Err(answer) => return Ok(answer.response()),
    };
    let fault = world.fault(provider, &simulated::address(provider, &asked));
    let instead = match &fault {
        Some(Fault::Error(code)) => Some(simulated::error(provider, code)),
        Some(Fault::Throttle { retry_after }) => {
            Some(simulated::throttle(provider).with(RETRY_AFTER.as_str(), retry_after.clone()))
        }
        Some(Fault::Status { status, body, retry_after }) => {
            let json = body.starts_with('{').then(|| "application/json".to_owned());
            let answer = Answered::text(*status, body).with(CONTENT_TYPE.as_str(), json);
            Some(answer.with(RETRY_AFTER.as_str(), retry_after.clone()))
        }
        Some(Fault::Html502) => {
            Some(Answered::text(502, GATEWAY_PAGE).with(CONTENT_TYPE.as_str(), Some("text/html".to_owned())))
        }
        Some(Fault::Redirect) => {
            Some(Answered::text(307, "").with(LOCATION.as_str(), Some("/moved".to_owned())))
        }
        _ => None,
    };
    if let Some(answer) = instead {
        let to = simulated::address(provider, &asked);
        keep(world, provider, to, simulated::content(provider, &asked), &answer.status.to_string(), false);
        return Ok(answer.response());
    }
    if let Some(Fault::SlowMs(ms)) = fault {
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }
    let done = simulated::take(provider, world, &asked);
    let taken = done.answer.status < 300;
    let word = match &fault {
        Some(Fault::Reset) => "reset".to_owned(),
        Some(Fault::Half) => "half".to_owned(),
        _ => done.answer.status.to_string(),
    };
    keep(world, provider, done.to, done.content, &word, taken);
    match fault {
        Some(Fault::LateMs(ms)) => {
            tokio::time::sleep(Duration::from_millis(ms)).await;
            Ok(done.answer.response())
        }
        Some(Fault::Reset) => Err(Reset),
        Some(Fault::Half) => Ok(done.answer.half()),
        Some(Fault::Huge) => {
            Ok(Answered { body: vec![b'x'; SIMULATED_HUGE_BYTES].into(), ..done.answer }.response())
        }
        _ => Ok(done.answer.response()),
    }
}

fn keep(world: &World, provider: Provider, to: String, content: Value, answer: &str, taken: bool) {
    let at = world.clock.wall();
    world.keep(Letter { number: 0, at, provider, to, taken, answer: answer.to_owned(), content });
}

/// An answer of the control.
pub(super) fn plain(answer: Answered) -> Response<Body> {
    answer.response()
}
