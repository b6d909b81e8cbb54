//! How the other side goes away is told apart, once, and the slot stays the caller's until he closes.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use socket2::SockRef;

use crate::support::{Side, loopback, small};

#[test]
fn a_peer_s_reset_ends_with_an_error() {
    let (mut server, address) = Side::listening(&small(1, 1));
    let client = TcpStream::connect(address).expect("connect");
    server.until("accept", |server| server.accepted.len() == 1);
    SockRef::from(&client).set_linger(Some(Duration::ZERO)).expect("linger");
    drop(client);
    let conn = server.accepted[0];
    server.until("the end", |server| server.seen[&conn].ended.is_some());
    assert_eq!(server.seen[&conn].ended, Some(Err(ErrorKind::ConnectionReset)));
    assert_eq!(server.rings.table().live, 1, "until the caller closes");
    server.rings.close(conn);
    server.until("closed", |server| server.seen[&conn].closed);
    assert_eq!(server.rings.table().live, 0);
}

#[test]
fn a_peer_that_closes_its_side_gets_what_is_still_sent_to_it() {
    let (mut server, address) = Side::listening(&small(1, 1));
    let mut client = TcpStream::connect(address).expect("connect");
    client.write_all(b"last words").expect("write");
    client.shutdown(Shutdown::Write).expect("shutdown");
    server.until("the end", |server| {
        server.accepted.first().is_some_and(|conn| server.seen[conn].ended.is_some())
    });
    let conn = server.accepted[0];
    assert_eq!(server.seen[&conn].bytes, b"last words", "all that came before the end");
    assert_eq!(server.seen[&conn].ended, Some(Ok(())));
    server.send(conn, b"heard");
    server.until("sent", |server| server.seen[&conn].sent == 1);
    let mut got = [0; 5];
    client.read_exact(&mut got).expect("read");
    assert_eq!(&got, b"heard");
}

#[test]
fn a_refused_connect_fails_once_and_frees_its_slot() {
    let listener = gateway_ring::bind(loopback(), 1, false).expect("bind");
    let nobody = listener.local_addr().expect("bound");
    drop(listener);
    let mut client = Side::new(&small(1, 1));
    for _ in 0..10 {
        let conn = client.connect(nobody);
        client.until("refused", |client| client.seen[&conn].connect_failed.is_some());
        assert_eq!(client.seen[&conn].connect_failed, Some(ErrorKind::ConnectionRefused));
        client.until("slot free", |client| client.rings.table().live == 0);
        assert!(!client.seen[&conn].closed, "no Closed follows ConnectFailed");
    }
}

#[test]
fn a_send_to_a_peer_that_is_gone_fails() {
    let (mut server, address) = Side::listening(&small(1, 1));
    let client = TcpStream::connect(address).expect("connect");
    server.until("accept", |server| server.accepted.len() == 1);
    let conn = server.accepted[0];
    SockRef::from(&client).set_linger(Some(Duration::ZERO)).expect("linger");
    drop(client);
    server.until("the end", |server| server.seen[&conn].ended.is_some());
    server.send(conn, b"anybody?");
    server.until("failed", |server| server.seen[&conn].send_failed.is_some());
    assert_eq!(server.seen[&conn].send_failed, Some(ErrorKind::BrokenPipe));
}
