//! What a request on the client port wants, and the answers that need no user.
//!
//! Reads heads and writes responses; decides by what it is handed (admission's outlook, the authenticator)
//! and touches no connection. Called by `handshake`.

use std::borrow::Cow;

use bytes::Bytes;
use uuid::Uuid;
use wire::http::{BadRequest, Protocol, RequestHead, json_response, response};
use wire::sse;
use wire::time::Wall;

use crate::admission::RetryAfter;
use crate::auth::{AuthError, Authenticator, Credentials, checked_name};
use crate::metrics::Handshake;

/// What the console page is told about its surroundings. On loopback only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Console {
    /// Where the router's API is: `http://127.0.0.1:8090`.
    pub api: String,
    /// A service key to try things out with. `None`: the page asks for one.
    pub key: Option<String>,
    /// Whether a name is proof enough. Otherwise the page asks for a token.
    pub local_user: bool,
}

/// What a client wants that needs a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    /// A WebSocket; `accepted` is the 101. A browser's page cannot read another answer.
    Connect { accepted: Bytes, is_browser: bool, device: Option<String> },
    /// An event stream, from a place in the past if one is given.
    Events { since: Option<(Wall, Uuid)>, device: Option<String>, cors: Option<String> },
    /// To say one message.
    Post { body_bytes: usize, wants_continue: bool, cors: Option<String> },
}

/// What to do about a request.
#[derive(Debug)]
pub(super) enum Route<'a> {
    /// Find out who it is, then do it.
    Wish { wish: Wish, credentials: Owned<'a> },
    /// The node's outlook decides the answer.
    Admission,
    /// Everything is said here; counted as this.
    Answer(Bytes, Handshake),
}

/// Credentials as the request carries them.
#[derive(Debug, Default)]
pub(super) struct Owned<'a> {
    token: Option<&'a str>,
    ticket: Option<Cow<'a, str>>,
    user: Option<Cow<'a, str>>,
    host: &'a str,
}

impl Owned<'_> {
    pub(super) fn borrowed(&self) -> Credentials<'_> {
        Credentials {
            token: self.token,
            ticket: self.ticket.as_deref(),
            user: self.user.as_deref(),
            host: self.host,
        }
    }
}

const ANY_ORIGIN: (&str, &str) = ("Access-Control-Allow-Origin", "*");
const NO_STORE: (&str, &str) = ("Cache-Control", "no-store");
const NO_SNIFF: (&str, &str) = ("X-Content-Type-Options", "nosniff");

/// The page's files.
const INDEX: &[u8] = include_bytes!("../console/index.html");
const STYLE: &[u8] = include_bytes!("../console/console.css");
const SCRIPT: &[u8] = include_bytes!("../console/console.js");
const OPERATIONS: &[u8] = include_bytes!("../console/operations.js");

/// Finds out what a request wants. `message_bytes` bounds a posted body.
pub(super) fn route<'a>(
    head: &RequestHead<'a>,
    authenticator: &Authenticator,
    console: Option<&Console>,
    message_bytes: usize,
) -> Result<Route<'a>, BadRequest> {
    let (answer, counted) = match (head.method, head.path) {
        ("OPTIONS", _) => (preflight(head, authenticator), Handshake::Asked),
        (_, "/v1/connect" | "/v1/events" | "/v1/messages")
            if !authenticator.allows_origin(head.header("origin")) =>
        {
            let text = "pages of this origin may not connect here";
            (error(403, "origin", text, None), Handshake::BadOrigin)
        }
        (_, "/v1/connect") => return connect(head),
        ("GET", "/v1/events") => return events(head),
        ("POST", "/v1/messages") => return post(head, message_bytes),
        ("GET", "/v1/admission") => return Ok(Route::Admission),
        ("GET", "/healthz") => {
            (response(200, &[("Content-Type", "text/plain"), NO_STORE], b"ok\n"), Handshake::Asked)
        }
        (method, "/v1/messages" | "/v1/events" | "/v1/admission" | "/healthz") => {
            (wrong_method(method, head.path), Handshake::BadRequest)
        }
        ("GET", path) => match page(path, head, authenticator, console) {
            Some(answer) => (answer, Handshake::Asked),
            None => (not_found(), Handshake::NotFound),
        },
        _ => (not_found(), Handshake::NotFound),
    };
    Ok(Route::Answer(answer, counted))
}

