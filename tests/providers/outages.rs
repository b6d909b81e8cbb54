//! A provider that fails in its own way is nobody else's business, and what waited for it goes out without a hand.

use std::time::Duration;

use serde_json::{Value, json};
use tests::deadline::{PATIENCE, Stopwatch};
use tests::until;

use crate::house::House;

/// For what waits for nobody; it takes milliseconds, and the machine may be busy.
const AT_ONCE: Duration = Duration::from_secs(5);
/// Longer than that.
const SLOW_MS: u64 = 10_000;

fn by(channel: &str, user: &str) -> Value {
    json!({ "to": { "user": user }, "title": "Disk almost full", "channels": [channel] })
}

#[test]
fn a_slow_provider_keeps_nobody_else_waiting() {
    const USERS: u32 = 30;
    let house = House::start(|setup| setup);
    house.simulators.faults(&json!({ "twilio": { "do": { "slow_ms": SLOW_MS } } }));
    let users: Vec<String> = (0..USERS).map(|number| format!("user-{number}")).collect();
    for (number, user) in (0..).zip(&users) {
        house.knows(user, number);
    }
    for user in &users {
        house.tocsin.api().accepted(&by("sms", user));
    }
    let watch = Stopwatch::start();
    for user in &users {
        house.tocsin.api().accepted(&by("email", user));
        house.tocsin.api().accepted(&by("push", user));
    }
    for provider in ["smtp", "fcm"] {
        until("all have it", || (house.simulators.received(provider).len() == USERS as usize).then_some(()));
    }
    assert!(watch.elapsed() < AT_ONCE, "{:?}", watch.elapsed());
    assert!(house.account("sms")["under_way"].as_u64() > Some(0), "it hangs meanwhile");
}

#[test]
fn each_fault_costs_its_own_channel_alone_and_the_timeline_tells_of_it() {
    let house = House::start(|setup| setup.set("otp.breaker_errors", 1_000));
    for (number, (fault, told)) in (0_u32..).zip([
        (json!("refuse"), "connect"),
        (json!("html502"), "502"),
        (json!({ "status": { "status": 500 } }), "500"),
        (json!({ "throttle": { "retry_after": "60" } }), "20429"),
        (json!({ "throttle": { "retry_after": null } }), "20429"),
        (json!({ "error": "20003" }), "20003"),
        (json!("redirect"), "307"),
        (json!("reset"), "may have it"),
        (json!("half"), "taken"),
    ]) {
        house.simulators.faults(&json!({ "twilio": { "do": fault } }));
        let user = format!("user-{number}");
        let contacts = house.knows(&user, number);
        let sms = house.tocsin.api().accepted(&by("sms", &user));
        let watch = Stopwatch::start();
        house.tocsin.api().accepted(&by("email", &user));
        until("the mail is there", || house.letters("smtp", &contacts.email).pop());
        assert!(watch.elapsed() < AT_ONCE, "{fault}: {:?}", watch.elapsed());
        let told_of = || house.delivery(&sms, "sms")["timeline"].to_string();
        tests::until_within(Duration::from_secs(30), &format!("{fault} is told of as {told}"), || {
            told_of().contains(told).then_some(())
        });
        assert!(!told_of().contains(&contacts.phone), "no number in a timeline: {}", told_of());
        // The connection that refused may be one of the next round's.
        house.simulators.calm();
    }
}

#[test]
fn what_waited_goes_out_by_itself_and_once() {
    let house = House::start(|setup| setup);
    let rule = |error: &str| json!({ "times": 1, "do": { "throttle": { "retry_after": "1" } }, "to": error });
    house.simulators.faults(&json!({ "twilio": rule("0001"), "fcm": rule("ada") }));
    let ada = house.knows("ada", 1);
    let ids = ["sms", "push"].map(|channel| (channel, house.tocsin.api().accepted(&by(channel, "ada"))));
    for (channel, id) in ids {
        let delivery = until("it is through", || {
            let is_through = |one: &Value| one["state"] == "delivered" || one["state"] == "handed_over";
            Some(house.delivery(&id, channel)).filter(is_through)
        });
        assert_eq!(delivery["attempts"], 2, "{delivery:#}");
    }
    for (provider, to) in [("twilio", &ada.phone), ("fcm", &ada.token)] {
        let taken = house.letters(provider, to).iter().filter(|letter| letter["taken"] == true).count();
        assert_eq!(taken, 1, "{provider}");
    }
}

