//! Clients of event streams, and what they say beside them.

use super::*;
use crate::limits::{ERRAND_AGAIN, ERRANDS_AT_ONCE};
use crate::marker::{Mark, Recipient};

const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n";
pub(super) const ACCEPTED: &[u8] = b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n";
/// Times of the notifications here, behind and before the one in the welcome.
const NEW: &str = "2026-01-01T00:00:07.000000Z";
const OLD: &str = "2025-12-31T00:00:00.000000Z";

pub(super) fn event(json: &str) -> Vec<u8> {
    wire::sse::event(None, json.as_bytes()).to_vec()
}

fn streams_of(clients: u32) -> Fleet {
    fleet_at(["http://a:1", "http://b:2/v1/events?device=d"], clients, 1e3, 5)
}

/// What was sent from a place, and nothing else is looked at.
fn sent(fleet: &mut Fleet, place: u32) -> Option<String> {
    outputs(fleet).into_iter().find_map(|output| match output {
        Output::Send { place: from, frame } if from == place => {
            Some(String::from_utf8(frame.to_vec()).expect("text"))
        }
        _ => None,
    })
}

pub(super) fn let_in(fleet: &mut Fleet, place: u32, now: Mono) {
    fleet.handle_connected(place);
    let mut answer = HEAD.as_bytes().to_vec();
    answer.extend_from_slice(b"retry: 4000\n\n");
    answer.extend(event(WELCOME));
    fleet.handle_bytes(place, &mut answer, now);
}

fn one_inside() -> Fleet {
    let mut fleet = streams_of(1);
    fleet.handle_timeout(T0);
    let_in(&mut fleet, 0, after(T0, 3));
    outputs(&mut fleet);
    fleet.begin_run(Arc::new(Posts::new(Pace::new(T0, 10.0), 10)), &Audience::One);
    fleet
}

