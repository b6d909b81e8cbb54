//! More at once than the queues hold: nothing is lost, and the caller gets his thread back in between.

use bytes::Bytes;
use gateway_ring::{Conn, RingConfig, SendOutcome};

use crate::support::{Side, both_until, small};

const CONNS: usize = 1_500;

fn connected(server: &RingConfig) -> (Side, Side, Vec<Conn>) {
    let (mut server, address) = Side::listening(server);
    let mut client = Side::new(&small(2, 1_000));
    let conns = (0..CONNS).map(|_| client.connect(address)).collect();
    both_until(&mut server, &mut client, "all connect", |server, client| {
        client.connected.len() == CONNS && server.accepted.len() == CONNS
    });
    (server, client, conns)
}

#[test]
fn a_fan_out_many_times_the_queue_reaches_everybody_before_the_next_turn_even() {
    let (mut server, mut client, conns) =
        connected(&RingConfig { submissions: 16, completions: 64, ..small(2, 800) });
    let frame = Bytes::from_static(b"to all of you");
    for conn in server.accepted.clone() {
        let outcome = server.rings.send(conn, &mut std::iter::once(frame.clone()));
        assert!(matches!(outcome, SendOutcome::Sending { .. }));
    }
    both_until(&mut server, &mut client, "all sent and received", |server, client| {
        server.accepted.iter().all(|conn| server.seen[conn].sent == 1)
            && conns.iter().all(|conn| client.seen[conn].bytes.len() == frame.len())
    });
}

#[test]
fn completions_beyond_the_queue_are_kept_by_the_kernel_and_all_handled() {
    let (mut server, mut client, conns) =
        connected(&RingConfig { submissions: 16, completions: 32, turn_completions: 64, ..small(1, 1_600) });
    // Everybody speaks while the server does not turn: far more polls complete than its queue holds.
    for round in 1..=3 {
        for conn in &conns {
            client.send(*conn, b"hello");
        }
        client.until("sent", |client| conns.iter().all(|conn| client.seen[conn].sent == round));
        server.until("all heard", |server| {
            server.accepted.iter().all(|conn| server.seen[conn].bytes.len() == 5 * round)
        });
    }
    println!("{:?}", server.rings.stats());
}

#[test]
fn a_mass_close_frees_every_slot() {
    let (mut server, mut client, conns) = connected(&small(2, 800));
    for conn in server.accepted.clone() {
        server.rings.close(conn);
    }
    both_until(&mut server, &mut client, "all closed", |server, client| {
        server.rings.table().live == 0 && conns.iter().all(|conn| client.seen[conn].ended.is_some())
    });
    for conn in conns {
        client.rings.close_hard(conn);
    }
    client.until("all closed", |client| client.rings.table().live == 0);
}
