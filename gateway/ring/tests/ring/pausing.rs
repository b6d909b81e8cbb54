//! A connection that is held back brings nothing, fills its peer's window, and loses nothing when it goes on.

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use gateway_ring::RingConfig;

use crate::support::{Side, pattern, small};

#[test]
fn a_paused_connection_brings_nothing_until_it_is_resumed_and_loses_nothing() {
    let config = RingConfig { recv_buffer_bytes: 4_096, ..small(1, 1) };
    let (mut server, address) = Side::listening(&config);
    let client = TcpStream::connect(address).expect("connect");
    server.until("accept", |server| server.accepted.len() == 1);
    let conn = server.accepted[0];
    server.rings.pause_reading(conn);
    let bytes = pattern(20 << 20, 5);
    let want = bytes.clone();
    let mut writer = client.try_clone().expect("clone");
    let writing = std::thread::spawn(move || writer.write_all(&bytes).expect("write"));
    for _ in 0..50 {
        server.turn();
        server.rings.wait_blocking(Duration::from_millis(1));
    }
    assert!(server.seen[&conn].bytes.is_empty(), "held back");
    assert!(!writing.is_finished(), "the peer's window is full");
    // On and off: one turn at a time may bring one buffer.
    for _ in 0..10 {
        server.rings.resume_reading(conn);
        let before = server.seen[&conn].bytes.len();
        server.turn();
        server.rings.pause_reading(conn);
        assert!(server.seen[&conn].bytes.len() - before <= 4_096, "at most one buffer a turn");
        server.turn();
    }
    server.rings.resume_reading(conn);
    server.until("all arrived", |server| server.seen[&conn].bytes.len() == want.len());
    assert!(server.seen[&conn].bytes == want);
    writing.join().expect("written");
    drop(client);
    server.until("the end", |server| server.seen[&conn].ended == Some(Ok(())));
}

#[test]
fn bytes_that_came_before_a_pause_and_an_end_during_it_are_both_told_afterwards() {
    let (mut server, address) = Side::listening(&small(1, 1));
    let mut client = TcpStream::connect(address).expect("connect");
    server.until("accept", |server| server.accepted.len() == 1);
    let conn = server.accepted[0];
    server.rings.pause_reading(conn);
    client.write_all(b"before the end").expect("write");
    drop(client);
    for _ in 0..20 {
        server.turn();
        server.rings.wait_blocking(Duration::from_millis(1));
    }
    assert!(server.seen[&conn].bytes.is_empty() && server.seen[&conn].ended.is_none());
    server.rings.resume_reading(conn);
    server.until("the end", |server| server.seen[&conn].ended == Some(Ok(())));
    assert_eq!(server.seen[&conn].bytes, b"before the end");
}
