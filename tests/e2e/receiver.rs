//! A receiver of signed messages, and what a test asks of it: alerts and outcomes come to such a one.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};

use ring::hmac;
use tests::deadline::PATIENCE;

pub(crate) const KEY: &str = "a key for signatures";

/// One message that came.
pub(crate) struct Message {
    pub(crate) signature: String,
    pub(crate) body: String,
}

/// A receiver that answers with these statuses, and 200 from then on.
pub(crate) fn receiver(statuses: &'static [u16]) -> (SocketAddr, Receiver<Message>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    (address, receiver_on(listener, statuses))
}

/// The same where it is expected.
pub(crate) fn receiver_on(listener: TcpListener, statuses: &'static [u16]) -> Receiver<Message> {
    let (sender, messages) = channel();
    std::thread::spawn(move || {
        let all = statuses.iter().copied().chain(std::iter::repeat(200));
        for (stream, status) in listener.incoming().zip(all) {
            if take(stream.expect("a connection"), status, &sender).is_none() {
                return;
            }
        }
    });
    messages
}

/// Answers one request and closes. `None`: nobody listens any more.
fn take(mut stream: TcpStream, status: u16, sender: &Sender<Message>) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().expect("a handle"));
    let (mut length, mut signature) = (0, String::new());
    let mut first = String::new();
    reader.read_line(&mut first).expect("the request's line");
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).expect("a line");
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            if line.trim_end().is_empty() {
                break;
            }
            continue;
        };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().expect("a number"),
            "tocsin-signature" => value.clone_into(&mut signature),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).expect("the body");
    // As many servers do, it says what it was asked for.
    let length = first.len();
    let answer =
        format!("HTTP/1.1 {status} x\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{first}");
    stream.write_all(answer.as_bytes()).expect("it waits for the answer");
    if status != 200 {
        return Some(());
    }
    sender.send(Message { signature, body: String::from_utf8(body).expect("text") }).ok()
}

pub(crate) fn next(messages: &Receiver<Message>) -> Message {
    messages.recv_timeout(PATIENCE).expect("a message")
}

pub(crate) fn is_signed(message: &Message) -> bool {
    is_signed_by(message, KEY)
}

pub(crate) fn is_signed_by(message: &Message, key: &str) -> bool {
    let (time, tag) = message.signature.split_once(",v1=").expect("t=…,v1=…");
    let text = format!("{}.{}", time.strip_prefix("t=").expect("t="), message.body);
    let tag = data_encoding::HEXLOWER.decode(tag.as_bytes()).expect("hex");
    hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes()), text.as_bytes(), &tag).is_ok()
}
