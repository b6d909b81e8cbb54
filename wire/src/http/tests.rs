use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::limits::HEADER_BYTES_MAX;

fn request(head: &str) -> Result<Option<RequestHead<'_>>, BadRequest> {
    parse_request(head.as_bytes())
}

fn refused(head: &[u8]) -> Option<u16> {
    parse_request(head).err().map(|bad| bad.status)
}

/// A handshake with these further header lines.
fn handshake(lines: &str) -> String {
    format!(
        "GET /v1/connect?user=ann HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{lines}\r\n"
    )
}

#[test]
fn a_head_is_read_and_its_body_left() {
    let input = "POST /v1/messages?device=d%201&user=a+b HTTP/1.1\r\nHOST: h:1\r\ncontent-LENGTH: 4\r\n\
                 Accept: a, b\r\nAccept: c\r\nExpect: 100-continue\r\n\r\nbody";
    let head = request(input).unwrap().unwrap();
    assert_eq!((head.method, head.path, head.minor_version), ("POST", "/v1/messages", 1));
    assert_eq!(&input[head.head_bytes..], "body");
    assert_eq!(head.header("Host"), Some("h:1"));
    assert_eq!(head.body_bytes(4), Ok(4));
    assert_eq!(head.body_bytes(3).unwrap_err().status, 413);
    assert_eq!(head.query_value("device").unwrap().as_deref(), Some("d 1"));
    assert_eq!(head.query_value("user").unwrap().as_deref(), Some("a b"));
    assert_eq!(head.query_value("ticket"), Ok(None));
    assert!(head.header_members("accept").eq(["a", "b", "c"]));
    assert!(head.expects_continue());
}

#[test]
fn every_form_of_target_leads_to_a_path() {
    for (target, path, query) in [
        ("/", "/", ""),
        ("/a/b?c=d?e", "/a/b", "c=d?e"),
        ("http://h:1/a?b", "/a", "b"),
        ("HTTPS://h", "/", ""),
        ("http://h?b=c", "/", "b=c"),
        ("/a?u=http://b/c", "/a", "u=http://b/c"),
    ] {
        let input = format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n");
        let head = request(&input).unwrap().unwrap();
        assert_eq!((head.path, head.query), (path, query), "{target}");
    }
    assert_eq!(request("OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n").unwrap().unwrap().path, "*");
    for target in ["*", "a", "/a#b", "ftp://h/a", "h:1", "/\u{e9}", "?a"] {
        assert_eq!(
            refused(format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes()),
            Some(400),
            "{target}"
        );
    }
}

#[test]
fn a_health_check_in_http_1_0_needs_no_host() {
    assert_eq!(request("GET /healthz HTTP/1.0\r\n\r\n").unwrap().unwrap().minor_version, 0);
}

#[test]
fn what_two_parsers_could_read_differently_is_refused() {
    let cases: [(&str, u16); 22] = [
        ("Content-Length: 1\r\nContent-Length: 1\r\n", 400),
        ("Content-Length: 1\r\ncontent-length: 2\r\n", 400),
        ("Content-Length: +1\r\n", 400),
        ("Content-Length: -1\r\n", 400),
        ("Content-Length: 1, 1\r\n", 400),
        ("Content-Length: 0x10\r\n", 400),
        ("Content-Length:\r\n", 400),
        ("Content-Length: 99999999999999999999\r\n", 400),
        ("Transfer-Encoding: chunked\r\n", 501),
        ("Transfer-Encoding: identity\r\n", 501),
        ("Transfer-Encoding: chunked\r\nContent-Length: 1\r\n", 400),
        ("Transfer-Encoding : chunked\r\n", 400),
        ("Host: other\r\n", 400),
        ("Origin: a\r\nOrigin: b\r\n", 400),
        ("Authorization: Bearer a\r\nauthorization: Bearer b\r\n", 400),
        ("Origin: \u{e9}\r\n", 400),
        ("X: a\r\n b\r\n", 400),
        ("X: a\rb\r\n", 400),
        ("X: a\nY: b\r\n", 400),
        ("X: a\0\r\n", 400),
        (": a\r\n", 400),
        ("X Y: a\r\n", 400),
    ];
    for (lines, status) in cases {
        let head = format!("GET / HTTP/1.1\r\nHost: h\r\n{lines}\r\n");
        assert_eq!(refused(head.as_bytes()), Some(status), "{lines:?}");
    }
    assert_eq!(refused(b"GET / HTTP/1.1\r\n\r\n"), Some(400), "no Host");
    assert_eq!(refused(b"GET / HTTP/2.0\r\nHost: h\r\n\r\n"), Some(505));
}

