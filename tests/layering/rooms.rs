//! Pure rooms decide and touch nothing; porches touch the street and decide nothing.

use crate::source::{self, Source};

/// Rooms without clock, I/O, async, threads or global randomness. `/**`: a folder with all in it.
const PURE: &[&str] = &[
    "wire/src/**",
    "gateway/src/admission.rs",
    "gateway/src/census.rs",
    "gateway/src/census/**",
    "gateway/src/limits.rs",
    "gateway/src/shard.rs",
    "gateway/src/shard/**",
    "loadtest/src/compare/config.rs",
    "loadtest/src/compare/figures.rs",
    "loadtest/src/compare/report.rs",
    "loadtest/src/compare/table.rs",
    "loadtest/src/counts.rs",
    "loadtest/src/dialect.rs",
    "loadtest/src/expect.rs",
    "loadtest/src/fleet.rs",
    "loadtest/src/fleet/**",
    "loadtest/src/marker.rs",
    "loadtest/src/percentiles.rs",
    "loadtest/src/phases.rs",
    "loadtest/src/plan.rs",
    "loadtest/src/posts.rs",
    "loadtest/src/providers/faults.rs",
    "loadtest/src/providers/received.rs",
    "loadtest/src/receipts.rs",
    "loadtest/src/report.rs",
    "loadtest/src/report/**",
    "loadtest/src/returns.rs",
    "loadtest/src/schedule.rs",
    "loadtest/src/series.rs",
    "loadtest/src/sources.rs",
    "loadtest/src/tally.rs",
    "loadtest/src/target.rs",
    "loadtest/src/units.rs",
    "loadtest/src/users.rs",
    "router/src/breaker.rs",
    "router/src/classify.rs",
    "router/src/contacts.rs",
    "router/src/contacts/**",
    "router/src/digest.rs",
    "router/src/inbox.rs",
    "router/src/inbox/**",
    "router/src/ingest/fields.rs",
    "router/src/ingest/quota.rs",
    "router/src/ingest/validate.rs",
    "router/src/ledger.rs",
    "router/src/ledger/**",
    "router/src/limit.rs",
    "router/src/limit/**",
    "router/src/migrate/offsets.rs",
    "router/src/links/queue.rs",
    "router/src/outage/mirror/value.rs",
    "router/src/outage/pacer.rs",
    "router/src/outage/phase.rs",
    "router/src/journal/kafka/numbers.rs",
    "router/src/otp.rs",
    "router/src/otp/tries.rs",
    "router/src/otp/newest.rs",
    "router/src/outcomes.rs",
    "router/src/outcomes/pace.rs",
    "router/src/owner.rs",
    "router/src/owner/**",
    "router/src/owners.rs",
    "router/src/owners/**",
    "router/src/pipeline.rs",
    "router/src/preferences.rs",
    "router/src/preferences/**",
    "router/src/presence.rs",
    "router/src/presence/**",
    "router/src/projection/queue.rs",
    "router/src/projection/rows.rs",
    "router/src/projection/schema.rs",
    "router/src/provider/callback.rs",
    "router/src/provider/callback/sns.rs",
    "router/src/provider/callback/twilio.rs",
    "router/src/provider/classify.rs",
    "router/src/provider/delivery.rs",
    "router/src/provider/caps.rs",
    "router/src/provider/health.rs",
    "router/src/provider/lane.rs",
    "router/src/provider/payload.rs",
    "router/src/provider/policy.rs",
    "router/src/provider/segments.rs",
    "router/src/provider/sigv4.rs",
    "router/src/provider/way.rs",
    "router/src/provider/words.rs",
    "router/src/record.rs",
    "router/src/route.rs",
    "router/src/route/**",
    "router/src/same.rs",
    "router/src/store/memory.rs",
    "router/src/store/part.rs",
    "router/src/suppression.rs",
    "router/src/sync.rs",
    "router/src/sync/**",
    "router/src/templates.rs",
    "router/src/unsubscribe.rs",
    "tuning/src/model.rs",
    "tuning/src/plan.rs",
    "tuning/src/table.rs",
    "tuning/src/table/**",
    "tuning/src/wish.rs",
];

/// What none of them may name.
const STREET: &[&str] = &[
    ".await",
    "Instant",
    "SystemTime",
    "TcpListener",
    "TcpStream",
    "UdpSocket",
    "async fn",
    "async move",
    "getrandom::",
    "glommio",
    "io_uring",
    "ops::clock",
    "ops::random",
    "rand::rng",
    "std::env",
    "std::fs",
    "std::process",
    "std::thread",
    "thread_rng",
    "tokio",
];

/// The only code that may name the kernel's rings and their runtime.
const RING_PORCHES: &[&str] = &[
    "gateway/ring/src/**",
    "gateway/src/io/**",
    "gateway/src/io.rs",
    "gateway/src/node.rs",
    "loadtest/src/engine.rs",
    "loadtest/src/engine/**",
    "loadtest/peers/src/**",
];
const RING_WORDS: &[&str] = &["glommio", "io_uring", "libc::"];

/// The only production code that may be unsafe.
const UNSAFE_PORCHES: &[&str] = &["gateway/ring/src/**"];

fn named(source: &Source, words: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for word in words {
        let lines = source.lines_with(word).into_iter();
        found.extend(lines.map(|line| format!("{}:{line} names {word}", source.path)));
    }
    found
}

#[test]
fn pure_rooms_touch_nothing() {
    let pure = source::production().filter(|source| source.is_under(PURE));
    let wrong: Vec<String> = pure.flat_map(|source| named(&source, STREET)).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_rule_for_pure_rooms_can_fail() {
    let planted =
        Source::new("gateway/src/shard/x.rs", "fn now() -> Instant { std::time::Instant::now() }\n");
    assert!(planted.is_under(PURE) && !named(&planted, STREET).is_empty());
}

#[test]
fn every_pure_room_is_there() {
    let sources = source::all();
    for place in PURE.iter().filter(|place| !place.ends_with("/**")) {
        assert!(
            sources.iter().any(|source| source.path == *place),
            "{place} is gone: mend the list of pure rooms"
        );
    }
}

#[test]
fn only_porches_name_the_ring() {
    let others = source::production().filter(|source| !source.is_under(RING_PORCHES));
    let wrong: Vec<String> = others.flat_map(|source| named(&source, RING_WORDS)).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn only_the_ring_is_unsafe() {
    let wrong: Vec<String> = source::production()
        .filter(|source| !source.is_under(UNSAFE_PORCHES))
        .flat_map(|source| named(&source, &["unsafe"]))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_other_crate_forbids_unsafe_code() {
    let roots = source::production()
        .filter(|source| source.path.ends_with("/src/lib.rs") || source.path.ends_with("/src/main.rs"));
    let wrong: Vec<String> = roots
        .filter(|source| !source.is_under(UNSAFE_PORCHES))
        .filter(|source| !source.text.contains("#![forbid(unsafe_code)]"))
        .map(|source| source.path)
        .collect();
    assert!(wrong.is_empty(), "without #![forbid(unsafe_code)]: {wrong:#?}");
}
