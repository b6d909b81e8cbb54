//! Amazon SES, version 2: checks the signature as AWS does, sends one mail a request, has SNS tell what became of it.
//!
//! Source of bodies and codes: https://docs.aws.amazon.com/ses/latest/APIReference-V2/API_SendEmail.html and …/CommonErrors.html

use std::net::SocketAddr;

use data_encoding::HEXLOWER;
use ring::{digest, hmac};
use serde_json::{Value, json};

use super::http::{Answered, Asked, Done};
use super::sns;
use super::world::World;

const REGION: &str = "eu-west-1";
const ACCESS_KEY: &str = "AKIASIMULATED0000000";
const SECRET_KEY: &str = "simulated/secret+key";
const PATH: &str = "/v2/email/outbound-emails";
/// Bytes of a mail.
const MAIL_BYTES_MAX: usize = 40 * 1024 * 1024;
const TAG_CHARS_MAX: usize = 256;

pub(super) fn described(at: SocketAddr) -> Value {
    json!({ "url": format!("http://{at}"), "region": REGION, "access_key": ACCESS_KEY, "secret_key": SECRET_KEY })
}

fn document(asked: &Asked) -> Value {
    serde_json::from_slice(&asked.body).unwrap_or_default()
}

pub(super) fn address(asked: &Asked) -> String {
    document(asked)["Destination"]["ToAddresses"][0].as_str().unwrap_or_default().to_owned()
}

pub(super) fn content(asked: &Asked) -> Value {
    document(asked)
}

/// (name, status, words)
const ERRORS: &[(&str, u16, &str)] = &[
    ("TooManyRequestsException", 429, "Maximum sending rate exceeded."),
    ("DailyQuota", 429, "Daily message quota exceeded."),
    ("LimitExceededException", 400, "Daily message quota exceeded."),
    ("AccountSuspendedException", 400, "Your account has been suspended."),
    ("SendingPausedException", 400, "Sending is paused for this account."),
    ("MailFromDomainNotVerifiedException", 400, "The MAIL FROM domain is not verified."),
    ("MessageRejected", 400, "Transaction failed: Address contains illegal characters in user name"),
    (
        "NotVerified",
        400,
        "Email address is not verified. The following identities failed the check in region EU-WEST-1: {to}",
    ),
    ("BadRequestException", 400, "The request is invalid."),
    ("NotFoundException", 404, "Configuration set <none> does not exist."),
    (
        "InvalidSignatureException",
        403,
        "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details.",
    ),
    ("UnrecognizedClientException", 403, "The security token included in the request is invalid."),
    ("InternalFailure", 500, "Internal Failure"),
    ("ServiceUnavailable", 503, "Service Unavailable"),
];

pub(super) fn error(code: &str) -> Answered {
    let (name, status, words) = ERRORS.iter().find(|(name, ..)| *name == code).copied().unwrap_or(ERRORS[12]);
    // Two of them are told apart by their words alone.
    let told = match name {
        "DailyQuota" => "TooManyRequestsException",
        "NotVerified" => "MessageRejected",
        name => name,
    };
    Answered::json(status, &json!({ "message": words.replace("{to}", "someone@example.com") }))
        .with("x-amzn-errortype", Some(told.to_owned()))
}

pub(super) fn take(world: &World, asked: &Asked) -> Done {
    let document = document(asked);
    let simple = &document["Content"]["Simple"];
    let text = |value: &Value| value["Data"].as_str().map_or(0, str::len);
    let size = text(&simple["Subject"]) + text(&simple["Body"]["Text"]) + text(&simple["Body"]["Html"]);
    let answer = if let Some(code) = unsigned(asked) {
        error(code)
    } else if asked.path != PATH || asked.method != "POST" {
        error("NotFoundException")
    } else if size == 0 || size > MAIL_BYTES_MAX || !has_good_tags(&document) {
        error("BadRequestException")
    } else if !address(asked).contains('@') || document["FromEmailAddress"].as_str().is_none() {
        error("MessageRejected")
    } else {
        let id = format!("0102{:012x}-{:08x}-0000-0000-0000-000000000000-000000", world.next_id(), 7);
        sns::tell(world, &document, &id, &address(asked));
        Answered::json(200, &json!({ "MessageId": id }))
    };
    Done { to: address(asked), content: content(asked), answer }
}

fn has_good_tags(document: &Value) -> bool {
    let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    let good = |text: Option<&str>| text.is_some_and(|text| text.len() <= TAG_CHARS_MAX && plain(text));
    let tags = document["EmailTags"].as_array();
    tags.is_none_or(|tags| tags.iter().all(|tag| good(tag["Name"].as_str()) && good(tag["Value"].as_str())))
}

/// The error, if the signature is not that of the key over this very request.
fn unsigned(asked: &Asked) -> Option<&'static str> {
    let header = asked.header("authorization").unwrap_or_default();
    let field = |name: &str| {
        let rest = header.split_once(name).map_or("", |(_, rest)| rest);
        rest.split([',', ' ']).next().unwrap_or_default()
    };
    let credential: Vec<&str> = field("Credential=").split('/').collect();
    let [access_key, day, region, service, "aws4_request"] = credential[..] else {
        return Some("UnrecognizedClientException");
    };
    if access_key != ACCESS_KEY {
        return Some("UnrecognizedClientException");
    }
    let (names, date) = (field("SignedHeaders="), asked.header("x-amz-date").unwrap_or_default());
    let lines: Option<String> =
        names.split(';').map(|name| Some(format!("{name}:{}\n", asked.header(name)?.trim()))).collect();
    let (Some(lines), true) = (lines, names.contains("host") && region == REGION && service == "ses") else {
        return Some("InvalidSignatureException");
    };
    let canonical = format!("{}\n{}\n\n{lines}\n{names}\n{}", asked.method, asked.path, hash(&asked.body));
    let place = format!("{day}/{region}/{service}/aws4_request");
    let text = format!("AWS4-HMAC-SHA256\n{date}\n{place}\n{}", hash(canonical.as_bytes()));
    let mut key = format!("AWS4{SECRET_KEY}").into_bytes();
    for step in [day, region, service, "aws4_request", text.as_str()] {
        key = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), step.as_bytes()).as_ref().to_vec();
    }
    (HEXLOWER.encode(&key) != field("Signature=")).then_some("InvalidSignatureException")
}

fn hash(bytes: &[u8]) -> String {
    HEXLOWER.encode(digest::digest(&digest::SHA256, bytes).as_ref())
}