fn wrong_method(method: &str, path: &str) -> Bytes {
    let allowed = if path == "/v1/messages" { "POST" } else { "GET" };
    debug_assert_ne!(method, allowed);
    response(405, &[("Allow", allowed)], b"")
}

fn connect<'a>(head: &RequestHead<'a>) -> Result<Route<'a>, BadRequest> {
    let upgrade = match head.upgrade() {
        Ok(upgrade) => upgrade,
        Err(not) => return Ok(Route::Answer(not.response(), Handshake::BadRequest)),
    };
    let credentials = credentials(head, upgrade.bearer)?;
    let is_browser = upgrade.protocol == Some(Protocol::V1Browser);
    let wish = Wish::Connect { accepted: upgrade.response(&[]), is_browser, device: device(head)? };
    Ok(Route::Wish { wish, credentials })
}

fn events<'a>(head: &RequestHead<'a>) -> Result<Route<'a>, BadRequest> {
    let place = match head.header("last-event-id") {
        Some(place) => Some(Cow::Borrowed(place)),
        None => head.query_value("last_event_id")?,
    };
    let since = match place.as_deref() {
        None | Some("") => None,
        Some(place) => {
            const REASON: &str = "Last-Event-ID is none of ours";
            Some(sse::parse_event_id(place).ok_or(BadRequest { status: 400, reason: REASON })?)
        }
    };
    let wish = Wish::Events { since, device: device(head)?, cors: cors(head) };
    Ok(Route::Wish { wish, credentials: credentials(head, None)? })
}

fn post<'a>(head: &RequestHead<'a>, message_bytes: usize) -> Result<Route<'a>, BadRequest> {
    let body_bytes = head.body_bytes(message_bytes)?;
    let wish = Wish::Post { body_bytes, wants_continue: head.expects_continue(), cors: cors(head) };
    Ok(Route::Wish { wish, credentials: credentials(head, None)? })
}

fn credentials<'a>(head: &RequestHead<'a>, subprotocol: Option<&'a str>) -> Result<Owned<'a>, BadRequest> {
    // A header that is there but no bearer token is a wrong token, not none.
    let header = head.header("authorization").map(|_| head.bearer().unwrap_or_default());
    Ok(Owned {
        token: header.or(subprotocol),
        ticket: head.query_value("ticket")?,
        user: head.query_value("user")?,
        host: head.header("host").unwrap_or_default(),
    })
}

fn device(head: &RequestHead<'_>) -> Result<Option<String>, BadRequest> {
    const REASON: &str = "a device has a name of 1 to 256 bytes";
    let named = head.query_value("device")?;
    named.map(|name| checked_name(&name).ok_or(BadRequest { status: 400, reason: REASON })).transpose()
}

/// The origin that may read the answer: it was checked before.
fn cors(head: &RequestHead<'_>) -> Option<String> {
    head.header("origin").map(str::to_owned)
}

fn preflight(head: &RequestHead<'_>, authenticator: &Authenticator) -> Bytes {
    let origin = head.header("origin");
    let allowed = match origin {
        _ if head.path == "/v1/admission" => "*",
        Some(origin) if authenticator.allows_origin(Some(origin)) => origin,
        Some(_) => return error(403, "origin", "pages of this origin may not connect here", None),
        None => return response(204, &[("Allow", "GET, POST, OPTIONS")], b""),
    };
    let headers = [
        ("Access-Control-Allow-Origin", allowed),
        ("Access-Control-Allow-Methods", "GET, POST"),
        ("Access-Control-Allow-Headers", "Authorization, Content-Type, Last-Event-ID"),
        ("Access-Control-Max-Age", "600"),
        ("Vary", "Origin"),
    ];
    response(204, &headers, b"")
}

