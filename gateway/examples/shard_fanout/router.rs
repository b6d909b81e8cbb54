//! The router at the other end of the shard's link: it says what to send and waits until the shard did.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};

use bytes::{Bytes, BytesMut};
use uuid::Uuid;
use wire::link::{DeliveryResult, Frame, MAJOR};
use wire::time::Wall;

pub struct Router {
    stream: TcpStream,
    heard: Receiver<Frame>,
    next_tag: u64,
}

impl Router {
    /// Takes the shard's link and claims every partition.
    pub fn greet(links: &TcpListener) -> Router {
        let (stream, _) = links.accept().expect("the shard dials");
        stream.set_nodelay(true).expect("nodelay");
        let (say, heard) = channel();
        let reading = stream.try_clone().expect("a descriptor");
        std::thread::spawn(move || listen(reading, &say));
        let mut router = Router { stream, heard, next_tag: 1 };
        let hello = Frame::Hello { major: MAJOR, minor: 0, node: "bench".to_owned(), shard: 0, boot: 1 };
        let owns = Frame::Owns { epoch: 1, generation: 1, count: 1, partitions: vec![0] };
        router.say(&[hello, Frame::Credit { frames: 8_192 }, owns]);
        router.wait_for(|frame| matches!(frame, Frame::SnapshotEnd { .. }).then_some(()));
        router
    }

    /// `burst` notifications to everyone at once, each a WebSocket frame of `bytes`; returns when all are queued.
    pub fn broadcast(&mut self, bytes: usize, burst: usize, conns: usize) {
        let text = Bytes::from(vec![b'x'; bytes - frame_header_bytes(bytes)]);
        let first = self.next_tag;
        self.next_tag += burst as u64;
        let frames: Vec<Frame> = (first..self.next_tag)
            .map(|tag| {
                let id = Uuid::from_u128(tag.into());
                Frame::Broadcast { tag, id, created_at: Wall(1), topic: None, text: text.clone() }
            })
            .collect();
        self.say(&frames);
        for _ in 0..burst {
            let result = self.wait_for(|frame| match frame {
                Frame::Result { result, .. } => Some(*result),
                _ => None,
            });
            assert_eq!(result, DeliveryResult::Sent { sockets: conns as u32 });
        }
    }

    fn say(&mut self, frames: &[Frame]) {
        say(&mut self.stream, frames);
    }

    fn wait_for<T>(&mut self, wanted: impl Fn(&Frame) -> Option<T>) -> T {
        loop {
            let frame = self.heard.recv().expect("the shard keeps its link");
            if let Some(found) = wanted(&frame) {
                return found;
            }
        }
    }
}

fn say(stream: &mut TcpStream, frames: &[Frame]) {
    let mut bytes = BytesMut::new();
    for frame in frames {
        frame.encode(&mut bytes);
    }
    stream.write_all(&bytes).expect("the shard reads");
}

/// Answers pings, also while a bare loop has its turn; the rest is for the bench.
fn listen(mut stream: TcpStream, bench: &Sender<Frame>) {
    let mut received = BytesMut::new();
    let mut piece = [0; 16_384];
    loop {
        while let Some(frame) = Frame::decode(&mut received).expect("link frames") {
            let heard = match frame {
                Frame::Ping { t } => {
                    say(&mut stream, &[Frame::Pong { t }]);
                    continue;
                }
                frame => bench.send(frame),
            };
            if heard.is_err() {
                return;
            }
        }
        match stream.read(&mut piece) {
            Ok(0) | Err(_) => return,
            Ok(read) => received.extend_from_slice(&piece[..read]),
        }
    }
}

/// Bytes of an unmasked frame's header, for the length of the whole frame (RFC 6455 §5.2).
fn frame_header_bytes(frame_bytes: usize) -> usize {
    match frame_bytes {
        0..=127 => 2,
        128..=65_539 => 4,
        _ => 10,
    }
}