#[test]
fn a_router_that_ends_in_order_hears_what_is_out_and_each_device_gets_one_push() {
    // One letter a second, so that the second device's waits while the first one's is out.
    let mut house = House::start(|setup| setup.set("provider.fcm.per_s", 1));
    let device = |number: u32| json!({ "kind": "fcm", "token": format!("device-{number}") });
    let known = json!({ "push": [device(1), device(2)] });
    house.tocsin.api().send("PUT", "/v1/users/ada/contacts", &known).expect(200);
    house.simulators.faults(&json!({ "fcm": { "do": { "late_ms": 700 } } }));
    let id = house.tocsin.api().accepted(&by("push", "ada"));
    until("the first is out", || house.simulators.received("fcm").pop());
    let mut process = house.tocsin.gateway.take().expect("it runs");
    process.terminate();
    let ending = process.ending(PATIENCE);
    assert!(ending.status.success(), "{}", ending.log);
    assert_eq!(house.simulators.received("fcm").len(), 1, "nothing more went out");
    house.simulators.faults(&json!({}));
    house.tocsin.start_gateway();
    until("both devices have it", || (house.simulators.received("fcm").len() == 2).then_some(()));
    let delivery = until("it is handed over", || {
        Some(house.delivery(&id, "push"))
            .filter(|one| one["state"] == "handed_over" && one["due_at"].is_null())
    });
    let tokens: std::collections::BTreeSet<String> =
        house.simulators.received("fcm").iter().map(|letter| letter["to"].to_string()).collect();
    assert_eq!(tokens.len(), 2, "one each: {tokens:?}");
    assert!(!delivery["timeline"].to_string().contains("provided_again"), "{delivery:#}");
}

#[test]
fn an_account_that_refuses_us_is_named_with_its_code_and_prometheus_has_a_rule_for_it() {
    let house = House::start(|setup| setup);
    let ada = house.knows("ada", 1);
    house.simulators.faults(&json!({ "twilio": { "do": { "error": "20003" } } }));
    house.tocsin.api().accepted(&by("sms", "ada"));
    let sms = until("it is told", || {
        Some(house.account("sms")).filter(|account| account["state"] == "unauthorised")
    });
    assert_eq!((&sms["last_error"]["class"], &sms["last_error"]["code"]), (&json!("auth"), &json!("20003")));
    let status = house.tocsin.api().get("/v1/status").expect(200).text;
    assert!(!status.contains(&ada.phone) && !status.contains("Disk almost full"), "{status}");
    let alerts = house.tocsin.api().get("/v1/alerts").expect(200).text;
    assert!(alerts.contains("provider_refuses"), "both say it: {alerts}");
    let page = house.tocsin.router_admin().get("/metrics").expect(200).text;
    let row =
        |name: &str| page.lines().any(|line| line.starts_with(&format!("{name}{{")) && line.contains("sms"));
    let refused = "tocsin_router_provider_unauthorised{provider=\"twilio\",way=\"sms\"} 1";
    assert!(page.contains(refused), "{page}");
    let rules = include_str!("../../tuning/prometheus/tocsin.rules.yml");
    for name in ["unauthorised", "oldest_seconds", "answers_total"]
        .map(|name| format!("tocsin_router_provider_{name}"))
    {
        assert!(rules.contains(&name) && row(&name), "{name}");
    }
    assert!(rules.contains("tocsin_router_breaker_state") && row("tocsin_router_breaker_state"));
}
