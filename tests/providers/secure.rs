//! A provider that cannot be reached safely: its certificate proves nothing, its port speaks no TLS, its name is nobody's. Nothing is sent
//! there, the story says why in words, nobody else is held up, and once it is mended everything goes out by itself.

use std::net::ToSocketAddrs;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use router::provider::letter::Class;
use serde_json::{Value, json};
use tempfile::TempDir;
use tests::certificate::Certificate;
use tests::deadline::Stopwatch;
use tests::{Front, Setup, Simulators, paths, until, until_within};

use crate::house::{Contacts, House, SECRETS};
use crate::support::{carriers, refused, send};
use crate::{fcm, smtp};

/// For what waits for nobody; it takes milliseconds, and the machine may be busy.
const AT_ONCE: Duration = Duration::from_secs(5);
/// Channels, and the ways by which they are carried here.
const WAYS: [(&str, &str); 3] = [("sms", "sms"), ("email", "email"), ("push", "fcm")];

/// A front before each provider, and certificates for them.
struct Fronts {
    folder: TempDir,
    sms: Front,
    email: Front,
    push: Front,
    good: Certificate,
    expired: Certificate,
    of_another: Certificate,
    untrusted: Certificate,
}

impl Fronts {
    fn of(simulators: &Simulators) -> Fronts {
        let folder = paths::scratch("fronts-");
        let at = folder.path();
        Fronts {
            sms: Front::of(&simulators.of("twilio", "url")),
            email: Front::of(&simulators.of("smtp", "url")),
            push: Front::of(&simulators.of("fcm", "url")),
            good: Certificate::mint(at, "good"),
            expired: Certificate::mint_expired(at, "expired"),
            of_another: Certificate::mint_for(at, "other", "mail.example"),
            untrusted: Certificate::mint(at, "untrusted"),
            folder,
        }
    }

    /// All but one are signed by somebody who is trusted.
    fn ca(&self) -> String {
        let read = |one: &Certificate| std::fs::read_to_string(&one.cert).expect("a certificate");
        let file = self.folder.path().join("ca.pem");
        let trusted = [&self.good, &self.expired, &self.of_another].map(read).concat();
        std::fs::write(&file, trusted).expect("the folder can be written");
        file.to_str().expect("UTF-8").to_owned()
    }

    fn carry(&self, setup: Setup) -> Setup {
        let setup = setup
            .set("provider.twilio.endpoint", self.sms.url("https"))
            .set("provider.smtp.url", self.email.url("smtps"))
            .set("provider.fcm.endpoint", self.push.url("https"));
        ["twilio", "smtp", "fcm"]
            .into_iter()
            .fold(setup, |setup, name| setup.set(&format!("provider.{name}.ca"), self.ca()))
    }

    fn all(&self) -> [&Front; 3] {
        [&self.sms, &self.email, &self.push]
    }
}

/// What a front is made to do, and how that is told.
type Fault = (fn(&Fronts, &Front), &'static str, &'static str);

fn by(channel: &str, user: &str) -> Value {
    json!({ "to": { "user": user }, "title": "Disk almost full", "channels": [channel] })
}

/// Sends by each channel; its story tells of `code` in these `words`, and of nothing that is nobody's business.
fn each_is_told(house: &House, number: u32, code: &str, words: &str) {
    let user = format!("user-{number}");
    let contacts = house.knows(&user, number);
    let ids = WAYS.map(|(channel, way)| (channel, way, house.tocsin.api().accepted(&by(channel, &user))));
    for (channel, way, id) in ids {
        let told = format!("{code}: ");
        let story = until_within(Duration::from_secs(30), &format!("{channel} is told of as {code}"), || {
            Some(house.delivery(&id, channel)).filter(|one| one["timeline"].to_string().contains(&told))
        });
        let text = story.to_string();
        assert!(text.contains(words), "{channel}, {code}: {story:#}");
        assert!(text.contains("\"retry\"") && !story["due_at"].is_null(), "it is tried again: {story:#}");
        assert_eq!(story["attempts"], 1, "{story:#}");
        let Contacts { phone, email, token } = &contacts;
        for secret in SECRETS.into_iter().chain([phone.as_str(), email, token]) {
            assert!(!text.contains(secret), "{channel}: {text}");
        }
        let error = until(&format!("{way} shows {code}"), || {
            Some(house.account(way)["last_error"].clone()).filter(|error| error["code"] == code)
        });
        assert_eq!(error["class"], "fault", "the provider's, and nobody else's: {error}");
    }
}

#[test]
fn whoever_proves_nothing_gets_nothing_and_the_story_says_what_is_wrong() {
    let simulators = Simulators::start();
    let fronts = Fronts::of(&simulators);
    let house = House::of(simulators, |setup| fronts.carry(setup).set("otp.breaker_errors", 1_000));
    let faults: [Fault; 5] = [
        (
            |all, front| front.shows(&all.untrusted),
            "certificate_untrusted",
            "signed by nobody who is trusted",
        ),
        (|all, front| front.shows(&all.expired), "certificate_expired", "ended at 2021-01-01T00:00:00"),
        (|all, front| front.shows(&all.of_another), "certificate_name", "not for localhost"),
        (|_, front| front.speaks_no_tls(), "tls", "is not TLS"),
        (|_, front| front.hangs_up(), "tls", "hangs up in the handshake"),
    ];
    for (number, (spoil, code, words)) in (0..).zip(faults) {
        fronts.all().into_iter().for_each(|front| spoil(&fronts, front));
        each_is_told(&house, number, code, words);
    }
    for provider in ["twilio", "smtp", "fcm"] {
        assert!(house.simulators.received(provider).is_empty(), "{provider} got something");
    }
}

