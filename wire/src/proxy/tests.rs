use proptest::prelude::*;

use super::*;

fn body(version_command: u8, family: u8, body: &[u8]) -> Vec<u8> {
    let mut out = SIGNATURE.to_vec();
    out.extend([version_command, family]);
    out.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
    out.extend(body);
    out
}

fn header_of(input: &[u8]) -> (Origin, usize) {
    match parse(input) {
        Ok(Prelude::Header { origin, header_bytes }) => (origin, header_bytes),
        other => panic!("{other:?}"),
    }
}

fn prefixes(texts: &[&str]) -> Vec<Prefix> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

/// Byte for byte as the specification lays it out.
#[test]
fn a_header_of_each_family_is_read() {
    let v4 = [&[203, 0, 113, 9, 10, 0, 0, 1][..], &0x1f90_u16.to_be_bytes(), &443_u16.to_be_bytes()].concat();
    assert_eq!(header_of(&body(0x21, 0x11, &v4)), (Origin::Client("203.0.113.9:8080".parse().unwrap()), 28));
    let mut v6 = [0; 36];
    v6[..4].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
    v6[15] = 7;
    v6[32..34].copy_from_slice(&5_000_u16.to_be_bytes());
    assert_eq!(
        header_of(&body(0x21, 0x21, &v6)),
        (Origin::Client("[2001:db8::7]:5000".parse().unwrap()), 52)
    );
    assert_eq!(header_of(&body(0x21, 0x31, &[0; 216])), (Origin::Unnamed, 232));
    assert_eq!(header_of(&body(0x21, 0x00, b"")), (Origin::Unnamed, 16));
    assert_eq!(header_of(&body(0x21, 0x00, b"anything")), (Origin::Unnamed, 24));
    assert_eq!(header_of(&body(0x20, 0x00, b"")), (Origin::Unnamed, 16));
    assert_eq!(header_of(&body(0x20, 0x11, b"skip")), (Origin::Unnamed, 20), "a health check");
}

#[test]
fn extensions_are_skipped_and_must_end_inside() {
    let v4 = [1, 2, 3, 4, 5, 6, 7, 8, 0, 9, 0, 10];
    let with = |extensions: &[u8]| body(0x21, 0x11, &[&v4[..], extensions].concat());
    let unknown = with(&[0xe0, 0, 3, 1, 2, 3, 0x04, 0, 0]);
    assert_eq!(header_of(&unknown), (Origin::Client("1.2.3.4:9".parse().unwrap()), unknown.len()));
    for cut in [&[0xe0][..], &[0xe0, 0], &[0xe0, 0, 1], &[4, 0, 0, 0xe0, 0xff, 0xff, 1]] {
        assert_eq!(parse(&with(cut)), Err(BadPrelude::Extension), "{cut:?}");
    }
}

#[test]
fn what_is_wrong_is_refused_on_the_byte_that_shows_it() {
    let start = |last: &[u8]| [&SIGNATURE[..], last].concat();
    let cases = [
        (b"\r\n\r\n\0\r\nQUIP".to_vec(), BadPrelude::Signature),
        (b"\r\n\r\nG".to_vec(), BadPrelude::Signature),
        (start(&[0x11]), BadPrelude::Version),
        (start(&[0x31]), BadPrelude::Version),
        (start(&[0x22]), BadPrelude::Command),
        (start(&[0x2f]), BadPrelude::Command),
        (start(&[0x21, 0x12]), BadPrelude::Family),
        (start(&[0x21, 0x10]), BadPrelude::Family),
        (start(&[0x21, 0x41]), BadPrelude::Family),
        (start(&[0x21, 0x11, 0, 11]), BadPrelude::Addresses),
        (start(&[0x21, 0x21, 0, 35]), BadPrelude::Addresses),
        (start(&[0x21, 0x31, 0, 215]), BadPrelude::Addresses),
        (start(&[0x21, 0x11, 0xff, 0xff]), BadPrelude::TooLarge),
    ];
    for (bytes, why) in cases {
        assert_eq!(parse(&bytes), Err(why), "{bytes:?}");
        assert_eq!(parse(&bytes[..bytes.len() - 1]), Ok(Prelude::Incomplete), "{bytes:?}: too early");
    }
    for plain in [&b"GET / HTTP/1.1\r\n"[..], b"PROXY TCP4 1.2.3.4 5.6.7.8 9 10\r\n", &[0x16, 3, 1]] {
        assert_eq!(parse(plain), Ok(Prelude::Absent));
    }
}

#[test]
fn a_header_that_we_write_reads_back() {
    for (client, proxy) in
        [("192.0.2.7:1", "10.0.0.1:443"), ("[2001:db8::1]:9", "[::1]:443"), ("192.0.2.7:1", "[::1]:443")]
    {
        let (client, proxy): (SocketAddr, SocketAddr) = (client.parse().unwrap(), proxy.parse().unwrap());
        let written = header(Some(client), proxy);
        assert_eq!(header_of(&written), (Origin::Client(client), written.len()));
    }
    assert_eq!(header_of(&header(None, "[::1]:1".parse().unwrap())), (Origin::Unnamed, 16));
}

