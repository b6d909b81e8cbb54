//! Nobody gets more pushes than may be in an hour, and no service hands in more than it may.

use serde_json::json;
use tests::{Equation, Setup, until};

use crate::support::to_user;

#[test]
fn the_twenty_first_push_of_an_hour_is_held_back_and_kept() {
    let tocsin = Setup::standalone().start();
    let push =
        |priority: &str| json!({ "to": { "user": "ada" }, "priority": priority, "channels": ["push"] });
    for _ in 0..25 {
        tocsin.api().accepted(&push("normal"));
    }
    tocsin.api().accepted(&push("critical"));
    let equation = until("all are through", || {
        let equation = Equation::settled(&tocsin.api());
        (equation.of("push", "open") == 0).then_some(equation)
    });
    assert_eq!(equation.of("push", "dropped"), 5, "{:#}", equation.answer);
    let overflow = tocsin.api().get("/v1/overflow").expect(200).json();
    let items = overflow["items"].as_array().expect("a list").clone();
    assert_eq!(items.len(), 5, "{overflow}");
    let number = items[0].get("number").or(items[0].get("id")).expect("a number").clone();
    let replayed = tocsin.api().send("POST", &format!("/v1/overflow/{number}/replay"), &json!({}));
    assert_eq!(replayed.status / 100, 2, "{}", replayed.text);
    until("it went out after all", || {
        (Equation::settled(&tocsin.api()).of("push", "dropped") == 4).then_some(())
    });
}

#[test]
fn a_service_past_its_quota_is_429_and_others_are_not() {
    let rights = |per_minute: i64| {
        move |service: &mut toml::Table| {
            service.insert("per_minute".into(), per_minute.into());
        }
    };
    let tocsin =
        Setup::standalone().service("a", "key-a", rights(10)).service("b", "key-b", rights(1_000)).start();
    let answers: Vec<_> = (0..30).map(|_| tocsin.api().with_key("key-a").post(&to_user("u", "x"))).collect();
    let taken = answers.iter().filter(|answer| answer.status == 202).count();
    assert_eq!(taken, 10, "of 30, with 10 a minute");
    let refused = answers.iter().find(|answer| answer.status == 429).expect("one is over");
    refused.problem(429);
    let wait: u64 = refused.header("retry-after").and_then(|wait| wait.parse().ok()).expect("whole seconds");
    assert!((1..=61).contains(&wait), "{wait}");
    for _ in 0..30 {
        tocsin.api().with_key("key-b").post(&to_user("u", "x")).expect(202);
    }
}
