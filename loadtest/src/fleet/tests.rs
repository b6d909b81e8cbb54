//! The fleet against a server played by hand, byte by byte and second by second.

mod streams;

use std::time::Duration;

use proptest::prelude::*;
use wire::http::parse_request;
use wire::ws;

use super::*;
use crate::limits::{
    ACK_REFUSED_WITHIN, ACK_TRIES_MAX, CLOSE_WITHIN, CLOSES_A_TURN, CUTS_A_TURN, HANDSHAKES_AT_ONCE_MAX,
};
use crate::schedule::{Lane, Pace};
use crate::target::Target;
use crate::users::{Proof, Users};

const T0: Mono = Mono(10_000_000);
const WELCOME: &str = r#"{"type":"welcome","session":"s","node":"n","ping_interval_ms":25000,"server_time":"2026-01-01T00:00:00Z","reconnect":{"spread_ms":1000,"max_ms":30000}}"#;

fn fleet_of(clients: u32, rate: f64, attempts_max: u32) -> Fleet {
    fleet_at(["ws://a:1", "ws://b:2"], clients, rate, attempts_max)
}

fn fleet_at(urls: [&str; 2], clients: u32, rate: f64, attempts_max: u32) -> Fleet {
    Fleet::new(FleetConfig {
        lane: Lane { lane: 0, lanes: 1 },
        clients,
        pace: Pace::new(T0, rate),
        users: Users { prefix: "u".to_owned(), proof: Proof::Query },
        targets: urls.map(|url| Target::parse(url).expect("a URL")).to_vec(),
        shares: vec![1, 1],
        attempts_max,
        topic: None,
        acks: true,
        syncs: true,
        marker: Marker::new(1),
        seed: 5,
        dialect: Dialect::Tocsin,
        handshakes_at_once: HANDSHAKES_AT_ONCE_MAX,
    })
}

fn outputs(fleet: &mut Fleet) -> Vec<Output> {
    std::iter::from_fn(|| fleet.poll_output()).collect()
}

fn connects(fleet: &mut Fleet) -> usize {
    outputs(fleet).iter().filter(|output| matches!(output, Output::Connect { .. })).count()
}

fn after(time: Mono, ms: u64) -> Mono {
    time + Duration::from_millis(ms)
}

/// The upgrade request that the fleet sent, answered as a good server does.
fn good_answer(request: &[u8]) -> Vec<u8> {
    let Ok(Some(head)) = parse_request(request) else { panic!("not a request: {request:?}") };
    let key = head.header("sec-websocket-key").expect("a key");
    let accept = tungstenite::handshake::derive_accept_key(key.as_bytes());
    format!("HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: tocsin.v1\r\n\r\n").into_bytes()
}

fn text(json: &str) -> Vec<u8> {
    ws::text_frame(json.as_bytes()).to_vec()
}

/// Brings one client from its connect to `welcome`.
fn let_in(fleet: &mut Fleet, place: u32, now: Mono) {
    fleet.handle_connected(place);
    let request = outputs(fleet).into_iter().find_map(|output| match output {
        Output::Send { place: to, frame } if to == place => Some(frame),
        _ => None,
    });
    let mut answer = good_answer(&request.expect("a request"));
    answer.extend(text(WELCOME));
    fleet.handle_bytes(place, &mut answer, now);
}

fn one_inside() -> Fleet {
    let mut fleet = fleet_of(1, 1.0, 5);
    fleet.handle_timeout(T0);
    let_in(&mut fleet, 0, after(T0, 3));
    outputs(&mut fleet);
    fleet
}

#[test]
fn a_client_begins_at_its_time_and_its_handshake_counts_from_there() {
    let mut fleet = fleet_of(3, 10.0, 5);
    assert_eq!(fleet.poll_timeout(), Some(T0));
    fleet.handle_timeout(Mono(T0.0 - 1));
    assert_eq!(connects(&mut fleet), 0);
    // Nobody looked for 5 s: all three begin, each late against its own time.
    let now = after(T0, 5_000);
    fleet.handle_timeout(now);
    assert_eq!(connects(&mut fleet), 3);
    for place in 0..3 {
        let_in(&mut fleet, place, now);
    }
    let handshakes = fleet.journal().handshakes.summary().expect("three");
    // The histogram keeps three digits.
    assert!(handshakes.min >= 4_790.0 && handshakes.max >= 5_000.0, "{handshakes:?}");
    assert!(fleet.is_settled());
}

