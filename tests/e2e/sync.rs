//! A client that was away gets everything it missed, in order, in pages of at most 50, none lost, none twice.

use std::collections::HashSet;

use serde_json::{Value, json};
use tests::client::id_of;
use tests::{Setup, Tocsin, until};

use crate::support::{ids, shared, to_user};

fn send(tocsin: &Tocsin, user: &str, n: usize) -> Vec<String> {
    let notes: Vec<Value> = (0..n).map(|i| to_user(user, &i.to_string())).collect();
    tocsin.api().accepted_batch(&notes)
}

fn wait_until_processed(tocsin: &Tocsin) {
    until("the journal is read", || (tocsin.api().reconcile()["journal_lag"] == 0).then_some(()));
}

#[test]
fn everything_missed_comes_in_pages_of_fifty() {
    let tocsin = shared();
    let sent = send(tocsin, "sync-away", 137);
    wait_until_processed(tocsin);
    let mut client = tocsin.connect("sync-away");
    let (missed, pages) = client.sync_all(&json!({ "last_seen_at": "2020-01-01T00:00:00Z", "limit": 50 }));
    assert_eq!(pages, [50, 50, 37]);
    assert_eq!(ids(&missed), sent);
    let stamps: Vec<&str> = missed.iter().filter_map(|one| one["created_at"].as_str()).collect();
    let dates: Vec<_> = stamps.iter().map(|date| wire::time::Wall::parse(date).expect("a date")).collect();
    assert!(dates.windows(2).all(|pair| pair[0] < pair[1]), "created_at rises: {stamps:?}");
}

#[test]
fn last_seen_at_is_where_it_goes_on() {
    let tocsin = shared();
    let sent = send(tocsin, "sync-seen", 60);
    wait_until_processed(tocsin);
    let mut client = tocsin.connect("sync-seen");
    let (all, _) = client.sync_all(&json!({}));
    for seen in [0, 9, 58, 59] {
        let (rest, _) = client.sync_all(&json!({ "last_seen_at": all[seen]["created_at"] }));
        assert_eq!(ids(&rest), sent[seen + 1..], "after the {seen}th");
    }
}

#[test]
fn pages_may_be_smaller_and_never_larger() {
    let tocsin = shared();
    let sent = send(tocsin, "sync-limit", 55);
    wait_until_processed(tocsin);
    let mut client = tocsin.connect("sync-limit");
    let page = client.sync(&json!({ "limit": 20 }));
    assert_eq!((page["notifications"].as_array().map(Vec::len), &page["has_more"]), (Some(20), &json!(true)));
    let page = client.sync(&json!({ "limit": 500 }));
    assert_eq!(page["notifications"].as_array().map(Vec::len), Some(50));
    let page = client.sync(&json!({ "cursor": page["cursor"] }));
    assert_eq!((page["notifications"].as_array().map(Vec::len), &page["has_more"]), (Some(5), &json!(false)));
    assert_eq!(id_of(&page["notifications"][4]), sent[54]);
    let page = client.sync(&json!({ "cursor": page["cursor"] }));
    assert_eq!((page["notifications"].as_array().map(Vec::len), &page["has_more"]), (Some(0), &json!(false)));
}

#[test]
fn a_sync_while_more_arrives_loses_nothing_and_doubles_nothing() {
    let tocsin = shared();
    let before = send(tocsin, "sync-live", 120);
    let mut client = tocsin.connect("sync-live");
    let (synced, live, during) = std::thread::scope(|scope| {
        let sender = scope.spawn(|| send(tocsin, "sync-live", 200));
        let (synced, _) = client.sync_all(&json!({}));
        let during = sender.join().expect("no panic");
        let mut live = Vec::new();
        let wanted: HashSet<String> = before.iter().chain(&during).cloned().collect();
        let mut have: HashSet<String> = ids(&synced).into_iter().collect();
        while have.len() < wanted.len() {
            let id = id_of(&client.recv("notification"));
            have.insert(id.clone());
            live.push(id);
        }
        assert_eq!(have, wanted);
        (ids(&synced), live, during)
    });
    let both: Vec<&String> = synced.iter().filter(|id| live.contains(id)).collect();
    assert!(both.is_empty(), "{} of {} came twice on one socket", both.len(), before.len() + during.len());
}

