//! Google's token server: a signed assertion for an access token.
//!
//! The assertion's signature is not checked, since the key is the tester's; the whole of it is in `GET /received`, so that a test can.
//! Source: https://developers.google.com/identity/protocols/oauth2/service-account#httprest

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};
use url::form_urlencoded;

use super::http::{Answered, Asked, Done};
use super::world::World;

const GRANT: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
const SCOPE: &str = "https://www.googleapis.com/auth/firebase.messaging";

pub(super) fn described(at: SocketAddr) -> Value {
    json!({ "token_uri": format!("http://{at}/token") })
}

fn form(asked: &Asked) -> BTreeMap<String, String> {
    form_urlencoded::parse(&asked.body).into_owned().collect()
}

pub(super) fn address(asked: &Asked) -> String {
    claims(&form(asked))["iss"].as_str().unwrap_or_default().to_owned()
}

pub(super) fn content(asked: &Asked) -> Value {
    let form = form(asked);
    json!({ "assertion": form.get("assertion"), "claims": claims(&form) })
}

fn claims(form: &BTreeMap<String, String>) -> Value {
    let part = form.get("assertion").and_then(|text| text.split('.').nth(1));
    let bytes = part.and_then(|part| BASE64URL_NOPAD.decode(part.as_bytes()).ok());
    bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
}

pub(super) fn error(code: &str) -> Answered {
    let words = match code {
        "invalid_client" => "The OAuth client was not found.",
        "invalid_scope" => "Invalid OAuth scope or ID token audience provided.",
        _ => "Invalid JWT Signature.",
    };
    let status = if code == "invalid_client" { 401 } else { 400 };
    Answered::json(status, &json!({ "error": code, "error_description": words }))
}

pub(super) fn take(world: &World, asked: &Asked) -> Done {
    let form = form(asked);
    let claims = claims(&form);
    let now = world.clock.wall().millis() / 1_000;
    let time = |name: &str| claims[name].as_i64().unwrap_or_default();
    let is_in_time =
        (time("iat") - now).abs() <= 300 && time("exp") > now && time("exp") - time("iat") <= 3_600;
    let answer = if form.get("grant_type").map(String::as_str) != Some(GRANT) || asked.path != "/token" {
        Answered::json(
            400,
            &json!({ "error": "unsupported_grant_type", "error_description": "Invalid grant_type" }),
        )
    } else if claims["scope"] != SCOPE {
        error("invalid_scope")
    } else if !is_in_time {
        let words =
            "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe.";
        Answered::json(400, &json!({ "error": "invalid_grant", "error_description": words }))
    } else {
        let seconds = world.token_life_s();
        let token = world.give_token(Duration::from_secs(seconds));
        Answered::json(200, &json!({ "access_token": token, "expires_in": seconds, "token_type": "Bearer" }))
    };
    Done { to: address(asked), content: content(asked), answer }
}
