//! A session against rustls's own client: whole, in pieces, resumed, closed, lied to.

use proptest::prelude::*;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConnection, SupportedProtocolVersion};

use super::*;
use crate::tls::Resumption;
use crate::tls::minted::mint_p256;
use crate::tls::peer::{both, client, connect, flight, identity, read, say};

/// What a session heard.
#[derive(Debug, Default, PartialEq, Eq)]
struct Diary {
    plain: Vec<u8>,
    ended: bool,
}

fn give(session: &mut Session, data: &[u8], out: &mut Vec<u8>, diary: &mut Diary) -> Result<bool, Failure> {
    session.receive(&mut data.to_vec(), out, &mut |heard| match heard {
        Heard::Plaintext(plain) => diary.plain.extend_from_slice(plain),
        Heard::End => diary.ended = true,
    })
}

/// A handshake with every flight of the client's cut by `cuts`; what the client says right behind it is in the diary.
fn shake(
    session: &mut Session,
    client: &mut ClientConnection,
    cut: &mut dyn FnMut(&[u8]) -> Vec<Vec<u8>>,
) -> Diary {
    let mut diary = Diary::default();
    while client.is_handshaking() || !session.is_established() {
        let to_server = flight(client);
        let mut to_client = Vec::new();
        for piece in cut(&to_server) {
            give(session, &piece, &mut to_client, &mut diary).unwrap();
        }
        assert!(!to_server.is_empty() || !to_client.is_empty(), "nobody says anything");
        read(client, &to_client);
    }
    diary
}

fn whole(bytes: &[u8]) -> Vec<Vec<u8>> {
    vec![bytes.to_vec()]
}

fn established(version: &'static SupportedProtocolVersion) -> (Session, ClientConnection) {
    let (server, client) = both(version);
    let mut session = Session::new(server).unwrap();
    let mut client = connect(&client);
    shake(&mut session, &mut client, &mut whole);
    (session, client)
}

#[test]
fn a_cut_at_every_byte_changes_nothing() {
    for version in [&TLS12, &TLS13] {
        let (server, config) = both(version);
        let longest = flight(&mut connect(&config)).len();
        for at in 0..longest {
            let mut session = Session::new(Arc::clone(&server)).unwrap();
            let mut client = connect(&config);
            let mut cut = |bytes: &[u8]| {
                let (front, back) = bytes.split_at(at.min(bytes.len()));
                vec![front.to_vec(), back.to_vec()]
            };
            let mut diary = shake(&mut session, &mut client, &mut cut);
            let records = say(&mut client, b"hello, server");
            let mut out = Vec::new();
            for piece in cut(&records) {
                give(&mut session, &piece, &mut out, &mut diary).unwrap();
            }
            assert_eq!(diary.plain, b"hello, server", "cut at {at}");
            session.encrypt(b"hello, client", &mut out).unwrap();
            let (front, back) = out.split_at(at.min(out.len()));
            let mut heard = read(&mut client, front).unwrap();
            heard.extend(read(&mut client, back).unwrap());
            assert_eq!(heard, b"hello, client", "cut at {at}");
        }
    }
}

#[test]
fn byte_by_byte_it_keeps_nothing_once_a_record_is_whole() {
    let (mut session, mut client) = established(&TLS13);
    let mut diary = Diary::default();
    let records = say(&mut client, &[7; 3_000]);
    let mut out = Vec::new();
    for (at, byte) in records.iter().enumerate() {
        let opened = give(&mut session, &[*byte], &mut out, &mut diary).unwrap();
        assert_eq!(opened, at + 1 == records.len());
        assert_eq!(session.is_unfinished(), at + 1 < records.len());
    }
    assert_eq!(diary.plain, [7; 3_000]);
    assert_eq!(session.received.capacity(), 0, "an idle session holds no buffer");
    assert!(out.is_empty());
}

#[test]
fn what_is_long_comes_in_many_records() {
    let (mut session, mut client) = established(&TLS12);
    let plain: Vec<u8> = (0..100_000_u32).map(|n| n as u8).collect();
    let mut out = Vec::new();
    session.encrypt(&plain, &mut out).unwrap();
    let records = plain.len().div_ceil(16_384);
    assert!(out.len() > plain.len() && out.len() <= plain.len() + records * RECORD_OVERHEAD_BYTES);
    assert_eq!(read(&mut client, &out).unwrap(), plain);
}

#[test]
fn a_client_that_comes_back_resumes_also_after_a_new_certificate() {
    for (version, is_tls13) in [(&TLS12, false), (&TLS13, true)] {
        let (old, new) = (mint_p256(), mint_p256());
        let resumption = Resumption::new().unwrap();
        let mut config = resumption.server_config(&identity(&old)).unwrap();
        let both = [old.as_slice(), &new].concat();
        let config_of_client = client(&both, version);
        for round in 0..4 {
            if round == 2 {
                config = resumption.server_config(&identity(&new)).unwrap();
            }
            let mut session = Session::new(Arc::clone(&config)).unwrap();
            let mut client = connect(&config_of_client);
            shake(&mut session, &mut client, &mut whole);
            assert_eq!(session.established(), Established { is_tls13, resumed: round > 0 }, "round {round}");
        }
    }
}

#[test]
fn a_restarted_server_shakes_hands_in_full() {
    let pem = mint_p256();
    let config_of_client = client(&pem, &TLS13);
    for _ in 0..2 {
        let config = Resumption::new().unwrap().server_config(&identity(&pem)).unwrap();
        let mut session = Session::new(config).unwrap();
        shake(&mut session, &mut connect(&config_of_client), &mut whole);
        assert!(!session.established().resumed);
    }
}

