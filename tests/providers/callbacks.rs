//! What Twilio tells afterwards reaches us, signed, twice, as JSON or forged: each is believed or not, and names its delivery.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use ops::clock::Clock;
use router::api::callbacks::{Callbacks, News};
use router::provider::callback::{Receipt, What};
use router::provider::carriers::Carriers;
use router::provider::letter::{Address, Carrier, Class, Letter};
use router::record::Channel;
use serde_json::json;
use tests::{Simulators, until};

use crate::support::{config, letter, send, taken, wait};

/// Takes everything on, after having refused as often as is wanted.
#[derive(Default)]
struct Heard {
    receipts: Mutex<Vec<Receipt>>,
    refusals: Mutex<u32>,
}

#[async_trait]
impl News for Heard {
    async fn take(&self, receipt: Receipt) -> bool {
        let mut refusals = self.refusals.lock().expect("no panic");
        if *refusals > 0 {
            *refusals -= 1;
            return false;
        }
        self.receipts.lock().expect("no panic").push(receipt);
        true
    }
}

impl Heard {
    fn all(&self) -> Vec<Receipt> {
        self.receipts.lock().expect("no panic").clone()
    }
}

struct Told {
    simulators: Simulators,
    sms: Arc<dyn Carrier>,
    voice: Arc<dyn Carrier>,
    heard: Arc<Heard>,
    url: String,
}

fn start() -> Told {
    let simulators = Simulators::start();
    let listener = wait(tokio::net::TcpListener::bind("127.0.0.1:0")).expect("a port");
    let url = format!("http://{}/v1/callbacks/twilio", listener.local_addr().expect("an address"));
    let of = |key: &str| simulators.of("twilio", key);
    let text = format!(
        "[twilio]\naccount = \"{}\"\nkey = \"{}\"\nsecret_file = \"{}\"\nfrom = \"+15005550006\"\n\
         voice_from = \"+15005550007\"\nendpoint = \"{}\"\nstatus_callback = \"{url}\"\nauth_token_file = \"{}\"\n",
        of("account"),
        of("key"),
        simulators.file("twilio.secret", &of("secret")),
        of("url"),
        simulators.file("twilio.token", &of("auth_token")),
    );
    let config = config(&text);
    let heard = Arc::new(Heard::default());
    let callbacks = Callbacks::new(&config, Arc::clone(&heard) as Arc<dyn News>, Clock::start());
    let Carriers { sms, voice, .. } = wait(async {
        tokio::spawn(async move { axum::serve(listener, callbacks.routes()).await });
        Carriers::new(&config, Clock::start())
    });
    Told { simulators, sms: sms.expect("SMS"), voice: voice.expect("calls"), heard, url }
}

fn phone(channel: Channel) -> Letter {
    letter(channel, Address::Phone("+4915112345678".to_owned()))
}

#[test]
fn a_message_and_a_call_are_told_of() {
    let told = start();
    let message = phone(Channel::Sms);
    let reference = taken(send(&*told.sms, &message));
    let heard = until("a receipt", || told.heard.all().first().cloned());
    assert_eq!((heard.delivery, heard.what, heard.reference), (message.delivery, What::Delivered, reference));
    taken(send(&*told.voice, &phone(Channel::Voice)));
    let heard = until("another", || told.heard.all().get(1).cloned());
    assert_eq!((heard.delivery.channel, heard.what), (Channel::Voice, What::Delivered));
}

#[test]
fn a_failure_is_whose_fault_it_is_also_as_json_and_twice() {
    let told = start();
    for as_json in [false, true] {
        let told_so = json!({ "statuses": ["sent", "undelivered"], "error_code": 30005, "twice": true, "json": as_json });
        told.simulators.faults(&json!({ "callbacks": told_so }));
        let before = told.heard.all().len();
        taken(send(&*told.sms, &phone(Channel::Sms)));
        let heard = until("both", || Some(told.heard.all()).filter(|all| all.len() == before + 2));
        let failed = What::Failed { class: Class::Gone, code: "30005".to_owned() };
        assert!(heard[before..].iter().all(|receipt| receipt.what == failed), "{heard:?}");
    }
}

#[test]
fn what_was_not_taken_on_is_told_again() {
    let told = start();
    *told.heard.refusals.lock().expect("no panic") = 1;
    taken(send(&*told.sms, &phone(Channel::Sms)));
    until("it is told again", || told.heard.all().first().cloned());
}

#[test]
fn a_forgery_is_heard_by_nobody() {
    let told = start();
    told.simulators
        .faults(&json!({ "callbacks": { "statuses": ["delivered"], "forged": true, "every_ms": 1 } }));
    taken(send(&*told.sms, &phone(Channel::Sms)));
    told.simulators.calm();
    let message = Letter { collapse_key: None, ..phone(Channel::Sms) };
    taken(send(&*told.sms, &message));
    // What is true comes later than what was forged.
    until("the true one", || told.heard.all().first().cloned());
    assert_eq!(told.heard.all().len(), 1);
    let post = |url: &str, signature: &str| {
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let request = agent.post(url).header("content-type", "application/x-www-form-urlencoded");
        let answer =
            request.header("x-twilio-signature", signature).send("MessageStatus=delivered&MessageSid=SM1");
        answer.expect("an answer").status().as_u16()
    };
    assert_eq!(post(&told.url, "AAAA"), 403);
    assert_eq!(post(&told.url, ""), 403);
    assert_eq!(post(&told.url.replace("twilio", "ses"), ""), 404, "nobody said which topics are ours");
}
