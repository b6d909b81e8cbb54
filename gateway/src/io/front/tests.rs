//! The front between a client of rustls's own and a diary in the shard's place.

use rustls::ClientConnection;
use rustls::version::{TLS12, TLS13};

use super::*;
use crate::tls::peer::{both, connect, flight, read, say};

const WAIT: Duration = Duration::from_secs(10);

fn at(s: u64) -> Mono {
    Mono(1_000_000 * s)
}

/// What the shard was told.
#[derive(Debug, Default)]
struct Diary {
    plain: Vec<u8>,
    sent: usize,
    ended: usize,
    failed: usize,
}

impl Diary {
    fn note(&mut self, told: Told<'_>) {
        match told {
            Told::Received(data) => self.plain.extend_from_slice(data),
            Told::Sent => self.sent += 1,
            Told::Ended => self.ended += 1,
            Told::Failed => self.failed += 1,
        }
    }
}

struct House {
    front: Front,
    metrics: Arc<ShardMetrics>,
    client: Arc<rustls::ClientConfig>,
    diary: Diary,
}

impl House {
    fn new() -> House {
        let (server, client) = both(&TLS13);
        let metrics = Arc::new(ShardMetrics::default());
        let front = Front::new(Some(server), Arc::clone(&metrics), WAIT);
        House { front, metrics, client, diary: Diary::default() }
    }

    fn receive(&mut self, key: Key, data: &[u8], now: Mono) {
        let House { front, diary, .. } = self;
        front.received(key, &mut data.to_vec(), now, &mut |_, told| diary.note(told));
    }

    fn shake_hands(&mut self) {
        let House { front, diary, .. } = self;
        front.shake_hands(at(1), &mut |_, told| diary.note(told));
    }

    fn sent(&mut self, key: Key) {
        let House { front, diary, .. } = self;
        front.sent(key, &mut |_, told| diary.note(told));
    }

    fn time_out(&mut self, now: Mono) {
        let House { front, diary, .. } = self;
        front.handle_timeout(now, &mut |_, told| diary.note(told));
    }

    /// What the kernel would be given, and takes at once.
    fn records(&mut self, key: Key) -> Vec<u8> {
        let mut all = Vec::new();
        while let Some(Output::Send { key: to, records }) = self.front.poll_output() {
            assert_eq!(to, key);
            all.extend_from_slice(&records);
            self.sent(key);
        }
        all
    }

    fn open(&mut self, key: Key) -> ClientConnection {
        let mut client = connect(&self.client);
        self.front.accepted(key);
        while client.is_handshaking() {
            let hello = flight(&mut client);
            self.receive(key, &hello, at(1));
            self.shake_hands();
            let answer = self.records(key);
            read(&mut client, &answer);
        }
        let finished = flight(&mut client);
        self.receive(key, &finished, at(1));
        self.shake_hands();
        let tickets = self.records(key);
        read(&mut client, &tickets);
        client
    }

    fn send(&mut self, key: Key, frames: &[Bytes]) -> Taken {
        self.front.send(key, &mut frames.iter().cloned())
    }

    /// The metrics' lines with these words and a value above zero.
    fn counts(&self, words: &str) -> bool {
        let mut text = ops::metrics::Text::new();
        crate::metrics::tls::render(&mut text, &[&self.metrics.tls]);
        text.finish().lines().any(|line| line.contains(words) && !line.ends_with(" 0"))
    }
}

fn key(place: u32) -> Key {
    Key::new(place, 1)
}

#[test]
fn plaintext_goes_both_ways_and_the_shard_hears_when_it_is_sent() {
    let mut house = House::new();
    let mut client = house.open(key(3));
    assert!(house.counts("{version=\"1.3\",resumed=\"false\"}"));
    let records = say(&mut client, b"GET / HTTP/1.1\r\n");
    house.receive(key(3), &records, at(2));
    assert_eq!(house.diary.plain, b"GET / HTTP/1.1\r\n");
    assert_eq!(house.diary.sent, 0, "the handshake's own records are nobody's send");
    let frames = [Bytes::from_static(b"one "), Bytes::from_static(b"two")];
    assert_eq!(house.send(key(3), &frames), Taken::Sending);
    let Some(Output::Send { records, .. }) = house.front.poll_output() else { panic!("a send") };
    assert_eq!(house.diary.sent, 0, "not before the kernel has it");
    house.sent(key(3));
    assert_eq!(house.diary.sent, 1);
    assert_eq!(read(&mut client, &records).unwrap(), b"one two");
}

