//! A silent connection is asked whether it lives; one that does not answer twice is closed with 4408.

use std::time::Duration;

use tests::deadline::{PATIENCE, Stopwatch};
use tests::{Setup, Tocsin};

#[test]
fn who_answers_stays_and_who_does_not_is_4408() {
    let tocsin = Setup::standalone().set("gateway.ping_interval_ms", 300).start();
    let mut alive = tocsin.connect("alive");
    let mut mute = tocsin.connect("mute");
    let began = Stopwatch::start();
    // Reading answers pings; the mute one does not read meanwhile.
    while began.elapsed() < Duration::from_secs(3) {
        assert_eq!(alive.event(Duration::from_millis(200)), tests::Event::Nothing);
    }
    assert!(alive.pings >= 5, "a ping every 300 ms, with jitter: {} in 3 s", alive.pings);
    assert_eq!(mute.closed(PATIENCE).0, 4408);
    let gone = Tocsin::metric(&tocsin.gateway_admin(), "tocsin_gateway_connections", "");
    assert!((gone - 1.0).abs() < f64::EPSILON, "one connection is left: {gone}");
}
