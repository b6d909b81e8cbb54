//! FCM: tokens are fetched once for all, errors are whose fault they are, and a connection that goes away loses nothing.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use router::provider::letter::{Address, Answer, Carrier, Class, Letter};
use router::record::Channel;
use serde_json::{Value, json};
use tests::Simulators;

use crate::support::{carriers, letter, refused, send, taken, wait};

struct Fcm {
    simulators: Simulators,
    carrier: Arc<dyn Carrier>,
    key: Key,
}

/// A service account's key, made by openssl.
pub(crate) struct Key {
    pem: String,
    /// As ring takes it: RSAPublicKey in DER.
    public: Vec<u8>,
}

fn openssl(arguments: &[&str]) -> Vec<u8> {
    let done = Command::new("openssl").args(arguments).output().expect("openssl is prepared");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    done.stdout
}

fn key(simulators: &Simulators) -> Key {
    let pem = openssl(&["genpkey", "-quiet", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"]);
    let pem = String::from_utf8(pem).expect("PEM is text");
    let file = simulators.file("account.pem", &pem);
    let public = openssl(&["rsa", "-in", &file, "-RSAPublicKey_out", "-outform", "DER"]);
    Key { pem, public }
}

/// The file of a service account of the simulated project, and its key.
pub(crate) fn account(simulators: &Simulators) -> (String, Key) {
    let key = key(simulators);
    let credentials = json!({
        "type": "service_account", "project_id": simulators.of("fcm", "project"), "private_key_id": "key-1",
        "private_key": key.pem, "client_email": "tocsin@simulated-project.iam.gserviceaccount.com",
        "token_uri": simulators.of("google", "token_uri"),
    });
    (simulators.file("account.json", &credentials.to_string()), key)
}

fn start() -> Fcm {
    let simulators = Simulators::start();
    let (credentials, key) = account(&simulators);
    let endpoint = simulators.of("fcm", "url");
    let carriers = carriers(&format!("[fcm]\ncredentials = \"{credentials}\"\nendpoint = \"{endpoint}\"\n"));
    Fcm { simulators, carrier: carriers.fcm.expect("FCM"), key }
}

pub(crate) fn push() -> Letter {
    letter(Channel::Push, Address::Fcm("device-token-1".to_owned()))
}

#[test]
fn a_push_goes_out_with_a_token_that_our_key_signed_for() {
    let fcm = start();
    let reference = taken(send(&*fcm.carrier, &push())).expect("its name");
    assert!(reference.starts_with("projects/simulated-project/messages/"), "{reference}");
    let message = fcm.simulators.received("fcm")[0]["content"]["message"].clone();
    assert_eq!(message["token"], "device-token-1");
    assert_eq!(message["notification"], json!({ "title": "Disk almost full", "body": "db-3 has 4 % left" }));
    assert_eq!(message["android"]["priority"], "HIGH");
    let asked = fcm.simulators.received("google")[0]["content"].clone();
    let assertion = asked["assertion"].as_str().expect("an assertion");
    let (text, signature) = assertion.rsplit_once('.').expect("a signature");
    let signature = BASE64URL_NOPAD.decode(signature.as_bytes()).expect("base64url");
    let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &fcm.key.public);
    assert!(public.verify(text.as_bytes(), &signature).is_ok(), "signed by the account's key");
    assert_eq!(asked["claims"]["aud"], json!(fcm.simulators.of("google", "token_uri")));
}

#[test]
fn a_token_is_fetched_once_for_all_who_wait() {
    let fcm = start();
    fcm.simulators.faults(&json!({ "google": { "do": { "slow_ms": 300 } } }));
    all_taken(&fcm, 40);
    assert_eq!(fcm.simulators.received("google").len(), 1);
    assert_eq!(fcm.simulators.received("fcm").len(), 40);
}

fn all_taken(fcm: &Fcm, count: usize) {
    wait(async {
        let sent = (0..count).map(|_| {
            let fcm = Arc::clone(&fcm.carrier);
            tokio::spawn(async move { fcm.send(&push()).await })
        });
        for sent in sent.collect::<Vec<_>>() {
            taken(sent.await.expect("no panic"));
        }
    });
}

#[test]
fn a_token_near_its_end_is_renewed_while_it_is_still_used() {
    let fcm = start();
    // Shorter than the time before its end at which it is renewed.
    fcm.simulators.faults(&json!({ "token_life_s": 120 }));
    taken(send(&*fcm.carrier, &push()));
    fcm.simulators.faults(&json!({ "google": { "do": "html502" } }));
    taken(send(&*fcm.carrier, &push()));
    assert_eq!(fcm.simulators.received("google").len(), 2, "it tried, and went on with what it had");
}

#[test]
fn a_token_that_was_taken_back_is_replaced_once() {
    let fcm = start();
    taken(send(&*fcm.carrier, &push()));
    fcm.simulators.faults(&json!({ "fcm": { "times": 1, "do": { "error": "UNAUTHENTICATED" } } }));
    taken(send(&*fcm.carrier, &push()));
    assert_eq!(fcm.simulators.received("google").len(), 2);
    fcm.simulators.faults(&json!({ "fcm": { "do": { "error": "UNAUTHENTICATED" } } }));
    refused(send(&*fcm.carrier, &push()), Class::Auth, "UNAUTHENTICATED");
    assert_eq!(fcm.simulators.received("fcm").len(), 5, "once more, not again and again");
}

#[test]
fn each_error_is_whose_fault_it_is() {
    let fcm = start();
    for (code, class) in [
        ("UNREGISTERED", Class::Gone),
        ("INVALID_TOKEN", Class::Gone),
        ("INVALID_ARGUMENT", Class::Content),
        ("SENDER_ID_MISMATCH", Class::Recipient),
        ("QUOTA_EXCEEDED", Class::Quota),
        ("UNAVAILABLE", Class::Fault),
        ("INTERNAL", Class::Fault),
        ("THIRD_PARTY_AUTH_ERROR", Class::Recipient),
        ("PERMISSION_DENIED", Class::Auth),
        ("NOT_FOUND", Class::Auth),
    ] {
        fcm.simulators.faults(&json!({ "fcm": { "do": { "error": code } } }));
        let refusal = refused(send(&*fcm.carrier, &push()), class, code);
        let waits = match class {
            Class::Quota => Some(Duration::from_secs(60)),
            Class::Fault => Some(Duration::from_secs(10)),
            _ => None,
        };
        assert_eq!(refusal.retry_after, waits, "{code}");
    }
    fcm.simulators.faults(&json!({ "fcm": { "do": { "throttle": { "retry_after": "5" } } } }));
    let refusal = refused(send(&*fcm.carrier, &push()), Class::Quota, "QUOTA_EXCEEDED");
    assert_eq!(refusal.retry_after, Some(Duration::from_secs(5)));
}

#[test]
fn what_may_have_been_taken_may_be_sent_again() {
    let fcm = start();
    for (fault, code) in [(json!("reset"), "no answer"), (json!("html502"), "HTTP 502")] {
        fcm.simulators.faults(&json!({ "fcm": { "do": fault } }));
        refused(send(&*fcm.carrier, &push()), Class::Fault, code);
    }
    let messages = fcm.simulators.received("fcm");
    let tags: Vec<&Value> = messages
        .iter()
        .map(|letter| &letter["content"]["message"]["android"]["notification"]["tag"])
        .collect();
    assert!(
        tags.iter().all(|tag| *tag == tags[0] && !tag.is_null()),
        "a copy takes the other's place: {tags:?}"
    );
}

#[test]
fn a_connection_that_goes_away_is_replaced() {
    let fcm = start();
    taken(send(&*fcm.carrier, &push()));
    // One of the three tries is the old connection's, which may refuse it as it drains.
    fcm.simulators.faults(&json!({ "fcm": { "times": 1, "do": "goaway" } }));
    sent_in_the_end(&fcm);
    fcm.simulators.faults(&json!({ "fcm": { "do": "goaway" } }));
    // The connection that there is drains meanwhile, and may take some more.
    let answer = tests::until("it has drained", || match send(&*fcm.carrier, &push()) {
        Answer::Taken { .. } => None,
        answer => Some(answer),
    });
    refused(answer, Class::Fault, "connect");
}

/// The old connection may close under a push before its GOAWAY is read: then nobody knows, and it is sent once more.
fn sent_in_the_end(fcm: &Fcm) {
    tests::until("it is taken", || match send(&*fcm.carrier, &push()) {
        Answer::Taken { .. } => Some(()),
        Answer::Refused(refusal) if refusal.class == Class::Fault && refusal.code == "no answer" => None,
        answer => panic!("{answer:?}"),
    });
}

#[test]
fn no_token_is_nobody_s_unknown() {
    let fcm = start();
    fcm.simulators.faults(&json!({ "google": { "do": { "error": "invalid_grant" } } }));
    refused(send(&*fcm.carrier, &push()), Class::Auth, "invalid_grant");
    let fcm = start();
    fcm.simulators.faults(&json!({ "google": { "do": "html502" } }));
    refused(send(&*fcm.carrier, &push()), Class::Fault, "token HTTP 502");
    assert!(fcm.simulators.received("fcm").is_empty());
}

#[test]
fn what_is_shown_is_cut_and_data_are_not() {
    let fcm = start();
    let mut long = push();
    long.body = Some("\u{1F514}".repeat(4_000));
    taken(send(&*fcm.carrier, &long));
    let shown = fcm.simulators.received("fcm")[0]["content"]["message"]["notification"]["body"].clone();
    assert!(shown.as_str().expect("a body").ends_with("\u{1F514}…"));
    let data = format!("{{\"a\":\"{}\"}}", "x".repeat(5_000));
    long.data = serde_json::value::RawValue::from_string(data).ok();
    assert!(
        matches!(send(&*fcm.carrier, &long), Answer::Refused(refusal) if refusal.class == Class::Content)
    );
    assert_eq!(fcm.simulators.received("fcm").len(), 1);
}
