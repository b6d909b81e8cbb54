//! The cases of the WebSocket conformance suites, by their chapters, on the session alone.

use super::{
    BINARY, CLOSE, CONTINUE, CloseCode, PING, PONG, Role, Session, SessionLimits, TEXT, masked, run,
};
use crate::ws::OpCode;

/// The stream whole and byte by byte: `said` (by its start) and how it ends.
#[track_caller]
fn case(what: &str, stream: &[u8], said: &[&str], fault: Option<CloseCode>) {
    let limits = SessionLimits::conformance();
    let whole = run(&mut Session::new(Role::Server), [stream], &limits);
    let bytes = run(&mut Session::new(Role::Server), stream.chunks(1), &limits);
    assert_eq!(whole, bytes, "{what}: whole and by bytes");
    assert_eq!(whole.1, fault, "{what}");
    assert_eq!(whole.0.len(), said.len(), "{what}: {:?}", whole.0);
    for (found, expected) in whole.0.iter().zip(said) {
        assert!(found.starts_with(expected), "{what}: {found}");
    }
}

/// A frame with a first byte that no encoder of ours writes.
fn raw(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = masked(TEXT, payload, true);
    frame[0] = first;
    frame
}

#[test]
fn chapter_1_messages_of_every_length_form() {
    for size in [0, 125, 126, 127, 128, 65_535, 65_536] {
        let start = if size == 0 { "Text(\"\")" } else { "Text(\"*" };
        case("text", &masked(TEXT, &vec![b'*'; size], true), &[start], None);
        case("binary", &masked(BINARY, &vec![0xfe; size], true), &["Binary("], None);
    }
}

#[test]
fn chapter_2_pings_and_pongs() {
    case("no payload", &masked(PING, b"", true), &["Ping([])"], None);
    case("a payload", &masked(PING, b"Hi", true), &["Ping([72, 105])"], None);
    case("bytes that are no text", &masked(PING, &[0, 0xff, 0xfe], true), &["Ping([0, 255, 254])"], None);
    case("125 bytes", &masked(PING, &[0xfe; 125], true), &["Ping([254, 254"], None);
    case("126 bytes", &raw(0x89, &[0xfe; 126]), &[], Some(CloseCode::Protocol));
    case("a pong nobody asked for", &masked(PONG, b"x", true), &["Pong([120])"], None);
    case("ten pings at once", &masked(PING, b"", true).repeat(10), &["Ping([])"; 10], None);
}

#[test]
fn chapter_3_reserved_bits() {
    for bits in 1..8_u8 {
        for opcode in [0x1, 0x2, 0x8, 0x9, 0xa] {
            let stream = [masked(TEXT, b"a", true), raw(0x80 | bits << 4 | opcode, b"")].concat();
            case("reserved bits", &stream, &["Text(\"a\")"], Some(CloseCode::Protocol));
        }
    }
}

#[test]
fn chapter_4_reserved_opcodes() {
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        let stream = [masked(TEXT, b"a", true), raw(0x80 | opcode, b""), masked(PING, b"", true)].concat();
        case("reserved opcode", &stream, &["Text(\"a\")"], Some(CloseCode::Protocol));
    }
}

