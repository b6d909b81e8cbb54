//! What SES tells through SNS, from mail to suppression: a whole system and a simulated SNS, each a process. News moves a delivery on
//! however often and in whatever order it comes; what is not SNS's changes nothing.

use std::net::TcpListener;

use serde_json::{Value, json};
use tests::{Equation, Setup, Simulators, Tocsin, until};

struct Told {
    tocsin: Tocsin,
    simulators: Simulators,
}

impl Told {
    /// With a subscription that the router has confirmed, unless `change` says that it does not believe the topic.
    fn start(change: impl FnOnce(&Simulators, Setup) -> Setup) -> Told {
        let simulators = Simulators::start();
        let of = |key: &str| simulators.of("ses", key);
        let keys = format!(
            "[default]\naws_access_key_id = {}\naws_secret_access_key = {}\n",
            of("access_key"),
            of("secret_key")
        );
        let setup = Setup::standalone()
            .set("provider.ses.region", of("region"))
            .set("provider.ses.from", "alerts@shop.example")
            .set("provider.ses.endpoint", of("url"))
            .set("provider.ses.access_key_file", simulators.file("aws.credentials", &keys))
            .set("provider.ses.configuration_set", "events")
            .set("provider.ses.topic_arns", vec![simulators.of("sns", "topic_arn")])
            .set("provider.ses.sns_endpoint", simulators.of("sns", "url"));
        let tocsin = change(&simulators, setup).start();
        let told = Told { tocsin, simulators };
        told.simulators.subscribe(&told.callback());
        told
    }

    fn confirmed() -> Told {
        let told = Told::start(|_, setup| setup);
        until("the router says yes", || told.at_sns("/").pop());
        told
    }

    fn callback(&self) -> String {
        format!("http://{}/v1/callbacks/ses", self.tocsin.setup.text("router.api"))
    }

    /// What SNS was asked for at this path.
    fn at_sns(&self, path: &str) -> Vec<Value> {
        self.simulators.received_for("sns", path)
    }

    /// What SNS told the router, and what it answered.
    fn posts(&self) -> Vec<Value> {
        self.simulators.received_for("sns", &self.callback())
    }

    fn knows(&self, user: &str) -> String {
        let address = format!("{user}@mail.example");
        self.tocsin
            .api()
            .send("PUT", &format!("/v1/users/{user}/contacts"), &json!({ "email": address }))
            .expect(200);
        address
    }

    fn mail(&self, user: &str) -> String {
        let asked = json!({ "to": { "user": user }, "title": "Disk almost full", "channels": ["email"] });
        self.tocsin.api().accepted(&asked)
    }

    fn delivery(&self, id: &str) -> Value {
        let story = self.tocsin.api().get(&format!("/v1/notifications/{id}")).expect(200).json();
        story["deliveries"][0].clone()
    }

    /// The words of all receipts in the story.
    fn receipts(&self, id: &str) -> Vec<String> {
        let delivery = self.delivery(id);
        let timeline = delivery["timeline"].as_array().cloned().unwrap_or_default();
        let receipts = timeline.into_iter().filter(|moment| moment["event"] == "receipt");
        receipts.map(|moment| moment["reason"].as_str().unwrap_or_default().to_owned()).collect()
    }

