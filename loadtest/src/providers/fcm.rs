//! Firebase Cloud Messaging, HTTP v1: one message a request, by a token of Google's.
//!
//! Source of bodies: https://firebase.google.com/docs/reference/fcm/rest/v1/ErrorCode and recorded answers at
//! https://bloomberg.github.io/pushiko/fcm_responses

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::http::{Answered, Asked, Done};
use super::world::World;

pub(super) const PROJECT: &str = "simulated-project";
/// Of what a device gets.
const PAYLOAD_BYTES_MAX: usize = 4_096;

pub(super) fn described(at: SocketAddr) -> Value {
    json!({ "url": format!("http://{at}"), "project": PROJECT })
}

pub(super) fn address(asked: &Asked) -> String {
    message(asked)["token"].as_str().unwrap_or_default().to_owned()
}

pub(super) fn content(asked: &Asked) -> Value {
    json!({ "message": message(asked), "authorization": asked.header("authorization") })
}

fn message(asked: &Asked) -> Value {
    let mut body: Value = serde_json::from_slice(&asked.body).unwrap_or_default();
    body["message"].take()
}

/// (code, HTTP status, canonical status, words)
const ERRORS: &[(&str, u16, &str, &str)] = &[
    ("INVALID_ARGUMENT", 400, "INVALID_ARGUMENT", "Request contains an invalid argument."),
    (
        "INVALID_TOKEN",
        400,
        "INVALID_ARGUMENT",
        "The registration token is not a valid FCM registration token",
    ),
    ("UNREGISTERED", 404, "NOT_FOUND", "Requested entity was not found."),
    ("SENDER_ID_MISMATCH", 403, "PERMISSION_DENIED", "SenderId mismatch"),
    ("QUOTA_EXCEEDED", 429, "RESOURCE_EXHAUSTED", "Quota exceeded for quota metric 'Send requests'."),
    ("UNAVAILABLE", 503, "UNAVAILABLE", "The service is currently unavailable."),
    ("INTERNAL", 500, "INTERNAL", "Internal error encountered."),
    ("THIRD_PARTY_AUTH_ERROR", 401, "UNAUTHENTICATED", "Auth error from APNS or Web Push Service"),
    // Of Google's front end: no code of FCM's.
    (
        "UNAUTHENTICATED",
        401,
        "UNAUTHENTICATED",
        "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid authentication credential.",
    ),
    ("PERMISSION_DENIED", 403, "PERMISSION_DENIED", "Permission 'cloudmessaging.messages.create' denied."),
    ("NOT_FOUND", 404, "NOT_FOUND", "Requested entity was not found."),
];

pub(super) fn error(code: &str) -> Answered {
    let known = ERRORS.iter().find(|(known, ..)| *known == code).unwrap_or(&ERRORS[6]);
    let (code, status, canonical, words) = *known;
    let mut details = Vec::new();
    if !matches!(code, "UNAUTHENTICATED" | "PERMISSION_DENIED" | "NOT_FOUND") {
        let told = if code == "INVALID_TOKEN" { "INVALID_ARGUMENT" } else { code };
        details.push(
            json!({ "@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError", "errorCode": told }),
        );
    }
    let mut error = json!({ "code": status, "message": words, "status": canonical });
    if !details.is_empty() {
        error["details"] = details.into();
    }
    Answered::json(status, &json!({ "error": error }))
}

pub(super) fn take(world: &World, asked: &Asked) -> Done {
    let message = message(asked);
    let token = asked.header("authorization").and_then(|header| header.strip_prefix("Bearer "));
    let answer = if !token.is_some_and(|token| world.has_token(token)) {
        error("UNAUTHENTICATED")
    } else if asked.path != format!("/v1/projects/{PROJECT}/messages:send") || asked.method != "POST" {
        error("NOT_FOUND")
    } else if message["token"].as_str().is_none_or(str::is_empty) || !is_well_formed(&message) {
        error("INVALID_ARGUMENT")
    } else {
        let name = format!("projects/{PROJECT}/messages/0:{:016x}", world.next_id());
        Answered::json(200, &json!({ "name": name }))
    };
    Done { to: address(asked), content: content(asked), answer }
}

/// Data are texts by name, and all that a device gets is short enough.
fn is_well_formed(message: &Value) -> bool {
    let is_text = message["data"].as_object().is_none_or(|data| data.values().all(Value::is_string));
    let reserved = |key: &String| key == "from" || key.starts_with("google.") || key.starts_with("gcm.");
    let is_free = message["data"].as_object().is_none_or(|data| !data.keys().any(reserved));
    let shown = message["notification"].to_string().len() + message["data"].to_string().len();
    is_text && is_free && shown <= PAYLOAD_BYTES_MAX
}
