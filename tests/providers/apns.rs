//! APNs: signed by our key, over HTTP/2 whatever its streams do, and a token is given up only when it is over.

use std::sync::Arc;
use std::time::Duration;

use data_encoding::{BASE64, BASE64URL_NOPAD};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, UnparsedPublicKey,
};
use router::provider::letter::{Address, Carrier, Class, Letter};
use router::record::Channel;
use serde_json::json;
use tests::Simulators;
use wire::time::Wall;

use crate::support::{carriers, letter, refused, send, spawn, taken, wait};

const DEVICE: &str = "00fc13adff785122b4ad28809a3420982341241421348097878e577c991de8f0";
const REGISTERED: i64 = 1_700_000_000_000;

/// A P-256 key in PEM, and its public half.
pub(crate) fn key() -> (String, Vec<u8>) {
    let (alg, random) = (&ECDSA_P256_SHA256_FIXED_SIGNING, SystemRandom::new());
    let der = EcdsaKeyPair::generate_pkcs8(alg, &random).expect("a key");
    let public =
        EcdsaKeyPair::from_pkcs8(alg, der.as_ref(), &random).expect("a key").public_key().as_ref().to_vec();
    let pem =
        format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", BASE64.encode(der.as_ref()));
    (pem, public)
}

fn start() -> (Simulators, Arc<dyn Carrier>, Vec<u8>) {
    let simulators = Simulators::start();
    let (pem, public) = key();
    let apns = carrier(&simulators, &simulators.of("apns", "url"), &pem);
    (simulators, apns, public)
}

pub(crate) fn carrier(simulators: &Simulators, endpoint: &str, pem: &str) -> Arc<dyn Carrier> {
    let of = |key: &str| simulators.of("apns", key);
    let file = simulators.file("apns.p8", pem);
    let text = format!(
        "[apns]\nkey = \"{file}\"\nkey_id = \"{}\"\nteam_id = \"{}\"\ntopic = \"{}\"\nendpoint = \"{endpoint}\"\n",
        of("key_id"),
        of("team_id"),
        of("topic"),
    );
    carriers(&text).apns.expect("APNs")
}

pub(crate) fn push() -> Letter {
    let to = Address::Apns { token: DEVICE.to_owned(), registered_at: Wall(REGISTERED * 1_000) };
    letter(Channel::Push, to)
}

#[test]
fn a_push_is_signed_and_has_its_headers() {
    let (simulators, apns, public) = start();
    let mut push = push();
    push.ttl = Some(Duration::from_secs(300));
    push.data = serde_json::value::RawValue::from_string("{\"a\":1}".to_owned()).ok();
    let (one, two) = (taken(send(&*apns, &push)), taken(send(&*apns, &push)));
    assert!(one.is_some() && one == two, "the same id at every try: {one:?} {two:?}");
    let received = simulators.received("apns");
    let (headers, payload) = (&received[0]["content"]["headers"], &received[0]["content"]["payload"]);
    assert_eq!(payload["aps"]["alert"], json!({ "title": "Disk almost full", "body": "db-3 has 4 % left" }));
    assert_eq!((&payload["data"]["a"], &headers["apns-priority"]), (&json!(1), &json!("10")));
    assert_eq!(headers["apns-collapse-id"], json!(push.delivery.id.to_string()));
    assert_eq!(received[0]["content"]["version"], "HTTP/2.0");
    let token =
        |at: usize| received[at]["content"]["headers"]["authorization"].as_str().expect("a token").to_owned();
    assert_eq!(token(0), token(1), "one token for all");
    let token = token(0);
    let (text, signature) = token.trim_start_matches("bearer ").rsplit_once('.').expect("a signature");
    let signature = BASE64URL_NOPAD.decode(signature.as_bytes()).expect("base64url");
    let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &public);
    assert!(public.verify(text.as_bytes(), &signature).is_ok(), "signed by our key");
}

#[test]
fn each_reason_is_whose_fault_it_is() {
    let (simulators, apns, _) = start();
    // Before one was good, it may be us who are at the wrong place.
    simulators.faults(&json!({ "apns": { "do": { "error": "BadDeviceToken" } } }));
    refused(send(&*apns, &push()), Class::Recipient, "BadDeviceToken");
    simulators.faults(&json!({}));
    taken(send(&*apns, &push()));
    for (reason, class) in [
        ("BadDeviceToken", Class::Gone),
        ("DeviceTokenNotForTopic", Class::Recipient),
        ("ExpiredToken", Class::Gone),
        ("Unregistered", Class::Gone),
        ("PayloadTooLarge", Class::Content),
        ("BadCollapseId", Class::Content),
        ("InvalidProviderToken", Class::Auth),
        ("TopicDisallowed", Class::Auth),
        ("TooManyProviderTokenUpdates", Class::Quota),
        ("TooManyRequests", Class::Recipient),
        ("InternalServerError", Class::Fault),
        ("ServiceUnavailable", Class::Fault),
        ("Shutdown", Class::Fault),
    ] {
        simulators.faults(&json!({ "apns": { "do": { "error": reason } } }));
        refused(send(&*apns, &push()), class, reason);
    }
    // The app registered again after this token's answer was true.
    let since = REGISTERED - 1;
    simulators.faults(&json!({ "apns": { "do": { "error": format!("Unregistered@{since}") } } }));
    refused(send(&*apns, &push()), Class::Recipient, "Unregistered");
}

#[test]
fn an_expired_token_is_replaced_once() {
    let (simulators, apns, _) = start();
    simulators.faults(&json!({ "apns": { "times": 1, "do": { "error": "ExpiredProviderToken" } } }));
    taken(send(&*apns, &push()));
    simulators.faults(&json!({ "apns": { "do": { "error": "ExpiredProviderToken" } } }));
    refused(send(&*apns, &push()), Class::Auth, "ExpiredProviderToken");
    assert_eq!(simulators.received("apns").len(), 4, "once more each time, not again and again");
}

#[test]
fn a_connection_that_goes_away_loses_nothing() {
    let (simulators, apns, _) = start();
    taken(send(&*apns, &push()));
    // Two connections in turn say that they processed nothing; the third takes it.
    simulators.faults(&json!({ "apns": { "times": 2, "do": "goaway" } }));
    taken(send(&*apns, &push()));
    // A drain while many are on their way: each is answered, or sent again on the next connection.
    simulators.faults(&json!({ "apns": { "do": { "slow_ms": 100 } } }));
    let sent: Vec<_> = (0..60)
        .map(|_| {
            let apns = Arc::clone(&apns);
            spawn(async move { apns.send(&push()).await })
        })
        .collect();
    simulators.faults(&json!({ "apns": [{ "times": 1, "do": "goaway" }, { "do": { "slow_ms": 10 } }] }));
    for answer in sent {
        taken(wait(answer).expect("no panic"));
    }
}

#[test]
fn what_may_have_been_taken_may_be_sent_again() {
    let (simulators, apns, _) = start();
    simulators.faults(&json!({ "apns": { "do": "reset" } }));
    refused(send(&*apns, &push()), Class::Fault, "no answer");
    simulators.faults(&json!({ "apns": { "do": "html502" } }));
    refused(send(&*apns, &push()), Class::Fault, "HTTP 502");
}