#[test]
fn what_is_not_http_is_refused_on_its_first_bytes() {
    for start in [&b"\x16"[..], b"\r", b"\0", b" ", b"get", b"G\x01", b"PROXY_TCP4", b"ABCDEFGHIJKLMNOPQRST"]
    {
        assert_eq!(refused(start), Some(400), "{start:?}");
    }
    assert!(matches!(parse_request(b""), Ok(None)));
    assert!(matches!(parse_request(b"GE"), Ok(None)));
}

#[test]
fn heads_are_bounded() {
    let fits = |bytes: usize| {
        let fixed = "GET / HTTP/1.1\r\nHost: h\r\nX: \r\n\r\n".len();
        format!("GET / HTTP/1.1\r\nHost: h\r\nX: {}\r\n\r\n", "x".repeat(bytes - fixed))
    };
    assert!(request(&fits(HEADER_BYTES_MAX)).unwrap().is_some());
    assert_eq!(refused(fits(HEADER_BYTES_MAX + 1).as_bytes()), Some(431));
    let unfinished = &fits(HEADER_BYTES_MAX + 1).into_bytes()[..HEADER_BYTES_MAX - 1];
    assert!(matches!(parse_request(unfinished), Ok(None)));
    assert_eq!(refused(format!("GET /{}", "a".repeat(HEADER_BYTES_MAX)).as_bytes()), Some(414));
    let many = |count: usize| format!("GET / HTTP/1.1\r\nHost: h\r\n{}\r\n", "X: y\r\n".repeat(count));
    assert!(request(&many(crate::limits::HEADERS_MAX - 1)).unwrap().is_some());
    assert_eq!(refused(many(crate::limits::HEADERS_MAX).as_bytes()), Some(431));
}

#[test]
fn a_query_that_says_two_things_says_nothing() {
    for query in
        ["user=a&user=b", "user=a&us%65r=b", "user=%", "user=%4", "user=%zz", "user=%ff", "user&user"]
    {
        let input = format!("GET /?{query} HTTP/1.1\r\nHost: h\r\n\r\n");
        let head = request(&input).unwrap().unwrap();
        assert_eq!(head.query_value("user").map_err(|bad| bad.status), Err(400), "{query}");
        assert_eq!(head.query_value("other"), Ok(None), "{query}");
    }
}

#[test]
fn a_body_s_length_is_known_or_asked_for() {
    let head = request("POST / HTTP/1.1\r\nHost: h\r\n\r\n").unwrap().unwrap();
    assert_eq!(head.body_bytes(10).unwrap_err().status, 411);
    let head = request("GET / HTTP/1.1\r\nHost: h\r\n\r\n").unwrap().unwrap();
    assert_eq!(head.body_bytes(10), Ok(0));
}

#[test]
fn the_bearer_of_an_authorization() {
    for (value, token) in [
        ("Bearer a.b.c", Some("a.b.c")),
        ("bearer  x ", Some("x")),
        ("Bearer", None),
        ("Bearer  ", None),
        ("Basic abc", None),
    ] {
        let input = format!("GET / HTTP/1.1\r\nHost: h\r\nAuthorization: {value}\r\n\r\n");
        assert_eq!(request(&input).unwrap().unwrap().bearer(), token, "{value}");
    }
}

