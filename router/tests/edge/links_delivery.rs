//! From a 202 to a shard and back into the ledger.

use serde_json::json;
use wire::link::{DeliveryResult, Frame, Revoked};

use crate::support::{Node, PATIENCE, Shard, title};

#[test]
fn a_notification_reaches_the_shard_that_has_the_user_and_its_ack_the_ledger() {
    let node = Node::start();
    let mut shard = Shard::dial(&node);
    shard.credit(10);
    shard.announce("ada");
    shard.settle("ada");
    let id = node.accepted("ada", "hello");
    let deliver = shard.delivered();
    let Frame::Deliver { id: shown, user, .. } = &deliver else { panic!("{deliver:?}") };
    assert_eq!((shown.to_string(), user.as_str(), title(&deliver).as_str()), (id.clone(), "ada", "hello"));
    shard.result(&deliver, DeliveryResult::Sent { sockets: 1 });
    let path = format!("/v1/notifications/{id}");
    node.eventually(&path, |answer| answer["deliveries"][0]["state"] == "handed_over");
    shard.tell("ada", &json!({"type": "ack", "ids": [id]}));
    let told = node.eventually(&path, |answer| answer["deliveries"][0]["state"] == "delivered");
    assert_eq!(told["deliveries"][0]["recipient"], "ada");
    assert_eq!(told["deliveries"][0]["to"], json!({"user": "ada"}));
    assert_eq!(told["deliveries"][0]["channel"], "inapp");
    assert!(!told["deliveries"][0]["timeline"].as_array().unwrap().is_empty());
    let reconciled = node.get("/v1/reconcile").json();
    assert_eq!((&reconciled["balanced"], &reconciled["deliveries"]["delivered"]), (&json!(true), &json!(1)));
}

#[test]
fn a_topic_and_all_reach_the_shards() {
    let node = Node::start();
    let mut shard = Shard::dial(&node);
    shard.credit(10);
    shard.announce("ada");
    let answer = shard.ask("ada", &json!({"type": "subscribe", "topics": ["news"]}));
    assert_eq!(answer, json!({"type": "subscribed", "topics": ["news"]}));
    shard.say(&Frame::Subscribe { topic: "news".to_owned() });
    shard.settle("ada");
    assert_eq!(node.send(&json!({"to": {"topic": "news"}, "title": "to the topic"})).status, 202);
    assert_eq!(title(&shard.delivered()), "to the topic");
    assert_eq!(node.send(&json!({"to": {"all": true}, "title": "to all"})).status, 202);
    let broadcast = shard.delivered();
    assert!(matches!(broadcast, Frame::Broadcast { topic: None, .. }), "{broadcast:?}");
    assert_eq!(title(&broadcast), "to all");
}

#[test]
fn what_was_sent_while_nobody_was_there_is_found_by_sync() {
    let node = Node::start();
    let ids: Vec<String> = (0..60).map(|i| node.accepted("ada", &i.to_string())).collect();
    node.eventually("/v1/reconcile", |answer| answer["deliveries"]["accepted"] == 60);
    let mut shard = Shard::dial(&node);
    shard.announce("ada");
    let first = shard.ask("ada", &json!({"type": "sync", "limit": 50}));
    assert_eq!((first["notifications"].as_array().unwrap().len(), &first["has_more"]), (50, &json!(true)));
    let rest = shard.ask("ada", &json!({"type": "sync", "cursor": first["cursor"], "limit": 50}));
    assert_eq!(rest["has_more"], false);
    let synced: Vec<String> = [first, rest]
        .iter()
        .flat_map(|page| page["notifications"].as_array().unwrap().clone())
        .map(|one| one["id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(synced, ids, "every one, in order, none twice");
}

#[test]
fn a_link_lost_and_made_again_loses_nothing() {
    let node = Node::start();
    let mut shard = Shard::dial(&node);
    shard.credit(100);
    shard.announce("ada");
    shard.settle("ada");
    let mut ids = vec![node.accepted("ada", "before")];
    assert_eq!(title(&shard.delivered()), "before");
    drop(shard);
    ids.push(node.accepted("ada", "between"));
    node.eventually("/v1/reconcile", |answer| answer["deliveries"]["accepted"] == 2);
    let mut shard = Shard::dial(&node);
    shard.credit(100);
    shard.announce("ada");
    shard.settle("ada");
    ids.push(node.accepted("ada", "after"));
    assert_eq!(title(&shard.delivered()), "after");
    let page = shard.settle("ada");
    let synced: Vec<_> =
        page["notifications"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap()).collect();
    assert_eq!(synced, ids);
}

#[test]
fn providers_get_theirs_and_the_outbox_shows_them_also_after_a_restart() {
    let node = Node::start();
    let body = json!({"to": {"user": "ada"}, "title": "t", "body": "b", "channels": ["push", "sms"]});
    let id = node.send(&body).id();
    let outbox =
        node.eventually("/v1/outbox?channel=push&user=ada", |page| page["items"][0]["id"] == id.as_str());
    assert_eq!(outbox["items"].as_array().unwrap().len(), 1);
    assert_eq!((&outbox["items"][0]["title"], &outbox["items"][0]["body"]), (&json!("t"), &json!("b")));
    node.eventually("/v1/outbox?channel=sms", |page| page["items"].as_array().unwrap().len() == 1);
    node.eventually("/v1/reconcile", |answer| answer["deliveries"]["open"] == 0);
    let node = node.restart();
    let outbox = node.get("/v1/outbox").json();
    assert_eq!(outbox["items"].as_array().unwrap().len(), 2);
    let reconciled = node.get("/v1/reconcile").json();
    assert_eq!((&reconciled["balanced"], &reconciled["deliveries"]["accepted"]), (&json!(true), &json!(2)));
}

#[test]
fn a_ticket_lets_in_once_and_a_revocation_reaches_every_shard() {
    let node = Node::start();
    let (mut one, mut two) = (Shard::dial_as(&node, "one"), Shard::dial_as(&node, "two"));
    let answer = node.post("/v1/tickets", &json!({"user": "ada", "ttl_s": 30}));
    assert_eq!(answer.status, 201, "{}", answer.text);
    let ticket = answer.json()["ticket"].as_str().unwrap().to_owned();
    let mut redeem = |request, ticket: &str| {
        one.say(&Frame::Redeem { request, ticket: ticket.to_owned() });
        one.wait(|frame| match frame {
            Frame::Redeemed { request: answered, user } if *answered == request => Some(user.clone()),
            _ => None,
        })
    };
    assert_eq!(redeem(1, "no such ticket"), None);
    assert_eq!(redeem(2, &ticket), Some("ada".to_owned()));
    assert_eq!(redeem(3, &ticket), None, "a ticket is good once");
    assert_eq!(node.post("/v1/revocations", &json!({"user": "ada"})).status, 202);
    for shard in [&mut one, &mut two] {
        let who = shard.look(PATIENCE, |frame| match frame {
            Frame::Revoke { who } => Some(who.clone()),
            _ => None,
        });
        assert_eq!(who, Some(Revoked::User("ada".to_owned())));
    }
}