    fn suppressed(&self, user: &str) -> Vec<String> {
        let shown = self.tocsin.api().get(&format!("/v1/users/{user}/suppressions")).expect(200).json();
        let all = shown["items"].as_array().cloned().unwrap_or_else(|| panic!("{shown}"));
        all.iter().map(|one| one["reason"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// No further mail goes to this user: it is dropped as suppressed, and SES has as many as before.
    fn gets_no_more(&self, user: &str, address: &str) {
        let before = self.simulators.received_for("ses", address).len();
        let id = self.mail(user);
        until("the next one is dropped", || (self.delivery(&id)["reason"] == "suppressed").then_some(()));
        assert_eq!(self.delivery(&id)["state"], "dropped");
        assert_eq!(self.simulators.received_for("ses", address).len(), before, "it was not sent");
    }

    fn tells(&self, events: &Value) {
        self.simulators.faults(&json!({ "events": events }));
    }
}

#[test]
fn a_subscription_is_confirmed_and_a_delivery_is_told_by_both_versions_of_the_signature() {
    let mut told = Told::confirmed();
    let log = told.tocsin.keeper().log();
    assert_eq!(log.matches("is believed in place of AWS's SNS").count(), 1, "{log}");
    told.knows("ada");
    for version in ["1", "2"] {
        told.tells(&json!({ "version": version }));
        let id = told.mail("ada");
        until(&format!("version {version} is believed"), || {
            (told.delivery(&id)["state"] == "delivered").then_some(())
        });
        assert_eq!(told.receipts(&id), ["delivered"]);
    }
    assert!(told.suppressed("ada").is_empty());
    assert!(told.posts().iter().all(|post| post["answer"] == "204"), "{:#?}", told.posts());
    let certificates = told.at_sns("/SimpleNotificationService-simulated.pem");
    assert_eq!(certificates.len(), 1, "fetched once");
}

#[test]
fn a_mail_that_bounces_for_good_is_the_last_one_to_its_address() {
    let told = Told::confirmed();
    let (ada, bob) = (told.knows("ada"), told.knows("bob"));
    told.tells(&json!({ "kinds": ["Send", "SoftBounce"] }));
    let id = told.mail("bob");
    until("it bounces for now", || (told.receipts(&id) == ["bounced_for_now"]).then_some(()));
    assert!(told.suppressed("bob").is_empty(), "a full mailbox is not the end of it");
    told.tells(&json!({ "kinds": ["Send", "Bounce"] }));
    let id = told.mail("ada");
    until("it bounces", || (told.receipts(&id) == ["bounced"]).then_some(()));
    let delivery = told.delivery(&id);
    assert_eq!(
        (&delivery["state"], &delivery["reason"]),
        (&json!("dropped"), &json!("bounced")),
        "{delivery:#}"
    );
    assert_eq!(told.suppressed("ada"), ["bounce"]);
    assert!(!delivery["timeline"].to_string().contains(&ada), "no address in a story");
    told.gets_no_more("ada", &ada);
    told.tells(&json!({}));
    let id = told.mail("bob");
    until("others get theirs", || (told.delivery(&id)["state"] == "delivered").then_some(()));
    assert_eq!(told.simulators.received_for("ses", &bob).len(), 2);
}

#[test]
fn who_complains_is_not_written_to_again_and_the_mail_was_delivered_all_the_same() {
    let told = Told::confirmed();
    let ada = told.knows("ada");
    told.tells(&json!({ "kinds": ["Delivery", "Complaint"] }));
    let id = told.mail("ada");
    until("it is complained of", || (told.receipts(&id) == ["delivered", "complained"]).then_some(()));
    assert_eq!(told.delivery(&id)["state"], "delivered");
    assert_eq!(told.suppressed("ada"), ["complaint"]);
    told.gets_no_more("ada", &ada);
}

#[test]
fn what_is_told_twice_and_out_of_order_counts_once() {
    let told = Told::confirmed();
    told.knows("ada");
    told.knows("bob");
    told.tells(&json!({ "kinds": ["Complaint", "Delivery", "Send"], "twice": true }));
    let id = told.mail("ada");
    until("all six are there", || (told.posts().len() == 7).then_some(()));
    assert_eq!(told.receipts(&id), ["complained", "delivered"], "each once");
    assert_eq!(told.delivery(&id)["state"], "delivered");
    told.tells(&json!({ "kinds": ["Bounce", "Delivery"], "twice": true }));
    let id = told.mail("bob");
    until("all four are there", || (told.posts().len() == 11).then_some(()));
    assert_eq!(told.receipts(&id), ["bounced", "delivered"], "each once");
    assert_eq!(told.suppressed("bob"), ["bounce"]);
    Equation::settled(&told.tocsin.api());
}

#[test]
fn what_is_not_sns_s_is_refused_and_changes_nothing() {
    let told = Told::confirmed();
    let ada = told.knows("ada");
    let elsewhere = TcpListener::bind("127.0.0.1:0").expect("a port");
    elsewhere.set_nonblocking(true).expect("a socket");
    let at = elsewhere.local_addr().expect("an address");
    let lies = [
        json!({ "forged": true }),
        json!({ "forged": true, "version": "2" }),
        json!({ "topic": "arn:aws:sns:eu-west-1:999999999999:mail" }),
        json!({ "certificate": format!("http://{at}/SimpleNotificationService-simulated.pem") }),
        json!({ "certificate": "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-0.pem" }),
    ];
    let mut ids = Vec::new();
    for (number, mut lie) in (1..).zip(lies) {
        lie["kinds"] = json!(["Bounce"]);
        told.tells(&lie);
        ids.push(told.mail("ada"));
        let answer = until("it is told", || told.posts().get(number).cloned());
        assert_eq!((&answer["answer"], &answer["taken"]), (&json!("403"), &json!(false)), "{lie}");
    }
    for id in &ids {
        let delivery = until("it is handed over", || {
            Some(told.delivery(id)).filter(|delivery| delivery["state"] == "handed_over")
        });
        assert!(told.receipts(id).is_empty(), "{delivery:#}");
    }
    assert!(told.suppressed("ada").is_empty());
    let asked = elsewhere.accept().map(|(_, from)| from);
    assert!(asked.is_err(), "a certificate of another host was fetched: {asked:?}");
    // The true one is believed after all of them.
    told.tells(&json!({ "kinds": ["Bounce"] }));
    told.mail("ada");
    until("it bounces", || (told.suppressed("ada") == ["bounce"]).then_some(()));
    told.gets_no_more("ada", &ada);
}

#[test]
fn where_the_settings_name_no_endpoint_only_sns_itself_is_believed() {
    let told = Told::start(|_, setup| setup.without("provider.ses.sns_endpoint"));
    let answer = until("it was asked", || told.posts().pop());
    assert_eq!(answer["answer"], "403", "{answer:#}");
    assert!(
        told.at_sns("/").is_empty() && told.at_sns("/SimpleNotificationService-simulated.pem").is_empty()
    );
}