/// The key and the answer of RFC 6455 §1.3.
#[test]
fn the_rfc_s_handshake_is_answered() {
    let input = handshake("Sec-WebSocket-Protocol: chat, tocsin.v1\r\nOrigin: http://example.com\r\n");
    let upgrade = request(&input).unwrap().unwrap().upgrade().unwrap();
    assert_eq!(upgrade.accept_key, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    assert_eq!(
        str::from_utf8(&upgrade.response(&[("X-Node", "n1")])).unwrap(),
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: tocsin.v1\r\n\
         X-Node: n1\r\n\r\n"
    );
}

#[test]
fn the_subprotocol_is_ours_or_none_and_a_token_is_never_echoed() {
    use Protocol::{V1, V1Browser};
    for (offered, protocol, bearer) in [
        ("", None, None),
        ("Sec-WebSocket-Protocol: tocsin.v1\r\n", Some(V1), None),
        ("Sec-WebSocket-Protocol: tocsin.v1, tocsin.v1.browser\r\n", Some(V1Browser), None),
        ("Sec-WebSocket-Protocol: tocsin.v1.browser,bearer.a.b.c\r\n", Some(V1Browser), Some("a.b.c")),
        ("Sec-WebSocket-Protocol: bearer.x\r\nSec-WebSocket-Protocol: tocsin.v1\r\n", Some(V1), Some("x")),
        ("Sec-WebSocket-Protocol: chat, superchat\r\n", None, None),
        ("Sec-WebSocket-Protocol: TOCSIN.V1\r\n", None, None),
    ] {
        let input = handshake(offered);
        let upgrade = request(&input).unwrap().unwrap().upgrade().unwrap();
        assert_eq!((upgrade.protocol, upgrade.bearer), (protocol, bearer), "{offered}");
        let answer = upgrade.response(&[]);
        assert!(memchr::memmem::find(&answer, b"bearer").is_none());
        assert_eq!(memchr::memmem::find(&answer, b"Protocol:").is_some(), protocol.is_some());
    }
    let two = handshake("Sec-WebSocket-Protocol: bearer.a, bearer.b\r\n");
    assert_eq!(request(&two).unwrap().unwrap().upgrade(), Err(NotUpgrade::Bearers));
}

#[test]
fn a_handshake_that_is_none_gets_the_right_status() {
    let whole = handshake("");
    for (from, to, status) in [
        ("GET", "POST", 405),
        ("Upgrade: websocket\r\n", "", 426),
        ("Upgrade: websocket", "Upgrade: h2c", 426),
        ("keep-alive, Upgrade", "keep-alive", 426),
        ("HTTP/1.1", "HTTP/1.0", 400),
        ("Version: 13", "Version: 8", 426),
        ("Version: 13", "Version: 13, 8", 426),
        ("Sec-WebSocket-Version: 13\r\n", "", 426),
        ("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", "", 400),
        ("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZQ", 400),
        ("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25j", 400),
        ("dGhlIHNhbXBsZSBub25jZQ==", "not base64 at all!!!!!!!", 400),
    ] {
        let input = whole.replace(from, to);
        let fault = request(&input).unwrap().unwrap().upgrade().expect_err(to);
        assert_eq!(fault.status(), status, "{from} → {to}: {fault}");
        let answer = fault.response();
        let head = parse_response(&answer).unwrap().unwrap();
        assert_eq!(head.status, status);
        assert_eq!(head.header("sec-websocket-version"), (status == 426).then_some("13"));
        assert_eq!(head.header("allow"), (status == 405).then_some("GET"));
    }
    let insensitive =
        whole.replace("Upgrade: websocket", "UPGRADE: WebSocket").replace(", Upgrade", ",upgrade");
    assert!(request(&insensitive).unwrap().unwrap().upgrade().is_ok());
}

#[test]
fn no_value_can_forge_a_header() {
    let answer = response(503, &[("Retry-After", "17\r\nX-Forged: 1")], b"{}");
    let head = parse_response(&answer).unwrap().unwrap();
    assert_eq!((head.status, head.content_length(), head.header("x-forged")), (503, Some(2), None));
    assert_eq!(head.header("connection"), Some("close"));
    assert_eq!(&answer[head.head_bytes..], b"{}");
}

#[test]
fn a_head_request_gets_the_head_alone() {
    let whole = response(200, &[], b"\r\n\r\nbody");
    let head = without_body(&whole);
    assert!(head.ends_with(b"Content-Length: 8\r\n\r\n"));
}

#[test]
fn no_content_has_no_length() {
    let answer = response(204, &[], b"");
    assert_eq!(parse_response(&answer).unwrap().unwrap().content_length(), None);
}

fn asked() -> ConnectRequest<'static> {
    ConnectRequest {
        host: "127.0.0.1:8080",
        target: "/v1/connect?user=u1",
        key: *b"0123456789abcdef",
        protocols: &["tocsin.v1", "bearer.t"],
        headers: &[("Origin", "http://here")],
    }
}

