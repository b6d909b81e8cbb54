//! A separate router sends by the accounts that it has. What names another channel goes nowhere in silence: it is dropped in sight, and
//! settings that contradict themselves are no start at all.

use serde_json::{Value, json};
use tests::deadline::PATIENCE;
use tests::{Setup, Simulators, Tocsin, until};

/// A router alone, with an account for mail and no other.
fn with_mail(simulators: &Simulators) -> Setup {
    Setup::split()
        .set("provider.smtp.url", simulators.of("smtp", "url"))
        .set("provider.smtp.from", "The Shop <alerts@shop.example>")
}

fn started(setup: Setup) -> Tocsin {
    let mut tocsin = setup.prepare();
    tocsin.start_router();
    let known = json!({ "email": "ann@example.org", "phone": "+4930123456" });
    tocsin.api().send("PUT", "/v1/users/ann/contacts", &known).expect(200);
    tocsin
}

fn delivery(tocsin: &Tocsin, id: &str, channel: &str) -> Value {
    let story = tocsin.api().get(&format!("/v1/notifications/{id}")).expect(200).json();
    let all = story["deliveries"].as_array().expect("a list").clone();
    all.into_iter().find(|one| one["channel"] == channel).unwrap_or_default()
}

fn kept(tocsin: &Tocsin) -> usize {
    tocsin.api().get("/v1/outbox").expect(200).json()["items"].as_array().expect("a list").len()
}

fn way(tocsin: &Tocsin, name: &str) -> Value {
    let status = tocsin.api().get("/v1/status").expect(200).json();
    let all = status["providers"].as_array().expect("a list").clone();
    all.into_iter().find(|one| one["way"] == name).unwrap_or_default()
}

#[test]
fn a_channel_without_an_account_is_dropped_in_sight_and_its_fallback_goes_at_once() {
    let simulators = Simulators::start();
    let mut tocsin = started(with_mail(&simulators));
    let asked = json!({ "to": { "user": "ann" }, "title": "Disk almost full", "channels": ["sms"], "fallback": ["email"] });
    let id = tocsin.api().accepted(&asked);
    until("the mail is there", || simulators.received_for("smtp", "ann@example.org").pop());
    let sms = delivery(&tocsin, &id, "sms");
    assert_eq!((&sms["state"], &sms["reason"]), (&json!("dropped"), &json!("no_account")), "{sms:#}");
    assert_eq!(kept(&tocsin), 0, "nobody would ever look there");
    assert_eq!(way(&tocsin, "sms"), json!({ "provider": "none", "way": "sms", "state": "not_configured" }));
    let count =
        Tocsin::metric(&tocsin.router_admin(), "tocsin_router_dropped_total", "reason=\"no_account\"");
    assert!((count - 1.0).abs() < f64::EPSILON, "{count}");
    let log = tocsin.keeper().log();
    assert!(log.contains("no account carries push, sms, voice"), "{log}");
}

#[test]
fn the_outbox_keeps_what_an_operator_wants_kept() {
    let simulators = Simulators::start();
    let tocsin = started(with_mail(&simulators).set("router.outbox", vec!["sms"]));
    let id =
        tocsin.api().accepted(&json!({ "to": { "user": "ann" }, "title": "T", "channels": ["sms", "push"] }));
    until("it is there", || (kept(&tocsin) == 1).then_some(()));
    assert_eq!(way(&tocsin, "sms")["provider"], "outbox");
    until("the push is dropped", || (delivery(&tocsin, &id, "push")["reason"] == "no_account").then_some(()));
    assert_eq!(kept(&tocsin), 1);
}

#[test]
fn a_code_is_not_kept_beside_accounts_and_its_next_rung_comes_at_once() {
    let simulators = Simulators::start();
    let tocsin = started(with_mail(&simulators).set("router.outbox", vec!["sms", "push", "voice"]));
    let asked = tocsin.api().send("POST", "/v1/otp", &json!({ "user": "ann" })).expect(202).json();
    until("the mail is there", || simulators.received_for("smtp", "ann@example.org").pop());
    let id = asked["id"].as_str().expect("an id");
    for channel in ["sms", "push"] {
        let passed = delivery(&tocsin, id, channel);
        assert_eq!(passed["reason"], "no_account", "{passed:#}");
    }
    assert_eq!(kept(&tocsin), 0);
}

#[test]
fn a_router_whose_settings_contradict_themselves_does_not_start() {
    let simulators = Simulators::start();
    for (setup, key, words) in [
        (
            with_mail(&simulators).set("otp.ladder", vec!["email", "voice"]),
            "[otp] ladder",
            "\"voice\" has no account",
        ),
        (
            with_mail(&simulators).set("otp.ladder", vec!["email", "sms"]).set("router.outbox", vec!["sms"]),
            "[otp] ladder",
            "beside accounts the outbox keeps none",
        ),
        (
            with_mail(&simulators).set("router.outbox", vec!["email"]),
            "[router] outbox",
            "\"email\" has an account",
        ),
    ] {
        let mut tocsin = setup.prepare();
        let ending = tocsin.launch_router().ending(PATIENCE);
        assert_eq!(ending.status.code(), Some(2), "{}", ending.log);
        assert!(ending.log.contains(key) && ending.log.contains(words), "{}", ending.log);
        assert_eq!(ending.log.trim().lines().count(), 1, "{}", ending.log);
        tocsin.kill_9();
    }
}