#[test]
fn chapter_5_fragments() {
    let join = |frames: &[(OpCode, &str, bool)]| -> Vec<u8> {
        frames.iter().flat_map(|(opcode, text, last)| masked(*opcode, text.as_bytes(), *last)).collect()
    };
    case("ping in fragments", &raw(0x09, b"a"), &[], Some(CloseCode::Protocol));
    case("pong in fragments", &raw(0x0a, b"a"), &[], Some(CloseCode::Protocol));
    let two = join(&[(TEXT, "a", false), (CONTINUE, "b", true)]);
    case("two fragments", &two, &["Text(\"ab\")"], None);
    let ping = join(&[(TEXT, "a", false), (PING, "p", true), (CONTINUE, "b", true)]);
    case("a ping between", &ping, &["Ping([112])", "Text(\"ab\")"], None);
    let many = join(&[
        (TEXT, "a", false),
        (PING, "1", true),
        (CONTINUE, "b", false),
        (PING, "2", true),
        (CONTINUE, "c", true),
    ]);
    case("pings between", &many, &["Ping([49])", "Ping([50])", "Text(\"abc\")"], None);
    let bad = Some(CloseCode::Protocol);
    case("nothing to continue", &join(&[(CONTINUE, "a", true), (TEXT, "b", true)]), &[], bad);
    case("nothing to continue, unfinished", &join(&[(CONTINUE, "a", false)]), &[], bad);
    let after = join(&[(TEXT, "a", false), (CONTINUE, "b", true), (CONTINUE, "c", false)]);
    case("a third behind the last", &after, &["Text(\"ab\")"], bad);
    case("text in text", &join(&[(TEXT, "a", false), (TEXT, "b", true)]), &[], bad);
    case("binary in text", &join(&[(TEXT, "a", false), (BINARY, "b", true)]), &[], bad);
    let empty = join(&[(TEXT, "", false), (CONTINUE, "", false), (CONTINUE, "", true)]);
    case("only empty fragments", &empty, &["Text(\"\")"], None);
    let middle = join(&[(TEXT, "", false), (CONTINUE, "m", false), (CONTINUE, "", true)]);
    case("empty around", &middle, &["Text(\"m\")"], None);
}

#[test]
fn chapter_6_utf_8() {
    let valid: [&[u8]; 13] = [
        b"Hello-\xc2\xb5@\xc3\x9f\xc3\xb6\xc3\xa4\xc3\xbc\xc3\xa0\xc3\xa1-UTF-8!!",
        b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5",
        b"\x00",
        b"\x7f",
        b"\xc2\x80",
        b"\xdf\xbf",
        b"\xe0\xa0\x80",
        b"\xef\xbf\xbf",
        b"\xed\x9f\xbf",
        b"\xee\x80\x80",
        b"\xf0\x90\x80\x80",
        b"\xf4\x8f\xbf\xbf",
        b"\xef\xbf\xbe",
    ];
    for text in valid {
        case("valid", &masked(TEXT, text, true), &["Text("], None);
        for cut in 0..=text.len() {
            let stream = [masked(TEXT, &text[..cut], false), masked(CONTINUE, &text[cut..], true)].concat();
            case("valid, cut anywhere", &stream, &["Text("], None);
        }
    }
    let invalid: [&[u8]; 23] = [
        b"\x80",
        b"\xbf\x80",
        b"\xc0\x80",
        b"\xc0\xaf",
        b"\xc1\xbf",
        b"\xc2\x20",
        b"\xe0\x80\xaf",
        b"\xe0\x9f\xbf",
        b"\xe2\x82\x20",
        b"\xed\xa0\x80",
        b"\xed\xaf\xbf",
        b"\xed\xb0\x80",
        b"\xed\xa0\x80\xed\xb0\x80",
        b"\xf0\x80\x80\xaf",
        b"\xf0\x8f\xbf\xbf",
        b"\xf4\x90\x80\x80",
        b"\xf5\x80\x80\x80",
        b"\xf8\x88\x80\x80\x80",
        b"\xfc\x84\x80\x80\x80\x80",
        b"\xfe",
        b"\xff",
        b"\xfe\xfe\xff\xff",
        b"\xf1\x80\x80\x20",
    ];
    for bytes in invalid {
        let text = [b"\xce\xba\xe1\xbd\xb9".as_slice(), bytes, b"edited"].concat();
        case("invalid", &masked(TEXT, &text, true), &[], Some(CloseCode::BadUtf8));
        let stream = [masked(TEXT, &text, false), masked(CONTINUE, b"", true)].concat();
        case("invalid, in fragments", &stream, &[], Some(CloseCode::BadUtf8));
    }
}

