//! The `status_url` tells what became of a notification; the equation accounts for all of them.

use serde_json::{Value, json};
use tests::client::id_of;
use tests::{Api, Equation, Setup, until};

use crate::support::{expect_id, to_user};

fn story(api: &Api, url: &str) -> Value {
    api.get(url).expect(200).json()
}

#[test]
fn the_status_url_leads_from_acceptance_to_acknowledgement() {
    let tocsin = Setup::standalone().start();
    let api = tocsin.api();
    let mut client = tocsin.connect("ada");
    let answer = api.post(&to_user("ada", "follow me")).expect(202).json();
    let url = answer["status_url"].as_str().expect("a status_url").to_owned();
    let id = id_of(&answer);
    expect_id(&mut client, &id);
    let handed = until("a socket had it", || {
        let story = story(&api, &url);
        let delivery = story["deliveries"][0].clone();
        ["handed_over", "delivered"].contains(&delivery["state"].as_str()?).then_some(delivery)
    });
    assert_eq!(handed["channel"], "inapp");
    assert!(handed["recipient"].as_str().is_some_and(|recipient| recipient.ends_with("ada")), "{handed}");
    client.ack(&[&id]);
    let delivered = until("it is delivered", || {
        let delivery = story(&api, &url)["deliveries"][0].clone();
        (delivery["state"] == "delivered").then_some(delivery)
    });
    let moments: Vec<&str> = delivered["timeline"]
        .as_array()
        .expect("a timeline")
        .iter()
        .filter_map(|at| at["at"].as_str())
        .collect();
    assert!(moments.len() >= 2, "{delivered}");
    let dates: Vec<_> = moments.iter().map(|date| wire::time::Wall::parse(date).expect("a date")).collect();
    assert!(dates.is_sorted(), "{delivered}");
}

#[test]
fn the_equation_holds_for_a_mix_of_everything() {
    let tocsin = Setup::standalone().start();
    let api = tocsin.api();
    let mut here = tocsin.connect("here");
    let _silent = tocsin.connect("silent");
    let mut notes = Vec::new();
    for i in 0..60 {
        let user = ["here", "silent", "away"][i % 3];
        notes.push(match i % 5 {
            0 => json!({ "to": { "user": user }, "channels": ["inapp", "push", "sms"] }),
            1 => json!({ "to": { "user": user }, "collapse_key": "k" }),
            2 => json!({ "to": { "users": ["here", "away"] }, "priority": "critical" }),
            3 => json!({ "to": { "user": user }, "ttl_s": 1 }),
            _ => json!({ "to": { "topic": "nobody" }, "priority": "low" }),
        });
    }
    notes.push(json!({ "to": { "all": true } }));
    api.accepted_batch(&notes);
    let equation = Equation::settled(&api);
    // Twelve of each kind: three channels, one, two recipients, one, one broadcast; and `all`.
    assert_eq!(equation.number("accepted"), 12 * (3 + 1 + 2 + 1 + 1) + 1, "{:#}", equation.answer);
    let first = id_of(&here.recv("notification"));
    here.ack(&[&first]);
    until("one is delivered", || (Equation::read(&api).number("delivered") >= 1).then_some(()));
    Equation::settled(&api).check();
}

#[test]
fn status_names_what_it_depends_on() {
    let tocsin = Setup::standalone().start();
    let status = tocsin.api().get("/v1/status").expect(200).json();
    assert!(status.to_string().contains("journal"), "{status}");
    let alerts = tocsin.api().get("/v1/alerts").expect(200).json();
    assert!(
        !alerts.to_string().contains("critical\":true"),
        "a healthy system has no critical alert: {alerts}"
    );
}
