//! Apple's push service: HTTP/2, a signed token, one notification a request.
//!
//! The token's signature is not checked, since the key is the tester's; the whole of it is in `GET /received`, so that a test can.
//! Source of reasons: https://developer.apple.com/documentation/usernotifications/handling-notification-responses-from-apns

use std::net::SocketAddr;

use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};

use super::http::{Answered, Asked, Done};
use super::world::World;

const TEAM: &str = "SIMULATED1";
const KEY: &str = "SIMKEY0001";
pub(super) const TOPIC: &str = "com.example.simulated";
const PAYLOAD_BYTES_MAX: usize = 4_096;
/// A token is one for so long.
const TOKEN_S: i64 = 3_600;
const HEADERS: [&str; 7] = [
    "authorization",
    "apns-topic",
    "apns-push-type",
    "apns-priority",
    "apns-expiration",
    "apns-collapse-id",
    "apns-id",
];

pub(super) fn described(at: SocketAddr) -> Value {
    json!({ "url": format!("http://{at}"), "team_id": TEAM, "key_id": KEY, "topic": TOPIC })
}

pub(super) fn address(asked: &Asked) -> String {
    asked.path.strip_prefix("/3/device/").unwrap_or_default().to_owned()
}

pub(super) fn content(asked: &Asked) -> Value {
    let payload: Value = serde_json::from_slice(&asked.body).unwrap_or_default();
    json!({ "headers": asked.headers_named(&HEADERS), "payload": payload, "version": format!("{:?}", asked.version) })
}

/// (reason, status)
const REASONS: &[(&str, u16)] = &[
    ("BadCollapseId", 400),
    ("BadDeviceToken", 400),
    ("BadMessageId", 400),
    ("BadPriority", 400),
    ("BadTopic", 400),
    ("DeviceTokenNotForTopic", 400),
    ("InvalidPushType", 400),
    ("MissingTopic", 400),
    ("PayloadEmpty", 400),
    ("TopicDisallowed", 400),
    ("ExpiredProviderToken", 403),
    ("Forbidden", 403),
    ("InvalidProviderToken", 403),
    ("MissingProviderToken", 403),
    ("BadPath", 404),
    ("MethodNotAllowed", 405),
    ("ExpiredToken", 410),
    ("Unregistered", 410),
    ("PayloadTooLarge", 413),
    ("TooManyProviderTokenUpdates", 429),
    ("TooManyRequests", 429),
    ("InternalServerError", 500),
    ("ServiceUnavailable", 503),
    ("Shutdown", 503),
];

/// `Unregistered@1700000000000` says since when.
pub(super) fn error(code: &str) -> Answered {
    let (reason, since) = code.split_once('@').unwrap_or((code, "4102444800000"));
    let status = REASONS.iter().find(|(known, _)| *known == reason).map_or(500, |(_, status)| *status);
    let body = if status == 410 {
        json!({ "reason": reason, "timestamp": since.parse::<i64>().unwrap_or_default() })
    } else {
        json!({ "reason": reason })
    };
    Answered::json(status, &body)
}

pub(super) fn take(world: &World, asked: &Asked) -> Done {
    let answer = wrong(world, asked).map_or_else(|| sent(asked), error);
    Done { to: address(asked), content: content(asked), answer }
}

fn sent(asked: &Asked) -> Answered {
    let id = asked.header("apns-id").map(str::to_owned);
    Answered { status: 200, headers: Vec::new(), body: Vec::new().into() }.with("apns-id", id)
}

fn wrong(world: &World, asked: &Asked) -> Option<&'static str> {
    let header = |name: &str| asked.header(name).unwrap_or_default();
    let device = address(asked);
    let payload: Value = serde_json::from_slice(&asked.body).unwrap_or_default();
    let checks = [
        (asked.method != "POST", "MethodNotAllowed"),
        (device.is_empty(), "BadPath"),
        (header("authorization").is_empty(), "MissingProviderToken"),
        (!is_ours(asked), "InvalidProviderToken"),
        (is_old(world, asked), "ExpiredProviderToken"),
        (device.len() != 64 || !device.bytes().all(|byte| byte.is_ascii_hexdigit()), "BadDeviceToken"),
        (header("apns-topic").is_empty(), "MissingTopic"),
        (header("apns-topic") != TOPIC, "TopicDisallowed"),
        (!matches!(header("apns-push-type"), "alert" | "background"), "InvalidPushType"),
        (!matches!(header("apns-priority"), "" | "1" | "5" | "10"), "BadPriority"),
        (header("apns-collapse-id").len() > 64, "BadCollapseId"),
        (asked.body.is_empty() || payload["aps"].is_null(), "PayloadEmpty"),
        (asked.body.len() > PAYLOAD_BYTES_MAX, "PayloadTooLarge"),
    ];
    checks.into_iter().find(|(is_wrong, _)| *is_wrong).map(|(_, reason)| reason)
}

fn part(asked: &Asked, number: usize) -> Value {
    let token = asked.header("authorization").and_then(|header| header.strip_prefix("bearer "));
    let part = token.and_then(|token| token.split('.').nth(number));
    let bytes = part.and_then(|part| BASE64URL_NOPAD.decode(part.as_bytes()).ok());
    bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
}

fn is_ours(asked: &Asked) -> bool {
    let (head, claims) = (part(asked, 0), part(asked, 1));
    head["alg"] == "ES256" && head["kid"] == KEY && claims["iss"] == TEAM && claims["iat"].is_i64()
}

fn is_old(world: &World, asked: &Asked) -> bool {
    let age = world.clock.wall().millis() / 1_000 - part(asked, 1)["iat"].as_i64().unwrap_or_default();
    !(-300..=TOKEN_S).contains(&age)
}
