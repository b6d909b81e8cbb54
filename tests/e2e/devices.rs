//! A user's devices act as one person: what is acted on here is dismissed there.

use serde_json::json;
use tests::client::id_of;
use tests::{Setup, until};

use crate::support::{expect_id, expect_nothing_before_now, shared, to_user};

#[test]
fn an_acknowledgement_dismisses_on_the_other_devices() {
    let tocsin = shared();
    let mut phone = tocsin.connect_device("devices-ack", "phone");
    let mut laptop = tocsin.connect_device("devices-ack", "laptop");
    let id = tocsin.api().accepted(&to_user("devices-ack", "on both"));
    expect_id(&mut phone, &id);
    expect_id(&mut laptop, &id);
    phone.ack(&[&id]);
    assert_eq!(laptop.recv("dismiss")["ids"], json!([id]));
    until("the story says delivered", || {
        let story = tocsin.api().get(&format!("/v1/notifications/{id}")).expect(200).json();
        (story["deliveries"][0]["state"] == "delivered").then_some(())
    });
    expect_nothing_before_now(tocsin, "devices-ack", &mut phone);
    assert!(!phone.kept().any(|message| message["type"] == "dismiss"), "the device that acted is not told");
}

#[test]
fn a_second_acknowledgement_changes_nothing() {
    let tocsin = shared();
    let mut phone = tocsin.connect_device("devices-twice", "phone");
    let mut laptop = tocsin.connect_device("devices-twice", "laptop");
    let id = tocsin.api().accepted(&to_user("devices-twice", "x"));
    expect_id(&mut phone, &id);
    expect_id(&mut laptop, &id);
    phone.ack(&[&id]);
    laptop.recv("dismiss");
    phone.ack(&[&id]);
    laptop.ack(&[&id]);
    expect_nothing_before_now(tocsin, "devices-twice", &mut laptop);
    assert!(!laptop.kept().any(|message| message["type"] == "dismiss"));
}

#[test]
fn reading_counts_down_what_is_unread() {
    let tocsin = shared();
    let mut phone = tocsin.connect_device("devices-read", "phone");
    let mut laptop = tocsin.connect_device("devices-read", "laptop");
    let ids: Vec<String> =
        (0..3).map(|i| tocsin.api().accepted(&to_user("devices-read", &i.to_string()))).collect();
    phone.recv_ids(3);
    let unread = || tocsin.api().get("/v1/users/devices-read/inbox").expect(200).json()["unread"].as_u64();
    until("three are unread", || (unread() == Some(3)).then_some(()));
    phone.say(&json!({ "type": "read", "ids": [ids[0]] }));
    assert_eq!(laptop.recv("dismiss")["ids"], json!([ids[0]]));
    until("two are unread", || (unread() == Some(2)).then_some(()));
    let marked =
        tocsin.api().send("POST", "/v1/users/devices-read/inbox/read", &json!({ "ids": [ids[1], ids[2]] }));
    assert_eq!(marked.status / 100, 2, "{}", marked.text);
    until("none is unread", || (unread() == Some(0)).then_some(()));
}

#[test]
fn nobody_acts_on_another_person_s_notifications() {
    let tocsin = shared();
    let mut owner = tocsin.connect("devices-owner");
    let mut thief = tocsin.connect("devices-thief");
    let id = tocsin.api().accepted(&to_user("devices-owner", "private"));
    expect_id(&mut owner, &id);
    thief.ack(&[&id]);
    thief.say(&json!({ "type": "read", "ids": [id] }));
    let (stolen, _) = thief.sync_all(&json!({}));
    assert!(stolen.is_empty(), "{stolen:?}");
    let inbox = tocsin.api().get("/v1/users/devices-owner/inbox").expect(200).json();
    assert_eq!(inbox["unread"], 1, "{inbox}");
    assert!(!owner.kept().any(|message| message["type"] == "dismiss"));
}

#[test]
fn the_same_device_again_replaces_the_older_connection() {
    // One shard: a shard knows its own connections only.
    let tocsin = Setup::standalone().set("gateway.shards", 1).start();
    let mut old = tocsin.connect_device("devices-same", "phone");
    let mut new = tocsin.connect_device("devices-same", "phone");
    assert_eq!(old.closed(tests::deadline::PATIENCE).0, 4409);
    let id = tocsin.api().accepted(&to_user("devices-same", "to the new one"));
    assert_eq!(id_of(&new.recv("notification")), id);
}
