//! Twilio: what may have gone out is never called failed, and what certainly did not is never called unknown.

use std::sync::Arc;
use std::time::Duration;

use router::provider::carriers::Carriers;
use router::provider::delivery;
use router::provider::letter::{Address, Carrier, Class};
use router::record::Channel;
use serde_json::json;
use tests::Simulators;

use crate::support::{carriers, letter, refused, send, taken, unknown};

const NUMBER: &str = "+4915112345678";

struct Twilio {
    simulators: Simulators,
    sms: Arc<dyn Carrier>,
    voice: Arc<dyn Carrier>,
}

fn settings(simulators: &Simulators, secret: &str, more: &str) -> String {
    let of = |key: &str| simulators.of("twilio", key);
    let secret = simulators.file("twilio.secret", secret);
    format!(
        "[twilio]\naccount = \"{}\"\nkey = \"{}\"\nsecret_file = \"{secret}\"\nfrom = \"+15005550006\"\n\
         voice_from = \"+15005550007\"\nendpoint = \"{}\"\n{more}",
        of("account"),
        of("key"),
        of("url"),
    )
}

fn start(more: impl Fn(&Simulators) -> String) -> Twilio {
    let simulators = Simulators::start();
    let secret = simulators.of("twilio", "secret");
    let Carriers { sms, voice, .. } = carriers(&settings(&simulators, &secret, &more(&simulators)));
    Twilio { simulators, sms: sms.expect("SMS"), voice: voice.expect("calls") }
}

fn phone(channel: Channel) -> router::provider::letter::Letter {
    letter(channel, Address::Phone(NUMBER.to_owned()))
}

#[test]
fn a_message_has_all_that_was_asked_for() {
    let twilio = start(|simulators| {
        let token = simulators.file("twilio.token", &simulators.of("twilio", "auth_token"));
        format!(
            "status_callback = \"https://hooks.example/v1/callbacks/twilio?tenant=1\"\nauth_token_file = \"{token}\"\n"
        )
    });
    let mut message = phone(Channel::Sms);
    message.ttl = Some(Duration::from_secs(300));
    let reference = taken(send(&*twilio.sms, &message)).expect("its id");
    assert!(reference.starts_with("SM"), "{reference}");
    let received = &twilio.simulators.received("twilio")[0];
    let form = &received["content"]["form"];
    assert_eq!((&received["to"], &received["taken"]), (&json!(NUMBER), &json!(true)));
    assert_eq!(form["Body"], "Disk almost full\ndb-3 has 4 % left");
    assert_eq!((&form["From"], &form["ValidityPeriod"]), (&json!("+15005550006"), &json!("300")));
    let callback = form["StatusCallback"].as_str().expect("where to call back");
    let (_, name) = callback.split_once("?tenant=1&d=").expect("the delivery's name");
    let (name, retries) = name.split_once('#').expect("how often it is to be told again");
    assert_eq!(retries, "rc=5&rp=all");
    assert_eq!(delivery::read(name), Some(message.delivery));
}

#[test]
fn a_call_reads_out_and_cannot_be_told_to_do_more() {
    let twilio = start(|_| String::new());
    let mut call = phone(Channel::Voice);
    call.body = Some("</Say><Dial>+1900</Dial>".to_owned());
    let reference = taken(send(&*twilio.voice, &call)).expect("its id");
    assert!(reference.starts_with("CA"), "{reference}");
    let twiml = twilio.simulators.received("twilio")[0]["content"]["form"]["Twiml"].to_string();
    assert!(twiml.contains("&lt;Dial&gt;") && !twiml.contains("<Dial>"), "{twiml}");
}

