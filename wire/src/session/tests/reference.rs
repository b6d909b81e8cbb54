//! A second decoder, written as plainly as the RFC reads, and streams made to make the two disagree.

use proptest::prelude::*;

use super::{Heard, KEY, Role, Session, SessionLimits, masked, run};
use crate::close::{CloseCode, valid_on_the_wire};
use crate::limits::CONTROL_BYTES_MAX;
use crate::ws::{Control, Data, OpCode};

const LIMITS: SessionLimits = SessionLimits { message_bytes: 400, fragments: 5, binary: true };

/// Reads the whole stream, which may end anywhere.
fn reference(stream: &[u8]) -> Heard {
    let mut said = Vec::new();
    let code = read(stream, &mut said).err();
    (said, code)
}

fn read(mut rest: &[u8], said: &mut Vec<String>) -> Result<(), CloseCode> {
    let mut message: Option<(bool, u32, Vec<u8>)> = None;
    loop {
        let Some(first) = rest.first() else { return Ok(()) };
        let (fin, opcode) = (first & 0x80 != 0, first & 0x0f);
        let control = opcode >= 8;
        let known = [0, 1, 2, 8, 9, 10].contains(&opcode);
        if first & 0x70 != 0 || !known || (control && !fin) {
            return Err(CloseCode::Protocol);
        }
        let Some(second) = rest.get(1) else { return Ok(()) };
        if control && second & 0x7f > 125 {
            return Err(CloseCode::Protocol);
        }
        let more = match second & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let head = 2 + more + if second & 0x80 == 0 { 0 } else { 4 };
        if rest.len() < head {
            return Ok(());
        }
        let mut size = u64::from(second & 0x7f);
        if more > 0 {
            size = rest[2..2 + more].iter().fold(0, |size, byte| size << 8 | u64::from(*byte));
            if size < if more == 2 { 126 } else { 65_536 } || size >= 1 << 63 {
                return Err(CloseCode::Protocol);
            }
        }
        if second & 0x80 == 0 {
            return Err(CloseCode::Protocol);
        }
        let mask = &rest[head - 4..head];
        let came = (rest.len() - head).min(usize::try_from(size).unwrap());
        let whole = came as u64 == size;
        let payload: Vec<u8> =
            rest[head..head + came].iter().enumerate().map(|(i, byte)| byte ^ mask[i % 4]).collect();
        rest = &rest[head + came..];
        if control {
            assert!(payload.len() <= CONTROL_BYTES_MAX);
            match opcode {
                _ if !whole => {}
                8 => return read_close(&payload, said),
                9 => said.push(format!("Ping({payload:?})")),
                _ => said.push(format!("Pong({payload:?})")),
            }
            continue;
        }
        if (opcode == 0) != message.is_some() {
            return Err(CloseCode::Protocol);
        }
        let (text, fragments, mut bytes) = message.take().unwrap_or((opcode == 1, 0, Vec::new()));
        if bytes.len() as u64 + size > LIMITS.message_bytes as u64 {
            return Err(CloseCode::TooBig);
        }
        if fragments == LIMITS.fragments {
            return Err(CloseCode::Policy);
        }
        bytes.extend_from_slice(&payload);
        let checked = std::str::from_utf8(&bytes);
        let cut_short = matches!(checked, Err(why) if why.error_len().is_none());
        match checked {
            _ if !text && whole && fin => said.push(format!("Binary({bytes:?})")),
            _ if !text => {}
            Ok(all) if whole && fin => said.push(format!("Text({all:?})")),
            Ok(_) => {}
            Err(_) if cut_short && !(whole && fin) => {}
            Err(_) => return Err(CloseCode::BadUtf8),
        }
        if !(whole && fin) {
            message = Some((text, fragments + 1, bytes));
        }
    }
}

fn read_close(payload: &[u8], said: &mut Vec<String>) -> Result<(), CloseCode> {
    let (code, reason) = match payload {
        [] => (None, &[][..]),
        [_] => return Err(CloseCode::Protocol),
        [high, low, reason @ ..] => (Some(u16::from(*high) << 8 | u16::from(*low)), reason),
    };
    if code.is_some_and(|code| !valid_on_the_wire(code)) {
        return Err(CloseCode::Protocol);
    }
    let reason = std::str::from_utf8(reason).map_err(|_| CloseCode::BadUtf8)?;
    said.push(format!("Close {{ code: {code:?}, reason: {reason:?} }}"));
    Ok(())
}

