//! A service that runs wild: its quota, the pushes of an hour and the rate of all hold exactly, what is held back is kept,
//! and nobody else notices.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};
use tests::deadline::Stopwatch;
use tests::{Api, Equation, Setup, Tocsin, until_within};
use toml::Table;

use crate::scale;

/// Everything here is over long before.
const WITHIN: Duration = Duration::from_secs(60);
/// Lines of one batch.
const LINES: u64 = 1_000;
const PUSHES_PER_HOUR: usize = 20;

fn quota(per_minute: u64) -> impl FnOnce(&mut Table) {
    move |service: &mut Table| {
        service.insert("per_minute".to_owned(), i64::try_from(per_minute).expect("a number").into());
    }
}

/// Hands lines in as one batch, in their order; what each was answered.
fn batch(api: &Api, lines: impl Iterator<Item = Value>) -> Vec<Value> {
    let lines = lines.fold(String::new(), |lines, line| lines + &line.to_string() + "\n");
    let kind = [("content-type", "application/x-ndjson")];
    let answer = api.request("POST", "/v1/notifications/batch", &kind, Some(lines.as_bytes()));
    let text = answer.expect("an answer").expect(200).text;
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn statuses(answers: &[Value]) -> BTreeMap<u64, u64> {
    answers.iter().fold(BTreeMap::new(), |mut counts, answer| {
        *counts.entry(answer["status"].as_u64().expect("a status")).or_default() += 1;
        counts
    })
}

/// The whole overflow log.
fn overflow(api: &Api) -> Vec<Value> {
    let (mut all, mut after) = (Vec::new(), String::new());
    loop {
        let page = api.get(&format!("/v1/overflow?limit=200{after}")).expect(200).json();
        let items = page["items"].as_array().expect("a list").clone();
        let Some(last) = items.last() else { return all };
        after = format!("&after={}", last["number"]);
        all.extend(items);
    }
}

fn user_of(item: &Value) -> &str {
    item["recipient"].as_str().and_then(|to| to.strip_prefix("user:")).expect("a user")
}

fn replay(api: &Api, item: &Value) -> u16 {
    api.send("POST", &format!("/v1/overflow/{}/replay", item["number"]), &json!({})).status
}

/// How many pushes went out to a user.
fn pushes(api: &Api, user: &str) -> usize {
    let sent = api.get(&format!("/v1/outbox?channel=push&user={user}&limit=200")).expect(200).json();
    sent["items"].as_array().expect("a list").len()
}

#[test]
fn at_a_hundred_times_its_quota_a_service_gets_its_quota_and_not_one_more() {
    let per_minute = scale("QUOTA", 200);
    let offered = 100 * per_minute;
    let tocsin = Setup::standalone()
        .service("shop", "the-key-of-shop", |_| {})
        .service("wild", "the-key-of-wild", quota(per_minute))
        .start();
    let (shop, wild) = (tocsin.api(), tocsin.api().with_key("the-key-of-wild"));
    let mut bob = tocsin.connect("bob");
    let note = |n: u64| json!({ "to": { "user": format!("u{}", n % 50) }, "title": n.to_string() });
    let watch = Stopwatch::start();
    let mut answers = Vec::new();
    for from in (0..offered).step_by(LINES as usize) {
        answers.extend(batch(&wild, (from..(from + LINES).min(offered)).map(note)));
        let id =
            shop.accepted(&json!({ "to": { "user": "bob" }, "title": "not theirs", "priority": "critical" }));
        assert_eq!(bob.recv("notification")["id"], id.as_str(), "others go on");
    }
    let took = watch.elapsed();
    assert!(took < WITHIN, "all within one minute, or this shows nothing: {took:?}");
    assert_eq!(statuses(&answers), BTreeMap::from([(202, per_minute), (429, offered - per_minute)]));
    for refused in answers.iter().filter(|answer| answer["status"] == 429) {
        let wait = refused["retry_after_s"].as_u64().expect("when to come again");
        assert!((1..=61).contains(&wait), "{refused}");
    }
    let alone = wild.post(&note(0));
    alone.problem(429);
    let wait: u64 = alone.header("retry-after").and_then(|wait| wait.parse().ok()).expect("whole seconds");
    assert!((1..=61).contains(&wait), "{wait}");
    let equation = Equation::settled(&shop);
    let others = offered.div_ceil(LINES);
    assert_eq!(equation.number("accepted"), per_minute + others, "{:#}", equation.answer);
    let refused =
        Tocsin::metric(&tocsin.router_admin(), "tocsin_router_ingest_total", "wild\",outcome=\"quota_spent");
    assert_eq!(refused as u64, offered - per_minute + 1);
    println!("REPORT: {offered} offered in {:.1} s, {per_minute} taken", took.as_secs_f64());
}

#[test]
fn each_user_gets_twenty_pushes_an_hour_and_the_log_has_the_rest_and_replays_it() {
    const USERS: usize = 10;
    const EACH: usize = 90;
    let tocsin = Setup::standalone().start();
    let api = tocsin.api();
    let user = |n: usize| format!("u{}", n % USERS);
    let note = |n: usize| json!({ "to": { "user": user(n) }, "title": n.to_string(), "channels": ["push"] });
    let answers = batch(&api, (0..USERS * EACH).map(note));
    assert_eq!(statuses(&answers), BTreeMap::from([(202, (USERS * EACH) as u64)]));
    let equation = until_within(WITHIN, "all are through", || {
        let equation = Equation::settled(&api);
        (equation.of("push", "open") == 0).then_some(equation)
    });
    let over = EACH - PUSHES_PER_HOUR;
    assert_eq!(equation.of("push", "dropped") as usize, USERS * over, "{:#}", equation.answer);
    let log = overflow(&api);
    let mut held: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for item in &log {
        assert_eq!((&item["reason"], &item["channel"]), (&json!("push_limit"), &json!("push")), "{item}");
        let (to, id) = (user_of(item), item["id"].as_str().expect("an id"));
        assert!(held.entry(to.to_owned()).or_default().insert(id.to_owned()), "twice: {item}");
    }
    for n in 0..USERS {
        assert_eq!((pushes(&api, &user(n)), held[&user(n)].len()), (PUSHES_PER_HOUR, over), "{}", user(n));
    }
    let of_one: Vec<&Value> = log.iter().filter(|item| user_of(item) == "u3").collect();
    assert!(of_one.iter().all(|item| replay(&api, item) == 202));
    assert!(of_one.iter().all(|item| replay(&api, item) / 100 == 4), "once");
    until_within(WITHIN, "all of them went out after all", || (pushes(&api, "u3") == EACH).then_some(()));
    assert_eq!(pushes(&api, "u4"), PUSHES_PER_HOUR, "nobody else's");
    // An hour that is full is not made longer by what an operator sent on top of it, nor shorter.
    batch(&api, (0..USERS).map(note));
    let equation = until_within(WITHIN, "all are through", || {
        let equation = Equation::settled(&api);
        (equation.of("push", "open") == 0).then_some(equation)
    });
    assert_eq!(equation.of("push", "dropped") as usize, USERS * over - over + USERS, "{:#}", equation.answer);
}

#[test]
fn above_the_rate_of_all_low_alone_is_dropped_and_each_drop_is_in_the_log() {
    const PER_S: i64 = 100;
    // More than twice of what is read ahead.
    const EACH: u64 = 3_000;
    let tocsin = Setup::standalone().set("router.limits.global_per_s", PER_S).start();
    let api = tocsin.api();
    let note = |n: u64| {
        let priority = if n.is_multiple_of(3) { "low" } else { "normal" };
        json!({ "to": { "user": format!("{priority}-{}", n % 7) }, "title": n.to_string(), "priority": priority })
    };
    let mut ada = tocsin.connect("ada");
    let answers = batch(&api, (0..EACH).map(note));
    assert_eq!(statuses(&answers), BTreeMap::from([(202, EACH)]), "what is accepted is kept track of");
    // The journal is not read on now, but for what is critical.
    let mut waited = Vec::new();
    for n in 0..20 {
        let watch = Stopwatch::start();
        let id =
            api.accepted(&json!({ "to": { "user": "ada" }, "title": n.to_string(), "priority": "critical" }));
        assert_eq!(ada.recv("notification")["id"], id.as_str());
        waited.push(watch.elapsed());
    }
    waited.sort_unstable();
    let decided = Equation::read(&api).number("accepted");
    println!(
        "REPORT: {decided} of {EACH} are decided about; of twenty criticals half took {:?}, the slowest {:?}",
        waited[10], waited[19]
    );
    assert!(waited[10] < Duration::from_secs(1), "{waited:?}");
    assert!(decided < EACH / 2, "the criticals did not wait for the rest: {decided}");
    let equation = until_within(2 * WITHIN, "all are through", || {
        let equation = Equation::read(&api);
        (equation.number("journal_lag") == 0).then_some(equation)
    });
    equation.check();
    let log = overflow(&api);
    let dropped = equation.of("inapp", "dropped");
    assert!(dropped > EACH / 10, "LOW was shed: {:#}", equation.answer);
    assert_eq!(log.len() as u64, dropped, "each drop is in the log");
    let mut shed = BTreeSet::new();
    for item in &log {
        assert_eq!(item["reason"], "shed", "{item}");
        assert!(user_of(item).starts_with("low-"), "{item}");
        assert!(shed.insert(item["id"].as_str().expect("an id").to_owned()), "twice: {item}");
    }
    for (n, answer) in answers.iter().enumerate() {
        let (id, note) = (answer["id"].as_str().expect("an id"), note(n as u64));
        let story = api.get(&format!("/v1/notifications/{id}")).expect(200).text;
        let is_low = note["priority"] == "low";
        assert!(is_low || !shed.contains(id), "only LOW: {story}");
        assert_eq!(story.contains("\"shed\""), shed.contains(id), "{story}");
    }
    assert_eq!(replay(&api, &log[0]), 202);
    let user = user_of(&log[0]);
    until_within(WITHIN, "it is shown after all", || {
        let inbox = api.get(&format!("/v1/users/{user}/inbox?limit=50")).expect(200).text;
        inbox.contains(log[0]["id"].as_str().expect("an id")).then_some(())
    });
}
