//! A one-use code, from a service's request to the providers' doors and back.

use std::time::Duration;

use serde_json::{Value, json};
use tests::deadline::Stopwatch;
use tests::sla::{Failure, Took, report};
use tests::until;

use crate::house::{Contacts, House, SECRETS};

fn ask(house: &House, user: &str) -> String {
    let asked = house.tocsin.api().send("POST", "/v1/otp", &json!({ "user": user })).expect(202).json();
    asked["id"].as_str().expect("an id").to_owned()
}

fn shown(house: &House, id: &str) -> Value {
    house.tocsin.api().get(&format!("/v1/otp/{id}")).expect(200).json()
}

fn wait_for(house: &House, id: &str, state: &str) -> Value {
    until(&format!("the code is {state}"), || Some(shown(house, id)).filter(|shown| shown["state"] == state))
}

/// The first six digits, whatever stands between them when they are read out.
fn code(text: &str) -> String {
    let text = text.split_once("<Say loop=\"2\">").map_or(text, |(_, said)| said);
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    digits.get(..6).unwrap_or_else(|| panic!("no code in {text:?}")).to_owned()
}

fn rungs(shown: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let all = shown["rungs"].as_array().expect("a list");
    all.iter().map(|rung| (text(&rung["channel"]), text(&rung["state"]))).collect()
}

/// The code as each way brought it.
fn codes(house: &House, contacts: &Contacts) -> Vec<String> {
    let phone = |resource: &str, field: &str| {
        let all = house.letters("twilio", &contacts.phone);
        let one = all.iter().find(|letter| letter["content"]["resource"] == resource);
        one.map(|letter| code(letter["content"]["form"][field].as_str().expect("a text")))
    };
    let push = house.letters("fcm", &contacts.token);
    let push = push.first().map(|letter| &letter["content"]["message"]["notification"]["body"]);
    let mail = house.letters("smtp", &contacts.email);
    let mail = mail.first().map(|letter| &letter["content"]["body"]);
    let text = |value: &Value| code(value.as_str().expect("a text"));
    [phone("Messages.json", "Body"), push.map(text), mail.map(text), phone("Calls.json", "Twiml")]
        .into_iter()
        .flatten()
        .collect()
}

#[test]
fn one_code_climbs_all_rungs_until_it_is_verified_and_shows_nowhere() {
    let mut house = House::start(|setup| {
        let setup = setup.with_environment("RUST_LOG", "trace,h2=off,hyper=off,hyper_util=off".to_owned());
        setup.set("otp.sms_receipt_s", 1).set("otp.push_ack_s", 1).set("otp.email_s", 1)
    });
    // No network tells that the SMS arrived.
    house.simulators.faults(&json!({ "callbacks": { "statuses": ["queued", "sent"] } }));
    let ada = house.knows("ada", 1);
    let id = ask(&house, "ada");
    until("the call is taken", || (codes(&house, &ada).len() == 4).then_some(()));
    let ended = until("the call is told of", || {
        Some(shown(&house, &id)).filter(|shown| shown["rungs"][3]["state"] == "delivered")
    });
    let wanted =
        [("sms", "handed_over"), ("push", "handed_over"), ("email", "handed_over"), ("voice", "delivered")];
    assert_eq!(rungs(&ended), wanted.map(|(channel, state)| (channel.to_owned(), state.to_owned())));
    let sent = codes(&house, &ada);
    assert!(sent.iter().all(|one| *one == sent[0]), "one code on all rungs: {sent:?}");
    let verify = |code: &str| {
        let path = format!("/v1/otp/{id}/verify");
        house.tocsin.api().send("POST", &path, &json!({ "code": code }))
    };
    let wrong = if sent[0] == "000000" { "000001" } else { "000000" };
    assert_eq!(verify(wrong).expect(200).json(), json!({ "verified": false, "left": 4 }));
    assert_eq!(verify(&sent[0]).expect(200).json(), json!({ "verified": true }));
    verify(&sent[0]).expect(410);
    assert_eq!(shown(&house, &id)["state"], "verified");

    let pages =
        [house.tocsin.gateway_admin(), house.tocsin.router_admin()].map(|admin| admin.get("/metrics").text);
    let status = house.tocsin.api().get("/v1/status").text;
    let log = house.tocsin.gateway().log();
    assert!(log.contains("TRACE") || log.contains("DEBUG"), "the log says as much as it can");
    let Contacts { phone, email, token } = &ada;
    for canary in SECRETS.into_iter().chain([&sent[0], phone, email, token].map(String::as_str)) {
        assert!(!log.contains(canary), "{canary} is in the log");
        assert!(!pages.iter().any(|page| page.contains(canary)), "{canary} is in the metrics");
        assert!(!status.contains(canary), "{canary} is in the status");
    }
}