#[test]
fn an_answer_may_come_byte_by_byte() {
    let mut fleet = fleet_of(1, 1.0, 5);
    fleet.handle_timeout(T0);
    fleet.handle_connected(0);
    let Some(Output::Send { frame, .. }) = outputs(&mut fleet).pop() else { panic!("a request") };
    let mut bytes = good_answer(&frame);
    bytes.extend(text(WELCOME));
    for byte in bytes {
        fleet.handle_bytes(0, &mut [byte], after(T0, 7));
    }
    assert_eq!(outputs(&mut fleet), [Output::Presence { client: 0, inside: true }]);
    assert!(fleet.partial.is_empty());
}

#[test]
fn handshakes_under_way_are_bounded_and_nobody_spins_meanwhile() {
    let mut fleet = fleet_of(5_000, 1e6, 5);
    let now = after(T0, 1_000);
    fleet.handle_timeout(now);
    assert_eq!(connects(&mut fleet), HANDSHAKES_AT_ONCE_MAX);
    assert_eq!(fleet.poll_timeout(), Some(now + HANDSHAKE_WITHIN));
    let_in(&mut fleet, 0, now);
    fleet.handle_timeout(now);
    assert_eq!(connects(&mut fleet), 1);
}

#[test]
fn a_handshake_that_never_ends_is_given_up_and_one_that_ended_is_not() {
    let mut fleet = fleet_of(2, 1e3, 1);
    fleet.handle_timeout(after(T0, 1));
    let_in(&mut fleet, 1, after(T0, 2));
    fleet.handle_timeout(after(T0, 31_000));
    assert_eq!(fleet.journal().errors.total(), 1);
    let counts = &fleet.journal().counts;
    assert_eq!((counts.open, counts.failed, fleet.under_way), (1, 1, 0));
}

#[test]
fn attempts_go_round_the_addresses_and_end() {
    let mut fleet = fleet_of(1, 1.0, 3);
    let (mut now, mut targets) = (T0, Vec::new());
    while !fleet.is_settled() {
        fleet.handle_timeout(now);
        for output in outputs(&mut fleet) {
            if let Output::Connect { place, target } = output {
                targets.push(target);
                fleet.handle_connect_failed(place, "refused", now);
            }
        }
        now = fleet.poll_timeout().unwrap_or(now);
    }
    assert_eq!(targets, [0, 1, 0]);
    assert_eq!((fleet.journal().counts.failed, fleet.journal().errors.total()), (1, 3));
}

