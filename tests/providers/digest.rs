//! A whole system whose user is not to be disturbed: what came meanwhile goes out when that is over, as one letter for each channel,
//! in the operator's words, also if the router was killed while it waited.

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};
use tests::deadline::{unix_seconds, until_within};
use tests::{paths, until};

use crate::house::House;

const MINUTE_S: u64 = 60;
/// For what has to be done before it is over.
const LEFT_S_MIN: u64 = 30;
/// What the longest night takes, and a busy machine.
const NIGHT: Duration = Duration::from_secs(120);

/// A time of day by UTC.
fn clock(at_s: u64) -> String {
    let minutes = at_s / MINUTE_S % (24 * 60);
    format!("{:02}:{:02}", minutes / 60, minutes % 60)
}

/// Since an hour, and until the next full minute but one that is too near.
fn quiet_hours() -> Value {
    let now = unix_seconds();
    let end = (now + LEFT_S_MIN).next_multiple_of(MINUTE_S);
    json!({ "from": clock(now - 60 * MINUTE_S), "to": clock(end), "zone": "UTC" })
}

#[test]
fn what_quiet_hours_held_is_one_letter_a_channel_and_each_has_its_own_story() {
    let words = paths::scratch("digest-");
    let text = "{{ count }} for {{ user }}:{% for item in items %} {{ item.title }}{% endfor %}";
    fs::write(words.path().join("digest.sms.txt"), text).expect("the folder can be written");
    fs::write(words.path().join("default.sms.txt"), "{{ title }}!").expect("the folder can be written");
    let dir = words.path().to_str().expect("UTF-8").to_owned();
    let mut house = House::start(|setup| setup.set("templates.dir", dir));
    let ada = house.knows("ada", 1);
    let wishes = json!({ "quiet_hours": quiet_hours() });
    house.tocsin.api().send("PUT", "/v1/users/ada/preferences", &wishes).expect(200);
    let send = |house: &House, title: &str, channels: Value, priority: &str| {
        house.tocsin.api().accepted(&json!({ "to": { "user": "ada" }, "title": title, "channels": channels,
            "priority": priority }))
    };
    let ids = ["one", "two", "three"].map(|title| send(&house, title, json!(["push", "sms"]), "high"));
    let taken_back = send(&house, "never", json!(["push"]), "high");
    house.tocsin.api().send("DELETE", &format!("/v1/notifications/{taken_back}"), &json!({})).expect(200);
    let critical = send(&house, "fire", json!(["sms"]), "critical");
    until("what is critical goes at once", || (house.letters("twilio", &ada.phone).len() == 1).then_some(()));
    for id in &ids {
        until("it is held", || (house.delivery(id, "push")["timeline"][1]["event"] == "held").then_some(()));
    }
    house.tocsin.crash_and_restart();
    assert!(house.letters("fcm", &ada.token).is_empty(), "nobody is disturbed");
    until_within(NIGHT, "all are handed over", || {
        let is_done = |id: &String, channel: &str| {
            ["handed_over", "delivered"].iter().any(|state| house.delivery(id, channel)["state"] == *state)
        };
        ids.iter().all(|id| is_done(id, "push") && is_done(id, "sms")).then_some(())
    });
    let pushes = house.letters("fcm", &ada.token);
    let shown = &pushes[0]["content"]["message"]["notification"];
    assert_eq!(pushes.len(), 1, "{pushes:?}");
    assert_eq!(shown, &json!({ "title": "3 notifications", "body": "three\ntwo\none" }));
    let texts = house.letters("twilio", &ada.phone);
    let texts: Vec<_> = texts.iter().map(|one| one["content"]["form"]["Body"].clone()).collect();
    assert_eq!(texts, ["fire!", "3 for ada: three two one"], "the digest's own template, and no other");
    let story = house.delivery(&ids[0], "push");
    let detail = format!("3 in one letter, with {}", ids[2]);
    let told = story["timeline"].as_array().expect("a story");
    assert!(told.iter().any(|moment| moment["event"] == "digest" && moment["reason"] == *detail), "{story}");
    assert_eq!(house.delivery(&taken_back, "push")["reason"], "cancelled");
    assert_eq!(house.delivery(&critical, "sms")["attempts"], 1);
    let reconcile = house.tocsin.api().reconcile();
    assert_eq!(reconcile["balanced"], true, "{reconcile}");
}
