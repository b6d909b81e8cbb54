//! Records that nobody should write: huge, deep, not text, of wrong types, of other times. Each has its place in the
//! dead letters or in an inbox, what stands behind it goes on, and nothing falls over.

use std::path::PathBuf;

use serde_json::{Value, json};
use tests::deadline::PATIENCE;
use tests::kafka::Kafka;
use tests::{Equation, until, until_within};
use toml::Table;

use crate::support::{OnKafka, SHOP, on, order};

const HUGE: usize = 20_000_000;

/// Records of ours, as an attacker who may write to the topic would make them.
fn ours(change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut record = json!({
        "v": 1, "id": uuid::Uuid::from_u128(rand::random()), "service": "dev", "accepted_at": "2026-02-20T10:00:00Z",
        "sequence": { "boot": 7, "partition": 0, "seq": 1 },
        "request": { "to": { "user": "nobody-ever-connected" }, "priority": "normal", "title": "x" },
    });
    change(&mut record);
    record.to_string().into_bytes()
}

fn deep() -> Vec<u8> {
    [vec![b'['; 200_000], vec![b']'; 200_000]].concat()
}

/// What cannot be read as a record, of whatever kind.
fn unreadable() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("nothing but blanks", b"   ".to_vec()),
        ("not UTF-8", vec![0xff, 0xfe, 0x00, 0xc3, 0x28]),
        ("cut off", br#"{"v":1,"id":"#.to_vec()),
        ("deep", deep()),
        ("a number", b"12345678901234567890123456789".to_vec()),
        ("huge", [br#"{"x":""#.to_vec(), vec![b'a'; HUGE], br#""}"#.to_vec()].concat()),
    ]
}

fn files(folder: &std::path::Path, records: &[Vec<u8>]) -> Vec<PathBuf> {
    let write = |(i, record): (usize, &Vec<u8>)| {
        let file = folder.join(format!("record-{i}"));
        std::fs::write(&file, record).expect("a file");
        file
    };
    records.iter().enumerate().map(write).collect()
}

fn start(more: impl FnOnce(&Kafka, tests::Setup) -> tests::Setup) -> OnKafka {
    let kafka = Kafka::start_with(&[("message.max.bytes", "60000000")]);
    let setup = on(&kafka);
    let setup = more(&kafka, setup);
    OnKafka { tocsin: setup.start(), kafka }
}

#[test]
fn our_own_topic_bears_whatever_is_written_to_it() {
    let system = start(|_, setup| setup);
    let mut client = system.tocsin.connect("ada");
    let text = |field: &'static str, value: Value| ours(move |record| record[field] = value);
    let request = |field: &'static str, value: Value| ours(move |record| record["request"][field] = value);
    let mut letters: Vec<Vec<u8>> = unreadable().into_iter().map(|(_, record)| record).collect();
    letters.extend([
        text("id", json!("not an id")),
        text("id", json!({ "$oid": 1 })),
        text("v", json!("1")),
        text("accepted_at", json!("yesterday")),
        text("sequence", json!([])),
        request("to", json!({ "user": "a", "all": true })),
        request("to", json!({ "everybody": true })),
        request("priority", json!("urgent")),
        request("channels", json!(["fax"])),
    ]);
    let folder = tempfile::tempdir().expect("a folder");
    let count = letters.len();
    system.kafka.produce_files("notifications.normal", 1, &files(folder.path(), &letters));
    // Odd, and yet records: other times, nobody's users.
    let odd = [
        text("accepted_at", json!("1970-01-01T00:00:00Z")),
        text("accepted_at", json!("2999-12-31T23:59:59Z")),
        ours(|_| ()),
        request("data", json!({ "k": "v".repeat(10_000) })),
    ];
    system.kafka.produce_files("notifications.normal", 2, &files(folder.path(), &odd));

    let id = system.tocsin.api().accepted(&json!({ "to": { "user": "ada" }, "title": "goes on" }));
    assert_eq!(client.recv_within("notification", 3 * PATIENCE)["id"], id.as_str());
    until_within(4 * PATIENCE, "each has its dead letter", || {
        let letters = system.tocsin.api().get("/v1/dead-letters?limit=100").expect(200).json();
        (letters["items"].as_array()?.len() == count).then_some(())
    });
    system.wait_for_inbox("nobody-ever-connected", odd.len());
    let equation = Equation::settled(&system.tocsin.api());
    assert_eq!(equation.number("dead_lettered") as usize, count, "{:#}", equation.answer);
    equation.check();
}

#[test]
fn a_foreign_topic_bears_it_too() {
    let system = start(|kafka, setup| {
        kafka.create_topic(SHOP, 1);
        let source: Table = r#"
            topic = "shop.orders"
            service = "shop"
            [fields]
            user = "/actor/id"
            title = "/what"
            id = "/order"
        "#
        .parse()
        .expect("a source");
        setup.push("kafka.source", source)
    });
    let mut client = system.tocsin.connect("ada");
    let wrong = |value: Value| value.to_string().into_bytes();
    let mut letters: Vec<Vec<u8>> = unreadable().into_iter().map(|(_, record)| record).collect();
    letters.extend([
        wrong(
            json!({ "order": "1", "actor": { "id": "u".repeat(5_000) }, "what": "a name that is too long" }),
        ),
        wrong(json!({ "order": "2", "actor": { "id": ["ada"] }, "what": "a list" })),
        wrong(json!({ "order": "3", "actor": { "id": "a\u{1}b" }, "what": "a control character" })),
        wrong(json!({ "order": "4", "actor": { "id": "ada" }, "what": "t".repeat(5_000) })),
    ]);
    let folder = tempfile::tempdir().expect("a folder");
    system.kafka.produce_files(SHOP, 0, &files(folder.path(), &letters));
    system.kafka.produce(SHOP, None, &order("good", "ada", "behind all of them"));
    assert_eq!(client.recv_within("notification", 6 * PATIENCE)["title"], "behind all of them");
    let set_aside = until("each is in the dead-letter topic", || {
        let records = system.kafka.consume("notifications.dlq", "%S\n");
        (records.len() >= letters.len()).then_some(records)
    });
    assert_eq!(set_aside.len(), letters.len(), "{set_aside:?}");
    Equation::settled(&system.tocsin.api()).check();
}