#[test]
fn each_error_is_whose_fault_it_is() {
    let twilio = start(|_| String::new());
    for (code, class) in [
        ("20003", Class::Auth),
        ("20005", Class::Auth),
        ("20429", Class::Quota),
        ("20500", Class::Fault),
        ("20503", Class::Fault),
        ("21211", Class::Gone),
        ("21408", Class::Recipient),
        ("21602", Class::Content),
        ("21608", Class::Recipient),
        ("21610", Class::Gone),
        ("21611", Class::Quota),
        ("21614", Class::Gone),
    ] {
        twilio.simulators.faults(&json!({ "twilio": { "to": NUMBER, "do": { "error": code } } }));
        let refusal = refused(send(&*twilio.sms, &phone(Channel::Sms)), class, code);
        assert!(!refusal.detail.contains("15005550001"), "{}", refusal.detail);
        assert!(!refusal.detail.is_empty());
    }
}

#[test]
fn what_may_have_gone_out_is_unknown() {
    let twilio = start(|_| String::new());
    for fault in [json!("reset"), json!("html502"), json!({ "status": { "status": 504 } })] {
        twilio.simulators.faults(&json!({ "twilio": { "do": fault } }));
        unknown(&send(&*twilio.sms, &phone(Channel::Sms)));
        unknown(&send(&*twilio.voice, &phone(Channel::Voice)));
    }
    let received = twilio.simulators.received("twilio");
    assert_eq!(received.iter().filter(|letter| letter["taken"] == true).count(), 2, "the resets had them");
}

#[test]
fn what_was_created_counts_though_its_answer_is_torn_or_endless() {
    let twilio = start(|_| String::new());
    for fault in ["half", "huge"] {
        twilio.simulators.faults(&json!({ "twilio": { "do": fault } }));
        assert_eq!(taken(send(&*twilio.sms, &phone(Channel::Sms))), None, "{fault}");
    }
}

#[test]
fn who_is_not_there_got_nothing() {
    let twilio = start(|_| String::new());
    taken(send(&*twilio.sms, &phone(Channel::Sms)));
    twilio.simulators.faults(&json!({ "twilio": { "do": "refuse" } }));
    tests::until("nobody listens", || {
        std::net::TcpStream::connect(twilio.simulators.of("twilio", "url").trim_start_matches("http://"))
            .is_err()
            .then_some(())
    });
    // A client of its own: the other's connection may be dying just now, which is another story.
    let secret = twilio.simulators.of("twilio", "secret");
    let sms = carriers(&settings(&twilio.simulators, &secret, "")).sms.expect("SMS");
    refused(send(&*sms, &phone(Channel::Sms)), Class::Fault, "connect");
    twilio.simulators.calm();
    tests::until("it is back", || {
        matches!(send(&*sms, &phone(Channel::Sms)), router::provider::letter::Answer::Taken { .. })
            .then_some(())
    });
}

#[test]
fn a_wait_is_handed_on_and_a_redirect_is_not_followed() {
    let twilio = start(|_| String::new());
    twilio.simulators.faults(&json!({ "twilio": { "do": { "throttle": { "retry_after": "7" } } } }));
    let refusal = refused(send(&*twilio.sms, &phone(Channel::Sms)), Class::Quota, "20429");
    assert_eq!(refusal.retry_after, Some(Duration::from_secs(7)));
    twilio.simulators.calm();
    twilio.simulators.faults(&json!({ "twilio": { "do": "redirect" } }));
    refused(send(&*twilio.sms, &phone(Channel::Sms)), Class::Auth, "HTTP 307");
    assert_eq!(twilio.simulators.received("twilio").len(), 1, "the first request, and no other");
}

#[test]
fn a_wrong_secret_is_refused_and_shows_nowhere() {
    let simulators = Simulators::start();
    let text = settings(&simulators, "canary-wrong", "");
    let sms = carriers(&text).sms.expect("SMS");
    let refusal = refused(send(&*sms, &phone(Channel::Sms)), Class::Auth, "20003");
    let shown = format!("{refusal:?} {:?} {:?}", crate::support::config(&text), carriers(&text));
    assert!(!shown.contains("canary") && !shown.contains(NUMBER), "{shown}");
}
