//! Promise: a foreign record becomes exactly the request that the configuration says, or a dead letter with a reason
//! that a person understands.

use std::time::Duration;

use router::config::SourceSection;
use router::ids;
use router::journal::import::{Foreign, SOURCE_BYTES_MAX, Source, SourceError};
use router::record::{Channel, Target};
use wire::message::Priority;
use wire::time::Wall;

const NOW: Wall = Wall(1_700_000_000_000_000);

fn section(fields: &[(&str, &str)]) -> SourceSection {
    SourceSection {
        topic: Some("orders".to_owned()),
        service: "shop".to_owned(),
        fields: fields.iter().map(|(field, value)| ((*field).to_owned(), (*value).to_owned())).collect(),
        ..SourceSection::default()
    }
}

fn source(fields: &[(&str, &str)]) -> Source {
    Source::new(&section(fields)).expect("a good source")
}

fn foreign<'a>(value: &'a [u8], headers: &'a [(&'a str, &'a [u8])]) -> Foreign<'a> {
    Foreign { topic: "orders", partition: 3, offset: 42, headers, value: Some(value) }
}

fn orders() -> Source {
    source(&[
        ("user", "/actor/id"),
        ("title", "/event"),
        ("body", "/text"),
        ("data", "/extra"),
        ("priority", "/urgency"),
        ("ttl_s", "/ttl"),
        ("send_at", "/when"),
        ("collapse_key", "/order"),
        ("channels", "=inapp,push"),
        ("category", "=orders"),
    ])
}

#[test]
fn every_field_finds_its_place() {
    let value = br#"{"actor":{"id":"u1"},"event":"Paid","text":"Thanks","extra":{"n":1.50,"l":[1]},
        "urgency":"HIGH","ttl":60,"order":17,"unknown":{"a":1}}"#;
    let draft = orders().map(&foreign(value, &[]), NOW).expect("it is understood");
    assert_eq!(draft.id, ids::for_source("orders", 3, 42));
    assert_eq!((draft.service.as_str(), draft.accepted_at), ("shop", NOW));
    let request = draft.request;
    assert_eq!(request.to, Target::User("u1".to_owned()));
    assert_eq!(request.priority, Priority::High);
    assert_eq!((request.title.as_deref(), request.body.as_deref()), (Some("Paid"), Some("Thanks")));
    assert_eq!((request.category.as_deref(), request.collapse_key.as_deref()), (Some("orders"), Some("17")));
    assert_eq!(request.ttl_s, Some(60));
    assert_eq!(request.channels, [Channel::Inapp, Channel::Push]);
    let data: serde_json::Value = serde_json::from_str(request.data.expect("data").get()).expect("JSON");
    assert_eq!(data, serde_json::json!({"n": 1.5, "l": [1]}));
}

