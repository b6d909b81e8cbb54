//! How soon an SMS is with its provider: a thousand critical ones a second, in batches of ten, sent at their times whatever becomes of
//! those before (open loop), to a whole system on this machine, its simulated Twilio and this load beside it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use tests::Tocsin;
use tests::deadline::{sleep_until_us, unix_us, until_within};
use wire::time::Wall;

use crate::house::House;

const PER_S: u64 = 1_000;
const BATCH: u64 = 10;
/// As many as the simulator keeps.
const SECONDS: u64 = 15;
const ROUNDS: usize = 3;
const USERS: u64 = 500;
/// Batches that may be under way at once.
const SENDERS: u64 = 16;
/// Of the time between the 202 and the provider, at the 99th percentile.
const PROMISED_MS: f64 = 50.0;
/// Before the first one is due.
const LEAD_US: i64 = 200_000;

/// One batch: when it should have gone, and when its last line was taken.
struct Sent {
    intended_us: i64,
    taken_us: i64,
}

struct Figures {
    p50: f64,
    p99: f64,
    max: f64,
}

impl std::fmt::Display for Figures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "p50 {:.1}, p99 {:.1}, max {:.1} ms", self.p50, self.p99, self.max)
    }
}

fn figures(mut spans_us: Vec<i64>) -> Figures {
    spans_us.sort_unstable();
    let at = |share: f64| {
        let place = ((spans_us.len() as f64 * share).ceil() as usize).clamp(1, spans_us.len());
        spans_us[place - 1] as f64 / 1e3
    };
    Figures { p50: at(0.5), p99: at(0.99), max: at(1.0) }
}

fn batch(number: u64) -> Vec<Value> {
    let sms = |i: u64| {
        json!({ "to": { "user": format!("user-{}", i % USERS) }, "title": format!("{i}"), "channels": ["sms"],
            "priority": "critical" })
    };
    (number * BATCH..(number + 1) * BATCH).map(sms).collect()
}

/// All batches, each at its time by whichever sender's turn it is.
fn send(tocsin: &Tocsin) -> Vec<Sent> {
    let (count, every_us) = (PER_S / BATCH * SECONDS, 1_000_000 * BATCH / PER_S);
    let begin = unix_us() + LEAD_US;
    let mut sent: Vec<(u64, Sent)> = std::thread::scope(|scope| {
        let sender = |first: u64| {
            let api = tocsin.api();
            move || {
                let mut sent = Vec::new();
                for number in (first..count).step_by(SENDERS as usize) {
                    let intended_us = begin + (number * every_us) as i64;
                    let lines = batch(number);
                    sleep_until_us(intended_us);
                    api.accepted_batch(&lines);
                    sent.push((number, Sent { intended_us, taken_us: unix_us() }));
                }
                sent
            }
        };
        let senders: Vec<_> = (0..SENDERS).map(|first| scope.spawn(sender(first))).collect();
        senders.into_iter().flat_map(|sender| sender.join().expect("a sender")).collect()
    });
    sent.sort_by_key(|(number, _)| *number);
    sent.into_iter().map(|(_, sent)| sent).collect()
}

/// When each came to the simulator, by its number.
fn came(house: &House) -> BTreeMap<u64, i64> {
    let wanted = (PER_S * SECONDS) as usize;
    let letters = until_within(Duration::from_secs(60), "all are with their provider", || {
        let letters = house.simulators.received("twilio");
        (letters.len() >= wanted).then_some(letters)
    });
    let mut came = BTreeMap::new();
    for letter in &letters {
        let number = letter["content"]["form"]["Body"].as_str().and_then(|text| text.parse().ok());
        let at = Wall::parse(letter["at"].as_str().expect("a date")).expect("a date");
        let before = came.insert(number.expect("a number"), at.0);
        assert!(before.is_none(), "sent twice: {letter}");
    }
    assert_eq!(came.len(), wanted, "each once");
    came
}

#[test]
#[ignore = "a measurement, on a quiet machine: tests/campaign letters"]
fn a_critical_sms_is_with_its_provider_fifty_milliseconds_behind_its_202() {
    let house = House::start(|setup| {
        let setup = setup.set("provider.twilio.per_s", 5_000).set("gateway.shards", 1);
        setup.without("provider.twilio.status_callback").without("provider.twilio.auth_token_file")
    });
    for number in 0..USERS {
        house.knows(&format!("user-{number}"), number as u32);
    }
    let mut behind_202 = Vec::new();
    for round in 1..=ROUNDS {
        house.simulators.calm();
        let sent = send(&house.tocsin);
        let came = came(&house);
        let spans = |from: fn(&Sent) -> i64| -> Vec<i64> {
            let span = |(number, at): (&u64, &i64)| (at - from(&sent[(number / BATCH) as usize])).max(0);
            came.iter().map(span).collect()
        };
        let (intended, taken) = (figures(spans(|one| one.intended_us)), figures(spans(|one| one.taken_us)));
        println!("round {round}: from the intended time {intended}; from the 202 {taken}");
        behind_202.push(taken.p99);
    }
    behind_202.sort_by(f64::total_cmp);
    let median = behind_202[ROUNDS / 2];
    println!("median of the rounds' p99 from the 202: {median:.1} ms");
    assert!(median <= PROMISED_MS, "{median:.1} ms from the 202 by the p99, and {PROMISED_MS} are promised");
}
