use proptest::prelude::*;

use super::*;

fn opcodes() -> impl Strategy<Value = Opcode> {
    prop::sample::select(vec![
        Opcode::Continuation,
        Opcode::Text,
        Opcode::Binary,
        Opcode::Close,
        Opcode::Ping,
        Opcode::Pong,
    ])
}

/// RFC 6455 §5.7, byte for byte.
#[test]
fn the_rfcs_own_examples_are_encoded_and_read() {
    assert_eq!(&text_frame(b"Hello")[..], b"\x81\x05Hello");
    let masked = client_text_frame(b"Hello", [0x37, 0xfa, 0x21, 0x3d]);
    assert_eq!(&masked[..], [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58]);
    assert_eq!(&ping_frame(b"Hello")[..], b"\x89\x05Hello");
    assert_eq!(&binary_frame(&[7; 256])[..4], [0x82, 0x7e, 0x01, 0x00]);
    assert_eq!(&binary_frame(&[7; 65_536])[..10], [0x82, 0x7f, 0, 0, 0, 0, 0, 1, 0, 0]);
}

#[test]
fn a_close_frame_holds_code_and_reason_cut_between_characters() {
    assert_eq!(&close_frame(CloseCode::SlowConsumer, "slow")[..], b"\x88\x06\x11\x4dslow");
    let long = "é".repeat(100);
    let frame = close_frame(CloseCode::Normal, &long);
    assert_eq!(frame.len(), 2 + 2 + 122);
    assert!(std::str::from_utf8(&frame[4..]).is_ok());
    assert_eq!(&close_reply(None)[..], b"\x88\x00");
    assert_eq!(&close_reply(Some(1000))[..], b"\x88\x02\x03\xe8");
}

#[test]
fn bad_headers_are_refused_on_the_byte_that_shows_it() {
    let cases: [(&[u8], BadHeader); 12] = [
        (&[0xc1], BadHeader::ReservedBits),
        (&[0xa1], BadHeader::ReservedBits),
        (&[0x91], BadHeader::ReservedBits),
        (&[0x83], BadHeader::ReservedOpcode(3)),
        (&[0x8b], BadHeader::ReservedOpcode(11)),
        (&[0x8f], BadHeader::ReservedOpcode(15)),
        (&[0x09], BadHeader::FragmentedControl),
        (&[0x89, 0x7e], BadHeader::ControlTooLong),
        (&[0x88, 0xff], BadHeader::ControlTooLong),
        (&[0x81, 0x7e, 0, 125], BadHeader::NotMinimal),
        (&[0x81, 0x7f, 0, 0, 0, 0, 0, 0, 0xff, 0xff], BadHeader::NotMinimal),
        (&[0x81, 0x7f, 0x80, 0, 0, 0, 0, 1, 0, 0], BadHeader::LengthOverflow),
    ];
    for (input, expected) in cases {
        assert_eq!(header(input), Err(expected), "{input:x?}");
        assert_eq!(header(&input[..input.len() - 1]), Ok(None), "{input:x?} is refused too early");
    }
}

proptest! {
    #[test]
    fn every_header_comes_back_and_is_incomplete_before_its_last_byte(
        fin: bool, opcode in opcodes(), mask: Option<[u8; 4]>,
        size in prop_oneof![0..300usize, 65_530..65_540usize],
    ) {
        let (fin, size) = if opcode.is_control() { (true, size % 126) } else { (fin, size) };
        let payload = vec![0x5a; size];
        let mut out = BytesMut::new();
        put_frame(&mut out, fin, opcode, &payload, mask);
        prop_assert_eq!(out.len(), frame_bytes(size, mask.is_some()));
        let header_bytes = out.len() - size;
        for cut in 0..header_bytes {
            prop_assert_eq!(header(&out[..cut]), Ok(None));
        }
        let expected = Header { fin, opcode, mask, payload_bytes: size as u64, header_bytes };
        prop_assert_eq!(header(&out), Ok(Some(expected)));
        if let Some(mask) = mask {
            apply_mask(&mut out[header_bytes..], mask, 0);
        }
        prop_assert_eq!(&out[header_bytes..], &payload[..]);
    }

    #[test]
    fn masking_in_pieces_is_masking_byte_by_byte(payload: Vec<u8>, mask: [u8; 4], cut: prop::sample::Index) {
        let naive: Vec<u8> = payload.iter().enumerate().map(|(i, byte)| byte ^ mask[i % 4]).collect();
        let cut = cut.index(payload.len() + 1);
        let mut pieces = payload;
        let (front, back) = pieces.split_at_mut(cut);
        apply_mask(front, mask, 0);
        apply_mask(back, mask, cut);
        prop_assert_eq!(pieces, naive);
    }

    #[test]
    fn any_bytes_are_a_header_or_an_error_and_never_a_panic(input in prop::collection::vec(any::<u8>(), 0..20)) {
        if let Ok(Some(header)) = header(&input) {
            prop_assert!(header.header_bytes <= HEADER_BYTES_MAX && header.header_bytes <= input.len());
            prop_assert!(header.payload_bytes >> 63 == 0);
        }
    }
}
