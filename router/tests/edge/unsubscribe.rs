//! A mail's link ends the mails of its kind with one click, and looking at it changes nothing.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use router::config::{Config, UnsubscribeConfig};
use router::node;
use router::provider::dispatch::Account;
use router::provider::lane::Budget;
use router::provider::letter::{Answer, Carrier, Letter};
use router::provider::way::Way;
use serde_json::{Value, json};
use url::Url;

use crate::support::{self, Node};

const ONE_CLICK: &[u8] = b"List-Unsubscribe=One-Click";
const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

/// Keeps every mail.
#[derive(Default)]
struct Mails(Mutex<Vec<Letter>>);

#[async_trait]
impl Carrier for Mails {
    fn name(&self) -> &'static str {
        "mails"
    }

    async fn send(&self, letter: &Letter) -> Answer {
        self.0.lock().expect("whole").push(letter.clone());
        Answer::Taken { reference: None }
    }
}

fn start(folder: tempfile::TempDir, mails: &Arc<Mails>) -> Node {
    let mut config = Config::on_free_ports(folder.path());
    let url = Url::parse("https://shop.example/v1/unsubscribe").expect("an address");
    config.unsubscribe = Some(UnsubscribeConfig { url, key: None });
    let carrier = Arc::clone(mails) as Arc<dyn Carrier>;
    let account = Account { way: Way::Email, carrier, budget: Budget::usual(Way::Email) };
    Node { router: node::start_with(&config, vec![account]).expect("it starts"), data: folder }
}

/// Sends a mail; its link, as a path of the API.
fn link(node: &Node, mails: &Mails, more: &Value) -> Option<String> {
    let mut body = json!({"to": {"user": "ann"}, "title": "t", "channels": ["email"]});
    body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    let answer = node.send(&body);
    assert_eq!(answer.status, 202, "{}", answer.text);
    node.eventually(&format!("/v1/notifications/{}", answer.id()), |story| {
        story["deliveries"][0]["state"] == "handed_over"
    });
    let letter = mails.0.lock().expect("whole").last().cloned().expect("a mail");
    letter.unsubscribe.map(|link| link.replace("https://shop.example", ""))
}

fn categories(node: &Node) -> Value {
    node.get("/v1/users/ann/preferences").json()["channels"].clone()
}

#[test]
fn a_click_ends_the_mails_of_a_kind_and_a_look_changes_nothing() {
    let mails = Arc::new(Mails::default());
    let node = start(tempfile::tempdir().expect("a folder"), &mails);
    node.put("/v1/users/ann/contacts", &json!({"email": "ann@example.org"}));
    let link = link(&node, &mails, &json!({"category": "a<b"})).expect("a link");
    let page = node.request("GET", &link, &[], b"");
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    assert!(page.text.contains("“a&lt;b”") && page.text.contains("<button>"), "{}", page.text);
    assert!(!page.text.contains("ann"), "{}", page.text);
    node.request("POST", &link, &[FORM], b"").is_problem(400, "malformed");
    assert_eq!(categories(&node), Value::Null, "so far nobody meant it");
    for _ in 0..2 {
        let done = node.request("POST", &link, &[FORM], ONE_CLICK);
        assert_eq!((done.status, done.header("location")), (200, None), "{}", done.text);
    }
    assert_eq!(categories(&node), json!({"a<b": ["inapp", "push", "sms", "voice"]}));
    let answer = node.send(&json!({"to": {"user": "ann"}, "category": "a<b", "channels": ["email"]}));
    let story = node.eventually(&format!("/v1/notifications/{}", answer.id()), |story| {
        story["deliveries"][0]["state"] == "dropped"
    });
    assert_eq!(story["deliveries"][0]["reason"], "unsubscribed");
}

#[test]
fn a_link_outlives_a_restart_and_one_that_is_not_ours_does_nothing() {
    let mails = Arc::new(Mails::default());
    let node = start(tempfile::tempdir().expect("a folder"), &mails);
    node.put("/v1/users/ann/contacts", &json!({"email": "ann@example.org"}));
    let link = link(&node, &mails, &json!({})).expect("a link");
    let Node { router, data } = node;
    router.shutdown();
    let node = start(data, &mails);
    let forged = format!("{}AAAA", &link[..link.len() - 4]);
    node.request("POST", &forged, &[FORM], ONE_CLICK).is_problem(403, "forbidden");
    assert_eq!(node.request("GET", &forged, &[], b"").status, 403);
    node.request("POST", "/v1/unsubscribe", &[FORM], ONE_CLICK).is_problem(400, "malformed");
    let items = |node: &Node| node.get("/v1/users/ann/suppressions").json()["items"].clone();
    assert_eq!(items(&node), json!([]));
    assert_eq!(node.request("POST", &link, &[FORM], ONE_CLICK).status, 200);
    assert_eq!(categories(&node), json!({"*": ["inapp", "push", "sms", "voice"]}), "it was of no category");
    assert_eq!(items(&node), json!([]), "codes still go there");
}

#[test]
fn what_is_critical_has_no_link_and_nor_has_any_mail_without_the_setting() {
    let mails = Arc::new(Mails::default());
    let node = start(tempfile::tempdir().expect("a folder"), &mails);
    node.put("/v1/users/ann/contacts", &json!({"email": "ann@example.org"}));
    assert_eq!(link(&node, &mails, &json!({"category": "news", "priority": "critical"})), None);
    let plain = support::Node::start();
    plain.request("POST", "/v1/unsubscribe?t=AAAA", &[FORM], ONE_CLICK).is_problem(404, "not_found");
}
