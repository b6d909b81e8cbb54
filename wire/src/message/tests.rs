use proptest::prelude::*;

use super::*;

fn bad(text: &str) -> &'static str {
    ClientMessage::parse(text).expect_err(text).code()
}

/// The contract's own lines.
#[test]
fn the_contract_s_messages_are_understood() {
    let at = Wall::parse("2026-02-20T10:00:00Z").unwrap();
    let id = Uuid::from_u128(1);
    for (text, expected) in [
        (
            r#"{"type":"hello","device":"d1","app":"ios/7.2.0"}"#.to_owned(),
            ClientMessage::Hello { device: Some("d1".to_owned()) },
        ),
        (
            r#"{"type":"sync","last_seen_at":"2026-02-20T10:00:00Z","cursor":null,"limit":50}"#.to_owned(),
            ClientMessage::Sync(SyncRequest { last_seen_at: Some(at), cursor: None, limit: Some(50) }),
        ),
        (r#"{"type":"sync"}"#.to_owned(), ClientMessage::Sync(SyncRequest::default())),
        (format!(r#"{{"type":"ack","ids":["{id}"]}}"#), ClientMessage::Ack { ids: vec![id] }),
        (format!(r#"{{"ids":["{id}"],"later":{{}},"type":"read"}}"#), ClientMessage::Read { ids: vec![id] }),
        (
            r#"{"type":"subscribe","topics":["t"]}"#.to_owned(),
            ClientMessage::Subscribe { topics: vec!["t".to_owned()] },
        ),
        (r#"{"type":"ping","t":1}"#.to_owned(), ClientMessage::Ping { t: 1 }),
        (r#"{"type":"ping"}"#.to_owned(), ClientMessage::Ping { t: 0 }),
    ] {
        assert_eq!(ClientMessage::parse(&text), Ok(expected), "{text}");
    }
}

#[test]
fn what_is_refused_is_refused_with_the_right_code() {
    let ids = |count: usize| vec![format!("\"{}\"", Uuid::nil()); count].join(",");
    let long = "x".repeat(limits::NAME_BYTES_MAX + 1);
    for (text, code) in [
        (String::new(), "bad_json"),
        ("{".to_owned(), "bad_json"),
        ("null".to_owned(), "bad_json"),
        ("[]".to_owned(), "bad_json"),
        ("{}".to_owned(), "bad_json"),
        (r#"{"type":7}"#.to_owned(), "bad_json"),
        ("[".repeat(10_000), "bad_json"),
        (format!(r#"{{"type":"ping","x":{}"#, "[".repeat(10_000)), "bad_json"),
        (r#"{"type":"dance"}"#.to_owned(), "unknown_type"),
        (r#"{"type":"Ping"}"#.to_owned(), "unknown_type"),
        (r#"{"type":"ack"}"#.to_owned(), "bad_field"),
        (r#"{"type":"ack","ids":["x"]}"#.to_owned(), "bad_field"),
        (r#"{"type":"ping","t":"now"}"#.to_owned(), "bad_field"),
        (r#"{"type":"sync","last_seen_at":"yesterday"}"#.to_owned(), "bad_field"),
        (r#"{"type":"sync","limit":-1}"#.to_owned(), "bad_field"),
        (r#"{"type":"subscribe","topics":[""]}"#.to_owned(), "bad_field"),
        (format!(r#"{{"type":"ack","ids":[{}]}}"#, ids(limits::IDS_PER_MESSAGE_MAX + 1)), "too_many"),
        (format!(r#"{{"type":"hello","device":"{long}"}}"#), "too_many"),
        (format!(r#"{{"type":"unsubscribe","topics":["{long}"]}}"#), "too_many"),
        (format!(r#"{{"type":"sync","cursor":"{}"}}"#, "c".repeat(limits::CURSOR_BYTES_MAX + 1)), "too_many"),
    ] {
        assert_eq!(bad(&text), code, "{text:.100}");
    }
    let most = format!(r#"{{"type":"ack","ids":[{}]}}"#, ids(limits::IDS_PER_MESSAGE_MAX));
    assert!(ClientMessage::parse(&most).is_ok());
}

#[test]
fn what_was_wrong_is_quoted_but_not_at_length() {
    let text = format!(r#"{{"type":"{}"}}"#, "é".repeat(10_000));
    let Err(BadMessage::UnknownType(kind)) = ClientMessage::parse(&text) else { panic!("an unknown type") };
    assert_eq!(kind.chars().count(), 64);
    let text = format!(r#"{{"type":"ack","ids":"{}"}}"#, "é".repeat(10_000));
    assert!(ClientMessage::parse(&text).unwrap_err().to_string().len() <= 400);
}

#[test]
fn a_server_s_messages_read_as_the_contract_says() {
    let at = Wall::parse("2026-02-20T10:00:00Z").unwrap();
    let id = Uuid::from_u128(1);
    for (message, text) in [
        (
            ServerMessage::Welcome(Welcome {
                session: "s".to_owned(),
                node: "n".to_owned(),
                ping_interval_ms: 25_000,
                server_time: at,
                reconnect: ReconnectHint::default(),
            }),
            r#"{"type":"welcome","session":"s","node":"n","ping_interval_ms":25000,"server_time":"2026-02-20T10:00:00.000000Z","reconnect":{"spread_ms":1000,"max_ms":30000}}"#.to_owned(),
        ),
        (
            ServerMessage::Notification(Notification {
                id,
                created_at: at,
                accepted_at: at,
                priority: Priority::Normal,
                category: None,
                title: Some("é\"".to_owned()),
                body: None,
                data: RawValue::from_string(r#"{"n":1.10,"n":2}"#.to_owned()).unwrap(),
                topic: None,
                collapse_key: None,
            }),
            format!(r#"{{"type":"notification","id":"{id}","created_at":"2026-02-20T10:00:00.000000Z","accepted_at":"2026-02-20T10:00:00.000000Z","priority":"normal","category":null,"title":"é\"","body":null,"data":{{"n":1.10,"n":2}},"topic":null,"collapse_key":null}}"#),
        ),
        (ServerMessage::Dismiss { ids: vec![id] }, format!(r#"{{"type":"dismiss","ids":["{id}"]}}"#)),
        (ServerMessage::Gap { since: at }, r#"{"type":"gap","since":"2026-02-20T10:00:00.000000Z"}"#.to_owned()),
        (ServerMessage::Reconnect { after_ms: 7 }, r#"{"type":"reconnect","after_ms":7}"#.to_owned()),
        (
            ServerMessage::Subscribed { topics: vec!["t".to_owned()] },
            r#"{"type":"subscribed","topics":["t"]}"#.to_owned(),
        ),
        (ServerMessage::Pong { t: 1 }, r#"{"type":"pong","t":1}"#.to_owned()),
        (
            ServerMessage::Error { code: "busy".to_owned(), message: "m".to_owned(), retry_after_ms: None },
            r#"{"type":"error","code":"busy","message":"m","retry_after_ms":null}"#.to_owned(),
        ),
        (
            ServerMessage::SyncBatch(SyncBatch {
                notifications: vec![empty_object()],
                cursor: "c".to_owned(),
                has_more: false,
            }),
            r#"{"type":"sync_batch","notifications":[{}],"cursor":"c","has_more":false}"#.to_owned(),
        ),
    ] {
        assert_eq!(message.to_json(), text);
        assert_eq!(ServerMessage::parse(&text).unwrap().to_json(), text, "read and said again");
        let read: ServerMessage = serde_json::from_str(&text).unwrap();
        assert_eq!(read.to_json(), text, "read by serde and said again");
    }
}

#[test]
fn a_client_ignores_a_newer_server_s_types_and_fields() {
    let code = |text: &str| ServerMessage::parse(text).map_err(|bad| bad.code()).map(|said| said.to_json());
    assert_eq!(code(r#"{"type":"party"}"#), Err("unknown_type"));
    assert_eq!(code(r#"{"type":"gap"}"#), Err("bad_field"));
    assert_eq!(code("gap"), Err("bad_json"));
    assert_eq!(code(r#"{"t":2,"hat":[],"type":"pong"}"#).as_deref(), Ok(r#"{"type":"pong","t":2}"#));
}

#[test]
fn priorities_are_ordered_by_urgency_and_named_as_they_are_written() {
    assert!(Priority::ALL.is_sorted());
    for priority in Priority::ALL {
        assert_eq!(serde_json::to_string(&priority).unwrap(), format!("\"{}\"", priority.name()));
    }
}

fn messages() -> impl Strategy<Value = ClientMessage> {
    let ids = || prop::collection::vec(any::<u128>().prop_map(Uuid::from_u128), 0..5);
    let topics = || prop::collection::vec("\\PC{1,20}", 0..5);
    // The years that RFC 3339 can write.
    let wall = (-62_135_596_800_000_000..=253_402_300_799_999_999_i64).prop_map(Wall);
    prop_oneof![
        prop::option::of("\\PC{0,20}").prop_map(|device| ClientMessage::Hello { device }),
        (prop::option::of(wall), prop::option::of("\\PC{0,20}"), any::<Option<u16>>()).prop_map(
            |(last_seen_at, cursor, limit)| {
                ClientMessage::Sync(SyncRequest { last_seen_at, cursor, limit: limit.map(usize::from) })
            }
        ),
        ids().prop_map(|ids| ClientMessage::Ack { ids }),
        ids().prop_map(|ids| ClientMessage::Read { ids }),
        topics().prop_map(|topics| ClientMessage::Subscribe { topics }),
        topics().prop_map(|topics| ClientMessage::Unsubscribe { topics }),
        any::<i64>().prop_map(|t| ClientMessage::Ping { t }),
    ]
}

proptest! {
    #[test]
    fn every_client_message_comes_back(message in messages()) {
        let text = serde_json::to_string(&message).unwrap();
        prop_assert_eq!(ClientMessage::parse(&text), Ok(message));
    }

    #[test]
    fn a_spoiled_message_is_a_message_or_an_error(
        message in messages(), at in any::<prop::sample::Index>(), with in "\\PC{0,3}", cut in 0..4_usize,
    ) {
        let mut text: Vec<char> = serde_json::to_string(&message).unwrap().chars().collect();
        let at = at.index(text.len());
        let end = (at + cut).min(text.len());
        text.splice(at..end, with.chars());
        let text: String = text.into_iter().collect();
        if let Err(why) = ClientMessage::parse(&text) {
            prop_assert!(["bad_json", "unknown_type", "bad_field", "too_many"].contains(&why.code()));
        }
    }
}
