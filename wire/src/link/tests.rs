use proptest::prelude::*;
use proptest::strategy::ValueTree;

use super::*;

fn name() -> impl Strategy<Value = String> {
    "[a-zé€]{0,12}"
}

fn names() -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec(name(), 0..5)
}

fn text() -> impl Strategy<Value = Bytes> {
    prop::collection::vec(any::<u8>(), 0..60).prop_map(Bytes::from)
}

fn id() -> impl Strategy<Value = Uuid> {
    any::<u128>().prop_map(Uuid::from_u128)
}

fn wall() -> impl Strategy<Value = Wall> {
    any::<i64>().prop_map(Wall)
}

fn session() -> impl Strategy<Value = SessionKey> {
    any::<u64>().prop_map(SessionKey)
}

fn result() -> impl Strategy<Value = DeliveryResult> {
    prop_oneof![
        any::<u32>().prop_map(|sockets| DeliveryResult::Sent { sockets }),
        Just(DeliveryResult::None),
        Just(DeliveryResult::Slow),
    ]
}

fn about_routing() -> impl Strategy<Value = Frame> {
    prop_oneof![
        (any::<(u16, u16, u16, u64)>(), name())
            .prop_map(|((major, minor, shard, boot), node)| Frame::Hello { major, minor, node, shard, boot }),
        (any::<(u64, u64, u32)>(), prop::collection::vec(any::<u32>(), 0..5)).prop_map(
            |((epoch, generation, count), partitions)| Frame::Owns { epoch, generation, count, partitions }
        ),
        (any::<u32>(), names(), names()).prop_map(|(partition, users, topics)| Frame::Snapshot {
            partition,
            users,
            topics
        }),
        any::<u32>().prop_map(|partition| Frame::SnapshotEnd { partition }),
        name().prop_map(|user| Frame::Announce { user }),
        name().prop_map(|user| Frame::Withdraw { user }),
        (name(), names()).prop_map(|(user, topics)| Frame::Topics { user, topics }),
        name().prop_map(|topic| Frame::Subscribe { topic }),
        name().prop_map(|topic| Frame::Unsubscribe { topic }),
        any::<u32>().prop_map(|frames| Frame::Credit { frames }),
    ]
}

fn about_messages() -> impl Strategy<Value = Frame> {
    prop_oneof![
        (any::<u64>(), id(), wall(), name(), text())
            .prop_map(|(tag, id, created_at, user, text)| Frame::Deliver { tag, id, created_at, user, text }),
        (any::<u64>(), id(), wall(), prop::option::of(name()), text()).prop_map(
            |(tag, id, created_at, topic, text)| Frame::Broadcast { tag, id, created_at, topic, text }
        ),
        (any::<u64>(), id(), result()).prop_map(|(tag, id, result)| Frame::Result { tag, id, result }),
        (name(), prop::option::of(session()), text()).prop_map(|(user, except, text)| Frame::Tell {
            user,
            except,
            text
        }),
        (name(), session(), text()).prop_map(|(user, session, text)| Frame::ClientMessage {
            user,
            session,
            text
        }),
        (session(), text()).prop_map(|(session, text)| Frame::Reply { session, text }),
        wall().prop_map(|since| Frame::Gap { since }),
    ]
}

fn about_sessions() -> impl Strategy<Value = Frame> {
    prop_oneof![
        name().prop_map(|user| Frame::Revoke { who: Revoked::User(user) }),
        name().prop_map(|session| Frame::Revoke { who: Revoked::Session(session) }),
        (any::<u64>(), name()).prop_map(|(request, ticket)| Frame::Redeem { request, ticket }),
        (any::<u64>(), prop::option::of(name()))
            .prop_map(|(request, user)| Frame::Redeemed { request, user }),
        any::<u64>().prop_map(|t| Frame::Ping { t }),
        any::<u64>().prop_map(|t| Frame::Pong { t }),
    ]
}

