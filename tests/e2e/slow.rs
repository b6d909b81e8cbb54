//! Who reads too slowly is told so or cut; nobody else waits for them, and memory stays within its bound.

use std::time::Duration;

use serde_json::{Value, json};
use tests::deadline::{PATIENCE, Stopwatch};
use tests::{Event, Setup};

use crate::support::to_user;

#[test]
fn a_client_that_never_reads_gets_gap_or_4429_and_others_do_not_wait() {
    let mut tocsin = Setup::standalone().set("gateway.limits.outbox_bytes", 128 * 1024).start();
    let mut slow = tocsin.connect("slow");
    let mut other = tocsin.connect("other");
    let before = tocsin.gateway().resident_bytes();
    // Far more than a socket's buffers and the outbox hold together.
    let note = json!({ "to": { "user": "slow" }, "body": "x".repeat(16_000) });
    let notes: Vec<Value> = std::iter::repeat_n(note, 200).collect();
    let mut worst = Duration::ZERO;
    for _ in 0..10 {
        tocsin.api().accepted_batch(&notes);
        let began = Stopwatch::start();
        tocsin.api().accepted(&to_user("other", "prompt"));
        other.recv("notification");
        worst = worst.max(began.elapsed());
    }
    assert!(worst < Duration::from_secs(5), "others waited {worst:?}");
    let grown = tocsin.gateway().resident_bytes().saturating_sub(before);
    assert!(grown < 400 << 20, "32 MB for one slow client made the process grow by {} MiB", grown >> 20);
    let mut got = 0;
    let told = loop {
        match slow.event(PATIENCE) {
            Event::Message(message) if message["type"] == "gap" => break "gap",
            Event::Message(_) => got += 1,
            Event::Closed { code, .. } => {
                assert_eq!(code, 4429);
                break "4429";
            }
            other => panic!("neither gap nor 4429 after {got}: {other:?}"),
        }
    };
    assert!(got < 2_000, "it cannot have been sent everything ({told})");
    let (missed, _) = tocsin.connect("slow").sync_all(&json!({}));
    assert_eq!(missed.len(), 2_000, "nothing is lost: a sync finds it all");
}