proptest! {
    /// Whatever comes: no panic, and never a header longer than what came.
    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300), signed: bool) {
        let bytes = if signed { [&SIGNATURE[..], &bytes].concat() } else { bytes };
        if let Ok(Prelude::Header { header_bytes, .. }) = parse(&bytes) {
            prop_assert!((16..=bytes.len()).contains(&header_bytes));
        }
    }

    /// Split at every byte, a header is incomplete until its last byte and the same from there on; flipped
    /// anywhere, it is refused or read, and says which at the latest when it is whole.
    #[test]
    fn a_header_is_the_same_however_it_is_cut(
        client: [u8; 4],
        port: u16,
        extension in prop::collection::vec(any::<u8>(), 0..64),
        behind in prop::collection::vec(any::<u8>(), 0..8),
        flip in (0_usize..28, 1_u8..=255),
    ) {
        let client = SocketAddr::new(IpAddr::from(client), port);
        let mut whole = header(Some(client), "127.0.0.1:80".parse().unwrap());
        whole.push(0xe1);
        whole.extend(u16::try_from(extension.len()).unwrap().to_be_bytes());
        whole.extend(&extension);
        let body_bytes = u16::try_from(whole.len() - 16).unwrap();
        whole[14..16].copy_from_slice(&body_bytes.to_be_bytes());
        let header_bytes = whole.len();
        for cut in 0..header_bytes {
            prop_assert_eq!(parse(&whole[..cut]), Ok(Prelude::Incomplete), "cut at {}", cut);
        }
        whole.extend(&behind);
        for cut in header_bytes..=whole.len() {
            let found = Prelude::Header { origin: Origin::Client(client), header_bytes };
            prop_assert_eq!(parse(&whole[..cut]), Ok(found));
        }
        let mut flipped = whole;
        flipped[flip.0] ^= flip.1;
        let mut refused = None;
        for cut in 0..=flipped.len() {
            match (parse(&flipped[..cut]), refused) {
                (Err(why), None) => refused = Some(why),
                (now, Some(why)) => prop_assert_eq!(now, Err(why), "once refused, refused for good"),
                (Ok(_), None) => {}
            }
        }
    }

    #[test]
    fn a_prefix_contains_what_shares_its_bits(address: [u8; 4], other: [u8; 4], bits in 0_u8..=32) {
        let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
        let network = Ipv4Addr::from(u32::from_be_bytes(address) & mask);
        let prefix: Prefix = format!("{network}/{bits}").parse().unwrap();
        prop_assert!(prefix.contains(IpAddr::from(address)));
        prop_assert!(prefix.contains(IpAddr::V6(Ipv4Addr::from(address).to_ipv6_mapped())));
        let same = u32::from_be_bytes(other) & mask == u32::from(network);
        prop_assert_eq!(prefix.contains(IpAddr::from(other)), same);
    }
}

#[test]
fn prefixes_are_read_strictly() {
    assert!(prefixes(&["::1"])[0].contains("::1".parse().unwrap()));
    assert!(!prefixes(&["::1"])[0].contains("::2".parse().unwrap()));
    assert!(prefixes(&["fd00::/8"])[0].contains("fd12:3::4".parse().unwrap()));
    assert!(prefixes(&["0.0.0.0/0"])[0].contains("9.9.9.9".parse().unwrap()));
    assert!(!prefixes(&["0.0.0.0/0"])[0].contains("2001:db8::1".parse().unwrap()));
    assert!(prefixes(&["::/0"])[0].contains("2001:db8::1".parse().unwrap()));
    for bad in ["", "10", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/+8", "::/129", "localhost", "10.0.0.0/8/8"] {
        let malformed = BadPrefix::Malformed(bad.to_owned());
        assert_eq!(bad.parse::<Prefix>(), Err(malformed));
    }
    for bad in ["10.0.0.1/8", "fd00::1/8"] {
        assert_eq!(bad.parse::<Prefix>(), Err(BadPrefix::BitsBehind(bad.to_owned())));
    }
}

#[test]
fn the_last_address_that_is_no_proxys_is_the_client() {
    let trusted = prefixes(&["10.0.0.0/8", "::1"]);
    let client = |header: &str| {
        let members = header.split(',').map(str::trim).filter(|member| !member.is_empty());
        forwarded_client(members, &trusted).map(|address| address.to_string())
    };
    let table = [
        ("203.0.113.7", Some("203.0.113.7")),
        ("203.0.113.7:4711", Some("203.0.113.7")),
        ("2001:db8::9", Some("2001:db8::9")),
        ("[2001:db8::9]", Some("2001:db8::9")),
        ("[2001:db8::9]:4711", Some("2001:db8::9")),
        ("::ffff:203.0.113.7", Some("203.0.113.7")),
        // What a client made up stands before what its proxy saw.
        ("1.1.1.1, 203.0.113.7", Some("203.0.113.7")),
        ("1.1.1.1, 203.0.113.7, 10.0.0.3, ::1", Some("203.0.113.7")),
        ("unknown, 203.0.113.7", Some("203.0.113.7")),
        // Behind a hop that names nobody, nothing is believed.
        ("203.0.113.7, unknown", None),
        ("203.0.113.7, unknown, 10.0.0.3", None),
        ("203.0.113.7, [::1", None),
        ("203.0.113.7, 10.0.0.3:99999", None),
        ("203.0.113.7, fe80::1%eth0", None),
        ("10.0.0.3", None),
        ("", None),
    ];
    for (header, expected) in table {
        assert_eq!(client(header).as_deref(), expected, "{header:?}");
    }
}
