//! One-use codes do not wait for Kafka: the same ladder while it is away, and nobody gets a second code when it is back.

use std::time::Duration;

use serde_json::json;
use tests::deadline::{PATIENCE, Stopwatch};
use tests::{Equation, Simulators, Tocsin, until, until_within};

use crate::support::OnKafka;

/// The promise before the outage is found is two seconds, and the provider's time; the rest is for a busy machine.
const BEFORE_IT_IS_FOUND: Duration = Duration::from_secs(3);
/// The promise is 200 ms, and the provider's time.
const ONCE_IT_IS_FOUND: Duration = Duration::from_secs(1);
const RECOVERED_WITHIN: Duration = Duration::from_secs(90);

/// Asks for a code, and waits until it is at the provider's door.
fn code(
    tocsin: &Tocsin,
    simulators: &Simulators,
    user: &str,
    (provider, to): (&str, &str),
) -> (String, Duration) {
    let before = simulators.received_for(provider, to).len();
    let watch = Stopwatch::start();
    let asked = tocsin.api().send("POST", "/v1/otp", &json!({ "user": user })).expect(202).json();
    until("the code is there", || (simulators.received_for(provider, to).len() > before).then_some(()));
    (asked["id"].as_str().expect("an id").to_owned(), watch.elapsed())
}

#[test]
fn codes_climb_their_ladder_while_kafka_is_away() {
    let simulators = Simulators::start();
    let mut system = OnKafka::start(|setup| simulators.carry(setup).set("otp.ladder", vec!["sms", "email"]));
    let contacts = |user: &str, phone: &str| {
        let known = json!({ "phone": phone, "email": format!("{user}@mail.example") });
        system.tocsin.api().send("PUT", &format!("/v1/users/{user}/contacts"), &known).expect(200);
    };
    let (ada, bob) = ("+4915100000001", "+4915100000002");
    contacts("ada", ada);
    contacts("bob", bob);
    // Bob's number takes nothing.
    simulators.faults(&json!({ "twilio": { "to": "0002", "do": { "error": "21211" } } }));
    code(&system.tocsin, &simulators, "ada", ("twilio", ada));

    system.kafka.process.kill_9();
    let (_, waited) = code(&system.tocsin, &simulators, "ada", ("twilio", ada));
    println!(
        "REPORT: Kafka dead and not found to be: a code was at the provider's door after {} ms",
        waited.as_millis()
    );
    assert!(waited < BEFORE_IT_IS_FOUND, "{waited:?}");
    until_within(PATIENCE, "the outage is found", || {
        let status = system.tocsin.api().get("/v1/status").expect(200).json();
        (status["outage"]["phase"] == "buffering").then_some(())
    });
    let mut all: Vec<Duration> =
        (0..20).map(|_| code(&system.tocsin, &simulators, "ada", ("twilio", ada)).1).collect();
    all.sort_unstable();
    println!(
        "REPORT: Kafka away: 20 codes were at the provider's door after {} ms at most",
        all[19].as_millis()
    );
    assert!(all[10] < ONCE_IT_IS_FOUND, "{all:?}");
    let (id, _) = code(&system.tocsin, &simulators, "bob", ("smtp", "bob@mail.example"));
    let mail = simulators.received_for("smtp", "bob@mail.example").remove(0);
    let digits: String = mail["content"]["body"]
        .as_str()
        .expect("a text")
        .chars()
        .filter(char::is_ascii_digit)
        .take(6)
        .collect();
    let path = format!("/v1/otp/{id}/verify");
    let verified = system.tocsin.api().send("POST", &path, &json!({ "code": digits })).expect(200).json();
    assert_eq!(verified["verified"], true);

    system.kafka.start_again();
    until_within(RECOVERED_WITHIN, "Kafka has it all", || {
        let outage = system.tocsin.api().get("/v1/status").expect(200).json()["outage"].clone();
        (outage["phase"] == "normal" && outage["waiting"] == 0 && outage["missing"] == 0).then_some(())
    });
    Equation::settled(&system.tocsin.api()).check();
    assert_eq!(simulators.received_for("twilio", ada).len(), 22, "each code once, also behind the outage");
    assert_eq!(simulators.received_for("smtp", "bob@mail.example").len(), 1);
}