#[test]
fn a_moment_is_taken_as_the_api_takes_it() {
    let map = |when: Wall| {
        let value = format!(r#"{{"actor":{{"id":"u"}},"when":"{when}"}}"#);
        orders().map(&foreign(value.as_bytes(), &[]), NOW)
    };
    let (past, soon) = (NOW - Duration::from_secs(9), NOW + Duration::from_secs(9));
    assert_eq!(map(past).expect("it is understood").request.send_at, Some(past));
    assert_eq!(map(soon).expect("it is understood").request.send_at, Some(soon));
    let reason = map(NOW + Duration::from_secs(366 * 24 * 3_600)).expect_err("too far ahead");
    assert!(reason.starts_with("/send_at:"), "{reason}");
}

#[test]
fn what_is_missing_or_null_is_left_out() {
    for value in
        [&br#"{"actor":{"id":"u"}}"#[..], br#"{"actor":{"id":"u"},"event":null,"text":null,"ttl":null}"#]
    {
        let request = orders().map(&foreign(value, &[]), NOW).expect("it is understood").request;
        assert_eq!((request.title, request.ttl_s, request.priority), (None, None, Priority::Normal));
    }
}

#[test]
fn a_number_as_a_user_is_taken_as_its_digits() {
    for (json, user) in
        [("7", "7"), ("-7", "-7"), ("18446744073709551615", "18446744073709551615"), ("\"07\"", "07")]
    {
        let value = format!(r#"{{"actor":{{"id":{json}}}}}"#);
        let draft = orders().map(&foreign(value.as_bytes(), &[]), NOW).expect("it is understood");
        assert_eq!(draft.request.to, Target::User(user.to_owned()));
    }
}

#[test]
fn the_records_own_id_is_the_services_idempotency_key() {
    let source = source(&[("user", "/u"), ("id", "/id")]);
    let with = |value: &[u8]| source.map(&foreign(value, &[]), NOW).expect("it is understood").id;
    assert_eq!(with(br#"{"u":"a","id":"k-1"}"#), ids::for_key("shop", "k-1"));
    assert_eq!(with(br#"{"u":"a","id":9}"#), ids::for_key("shop", "9"));
    assert_eq!(with(br#"{"u":"a"}"#), ids::for_source("orders", 3, 42), "without one, the place is the id");
}

#[test]
fn headers_and_constants_fill_in_where_the_document_says_nothing() {
    let mut section = section(&[("user", "/u"), ("title", "/t")]);
    section.headers.insert("title".to_owned(), "x-title".to_owned());
    section.headers.insert("priority".to_owned(), "x-urgency".to_owned());
    section.priority = Some(Priority::Low);
    let source = Source::new(&section).expect("a good source");
    let headers = [("x-title", &b"first"[..]), ("x-urgency", b"critical"), ("x-title", b"last")];
    let request = source.map(&foreign(br#"{"u":"a"}"#, &headers), NOW).expect("it is understood").request;
    assert_eq!((request.title.as_deref(), request.priority), (Some("last"), Priority::Critical));
    let request =
        source.map(&foreign(br#"{"u":"a","t":"own"}"#, &[]), NOW).expect("it is understood").request;
    assert_eq!((request.title.as_deref(), request.priority), (Some("own"), Priority::Low));
    let bad = [("x-title", &b"\xff"[..])];
    let reason = source.map(&foreign(br#"{"u":"a"}"#, &bad), NOW).expect_err("not UTF-8");
    assert!(reason.contains("x-title"), "{reason}");
}

#[test]
fn lists_topics_and_everyone_can_be_meant() {
    let to = |field: &str, value: &[u8]| {
        let place = if field == "all" { "=true" } else { "/to" };
        source(&[(field, place)]).map(&foreign(value, &[]), NOW).expect("it is understood").request.to
    };
    let users = Target::Users(vec!["a".to_owned(), "2".to_owned()]);
    assert_eq!(to("users", br#"{"to":["a",2,"a"]}"#), users);
    assert_eq!(to("topic", br#"{"to":"news"}"#), Target::Topic("news".to_owned()));
    assert_eq!(to("all", b"{}"), Target::All(true));
}

#[test]
fn pointers_follow_rfc_6901() {
    let value = br#"{"a/b":{"~":[10,{"":"deep"}]}}"#;
    let draft = source(&[("user", "/a~1b/~0/1/"), ("data", "")]).map(&foreign(value, &[]), NOW);
    let draft = draft.expect("it is understood");
    assert_eq!(draft.request.to, Target::User("deep".to_owned()));
    assert!(draft.request.data.is_some(), "the empty pointer is the whole document");
}

#[test]
fn the_schema_tocsin_takes_requests_of_the_api() {
    let section = SourceSection {
        topic: Some("orders".to_owned()),
        service: "shop".to_owned(),
        schema: Some("tocsin".to_owned()),
        ..SourceSection::default()
    };
    let source = Source::new(&section).expect("a good source");
    let value = br#"{"to":{"user":"u"},"title":"t","priority":"critical","idempotency_key":"k"}"#;
    let draft = source.map(&foreign(value, &[]), NOW).expect("it is understood");
    assert_eq!(draft.id, ids::for_key("shop", "k"));
    assert_eq!(draft.request.priority, Priority::Critical);
    for bad in [&b"{}"[..], b"[]", b"", br#"{"to":{"user":"u"},"titel":"t"}"#] {
        source.map(&foreign(bad, &[]), NOW).expect_err("no request");
    }
}

#[test]
fn hostile_records_are_refused_with_a_reason_and_nothing_else() {
    let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    let deep_data =
        format!(r#"{{"actor":{{"id":"u"}},"extra":{{"a":{}1{}}}}}"#, "[".repeat(100), "]".repeat(100));
    let huge = vec![b'x'; SOURCE_BYTES_MAX + 1];
    let long_user = format!(r#"{{"actor":{{"id":"{}"}}}}"#, "u".repeat(300));
    let long_title = format!(r#"{{"actor":{{"id":"u"}},"event":"{}"}}"#, "t".repeat(100_000));
    let cases: Vec<(&str, &[u8])> = vec![
        ("nothing", b""),
        ("no JSON", b"hello"),
        ("cut JSON", br#"{"actor":{"id":"u""#),
        ("two documents", br#"{"actor":{"id":"u"}}{}"#),
        ("invalid UTF-8", b"{\"actor\":{\"id\":\"\xff\xfe\"}}"),
        ("half a surrogate", br#"{"actor":{"id":"\ud800"}}"#),
        ("deep", deep.as_bytes()),
        ("deep data", deep_data.as_bytes()),
        ("huge", &huge),
        ("no user", br#"{"event":"x"}"#),
        ("null user", br#"{"actor":{"id":null}}"#),
        ("no object", b"[1,2,3]"),
        ("a scalar", b"7"),
        ("a user of the wrong type", br#"{"actor":{"id":{"a":1}}}"#),
        ("a boolean user", br#"{"actor":{"id":true}}"#),
        ("a fraction as user", br#"{"actor":{"id":1.5}}"#),
        ("a huge number as user", br#"{"actor":{"id":1e300}}"#),
        ("a list as user", br#"{"actor":{"id":["u"]}}"#),
        ("an empty user", br#"{"actor":{"id":""}}"#),
        ("a control character in a user", br#"{"actor":{"id":"a\u0000b"}}"#),
        ("a long user", long_user.as_bytes()),
        ("a long title", long_title.as_bytes()),
        ("an unknown priority", br#"{"actor":{"id":"u"},"urgency":"asap"}"#),
        ("a negative ttl", br#"{"actor":{"id":"u"},"ttl":-5}"#),
        ("a fraction as ttl", br#"{"actor":{"id":"u"},"ttl":1.5}"#),
        ("a text as ttl", br#"{"actor":{"id":"u"},"ttl":"soon"}"#),
        ("data that is a list", br#"{"actor":{"id":"u"},"extra":[1]}"#),
        ("a title that is an object", br#"{"actor":{"id":"u"},"event":{}}"#),
    ];
    let source = orders();
    for (name, value) in cases {
        let reason = source.map(&foreign(value, &[]), NOW).expect_err(name);
        assert!(!reason.is_empty() && reason.chars().count() <= 300, "{name}: {reason}");
    }
    let tombstone = Foreign { value: None, ..foreign(b"", &[]) };
    assert!(source.map(&tombstone, NOW).expect_err("a tombstone").contains("no value"));
    let reason = source.map(&foreign(br#"{"actor":{"id":true}}"#, &[]), NOW).expect_err("no text");
    assert_eq!(reason, "user: a boolean where a text belongs");
}

#[test]
fn any_cut_and_any_flipped_bit_is_a_draft_or_a_reason() {
    let whole = br#"{"actor":{"id":"u1"},"event":"Paid","extra":{"n":1},"ttl":60,"urgency":"low"}"#;
    let source = orders();
    for length in 0..whole.len() {
        source.map(&foreign(&whole[..length], &[]), NOW).expect_err("cut JSON is no JSON");
    }
    for bit in 0..whole.len() * 8 {
        let mut hurt = whole.to_vec();
        hurt[bit / 8] ^= 1 << (bit % 8);
        let _ = source.map(&foreign(&hurt, &[]), NOW);
    }
}

#[test]
fn a_pattern_matches_whole_names_only() {
    let pattern = |pattern: &str| {
        let section =
            SourceSection { topic: None, pattern: Some(pattern.to_owned()), ..section(&[("user", "/u")]) };
        Source::new(&section)
    };
    let source = pattern(r"orders\.(eu|us)|audit").expect("a good pattern");
    for (topic, read) in [
        ("orders.eu", true),
        ("audit", true),
        ("orders.eu2", false),
        ("my.orders.eu", false),
        ("ordersxeu", false),
    ] {
        assert_eq!(source.reads(topic), read, "{topic}");
    }
    for bad in ["(", "a)(b", "[z-a]"] {
        let error = pattern(bad).expect_err(bad);
        assert!(matches!(error, SourceError::BadPattern { .. }), "{error}");
    }
}

#[test]
fn a_source_that_cannot_work_is_refused_at_start() {
    let good = || section(&[("user", "/u")]);
    let cases: Vec<(SourceSection, &str)> = vec![
        (SourceSection { topic: None, ..good() }, "topic"),
        (SourceSection { pattern: Some("x".to_owned()), ..good() }, "pattern"),
        (SourceSection { topic: Some("a b".to_owned()), ..good() }, "a b"),
        (SourceSection { service: String::new(), ..good() }, "service"),
        (SourceSection { schema: Some("avro".to_owned()), ..good() }, "schema"),
        (SourceSection { schema: Some("tocsin".to_owned()), ..good() }, "fields"),
        (section(&[]), "who it is for"),
        (section(&[("title", "/t")]), "who it is for"),
        (section(&[("user", "actor.id")]), "actor.id"),
        (section(&[("user", "/a~2")]), "/a~2"),
        (section(&[("user", "/u"), ("titel", "/t")]), "titel"),
    ];
    for (section, word) in cases {
        let error = Source::new(&section).expect_err(word).to_string();
        assert!(error.contains(word) && error.lines().count() == 1, "{error}");
    }
}