fn frames() -> impl Strategy<Value = Frame> {
    prop_oneof![10 => about_routing(), 7 => about_messages(), 6 => about_sessions()]
}

fn encoded(frame: &Frame) -> BytesMut {
    let mut out = BytesMut::new();
    frame.encode(&mut out);
    out
}

/// All frames that the bytes hold, and the error that ended them.
fn decoded(input: &mut BytesMut) -> (Vec<Frame>, Option<LinkError>) {
    let mut frames = Vec::new();
    loop {
        match Frame::decode(input) {
            Ok(Some(frame)) => frames.push(frame),
            Ok(None) => return (frames, None),
            Err(error) => return (frames, Some(error)),
        }
    }
}

/// A frame of this kind and body, with a true length.
fn raw(kind: u8, body: &[u8]) -> Vec<u8> {
    [&(body.len() as u32 + 1).to_be_bytes()[..], &[kind], body].concat()
}

/// Nodes of two versions talk to each other during an upgrade: these bytes may not change within a major.
#[test]
fn the_bytes_of_version_1_stay_as_they_are() {
    let hello = Frame::Hello { major: 1, minor: 0, node: "n".to_owned(), shard: 2, boot: 3 };
    assert_eq!(encoded(&hello)[..], b"\0\0\0\x14\x01\0\x01\0\0\0\0\0\x01n\0\x02\0\0\0\0\0\0\0\x03"[..]);
    let deliver = Frame::Deliver {
        tag: 1,
        id: Uuid::from_u128(2),
        created_at: Wall(-1),
        user: "u".to_owned(),
        text: Bytes::from_static(b"{}"),
    };
    let expected = [
        &b"\0\0\0\x2c\x07\0\0\0\0\0\0\0\x01"[..],
        &[0; 15],
        b"\x02\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\x01u\0\0\0\x02{}",
    ]
    .concat();
    assert_eq!(encoded(&deliver)[..], expected[..]);
    let owns = Frame::Owns { epoch: 1, generation: 2, count: 12, partitions: vec![0, 5] };
    let expected =
        b"\0\0\0\x21\x02\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x02\0\0\0\x0c\0\0\0\x02\0\0\0\0\0\0\0\x05";
    assert_eq!(encoded(&owns)[..], expected[..]);
}

#[test]
fn hostile_lengths_and_counts_are_errors() {
    let cases: [(&str, Vec<u8>, LinkError); 9] = [
        ("a length of zero", vec![0; 4], LinkError::Empty),
        ("a huge length", vec![0xff; 4], LinkError::TooLong(u32::MAX as usize)),
        (
            "a length one too long",
            (LINK_FRAME_BYTES_MAX as u32 + 1).to_be_bytes().to_vec(),
            LinkError::TooLong(LINK_FRAME_BYTES_MAX + 1),
        ),
        ("no body", raw(kind::PING, b""), LinkError::Truncated { kind: kind::PING }),
        (
            "a name past the end",
            raw(kind::ANNOUNCE, b"\xff\xff\xff\xffx"),
            LinkError::Truncated { kind: kind::ANNOUNCE },
        ),
        ("four billion partitions", raw(kind::OWNS, &[0xff; 24]), LinkError::Truncated { kind: kind::OWNS }),
        (
            "four billion users",
            raw(kind::SNAPSHOT, &[0xff; 8]),
            LinkError::Truncated { kind: kind::SNAPSHOT },
        ),
        (
            "a name that is no text",
            raw(kind::WITHDRAW, b"\0\0\0\x01\xff"),
            LinkError::Malformed { kind: kind::WITHDRAW, what: "a name is not UTF-8" },
        ),
        (
            "a result that nobody knows",
            raw(kind::RESULT, &[9; 25]),
            LinkError::Malformed { kind: kind::RESULT, what: "unknown delivery result" },
        ),
    ];
    for (what, bytes, error) in cases {
        assert_eq!(Frame::decode(&mut BytesMut::from(&bytes[..])), Err(error), "{what}");
    }
}

