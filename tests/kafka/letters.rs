//! Several routers and real accounts: each letter goes out once, by the router that has its user, whatever happens to a router.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use tests::deadline::PATIENCE;
use tests::several::HAND_OVER;
use tests::{Setup, Several, Simulators, until, until_within};

const USERS: usize = 12;
/// Longer than it takes an heir to have everything.
const SMS_RECEIPT_S: u32 = 45;

fn user(number: usize) -> String {
    format!("user-{number}")
}

fn phone(number: usize) -> String {
    format!("+49151000000{number:02}")
}

/// Two routers that send SMS and mail to simulators, and know where everybody is reached.
fn start(simulators: &Simulators) -> Several {
    start_with(simulators, |setup| setup)
}

fn start_with(simulators: &Simulators, settings: impl FnOnce(Setup) -> Setup) -> Several {
    let key = simulators.file("otp.key", "one key that all routers have, 32 bytes or more");
    let several = Several::start_with((2, 2), 6, |setup| {
        let setup = simulators.carry(setup).set("otp.seal_key_file", key);
        let setup = setup.set("otp.sms_receipt_s", i64::from(SMS_RECEIPT_S));
        settings(setup.set("otp.ladder", vec!["sms", "email"]))
    });
    for number in 0..USERS {
        let known = json!({ "phone": phone(number), "email": format!("{}@mail.example", user(number)) });
        let path = format!("/v1/users/{}/contacts", user(number));
        let owner = several.owner_of(&user(number));
        several.api(owner).send("PUT", &path, &known).expect(200);
        several.api(1 - owner).send("PUT", &path, &known).problem(421);
    }
    several
}

/// An SMS to everybody, by the routers in turn. The ids.
fn text_everybody(several: &Several) -> Vec<String> {
    let text =
        |number: usize| json!({ "to": { "user": user(number) }, "title": "Disk full", "channels": ["sms"] });
    (0..USERS).map(|number| several.api(number % 2).accepted(&text(number))).collect()
}

/// How many came to each phone.
fn came(simulators: &Simulators) -> Vec<usize> {
    (0..USERS).map(|number| simulators.received_for("twilio", &phone(number)).len()).collect()
}

/// The story of a notification, by the router that has it. The second is asked first: the first may be stopped.
fn story(several: &Several, id: &str) -> Option<Value> {
    let answers = [1, 0]
        .into_iter()
        .map(|router| several.api(router).request("GET", &format!("/v1/notifications/{id}"), &[], None));
    answers.filter_map(Result::ok).find(|answer| answer.status == 200).map(|answer| answer.json())
}

fn is_handed_over(several: &Several, id: &str) -> Option<()> {
    story(several, id).filter(|story| story["state"] == "final").map(drop)
}

fn events(story: &Value) -> Vec<String> {
    let timeline = story["deliveries"][0]["timeline"].as_array().expect("a timeline");
    timeline.iter().map(|event| event["event"].as_str().expect("an event").to_owned()).collect()
}

#[test]
fn a_router_that_ends_in_order_hears_its_providers_first_and_nothing_goes_out_twice() {
    let simulators = Simulators::start();
    let mut several = start(&simulators);
    for id in text_everybody(&several) {
        until("it is handed over", || is_handed_over(&several, &id));
    }
    assert_eq!(came(&simulators), [1; USERS]);
    // They are with the provider, which takes its time, when their router is told to end.
    simulators.faults(&json!({ "twilio": { "do": { "late_ms": 1_500 } } }));
    let ids = text_everybody(&several);
    until("the provider has them all", || (came(&simulators) == [2; USERS]).then_some(()));
    let mut router = several.routers[0].router.take().expect("it runs");
    router.terminate();
    let ending = router.ending(PATIENCE);
    assert!(ending.status.success(), "{}", ending.log);
    several.wait_until_shared(&[1]);
    simulators.faults(&json!({}));
    for id in &ids {
        until_within(HAND_OVER, "it is handed over", || is_handed_over(&several, id));
    }
    assert_eq!(came(&simulators), [2; USERS], "the heir knows what the provider said");
}