#[test]
fn a_receipt_ends_the_ladder() {
    let house = House::start(|setup| setup.set("otp.sms_receipt_s", 2));
    let ada = house.knows("ada", 1);
    let id = ask(&house, "ada");
    let ended = wait_for(&house, &id, "delivered");
    assert_eq!(ended["rungs"][0]["state"], "delivered");
    std::thread::sleep(Duration::from_secs(3));
    assert!(house.letters("fcm", &ada.token).is_empty(), "nobody is sent it twice");
    assert_eq!(shown(&house, &id)["rungs"][1]["state"], "waiting");
}

#[test]
fn what_cannot_go_by_one_way_goes_by_the_next_at_once() {
    let house = House::start(|setup| setup);
    house.simulators.faults(
        &json!({ "twilio": { "do": { "error": "21211" } }, "fcm": { "do": { "error": "UNREGISTERED" } } }),
    );
    house.knows("ada", 1);
    let id = ask(&house, "ada");
    let shown = wait_for(&house, &id, "delivered");
    let states: Vec<Value> = (0..4).map(|i| shown["rungs"][i]["state"].clone()).collect();
    assert_eq!(states, ["dropped", "dropped", "handed_over", "waiting"], "{shown:#}");
    // The token is gone for good, the number is not.
    let known = house.tocsin.api().get("/v1/users/ada/contacts").expect(200).json();
    assert_eq!(
        (known["push"].as_array().map(Vec::len), known["phone"].is_string()),
        (Some(0), true),
        "{known}"
    );
}

fn is_told_of(house: &House) -> bool {
    let alerts = house.tocsin.api().get("/v1/alerts").expect(200).json();
    let all = alerts["items"].as_array().expect("a list");
    all.iter().any(|alert| alert["name"] == "provider_broken" && alert["until"].is_null())
}

#[test]
fn the_fifth_error_opens_the_breaker_and_codes_pass_it_at_once_until_it_closes() {
    let house = House::start(|setup| setup.set("otp.probe_s", 1));
    let ada = house.knows("ada", 1);
    house.simulators.faults(&json!({ "twilio": { "do": { "error": "20500" } } }));
    let send = |number: u32| {
        let user = format!("user-{number}");
        house.knows(&user, 100 + number);
        let sms =
            json!({ "to": { "user": user }, "title": "x", "channels": ["sms"], "priority": "critical" });
        let id = house.tocsin.api().accepted(&sms);
        until("it was tried", || {
            (house.delivery(&id, "sms")["timeline"].to_string().contains("20500")).then_some(())
        });
    };
    assert_eq!(house.account("sms")["state"], "ok");
    let broken = Stopwatch::start();
    (0..4).for_each(send);
    assert_eq!(house.account("sms")["breaker"], "closed", "four are not five");
    assert_eq!(house.account("sms")["state"], "failing");
    send(4);
    until("the breaker opens", || (house.account("sms")["breaker"] != "closed").then_some(()));
    until("people are told", || is_told_of(&house).then_some(()));
    let detection = broken.elapsed();
    let sms = house.account("sms");
    assert!(sms["state"] == "open" || sms["state"] == "half_open", "{sms}");
    assert_eq!((&sms["last_error"]["class"], &sms["last_error"]["code"]), (&json!("fault"), &json!("20500")));
    assert!(sms["errors_lately"]["fault"].as_u64() >= Some(5) && sms["breaker_since"].is_string(), "{sms}");
    assert_eq!((&sms["last_taken_at"], &house.account("email")["state"]), (&Value::Null, &json!("ok")));
    let asked = Stopwatch::start();
    let id = ask(&house, "ada");
    until("it goes by push", || house.letters("fcm", &ada.token).pop());
    let mitigation = asked.elapsed();
    assert_eq!(shown(&house, &id)["rungs"][0]["state"], "fell_back");
    // The next ones that try find it well.
    house.simulators.faults(&json!({}));
    let well = Stopwatch::start();
    until("the breaker closes by itself", || (house.account("sms")["breaker"] == "closed").then_some(()));
    until("what waited has arrived", || {
        (!house.letters("twilio", "+4915100000104").is_empty()).then_some(())
    });
    until("the alert is over", || (!is_told_of(&house)).then_some(()));
    until("it is well", || (house.account("sms")["last_taken_at"].is_string()).then_some(()));
    report(Failure::Sms, Took { detection, mitigation, recovery: well.elapsed() });
}