/// Whether this machine's resolver says in time that nobody has this name. What it does is not ours, and another machine's may hang.
fn is_denied_in_time(name: &'static str) -> bool {
    let (said, heard) = mpsc::channel();
    thread::spawn(move || said.send((name, 443).to_socket_addrs().is_err()));
    heard.recv_timeout(AT_ONCE).unwrap_or(false)
}

#[test]
fn a_name_that_nobody_knows_is_told_as_one() {
    if !["api.twilio.invalid", "mail.invalid", "fcm.invalid"].into_iter().all(is_denied_in_time) {
        eprintln!("not looked at: this machine's resolver does not say in time that .invalid has no names");
        return;
    }
    let house = House::start(|setup| {
        setup
            .set("provider.twilio.endpoint", "https://api.twilio.invalid")
            .set("provider.smtp.url", "smtps://mail.invalid")
            .set("provider.fcm.endpoint", "https://fcm.invalid")
    });
    each_is_told(&house, 1, "dns", "its name cannot be resolved");
}

#[test]
fn a_provider_with_a_bad_certificate_is_given_up_by_the_rule_and_everything_goes_out_once_it_is_good() {
    const SMS: u32 = 4;
    let simulators = Simulators::start();
    let fronts = Fronts::of(&simulators);
    let house = House::of(simulators, |setup| {
        fronts.carry(setup).set("otp.breaker_errors", SMS - 1).set("otp.probe_s", 1)
    });
    fronts.all().into_iter().for_each(|front| front.shows(&fronts.good));
    fronts.sms.shows(&fronts.expired);
    let contacts: Vec<Contacts> =
        (0..SMS).map(|number| house.knows(&format!("user-{number}"), number)).collect();
    let send = |number: u32| house.tocsin.api().accepted(&by("sms", &format!("user-{number}")));
    let mut ids: Vec<String> = (0..SMS - 2).map(send).collect();
    until("both were tried", || (house.account("sms")["answers"]["fault"] == SMS - 2).then_some(()));
    assert_eq!(house.account("sms")["breaker"], "closed", "one error is missing");
    ids.push(send(SMS - 2));
    until("it is given up for now", || (house.account("sms")["breaker"] == "open").then_some(()));
    let alerts = house.tocsin.api().get("/v1/alerts").expect(200).text;
    assert!(alerts.contains("provider_broken") && alerts.contains("certificate_expired"), "{alerts}");
    ids.push(send(SMS - 1));
    let watch = Stopwatch::start();
    for channel in ["email", "push"] {
        house.tocsin.api().accepted(&by(channel, "user-0"));
    }
    until("the mail is there", || house.letters("smtp", &contacts[0].email).pop());
    until("the push is there", || house.letters("fcm", &contacts[0].token).pop());
    assert!(watch.elapsed() < AT_ONCE, "{:?}", watch.elapsed());
    fronts.sms.shows(&fronts.good);
    for id in &ids {
        until_within(Duration::from_secs(90), "it goes out by itself", || {
            (house.delivery(id, "sms")["state"] == "delivered").then_some(())
        });
    }
    for contact in &contacts {
        assert_eq!(house.letters("twilio", &contact.phone).len(), 1, "once");
    }
    assert_eq!(house.account("sms")["breaker"], "closed");
}

#[test]
fn a_token_server_that_proves_nothing_is_named_as_one() {
    let simulators = Simulators::start();
    let folder = paths::scratch("fronts-");
    let front = Front::of(&simulators.of("google", "token_uri"));
    front.shows(&Certificate::mint(folder.path(), "untrusted"));
    let (file, _) = fcm::account(&simulators);
    let credentials = std::fs::read_to_string(&file).expect("credentials");
    let credentials = credentials.replace(&simulators.of("google", "token_uri"), &front.url("https"));
    let credentials = simulators.file("fronted.json", &credentials);
    let url = simulators.of("fcm", "url");
    let text = format!("[fcm]\ncredentials = \"{credentials}\"\nendpoint = \"{url}\"\n");
    let carrier = carriers(&text).fcm.expect("FCM");
    let refusal = refused(send(&*carrier, &fcm::push()), Class::Fault, "token certificate_untrusted");
    assert!(refusal.detail.contains("signed by nobody"), "{}", refusal.detail);
}

#[test]
fn mozilla_s_roots_are_believed_where_no_file_says_otherwise() {
    let simulators = Simulators::start();
    let folder = paths::scratch("fronts-");
    let front = Front::of(&simulators.of("smtp", "url"));
    front.shows(&Certificate::mint(folder.path(), "own"));
    let carrier = smtp::carrier(&front.url("smtps"));
    refused(send(&*carrier, &smtp::mail()), Class::Fault, "certificate_untrusted");
}