#[test]
fn a_long_frame_goes_in_bounded_pieces_and_is_sent_once() {
    let mut house = House::new();
    let mut client = house.open(key(0));
    let long = Bytes::from((0..100_000_u32).map(|n| n as u8).collect::<Vec<_>>());
    let frames = [Bytes::from_static(b"head"), long.clone(), Bytes::from_static(b"behind")];
    let mut left = frames.iter().cloned();
    assert_eq!(house.front.send(key(0), &mut left), Taken::Sending);
    assert_eq!(left.len(), 1, "what does not fit stays in the outbox");
    let mut heard = Vec::new();
    while let Some(Output::Send { records, .. }) = house.front.poll_output() {
        assert!(records.len() <= limits::TLS_SEND_BYTES + 1_024, "{}", records.len());
        assert_eq!(house.diary.sent, 0);
        heard.extend(read(&mut client, &records).unwrap());
        house.sent(key(0));
    }
    assert_eq!(house.diary.sent, 1);
    assert_eq!(heard, [b"head", &long[..]].concat());
    assert_eq!(house.front.in_flight_bytes, 0);
}

#[test]
fn what_the_kernel_does_not_take_holds_others_back() {
    let mut house = House::new();
    house.open(key(0));
    house.open(key(1));
    house.front.in_flight_bytes = limits::TLS_IN_FLIGHT_BYTES_MAX - 1;
    assert!(!house.front.holds_back(key(0)));
    house.send(key(0), &[Bytes::from_static(b"a")]);
    assert!(house.front.poll_output().is_some());
    assert!(house.front.holds_back(key(1)) && house.front.holds_back(key(1)));
    assert_eq!(house.front.next_held(), None);
    house.sent(key(0));
    assert_eq!(house.front.next_held(), Some(key(1)));
    assert_eq!(house.front.next_held(), None, "once");
}

#[test]
fn handshakes_wait_for_their_turn_and_more_of_them_is_not_read() {
    let mut house = House::new();
    let many = limits::TLS_HANDSHAKES_PER_TURN as u32 + 3;
    let hello = flight(&mut connect(&house.client));
    for place in 0..many {
        house.front.accepted(key(place));
        house.receive(key(place), &hello, at(1));
    }
    assert_eq!(house.front.poll_timeout(), Some(Mono::ZERO));
    house.receive(key(many - 1), &vec![0; limits::TLS_RECORD_BYTES_MAX], at(1));
    house.shake_hands();
    let outputs: Vec<Output> = std::iter::from_fn(|| house.front.poll_output()).collect();
    let answers = outputs.iter().filter(|output| matches!(output, Output::Send { .. })).count();
    assert_eq!(answers, limits::TLS_HANDSHAKES_PER_TURN);
    assert_eq!(outputs.last(), Some(&Output::Pause { key: key(many - 1), paused: true }));
    house.shake_hands();
    let outputs: Vec<Output> = std::iter::from_fn(|| house.front.poll_output()).collect();
    assert!(outputs.contains(&Output::Pause { key: key(many - 1), paused: false }));
    assert_eq!(house.front.poll_timeout(), None);
}

#[test]
fn who_sends_its_hello_byte_by_byte_delays_nobody_much() {
    let mut house = House::new();
    let hello = flight(&mut connect(&house.client));
    let slow = limits::TLS_PIECES_PER_TURN as u32 - 1;
    for place in 0..slow {
        house.front.accepted(key(place));
        house.receive(key(place), &hello[..1], at(1));
    }
    house.front.accepted(key(slow));
    house.receive(key(slow), &hello, at(1));
    house.shake_hands();
    assert!(matches!(house.front.poll_output(), Some(Output::Send { key: to, .. }) if to == key(slow)));
}

#[test]
fn plaintext_is_answered_in_plaintext_and_closed() {
    let mut house = House::new();
    house.front.accepted(key(0));
    house.receive(key(0), b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", at(1));
    assert_eq!(house.diary.failed, 1);
    house.front.close(key(0), false, at(1));
    let Some(Output::Send { records, .. }) = house.front.poll_output() else { panic!("an answer") };
    let answer = String::from_utf8(records.to_vec()).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("speaks TLS"), "{answer}");
    assert_eq!(house.front.poll_output(), None);
    house.sent(key(0));
    assert_eq!(house.front.poll_output(), Some(Output::Close { key: key(0), hard: false }));
    assert!(house.counts("not_tls") && house.diary.plain.is_empty());
}

#[test]
fn a_failure_says_why_before_it_closes() {
    let mut house = House::new();
    let mut client = house.open(key(0));
    let mut records = say(&mut client, b"hello");
    *records.last_mut().unwrap() ^= 1;
    house.receive(key(0), &records, at(1));
    assert_eq!((house.diary.failed, house.diary.plain.len()), (1, 0));
    house.front.close(key(0), false, at(1));
    assert!(matches!(house.front.poll_output(), Some(Output::Send { .. })), "the alert");
    house.sent(key(0));
    assert_eq!(house.front.poll_output(), Some(Output::Close { key: key(0), hard: false }));
    house.receive(key(0), b"more", at(1));
    assert_eq!(house.send(key(0), &[Bytes::from_static(b"late")]), Taken::Refused);
}

