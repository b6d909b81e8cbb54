//! A service with a webhook is told what became of its notifications: signed, in batches, at least once.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::process::Command;
use std::sync::mpsc::Receiver;

use serde_json::{Value, json};
use tests::{Setup, Tocsin, paths, ports, until};

use crate::receiver::{KEY, Message, is_signed, is_signed_by, next, receiver, receiver_on};
use crate::reload::reload;

fn told_to(address: SocketAddr) -> Setup {
    shop(Setup::standalone().with_tokens(), address, KEY)
}

fn shop(setup: Setup, address: SocketAddr, key: &str) -> Setup {
    let dir = tempfile::tempdir().expect("a folder").keep();
    let file = dir.join("webhook.key");
    std::fs::write(&file, key).expect("the key");
    let (url, key) = (format!("http://{address}/hooks/s3cret"), file.display().to_string());
    setup.without("router.service").service("shop", "key-of-the-shop", move |rights| {
        rights.insert("operator".to_owned(), true.into());
        rights.insert("webhook".to_owned(), url.into());
        rights.insert("webhook_key_file".to_owned(), key.into());
    })
}

fn outcomes(message: &Message) -> Vec<Value> {
    assert!(is_signed(message), "{}", message.signature);
    let body: Value = serde_json::from_str(&message.body).expect("JSON");
    assert_eq!((&body["version"], &body["service"]), (&json!("1"), &json!("shop")), "{body}");
    body["outcomes"].as_array().expect("a list").clone()
}

/// Messages until this many different deliveries ended, each with how often it was told.
fn all(messages: &Receiver<Message>, many: usize) -> BTreeMap<(String, String), u32> {
    let mut told = BTreeMap::new();
    while told.len() < many {
        for outcome in outcomes(&next(messages)) {
            let word = |key: &str| outcome[key].as_str().unwrap_or_default().to_owned();
            assert_eq!(word("outcome"), "handed_over", "{outcome}");
            *told.entry((word("id"), word("channel"))).or_insert(0) += 1;
        }
    }
    told
}

fn shown(tocsin: &Tocsin) -> Value {
    tocsin.api().get("/v1/status").expect(200).json()["outcomes"][0].clone()
}

#[test]
fn outcomes_reach_a_receiver_that_fails_at_first_and_each_is_told_once() {
    let (address, messages) = receiver(&[500, 302]);
    let tocsin = told_to(address).start();
    let sms = json!({ "to": { "user": "ada" }, "title": "private words", "channels": ["sms", "email"] });
    let ids: Vec<String> = (0..20).map(|_| tocsin.api().accepted(&sms)).collect();
    let failing = until("the failing receiver is told of", || {
        let shown = tocsin.api().get("/v1/status").expect(200).text;
        let alerts = tocsin.api().get("/v1/alerts").expect(200).text;
        alerts.contains("outcomes_fail").then_some(shown + &alerts)
    });
    assert!(!failing.contains("s3cret"), "{failing}");
    let told = all(&messages, 2 * ids.len());
    assert!(told.values().all(|times| *times == 1), "{told:?}");
    assert!(ids.iter().all(|id| told.contains_key(&(id.clone(), "sms".to_owned()))), "{told:?}");
    let done = until("nothing waits any more", || Some(shown(&tocsin)).filter(|shown| shown["waiting"] == 0));
    assert_eq!(
        (&done["sent"], &done["failing"], &done["dropped"]),
        (&json!(40), &Value::Null, &json!(0)),
        "{done}"
    );
    let page = tocsin.router_admin().get("/metrics").expect(200).text;
    let row = "tocsin_router_outcomes_total{by=\"webhook\",service=\"shop\",what=\"sent\"} 40";
    assert!(page.contains(row), "{row} in {page}");
}

#[test]
fn what_a_killed_router_had_not_told_is_told_by_the_next_one() {
    // Nobody listens at first.
    let address = ports::free();
    let mut tocsin = told_to(address).start();
    let id = tocsin.api().accepted(&json!({ "to": { "user": "ada" }, "title": "t", "channels": ["sms"] }));
    until("it has ended and waits", || (shown(&tocsin)["waiting"] == 1).then_some(()));
    tocsin.gateway().kill_9();
    let messages = receiver_on(TcpListener::bind(address).expect("the port"), &[]);
    tocsin.start_gateway();
    assert!(all(&messages, 1).contains_key(&(id, "sms".to_owned())));
}

#[test]
fn a_reload_points_what_waits_at_the_new_address_with_the_new_key_or_changes_nothing() {
    const NEW_KEY: &str = "another key for signatures";
    const RELOADED: &str = "webhooks, limits";
    let nobody = ports::free();
    let mut tocsin = told_to(nobody).start();
    let send = |tocsin: &Tocsin| {
        let sms = json!({ "to": { "user": "ada" }, "title": "words", "channels": ["sms"] });
        tocsin.api().accepted(&sms)
    };
    let first = send(&tocsin);
    until("the old address fails", || shown(&tocsin)["failing"].is_string().then_some(()));
    let (address, messages) = receiver(&[]);
    // A key file that is not there: neither the address nor the key is taken.
    let whole = shop(tocsin.setup.clone(), address, NEW_KEY);
    let missing = tocsin.folder().join("missing.key").display().to_string();
    tocsin.rewrite(|setup| {
        setup.without("router.service").service("shop", "key-of-the-shop", |rights| {
            rights.insert("operator".to_owned(), true.into());
            rights.insert("webhook".to_owned(), format!("http://{address}/").into());
            rights.insert("webhook_key_file".to_owned(), missing.into());
        })
    });
    let line = reload(&mut tocsin, "nothing was reloaded");
    assert!(line.contains("missing.key") && !line.contains("s3cret"), "{line}");
    assert!(messages.try_recv().is_err(), "nothing went to the new address");
    tocsin.rewrite(|_| whole);
    reload(&mut tocsin, RELOADED);
    let second = send(&tocsin);
    let mut told = Vec::new();
    while told.len() < 2 {
        let message = next(&messages);
        assert!(is_signed_by(&message, NEW_KEY), "{}", message.signature);
        let body: Value = serde_json::from_str(&message.body).expect("JSON");
        told.extend(body["outcomes"].as_array().expect("a list").iter().map(|one| one["id"].clone()));
    }
    assert_eq!(told, [first, second], "what waited for the old address, and what came since");
    // Whether somebody is told at all is read at a start.
    tocsin.rewrite(|setup| setup.without("router.service").service("shop", "key-of-the-shop", |_| {}));
    let line = reload(&mut tocsin, "at the next start only");
    assert!(line.contains("webhooks that came or went"), "{line}");
    send(&tocsin);
    assert!(is_signed_by(&next(&messages), NEW_KEY));
}

#[test]
fn several_routers_refuse_a_webhook_by_name() {
    let dir = tempfile::tempdir().expect("a folder");
    let (file, key) = (dir.path().join("router.toml"), dir.path().join("key"));
    std::fs::write(&key, KEY).expect("the key");
    let text = format!(
        "[router]\nrouters = 2\n[[router.service]]\nname = \"shop\"\nkey = \"k\"\nwebhook = \"http://127.0.0.1:1/\"\n\
         webhook_key_file = {:?}\n[kafka]\nbrokers = [\"127.0.0.1:1\"]\n",
        key.display().to_string()
    );
    std::fs::write(&file, text).expect("the settings");
    let mut check = Command::new(paths::program("router"));
    let output = check.arg("--config").arg(&file).arg("--check-config").output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(2) && said.contains("cannot tell outcomes yet"), "{said}");
}
