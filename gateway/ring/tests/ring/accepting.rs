//! The table is never passed: what has no slot waits outside, and comes in when a slot frees.

use std::io::Read;
use std::net::TcpStream;
use std::time::Duration;

use gateway_ring::ConnectError;

use crate::support::{Side, small};

/// Turns often enough that anything which wants to happen has happened.
fn settle(side: &mut Side) {
    for _ in 0..20 {
        side.turn();
        side.rings.wait_blocking(Duration::from_millis(1));
    }
}

#[test]
fn a_full_table_lets_the_next_in_when_a_slot_frees_and_drops_nobody() {
    let (mut server, address) = Side::listening(&small(2, 2));
    let clients: Vec<TcpStream> =
        (0..7).map(|_| TcpStream::connect(address).expect("the backlog has room")).collect();
    server.until("four are in", |server| server.accepted.len() == 4);
    settle(&mut server);
    assert_eq!(server.accepted.len(), 4, "the fifth waits in the backlog");
    assert_eq!(server.rings.table().live, 4);
    for round in 0..3 {
        let leaver = server.accepted[round];
        server.rings.close(leaver);
        server.until("the next comes in", |server| server.accepted.len() == 5 + round);
        assert!(server.seen[&leaver].closed);
    }
    let mut ended = 0;
    for mut client in clients {
        client.set_read_timeout(Some(Duration::from_millis(1))).expect("a timeout");
        ended += usize::from(matches!(client.read(&mut [0; 1]), Ok(0)));
    }
    assert_eq!(ended, 3, "only those that were closed: nobody was dropped at the door");
    assert_eq!(server.rings.stats().accept_errors, 0);
}

#[test]
fn a_closed_door_takes_nobody_and_an_open_one_all_that_waited() {
    let (mut server, address) = Side::listening(&small(1, 32));
    let first = TcpStream::connect(address).expect("connect");
    server.until("one is in", |server| server.accepted.len() == 1);
    server.rings.set_accepting(false);
    settle(&mut server);
    let later: Vec<TcpStream> = (0..10).map(|_| TcpStream::connect(address).expect("backlog")).collect();
    settle(&mut server);
    assert_eq!(server.accepted.len(), 1);
    server.rings.set_accepting(true);
    server.until("all are in", |server| server.accepted.len() == 11);
    drop((first, later));
}

#[test]
fn slots_are_reused_many_times_over() {
    let (mut server, address) = Side::listening(&small(1, 3));
    for round in 1..=200 {
        let client = TcpStream::connect(address).expect("connect");
        server.until("in", |server| server.accepted.len() == round);
        drop(client);
        let conn = server.accepted[round - 1];
        server.until("end is seen", |server| server.seen[&conn].ended.is_some());
        server.rings.close(conn);
        server.until("closed", |server| server.seen[&conn].closed);
    }
    assert_eq!(server.rings.table().live, 0);
    let mut keys: Vec<u64> = server.accepted.iter().map(|conn| conn.key()).collect();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), 200, "each occupant has its own key");
}

#[test]
fn a_full_client_table_says_so() {
    let (_server, address) = Side::listening(&small(1, 4));
    let mut client = Side::new(&small(1, 2));
    client.connect(address);
    client.connect(address);
    let third = client.rings.connect(None, address);
    assert!(matches!(third, Err(ConnectError::Full)), "{third:?}");
}
