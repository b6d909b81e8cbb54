//! What reading and writing costs, in nanoseconds: `cargo run --release -p wire --example wire_cost`.
//!
//! Each line is the median of [`ROUNDS`] rounds. For comparing two versions on one machine, not for a report.

use std::hint::black_box;
use std::time::Instant;

use uuid::Uuid;
use wire::http::{ConnectRequest, parse_request};
use wire::link::Frame;
use wire::message::ClientMessage;
use wire::session::{Glance, Role, Session, SessionLimits};
use wire::time::Wall;
use wire::ws::{self, Control, Data, OpCode};

const ROUNDS: usize = 21;
const CALLS: usize = 20_000;
const KEY: Option<[u8; 4]> = Some([1, 2, 3, 4]);

#[expect(clippy::disallowed_methods, reason = "a measurement reads the clock")]
fn measure(what: &str, mut call: impl FnMut()) {
    let mut rounds: Vec<u128> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            for _ in 0..CALLS {
                call();
            }
            start.elapsed().as_nanos() / CALLS as u128
        })
        .collect();
    rounds.sort_unstable();
    println!("{:>6} ns  {what}", rounds[ROUNDS / 2]);
}

fn read(what: &str, role: Role, stream: &[u8]) {
    let limits = SessionLimits::default();
    let mut session = Session::new(role);
    let mut input = stream.to_vec();
    measure(what, || {
        input.copy_from_slice(stream);
        session
            .handle_bytes(&mut input, &limits, &mut |incoming| {
                black_box(incoming);
            })
            .expect("the stream obeys the rules");
    });
}

fn main() {
    let text = |size: usize, key| ws::frame(OpCode::Data(Data::Text), &vec![b'x'; size], key);
    read("read one text of 64 bytes, masked", Role::Server, &text(64, KEY));
    read("read one text of 1,024 bytes, masked", Role::Server, &text(1_024, KEY));
    read("read a pong", Role::Server, &ws::pong_frame(b"12345678", KEY));
    read("read one text of 128 bytes as a client", Role::Client, &text(128, None));
    let fragments = [
        ws::piece(OpCode::Data(Data::Text), b"half", KEY, false),
        ws::frame(OpCode::Control(Control::Ping), b"", KEY),
        ws::piece(OpCode::Data(Data::Continue), b"half", KEY, true),
    ]
    .concat();
    read("read a text in two fragments with a ping between", Role::Server, &fragments);

    let payload = [b'x'; 256];
    measure("write a text frame of 256 bytes", || {
        black_box(ws::text_frame(black_box(&payload)));
    });

    let request = ConnectRequest {
        host: "localhost:8080",
        target: "/v1/connect?user=u1",
        key: [7; 16],
        protocols: &["tocsin.v1"],
        headers: &[("User-Agent", "x"), ("Origin", "http://localhost")],
    }
    .encode();
    measure("read a handshake and write its answer", || {
        let head = parse_request(black_box(&request)).ok().flatten().expect("a request");
        black_box(head.upgrade().expect("a handshake").response(&[]));
    });

    let ack = format!(r#"{{"type":"ack","ids":["{}"]}}"#, Uuid::nil());
    measure("parse an ack", || {
        black_box(ClientMessage::parse(black_box(&ack)).expect("an ack"));
    });
    let notification = format!(r#"{{"type":"notification","id":"{}","body":"x"}}"#, Uuid::nil());
    measure("glance at a notification", || {
        black_box(Glance::of(black_box(&notification)).expect("a notification"));
    });

    let deliver = Frame::Deliver {
        tag: 1,
        id: Uuid::nil(),
        created_at: Wall(0),
        user: "user-12345".to_owned(),
        text: bytes::Bytes::from(vec![b'x'; 256]),
    };
    let mut link = bytes::BytesMut::new();
    measure("write and read a deliver frame", || {
        deliver.encode(&mut link);
        black_box(Frame::decode(&mut link).expect("a frame"));
    });
}