fn notification(number: u64, created_at: &str) -> Vec<u8> {
    let data = Marker::new(1).data(Mark { number, recipient: Recipient::User(0) });
    let id = format!("00000000-0000-4000-8000-{number:012}");
    let json = format!(r#"{{"type":"notification","id":"{id}","created_at":"{created_at}","data":{data}}}"#);
    wire::sse::event(Some(&format!("{created_at}_{id}")), json.as_bytes()).to_vec()
}

/// The place of the first errand.
const ERRAND: u32 = 1;

/// Lets the next errand connect; what it says.
fn errand(fleet: &mut Fleet, now: Mono) -> Option<String> {
    fleet.handle_timeout(now);
    let begun = outputs(fleet).into_iter().any(|o| matches!(o, Output::Connect { place: ERRAND, .. }));
    if !begun {
        return None;
    }
    fleet.handle_connected(ERRAND);
    sent(fleet, ERRAND)
}

fn answer(status: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

#[test]
fn a_stream_is_asked_for_by_name_and_read_byte_by_byte() {
    let mut fleet = streams_of(1);
    fleet.handle_timeout(T0);
    outputs(&mut fleet);
    fleet.handle_connected(0);
    let request = sent(&mut fleet, 0).expect("a request");
    assert!(request.starts_with("GET /v1/events?user=u0 HTTP/1.1\r\nHost: a:1\r\n"), "{request}");
    assert!(request.contains("Accept: text/event-stream") && !request.contains("Last-Event-ID"), "{request}");
    assert!(request.ends_with("\r\n\r\n"));
    let mut bytes = HEAD.as_bytes().to_vec();
    bytes.extend_from_slice(wire::sse::HEARTBEAT);
    bytes.extend(event(WELCOME));
    for byte in bytes {
        fleet.handle_bytes(0, &mut [byte], after(T0, 7));
    }
    assert_eq!(outputs(&mut fleet), [Output::Presence { client: 0, inside: true }]);
    assert!(fleet.is_settled() && fleet.partial.is_empty());
    assert!(fleet.journal().handshakes.summary().is_some_and(|found| found.max >= 6.9));
}

#[test]
fn a_token_goes_into_the_header() {
    let mut fleet = streams_of(1);
    fleet.config.users.proof = Proof::Tokens(vec!["a.b.c".to_owned()].into());
    fleet.handle_timeout(T0);
    outputs(&mut fleet);
    fleet.handle_connected(0);
    let request = sent(&mut fleet, 0).expect("a request");
    assert!(request.starts_with("GET /v1/events HTTP/1.1\r\n"), "{request}");
    assert!(request.contains("Authorization: Bearer a.b.c\r\n"), "{request}");
}

#[test]
fn a_refused_stream_is_asked_for_when_the_server_said() {
    let mut fleet = streams_of(1);
    fleet.handle_timeout(T0);
    outputs(&mut fleet);
    fleet.handle_connected(0);
    let refusal = b"HTTP/1.1 503 X\r\nRetry-After: 7\r\nContent-Length: 2\r\n\r\n{}";
    fleet.handle_bytes(0, &mut refusal.to_vec(), T0);
    assert_eq!(fleet.journal().retry_after_s, std::collections::BTreeMap::from([(7, 1)]));
    fleet.handle_timeout(after(T0, 6_999));
    assert_eq!(connects(&mut fleet), 0);
    fleet.handle_timeout(after(T0, 7_000));
    assert_eq!(connects(&mut fleet), 1);
}

#[test]
fn what_is_no_stream_of_events_is_an_error_with_its_reason() {
    for (head, comeback, why) in [
        ("401 X", false, "events: status 401"),
        ("302 X", true, "events: the server answered 302"),
        ("200 OK\r\nContent-Type: text/html", true, "events: the answer is no event stream"),
        (
            "200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked",
            true,
            "events: the stream comes in a transfer encoding, which is not read here",
        ),
    ] {
        let mut fleet = streams_of(1);
        fleet.handle_timeout(T0);
        fleet.handle_connected(0);
        fleet.handle_bytes(0, &mut format!("HTTP/1.1 {head}\r\n\r\n").into_bytes(), T0);
        assert_eq!(fleet.journal().errors.clone().into_map().keys().collect::<Vec<_>>(), [why]);
        assert_eq!(fleet.journal().counts.failed == 0, comeback, "{head}");
    }
}

#[test]
fn a_lost_stream_comes_back_after_its_retry_and_from_its_last_event() {
    let mut fleet = one_inside();
    fleet.handle_bytes(0, &mut notification(0, NEW), T0);
    fleet.handle_ended(0, None, T0);
    let again = Output::Connect { place: 0, target: 1 };
    fleet.handle_timeout(after(T0, 3_999));
    assert!(!outputs(&mut fleet).contains(&again));
    fleet.handle_timeout(after(T0, 4_000));
    assert!(outputs(&mut fleet).contains(&again));
    fleet.handle_connected(0);
    let request = sent(&mut fleet, 0).expect("a request");
    let id = format!("Last-Event-ID: {NEW}_00000000-0000-4000-8000-000000000000\r\n");
    assert!(request.contains(&id) && request.starts_with("GET /v1/events?device=d&user=u0 "), "{request}");
    assert_eq!(fleet.journal().counts.dropped, 1);
}

#[test]
fn what_a_stream_repeats_from_before_its_welcome_is_no_duplicate() {
    let mut fleet = one_inside();
    fleet.handle_bytes(0, &mut notification(0, OLD), T0);
    fleet.handle_ended(0, None, T0);
    fleet.handle_timeout(after(T0, 4_000));
    let_in(&mut fleet, 0, after(T0, 4_000));
    let now = after(T0, 4_001);
    for (number, created_at) in [(0, OLD), (1, OLD), (2, NEW), (2, NEW)] {
        fleet.handle_bytes(0, &mut notification(number, created_at), now);
    }
    let counts = &fleet.journal().counts;
    assert_eq!((counts.received, counts.synced, counts.duplicated), (3, 1, 1));
    // The server sends by itself what was missed: nobody asks for it.
    let said = errand(&mut fleet, now).expect("an ack");
    assert!(!said.contains("sync"), "{said}");
}

#[test]
fn an_ack_is_a_post_and_a_busy_gateway_hears_it_again() {
    let mut fleet = one_inside();
    fleet.handle_bytes(0, &mut notification(0, NEW), T0);
    let said = errand(&mut fleet, T0).expect("an ack");
    let ack = r#"{"type":"ack","ids":["00000000-0000-4000-8000-000000000000"]}"#;
    let (head, body) = said.split_once("\r\n\r\n").expect("a head");
    assert!(head.starts_with("POST /v1/messages?user=u0 HTTP/1.1\r\nHost: a:1\r\n"), "{head}");
    assert!(head.contains(&format!("Content-Length: {}", body.len())), "{head}");
    assert_eq!(body, ack);
    let busy = b"HTTP/1.1 503 X\r\nRetry-After: 2\r\nContent-Length: 2\r\n\r\n{}";
    for byte in busy {
        fleet.handle_bytes(ERRAND, &mut [*byte], T0);
    }
    assert_eq!(outputs(&mut fleet), [Output::Close { place: ERRAND, how: End::Reset }]);
    assert_eq!(errand(&mut fleet, after(T0, 1_999)), None);
    // Its wake begins it, and the next turn connects.
    fleet.handle_timeout(after(T0, 2_000));
    fleet.handle_connected(ERRAND);
    assert!(sent(&mut fleet, ERRAND).is_some_and(|said| said.ends_with(ack)));
    fleet.handle_bytes(ERRAND, &mut ACCEPTED.to_vec(), after(T0, 2_001));
    outputs(&mut fleet);
    assert_eq!(errand(&mut fleet, after(T0, 60_000)), None);
    let counts = &fleet.journal().counts;
    assert_eq!((counts.acked, counts.acked_again, counts.open), (1, 1, 1));
}

#[test]
fn an_ack_that_nobody_answered_is_said_again() {
    for fails in ["connect", "cut", "half", "late"] {
        let mut fleet = one_inside();
        fleet.handle_bytes(0, &mut notification(0, NEW), T0);
        assert!(errand(&mut fleet, T0).is_some());
        let mut now = T0;
        match fails {
            "connect" => fleet.handle_connect_failed(ERRAND, "connection refused", T0),
            "cut" => fleet.handle_ended(ERRAND, Some("connection reset"), T0),
            "half" => {
                fleet.handle_bytes(ERRAND, &mut answer("202 X", "half")[..20], T0);
                fleet.handle_ended(ERRAND, None, T0);
            }
            _ => {
                now = T0 + HANDSHAKE_WITHIN;
                fleet.handle_timeout(now);
            }
        }
        outputs(&mut fleet);
        fleet.handle_timeout(now + ERRAND_AGAIN);
        let begun = outputs(&mut fleet).contains(&Output::Connect { place: ERRAND, target: 0 });
        assert!(begun, "{fails}: {:?}", fleet.journal().errors);
    }
}

#[test]
fn a_gap_is_synced_by_posts_page_by_page() {
    let mut fleet = one_inside();
    fleet.handle_bytes(0, &mut event(&format!(r#"{{"type":"gap","since":"{OLD}"}}"#)), T0);
    let said = errand(&mut fleet, T0).expect("a sync");
    assert!(said.contains(&format!(r#""last_seen_at":"{OLD}""#)), "{said}");
    let data = Marker::new(1).data(Mark { number: 3, recipient: Recipient::User(0) });
    let page = format!(
        r#"{{"type":"sync_batch","notifications":[{{"id":"x","created_at":"{OLD}","data":{data}}}],"cursor":"c7","has_more":true}}"#
    );
    fleet.handle_bytes(ERRAND, &mut answer("200 OK", &page), T0);
    outputs(&mut fleet);
    // The acknowledgement of the page, and the question for the next one, at one time.
    fleet.handle_timeout(T0);
    outputs(&mut fleet);
    let said = [ERRAND, ERRAND + 1].map(|place| {
        fleet.handle_connected(place);
        sent(&mut fleet, place).expect("an errand")
    });
    assert!(said.iter().any(|one| one.contains(r#""cursor":"c7""#)), "{said:?}");
    assert!(said.iter().any(|one| one.contains(r#""ids":["x"]"#)), "{said:?}");
    let counts = &fleet.journal().counts;
    assert_eq!((counts.received, counts.synced), (1, 1));
}

#[test]
fn a_topic_is_subscribed_by_a_post_before_the_client_is_in() {
    let mut fleet = streams_of(1);
    fleet.config.topic = Some("news".to_owned());
    fleet.handle_timeout(T0);
    let_in(&mut fleet, 0, T0);
    outputs(&mut fleet);
    assert!(!fleet.is_settled());
    let said = errand(&mut fleet, T0).expect("a subscription");
    assert!(said.ends_with(r#"{"type":"subscribe","topics":["news"]}"#), "{said}");
    fleet.handle_bytes(ERRAND, &mut b"HTTP/1.1 503 X\r\nRetry-After: 1\r\n\r\n".to_vec(), T0);
    fleet.handle_ended(ERRAND, None, T0);
    outputs(&mut fleet);
    fleet.handle_timeout(after(T0, 1_000));
    fleet.handle_connected(ERRAND);
    let subscribed = r#"{"type":"subscribed","topics":["news"]}"#;
    fleet.handle_bytes(ERRAND, &mut answer("200 OK", subscribed), after(T0, 1_001));
    assert!(fleet.is_settled());
}

#[test]
fn errands_are_bounded_and_end_with_the_run() {
    let mut fleet = streams_of(1);
    fleet.handle_timeout(T0);
    let_in(&mut fleet, 0, T0);
    outputs(&mut fleet);
    for _ in 0..2 * ERRANDS_AT_ONCE {
        fleet.handle_bytes(0, &mut event(&format!(r#"{{"type":"gap","since":"{OLD}"}}"#)), T0);
    }
    assert_eq!(fleet.poll_timeout(), Some(Mono::ZERO));
    fleet.handle_timeout(T0);
    assert_eq!(connects(&mut fleet), ERRANDS_AT_ONCE as usize);
    assert_ne!(fleet.poll_timeout(), Some(Mono::ZERO), "nobody spins meanwhile");
    fleet.begin_close(T0);
    fleet.handle_timeout(T0);
    let closed = outputs(&mut fleet).iter().filter(|o| matches!(o, Output::Close { .. })).count();
    assert_eq!(closed, ERRANDS_AT_ONCE as usize + 1);
    assert!(fleet.is_closed());
}
