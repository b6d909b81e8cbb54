//! A whole router with accounts that say what a test wants: letters go to people's addresses, a broken account is found and
//! left alone, and nobody waits for a slow one.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use router::breaker::Rules;
use router::config::Config;
use router::node;
use router::provider::dispatch::Account;
use router::provider::lane::Budget;
use router::provider::letter::{Answer, Carrier, Class, Letter, Refusal};
use router::provider::way::Way;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::support::Node;

/// An account whose answer is set by hand.
struct Double {
    says: Mutex<Answer>,
    sent: Mutex<Vec<Letter>>,
    /// Letters that may be answered.
    pace: Semaphore,
}

impl Double {
    fn new(says: Answer) -> Arc<Double> {
        Double::paced(says, Semaphore::MAX_PERMITS)
    }

    fn paced(says: Answer, letters: usize) -> Arc<Double> {
        let pace = Semaphore::new(letters);
        Arc::new(Double { says: Mutex::new(says), sent: Mutex::default(), pace })
    }

    fn says(&self, answer: Answer) {
        *self.says.lock().expect("whole") = answer;
    }

    fn sent(&self) -> usize {
        self.sent.lock().expect("whole").len()
    }
}

#[async_trait]
impl Carrier for Double {
    fn name(&self) -> &'static str {
        "double"
    }

    async fn send(&self, letter: &Letter) -> Answer {
        self.pace.acquire().await.expect("never closed").forget();
        self.sent.lock().expect("whole").push(letter.clone());
        self.says.lock().expect("whole").clone()
    }
}

fn taken() -> Answer {
    Answer::Taken { reference: Some("m-1".to_owned()) }
}

fn refused(class: Class) -> Answer {
    let (code, detail) = ("CODE".to_owned(), "in its words".to_owned());
    Answer::Refused(Refusal { class, code, detail, retry_after: None })
}

fn account(way: Way, carrier: &Arc<Double>) -> Account {
    Account { way, carrier: Arc::clone(carrier) as Arc<dyn Carrier>, budget: Budget::usual(way) }
}

fn start(accounts: Vec<Account>, probe: Duration) -> Node {
    let data = tempfile::tempdir().expect("a folder");
    let breaker = Rules { errors: 5, window: Duration::from_secs(60), probe };
    let mut config = Config::on_free_ports(data.path());
    config.otp.breaker = breaker;
    let router = node::start_with(&config, accounts).expect("it starts");
    Node { router, data }
}

fn send(node: &Node, body: &Value) -> String {
    let answer = node.send(body);
    assert_eq!(answer.status, 202, "{}", answer.text);
    answer.id()
}

fn state<'a>(story: &'a Value, channel: &str) -> &'a str {
    let deliveries = story["deliveries"].as_array().map_or(&[][..], Vec::as_slice);
    let of = deliveries.iter().find(|delivery| delivery["channel"] == channel);
    of.and_then(|delivery| delivery["state"].as_str()).unwrap_or("none")
}

fn becomes(node: &Node, id: &str, channel: &str, wanted: &str) -> Value {
    node.eventually(&format!("/v1/notifications/{id}"), |story| state(story, channel) == wanted)
}

fn provider(node: &Node) -> Value {
    node.get("/v1/status").json()["providers"][0].clone()
}

#[test]
fn a_letter_carries_what_was_asked_to_the_address_and_the_story_tells_its_answer() {
    let (sms, data) = (Double::new(taken()), json!({"k": 1}));
    let node = start(vec![account(Way::Sms, &sms)], Duration::from_secs(60));
    node.put("/v1/users/ann/contacts", &json!({"phone": "+4930123456"}));
    let id = send(
        &node,
        &json!({"to": {"user": "ann"}, "title": "t", "body": "b", "data": data,
        "category": "c", "ttl_s": 600, "channels": ["sms", "email"]}),
    );
    let story = becomes(&node, &id, "sms", "handed_over");
    let letter = sms.sent.lock().expect("whole").first().cloned().expect("a letter");
    assert_eq!((letter.title.as_deref(), letter.body.as_deref()), (Some("t"), Some("b")));
    assert_eq!(letter.delivery.to_string(), format!("{id}/sms/ann"));
    assert!(letter.ttl.is_some_and(|ttl| ttl <= Duration::from_secs(600)), "{:?}", letter.ttl);
    assert!(story.to_string().contains("phone …56: taken as m-1"), "{story}");
    assert!(!story.to_string().contains("4930123456"));
    // The channel without an account is the outbox's, whoever it is for.
    becomes(&node, &id, "email", "handed_over");
    let kept = node.get("/v1/outbox?channel=email&user=ann").json();
    assert_eq!(kept["items"].as_array().map(Vec::len), Some(1), "{kept}");
    let shown = provider(&node);
    assert_eq!((&shown["way"], &shown["breaker"]), (&json!("sms"), &json!("closed")), "{shown}");
    assert_eq!(
        (&shown["answers"]["taken"], shown["last_taken_at"].is_string()),
        (&json!(1), true),
        "{shown}"
    );
}