#[test]
fn new_keys_change_nothing_for_either_side() {
    let (mut session, mut client) = established(&TLS13);
    let mut diary = Diary::default();
    let mut out = Vec::new();
    for round in 0..8 {
        client.refresh_traffic_keys().unwrap();
        let records = say(&mut client, &[round]);
        give(&mut session, &records, &mut out, &mut diary).unwrap();
        session.encrypt(&[round + 100], &mut out).unwrap();
        assert_eq!(read(&mut client, &std::mem::take(&mut out)).unwrap(), [round + 100]);
    }
    assert_eq!(diary.plain, [0, 1, 2, 3, 4, 5, 6, 7]);
}

#[test]
fn both_sides_can_end_it() {
    let (mut session, mut client) = established(&TLS13);
    let mut out = Vec::new();
    session.encrypt(b"last", &mut out).unwrap();
    session.close(&mut out).unwrap();
    assert_eq!(read(&mut client, &out).unwrap(), b"last");
    assert_eq!(read(&mut client, &[]), Some(Vec::new()));
    let (mut session, mut client) = established(&TLS13);
    let mut records = say(&mut client, b"bye");
    client.send_close_notify();
    records.extend(flight(&mut client));
    let mut diary = Diary::default();
    give(&mut session, &records, &mut Vec::new(), &mut diary).unwrap();
    assert_eq!(diary, Diary { plain: b"bye".to_vec(), ended: true });
}

/// A hello as old clients say it: this version, one suite, perhaps signature algorithms and groups.
fn old_hello(version: [u8; 2], suite: [u8; 2], extensions: &[u8]) -> Vec<u8> {
    let mut body = version.to_vec();
    body.extend([9; 32]);
    body.extend([0, 0, 2, suite[0], suite[1], 1, 0, 0, extensions.len() as u8]);
    body.extend(extensions);
    let mut hello = vec![22, 3, 1, 0, body.len() as u8 + 4, 1, 0, 0, body.len() as u8];
    hello.extend(body);
    hello
}

#[test]
fn old_versions_and_suites_are_refused_by_an_alert() {
    const PROTOCOL_VERSION: u8 = 70;
    const HANDSHAKE_FAILURE: u8 = 40;
    const P256_SHA256: [u8; 16] = [0, 13, 0, 4, 0, 2, 4, 3, 0, 10, 0, 4, 0, 2, 0, 23];
    const CBC: [u8; 2] = [0xc0, 0x09];
    let cases = [
        ([3, 1], &[][..], Failure::Version, HANDSHAKE_FAILURE),
        ([3, 2], &P256_SHA256, Failure::Version, PROTOCOL_VERSION),
        ([3, 3], &P256_SHA256, Failure::Suite, HANDSHAKE_FAILURE),
    ];
    for (version, extensions, failure, alert) in cases {
        let mut session = Session::new(both(&TLS13).0).unwrap();
        let mut out = Vec::new();
        let hello = old_hello(version, CBC, extensions);
        let refused = give(&mut session, &hello, &mut out, &mut Diary::default());
        assert_eq!(refused, Err(failure), "{version:?}");
        assert_eq!(&out[..], &[21, 3, 3, 0, 2, 2, alert], "a fatal alert for {version:?}");
    }
}

#[test]
fn a_changed_record_ends_it_with_an_alert() {
    let (mut session, mut client) = established(&TLS13);
    let mut records = say(&mut client, b"hello");
    *records.last_mut().unwrap() ^= 1;
    let mut out = Vec::new();
    let mut diary = Diary::default();
    assert_eq!(give(&mut session, &records, &mut out, &mut diary), Err(Failure::BadRecord));
    assert!(diary.plain.is_empty() && !out.is_empty());
}

#[test]
fn alpn_without_http_is_refused() {
    let (server, config) = both(&TLS13);
    let mut other = (*config).clone();
    other.alpn_protocols = vec![b"h2".to_vec()];
    let hello = flight(&mut connect(&Arc::new(other)));
    let mut session = Session::new(server).unwrap();
    assert_eq!(give(&mut session, &hello, &mut Vec::new(), &mut Diary::default()), Err(Failure::Alpn));
}

#[test]
fn more_of_a_handshake_than_a_record_is_refused() {
    let mut session = Session::new(both(&TLS13).0).unwrap();
    // A hello that claims 60,000 bytes, record after record.
    let mut record = vec![22, 3, 1, 0x40, 0, 1, 0, 0xea, 0x60];
    record.resize(5 + 0x4000, 0);
    let mut refused = Ok(false);
    for _ in 0..3 {
        refused = give(&mut session, &record, &mut Vec::new(), &mut Diary::default());
        if refused.is_err() {
            break;
        }
        record[5..9].fill(0);
    }
    assert_eq!(refused, Err(Failure::TooLong));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Whatever a peer does to its first flight, in whatever pieces: an answer or a failure, never a panic.
    #[test]
    fn a_mutilated_hello_is_a_failure_at_the_most(
        edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        piece in 1_usize..400,
    ) {
        thread_local! {
            static BOTH: (Arc<rustls::ServerConfig>, Arc<rustls::ClientConfig>) = both(&TLS13);
        }
        BOTH.with(|(server, client)| {
            let mut hello = flight(&mut connect(client));
            for (at, byte) in &edits {
                let at = at.index(hello.len());
                hello[at] = *byte;
            }
            let mut session = Session::new(Arc::clone(server)).unwrap();
            let (mut out, mut diary) = (Vec::new(), Diary::default());
            for piece in hello.chunks(piece) {
                if give(&mut session, piece, &mut out, &mut diary).is_err() {
                    break;
                }
            }
            assert!(diary.plain.is_empty());
        });
    }
}
