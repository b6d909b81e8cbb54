//! Several listeners in one set of rings: each connection says which one it came through, a storm at one door does not shut
//! the other, and the last slots are not all held where nobody knocks.

use std::net::TcpStream;

use gateway_ring::{DOORS_MAX, bind};

use crate::support::{Side, loopback, small};

#[test]
fn each_connection_says_which_door_it_came_through() {
    let mut server = Side::new(&small(2, 16));
    let doors: Vec<_> = (0..DOORS_MAX).map(|_| server.hang_door()).collect();
    let mut clients = Vec::new();
    for round in 0..8 {
        let (door, address) = doors[round % DOORS_MAX];
        let client = TcpStream::connect(address).expect("backlog");
        server.until("in", |server| server.accepted.len() == round + 1);
        let seen = &server.seen[&server.accepted[round]];
        assert_eq!(seen.door, Some(door));
        assert_eq!(seen.peer, client.local_addr().ok());
        clients.push(client);
    }
}

#[test]
fn a_storm_at_one_door_leaves_the_other_open() {
    let mut server = Side::new(&small(1, 512));
    let (_, stormy) = server.hang_door();
    let (calm, address) = server.hang_door();
    let storm: Vec<_> = (0..300).map(|_| TcpStream::connect(stormy).expect("backlog")).collect();
    let client = TcpStream::connect(address).expect("backlog");
    server.turn();
    server.until("the first window is in", |server| server.accepted.len() >= 64);
    let through_calm = server.accepted.iter().position(|conn| server.seen[conn].door == Some(calm));
    assert!(through_calm.is_some_and(|place| place <= 64), "it did not wait for the storm: {through_calm:?}");
    drop((storm, client));
}

#[test]
fn few_slots_are_shared_by_the_doors() {
    let mut server = Side::new(&small(1, 4));
    let (_, first) = server.hang_door();
    let (second, address) = server.hang_door();
    server.turn();
    let client = TcpStream::connect(address).expect("backlog");
    server.until("in, though nobody came to the first", |server| server.accepted.len() == 1);
    assert_eq!(server.seen[&server.accepted[0]].door, Some(second));
    drop((client, first));
}

#[test]
fn closing_shuts_all_doors() {
    let mut server = Side::new(&small(1, 300));
    let (_, first) = server.hang_door();
    let (_, second) = server.hang_door();
    server.turn();
    server.rings.set_accepting(false);
    for _ in 0..20 {
        server.turn();
    }
    let clients: Vec<_> =
        [first, second].iter().map(|address| TcpStream::connect(address).expect("backlog")).collect();
    for _ in 0..20 {
        server.turn();
    }
    assert!(server.accepted.is_empty());
    server.rings.set_accepting(true);
    server.until("both are in", |server| server.accepted.len() == 2);
    drop(clients);
}

#[test]
#[should_panic(expected = "at most 2 listeners")]
fn one_door_too_many_is_a_bug() {
    let mut server = Side::new(&small(1, 4));
    for _ in 0..=DOORS_MAX {
        let listener = bind(loopback(), 16, false).expect("loopback has a free port");
        server.rings.listen(listener).expect("a fresh listener takes options");
    }
}
