use proptest::prelude::*;

use super::*;

const TEXT: OpCode = OpCode::Data(Data::Text);
const BINARY: OpCode = OpCode::Data(Data::Binary);

fn opcodes() -> impl Strategy<Value = OpCode> {
    prop::sample::select(vec![
        TEXT,
        BINARY,
        OpCode::Data(Data::Continue),
        OpCode::Control(Control::Close),
        OpCode::Control(Control::Ping),
        OpCode::Control(Control::Pong),
    ])
}

/// RFC 6455 §5.7, byte for byte.
#[test]
fn the_rfcs_own_examples_are_encoded_so() {
    assert_eq!(&text_frame(b"Hello")[..], b"\x81\x05Hello");
    let masked = frame(TEXT, b"Hello", Some([0x37, 0xfa, 0x21, 0x3d]));
    assert_eq!(&masked[..], [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58]);
    assert_eq!(&piece(TEXT, b"Hel", None, false)[..], b"\x01\x03Hel");
    assert_eq!(&piece(OpCode::Data(Data::Continue), b"lo", None, true)[..], b"\x80\x02lo");
    assert_eq!(&ping_frame(b"Hello", None)[..], b"\x89\x05Hello");
    assert_eq!(&frame(BINARY, &[7; 256], None)[..4], [0x82, 0x7e, 0x01, 0x00]);
    assert_eq!(&frame(BINARY, &vec![7; 65_536], None)[..10], [0x82, 0x7f, 0, 0, 0, 0, 0, 1, 0, 0]);
}

#[test]
fn heads_at_every_length_boundary_read_back() {
    for length in [0_usize, 1, 125, 126, 127, 65_535, 65_536, 70_000] {
        for key in [None, Some([1, 2, 3, 4])] {
            let whole = frame(TEXT, &vec![b'x'; length], key);
            let head = Head::parse(&whole).unwrap().unwrap();
            assert_eq!((head.payload_bytes, head.mask, head.last), (length as u64, key, true));
            assert_eq!(head.head_bytes + length, whole.len());
        }
    }
}

#[test]
fn what_the_rfc_forbids_is_refused_on_the_byte_that_shows_it() {
    let cases: [(&[u8], &str); 14] = [
        (&[0x91], "rsv3"),
        (&[0xa1], "rsv2"),
        (&[0xc1], "rsv1"),
        (&[0x83], "reserved data opcode"),
        (&[0x87], "last reserved data opcode"),
        (&[0x8b], "reserved control opcode"),
        (&[0x8f], "last reserved control opcode"),
        (&[0x09], "fragmented ping"),
        (&[0x08], "fragmented close"),
        (&[0x89, 126], "long ping"),
        (&[0x88, 0xff], "long close"),
        (&[0x81, 126, 0, 125], "126 for 125"),
        (&[0x81, 127, 0, 0, 0, 0, 0, 0, 0xff, 0xff], "127 for 65535"),
        (&[0x81, 127, 0x80, 0, 0, 0, 0, 1, 0, 0], "top bit of the length"),
    ];
    for (bytes, what) in cases {
        assert_eq!(Head::parse(bytes).map_err(|fault| fault.code), Err(CloseCode::Protocol), "{what}");
        assert_eq!(Head::parse(&bytes[..bytes.len() - 1]), Ok(None), "{what}: too early");
    }
}

#[test]
fn a_long_close_reason_is_cut_between_characters() {
    let whole = close_frame(1008, &"é".repeat(100), None);
    let (code, reason) = parse_close(&whole[2..]).unwrap();
    assert_eq!((code, reason.chars().count()), (Some(1008), 61));
}

#[test]
fn a_close_is_answered_with_its_own_code_or_none() {
    assert_eq!(&close_reply(Some(1000), None)[..], b"\x88\x02\x03\xe8");
    assert_eq!(&close_reply(None, None)[..], b"\x88\x00");
}

#[test]
fn close_payloads_are_checked() {
    assert_eq!(parse_close(&[]), Ok((None, "")));
    assert!(parse_close(&[3]).is_err());
    for code in [0_u16, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535] {
        assert!(parse_close(&code.to_be_bytes()).is_err(), "{code}");
    }
    assert_eq!(parse_close(&[0x03, 0xe8, 0xff]), Err(BAD_UTF8));
}

proptest! {
    #[test]
    fn every_head_comes_back_and_is_incomplete_before_its_last_byte(
        last: bool, opcode in opcodes(), mask_with: Option<[u8; 4]>,
        size in prop_oneof![0..300_usize, 65_530..65_540_usize], before in prop::collection::vec(any::<u8>(), 0..9),
    ) {
        let control = matches!(opcode, OpCode::Control(_));
        let (last, size) = if control { (true, size % 126) } else { (last, size) };
        let payload = vec![0x5a; size];
        let mut out = BytesMut::from(&before[..]);
        put_piece(&mut out, opcode, &payload, mask_with, last);
        let mut whole = out.split_off(before.len());
        prop_assert_eq!(&out[..], &before[..]);
        let head_bytes = whole.len() - size;
        for cut in 0..head_bytes {
            prop_assert_eq!(Head::parse(&whole[..cut]), Ok(None));
        }
        let expected = Head { last, opcode, mask: mask_with, head_bytes, payload_bytes: size as u64 };
        prop_assert_eq!(Head::parse(&whole), Ok(Some(expected)));
        if let Some(key) = mask_with {
            mask(&mut whole[head_bytes..], key, 0);
        }
        prop_assert_eq!(&whole[head_bytes..], &payload[..]);
    }

    #[test]
    fn masking_is_its_own_inverse_and_agrees_with_the_definition(
        bytes in prop::collection::vec(any::<u8>(), 0..100), key: [u8; 4], cut in 0_usize..100,
    ) {
        let cut = cut.min(bytes.len());
        let plainly: Vec<u8> = bytes.iter().enumerate().map(|(i, b)| b ^ key[i % 4]).collect();
        let mut masked = bytes.clone();
        mask(&mut masked[..cut], key, 0);
        mask(&mut masked[cut..], key, cut);
        prop_assert_eq!(&masked, &plainly);
        mask(&mut masked, key, 0);
        prop_assert_eq!(masked, bytes);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..20)) {
        if let Ok(Some(head)) = Head::parse(&bytes) {
            prop_assert!(head.head_bytes <= bytes.len() && head.head_bytes <= HEAD_BYTES_MAX);
            prop_assert!(head.payload_bytes >> 63 == 0);
        }
        let _either = parse_close(&bytes);
    }
}