#[test]
fn what_was_accepted_before_a_client_left_and_delivered_after_is_found() {
    let mut tocsin = Setup::standalone().start();
    let mut client = tocsin.connect("ada");
    let first = tocsin.api().accepted(&to_user("ada", "seen"));
    let seen = client.recv("notification");
    assert_eq!(id_of(&seen), first);
    // Accepted and, as the process dies at once, probably not processed: its `accepted_at` lies before anything the
    // client sees later, but its `created_at` must not.
    let late = send(&tocsin, "ada", 40);
    tocsin.crash_and_restart();
    let mut client = tocsin.connect("ada");
    wait_until_processed(&tocsin);
    let (missed, _) = client.sync_all(&json!({ "last_seen_at": seen["created_at"] }));
    let mut found: Vec<String> = ids(&missed);
    found.sort();
    let mut wanted = late;
    wanted.sort();
    assert_eq!(found, wanted);
}

#[test]
fn a_cursor_that_is_none_of_ours_is_an_error_and_the_connection_lives() {
    let tocsin = shared();
    let mut client = tocsin.connect("sync-bad");
    for cursor in ["", "x", "AAAA", "🔔", &"A".repeat(10_000)] {
        client.say(&json!({ "type": "sync", "cursor": cursor }));
        let error = client.recv("error");
        assert_eq!(error["code"], "bad_cursor", "{cursor:?}: {error}");
    }
    client.say(&json!({ "type": "sync", "last_seen_at": "yesterday" }));
    assert_eq!(client.recv("error")["code"], "bad_field");
    assert_eq!(client.sync(&json!({}))["has_more"], false);
}

#[test]
fn a_cursor_of_one_user_shows_another_nothing() {
    let tocsin = shared();
    send(tocsin, "sync-rich", 80);
    wait_until_processed(tocsin);
    let cursor = tocsin.connect("sync-rich").sync(&json!({}))["cursor"].clone();
    let mut other = tocsin.connect("sync-poor");
    other.say(&json!({ "type": "sync", "cursor": cursor }));
    match other.try_recv("sync_batch", tests::deadline::PATIENCE / 10) {
        Ok(page) => assert_eq!(page["notifications"], json!([]), "{page}"),
        Err(_) => drop(other.recv("error")),
    }
}

#[test]
fn topics_and_the_user_s_own_come_in_one_order() {
    let tocsin = shared();
    let mut client = tocsin.connect("sync-mixed");
    client.say(&json!({ "type": "subscribe", "topics": ["sync-mixed-a", "sync-mixed-b"] }));
    client.recv("subscribed");
    drop(client);
    let mut sent = Vec::new();
    for i in 0..30 {
        let to = match i % 3 {
            0 => json!({ "user": "sync-mixed" }),
            1 => json!({ "topic": "sync-mixed-a" }),
            _ => json!({ "topic": "sync-mixed-b" }),
        };
        sent.push(tocsin.api().accepted(&json!({ "to": to, "title": i.to_string() })));
    }
    wait_until_processed(tocsin);
    let mut client = tocsin.connect("sync-mixed");
    let (missed, pages) = client.sync_all(&json!({ "limit": 7 }));
    let ours: Vec<String> = missed.iter().filter(|one| !one["title"].is_null()).map(id_of).collect();
    assert_eq!(ours.iter().filter(|id| sent.contains(id)).count(), 30, "pages {pages:?}");
    let unique: HashSet<&String> = ours.iter().collect();
    assert_eq!(unique.len(), ours.len(), "none twice");
    assert!(pages.iter().all(|page| *page <= 7), "{pages:?}");
}

#[test]
fn the_inbox_over_http_pages_the_same_way() {
    let tocsin = shared();
    let sent = send(tocsin, "sync-http", 120);
    wait_until_processed(tocsin);
    let (mut found, mut cursor) = (Vec::new(), String::new());
    for _ in 0..10 {
        let page =
            tocsin.api().get(&format!("/v1/users/sync-http/inbox?limit=50{cursor}")).expect(200).json();
        let items = page["notifications"].as_array().expect("a list");
        found.extend(items.iter().map(|item| id_of(item.get("notification").unwrap_or(item))));
        if page["has_more"] == false {
            break;
        }
        cursor = format!("&cursor={}", page["cursor"].as_str().expect("a cursor"));
    }
    assert_eq!(found, sent);
}

#[test]
fn a_sync_that_failed_takes_nothing_from_the_next_one() {
    let tocsin = shared();
    let mut client = tocsin.connect("sync-again");
    client.say(&json!({ "type": "sync", "cursor": "zzz" }));
    assert_eq!(client.recv("error")["code"], "bad_cursor");
    let sent = send(tocsin, "sync-again", 3);
    for id in &sent {
        assert_eq!(id_of(&client.recv("notification")), *id);
    }
    let (all, _) = client.sync_all(&json!({ "last_seen_at": "2020-01-01T00:00:00Z" }));
    assert_eq!(ids(&all), sent);
}