/// `GET /v1/admission`.
pub(super) fn admission(refused: Option<RetryAfter>) -> Bytes {
    match refused {
        None => json_response(200, &[ANY_ORIGIN, NO_STORE], "{\"retry_after_ms\":0}"),
        Some(retry) => over_capacity(retry),
    }
}

/// The refusal of a connection that there is no room for.
pub(super) fn over_capacity(retry: RetryAfter) -> Bytes {
    let seconds = retry.seconds.to_string();
    let headers = [
        ("Retry-After", seconds.as_str()),
        ANY_ORIGIN,
        ("Access-Control-Expose-Headers", "Retry-After"),
        NO_STORE,
    ];
    json_response(503, &headers, &retry.body())
}

/// The refusal of a connection whose user or address has as many as it may have. `allowed`: the origin that
/// may read it.
pub(super) fn too_many(retry: RetryAfter, message: &str, allowed: Option<&str>) -> Bytes {
    let seconds = retry.seconds.to_string();
    let headers = [
        ("Retry-After", seconds.as_str()),
        NO_STORE,
        ("Access-Control-Allow-Origin", allowed.unwrap_or("null")),
        ("Access-Control-Expose-Headers", "Retry-After"),
    ];
    let shown = if allowed.is_some() { &headers[..] } else { &headers[..2] };
    json_response(429, shown, &retry.body_saying("too_many", message))
}

/// The answer to credentials that are refused.
pub(super) fn unauthorized(why: AuthError, cors: Option<&str>) -> Bytes {
    let headers = [("WWW-Authenticate", "Bearer"), ("Access-Control-Allow-Origin", cors.unwrap_or("null"))];
    let shown = if cors.is_some() { &headers[..] } else { &headers[..1] };
    json_response(401, shown, &error_body("unauthorized", &why.to_string()))
}

/// A message that no router takes now.
pub(super) fn busy(cors: Option<&str>) -> Bytes {
    let seconds = crate::limits::BUSY_RETRY_AFTER_MS.div_ceil(1_000).to_string();
    let headers =
        [("Retry-After", seconds.as_str()), ("Access-Control-Allow-Origin", cors.unwrap_or("null"))];
    let shown = if cors.is_some() { &headers[..] } else { &headers[..1] };
    json_response(503, shown, &error_body("busy", "no router can take this now"))
}

/// `{"error":…,"message":…}` with that status. `message` is our own text, without quotes.
pub(super) fn error(status: u16, code: &str, message: &str, cors: Option<&str>) -> Bytes {
    let body = error_body(code, message);
    match cors {
        Some(origin) => json_response(status, &[("Access-Control-Allow-Origin", origin)], &body),
        None => json_response(status, &[], &body),
    }
}

fn error_body(code: &str, message: &str) -> String {
    format!("{{\"error\":\"{code}\",\"message\":\"{message}\"}}")
}

fn not_found() -> Bytes {
    error(404, "not_found", "there is nothing here", None)
}

/// The console page and what it is told, under this gateway's own name only.
fn page(
    path: &str,
    head: &RequestHead<'_>,
    authenticator: &Authenticator,
    console: Option<&Console>,
) -> Option<Bytes> {
    let is_own = authenticator.is_own_host(head.header("host").unwrap_or_default());
    let console = console.filter(|_| is_own)?;
    let (kind, content) = match path {
        "/v1/console" => {
            let told = serde_json::json!({ "api": console.api, "key": console.key, "local_user": console.local_user });
            return Some(json_response(200, &[NO_STORE, NO_SNIFF], &told.to_string()));
        }
        "/" | "/index.html" => ("text/html; charset=utf-8", INDEX),
        "/console.css" => ("text/css; charset=utf-8", STYLE),
        "/console.js" => ("text/javascript; charset=utf-8", SCRIPT),
        "/operations.js" => ("text/javascript; charset=utf-8", OPERATIONS),
        _ => return None,
    };
    let policy = format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
         connect-src 'self' {}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        console.api
    );
    let headers = [
        ("Content-Type", kind),
        ("Content-Security-Policy", policy.as_str()),
        ("Referrer-Policy", "no-referrer"),
        NO_SNIFF,
        NO_STORE,
    ];
    Some(response(200, &headers, content))
}
