//! A ticket lets one connection in, once, for at most a minute.

use serde_json::json;
use tests::client::Connect;
use tests::{Setup, Tocsin};

use crate::support::{expect_id, to_user};

fn ticket(tocsin: &Tocsin, user: &str, ttl_s: u32) -> String {
    let answer = tocsin.api().send("POST", "/v1/tickets", &json!({ "user": user, "ttl_s": ttl_s }));
    assert_eq!(answer.status / 100, 2, "{}", answer.text);
    answer.json()["ticket"].as_str().expect("a ticket").to_owned()
}

#[test]
fn a_ticket_is_good_once() {
    let tocsin = Setup::standalone().with_tokens().start();
    let ticket = ticket(&tocsin, "ada", 60);
    let connect = Connect::default().query("ticket", &ticket);
    let mut client = connect.to(tocsin.clients()).expect("a good ticket");
    let id = tocsin.api().accepted(&to_user("ada", "through the door"));
    expect_id(&mut client, &id);
    assert_eq!(connect.to(tocsin.clients()).expect_err("used").status(), 401);
    drop(client);
    assert_eq!(connect.to(tocsin.clients()).expect_err("used").status(), 401);
}

#[test]
fn of_many_at_once_one_comes_in() {
    let tocsin = Setup::standalone().with_tokens().start();
    let connect = Connect::default().query("ticket", &ticket(&tocsin, "ada", 60));
    let taken = std::thread::scope(|scope| {
        let racers: Vec<_> = (0..8).map(|_| scope.spawn(|| connect.to(tocsin.clients()).ok())).collect();
        let clients: Vec<_> = racers.into_iter().map(|racer| racer.join().expect("no panic")).collect();
        clients.iter().filter(|client| client.is_some()).count()
    });
    assert_eq!(taken, 1);
}

#[test]
fn old_made_up_and_too_long_lived_ones_are_refused() {
    let tocsin = Setup::standalone().with_tokens().start();
    let old = Connect::default().query("ticket", &ticket(&tocsin, "ada", 1));
    std::thread::sleep(std::time::Duration::from_millis(1_300));
    for connect in
        [old, Connect::default().query("ticket", "made-up"), Connect::default().query("ticket", "")]
    {
        assert_eq!(connect.to(tocsin.clients()).expect_err("no good ticket").status(), 401);
    }
    let answer = tocsin.api().send("POST", "/v1/tickets", &json!({ "user": "ada", "ttl_s": 61 }));
    assert_eq!(answer.status / 100, 4, "{}", answer.text);
}

#[test]
fn a_ticket_opens_after_a_restart_once_too() {
    let mut tocsin = Setup::standalone().with_tokens().start();
    let used = Connect::default().query("ticket", &ticket(&tocsin, "ada", 60));
    used.to(tocsin.clients()).expect("a good ticket");
    tocsin.crash_and_restart();
    assert_eq!(used.to(tocsin.clients()).expect_err("used before the crash").status(), 401);
}