#[test]
fn what_a_killed_router_had_with_a_provider_is_sent_again_by_its_heir_alone_and_marked() {
    let simulators = Simulators::start();
    let mut several = start(&simulators);
    let owners: BTreeMap<usize, usize> =
        (0..USERS).map(|number| (number, several.owner_of(&user(number)))).collect();
    simulators.faults(&json!({ "twilio": { "do": { "late_ms": 8_000 } } }));
    let ids = text_everybody(&several);
    until("the provider has them all", || (came(&simulators) == [1; USERS]).then_some(()));
    several.routers[0].router.as_mut().expect("it runs").kill_9();
    simulators.faults(&json!({}));
    several.wait_until_shared(&[1]);
    for (number, id) in ids.iter().enumerate() {
        until_within(HAND_OVER, "it is handed over", || is_handed_over(&several, id));
        let (copies, story) = (came(&simulators)[number], story(&several, id).expect("a story"));
        let is_marked = events(&story).iter().any(|event| event == "provided_again");
        let was_killed = owners[&number] == 0;
        assert_eq!((copies, is_marked), (1 + usize::from(was_killed), was_killed), "{number}: {story}");
    }
}

#[test]
fn what_waited_at_a_router_that_was_stopped_is_its_heirs_to_send() {
    let simulators = Simulators::start();
    // One a second for each of them.
    let mut several = start_with(&simulators, |setup| setup.set("provider.twilio.per_s", 2));
    let owned = (0..USERS).filter(|number| several.owner_of(&user(*number)) == 0).count();
    assert!(owned > 3, "it has {owned}");
    let ids = text_everybody(&several);
    until("it has begun", || (!simulators.received("twilio").is_empty()).then_some(()));
    several.routers[0].router.as_mut().expect("it runs").freeze();
    several.wait_until_owned_by(1);
    for id in &ids {
        until_within(HAND_OVER, "it is handed over", || is_handed_over(&several, id));
    }
    several.routers[0].router.as_mut().expect("it runs").thaw();
    several.wait_until_shared(&[0, 1]);
    std::thread::sleep(Duration::from_secs(2 * USERS as u64 / 3));
    let copies = came(&simulators);
    assert!(copies.iter().all(|copies| *copies >= 1), "nobody is left out: {copies:?}");
    // One may have been with the provider when it was stopped.
    assert!(copies.iter().sum::<usize>() <= USERS + 1, "{copies:?}");
}

#[test]
fn a_code_is_asked_for_and_verified_where_its_user_is_also_by_an_heir() {
    let simulators = Simulators::start();
    let mut several = start(&simulators);
    let owner = several.owner_of(&user(1));
    let asked = json!({ "user": user(1) });
    several.api(1 - owner).send("POST", "/v1/otp", &asked).problem(421);
    let code = several.api(owner).send("POST", "/v1/otp", &asked).expect(202).json();
    let path = format!("/v1/otp/{}", code["id"].as_str().expect("an id"));
    let text = until("the code is there", || simulators.received_for("twilio", &phone(1)).pop());
    let text = text["content"]["form"]["Body"].as_str().expect("a text").to_owned();
    let digits: String = text.chars().filter(char::is_ascii_digit).take(6).collect();
    several.api(1 - owner).get(&path).problem(421);
    let verify = format!("{path}/verify");
    several.api(1 - owner).send("POST", &verify, &json!({ "code": digits })).problem(421);
    let wrong = several.api(owner).send("POST", &verify, &json!({ "code": "000000" })).expect(200).json();
    assert_eq!((&wrong["verified"], &wrong["left"]), (&false.into(), &4.into()));

    several.routers[owner].router.as_mut().expect("it runs").kill_9();
    several.wait_until_shared(&[1 - owner]);
    let heir = several.api(1 - owner);
    let wrong = heir.send("POST", &verify, &json!({ "code": "000000" })).expect(200).json();
    assert_eq!(wrong["left"], 3, "no crash gives guesses back");
    let right = heir.send("POST", &verify, &json!({ "code": digits })).expect(200).json();
    assert_eq!(right["verified"], true);
    assert_eq!(heir.get(&path).expect(200).json()["state"], "verified");
    std::thread::sleep(Duration::from_secs(u64::from(SMS_RECEIPT_S) + 2));
    assert!(simulators.received("smtp").is_empty(), "its receipt did not come, its verification did");
}
