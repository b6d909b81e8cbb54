//! Which simulator answers for whom.

use serde_json::{Value, json};

use super::http::{Answered, Asked, Done};
use super::world::World;
use super::{Provider, fcm, google, twilio};

/// Whom a request is for.
pub(super) fn address(provider: Provider, asked: &Asked) -> String {
    match provider {
        Provider::Twilio => twilio::address(asked),
        Provider::Google => google::address(asked),
        Provider::Fcm => fcm::address(asked),
    }
}

/// What stands in it.
pub(super) fn content(provider: Provider, asked: &Asked) -> Value {
    match provider {
        Provider::Twilio => twilio::content(asked),
        Provider::Google => google::content(asked),
        Provider::Fcm => fcm::content(asked),
    }
}

/// One of the provider's errors, as it words it.
pub(super) fn error(provider: Provider, code: &str) -> Answered {
    match provider {
        Provider::Twilio => twilio::error(code),
        Provider::Google => google::error(code),
        Provider::Fcm => fcm::error(code),
    }
}

/// The provider's word for "too fast".
pub(super) fn throttle(provider: Provider) -> Answered {
    match provider {
        Provider::Twilio => twilio::error("20429"),
        Provider::Google => Answered::json(429, &json!({ "error": "rate_limit_exceeded" })),
        Provider::Fcm => fcm::error("QUOTA_EXCEEDED"),
    }
}

/// Does what the provider does.
pub(super) fn take(provider: Provider, world: &World, asked: &Asked) -> Done {
    match provider {
        Provider::Twilio => twilio::take(world, asked),
        Provider::Google => google::take(world, asked),
        Provider::Fcm => fcm::take(world, asked),
    }
}
