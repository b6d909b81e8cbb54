//! Every byte comes back, whatever the number of connections and rings.

use std::collections::HashSet;

use bytes::Bytes;
use gateway_ring::{Conn, RingConfig};

use crate::support::{Side, both_until, pattern, small};

/// The server sends back what it got, one send at a time for each connection.
fn echo(server: &mut Side) {
    for conn in std::mem::take(&mut server.fresh) {
        let got = std::mem::take(&mut server.seen.get_mut(&conn).expect("seen").bytes);
        if !got.is_empty() {
            server.send(conn, &got);
        }
    }
}

fn everybody_gets_his_own_back(server: &RingConfig, client: &RingConfig, count: usize) -> (Side, Side) {
    let (mut server, address) = Side::listening(server);
    let mut client = Side::new(client);
    let conns: Vec<Conn> = (0..count).map(|_| client.connect(address)).collect();
    both_until(&mut server, &mut client, "all connect", |server, client| {
        client.connected.len() == count && server.accepted.len() == count
    });
    let want: Vec<Vec<u8>> = (0..count).map(|index| pattern(16 + index % 1_000, index as u64 + 1)).collect();
    for (conn, bytes) in conns.iter().zip(&want) {
        client.send(*conn, bytes);
    }
    let all = |client: &Side| {
        conns.iter().zip(&want).all(|(conn, want)| client.seen[conn].bytes.len() >= want.len())
    };
    both_until(&mut server, &mut client, "all is echoed", |server, client| {
        echo(server);
        all(client)
    });
    for (conn, want) in conns.iter().zip(&want) {
        assert_eq!(&client.seen[conn].bytes, want);
    }
    (server, client)
}

#[test]
fn two_thousand_connections_over_several_rings_each_get_their_own_bytes_back() {
    let (server, _client) = everybody_gets_his_own_back(&small(4, 512), &small(3, 700), 2_000);
    let table = server.rings.table();
    assert_eq!((table.capacity, table.live), (2_048, 2_000));
    assert_eq!(server.rings.stats().accepted, 2_000);
}

#[test]
fn every_ring_of_a_table_is_used_and_indices_are_dense() {
    let (server, _client) = everybody_gets_his_own_back(&small(4, 2), &small(8, 1), 8);
    let indices: HashSet<usize> = server.accepted.iter().map(|conn| conn.index()).collect();
    assert_eq!(indices, (0..8).collect());
}

#[test]
fn the_smallest_queues_lose_nothing() {
    let tiny = RingConfig {
        submissions: 16,
        completions: 32,
        recv_buffers: 1,
        recv_buffer_bytes: 256,
        turn_completions: 64,
        ..small(2, 500)
    };
    let (server, _client) = everybody_gets_his_own_back(&tiny, &tiny, 1_000);
    println!("{:?}", server.rings.stats());
}

#[test]
fn a_peer_address_is_the_client_s_own_over_both_families() {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let mut server = Side::new(&small(1, 4));
        let listener = gateway_ring::bind(address.parse().expect("an address"), 16, false).expect("bind");
        let to = listener.local_addr().expect("bound");
        server.rings.listen(listener).expect("listen");
        let client = std::net::TcpStream::connect(to).expect("connect");
        server.until("accept", |server| !server.accepted.is_empty());
        let peer = server.seen[&server.accepted[0]].peer;
        assert_eq!(peer, Some(client.local_addr().expect("connected")));
    }
}

#[test]
fn nodelay_is_on_for_accepted_and_connected_sockets() {
    // Two small sends in a row must not wait for each other's acknowledgement (40 ms with Nagle).
    let (mut server, address) = Side::listening(&small(1, 4));
    let mut client = Side::new(&small(1, 4));
    let conn = client.connect(address);
    both_until(&mut server, &mut client, "connect", |server, client| {
        server.accepted.len() == 1 && client.connected.len() == 1
    });
    let served = server.accepted[0];
    let start = std::time::Instant::now();
    for round in 1..=50 {
        server.rings.send(served, &mut std::iter::once(Bytes::from_static(b"a")));
        both_until(&mut server, &mut client, "sent", |server, _| server.seen[&served].sent == 2 * round - 1);
        server.rings.send(served, &mut std::iter::once(Bytes::from_static(b"b")));
        both_until(&mut server, &mut client, "arrived", |_, client| {
            client.seen[&conn].bytes.len() == 2 * round
        });
    }
    assert!(start.elapsed() < std::time::Duration::from_secs(1), "50 × 40 ms would be Nagle");
}
