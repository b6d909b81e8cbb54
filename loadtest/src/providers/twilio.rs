//! Twilio: messages and calls of the API of 2010-04-01, with its checks, its errors and its callbacks.
//!
//! Source of bodies and codes: https://www.twilio.com/docs/usage/twilios-response, https://www.twilio.com/docs/api/errors and
//! https://www.twilio.com/docs/messaging/api/message-resource.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use data_encoding::BASE64;
use serde_json::{Value, json};
use url::form_urlencoded;

use super::callbacks::{self, Story};
use super::http::{Answered, Asked, Done};
use super::world::World;

const ACCOUNT: &str = "AC00000000000000000000000000000000";
const KEY: &str = "SK00000000000000000000000000000000";
const SECRET: &str = "simulated-secret";
/// Signs callbacks.
pub(super) const TOKEN: &str = "simulated-token";
/// Characters of a message.
const BODY_CHARS_MAX: usize = 1_600;
const TWIML_CHARS_MAX: usize = 4_000;

pub(super) fn described(at: SocketAddr) -> Value {
    json!({
        "url": format!("http://{at}"), "account": ACCOUNT, "key": KEY, "secret": SECRET, "auth_token": TOKEN,
    })
}

pub(super) fn address(asked: &Asked) -> String {
    form(asked).remove("To").unwrap_or_default()
}

pub(super) fn content(asked: &Asked) -> Value {
    json!({ "resource": resource(asked), "form": form(asked) })
}

fn form(asked: &Asked) -> BTreeMap<String, String> {
    form_urlencoded::parse(&asked.body).into_owned().collect()
}

fn resource(asked: &Asked) -> &str {
    asked.path.rsplit('/').next().unwrap_or_default()
}

/// The status and the words of an error.
const ERRORS: &[(u32, u16, &str)] = &[
    (20003, 401, "Authenticate"),
    (20005, 403, "Account not active"),
    (20404, 404, "The requested resource was not found"),
    (20429, 429, "Too Many Requests"),
    (20500, 500, "An internal server error has occurred"),
    (20503, 503, "Service is unavailable. Please try again"),
    (21211, 400, "The 'To' number {to} is not a valid phone number."),
    (21212, 400, "The 'From' number is not a valid phone number, shortcode, or alphanumeric sender ID."),
    (21217, 400, "Phone number does not appear to be valid"),
    (
        21408,
        403,
        "Permission to send an SMS has not been enabled for the region indicated by the 'To' number: {to}",
    ),
    (21602, 400, "Message body is required."),
    (21603, 400, "A 'From' phone number is required."),
    (21604, 400, "A 'To' phone number is required."),
    (21608, 400, "The number {to} is unverified. Trial accounts cannot send messages to unverified numbers."),
    (21610, 400, "Attempt to send to unsubscribed recipient"),
    (21611, 429, "This 'From' number has exceeded the maximum number of queued messages"),
    (21614, 400, "To number: {to}, is not a mobile number"),
    (21617, 400, "The concatenated message body exceeds the 1600 character limit"),
];

pub(super) fn error(code: &str) -> Answered {
    refusal(code, "+15005550001")
}

fn refusal(code: &str, to: &str) -> Answered {
    let found = ERRORS.iter().find(|(known, _, _)| known.to_string() == code);
    let (code, status, words) =
        found.copied().unwrap_or((20500, 500, "An internal server error has occurred"));
    let body = json!({
        "code": code,
        "message": words.replace("{to}", to),
        "more_info": format!("https://www.twilio.com/docs/errors/{code}"),
        "status": status,
    });
    Answered::json(status, &body)
}

pub(super) fn take(world: &World, asked: &Asked) -> Done {
    let form = form(asked);
    let to = form.get("To").cloned().unwrap_or_default();
    let answer = wrong(asked, &form).map_or_else(|| made(world, asked, &form), |code| refusal(code, &to));
    Done { to, content: content(asked), answer }
}