#[test]
fn over_capacity_by_close_is_a_refusal_with_its_time() {
    let mut fleet = fleet_of(1, 1.0, 5);
    fleet.handle_timeout(T0);
    fleet.handle_connected(0);
    let request = outputs(&mut fleet).pop();
    let Some(Output::Send { frame, .. }) = request else { panic!("a request") };
    let mut answer = good_answer(&frame);
    answer.extend_from_slice(&ws::close_frame(1013, r#"{"retry_after_ms":6500}"#, None));
    fleet.handle_bytes(0, &mut answer, T0);
    assert_eq!(fleet.journal().counts.refused, 1);
    assert_eq!(fleet.journal().retry_after_s, std::collections::BTreeMap::from([(7, 1)]));
    assert_eq!(fleet.poll_timeout().map(|at| at.min(after(T0, 6_500))), Some(after(T0, 6_500)));
    fleet.handle_timeout(after(T0, 6_499));
    assert_eq!(connects(&mut fleet), 0);
    fleet.handle_timeout(after(T0, 6_500));
    assert_eq!(connects(&mut fleet), 1);
}

#[test]
fn who_is_asked_to_move_moves_at_that_time() {
    let mut fleet = one_inside();
    fleet.handle_bytes(0, &mut text(r#"{"type":"reconnect","after_ms":2000}"#), T0);
    fleet.handle_timeout(after(T0, 1_999));
    assert_eq!(outputs(&mut fleet), []);
    fleet.handle_timeout(after(T0, 2_000));
    let wanted = [
        Output::Presence { client: 0, inside: false },
        Output::Close { place: 0, how: End::Reset },
        // Not where it was asked to leave.
        Output::Connect { place: 0, target: 1 },
    ];
    assert_eq!(outputs(&mut fleet), wanted);
    let counts = &fleet.journal().counts;
    assert_eq!((counts.moved, counts.dropped), (1, 0));
}

#[test]
fn a_ping_is_answered_with_its_payload() {
    let mut fleet = one_inside();
    fleet.handle_bytes(0, &mut ws::ping_frame(b"abc", None).to_vec(), T0);
    let Some(Output::Send { frame, .. }) = fleet.poll_output() else { panic!("a pong") };
    let mut heard = Vec::new();
    let mut server = Session::new(Role::Server);
    let read = server.handle_bytes(&mut frame.to_vec(), &SessionLimits::default(), &mut |incoming| {
        heard.push(format!("{incoming:?}"));
    });
    assert!(read.is_ok());
    assert_eq!(heard, [format!("Pong({:?})", b"abc")]);
}

#[test]
fn a_gap_is_synced_from_where_it_began() {
    let mut fleet = one_inside();
    fleet.handle_bytes(0, &mut text(r#"{"type":"gap","since":"2025-12-31T00:00:00Z"}"#), T0);
    let Some(Output::Send { frame, .. }) = fleet.poll_output() else { panic!("a sync") };
    let mut said = String::new();
    let mut server = Session::new(Role::Server);
    let read = server.handle_bytes(&mut frame.to_vec(), &SessionLimits::default(), &mut |incoming| {
        if let wire::session::Incoming::Text(text) = incoming {
            text.clone_into(&mut said);
        }
    });
    assert!(read.is_ok() && said.contains(r#""last_seen_at":"2025-12-31T00:00:00.000000Z""#), "{said}");
}

/// Everything that client 0 says, in the order in which it does.
fn said(fleet: &mut Fleet) -> Vec<String> {
    let mut said = Vec::new();
    let mut server = Session::new(Role::Server);
    for output in outputs(fleet) {
        let Output::Send { place: 0, frame } = output else { continue };
        let read = server.handle_bytes(&mut frame.to_vec(), &SessionLimits::default(), &mut |incoming| {
            if let wire::session::Incoming::Text(text) = incoming {
                said.push(text.to_owned());
            }
        });
        assert!(read.is_ok());
    }
    said
}

const BUSY: &str = r#"{"type":"error","code":"busy","message":"","retry_after_ms":2000}"#;
const ACK: &str = r#"{"type":"ack","ids":["a"]}"#;

/// A client that has acknowledged its first notification.
fn one_that_acknowledged() -> Fleet {
    let mut fleet = one_inside();
    fleet.begin_run(Arc::new(Posts::new(Pace::new(T0, 10.0), 10)), &Audience::One);
    let mark = crate::marker::Mark { number: 0, recipient: crate::marker::Recipient::User(0) };
    let data = Marker::new(1).data(mark);
    fleet.handle_bytes(0, &mut text(&format!(r#"{{"type":"notification","id":"a","data":{data}}}"#)), T0);
    assert_eq!(said(&mut fleet), [ACK]);
    fleet
}

#[test]
fn a_refused_ack_is_said_again_when_the_server_wants_it_and_counts_once() {
    let mut fleet = one_that_acknowledged();
    fleet.handle_bytes(0, &mut text(BUSY), after(T0, 100));
    fleet.handle_timeout(after(T0, 2_099));
    assert!(said(&mut fleet).is_empty());
    fleet.handle_timeout(after(T0, 2_100));
    assert_eq!(said(&mut fleet), [ACK]);
    let counts = &fleet.journal().counts;
    assert_eq!((counts.acked, counts.acked_again), (1, 1));
    // What was read long ago is not what is refused now.
    fleet.handle_bytes(0, &mut text(BUSY), after(T0, 2_100) + ACK_REFUSED_WITHIN);
    fleet.handle_timeout(after(T0, 60_000));
    assert!(said(&mut fleet).is_empty());
}

#[test]
fn an_ack_that_is_refused_without_end_is_given_up() {
    let mut fleet = one_that_acknowledged();
    let mut now = T0;
    let mut times = 1;
    for _ in 0..3 * ACK_TRIES_MAX {
        fleet.handle_bytes(0, &mut text(BUSY), now);
        now = after(now, 2_000);
        fleet.handle_timeout(now);
        times += said(&mut fleet).len() as u32;
    }
    assert_eq!(times, ACK_TRIES_MAX);
    let errors = fleet.journal().errors.clone().into_map();
    assert_eq!(errors["ack: refused too often, given up"], 1);
}

#[test]
fn a_client_that_lost_its_connection_says_a_refused_ack_when_it_is_back() {
    let mut fleet = one_that_acknowledged();
    fleet.handle_bytes(0, &mut text(BUSY), T0);
    fleet.handle_ended(0, None, T0);
    let now = after(T0, 1_000);
    fleet.handle_timeout(now);
    let_in(&mut fleet, 0, now);
    assert!(said(&mut fleet).contains(&ACK.to_owned()));
}

#[test]
fn the_end_is_said_to_everybody_a_part_each_turn_and_is_bounded() {
    let mut fleet = fleet_of(3_000, 1e6, 5);
    fleet.handle_timeout(after(T0, 10));
    outputs(&mut fleet);
    for place in 0..3_000 {
        let_in(&mut fleet, place, after(T0, 10));
    }
    outputs(&mut fleet);
    let now = after(T0, 20);
    fleet.begin_close(now);
    let mut turns = 0;
    while fleet.poll_timeout() == Some(Mono::ZERO) {
        fleet.handle_timeout(now);
        let said = outputs(&mut fleet).len();
        assert!(said > 0 && said <= CLOSES_A_TURN as usize);
        turns += 1;
    }
    assert_eq!(turns, 3);
    // All but one answer; the last is closed when its time is over.
    for place in 1..3_000 {
        fleet.handle_bytes(place, &mut ws::close_frame(1000, "", None).to_vec(), now);
    }
    assert!(!fleet.is_closed());
    fleet.handle_timeout(now + CLOSE_WITHIN);
    assert!(fleet.is_closed());
    assert_eq!(fleet.journal().counts.dropped, 0);
}

#[test]
fn a_cut_takes_everybody_a_part_each_turn_and_the_policy_brings_them_back() {
    let clients = CUTS_A_TURN + 1;
    let mut fleet = fleet_of(clients, 1e6, 5);
    fleet.handle_timeout(after(T0, 10));
    outputs(&mut fleet);
    for place in 0..clients {
        let_in(&mut fleet, place, after(T0, 10));
    }
    outputs(&mut fleet);
    fleet.watch_returns();
    let cut = after(T0, 1_000);
    fleet.begin_cut(End::Fin);
    fleet.handle_timeout(cut);
    let closed = |outputs: Vec<Output>| {
        outputs.iter().filter(|output| matches!(output, Output::Close { how: End::Fin, .. })).count()
    };
    assert_eq!(closed(outputs(&mut fleet)), CUTS_A_TURN as usize);
    assert_eq!(fleet.poll_timeout(), Some(Mono::ZERO));
    fleet.handle_timeout(cut);
    assert_eq!(closed(outputs(&mut fleet)), 1);
    // The welcome's spread is a second: half of them are on their way after half of it, all after all of it.
    fleet.handle_timeout(after(cut, 500));
    let early = connects(&mut fleet);
    assert!((900..1_150).contains(&early), "{early}");
    fleet.handle_timeout(after(cut, 1_000));
    assert_eq!(early + connects(&mut fleet), clients as usize);
    for place in 0..clients {
        let_in(&mut fleet, place, after(cut, 1_200));
    }
    let counts = fleet.journal().counts.clone();
    let all = u64::from(clients);
    assert_eq!(
        (counts.cut, counts.lost, counts.back, counts.dropped, counts.open),
        (all, all, all, 0, clients)
    );
    assert_eq!(fleet.journal().returns.attempts_needed, std::collections::BTreeMap::from([(1, all)]));
}

#[test]
fn an_attempt_without_a_slot_is_made_again_and_is_no_other_attempt() {
    let mut fleet = fleet_of(1, 1.0, 1);
    fleet.handle_timeout(T0);
    assert_eq!(connects(&mut fleet), 1);
    fleet.handle_no_slot(0, T0);
    fleet.handle_timeout(after(T0, 5));
    assert_eq!(connects(&mut fleet), 1);
    let_in(&mut fleet, 0, after(T0, 9));
    let journal = fleet.journal();
    assert_eq!((journal.counts.attempts, journal.counts.open, journal.errors.total()), (1, 1, 0));
    assert!(journal.handshakes.summary().is_some_and(|found| found.min >= 8.9));
}

/// Something that happens to a client.
#[derive(Debug, Clone)]
enum Happening {
    Connected,
    ConnectFailed,
    LetIn,
    Bytes(Vec<u8>),
    Text(&'static str),
    Close(u16),
    Ended,
    Later(u64),
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        Just(Happening::Connected),
        Just(Happening::ConnectFailed),
        Just(Happening::LetIn),
        proptest::collection::vec(any::<u8>(), 0..40).prop_map(Happening::Bytes),
        prop_oneof![
            Just(WELCOME),
            Just(r#"{"type":"reconnect","after_ms":5}"#),
            Just(r#"{"type":"sync_batch","notifications":[],"cursor":"c","has_more":true}"#),
            Just(r#"{"type":"notification","data":{"lt":"00000001.0.*"}}"#),
            Just("junk"),
        ]
        .prop_map(Happening::Text),
        prop_oneof![Just(1000_u16), Just(1001), Just(1013), Just(4401)].prop_map(Happening::Close),
        Just(Happening::Ended),
        (0_u64..40_000).prop_map(Happening::Later),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    /// Whatever the network and a hostile server do: no panic, and every client is in exactly one place.
    #[test]
    fn every_client_is_somewhere(streams in any::<bool>(), story in proptest::collection::vec((0_u32..5, happening()), 0..80)) {
        let urls = if streams { ["http://a:1", "http://b:2"] } else { ["ws://a:1", "ws://b:2"] };
        let mut fleet = fleet_at(urls, 3, 1e3, 4);
        let mut now = T0;
        for (place, what) in story {
            // Behind the clients are the places of what streams' clients say.
            let place = if streams { place } else { place % 3 };
            match what {
                Happening::Connected => fleet.handle_connected(place),
                Happening::ConnectFailed => fleet.handle_connect_failed(place, "x", now),
                Happening::LetIn if place >= 3 => fleet.handle_bytes(place, &mut streams::ACCEPTED.to_vec(), now),
                Happening::LetIn if fleet.clients[place as usize].phase != Phase::Connecting => {}
                Happening::LetIn if streams => streams::let_in(&mut fleet, place, now),
                Happening::LetIn => let_in(&mut fleet, place, now),
                Happening::Bytes(mut bytes) => fleet.handle_bytes(place, &mut bytes, now),
                Happening::Text(json) if streams => fleet.handle_bytes(place, &mut streams::event(json), now),
                Happening::Text(json) => fleet.handle_bytes(place, &mut text(json), now),
                Happening::Close(code) => {
                    fleet.handle_bytes(place, &mut ws::close_frame(code, "", None).to_vec(), now);
                }
                Happening::Ended => fleet.handle_ended(place, None, now),
                Happening::Later(ms) => {
                    now = after(now, ms);
                    fleet.handle_timeout(now);
                }
            }
            outputs(&mut fleet);
            let phases: Vec<Phase> = fleet.clients.iter().map(|client| client.phase).collect();
            let count = |wanted: fn(Phase) -> bool| phases.iter().filter(|phase| wanted(**phase)).count();
            prop_assert_eq!(count(Phase::shakes_hands), fleet.under_way);
            prop_assert_eq!(count(|phase| phase == Phase::In), fleet.journal.counts.open as usize);
            prop_assert_eq!(count(|phase| phase == Phase::Out), fleet.out as usize);
            prop_assert!(fleet.partial.len() <= fleet.under_way);
            let (idle, free) = fleet.errands.idle_and_free();
            prop_assert_eq!(idle, free);
        }
        fleet.begin_close(now);
        while let (false, Some(at)) = (fleet.is_closed(), fleet.poll_timeout()) {
            now = now.max(at);
            fleet.handle_timeout(now);
        }
        prop_assert!(fleet.is_closed());
    }
}