#[test]
fn the_fifth_error_opens_the_breaker_and_one_live_letter_closes_it() {
    let sms = Double::new(refused(Class::Fault));
    let node = start(vec![account(Way::Sms, &sms)], Duration::from_secs(1));
    node.put("/v1/users/ann/contacts", &json!({"phone": "+4930123456"}));
    let to_ann = json!({"to": {"user": "ann"}, "title": "t", "channels": ["sms"], "fallback": ["push"],
        "ack_within_s": 3_600, "priority": "critical"});
    for i in 1..=5 {
        assert_eq!(provider(&node)["breaker"], "closed", "before the {i}th");
        send(&node, &to_ann);
        node.eventually("/v1/status", |status| status["providers"][0]["answers"]["fault"] == i);
    }
    let status = node.get("/v1/status").json();
    assert_eq!((&status["providers"][0]["breaker"], &status["state"]), (&json!("open"), &json!("degraded")));
    let alerts = node.get("/v1/alerts").text;
    assert!(alerts.contains("provider_broken") && alerts.contains("CODE in its words"), "{alerts}");
    // Nobody is asked, and the next channel is tried at once. It is the outbox's.
    let asked = sms.sent();
    let id = send(&node, &to_ann);
    let story = becomes(&node, &id, "push", "handed_over");
    assert_eq!(state(&story, "sms"), if sms.sent() == asked { "fell_back" } else { "open" }, "{story}");
    // It works again: one letter tells, and then all go.
    sms.says(taken());
    for _ in 0..200 {
        let id = send(&node, &json!({"to": {"user": "ann"}, "title": "t", "channels": ["sms"]}));
        if provider(&node)["breaker"] == "closed" {
            becomes(&node, &id, "sms", "handed_over");
            let alerts = node.get("/v1/alerts").json();
            let over =
                alerts["items"].as_array().is_some_and(|all| all.iter().all(|one| one["until"].is_string()));
            assert!(over, "{alerts}");
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("it stays open: {}", provider(&node));
}

#[test]
fn a_recipients_fault_and_a_quota_never_open_it_and_a_refused_account_wakes_somebody() {
    let email = Double::new(refused(Class::Recipient));
    let node = start(vec![account(Way::Email, &email)], Duration::from_secs(60));
    node.put("/v1/users/ann/contacts", &json!({"email": "ann@example.org"}));
    let to_ann = json!({"to": {"user": "ann"}, "title": "t", "channels": ["email"]});
    (0..10).for_each(|_| drop(send(&node, &to_ann)));
    node.eventually("/v1/status", |status| status["providers"][0]["answers"]["recipient"] == 10);
    email.says(refused(Class::Quota));
    (0..10).for_each(|_| drop(send(&node, &to_ann)));
    node.eventually("/v1/status", |status| status["providers"][0]["answers"]["quota"] == 10);
    assert_eq!(provider(&node)["breaker"], "closed");
    email.says(refused(Class::Auth));
    let id = send(&node, &to_ann);
    node.eventually("/v1/status", |status| status["providers"][0]["answers"]["auth"] == 1);
    assert!(node.get("/v1/alerts").text.contains("provider_refuses"));
    let waits = |story: &Value| story["deliveries"][0]["due_at"].is_string();
    let story = node.eventually(&format!("/v1/notifications/{id}"), waits);
    assert_eq!(state(&story, "email"), "open", "{story}");
}

#[test]
fn a_provider_that_never_answers_holds_up_nobody_else() {
    let (sms, email) = (Double::paced(taken(), 0), Double::new(taken()));
    let slow = Account { budget: Budget { per_s: 100, at_once: 2 }, ..account(Way::Sms, &sms) };
    let node = start(vec![slow, account(Way::Email, &email)], Duration::from_secs(60));
    node.put("/v1/users/ann/contacts", &json!({"phone": "+4930123456", "email": "ann@example.org"}));
    for _ in 0..50 {
        send(&node, &json!({"to": {"user": "ann"}, "title": "t", "channels": ["sms"]}));
    }
    let waiting = |status: &Value| {
        let all = status["providers"].as_array().cloned().unwrap_or_default();
        all.iter().any(|one| one["way"] == "sms" && one["waiting"] == 48 && one["under_way"] == 2)
    };
    node.eventually("/v1/status", waiting);
    let id =
        send(&node, &json!({"to": {"user": "ann"}, "title": "t", "channels": ["email", "inapp", "push"]}));
    for channel in ["email", "inapp", "push"] {
        becomes(&node, &id, channel, "handed_over");
    }
    sms.pace.add_permits(50);
    node.eventually("/v1/reconcile", |equation| equation["open"] == 0);
    assert_eq!(sms.sent(), 50);
}

#[test]
fn what_waits_for_a_provider_is_taken_back_when_the_user_has_acted() {
    let push = Double::paced(taken(), 0);
    let slow = Account { budget: Budget { per_s: 100, at_once: 1 }, ..account(Way::Fcm, &push) };
    let node = start(vec![slow], Duration::from_secs(60));
    let contacts = json!({"push": [{"kind": "fcm", "token": "a"}, {"kind": "fcm", "token": "b"}]});
    node.put("/v1/users/ann/contacts", &contacts);
    let request = json!({"to": {"user": "ann"}, "title": "t", "channels": ["inapp", "push"]});
    let first = send(&node, &request);
    node.eventually("/v1/status", |status| status["providers"][0]["under_way"] == 1);
    let second = send(&node, &request);
    node.eventually("/v1/status", |status| status["providers"][0]["waiting"] == 3);
    let read = node.post("/v1/users/ann/inbox/read", &json!({"ids": [first, second]}));
    assert_eq!(read.status, 204, "{}", read.text);
    let story = becomes(&node, &second, "push", "dropped");
    assert!(story.to_string().contains("acknowledged"), "{story}");
    push.pace.add_permits(10);
    becomes(&node, &first, "push", "handed_over");
    assert_eq!(push.sent(), 1, "the one that the provider had been handed");
    node.eventually("/v1/reconcile", |equation| equation["open"] == 0);
}
