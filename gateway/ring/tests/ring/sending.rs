//! A send is whole and in order, however slowly it is read and however many frames it has.

use std::io::Read;
use std::net::TcpStream;

use bytes::Bytes;
use gateway_ring::{FRAMES_PER_SEND_MAX, SendOutcome};
use socket2::SockRef;

use crate::support::{Side, pattern, small};

fn slow_client(address: std::net::SocketAddr) -> TcpStream {
    let client = TcpStream::connect(address).expect("connect");
    SockRef::from(&client).set_recv_buffer_size(1 << 17).expect("a small window");
    client
}

/// Sends `frames` in one go; the client reads bit by bit only after the server's first turns.
fn arrives_whole(frames: &[Bytes]) {
    let (mut server, address) = Side::listening(&small(1, 1));
    let mut client = slow_client(address);
    server.until("accept", |server| server.accepted.len() == 1);
    let conn = server.accepted[0];
    let want: Vec<u8> = frames.iter().flat_map(|frame| frame.iter().copied()).collect();
    let outcome = server.rings.send(conn, &mut frames.iter().cloned());
    assert_eq!(outcome, SendOutcome::Sending { frames: frames.len(), bytes: want.len() });
    let second = server.rings.send(conn, &mut std::iter::once(Bytes::from_static(b"x")));
    assert_eq!(second, SendOutcome::Busy);
    for _ in 0..20 {
        server.turn();
    }
    assert_eq!(server.seen[&conn].sent, 0, "more than the socket's buffers hold");
    let reader = std::thread::spawn(move || {
        let mut got = Vec::new();
        let mut piece = [0; 3_001];
        while got.len() < want.len() {
            let count = client.read(&mut piece).expect("read");
            assert!(count > 0, "the end after {} of {}", got.len(), want.len());
            got.extend_from_slice(&piece[..count]);
        }
        assert!(got == want, "every byte once and in order");
    });
    server.until("sent", |server| server.seen[&conn].sent == 1);
    reader.join().expect("the reader is content");
    assert!(frames.iter().all(Bytes::is_unique), "the frames are let go");
    server.send(conn, b"x");
}

#[test]
fn one_large_frame_reaches_a_slow_reader_whole() {
    arrives_whole(&[Bytes::from(pattern(12 << 20, 3))]);
}

#[test]
fn many_frames_reach_a_slow_reader_whole_and_in_order() {
    let frames: Vec<Bytes> = (0..FRAMES_PER_SEND_MAX)
        .map(|index| Bytes::from(pattern(100_000 + 7_919 * index, index as u64)))
        .collect();
    arrives_whole(&frames);
}

#[test]
fn frames_beyond_one_send_stay_with_the_caller() {
    let (mut server, address) = Side::listening(&small(1, 1));
    let mut client = TcpStream::connect(address).expect("connect");
    server.until("accept", |server| server.accepted.len() == 1);
    let conn = server.accepted[0];
    let mut frames = (0..200u8).map(|index| Bytes::from(vec![index; 3]));
    let mut rounds = 0;
    loop {
        match server.rings.send(conn, &mut frames) {
            SendOutcome::Sending { .. } => rounds += 1,
            SendOutcome::Nothing => break,
            other => panic!("{other:?}"),
        }
        server.until("sent", |server| server.seen[&conn].sent == rounds);
    }
    assert_eq!(rounds, 200usize.div_ceil(FRAMES_PER_SEND_MAX));
    let mut got = vec![0; 600];
    client.read_exact(&mut got).expect("read");
    let want: Vec<u8> = (0..200u8).flat_map(|index| [index; 3]).collect();
    assert_eq!(got, want);
}

#[test]
fn nothing_to_send_sends_nothing() {
    let (mut server, address) = Side::listening(&small(1, 1));
    let _client = TcpStream::connect(address).expect("connect");
    server.until("accept", |server| server.accepted.len() == 1);
    let conn = server.accepted[0];
    assert_eq!(server.rings.send(conn, &mut std::iter::empty()), SendOutcome::Nothing);
    assert_eq!(server.rings.send(conn, &mut std::iter::once(Bytes::new())), SendOutcome::Nothing);
    server.send(conn, b"x");
}