/// What Twilio would refuse.
fn wrong(asked: &Asked, form: &BTreeMap<String, String>) -> Option<&'static str> {
    let field = |name: &str| form.get(name).map_or("", String::as_str);
    let is_call = resource(asked) == "Calls.json";
    let is_resource = is_call || resource(asked) == "Messages.json";
    let expected = format!("/2010-04-01/Accounts/{ACCOUNT}/{}", resource(asked));
    let length = field(if is_call { "Twiml" } else { "Body" }).chars().count();
    let checks = [
        (!is_known(asked), "20003"),
        (!is_resource || asked.path != expected || asked.method != "POST", "20404"),
        (field("To").is_empty(), "21604"),
        (!is_number(field("To")), "21211"),
        (field("From").is_empty() && field("MessagingServiceSid").is_empty(), "21603"),
        (length == 0, "21602"),
        (length > if is_call { TWIML_CHARS_MAX } else { BODY_CHARS_MAX }, "21617"),
    ];
    checks.into_iter().find(|(is_wrong, _)| *is_wrong).map(|(_, code)| code)
}

fn is_known(asked: &Asked) -> bool {
    let pair = asked.header("authorization").and_then(|header| header.strip_prefix("Basic "));
    let pair = pair.and_then(|text| BASE64.decode(text.as_bytes()).ok());
    let good = [format!("{KEY}:{SECRET}"), format!("{ACCOUNT}:{TOKEN}")];
    pair.is_some_and(|pair| good.iter().any(|one| one.as_bytes() == pair))
}

fn is_number(text: &str) -> bool {
    text.strip_prefix('+').is_some_and(|digits| {
        (7..=15).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit())
    })
}

fn made(world: &World, asked: &Asked, form: &BTreeMap<String, String>) -> Answered {
    let is_call = resource(asked) == "Calls.json";
    let sid = format!("{}{:032x}", if is_call { "CA" } else { "SM" }, world.next_id());
    let field = |name: &str| form.get(name).cloned();
    if let Some(url) = field("StatusCallback") {
        let callbacks = world.callbacks();
        let statuses = if is_call { callbacks.call_statuses.clone() } else { callbacks.statuses.clone() };
        let forms = statuses.iter().map(|status| told(&sid, is_call, status, form, callbacks.error_code));
        callbacks::tell(Story { url, forms: forms.collect(), how: callbacks });
    }
    let body = json!({
        "sid": sid, "account_sid": ACCOUNT, "api_version": "2010-04-01", "status": "queued",
        "to": field("To"), "from": field("From"), "messaging_service_sid": field("MessagingServiceSid"),
        "body": field("Body"), "num_segments": "1", "direction": "outbound-api", "error_code": null,
        "error_message": null, "uri": format!("{}/{sid}.json", asked.path.trim_end_matches(".json")),
    });
    Answered::json(201, &body)
}

/// One callback's parameters.
fn told(
    sid: &str,
    is_call: bool,
    status: &str,
    form: &BTreeMap<String, String>,
    error: Option<u32>,
) -> Vec<(String, String)> {
    let field = |name: &str| form.get(name).cloned().unwrap_or_default();
    let (id, state) = if is_call { ("CallSid", "CallStatus") } else { ("MessageSid", "MessageStatus") };
    let mut told = vec![
        (id, sid.to_owned()),
        (state, status.to_owned()),
        ("AccountSid", ACCOUNT.to_owned()),
        ("ApiVersion", "2010-04-01".to_owned()),
        ("From", field("From")),
        ("To", field("To")),
    ];
    if !is_call {
        told.extend([("SmsSid", sid.to_owned()), ("SmsStatus", status.to_owned())]);
    }
    if let (Some(error), "failed" | "undelivered") = (error, status) {
        told.push(("ErrorCode", error.to_string()));
    }
    told.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}
