//! A close is final: nothing follows but `Closed`, and a dead handle touches nobody else.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

use bytes::Bytes;
use gateway_ring::SendOutcome;

use crate::support::{Side, pattern, small};

fn one_in(server: &mut Side, address: std::net::SocketAddr) -> TcpStream {
    let client = TcpStream::connect(address).expect("connect");
    let before = server.accepted.len();
    server.until("accept", |server| server.accepted.len() > before);
    client
}

#[test]
fn closing_while_a_send_waits_ends_it_and_lets_its_bytes_go() {
    let (mut server, address) = Side::listening(&small(1, 2));
    for frames in [1, 5] {
        let _client = one_in(&mut server, address);
        let conn = *server.accepted.last().expect("one came");
        let frame = Bytes::from(pattern(16 << 20, 1));
        let mut source = std::iter::repeat_n(frame.clone(), frames);
        assert!(matches!(server.rings.send(conn, &mut source), SendOutcome::Sending { .. }));
        drop(source);
        for _ in 0..10 {
            server.turn();
        }
        assert_eq!(server.seen[&conn].sent, 0, "nobody reads, so it cannot be complete");
        assert!(!frame.is_unique());
        server.rings.close(conn);
        server.rings.close(conn);
        server.until("closed", |server| server.seen[&conn].closed);
        let seen = &server.seen[&conn];
        assert_eq!((seen.sent, seen.send_failed), (0, None), "after close only Closed is reported");
        assert!(frame.is_unique(), "the frame is let go when the kernel is done with it");
    }
}

#[test]
fn a_stale_handle_is_ignored_and_the_new_occupant_unharmed() {
    let (mut server, address) = Side::listening(&small(1, 1));
    let first = one_in(&mut server, address);
    let old = server.accepted[0];
    server.rings.close(old);
    server.until("closed", |server| server.seen[&old].closed);
    drop(first);
    let mut second = one_in(&mut server, address);
    let new = server.accepted[1];
    assert_eq!(old.index(), new.index(), "the only slot");
    assert_ne!(old.key(), new.key());
    server.rings.close(old);
    server.rings.close_hard(old);
    server.rings.pause_reading(old);
    let mut frames = std::iter::once(Bytes::from_static(b"to the old one"));
    assert_eq!(server.rings.send(old, &mut frames), SendOutcome::Stale);
    assert!(frames.next().is_some(), "the frames of a stale send stay with the caller");
    second.write_all(b"still here").expect("write");
    server.until("the new one is served", |server| server.seen[&new].bytes == b"still here");
    server.send(new, b"yes");
    server.until("sent", |server| server.seen[&new].sent == 1);
    let mut got = [0; 3];
    second.read_exact(&mut got).expect("read");
    assert_eq!(&got, b"yes");
}

#[test]
fn what_was_sent_before_an_orderly_close_arrives_then_the_end() {
    let (mut server, address) = Side::listening(&small(1, 1));
    let mut client = one_in(&mut server, address);
    let conn = server.accepted[0];
    server.send(conn, b"goodbye");
    server.until("sent", |server| server.seen[&conn].sent == 1);
    server.rings.close(conn);
    server.until("closed", |server| server.seen[&conn].closed);
    let mut got = Vec::new();
    client.read_to_end(&mut got).expect("an orderly end");
    assert_eq!(got, b"goodbye");
}

#[test]
fn a_hard_close_resets_the_peer() {
    let (mut server, address) = Side::listening(&small(1, 1));
    let mut client = one_in(&mut server, address);
    let conn = server.accepted[0];
    server.rings.close_hard(conn);
    server.until("closed", |server| server.seen[&conn].closed);
    let read = client.read(&mut [0; 1]).map_err(|error| error.kind());
    assert_eq!(read, Err(ErrorKind::ConnectionReset));
}

#[test]
fn closing_a_connection_that_is_still_connecting_frees_its_slot() {
    // A listener whose backlog is full answers no SYN, so the connect stays in the kernel.
    let listener = gateway_ring::bind(crate::support::loopback(), 0, false).expect("bind");
    let address = listener.local_addr().expect("bound");
    let mut client = Side::new(&small(1, 8));
    let conns: Vec<_> = (0..4).map(|_| client.connect(address)).collect();
    for _ in 0..20 {
        client.turn();
        client.rings.wait_blocking(std::time::Duration::from_millis(1));
    }
    assert!(client.connected.len() < 4, "the last ones hang");
    for conn in &conns {
        client.rings.close(*conn);
    }
    client.until("all closed", |client| conns.iter().all(|conn| client.seen[conn].closed));
    assert_eq!(client.rings.table().live, 0);
}
