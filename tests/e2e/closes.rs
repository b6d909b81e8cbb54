//! Who breaks the protocol is closed with the code that says how; nobody else notices.

use std::io::{Read, Write};
use std::time::Duration;

use tests::client::Connect;
use tests::deadline::PATIENCE;
use tests::{Client, Setup};
use tungstenite::Message;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};
use tungstenite::protocol::frame::{Frame, FrameHeader};

use crate::support::{expect_id, shared, to_user};

/// Sends a frame as it is, masked, past the library's own checks.
fn raw_frame(client: &mut Client, header: &FrameHeader, payload: &[u8]) {
    let frame = Frame::from_payload(FrameHeader::default(), payload.to_vec().into());
    let mut bytes = Vec::new();
    let header = FrameHeader { mask: Some([1, 2, 3, 4]), ..header.clone() };
    header.format(frame.payload().len() as u64, &mut bytes).expect("a header");
    bytes.extend(payload.iter().zip([1_u8, 2, 3, 4].iter().cycle()).map(|(byte, mask)| byte ^ mask));
    client.stream().write_all(&bytes).expect("the socket takes it");
}

fn data(kind: Data, is_final: bool) -> FrameHeader {
    FrameHeader { is_final, opcode: OpCode::Data(kind), ..FrameHeader::default() }
}

#[track_caller]
fn closes_with(code: u16, broken: impl FnOnce(&mut Client)) {
    let mut client = shared().connect("closes");
    broken(&mut client);
    assert_eq!(client.closed(PATIENCE).0, code);
}

#[test]
fn protocol_errors_are_1002() {
    closes_with(1002, |client| {
        raw_frame(client, &FrameHeader { rsv1: true, ..data(Data::Text, true) }, b"{}");
    });
    closes_with(1002, |client| raw_frame(client, &data(Data::Continue, true), b"{}"));
    closes_with(1002, |client| {
        let ping =
            FrameHeader { is_final: true, opcode: OpCode::Control(Control::Ping), ..FrameHeader::default() };
        raw_frame(client, &ping, &[0; 126]);
    });
    closes_with(1002, |client| {
        // A client's frame without a mask.
        client.stream().write_all(&[0x81, 0x02, b'{', b'}']).expect("the socket takes it");
    });
    closes_with(1002, |client| {
        let close =
            FrameHeader { is_final: true, opcode: OpCode::Control(Control::Close), ..FrameHeader::default() };
        raw_frame(client, &close, &1005_u16.to_be_bytes());
    });
}

#[test]
fn binary_is_1003() {
    closes_with(1003, |client| client.say_raw(Message::binary(vec![1, 2, 3])));
}

#[test]
fn broken_utf8_is_1007_also_inside_a_fragment() {
    closes_with(1007, |client| raw_frame(client, &data(Data::Text, true), b"\"\xff\""));
    closes_with(1007, |client| raw_frame(client, &data(Data::Text, false), b"\xed\xa0"));
}

#[test]
fn a_message_that_is_too_big_is_1009() {
    closes_with(1009, |client| raw_frame(client, &data(Data::Text, true), &vec![b' '; 64 * 1024 + 1]));
    closes_with(1009, |client| {
        raw_frame(client, &data(Data::Text, false), &vec![b' '; 40 * 1024]);
        raw_frame(client, &data(Data::Continue, false), &vec![b' '; 40 * 1024]);
    });
}

#[test]
fn a_flood_is_1008() {
    let tocsin = Setup::standalone().set("gateway.limits.messages_per_minute", 20).start();
    let (mut flooder, mut other) = (tocsin.connect("flooder"), tocsin.connect("other"));
    for i in 0..200 {
        let sent = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            flooder.say(&serde_json::json!({ "type": "ping", "t": i }));
        }));
        if sent.is_err() {
            break;
        }
    }
    assert_eq!(flooder.closed(PATIENCE).0, 1008);
    let id = tocsin.api().accepted(&to_user("other", "unharmed"));
    expect_id(&mut other, &id);
}

#[test]
fn a_close_is_echoed() {
    let mut client = shared().connect("closes-self");
    let frame = tungstenite::protocol::CloseFrame { code: 1000.into(), reason: "done".into() };
    client.say_raw(Message::Close(Some(frame)));
    assert_eq!(client.closed(PATIENCE).0, 1000);
}

#[test]
fn fragments_make_one_message_with_control_frames_between() {
    let mut client = shared().connect("closes-fragments");
    raw_frame(&mut client, &data(Data::Text, false), br#"{"type":"#);
    let ping =
        FrameHeader { is_final: true, opcode: OpCode::Control(Control::Ping), ..FrameHeader::default() };
    raw_frame(&mut client, &ping, b"between");
    raw_frame(&mut client, &data(Data::Continue, false), br#""ping","t""#);
    raw_frame(&mut client, &data(Data::Continue, true), b":9}");
    assert_eq!(client.recv("pong")["t"], 9);
}

#[test]
fn a_handshake_that_never_ends_is_cut() {
    let tocsin = Setup::standalone().set("gateway.limits.handshake_s", 1).start();
    let mut socket = std::net::TcpStream::connect(tocsin.clients()).expect("it listens");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    socket.write_all(b"GET /v1/connect?user=slow HTTP/1.1\r\nHost: x\r\n").expect("a beginning");
    let mut rest = Vec::new();
    let _ = socket.read_to_end(&mut rest);
    assert!(rest.is_empty() || rest.starts_with(b"HTTP/1.1 408"), "{}", String::from_utf8_lossy(&rest));
}

#[test]
fn a_head_that_is_too_large_or_nonsense_is_refused() {
    let tocsin = shared();
    let refused =
        Connect::default().query("user", "x").header("x-long", &"y".repeat(9_000)).to(tocsin.clients());
    let status = refused.expect_err("a head of 9 KB").status();
    assert!([400, 431, 0].contains(&status), "{status}");
    for nonsense in
        ["\r\n\r\n\r\n", "GET\r\n\r\n", "GET /v1/connect HTTP/9.9\r\n\r\n", "\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}"]
    {
        let mut socket = std::net::TcpStream::connect(tocsin.clients()).expect("it listens");
        socket.set_read_timeout(Some(Duration::from_secs(15))).expect("a timeout");
        socket.write_all(nonsense.as_bytes()).expect("sent");
        let mut answer = Vec::new();
        let _ = socket.read_to_end(&mut answer);
        let text = String::from_utf8_lossy(&answer);
        assert!(
            answer.is_empty() || text.starts_with("HTTP/1.1 4") || text.starts_with("HTTP/1.1 505"),
            "{text}"
        );
    }
}

#[test]
fn what_is_no_upgrade_is_told_so() {
    let door = shared().door();
    let answer = door.get("/v1/connect?user=x");
    assert_eq!(answer.status, 426, "{}", answer.text);
    assert_eq!(door.get("/nothing-here").status, 404);
}