#[test]
fn an_orderly_close_says_so_and_a_hard_one_does_not() {
    let mut house = House::new();
    let mut client = house.open(key(0));
    house.send(key(0), &[Bytes::from_static(b"last")]);
    let last = house.records(key(0));
    house.front.close(key(0), false, at(1));
    let Some(Output::Send { records, .. }) = house.front.poll_output() else { panic!("close_notify") };
    assert_eq!(read(&mut client, &last).unwrap(), b"last");
    assert_eq!(read(&mut client, &records), None, "the end is an end, not a cut");
    house.sent(key(0));
    assert_eq!(house.front.poll_output(), Some(Output::Close { key: key(0), hard: false }));
    house.front.closed(key(0));
    assert!(!house.front.has(key(0)));
    house.open(key(1));
    house.front.close(key(1), true, at(1));
    assert_eq!(house.front.poll_output(), Some(Output::Close { key: key(1), hard: true }));
}

#[test]
fn who_does_not_take_the_last_records_is_closed_hard() {
    let mut house = House::new();
    house.open(key(0));
    house.front.close(key(0), false, at(5));
    assert!(matches!(house.front.poll_output(), Some(Output::Send { .. })));
    let due = house.front.poll_timeout().unwrap();
    assert_eq!(due, at(5) + limits::CLOSE_GRACE);
    house.time_out(due);
    assert_eq!(house.front.poll_output(), Some(Output::Close { key: key(0), hard: true }));
}

#[test]
fn a_record_that_does_not_come_whole_is_not_waited_for() {
    let mut house = House::new();
    let mut client = house.open(key(0));
    let records = say(&mut client, b"hello");
    house.receive(key(0), &records[..9], at(20));
    assert_eq!(house.front.poll_timeout(), Some(at(20) + WAIT));
    // It comes whole, and the next one is begun: that one has its own time.
    house.receive(key(0), &[&records[9..], &[23, 3, 3]].concat(), at(25));
    house.time_out(at(30));
    assert_eq!(house.diary.failed, 0);
    assert_eq!(house.front.poll_timeout(), Some(at(25) + WAIT));
    house.time_out(at(35));
    assert_eq!((house.diary.failed, house.diary.plain.as_slice()), (1, &b"hello"[..]));
    assert!(house.counts("timed_out"));
}

#[test]
fn the_shard_gives_a_handshake_up_without_a_word() {
    let mut house = House::new();
    house.front.accepted(key(0));
    let hello = flight(&mut connect(&house.client));
    house.receive(key(0), &hello[..20], at(1));
    house.shake_hands();
    assert_eq!(house.send(key(0), &[Bytes::from_static(b"HTTP/1.1 408")]), Taken::Refused);
    house.front.close(key(0), false, at(11));
    assert_eq!(house.front.poll_output(), Some(Output::Close { key: key(0), hard: false }));
    assert!(house.counts("timed_out"));
}

#[test]
fn who_leaves_is_told_of_and_counted() {
    let mut house = House::new();
    house.front.accepted(key(0));
    let House { front, diary, .. } = &mut house;
    front.ended(key(0), false, &mut |_, told| diary.note(told));
    assert_eq!(house.diary.ended, 1);
    assert!(house.counts("gone"));
    house.open(key(1));
    house.send(key(1), &[Bytes::from_static(b"never taken")]);
    assert!(house.front.poll_output().is_some() && house.front.in_flight_bytes > 0);
    let House { front, diary, .. } = &mut house;
    front.ended(key(1), true, &mut |_, told| diary.note(told));
    assert_eq!((house.diary.failed, house.front.in_flight_bytes), (1, 0));
    house.front.close(key(1), false, at(1));
    assert_eq!(house.front.poll_output(), Some(Output::Close { key: key(1), hard: false }));
}

#[test]
fn a_new_certificate_is_for_new_connections() {
    let mut house = House::new();
    let mut before = house.open(key(0));
    let (server, client) = both(&TLS12);
    house.front.set(Some(server), WAIT);
    let records = say(&mut before, b"still here");
    house.receive(key(0), &records, at(2));
    assert_eq!(house.diary.plain, b"still here");
    house.client = client;
    house.open(key(1));
    assert!(house.counts("{version=\"1.2\",resumed=\"false\"}"));
    house.front.set(None, WAIT);
    house.open(key(2));
}