#[test]
fn only_deliveries_and_client_messages_are_paid_for() {
    let paid = [kind::DELIVER, kind::BROADCAST, kind::CLIENT_MESSAGE];
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut kinds = std::collections::BTreeSet::new();
    for _ in 0..2_000 {
        let frame = frames().new_tree(&mut runner).unwrap().current();
        let kind = encoded(&frame)[4];
        assert_eq!(frame.is_paid(), paid.contains(&kind), "{frame:?}");
        kinds.insert(kind);
    }
    assert!(kinds.into_iter().eq(kind::HELLO..=kind::PONG), "a kind is missing from these tests");
}

proptest! {
    #[test]
    fn every_frame_comes_back_and_not_before_its_last_byte(frame in frames()) {
        let whole = encoded(&frame);
        let mut input = BytesMut::new();
        for (at, byte) in whole.iter().enumerate() {
            prop_assert_eq!(Frame::decode(&mut input), Ok(None), "before byte {}", at);
            input.put_u8(*byte);
        }
        prop_assert_eq!(Frame::decode(&mut input), Ok(Some(frame)));
        prop_assert!(input.is_empty());
    }

    #[test]
    fn a_stream_comes_back_in_order_however_it_is_cut(
        sent in prop::collection::vec(frames(), 1..6), sizes in prop::collection::vec(1..50_usize, 1..5),
    ) {
        let mut stream = BytesMut::new();
        for frame in &sent {
            frame.encode(&mut stream);
        }
        let (mut input, mut came, mut sizes) = (BytesMut::new(), Vec::new(), sizes.into_iter().cycle());
        while !stream.is_empty() {
            let size = sizes.next().unwrap().min(stream.len());
            input.put_slice(&stream.split_to(size));
            let (frames, error) = decoded(&mut input);
            prop_assert_eq!(error, None);
            came.extend(frames);
        }
        prop_assert_eq!(came, sent);
    }

    #[test]
    fn a_newer_minor_version_is_understood(
        frame in frames(), later in prop::collection::vec(any::<u8>(), 0..40), unknown in kind::PONG + 1..=u8::MAX,
    ) {
        let mut stream = raw(unknown, &later);
        let mut longer = encoded(&frame).to_vec();
        let length = (longer.len() - 4 + later.len()) as u32;
        longer[..4].copy_from_slice(&length.to_be_bytes());
        stream.extend(longer);
        stream.extend(&later);
        stream.extend(raw(0, &later));
        stream.extend(&encoded(&Frame::Ping { t: 1 })[..]);
        prop_assert_eq!(decoded(&mut BytesMut::from(&stream[..])), (vec![frame, Frame::Ping { t: 1 }], None));
    }

    #[test]
    fn spoiled_frames_are_frames_or_errors_and_never_a_panic(
        sent in prop::collection::vec(frames(), 1..4),
        spoils in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut stream = BytesMut::new();
        for frame in &sent {
            frame.encode(&mut stream);
        }
        for (at, byte) in spoils {
            let at = at.index(stream.len());
            stream[at] = byte;
        }
        let bytes = stream.len();
        for frame in decoded(&mut stream).0 {
            // A list's item takes four bytes of the frame, so no count can ask for more than came.
            let items = match frame {
                Frame::Owns { partitions, .. } => partitions.len(),
                Frame::Snapshot { users, topics, .. } => users.len() + topics.len(),
                Frame::Topics { topics, .. } => topics.len(),
                _ => 0,
            };
            prop_assert!(items <= bytes / 4);
        }
    }

    #[test]
    fn any_bytes_are_never_a_panic(input in prop::collection::vec(any::<u8>(), 0..200)) {
        for kind in 0..=kind::PONG + 1 {
            let _either = decoded(&mut BytesMut::from(&raw(kind, &input)[..]));
        }
        let _either = decoded(&mut BytesMut::from(&input[..]));
    }
}
