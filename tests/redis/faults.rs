//! Redis dies, hangs, is emptied, or does not let us in: the outage goes on as without it, and it is filled again.

use serde_json::json;
use tests::certificate::Certificate;
use tests::deadline::Stopwatch;
use tests::redis::Redis;
use tests::sla::{Failure, Took, report};

use crate::support::{
    LIST, OnBoth, RECOVERED_WITHIN, criticals, ids, inbox, over, phase, redis, sorted, system, wait_for_redis,
};
use std::time::Duration;

/// A 202 that waited for Redis once would take longer than all of these together.
const ALL_WITHIN: Duration = Duration::from_secs(5);

#[test]
fn a_redis_that_dies_first_or_is_emptied_is_filled_again() {
    let mut system = OnBoth::start();
    wait_for_redis(&system.tocsin, "up");
    system.redis.process.kill_9();
    let watch = Stopwatch::start();
    wait_for_redis(&system.tocsin, "down");
    let detection = watch.elapsed();
    let shown = redis(&system.tocsin);
    assert!(shown["degraded"].as_str().is_some_and(|text| !text.is_empty()), "{shown}");
    assert_eq!(system.tocsin.api().get("/v1/status").expect(200).json()["state"], "degraded");
    assert_eq!(system.tocsin.router_admin().get("/readyz").status, 200, "it goes on taking in");
    system.kafka_dies();
    let mut mitigation = Duration::ZERO;
    let mut accepted: Vec<String> = (0..40)
        .flat_map(|_| {
            let watch = Stopwatch::start();
            let one = criticals(&system.tocsin, 1);
            mitigation = mitigation.max(watch.elapsed());
            one
        })
        .collect();
    let watch = Stopwatch::start();
    system.redis.start_again();
    system.wait_for_list(40);
    wait_for_redis(&system.tocsin, "up");
    report(Failure::Redis, Took { detection, mitigation, recovery: watch.elapsed() });
    system.redis.ask(&["FLUSHALL"]);
    system.wait_for_list(40);
    accepted.extend(criticals(&system.tocsin, 3));
    system.wait_for_list(43);
    assert_eq!(ids(&system.redis.values(LIST)), accepted, "in their order");
    system.kafka_returns();
    system.wait_for_empty();
    assert_eq!(inbox(&system.tocsin), sorted(accepted));
}

#[test]
fn a_hung_redis_costs_nobody_anything() {
    let mut system = OnBoth::start();
    system.kafka_dies();
    let mut accepted = criticals(&system.tocsin, 5);
    system.wait_for_list(5);
    system.redis.process.freeze();
    let watch = Stopwatch::start();
    accepted.extend(criticals(&system.tocsin, 100));
    assert!(watch.elapsed() < ALL_WITHIN, "{:?}", watch.elapsed());
    wait_for_redis(&system.tocsin, "down");
    let shown = redis(&system.tocsin);
    assert!(shown["detail"].as_str().is_some_and(|text| text.contains("within")), "{shown}");
    system.redis.process.thaw();
    wait_for_redis(&system.tocsin, "up");
    // One batch may stand there twice: whether it arrived could not be known.
    system.wait_for_at_least(105);
    system.kafka_returns();
    system.wait_for_empty();
    assert_eq!(inbox(&system.tocsin), sorted(accepted), "once");
}

#[test]
fn with_both_down_and_the_router_killed_nothing_is_lost() {
    let mut system = OnBoth::start();
    system.redis.process.kill_9();
    system.kafka_dies();
    let mut ada = system.tocsin.connect("ada");
    let mut accepted = criticals(&system.tocsin, 20);
    for id in &accepted {
        assert_eq!(ada.recv("notification")["id"], id.as_str(), "what is critical does not wait");
    }
    system.tocsin.kill_9();
    system.tocsin.start_gateway();
    phase(&system.tocsin, "buffering", RECOVERED_WITHIN);
    accepted.extend(criticals(&system.tocsin, 5));
    system.kafka_returns();
    assert_eq!(inbox(&system.tocsin), sorted(accepted));
    wait_for_redis(&system.tocsin, "down");
}

#[test]
fn a_wrong_password_is_told_and_shows_nowhere() {
    let redis_server = Redis::with_password("the-right-one");
    let folder = tests::paths::scratch("password-");
    let file = folder.path().join("password");
    std::fs::write(&file, "a-wrong-one\n").expect("a file");
    let (kafka, mut tocsin) = system(|setup| {
        setup.set("redis.url", redis_server.url()).set("redis.password_file", file.display().to_string())
    });
    wait_for_redis(&tocsin, "down");
    let shown = redis(&tocsin);
    assert!(shown["detail"].as_str().is_some_and(|text| text.contains("authentication failed")), "{shown}");
    tocsin.api().accepted(&json!({ "to": { "user": "ada" }, "title": "it goes on" }));
    std::fs::write(&file, "the-right-one\n").expect("a file");
    let status = tocsin.api().get("/v1/status").expect(200).text;
    tocsin.kill_9();
    tocsin.start_gateway();
    wait_for_redis(&tocsin, "up");
    over(&tocsin);
    let log = tocsin.gateway.as_ref().expect("it runs").log();
    for secret in ["the-right-one", "a-wrong-one"] {
        assert!(!log.contains(secret) && !status.contains(secret), "{secret}");
    }
    drop((tocsin, kafka));
}

#[test]
fn a_redis_behind_tls_is_spoken_to_and_one_without_a_certificate_we_trust_is_not() {
    let folder = tests::paths::scratch("tls-");
    let [ours, other] = ["ours", "other"].map(|name| Certificate::mint(folder.path(), name));
    let server = Redis::with_tls(&ours);
    let url = server.url().replace("redis://", "rediss://");
    let (kafka, mut tocsin) = system(|setup| {
        setup.set("redis.url", url).with_environment("SSL_CERT_FILE", ours.cert.display().to_string())
    });
    wait_for_redis(&tocsin, "up");
    tocsin.kill_9();
    ours.replace(&other);
    tocsin.start_gateway();
    wait_for_redis(&tocsin, "down");
    let shown = redis(&tocsin);
    assert!(shown["detail"].as_str().is_some_and(|text| text.contains("certificate")), "{shown}");
    drop((tocsin, kafka));
}
