//! Only who proves who they are comes in, only from pages that may, and only as long as the proof is good.

use serde_json::json;
use tests::client::{Connect, Event};
use tests::deadline::{PATIENCE, unix_seconds};
use tests::jwt;
use tests::setup::TOKEN_SECRET;
use tests::{Setup, Tocsin};

use std::sync::OnceLock;

use crate::support::{expect_id, shared, to_user};

fn guarded() -> &'static Tocsin {
    static GUARDED: OnceLock<Tocsin> = OnceLock::new();
    GUARDED.get_or_init(|| Setup::standalone().with_tokens().start())
}

#[test]
fn a_token_names_the_user_in_a_header_or_a_subprotocol() {
    let tocsin = guarded();
    let token = tocsin.setup.token("auth-ada");
    let connects = [
        Connect::default().bearer(&token),
        Connect::default().protocol("tocsin.v1").protocol(&format!("bearer.{token}")),
    ];
    for (i, connect) in connects.iter().enumerate() {
        let mut client = connect.to(tocsin.clients()).unwrap_or_else(|refused| panic!("{i}: {refused:?}"));
        assert!(!client.protocol.clone().unwrap_or_default().contains("bearer"), "a token is never echoed");
        let id = tocsin.api().accepted(&to_user("auth-ada", "to me"));
        expect_id(&mut client, &id);
    }
}

#[test]
fn every_bad_token_is_401() {
    let tocsin = guarded();
    let now = unix_seconds();
    let good = tocsin.setup.token("ada");
    let (head, tail) = good.split_at(good.len() - 4);
    let flipped = format!("{head}{}", tail.chars().rev().collect::<String>());
    let bad = [
        String::new(),
        "x".to_owned(),
        "a.b.c".to_owned(),
        flipped,
        jwt::unsecured(&jwt::claims("ada", 60)),
        jwt::hs256("another secret of at least thirty-two bytes", &jwt::claims("ada", 60)),
        jwt::hs256(TOKEN_SECRET, &jwt::claims("ada", -60)),
        jwt::hs256(TOKEN_SECRET, &json!({ "sub": "ada" })),
        jwt::hs256(TOKEN_SECRET, &json!({ "exp": now + 60 })),
        jwt::hs256(TOKEN_SECRET, &json!({ "sub": "", "exp": now + 60 })),
        jwt::hs256(TOKEN_SECRET, &json!({ "sub": "ada", "exp": now + 60, "aud": "somebody else" })),
        jwt::hs256(TOKEN_SECRET, &json!({ "sub": "ada", "exp": now + 60, "nbf": now + 3_000 })),
        jwt::hs256(TOKEN_SECRET, &json!({ "sub": "ada", "exp": "tomorrow" })),
    ];
    for token in bad {
        let refused = Connect::default().bearer(&token).to(tocsin.clients()).expect_err(&token);
        assert_eq!(refused.status(), 401, "{token}: {refused:?}");
    }
}

#[test]
fn without_a_proof_nobody_comes_in() {
    let tocsin = guarded();
    for connect in [Connect::default(), Connect::default().query("user", "ada")] {
        assert_eq!(connect.to(tocsin.clients()).expect_err("no proof").status(), 401);
    }
    let events = tests::sse::Sse::open(tocsin.clients(), "/v1/events?user=ada", &[]);
    assert_eq!(events.status, 401);
    let said = tocsin.door().send("POST", "/v1/messages?user=ada", &json!({ "type": "sync" }));
    assert_eq!(said.status, 401);
}

#[test]
fn a_connection_ends_when_its_token_does() {
    let tocsin = guarded();
    let token = jwt::hs256(TOKEN_SECRET, &jwt::claims("brief", 2));
    let mut client = Connect::default().bearer(&token).to(tocsin.clients()).expect("still good");
    assert_eq!(client.closed(PATIENCE).0, 4401);
}

#[test]
fn tokens_of_one_user_bring_only_that_user() {
    let tocsin = guarded();
    let connect = Connect::default().bearer(&tocsin.setup.token("ben")).query("user", "ada");
    let mut client = connect.to(tocsin.clients()).expect("ben's token is good");
    tocsin.api().accepted(&to_user("ada", "not for ben"));
    let id = tocsin.api().accepted(&to_user("ben", "for ben"));
    expect_id(&mut client, &id);
}

#[test]
fn only_pages_of_the_list_may_connect() {
    let tocsin = Setup::standalone()
        .set("gateway.auth.allowed_origins", vec!["https://app.example", "http://localhost:3000"])
        .start();
    let connect =
        |origin: &str| Connect::default().query("user", "ada").header("origin", origin).to(tocsin.clients());
    for good in
        ["https://app.example", "https://APP.example", "https://app.example:443", "http://localhost:3000"]
    {
        assert!(connect(good).is_ok(), "{good}");
    }
    for bad in [
        "https://app.example.evil.test",
        "https://evil-app.example",
        "http://app.example",
        "https://app.example:8443",
        "null",
        "https://sub.app.example",
        "https://app.example@evil.test",
        "https://app.examp1e",
        "http://localhost",
        "http://localhost:30000",
        "file://",
        "https://app.example/",
        "https://аpp.example",
        "*",
    ] {
        let status = match connect(bad) {
            Ok(_) => 101,
            Err(refused) => refused.status(),
        };
        // What is no ASCII is no header either.
        assert!(status == 403 || !bad.is_ascii() && status == 400, "{bad}: {status}");
    }
    let doubled = Connect::default().query("user", "ada");
    let doubled = doubled.header("origin", "https://app.example").header("origin", "https://evil.test");
    assert!(doubled.to(tocsin.clients()).is_err_and(|refused| [400, 403].contains(&refused.status())));
    assert!(Connect::default().query("user", "ada").to(tocsin.clients()).is_ok(), "programs send none");
}

#[test]
fn a_user_s_name_is_taken_as_it_stands() {
    let tocsin = shared();
    for name in ["Ünïcode-☃", "with space", "a/b?c=d&e", "100%"] {
        let mut client = tocsin.connect(name);
        let id = tocsin.api().accepted(&to_user(name, "x"));
        expect_id(&mut client, &id);
    }
    let long = "x".repeat(257);
    for bad in ["", &long] {
        let refused = tocsin.as_user(bad).to(tocsin.clients());
        assert!(refused.is_err_and(|refused| [400, 401].contains(&refused.status())), "{bad:?}");
    }
    let mut client = tocsin.connect("auth-calm");
    assert_eq!(client.event(std::time::Duration::from_millis(1)), Event::Nothing);
}