#[test]
fn both_ends_of_the_handshake_agree() {
    let sent = asked().encode();
    let head = parse_request(&sent).unwrap().unwrap();
    assert_eq!((head.path, head.header("origin")), ("/v1/connect", Some("http://here")));
    let upgrade = head.upgrade().unwrap();
    assert_eq!((upgrade.protocol, upgrade.bearer), (Some(Protocol::V1), Some("t")));
    let answer = [&upgrade.response(&[])[..], b"\x81\x00"].concat();
    let head = parse_response(&answer).unwrap().unwrap();
    assert_eq!(head.check_upgrade(&asked()), Ok(Some("tocsin.v1")));
    assert_eq!(&answer[head.head_bytes..], b"\x81\x00");
}

#[test]
fn a_client_trusts_no_answer_but_its_own() {
    let sent = asked().encode();
    let good = parse_request(&sent).unwrap().unwrap().upgrade().unwrap().response(&[]);
    let good = str::from_utf8(&good).unwrap();
    for (from, to, fault) in [
        ("Accept: ", "Accept: x", RefusedUpgrade::AcceptKey),
        ("Upgrade: websocket", "Upgrade: h2c", RefusedUpgrade::NotWebSocket),
        ("Connection: Upgrade", "Connection: close", RefusedUpgrade::NotWebSocket),
        ("Protocol: tocsin.v1", "Protocol: chat", RefusedUpgrade::NotOffered),
        ("\r\n\r\n", "\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n", RefusedUpgrade::NotOffered),
        ("101", "200", RefusedUpgrade::Status { status: 200, retry_after: None }),
    ] {
        let answer = good.replace(from, to);
        let head = parse_response(answer.as_bytes()).unwrap().unwrap();
        assert_eq!(head.check_upgrade(&asked()), Err(fault), "{to}");
    }
}

#[test]
fn a_refusal_says_when_to_come_back() {
    let answer = json_response(503, &[("Retry-After", "17")], r#"{"error":"over_capacity"}"#);
    for cut in 0..answer.len() - 25 {
        assert!(matches!(parse_response(&answer[..cut]), Ok(None)), "{cut}");
    }
    let refused = RefusedUpgrade::Status { status: 503, retry_after: Some(Duration::from_secs(17)) };
    assert_eq!(parse_response(&answer).unwrap().unwrap().check_upgrade(&asked()), Err(refused));
    let dated = response(503, &[("Retry-After", "Fri, 20 Feb 2026 10:00:00 GMT")], b"");
    assert_eq!(parse_response(&dated).unwrap().unwrap().retry_after(), None);
}

proptest! {
    #[test]
    fn a_head_is_the_same_however_it_comes(cut in any::<prop::sample::Index>(), body in "[ -~\r\n]{0,40}") {
        let input = handshake("Sec-WebSocket-Protocol: tocsin.v1\r\n");
        let head_bytes = input.len();
        let input = input + &body;
        let cut = cut.index(head_bytes);
        prop_assert!(matches!(request(&input[..cut]), Ok(None)));
        prop_assert_eq!(request(&input).unwrap().unwrap().head_bytes, head_bytes);
    }

    #[test]
    fn any_bytes_are_a_head_or_an_error_and_never_a_panic(
        start in prop::sample::select(vec!["", "GET / HTTP/1.1\r\n", "GET /?", "GET / HTTP/1.1\r\nHost: h\r\n"]),
        noise in prop::collection::vec(prop_oneof![any::<u8>(), prop::sample::select(b"\r\n:%&=? /".to_vec())], 0..120),
        end in prop::sample::select(vec!["", "\r\n\r\n", " HTTP/1.1\r\nHost: h\r\n\r\n"]),
    ) {
        let input = [start.as_bytes(), &noise, end.as_bytes()].concat();
        if let Ok(Some(head)) = parse_request(&input) {
            prop_assert!(head.head_bytes <= input.len());
            let _either = (head.upgrade(), head.query_value("user"), head.body_bytes(10), head.bearer());
        }
        let _either = parse_response(&input);
    }
}
