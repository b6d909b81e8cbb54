//! Tokens, good and bad, made by hand.

use data_encoding::BASE64URL_NOPAD;
use ring::hmac;
use serde_json::{Value, json};

use crate::deadline::unix_seconds;

/// `{"sub":user,"exp":now + lives_s}`.
pub fn claims(user: &str, lives_s: i64) -> Value {
    let now = i64::try_from(unix_seconds()).expect("the clock is sane");
    json!({ "sub": user, "exp": now + lives_s })
}

pub fn hs256(secret: &str, claims: &Value) -> String {
    let input = unsigned(&json!({ "alg": "HS256", "typ": "JWT" }), claims);
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), input.as_bytes());
    format!("{input}.{}", BASE64URL_NOPAD.encode(tag.as_ref()))
}

/// A token that claims to need no signature.
pub fn unsecured(claims: &Value) -> String {
    format!("{}.", unsigned(&json!({ "alg": "none", "typ": "JWT" }), claims))
}

fn unsigned(header: &Value, claims: &Value) -> String {
    let part = |value: &Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
    format!("{}.{}", part(header), part(claims))
}