#[test]
fn chapter_6_4_fails_on_the_first_bad_byte() {
    let good = b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5";
    let limits = SessionLimits::conformance();
    for bad in [&b"\xf4\x90"[..], b"\xed\xa0", b"\xc0", b"\xf5", b"\xe0\x80"] {
        let text = [good, bad, b"\x80\x80edited"].concat();
        let whole = masked(TEXT, &text, true);
        let head = whole.len() - text.len();
        let bytes = whole.chunks(1).take(head + good.len() + bad.len());
        assert_eq!(
            run(&mut Session::new(Role::Server), bytes, &limits).1,
            Some(CloseCode::BadUtf8),
            "{bad:x?}"
        );
        let before = whole.chunks(1).take(head + good.len() + bad.len() - 1);
        assert_eq!(run(&mut Session::new(Role::Server), before, &limits).1, None, "{bad:x?}");
    }
    let cut = masked(TEXT, b"\xf0\x9f\x98", true);
    case("ends inside a character", &cut, &[], Some(CloseCode::BadUtf8));
}

#[test]
fn chapter_7_closes() {
    let close = |payload: &[u8]| masked(CLOSE, payload, true);
    let bad = Some(CloseCode::Protocol);
    case("no payload", &close(b""), &["Close { code: None"], None);
    case("one byte", &close(b"\x03"), &[], bad);
    case("a code", &close(b"\x03\xe8"), &["Close { code: Some(1000), reason: \"\""], None);
    let hello = [&b"\x03\xe8"[..], b"Hello World!"].concat();
    case("a reason", &close(&hello), &["Close { code: Some(1000), reason: \"Hello"], None);
    let longest = [&b"\x03\xe8"[..], &[b'*'; 123]].concat();
    case("the longest reason", &close(&longest), &["Close { code: Some(1000), reason: \"***"], None);
    case("a longer one", &raw(0x88, &[b'*'; 126]), &[], bad);
    case("a reason that is no text", &close(b"\x03\xe8\xce\xba\xed\xa0\x80"), &[], Some(CloseCode::BadUtf8));
    for follower in [masked(TEXT, b"x", true), masked(PING, b"", true), close(b""), vec![0xff; 30]] {
        let stream = [close(b"\x03\xe8"), follower].concat();
        case("something behind a close", &stream, &["Close"], None);
    }
    let inside = [masked(TEXT, b"a", false), close(b""), masked(CONTINUE, b"b", true)].concat();
    case("a close inside a message", &inside, &["Close { code: None"], None);
    for code in
        [1000_u16, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999]
    {
        case("a good code", &close(&code.to_be_bytes()), &["Close { code: Some("], None);
    }
    for code in [0_u16, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535] {
        case("a bad code", &close(&code.to_be_bytes()), &[], bad);
    }
}

#[test]
fn chapters_9_and_10_long_messages_in_short_fragments() {
    let limits = SessionLimits::conformance();
    for (size, fragment) in [(65_536, 1_300), (1 << 20, 64), (1 << 20, 1 << 16), (4 << 20, 1 << 20)] {
        let payload = vec![b'*'; size];
        let mut fragments: Vec<Vec<u8>> =
            payload.chunks(fragment).map(|part| masked(CONTINUE, part, false)).collect();
        fragments[0][0] = 0x01;
        let stream = [fragments.concat(), masked(CONTINUE, b"", true)].concat();
        for read in [1_300, 4_096, 65_536] {
            let mut bytes = Vec::new();
            let mut session = Session::new(Role::Server);
            for piece in stream.chunks(read) {
                let sink = &mut |incoming: super::Incoming<'_>| {
                    let super::Incoming::Text(text) = incoming else { panic!("{incoming:?}") };
                    bytes.push(text.len());
                };
                session.handle_bytes(&mut piece.to_vec(), &limits, sink).unwrap();
            }
            assert_eq!(bytes, [size]);
        }
    }
}