/// A frame, mostly by the rules, with a byte of its head spoiled now and then.
fn frames() -> impl Strategy<Value = Vec<u8>> {
    let opcode = prop_oneof![
        4 => Just(OpCode::Data(Data::Text)),
        4 => Just(OpCode::Data(Data::Continue)),
        1 => Just(OpCode::Data(Data::Binary)),
        2 => Just(OpCode::Control(Control::Ping)),
        1 => Just(OpCode::Control(Control::Pong)),
        1 => Just(OpCode::Control(Control::Close)),
    ];
    let payload = prop_oneof![
        4 => "[a-z€é😀]{0,12}".prop_map(String::into_bytes),
        2 => "[a-z€]{60,140}".prop_map(String::into_bytes),
        // A character in two fragments, or in none.
        2 => prop::sample::select(vec![&b"\xe2\x82"[..], b"\xac", b"\xf0\x9f", b"\x98\x80", b"\x03\xe8", b"\xed\xa0"])
            .prop_map(<[u8]>::to_vec),
        1 => prop::collection::vec(any::<u8>(), 0..20),
    ];
    let spoiled = prop::option::weighted(0.04, (0..4_usize, 0..8_u32));
    (opcode, payload, prop::bool::weighted(0.6), spoiled).prop_map(|(opcode, mut payload, last, spoiled)| {
        let control = matches!(opcode, OpCode::Control(_));
        if control {
            payload.truncate(CONTROL_BYTES_MAX);
        }
        let mut frame = masked(opcode, &payload, last || control);
        if let Some((byte, bit)) = spoiled {
            frame[byte] ^= 1 << bit;
        }
        frame
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn the_session_hears_what_a_plain_decoder_hears(
        frames in prop::collection::vec(frames(), 1..8),
        end in any::<prop::sample::Index>(),
        sizes in prop::collection::vec(1..40_usize, 1..6),
    ) {
        let mut stream = frames.concat();
        if end.index(3) == 0 {
            stream.truncate(end.index(stream.len() + 1));
        }
        let expected = reference(&stream);
        prop_assert_eq!(run(&mut Session::new(Role::Server), [&stream[..]], &LIMITS), expected.clone(), "at once");
        prop_assert_eq!(run(&mut Session::new(Role::Server), stream.chunks(1), &LIMITS), expected.clone(), "by bytes");
        let mut rest = &stream[..];
        let pieces = sizes.iter().cycle().map_while(|size| {
            let (piece, after) = rest.split_at((*size).min(rest.len()));
            rest = after;
            (!piece.is_empty()).then_some(piece)
        });
        prop_assert_eq!(run(&mut Session::new(Role::Server), pieces, &LIMITS), expected, "in pieces");
    }

    #[test]
    fn hostile_bytes_are_a_fault_or_nothing_and_hold_little(
        pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..6),
    ) {
        for role in [Role::Server, Role::Client] {
            let mut session = Session::new(role);
            for piece in &pieces {
                if session.handle_bytes(&mut piece.clone(), &LIMITS, &mut |_| {}).is_err() {
                    break;
                }
                prop_assert!(session.held_bytes() < 2_000);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_stream_reads_the_same_split_at_every_byte(
        texts in prop::collection::vec(("[a-zé€😀]{0,80}", prop::collection::vec(0_usize..100, 0..3)), 1..4),
    ) {
        let mut stream = Vec::new();
        for (text, cuts) in &texts {
            let (mut rest, mut opcode) = (text.as_bytes(), OpCode::Data(Data::Text));
            for cut in cuts {
                let (fragment, after) = rest.split_at(cut % (rest.len() + 1));
                stream.extend(masked(opcode, fragment, false));
                stream.extend(masked(OpCode::Control(Control::Pong), &KEY, true));
                (rest, opcode) = (after, OpCode::Data(Data::Continue));
            }
            stream.extend(masked(opcode, rest, true));
        }
        let limits = SessionLimits::default();
        let whole = run(&mut Session::new(Role::Server), [&stream[..]], &limits);
        let said: Vec<String> = whole.0.iter().filter(|said| said.starts_with("Text")).cloned().collect();
        let sent: Vec<String> = texts.iter().map(|(text, _)| format!("Text({text:?})")).collect();
        prop_assert_eq!(said, sent);
        for cut in 0..=stream.len() {
            let split = run(&mut Session::new(Role::Server), [&stream[..cut], &stream[cut..]], &limits);
            prop_assert_eq!(&split, &whole, "cut at {}", cut);
        }
    }
}
