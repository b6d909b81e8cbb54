//! Which simulator answers for whom, of those that speak HTTP. A mail server does not: it has no request to look at.

use serde_json::{Value, json};

use super::http::{Answered, Asked, Done};
use super::world::World;
use super::{Provider, apns, fcm, google, ses, sns, twilio, webpush};

/// Whom a request is for.
pub(super) fn address(provider: Provider, asked: &Asked) -> String {
    match provider {
        Provider::Twilio => twilio::address(asked),
        Provider::Google => google::address(asked),
        Provider::Fcm => fcm::address(asked),
        Provider::Apns => apns::address(asked),
        Provider::WebPush => webpush::address(asked),
        Provider::Ses => ses::address(asked),
        Provider::Smtp => String::new(),
        Provider::Sns => sns::address(asked),
    }
}

/// What stands in it.
pub(super) fn content(provider: Provider, asked: &Asked) -> Value {
    match provider {
        Provider::Twilio => twilio::content(asked),
        Provider::Google => google::content(asked),
        Provider::Fcm => fcm::content(asked),
        Provider::Apns => apns::content(asked),
        Provider::WebPush => webpush::content(asked),
        Provider::Ses => ses::content(asked),
        Provider::Smtp => Value::Null,
        Provider::Sns => sns::content(asked),
    }
}

/// One of the provider's errors, as it words it.
pub(super) fn error(provider: Provider, code: &str) -> Answered {
    match provider {
        Provider::Twilio => twilio::error(code),
        Provider::Google => google::error(code),
        Provider::Fcm => fcm::error(code),
        Provider::Apns => apns::error(code),
        Provider::WebPush => webpush::error(code),
        Provider::Ses => ses::error(code),
        Provider::Smtp => not_http(),
        Provider::Sns => sns::error(code),
    }
}

/// The provider's word for "too fast".
pub(super) fn throttle(provider: Provider) -> Answered {
    match provider {
        Provider::Twilio => twilio::error("20429"),
        Provider::Google => Answered::json(429, &json!({ "error": "rate_limit_exceeded" })),
        Provider::Fcm => fcm::error("QUOTA_EXCEEDED"),
        Provider::Apns => apns::error("TooManyRequests"),
        Provider::WebPush => webpush::error("429"),
        Provider::Ses => ses::error("TooManyRequestsException"),
        Provider::Smtp => not_http(),
        Provider::Sns => sns::error("Throttled"),
    }
}

/// Does what the provider does.
pub(super) fn take(provider: Provider, world: &World, asked: &Asked) -> Done {
    match provider {
        Provider::Twilio => twilio::take(world, asked),
        Provider::Google => google::take(world, asked),
        Provider::Fcm => fcm::take(world, asked),
        Provider::Apns => apns::take(world, asked),
        Provider::WebPush => webpush::take(world, asked),
        Provider::Ses => ses::take(world, asked),
        Provider::Sns => sns::take(world, asked),
        Provider::Smtp => Done { to: String::new(), content: Value::Null, answer: not_http() },
    }
}

fn not_http() -> Answered {
    Answered::text(400, "")
}
